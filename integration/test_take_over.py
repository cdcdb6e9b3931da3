"""A connection becomes another subject's in one write with that subject's request."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from harness import (
    Cluster,
    Gateway,
    Installation,
    Issuer,
    Workspace,
    chosen_installations,
    default_config,
    eventually,
    merged,
)
from harness import wire as w
from harness.cluster import DATABASE
from harness.external import is_external
from harness.line import CUT, Line, Part, frames, unchanged
from harness.target import Target
from harness.wire import Message, Wire

MakeGateway = Callable[..., Target]
VARIABLES = {"app.tenant": {"value": "{tenant}"}}
ME = "SELECT current_user, current_setting('app.tenant')"
SHARED = {"shared_pool": True, "session": {"variables": VARIABLES}}
INSTALLATIONS = [] if is_external() else chosen_installations()
SEEN = """
    CREATE TABLE scratch.seen
        (who name DEFAULT current_user, tenant text DEFAULT current_setting('app.tenant', true), n int);
    GRANT SELECT, INSERT ON scratch.seen TO subjects;
    CREATE PROCEDURE scratch.commits(n int) LANGUAGE plpgsql
        AS $$ BEGIN INSERT INTO scratch.seen (n) VALUES (n); COMMIT;
                    INSERT INTO scratch.seen (n) VALUES (n); END $$;
