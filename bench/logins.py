"""Logins per second through the whole gateway: a token that it knows, tokens that are new, and SCRAM.

Each login is a connection, libpq's authentication, the greeting, and good-bye. Clients are processes of
this program; the three kinds take turns, round after round. Printed are medians: logins per second with the
clients on the same machine, and what a login costs the gateway alone in processor time.

PYTHONPATH=integration .venv/bin/python bench/logins.py
PYTHONPATH=integration .venv/bin/python bench/logins.py --rounds 5 --seconds 5 --algorithm RS256
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from statistics import median

import database
import machine
from database import Database
from procfs import Processes
from psycopg import pq

from harness import Gateway, Issuer, Workspace, default_config, exit_on_signals, merged

SCALE = 1
TOKEN_SECONDS = 24 * 3600
PASSWORD_USER = "keeper"
PASSWORD = "bench-secret-of-the-keeper"
CACHED, NEW, SCRAM = "known token", "new token", "SCRAM-SHA-256"
# More logins of new tokens in a second than any machine manages, for each client.
MOST_PER_SECOND = 1_500


@dataclass(frozen=True)
class Turn:
    """One kind of login for some seconds."""

    logins: int
    seconds: float
    cpu_seconds: float

    @property
    def per_second(self) -> float:
        return self.logins / self.seconds

    @property
    def cpu_micros(self) -> float:
        return self.cpu_seconds / self.logins * 1e6


def main() -> int:
    options = arguments()
    exit_on_signals()
    issuer = Issuer(options.algorithm)
    try:
        with Workspace() as workspace:
            data = database.start(workspace, SCALE, None)
            gateway = start(workspace, data, issuer, options.workers)
            facts = machine.describe(data, [])
            facts["clients"] = f"{options.clients} processes, {options.workers} workers, {options.algorithm}"
            facts["rounds"] = f"{options.rounds} of {options.seconds} s"
            width = max(map(len, facts))
            print("\n".join(f"{name:<{width}}  {value}" for name, value in facts.items()), "\n")
            report(measure(gateway, data, issuer, options))
            gateway.stop()
    except KeyboardInterrupt:
        print("\nstopped")
        return 130
    finally:
        issuer.close()
    return 0


def start(workspace: Workspace, data: Database, issuer: Issuer, workers: int) -> Gateway:
    config = merged(
        default_config(data.cluster, issuer),
        {
            "general": {
                "workers": workers,
                "tls_verify": "disabled",
                "log_connections": False,
                "log_disconnections": False,
                "log_level": "warn,pgdog_jwt_gateway::app=info",
            },
            "jwt": {"token_cache_size": 10_000},
        },
    )
    user = {
        "name": PASSWORD_USER,
        "database": data.name,
        "password": PASSWORD,
        "server_user": data.role,
        "server_password": data.password,
    }
    return Gateway(workspace, config, {"users": [user]}).start()


def measure(
    gateway: Gateway, data: Database, issuer: Issuer, options: argparse.Namespace
) -> dict[str, list[Turn]]:
    process = Processes(gateway.pid)
    line = f"host=127.0.0.1 port={gateway.port} dbname={data.name} sslmode=disable gssencmode=disable"
    known = issuer.token(data.role, expires_in=TOKEN_SECONDS)
    token_line = f"{line} user={data.role} password="
    password_line = f"{line} user={PASSWORD_USER} password={PASSWORD}"
    context = multiprocessing.get_context("fork")
    turns: dict[str, list[Turn]] = {CACHED: [], NEW: [], SCRAM: []}
    for _ in range(options.rounds):
        for kind, results in turns.items():
            ends = []
            for number in range(options.clients):
                here, there = context.Pipe()
                make = lines(kind, number, options, token_line, known, password_line, issuer)
                client = context.Process(target=run, args=(there, make, options.seconds), daemon=True)
                client.start()
                ends.append((client, here))
            for _, end in ends:
                end.recv()
            before, began = process.cpu_seconds(), time.monotonic()
            for _, end in ends:
                end.send("go")
            count = sum(end.recv() for _, end in ends)
            took = time.monotonic() - began
            results.append(Turn(count, took, process.cpu_seconds() - before))
            for client, _ in ends:
                client.join()
    return turns


def lines(
    kind: str,
    number: int,
    options: argparse.Namespace,
    token_line: str,
    known: str,
    password_line: str,
    issuer: Issuer,
) -> Callable[[], list[bytes]]:
    """What makes the connection strings of one client, in the client's own process."""

    def new() -> list[bytes]:
        now = int(time.time())
        names = (f"{now}-{number}-{each}" for each in range(MOST_PER_SECOND * options.seconds))
        tokens = (issuer.token(database.ROLE, expires_in=TOKEN_SECONDS, jti=name) for name in names)
        return [f"{token_line}{token}".encode() for token in tokens]

    if kind == NEW:
        return new
    return lambda: [(f"{token_line}{known}" if kind == CACHED else password_line).encode()]


def run(end: Connection, make: Callable[[], list[bytes]], seconds: int) -> None:
    """Logs in again and again, from the word "go" on."""
    chosen = make()
    log_in(chosen[-1])
    end.send("ready")
    end.recv()
    until, count = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        log_in(chosen[count % len(chosen)])
        count += 1
    end.send(count)


def log_in(line: bytes) -> None:
    connection = pq.PGconn.connect(line)
    if connection.status != pq.ConnStatus.OK:
        raise RuntimeError(connection.error_message.decode())
    connection.finish()


def report(turns: dict[str, list[Turn]]) -> None:
    print(f"{'':<16}{'logins/s':>10}{'of SCRAM':>10}{'CPU µs/login':>14}{'of SCRAM':>10}")
    for kind, results in turns.items():
        pairs = list(zip(results, turns[SCRAM], strict=True))
        rate = median(a.per_second / b.per_second for a, b in pairs)
        cost = median(a.cpu_micros / b.cpu_micros for a, b in pairs)
        per_second = median(each.per_second for each in results)
        micros = median(each.cpu_micros for each in results)
        print(f"{kind:<16}{per_second:>10.0f}{rate:>10.2f}{micros:>14.0f}{cost:>10.2f}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--rounds", type=int, default=3, help="turns of each kind (3)")
    add("--seconds", type=int, default=3, help="length of a turn (3)")
    add("--clients", type=int, default=4, help="processes that log in (4)")
    add("--workers", type=int, default=1, help="worker threads of the gateway (1)")
    add("--algorithm", default="ES256", help="of the tokens (ES256)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
