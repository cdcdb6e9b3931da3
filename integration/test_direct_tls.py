"""TLS from the first byte (`sslnegotiation=direct`), and bytes that were sent before the encryption."""

from __future__ import annotations

import contextlib
import signal
import socket
import ssl
import struct
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from harness import Cluster, eventually
from harness import wire as w
from harness.activity import await_sleep, sleep_statement
from harness.certificates import self_signed
from harness.target import Target
from harness.wire import Wire

MakeGateway = Callable[..., Target]
SSL_REQUEST = struct.pack("!ii", 8, w.SSL_REQUEST)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("tls")
    pair = self_signed("127.0.0.1")
    (folder / "gateway.crt").write_bytes(pair.certificate)
    (folder / "gateway.key").write_bytes(pair.key)
    return {"tls_certificate": str(folder / "gateway.crt"), "tls_private_key": str(folder / "gateway.key")}


@pytest.fixture(scope="module")
def target(make_module_gateway: MakeGateway, files: dict[str, str]) -> Target:
    return make_module_gateway(general=files | {"tls_client_required": True})


@pytest.fixture
def context(files: dict[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=files["tls_certificate"])
    context.set_alpn_protocols(["postgresql"])
    return context


def said_why(target: Target, part: str) -> None:
    """Waits for a refusal with this in its reason, since the last mark."""

    def found() -> bool:
        return any(part in event.get("detail", "") for event in target.gateway.audit())

    eventually(found, f"a refusal for {part}")


def begin(target: Target, context: ssl.SSLContext) -> Wire:
    """A client that begins with TLS at once."""
    wire = Wire(target.host, target.port)
    try:
        wire.socket = context.wrap_socket(wire.socket, server_hostname="127.0.0.1")
    except BaseException:
        wire.close()
        raise
    return wire


def test_a_driver_begins_with_tls(target: Target, files: dict[str, str]) -> None:
    if psycopg.pq.version() < 170000:
        pytest.skip("libpq knows sslnegotiation from version 17 on")
    options = {"sslmode": "verify-full", "sslrootcert": files["tls_certificate"], "sslnegotiation": "direct"}
    with target.connect("alice", **options) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("alice",)
        assert connection.pgconn.ssl_in_use

    assert target.gateway.last_login(user="alice")["tls"] is True


def test_the_protocol_is_agreed_on(target: Target, context: ssl.SSLContext) -> None:
    with begin(target, context) as wire:
        assert isinstance(wire.socket, ssl.SSLSocket)
        assert wire.socket.selected_alpn_protocol() == "postgresql"
        wire.login("alice", target.database, target.issuer.token("alice"))

        assert wire.value("SELECT 1") == "1"


def test_without_the_name_of_the_protocol_it_is_refused(target: Target, files: dict[str, str]) -> None:
    """As PostgreSQL does: a client of another protocol must not be led here."""
    nameless = ssl.create_default_context(cafile=files["tls_certificate"])
    target.gateway.mark()

    with begin(target, nameless) as wire:
        with contextlib.suppress(OSError):
            wire.startup(user="alice", database=target.database)
        assert wire.closed_by_peer()

    said_why(target, "ALPN")


def test_another_protocol_is_refused_in_the_handshake(target: Target, files: dict[str, str]) -> None:
    web = ssl.create_default_context(cafile=files["tls_certificate"])
    web.set_alpn_protocols(["h2", "http/1.1"])

    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        begin(target, web)


def test_after_a_request_the_name_may_be_missing(target: Target, files: dict[str, str]) -> None:
    """Clients before PostgreSQL 17 do not send it."""
    with Wire(target.host, target.port) as wire:
        wire.start_tls(ssl.create_default_context(cafile=files["tls_certificate"]))
        wire.login("alice", target.database, target.issuer.token("alice"))

        assert wire.value("SELECT 1") == "1"


def test_tls_inside_of_tls_is_refused(target: Target, context: ssl.SSLContext) -> None:
    with begin(target, context) as wire:
        wire.send(SSL_REQUEST)

        assert wire.receive().fields["C"] == "0A000"
        assert wire.closed_by_peer()


def hello(context: ssl.SSLContext) -> tuple[ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO]:
    """A handshake by hand: its first message is in the second buffer."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return client, incoming, outgoing


def goes_through(raw: socket.socket, handshake: tuple[ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO]) -> bool:
    """Whether the handshake ends well and the gateway then asks for a password."""
    client, incoming, outgoing = handshake
    asked = b""
    while not asked:
        try:
            received = raw.recv(65_536)
            if not received:
                return False
            incoming.write(received)
            with contextlib.suppress(ssl.SSLWantReadError):
                client.do_handshake()
                asked = client.read(1)
            raw.sendall(outgoing.read())
        except (ssl.SSLError, ConnectionError):
            return False
    return asked == b"R"


@pytest.mark.parametrize("request_first", [True, False])
def test_plain_bytes_behind_the_first_message_are_refused(
    target: Target, context: ssl.SSLContext, request_first: bool
) -> None:
    """Somebody in between who adds a start-up packet in the clear must not have it taken for the client's."""
    with socket.create_connection((target.host, target.port), 10) as raw:
        if request_first:
            raw.sendall(SSL_REQUEST)
            assert raw.recv(1) == b"S"
        handshake = hello(context)
        raw.sendall(handshake[2].read() + w.startup(user="alice", database=target.database))

        assert not goes_through(raw, handshake)


@pytest.mark.parametrize("behind", ["hello", "startup", "byte"])
def test_bytes_behind_a_request_for_tls_are_refused(
    target: Target, context: ssl.SSLContext, behind: str
) -> None:
    """A client waits for the answer, so what comes with the request is somebody else's (CVE-2021-23214)."""
    handshake = hello(context)
    packets = {"hello": handshake[2].read(), "startup": w.startup(user="mallory"), "byte": b"\0"}
    target.gateway.mark()
    with socket.create_connection((target.host, target.port), 10) as raw:
        raw.sendall(SSL_REQUEST + packets[behind])

        with contextlib.suppress(ConnectionResetError):
            assert raw.recv(100) == b""
    said_why(target, "unencrypted")


def test_without_a_certificate_it_is_closed_and_the_log_says_why(
    gateway: Target, context: ssl.SSLContext, logged: Target
) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        begin(gateway, context)

    said_why(logged, "TLS, which is not configured")


def test_a_cancel_request_may_begin_with_tls(
    target: Target, context: ssl.SSLContext, cluster: Cluster
) -> None:
    with begin(target, context) as wire:
        wire.login("alice", target.database, target.issuer.token("alice"))
        wire.send(w.query(sleep_statement("direct")))
        await_sleep(cluster, "direct")
        with begin(target, context) as other:
            other.send(w.cancel_request(wire.cancel_key))

        assert w.error_of(wire.until_ready())["C"] == "57014"


def test_a_new_certificate_counts_for_it_after_a_reload(
    make_gateway: MakeGateway, files: dict[str, str], context: ssl.SSLContext, tmp_path: Path
) -> None:
    own = {key: str(tmp_path / Path(path).name) for key, path in files.items()}
    for key, path in files.items():
        Path(own[key]).write_bytes(Path(path).read_bytes())
    target = make_gateway(general=own)
    begin(target, context).close()

    renewed = self_signed("127.0.0.1")
    Path(own["tls_certificate"]).write_bytes(renewed.certificate)
    Path(own["tls_private_key"]).write_bytes(renewed.key)
    target.gateway.send(signal.SIGHUP)

    trusting = ssl.create_default_context(cadata=renewed.certificate.decode())
    trusting.set_alpn_protocols(["postgresql"])
    eventually(lambda: begin(target, trusting).close() is None, "the new certificate")
    with pytest.raises(ssl.SSLError):
        begin(target, context)