"""


def insert(n: int) -> str:
    return f"INSERT INTO scratch.seen (n) VALUES ({n})"


@pytest.fixture
def seen(cluster: Any) -> Iterator[Callable[[], list[tuple[Any, ...]]]]:
    """What was written, by whom."""
    with cluster.admin() as admin:
        admin.execute(SEEN)
    yield lambda: rows(cluster, "SELECT who, tenant, n FROM scratch.seen ORDER BY n, who, tenant")
    with cluster.admin() as admin:
        admin.execute("DROP TABLE scratch.seen; DROP PROCEDURE scratch.commits")


def rows(cluster: Any, sql: str) -> list[tuple[Any, ...]]:
    with cluster.admin() as admin:
        return list(admin.execute(sql).fetchall())


@pytest.fixture
def line(cluster: Any) -> Iterator[Line]:
    line = Line(cluster.primary.port)
    yield line
    line.close()


@pytest.fixture
def one(make_gateway: MakeGateway, line: Line) -> Target:
    """One server connection for all, over the line."""
    return make_gateway(
        general={
            "default_pool_size": 1,
            "tls_verify": "disabled",
            "idle_healthcheck_delay": 3_600_000,
            # Looks at the database would be counted. Between subjects a connection is cleaned nevertheless.
            "server_cleaning": "never",
        },
        databases=[{"name": DATABASE, "host": "127.0.0.1", "port": line.port}],
        jwt=SHARED,
    )


def client(target: Target, user: str, tenant: str) -> Wire:
    return target.wire(user, target.issuer.token(user, tenant=tenant))


def is_take_over(data: bytes) -> bool:
    """In one write with a request: what takes a round trip of its own begins alike, and sets no mark."""
    return data[:1] == b"P" and b"pgdog_jwt.take_over" in data


def test_a_change_of_identity_costs_no_round_trip(one: Target, line: Line) -> None:
    with client(one, "alice", "acme") as alice, client(one, "bob", "umbrella") as bob:
        alice.value("SELECT 1")
        line.forget()
        for _ in range(5):
            assert bob.rows(ME) == [("bob", "umbrella")]
            assert alice.rows(ME) == [("alice", "acme")]
        assert line.requests == ["P"] * 10

        line.forget()
        for _ in range(5):
            assert alice.rows(ME) == [("alice", "acme")]
        assert line.requests == ["Q"] * 5


STATEMENTS = [
    "SELECT 1/0",
    "BEGIN; SET LOCAL work_mem = '9MB'; ROLLBACK",
    "BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT 1; COMMIT",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; SELECT 1",
    f"{insert(1)}; ROLLBACK",
    f"{insert(1)}; COMMIT; {insert(2)}; SELECT 1/0",
    "ROLLBACK",
    "COMMIT",
    "VACUUM scratch.own",
    "CREATE INDEX CONCURRENTLY ON scratch.own (n)",
    "REINDEX TABLE CONCURRENTLY scratch.own",
    "CALL scratch.commits(3)",
    "SET statement_timeout = '7s'",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "RESET ALL",
    "DISCARD ALL",
    "DEALLOCATE ALL",
    "UNLISTEN *",
    "SELECT lo_unlink(lo_create(0))",
    "LOCK TABLE scratch.own",
    "nonsense",
    "",
]


@pytest.fixture
def own(cluster: Any) -> Iterator[None]:
    """A table that both may look after, where that is a right of its owner."""
    with cluster.admin() as admin:
        admin.execute("CREATE TABLE scratch.own (n int); ALTER TABLE scratch.own OWNER TO subjects")
    yield
    with cluster.admin() as admin:
        admin.execute("DROP TABLE scratch.own")


@pytest.mark.parametrize("sql", STATEMENTS)
@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
def test_a_statement_does_what_it_does_without(
    one: Target,
    make_gateway: MakeGateway,
    cluster: Any,
    line: Line,
    seen: Any,
    own: None,
    sql: str,
    extended: bool,
) -> None:
    """The replies are those of a connection of its own, and afterwards everybody is who they are."""
    if extended and ";" in sql:
        pytest.skip("one statement only")

    def ask(wire: Wire) -> list[tuple[str, str]]:
        wire.send(w.extended(sql) if extended else w.query(sql))
        messages = wire.until_ready()
        told = [
            (each.type, each.fields["C"] if each.type == "E" else "")
            for each in messages
            if each.type not in "SN"
        ]
        wire.query("ROLLBACK")
        return told

    alone = make_gateway(
        general={"server_cleaning": "never"},
        jwt={"session": {"variables": VARIABLES}},
        databases=one.gateway.config["databases"],
    )
    with client(alone, "alice", "acme") as wire:
        expected = ask(wire)
    with cluster.admin() as admin:
        admin.execute("DELETE FROM scratch.seen")
    with (
        client(one, "alice", "acme") as alice,
        client(one, "alice", "umbrella") as other,
        client(one, "bob", "b") as bob,
    ):
        for _ in range(2):
            line.forget()
            assert ask(alice) == expected
            # The gateway carries these out itself, on a server that is the client's already.
            is_carried_out = not extended and sql in ("RESET ALL", "DISCARD ALL")
            assert is_take_over(line.sent) != is_carried_out
            assert alice.rows(ME) == [("alice", "acme")]
            assert bob.rows(ME) == [("bob", "b")]
            assert other.rows(ME) == [("alice", "umbrella")]
            assert other.value("SHOW work_mem") == "4MB"
            # Nothing of it is in anybody's way, and they may change hands again.
            assert ask(alice) == expected
            assert other.rows(ME) == [("alice", "umbrella")]
    assert {row[:2] for row in seen()} <= {("alice", "acme")}


def test_data_of_a_copy_goes_through(one: Target, seen: Any) -> None:
    with client(one, "alice", "acme") as alice, client(one, "bob", "umbrella") as bob:
        for number in range(3):
            alice.send(w.query("COPY scratch.seen (n) FROM STDIN"))
            assert w.types_of(alice.receive_until("G")) == "G"
            alice.send(w.copy_data(b"%d\n" % number), w.COPY_DONE)
            assert w.types_of(alice.until_ready()) == "CZ"
            messages = bob.query("COPY (SELECT current_user) TO STDOUT")
            assert [each.body for each in messages if each.type == "d"] == [b"bob\n"]
    assert seen() == [("alice", "acme", number) for number in range(3)]


@pytest.mark.parametrize("size", [1_000, 15_000, 17_000, 200_000])
def test_requests_of_any_size_go_through(one: Target, size: int) -> None:
    sql = f"SELECT current_user, length('{'x' * size}')"
    with client(one, "alice", "acme") as alice, client(one, "bob", "umbrella") as bob:
        for wire, name in [(alice, "alice"), (bob, "bob")] * 3:
            assert wire.rows(sql) == [(name, str(size))]
            wire.send(w.parse("SELECT current_user, length($1)"), w.bind(["y" * size]))
            wire.send(w.execute(), w.SYNC)
            assert [each.row for each in wire.until_ready() if each.type == "D"] == [(name, str(size))]


def test_batches_without_an_end_are_answered(one: Target) -> None:
    with client(one, "alice", "acme") as alice, client(one, "bob", "umbrella") as bob:
        for wire, name in [(alice, "alice"), (bob, "bob")] * 2:
            wire.send(w.parse("SELECT current_user, $1::text", "mine"), w.describe("S", "mine"), w.FLUSH)
            assert w.types_of(wire.receive_until("T")) == "1tT"
            wire.send(w.bind(["x"], "mine"))
            wire.send(w.execute(), w.FLUSH)
            assert [each.row for each in wire.receive_until("C") if each.type == "D"] == [(name, "x")]
            wire.send(w.close("S", "mine"), w.SYNC)
            assert w.types_of(wire.until_ready()) == "3Z"


def test_prepared_statements_follow(one: Target) -> None:
    with client(one, "alice", "acme") as alice, client(one, "bob", "umbrella") as bob:
        for wire in (alice, bob):
            wire.send(w.parse(ME, "me"), w.SYNC)
            assert w.types_of(wire.until_ready()) == "1Z"
        for _ in range(3):
            for wire, row in ((alice, ("alice", "acme")), (bob, ("bob", "umbrella"))):
                wire.send(*[w.bind((), "me") + w.execute() + w.SYNC] * 3)
                replies = [wire.until_ready() for _ in range(3)]
                assert [each.row for ready in replies for each in ready if each.type == "D"] == [row] * 3


# Attacks.


@pytest.mark.parametrize(
    "many",
    [
        w.query(insert(1)) * 3,
        (w.step(insert(1)) + w.SYNC) * 3,
        w.step(insert(1)) + w.SYNC + w.query(insert(2)) + w.step(insert(3)) + w.SYNC,
        w.step(insert(1)) + w.query(insert(2)) + w.SYNC + w.query(insert(3)),
        w.parse("", "a") + w.SYNC + w.parse(insert(1), "b") + w.bind((), "b") + w.execute() + w.SYNC,
        w.SYNC + w.SYNC + w.step(insert(1)) + w.SYNC + w.SYNC + w.query(insert(2)),
        w.FLUSH + w.query(insert(1)) + w.FLUSH + w.SYNC + w.query(insert(2)),
    ],
)
def test_nothing_is_run_by_who_lost_the_role(one: Target, cluster: Any, seen: Any, many: bytes) -> None:
    """Everything at once: PostgreSQL has read it before the gateway hears that the role is refused."""
    with cluster.admin() as admin:
        admin.execute("CREATE ROLE passing IN ROLE subjects; GRANT passing TO gateway")
    try:
        with client(one, "passing", "acme") as passing, client(one, "bob", "umbrella") as bob:
            assert passing.rows(ME) == [("passing", "acme")]
            assert bob.rows(ME) == [("bob", "umbrella")]
            with cluster.admin() as admin:
                admin.execute("REVOKE passing FROM gateway")
            passing.send(many, w.TERMINATE)
            messages = list(iter(lambda: next_of(passing), None))
            assert "D" not in w.types_of(messages)
            assert {each.fields["C"] for each in messages if each.type == "E"} == {"42501"}
            assert bob.rows(ME) == [("bob", "umbrella")]
        assert seen() == []
    finally:
        with cluster.admin() as admin:
            admin.execute("DROP ROLE passing")


def next_of(wire: Wire) -> Message | None:
    try:
        return wire.receive()
    except EOFError:
        return None


# The messages of a take-over, three for each statement.
POSITIONS = range(44)


@pytest.mark.parametrize("timeout", ["of the last", "of its own"])
def test_a_time_limit_between_two_messages_makes_nobody_another(
    one: Target, line: Line, seen: Any, timeout: str
) -> None:
    """PostgreSQL fails the transaction there and goes on with the next message."""
    with client(one, "alice", "acme") as alice, client(one, "alice", "umbrella") as other:
        limited = alice if timeout == "of the last" else other
        limited.query("SET statement_timeout = '40ms'")
        answered = 0
        for at in POSITIONS:
            line.to_server = unchanged
            eventually(lambda: "D" in w.types_of(alice.query(ME)), "the server to be the first one's")

            def divide(data: bytes, at: int = at) -> Iterable[Part]:
                if not is_take_over(data):
                    return [data]
                pieces = frames(data)
                return [b"".join(pieces[:at]), 0.15, b"".join(pieces[at:])]

            line.to_server = divide
            messages = other.query(f"{insert(at)} RETURNING who, tenant, current_user")
            got = [each.row for each in messages if each.type == "D"]
            assert got in ([], [("alice", "umbrella", "alice")]), at
            answered += len(got)
        line.to_server = unchanged
    assert answered > len(POSITIONS) // 2
    written = seen()
    assert {row[:2] for row in written} <= {("alice", "umbrella")}
    numbers = [row[2] for row in written]
    assert len(numbers) == len(set(numbers)), "nothing is run twice"


def test_who_the_server_says_it_is_decides(one: Target, line: Line) -> None:
    """A reply is not passed on unless the server says that it is the client's."""

    def lie(data: bytes) -> Iterable[Part]:
        return [data.replace(b"\0\0\0\x05alice\0\0\0\x07gateway", b"\0\0\0\x05aliec\0\0\0\x07gateway")]

    with client(one, "alice", "acme") as alice, client(one, "bob", "umbrella") as bob:
        assert alice.rows(ME) == [("alice", "acme")]
        assert bob.rows(ME) == [("bob", "umbrella")]
        before = bob.value("SELECT pg_backend_pid()")
        line.to_client = lie
        messages = alice.query("SELECT 'not for you'")
        line.to_client = unchanged
        assert w.types_of(messages) == "EZ"
        assert w.error_of(messages)["C"] == "42501"
        assert bob.value("SELECT pg_backend_pid()") != before, "the connection was closed"
        assert alice.rows(ME) == [("alice", "acme")]


