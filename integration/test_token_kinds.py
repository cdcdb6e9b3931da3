"""Tokens of another kind than access tokens, and tokens that are bound to a key."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from harness import find_gateway
from harness.external import is_external
from harness.target import Target

pytestmark = pytest.mark.skipif(is_external(), reason="starts a gateway of its own, and runs its program")

MakeGateway = Callable[..., Target]

LOGOUT = {"http://schemas.openid.net/event/backchannel-logout": {}}
THUMBPRINT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"

# What differs from a good token: headers, claims.
BOUND: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "DPoP": ({}, {"cnf": {"jkt": THUMBPRINT}}),
    "client certificate": ({}, {"cnf": {"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}}),
    "nothing in cnf": ({}, {"cnf": None}),
    "token_type DPoP": ({}, {"token_type": "DPoP"}),
    "Keycloak's DPoP": ({}, {"typ": "DPoP", "cnf": {"jkt": THUMBPRINT}}),
}
OTHER_HEADERS = [
    "dpop+jwt",
    "logout+jwt",
    "LOGOUT+JWT",
    "application/secevent+jwt",
    "token-introspection+jwt",
    "oauth-authz-req+jwt",
]
OTHER_CLAIMS: list[dict[str, Any]] = [
    {"typ": "ID"},
    {"typ": "Refresh"},
    {"typ": "Offline"},
    {"typ": "Logout"},
    {"token_use": "id"},
    {"token_use": "refresh"},
    {"token_type": "refresh_token"},
    {"token_use": None},
    {"events": LOGOUT},
    {"events": None},
]
GOOD: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"typ": None}, {}),
    ({"typ": "at+jwt"}, {"token_type": "Bearer"}),
    ({"typ": "application/AT+JWT"}, {"typ": "Bearer"}),
    ({}, {"token_use": "access", "event_id": "x", "type": "person"}),
]


@pytest.fixture(scope="module")
def target(make_module_gateway: MakeGateway) -> Target:
    limits = {"login_failures_per_user_burst": 100_000, "login_failures_per_address_burst": 100_000}
    return make_module_gateway(general={"login_refusal_delay": 0, **limits})


def token(target: Target, headers: dict[str, Any], claims: dict[str, Any]) -> str:
    """`None` is null in the claims, and no header at all among the headers."""
    return target.issuer.key.sign(target.issuer.claims("alice") | claims, headers)


def reason(target: Target, credential: str) -> str | None:
    """Why the login is refused; `None`: it is not."""
    target.gateway.mark()
    try:
        target.connect("alice", credential).close()
    except psycopg.OperationalError:
        return str(target.gateway.last_login(decision="refused")["reason"])
    return None


def test_only_access_tokens_log_in(target: Target) -> None:
    for headers, claims in GOOD:
        assert reason(target, token(target, headers, claims)) is None, (headers, claims)
    for typ in OTHER_HEADERS:
        assert reason(target, token(target, {"typ": typ}, {})) == "token_type_denied", typ
    for claims in OTHER_CLAIMS:
        assert reason(target, token(target, {}, claims)) == "not_an_access_token", claims


def test_a_token_that_is_bound_to_a_key_is_no_bearer_token(target: Target) -> None:
    for name, (headers, claims) in BOUND.items():
        assert reason(target, token(target, headers, claims)) == "bound_token", name


def test_an_issuer_that_binds_everything_can_be_taken_all_the_same(make_gateway: MakeGateway) -> None:
    target = make_gateway(jwt={"bound_tokens": "as_bearer"})
    for name, (headers, claims) in BOUND.items():
        assert reason(target, token(target, headers, claims)) is None, name
    assert reason(target, token(target, {"typ": "dpop+jwt"}, BOUND["DPoP"][1])) == "token_type_denied"
    assert reason(target, token(target, {}, {"token_use": "id"} | BOUND["DPoP"][1])) == "not_an_access_token"
    assert "whoever steals a token" in target.gateway.log_text()


def test_what_required_claims_name_is_taken(make_gateway: MakeGateway) -> None:
    target = make_gateway(jwt={"required_claims": {"token_use": "id"}})
    assert reason(target, token(target, {}, {"token_use": "id"})) is None
    assert reason(target, token(target, {}, {"token_use": "refresh"})) == "not_an_access_token"
    assert reason(target, token(target, {}, {"token_use": "access"})) == "claim_mismatch"


@pytest.mark.parametrize(
    ("claims", "code", "text"),
    [
        ({"cnf": {"jkt": THUMBPRINT}}, "bound_token", "bound to a key"),
        ({"typ": "ID"}, "not_an_access_token", '"typ"'),
        ({"events": LOGOUT}, "not_an_access_token", '"events"'),
    ],
)
def test_the_tools_say_what_the_login_says(
    target: Target, claims: dict[str, Any], code: str, text: str
) -> None:
    credential = token(target, {}, claims)
    gateway = target.gateway
    files = ["--config", str(gateway.config_file), "--users", str(gateway.users_file)]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PGDOG_")}
        return subprocess.run(
            [find_gateway(), *arguments],
            input=credential,
            env=clean,
            capture_output=True,
            text=True,
            timeout=60,
            cwd=gateway.folder,
        )

    verified = run("token", "verify", *files, "-")
    explained = run("explain", *files, "--token", "-")

    said = json.loads(verified.stdout)
    assert (said["signature"], said["decision"]) == ("valid", "deny")
    assert (said["claims"], said["reason"]) == ([code], code)
    assert explained.returncode != 0
    assert text in explained.stdout, explained.stdout
    assert reason(target, credential) == code
