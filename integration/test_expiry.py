"""What becomes of a session when its token ends: `on_expiry`."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from harness import Cluster, eventually, primary_alone
from harness import wire as w
from harness.external import is_external
from harness.target import Target
from harness.wire import Wire

pytestmark = pytest.mark.skipif(is_external(), reason="starts gateways of its own")

Start = Callable[..., Target]
EXPIRED = "terminating connection because the token of this session has expired"
SHARED = {"shared_pool": True}
PLACES = [
    pytest.param("transaction", {}, id="transaction, own pools"),
    pytest.param("session", {}, id="session, own pools"),
    pytest.param("statement", {}, id="statement, own pools"),
    pytest.param("transaction", SHARED, id="transaction, a shared pool"),
    pytest.param("session", SHARED, id="session, a shared pool"),
]


@pytest.fixture
def start(make_gateway: Start, cluster: Cluster) -> Start:
    def make(mode: str = "transaction", **jwt: Any) -> Target:
        general = {"pooler_mode": mode, "default_pool_size": 2, "log_disconnections": True}
        return make_gateway(general=general, jwt=jwt, databases=[primary_alone(cluster)])

    return make


@pytest.fixture
def name() -> str:
    """Of the application, so that its server connections can be found."""
    return f"expiry-{uuid.uuid4()}"


@pytest.fixture(autouse=True)
def nothing_is_left(cluster: Cluster) -> Iterator[None]:
    """No transaction stays open on a server connection, and none of the tests' statements goes on."""
    yield
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE usename = 'gateway' AND backend_type = 'client backend'"
        " AND (state LIKE 'idle in transaction%%' OR state = 'active')"
    )
    with cluster.admin() as admin:
        eventually(lambda: (admin.execute(query).fetchone() or [1])[0] == 0, "server connections at rest")


@pytest.fixture
def copies(cluster: Cluster) -> Iterator[str]:
    """A table without row-level security, which COPY could not write to."""
    table = f"copies_{uuid.uuid4().hex}"
    with cluster.admin() as admin:
        admin.execute(f"CREATE TABLE {table} (body text)")
        admin.execute(f"GRANT ALL ON {table} TO subjects")
    yield table
    with cluster.admin() as admin:
        admin.execute(f"DROP TABLE {table}")


def short(target: Target, seconds: float = 4, user: str = "alice", **claims: Any) -> Wire:
    return target.wire(user, target.issuer.token(user, expires_in=seconds, **claims))


def last_word(wire: Wire) -> dict[str, str]:
    """What the client hears without having said anything."""
    message = wire.receive()
    while message.type != "E":
        message = wire.receive()
    assert wire.closed_by_peer()
    return message.fields


@pytest.mark.parametrize(("mode", "jwt"), PLACES)
def test_an_idle_session_ends_without_traffic(start: Start, mode: str, jwt: dict[str, Any]) -> None:
    target = start(mode, **jwt)
    with short(target) as wire:
        assert wire.value("SELECT current_user") == "alice"

        word = last_word(wire)

    assert (word["S"], word["C"], word["M"]) == ("FATAL", "57P01", EXPIRED)
    assert "new token" in word["H"]
    with target.wire("alice") as again:
        assert again.value("SELECT current_user") == "alice"
    events = target.gateway.log()
    assert [each["subject"] for each in events if each.get("event") == "expiry"] == ["alice"]


def test_a_session_that_never_spoke_ends(start: Start) -> None:
    with short(start()) as wire:
        assert last_word(wire)["C"] == "57P01"


def test_the_leeway_belongs_to_the_token(start: Start) -> None:
    target = start(leeway=3600)
    with short(target, -5) as wire:
        assert wire.value("SELECT 1") == "1"
        assert wire.value("SELECT 2") == "2"


@pytest.mark.parametrize(("mode", "jwt"), [place for place in PLACES if place.values[0] != "statement"])
def test_a_transaction_may_finish(start: Start, mode: str, jwt: dict[str, Any]) -> None:
    target = start(mode, expiry_grace=20_000, **jwt)
    body = f"note {uuid.uuid4()}"
    with short(target) as wire:
        wire.rows("BEGIN")
        wire.rows(f"INSERT INTO notes (body) VALUES ('{body}')")
        ended(target)
        assert wire.value(f"SELECT count(*) FROM notes WHERE body = '{body}'") == "1"
        messages = wire.query("COMMIT")
        assert w.types_of(messages) == "CZ"
        assert last_word(wire)["C"] == "57P01"
    with target.wire("alice") as other:
        assert other.value(f"SELECT count(*) FROM notes WHERE body = '{body}'") == "1"


@pytest.mark.parametrize(("mode", "jwt"), [place for place in PLACES if place.values[0] != "statement"])
def test_a_transaction_that_does_not_finish_is_rolled_back(
    start: Start, mode: str, jwt: dict[str, Any]
) -> None:
    target = start(mode, expiry_grace=500, **jwt)
    body = f"note {uuid.uuid4()}"
    with short(target) as wire:
        wire.rows("BEGIN")
        wire.rows(f"INSERT INTO notes (body) VALUES ('{body}')")
        assert last_word(wire)["C"] == "57P01"
    with target.wire("alice") as other:
        assert other.value(f"SELECT count(*) FROM notes WHERE body = '{body}'") == "0"


