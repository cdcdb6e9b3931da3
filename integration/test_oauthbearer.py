"""`client_flow`: tokens over SASL OAUTHBEARER (RFC 7628), message by message."""

from __future__ import annotations

import contextlib
import random
import signal
import socket
import struct
from collections.abc import Callable

import pytest

from harness import Issuer, eventually
from harness import wire as w
from harness.oauthbearer import HEARD, OK, WISH, asked, bearer, first, log_in, refused
from harness.target import Target
from harness.wire import Message, ServerError, Wire

MakeGateway = Callable[..., Target]

# The client's first messages that are none, and what is wrong with them.
MALFORMED = {
    "nothing": b"",
    "a separator alone": b"\x01",
    "no separator after the header": b"n,,auth=Bearer a.b.c\x01\x01",
    "half a header": b"n,\x01auth=Bearer a.b.c\x01\x01",
    "no header": b"auth=Bearer a.b.c\x01\x01",
    "an unknown header": b"x,,\x01auth=Bearer a.b.c\x01\x01",
    "channel binding": b"p=tls-server-end-point,,\x01auth=Bearer a.b.c\x01\x01",
    "an authorization identity": b"n,a=alice,\x01auth=Bearer a.b.c\x01\x01",
    "no token": b"n,,\x01\x01",
    "other keys alone": b"n,,\x01host=h\x01port=1\x01\x01",
    "two tokens": b"n,,\x01auth=Bearer a.b.c\x01auth=Bearer a.b.c\x01\x01",
    "no end": b"n,,\x01auth=Bearer a.b.c\x01",
    "no end of the pair": b"n,,\x01auth=Bearer a.b.c",
    "two ends": b"n,,\x01auth=Bearer a.b.c\x01\x01\x01",
    "more after the end": b"n,,\x01auth=Bearer a.b.c\x01\x01auth=Bearer d.e.f\x01\x01",
    "a NUL": b"n,,\x01auth=Bearer a.b.c\0\x01\x01",
    "a byte beyond ASCII": b"n,,\x01auth=Bearer \xff\x01\x01",
    "a key without a value": b"n,,\x01auth\x01\x01",
    "a value without a key": b"n,,\x01=Bearer a.b.c\x01\x01",
    "a key of digits": b"n,,\x011=2\x01auth=Bearer a.b.c\x01\x01",
}
NO_BEARER = ["Bearer", "Bearer ", "Bearer a b", "Bearer a,b", "Bearer =", "Basic YTpi", "a.b.c", " "]


@pytest.fixture(scope="module")
def target(make_module_gateway: MakeGateway) -> Target:
    """Takes tokens over OAUTHBEARER alone."""
    jwt = {"client_flow": "oauthbearer", "max_token_size": 4096, "oauth_scope": "openid db"}
    return make_module_gateway(general={"log_level": "info,pgdog_jwt=debug"}, jwt=jwt)


@pytest.fixture(scope="module")
def both(make_module_gateway: MakeGateway) -> Target:
    return make_module_gateway(jwt={"client_flow": "both"})


def error(wire: Wire) -> dict[str, str]:
    """The error that ends the connection."""
    answer = wire.receive()
    assert answer.type == "E", answer
    assert wire.closed_by_peer()
    assert answer.fields["S"] == "FATAL"
    return answer.fields


def shows(target: Target, user: str, data: bytes) -> tuple[dict[str, str], Message]:
    """What a client hears whose message is refused: challenge and error."""
    with asked(target, user) as wire:
        wire.send(first(data))
        return refused(wire, wire.receive())


@pytest.mark.parametrize("header", ["n,,", "y,,"])
def test_a_token_lets_its_subject_in(target: Target, header: str) -> None:
    with asked(target, "alice") as wire:
        wire.send(first(bearer(target.issuer.token("alice"), header)))
        # There is no message of the mechanism between the token and this.
        assert wire.receive() == OK
        wire.until_ready()
        assert wire.value("SELECT current_user") == "alice"
    assert target.gateway.last_login(user="alice", decision="accepted")["subject"] == "alice"


def test_the_first_response_may_come_late(target: Target) -> None:
    with asked(target, "alice") as wire:
        wire.send(first(None))
        assert wire.receive() == Message("R", struct.pack("!i", 11))
        wire.send(w.message("p", bearer(target.issuer.token("alice"))))
        assert wire.receive() == OK


def test_other_keys_are_ignored(target: Target) -> None:
    token = target.issuer.token("alice")
    with asked(target, "alice") as wire:
        wire.send(first(f"n,,\x01host=h\x01auth=bearer  {token}\x01qs=\x01\x01".encode()))
        assert wire.receive() == OK


