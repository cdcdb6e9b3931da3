"""Counts the instructions of one query and of one login: the same on a busy machine, so regressions show.

PYTHONPATH=integration .venv/bin/python bench/instructions.py
PYTHONPATH=integration .venv/bin/python bench/instructions.py --queries 5000 --functions 40

The gateway runs under valgrind's callgrind, which counts only while the queries are sent: one client, one
worker, loopback without TLS, `SELECT 1`. What counts is the worker's thread; the kernel's share is not in it.
A login is a connection with a known token, one query, and good-bye. `table` is a query of a table. `shared`
and `switch` have one server connection in a shared pool; for `switch` two subjects use it in turn.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

from harness import (
    Cluster,
    Gateway,
    Issuer,
    Workspace,
    default_config,
    exit_on_signals,
    merged,
    primary_alone,
)
from harness import wire as w
from harness.target import Target
from harness.wire import Wire

# Under callgrind everything takes some fifty times as long.
WAIT_SECONDS = 120.0
# Until caches are filled and buffers have their size.
WARM_UP = 200
LOOK_SECONDS = 5
NEEDED = ("valgrind", "callgrind_control", "callgrind_annotate")
SUBJECT, OTHER = "alice", "bob"
STATEMENT = "SELECT 1"
# Whether it runs a function of the database's own is to be decided.
OF_A_TABLE = "SELECT count(*) FROM notes WHERE id = 1"


def main() -> int:
    options = arguments()
    if missing := [name for name in NEEDED if not shutil.which(name)]:
        print(f"SKIPPED: no instructions are counted, {', '.join(missing)} is not installed")
        return 0
    exit_on_signals()
    issuer = Issuer()
    try:
        with Workspace() as workspace:
            cluster = Cluster(workspace, replica=False)
            for name in options.only or KINDS:
                counted = count(workspace, cluster, issuer, options.queries, KINDS[name])
                report(name, counted, options.queries, options.functions)
    except KeyboardInterrupt:
        print("\nstopped")
        return 130
    finally:
        issuer.close()
    return 0


# Gives a client that is logged in.
Connect = Callable[..., Wire]
Ask = Callable[[], object]


@contextmanager
def simple(connect: Connect) -> Iterator[Ask]:
    with connect() as wire:
        yield lambda: wire.query(STATEMENT)


@contextmanager
def table(connect: Connect) -> Iterator[Ask]:
    with connect() as wire, connect() as other:
        # When the gateway has looked at the database, the second client gets a connection that is clean.
        wire.query(OF_A_TABLE)
        time.sleep(LOOK_SECONDS)
        other.query(OF_A_TABLE)
        yield lambda: wire.query(OF_A_TABLE)


@contextmanager
def prepared(connect: Connect) -> Iterator[Ask]:
    with connect() as wire:
        wire.send(w.parse(STATEMENT, "p"), w.SYNC)
        wire.until_ready()

        def ask() -> None:
            wire.send(w.bind((), "p"), w.execute(), w.SYNC)
            wire.until_ready()

        yield ask


@contextmanager
def switch(connect: Connect) -> Iterator[Ask]:
    """Two subjects in turn."""
    with connect() as one, connect(OTHER) as two:
        turns = cycle((one, two))
        yield lambda: next(turns).query(STATEMENT)


@contextmanager
def login(connect: Connect) -> Iterator[Ask]:
    def ask() -> None:
        with connect() as wire:
            wire.query(STATEMENT)
            wire.send(w.TERMINATE)
            wire.closed_by_peer()

    yield ask


@dataclass(frozen=True)
class Kind:
    """What is counted, and what the gateway is told for it."""

    run: Callable[[Connect], AbstractContextManager[Ask]]
    config: dict[str, Any] = field(default_factory=dict)


# One server connection, and what a gateway with claims in variables sets on it.
VARIABLES = {f"app.claim_{number}": {"value": "{sub}"} for number in range(4)}
SHARED = {
    "general": {"default_pool_size": 1},
    "jwt": {"shared_pool": True, "session": {"variables": VARIABLES}},
}
KINDS = {
    "simple": Kind(simple),
    "table": Kind(table, {"general": {"default_pool_size": 1}}),
    "prepared": Kind(prepared),
    "login": Kind(login),
    "shared": Kind(simple, SHARED),
    "switch": Kind(switch, SHARED),
}


def count(workspace: Workspace, cluster: Cluster, issuer: Issuer, queries: int, kind: Kind) -> Path:
    """Callgrind's file about so many queries."""
    plain = {"general": {"workers": 1, "tls_verify": "disabled"}, "databases": [primary_alone(cluster)]}
    config = merged(merged(default_config(cluster, issuer), plain), kind.config)
    gateway = Gateway(workspace, config)
    folder = workspace.subfolder("callgrind")
    prefix = f"--vgdb-prefix={folder}/vgdb"
    gateway.start(
        *("valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no", prefix),
        # Other threads do what has nothing to do with the queries, such as the login of a monitor.
        *("--separate-threads=yes", f"--callgrind-out-file={folder}/counted"),
    )

    def counting(on: bool) -> None:
        command = ["callgrind_control", prefix, "-i", "on" if on else "off", str(gateway.pid)]
        subprocess.run(command, check=True, capture_output=True, timeout=WAIT_SECONDS)

    tokens = {subject: issuer.token(subject) for subject in (SUBJECT, OTHER)}

    def connect(subject: str = SUBJECT) -> Wire:
        wire = Wire(gateway.host, gateway.port, WAIT_SECONDS)
        wire.login(subject, Target.database, tokens[subject])
        return wire

    try:
        with kind.run(connect) as ask:
            for _ in range(WARM_UP):
                ask()
            counting(True)
            for _ in range(queries):
                ask()
            counting(False)
    finally:
        gateway.stop(timeout=WAIT_SECONDS)
    return of_sessions(folder)


def of_sessions(folder: Path) -> Path:
    """The file about the thread in which sessions ran."""
    files = [
        file for file in folder.glob("counted-*") if "session::Session" in file.read_text(errors="replace")
    ]
    if len(files) != 1:
        raise SystemExit(f"callgrind counted sessions in {len(files)} threads")
    return files[0]


def report(name: str, counted: Path, queries: int, functions: int) -> None:
    """Instructions per query: in all, and of the functions that take most, callees left out."""
    command = ["callgrind_annotate", "--threshold=100", "--auto=no", str(counted)]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=WAIT_SECONDS).stdout
    lines = [
        (int(found.group(1).replace(",", "")), found.group(2).strip())
        for found in re.finditer(r"^ *([\d,]+) \([ \d.]+%\)  (.+)$", output, re.MULTILINE)
    ]
    totals = [number for number, text in lines if text == "PROGRAM TOTALS"]
    if not totals:
        raise SystemExit(f"callgrind_annotate says nothing: {output[:500]}")
    print(f"\n{name}: {totals[0] / queries:,.0f} instructions per query ({queries} queries)\n")
    for number, text in [each for each in lines if each[1] != "PROGRAM TOTALS"][:functions]:
        # FILE:FUNCTION [OBJECT]
        function = re.sub(r" \[[^\]]*\]$", "", text).split(":", 1)[-1]
        print(f"{number / queries:>10,.0f}  {function[:100]}", flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--queries", type=int, default=2_000, help="that are counted, of each kind (2000)")
    parser.add_argument(
        "--only", action="append", choices=KINDS, help="this kind; may be given more than once"
    )
    parser.add_argument("--functions", type=int, default=20, help="that are named (20)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