@pytest.mark.parametrize(
    "lie",
    [
        lambda data: data.replace(b"C\0\0\0\x0bCOMMIT\0", b"C\0\0\0\x0dROLLBACK\0"),
        lambda data: data.replace(b"1\0\0\0\x04", b"Z\0\0\0\x05I", 1),
        lambda data: data.replace(b"2\0\0\0\x04", b"I\0\0\0\x04", 1),
        lambda data: data.replace(b"D\0", b"D\1", 1),
    ],
)
def test_a_proof_that_is_not_whole_is_none(one: Target, line: Line, lie: Callable[[bytes], bytes]) -> None:
    with client(one, "alice", "acme") as alice, client(one, "bob", "umbrella") as bob:
        assert bob.rows(ME) == [("bob", "umbrella")]
        line.to_client = lambda data: [lie(data)]
        alice.send(w.query("SELECT 'not for you'"))
        if lie(b"D\0\0\0") != b"D\0\0\0":
            # An endless message: the limit is its size.
            line.to_client = lambda data: [lie(data) + b"x" * 64_000]
        messages = alice.until_ready()
        line.to_client = unchanged
        assert w.types_of(messages) == "EZ"
        assert alice.rows(ME) == [("alice", "acme")]
        assert bob.rows(ME) == [("bob", "umbrella")]


