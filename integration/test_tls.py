"""TLS on both sides of the gateway."""

from __future__ import annotations

import signal
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from harness import eventually
from harness.certificates import CertificatePair, self_signed
from harness.target import Target

MakeGateway = Callable[..., Target]


def write(folder: Path, pair: CertificatePair) -> dict[str, str]:
    certificate, key = folder / "gateway.crt", folder / "gateway.key"
    certificate.write_bytes(pair.certificate)
    key.write_bytes(pair.key)
    key.chmod(0o600)
    return {"tls_certificate": str(certificate), "tls_private_key": str(key)}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    return write(tmp_path, self_signed("127.0.0.1", "localhost"))


def version_and_user(target: Target, **options: Any) -> tuple[bool, str]:
    with target.connect("alice", **options) as connection:
        row = connection.execute("SELECT current_user").fetchone()
        assert row
        return connection.pgconn.ssl_in_use, row[0]


def test_a_token_travels_over_tls(make_gateway: MakeGateway, files: dict[str, str]) -> None:
    target = make_gateway(general=files)

    verified = {"sslmode": "verify-full", "sslrootcert": files["tls_certificate"]}

    assert version_and_user(target, **verified) == (True, "alice")
    assert target.gateway.last_login(user="alice")["tls"] is True


def test_a_client_that_prefers_tls_gets_it(make_gateway: MakeGateway, files: dict[str, str]) -> None:
    assert version_and_user(make_gateway(general=files), sslmode="prefer") == (True, "alice")


def test_loopback_may_do_without_tls(make_gateway: MakeGateway, files: dict[str, str]) -> None:
    assert version_and_user(make_gateway(general=files), sslmode="disable") == (False, "alice")


def test_tls_can_be_required(make_gateway: MakeGateway, files: dict[str, str]) -> None:
    target = make_gateway(general=files | {"tls_client_required": True})

    assert version_and_user(target, sslmode="require") == (True, "alice")
    with pytest.raises(psycopg.OperationalError):
        target.connect("alice", sslmode="disable")


def test_large_results_over_tls(make_gateway: MakeGateway, files: dict[str, str]) -> None:
    target = make_gateway(general=files)
    with target.connect("alice", sslmode="require") as connection:
        row = connection.execute("SELECT repeat('x', 30000000)").fetchone()

    assert row
    assert len(row[0]) == 30_000_000


def test_a_new_certificate_counts_after_a_reload(make_gateway: MakeGateway, tmp_path: Path) -> None:
    target = make_gateway(general=write(tmp_path, self_signed("127.0.0.1")))
    renewed = self_signed("127.0.0.1")
    trusted = tmp_path / "renewed.crt"
    trusted.write_bytes(renewed.certificate)

    write(tmp_path, renewed)
    target.gateway.send(signal.SIGHUP)

    options = {"sslmode": "verify-full", "sslrootcert": str(trusted)}
    eventually(lambda: version_and_user(target, **options) == (True, "alice"), "the new certificate")


def test_a_broken_certificate_changes_nothing(make_gateway: MakeGateway, tmp_path: Path) -> None:
    files = write(tmp_path, self_signed("127.0.0.1"))
    target = make_gateway(general=files)
    seen = len(target.gateway.log())

    Path(files["tls_certificate"]).write_text("not a certificate")
    target.gateway.send(signal.SIGHUP)

    eventually(lambda: "gateway.crt" in str(target.gateway.log()[seen:]), "a line in the log")
    assert version_and_user(target, sslmode="require") == (True, "alice")


def test_what_a_client_sends_before_the_handshake_is_not_taken_for_its_own(
    make_gateway: MakeGateway, files: dict[str, str]
) -> None:
    """Bytes injected behind SSLRequest must not be read as if they had come through TLS (CVE-2021-23214)."""
    target = make_gateway(general=files)
    with socket.create_connection((target.host, target.port), 10) as raw:
        raw.sendall(bytes.fromhex("0000000804d2162f") + b"\0\0\0\x20\0\3\0\0user\0mallory\0\0")
        context = ssl.create_default_context(cafile=files["tls_certificate"])
        try:
            if raw.recv(1) != b"S":
                return
            with context.wrap_socket(raw, server_hostname="127.0.0.1") as encrypted:
                assert encrypted.recv(1) == b""
        except (ssl.SSLError, ConnectionError):
            return


def test_a_handshake_that_never_comes_is_closed(make_gateway: MakeGateway, files: dict[str, str]) -> None:
    target = make_gateway(general=files | {"client_login_timeout": 500})
    with target.open() as wire:
        wire.send(bytes.fromhex("0000000804d2162f"))
        assert wire.read(1) == b"S"

        assert wire.closed_by_peer()


@pytest.fixture
def server_with_tls(cluster: Any) -> Any:
    if not cluster.primary.tls:
        pytest.skip(
            f"PostgreSQL {cluster.installation.version} in {cluster.installation.bin} is built without TLS"
        )
    return cluster.primary


@pytest.mark.parametrize("mode", ["prefer", "verify_ca", "verify_full"])
def test_the_gateway_reaches_a_server_that_takes_only_tls(
    make_gateway: MakeGateway, server_with_tls: Any, mode: str
) -> None:
    authority = {} if mode == "prefer" else {"tls_server_ca_certificate": str(server_with_tls.authority)}
    target = make_gateway(general={"jwt_server_user": "gateway_tls", "tls_verify": mode} | authority)

    assert version_and_user(target) == (False, "alice")


def test_without_tls_such_a_server_is_not_reached(make_gateway: MakeGateway, server_with_tls: Any) -> None:
    target = make_gateway(general={"jwt_server_user": "gateway_tls", "tls_verify": "disabled"})

    assert target.refusal("alice")["S"] == "FATAL"


def test_a_server_with_a_certificate_of_a_stranger_is_not_trusted(
    make_gateway: MakeGateway, server_with_tls: Any, tmp_path: Path
) -> None:
    stranger = tmp_path / "stranger.crt"
    stranger.write_bytes(self_signed("127.0.0.1").certificate)
    target = make_gateway(general={"tls_verify": "verify_full", "tls_server_ca_certificate": str(stranger)})

    assert target.refusal("alice")["S"] == "FATAL"
