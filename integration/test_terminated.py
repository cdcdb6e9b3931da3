"""57P01 means what it means at PostgreSQL: nothing runs any more, and what was done was told."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from conftest import MakeGateway
from harness import DATABASE, eventually, primary_alone
from harness import wire as w
from harness.target import Target
from harness.wire import Wire

PASSWORD = "admin-secret"
ADMIN = {"name": "admin", "user": "admin", "password": PASSWORD}
INSERT = "INSERT INTO notes (body) VALUES ('terminated')"
COUNT = "SELECT count(*) FROM notes WHERE body = 'terminated'"
FORMS = {"simple": w.query(INSERT), "extended": w.step(INSERT) + w.SYNC}
MANY = 300


def admin(target: Target, command: str) -> None:
    with target.connect("admin", PASSWORD, dbname="admin") as connection:
        connection.execute(command)


ENDS: dict[str, Callable[[Target], None]] = {
    "kill": lambda target: admin(target, "KILL USER alice"),
    "revoke": lambda target: admin(target, "REVOKE SUBJECT 'alice'"),
    "shutdown": lambda target: target.gateway.send(signal.SIGTERM),
}


@pytest.fixture
def database(cluster: Any) -> Iterator[psycopg.Connection[Any]]:
    with cluster.admin() as connection:
        yield connection
        connection.execute("DELETE FROM notes WHERE body = 'terminated'")


@pytest.fixture
def target(make_gateway: MakeGateway, cluster: Any) -> Target:
    general = {"default_pool_size": 1, "rollback_timeout": 60_000, "shutdown_timeout": 300}
    return make_gateway(general=general, databases=[primary_alone(cluster)], admin=ADMIN)


def last_words(wire: Wire) -> tuple[int, str]:
    """How many statements completed, and the last error."""
    completed, error = 0, ""
    try:
        while True:
            message = wire.receive()
            completed += message.type == "C"
            if message.type == "E":
                error = message.fields["C"]
    except (EOFError, ConnectionError):
        return completed, error


def runs(database: psycopg.Connection[Any], pid: int) -> bool:
    query = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND state = 'active'"
    row = database.execute(query, [pid]).fetchone()
    return bool(row and row[0])


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_what_was_sent_behind_a_running_statement_is_not_run(
    target: Target, database: psycopg.Connection[Any], form: bytes, end: Callable[[Target], None]
) -> None:
    with target.wire("alice") as wire:
        pid = int(wire.value("SELECT pg_backend_pid()") or 0)
        wire.send(w.query("SELECT pg_sleep(60)"), form * MANY)
        eventually(lambda: runs(database, pid), "the first statement to run")

        end(target)

        assert last_words(wire) == (0, "57P01")
    eventually(lambda: not runs(database, pid), "the end of what ran")
    row = database.execute(COUNT).fetchone()
    assert row == (0,)


def test_what_was_done_is_told(target: Target, database: psycopg.Connection[Any]) -> None:
    """The client reads nothing until it is over. One may have been done in between."""
    with target.wire("alice") as wire:
        pid = int(wire.value("SELECT pg_backend_pid()") or 0)
        wire.send(w.query(INSERT) * MANY, w.query("SELECT pg_sleep(60)"), w.query(INSERT))
        sleeps = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event = 'PgSleep'"
        eventually(lambda: database.execute(sleeps, [pid]).fetchone(), "all but the last")

        admin(target, "KILL USER alice")

        assert last_words(wire) == (MANY, "57P01")
    assert database.execute(COUNT).fetchone() == (MANY,)


WAITING = {
    "reset": w.query("DISCARD ALL"),
    "token": w.query("SET \"pgdog_jwt.token\" = 'x'"),
    "copy": w.query("COPY notes (body) FROM STDIN") + w.query("SELECT 1"),
    "name": w.bind(statement="unknown") + w.SYNC,
}


@pytest.mark.parametrize("request_", WAITING.values(), ids=WAITING)
def test_a_client_that_has_gone_is_noticed_while_its_next_request_waits(
    make_gateway: MakeGateway, cluster: Any, database: psycopg.Connection[Any], request_: bytes
) -> None:
    general = {"default_pool_size": 1, "rollback_timeout": 200}
    target = make_gateway(general=general, databases=[primary_alone(cluster)])
    with target.wire("alice") as wire:
        pid = int(wire.value("SELECT pg_backend_pid()") or 0)
        wire.send(w.parse("SELECT 1", "known"), w.query("SELECT pg_sleep(600)"), request_)
        eventually(lambda: runs(database, pid), "the first statement to run")

    eventually(lambda: not runs(database, pid), "the end of what ran")
    with target.wire("alice") as wire:
        assert wire.value("SELECT 1") == "1"


@pytest.mark.parametrize("end", [ENDS["kill"], ENDS["revoke"]], ids=["kill", "revoke"])
def test_an_error_is_not_written_into_a_row(target: Target, end: Callable[[Target], None]) -> None:
    """The client reads nothing meanwhile, so that a row is under way."""
    row = b"\0\1" + (100).to_bytes(4, "big") + b"x" * 100
    with target.wire("alice") as wire:
        wire.send(w.query("SELECT repeat('x', 100) FROM generate_series(1, 3000000)"))
        assert wire.receive().type == "T"

        end(target)

        try:
            while (message := wire.receive()).type == "D":
                assert message.body == row
            assert w.error_of([message])["C"] == "57P01"
        except (EOFError, ConnectionError):
            pass


def test_who_sends_no_more_and_reads_on_loses_nothing(
    target: Target, database: psycopg.Connection[Any]
) -> None:
    """As with `nc -N`: the side of the client is closed while a request still waits."""
    with target.wire("alice") as wire:
        wire.send(w.query("SELECT pg_sleep(2)"), w.query("DISCARD ALL"), w.query(INSERT) * 5)
        wire.socket.shutdown(socket.SHUT_WR)

        assert last_words(wire) == (7, "")
    assert database.execute(COUNT).fetchone() == (5,)


def test_a_function_call_behind_a_lost_transaction_is_not_run(
    make_gateway: MakeGateway, cluster: Any, database: psycopg.Connection[Any]
) -> None:
    """It would be run on another server, outside of the transaction."""
    service = {"name": "service", "database": DATABASE, "password": "service-secret"}
    target = make_gateway(databases=[primary_alone(cluster)], users=[service])
    with target.wire("service", "service-secret") as wire:
        wire.query("BEGIN")
        pid = int(wire.value("SELECT pg_backend_pid()") or 0)
        database.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
        eventually(lambda: "server lost" in target.gateway.log_text(), "the gateway to notice")

        absolute = w.function_call(1397, (-7).to_bytes(4, "big", signed=True))
        wire.send(absolute)

        # What the server has said last.
        assert w.error_of(wire.until_ready())["C"] == "57P01"
        wire.send(absolute)
        assert w.types_of(wire.until_ready()) == "VZ"
