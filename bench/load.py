"""pgbench as the client: one run, and what it says about it."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass

import psycopg
from contestants import Endpoint
from database import Database
from scenarios import Scenario

from harness import Workspace

HOST = "127.0.0.1"
# On top of the time that a run should take.
GRACE_SECONDS = 30
WARM_UP_TRANSACTIONS = 100


class LoadError(Exception):
    """A run that did not do what it should; its figures mean nothing."""


@dataclass(frozen=True)
class Load:
    transactions: int
    tps: float
    latency_ms: float


@dataclass(frozen=True)
class Client:
    """Runs pgbench against endpoints."""

    workspace: Workspace
    database: Database

    def check(self, endpoint: Endpoint) -> None:
        """Logs in by hand: whoever answers must be PostgreSQL, and must take us for the role."""
        with psycopg.connect(
            host=HOST,
            port=endpoint.port,
            dbname=self.database.name,
            user=self.database.role,
            password=endpoint.password,
            connect_timeout=10,
            sslmode="disable",
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

    def run(self, scenario: Scenario, endpoint: Endpoint, seconds: int) -> Load:
        return self._run(scenario, endpoint, ["--time", str(seconds)], seconds + GRACE_SECONDS)

    def _run(self, scenario: Scenario, endpoint: Endpoint, limit: list[str], timeout: float) -> Load:
        command = [
            *(str(self.database.pgbench), "--no-vacuum", *scenario.script, "--protocol", scenario.protocol),
            *("--client", str(scenario.clients), "--jobs", str(min(scenario.clients, os.cpu_count() or 1))),
            *(["--connect"] if scenario.reconnect else []),
            *limit,
            *("--host", HOST, "--port", str(endpoint.port), "--username", self.database.role),
            self.database.name,
        ]
        child = self.workspace.spawn(command, output=subprocess.PIPE, env=_environment(endpoint.password))
        try:
            output, _ = child.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise LoadError(f"pgbench did not end within {timeout:g} s") from None
        finally:
            self.workspace.stop(child, timeout=2)
        return parse(output.decode(errors="replace"), child.returncode)


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


def _environment(password: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return kept | {"PGPASSWORD": password, "PGSSLMODE": "disable", "PGGSSENCMODE": "disable"}
