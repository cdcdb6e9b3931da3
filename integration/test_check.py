"""`check` refuses what a start would refuse, says it with file and line, and also in JSON."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from harness import find_gateway, merged
from harness.certificates import self_signed
from harness.external import is_external
from harness.ports import free_port

pytestmark = pytest.mark.skipif(is_external(), reason="runs the gateway's program, which is elsewhere")

Config = dict[str, Any]
KEY_SET = '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}'


def base(**general: Any) -> Config:
    own = {
        "host": "127.0.0.1",
        "port": free_port(),
        "auth_type": "jwt",
        "jwt_jwks_url": "http://127.0.0.1:1/jwks.json",
        "jwt_audience": "postgres",
    }
    databases = [{"name": "demo", "host": "127.0.0.1", "port": 1}]
    return merged({"general": own, "jwt": {}, "databases": databases}, {"general": general})


def gateway(folder: Path, config: Config, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    (folder / "pgdog.toml").write_text(tomli_w.dumps(config))
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PGDOG_")} | env
    return subprocess.run(
        [find_gateway(), *arguments], cwd=folder, env=clean, capture_output=True, text=True, timeout=30
    )


def line_of(folder: Path, text: str) -> int:
    lines = (folder / "pgdog.toml").read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def pair(folder: Path, name: str) -> tuple[Path, Path]:
    made = self_signed("localhost")
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    certificate.write_bytes(made.certificate)
    key.write_bytes(made.key)
    return certificate, key


def keys(file: str) -> Config:
    return {"jwt_jwks_url": None, "jwt_public_key_file": file}


def issuer(**source: str) -> Config:
    own = {"issuer": "https://issuer.example", "audiences": ["postgres"], **source}
    return {"general": {"jwt_jwks_url": None, "jwt_audience": None}, "jwt": {"issuers": [own]}}


BROKEN: dict[str, tuple[Config, str, str]] = {
    "a private key for the public one": ({"general": keys("one.key")}, "one.key", "private key"),
    "garbage for the public key": ({"general": keys("garbage")}, "garbage", "no public key"),
    "no key file": ({"general": keys("missing.pem")}, "missing.pem", "missing.pem"),
    "a key set that is none": (issuer(jwks_file="garbage"), "jwks_file", "not a JSON Web Key Set"),
    "a key set in the file that is none": (issuer(jwks="garbage"), "jwks = ", "not a JSON Web Key Set"),
    "a key set without a key": (issuer(jwks=KEY_SET), "jwks = ", "no key that can be used"),
    "a certificate that is none": (
        {"general": {"tls_certificate": "broken.pem", "tls_private_key": "one.key"}},
        "broken.pem",
        "broken.pem",
    ),
    "another certificate's key": (
        {"general": {"tls_certificate": "one.pem", "tls_private_key": "two.key"}},
        "two.key",
        "not the key of one.pem",
    ),
    "no private key": (
        {"general": {"tls_certificate": "one.pem", "tls_private_key": "garbage"}},
        "tls_private_key",
        "garbage",
    ),
    "an authority that is none": (
        {"general": {"tls_verify": "verify_full", "tls_server_ca_certificate": "broken.pem"}},
        "tls_server_ca_certificate",
        "broken.pem",
    ),
    "an audit file without a folder": (
        {"audit": {"destination": "file", "file": "nowhere/audit.json"}},
        "nowhere",
        "no such folder",
    ),
    "a socket without a folder": ({"general": {"unix_socket_dir": "/no/such"}}, "/no/such", "no such folder"),
    "a congestion control that the kernel does not have": (
        {"tcp": {"congestion_control": "no_such_one"}},
        "no_such_one",
        "the kernel refuses it",
    ),
    "another machine's address": ({"general": {"host": "192.0.2.1"}}, "192.0.2.1", "192.0.2.1"),
}


@pytest.mark.parametrize(("change", "place", "reason"), BROKEN.values(), ids=BROKEN)
def test_check_refuses_what_a_start_refuses(tmp_path: Path, change: Config, place: str, reason: str) -> None:
    pair(tmp_path, "one")
    pair(tmp_path, "two")
    (tmp_path / "garbage").write_text("garbage\n")
    (tmp_path / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    config = merged(base(), change)

    started = gateway(tmp_path, config)
    checked = gateway(tmp_path, config, "check")

    assert started.returncode == checked.returncode == 1, started.stderr + checked.stderr
    assert f"error: pgdog.toml:{line_of(tmp_path, place)}: " in checked.stderr, checked.stderr
    assert reason in checked.stderr
    assert checked.stdout == ""
    assert "PRIVATE KEY-----" not in checked.stderr + started.stderr


def test_every_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    config = base(
        jwt_jwks_url=None,
        jwt_public_key_file="missing.pem",
        tls_certificate="a.pem",
        tls_private_key="a.key",
    )

    done = gateway(tmp_path, config, "check")

    assert "missing.pem" in done.stderr
    assert "a.pem" in done.stderr


def test_json_has_every_problem_with_its_line(tmp_path: Path) -> None:
    config = merged(base(pooler_mode="sometimes", jwt_jwks_url="http://issuer.example/jwks.json"), {})

    done = gateway(tmp_path, config, "check", "--json")
    found = json.loads(done.stdout)

    assert done.returncode == 1
    assert done.stderr == ""
    assert found["summary"] is None
    places = {(one["file"], one["line"], one["severity"]) for one in found["problems"]}
    wanted = (line_of(tmp_path, text) for text in ("pooler_mode", "jwks_url"))
    assert places == {("pgdog.toml", line, "error") for line in wanted}
    assert all(one["message"] for one in found["problems"])


def test_json_has_the_summary_as_an_object(tmp_path: Path) -> None:
    config = base()
    config["jwt"] = {
        "session": {"variables": {"app.tenant": "{tenant}"}},
        "claims": {"read_only": "ro", "permission_level": "level"},
    }
    config["admin"] = {"password": "hunter2-hunter2"}
    config["query_stats"] = {"enabled": True}

    done = gateway(tmp_path, config, "check", "--json")
    found = json.loads(done.stdout)

    assert done.returncode == 0, done.stdout
    assert [one["severity"] for one in found["problems"]] == ["warning"]
    assert found["problems"][0]["line"] == line_of(tmp_path, "[query_stats]")
    summary = found["summary"]
    assert summary["listen"]["port"] == config["general"]["port"]
    assert summary["databases"][0]["servers"][0] == {
        "host": "127.0.0.1",
        "port": 1,
        "role": "primary",
        "database": "demo",
        "user": None,
    }
    assert summary["issuers"][0]["audiences"] == ["postgres"]
    assert summary["variables"] == [{"name": "app.tenant", "required": False, "value": "{tenant}"}]
    assert [(rule["rule"], rule["claim"]) for rule in summary["claim_rules"]] == [
        ("read_only", "ro"),
        ("permission_level", "level"),
    ]
    assert summary["admin"] == {"database": "admin", "enabled": True, "user": "admin"}
    assert summary["audit"]["destination"] == "log"
    assert "hunter2" not in done.stdout + done.stderr


def test_check_says_what_claims_and_services_do(tmp_path: Path) -> None:
    config = base(openmetrics_port=free_port())
    config["jwt"] = {
        "session": {"variables": {"app.tenant": "{tenant}", "app.claims": "{|json}"}},
        "claims": {"read_only": "ro", "max_connections_ceiling": 5},
    }
    config["audit"] = {"destination": "file", "file": "audit.json", "statements": "text"}

    done = gateway(tmp_path, config, "check")

    assert done.returncode == 0, done.stderr
    for line in (
        "app.tenant = {tenant}",
        "app.claims = {|json}",
        '"ro" is true: read-only',
        "never more than 5 connections",
        "audit.json; when it cannot be written: refuse_logins",
        "statements: text",
        "nobody: [admin] has no password",
        f"http://0.0.0.0:{config['general']['openmetrics_port']}/metrics",
    ):
        assert line in done.stdout, done.stdout
    assert not (tmp_path / "audit.json").exists()


def test_check_leaves_a_port_in_use_and_an_audit_file_alone(tmp_path: Path) -> None:
    audit = tmp_path / "audit.json"
    audit.write_text('{"event": "login"}\n')
    before = audit.stat().st_mtime_ns
    with socket.create_server(("127.0.0.1", 0)) as running:
        config = base(port=running.getsockname()[1])
        config["audit"] = {"destination": "file", "file": "audit.json"}

        done = gateway(tmp_path, config, "check")

    assert done.returncode == 0, done.stderr
    assert audit.stat().st_mtime_ns == before <= time.time_ns()


def test_a_variable_that_nobody_reads_is_said_without_its_value(tmp_path: Path) -> None:
    misspelt = {"PGDOG_JWT_SERVER_PASWORD": "hunter2", "PGDOG_SERVICE_HOST": "10.0.0.1"}

    done = gateway(tmp_path, base(), "check", **misspelt)

    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        'warning: PGDOG_JWT_SERVER_PASWORD: unknown variable; did you mean "PGDOG_JWT_SERVER_PASSWORD"?'
    ]


def test_a_variable_that_the_file_names_is_read(tmp_path: Path) -> None:
    config = base()
    config["jwt"] = {
        "identity": {"mode": "service_account"},
        "role_mappings": [
            {"value": "desk", "server_user": "desk_account", "server_password_env": "PGDOG_DESK_SECRET"}
        ],
    }

    done = gateway(tmp_path, config, "check", PGDOG_DESK_SECRET="hunter2")

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("word", "holds"), [("yes", True), ("1", True), ("Off", False), ("maybe", None)])
def test_a_boolean_of_the_environment_is_read_or_refused(
    tmp_path: Path, word: str, holds: bool | None
) -> None:
    done = gateway(
        tmp_path, base(jwt_server_user="gateway"), "check", "--json", PGDOG_JWT_USER_AUTO_PROVISION=word
    )
    found = json.loads(done.stdout)

    if holds is None:
        assert done.returncode == 1
        assert found["problems"][0]["file"] == "PGDOG_JWT_USER_AUTO_PROVISION"
        assert "true or false" in found["problems"][0]["message"]
    else:
        assert found["summary"]["sessions"]["auto_provision"] is holds


GPRXY = {
    "ROLE_MAPPING_ADMIN": "postgres:hunter2",
    "ROLE_MAPPING_ANALYST": "pg_analyst:hunter2",
    "ROLE_MAPPING_VIEWER": "pg_viewer:hunter2",
    "DEFAULT_ROLE": "viewer",
}


def test_the_accounts_of_gprxys_examples_are_refused_with_one_advice(tmp_path: Path) -> None:
    config = base(jwt_username_claim="email")
    config["jwt"] = {"identity": {"mode": "service_account", "role_mappings_from_env": True}}

    refused = gateway(tmp_path, config, "check", **GPRXY)
    config["jwt"] |= {"deny_roles": [], "allow_privileged_roles": True}
    accepted = gateway(tmp_path, config, "check", **GPRXY)

    assert refused.returncode == 1
    assert [line.split(": ")[1] for line in refused.stderr.splitlines()] == [
        "ROLE_MAPPING_ADMIN",
        "ROLE_MAPPING_ANALYST",
        "ROLE_MAPPING_VIEWER",
    ]
    assert refused.stderr.count("allow_privileged_roles") == refused.stderr.count('set "deny_roles"') == 1
    assert (accepted.returncode, accepted.stderr) == (0, "")
    for account in ("postgres", "pg_analyst", "pg_viewer"):
        assert account in accepted.stdout
    assert "hunter2" not in refused.stderr + accepted.stdout


def test_a_key_of_another_last_word_is_guessed(tmp_path: Path) -> None:
    done = gateway(tmp_path, base(load_balancing_algorithm="random"), "check")

    assert 'did you mean "load_balancing_strategy"?' in done.stderr


def test_help_has_no_backslashes(tmp_path: Path) -> None:
    for command in (["token", "verify"], ["token", "mint"], ["explain"], ["check"], ["setup", "hba"]):
        assert '\\"' not in gateway(tmp_path, base(), *command, "--help").stdout
