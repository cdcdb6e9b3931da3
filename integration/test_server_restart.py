"""PostgreSQL restarts: who is logged in waits for it, for `checkout_timeout` at most."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
import pytest

from harness import Cluster, eventually, primary_alone
from harness import wire as w
from harness.target import Target
from harness.wire import Wire

MakeGateway = Callable[..., Target]

PASSWORD = "admin-secret"
ADMIN = {"name": "admin", "user": "admin", "password": PASSWORD}
INSERT = "INSERT INTO notes (body) VALUES ('restart')"
# No test waits that long: who would wait for the wrong thing fails by the limit of the test.
PATIENT = {"checkout_timeout": 600_000}

REQUESTS = {
    "a write": w.query(INSERT),
    "a read": w.query("SELECT 1"),
    "a batch": w.step(INSERT) + w.step("SELECT 1") + w.SYNC,
    "a named statement": w.extended(INSERT, name="insert"),
    "a transaction": w.query("BEGIN"),
}


@pytest.fixture(autouse=True)
def no_notes(servers: Cluster) -> Iterator[None]:
    yield
    with servers.admin() as admin:
        admin.execute("DELETE FROM notes WHERE body = 'restart'")


def await_waiting(target: Target, count: int) -> None:
    with target.connect("admin", PASSWORD, dbname="admin") as admin:
        eventually(lambda: waiting(admin) == count, "clients that wait for a server")


def waiting(admin: psycopg.Connection[Any]) -> int:
    cursor = admin.execute("SHOW CLIENTS")
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True))["state"] for row in cursor.fetchall()].count("waiting")


@contextmanager
def down(cluster: Cluster) -> Iterator[None]:
    """Nobody listens at the primary's port."""
    cluster.primary.stop()
    try:
        yield
    finally:
        cluster.primary.start()


@pytest.mark.parametrize("tables", [{}, {"jwt": {"shared_pool": True}}], ids=["own pools", "shared pool"])
def test_statements_wait_while_postgresql_restarts(
    make_gateway: MakeGateway, servers: Cluster, tables: dict[str, Any]
) -> None:
    target = make_gateway(databases=[primary_alone(servers)], general=PATIENT, admin=ADMIN, **tables)
    with ExitStack() as stack:
        wires = [stack.enter_context(target.wire(name)) for name in ("alice", "bob") for _ in REQUESTS]
        assert [wire.value("SELECT 1") for wire in wires] == ["1"] * len(wires)
        with down(servers):
            for wire, request in zip(wires, [*REQUESTS.values()] * 2, strict=True):
                wire.send(request)
            await_waiting(target, len(wires))

        for wire in wires:
            answer = wire.until_ready()
            assert "E" not in w.types_of(answer), w.error_of(answer)
        for wire in (wires[0], wires[-1]):
            assert wire.value("SELECT count(*) FROM notes WHERE body = 'restart'") == "3"


def test_who_waits_for_a_restart_can_cancel(make_gateway: MakeGateway, servers: Cluster) -> None:
    target = make_gateway(databases=[primary_alone(servers)], general=PATIENT, admin=ADMIN)
    with target.wire("alice") as wire:
        wire.value("SELECT 1")
        with down(servers):
            wire.send(w.query(INSERT))
            await_waiting(target, 1)
            with Wire(target.host, target.port) as other:
                other.send(w.cancel_request(wire.cancel_key))
                assert w.error_of(wire.until_ready())["C"] == "57014"

        assert wire.value("SELECT count(*) FROM notes WHERE body = 'restart'") == "0"


def test_who_waits_for_longer_than_checkout_timeout_hears_why(
    make_gateway: MakeGateway, servers: Cluster
) -> None:
    target = make_gateway(databases=[primary_alone(servers)], general={"checkout_timeout": 300})
    with target.wire("alice") as wire:
        wire.value("SELECT 1")
        with down(servers):
            assert w.error_of(wire.query(INSERT))["C"] == "08006"

        eventually(lambda: w.types_of(wire.query("SELECT 1")).startswith("T"), "an answer")


def test_a_transaction_does_not_survive_a_restart(make_gateway: MakeGateway, servers: Cluster) -> None:
    target = make_gateway(databases=[primary_alone(servers)], general=PATIENT, admin=ADMIN)
    with target.wire("alice") as wire:
        wire.query("BEGIN")
        wire.query(INSERT)
        with down(servers):
            assert w.error_of(wire.query(INSERT))["C"] in {"08006", "57P01"}
            wire.send(w.query("SELECT count(*) FROM notes WHERE body = 'restart'"))
            await_waiting(target, 1)

        assert "E" not in w.types_of(wire.until_ready())
        assert wire.value("SELECT count(*) FROM notes WHERE body = 'restart'") == "0"
