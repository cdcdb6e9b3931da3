"""Certificates of clients: asked for, required, and what they say."""

from __future__ import annotations

import datetime
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography import x509

from conftest import SERVICE
from harness import eventually
from harness import wire as w
from harness.certificates import Authority, CertificatePair, self_signed
from harness.target import Target

MakeGateway = Callable[..., Target]
REQUIRED = {"tls_client_certificate_required": True}
TEXT = "connection requires a valid client certificate"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def settings(tmp_path: Path, authority: Authority) -> dict[str, Any]:
    """TLS, with certificates of `authority` asked for."""
    pair = self_signed("127.0.0.1")
    files = {"tls_certificate": "gateway.crt", "tls_private_key": "gateway.key"}
    (tmp_path / "gateway.crt").write_bytes(pair.certificate)
    (tmp_path / "gateway.key").write_bytes(pair.key)
    (tmp_path / "clients.crt").write_bytes(authority.certificate)
    files["tls_client_ca_certificate"] = "clients.crt"
    return {key: str(tmp_path / name) for key, name in files.items()}


@pytest.fixture
def shown(tmp_path: Path) -> Callable[[CertificatePair], dict[str, str]]:
    """Connection options with which libpq shows a certificate."""

    def options(pair: CertificatePair) -> dict[str, str]:
        certificate, key = tmp_path / "client.crt", tmp_path / "client.key"
        certificate.write_bytes(pair.certificate)
        key.write_bytes(pair.key)
        key.chmod(0o600)
        return {"sslmode": "require", "sslcert": str(certificate), "sslkey": str(key)}

    return options


def user(target: Target, name: str = "alice", password: str | None = None, **options: Any) -> str:
    with target.connect(name, password, **options) as connection:
        row = connection.execute("SELECT current_user").fetchone()
        assert row
        return row[0]


def first_answer(target: Target, name: str = "alice", *, tls: bool = True) -> w.Message:
    """What comes back before any password was sent."""
    with w.Wire(target.host, target.port) as wire:
        if tls:
            wire.start_tls()
        wire.startup(user=name, database=target.database)
        return wire.receive()


def test_a_certificate_is_asked_for_and_may_be_missing(
    make_gateway: MakeGateway, settings: Any, authority: Authority, shown: Any
) -> None:
    target = make_gateway(general=settings)

    assert user(target, sslmode="require", sslcert="") == "alice"
    assert target.gateway.last_login(user="alice").get("certificate") is None
    target.gateway.mark()
    assert user(target, **shown(authority.client("laptop-7"))) == "alice"
    assert target.gateway.last_login(user="alice")["certificate"] == "laptop-7"


def test_a_name_is_found_where_there_is_no_common_name(
    make_gateway: MakeGateway, settings: Any, authority: Authority, shown: Any
) -> None:
    target = make_gateway(general=settings)
    workload = x509.UniformResourceIdentifier("spiffe://example.org/billing")

    user(target, **shown(authority.client(None, workload)))

    assert target.gateway.last_login(user="alice")["certificate"] == "spiffe://example.org/billing"


def test_a_certificate_of_somebody_else_ends_the_connection(
    make_gateway: MakeGateway, settings: Any, shown: Any
) -> None:
    target = make_gateway(general=settings)

    with pytest.raises(psycopg.OperationalError, match="unknown ca"):
        target.connect("alice", **shown(Authority("somebody else").client("alice")))
    refused = target.gateway.last_login(decision="refused")
    assert (refused["reason"], "UnknownIssuer" in refused["detail"]) == ("handshake", True)


def test_an_expired_certificate_ends_the_connection(
    make_gateway: MakeGateway, settings: Any, authority: Authority, shown: Any
) -> None:
    target = make_gateway(general=settings)
    expired = authority.client("laptop-7", lifetime=datetime.timedelta(minutes=-5))

    with pytest.raises(psycopg.OperationalError, match="certificate expired"):
        target.connect("alice", **shown(expired))


