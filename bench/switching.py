"""What it costs when every query is another subject's, and there are few servers.

The same queries are asked by one subject right before: the ratio says what the change of identity costs.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from contestants import HOST, Endpoint
from figures import MIB, PER
from load import Client
from procfs import Processes
from scenarios import Scenario
from subjects import LOGINS_AT_ONCE, name_of
from subjects import run as ask_in_turn

from harness.wire import Wire

QUERIES_PER_SECOND = 4_000
AT_ONCE = 8


def run(client: Client, scenario: Scenario, endpoint: Endpoint, seconds: int) -> dict[str, float]:
    """The figures of one turn; a password of the endpoint for each subject."""
    assert endpoint.pid
    pooler = Processes(endpoint.pid)
    tokens, queries = list(endpoint.passwords), QUERIES_PER_SECOND * seconds
    wires: list[Wire] = []
    threads = ThreadPoolExecutor(LOGINS_AT_ONCE)

    def enter(number: int) -> None:
        wire = Wire(HOST, endpoint.port)
        wires.append(wire)
        wire.login(name_of(number), client.database.name, tokens[number])

    def cost(chosen: list[Wire]) -> float:
        ask_in_turn(chosen, AT_ONCE, min(queries, 2 * len(chosen)))
        before = pooler.run_seconds()
        ask_in_turn(chosen, AT_ONCE, queries)
        return (pooler.run_seconds() - before) / queries * PER

    try:
        for _ in threads.map(enter, [0] * AT_ONCE):
            pass
        one = cost(wires[:AT_ONCE])
        for _ in threads.map(enter, range(len(tokens))):
            pass
        each = cost(wires[AT_ONCE:])
        resident = pooler.resident_bytes()
    finally:
        threads.shutdown(cancel_futures=True)
        for wire in wires:
            wire.close()
    return {
        "cpu_per_100k": each,
        "one_cpu_per_100k": one,
        "of_one": each / one,
        "resident_mib": resident / MIB,
    }
