"""`transaction_timeout`: a transaction that lasts too long is cancelled, and its session ends."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest

from harness import eventually, primary_alone
from harness import wire as w
from harness.activity import sleep_statement, sleeping
from harness.target import Target
from harness.wire import Wire

MakeGateway = Callable[..., Target]

pytestmark = pytest.mark.gateway("PgDog has other time limits")

LATE = "SELECT count(*) FROM notes WHERE body = 'too long'"
INSERT = "INSERT INTO notes (body) VALUES ('too long')"


@pytest.fixture(scope="module", params=["transaction", "session"])
def target(make_module_gateway: MakeGateway, cluster: Any, request: pytest.FixtureRequest) -> Target:
    general = {"transaction_timeout": 1_500, "default_pool_size": 2, "pooler_mode": request.param}
    return make_module_gateway(general=general, databases=[primary_alone(cluster)])


def assert_ended(wire: Wire) -> None:
    error = w.error_of(wire.receive_until("E"))
    assert (error["S"], error["C"]) == ("FATAL", "25P04")
    assert error["M"] == "terminating connection due to transaction_timeout"
    assert wire.closed_by_peer()


def assert_nothing_is_left(target: Target, cluster: Any, mark: str) -> None:
    eventually(lambda: sleeping(cluster, mark) == 0, "the statement to be cancelled")
    with target.wire("alice") as wire:
        assert wire.value(LATE) == "0"


@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
def test_a_transaction_in_which_a_statement_runs_ends(target: Target, cluster: Any, extended: bool) -> None:
    mark = f"timeout {extended}"
    with target.wire("alice") as wire:
        wire.query("BEGIN")
        wire.query(INSERT)
        wire.send((w.extended if extended else w.query)(sleep_statement(mark)))
        assert_ended(wire)

    assert_nothing_is_left(target, cluster, mark)


def test_a_transaction_in_which_nothing_runs_ends(target: Target, cluster: Any) -> None:
    with target.wire("alice") as wire:
        wire.query("BEGIN")
        wire.query(INSERT)
        assert_ended(wire)

    assert_nothing_is_left(target, cluster, "none")


def test_a_failed_transaction_ends(target: Target) -> None:
    with target.wire("alice") as wire:
        wire.query("BEGIN")
        wire.query("SELECT nonsense")
        assert_ended(wire)


def test_a_statement_outside_a_block_is_a_transaction(target: Target, cluster: Any) -> None:
    mark = "timeout alone"
    with target.wire("alice") as wire:
        wire.send(w.query(f"{INSERT}; {sleep_statement(mark)}"))
        assert_ended(wire)

    assert_nothing_is_left(target, cluster, mark)


def test_a_commit_that_was_sent_behind_the_statement_is_not_carried_out(target: Target, cluster: Any) -> None:
    """Who hears FATAL may believe that nothing has happened."""
    mark = "timeout pipelined"
    with target.wire("alice") as wire:
        wire.send(*map(w.query, ("BEGIN", INSERT, sleep_statement(mark), "COMMIT")))
        assert_ended(wire)

    assert_nothing_is_left(target, cluster, mark)


def test_a_copy_ends(target: Target) -> None:
    with target.wire("alice") as wire:
        wire.query("BEGIN; CREATE TEMPORARY TABLE copied (body text)")
        wire.send(w.query("COPY copied FROM STDIN"))
        assert wire.receive().type == "G"
        wire.send(w.copy_data(b"too long\n"))
        assert_ended(wire)


def test_each_transaction_has_its_own_time(target: Target) -> None:
    """Together they take longer than one may: one after the other, and in a pipeline."""
    nap = "SELECT 'rested' FROM pg_sleep(0.4)"
    with target.wire("alice") as wire:
        for _ in range(5):
            wire.query("BEGIN")
            assert wire.value(nap) == "rested"
            wire.query("COMMIT")
        wire.send(*[w.query(nap)] * 5)
        assert [w.types_of(wire.until_ready()) for _ in range(5)] == ["TDCZ"] * 5


def test_who_is_in_no_transaction_may_be_silent(target: Target) -> None:
    with target.wire("alice") as wire, target.wire("bob") as other:
        wire.query("BEGIN")
        wire.query("COMMIT")
        for _ in range(5):
            assert other.value("SELECT 1 FROM pg_sleep(0.4)") == "1"

        assert wire.value("SELECT 1") == "1"


def test_a_begin_that_no_server_has_heard_counts(make_gateway: MakeGateway) -> None:
    target = make_gateway(general={"transaction_timeout": 300, "read_write_strategy": "aggressive"})
    with target.wire("alice") as wire:
        assert w.types_of(wire.query("BEGIN")) == "CZ"
        assert_ended(wire)


def test_a_result_is_not_cut_in_the_middle_of_a_message(make_gateway: MakeGateway, cluster: Any) -> None:
    """The client reads a row of 30 MB too slowly: inside of it there is no error, the connection ends."""
    size = 30_000_000
    target = make_gateway(general={"transaction_timeout": 5_000}, databases=[primary_alone(cluster)])
    with target.wire("alice") as wire:
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        wire.send(w.query(f"SELECT repeat('x', {size})"))
        assert wire.receive().type == "T"
        assert wire.read(11) == struct.pack("!cihi", b"D", 10 + size, 1, size)

        def ended() -> bool:
            return any(line.get("reason") == "transaction_timeout" for line in target.gateway.log())

        eventually(ended, "the end of the session")
        seen = b""
        with contextlib.suppress(ConnectionResetError):
            while part := wire.socket.recv(1 << 20):
                seen += part

    assert 0 < len(seen) < size
    assert seen.strip(b"x") == b""


def test_the_audit_says_why(make_gateway: MakeGateway) -> None:
    target = make_gateway(general={"transaction_timeout": 300})
    with target.wire("alice") as wire:
        wire.query("BEGIN")
        assert_ended(wire)

    def disconnects() -> list[dict[str, Any]]:
        return [line for line in target.gateway.log() if line.get("event") == "disconnect"]

    (line,) = eventually(disconnects, "the line about the end")
    assert (line["reason"], line["sqlstate"]) == ("transaction_timeout", "25P04")
