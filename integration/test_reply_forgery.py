"""A client that tries to speak for the server: replies that nobody counts, texts that are kept for later, and
requests behind a statement that has taken another role. Whatever it sends, everybody stays who they are, and
nobody reads another's answers.
"""

from __future__ import annotations

import contextlib
import re
import struct
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness import eventually, merged, primary_alone
from harness import wire as w
from harness.cluster import DATABASE
from harness.line import Line, Part, frames
from harness.ports import free_port
from harness.target import Target
from harness.wire import Wire

MakeGateway = Callable[..., Target]

VARIABLES = {"session": {"variables": {"app.tenant": {"value": "{tenant}"}}}}
ME = "SELECT current_user, session_user, current_setting('role'), current_setting('app.tenant', true)"
BAD, GOOD = w.copy_data(b"no number\n"), w.copy_data(b"1\n")
COPY = "COPY scratch.numbers FROM STDIN"
TABLES = """
    CREATE TABLE scratch.numbers (n int);
    CREATE TABLE scratch.secrets (secret text);
    CREATE SCHEMA trap AUTHORIZATION alice;
    CREATE TABLE trap.secrets (secret text);
    ALTER TABLE trap.secrets OWNER TO alice;
    GRANT ALL ON scratch.numbers, scratch.secrets TO subjects;
"""
LONG = "a" * 63


@pytest.fixture(autouse=True)
def tables(cluster: Any) -> Iterator[None]:
    with cluster.admin() as admin:
        admin.execute(TABLES)
    yield
    with cluster.admin() as admin:
        admin.execute("DROP TABLE scratch.numbers, scratch.secrets; DROP SCHEMA trap CASCADE")


@pytest.fixture
def one_server(make_gateway: MakeGateway, cluster: Any) -> Callable[..., Target]:
    """A gateway whose clients share one server connection."""

    def make(general: dict[str, Any] | None = None, **jwt: Any) -> Target:
        return make_gateway(
            databases=[primary_alone(cluster)],
            general={"default_pool_size": 1, **(general or {})},
            jwt=merged(VARIABLES, jwt),
        )

    return make


def client(target: Target, user: str, **parameters: str) -> Wire:
    return target.wire(user, target.issuer.token(user, tenant=f"of {user}"), **parameters)


def is_itself(wire: Wire, user: str) -> bool:
    who, _, role, tenant = wire.rows(ME)[0]
    return (who, role, tenant) == (user, user, f"of {user}")


def run(name: str, portal: str = "") -> bytes:
    return w.bind(statement=name, portal=portal) + w.execute(portal)


# Replies


@pytest.mark.parametrize("shared", [False, True])
def test_a_copy_that_fails_in_front_of_a_sync_gives_nobody_another_reply(
    one_server: Callable[..., Target], shared: bool
) -> None:
    target = one_server(shared_pool=shared)
    with client(target, "alice") as attacker, client(target, "bob" if shared else "alice") as victim:
        attacker.query("SELECT 1")
        slow = w.query("SELECT 'of the attacker', pg_sleep(0.3)")
        attacker.send(w.parse(COPY), run(""), BAD, w.SYNC, w.COPY_DONE, w.SYNC, slow)

        assert victim.rows("SELECT 'of the victim'") == [("of the victim",)]
        assert victim.rows("SELECT 'again'") == [("again",)]

        first, second = w.types_of(attacker.until_ready()), attacker.until_ready()
        assert (first, w.types_of(second)) == ("12GEZ", "TDCZ")
        assert second[1].row[0] == "of the attacker"


def test_answers_that_a_client_has_written_are_none_of_the_gateways(
    one_server: Callable[..., Target],
) -> None:
    """Behind a failed COPY alice has the answers to bob's take-over given ahead, and the real one skipped."""
    target = one_server(shared_pool=True)
    with client(target, "bob") as bob, client(target, "alice") as alice:
        assert is_itself(bob, "bob")
        alice.query("SET search_path = trap, public")
        statements = {
            "copy": COPY,
            "slow": "SELECT pg_sleep(0.5) WHERE pg_sleep(0.5) IS NULL",
            "nothing": "SELECT WHERE false",
            "who": "SELECT 'bob'::name, 'gateway'::name, 'f', '1'",
            "commit": "COMMIT",
        }
        alice.send(*(w.parse(sql, name) for name, sql in statements.items()), w.SYNC)
        alice.until_ready()
        forged = run("slow") + run("nothing") * 11 + run("who") + run("commit") + w.FLUSH
        swallow = run("slow") + run("copy") + w.SYNC + BAD
        alice.send(run("copy"), BAD, w.SYNC, w.COPY_DONE, forged, swallow)

        bob.query("INSERT INTO scratch.secrets VALUES ('of bob')")
        assert is_itself(bob, "bob")
        assert bob.value("SELECT current_setting('search_path')") == '"$user", public'
        assert bob.rows("SELECT * FROM scratch.secrets") == [("of bob",)]
    with client(target, "alice") as alice:
        assert alice.rows("SELECT * FROM trap.secrets") == []


