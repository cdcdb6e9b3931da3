"""The guard against every way out that we know, in every form of the protocol and every kind of pool.

Whether an attempt was refused or did no harm, the client is who it was afterwards, with the settings that the
guard keeps and the variable that its token gave it; and so is the next client of the same server connection.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from conftest import MakeGateway
from harness import Cluster, escape_statements, escapes, primary_alone
from harness import wire as w
from harness.cluster import DATABASE, SERVER_USER
from harness.escape_statements import Escape
from harness.hosts import is_pgdog
from harness.target import Target
from harness.wire import Message, ServerError, Wire

VARIABLE = "app.tenant_id"
WHO = f"SELECT 'who', current_user, session_user, current_setting('{VARIABLE}', true)"
# How a row of it begins.
IS_WHO = b"\0\4\0\0\0\3who"
STATE = f"""
    SELECT current_user, session_user, current_setting('{VARIABLE}', true), current_setting('role'),
           pg_client_encoding(), current_setting('standard_conforming_strings'),
           current_setting('default_transaction_read_only')
"""
ROLE = [
    *escapes.escapes("role", "bob", everywhere=True),
    *escapes.escapes("session_authorization", SERVER_USER, everywhere=False),
    *escape_statements.OF_THE_IDENTITY,
]
READING = [
    *escapes.escapes("standard_conforming_strings", "off", everywhere=False),
    *escapes.escapes("client_encoding", "SJIS", everywhere=False),
    *escape_statements.OF_THE_READING,
]
CLAIM = list(escapes.escapes(VARIABLE, "evil", everywhere=True))
CODE = [*escapes.code("role", "bob"), *escapes.code(VARIABLE, "evil")]
READ_ONLY = [
    *escapes.escapes("default_transaction_read_only", "off", everywhere=True),
    *escapes.escapes("transaction_read_only", "off", everywhere=False),
    *escape_statements.OF_THE_TRANSACTION,
]

Form = Callable[[Wire, str], Iterator[Message]]


def simple(wire: Wire, sql: str) -> Iterator[Message]:
    yield from wire.query(sql)


def before_another(wire: Wire, sql: str) -> Iterator[Message]:
    yield from wire.query(f"{sql}\n; {WHO}")


def behind_another(wire: Wire, sql: str) -> Iterator[Message]:
    yield from wire.query(f"SELECT ''; {sql}")


def in_a_transaction(wire: Wire, sql: str) -> Iterator[Message]:
    for text in ("BEGIN", sql, WHO, "COMMIT"):
        yield from wire.query(text)


def behind_a_savepoint(wire: Wire, sql: str) -> Iterator[Message]:
    for text in ("BEGIN", "SAVEPOINT s", sql, "ROLLBACK TO s", WHO, "COMMIT"):
        yield from wire.query(text)


def unnamed(wire: Wire, sql: str) -> Iterator[Message]:
    wire.send(w.extended(sql))
    yield from wire.until_ready()


def named(wire: Wire, sql: str) -> Iterator[Message]:
    wire.send(w.parse(sql, "escape") + w.describe("S", "escape") + w.SYNC)
    yield from wire.until_ready()
    wire.send(w.bind(statement="escape") + w.execute() + w.close("S", "escape") + w.SYNC)
    yield from wire.until_ready()
    wire.send(w.close("S", "escape") + w.SYNC)
    yield from wire.until_ready()


def in_a_pipeline(wire: Wire, sql: str) -> Iterator[Message]:
    probe = w.step(WHO)
    wire.send(probe, w.parse(sql), w.bind(), w.execute(limit=1), probe, w.SYNC, w.query(WHO))
    yield from wire.until_ready()
    yield from wire.until_ready()


OUTSIDE: list[Form] = [simple, before_another, behind_another, unnamed, named, in_a_pipeline]
FORMS: list[Form] = [*OUTSIDE, in_a_transaction, behind_a_savepoint]


@pytest.fixture(scope="module", autouse=True)
def extensions(cluster: Any) -> Iterator[list[str]]:
    """Those that there are, of those that run SQL."""
    with cluster.admin() as admin:
        rows = admin.execute("SELECT name FROM pg_available_extensions").fetchall()
        extensions = [name for name in escapes.EXTENSIONS if (name,) in rows]
        for name in extensions:
            admin.execute(f"CREATE EXTENSION {name}")
    yield extensions
    with cluster.admin() as admin:
        for name in extensions:
            admin.execute(f"DROP EXTENSION {name} CASCADE")


@pytest.fixture(autouse=True)
def hideout(cluster: Any) -> Iterator[None]:
    """Nothing of what another test made."""
    with cluster.admin() as admin:
        admin.execute(escapes.SCHEMA)
    yield
    with cluster.admin() as admin:
        admin.execute(escapes.CLEANING)


class Attack:
    """One client that tries, and one that gets the server connection after it, each of another tenant."""

    def __init__(self, target: Target, user: str, other: str, *, session: bool = False, code: bool = False):
        self.target, self.session, self.code = target, session, code
        self.first, self.next = (user, "one"), (other, "two")
        self.wire = self.newcomer(self.first)
        self.expected = {who: self.state_of(who) for who in (self.first, self.next)}
        for (name, tenant), state in self.expected.items():
            assert state[:3] == (name, SERVER_USER, tenant)
        self.refused = 0
        self.every = 40 if session else 8

    def newcomer(self, who: tuple[str, str]) -> Wire:
        name, tenant = who
        return self.target.wire(name, self.target.issuer.token(name, tenant=tenant))

    def state_of(self, who: tuple[str, str]) -> tuple[str | None, ...]:
        """As a newcomer finds it."""
        if self.session:
            self.wire.close()
        with self.newcomer(who) as wire:
            state = wire.rows(STATE)[0]
        if self.session:
            self.wire = self.newcomer(self.first)
        return state

    def attempt(self, form: Form, escape: Escape) -> None:
        where = f"{form.__name__}: {escape}"
        try:
            for text in escape:
                for message in form(self.wire, text):
                    if message.type == "E" and message.fields["C"] == "42501":
                        self.refused += 1
                    if message.type == "D" and message.body.startswith(IS_WHO) and not self.code:
                        assert message.row[1:] == self.expected[self.first][:3], where
            self.wire.query("ROLLBACK")
            # What a library would leave holds the session to its server.
            gone = escape[0].startswith("LOAD")
        except (EOFError, OSError):
            gone = True
            # In a transaction of named statements a PgDog ends the session in place of an error.
            self.refused += is_pgdog()
        if gone:
            self.wire.close()
            self.wire = self.newcomer(self.first)
        state = self.patient_state() if is_pgdog() else self.wire.rows(STATE)[0]
        assert state == self.expected[self.first], where

    def patient_state(self) -> tuple[str | None, ...]:
        """A PgDog does not answer some conversations to their end, with or without our patches, and needs a
        while until the server is free again."""
        for _ in range(10):
            try:
                return self.wire.rows(STATE)[0]
            except (EOFError, OSError, ServerError):
                self.wire.close()
                with contextlib.suppress(EOFError, OSError, ServerError):
                    self.wire = self.newcomer(self.first)
        raise AssertionError("no connection answers")

    def look_at_the_next(self, wire: Wire | None, where: object) -> None:
        try:
            state = wire.rows(STATE)[0] if wire else self.state_of(self.next)
        except ServerError as error:
            raise AssertionError(f"the next client after {where}: {error}") from None
        assert state == self.expected[self.next], f"the next client after {where}"

    def run(self, attempts: list[tuple[Form, Escape]]) -> None:
        """The next client comes now and then: in session mode when the first one has left."""
        with contextlib.ExitStack() as stack:
            other = None if self.session else stack.enter_context(self.newcomer(self.next))
            attempts = [attempt for attempt in attempts if is_answered(*attempt)]
            for start in range(0, len(attempts), self.every):
                some = attempts[start : start + self.every]
                for form, escape in some:
                    self.attempt(form, escape)
                self.look_at_the_next(other, [(form.__name__, escape) for form, escape in some])
        self.wire.close()


def is_answered(form: Form, escape: Escape) -> bool:
    """A PgDog, also one without our patches, does not answer DEALLOCATE in the extended protocol, and its
    server is lost."""
    is_extended = form in (unnamed, named, in_a_pipeline)
    return not (is_pgdog() and is_extended and any(text.startswith("DEALLOCATE") for text in escape))


def in_turn(forms: list[Form], attempts: list[Escape]) -> list[tuple[Form, Escape]]:
    """Each attempt in one form, all forms about equally often."""
    return [(form, escape) for form, escape in zip(itertools.cycle(forms), attempts, strict=False)]


def works_in(mode: str, escape: Escape) -> bool:
    """In statement mode there are no transactions: a client that begins one is cut off."""
    return mode != "statement" or not any(text.startswith(("BEGIN", "START")) for text in escape)


@pytest.fixture
def make(make_gateway: MakeGateway, cluster: Cluster) -> Callable[..., Target]:
    def make(pool: str, mode: str, guard: str, **tables: Any) -> Target:
        # A server whose conversation PgDog has lost comes back.
        patience = {"query_timeout": 3_000} if is_pgdog() else {}
        return make_gateway(
            general={"default_pool_size": 1, "pooler_mode": mode, "checkout_timeout": 5_000, **patience},
            jwt={
                "shared_pool": pool == "shared",
                "guard": guard,
                "role_settings_ttl": 0,
                "session": {"variables": {VARIABLE: "{tenant}"}},
            },
            **{"databases": [primary_alone(cluster)], **tables},
        )

    return make


def test_no_form_of_the_protocol_lets_one_out(make: Callable[..., Target]) -> None:
    attack = Attack(make("shared", "transaction", "strict"), "alice", "bob")
    attempts = list(itertools.product(FORMS, ROLE))
    attack.run(attempts)
    assert attack.refused > len(attempts) // 2


@pytest.mark.parametrize("mode", ["transaction", "session", "statement"])
@pytest.mark.parametrize("pool", ["own", "shared"])
def test_no_attempt_changes_a_variable_from_a_claim(
    make: Callable[..., Target], pool: str, mode: str
) -> None:
    """Every attempt in one form of the protocol, another one for each kind of pool."""
    is_session, other = mode == "session", "bob" if pool == "shared" else "alice"
    forms = OUTSIDE if mode == "statement" else FORMS
    first = ["own", "shared"].index(pool) * 3 + ["transaction", "session", "statement"].index(mode)
    attempts = [escape for escape in CLAIM if works_in(mode, escape)]

    attack = Attack(make(pool, mode, "strict"), "alice", other, session=is_session)
    attack.run(in_turn(forms[first % len(forms) :] + forms[: first % len(forms)], attempts))
    assert attack.refused > len(attempts) // 2


@pytest.mark.parametrize("guard", ["strict", "standard"])
@pytest.mark.parametrize("mode", ["transaction", "session", "statement"])
@pytest.mark.parametrize("pool", ["own", "shared"])
def test_no_kind_of_pool_lets_one_out(make: Callable[..., Target], pool: str, mode: str, guard: str) -> None:
    target, is_session = make(pool, mode, guard), mode == "session"
    other = "bob" if pool == "shared" else "alice"
    forms = OUTSIDE if mode == "statement" else FORMS
    attempts = [escape for escape in ROLE + READING if works_in(mode, escape)]
    Attack(target, "alice", other, session=is_session).run(in_turn(forms, attempts))

    # With the standard guard, code of the client's own may run: what it did is undone afterwards.
    code = [(form, escape) for form in forms for escape in CODE if works_in(mode, escape)]
    attack = Attack(target, "alice", other, session=is_session, code=guard == "standard")
    attack.every = 4
    attack.run(code)
    assert guard == "standard" or attack.refused >= len(code)


@pytest.mark.parametrize("mode", ["transaction", "session"])
@pytest.mark.parametrize("pool", ["own", "shared"])
def test_nobody_that_only_reads_writes(
    make: Callable[..., Target], cluster: Cluster, pool: str, mode: str
) -> None:
    entry = {"name": "reader", "database": DATABASE, "read_only": True}
    servers = [("primary", cluster.primary), ("replica", cluster.replica)]
    databases = [
        {"name": DATABASE, "host": server.host, "port": server.port, "role": role}
        for role, server in servers
        if server
    ]
    attack = Attack(
        make(pool, mode, "strict", users=[entry], databases=databases),
        "reader",
        "reader",
        session=mode == "session",
    )
    assert attack.expected[attack.first][-1] == "on"
    attack.run(in_turn(FORMS, READ_ONLY))
    with cluster.admin() as admin:
        rows = admin.execute("SELECT body FROM notes WHERE owner = 'reader'").fetchall()
    assert ("seen by the reader",) in rows
    assert ("written",) not in rows


def test_without_a_guard_they_do_get_out(cluster: Cluster, extensions: list[str]) -> None:
    """Most of them, past the gateway: otherwise the tests above would prove nothing."""
    with Wire(cluster.primary.host, cluster.primary.port) as wire:
        wire.login("gateway_trust", DATABASE, "", role="alice")
        out = [escape for escape in ROLE + CODE if gets_out(wire, escape)]
    assert len(out) > (150 if "tablefunc" in extensions else 140), len(out)


def test_without_a_guard_they_do_change_the_variable(cluster: Cluster, extensions: list[str]) -> None:
    with Wire(cluster.primary.host, cluster.primary.port) as wire:
        wire.login("gateway_trust", DATABASE, "", role="alice")
        out = [escape for escape in CLAIM if changes(wire, escape)]
    assert len(out) > (150 if "tablefunc" in extensions else 140), len(out)


def changes(wire: Wire, escape: Escape) -> bool:
    values = set()
    for text in escape:
        if "\0" in text:
            return False
        wire.query(f"SET {VARIABLE} = 'one'")
        answer = wire.query(text)
        values.add(
            wire.value(f"SELECT current_setting('{VARIABLE}', true)") if answer[-1].body != b"E" else "one"
        )
    wire.query("ROLLBACK")
    wire.query("DISCARD ALL; SET ROLE alice")
    return "evil" in values


def gets_out(wire: Wire, escape: Escape) -> bool:
    users = set()
    for text in escape:
        if "\0" in text:
            return False
        answer = wire.query(text)
        if answer[-1].body == b"E":
            wire.query("ROLLBACK")
        users.add(wire.value("SELECT current_user"))
    wire.query("ROLLBACK")
    wire.query("DISCARD ALL")
    return users != {"alice"}


def test_the_functions_that_run_text_are_all_known(cluster: Cluster, make: Callable[..., Target]) -> None:
    """What PostgreSQL itself brings, under whatever name: by the C functions behind it."""
    sources = (
        "('set_config_by_name', 'query_to_xml', 'query_to_xmlschema', 'query_to_xml_and_xmlschema',"
        " 'ts_stat1', 'ts_stat2', 'tsquery_rewrite_query')"
    )
    with cluster.admin() as admin:
        names = admin.execute(f"SELECT DISTINCT proname FROM pg_proc WHERE prosrc IN {sources}").fetchall()
        users = f"SELECT oid FROM pg_proc WHERE prosrc IN {sources}"
        for query in (
            f"SELECT oprname FROM pg_operator WHERE oid < 10000 AND oprcode IN ({users})",
            f"SELECT castsource FROM pg_cast WHERE castfunc IN ({users})",
            f"SELECT aggfnoid FROM pg_aggregate WHERE aggtransfn IN ({users})",
        ):
            assert admin.execute(query).fetchall() == []
    assert len(names) == 6
    with make("own", "transaction", "standard").wire("alice") as wire:
        for (name,) in names:
            with pytest.raises(ServerError) as error:
                wire.rows(f"SELECT {name}($1)")
            assert error.value.sqlstate == "42501"
