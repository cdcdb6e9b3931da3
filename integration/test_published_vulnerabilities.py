"""Vulnerabilities that were published of other poolers and of PostgreSQL, tried on the gateway.

Each test says what was wrong there. docs/security.md lists them, with those that other files try.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import primary_alone
from harness import wire as w
from harness.target import Target
from harness.wire import Wire

MakeGateway = Callable[..., Target]

MEGABYTE = 1024 * 1024
GROWTH = 16 * MEGABYTE
UNKNOWN = "nobody-of-this-name"
SERVICE = {"name": "service", "database": "demo", "password": "service-secret"}


WITHOUT_TOKENS = {
    "auth_type": "scram",
    "jwt_jwks_url": None,
    "jwt_audience": None,
    "jwt_server_user": None,
    "jwt_server_password": None,
    "jwt_user_auto_provision": None,
}


@pytest.fixture(scope="module")
def target(make_module_gateway: MakeGateway, cluster: Any) -> Target:
    """One thread works for everybody: who keeps it busy keeps it from all. Users prove themselves over SCRAM,
    also those that there are not."""
    general = WITHOUT_TOKENS | {"workers": 1, "tls_verify": "disabled"}
    return make_module_gateway(general=general, jwt=None, databases=[primary_alone(cluster)], users=[SERVICE])


@pytest.fixture(autouse=True)
def unharmed(target: Target) -> Iterator[None]:
    """Whatever a test does, the same process serves others afterwards, and has not grown."""
    serves(target)
    pid, before = target.gateway.pid, target.gateway.memory()
    yield
    serves(target)
    assert target.gateway.pid == pid
    assert target.gateway.memory() - before < GROWTH
    assert "panicked" not in target.gateway.log_text()


def serves(target: Target) -> None:
    with target.wire("service", "service-secret") as wire:
        assert wire.value("SELECT current_user") == "service"


def asked_for_scram(target: Target, user: str) -> Wire:
    """A client that was asked to prove itself."""
    wire = target.open()
    wire.startup(user=user, database=target.database)
    assert wire.receive().body[:4] == struct.pack("!i", 10)
    return wire


def is_refused(wire: Wire) -> bool:
    """The connection ends, with an error or without."""
    try:
        assert wire.receive().type == "E"
    except (EOFError, ConnectionError):
        return True
    return wire.closed_by_peer()


def dialled(target: Target, folder: Path | None) -> Wire:
    """A client over TCP, or over the socket in a folder."""
    wire = target.open()
    if folder:
        wire.close()
        wire.socket = socket.socket(socket.AF_UNIX)
        wire.socket.settimeout(w.TIMEOUT_SECONDS)
        wire.socket.connect(str(folder / f".s.PGSQL.{target.port}"))
    return wire


def first_response(length: int, data: bytes = b"n,,n=,r=abc", mechanism: str = "SCRAM-SHA-256") -> bytes:
    """The first SASL response, which says that its data has this length."""
    return w.message("p", w.text(mechanism) + struct.pack("!I", length & 0xFFFFFFFF) + data)


# -1 says that there is no data.
LENGTHS = (-2, 0, 1, 10, 12, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFF)


@pytest.mark.parametrize("user", ["service", UNKNOWN])
@pytest.mark.parametrize("length", LENGTHS, ids=hex)
def test_a_scram_response_of_a_false_length(target: Target, user: str, length: int) -> None:
    """CVE-2026-6664: a length in a SCRAM packet overflowed in a check of bounds, and PgBouncer crashed."""
    for data in (b"n,,n=,r=abc", b"", b"\0" * 60_000):
        with asked_for_scram(target, user) as wire:
            wire.send(first_response(length, data))

            assert is_refused(wire)


@pytest.mark.parametrize("user", ["service", UNKNOWN])
@pytest.mark.parametrize("length", [0, 3, 4, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF], ids=hex)
def test_a_message_of_a_false_length_in_a_login(target: Target, user: str, length: int) -> None:
    """CVE-2026-6664 and CVE-2026-6668: an overflow in the growth of a buffer, which then went on for ever."""
    with asked_for_scram(target, user) as wire:
        wire.send(b"p" + struct.pack("!I", length) + b"SCRAM-SHA-256\0")

        assert is_refused(wire)


@pytest.mark.parametrize("length", [0x3FFFFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 3], ids=hex)
@pytest.mark.parametrize("kind", ["Q", "P", "B", "d", "X", "\0"])
def test_a_message_of_a_false_length_in_a_session(target: Target, kind: str, length: int) -> None:
    """CVE-2026-6668, by somebody who is logged in. What is never sent whole takes no room."""
    with target.wire("service", "service-secret") as wire:
        wire.send(kind.encode() + struct.pack("!I", length) + b"x" * 100_000)

        serves(target)


@pytest.mark.parametrize("user", ["service", UNKNOWN])
@pytest.mark.parametrize(
    "last",
    [
        "c=biws,p=AAAA",
        "c=biws",
        "c=biws,r=",
        "c=biws,r=,p=",
        "p=AAAA",
        "r=,p=AAAA",
        ",",
        "",
        ",,,,p=",
        "c=biws,r",
    ],
)
def test_a_scram_proof_without_its_nonce(target: Target, user: str, last: str) -> None:
    """CVE-2026-19888: PgBouncer did not look whether there was one, and crashed; for unknown users too."""
    with asked_for_scram(target, user) as wire:
        data = b"n,,n=,r=abc"
        wire.send(first_response(len(data), data))
        assert wire.receive().type == "R"
        wire.send(w.message("p", last.encode()))

        assert is_refused(wire)


@pytest.mark.parametrize("over", ["TCP", "a Unix socket"])
@pytest.mark.parametrize("first", [w.SSL_REQUEST, w.GSSENC_REQUEST])
def test_encryption_that_is_asked_for_in_turns(
    make_gateway: MakeGateway, workspace: Any, over: str, first: int
) -> None:
    """CVE-2026-6479: PostgreSQL went one call deeper with each request that it declined, until its end."""
    requests = [struct.pack("!ii", 8, code) for code in (first, w.SSL_REQUEST + w.GSSENC_REQUEST - first)]
    folder = workspace.subfolder("sockets")
    target = make_gateway(general={"unix_socket_dir": str(folder)})
    with dialled(target, folder if over == "a Unix socket" else None) as wire:
        for request in requests:
            wire.send(request)
            assert wire.read(1) == b"N"

        wire.send(requests[0])
        assert is_refused(wire)
    with dialled(target, folder if over == "a Unix socket" else None) as wire:
        try:
            wire.send(b"".join(requests) * 100_000)
        except OSError:
            return
        assert wire.closed_by_peer()


def test_a_search_path_of_the_start_up_packet_is_nobodys_but_the_subjects(
    make_gateway: MakeGateway, cluster: Any
) -> None:
    """CVE-2025-12819: PgBouncer's query for passwords met functions of a client before it was logged in."""
    with cluster.admin() as admin:
        admin.execute(TRAP)
    try:
        for shared in (False, True):
            target = make_gateway(
                general={"default_pool_size": 1, "server_cleaning": "always"},
                databases=[primary_alone(cluster)],
                jwt={"shared_pool": shared},
            )
            for path in ("trap, pg_catalog", "trap"):
                for options in (
                    {"search_path": path},
                    {"options": f"-c search_path={path.replace(' ', '')}"},
                ):
                    assert target.refusal("alice", "no token", **options)["C"] == "28000"
                    for user in ("alice", "bob"):
                        with target.wire(user, **options) as wire:
                            assert wire.rows("TABLE pg_catalog.pg_class LIMIT 0") == []
                            wire.query("RESET ALL")
                with target.wire("carol") as wire:
                    assert wire.value("SELECT current_user") == "carol"
        assert sprung(cluster) == []
        with target.wire("alice", search_path="trap, pg_catalog") as wire:
            wire.query("SELECT current_setting('application_name')")
        assert sprung(cluster) == [("alice", "current_setting")], "the trap is one"
    finally:
        with cluster.admin() as admin:
            admin.execute("DROP SCHEMA trap CASCADE")


