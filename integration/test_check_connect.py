"""`check --connect` tries servers, issuers and roles for real, and says what servers log."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from harness import Cluster, Issuer, default_config, find_gateway, merged
from harness.cluster import SERVER_PASSWORD
from harness.external import is_external
from harness.ports import free_port

pytestmark = pytest.mark.skipif(is_external(), reason="starts PostgreSQL servers of its own")

Config = dict[str, Any]
ACCOUNT = "checked_gateway"


@pytest.fixture
def account(cluster: Cluster) -> Iterator[str]:
    """An account for tokens whose settings can be changed without anybody else's noticing."""
    with cluster.admin() as admin:
        admin.execute(f"CREATE ROLE {ACCOUNT} LOGIN NOINHERIT PASSWORD '{SERVER_PASSWORD}'")
        admin.execute(f"GRANT alice TO {ACCOUNT}")
        cluster.wait_for_replay()
        yield ACCOUNT
        admin.execute(f"DROP ROLE {ACCOUNT}")


def check(
    folder: Path, config: Config, users: list[Config] | None = None, *arguments: str
) -> subprocess.CompletedProcess[str]:
    (folder / "pgdog.toml").write_text(tomli_w.dumps(config))
    (folder / "users.toml").write_text(tomli_w.dumps({"users": users or []}))
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PGDOG_")}
    done = subprocess.run(
        [find_gateway(), "check", "--connect", *arguments],
        cwd=folder,
        env=clean,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert SERVER_PASSWORD not in done.stdout + done.stderr
    return done


@pytest.fixture
def config(cluster: Cluster, issuer: Issuer) -> Config:
    return default_config(cluster, issuer)


def test_what_works_is_said_to_work(tmp_path: Path, config: Config) -> None:
    users = [{"name": "alice", "database": "demo"}]
    users.append({"name": "service", "database": "demo", "password": "service-secret"})

    done = check(tmp_path, config, users)

    assert (done.returncode, done.stderr) == (0, "")
    assert "database   demo" in done.stdout


@pytest.mark.parametrize(
    ("password", "hint"),
    [
        ("wrong-secret", '"jwt_server_password": is it the right one?'),
        (None, 'set "jwt_server_password"'),
    ],
)
def test_a_password_of_the_gateway_that_does_not_do(
    tmp_path: Path, config: Config, password: str | None, hint: str
) -> None:
    done = check(tmp_path, merged(config, {"general": {"jwt_server_password": password}}))

    assert done.returncode == 3
    assert 'as "gateway"' in done.stderr
    assert hint in done.stderr
    assert "wrong-secret" not in done.stdout + done.stderr


def test_a_server_that_is_not_there(tmp_path: Path, config: Config) -> None:
    port = free_port()

    done = check(
        tmp_path, merged(config, {"databases": [{"name": "demo", "host": "127.0.0.1", "port": port}]})
    )

    assert done.returncode == 3
    assert f'error: database "demo", server 127.0.0.1:{port} as "gateway": ' in done.stderr


def test_a_server_that_says_nothing_is_not_waited_for(tmp_path: Path, config: Config) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        databases = [{"name": "demo", "host": "127.0.0.1", "port": port}]
        change = {"general": {"connect_timeout": 600_000}, "databases": databases}

        done = check(tmp_path, merged(config, change), None, "--timeout", "1")

    assert done.returncode == 3
    assert "no answer in time" in done.stderr


def test_an_issuer_that_is_not_there(tmp_path: Path, config: Config, issuer: Issuer) -> None:
    url = f"http://127.0.0.1:{free_port()}/jwks.json"

    done = check(tmp_path, merged(config, {"general": {"jwt_jwks_url": url}}))

    assert done.returncode == 3
    assert f"error: {issuer.name}: keys of {url}: " in done.stderr


def test_a_discovery_that_finds_nothing(tmp_path: Path, config: Config) -> None:
    name = f"http://127.0.0.1:{free_port()}"
    issuers = [{"issuer": name, "discovery": True, "audiences": ["postgres"]}]
    general = {"jwt_jwks_url": None, "jwt_audience": None}

    done = check(
        tmp_path, merged(merged(config, {"general": general, "jwt": None}), {"jwt": {"issuers": issuers}})
    )

    assert done.returncode == 3
    assert f"error: {name}: keys by its metadata: " in done.stderr


@pytest.mark.parametrize(
    ("user", "problem"),
    [
        ("never-made", 'there is no role "never-made"'),
        ("stranger", '"gateway" may not become "stranger": GRANT "stranger" TO "gateway"'),
        ("boss", 'role "boss" has SUPERUSER or BYPASSRLS'),
    ],
)
def test_a_role_that_no_login_would_get(tmp_path: Path, config: Config, user: str, problem: str) -> None:
    done = check(tmp_path, config, [{"name": user, "database": "demo"}])

    assert done.returncode == 3
    assert problem in done.stderr


def test_a_server_that_is_no_replica(tmp_path: Path, config: Config, cluster: Cluster) -> None:
    primary = cluster.primary
    entry = {"name": "demo", "host": primary.host, "port": primary.port, "role": "replica"}

    done = check(tmp_path, merged(config, {"databases": [entry]}))

    assert done.returncode == 3
    assert '"role" is "replica", and the server is a primary' in done.stderr


LOGGED = {
    "all statements": ["log_statement TO 'all'"],
    "slow statements": ["log_min_duration_statement TO '250ms'"],
    "some transactions": ["log_transaction_sample_rate TO 0.5"],
    "errors": ["log_parameter_max_length_on_error TO 100"],
}
VARIABLES = {"session": {"variables": {"app.tenant": "{tenant}"}}}


@pytest.mark.parametrize("settings", LOGGED.values(), ids=LOGGED)
def test_a_log_with_claims_in_it_is_warned_of(
    tmp_path: Path, config: Config, account: str, cluster: Cluster, settings: list[str]
) -> None:
    with cluster.admin() as admin:
        for setting in settings:
            admin.execute(f"ALTER ROLE {account} SET {setting}")
    cluster.wait_for_replay()
    config = merged(config, {"general": {"jwt_server_user": account}})

    plain = check(tmp_path, config)
    claims = check(tmp_path, merged(config, {"jwt": VARIABLES}), None, "--json")

    assert (plain.returncode, plain.stderr) == (0, "")
    assert claims.returncode == 0
    problems = json.loads(claims.stdout)["problems"]
    assert {problem["severity"] for problem in problems} == {"warning"}
    assert all(settings[0].split()[0] in problem["message"] for problem in problems)


def test_a_log_without_parameters_is_not_warned_of(
    tmp_path: Path, config: Config, account: str, cluster: Cluster
) -> None:
    with cluster.admin() as admin:
        admin.execute(f"ALTER ROLE {account} SET log_statement TO 'all'")
        admin.execute(f"ALTER ROLE {account} SET log_parameter_max_length TO 0")
    cluster.wait_for_replay()
    change = {"general": {"jwt_server_user": account}, "jwt": VARIABLES}

    done = check(tmp_path, merged(config, change))

    assert (done.returncode, done.stderr) == (0, "")


def test_plans_with_claims_in_them_are_warned_of(
    tmp_path: Path, config: Config, account: str, cluster: Cluster
) -> None:
    with cluster.admin() as admin:
        admin.execute(f"ALTER ROLE {account} SET session_preload_libraries TO 'auto_explain'")
        admin.execute("LOAD 'auto_explain'")
        admin.execute(f"ALTER ROLE {account} SET auto_explain.log_min_duration TO 0")
    cluster.wait_for_replay()
    change = {"general": {"jwt_server_user": account}, "jwt": VARIABLES}

    done = check(tmp_path, merged(config, change))

    assert done.returncode == 0
    assert "warning: " in done.stderr
    assert "auto_explain.log_min_duration = 0" in done.stderr


def test_a_broken_file_is_not_tried(tmp_path: Path, config: Config) -> None:
    done = check(tmp_path, merged(config, {"general": {"pooler_mode": "sometimes"}}))

    assert done.returncode == 1
    assert "database" not in done.stderr
