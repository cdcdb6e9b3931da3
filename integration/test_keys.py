"""Where keys come from: key types, rotation, files, and issuers that are slow, down or hostile."""

from __future__ import annotations

import concurrent.futures
import json
from collections.abc import Callable

import pytest

from harness import Issuer, eventually
from harness.certificates import self_signed
from harness.jwks_server import Behaviour
from harness.keys import KeyPair
from harness.target import Target

MakeGateway = Callable[..., Target]
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]
# Refresh as often as a test needs, and give up on an issuer soon.
EAGER = {"jwks_min_refresh_interval": 0}


def who(target: Target, token: str, user: str = "alice") -> str | None:
    with target.wire(user, token) as wire:
        return wire.value("SELECT current_user")


def refused(target: Target, token: str, user: str = "alice") -> bool:
    return target.refusal(user, token)["C"] == "28000"


def test_every_algorithm_that_is_allowed_works(make_gateway: MakeGateway, own_issuer: Issuer) -> None:
    keys = [own_issuer.add_key(algorithm) for algorithm in ALGORITHMS]
    target = make_gateway(issuer=own_issuer, jwt={"algorithms": ALGORITHMS})

    for key in keys:
        assert who(target, own_issuer.token("alice", key=key)) == "alice", key.algorithm


@pytest.mark.parametrize("algorithm", ["RS512", "PS256", "ES384"])
def test_other_than_the_three_usual_algorithms_must_be_allowed_first(
    make_gateway: MakeGateway, own_issuer: Issuer, algorithm: str
) -> None:
    key = own_issuer.add_key(algorithm)
    target = make_gateway(issuer=own_issuer, jwt={"algorithms": None})

    assert refused(target, own_issuer.token("alice", key=key))


def test_a_rotated_key_works_without_a_restart(make_gateway: MakeGateway, own_issuer: Issuer) -> None:
    target = make_gateway(issuer=own_issuer, jwt=EAGER)
    assert who(target, own_issuer.token("alice")) == "alice"

    own_issuer.rotate()

    assert who(target, own_issuer.token("alice")) == "alice"


def test_a_key_that_was_rotated_out_stops_working(make_gateway: MakeGateway, own_issuer: Issuer) -> None:
    target = make_gateway(issuer=own_issuer, jwt=EAGER)
    old = own_issuer.token("alice")
    assert who(target, old) == "alice"

    own_issuer.rotate()
    assert who(target, own_issuer.token("alice")) == "alice"

    assert refused(target, old)


def test_unknown_keys_do_not_make_the_gateway_ask_again_and_again(
    make_gateway: MakeGateway, own_issuer: Issuer
) -> None:
    target = make_gateway(issuer=own_issuer)
    assert who(target, own_issuer.token("alice")) == "alice"
    assert own_issuer.server
    before = own_issuer.server.fetches

    for number in range(20):
        assert refused(target, own_issuer.token("alice", headers={"kid": f"unknown-{number}"}))

    # At once, after one second, two more and four more; the next one is further away than a login waits.
    assert own_issuer.server.fetches - before <= 4


def test_many_logins_at_once_share_one_fetch(make_gateway: MakeGateway, own_issuer: Issuer) -> None:
    target = make_gateway(issuer=own_issuer)
    assert own_issuer.server
    before = own_issuer.server.fetches

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: who(target, own_issuer.token("alice")), range(20)))

    assert answers == ["alice"] * 20
    assert own_issuer.server.fetches - before <= 1


def test_logins_fail_while_an_issuer_was_never_reached_and_work_once_it_is(
    make_gateway: MakeGateway, own_issuer: Issuer
) -> None:
    assert own_issuer.server
    with own_issuer.server.unreachable():
        target = make_gateway(issuer=own_issuer, jwt=EAGER)
        assert refused(target, own_issuer.token("alice"))

    eventually(lambda: who(target, own_issuer.token("alice")) == "alice", "a login after the outage", 40)


