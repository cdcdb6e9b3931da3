"""Mistakes in a start-up packet, behind a good credential: the client hears PostgreSQL's words for them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from conftest import SERVICE
from harness import wire as w
from harness.target import Target
from harness.wire import ServerError, Wire

MakeGateway = Callable[..., Target]

MISTAKES = {
    "encoding": (
        {"client_encoding": "nope"},
        "22023",
        'invalid value for parameter "client_encoding": "nope"',
    ),
    "encoding in options": (
        {"options": "-c client_encoding=nope"},
        "22023",
        'invalid value for parameter "client_encoding": "nope"',
    ),
    "value": ({"options": "-c work_mem=banana"}, "22023", 'invalid value for parameter "work_mem": "banana"'),
    "no value": ({"options": "-c work_mem"}, "42601", "-c work_mem requires a value"),
    "argument": (
        {"options": "work_mem=4MB"},
        "42601",
        "invalid command-line argument for server process: work_mem=4MB",
    ),
    "unknown": (
        {"no_such_parameter": "1"},
        "42704",
        'unrecognized configuration parameter "no_such_parameter"',
    ),
}


@pytest.mark.parametrize(("parameters", "code", "text"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_sounds_like_postgresqls(
    gateway: Target, parameters: dict[str, str], code: str, text: str
) -> None:
    gateway.gateway.mark()
    refused = gateway.refusal("alice", **parameters)

    assert (refused["S"], refused["C"], refused["M"]) == ("FATAL", code, text)
    login = gateway.gateway.last_login(user="alice")
    assert (login["reason"], login["detail"]) == ("startup_parameter", text)


@pytest.mark.parametrize(("parameters", "code", "text"), MISTAKES.values(), ids=MISTAKES)
def test_postgresql_says_the_same(cluster: Any, parameters: dict[str, str], code: str, text: str) -> None:
    wire = Wire(cluster.primary.host, cluster.primary.port)
    with wire, pytest.raises(ServerError) as refused:
        wire.login("service", "demo", SERVICE["password"], **parameters)
    assert (refused.value.sqlstate, refused.value.fields["M"]) == (code, text)


@pytest.mark.parametrize("parameters", [case[0] for case in MISTAKES.values()], ids=MISTAKES)
def test_a_wrong_token_hears_nothing_of_it(gateway: Target, parameters: dict[str, str]) -> None:
    refused = gateway.refusal("alice", "no token", **parameters)
    assert (refused["C"], refused["M"]) == ("28000", 'authentication failed for user "alice"')


def test_an_attempt_on_the_identity_looks_like_a_wrong_token(gateway: Target) -> None:
    for options in ("-c role=bob", "-c role=bob -c client_encoding=nope", "--session_authorization=bob"):
        assert gateway.refusal("alice", options=options)["C"] == "28000", options


def test_a_database_that_is_not_there_is_said_without_a_word_of_files(gateway: Target) -> None:
    refused = gateway.refusal("alice", database="nowhere")
    assert (refused["C"], refused["M"]) == ("3D000", 'database "nowhere" does not exist')
    assert "H" not in refused


NAMES = ["x" * 100, "é" * 40, "a\tb\u202e", "y" * 63, "psql"]


@pytest.mark.parametrize("name", NAMES)
def test_the_name_that_a_client_is_told_is_the_servers(gateway: Target, cluster: Any, name: str) -> None:
    with Wire(cluster.primary.host, cluster.primary.port) as direct:
        direct.login("service", "demo", SERVICE["password"], application_name=name)
        expected = direct.parameters["application_name"]
    with gateway.wire("alice", application_name=name) as wire:
        assert wire.parameters["application_name"] == expected
        assert wire.value("SHOW application_name") == expected
        set_by_hand = wire.query("SET application_name = '" + "z" * 90 + "'")
        told = [message.body for message in set_by_hand if message.type == "S"]
        assert told == [b"application_name\0" + b"z" * 63 + b"\0"]
        assert w.types_of(wire.query("RESET application_name"))[-1] == "Z"


def test_a_default_is_for_clients_that_name_no_database(make_gateway: MakeGateway) -> None:
    target = make_gateway(general={"default_database": "demo"})
    for name in ("alice", "postgres", "demo"):
        with target.wire("alice", database=name) as wire:
            assert wire.value("SELECT current_database()") == "demo"
    assert target.refusal("alice", database="nowhere")["C"] == "3D000"
    assert target.refusal("alice", database="bob")["C"] == "3D000"


def test_the_list_of_databases_is_there(make_gateway: MakeGateway) -> None:
    target = make_gateway(general={"default_database": "demo"})
    command = [target.psql_program, "--no-psqlrc", "-l", f"host={target.host} port={target.port} user=alice"]
    listed = subprocess.run(
        command, env=target.psql_environment("alice"), capture_output=True, text=True, timeout=60
    )
    assert listed.returncode == 0, listed.stderr
    assert "demo" in listed.stdout


def test_a_default_that_is_not_configured_is_an_error(make_gateway: MakeGateway) -> None:
    with pytest.raises(RuntimeError, match="default_database"):
        make_gateway(general={"default_database": "nowhere"})