@pytest.mark.parametrize("kind", ["simple", "extended"])
@pytest.mark.parametrize("data", [GOOD, BAD], ids=["good", "bad"])
def test_a_sync_in_front_of_the_data_is_not_answered(
    one_server: Callable[..., Target], kind: str, data: bytes
) -> None:
    """As libpq and tokio-postgres send it."""
    target = one_server()
    copy = w.query(COPY) if kind == "simple" else w.parse(COPY) + run("")
    with client(target, "alice") as wire, client(target, "alice") as other:
        wire.send(copy, w.SYNC)
        wire.receive_until("G")
        wire.send(data, w.COPY_DONE, w.SYNC)
        # A simple query has a ReadyForQuery of its own.
        ends = "Z" if kind == "extended" else "ZZ"
        seen = "".join(w.types_of(wire.until_ready()) for _ in ends)
        assert seen == ("C" if data is GOOD else "E") + ends
        assert other.value("SELECT 1") == wire.value("SELECT 1") == "1"


def test_a_copy_is_found_wherever_it_is_run(one_server: Callable[..., Target]) -> None:
    """Prepared long before, bound before a Sync, or in a session whose statements nobody reads."""
    for mode in ("transaction", "session"):
        target = one_server({"pooler_mode": mode})
        with client(target, "alice") as wire:
            wire.send(w.parse(COPY, "copy"), w.SYNC)
            wire.until_ready()
            wire.query("BEGIN")
            wire.send(w.bind(statement="copy", portal="p"), w.SYNC)
            wire.until_ready()
            wire.send(w.execute("p"), w.SYNC)
            wire.receive_until("G")
            wire.send(BAD, w.SYNC, w.COPY_DONE, w.SYNC)
            assert w.types_of(wire.until_ready()) == "EZ"
            assert w.types_of(wire.query("ROLLBACK")) == "CZ"
            assert is_itself(wire, "alice")


@pytest.mark.parametrize("kind", ["simple", "extended"])
@pytest.mark.parametrize("behind", [w.query("SELECT 1"), w.parse("SELECT 1"), w.query("DISCARD ALL")])
def test_what_does_not_belong_into_a_copy_ends_the_session_as_postgresql_does(
    one_server: Callable[..., Target], kind: str, behind: bytes
) -> None:
    target = one_server()
    copy = w.query(COPY) if kind == "simple" else w.parse(COPY) + run("")
    with client(target, "alice") as wire, client(target, "alice") as other:
        wire.send(copy)
        wire.receive_until("G")
        wire.send(GOOD, behind, w.COPY_DONE, w.SYNC)
        error, last = (wire.receive_until("E")[-1].fields for _ in range(2))
        assert (error["S"], error["C"]) == ("ERROR", "08P01")
        assert error["M"] == f"unexpected message type 0x{behind[0]:02X} during COPY from stdin"
        assert (last["S"], last["C"]) == ("FATAL", "08P01")
        assert "synchronization" in last["M"]
        assert wire.closed_by_peer()
        assert other.rows("SELECT count(*) FROM scratch.numbers") == [("0",)]