def test_a_grace_of_nothing_ends_what_runs_at_once(start: Start) -> None:
    target = start(expiry_grace=0)
    with short(target) as wire:
        wire.send(w.query("SELECT pg_sleep(600)"))
        assert last_word(wire)["M"] == EXPIRED


@pytest.mark.parametrize("form", ["simple", "extended", "no sync"])
def test_a_statement_beyond_the_grace_is_cancelled(start: Start, form: str) -> None:
    """`nothing_is_left` sees that PostgreSQL does not go on with it."""
    target = start(expiry_grace=300)
    with short(target) as wire:
        parts = w.step("SELECT pg_sleep(600)")
        wire.send(
            {"simple": w.query("SELECT pg_sleep(600)"), "extended": parts + w.SYNC}.get(form, parts + w.FLUSH)
        )
        assert last_word(wire)["C"] == "57P01"


def test_a_statement_within_the_grace_gives_its_result(start: Start) -> None:
    target = start(expiry_grace=20_000)
    until = int(time.time()) + 3
    with target.wire("alice", target.issuer.token("alice", exp=until)) as wire:
        wire.send(w.query(f"SELECT 'in time' FROM pg_sleep_until(to_timestamp({until + 1}))"))
        assert [message.row for message in wire.until_ready() if message.type == "D"] == [("in time",)]
        assert last_word(wire)["C"] == "57P01"


def test_a_copy_obeys_the_grace(start: Start, copies: str) -> None:
    target = start(expiry_grace=500)
    with short(target) as wire:
        wire.send(w.query(f"COPY {copies} FROM STDIN"))
        wire.receive_until("G")
        wire.send(w.copy_data(b"never to be seen\n"))
        assert last_word(wire)["C"] == "57P01"
    with target.wire("alice") as other:
        assert other.value(f"SELECT count(*) FROM {copies} WHERE body = 'never to be seen'") == "0"


def test_a_copy_within_the_grace_is_complete(start: Start, copies: str) -> None:
    target = start(expiry_grace=20_000)
    body = f"note {uuid.uuid4()}"
    with short(target) as wire:
        wire.send(w.query(f"COPY {copies} FROM STDIN"))
        wire.receive_until("G")
        ended(target)
        wire.send(w.copy_data(f"{body}\n".encode()), w.COPY_DONE)
        assert w.types_of(wire.until_ready()) == "CZ"
        assert last_word(wire)["C"] == "57P01"
    with target.wire("alice") as other:
        assert other.value(f"SELECT count(*) FROM {copies} WHERE body = '{body}'") == "1"


def test_a_copy_that_is_asked_for_at_the_end_gets_its_data(start: Start, copies: str) -> None:
    """The token ends while the server has not asked for the data yet."""
    target = start(expiry_grace=20_000)
    until = int(time.time()) + 3
    body = f"note {uuid.uuid4()}"
    with target.wire("alice", target.issuer.token("alice", exp=until)) as wire:
        wire.send(w.query(f"SELECT pg_sleep_until(to_timestamp({until + 1})); COPY {copies} FROM STDIN"))
        wire.receive_until("G")
        wire.send(w.copy_data(f"{body}\n".encode()), w.COPY_DONE)
        assert w.types_of(wire.until_ready()) == "CZ"
        assert last_word(wire)["C"] == "57P01"


def test_a_result_that_nobody_reads_obeys_the_grace(start: Start) -> None:
    target = start(expiry_grace=300)
    with short(target) as wire:
        wire.send(w.query("SELECT repeat('x', 1000), generate_series(1, 10000000)"))
        wire.receive_until("D")
        disconnected(target)


def test_a_pipeline_without_a_pause_comes_to_its_end(start: Start) -> None:
    target = start(expiry_grace=20_000)
    answers: list[str] = []
    with short(target) as wire, contextlib.suppress(EOFError, OSError):
        # Batch after batch, until the gateway hangs up.
        while "E" not in answers:
            wire.send(*[w.query("SELECT 1")] * 50)
            for _ in range(50):
                messages = wire.receive_until("Z", "E")
                answers.append(w.types_of(messages[-1:] if messages[-1].type == "E" else messages))
    assert set(answers) <= {"TDCZ", "E"}
    disconnected(target)


def test_ignore_lets_the_session_be(start: Start) -> None:
    target = start(on_expiry="ignore")
    until = int(time.time()) + 2
    with target.wire("alice", target.issuer.token("alice", exp=until)) as wire:
        wire.rows(f"SELECT pg_sleep_until(to_timestamp({until + 1}))")
        assert wire.value("SELECT current_user") == "alice"


def ended(target: Target) -> None:
    """Waits until the gateway has noticed the end of a token."""
    eventually(
        lambda: any(each.get("event") == "expiry" for each in target.gateway.log()), "the end of a token"
    )