def test_protocol_3_2_is_agreed_on_before(target: Target) -> None:
    with target.open() as wire:
        wire.startup(w.PROTOCOL_3_2 + 1, user="alice", database="demo", **{"_pq_.more": "1"})
        assert wire.receive().type == "v"
        assert wire.receive().body.startswith(struct.pack("!i", 10))
        wire.send(first(bearer(target.issuer.token("alice"))))
        assert wire.receive() == OK


def test_a_client_without_a_token_is_told_where_to_get_one(target: Target) -> None:
    target.gateway.mark()

    challenge, message = shows(target, "alice", b"n,,\x01auth=\x01\x01")

    assert challenge == {
        "status": "invalid_token",
        "openid-configuration": f"{target.issuer.name}/.well-known/openid-configuration",
        "scope": "openid db",
    }
    assert (message.fields["S"], message.fields["C"]) == ("FATAL", "28000")
    # It did not try to log in, so no login was refused.
    log_in(target, "alice", target.issuer.token("alice")).close()
    eventually(target.gateway.audit, "the login that followed")
    assert [event["decision"] for event in target.gateway.audit()] == ["accepted"]


def test_each_user_is_sent_to_the_issuer_of_its_suffix(make_gateway: MakeGateway, issuer: Issuer) -> None:
    other = Issuer(name="https://other.example")
    table = {
        "issuer": other.name,
        "jwks_url": other.jwks_url,
        "audiences": [other.audience],
        "user_suffix": "@other",
        "oauth_scope": "other",
    }
    target = make_gateway(jwt={"client_flow": "oauthbearer", "issuers": [table]})

    def told(user: str) -> tuple[str, str]:
        challenge, _ = shows(target, user, b"n,,\x01auth=\x01\x01")
        return challenge["openid-configuration"], challenge["scope"]

    assert told("alice") == (f"{issuer.name}/.well-known/openid-configuration", "openid")
    assert told("alice@other") == (f"{other.name}/.well-known/openid-configuration", "other")
    # And its token comes to the same end as ever.
    assert target.gateway.audit() == []
    shows(target, "alice", bearer(other.token("alice")))
    other.close()


def test_every_refusal_looks_the_same(target: Target, issuer: Issuer, cluster: object) -> None:
    """Also that of a token that is good, for a role that is not there (S6)."""
    other = Issuer()
    tokens = {
        "bad_signature": other.token("nobody_here", headers={"kid": issuer.key.kid}),
        "expired": issuer.token("nobody_here", expires_in=-60),
        "wrong_audience": issuer.token("nobody_here", aud="another"),
        "user_mismatch": issuer.token("bob"),
        "malformed_token": "a.b.c",
        "role_refused": issuer.token("nobody_here"),
    }
    seen = [shows(target, "nobody_here", b"n,,\x01auth=\x01\x01")]
    for reason, token in tokens.items():
        target.gateway.mark()
        seen.append(shows(target, "nobody_here", bearer(token)))
        assert target.gateway.last_login(user="nobody_here")["reason"] == reason
    other.close()
    assert all(answer == seen[0] for answer in seen)


@pytest.mark.parametrize("value", NO_BEARER)
def test_what_is_no_bearer_token_is_refused_as_a_bad_one(target: Target, value: str) -> None:
    target.gateway.mark()

    challenge, message = shows(target, "alice", f"n,,\x01auth={value}\x01\x01".encode())

    assert challenge["status"] == "invalid_token"
    assert message.fields["C"] == "28000"
    assert target.gateway.last_login(user="alice")["reason"] == "malformed_token"


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_message_is_an_error(target: Target, name: str) -> None:
    with asked(target, "alice") as wire:
        wire.send(first(MALFORMED[name]))
        fields = error(wire)
    assert fields["C"] == "08P01"
    assert "OAUTHBEARER" in fields["M"]
    # Also when it comes late.
    with asked(target, "alice") as wire:
        wire.send(first(None))
        wire.receive()
        wire.send(w.message("p", MALFORMED[name]))
        assert error(wire) == fields