@pytest.mark.parametrize("forged", [w.message("Z", b"I"), w.message("2"), w.message("1")])
def test_a_reply_that_nothing_asked_for_ends_the_connection_and_is_counted(
    make_gateway: MakeGateway, cluster: Any, forged: bytes
) -> None:
    line, port = Line(cluster.primary.port), free_port()
    with contextlib.closing(line):
        target = make_gateway(
            general={
                "default_pool_size": 1,
                "tls_verify": "disabled",
                "idle_healthcheck_delay": 3_600_000,
                "openmetrics_host": "127.0.0.1",
                "openmetrics_port": port,
            },
            databases=[{"name": DATABASE, "host": "127.0.0.1", "port": line.port}],
        )
        with client(target, "alice") as wire:
            assert wire.value("SELECT 1") == "1"

            def forge(data: bytes) -> list[Part]:
                is_answer = any(frame[:1] == b"D" and b"forge" in frame for frame in frames(data))
                return [forged + data] if is_answer else [data]

            line.to_client = forge
            error = w.error_of(wire.query("SELECT 'forge'"))
            assert error["C"] == "08P01"
            line.to_client = lambda data: [data]
            assert wire.value("SELECT 1") == "1"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            assert "pgdog_jwt_server_desyncs_total 1\n" in answer.read().decode()


NONCE = re.compile(rb"[0-9a-f]{32}")


@pytest.mark.parametrize("kind", ["transaction", "session"])
def test_no_question_of_the_gateways_is_skipped_and_its_answer_believed(
    make_gateway: MakeGateway, cluster: Any, kind: str
) -> None:
    """Each is repeated by PostgreSQL itself, whatever was sent in front of it."""
    line = Line(cluster.primary.port)
    answered: set[bytes] = set()

    def note(data: bytes) -> list[Part]:
        answered.update(NONCE.findall(data))
        return [data]

    line.to_client = note
    with contextlib.closing(line):
        target = make_gateway(
            general={"default_pool_size": 1, "tls_verify": "disabled", "pooler_mode": kind},
            databases=[{"name": DATABASE, "host": "127.0.0.1", "port": line.port}],
            jwt=merged(VARIABLES, {"shared_pool": True}),
        )
        for user in ("alice", "bob", "alice"):
            with client(target, user) as wire:
                wire.send(
                    w.parse(COPY), run(""), BAD, w.SYNC, w.COPY_DONE, w.parse("DISCARD ALL"), run(""), w.SYNC
                )
                wire.until_ready()
                wire.query("RESET ALL")
                wire.query("SET work_mem = '9MB'")
                assert is_itself(wire, user)
        # The last session's server is cleaned when it has left.
        eventually(lambda: set(NONCE.findall(line.sent)) == answered, "an answer to every question")
    assert len(answered) > 5


# Texts that are kept for later


def bound_before_a_sync(wire: Wire, sql: str) -> None:
    wire.query("BEGIN")
    wire.send(w.parse(sql, "kept"), w.bind(statement="kept", portal="p"), w.SYNC)
    wire.until_ready()
    wire.send(w.execute("p"), w.SYNC)
    wire.until_ready()
    wire.query("COMMIT")


def by_a_name_of_more_than_63_bytes(wire: Wire, sql: str) -> None:
    wire.send(w.parse(sql, LONG + "X"), w.SYNC)
    wire.until_ready()
    wire.send(run(LONG + "Y"), w.SYNC)
    wire.until_ready()


def parsed_three_times(wire: Wire, sql: str) -> None:
    wire.send(w.parse(sql), w.parse("SELECT 1"), w.parse(sql), w.SYNC)
    wire.until_ready()
    wire.send(run(""), w.SYNC)
    wire.until_ready()


def closed_and_parsed_in_one_batch(wire: Wire, sql: str) -> None:
    wire.send(w.parse(sql, "kept"), w.SYNC)
    wire.until_ready()
    wire.send(w.close("S", "kept"), w.parse(sql, "kept"), w.SYNC)
    wire.until_ready()
    wire.send(run("kept"), w.SYNC)
    wire.until_ready()


def executed_by_sql(wire: Wire, sql: str) -> None:
    wire.send(w.parse(sql, "kept"), w.SYNC)
    wire.until_ready()
    for (name,) in wire.rows("SELECT name FROM pg_prepared_statements"):
        wire.query(f'EXECUTE "{name}"')


def executed_by_sql_in_a_transaction(wire: Wire, sql: str) -> None:
    wire.query("BEGIN")
    executed_by_sql(wire, sql)
    seen = [each.row for each in wire.query(ME) if each.type == "D"]
    assert all(row[::3] == ("alice", "of alice") for row in seen)
    wire.query("ROLLBACK")


