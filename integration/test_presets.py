"""`preset` of `[[jwt.issuers]]`: tokens as each provider issues them, through the whole gateway.

The issuer is on this machine. Where a provider's keys are below its issuer, the preset finds them there.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from psycopg import sql

from harness import Issuer
from harness.cluster import SERVER_USER
from harness.external import is_external
from harness.jwks_server import JwksServer
from harness.target import Target

pytestmark = pytest.mark.skipif(is_external(), reason="starts a gateway of its own, and makes roles")

MakeGateway = Callable[..., Target]
TENANT = "11111111-2222-3333-4444-555555555555"
OID = "0f8fad5b-d9cb-469f-a165-70867728950e"
API = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"


class Publisher(JwksServer):
    """Publishes keys in one place alone."""

    path = "/jwks.json"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        if request.path == self.path:
            super().answer(request)
        else:
            request.send_error(404)


@dataclass
class Provider:
    """What is written in the entry, what a token says, who that is, and changes that must be refused.

    `ISSUER` in an entry or a claim stands for the issuer's place on this machine.
    """

    preset: str
    user: str
    claims: dict[str, Any]
    entry: dict[str, Any] = field(default_factory=dict)
    issuer: str = "ISSUER"
    # Where the keys are; none: the entry says it.
    path: str | None = None
    typ: str | None = "JWT"
    refused: dict[str, dict[str, Any]] = field(default_factory=dict)
    header_refused: list[str | None] = field(default_factory=list)


PROVIDERS = [
    Provider(
        "auth0",
        "auth0_role",
        {
            "sub": "auth0|64f0c0ffee",
            "aud": ["https://postgres.example.com", "https://tenant.eu.auth0.com/userinfo"],
            "azp": "AbCdEf",
            "scope": "openid profile",
            "gty": "password",
            "https://example.com/role": "auth0_role",
        },
        {"audiences": ["https://postgres.example.com"], "username_claim": "https://example.com/role"},
        issuer="ISSUER/",
        path="/.well-known/jwks.json",
        refused={
            "wrong_audience": {"aud": "https://tenant.eu.auth0.com/userinfo"},
            "missing_claim": {"https://example.com/role": None},
        },
        header_refused=["secevent+jwt"],
    ),
    Provider(
        "keycloak",
        "keycloak.user",
        {
            "sub": "9d0f0f62-1c7c-4f0e-8d1a-000000000001",
            "typ": "Bearer",
            "azp": "postgres-cli",
            "aud": ["postgres", "account"],
            "preferred_username": "keycloak.user",
            "realm_access": {"roles": ["offline_access"]},
            "scope": "openid email",
            "sid": "5f0c7b4e",
            "acr": "1",
        },
        {"audiences": ["postgres"], "clients": ["postgres-cli"]},
        issuer="ISSUER/realms/company",
        path="/realms/company/protocol/openid-connect/certs",
        refused={"not_an_access_token": {"typ": "ID"}, "client_denied": {"azp": "another"}},
    ),
    Provider(
        "okta",
        "someone@okta.example",
        {
            "ver": 1,
            "sub": "someone@okta.example",
            "aud": "api://postgres",
            "cid": "0oa1b2c3d4e5f6g7h8i9",
            "uid": "00u1a2b3c4",
            "scp": ["openid", "postgres"],
            "auth_time": 1700000000,
        },
        {
            "audiences": ["api://postgres"],
            "required_scopes": ["postgres"],
            "required_claims": {"cid": ["0oa1b2c3d4e5f6g7h8i9"]},
        },
        issuer="ISSUER/oauth2/default",
        path="/oauth2/default/v1/keys",
        typ=None,
        refused={"missing_scope": {"scp": ["openid"]}, "claim_mismatch": {"cid": "0oa_other"}},
    ),
    Provider(
        "entra",
        OID,
        {
            "aud": API,
            "ver": "2.0",
            "tid": TENANT,
            "oid": OID,
            "sub": "PairwiseSubject",
            "azp": "99999999-aaaa-bbbb-cccc-dddddddddddd",
            "azpacr": "0",
            "scp": "login",
            "preferred_username": "someone@company.example",
            "uti": "x",
        },
        {"audiences": [API], "jwks_url": "KEYS"},
        issuer=f"https://login.microsoftonline.com/{TENANT}/v2.0",
        refused={"claim_mismatch": {"tid": OID}, "wrong_audience": {"aud": f"api://{API}"}},
    ),
    Provider(
        "entra",
        OID,
        {
            "aud": f"api://{API}",
            "ver": "1.0",
            "tid": TENANT,
            "oid": OID,
            "sub": "PairwiseSubject",
            "appid": "99999999-aaaa-bbbb-cccc-dddddddddddd",
            "upn": "someone@company.example",
        },
        {"audiences": [f"api://{API}"], "jwks_url": "KEYS"},
        issuer=f"https://sts.windows.net/{TENANT}/",
        refused={"claim_mismatch": {"ver": "2.0"}},
    ),
    Provider(
        "google",
        "someone@google.example",
        {
            "azp": "123-abc.apps.googleusercontent.com",
            "aud": "123-abc.apps.googleusercontent.com",
            "sub": "110169484474386276334",
            "hd": "google.example",
            "email": "someone@google.example",
            "email_verified": True,
        },
        {
            "issuer": None,
            "audiences": ["123-abc.apps.googleusercontent.com"],
            "required_claims": {"hd": "google.example"},
            "jwks_url": "KEYS",
        },
        issuer="https://accounts.google.com",
        refused={"missing_claim": {"hd": None}, "claim_mismatch": {"email_verified": False}},
    ),
    Provider(
        "cognito",
        "cognito_user",
        {
            "sub": "aaaaaaaa-1111-2222-3333-444444444444",
            "aud": None,
            "client_id": "1h57kf5cpq17m0eml12EXAMPLE",
            "token_use": "access",
            "scope": "postgres/login",
            "username": "cognito_user",
            "cognito:groups": ["readers"],
            "event_id": "x",
        },
        {"clients": ["1h57kf5cpq17m0eml12EXAMPLE"]},
        issuer="ISSUER/eu-central-1_AbCdEfGhI",
        path="/eu-central-1_AbCdEfGhI/.well-known/jwks.json",
        typ=None,
        refused={"not_an_access_token": {"token_use": "id"}, "client_denied": {"client_id": "another"}},
    ),
    Provider(
        "github-actions",
        "octo-org/shop",
        {
            "aud": "postgres.example.com",
            "sub": "repo:octo-org@65/shop@74:environment:production",
            "environment": "production",
            "ref": "refs/heads/main",
            "repository": "octo-org/shop",
            "repository_id": "74",
            "repository_owner": "octo-org",
            "repository_owner_id": "65",
            "job_workflow_ref": "octo-org/shop/.github/workflows/x.yml@refs/heads/main",
            "event_name": "push",
        },
        {
            "audiences": ["postgres.example.com"],
            "required_claims": {"repository_owner_id": "65", "environment": "production"},
        },
        issuer="ISSUER/_services/token",
        path="/_services/token/.well-known/jwks",
        refused={"claim_mismatch": {"repository_owner_id": "66"}, "missing_claim": {"environment": None}},
    ),
    Provider(
        "gitlab-ci",
        "my-group/shop",
        {
            "aud": "postgres.example.com",
            "sub": "project_path:my-group/shop:ref_type:branch:ref:main",
            "namespace_id": "72",
            "namespace_path": "my-group",
            "project_id": "20",
            "project_path": "my-group/shop",
            "pipeline_source": "push",
            "ref": "main",
            "ref_type": "branch",
            "ref_protected": "true",
            "user_login": "someone",
        },
        {
            "audiences": ["postgres.example.com"],
            "required_claims": {"namespace_id": "72", "ref_protected": "true"},
        },
        path="/oauth/discovery/keys",
        refused={"claim_mismatch": {"ref_protected": "false"}},
    ),
    Provider(
        "kubernetes",
        "system:serviceaccount:shops:shop",
        {
            "aud": ["postgres"],
            "sub": "system:serviceaccount:shops:shop",
            "kubernetes.io": {
                "namespace": "shops",
                "pod": {"name": "shop-1", "uid": "x"},
                "serviceaccount": {"name": "shop", "uid": "y"},
            },
        },
        {"audiences": ["postgres"], "roles": ["system:serviceaccount:shops:*"], "jwks_url": "KEYS"},
        issuer="https://kubernetes.default.svc.cluster.local",
        typ=None,
        refused={
            "wrong_audience": {"aud": ["https://kubernetes.default.svc.cluster.local"]},
            "user_mismatch": {"sub": "system:serviceaccount:shops:other"},
        },
    ),
]


@pytest.fixture(params=PROVIDERS, ids=lambda provider: f"{provider.preset}-{provider.issuer[:11]}")
def provider(request: pytest.FixtureRequest, cluster: Any) -> Iterator[Provider]:
    """With its user's role in PostgreSQL."""
    role = sql.Identifier(request.param.user)
    with cluster.admin() as admin:
        admin.execute(sql.SQL("CREATE ROLE {}").format(role))
        admin.execute(sql.SQL("GRANT {} TO {}").format(role, sql.Identifier(SERVER_USER)))
    yield request.param
    with cluster.admin() as admin:
        admin.execute(sql.SQL("DROP ROLE {}").format(role))