def test_known_keys_outlive_an_issuer_that_is_down(make_gateway: MakeGateway, own_issuer: Issuer) -> None:
    target = make_gateway(issuer=own_issuer, general={"jwt_jwks_cache_ttl": 1}, jwt=EAGER)
    assert who(target, own_issuer.token("alice")) == "alice"
    assert own_issuer.server

    with own_issuer.server.unreachable():
        fetched = target.gateway.log_text()
        # Longer than the cache's time: several logins, each of which may try to fetch.
        for subject in ("alice", "bob", "carol"):
            assert who(target, own_issuer.token(subject), subject) == subject, fetched


def test_known_keys_do_not_outlive_an_issuer_for_ever(make_gateway: MakeGateway, own_issuer: Issuer) -> None:
    ages = {"jwks_max_stale": 2} | EAGER
    target = make_gateway(issuer=own_issuer, general={"jwt_jwks_cache_ttl": 1}, jwt=ages)
    assert who(target, own_issuer.token("alice")) == "alice"
    assert own_issuer.server

    with own_issuer.server.unreachable():
        eventually(lambda: refused(target, own_issuer.token("alice")), "the known keys' end")


@pytest.mark.parametrize("how", [Behaviour.FAIL, Behaviour.GARBAGE, Behaviour.EMPTY, Behaviour.HUGE])
def test_an_issuer_that_answers_nonsense_lets_nobody_in_and_is_asked_again(
    make_gateway: MakeGateway, own_issuer: Issuer, how: Behaviour
) -> None:
    assert own_issuer.server
    with own_issuer.server.misbehaving(how):
        target = make_gateway(issuer=own_issuer, jwt=EAGER)
        before = target.gateway.memory()
        assert refused(target, own_issuer.token("alice"))
        assert target.gateway.memory() - before < 32 * 1024 * 1024

    eventually(lambda: who(target, own_issuer.token("alice")) == "alice", "a login afterwards", 40)


def test_nonsense_in_place_of_known_keys_does_not_lock_out_subjects(
    make_gateway: MakeGateway, own_issuer: Issuer
) -> None:
    target = make_gateway(issuer=own_issuer, general={"jwt_jwks_cache_ttl": 1}, jwt=EAGER)
    assert who(target, own_issuer.token("alice")) == "alice"
    assert own_issuer.server

    with own_issuer.server.misbehaving(Behaviour.GARBAGE):
        before = own_issuer.server.fetches
        eventually(
            lambda: who(target, own_issuer.token("alice")) == "alice" and own_issuer.server.fetches > before,  # type: ignore[union-attr]
            "a login after a failed refresh",
        )
        assert who(target, own_issuer.token("bob"), "bob") == "bob"


def test_an_issuer_that_hangs_holds_up_nobody_whose_key_is_known(
    make_gateway: MakeGateway, own_issuer: Issuer
) -> None:
    target = make_gateway(issuer=own_issuer, jwt=EAGER)
    assert who(target, own_issuer.token("alice")) == "alice"
    assert own_issuer.server

    stuck = own_issuer.token("alice", headers={"kid": "not-there-yet"})
    with concurrent.futures.ThreadPoolExecutor(4) as pool, own_issuer.server.misbehaving(Behaviour.HANG):
        before = own_issuer.server.fetches
        waiting = [pool.submit(refused, target, stuck) for _ in range(4)]
        eventually(lambda: own_issuer.server.fetches > before, "the fetch that hangs")  # type: ignore[union-attr]
        for subject in ("alice", "bob", "carol"):
            assert who(target, own_issuer.token(subject), subject) == subject
        assert all(login.result(timeout=30) for login in waiting)


def test_a_redirect_to_another_scheme_is_not_followed(make_gateway: MakeGateway, own_issuer: Issuer) -> None:
    assert own_issuer.server
    own_issuer.server.redirect_to = "file:///etc/passwd"
    with own_issuer.server.misbehaving(Behaviour.REDIRECT):
        target = make_gateway(issuer=own_issuer)

        assert refused(target, own_issuer.token("alice"))