def sprung(cluster: Any) -> list[tuple[str, str]]:
    with cluster.admin() as admin:
        return admin.execute("SELECT who, what FROM trap.sprung").fetchall()


# Every function and operator of these names writes down who has called it.
TRAP = """
CREATE SCHEMA trap;
GRANT USAGE ON SCHEMA trap TO PUBLIC;
CREATE TABLE trap.sprung (who name, what text);
GRANT INSERT ON trap.sprung TO PUBLIC;
CREATE FUNCTION trap.spring(what text) RETURNS void LANGUAGE sql VOLATILE
    AS $$ INSERT INTO trap.sprung VALUES (current_user, what) $$;
CREATE FUNCTION trap.current_setting(text) RETURNS text LANGUAGE sql
    AS $$ SELECT trap.spring('current_setting'); SELECT pg_catalog.current_setting($1) $$;
CREATE FUNCTION trap.current_setting(text, boolean) RETURNS text LANGUAGE sql
    AS $$ SELECT trap.spring('current_setting'); SELECT pg_catalog.current_setting($1, $2) $$;
CREATE FUNCTION trap.set_config(text, text, boolean) RETURNS text LANGUAGE sql
    AS $$ SELECT trap.spring('set_config'); SELECT pg_catalog.set_config($1, $2, $3) $$;
CREATE FUNCTION trap.pg_is_in_recovery() RETURNS boolean LANGUAGE sql
    AS $$ SELECT trap.spring('pg_is_in_recovery'); SELECT false $$;
CREATE FUNCTION trap.pg_backend_pid() RETURNS integer LANGUAGE sql
    AS $$ SELECT trap.spring('pg_backend_pid'); SELECT 1 $$;
CREATE FUNCTION trap.pg_has_role(name, text) RETURNS boolean LANGUAGE sql
    AS $$ SELECT trap.spring('pg_has_role'); SELECT true $$;
CREATE FUNCTION trap.equal(text, text) RETURNS boolean LANGUAGE sql
    AS $$ SELECT trap.spring('text = text'); SELECT true $$;
CREATE FUNCTION trap.equal(name, name) RETURNS boolean LANGUAGE sql
    AS $$ SELECT trap.spring('name = name'); SELECT true $$;
CREATE FUNCTION trap.equal(name, text) RETURNS boolean LANGUAGE sql
    AS $$ SELECT trap.spring('name = text'); SELECT true $$;
CREATE FUNCTION trap.equal(oid, oid) RETURNS boolean LANGUAGE sql
    AS $$ SELECT trap.spring('oid = oid'); SELECT true $$;
CREATE OPERATOR trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.equal);
CREATE OPERATOR trap.= (LEFTARG = name, RIGHTARG = name, FUNCTION = trap.equal);
CREATE OPERATOR trap.= (LEFTARG = name, RIGHTARG = text, FUNCTION = trap.equal);
CREATE OPERATOR trap.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = trap.equal);
CREATE VIEW trap.pg_settings AS SELECT * FROM pg_catalog.pg_settings WHERE trap.spring('pg_settings') IS NULL;
CREATE VIEW trap.pg_roles AS SELECT * FROM pg_catalog.pg_roles WHERE trap.spring('pg_roles') IS NULL;
GRANT SELECT ON trap.pg_settings, trap.pg_roles TO PUBLIC;
"""