def behind_a_copy_that_fails(wire: Wire, sql: str) -> None:
    wire.send(w.parse(COPY, "copy"), w.parse(sql, "kept"), w.SYNC)
    wire.until_ready()
    wire.send(run("copy"), BAD, w.SYNC, w.COPY_DONE, run("kept"), w.SYNC)
    wire.until_ready()


DETOURS = [
    bound_before_a_sync,
    by_a_name_of_more_than_63_bytes,
    parsed_three_times,
    closed_and_parsed_in_one_batch,
    executed_by_sql,
    executed_by_sql_in_a_transaction,
    behind_a_copy_that_fails,
]
PLACES = {
    "own": ({}, {}),
    "shared": ({}, {"shared_pool": True}),
    "disabled": ({"prepared_statements": "disabled"}, {"shared_pool": True}),
    "full": ({"prepared_statements": "full"}, {}),
    "session": ({"pooler_mode": "session"}, {"shared_pool": True}),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_statement_that_forgets_cannot_be_kept_for_later(
    one_server: Callable[..., Target], place: str
) -> None:
    general, jwt = PLACES[place]
    target = one_server(general, **jwt)
    for sql in ("DISCARD ALL", "RESET ALL"):
        for detour in DETOURS:
            with client(target, "alice") as wire, contextlib.suppress(EOFError):
                detour(wire, sql)
                assert is_itself(wire, "alice"), (sql, detour.__name__)
            for user in ("alice", "bob"):
                with client(target, user) as wire:
                    assert is_itself(wire, user), (sql, detour.__name__, "the next client")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("sql", ["DISCARD ALL", "RESET ALL"])
def test_no_text_that_forgets_lies_on_a_server(
    one_server: Callable[..., Target], place: str, sql: str
) -> None:
    general, jwt = PLACES[place]
    target = one_server(general, **jwt)
    with client(target, "alice") as wire:
        wire.query("BEGIN")
        wire.send(w.parse(sql, "kept"), w.SYNC)
        assert w.types_of(wire.until_ready()) == "1Z"
        texts = wire.rows("SELECT statement FROM pg_prepared_statements")
        assert texts
        assert all(sql not in text for (text,) in texts)


@pytest.mark.parametrize("sql", ["DISCARD ALL", "RESET ALL"])
@pytest.mark.parametrize("named", ["", "kept"], ids=["unnamed", "named"])
def test_it_has_its_effect_before_what_comes_behind_it(
    one_server: Callable[..., Target], sql: str, named: str
) -> None:
    target = one_server()
    tag = (sql if sql == "DISCARD ALL" else "RESET").encode() + b"\0"
    with client(target, "alice", application_name="mine") as wire:
        wire.query("SET application_name = 'other'")
        name = w.parse("SELECT current_setting('application_name')") + w.bind() + w.execute()
        wire.send(w.parse(sql, named), run(named), name, w.SYNC)
        answer = wire.until_ready()
        assert [each.body for each in answer if each.type == "C"] == [tag, b"SELECT 1\0"]
        assert [each.row for each in answer if each.type == "D"] == [("mine",)]
        assert is_itself(wire, "alice")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("sql", ["DISCARD ALL", "RESET ALL"])
@pytest.mark.parametrize("form", ["simple", "extended", "extended, without Sync"])
def test_what_is_pipelined_behind_it_is_run_as_who_the_session_is(
    one_server: Callable[..., Target], place: str, sql: str, form: str
) -> None:
    general, jwt = PLACES[place]
    target = one_server(general, **jwt)
    forgets = {
        "simple": w.query(sql),
        "extended": w.step(sql) + w.SYNC,
        "extended, without Sync": w.step(sql),
    }[form]
    with client(target, "alice", options="-c work_mem=9MB") as wire:
        for first in (b"", w.query("SELECT 1")):
            wire.send(first, forgets, w.query(ME), w.query("SHOW work_mem"), w.step(ME), w.SYNC)
            answers = [
                wire.until_ready() for _ in range(3 + bool(first) + (form != "extended, without Sync"))
            ]
            rows = [each.row for answer in answers for each in answer if each.type == "D"]
            assert [row[::3] for row in rows if len(row) == 4] == [("alice", "of alice")] * 2
            assert ("9MB",) in rows
    with client(target, "bob") as bob:
        assert is_itself(bob, "bob")


def test_reset_all_in_a_transaction_is_undone_with_it(one_server: Callable[..., Target]) -> None:
    target = one_server()
    with client(target, "alice") as wire:
        wire.query("SET work_mem = '9MB'")
        for ask in (wire.query, lambda sql: (wire.send(w.extended(sql)), wire.until_ready())):
            wire.query("BEGIN")
            ask("RESET ALL")
            assert wire.value("SHOW work_mem") != "9MB"
            assert is_itself(wire, "alice")
            wire.query("ROLLBACK")
            assert wire.value("SHOW work_mem") == "9MB"
            assert is_itself(wire, "alice")


def test_discard_all_is_refused_where_postgresql_refuses_it(one_server: Callable[..., Target]) -> None:
    target = one_server()
    with client(target, "alice") as wire:
        wire.query("BEGIN")
        assert w.error_of(wire.query("DISCARD ALL"))["C"] == "25001"
        assert w.error_of(wire.query("DISCARD ALL"))["C"] == "25P02"
        wire.query("ROLLBACK")
        wire.query("BEGIN")
        wire.send(w.extended("DISCARD ALL"))
        assert w.error_of(wire.until_ready())["C"] == "25001"
        wire.query("ROLLBACK")
        wire.send(w.step("SELECT 1"), w.step("DISCARD ALL"), w.SYNC)
        assert w.error_of(wire.until_ready())["C"] == "25001"
        assert is_itself(wire, "alice")


# guard = "standard"


TAKES_A_ROLE = "DO $$ BEGIN PERFORM set_config('role', 'bob', false); END $$"
CHANGES_A_VARIABLE = "DO $$ BEGIN PERFORM set_config('app.tenant', 'of bob', false); END $$"


@pytest.fixture(params=["transaction", "session"])
def standard(request: pytest.FixtureRequest, one_server: Callable[..., Target]) -> Target:
    return one_server({"pooler_mode": request.param}, guard="standard", shared_pool=True)


@pytest.mark.parametrize("sql", [TAKES_A_ROLE, CHANGES_A_VARIABLE])
def test_what_is_pipelined_behind_a_role_that_was_taken_is_not_run_as_it(standard: Target, sql: str) -> None:
    secret = w.step("INSERT INTO scratch.secrets SELECT current_user || current_setting('app.tenant')")
    with client(standard, "alice") as wire:
        wire.send(w.step(sql), secret, w.SYNC, w.query(ME))
        answer = wire.until_ready()
        assert w.error_of(answer)["C"] == "42501"
        assert wire.until_ready()[1].row[0] == "alice"
        wire.query("BEGIN")
        wire.send(w.query(sql), w.query(ME))
        wire.until_ready()
        assert wire.until_ready()[1].row[::3] == ("alice", "of alice")
        assert is_itself(wire, "alice")
        wire.query("COMMIT")
        assert is_itself(wire, "alice")
        wire.send(w.query(sql + ";SELECT 1"), w.query(ME))
        wire.until_ready()
        assert wire.until_ready()[1].row[::3] == ("alice", "of alice")


def test_a_batch_that_changes_nothing_is_run_as_it_is(standard: Target) -> None:
    with client(standard, "alice") as wire:
        steps = [w.step(f"SELECT {number}") for number in range(3)]
        wire.send(*steps, w.step("DO $$ BEGIN END $$"), *steps, w.SYNC)
        assert w.types_of(wire.until_ready()) == "12DC" * 3 + "12C" + "12DC" * 3 + "Z"


# Errors that answer no request


@pytest.mark.parametrize("shared", [False, True])
def test_a_batch_whose_time_is_up_gives_nobody_another_reply(
    one_server: Callable[..., Target], shared: bool
) -> None:
    """Its error is that of a Flush, which has no reply, and PostgreSQL skips the simple query behind it."""
    target = one_server(shared_pool=shared)
    with client(target, "alice") as attacker, client(target, "bob" if shared else "alice") as victim:
        victim.query("SELECT 1")
        limit = w.parse("SET LOCAL statement_timeout = 100") + w.bind() + w.execute()
        attacker.send(limit, w.parse("SELECT 1"), w.bind(), w.FLUSH)
        time.sleep(0.3)
        attacker.send(w.FLUSH, w.query("SELECT 'mine'"))
        attacker.send(w.parse("SELECT nonsense"), w.query("SELECT 'mine'"), w.SYNC)
        attacker.send(w.parse("SELECT 2"), w.FLUSH, w.query("SELECT 'mine'"), w.query("SELECT 1/0"))
        attacker.send(w.query("SELECT 1/0"), w.query("SELECT 'of the attacker', pg_sleep(0.3)"))
        attacker.send(w.query("SELECT 'also of the attacker'"), w.SYNC)

        assert victim.rows("SELECT 'of the victim'") == [("of the victim",)]
        assert victim.rows("SELECT 'again'") == [("again",)]

        answers = [w.types_of(attacker.until_ready()) for _ in range(6)]
        assert answers == ["12C12EZ", "1TDCZ", "EZ", "EZ", "TDCZ", "TDCZ"]


def test_an_error_behind_a_batch_without_sync_is_known_to_be_the_querys(
    one_server: Callable[..., Target],
) -> None:
    target = one_server()
    with client(target, "alice") as wire, client(target, "alice") as other:
        for _ in range(3):
            wire.send(
                w.parse("SELECT 1"), w.bind(), w.execute(), w.query("SELECT 1/0"), w.query("SELECT 'on'")
            )
            assert w.types_of(wire.until_ready()) == "12DCEZ"
            assert wire.until_ready()[1].row == ("on",)
            assert other.rows("SELECT 'mine'") == [("mine",)]


@pytest.mark.parametrize("kind", ["H", "S"])
def test_a_message_without_a_body_has_none(one_server: Callable[..., Target], kind: str) -> None:
    """PostgreSQL would answer it with an error that belongs to no request."""
    target = one_server()
    with client(target, "alice") as wire, client(target, "alice") as other:
        wire.send(w.parse("SELECT 1"), w.bind(), w.message(kind, b"x"), w.query("SELECT 'mine'"))
        assert wire.closed_by_peer()
        assert other.rows("SELECT 'mine too'") == [("mine too",)]


def test_a_server_that_is_lost_in_a_batch_takes_the_whole_batch_with_it(
    make_gateway: MakeGateway, cluster: Any
) -> None:
    """Also where the gateway has ended a transaction in the middle of it, behind DISCARD ALL."""
    line = Line(cluster.primary.port)
    target = make_gateway(
        general={
            "default_pool_size": 1,
            "tls_verify": "disabled",
            "query_timeout": 1_000,
            "server_cleaning": "never",
        },
        databases=[{"name": DATABASE, "host": "127.0.0.1", "port": line.port}],
        jwt=VARIABLES,
    )
    with contextlib.closing(line), client(target, "alice") as wire:
        wire.query("SELECT 1")
        line.to_client = lambda data: []
        discard = w.parse("DISCARD ALL") + run("")
        wire.send(discard, w.parse("INSERT INTO scratch.numbers VALUES (1)"), run(""), w.SYNC)

        assert w.types_of(wire.until_ready()) == "EZ"

        line.to_client = lambda data: [data]
        assert wire.rows("SELECT count(*) FROM scratch.numbers") == [("0",)]


def test_an_error_in_front_of_half_a_request_smuggles_nothing_in(
    make_gateway: MakeGateway, cluster: Any
) -> None:
    """What the gateway would ask then is as long as the end of the request that would be read as messages."""
    end = w.SYNC + w.query(f"{'DROP TABLE z':23}")
    with cluster.admin() as admin:
        admin.execute("CREATE TABLE z (n int); ALTER TABLE z OWNER TO alice")
    try:
        target = make_gateway(databases=[primary_alone(cluster)], general={"default_pool_size": 1})
        with target.wire("alice", target.issuer.token("alice")) as wire:
            limit = w.parse("SET LOCAL statement_timeout = 100") + w.bind() + w.execute()
            wire.send(limit, w.parse("SELECT 1"), w.bind(), w.FLUSH)
            time.sleep(0.3)
            # lowrite, by number.
            call = w.message("F", struct.pack("!I", 955) + b"\0" * 200_000 + end)
            wire.send(w.FLUSH, call[:100_000])
            time.sleep(0.5)
            with contextlib.suppress(OSError):
                wire.send(call[100_000:], w.SYNC)
                wire.until_ready()
        with cluster.admin() as admin:
            time.sleep(0.3)
            assert admin.execute("SELECT to_regclass('z') IS NOT NULL").fetchone() == (True,)
    finally:
        with cluster.admin() as admin:
            admin.execute("DROP TABLE IF EXISTS z")
