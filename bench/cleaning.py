"""Measures what `server_cleaning` costs: the three values side by side, in turns.

PYTHONPATH=integration .venv/bin/python bench/cleaning.py
PYTHONPATH=integration .venv/bin/python bench/cleaning.py --rounds 5 --seconds 5

Sixteen clients of one user with a password share four server connections, so nearly every transaction is a
change of client. `plain` is pgbench's select-only; `foreign` calls a function of the database besides. The
user is a member of no role, but in "when_needed, member". What counts is the processor time of a query, of
the gateway and of PostgreSQL.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path

from procfs import Processes

from harness import Cluster, Gateway, Issuer, Workspace, default_config, exit_on_signals, primary_alone
from harness.cluster import DATABASE
from harness.installation import find_postgres
from harness.server import SUPERUSER

USERS, PASSWORD = ("loner", "member"), "bench-secret"
CLIENTS, POOL, SCALE = 16, 4, 1
# A value of `server_cleaning`, and the user.
VALUES = {
    "never": ("never", "loner"),
    "when_needed": ("when_needed", "loner"),
    "when_needed, member": ("when_needed", "member"),
    "always": ("always", "loner"),
}
PLAIN = "\\set aid random(1, 100000)\nSELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n"
SCRIPTS = {"plain": PLAIN, "foreign": PLAIN.replace("abalance FROM", "identical(abalance) FROM")}
FUNCTION = "CREATE FUNCTION identical(a int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN a; END $$"
# A look at the database has come back by then.
WARM_UP_SECONDS = 2


def main() -> int:
    options = arguments()
    exit_on_signals()
    issuer = Issuer()
    try:
        with Workspace() as workspace:
            measure(workspace, issuer, options)
    finally:
        issuer.close()
    return 0


def measure(workspace: Workspace, issuer: Issuer, options: argparse.Namespace) -> None:
    cluster = Cluster(workspace, replica=False)
    pgbench = find_postgres().program("pgbench")
    prepare(cluster, pgbench)
    gateways = {
        name: (start(workspace, cluster, issuer, value), user) for name, (value, user) in VALUES.items()
    }
    folder = workspace.subfolder("scripts")
    print(f"{CLIENTS} clients, {POOL} server connections; medians of {options.rounds} rounds\n")
    print(row("script", "protocol", "value", "gateway µs", "PostgreSQL µs", "per second"))
    for name, script in SCRIPTS.items():
        (folder / name).write_text(script)
        for protocol in ("simple", "prepared"):
            figures: dict[str, list[tuple[float, float, float]]] = {value: [] for value in gateways}
            for who in gateways.values():
                run(pgbench, who, folder / name, protocol, WARM_UP_SECONDS)
            for _ in range(options.rounds):
                for value, who in gateways.items():
                    figures[value].append(
                        turn(pgbench, who, cluster, folder / name, protocol, options.seconds)
                    )
            for value, turns in figures.items():
                gateway_time, server_time, rate = map(statistics.median, zip(*turns, strict=True))
                times = f"{gateway_time:.1f}", f"{server_time:.1f}"
                print(row(name, protocol, value, *times, f"{rate:,.0f}"), flush=True)


def row(script: str, protocol: str, value: str, *figures: str) -> str:
    return f"{script:<10}{protocol:<10}{value:<22}" + "".join(f"{figure:>15}" for figure in figures)


def prepare(cluster: Cluster, pgbench: Path) -> None:
    server = cluster.primary
    target = ["-h", str(server.sockets), "-p", str(server.port), "-U", SUPERUSER, DATABASE]
    subprocess.run([pgbench, "-i", "-q", "-s", str(SCALE), *target], check=True, capture_output=True)
    with cluster.admin() as admin:
        accounts = "; ".join(f"CREATE ROLE {user} LOGIN PASSWORD '{PASSWORD}'" for user in USERS)
        admin.execute(f"{FUNCTION}; {accounts}; GRANT SELECT ON pgbench_accounts TO {', '.join(USERS)}")
        admin.execute("CREATE ROLE a_group; GRANT a_group TO member")


def start(workspace: Workspace, cluster: Cluster, issuer: Issuer, value: str) -> Gateway:
    config = default_config(cluster, issuer)
    config["general"] |= {
        "default_pool_size": POOL,
        "workers": 1,
        "tls_verify": "disabled",
        "server_cleaning": value,
    }
    config["databases"] = [primary_alone(cluster)]
    users = [{"name": user, "database": DATABASE, "password": PASSWORD} for user in USERS]
    return Gateway(workspace, config, {"users": users}).start()


def turn(
    pgbench: Path, who: tuple[Gateway, str], cluster: Cluster, script: Path, protocol: str, seconds: int
) -> tuple[float, float, float]:
    """Microseconds of the gateway and of PostgreSQL for a query, and queries in a second."""
    assert cluster.primary.pid
    processes = [Processes(who[0].pid), Processes(cluster.primary.pid)]
    before = [each.run_seconds() for each in processes]
    count, rate = run(pgbench, who, script, protocol, seconds)
    spent = [each.run_seconds() - start for each, start in zip(processes, before, strict=True)]
    return spent[0] / count * 1e6, spent[1] / count * 1e6, rate


def run(
    pgbench: Path, who: tuple[Gateway, str], script: Path, protocol: str, seconds: int
) -> tuple[int, float]:
    gateway, user = who
    command = [pgbench, "-n", "-M", protocol, "-f", script, "-c", str(CLIENTS), "-T", str(seconds)]
    target = ["-h", gateway.host, "-p", str(gateway.port), "-U", user, DATABASE]
    environment = os.environ | {"PGPASSWORD": PASSWORD, "PGSSLMODE": "disable"}
    done = subprocess.run([*command, *target], env=environment, check=True, capture_output=True, text=True)
    count = re.search(r"actually processed: (\d+)", done.stdout)
    rate = re.search(r"tps = ([\d.]+)", done.stdout)
    if not count or not rate:
        raise SystemExit(f"pgbench says nothing:\n{done.stdout}{done.stderr}")
    return int(count.group(1)), float(rate.group(1))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="in which all take turns (3)")
    parser.add_argument("--seconds", type=int, default=3, help="of each turn (3)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