def test_one_unusable_key_does_not_spoil_the_set(make_gateway: MakeGateway, own_issuer: Issuer) -> None:
    assert own_issuer.server
    own_issuer.server.keys = [
        {"kty": "RSA", "kid": "broken", "n": "!!!", "e": "AQAB"},
        {"kty": "oct", "kid": "secret", "k": "c2VjcmV0"},
        {"kty": "EC", "crv": "P-256K", "kid": "curve", "x": "AA", "y": "AA"},
        {"kty": "quantum", "kid": "future"},
        {"kid": "nothing"},
        own_issuer.key.jwk,
    ]
    target = make_gateway(issuer=own_issuer)

    assert who(target, own_issuer.token("alice")) == "alice"


def test_a_key_for_encryption_verifies_nothing(make_gateway: MakeGateway, own_issuer: Issuer) -> None:
    assert own_issuer.server
    own_issuer.server.keys = [own_issuer.key.jwk | {"use": "enc"}]
    target = make_gateway(issuer=own_issuer)

    assert refused(target, own_issuer.token("alice"))


def from_file(make_gateway: MakeGateway, issuer: Issuer, pem: bytes) -> Target:
    target = make_gateway(
        issuer=issuer,
        general={"jwt_jwks_url": None, "jwt_public_key_file": "public.pem"},
        start=False,
    )
    (target.gateway.folder / "public.pem").write_bytes(pem)
    target.gateway.config["general"]["jwt_public_key_file"] = str(target.gateway.folder / "public.pem")
    target.gateway.write(target.gateway.config)
    target.gateway.start()
    return target


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_keys_come_from_a_pem_file(make_gateway: MakeGateway, own_issuer: Issuer, algorithm: str) -> None:
    key = own_issuer.add_key(algorithm)
    target = from_file(make_gateway, own_issuer, key.public_pem)

    assert who(target, own_issuer.token("alice")) == "alice"
    assert who(target, own_issuer.token("alice", headers={"kid": None})) == "alice"


def test_keys_come_from_a_certificate(make_gateway: MakeGateway, own_issuer: Issuer) -> None:
    pair = self_signed("issuer.example")
    key = KeyPair.from_pem("certificate", "ES256", pair.key)
    target = from_file(make_gateway, own_issuer, pair.certificate)

    assert who(target, own_issuer.token("alice", key=key)) == "alice"


def test_a_replaced_key_file_counts_without_a_restart(make_gateway: MakeGateway, own_issuer: Issuer) -> None:
    target = from_file(make_gateway, own_issuer, own_issuer.key.public_pem)
    old = own_issuer.token("alice")
    assert who(target, old) == "alice"

    key = own_issuer.rotate()
    (target.gateway.folder / "public.pem").write_bytes(key.public_pem)

    eventually(lambda: who(target, own_issuer.token("alice")) == "alice", "the new key")
    assert refused(target, old)


def test_a_key_file_that_becomes_unreadable_does_not_lock_out_subjects(
    make_gateway: MakeGateway, own_issuer: Issuer
) -> None:
    target = from_file(make_gateway, own_issuer, own_issuer.key.public_pem)
    assert who(target, own_issuer.token("alice")) == "alice"

    (target.gateway.folder / "public.pem").write_bytes(b"not a key")

    assert who(target, own_issuer.token("bob"), "bob") == "bob"


def test_key_material_never_reaches_the_log(make_gateway: MakeGateway, own_issuer: Issuer) -> None:
    target = make_gateway(issuer=own_issuer, general={"log_level": "debug"})
    assert who(target, own_issuer.token("alice")) == "alice"

    assert json.dumps(own_issuer.key.jwk["n"]) not in target.gateway.log_text()
