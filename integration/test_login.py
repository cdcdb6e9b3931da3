"""A token is a login: by every client, again and again, and written to the audit log."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable
from typing import Any

import pytest

from harness import wire as w
from harness.target import Target

ONE_TEXT = "28000"


def test_psql_logs_in_with_a_token(gateway: Target) -> None:
    done = gateway.psql("alice", "-c", "SELECT current_user")

    assert (done.stdout, done.returncode) == ("alice\n", 0), done.stderr


def test_psycopg_logs_in_with_a_token(gateway: Target) -> None:
    with gateway.connect("alice") as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("alice",)


def test_asyncpg_logs_in_with_a_token(gateway: Target) -> None:
    async def who() -> Any:
        connection = await gateway.connect_asyncpg("alice", statement_cache_size=0)
        try:
            return await connection.fetchval("SELECT current_user")
        finally:
            await connection.close()

    assert asyncio.run(who()) == "alice"


def test_every_login_takes_a_fresh_token(gateway: Target) -> None:
    for _ in range(3):
        with gateway.connect("alice") as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("alice",)


def test_a_token_may_be_used_again_while_it_is_valid(gateway: Target) -> None:
    token = gateway.issuer.token("alice")
    for _ in range(3):
        with gateway.connect("alice", token) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("piece", [None, 1, 7, 100])
def test_a_client_may_say_everything_before_it_is_asked(gateway: Target, piece: int | None) -> None:
    """Nothing that arrives early is lost, and it is answered in order."""
    said = w.startup(user="alice", database=gateway.database)
    said += w.password_message(gateway.issuer.token("alice"))
    said += w.query("SELECT current_user") + w.query("SELECT 2") + w.TERMINATE
    with gateway.open() as wire:
        for at in range(0, len(said), piece or len(said)):
            wire.send(said[at : at + (piece or len(said))])
        assert [message.body for message in (wire.receive(), wire.receive())] == [b"\0\0\0\3", b"\0\0\0\0"]
        wire.until_ready()
        rows = [m.row for _ in range(2) for m in wire.until_ready() if m.type == "D"]
        assert rows == [("alice",), ("2",)]
        assert wire.closed_by_peer()


def test_the_greeting_is_complete(gateway: Target) -> None:
    with gateway.wire("alice") as wire:
        assert len(wire.cancel_key) >= 8
        assert wire.parameters["client_encoding"] == "UTF8"
        assert wire.parameters["standard_conforming_strings"] == "on"
        assert {"server_version", "DateStyle", "TimeZone", "integer_datetimes"} <= wire.parameters.keys()


@pytest.mark.parametrize(("name", "value"), [("application_name", "report 7"), ("DateStyle", "German, DMY")])
def test_start_up_parameters_reach_the_server(gateway: Target, name: str, value: str) -> None:
    with gateway.wire("alice", **{name: value}) as wire:
        assert wire.value(f"SHOW {name}") == value


def test_start_up_options_reach_the_server(gateway: Target) -> None:
    with gateway.wire("alice", options="-c statement_timeout=4321") as wire:
        assert wire.value("SHOW statement_timeout") == "4321ms"


@pytest.mark.parametrize(
    "parameters",
    [
        {"role": "bob"},
        {"session_authorization": "bob"},
        {"options": "-c role=bob"},
        {"options": "-c statement_timeout=1000 --role=bob"},
        {"options": "-crole=bob"},
        {"options": "-c\\ role=bob -c ROLE=bob"},
    ],
    ids=str,
)
def test_start_up_parameters_cannot_choose_the_role(gateway: Target, parameters: dict[str, str]) -> None:
    assert gateway.refusal("alice", **parameters)["C"] == ONE_TEXT


def test_a_database_that_is_not_configured_is_refused(gateway: Target) -> None:
    assert gateway.refusal("alice", database="nowhere")["S"] == "FATAL"


def test_many_clients_log_in_at_once(gateway: Target) -> None:
    def who(number: int) -> tuple[str, str]:
        user = ("alice", "bob", "carol")[number % 3]
        with gateway.connect(user) as connection:
            row = connection.execute("SELECT current_user").fetchone()
            assert row
            return user, row[0]

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(who, range(48)))

    assert all(user == answer for user, answer in answers)


def test_an_accepted_login_is_one_audit_event(logged: Target) -> None:
    token = logged.issuer.token("alice", jti="token-17")

    logged.wire("alice", token).close()

    event = logged.gateway.last_login(token_id="token-17")
    expected = {
        "decision": "accepted",
        "user": "alice",
        "database": logged.database,
        "subject": "alice",
        "issuer": logged.issuer.name,
        "role": "alice",
        "tls": False,
    }
    assert expected.items() <= event.items()
    assert event["client"].startswith("127.0.0.1")
    assert event["duration_us"] > 0
    assert len(logged.gateway.audit()) == 1


def test_a_refused_login_is_one_audit_event_with_its_reason(logged: Target) -> None:
    token = logged.issuer.token("alice", jti="token-18", aud="elsewhere")

    logged.refusal("alice", token)

    event = logged.gateway.last_login(decision="refused")
    assert {"user": "alice", "database": logged.database}.items() <= event.items()
    assert event["reason"]
    assert len(logged.gateway.audit()) == 1


def test_no_credential_reaches_the_log(logged: Target) -> None:
    good, bad = logged.issuer.token("alice"), logged.issuer.token("alice", aud="elsewhere")

    logged.wire("alice", good).close()
    logged.refusal("alice", bad)
    logged.refusal("alice", "hunter2-hunter2")
    logged.gateway.last_login(decision="accepted")

    log = logged.gateway.log_text()
    for secret in (good, bad, good.split(".")[2], bad.split(".")[2], "hunter2-hunter2", "gateway-secret"):
        assert secret not in log


def test_a_new_line_in_a_user_name_makes_no_second_log_line(logged: Target) -> None:
    forged = 'alice\n{"message": "login", "decision": "accepted", "user": "postgres"}'

    logged.refusal(forged, "not a token")

    assert all(event.get("user") != "postgres" for event in logged.gateway.audit())


WHY: dict[str, tuple[Callable[[Target], str], str, str]] = {
    "audiences": (
        lambda target: target.issuer.token("alice", aud=["elsewhere", "a\nb"]),
        "wrong_audience",
        'it is for "elsewhere" and "a\\nb", and must be for "postgres"',
    ),
    "no string": (
        lambda target: target.issuer.token("alice", aud=7),
        "invalid_claim",
        'claim "aud" is not usable: ',
    ),
    "no date": (lambda target: target.issuer.token("alice", nbf="soon"), "invalid_claim", "it is text"),
    "a variable": (lambda _: "$HUNTER2_TOKEN", "malformed_token", "a variable that nothing has replaced"),
    "a path": (lambda _: "/run/hunter2/token", "malformed_token", "the path of a file"),
    "twice": (
        lambda target: f"Bearer Bearer {target.issuer.token('alice')}",
        "malformed_token",
        '"Bearer" stands in front of it twice',
    ),
    "opaque": (lambda _: "0123456789hunter2hunter2abcdef", "malformed_token", "looks like an opaque token"),
    "a password": (lambda _: "hunter2", "malformed_token", "looks like a password"),
}


@pytest.mark.parametrize(("make", "reason", "why"), WHY.values(), ids=WHY)
def test_the_log_says_what_was_wrong_and_repeats_no_credential(
    logged: Target, make: Callable[[Target], str], reason: str, why: str
) -> None:
    credential = make(logged)

    logged.refusal("alice", credential)

    login = logged.gateway.last_login(reason=reason)
    assert why in login["detail"]
    assert credential not in logged.gateway.log_text()
    assert "hunter2" not in logged.gateway.log_text().lower()