@pytest.fixture
def own(provider: Provider) -> Iterator[Issuer]:
    issuer = Issuer()
    assert issuer.server
    issuer.server.close()
    issuer.server = publisher = Publisher()
    publisher.path = provider.path or publisher.path
    publisher.keys = [issuer.key.jwk]
    issuer.name = provider.issuer.replace("ISSUER", publisher.url.removesuffix("/jwks.json"))
    yield issuer
    issuer.close()


@pytest.fixture
def target(provider: Provider, own: Issuer, make_gateway: MakeGateway, cluster: Any) -> Target:
    """A gateway that knows this provider alone."""
    table = {"preset": provider.preset, "issuer": own.name} | provider.entry
    if "jwks_url" in table:
        table["jwks_url"] = own.jwks_url
    table = {name: value for name, value in table.items() if value is not None}
    general = {"jwt_jwks_url": None, "jwt_audience": None}
    primary = cluster.primary
    databases = [{"name": "demo", "host": primary.host, "port": primary.port}]
    jwt = {"issuer": None, "algorithms": None, "issuers": [table]}
    return make_gateway(general=general, jwt=jwt, databases=databases, issuer=own)


def token(provider: Provider, issuer: Issuer, header: str | None = "as usual", **changes: Any) -> str:
    claims = provider.claims | changes
    headers = {"typ": provider.typ if header == "as usual" else header}
    return issuer.token(claims.pop("sub"), headers=headers, **claims)


