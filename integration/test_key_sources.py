"""Where the keys of an issuer come from, and the way there."""

from __future__ import annotations

import json
import signal
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from psycopg.rows import dict_row

from harness import Issuer, eventually
from harness import hostile_server as scripts
from harness.certificates import CertificatePair, self_signed
from harness.hostile_server import Connection, HostileServer, serving
from harness.neighbour import ADMIN, beside, refused, who
from harness.target import Target

MakeGateway = Callable[..., Target]

SECOND = "https://second.example"


@pytest.fixture
def second() -> Issuer:
    """Tokens of a second issuer. Where its keys are, a test decides."""
    return Issuer("ES256", name=SECOND, serve=False)


@pytest.fixture(name="beside")
def make_beside(make_gateway: MakeGateway, issuer: Issuer) -> Callable[..., Target]:
    """A gateway for the usual issuer and the second one."""
    return beside(make_gateway, issuer, SECOND)


def show(target: Target) -> list[dict[str, Any]]:
    with target.connect("admin", ADMIN["password"], dbname="admin", row_factory=dict_row) as console:
        return console.execute("SHOW KEYS").fetchall()


def row_of_second(target: Target) -> dict[str, Any]:
    return next(row for row in show(target) if row["issuer"] == SECOND)


def tls(pair: CertificatePair, folder: Path) -> ssl.SSLContext:
    (folder / "certificate.pem").write_bytes(pair.certificate)
    (folder / "key.pem").write_bytes(pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return context


@pytest.mark.parametrize(("name", "comes_in"), [("127.0.0.1", True), ("issuer.example", False)])
def test_an_issuer_over_tls_must_have_the_name_that_it_was_asked_by(
    beside: Callable[..., Target], second: Issuer, tmp_path: Path, name: str, comes_in: bool
) -> None:
    context = tls(self_signed(name, authority=False), tmp_path)
    with HostileServer(serving([second.key.jwk]), context) as server:
        target = beside(jwks_url=server.url, jwks_ca_file=str(tmp_path / "certificate.pem"))
        if comes_in:
            assert who(target, second.token("alice")) == "alice"
        else:
            assert refused(target, second.token("alice"))
            assert "certificate not valid for name" in row_of_second(target)["problem"]
        assert who(target, target.issuer.token("alice")) == "alice"


def test_an_issuer_over_tls_that_nobody_vouches_for_is_not_believed(
    beside: Callable[..., Target], second: Issuer, tmp_path: Path
) -> None:
    context = tls(self_signed("127.0.0.1", authority=False), tmp_path)
    with HostileServer(serving([second.key.jwk]), context) as server:
        target = beside(jwks_url=server.url)
        assert refused(target, second.token("alice"))
        assert who(target, target.issuer.token("alice")) == "alice"


def test_an_issuer_that_says_nothing_has_changed_is_believed(
    beside: Callable[..., Target], second: Issuer
) -> None:
    def versioned(connection: Connection) -> None:
        if connection.header("If-None-Match") == '"one"':
            connection.answer(304, ETag='"one"')
        else:
            serving([second.key.jwk], ETag='"one"', Cache_Control="max-age=90")(connection)

    with HostileServer(versioned) as server:
        target = beside(jwks_url=server.url)
        assert who(target, second.token("alice")) == "alice"
        assert refused(target, second.token("alice", headers={"kid": "unknown"}))
        row = row_of_second(target)
        assert (row["etag"], row["unchanged"], row["fetches"], row["ttl"]) == ('"one"', 1, 2, 300)
        assert who(target, second.token("alice")) == "alice"


def test_keys_are_found_by_discovery(make_gateway: MakeGateway, issuer: Issuer) -> None:
    with HostileServer(scripts.drop) as server:
        found = Issuer("ES256", name=server.origin, serve=False)

        def site(connection: Connection) -> None:
            if connection.path == "/.well-known/openid-configuration":
                connection.answer(200, f'{{"issuer": "{server.origin}", "jwks_uri": "{server.url}"}}')
            else:
                serving([found.key.jwk])(connection)

        server.script = site
        entry = {"issuer": server.origin, "audiences": [issuer.audience], "discovery": True}
        target = make_gateway(admin=ADMIN, jwt={"issuers": [entry]})

        assert who(target, found.token("alice")) == "alice"
        kinds = {row["issuer"]: row["kind"] for row in show(target)}
        assert kinds == {issuer.name: "jwks_url", server.origin: "discovery"}


def test_keys_come_and_go_in_a_directory(
    beside: Callable[..., Target], second: Issuer, tmp_path: Path
) -> None:
    (tmp_path / "README").write_text("not a key")
    target = beside(key_directory=str(tmp_path))
    assert refused(target, second.token("alice"))

    (tmp_path / "first.pem").write_bytes(second.key.public_pem)
    eventually(lambda: who(target, second.token("alice")) == "alice", "the key of a new file")
    (tmp_path / "first.pem").unlink()
    eventually(lambda: refused(target, second.token("alice")), "the end of a key whose file is gone")


@pytest.mark.parametrize("where", ["jwks", "jwks_file"])
def test_a_key_set_may_be_in_the_configuration_or_in_a_file(
    beside: Callable[..., Target], second: Issuer, tmp_path: Path, where: str
) -> None:
    text = json.dumps({"keys": [second.key.jwk]})
    (tmp_path / "keys.json").write_text(text)
    target = beside(**{where: text if where == "jwks" else str(tmp_path / "keys.json")})

    assert who(target, second.token("alice")) == "alice"
    assert refused(target, Issuer("ES256", name=SECOND, serve=False).token("alice"))
    assert second.key.jwk["x"] not in target.gateway.log_text()


def test_a_token_for_the_fetch_is_shown_and_never_logged(
    beside: Callable[..., Target], second: Issuer, tmp_path: Path
) -> None:
    def guarded(connection: Connection) -> None:
        if connection.header("Authorization") == "Bearer fetch-secret":
            serving([second.key.jwk])(connection)
        else:
            connection.answer(401)

    (tmp_path / "token").write_text("fetch-secret\n")
    with HostileServer(guarded) as server:
        target = beside(jwks_url=server.url, jwks_bearer_token_file=str(tmp_path / "token"))
        assert who(target, second.token("alice")) == "alice"
        assert "fetch-secret" not in target.gateway.log_text()


def test_a_reload_asks_nobody_again_and_is_no_news(
    beside: Callable[..., Target], second: Issuer, tmp_path: Path
) -> None:
    (tmp_path / "key.pem").write_bytes(second.key.public_pem)
    target = beside(key_directory=str(tmp_path))
    eventually(lambda: all(row["kid"] or row["kind"] == "pem_directory" for row in show(target)), "all keys")
    assert who(target, second.token("alice")) == "alice"
    process = target.gateway
    before = [event for event in process.log() if event.get("message") == "key set changed"]

    process.send(signal.SIGHUP)
    eventually(lambda: any(event.get("message") == "reload" for event in process.log()), "the reload")

    assert who(target, second.token("alice")) == "alice"
    assert who(target, target.issuer.token("alice")) == "alice"
    assert [event for event in process.log() if event.get("message") == "key set changed"] == before
    assert [row["fetches"] for row in show(target)] == [1, 0]