def disconnected(target: Target) -> dict[str, Any]:
    def found() -> dict[str, Any] | None:
        events = [each for each in target.gateway.log() if each.get("event") == "disconnect"]
        return next((each for each in events if each.get("sqlstate") == "57P01"), None)

    event = eventually(found, "the end of the session")
    assert event
    return event


REFUSE = {"on_expiry": "refuse_new_transactions"}


@pytest.mark.parametrize(("mode", "jwt"), PLACES)
def test_new_statements_are_refused_and_the_session_stays_in_step(
    start: Start, mode: str, jwt: dict[str, Any]
) -> None:
    target = start(mode, **REFUSE, **jwt)
    with short(target) as wire:
        assert wire.value("SELECT 1") == "1"
        ended(target)

        for _ in range(2):
            messages = wire.query("SELECT 1")
            assert w.types_of(messages) == "EZ"
            error = w.error_of(messages)
            assert (error["S"], error["C"]) == ("ERROR", "28000")
            assert "pgdog_jwt.token" in error["H"]
            wire.send(w.extended("SELECT 1"))
            assert w.types_of(wire.until_ready()) == "EZ"
            wire.send(w.parse("SELECT 1", "mine"), w.describe("S", "mine"), w.FLUSH)
            assert wire.receive().type == "E"
            wire.send(w.SYNC)
            assert w.types_of(wire.until_ready()) == "Z"
            wire.send(w.function_call(1598))
            assert w.types_of(wire.until_ready()) == "EZ"
        assert wire.query("SELECT 1")[-1].body == b"I"


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_a_pipeline_is_refused_request_by_request(start: Start, mode: str) -> None:
    target = start(mode, **REFUSE)
    with short(target) as wire:
        wire.value("SELECT 1")
        ended(target)
        wire.send(
            w.extended("SELECT 1"),
            w.query("SELECT 2"),
            w.extended("SELECT 3"),
            w.extended("SELECT 4"),
            w.SYNC,
        )
        assert [w.types_of(wire.until_ready()) for _ in range(5)] == ["EZ", "EZ", "EZ", "EZ", "Z"]


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_a_running_transaction_finishes_before_anything_is_refused(start: Start, mode: str) -> None:
    target = start(mode, expiry_grace=0, **REFUSE)
    body = f"note {uuid.uuid4()}"
    with short(target) as wire:
        wire.rows("BEGIN")
        ended(target)
        wire.rows(f"INSERT INTO notes (body) VALUES ('{body}')")
        wire.send(
            w.extended(f"SELECT count(*) FROM notes WHERE body = '{body}'"),
            w.query("COMMIT"),
            w.query("SELECT 1"),
            w.extended("SELECT 1"),
        )
        answers = [wire.until_ready() for _ in range(4)]
        assert [w.types_of(answer) for answer in answers] == ["12TDCZ", "CZ", "EZ", "EZ"]
        assert [answer[-1].body for answer in answers] == [b"T", b"I", b"I", b"I"]


def test_a_driver_gets_an_error_and_keeps_its_connection(start: Start) -> None:
    target = start(**REFUSE)
    with target.connect("alice", target.issuer.token("alice", expires_in=3)) as connection:
        connection.execute("SELECT 1")
        ended(target)
        for prepare in (False, True):
            with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification):
                connection.execute("SELECT %s", [1], prepare=prepare)
        with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification):
            connection.execute("SELECT 1")
        assert not connection.closed


def test_a_driver_hears_that_it_is_disconnected(start: Start) -> None:
    target = start()
    with target.connect("alice", target.issuer.token("alice", expires_in=3)) as connection:
        connection.execute("SELECT 1")
        ended(target)
        with pytest.raises(psycopg.errors.AdminShutdown):
            connection.execute("SELECT 1")
        assert connection.closed


@pytest.mark.parametrize("rule", ["disconnect", "refuse_new_transactions"])
def test_users_with_a_password_have_no_token_that_ends(start: Start, rule: str) -> None:
    target = start(on_expiry=rule)
    with target.wire("service", "service-secret") as service, short(target, 2) as wire:
        wire.value("SELECT 1")
        ended(target)
        assert service.value("SELECT current_user") == "service"


def test_many_sessions_end_together(start: Start) -> None:
    target = start()
    token = target.issuer.token("alice", expires_in=5)
    wires = [target.wire("alice", token) for _ in range(100)]
    try:
        for wire in wires:
            assert last_word(wire)["C"] == "57P01"
    finally:
        for wire in wires:
            wire.close()


def test_a_state_that_holds_a_server_ends_with_the_session(start: Start, cluster: Cluster) -> None:
    target = start()
    with short(target) as wire:
        wire.rows("CREATE TEMPORARY TABLE mine (id int)")
        assert last_word(wire)["C"] == "57P01"
    with target.wire("alice") as other:
        assert w.error_of(other.query("SELECT * FROM mine"))["C"] == "42P01"
