"""Ways to log in beside tokens, and how the gateway proves itself to PostgreSQL."""

from __future__ import annotations

import struct
import urllib.request
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from harness.ports import free_port
from harness.target import Target

MakeGateway = Callable[..., Target]
SERVICE = {"name": "service", "database": "demo", "password": "service-secret"}
AUTHENTICATION_REQUESTS = {"scram": 10, "md5": 5, "plain": 3, "trust": 0}


def who(target: Target, user: str, password: str | None = None) -> str:
    with target.connect(user, password) as connection:
        row = connection.execute("SELECT current_user").fetchone()
        assert row
        return row[0]


@pytest.mark.parametrize("method", ["scram", "md5", "plain", "trust"])
def test_users_with_passwords_log_in_beside_users_with_tokens(make_gateway: MakeGateway, method: str) -> None:
    target = make_gateway(jwt={"password_auth_type": method}, users=[SERVICE])

    assert who(target, "service", "service-secret") == "service"
    assert who(target, "alice") == "alice"


@pytest.mark.parametrize("method", ["scram", "md5", "plain"])
def test_a_wrong_password_is_refused(make_gateway: MakeGateway, method: str) -> None:
    target = make_gateway(jwt={"password_auth_type": method}, users=[SERVICE])

    for password in ("wrong", "", "service-secre", "service-secret "):
        with pytest.raises(psycopg.OperationalError):
            target.connect("service", password or "x")
    assert who(target, "service", "service-secret") == "service"


@pytest.mark.parametrize("method", ["scram", "md5", "plain", "trust"])
def test_the_client_is_asked_in_the_way_that_is_configured(make_gateway: MakeGateway, method: str) -> None:
    target = make_gateway(jwt={"password_auth_type": method}, users=[SERVICE])
    with target.open() as wire:
        wire.startup(user="service", database="demo")
        answer = wire.receive()

    assert (answer.type, struct.unpack_from("!i", answer.body)[0]) == ("R", AUTHENTICATION_REQUESTS[method])


@pytest.mark.parametrize("method", ["scram", "md5", "plain", "trust"])
def test_without_tokens_it_is_a_pooler_like_any_other(make_gateway: MakeGateway, method: str) -> None:
    target = make_gateway(
        general={
            "auth_type": method,
            "jwt_jwks_url": None,
            "jwt_audience": None,
            "jwt_server_user": None,
            "jwt_server_password": None,
            "jwt_user_auto_provision": None,
        },
        jwt=None,
        users=[SERVICE],
    )

    assert who(target, "service", "service-secret") == "service"
    with pytest.raises(psycopg.OperationalError):
        target.connect("alice", "service-secret")


def test_a_refused_password_sounds_like_postgresqls_refusal(make_gateway: MakeGateway) -> None:
    target = make_gateway(jwt={"password_auth_type": "plain"}, users=[SERVICE])

    refusal = target.refusal("service", "wrong")

    assert refusal["S"] == "FATAL"
    assert refusal["C"] in ("28P01", "28000")


def test_a_service_may_use_another_account_at_the_server(make_gateway: MakeGateway) -> None:
    account = {"server_user": "reports", "server_password": "reports-secret"}
    target = make_gateway(users=[SERVICE | account])

    assert who(target, "service", "service-secret") == "reports"


def test_a_user_has_time_limits_of_its_own(make_gateway: MakeGateway) -> None:
    servers = make_gateway(start=False).gateway.config["databases"]
    servers = [server | {"lock_timeout": 9000, "statement_timeout": 9000} for server in servers]
    target = make_gateway(databases=servers, users=[SERVICE | {"lock_timeout": 1234}])

    with target.connect("service", "service-secret") as connection:
        assert connection.execute("SHOW lock_timeout").fetchone() == ("1234ms",)
        assert connection.execute("SHOW statement_timeout").fetchone() == ("9s",)


