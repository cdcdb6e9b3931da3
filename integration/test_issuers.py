"""`[[jwt.issuers]]`: several sources of tokens behind one gateway, each with rules and a mode of its own."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness import Issuer, eventually, merged, primary_alone
from harness import wire as w
from harness.activity import end_backends
from harness.external import is_external
from harness.target import Target
from harness.wire import ServerError

MakeGateway = Callable[..., Target]
pytestmark = pytest.mark.skipif(is_external(), reason="starts gateways of its own")

WHO = "SELECT session_user || ',' || current_user"
LOGIN, ACCOUNT, PASSWORD = "issuers_login", "issuers_account", "one secret"


class Others:
    """Two further issuers, whose newest keys have the same `kid` as that of the first."""

    def __init__(self) -> None:
        self.second = Issuer(name="https://second.example/")
        self.third = Issuer("ES256", name="https://third.example/")

    def close(self) -> None:
        self.second.close()
        self.third.close()


def entry(issuer: Issuer, **more: Any) -> dict[str, Any]:
    return {"issuer": issuer.name, "jwks_url": issuer.jwks_url} | more


@pytest.fixture(scope="module")
def others() -> Iterator[Others]:
    others = Others()
    yield others
    others.close()


@pytest.fixture(scope="module")
def roles(cluster: Any) -> Iterator[None]:
    with cluster.admin() as admin:
        admin.execute(f"CREATE ROLE {LOGIN} LOGIN PASSWORD '{PASSWORD}'")
        admin.execute(f"CREATE ROLE {ACCOUNT} LOGIN PASSWORD '{PASSWORD}'")
    yield
    with cluster.admin() as admin:
        end_backends(admin, "usename LIKE 'issuers_%'")
        admin.execute(f"DROP ROLE {LOGIN}, {ACCOUNT}")


@pytest.fixture
def make(make_gateway: MakeGateway, cluster: Any) -> Callable[..., Target]:
    def make(*issuers: dict[str, Any], general: dict[str, Any] | None = None, **jwt: Any) -> Target:
        return make_gateway(
            databases=[primary_alone(cluster)], general=general or {}, jwt={"issuers": list(issuers), **jwt}
        )

    return make


def whoever(
    target: Target, issuer: Issuer, user: str, subject: str | None = None, **claims: Any
) -> str | None:
    with target.wire(user, issuer.token(subject or user, **claims)) as wire:
        return wire.value(WHO)


def refused(target: Target, issuer: Issuer, user: str, subject: str | None = None, **options: Any) -> str:
    """The reason in the log; the client hears the one text."""
    target.gateway.mark()
    fields = target.refusal(user, issuer.token(subject or user, **options))
    assert (fields["C"], fields["M"]) == ("28000", f'authentication failed for user "{user}"')
    return target.gateway.last_login(decision="refused")["reason"]


def test_each_issuer_vouches_for_its_own_tokens_alone(make: Callable[..., Target], others: Others) -> None:
    target = make(entry(others.second), entry(others.third))
    issuers = [target.issuer, others.second, others.third]
    assert len({issuer.key.kid for issuer in issuers}) == 1

    for issuer in issuers:
        assert whoever(target, issuer, "alice") == "gateway,alice"
        for other in issuers:
            if other is not issuer:
                reason = refused(target, issuer, "alice", iss=other.name)
                assert reason in ("bad_signature", "algorithm_mismatch"), reason
    for unknown in (others.second.name.rstrip("/"), "https://fourth.example/", None):
        assert refused(target, others.second, "alice", iss=unknown) == "wrong_issuer"


def test_one_issuer_in_the_list_is_as_good_as_the_short_form(
    make: Callable[..., Target], others: Others
) -> None:
    target = make(
        entry(others.second, audiences=["elsewhere"], username_claim="email"),
        general={"jwt_jwks_url": None, "jwt_audience": None},
        issuer=None,
    )

    assert whoever(target, others.second, "alice", "7", email="alice", aud="elsewhere") == "gateway,alice"
    assert refused(target, others.second, "alice", "7", email="alice") == "wrong_audience"
    assert refused(target, target.issuer, "alice") == "wrong_issuer"


@pytest.mark.parametrize(
    ("rules", "good", "bad", "reason"),
    [
        ({"clients": ["tool"]}, {"azp": "tool"}, {"azp": "other"}, "client_denied"),
        ({"clients": ["tool"]}, {"client_id": "tool"}, {}, "missing_claim"),
        ({"required_scopes": ["db"]}, {"scope": "openid db"}, {"scope": "dbx"}, "missing_scope"),
        ({"required_scopes": ["db"]}, {"scp": ["db"]}, {}, "missing_scope"),
        (
            {"required_claims": {"email_verified": True}},
            {"email_verified": True},
            {"email_verified": "true"},
            "claim_mismatch",
        ),
        (
            {"required_claims": {"realm_access.roles": {"contains": ["dba", "dev"]}}},
            {"realm_access": {"roles": ["x", "dev"]}},
            {"realm_access": {"roles": ["device"]}},
            "claim_mismatch",
        ),
        ({"required_claims": {"hd": {"present": True}}}, {"hd": "x"}, {"hd": None}, "missing_claim"),
        ({"max_token_age": 60}, {}, {"iat": 1_700_000_000}, "token_too_old"),
        ({"max_token_age": 60}, {}, {"iat": None}, "missing_claim"),
        ({"token_types": ["at+jwt"]}, {"headers": {"typ": "at+jwt"}}, {}, "token_type_denied"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_an_issuer_demands_of_its_tokens(
    make: Callable[..., Target], others: Others, rules: dict[str, Any], good: Any, bad: Any, reason: str
) -> None:
    target = make(entry(others.second, **rules))

    assert whoever(target, others.second, "alice", **good) == "gateway,alice"
    assert refused(target, others.second, "alice", **bad) == reason
    assert whoever(target, target.issuer, "alice") == "gateway,alice", "other issuers have their own rules"


def test_a_demand_holds_for_a_remembered_token(make: Callable[..., Target], others: Others) -> None:
    """Rules are looked at in every login, also where the signature is known to be good."""
    target = make(entry(others.second, databases=["demo"], roles=["al*"]))
    token = others.second.token("alice")
    for _ in range(3):
        with target.wire("alice", token) as wire:
            assert wire.value(WHO) == "gateway,alice"
    assert refused(target, others.second, "bob") == "role_not_of_issuer"
    target.gateway.mark()
    with pytest.raises(ServerError), target.wire("alice", token, database="elsewhere"):
        pass
    assert target.gateway.last_login(decision="refused")["reason"] == "database_denied"


def test_users_with_a_suffix_belong_to_its_issuer(make: Callable[..., Target], others: Others) -> None:
    target = make(entry(others.second, user_suffix="@second"), entry(others.third, user_suffix="@third"))

    assert whoever(target, others.second, "alice@second", "alice") == "gateway,alice"
    assert whoever(target, target.issuer, "alice") == "gateway,alice"
    for issuer, user in [
        (others.third, "alice@second"),
        (target.issuer, "alice@second"),
        (others.second, "alice"),
        (others.second, "alice@third"),
    ]:
        assert refused(target, issuer, user, "alice") == "user_mismatch", user
    assert refused(target, target.issuer, "alice@second") == "user_mismatch", "nor by its full name"


def test_subjects_of_a_read_only_issuer_do_not_reach_a_primary(
    make: Callable[..., Target], make_gateway: MakeGateway, others: Others
) -> None:
    """S10."""
    alone = make(entry(others.second, read_only=True))
    with pytest.raises(ServerError, match="no replica"), alone.wire("alice", others.second.token("alice")):
        pass

    target = make_gateway(jwt={"issuers": [entry(others.second, read_only=True)]})
    with target.wire("alice", others.second.token("alice", read_only=False)) as wire:
        assert wire.value("SELECT pg_is_in_recovery()") == "t"
    assert whoever(target, target.issuer, "alice") == "gateway,alice"


def test_every_issuer_has_its_own_identity_mode(
    make: Callable[..., Target], others: Others, roles: None
) -> None:
    mapping = {"claim": "role", "value": "reader", "server_user": ACCOUNT, "server_password": PASSWORD}
    target = make(
        entry(others.second, mode="login"),
        entry(others.third, mode="service_account"),
        identity={"login_auth": "password", "login_password": PASSWORD},
        role_mappings=[mapping],
    )

    for _ in range(2):
        assert whoever(target, target.issuer, "alice") == "gateway,alice"
        assert whoever(target, others.second, LOGIN) == f"{LOGIN},{LOGIN}"
        assert whoever(target, others.third, "alice", role="reader") == f"{ACCOUNT},{ACCOUNT}"
    assert refused(target, others.third, "alice") == "no_role_mapping"
    assert refused(target, target.issuer, "gateway") == "role_denied"
    assert refused(target, others.second, "gateway") == "role_denied"


def test_one_name_in_two_modes_has_two_pools(
    make: Callable[..., Target], others: Others, roles: None, cluster: Any
) -> None:
    with cluster.admin() as admin:
        admin.execute(f"GRANT {LOGIN} TO gateway")
    target = make(
        entry(others.second, mode="login"), identity={"login_auth": "password", "login_password": PASSWORD}
    )

    for _ in range(3):
        assert whoever(target, target.issuer, LOGIN) == f"gateway,{LOGIN}"
        assert whoever(target, others.second, LOGIN) == f"{LOGIN},{LOGIN}"


def test_a_user_mapping_may_set_the_mode(make: Callable[..., Target], others: Others, roles: None) -> None:
    target = make(
        entry(others.second),
        identity={"login_auth": "password", "login_password": PASSWORD},
        user_mappings=[
            {"claim": "sub", "pattern": "issuers_.*", "user": r"\0", "mode": "login"},
            {"claim": "sub", "pattern": ".*", "user": r"\0"},
        ],
    )

    for issuer in (target.issuer, others.second):
        assert whoever(target, issuer, LOGIN) == f"{LOGIN},{LOGIN}"
        assert whoever(target, issuer, "alice") == "gateway,alice"


def test_sessions_of_an_issuer_that_is_gone_end(make: Callable[..., Target], others: Others) -> None:
    target = make(entry(others.second))
    with (
        target.wire("alice", others.second.token("alice")) as gone,
        target.wire("bob", target.issuer.token("bob")) as stays,
    ):
        assert gone.value(WHO) == "gateway,alice"
        target.gateway.write(merged(target.gateway.config, {"jwt": {"issuers": None}}))
        target.gateway.send(signal.SIGHUP)
        eventually(lambda: "wrong_issuer" in refused(target, others.second, "alice"), "the new file")
        assert stays.value(WHO) == "gateway,bob"
        gone.send(w.query(WHO))
        assert gone.receive_until("E")[-1].fields["S"] == "FATAL"
