"""pgJDBC with its own features, a token for its password. See `jdbc/`.

The driver is where `PGJDBC_JAR` says, or where Debian (libpostgresql-jdbc-java) or Maven put it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.target import Target

SOURCE = Path(__file__).with_name("jdbc") / "PgJdbc.java"


def find_driver() -> Path | None:
    maven = (Path.home() / ".m2/repository/org/postgresql/postgresql").glob("*/postgresql-*.jar")
    named = os.environ.get("PGJDBC_JAR")
    found = [Path(named)] if named else [Path("/usr/share/java/postgresql.jar"), *sorted(maven, reverse=True)]
    return next((path for path in found if path.is_file()), None)


def test_what_pgjdbc_does(pooled: Target) -> None:
    driver = find_driver()
    if not driver or not shutil.which("javac"):
        pytest.skip("pgJDBC is not tested: it needs a JDK and libpostgresql-jdbc-java (or PGJDBC_JAR)")
    mode = "sslmode=require" if pooled.tls else "sslmode=disable"
    url = f"jdbc:postgresql://{pooled.host}:{pooled.port}/{pooled.database}?{mode}"
    command = ["java", "-cp", driver, SOURCE, url, "alice", pooled.issuer.token("alice")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)

    checks = [json.loads(line) for line in done.stdout.splitlines()]
    failed = [f"{check['name']}: {check['error']}" for check in checks if check["error"]]
    assert not failed, "\n".join(failed)
    assert len(checks) >= 9, done.stderr
