"""How many sessions a subject and a token may have, and from where."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from typing import Any

import pytest

from harness import eventually, primary_alone
from harness.external import is_external
from harness.target import Target
from harness.wire import ServerError, Wire

pytestmark = pytest.mark.skipif(is_external(), reason="starts gateways of its own")

Start = Callable[..., Target]


@pytest.fixture
def start(make_gateway: Start, cluster: Any) -> Start:
    def make(mode: str = "transaction", **jwt: Any) -> Target:
        one = primary_alone(cluster)
        return make_gateway(
            general={"pooler_mode": mode},
            jwt=jwt,
            databases=[one, one | {"name": "other", "database_name": one["name"]}],
        )

    return make


def admitted(target: Target, user: str, token: str | None = None) -> bool:
    """Whether a further session is let in; the place of one that has left is free a moment later."""
    try:
        target.wire(user, token).close()
    except ServerError as error:
        if error.sqlstate != "53300":
            raise
        return False
    return True


def from_address(target: Target, address: str, token: str) -> Wire:
    """Another address of this machine."""
    wire = Wire(target.host, target.port)
    wire.socket.close()
    wire.socket = socket.create_connection((target.host, target.port), 20, (address, 0))
    try:
        wire.login("alice", target.database, token)
    except BaseException:
        wire.close()
        raise
    return wire


@pytest.mark.parametrize("mode", ["transaction", "session"])
@pytest.mark.parametrize("shared", [False, True])
def test_a_subject_has_so_many_sessions(start: Start, mode: str, shared: bool) -> None:
    target = start(mode, max_sessions_per_subject=2, shared_pool=shared)
    with target.wire("alice") as one, target.wire("alice", database="other") as two:
        refusal = target.refusal("alice")
        assert (refusal["S"], refusal["C"]) == ("FATAL", "53300")
        assert "too many connections" in refusal["M"]
        assert (
            target.gateway.last_login(user="alice", decision="refused")["reason"]
            == "too_many_subject_sessions"
        )
        assert target.refusal("alice", database="other")["C"] == "53300"
        with target.wire("bob") as bob:
            assert bob.value("SELECT current_user") == "bob"
        assert (one.value("SELECT 1"), two.value("SELECT 1")) == ("1", "1")

    eventually(lambda: admitted(target, "alice"), "a place")


def test_a_session_that_is_lost_gives_its_place_back(start: Start) -> None:
    target = start(max_sessions_per_subject=1)
    wire = target.wire("alice")
    wire.socket.shutdown(socket.SHUT_RDWR)
    wire.close()

    eventually(lambda: admitted(target, "alice"), "a place")


def test_a_login_that_fails_later_takes_no_place(start: Start) -> None:
    target = start(max_sessions_per_subject=1, max_sessions_per_token=1)
    token = target.issuer.token("alice")
    for _ in range(3):
        assert target.refusal("alice", token, search_path="a\\", options="-c nonsense=1")["C"] != "53300"
    with target.wire("alice", token) as wire:
        assert wire.value("SELECT 1") == "1"


def test_the_limit_is_of_the_subject_and_not_of_what_it_becomes(start: Start) -> None:
    target = start(max_sessions_per_subject=1, user_match="claim")
    with target.wire("somebody", target.issuer.token("alice")):
        assert target.refusal("anybody", target.issuer.token("alice"))["C"] == "53300"
        target.wire("somebody", target.issuer.token("bob")).close()


@pytest.mark.parametrize("named", [True, False])
def test_a_token_has_so_many_sessions(start: Start, named: bool) -> None:
    target = start(max_sessions_per_token=2)
    changes: dict[str, Any] = {} if named else {"jti": None}
    first, second = (target.issuer.token("alice", **changes, nonce=number) for number in range(2))
    with target.wire("alice", first), target.wire("alice", first, database="other"):
        refusal = target.refusal("alice", first)
        assert (refusal["C"], refusal["M"]) == ("53300", "too many connections with this token")
        assert target.gateway.last_login(decision="refused")["reason"] == "too_many_token_sessions"
        with target.wire("alice", second) as other:
            assert other.value("SELECT 1") == "1"
    eventually(lambda: admitted(target, "alice", first), "a place")


def test_the_name_of_a_token_counts_for_its_issuer_and_whatever_else_it_says(start: Start) -> None:
    target = start(max_sessions_per_token=1)
    with target.wire("alice", target.issuer.token("alice", jti="the same")):
        assert target.refusal("bob", target.issuer.token("bob", jti="the same"))["C"] == "53300"
        target.wire("bob", target.issuer.token("bob", jti="another")).close()


def test_an_empty_name_is_none(start: Start) -> None:
    target = start(max_sessions_per_token=1)
    with target.wire("alice", target.issuer.token("alice", jti="")):
        target.wire("bob", target.issuer.token("bob", jti="")).close()


@pytest.mark.parametrize("named", [True, False])
def test_a_token_counts_only_where_it_was_used_first(start: Start, named: bool) -> None:
    target = start(replay="address")
    changes: dict[str, Any] = {} if named else {"jti": None}
    token, other = (target.issuer.token("alice", **changes, nonce=number) for number in range(2))
    from_address(target, "127.0.0.2", token).close()

    for address in ("127.0.0.1", "127.0.0.3"):
        with pytest.raises(ServerError) as refused:
            from_address(target, address, token)
        assert refused.value.sqlstate == "28000"
        assert refused.value.fields["M"] == target.refusal("alice", "nonsense")["M"]
    reasons = {event["reason"] for event in target.gateway.audit() if event["decision"] == "refused"}
    assert reasons == {"token_elsewhere", "malformed_token"}
    with from_address(target, "127.0.0.2", token) as again, from_address(target, "127.0.0.3", other) as fresh:
        assert (again.value("SELECT 1"), fresh.value("SELECT 1")) == ("1", "1")


def test_without_limits_a_token_counts_everywhere(start: Start) -> None:
    target = start()
    token = target.issuer.token("alice")
    with from_address(target, "127.0.0.2", token) as one, from_address(target, "127.0.0.3", token) as two:
        assert (one.value("SELECT 1"), two.value("SELECT 1")) == ("1", "1")


def test_the_limits_survive_a_reload(start: Start) -> None:
    target = start(max_sessions_per_subject=1, max_sessions_per_token=1, replay="address")
    token = target.issuer.token("alice", jti=None)
    with from_address(target, "127.0.0.2", token):
        gateway = target.gateway
        gateway.write(gateway.config)
        gateway.mark()
        gateway.send(signal.SIGHUP)
        eventually(
            lambda: any("reload" in str(event.get("event", event.get("message"))) for event in gateway.log()),
            "reload",
        )
        with pytest.raises(ServerError) as refused:
            from_address(target, "127.0.0.3", token)
        assert refused.value.sqlstate in ("53300", "28000")


def test_users_with_a_password_are_not_counted(start: Start) -> None:
    target = start(max_sessions_per_subject=1, max_sessions_per_token=1, replay="address")
    with target.wire("service", "service-secret") as one, target.wire("service", "service-secret") as two:
        assert (one.value("SELECT 1"), two.value("SELECT 1")) == ("1", "1")
