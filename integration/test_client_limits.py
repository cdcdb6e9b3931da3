"""`max_client_conn` and its relatives: so many clients are logged in, and the next one is refused."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from harness import eventually, find_gateway
from harness.target import Target

MakeGateway = Callable[..., Target]
SERVICE = {"name": "service", "database": "demo", "password": "service-secret"}
ALL = "sorry, too many clients already"


def refused(target: Target, user: str, password: str | None = None, **options: Any) -> str:
    refusal = target.refusal(user, password, **options)
    assert (refusal["S"], refusal["C"]) == ("FATAL", "53300")
    return refusal["M"]


def test_the_next_client_is_one_too_many(make_gateway: MakeGateway) -> None:
    target = make_gateway(general={"max_client_conn": 2}, admin={"password": "admin-secret"}, users=[SERVICE])
    with target.wire("alice"), target.connect("service", "service-secret"):
        target.gateway.mark()

        assert refused(target, "bob") == ALL

        assert target.gateway.last_login(user="bob")["reason"] == "too_many_clients"
        # Who looks after the gateway gets in, and is not counted.
        with target.connect("admin", "admin-secret", dbname="admin"):
            assert refused(target, "bob") == ALL
    eventually(lambda: target.wire("bob").close() is None, "a place")


def test_who_is_refused_takes_no_place(make_gateway: MakeGateway) -> None:
    target = make_gateway(general={"max_client_conn": 1, "max_user_client_connections": 1})
    for _ in range(3):
        assert target.refusal("alice", "nonsense")["C"] == "28000"
        assert target.refusal("stranger")["C"] == "28000"

    with target.wire("alice"):
        assert refused(target, "bob") == ALL


def test_a_user_has_a_limit_and_an_entry_another(make_gateway: MakeGateway) -> None:
    users = [SERVICE | {"max_user_client_connections": 2}]
    target = make_gateway(general={"max_user_client_connections": 1}, users=users)
    with target.wire("alice"), target.connect("service", "service-secret"):
        assert refused(target, "alice") == 'too many connections for role "alice"'
        target.wire("bob").close()
        with target.connect("service", "service-secret"):
            assert refused(target, "service", "service-secret") == 'too many connections for role "service"'


def test_a_database_has_a_limit_and_an_entry_another(make_gateway: MakeGateway) -> None:
    servers = make_gateway(start=False).gateway.config["databases"]
    primary = next(server for server in servers if server["role"] == "primary")
    small = primary | {"name": "small", "database_name": "demo", "max_db_client_connections": 1}
    target = make_gateway(databases=[*servers, small], general={"max_db_client_connections": 2})
    with target.wire("alice", database="small"), target.wire("alice"), target.wire("bob"):
        assert refused(target, "carol", database="small") == 'too many connections for database "small"'
        assert refused(target, "carol") == 'too many connections for database "demo"'


def test_a_reload_counts_those_who_are_there(make_gateway: MakeGateway) -> None:
    target = make_gateway(general={"max_client_conn": 5}, admin={"password": "admin-secret"})
    with target.wire("alice"), target.wire("bob") as bob:
        config = target.gateway.config
        target.gateway.write({**config, "general": {**config["general"], "max_client_conn": 1}})
        with target.connect("admin", "admin-secret", dbname="admin") as console:
            console.execute("RELOAD")

        assert bob.value("SELECT current_user") == "bob"
        assert refused(target, "carol") == ALL


def test_check_says_whether_the_descriptors_suffice(make_gateway: MakeGateway) -> None:
    target = make_gateway(start=False, general={"max_client_conn": 5000})
    files = ("--config", target.gateway.config_file, "--users", target.gateway.users_file)

    def check(limit: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [find_gateway(), "check", *files],
            capture_output=True,
            text=True,
            timeout=30,
            env={name: value for name, value in os.environ.items() if not name.startswith("PGDOG_")},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)),
        )

    few, many = check(1000), check(8000)

    assert (few.returncode, many.returncode) == (0, 0)
    assert '"max_client_conn": 5000 clients do not fit into the 750 descriptors' in few.stderr
    assert many.stderr == ""
    assert "up to 5000; descriptors here are for 6000" in many.stdout


@pytest.mark.parametrize("value", [0, -1, "many"])
def test_a_limit_that_lets_nobody_in_is_refused(make_gateway: MakeGateway, value: Any) -> None:
    target = make_gateway(start=False, general={"max_client_conn": value})

    done = subprocess.run(
        [find_gateway(), "check", "--config", target.gateway.config_file],
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert done.returncode == 1
    assert "max_client_conn" in done.stderr