def test_users_with_passwords_are_refused_other_databases(make_gateway: MakeGateway) -> None:
    servers = make_gateway(start=False).gateway.config["databases"]
    other = servers[0] | {"name": "elsewhere", "database_name": "demo"}
    target = make_gateway(
        databases=[*servers, other],
        users=[SERVICE | {"database": "elsewhere"}],
        jwt={"password_auth_type": "plain"},
    )

    assert target.refusal("service", "service-secret")["S"] == "FATAL"


@pytest.mark.parametrize("account", ["gateway", "gateway_md5", "gateway_plain", "gateway_trust"])
def test_the_gateway_proves_itself_as_the_server_asks(make_gateway: MakeGateway, account: str) -> None:
    """SCRAM-SHA-256, MD5, clear text, nothing."""
    target = make_gateway(general={"jwt_server_user": account})

    assert who(target, "alice") == "alice"


@pytest.mark.parametrize("account", ["gateway", "gateway_md5", "gateway_plain"])
def test_a_wrong_password_of_the_gateway_ends_the_login(make_gateway: MakeGateway, account: str) -> None:
    target = make_gateway(general={"jwt_server_user": account, "jwt_server_password": "wrong"})

    refusal = target.refusal("alice")

    assert (refusal["S"], refusal["C"]) == ("FATAL", "08004")
    assert account not in str(refusal)


@pytest.mark.parametrize("password", ["wrong", None])
def test_a_wrong_password_of_the_gateway_is_told_from_an_outage(
    make_gateway: MakeGateway, password: str | None
) -> None:
    port = free_port()
    general = {"jwt_server_password": password, "openmetrics_port": port, "openmetrics_host": "127.0.0.1"}
    admin = {"password": "admin-secret"}
    # As many as a user may fail at once: none of these is the client's failure.
    limits = {"login_failures_per_user_burst": 1, "login_failures_per_user": 1}
    target = make_gateway(general=general | limits, admin=admin)
    target.gateway.mark()

    refusals = [target.refusal("alice") for _ in range(3)]

    assert {refusal["C"] for refusal in refusals} == {"08004"}
    assert "Trying again does not help" in refusals[0]["H"]
    assert {one["reason"] for one in target.gateway.audit()} == {"server_login_refused"}
    (logged,) = [one for one in target.gateway.log() if one.get("event") == "server_login"]
    assert (logged["level"], logged["user"], logged["decision"]) == ("ERROR", "gateway", "refused")
    with target.connect("admin", "admin-secret", dbname="admin") as console:
        problems = console.execute("SHOW POOLS").fetchall()
    assert any("gateway" in str(row[-1]) for row in problems), problems
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        metrics = answer.read().decode()
    refused = [line for line in metrics.splitlines() if 'outcome="refused"' in line]
    assert sum(float(line.rsplit(" ", 1)[1]) for line in refused) >= 1
    assert not any("server_up{" in line and line.endswith(" 0") for line in metrics.splitlines())
    assert all("wrong" not in str(one) for one in [*target.gateway.log(), *problems] if password)


def test_an_outage_is_no_refusal(make_gateway: MakeGateway) -> None:
    nowhere = {"name": "demo", "host": "127.0.0.1", "port": free_port(), "role": "primary"}
    target = make_gateway(
        databases=[nowhere], general={"checkout_timeout": 500}, admin={"password": "admin-secret"}
    )

    refusal = target.refusal("alice")

    assert (refusal["C"], refusal["H"]) == ("08006", "Try again later.")
    assert not [one for one in target.gateway.log() if one.get("event") == "server_login"]
    with target.connect("admin", "admin-secret", dbname="admin") as console:
        assert any("unreachable" in str(row[-1]) for row in console.execute("SHOW POOLS").fetchall())


def test_without_a_server_a_login_fails_in_time(make_gateway: MakeGateway, servers: Any) -> None:
    nowhere = {"name": "demo", "host": "127.0.0.1", "port": 1, "role": "primary"}
    target = make_gateway(databases=[nowhere], general={"connect_timeout": 500, "checkout_timeout": 1000})

    assert target.refusal("alice")["S"] == "FATAL"
