"""Clients that do not read what they asked for: who waits, and what it costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness import eventually, primary_alone
from harness import wire as w
from harness.target import Target

MEGABYTE = 1 << 20
ROWS = 500_000
LARGE = f"SELECT repeat('x', 1000) FROM generate_series(1, {ROWS})"
# A DataRow of one column is 11 bytes longer than the column.
LARGE_BYTES = ROWS * 1011
READERS = 8
GROWTH = 24 * MEGABYTE


@pytest.fixture(scope="module", params=["transaction", "session"])
def target(
    request: pytest.FixtureRequest, make_module_gateway: Callable[..., Target], cluster: Any
) -> Target:
    return make_module_gateway(
        general={"pooler_mode": request.param, "default_pool_size": READERS + 2},
        databases=[primary_alone(cluster)],
    )


def stuck(cluster: Any) -> int:
    """How many servers wait until somebody takes their bytes."""
    with cluster.admin() as admin:
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'ClientWrite' AND usename = 'gateway'"
        )
        return admin.execute(query).fetchone()[0]


def test_five_hundred_megabytes_wait_on_the_server_and_nobody_else_does(target: Target, cluster: Any) -> None:
    readers = [target.wire("alice") for _ in range(READERS)]
    with target.wire("alice") as other:
        assert other.value("SELECT 1") == "1"
        before = target.gateway.memory()

        for reader in readers:
            reader.send(w.query(LARGE))
            assert reader.receive().type == "T"
        eventually(lambda: stuck(cluster) == READERS, "all servers to wait")

        assert target.gateway.memory() - before < GROWTH
        # Their servers stand still, and nobody else's.
        for _ in range(200):
            assert other.value("SELECT 1") == "1"
        eventually(lambda: stuck(cluster) == READERS, "all servers to wait still")

    first = readers[0]
    received = len(first._unread)
    peak = 0
    buffer = bytearray(MEGABYTE)
    while received < LARGE_BYTES:
        count = first.socket.recv_into(buffer)
        assert count
        peak = max(peak, target.gateway.memory()) if received // MEGABYTE % 10 == 0 else peak
        received += count
    assert peak - before < GROWTH
    for reader in readers:
        reader.close()
    # The others have left with most of it unread.
    eventually(lambda: stuck(cluster) == 0, "the end of the others' statements")
    with target.wire("alice") as fresh:
        assert fresh.value("SELECT current_user") == "alice"


def test_a_reader_of_one_byte_at_a_time_gets_everything(target: Target) -> None:
    with target.wire("alice") as wire:
        wire.send(w.query("SELECT n, repeat('y', 30) FROM generate_series(1, 200) AS n"))
        received = b""
        while not received.endswith(b"Z\x00\x00\x00\x05I"):
            received += wire.socket.recv(1)

        assert received.count(b"y" * 30) == 200
        assert wire.value("SELECT 1") == "1"


ENDLESS = "SELECT generate_series(1, 1000000000000), repeat('z', 100)"


def test_a_result_that_nobody_reads_any_more_ends(make_gateway: Callable[..., Target], cluster: Any) -> None:
    """As PostgreSQL ends one whose rows it cannot send. Time alone would end this one after ten minutes."""
    general = {"rollback_timeout": 600_000, "default_pool_size": 1}
    target = make_gateway(general=general, databases=[primary_alone(cluster)])
    running = f"SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query = $${ENDLESS}$$"
    with cluster.admin() as admin:
        with target.wire("alice") as reader:
            reader.send(w.query(ENDLESS))
            assert reader.receive().type == "T"
            assert admin.execute(running).fetchone()

        eventually(lambda: not admin.execute(running).fetchone(), "the end of the statement")
    with target.wire("alice") as fresh:
        assert fresh.value("SELECT current_user") == "alice"


def test_what_a_client_asked_for_before_it_left_is_done(
    make_gateway: Callable[..., Target], cluster: Any
) -> None:
    target = make_gateway(databases=[primary_alone(cluster)])
    with target.wire("alice") as wire, cluster.admin() as admin:
        admin.execute("DELETE FROM notes WHERE body LIKE 'parting %'")
        rows = "SELECT 'parting ' || n FROM generate_series(1, 1000) n"
        wire.send(w.query(f"INSERT INTO notes (body) {rows} RETURNING body"))
        wire.send(w.TERMINATE)
        wire.closed_by_peer()

        count = "SELECT count(*) FROM notes WHERE body LIKE 'parting %'"
        eventually(lambda: admin.execute(count).fetchone() == (1000,), "all rows")
        admin.execute("DELETE FROM notes WHERE body LIKE 'parting %'")
