"""What comes in one read with what the gateway waits for: the failure of a batch, the end of the server."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from harness import eventually, primary_alone
from harness import wire as w
from harness.freeze import frozen
from harness.sockets import unread
from harness.target import Target

TEXT = "SELECT body FROM notes"
REQUESTS = {
    "bind": w.bind(statement="s"),
    "describe": w.describe("S", "s"),
    "parse": w.parse(TEXT, "t"),
}


def settled(count: Callable[[], int]) -> None:
    """Waits until there is something, and as much as a moment ago; after a while, for nothing more."""
    before = 0
    for _ in range(50):
        last, before = before, count()
        if 0 < last == before:
            return
        time.sleep(0.1)


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_a_batch_that_fails_before_its_statement_is_prepared_anew(
    make_gateway: Callable[..., Target], cluster: Any, request_: bytes
) -> None:
    """The server gets the rest behind the proof of its identity, which comes with the error of the front."""
    general = {"default_pool_size": 1, "connect_timeout": 60_000, "query_timeout": 60_000}
    target = make_gateway(general=general, jwt={"shared_pool": True}, databases=[primary_alone(cluster)])
    with target.wire("alice") as wire, target.wire("bob") as other:
        wire.send(w.parse(TEXT, "s"), w.describe("S", "s"), w.SYNC)
        assert w.types_of(wire.until_ready()) == "1tTZ"
        pid = wire.value("SELECT pg_backend_pid()")
        with cluster.admin() as admin:
            admin.execute("SELECT pg_terminate_backend(%s, 10000)", [int(pid or 0)])
        eventually(lambda: other.value("SELECT pg_backend_pid()") != pid, "another server connection")
        with frozen(cluster.primary):
            wire.send(w.describe("P", "missing"))
            eventually(
                lambda: unread(receiver=cluster.primary.port) > 0, "the front of the batch at the server"
            )
            wire.send(request_)
            mine = wire.socket.getsockname()[1]
            eventually(
                lambda: unread(sender=mine, receiver=target.port) == 0, "the rest of the batch at the gateway"
            )
            # It reads both answers at once.
            target.gateway.send(signal.SIGSTOP)
        settled(lambda: unread(sender=cluster.primary.port))
        target.gateway.send(signal.SIGCONT)

        assert w.error_of([wire.receive()])["C"] == "34000"
        wire.send(w.SYNC)
        assert w.types_of(wire.until_ready()) == "Z"
        assert w.types_of(wire.query(TEXT))[-1] == "Z"


@pytest.mark.parametrize("reset", ["RESET application_name", "RESET work_mem", "RESET client_encoding"])
def test_a_server_that_ends_behind_its_answer_leaves_no_client_waiting(
    make_gateway: Callable[..., Target], cluster: Any, reset: str
) -> None:
    """RESET leads back to the start-up packet before the client is told that the server is ready."""
    target = make_gateway(general={"default_pool_size": 1}, databases=[primary_alone(cluster)])
    startup = {"client_encoding": "LATIN1", "application_name": "mine", "work_mem": "5MB"}
    with target.wire("alice", **startup) as wire:
        wire.query("SELECT 1")
        with frozen(cluster.primary):
            wire.send(w.query(f"SET idle_session_timeout = 30; {reset}"))
            eventually(lambda: unread(receiver=cluster.primary.port) > 0, "the request at the server")
            target.gateway.send(signal.SIGSTOP)
        with cluster.admin() as admin:
            gone = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SET idle_session%'"
            eventually(lambda: admin.execute(gone).fetchone() == (0,), "the end of the server's process")
        target.gateway.send(signal.SIGCONT)

        assert w.types_of(wire.until_ready()).replace("S", "") == "CCZ"
        wire.query("SELECT 1")
        assert wire.value("SELECT 1") == "1"