@pytest.mark.parametrize(
    "response",
    [
        w.message("p"),
        w.message("p", b"OAUTHBEARER"),
        w.message("p", b"OAUTHBEARER\0"),
        w.message("p", b"OAUTHBEARER\0\0\0"),
        w.message("p", b"OAUTHBEARER\0" + struct.pack("!i", 5) + b"n,,"),
        w.message("p", b"OAUTHBEARER\0" + struct.pack("!i", 2) + b"n,,"),
        w.message("p", b"OAUTHBEARER\0" + struct.pack("!i", -2) + b"n,,"),
        w.message("p", b"OAUTHBEARER\0" + struct.pack("!i", -1) + b"n,,"),
        first(b"n,,n=,r=abc", "SCRAM-SHA-256"),
        first(bearer("a.b.c"), "oauthbearer"),
        first(bearer("a.b.c"), ""),
        w.password_message("a.b.c"),
        w.query("SELECT 1"),
        w.SYNC,
    ],
    ids=range(14),
)
def test_a_message_that_is_no_sasl_response_is_an_error(target: Target, response: bytes) -> None:
    with asked(target, "alice") as wire:
        wire.send(response)
        assert error(wire)["C"] == "08P01"


def test_a_message_over_the_limit_is_not_read(target: Target) -> None:
    target.gateway.mark()
    with asked(target, "alice") as wire:
        wire.send(struct.pack("!ci", b"p", 1_000_000))
        assert error(wire)["C"] == "28000"
    login = target.gateway.last_login(user="alice")
    assert (login["reason"], "max_token_size" in login["detail"]) == ("token_too_large", True)


def test_a_token_over_the_limit_is_refused(target: Target) -> None:
    target.gateway.mark()
    shows(target, "alice", bearer("a" * 4097))
    assert target.gateway.last_login(user="alice")["reason"] == "token_too_large"


@pytest.mark.parametrize(
    "word",
    [w.message("p"), w.message("p", b"\x02"), w.message("p", b"\x01\x01"), w.query("SELECT 1"), w.SYNC],
)
def test_a_refusal_stands_whatever_the_client_says_to_it(target: Target, word: bytes) -> None:
    with asked(target, "alice") as wire:
        wire.send(first(bearer("a.b.c")))
        assert wire.receive().type == "R"
        wire.send(word, w.message("p", bearer(target.issuer.token("alice"))))
        assert error(wire)["C"] == "28000"


def test_a_second_token_in_one_connection_is_not_looked_at(target: Target) -> None:
    good = target.issuer.token("alice")
    with asked(target, "alice") as wire:
        wire.send(first(bearer("a.b.c")), first(bearer(good)), HEARD, HEARD)
        assert wire.receive().type == "R"
        assert error(wire)["C"] == "28000"


def test_clients_that_leave_or_say_nothing_end(make_gateway: MakeGateway) -> None:
    target = make_gateway(general={"client_login_timeout": 1_000}, jwt={"client_flow": "oauthbearer"})
    whole = first(bearer(target.issuer.token("alice")))
    for sent in (b"", whole[:3], whole[:20], whole[:-1]):
        asked(target, "alice").close()
        with asked(target, "alice") as wire:
            wire.send(sent)
            assert wire.closed_by_peer()
    log_in(target, "alice", target.issuer.token("alice")).close()


def test_a_refusal_is_audited_before_the_client_is_told(make_gateway: MakeGateway) -> None:
    """Once: a client cannot hide it, or make it two, by saying nothing more."""
    target = make_gateway(general={"client_login_timeout": 1_000}, jwt={"client_flow": "oauthbearer"})
    with asked(target, "alice") as wire:
        wire.send(first(bearer(target.issuer.token("bob"))))
        assert wire.receive().type == "R"
        assert target.gateway.last_login(user="alice")["reason"] == "user_mismatch"
        assert wire.closed_by_peer()
    log_in(target, "bob", target.issuer.token("bob")).close()
    target.gateway.last_login(user="bob")
    assert [event["decision"] for event in target.gateway.audit()] == ["refused", "accepted"]


def test_random_changes_of_a_good_message_let_nobody_else_in(target: Target) -> None:
    rng = random.Random(7628)
    good = first(bearer(target.issuer.token("bob")))
    for _ in range(150):
        bytes_ = bytearray(good[5:])
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(bytes_))
            match rng.randrange(3):
                case 0:
                    bytes_[at] = rng.randrange(256)
                case 1:
                    del bytes_[at]
                case _:
                    bytes_.insert(at, rng.choice(b"\x00\x01\x01,=n "))
        with asked(target, "alice") as wire:
            wire.send(w.message("p", bytes(bytes_)))
            answer = wire.receive()
            if answer.type == "R":
                answer = refused(wire, answer)[1]
            assert answer.fields["C"] in ("08P01", "28000")
            assert wire.closed_by_peer()
    log_in(target, "alice", target.issuer.token("alice")).close()
    assert "panicked" not in target.gateway.log_text()


