"""SIGTERM: no new clients, running transactions finish, then the end."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from typing import Any

from harness import eventually
from harness import wire as w
from harness.activity import await_sleep, sleep_statement
from harness.target import Target

MakeGateway = Callable[..., Target]


def accepts(target: Target) -> bool:
    """Whether somebody new gets as far as being asked for a password."""
    try:
        with target.open() as wire:
            wire.startup(user="alice", database=target.database)
            return wire.receive().type == "R"
    except (OSError, EOFError):
        return False


def test_without_clients_it_ends_at_once(make_gateway: MakeGateway) -> None:
    target = make_gateway(general={"shutdown_timeout": 60_000})

    target.gateway.send(signal.SIGTERM)

    assert target.gateway.wait(timeout=10) == 0


def test_a_running_transaction_finishes(make_gateway: MakeGateway, cluster: Any) -> None:
    target = make_gateway(general={"shutdown_timeout": 30_000})
    with target.wire("alice") as wire:
        wire.rows("BEGIN")
        wire.rows("INSERT INTO notes (body) VALUES ('during shutdown')")

        target.gateway.send(signal.SIGTERM)
        eventually(lambda: not accepts(target), "the end of new clients")
        assert not target.gateway.exited
        assert wire.query("COMMIT")[0].tag == "COMMIT"

        assert target.gateway.wait(timeout=15) == 0
    with cluster.admin() as admin:
        stored = admin.execute("SELECT count(*) FROM notes WHERE body = 'during shutdown'").fetchone()
    assert stored == (1,)


def test_a_running_statement_finishes(make_gateway: MakeGateway, cluster: Any) -> None:
    target = make_gateway(general={"shutdown_timeout": 30_000})
    with target.wire("alice") as wire:
        wire.send(w.query(sleep_statement("shutdown", seconds=2)))
        await_sleep(cluster, "shutdown")

        target.gateway.send(signal.SIGTERM)

        assert w.types_of(wire.receive_until("C")) == "TDC"
        assert target.gateway.wait(timeout=15) == 0


def test_idle_clients_do_not_hold_it_up(make_gateway: MakeGateway) -> None:
    target = make_gateway(general={"shutdown_timeout": 60_000})
    with target.wire("alice") as wire:
        wire.value("SELECT 1")

        target.gateway.send(signal.SIGTERM)

        assert target.gateway.wait(timeout=10) == 0
        assert wire.closed_by_peer()


def test_a_transaction_without_end_is_ended_by_the_time_limit(
    make_gateway: MakeGateway, cluster: Any
) -> None:
    target = make_gateway(general={"shutdown_timeout": 500})
    with target.wire("alice") as wire:
        wire.rows("BEGIN")
        wire.rows("INSERT INTO notes (body) VALUES ('never committed')")

        target.gateway.send(signal.SIGTERM)

        assert target.gateway.wait(timeout=15) == 0
        assert wire.closed_by_peer()
    with cluster.admin() as admin:
        query = "SELECT count(*) FROM notes WHERE body = 'never committed'"
        eventually(lambda: admin.execute(query).fetchone() == (0,), "the rollback")


def test_a_login_that_never_comes_does_not_hold_it_up(make_gateway: MakeGateway) -> None:
    target = make_gateway(general={"shutdown_timeout": 2_000, "client_login_timeout": 60_000})
    with socket.create_connection((target.host, target.port)):
        target.gateway.send(signal.SIGTERM)

        assert target.gateway.wait(timeout=15) == 0
