"""Which tokens are good, and that every other one is refused in the same words."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from harness.issuer import Issuer, hmac_signed, tampered, unsigned
from harness.keys import KeyPair
from harness.target import Target

Make = Callable[[Issuer], str]


def now() -> int:
    return int(time.time())


def header(issuer: Issuer, **changes: Any) -> dict[str, Any]:
    return {"alg": "RS256", "typ": "JWT", "kid": issuer.key.kid} | changes


def resigned_by_a_stranger(issuer: Issuer) -> str:
    stranger = KeyPair.generate(issuer.key.kid, issuer.key.algorithm)
    return issuer.token("alice", key=stranger)


def with_the_strangers_key_inside(issuer: Issuer) -> str:
    stranger = KeyPair.generate(issuer.key.kid, issuer.key.algorithm)
    return issuer.token("alice", key=stranger, headers={"jwk": stranger.jwk, "jku": "http://127.0.0.1:1/"})


def unsigned_by(algorithm: str) -> Make:
    return lambda issuer: unsigned(header(issuer, alg=algorithm), issuer.claims("alice"))


def flipped_signature(issuer: Issuer) -> str:
    head, payload, signature = issuer.token("alice").split(".")
    changed = ("B" if signature[20] == "A" else "A").join((signature[:20], signature[21:]))
    return f"{head}.{payload}.{changed}"


def claims_in_a_list(issuer: Issuer) -> str:
    return issuer.key.sign_bytes(json.dumps([issuer.claims("alice")]).encode())


def claims_that_are_no_json(issuer: Issuer) -> str:
    return issuer.key.sign_bytes(json.dumps(issuer.claims("alice")).encode() + b"}")


def claims(**changes: Any) -> Make:
    return lambda issuer: issuer.token("alice", **changes)


def headers(**changes: Any) -> Make:
    return lambda issuer: issuer.token("alice", headers=changes)


# Made by a function each, so that times are those of the test's run.
BAD: dict[str, Make] = {
    "expired": lambda issuer: issuer.token("alice", iat=now() - 600, expires_in=-1),
    "expires this second": lambda issuer: issuer.token("alice", expires_in=0),
    "without exp": claims(exp=None),
    "exp is text": claims(exp="tomorrow"),
    "exp is a numeral in quotes": claims(exp=str(now() + 300)),
    "exp is before 1970": claims(exp=-1),
    "not yet valid": lambda issuer: issuer.token("alice", nbf=now() + 120),
    "nbf is text": claims(nbf="now"),
    "issued in the future": lambda issuer: issuer.token("alice", iat=now() + 120),
    "wrong audience": claims(aud="elsewhere"),
    "wrong audiences": claims(aud=["elsewhere", "nowhere"]),
    "audience is a prefix": claims(aud="postgre"),
    "without audience": claims(aud=None),
    "wrong issuer": claims(iss="https://attacker.example"),
    "issuer with a slash more": lambda issuer: issuer.token("alice", iss=issuer.name + "/"),
    "without issuer": claims(iss=None),
    "without subject": claims(sub=None),
    "empty subject": claims(sub=""),
    "tampered subject": lambda issuer: tampered(issuer.token("bob"), sub="alice"),
    "tampered expiry": lambda issuer: tampered(issuer.token("alice", expires_in=-60), exp=now() + 300),
    "flipped bit in the signature": flipped_signature,
    "cut-off signature": lambda issuer: issuer.token("alice")[:-12],
    "without signature": lambda issuer: issuer.token("alice").rpartition(".")[0] + ".",
    "two parts": lambda issuer: issuer.token("alice").rpartition(".")[0],
    "four parts": lambda issuer: issuer.token("alice") + ".AAAA",
    "signed by a stranger under a known kid": resigned_by_a_stranger,
    "brings its own key": with_the_strangers_key_inside,
    "alg none": unsigned_by("none"),
    "alg None": unsigned_by("None"),
    "alg NONE": unsigned_by("NONE"),
    "alg missing": lambda issuer: unsigned({"typ": "JWT"}, issuer.claims("alice")),
    "HMAC under the public key, PEM": lambda issuer: hmac_signed(
        issuer.key.public_pem, issuer.claims("alice"), issuer.key.kid
    ),
    "HMAC under the public key, PEM, stripped": lambda issuer: hmac_signed(
        issuer.key.public_pem.strip(), issuer.claims("alice"), issuer.key.kid
    ),
    "HMAC under nothing": lambda issuer: hmac_signed(b"", issuer.claims("alice"), issuer.key.kid),
    "an algorithm that is not allowed": headers(alg="RS512"),
    "alg of another key type": lambda issuer: unsigned(
        header(issuer, alg="ES256"), issuer.claims("alice"), b"\1" * 64
    ),
    "unknown kid": headers(kid="key-of-nobody"),
    "kid as a path": headers(kid="../../../../dev/null"),
    "unknown critical header": headers(crit=["b64"], b64=True),
    "empty crit": headers(crit=[]),
    "claims in a list": claims_in_a_list,
    "claims that are no JSON": claims_that_are_no_json,
    "larger than 16 KiB": claims(padding="x" * 20_000),
    "plain text": lambda _: "correct horse battery staple",
    "empty": lambda _: "",
    "three dots": lambda _: "...",
    "not base64": lambda _: "!!!.???.***",
    "JSON serialization": lambda issuer: '{"payload": "", "signatures": []}',
    "a space in front": lambda issuer: " " + issuer.token("alice"),
    "Bearer in front": lambda issuer: "Bearer " + issuer.token("alice"),
    "a line feed behind": lambda issuer: issuer.token("alice") + "\n",
    "base64 with padding": lambda issuer: issuer.token("alice") + "==",
}


@pytest.mark.parametrize("make", BAD.values(), ids=BAD.keys())
def test_a_bad_token_is_refused(gateway: Target, make: Make) -> None:
    assert gateway.refusal("alice", make(gateway.issuer))["C"] == "28000"


def test_every_refusal_sounds_the_same(gateway: Target) -> None:
    tokens = [BAD[name](gateway.issuer) for name in ("expired", "wrong audience", "alg none", "plain text")]

    answers = {tuple(sorted(gateway.refusal("alice", token).items())) for token in tokens}
    answers.add(tuple(sorted(gateway.refusal("alice", gateway.issuer.token("bob")).items())))

    assert len(answers) == 1


@pytest.mark.parametrize("user", ["nobody_at_all", "stranger", "bob"])
def test_a_refusal_does_not_tell_whether_a_role_exists(gateway: Target, user: str) -> None:
    expected = gateway.refusal("alice", "not a token")["M"].replace("alice", user)

    assert gateway.refusal(user, "not a token")["M"] == expected


GOOD: dict[str, Make] = {
    "audience among others": lambda issuer: issuer.token("alice", aud=["elsewhere", issuer.audience]),
    "valid since now": lambda issuer: issuer.token("alice", nbf=now() - 1),
    "fractions of seconds": lambda issuer: issuer.token("alice", exp=time.time() + 300.5),
    "claims that nobody reads": claims(nonsense={"deep": [1, None, {"x": "y"}]}, sub2="bob"),
    "without iat and jti": claims(iat=None, jti=None),
    "typ at+jwt": headers(typ="at+jwt"),
    "close to 16 KiB": claims(padding="x" * 10_000),
}


@pytest.mark.parametrize("make", GOOD.values(), ids=GOOD.keys())
def test_a_good_token_is_accepted(gateway: Target, make: Make) -> None:
    with gateway.wire("alice", make(gateway.issuer)) as wire:
        assert wire.value("SELECT current_user") == "alice"


def test_the_first_of_two_subjects_is_nobody(gateway: Target) -> None:
    """Readers of JSON disagree on which of two equal names counts; here it is the last one, or none."""
    claims = json.dumps(gateway.issuer.claims("alice")).replace('{"iss"', '{"sub": "bob", "iss"', 1)

    assert gateway.refusal("bob", gateway.issuer.key.sign_bytes(claims.encode()))["C"] == "28000"


# As issuers make them that round up, write fractions, or have a clock that is ahead.
FRESH: dict[str, Make] = {
    "iat rounded up": lambda issuer: issuer.token("alice", iat=now() + 1),
    "iat with a fraction": lambda issuer: issuer.token("alice", iat=time.time() + 0.3),
    "iat ahead": lambda issuer: issuer.token("alice", iat=now() + 3),
    "nbf rounded up": lambda issuer: issuer.token("alice", nbf=now() + 1),
}


@pytest.mark.parametrize("make", FRESH.values(), ids=FRESH)
def test_a_fresh_token_is_not_refused_at_random(gateway: Target, make: Make) -> None:
    for _ in range(3):
        gateway.wire("alice", make(gateway.issuer)).close()


def test_the_log_names_the_key_that_lets_younger_tokens_in(gateway: Target) -> None:
    for claim, reason in (("iat", "issued_in_future"), ("nbf", "not_yet_valid")):
        gateway.gateway.mark()
        gateway.refusal("alice", gateway.issuer.token("alice", **{claim: now() + 60}))
        login = gateway.gateway.last_login(user="alice", reason=reason)
        assert '"early_leeway"' in login["detail"]


def test_tokens_before_their_time_are_refused_where_that_is_wanted(
    make_gateway: Callable[..., Target],
) -> None:
    target = make_gateway(jwt={"early_leeway": 0})
    assert target.refusal("alice", target.issuer.token("alice", iat=now() + 30))["C"] == "28000"


PASTED = {
    "newline": (lambda token: token + "\n", "line break"),
    "space": (lambda token: " " + token, "white space"),
    "quotes": (lambda token: f'"{token}"', "quotes"),
    "Bearer": (lambda token: "Bearer " + token, '"Bearer"'),
    "17 kB": (lambda token: token + "x" * 17_000, "max_token_size"),
    "60 kB": (lambda token: token + "x" * 60_000, "max_token_size"),
}


@pytest.mark.parametrize(("paste", "said"), PASTED.values(), ids=PASTED)
def test_the_log_says_what_was_pasted_with_a_token(
    gateway: Target, paste: Callable[[str], str], said: str
) -> None:
    token = gateway.issuer.token("alice")
    gateway.gateway.mark()

    assert gateway.refusal("alice", paste(token))["C"] == "28000"

    login = gateway.gateway.last_login(user="alice")
    assert said in login["detail"]
    assert (login["reason"] == "token_too_large") == (said == "max_token_size")
    assert token not in gateway.gateway.log_text()


@pytest.mark.parametrize("said", ["milliseconds", "text"])
def test_the_log_says_what_is_wrong_with_a_date(gateway: Target, said: str) -> None:
    value = {"milliseconds": (now() + 60) * 1000, "text": str(now() + 60)}[said]
    gateway.gateway.mark()
    gateway.refusal("alice", gateway.issuer.token("alice", exp=value))
    assert said in gateway.gateway.last_login(user="alice")["detail"]


def test_leeway_is_what_the_configuration_says(make_gateway: Callable[..., Target]) -> None:
    target = make_gateway(jwt={"leeway": 60})
    late, too_late = (target.issuer.token("alice", iat=now() - 600, expires_in=-ago) for ago in (20, 120))

    target.wire("alice", late).close()
    assert target.refusal("alice", too_late)["C"] == "28000"


def test_a_token_that_expires_between_two_logins_is_refused_the_second_time(gateway: Target) -> None:
    token = gateway.issuer.token("alice", expires_in=2)
    gateway.wire("alice", token).close()

    time.sleep(2.1)  # the only event here is time itself

    assert gateway.refusal("alice", token)["C"] == "28000"