def test_a_required_certificate_is_asked_for_before_a_password(
    make_gateway: MakeGateway, settings: Any, authority: Authority, shown: Any
) -> None:
    target = make_gateway(general=settings | REQUIRED)

    for answer in (first_answer(target), first_answer(target, tls=False), first_answer(target, "nobody")):
        assert (answer.type, answer.fields["C"], answer.fields["M"]) == ("E", "28000", TEXT)
        assert "sslcert" in answer.fields["H"]
    assert target.gateway.last_login(user="alice")["reason"] == "no_certificate"
    assert user(target, **shown(authority.client("laptop-7"))) == "alice"
    done = target.psql("alice", "-c", "SELECT 1", password="x")
    assert TEXT in done.stderr


def test_a_certificate_does_not_replace_the_token(
    make_gateway: MakeGateway, settings: Any, authority: Authority, shown: Any
) -> None:
    target = make_gateway(general=settings | REQUIRED)

    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        target.connect("alice", "no token", **shown(authority.client("alice")))


def test_a_unix_socket_needs_no_certificate(make_gateway: MakeGateway, settings: Any, tmp_path: Path) -> None:
    target = make_gateway(general=settings | REQUIRED | {"unix_socket_dir": str(tmp_path)})

    assert user(target, host=str(tmp_path)) == "alice"


def test_one_user_may_have_to_show_a_certificate(
    make_gateway: MakeGateway, settings: Any, authority: Authority, shown: Any, tmp_path: Path
) -> None:
    target = make_gateway(general=settings | {"unix_socket_dir": str(tmp_path)}, users=[SERVICE | REQUIRED])

    assert first_answer(target, "service").fields["M"] == TEXT
    with pytest.raises(psycopg.OperationalError, match=TEXT):
        target.connect("service", "service-secret", host=str(tmp_path))
    assert user(target, "service", "service-secret", **shown(authority.client("service"))) == "service"
    assert user(target, sslmode="require", sslcert="") == "alice"


def test_one_user_may_do_without(make_gateway: MakeGateway, settings: Any) -> None:
    exempt = SERVICE | {"tls_client_certificate_required": False}
    target = make_gateway(general=settings | REQUIRED, users=[exempt])

    assert first_answer(target).fields["M"] == TEXT
    assert user(target, "service", "service-secret", sslmode="require", sslcert="") == "service"


def test_the_administrator_shows_one_too(make_gateway: MakeGateway, settings: Any) -> None:
    target = make_gateway(general=settings | REQUIRED, admin={"password": "secret"})
    with w.Wire(target.host, target.port) as wire:
        wire.start_tls()
        wire.startup(user="admin", database="admin")

        assert wire.receive().fields["M"] == TEXT


def test_psql_shows_a_certificate(
    make_gateway: MakeGateway, settings: Any, authority: Authority, shown: Any
) -> None:
    target = make_gateway(general=settings | REQUIRED)
    options = shown(authority.client("laptop-7"))
    named = {"PGSSLMODE": "require", "PGSSLCERT": options["sslcert"], "PGSSLKEY": options["sslkey"]}

    target.psql_environment = lambda user, password=None: dict(  # type: ignore[method-assign]
        os.environ, PGPASSWORD=target.credential(user, password), **named
    )

    assert target.psql("alice", "-c", "SELECT current_user").stdout == "alice\n"


def test_another_authority_counts_after_a_reload(
    make_gateway: MakeGateway, settings: Any, authority: Authority, shown: Any
) -> None:
    target = make_gateway(general=settings | REQUIRED)
    successor = Authority("successor")
    options = shown(successor.client("laptop-7"))
    with pytest.raises(psycopg.OperationalError, match="unknown ca"):
        target.connect("alice", **options)

    Path(settings["tls_client_ca_certificate"]).write_bytes(successor.certificate)
    target.gateway.send(signal.SIGHUP)

    eventually(lambda: user(target, **options) == "alice", "the new authority")
    with pytest.raises(psycopg.OperationalError, match="unknown ca"):
        target.connect("alice", **shown(authority.client("laptop-7")))