def test_tokens_of_the_provider(provider: Provider, own: Issuer, target: Target) -> None:
    with target.wire(provider.user, token(provider, own)) as wire:
        assert wire.value("SELECT current_user") == provider.user

    for reason, changes in provider.refused.items():
        target.gateway.mark()
        target.refusal(provider.user, token(provider, own, **changes))
        assert target.gateway.last_login(user=provider.user)["reason"] == reason, changes
    for typ in provider.header_refused:
        target.gateway.mark()
        target.refusal(provider.user, token(provider, own, typ))
        assert target.gateway.last_login(user=provider.user)["reason"] == "token_type_denied"
    with_another_key = Issuer(name=own.name)
    try:
        target.refusal(provider.user, token(provider, with_another_key))
    finally:
        with_another_key.close()


def run(target: Target, *words: str, given: str = "") -> str:
    files = ["--config", target.gateway.config_file, "--users", target.gateway.users_file]
    command = [str(word) for word in (target.gateway.program, *files, *words)]
    done = subprocess.run(command, input=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_what_it_fills_in_is_shown(provider: Provider, own: Issuer, target: Target) -> None:
    filled = f"{provider.preset}, which fills in "

    assert filled in run(target, "check")
    assert filled in run(target, "explain", "--token", "-", given=token(provider, own))