def test_a_line_that_is_cut_runs_nothing_twice(one: Target, line: Line, seen: Any) -> None:
    """What became of the request nobody knows: the client hears so, and no other server is asked."""

    def cut(data: bytes) -> Iterable[Part]:
        return [data, 0.2, CUT] if is_take_over(data) else [data]

    with client(one, "alice", "acme") as alice, client(one, "bob", "umbrella") as bob:
        assert bob.rows(ME) == [("bob", "umbrella")]
        line.to_client = lambda data: []
        line.to_server = cut
        messages = alice.query(insert(1))
        line.to_server = line.to_client = unchanged
        assert w.error_of(messages)["C"] == "08006"
        assert alice.rows(ME) == [("alice", "acme")]
    assert seen() == [("alice", "acme", 1)]


class Ending:
    """A server that ends before it has read the take-over: its last word comes in place of the proof."""

    def __init__(self, line: Line) -> None:
        self.line, self.arrived = line, threading.Event()
        line.to_server = self._swallow

    def _swallow(self, data: bytes) -> Iterable[Part]:
        if is_take_over(data):
            self.arrived.set()
            return []
        return [data]

    def end(self) -> None:
        fields = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"
        assert self.arrived.wait(20)
        self.line.say(b"E" + struct.pack("!i", len(fields) + 4) + fields)


