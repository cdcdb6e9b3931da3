"""The command line: check, token mint and inspect, version and help."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import jwt
import pytest

from harness import find_gateway
from harness.external import is_external
from harness.target import Target

pytestmark = pytest.mark.skipif(is_external(), reason="runs the gateway's program, which is elsewhere")

GOOD = """
[general]
auth_type = "jwt"
jwt_jwks_url = "http://127.0.0.1:1/jwks.json"
jwt_audience = "postgres"

[[databases]]
name = "demo"
host = "127.0.0.1"
"""


def run(*arguments: str | Path, cwd: Path | None = None, stdin: str = "") -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PGDOG_")}
    return subprocess.run(
        [find_gateway(), *arguments],
        cwd=cwd,
        env=clean,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=20,
    )


def test_version() -> None:
    done = run("--version")

    assert done.returncode == 0
    assert done.stdout.startswith("pgdog-jwt ")


def test_help_names_commands_and_files() -> None:
    done = run("--help")

    assert done.returncode == 0
    assert all(word in done.stdout for word in ("check", "token", "--config", "--users"))


def test_check_says_what_a_good_configuration_means(tmp_path: Path) -> None:
    (tmp_path / "pgdog.toml").write_text(GOOD)

    done = run("check", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert "demo" in done.stdout
    assert "http://127.0.0.1:1/jwks.json" in done.stdout


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('pooler_mod = "session"', "pooler_mode"),
        ('pooler_mode = "sometimes"', "session"),
        ('default_pool_size = "ten"', "default_pool_size"),
        ("default_pool_size = -1", "default_pool_size"),
        ('jwt_jwks_url = "http://issuer.example/jwks.json"', "https"),
    ],
)
def test_check_names_file_line_and_reason(tmp_path: Path, line: str, reason: str) -> None:
    lines = [each for each in GOOD.splitlines() if each.split(" =")[0] != line.split(" =")[0]]
    lines.insert(lines.index("[general]") + 1, line)
    (tmp_path / "pgdog.toml").write_text("\n".join(lines))

    done = run("check", cwd=tmp_path)

    assert done.returncode != 0
    assert f"pgdog.toml:{lines.index(line) + 1}" in done.stderr
    assert reason in done.stderr


def test_check_shows_no_secret(tmp_path: Path) -> None:
    (tmp_path / "pgdog.toml").write_text(GOOD)
    (tmp_path / "users.toml").write_text(
        '[[users]]\nname = "service"\ndatabase = "demo"\npassword = "hunter2-hunter2"\n'
    )

    done = run("check", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert "hunter2" not in done.stdout + done.stderr


def test_without_its_file_it_does_not_start(tmp_path: Path) -> None:
    done = run("--config", tmp_path / "missing.toml")

    assert done.returncode != 0
    assert "missing.toml" in done.stderr


def test_a_port_that_is_taken_is_an_error_with_the_address(make_gateway: Callable[..., Target]) -> None:
    first = make_gateway()

    second = run("--config", first.gateway.config_file, "--users", first.gateway.users_file)

    assert second.returncode != 0
    assert str(first.port) in second.stderr + second.stdout


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_minted_token_logs_in(make_gateway: Callable[..., Target], tmp_path: Path, algorithm: str) -> None:
    made = run("token", "mint", "--new-key", tmp_path / "keys", "--alg", algorithm, "--sub", "alice")
    assert made.returncode == 0, made.stderr
    target = make_gateway(
        general={"jwt_jwks_url": None, "jwt_public_key_file": str(tmp_path / "keys" / "public.pem")},
        jwt={"issuer": None},
    )
    key = tmp_path / "keys" / "private.pem"

    token = run("token", "mint", "--key", key, "--sub", "alice", "--aud", "postgres").stdout.strip()

    with target.wire("alice", token) as wire:
        assert wire.value("SELECT current_user") == "alice"


def test_a_new_private_key_is_for_its_owner_alone(tmp_path: Path) -> None:
    assert run("token", "mint", "--new-key", tmp_path / "keys", "--sub", "alice").returncode == 0

    assert (tmp_path / "keys" / "private.pem").stat().st_mode & 0o077 == 0
    assert json.loads((tmp_path / "keys" / "jwks.json").read_text())["keys"]


def test_a_key_that_is_there_is_used_again(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    mint = ("token", "mint", "--new-key", keys, "--sub", "alice")
    first = run(*mint)
    before = {path.name: path.read_text() for path in keys.iterdir()}
    (keys / "jwks.json").unlink()

    second = run(*mint)
    kid = jwt.get_unverified_header(first.stdout.strip())["kid"]

    assert second.returncode == 0, second.stderr
    assert f"{keys} has a key already" in second.stderr
    assert {path.name: path.read_text() for path in keys.iterdir()} == before
    assert jwt.get_unverified_header(second.stdout.strip())["kid"] == kid
    assert run(*mint, "--alg", "RS256").returncode != 0


def test_inspect_shows_claims(tmp_path: Path) -> None:
    token = run(
        "token", "mint", "--new-key", tmp_path / "keys", "--sub", "alice", "--claim", "admin=true"
    ).stdout

    done = run("token", "inspect", stdin=token)

    assert done.returncode == 0, done.stderr
    assert '"alice"' in done.stdout
    assert "admin" in done.stdout


def test_inspect_refuses_what_is_no_token() -> None:
    assert run("token", "inspect", "nonsense").returncode != 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_by_signal_with_status_0(make_gateway: Callable[..., Target], number: signal.Signals) -> None:
    target = make_gateway()

    target.gateway.send(number)

    assert target.gateway.wait(timeout=10) == 0


def test_schema_describes_every_section_of_the_example() -> None:
    done = run("schema")
    users = run("schema", "users")

    assert (done.returncode, users.returncode) == (0, 0), done.stderr
    schema = json.loads(done.stdout)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jwt = schema["properties"]["jwt"]
    assert jwt["additionalProperties"] is False
    assert jwt["properties"]["leeway"] == {
        "description": 'How far clocks may differ when "exp", "nbf" and "iat" are compared.',
        "type": "integer",
        "minimum": 0,
        "maximum": 3600,
        "x-unit": "seconds",
        "default": 0,
    }
    assert jwt["properties"]["issuers"]["items"]["properties"]["introspection_url"]["type"] == "string"
    assert "passwords" in json.loads(users.stdout)["properties"]["users"]["items"]["properties"]


def test_a_value_of_a_key_that_only_the_core_checks_has_a_line(tmp_path: Path) -> None:
    (tmp_path / "pgdog.toml").write_text(
        GOOD.replace("[[databases]]", "jwt_jwks_cache_ttl = 0\n[[databases]]")
    )

    done = run("check", cwd=tmp_path)

    assert done.returncode != 0
    assert 'pgdog.toml:7: "jwt_jwks_cache_ttl" must be more than 0' in done.stdout + done.stderr


CLOSED = {
    "setup sql": ["setup", "sql"],
    "setup hba": ["setup", "hba"],
    "schema": ["schema"],
    "check": ["check"],
    "check --json": ["check", "--json"],
    "inspect": ["token", "inspect", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9."],
    "help": ["--help"],
    "version": ["--version"],
}


@pytest.mark.parametrize("arguments", CLOSED.values(), ids=CLOSED)
@pytest.mark.parametrize("closed", [("stdout",), ("stdout", "stderr")], ids=["stdout", "both"])
def test_a_reader_that_has_gone_is_a_quiet_end(
    tmp_path: Path, arguments: list[str], closed: tuple[str, ...]
) -> None:
    (tmp_path / "pgdog.toml").write_text(
        GOOD.replace("[[databases]]", 'jwt_server_user = "g"\n[[databases]]')
    )
    reading, writing = os.pipe()
    os.close(reading)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | dict.fromkeys(closed, writing)
    try:
        done = subprocess.run([find_gateway(), *arguments], cwd=tmp_path, timeout=60, text=True, **streams)
    finally:
        os.close(writing)

    assert done.returncode == 0
    assert "panicked" not in (done.stderr or "")
    assert "Broken pipe" not in (done.stderr or "")


def test_the_exit_status_stays_when_nobody_reads(tmp_path: Path) -> None:
    (tmp_path / "pgdog.toml").write_text(GOOD.replace("demo", ""))
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([find_gateway(), "check"], cwd=tmp_path, timeout=60, stdout=writing, stderr=writing)
    os.close(writing)
    assert done.returncode == 1