def test_no_token_reaches_the_log(target: Target) -> None:
    good, bad = target.issuer.token("alice"), target.issuer.token("bob")
    log_in(target, "alice", good).close()
    shows(target, "alice", bearer(bad))
    shows(target, "alice", f"n,,\x01auth=Bearer {bad} {bad}\x01\x01".encode())
    log = target.gateway.log_text()
    assert not any(part in log for token in (good, bad) for part in token.split("."))


def test_no_token_is_asked_for_without_tls(make_gateway: MakeGateway) -> None:
    """From this machine it may travel in the clear; another address of it counts as another machine's."""
    address = "127.0.0.1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route, contextlib.suppress(OSError):
        # Sends nothing: it finds the address that packets to elsewhere come from.
        route.connect(("192.0.2.1", 9))
        address = route.getsockname()[0]
    if address.startswith("127."):
        pytest.skip("this machine has no address but loopback")
    for allowed in (False, True):
        target = make_gateway(
            general={"host": "0.0.0.0"}, jwt={"client_flow": "oauthbearer", "allow_plaintext": allowed}
        )
        target.host = address
        if allowed:
            log_in(target, "alice", target.issuer.token("alice")).close()
            continue
        with pytest.raises(ServerError, match="unencrypted connection") as refusal:
            asked(target, "alice")
        assert refusal.value.sqlstate == "28000"


def test_users_with_a_password_are_asked_for_it_as_ever(target: Target) -> None:
    with target.wire("service", "service-secret") as wire:
        assert wire.value("SELECT 1") == "1"


def test_a_token_as_a_password_is_not_asked_for(target: Target) -> None:
    for parameters in (
        {"pgdog_jwt.client_flow": "password"},
        {"options": "-c pgdog_jwt.client_flow=password"},
    ):
        with pytest.raises(ServerError) as refusal:
            asked(target, "alice", **parameters)
        assert refusal.value.sqlstate == "0A000"
        event = target.gateway.last_login(user="alice", decision="refused")
        assert (event["reason"], event["detail"]) == ("client_flow", "a token is not accepted as a password")


def test_both_kinds_of_clients_on_one_gateway(both: Target) -> None:
    token = both.issuer.token("alice")
    with both.wire("alice", token) as plain, log_in(both, "alice", token, **WISH) as sasl:
        assert plain.value("SELECT current_user") == sasl.value("SELECT current_user") == "alice"
    options = "-c work_mem=123kB -c pgdog_jwt.client_flow=oauthbearer"
    with log_in(both, "alice", token, options=options) as wire:
        assert wire.value("SHOW work_mem") == "123kB"
        # It is no setting, and no server hears of it.
        unset = "SELECT coalesce(current_setting('pgdog_jwt.client_flow', true), 'unset')"
        assert wire.value(unset) == "unset"


def test_an_unknown_flow_is_an_error(both: Target) -> None:
    for value in ("both", "", "scram"):
        with pytest.raises(ServerError) as refusal:
            asked(both, "alice", **{"pgdog_jwt.client_flow": value})
        assert refusal.value.sqlstate == "22023"


def test_where_tokens_are_passwords_there_is_no_other_way(gateway: Target) -> None:
    with pytest.raises(ServerError) as refusal:
        asked(gateway, "alice", **WISH)
    assert refusal.value.sqlstate == "0A000"


def test_the_admin_database_takes_no_token(make_gateway: MakeGateway) -> None:
    admin = {"name": "admin", "user": "admin", "password": "admin-secret"}
    target = make_gateway(jwt={"client_flow": "oauthbearer"}, admin=admin)
    with pytest.raises(AssertionError, match="SCRAM-SHA-256"):
        asked(target, "admin", database="admin")
    shown = target.connect("admin", "admin-secret", dbname="admin").execute("SHOW CONFIG").fetchall()
    assert ("jwt.client_flow", "oauthbearer") in [row[:2] for row in shown]


def test_a_reload_changes_the_flow_for_new_clients(make_gateway: MakeGateway) -> None:
    target = make_gateway()
    process = target.gateway
    token = target.issuer.token("alice")
    with target.wire("alice", token) as wire:
        process.config["jwt"]["client_flow"] = "oauthbearer"
        process.write(process.config)
        process.send(signal.SIGHUP)

        def changed() -> bool:
            try:
                log_in(target, "alice", token, **WISH).close()
            except ServerError:
                return False
            return True

        eventually(changed, "the new flow")
        assert wire.value("SELECT current_user") == "alice"