def test_a_server_that_ended_before_is_no_error(one: Target, line: Line, seen: Any) -> None:
    """It has run nothing, so another is asked."""
    with client(one, "alice", "acme") as alice, client(one, "bob", "umbrella") as bob:
        assert bob.rows(ME) == [("bob", "umbrella")]
        ending = Ending(line)
        alice.send(w.query(insert(1)))
        ending.end()
        messages = alice.until_ready()
        assert w.types_of(messages) == "CZ", (
            messages,
            [e for e in one.gateway.log() if e["level"] != "INFO"],
        )
    assert seen() == [("alice", "acme", 1)]


def test_what_is_sent_again_leaves_nothing_for_the_next(make_gateway: MakeGateway, line: Line) -> None:
    """Nobody can tell from the text what it leaves: it is cleaned up where it has run in the end."""
    target = make_gateway(
        general={
            "default_pool_size": 1,
            "tls_verify": "disabled",
            "idle_healthcheck_delay": 3_600_000,
            # A look at the catalogue would be the last connection of the line, which is the one that ends.
            "server_cleaning": "never",
        },
        databases=[{"name": DATABASE, "host": "127.0.0.1", "port": line.port}],
        jwt={**SHARED, "guard": "standard"},
    )
    same = "SELECT pg_backend_pid(), current_setting('work_mem')"
    with client(target, "alice", "acme") as alice, client(target, "bob", "umbrella") as bob:
        ((before, usual),) = bob.rows(same)
        ending = Ending(line)
        alice.send(w.query("DO $$ BEGIN PERFORM set_config('work_mem', '5MB', false); END $$"))
        ending.end()
        assert w.types_of(alice.until_ready()) == "CZ"
        line.to_server = unchanged
        with client(target, "alice", "acme") as again:
            ((after, now),) = again.rows(same)
        assert after != before
        assert now == usual != "5MB"


def test_in_front_of_what_is_no_server_it_is_a_round_trip(one: Target, line: Line) -> None:
    """Whoever answers in the server's name knows another process number, and may know another protocol."""

    def renumber(data: bytes) -> Iterable[Part]:
        at = data.find(b"K\0\0\0\x0c")
        return [data if at < 0 else data[: at + 5] + b"\0\0\0\x07" + data[at + 9 :]]

    line.to_client = renumber
    with client(one, "alice", "acme") as alice, client(one, "bob", "umbrella") as bob:
        alice.value("SELECT 1")
        line.forget()
        for _ in range(3):
            assert bob.rows(ME) == [("bob", "umbrella")]
            assert alice.rows(ME) == [("alice", "acme")]
        assert line.requests == ["P", "Q"] * 6


def test_a_client_that_leaves_takes_nothing_with_it(one: Target, line: Line, seen: Any) -> None:
    """Also when PostgreSQL has not yet said who the connection is."""
    line.to_client = lambda data: [0.05, data]
    with client(one, "bob", "umbrella") as bob:
        for number in range(5):
            assert bob.rows(ME) == [("bob", "umbrella")]
            alice = client(one, "alice", "acme")
            alice.send(w.query(insert(number)), w.TERMINATE if number % 2 else b"")
            alice.close()
            assert bob.rows(ME) == [("bob", "umbrella")]
    assert {row[:2] for row in seen()} <= {("alice", "acme")}


@contextmanager
def nobody_becomes_another(cluster: Any) -> Iterator[Callable[[], None]]:
    """A server that must look up a role waits for the end of the block. Gives what waits until one does."""
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = 'gateway'"
    with cluster.admin() as admin, admin.transaction():
        admin.execute("LOCK TABLE pg_catalog.pg_authid")
        yield lambda: eventually(
            lambda: admin.execute(waiting).fetchone(), "a server that waits for the lock"
        )


