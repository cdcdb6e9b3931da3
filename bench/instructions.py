"""Counts the instructions of one query through the gateway: the same on a busy machine, so regressions show.

PYTHONPATH=integration .venv/bin/python bench/instructions.py
PYTHONPATH=integration .venv/bin/python bench/instructions.py --queries 5000 --functions 40

The gateway runs under valgrind's callgrind, which counts only while the queries are sent: one client (for
`switch` two subjects in turn, who share one server connection), one worker, loopback without TLS, `SELECT 1`.
The kernel's share is not in it.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
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
NEEDED = ("valgrind", "callgrind_control", "callgrind_annotate")
SUBJECTS = ("alice", "bob")
STATEMENT = "SELECT 1"


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


def nothing(_: Wire) -> None:
    """For statements that need no preparation."""


def simple(wire: Wire) -> None:
    wire.query(STATEMENT)


def prepare(wire: Wire) -> None:
    wire.send(w.parse(STATEMENT, "p"), w.SYNC)
    wire.until_ready()


def prepared(wire: Wire) -> None:
    wire.send(w.bind((), "p"), w.execute(), w.SYNC)
    wire.until_ready()


Step = Callable[[Wire], None]


@dataclass(frozen=True)
class Kind:
    """What is counted."""

    prepare: Step
    ask: Step
    config: dict[str, Any]
    subjects: int = 1


# One server connection, and what a gateway with claims in variables sets on it.
VARIABLES = {f"app.claim_{number}": {"value": "{sub}"} for number in range(4)}
SHARED = {
    "general": {"default_pool_size": 1},
    "jwt": {"shared_pool": True, "session": {"variables": VARIABLES}},
}
KINDS = {
    "simple": Kind(nothing, simple, {}),
    "prepared": Kind(prepare, prepared, {}),
    "shared": Kind(nothing, simple, SHARED),
    "switch": Kind(nothing, simple, SHARED, 2),
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
        f"--callgrind-out-file={folder}/counted",
    )

    def counting(on: bool) -> None:
        command = ["callgrind_control", prefix, "-i", "on" if on else "off", str(gateway.pid)]
        subprocess.run(command, check=True, capture_output=True, timeout=WAIT_SECONDS)

    try:
        with ExitStack() as stack:
            wires = [
                stack.enter_context(Wire(gateway.host, gateway.port, WAIT_SECONDS))
                for _ in range(kind.subjects)
            ]
            for wire, subject in zip(wires, SUBJECTS, strict=False):
                wire.login(subject, Target.database, issuer.token(subject))
                kind.prepare(wire)
            for number in range(WARM_UP):
                kind.ask(wires[number % len(wires)])
            counting(True)
            for number in range(queries):
                kind.ask(wires[number % len(wires)])
            counting(False)
    finally:
        gateway.stop(timeout=WAIT_SECONDS)
    return folder / "counted"


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
