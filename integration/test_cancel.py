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

from harness import wire as w
from harness.activity import await_sleep, sleep_statement, sleeping
from harness.target import Target
from harness.wire import Wire

CANCELLED = "57014"


@pytest.fixture(params=["transaction", "session"], scope="module")
def target(request: pytest.FixtureRequest, make_module_gateway: Callable[..., Target]) -> Target:
    return make_module_gateway(general={"pooler_mode": request.param})


def cancel(target: Target, key: bytes) -> None:
    with Wire(target.host, target.port) as wire:
        wire.send(w.cancel_request(key))
        assert wire.closed_by_peer()


def start_sleep(wire: Wire, cluster: Any, mark: str) -> None:
    wire.send(w.query(sleep_statement(mark)))
    await_sleep(cluster, mark)


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
        assert sleeping(cluster, "other") == 1
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

        assert sleeping(cluster, "guarded") == 1
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
            await_sleep(cluster, "psycopg")
            connection.cancel()

        canceller = threading.Thread(target=cancel_it)
        canceller.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute(sleep_statement("psycopg"))
        canceller.join()

        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_interrupting_psql_cancels_its_statement(target: Target, cluster: Any) -> None:
    command = [*target.psql_command("alice"), "-c", sleep_statement("psql")]
    psql = subprocess.Popen(
        command,
        env=target.psql_environment("alice"),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        await_sleep(cluster, "psql")
        psql.send_signal(signal.SIGINT)
        _, errors = psql.communicate(timeout=20)
    finally:
        psql.kill()

    assert "canceling statement due to user request" in errors
    assert sleeping(cluster, "psql") == 0
