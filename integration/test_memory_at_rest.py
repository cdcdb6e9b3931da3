"""What large statements needed goes back to the system, and what a session may keep has its limits."""

from __future__ import annotations

import threading
from collections.abc import Callable

from harness import eventually
from harness import wire as w
from harness.target import Target
from harness.wire import Wire

MakeGateway = Callable[..., Target]

MEGABYTE = 1 << 20
CLIENTS = 16
# Of a gateway that has served some statements of ordinary size.
SLACK = 40 * MEGABYTE


def test_memory_of_large_statements_goes_back_while_the_gateway_rests(make_gateway: MakeGateway) -> None:
    target = make_gateway(general={"default_pool_size": 4}, jwt={"max_statement_size": 16 * MEGABYTE})
    text = "SELECT length('" + "x" * 16_000_000 + "')"
    clients = [target.wire("alice") for _ in range(CLIENTS)]
    for client in clients:
        assert client.value("SELECT 1") == "1"
    before = target.gateway.memory()

    def ask(client: Wire) -> None:
        assert client.value(text) == "16000000"

    threads = [threading.Thread(target=ask, args=[client]) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    eventually(lambda: target.gateway.memory() < before + SLACK, "memory that goes back")
    for client in clients:
        client.close()


def prepare(wire: Wire, name: str, text: str) -> str:
    wire.send(w.parse(text, name), w.SYNC)
    answer = wire.until_ready()
    return "" if "E" not in w.types_of(answer) else w.error_of(answer)["C"]


def test_the_number_of_prepared_statements_has_a_limit(make_gateway: MakeGateway) -> None:
    target = make_gateway(general={"client_statements_limit": 3})
    with target.wire("alice") as wire, target.wire("alice") as other:
        assert [prepare(wire, f"s{n}", f"SELECT {n}") for n in range(4)] == ["", "", "", "53400"]
        assert prepare(other, "s", "SELECT 1") == ""
        wire.send(w.close("S", "s0") + w.extended("SELECT 1"))
        wire.until_ready()
        assert prepare(wire, "s3", "SELECT 3") == ""


def test_so_has_their_size(make_gateway: MakeGateway) -> None:
    target = make_gateway(general={"client_statements_size": 10_000})
    long = "SELECT '" + "x" * 6_000 + "'"
    with target.wire("alice") as wire:
        assert [prepare(wire, name, f"{long}, '{name}'") for name in "ab"] == ["", "53400"]
        assert prepare(wire, "c", "SELECT 1") == ""
