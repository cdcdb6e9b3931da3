"""Transactions through the gateway are PostgreSQL's transactions."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from harness import eventually
from harness import wire as w
from harness.target import Target
from harness.wire import Wire


@pytest.fixture
def target(pooled: Target) -> Target:
    return pooled


@pytest.fixture
def wire(target: Target) -> Iterator[Wire]:
    with target.wire("alice") as wire:
        yield wire


@pytest.fixture
def body() -> str:
    return f"note {uuid.uuid4()}"


def count(target: Target, body: str) -> str | None:
    """Inside a transaction, so that the primary answers and not a replica that lags."""
    with target.wire("alice") as wire:
        wire.query("BEGIN")
        return wire.value(f"SELECT count(*) FROM notes WHERE body = '{body}'")


def test_a_commit_is_durable(target: Target, wire: Wire, body: str) -> None:
    wire.rows("BEGIN")
    wire.rows(f"INSERT INTO notes (body) VALUES ('{body}')")
    wire.rows("COMMIT")

    assert count(target, body) == "1"


def test_a_rollback_leaves_nothing(target: Target, wire: Wire, body: str) -> None:
    wire.rows("BEGIN")
    wire.rows(f"INSERT INTO notes (body) VALUES ('{body}')")
    wire.rows("ROLLBACK")

    assert count(target, body) == "0"


def test_nobody_sees_a_transaction_before_it_commits(target: Target, wire: Wire, body: str) -> None:
    wire.rows("BEGIN")
    wire.rows(f"INSERT INTO notes (body) VALUES ('{body}')")

    assert count(target, body) == "0"


def test_an_error_fails_the_transaction_until_it_ends(target: Target, wire: Wire, body: str) -> None:
    wire.rows("BEGIN")
    wire.rows(f"INSERT INTO notes (body) VALUES ('{body}')")
    failed = wire.query("SELECT 1/0")

    assert w.error_of(failed)["C"] == "22012"
    assert failed[-1].body == b"E"
    assert w.error_of(wire.query("SELECT 1"))["C"] == "25P02"
    assert wire.query("COMMIT")[0].tag == "ROLLBACK"
    assert wire.query("SELECT 1")[-1].body == b"I"
    assert count(target, body) == "0"


def test_savepoints_work(target: Target, wire: Wire, body: str) -> None:
    wire.rows("BEGIN")
    wire.rows(f"INSERT INTO notes (body) VALUES ('{body}')")
    wire.rows("SAVEPOINT here")
    wire.query("SELECT 1/0")
    wire.rows("ROLLBACK TO here")
    wire.rows("COMMIT")

    assert count(target, body) == "1"


def test_begin_and_commit_in_one_string_of_statements(target: Target, wire: Wire, body: str) -> None:
    answer = wire.query(f"BEGIN; INSERT INTO notes (body) VALUES ('{body}'); COMMIT")

    assert [message.tag for message in answer if message.type == "C"] == ["BEGIN", "INSERT 0 1", "COMMIT"]
    assert answer[-1].body == b"I"
    assert count(target, body) == "1"


def test_a_string_of_statements_is_one_transaction(target: Target, wire: Wire, body: str) -> None:
    wire.query(f"INSERT INTO notes (body) VALUES ('{body}'); SELECT 1/0")

    assert count(target, body) == "0"


def test_a_client_that_dies_in_a_transaction_leaves_nothing(target: Target, body: str) -> None:
    wire = target.wire("alice")
    wire.rows("BEGIN")
    wire.rows(f"INSERT INTO notes (body) VALUES ('{body}')")
    # The row's lock would hold up whoever comes next if the transaction were left open.
    wire.rows("LOCK TABLE notes IN SHARE ROW EXCLUSIVE MODE")

    wire.close()

    assert eventually(lambda: count(target, body) == "0", "the end of the dead client's transaction")
    with target.wire("alice") as other:
        other.rows("BEGIN")
        other.rows("SET LOCAL lock_timeout = '5s'")
        other.rows("LOCK TABLE notes IN SHARE ROW EXCLUSIVE MODE")


def test_a_client_that_dies_in_a_statement_leaves_nothing(target: Target, body: str) -> None:
    for _ in range(8):  # more than the pool has server connections
        wire = target.wire("alice")
        wire.rows("BEGIN")
        wire.rows(f"INSERT INTO notes (body) VALUES ('{body}')")
        wire.send(w.query("SELECT pg_sleep(60)"))
        wire.close()

    assert eventually(lambda: count(target, body) == "0", "server connections after dead clients", 30)


def test_a_client_that_leaves_politely_in_a_transaction_leaves_nothing(target: Target, body: str) -> None:
    wire = target.wire("alice")
    wire.rows("BEGIN")
    wire.send(w.query(f"INSERT INTO notes (body) VALUES ('{body}')"), w.TERMINATE)
    wire.closed_by_peer()

    assert count(target, body) == "0"
