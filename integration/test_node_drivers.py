"""node-postgres and postgres.js with their own features, a token for their password. See `node/`."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from harness.npm import installed
from harness.target import Target

SCRIPTS = ("node_postgres.js", "postgres_js.js")


@pytest.fixture(scope="module")
def drivers() -> Path:
    return installed()


# The first to come waits until the packages are installed.
@pytest.mark.timeout(300)
@pytest.mark.parametrize("script", SCRIPTS)
def test_what_a_driver_for_node_does(
    request: pytest.FixtureRequest, pooled: Target, drivers: Path, script: str
) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    settings = {
        "PGHOST": pooled.host,
        "PGPORT": str(pooled.port),
        "PGDATABASE": pooled.database,
        "PGUSER": "alice",
        "PGPASSWORD": pooled.issuer.token("alice"),
        # In transaction mode there may be more clients than servers, which are five.
        "POOL_SIZE": "20" if request.node.callspec.params["pooled"] == "transaction" else "4",
        "PGSSLMODE": "no-verify" if pooled.tls else "disable",
    }
    done = subprocess.run(
        ["node", script], cwd=drivers, env=kept | settings, capture_output=True, text=True, timeout=110
    )

    checks = [json.loads(line) for line in done.stdout.splitlines()]
    failed = [f"{check['name']}: {check['error']}" for check in checks if check["error"]]
    assert not failed, "\n".join(failed)
    assert len(checks) >= 9, done.stderr
