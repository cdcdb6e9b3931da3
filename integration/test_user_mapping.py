"""`[[jwt.user_mappings]]`: rules make a user of what the token says. The first that matches decides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness import primary_alone
from harness.target import Target

MakeGateway = Callable[..., Target]
STRIP = {"claim": "email", "pattern": r"([^@]+)@example\.com", "user": r"\1", "lowercase": True}


@pytest.fixture
def make(make_gateway: MakeGateway, cluster: Any) -> Callable[..., Target]:
    def make(*rules: dict[str, Any], general: dict[str, Any] | None = None, **jwt: Any) -> Target:
        return make_gateway(
            databases=[primary_alone(cluster)],
            general=general or {},
            jwt={"user_mappings": list(rules), **jwt},
        )

    return make


@pytest.fixture(scope="module")
def stripped(make_module_gateway: MakeGateway, cluster: Any) -> Target:
    """The part of an address before the @, for one domain; and the domain's robots by their issuer."""
    robots = {"issuer": "https://elsewhere.example", "pattern": ".*", "user": "bob"}
    return make_module_gateway(
        databases=[primary_alone(cluster)],
        jwt={"user_mappings": [robots, STRIP, {"claim": "email", "pattern": "(none)", "user": r"\1"}]},
    )


def whoever(target: Target, user: str, **claims: Any) -> str | None:
    with target.wire(user, target.issuer.token("some-opaque-id", **claims)) as wire:
        return wire.value("SELECT current_user")


def refused(target: Target, user: str, **claims: Any) -> str:
    """The reason in the log; the client hears the one text."""
    target.gateway.mark()
    fields = target.refusal(user, target.issuer.token("some-opaque-id", **claims))
    assert (fields["C"], fields["M"]) == ("28000", f'authentication failed for user "{user}"')
    return target.gateway.last_login(decision="refused")["reason"]


@pytest.mark.parametrize("email", ["alice@example.com", "Alice@example.com", "ALICE@example.com"])
def test_groups_of_the_pattern_make_the_user(stripped: Target, email: str) -> None:
    assert whoever(stripped, "alice", email=email) == "alice"


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"email": "alice@example.com.evil"},
        {"email": "alice@evil@example.com"},
        {"email": "alice@example.com\n"},
        {"email": "alice@exampleXcom"},
        {"email": "alice@EXAMPLE.com"},
        {"email": ["alice@example.com"]},
        {"email": {"email": "alice@example.com"}},
        {"email": None, "sub": "alice@example.com"},
    ],
    ids=str,
)
def test_a_token_that_no_rule_is_for_is_refused(stripped: Target, claims: dict[str, Any]) -> None:
    assert refused(stripped, "alice", **claims) == "no_user_mapping"


def test_the_user_typed_must_be_the_one_that_the_rule_makes(stripped: Target) -> None:
    for user in ("bob", "alice@example.com", "Alice", "some-opaque-id"):
        assert refused(stripped, user, email="alice@example.com") == "user_mismatch"


def test_the_first_rule_decides(make: Callable[..., Target]) -> None:
    target = make(
        {"claim": "email", "pattern": r".*@example\.com", "user": "bob"},
        {"claim": "email", "pattern": "alice.*", "user": "alice"},
    )

    assert whoever(target, "bob", email="alice@example.com") == "bob"
    assert whoever(target, "alice", email="alice@elsewhere.example") == "alice"
    assert refused(target, "alice", email="alice@example.com") == "user_mismatch"


def test_a_rule_for_another_issuer_is_for_nobody_else(stripped: Target, make: Callable[..., Target]) -> None:
    assert refused(stripped, "bob", email="bob@elsewhere.example") == "no_user_mapping"
    exact = {"issuer": stripped.issuer.name, "pattern": ".*", "user": "bob"}

    assert whoever(make(exact), "bob") == "bob"
    assert refused(make(exact | {"issuer": stripped.issuer.name + "/"}), "bob") == "no_user_mapping"


@pytest.mark.parametrize(
    ("email", "reason"),
    [
        ("postgres@example.com", "role_denied"),
        ("pg_read_all_data@example.com", "role_denied"),
        ("Postgres@example.com", "role_denied"),
        ("gateway@example.com", "role_denied"),
        ("none", "role_invalid"),
        ("None@example.com", "role_invalid"),
        ("a" * 64 + "@example.com", "role_invalid"),
        ("alice\0@example.com", "role_invalid"),
        ("boss@example.com", "role_privileged"),
        ("mallory@example.com", "role_refused"),
    ],
    ids=repr,
)
def test_what_a_rule_makes_is_still_not_every_role(
    make: Callable[..., Target], email: str, reason: str
) -> None:
    target = make(STRIP, {"claim": "email", "pattern": "(none)", "user": r"\1"}, user_match="claim")

    assert refused(target, "alice", email=email) == reason


def test_a_rule_may_make_nothing_of_a_claim(make: Callable[..., Target]) -> None:
    target = make({"claim": "nick", "pattern": "x(.*)", "user": r"\1"}, user_match="claim")

    assert refused(target, "alice", nick="x") == "role_invalid"


def test_without_a_claim_a_rule_is_about_the_username_claim(make: Callable[..., Target]) -> None:
    target = make(
        {"pattern": "user:(.*)", "user": r"\1"}, general={"jwt_username_claim": "https://example.com/user"}
    )

    assert whoever(target, "alice", **{"https://example.com/user": "user:alice"}) == "alice"
    assert refused(target, "alice", **{"https://example.com/user": "alice"}) == "no_user_mapping"


def test_a_pattern_that_would_take_for_ever_elsewhere_is_answered(make: Callable[..., Target]) -> None:
    target = make({"claim": "email", "pattern": "(a*)*b", "user": "alice"})

    assert refused(target, "alice", email="a" * 8000) == "no_user_mapping"


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"pattern": "a)|(b", "user": "x"}, '"pattern" is not a regular expression'),
        ({"pattern": "(", "user": "x"}, '"pattern" is not a regular expression'),
        ({"pattern": r"\w{1000}{1000}", "user": "x"}, '"pattern" is too large'),
        ({"pattern": "a", "user": r"\1"}, "the pattern has no such group"),
        ({"user": "x"}, 'needs a "pattern"'),
        ({"pattern": "a"}, 'needs a "user"'),
        ({"pattern": "a", "user": "x", "lower_case": True}, 'did you mean "lowercase"'),
    ],
    ids=str,
)
def test_a_rule_that_cannot_work_keeps_the_gateway_from_starting(
    make: Callable[..., Target], rule: dict[str, Any], reason: str
) -> None:
    with pytest.raises(RuntimeError) as refusal:
        make(rule)

    assert reason in str(refusal.value)
    assert "pgdog.toml:" in str(refusal.value)
