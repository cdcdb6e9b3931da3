"""node-postgres and postgres.js with their own features, a token for their password. See `node/`."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.target import Target

FOLDER = Path(__file__).with_name("node")
SCRIPTS = ("node_postgres.js", "postgres_js.js")


@pytest.fixture(scope="module")
def installed() -> Path:
    """The drivers, in a folder of the user's cache that is used again."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not installed: node-postgres and postgres.js are not tested")
    package = (FOLDER / "package.json").read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = cache / "pgdog-jwt" / f"node-{hashlib.sha256(package).hexdigest()[:16]}"
    if not (folder / "installed").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_bytes(package)
        command = ["npm", "install", "--no-audit", "--no-fund", "--silent"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100)
        if done.returncode != 0:
            pytest.skip(f"npm cannot install the drivers: {done.stderr.strip()[-300:]}")
        (folder / "installed").touch()
    for source in FOLDER.glob("*.js"):
        shutil.copy(source, folder)
    return folder


@pytest.mark.parametrize("script", SCRIPTS)
def test_what_a_driver_for_node_does(
    request: pytest.FixtureRequest, pooled: Target, installed: Path, script: str
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
        ["node", script], cwd=installed, env=kept | settings, capture_output=True, text=True, timeout=110
    )

    checks = [json.loads(line) for line in done.stdout.splitlines()]
    failed = [f"{check['name']}: {check['error']}" for check in checks if check["error"]]
    assert not failed, "\n".join(failed)
    assert len(checks) >= 9, done.stderr