def test_an_expired_password_opens_no_connection(make_gateway: MakeGateway, cluster: Any) -> None:
    """CVE-2025-2291: PgBouncer did not look at VALID UNTIL, and took passwords that had expired.

    The gateway shows the password to PostgreSQL, which then decides.
    """
    with cluster.admin() as admin:
        admin.execute("ALTER ROLE service VALID UNTIL '2000-01-01'")
    try:
        target = make_gateway(databases=[primary_alone(cluster)])
        assert target.refusal("service", "service-secret")["S"] == "FATAL"
        assert "28P01" in target.gateway.last_login(decision="refused")["detail"]
    finally:
        with cluster.admin() as admin:
            admin.execute("ALTER ROLE service VALID UNTIL 'infinity'")


@pytest.mark.parametrize("command", ["KILL {id}", "KILL_CLIENT {id}", "KILL 'service'", "SHUTDOWN", "PAUSE"])
def test_a_client_cannot_say_what_an_administrator_may(target: Target, command: str) -> None:
    """CVE-2026-6667: who was let into PgBouncer's console, to look, could end clients with KILL_CLIENT."""
    with (
        target.wire("service", "service-secret") as other,
        target.wire("service", "service-secret") as wire,
    ):
        number = struct.unpack_from("!I", other.cancel_key)[0]
        assert w.error_of(wire.query(command.format(id=number)))["C"] == "42601"

        assert other.value("SELECT current_user") == "service"
