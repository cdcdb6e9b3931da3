"""Where and with what the figures were taken."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from contestants import Contestant
from database import Database

REPOSITORY = Path(__file__).resolve().parents[1]


def describe(database: Database, contestants: Sequence[Contestant]) -> dict[str, str]:
    """Facts by name, in the order in which they are printed."""
    pgbench = subprocess.run([database.pgbench, "--version"], capture_output=True, text=True).stdout
    versions = dict.fromkeys(each.version for each in contestants if each.version)
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "kernel": f"{platform.system()} {platform.release()}",
        "versions": ", ".join([*versions, " ".join(pgbench.split()[:3])]),
        "commit": commit(),
        "load before": " ".join(f"{value:.2f}" for value in os.getloadavg()),
    }


def commit() -> str:
    """Of this repository; marked when files differ from it, and when the gateway may be another commit's."""
    try:
        known = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=REPOSITORY,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        return known + _gateway()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _gateway() -> str:
    """Where it was named, and so is not what cargo has just built."""
    named = os.environ.get("PGDOG_JWT_BIN")
    if not named:
        return ""
    path = Path(named).resolve()
    built_here = path.is_relative_to(REPOSITORY / "target")
    return f" (gateway: {path.relative_to(REPOSITORY)})" if built_here else " (gateway built elsewhere)"


def _processor() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return " ".join(found.group(1).split()) if found else platform.machine()
