"""What a query costs the gateway when there are many subjects and few servers.

All subjects are logged in at once, each over a connection of its own. They ask for one row, either all of
them in turn, or only half as many as there are servers, while the others are idle. Printed is the gateway's
processor time for a query.

PYTHONPATH=integration .venv/bin/python bench/subjects.py
PYTHONPATH=integration .venv/bin/python bench/subjects.py --subjects 10,1000 --queries 5000
"""

from __future__ import annotations

import argparse
import itertools
import select
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import database
from database import Database
from procfs import Processes

from harness import Gateway, Issuer, Workspace, default_config, exit_on_signals, merged
from harness import wire as w
from harness.cluster import SERVER_USER
from harness.target import Target
from harness.wire import Wire

SCALE = 1
ROWS = 100_000 * SCALE
TOKEN_SECONDS = 24 * 3600
LOGINS_AT_ONCE = 8
READY = b"Z\0\0\0\5I"


@dataclass(frozen=True)
class Figures:
    """One line of the table."""

    mode: str
    subjects: int
    asking: int
    logins: float
    queries: float
    cpu_micros: float
    login_cpu_micros: float
    mib: float


def main() -> int:
    options = arguments()
    exit_on_signals()
    issuer = Issuer("ES256")
    try:
        with Workspace() as workspace:
            data = database.start(workspace, SCALE, None)
            make_subjects(data, 0, max(options.subjects))
            print(
                f"PostgreSQL {data.version}, {options.servers} servers, {options.at_once} queries at once\n"
            )
            print(HEADING)
            for shared, count in itertools.product([False, True], options.subjects):
                gateway = start(workspace, data, issuer, options, shared, count)
                try:
                    for figures in measure(gateway, issuer, options, shared, count):
                        print(line(figures), flush=True)
                finally:
                    gateway.stop()
    except KeyboardInterrupt:
        print("\nstopped")
        return 130
    finally:
        issuer.close()
    return 0


def name_of(number: int) -> str:
    return f"subject_{number}"


def make_subjects(data: Database, first: int, count: int) -> None:
    """Roles that may read pgbench's tables, from the number of the first up to the count.

    PostgreSQL looks through the memberships of an account at each login. So that this is not what is
    measured, the account that logs in is a superuser, who needs none.
    """
    with data.cluster.admin() as admin:
        admin.execute(
            f"DO $$ BEGIN FOR number IN {first}..{count - 1} LOOP"
            " EXECUTE format('CREATE ROLE %I', 'subject_' || number); END LOOP; END $$"
        )
        admin.execute("GRANT SELECT ON pgbench_accounts TO PUBLIC")
        admin.execute(f"ALTER ROLE {SERVER_USER} SUPERUSER")


def start(
    workspace: Workspace,
    data: Database,
    issuer: Issuer,
    options: argparse.Namespace,
    shared: bool,
    count: int,
) -> Gateway:
    server = {"name": data.name, "host": data.host, "port": data.port, "role": "primary"}
    config = merged(
        default_config(data.cluster, issuer),
        {
            "general": {
                "workers": options.workers,
                "default_pool_size": options.servers,
                "checkout_timeout": 60_000,
                "client_login_timeout": 120_000,
                "tls_verify": "disabled",
                "log_connections": False,
                "log_disconnections": False,
                "log_level": "warn,pgdog_jwt_gateway::app=info",
            },
            "jwt": {"shared_pool": shared, "max_pools": count},
            "databases": [{**server, "max_server_connections": options.servers}],
        },
    )
    return Gateway(workspace, config).start()


def measure(
    gateway: Gateway, issuer: Issuer, options: argparse.Namespace, shared: bool, count: int
) -> Iterator[Figures]:
    target = Target.of(gateway, issuer)
    process = Processes(gateway.pid)
    tokens = [issuer.token(name_of(number), expires_in=TOKEN_SECONDS) for number in range(count)]

    def log_in(number: int) -> Wire:
        return target.wire(name_of(number), tokens[number])

    before, began = process.cpu_seconds(), time.monotonic()
    with ThreadPoolExecutor(LOGINS_AT_ONCE) as threads:
        wires = list(threads.map(log_in, range(count)))
    login_cpu = (process.cpu_seconds() - before) / count
    logins = count / (time.monotonic() - began)
    try:
        mode = "one shared pool" if shared else "a pool each"
        for asking in sorted({min(count, options.servers // 2), count}):
            chosen = wires[:asking]
            run(chosen, options.at_once, min(2 * asking, options.queries))
            before, began = process.cpu_seconds(), time.monotonic()
            run(chosen, options.at_once, options.queries)
            took = time.monotonic() - began
            cpu = process.cpu_seconds() - before
            yield Figures(
                mode,
                count,
                asking,
                logins,
                options.queries / took,
                cpu / options.queries * 1e6,
                login_cpu * 1e6,
                gateway.memory() / 2**20,
            )
    finally:
        for wire in wires:
            wire.close()


def run(wires: Sequence[Wire], at_once: int, queries: int) -> None:
    """Every client in turn asks for one row; `at_once` of them wait for theirs."""
    poll = select.epoll()
    by_number = {wire.socket.fileno(): wire for wire in wires}
    free = deque(wires)
    answers: dict[int, bytes] = {}
    asked = answered = 0
    for number in by_number:
        poll.register(number, select.EPOLLIN)
    while answered < queries:
        while free and asked < queries and asked - answered < at_once:
            wire = free.popleft()
            answers[wire.socket.fileno()] = b""
            wire.send(w.query(f"SELECT abalance FROM pgbench_accounts WHERE aid = {asked * 7919 % ROWS + 1}"))
            asked += 1
        for number, _ in poll.poll(60):
            wire = by_number[number]
            answers[number] += wire.socket.recv(65_536)
            if answers[number].endswith(READY):
                if answers[number][:1] != b"T":
                    raise RuntimeError(f"not a row: {answers[number]!r}")
                answered += 1
                free.append(wire)
    poll.close()


COLUMNS = [
    ("mode", 16),
    ("subjects", 9),
    ("asking", 7),
    ("queries/s", 10),
    ("CPU µs/query", 13),
    ("logins/s", 9),
    ("CPU µs/login", 13),
    ("MiB", 6),
]
HEADING = "".join(
    f"{name:<{width}}" if at == 0 else f"{name:>{width}}" for at, (name, width) in enumerate(COLUMNS)
)


def line(figures: Figures) -> str:
    values = [
        figures.mode,
        str(figures.subjects),
        str(figures.asking),
        f"{figures.queries:.0f}",
        f"{figures.cpu_micros:.0f}",
        f"{figures.logins:.0f}",
        f"{figures.login_cpu_micros:.0f}",
        f"{figures.mib:.0f}",
    ]
    widths = [width for _, width in COLUMNS]
    return "".join(
        f"{value:<{width}}" if at == 0 else f"{value:>{width}}"
        for at, (value, width) in enumerate(zip(values, widths, strict=True))
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument

    def numbers(text: str) -> list[int]:
        return [int(number) for number in text.split(",")]

    add("--subjects", type=numbers, default=[10, 1_000, 10_000], metavar="N[,N…]", help="(10,1000,10000)")
    add("--servers", type=int, default=50, help="server connections that there may be (50)")
    add("--queries", type=int, default=20_000, help="in each measurement (20000)")
    add("--at-once", type=int, default=8, help="clients that wait for an answer (8)")
    add("--workers", type=int, default=2, help="worker threads of the gateway (2)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
