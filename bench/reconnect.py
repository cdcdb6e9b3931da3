"""Logins and one query each by libpq, for what pgbench, with its one password, cannot do.

Clients are processes of this program. The latency is that of the whole: connection, login, query, good-bye.
"""

from __future__ import annotations

import itertools
import multiprocessing
import signal
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection

from contestants import HOST, Endpoint
from figures import percentiles
from load import Client, LoadError, pooler_figures
from procfs import Meter
from psycopg import pq
from scenarios import Scenario

# Until all processes are there, and until all have ended their last login.
WAIT_SECONDS = 30.0


def run(client: Client, scenario: Scenario, endpoint: Endpoint, seconds: int) -> dict[str, float]:
    """The figures of one turn."""
    context = multiprocessing.get_context("fork")
    meter, ends, processes = Meter(endpoint.pid), [], []
    try:
        for number in range(scenario.clients):
            here, there = context.Pipe()
            chosen = lines(client, endpoint, number, scenario.clients)
            process = context.Process(target=work, args=(there, chosen, seconds), daemon=True)
            process.start()
            there.close()
            ends.append(here)
            processes.append(process)
        for end in ends:
            receive(end, WAIT_SECONDS)
        meter.begin()
        began = time.monotonic()
        for end in ends:
            end.send("go")
        milliseconds = [one for end in ends for one in receive(end, seconds + WAIT_SECONDS)]
        took = time.monotonic() - began
        meter.end()
    finally:
        for process in processes:
            process.terminate()
            process.join()
    if not milliseconds:
        raise LoadError("no login")
    figures = {
        "queries": float(len(milliseconds)),
        "per_second": len(milliseconds) / took,
        "mean_ms": sum(milliseconds) / len(milliseconds),
        **percentiles(milliseconds),
    }
    return figures | pooler_figures(meter, len(milliseconds))


def lines(client: Client, endpoint: Endpoint, number: int, clients: int) -> Sequence[bytes]:
    """Connection strings of one client; tokens are dealt out, so that no two clients have the same."""
    line = f"host={HOST} port={endpoint.port} dbname={client.database.name} user={endpoint.user}"
    line += " sslmode=disable gssencmode=disable connect_timeout=10"
    passwords = endpoint.passwords[number::clients] or [endpoint.password]
    return [f"{line} password={password}".encode() for password in passwords]


def receive(end: Connection, timeout: float) -> list[float]:
    """What a process says: nothing when it is ready, latencies in the end, or a text when it failed."""
    try:
        said = end.recv() if end.poll(timeout) else "a client did not answer"
    except EOFError:
        said = "a client has ended"
    if isinstance(said, str):
        raise LoadError(said)
    return list(said)


def work(end: Connection, chosen: Sequence[bytes], seconds: int) -> None:
    """In a process of its own: logs in again and again, from the word "go" on."""
    # Ctrl-C is for the program that started this one, and will end it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    turns: Iterator[bytes] = itertools.cycle(chosen)
    try:
        ask(next(turns))
        end.send([])
        if not end.poll(WAIT_SECONDS):
            return
        end.recv()
        taken, until = [], time.monotonic() + seconds
        while (began := time.monotonic()) < until:
            ask(next(turns))
            taken.append((time.monotonic() - began) * 1000)
        end.send(taken)
    except LoadError as error:
        end.send(str(error))


def ask(line: bytes) -> None:
    connection = pq.PGconn.connect(line)
    try:
        if connection.status != pq.ConnStatus.OK:
            raise LoadError(connection.error_message.decode().strip())
        result = connection.exec_(b"SELECT abalance FROM pgbench_accounts WHERE aid = 1")
        if result.status != pq.ExecStatus.TUPLES_OK:
            raise LoadError(result.error_message.decode().strip())
    finally:
        connection.finish()
