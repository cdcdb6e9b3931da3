"""COPY in both directions, small and large, to its end and cut off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness import eventually
from harness import wire as w
from harness.target import Target
from harness.wire import Wire

MEGABYTE = 1024 * 1024
AMOUNT = 100 * MEGABYTE
# How much the gateway may grow while a hundred megabytes pass through it.
GROWTH = 24 * MEGABYTE
LINE = b"x" * 1023 + b"\n"


@pytest.fixture(params=["transaction", "session"], scope="module")
def target(request: pytest.FixtureRequest, make_module_gateway: Callable[..., Target]) -> Target:
    return make_module_gateway(general={"pooler_mode": request.param})


@pytest.fixture
def table(cluster: Any) -> Iterator[str]:
    with cluster.admin() as admin:
        admin.execute("DROP TABLE IF EXISTS scratch.copied")
        admin.execute("CREATE UNLOGGED TABLE scratch.copied (line text)")
        admin.execute("GRANT ALL ON scratch.copied TO subjects")
    yield "scratch.copied"
    with cluster.admin() as admin:
        admin.execute("DROP TABLE scratch.copied")


@pytest.fixture
def wire(target: Target) -> Iterator[Wire]:
    with target.wire("alice") as wire:
        yield wire


def count(cluster: Any, table: str) -> int:
    with cluster.admin() as admin:
        return admin.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def test_copy_in_and_out(wire: Wire, table: str) -> None:
    wire.send(w.query(f"COPY {table} FROM STDIN"))
    assert wire.receive().type == "G"
    wire.send(w.copy_data(b"one\ntw"), w.copy_data(b"o\n"), w.COPY_DONE)
    assert w.types_of(wire.until_ready()) == "CZ"

    wire.query("BEGIN")
    answer = wire.query(f"COPY {table} TO STDOUT")
    wire.query("COMMIT")
    assert w.types_of(answer) == "HddcCZ"
    assert b"".join(message.body for message in answer if message.type == "d") == b"one\ntwo\n"


def test_copy_in_by_the_extended_protocol(wire: Wire, table: str, cluster: Any) -> None:
    wire.send(w.parse(f"COPY {table} FROM STDIN"), w.bind(), w.execute())
    wire.send(w.copy_data(b"one\n"), w.COPY_DONE, w.SYNC)

    assert w.types_of(wire.until_ready()) == "12GCZ"
    assert count(cluster, table) == 1


def test_copy_fail_stores_nothing(wire: Wire, table: str, cluster: Any) -> None:
    wire.send(w.query(f"COPY {table} FROM STDIN"), w.copy_data(b"one\n"), w.copy_fail("changed my mind"))
    answer = wire.until_ready()

    assert w.error_of(answer)["C"] == "57014"
    assert count(cluster, table) == 0
    assert wire.value("SELECT 1") == "1"


def test_an_error_in_the_middle_of_copy_in_leaves_the_session_usable(wire: Wire, table: str) -> None:
    wire.send(w.query(f"COPY {table} FROM STDIN"), w.copy_data(b"one\n"), w.copy_data(b"too\tmany\n"))
    # The server says no before the client has finished; the rest must be read and thrown away.
    for _ in range(200):
        wire.send(w.copy_data(b"still going\n" * 100))
    wire.send(w.COPY_DONE)

    assert w.error_of(wire.until_ready())["C"] == "22P04"
    assert wire.value("SELECT current_user") == "alice"


@pytest.mark.parametrize("cut", [1, 5, 8])
def test_a_copy_that_fails_in_the_middle_of_a_message_frees_its_server(one_server: Target, cut: int) -> None:
    more = w.copy_data(b"never stored\n")
    with one_server.wire("alice") as wire, one_server.wire("alice") as other:
        wire.query("CREATE TABLE scratch.numbers (n int)")
        wire.send(w.query("COPY scratch.numbers FROM STDIN"), w.copy_data(b"no number\n"), more[:cut])
        assert w.error_of(wire.until_ready())["C"] == "22P02"

        wire.send(more[cut:], w.COPY_DONE)

        assert other.value("SELECT current_user") == "alice"
        assert wire.value("SELECT count(*) FROM scratch.numbers") == "0"
        wire.query("DROP TABLE scratch.numbers")


def test_an_error_in_the_middle_of_copy_out_leaves_the_session_usable(wire: Wire) -> None:
    answer = wire.query("COPY (SELECT 1 / (5 - n) FROM generate_series(1, 9) AS n) TO STDOUT")

    assert w.error_of(answer)["C"] == "22012"
    assert wire.value("SELECT current_user") == "alice"


def test_a_client_that_dies_in_copy_in_stores_nothing(target: Target, table: str, cluster: Any) -> None:
    wire = target.wire("alice")
    wire.send(w.query(f"COPY {table} FROM STDIN"), w.copy_data(b"one\n" * 1000))
    wire.receive()

    wire.close()

    def over() -> bool:
        with cluster.admin() as admin:
            query = (
                "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY scratch%' AND state = 'active'"
            )
            return admin.execute(query).fetchone()[0] == 0

    eventually(over, "the end of the dead client's COPY")
    assert count(cluster, table) == 0


def test_a_hundred_megabytes_in_do_not_grow_the_gateway(
    target: Target, wire: Wire, table: str, cluster: Any
) -> None:
    block = w.copy_data(LINE * 64)
    before = peak = target.gateway.memory()
    wire.send(w.query(f"COPY {table} FROM STDIN"))
    wire.receive()

    for number in range(AMOUNT // (64 * len(LINE))):
        wire.send(block)
        if number % 50 == 0:
            peak = max(peak, target.gateway.memory())
    wire.send(w.COPY_DONE)
    assert w.types_of(wire.until_ready()) == "CZ"

    assert count(cluster, table) == AMOUNT // len(LINE)
    assert max(peak, target.gateway.memory()) - before < GROWTH


def test_a_hundred_megabytes_out_do_not_grow_the_gateway(target: Target, wire: Wire) -> None:
    lines = AMOUNT // 1024
    before = peak = target.gateway.memory()
    wire.send(w.query(f"COPY (SELECT repeat('x', 1023) FROM generate_series(1, {lines})) TO STDOUT"))
    received = 0

    while (message := wire.receive()).type != "Z":
        if message.type == "d":
            received += len(message.body)
            if received % (2 * MEGABYTE) == 0:
                peak = max(peak, target.gateway.memory())

    assert received == AMOUNT
    assert max(peak, target.gateway.memory()) - before < GROWTH


def test_a_client_that_does_not_read_does_not_grow_the_gateway(target: Target, wire: Wire) -> None:
    before = target.gateway.memory()
    wire.send(w.query(f"COPY (SELECT repeat('x', 1023) FROM generate_series(1, {AMOUNT // 1024})) TO STDOUT"))
    wire.receive()
    with target.wire("alice") as other:
        for _ in range(100):
            other.value("SELECT 1")

    assert target.gateway.memory() - before < GROWTH


def test_one_row_of_a_hundred_megabytes_does_not_grow_the_gateway(target: Target, wire: Wire) -> None:
    before = peak = target.gateway.memory()
    wire.send(w.query(f"SELECT repeat('x', {AMOUNT})"))

    assert wire.receive().type == "T"
    _, remaining = wire.read(1), int.from_bytes(wire.read(4), "big") - 4
    while remaining:
        remaining -= len(wire.read(min(remaining, MEGABYTE)))
        peak = max(peak, target.gateway.memory())
    wire.until_ready()

    assert peak - before < GROWTH