@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
def test_a_cancel_request_in_the_middle_ends_the_request(
    one: Target, cluster: Any, seen: Any, extended: bool
) -> None:
    """PostgreSQL cancels the take-over; nothing behind it is run, now or later, and nobody else notices."""
    with client(one, "alice", "acme") as alice, client(one, "bob", "umbrella") as bob:
        assert alice.rows(ME) == [("alice", "acme")]
        with nobody_becomes_another(cluster) as someone_waits:
            bob.send(w.step(insert(1)) + w.SYNC if extended else w.query(insert(1)))
            someone_waits()
            with Wire(one.host, one.port) as canceller:
                canceller.send(w.cancel_request(bob.cancel_key))
                assert canceller.closed_by_peer()
            messages = bob.until_ready()
        assert w.types_of(messages) == "EZ"
        assert w.error_of(messages)["C"] == "57014"
        assert alice.rows(ME) == [("alice", "acme")]
        assert bob.rows(ME) == [("bob", "umbrella")]
    assert seen() == []


def test_a_client_that_leaves_in_the_middle_is_served_all_the_same(
    one: Target, cluster: Any, seen: Any
) -> None:
    """It has asked; PostgreSQL would do it too."""
    with client(one, "alice", "acme") as alice:
        bob = client(one, "bob", "umbrella")
        assert alice.rows(ME) == [("alice", "acme")]
        with nobody_becomes_another(cluster) as someone_waits:
            bob.send(w.query(insert(1)))
            someone_waits()
            bob.close()
        assert alice.rows(ME) == [("alice", "acme")]
    eventually(lambda: seen() == [("bob", "umbrella", 1)], "the row")


@pytest.mark.skipif(len(INSTALLATIONS) < 2, reason="no further PostgreSQL version on this machine")
@pytest.mark.parametrize("installation", INSTALLATIONS[1:], ids=lambda one: f"PostgreSQL {one.version}")
def test_subjects_take_turns_on_every_version(installation: Installation, issuer: Issuer) -> None:
    with Workspace() as workspace:
        cluster = Cluster(workspace, installation, replica=False)
        line = Line(cluster.primary.port)
        general = {"default_pool_size": 1, "tls_verify": "disabled", "idle_healthcheck_delay": 3_600_000}
        # As above: not counted.
        general |= {"server_cleaning": "never"}
        databases = [{"name": DATABASE, "host": "127.0.0.1", "port": line.port}]
        changes = {"general": general, "databases": databases, "jwt": SHARED}
        target = Target.of(
            Gateway(workspace, merged(default_config(cluster, issuer), changes)).start(), issuer
        )
        with client(target, "alice", "acme") as alice, client(target, "bob", "umbrella") as bob:
            alice.value("SELECT 1")
            for sql in (
                "SELECT 1",
                "SELECT 1/0",
                "BEGIN; ROLLBACK",
                "VACUUM notes",
                "SET TimeZone = 'Asia/Tokyo'",
            ):
                line.forget()
                bob.query(sql)
                assert line.requests[0] == "P"
                assert bob.rows(ME) == [("bob", "umbrella")]
                assert alice.rows(ME) == [("alice", "acme")]
                assert alice.value("SHOW TimeZone") != "Asia/Tokyo"
            with cluster.admin() as admin:
                admin.execute("REVOKE bob FROM gateway")
            assert w.error_of(bob.query("SELECT 1"))["C"] == "42501"
            assert alice.rows(ME) == [("alice", "acme")]
        line.close()


def test_what_a_client_was_told_stays_true(one: Target) -> None:
    """PostgreSQL reports parameters when it is ready, behind the rows: to each client its own."""

    def reports(messages: Iterable[Message]) -> dict[str, str]:
        pairs = [each.body[:-1].split(b"\0") for each in messages if each.type == "S"]
        return {name.decode(): value.decode() for name, value in pairs}

    token = one.issuer.token("bob", tenant="b")
    with client(one, "alice", "acme") as alice, one.wire("bob", token, timezone="Asia/Tokyo") as bob:
        assert bob.parameters["TimeZone"] == "Asia/Tokyo"
        for _ in range(3):
            assert reports(alice.query("SELECT 1")).get("TimeZone") in (None, alice.parameters["TimeZone"])
            assert reports(bob.query("SELECT 1")).get("TimeZone") in (None, "Asia/Tokyo")
        assert reports(alice.query("SET TimeZone = 'Europe/Paris'")) == {"TimeZone": "Europe/Paris"}
        assert reports(bob.query("SET TimeZone = 'America/Lima'")) == {"TimeZone": "America/Lima"}
        assert alice.value("SHOW TimeZone") == "Europe/Paris"
        assert bob.value("SHOW TimeZone") == "America/Lima"
