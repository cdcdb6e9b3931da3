"""Those who try and try: limits on failed logins, what garbage costs, and what a flood does to the log."""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from harness import Issuer, eventually, primary_alone
from harness.issuer import unsigned
from harness.oauthbearer import asked, bearer, first, log_in, refused
from harness.ports import free_port
from harness.target import Target
from harness.wire import ServerError

MakeGateway = Callable[..., Target]
ADMIN = {"name": "admin", "user": "admin", "password": "admin-secret"}
NO_LIMIT = 2**63 - 1
LIMITED = "too_many_failures"


def general(**changes: Any) -> dict[str, Any]:
    """Three failures of a user, eight of an address, and no more for a long while."""
    limits = {
        "login_failures_per_user": 1,
        "login_failures_per_user_burst": 3,
        "login_failures_per_address": 1,
        "login_failures_per_address_burst": 8,
        "login_refusal_delay": 10,
    }
    return limits | {"openmetrics_host": "127.0.0.1", "openmetrics_port": free_port()} | changes


@pytest.fixture
def target(make_gateway: MakeGateway, cluster: Any) -> Target:
    return make_gateway(admin=ADMIN, general=general(), databases=[primary_alone(cluster)])


def metric(target: Target, name: str) -> float:
    port = target.gateway.config["general"]["openmetrics_port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"pgdog_jwt_{name}"))


def reasons(target: Target) -> list[str]:
    return [event["reason"] for event in target.gateway.audit() if event["decision"] == "refused"]


# Limits


def test_a_user_who_fails_too_often_is_refused_unseen(target: Target) -> None:
    usual = [target.refusal("alice", "not a token") for _ in range(3)]
    good = target.issuer.token("alice")

    assert target.refusal("alice", good) == usual[0], "nothing tells that it was another reason"

    eventually(lambda: reasons(target) == ["malformed_token"] * 3 + [LIMITED], "four refusals in the log")
    assert target.gateway.last_login(reason=LIMITED)["detail"] == "user"
    assert metric(target, 'logins_limited_total{by="user"}') == 1
    assert metric(target, "token_cache_misses_total") == 0
    # Others from the same address are as welcome as before.
    target.connect("bob").close()


def test_a_limited_user_costs_no_fetch_of_keys(make_gateway: MakeGateway, own_issuer: Issuer) -> None:
    target = make_gateway(general=general(), issuer=own_issuer)
    for _ in range(3):
        target.refusal("alice", "not a token")
    assert own_issuer.server
    before = own_issuer.server.fetches

    target.refusal("alice", own_issuer.token("alice"))

    assert own_issuer.server.fetches == before


def test_an_address_that_fails_too_often_is_refused_whoever_it_says_it_is(target: Target) -> None:
    for number in range(8):
        target.refusal(f"user{number}", "not a token")

    target.refusal("bob", target.issuer.token("bob"))

    assert target.gateway.last_login(reason=LIMITED)["detail"] == "address"
    assert metric(target, 'logins_limited_total{by="address"}') == 1


def test_good_logins_cost_nothing(target: Target) -> None:
    for _ in range(20):
        target.connect("alice").close()
    for _ in range(2):
        target.refusal("alice", "not a token")
    target.connect("alice").close()


def test_a_limited_refusal_costs_the_address_nothing(target: Target) -> None:
    for _ in range(20):
        target.refusal("alice", "not a token")
    target.connect("bob").close()


@pytest.mark.parametrize("method", ["scram", "md5", "plain"])
def test_passwords_are_limited_too_and_even_the_right_one_does_not_show(
    make_gateway: MakeGateway, method: str
) -> None:
    target = make_gateway(general=general(), jwt={"password_auth_type": method})
    usual = [_refusal(target, "service", "wrong") for _ in range(3)]

    assert _refusal(target, "service", "service-secret") == usual[0]
    assert target.gateway.last_login(reason=LIMITED)["user"] == "service"


def _refusal(target: Target, user: str, password: str, **options: Any) -> str:
    with pytest.raises(psycopg.OperationalError) as caught:
        target.connect(user, password, **options)
    return str(caught.value).rsplit("FATAL:", 1)[-1]


def test_the_administrators_password_is_limited_too(target: Target) -> None:
    usual = [_refusal(target, "admin", "wrong", dbname="admin") for _ in range(3)]
    assert _refusal(target, "admin", ADMIN["password"], dbname="admin") == usual[0]


def test_a_scram_exchange_with_a_barred_user_says_nothing_of_the_password(make_gateway: MakeGateway) -> None:
    """The server's proof that it knows the password would be the answer to a guess."""
    target = make_gateway(general=general())
    for _ in range(3):
        _refusal(target, "service", "wrong")
    with target.open() as wire, pytest.raises(ServerError) as caught:
        wire.login("service", database=target.database, password="service-secret")
    assert caught.value.fields["C"] == "28P01"


def test_an_issuer_that_is_down_uses_up_nobodys_tries(make_gateway: MakeGateway, own_issuer: Issuer) -> None:
    assert own_issuer.server
    with own_issuer.server.unreachable():
        # Keys are asked for at the start.
        target = make_gateway(general=general(), jwt={"jwks_min_refresh_interval": 0}, issuer=own_issuer)
        for _ in range(6):
            target.refusal("alice")

    eventually(lambda: target.connect("alice").close() or True, "a login")
    assert LIMITED not in reasons(target)


def test_a_unix_socket_is_not_limited(make_gateway: MakeGateway, workspace: Any) -> None:
    folder = workspace.subfolder("s")
    target = make_gateway(general=general(unix_socket_dir=str(folder)))
    for _ in range(6):
        _refusal(target, "alice", "not a token", host=str(folder))
    target.connect("alice", host=str(folder)).close()


def test_without_limits_everything_is_looked_at(make_gateway: MakeGateway) -> None:
    unlimited = general(login_failures_per_user=NO_LIMIT, login_failures_per_address=NO_LIMIT)
    target = make_gateway(general=unlimited)
    for _ in range(20):
        target.refusal("alice", "not a token")
    target.connect("alice").close()
    assert metric(target, "login_failures_tracked") == 0


def test_time_heals(make_gateway: MakeGateway) -> None:
    target = make_gateway(general=general(login_failures_per_user=600, login_failures_per_address=600))
    for _ in range(3):
        target.refusal("alice", "not a token")
    eventually(lambda: target.connect("alice").close() or True, "a login")


# Garbage


def test_garbage_costs_neither_keys_nor_signature_checks(
    make_gateway: MakeGateway, own_issuer: Issuer
) -> None:
    unlimited = general(login_failures_per_user=NO_LIMIT, login_failures_per_address=NO_LIMIT)
    target = make_gateway(general=unlimited, issuer=own_issuer)
    assert own_issuer.server
    header = {"alg": "RS256", "kid": own_issuer.key.kid}
    claims = own_issuer.claims("alice")
    target.connect("alice").close()
    fetches, misses = own_issuer.server.fetches, metric(target, "token_cache_misses_total")

    for garbage in (
        "hunter2",
        "x" * 16_000,
        "x" * 60_000,
        "....",
        unsigned(header | {"alg": "none"}, claims),
        unsigned(header | {"alg": "HS256"}, claims, b"x"),
        unsigned(header | {"alg": "RS512"}, claims, b"x" * 256),
        unsigned(header, claims | {"iss": "https://nobody.example"}, b"x" * 256),
        unsigned(header, claims | {"iss": None}, b"x" * 256),
    ):
        target.refusal("alice", garbage)

    assert own_issuer.server.fetches == fetches
    assert metric(target, "token_cache_misses_total") == misses


# The log


def test_a_flood_of_refusals_is_summed_up_and_no_accepted_login_is_missing(make_gateway: MakeGateway) -> None:
    unlimited = general(
        login_failures_per_user=NO_LIMIT, login_failures_per_address=NO_LIMIT, login_refusal_delay=0
    )
    target = make_gateway(general=unlimited)
    each, threads = 60, []

    def flood() -> None:
        for _ in range(each):
            target.refusal("alice", "not a token")

    for _ in range(8):
        threads.append(threading.Thread(target=flood))
        threads[-1].start()
    for _ in range(20):
        target.connect("bob").close()
    for thread in threads:
        thread.join(60)

    def counted() -> tuple[int, int]:
        events = [event for event in target.gateway.log() if event.get("event") == "login"]
        refused = [event for event in events if event["decision"] == "refused"]
        written = sum(1 for event in refused if "count" not in event)
        return written, sum(event.get("count", 0) for event in refused)

    eventually(lambda: sum(counted()) == 8 * each, "every refusal written or counted")
    assert metric(target, 'logins_total{decision="refused"') == 8 * each
    assert metric(target, "audit_left_out_total") == counted()[1]
    accepted = [event for event in target.gateway.audit() if event["decision"] == "accepted"]
    assert len(accepted) == 20


# What the client hears


def test_every_refusal_of_a_credential_is_answered_in_the_same_words(target: Target) -> None:
    token = target.issuer.token
    texts = {
        tuple(sorted(target.refusal(user, credential).items()))
        for user, credential in (
            ("bob", "not a token"),
            ("bob", token("carol")),
            ("bob", token("bob", expires_in=-60)),
            # Limited by now.
            ("bob", token("bob")),
        )
    }
    assert len(texts) == 1
    # A role that PostgreSQL does not have is found out much later.
    (missing,) = {tuple(sorted(target.refusal("ghost").items()))}
    assert [(key, value.replace("ghost", "bob")) for key, value in missing] == list(texts.pop())


def test_a_token_over_oauthbearer_is_limited_in_the_same_words(make_gateway: MakeGateway) -> None:
    target = make_gateway(general=general(), jwt={"client_flow": "oauthbearer"})
    heard = []
    for token in ("a.b.c", "a.b.c", "a.b.c", target.issuer.token("alice")):
        with asked(target, "alice") as wire:
            wire.send(first(bearer(token)))
            challenge, error = refused(wire, wire.receive())
            heard.append((challenge, error.fields))
    assert heard == [heard[0]] * 4
    assert target.gateway.last_login(reason=LIMITED)["user"] == "alice"


def test_asking_where_to_get_a_token_is_no_failure(make_gateway: MakeGateway) -> None:
    target = make_gateway(general=general(), jwt={"client_flow": "oauthbearer"})
    for _ in range(6):
        with asked(target, "alice") as wire:
            wire.send(first(b"n,,\x01auth=\x01\x01"))
            refused(wire, wire.receive())
    log_in(target, "alice", target.issuer.token("alice")).close()
