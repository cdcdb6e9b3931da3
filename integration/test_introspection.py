"""Tokens that only their issuer can read (RFC 7662), through the whole gateway."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import Issuer, eventually
from harness.introspection import CLIENT_SECRET, Manner, OpaqueIssuer
from harness.oauthbearer import log_in
from harness.target import Target
from harness.wire import ServerError

MakeGateway = Callable[..., Target]
ADMIN = {"name": "admin", "user": "admin", "password": "admin-secret"}


@pytest.fixture
def opaque() -> Iterator[OpaqueIssuer]:
    issuer = OpaqueIssuer()
    yield issuer
    issuer.close()


@pytest.fixture
def start(make_gateway: MakeGateway, opaque: OpaqueIssuer) -> Callable[..., Target]:
    """A gateway that takes the tokens of the usual issuer and those of `opaque`."""

    def start(*, general: dict[str, Any] | None = None, users: Any = None, **changes: Any) -> Target:
        tables: dict[str, Any] = {"jwt": {"issuers": [opaque.table(**changes)]}, "admin": ADMIN}
        return make_gateway(general=general or {}, users=users, **tables)

    return start


def show(target: Target) -> dict[str, Any]:
    with target.connect("admin", "admin-secret", dbname="admin") as admin:
        cursor = admin.execute("SHOW INTROSPECTION")
        names = [column.name for column in cursor.description or ()]
        (row,) = cursor.fetchall()
    return dict(zip(names, row, strict=True))


def reason(target: Target, user: str, token: str) -> str:
    """Why the login is refused, as the log says; the client hears the same whatever it is."""
    target.gateway.mark()
    said = target.refusal(user, token)
    assert (said["C"], said["M"]) == ("28000", f'authentication failed for user "{user}"')
    return str(target.gateway.last_login(user=user)["reason"])


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post", "private_key_jwt"])
def test_a_client_that_the_issuer_knows(make_gateway: MakeGateway, tmp_path: Path, method: str) -> None:
    opaque = OpaqueIssuer(method)
    key = tmp_path / "client.pem"
    key.write_bytes(opaque.client_key.private_pem)
    changes: dict[str, Any] = {}
    if method == "private_key_jwt":
        changes = {
            "introspection_client_secret": None,
            "introspection_client_key_file": str(key),
            "introspection_client_key_id": opaque.client_key.kid,
            "introspection_client_audience": opaque.name,
        }
    target = make_gateway(jwt={"issuers": [opaque.table(**changes)]})
    try:
        for name in ("alice", "bob"):
            with target.wire(name, opaque.token(name)) as wire:
                assert wire.value("SELECT current_user") == name
        assert target.gateway.last_login(user="bob")["issuer"] == opaque.name
        assert (len(opaque.asked), opaque.refused) == (2, [])
    finally:
        opaque.close()


@pytest.mark.parametrize("source", ["env", "file"])
def test_the_clients_secret_from_elsewhere(
    make_gateway: MakeGateway, opaque: OpaqueIssuer, tmp_path: Path, source: str
) -> None:
    path = tmp_path / "secret"
    path.write_text(CLIENT_SECRET + "\n")
    given = {"env": "THE_SECRET", "file": str(path)}[source]
    table = opaque.table(
        **{
            "introspection_client_secret": None,
            f"introspection_client_secret_{source}": given,
        }
    )

    target = make_gateway(jwt={"issuers": [table]}, env={"THE_SECRET": CLIENT_SECRET})

    target.wire("alice", opaque.token("alice")).close()
    assert opaque.refused == []


def test_both_kinds_of_tokens_side_by_side(start: Callable[..., Target], opaque: OpaqueIssuer) -> None:
    target = start()

    target.wire("alice").close()
    assert opaque.asked == []
    token = opaque.token("alice")
    for _ in range(3):
        with target.wire("alice", token) as wire:
            assert wire.value("SELECT current_user") == "alice"

    assert opaque.asked == [token]
    row = show(target)
    assert (row["issuer"], row["active"], row["requests"], row["failures"]) == (opaque.name, 1, 1, 0)


def test_a_token_over_oauthbearer(make_gateway: MakeGateway, opaque: OpaqueIssuer) -> None:
    target = make_gateway(jwt={"client_flow": "oauthbearer", "issuers": [opaque.table()]})

    with log_in(target, "alice", opaque.token("alice")) as wire:
        assert wire.value("SELECT current_user") == "alice"
    with pytest.raises(ServerError):
        log_in(target, "alice", opaque.token("alice", active=False))


def test_answers_are_judged(start: Callable[..., Target], opaque: OpaqueIssuer) -> None:
    target = start()
    now = int(time.time())
    for change, expected in [
        ({"active": False}, "token_inactive"),
        ({"active": "true"}, "introspection_unavailable"),
        ({"active": None}, "introspection_unavailable"),
        ({"iss": "https://other.example"}, "wrong_issuer"),
        ({"aud": "somebody else"}, "wrong_audience"),
        ({"aud": None}, "missing_claim"),
        ({"sub": "bob"}, "user_mismatch"),
        ({"sub": "postgres"}, "user_mismatch"),
        ({"sub": None}, "missing_claim"),
        ({"exp": None}, "missing_claim"),
        ({"exp": now - 5}, "expired"),
        ({"nbf": now + 600}, "not_yet_valid"),
        ({"token_type": "DPoP"}, "bound_token"),
        ({"token_use": "refresh_token"}, "not_an_access_token"),
    ]:
        assert reason(target, "alice", opaque.token("alice", **change)) == expected, change
    assert reason(target, "postgres", opaque.token("postgres")) == "role_denied"


def test_a_token_that_is_revoked_at_the_issuer(start: Callable[..., Target], opaque: OpaqueIssuer) -> None:
    target = start(introspection_cache_ttl=1)
    token = opaque.token("alice")
    target.wire("alice", token).close()

    opaque.revoke(token)

    eventually(lambda: _is_refused(target, token), "the revocation")
    assert reason(target, "alice", token) == "token_inactive"


def _is_refused(target: Target, token: str) -> bool:
    try:
        target.wire("alice", token).close()
    except Exception:
        return True
    return False


def test_a_session_has_the_end_of_its_token(start: Callable[..., Target], opaque: OpaqueIssuer) -> None:
    target = start(introspection_max_age=3600)

    with (
        target.wire("alice", opaque.token("alice", exp=int(time.time()) + 1000)),
        target.wire("bob", opaque.token("bob", exp=None)),
        target.connect("admin", "admin-secret", dbname="admin") as admin,
    ):
        cursor = admin.execute("SHOW SUBJECTS").fetchall()
        ends = {row[2]: row[-1].timestamp() - time.time() for row in cursor}

    assert 0 < ends["alice"] <= 1000 < ends["bob"] <= 3600


def test_a_password_is_shown_to_nobody(start: Callable[..., Target], opaque: OpaqueIssuer) -> None:
    password = "a-password-that-could-be-a-token"
    target = start(users=[{"name": "service", "database": "demo", "password": password}])

    target.refusal("service", password + "x")
    target.refusal("alice", "hunter2")
    target.refusal("alice", "correct horse battery staple")
    target.refusal("alice", target.issuer.token("alice", iss="https://unknown.example"))

    assert opaque.asked == []


def test_a_suffix_says_who_is_asked(make_gateway: MakeGateway, opaque: OpaqueIssuer) -> None:
    other = OpaqueIssuer(name="https://other.example")
    tables = [opaque.table(), other.table(user_suffix="@other")]
    target = make_gateway(jwt={"issuers": tables})
    try:
        token = other.token("alice")
        target.wire("alice@other", token).close()
        assert (other.asked, opaque.asked) == ([token], [])

        assert reason(target, "alice", other.token("alice")) == "token_inactive"
        assert reason(target, "alice@other", opaque.token("alice")) == "token_inactive"
        assert (len(other.asked), len(opaque.asked)) == (2, 1)
    finally:
        other.close()


def test_two_issuers_for_the_same_users_are_refused(make_gateway: MakeGateway, opaque: OpaqueIssuer) -> None:
    tables = [opaque.table(), opaque.table(issuer="https://other.example")]
    target = make_gateway(jwt={"issuers": tables}, start=False)

    with pytest.raises(RuntimeError, match="does not start"):
        target.gateway.start()

    assert "introspection" in target.gateway.log_text() or "asked about" in target.gateway.log_text()
    assert CLIENT_SECRET not in target.gateway.log_text()


@pytest.mark.parametrize(
    "manner", [Manner.FAIL, Manner.GARBAGE, Manner.HUGE, Manner.REDIRECT, Manner.HANG, None]
)
def test_an_issuer_that_does_not_answer(
    start: Callable[..., Target], opaque: OpaqueIssuer, issuer: Issuer, manner: Manner | None
) -> None:
    target = start(introspection_timeout=500, introspection_cache_ttl=3600)
    known = opaque.token("bob")
    target.wire("bob", known).close()
    opaque.redirect_to = opaque.url + "?again"

    with opaque.misbehaving(manner) if manner else opaque.unreachable():
        for _ in range(5):
            assert reason(target, "alice", opaque.token("alice")) == "introspection_unavailable"
            # Those who need no answer feel nothing.
            target.wire("alice", issuer.token("alice")).close()
            target.wire("bob", known).close()
        assert show(target)["failures"] >= 3

    fresh = opaque.token("alice")
    eventually(lambda: not _is_refused(target, fresh), "the end of the pause")


def test_a_flood_of_garbage(start: Callable[..., Target], opaque: OpaqueIssuer) -> None:
    target = start(
        introspection_cache_size=1, introspection_negative_cache_size=5, introspection_cache_ttl=3600
    )
    token = opaque.token("alice")
    target.wire("alice", token).close()

    for number in range(20):
        target.refusal("alice", f"garbage-{number:020}")

    target.wire("alice", token).close()
    assert opaque.asked.count(token) == 1
    row = show(target)
    assert (row["active"], row["inactive"], row["running"]) == (1, 5, 0)


def test_a_jwt_that_its_issuer_has_revoked(start: Callable[..., Target], opaque: OpaqueIssuer) -> None:
    signer = Issuer(name=opaque.name)
    target = start(introspect_jwts=True, introspection_cache_ttl=1, jwks_url=signer.jwks_url)
    try:
        token = signer.token("alice")
        opaque.learn(token, "alice")
        target.wire("alice", token).close()
        assert reason(target, "alice", signer.token("alice")) == "token_inactive"

        opaque.revoke(token)

        eventually(lambda: _is_refused(target, token), "the revocation")
        # The usual issuer's are not shown to this one.
        asked = len(opaque.asked)
        target.wire("alice").close()
        assert len(opaque.asked) == asked
    finally:
        signer.close()


def test_nothing_shows_a_token_or_the_secret(start: Callable[..., Target], opaque: OpaqueIssuer) -> None:
    target = start(general={"log_level": "debug"})
    token, bad = opaque.token("alice"), opaque.token("alice", active=7)
    target.wire("alice", token).close()
    target.refusal("alice", bad)

    shown = target.gateway.log_text()
    with target.connect("admin", "admin-secret", dbname="admin") as admin:
        for what in ("CONFIG", "INTROSPECTION", "KEYS", "CLIENTS", "SUBJECTS"):
            shown += str(admin.execute(f"SHOW {what}").fetchall())

    assert opaque.name in shown
    assert not any(secret in shown for secret in (token, bad, CLIENT_SECRET))


def explain(target: Target, token: str, *user: str) -> subprocess.CompletedProcess[str]:
    files = ["--config", str(target.gateway.config_file), "--users", str(target.gateway.users_file)]
    words = [target.gateway.program, *files, "explain", "--token", "-", *user]
    return subprocess.run([str(word) for word in words], input=token, capture_output=True, text=True)


def test_explain_asks_the_issuer(start: Callable[..., Target], opaque: OpaqueIssuer) -> None:
    target = start()

    good = explain(target, opaque.token("alice"), "--user", "alice")
    bad = explain(target, "unknown-token-0123456789", "--user", "alice")
    nobody = explain(target, opaque.token("alice"))

    assert good.returncode == 0, good.stdout + good.stderr
    assert "✓ introspection" in good.stdout
    assert "expires in" in good.stdout
    assert bad.returncode == 1
    assert "✗ introspection" in bad.stdout
    assert "token_inactive" in bad.stdout
    assert "--user" in nobody.stderr
