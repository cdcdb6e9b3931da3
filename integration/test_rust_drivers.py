"""tokio-postgres and sqlx with their own features, a token for their password. See `rust/`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import primary_alone
from harness.gateway import REPOSITORY
from harness.target import Target

PROGRAMS = ("with_tokio_postgres", "with_sqlx")
# The drivers are built when the tests come first to a machine.
BUILD_SECONDS = 900


@pytest.fixture(scope="module")
def built() -> Path:
    """The folder of the programs."""
    if not shutil.which("cargo"):
        pytest.skip("cargo is not installed: tokio-postgres and sqlx are not tested")
    command = ["cargo", "build", "--quiet", "--locked", "-p", "pgdog-jwt-drivers"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=BUILD_SECONDS)
    assert done.returncode == 0, done.stderr
    return Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / "debug"


@pytest.fixture(scope="module", params=["transaction", "session"])
def target(
    request: pytest.FixtureRequest, make_module_gateway: Callable[..., Target], cluster: Any
) -> Target:
    """Without a replica: the checks read at once what they wrote."""
    return make_module_gateway(
        general={"pooler_mode": request.param},
        databases=[primary_alone(cluster)],
    )


@pytest.mark.timeout(BUILD_SECONDS + 120)
@pytest.mark.parametrize("program", PROGRAMS)
def test_what_a_driver_for_rust_does(target: Target, built: Path, program: str) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    settings = {
        "PGHOST": target.host,
        "PGPORT": str(target.port),
        "PGDATABASE": target.database,
        "PGUSER": "alice",
        "PGPASSWORD": target.issuer.token("alice"),
        "PGSSLMODE": "disable",
        # In transaction mode there may be more clients than servers, which are five.
        "CLIENTS": "4" if target.gateway.config["general"]["pooler_mode"] == "session" else "20",
    }
    done = subprocess.run([built / program], env=kept | settings, capture_output=True, text=True, timeout=110)

    checks = [json.loads(line) for line in done.stdout.splitlines()]
    failed = [f"{check['name']}: {check['error']}" for check in checks if check["error"]]
    assert not failed, "\n".join(failed)
    assert done.returncode == 0, done.stderr
    assert len(checks) >= 17
