"""pgbench as the client: one run, and what it says about it."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import psycopg
from contestants import HOST, Endpoint
from database import Database
from figures import MIB, PER, percentiles
from procfs import Meter
from scenarios import Scenario
from slow import slow_clients

from harness import Workspace

# On top of the time that a run should take.
GRACE_SECONDS = 30
WARM_UP_TRANSACTIONS = 100
# The log of a run holds about so many transactions, of so many in a second, at 40 bytes each.
LOGGED_TRANSACTIONS = 250_000
MOST_PER_SECOND = 100_000
# For clients whose settings differ; a server connection that serves another of them must be told.
TIME_ZONES = [f"Etc/GMT{offset:+}" for offset in range(-12, 13) if offset]


class LoadError(Exception):
    """A run that did not do what it should; its figures mean nothing."""


@dataclass(frozen=True)
class Load:
    """Of one pgbench."""

    transactions: int
    per_second: float
    mean_ms: float


@dataclass(frozen=True)
class Client:
    """Runs pgbench against endpoints. `megabytes`: how much a COPY moves."""

    workspace: Workspace
    database: Database
    megabytes: int = 1024

    def check(self, scenario: Scenario, endpoint: Endpoint) -> None:
        """Logs in by hand: whoever answers must be PostgreSQL, and must take us for the role."""
        with psycopg.connect(
            host=HOST,
            port=endpoint.port,
            dbname=self.database.name,
            user=endpoint.user,
            password=endpoint.password,
            connect_timeout=10,
            sslmode="require" if scenario.tls else "disable",
            gssencmode="disable",
            autocommit=True,
            prepare_threshold=None,
        ) as connection:
            row = connection.execute("SELECT current_user").fetchone()
        if row != (self.database.role,):
            raise LoadError(f"current_user is {row[0] if row else None}")

    def warm_up(self, scenario: Scenario, endpoint: Endpoint) -> None:
        """Fills pools and caches."""
        self._run(scenario, endpoint, ["--transactions", str(WARM_UP_TRANSACTIONS)], GRACE_SECONDS)

    def run(self, scenario: Scenario, endpoint: Endpoint, seconds: int) -> dict[str, float]:
        """The figures of one turn."""
        # A login is not in pgbench's log, only what comes after it.
        logged = not scenario.reconnect
        folder = self.workspace.subfolder("pgbench")
        limit = ["--time", str(seconds)]
        if logged:
            rate = min(1.0, LOGGED_TRANSACTIONS / (MOST_PER_SECOND * seconds))
            limit += ["--log", "--log-prefix", str(folder / "log"), "--sampling-rate", f"{rate:g}"]
        if scenario.writes:
            self.database.tidy()
        meter = Meter(endpoint.pid)
        beside = slow_clients(endpoint, scenario.slow_clients) if scenario.slow_clients else nullcontext()
        try:
            with beside:
                meter.begin()
                loads = self._run(scenario, endpoint, limit, seconds + GRACE_SECONDS)
                meter.end()
            latencies = list(logged_milliseconds(folder))
        finally:
            remove(folder)
        queries = sum(each.transactions for each in loads) * scenario.queries
        figures = {
            "queries": float(queries),
            "per_second": sum(each.per_second for each in loads) * scenario.queries,
            "mean_ms": sum(each.mean_ms for each in loads) / len(loads),
            **percentiles(latencies),
        }
        return figures | pooler_figures(meter, queries)

    def _run(self, scenario: Scenario, endpoint: Endpoint, limit: list[str], timeout: float) -> list[Load]:
        """One pgbench, or one for each client when each has settings of its own."""
        environment = _environment(endpoint.password, tls=scenario.tls)
        environments, clients = [environment], scenario.clients
        if scenario.own_settings:
            zones = [TIME_ZONES[number % len(TIME_ZONES)] for number in range(clients)]
            environments, clients = [environment | {"PGTZ": zone} for zone in zones], 1
        script = list(scenario.script)
        folder = self.workspace.subfolder("script")
        if scenario.text:
            (folder / "script.sql").write_text(scenario.text + "\n")
            script += ["--file", str(folder / "script.sql"), "--define", f"accounts={self.database.accounts}"]
        command = [
            *(str(self.database.pgbench), "--no-vacuum", *script, "--protocol", scenario.protocol),
            *("--client", str(clients), "--jobs", str(min(clients, os.cpu_count() or 1))),
            *(["--connect"] if scenario.reconnect else []),
            *limit,
            *("--host", HOST, "--port", str(endpoint.port), "--username", endpoint.user),
            self.database.name,
        ]
        children = []
        try:
            for each in environments:
                children.append(self.workspace.spawn(command, output=subprocess.PIPE, env=each))
            outputs = [child.communicate(timeout=timeout)[0] for child in children]
        except subprocess.TimeoutExpired:
            raise LoadError(f"pgbench did not end within {timeout:g} s") from None
        finally:
            for child in children:
                self.workspace.stop(child, timeout=2)
            remove(folder)
        pairs = zip(outputs, children, strict=True)
        return [parse(output.decode(errors="replace"), child.returncode) for output, child in pairs]


def pooler_figures(meter: Meter, queries: float) -> dict[str, float]:
    """Nothing where there is no pooler."""
    if meter.cpu_seconds is None or meter.peak_bytes is None:
        return {}
    return {"cpu_per_100k": meter.cpu_seconds / queries * PER, "peak_mib": meter.peak_bytes / MIB}


def parse(output: str, status: int) -> Load:
    """pgbench's summary. Everything but a clean run is an error."""
    errors = [line for line in output.splitlines() if "error:" in line or "aborted" in line]
    if status != 0 or errors:
        message = errors[0] if errors else f"exit status {status}: {output.strip()[-200:]}"
        raise LoadError(re.sub(r"^pgbench: ", "", message.strip()))
    failed = re.search(r"number of failed transactions: (\d+)", output)
    if failed and int(failed.group(1)):
        raise LoadError(f"{failed.group(1)} failed transactions")
    transactions = re.search(r"number of transactions actually processed: (\d+)", output)
    latency = re.search(r"latency average = ([\d.]+) ms", output)
    # Without the first connections; with --connect all of them count.
    tps = re.search(
        r"tps = ([\d.]+) \((?:without initial connection time|including reconnection times)\)", output
    )
    if not (transactions and latency and tps and int(transactions.group(1))):
        raise LoadError(f"no result from pgbench: {output.strip()[-200:]}")
    return Load(int(transactions.group(1)), float(tps.group(1)), float(latency.group(1)))


def logged_milliseconds(folder: Path) -> Iterator[float]:
    """The third field of each line of pgbench's logs, which is in microseconds."""
    for path in folder.iterdir():
        with path.open() as lines:
            for line in lines:
                yield int(line.split(maxsplit=3)[2]) / 1000


def remove(folder: Path) -> None:
    """A folder of files."""
    for path in list(folder.iterdir()):
        path.unlink()
    folder.rmdir()


def _environment(password: str, *, tls: bool) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    mode = "require" if tls else "disable"
    return kept | {"PGPASSWORD": password, "PGSSLMODE": mode, "PGGSSENCMODE": "disable"}
