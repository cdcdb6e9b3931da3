"""Cancel requests: they stop the statement that runs now, and only that of their own session."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from harness import eventually
from harness import wire as w
from harness.target import Target
from harness.wire import Wire

CANCELLED = "57014"
SLEEP = "SELECT pg_sleep(60) /* {} */"


@pytest.fixture(params=["transaction", "session"], scope="module")
def target(request: pytest.FixtureRequest, make_module_gateway: Callable[..., Target]) -> Target:
    return make_module_gateway(general={"pooler_mode": request.param})


def cancel(target: Target, key: bytes) -> None:
    with Wire(target.host, target.port) as wire:
        wire.send(w.cancel_request(key))
        assert wire.closed_by_peer()


def running(cluster: Any, mark: str) -> int:
    """How many statements with this mark run, on whichever server."""
    total = 0
    for server in (cluster.primary, cluster.replica):
        with server.admin() as admin:
            query = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE %s"
            total += admin.execute(query, [f"SELECT pg_sleep%{mark} */"]).fetchone()[0]
    return total


def start_sleep(wire: Wire, cluster: Any, mark: str) -> None:
    wire.send(w.query(SLEEP.format(mark)))
    eventually(lambda: running(cluster, mark) == 1, "the start of the statement")


def test_a_running_statement_is_cancelled(target: Target, cluster: Any) -> None:
    with target.wire("alice") as wire:
        start_sleep(wire, cluster, "mine")

        cancel(target, wire.cancel_key)

        assert w.error_of(wire.until_ready())["C"] == CANCELLED
        assert wire.value("SELECT current_user") == "alice"


def test_a_cancel_ends_the_statement_of_its_own_session_only(target: Target, cluster: Any) -> None:
    with target.wire("alice") as one, target.wire("alice") as other:
        start_sleep(one, cluster, "one")
        start_sleep(other, cluster, "other")

        cancel(target, one.cancel_key)

        assert w.error_of(one.until_ready())["C"] == CANCELLED
        assert running(cluster, "other") == 1
        cancel(target, other.cancel_key)
        assert w.error_of(other.until_ready())["C"] == CANCELLED


def test_a_key_of_nobody_cancels_nothing(target: Target, cluster: Any) -> None:
    with target.wire("alice") as wire:
        start_sleep(wire, cluster, "guarded")
        right = wire.cancel_key
        wrong = [
            os.urandom(len(right)),
            right[:-1] + bytes([right[-1] ^ 1]),
            b"\0" * 8,
            right[:4] + b"\0" * 4,
        ]

        for key in wrong:
            cancel(target, key)

        assert running(cluster, "guarded") == 1
        cancel(target, right)
        assert w.error_of(wire.until_ready())["C"] == CANCELLED


def test_a_cancel_after_the_end_of_a_statement_harms_nobody(make_gateway: Callable[..., Target]) -> None:
    """One server connection, two clients: the key of the one that is done must not stop the other."""
    target = make_gateway(general={"default_pool_size": 1})
    with target.wire("alice") as done, target.wire("alice") as busy:
        done.query("BEGIN; SELECT 1; COMMIT")
        busy.query("BEGIN")
        busy.send(w.query("SELECT pg_sleep(1)"))

        for _ in range(5):
            cancel(target, done.cancel_key)

        assert w.types_of(busy.until_ready()) == "TDCZ"


def test_every_session_has_a_key_of_its_own(target: Target) -> None:
    clients = [target.wire("alice") for _ in range(20)]
    keys = {client.cancel_key for client in clients}
    for client in clients:
        client.close()

    assert len(keys) == len(clients)


def test_psycopg_cancels(target: Target, cluster: Any) -> None:
    with target.connect("alice") as connection:

        def cancel_it() -> None:
            eventually(lambda: running(cluster, "psycopg") == 1, "the start of the statement")
            connection.cancel()

        canceller = threading.Thread(target=cancel_it)
        canceller.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute(SLEEP.format("psycopg"))
        canceller.join()

        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_interrupting_psql_cancels_its_statement(target: Target, cluster: Any) -> None:
    command = [*target.psql_command("alice"), "-c", SLEEP.format("psql")]
    psql = subprocess.Popen(
        command,
        env=target.psql_environment("alice"),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        eventually(lambda: running(cluster, "psql") == 1, "the start of the statement")
        psql.send_signal(signal.SIGINT)
        _, errors = psql.communicate(timeout=20)
    finally:
        psql.kill()

    assert "canceling statement due to user request" in errors
    assert running(cluster, "psql") == 0
