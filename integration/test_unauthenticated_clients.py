"""Clients that have connected and not logged in: how many there may be, who makes room, and for whom."""

from __future__ import annotations

import concurrent.futures
import contextlib
import re
import resource
import socket
import ssl
import struct
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import Issuer, eventually, primary_alone
from harness.activity import await_sleep, sleep_statement
from harness.certificates import self_signed
from harness.jwks_server import Behaviour
from harness.ports import free_port
from harness.target import Target
from harness.wire import (
    SSL_REQUEST,
    TIMEOUT_SECONDS,
    Message,
    ServerError,
    Wire,
    cancel_request,
    error_of,
    password_message,
    query,
    startup,
)

MakeGateway = Callable[..., Target]
CLEARTEXT = Message("R", struct.pack("!i", 3))
ADMIN = {"name": "admin", "user": "admin", "password": "admin-secret"}
PLENTY = 1_000
TRICKLE = startup(user="alice", database="demo")


def general(total: int = PLENTY, of_address: int = PLENTY, **others: Any) -> dict[str, Any]:
    bounds = {
        "max_unauthenticated_clients": total,
        "max_unauthenticated_clients_per_address": of_address,
    }
    return {"openmetrics_host": "127.0.0.1", "openmetrics_port": free_port(), **bounds, **others}


@pytest.fixture
def dial() -> Iterator[Callable[..., Wire]]:
    """Connects from the given address and says nothing. All are closed at the end."""
    with contextlib.ExitStack() as stack:

        def connect(target: Target, source: str = "127.0.0.1") -> Wire:
            wire = Wire(target.host, target.port, source=source)
            return stack.enter_context(wire)

        yield connect


Dial = Callable[..., Wire]


def is_open(wire: Wire) -> bool:
    wire.socket.setblocking(False)
    try:
        return wire.socket.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except ConnectionError:
        return False
    finally:
        wire.socket.settimeout(TIMEOUT_SECONDS)


def closed(wires: Iterable[Wire]) -> list[int]:
    """Which of them the gateway has closed."""
    return [number for number, wire in enumerate(wires) if not is_open(wire)]


def asked(wire: Wire, user: str = "alice") -> Wire:
    """Sends a start-up packet and waits until the password is asked for."""
    wire.startup(user=user, database=Target.database)
    assert wire.receive() == CLEARTEXT
    return wire


def log_in(wire: Wire, target: Target, user: str = "alice") -> Wire:
    wire.login(user, target.database, target.issuer.token(user))
    assert wire.value("SELECT current_user") == user
    return wire


def refusal(wire: Wire) -> dict[str, str]:
    """What a client hears that has said nothing."""
    heard = wire.receive()
    assert heard.type == "E"
    assert wire.closed_by_peer()
    return heard.fields


def metrics(target: Target) -> dict[str, float]:
    port = target.gateway.config["general"]["openmetrics_port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    samples = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name.removeprefix("pgdog_jwt_"): float(value) for name, value in samples}


def times(target: Target, what: str, bound: str) -> float:
    return metrics(target)[f'unauthenticated_clients_{what}_total{{bound="{bound}"}}']


def lines(target: Target, **fields: Any) -> list[dict[str, Any]]:
    return [event for event in target.gateway.log() if fields.items() <= event.items()]


# Who makes room


def test_the_client_of_an_address_that_has_been_silent_for_longest_makes_room(
    make_gateway: MakeGateway, dial: Dial
) -> None:
    target = make_gateway(general=general(of_address=3))
    neighbour = dial(target, "127.0.0.3")
    silent = [dial(target, "127.0.0.2") for _ in range(3)]

    fourth = asked(dial(target, "127.0.0.2"))
    assert closed(silent) == [0]

    log_in(dial(target, "127.0.0.2"), target)
    assert closed(silent) == [0, 1]
    assert closed([neighbour, fourth]) == []
    assert times(target, "closed", "address") == 2
    (line,) = lines(target, event="unauthenticated_clients")
    assert (line["bound"], line["limit"], line["client"]) == ("address", 3, "127.0.0.2")


def test_when_there_are_too_many_in_all_the_oldest_of_all_makes_room(
    make_gateway: MakeGateway, dial: Dial
) -> None:
    target = make_gateway(general=general(total=4))
    silent = [dial(target, f"127.0.0.{number}") for number in range(2, 6)]

    log_in(dial(target), target)

    assert closed(silent) == [0]
    assert times(target, "closed", "total") == 1


def test_whoever_logs_in_counts_no_more(make_gateway: MakeGateway, dial: Dial) -> None:
    target = make_gateway(general=general(total=2, of_address=1), admin=ADMIN)
    sessions = [log_in(dial(target), target) for _ in range(5)]

    eventually(lambda: metrics(target)["unauthenticated_clients"] == 0, "nobody who has not logged in")
    with target.connect("admin", ADMIN["password"], dbname="admin") as console:
        # The administrator's own session is one, too.
        assert ("login_clients", 0) in console.execute("SHOW LISTS").fetchall()
        log_in(dial(target), target)
    assert closed(sessions) == []


def test_a_byte_now_and_then_does_not_help(make_gateway: MakeGateway, dial: Dial) -> None:
    target = make_gateway(general=general(of_address=2))
    trickling, silent = dial(target), dial(target)
    for at in range(10):
        trickling.send(TRICKLE[at : at + 1])

    asked(dial(target))

    assert closed([trickling, silent]) == [0]


def test_whoever_is_asked_for_a_password_and_says_nothing_is_silent(
    make_gateway: MakeGateway, dial: Dial
) -> None:
    target = make_gateway(general=general(of_address=2))
    waited_for = asked(dial(target))
    first, second = dial(target), waited_for
    # The first has come later and has been silent for a shorter time.
    asked(dial(target))
    assert closed([first, second]) == [1]


def test_a_whole_message_begins_the_time_anew(make_gateway: MakeGateway, dial: Dial) -> None:
    target = make_gateway(general=general(of_address=2))
    early, late = dial(target), dial(target)
    asked(early)

    asked(dial(target))

    assert closed([early, late]) == [1]


def test_half_a_tls_handshake_is_silence(make_gateway: MakeGateway, dial: Dial, tmp_path: Path) -> None:
    pair = self_signed("127.0.0.1")
    (tmp_path / "crt").write_bytes(pair.certificate)
    (tmp_path / "key").write_bytes(pair.key)
    (tmp_path / "key").chmod(0o600)
    tls = {"tls_certificate": str(tmp_path / "crt"), "tls_private_key": str(tmp_path / "key")}
    target = make_gateway(general=general(of_address=3, **tls))
    begun = dial(target)
    begun.send(struct.pack("!ii", 8, SSL_REQUEST))
    assert begun.read(1) == b"S"
    begun.send(hello()[:100])
    direct = dial(target)
    direct.send(hello()[:100])
    encrypted = dial(target)
    encrypted.start_tls()

    for _ in range(2):
        newcomer = dial(target)
        newcomer.start_tls()
        asked(newcomer)

    assert closed([begun, direct]) == [0, 1]
    log_in(encrypted, target)


def hello() -> bytes:
    """What a TLS client begins with."""
    context, sent = ssl.create_default_context(), ssl.MemoryBIO()
    handshake = context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        handshake.do_handshake()
    return sent.read()


def test_clients_of_the_unix_socket_have_no_address(
    make_gateway: MakeGateway, dial: Dial, workspace: Any
) -> None:
    folder = workspace.subfolder("s")
    target = make_gateway(general=general(total=4, of_address=1, unix_socket_dir=str(folder)))
    path = str(folder / f".s.PGSQL.{target.port}")
    with contextlib.ExitStack() as stack:
        local = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(4)]
        for client in local:
            client.connect(path)
        eventually(lambda: metrics(target)["unauthenticated_clients"] == 4, "four clients")

        log_in(dial(target), target)

        assert local[0].recv(1) == b""
        assert times(target, "closed", "total") == 1


def test_exempt_addresses_have_no_bound_of_their_own(make_gateway: MakeGateway, dial: Dial) -> None:
    exempt = ["127.0.3.0/24", "192.0.2.7"]
    target = make_gateway(general=general(total=6, of_address=2, unauthenticated_limit_exempt=exempt))
    many = [dial(target, "127.0.3.1") for _ in range(5)]
    asked(dial(target, "127.0.3.2"))
    assert closed(many) == []

    asked(dial(target, "127.0.0.2"))

    assert closed(many) == [0], "they count among all"


# Who does not


def test_a_login_that_the_gateway_works_for_is_not_ended_for_another(
    make_gateway: MakeGateway, own_issuer: Issuer, dial: Dial
) -> None:
    patient = {"jwks_timeout": 50_000, "jwks_min_refresh_interval": 0}
    target = make_gateway(general=general(of_address=2), jwt=patient, issuer=own_issuer)
    log_in(dial(target), target)
    assert own_issuer.server
    own_issuer.rotate()
    fetches = own_issuer.server.fetches
    with own_issuer.server.misbehaving(Behaviour.LATE):
        waiting = [asked(dial(target)) for _ in range(2)]
        for wire in waiting:
            wire.send(password_message(own_issuer.token("alice")))
        eventually(lambda: own_issuer.server.fetches > fetches, "a fetch of keys")
        # Both have been heard when the newcomer is refused, and not closed for it.
        error = eventually(lambda: refusal(dial(target)), "a refusal")

        assert (error["S"], error["C"]) == ("FATAL", "53300")
        assert error["M"] == "sorry, too many clients of this address are logging in already"
        assert closed(waiting) == []
        # Other addresses have nothing to do with it.
        asked(dial(target, "127.0.0.2"))
    for wire in waiting:
        assert wire.receive() == Message("R", struct.pack("!i", 0))
        assert "Z" in [message.type for message in wire.until_ready()]
    assert times(target, "refused", "address") >= 1


def test_in_all_as_well_a_newcomer_is_refused_when_nobody_is_silent(
    make_gateway: MakeGateway, own_issuer: Issuer, dial: Dial
) -> None:
    patient = {"jwks_timeout": 50_000, "jwks_min_refresh_interval": 0}
    target = make_gateway(general=general(total=1), jwt=patient, issuer=own_issuer)
    log_in(dial(target), target)
    assert own_issuer.server
    own_issuer.rotate()
    fetches = own_issuer.server.fetches
    with own_issuer.server.misbehaving(Behaviour.LATE):
        waiting = asked(dial(target))
        waiting.send(password_message(own_issuer.token("alice")))
        eventually(lambda: own_issuer.server.fetches > fetches, "a fetch of keys")
        for number in range(2, 6):
            error = refusal(dial(target, f"127.0.0.{number}"))
            assert (error["C"], error["M"]) == ("53300", "sorry, too many clients are logging in already")
    assert times(target, "refused", "total") == 4
    assert len(lines(target, event="unauthenticated_clients")) == 1, "one line says so for a while"


def test_cancel_requests_get_through(make_gateway: MakeGateway, dial: Dial, cluster: Any) -> None:
    target = make_gateway(general=general(total=3))
    session = log_in(dial(target), target)
    session.send(query(sleep_statement("cancelled past the silent")))
    await_sleep(cluster, "cancelled past the silent")
    for number in range(2, 5):
        dial(target, f"127.0.0.{number}")

    dial(target).send(cancel_request(session.cancel_key))

    assert error_of(session.until_ready())["C"] == "57014"


def test_many_logins_at_once_find_their_way(make_gateway: MakeGateway, dial: Dial) -> None:
    """Those who have sent what they were asked for stay, also while nobody has read it yet."""
    target = make_gateway(general=general(total=10))

    def come(number: int) -> str | None:
        def once() -> str | None:
            with Wire(target.host, target.port, source=f"127.0.1.{number}") as wire:
                log_in(wire, target)
                return wire.value("SELECT current_user")

        # One that was refused or closed comes again, as pools of applications do.
        return eventually(once, "a login")

    with concurrent.futures.ThreadPoolExecutor(30) as pool:
        assert list(pool.map(come, range(1, 100))) == ["alice"] * 99


def test_a_reload_changes_the_bounds(make_gateway: MakeGateway, dial: Dial) -> None:
    target = make_gateway(general=general(), admin=ADMIN)
    silent = [dial(target) for _ in range(3)]
    config = target.gateway.config
    config["general"]["max_unauthenticated_clients_per_address"] = 3
    target.gateway.write(config)
    with target.connect("admin", ADMIN["password"], dbname="admin") as console:
        console.execute("RELOAD")
        shown = {row[0]: row[1] for row in console.execute("SHOW CONFIG").fetchall()}
    assert shown["max_unauthenticated_clients_per_address"] == "3"

    asked(dial(target))

    assert closed(silent)[:1] == [0]


# Descriptors


def limited(soft: int, hard: int) -> list[str]:
    """Starts a program that may have so many files open."""
    return ["sh", "-c", f'ulimit -Sn {soft} && ulimit -Hn {hard} && exec "$@"', "sh"]


def descriptors(target: Target) -> list[int]:
    return sorted(int(path.name) for path in Path(f"/proc/{target.gateway.pid}/fd").iterdir())


def test_the_limit_of_descriptors_is_raised(make_gateway: MakeGateway) -> None:
    target = make_gateway(start=False, admin=ADMIN)
    target.gateway.start(*limited(200, 1_000))

    limits = Path(f"/proc/{target.gateway.pid}/limits").read_text()
    assert re.search(r"Max open files +1000 +1000 ", limits)
    (line,) = lines(target, event="descriptors")
    assert (line["limit"], line["reserved"]) == (1_000, 250)
    assert line["max_unauthenticated_clients"] == 500
    assert line["max_unauthenticated_clients_per_address"] == 125
    with target.connect("admin", ADMIN["password"], dbname="admin") as console:
        shown = {row[0]: row[1] for row in console.execute("SHOW CONFIG").fetchall()}
    assert shown["max_unauthenticated_clients"] == "500"
    assert shown["max_unauthenticated_clients_per_address"] == "125"


def test_silent_clients_from_many_addresses_keep_nobody_out(
    make_gateway: MakeGateway, dial: Dial, cluster: Any
) -> None:
    ports = {"openmetrics_host": "127.0.0.1", "openmetrics_port": free_port()}
    target = make_gateway(start=False, general=ports, databases=[primary_alone(cluster)])
    target.gateway.start(*limited(256, 256))
    session = log_in(dial(target), target)

    silent = [dial(target, f"127.0.2.{number}") for number in range(1, 11) for _ in range(40)]

    assert session.value("SELECT 'still here'") == "still here"
    log_in(dial(target), target)
    # By default half of the descriptors, of one address a quarter of that.
    eventually(lambda: len(silent) - len(closed(silent)) <= 128, "no more than 128 silent clients")
    parts = [silent[at : at + 40] for at in range(0, 400, 40)]
    eventually(lambda: max(len(part) - len(closed(part)) for part in parts) <= 32, "32 of each address")
    assert metrics(target)["unauthenticated_clients"] <= 128
    log_in(dial(target, "127.0.2.1"), target, "bob")
    assert lines(target, event="accept") == []


def test_sessions_leave_descriptors_for_servers(make_gateway: MakeGateway, dial: Dial, cluster: Any) -> None:
    pools = {"default_pool_size": 30, "checkout_timeout": 20_000}
    target = make_gateway(start=False, general=general() | pools, databases=[primary_alone(cluster)])
    target.gateway.start(*limited(128, 128))
    sessions: list[Wire] = []

    def fill() -> None:
        for _ in range(128):
            wire = dial(target)
            wire.login("alice", target.database, target.issuer.token("alice"))
            sessions.append(wire)

    with pytest.raises(ServerError) as caught:
        fill()

    assert caught.value.sqlstate == "53300"
    assert caught.value.fields["M"] == "sorry, too many clients already"
    assert len(sessions) >= 30
    for wire in sessions[:30]:
        # Each has a server connection of its own now.
        assert [message.type for message in wire.query("BEGIN")] == ["C", "Z"]
    assert max(descriptors(target)) < 128
    assert times(target, "refused", "descriptors") == 1
    # Whoever leaves makes room.
    sessions.pop().close()
    eventually(lambda: log_in(dial(target), target, "bob"), "a login")


def test_silent_clients_make_room_for_descriptors_too(
    make_gateway: MakeGateway, dial: Dial, cluster: Any
) -> None:
    target = make_gateway(start=False, general=general(), databases=[primary_alone(cluster)])
    target.gateway.start(*limited(160, 160))
    sessions = [log_in(dial(target), target) for _ in range(20)]

    silent = [dial(target, f"127.0.2.{number}") for number in range(1, 101)]

    log_in(dial(target), target)
    eventually(lambda: times(target, "closed", "descriptors") > 0, "clients that made room")
    # The reserve is not eaten up bit by bit: all that have come have a descriptor below it.
    eventually(lambda: len(descriptors(target)) <= 160 - 64 + 8, "descriptors that are free")
    assert closed(sessions) == []
    assert closed(silent), "some of them have made room"
    log_in(dial(target), target, "bob")


def test_under_a_storm_of_strangers_sessions_get_servers(
    make_gateway: MakeGateway, dial: Dial, cluster: Any
) -> None:
    """Sessions that are logged in open connections to PostgreSQL again and again, while strangers take every
    descriptor that they can get."""
    pools = {"default_pool_size": 10, "server_lifetime": 0}
    target = make_gateway(start=False, general=general() | pools, databases=[primary_alone(cluster)])
    target.gateway.start(*limited(192, 192))
    sessions = [log_in(dial(target), target) for _ in range(8)]
    over = threading.Event()
    strangers: list[int] = [0]

    def besiege(network: int) -> None:
        held: list[socket.socket] = []
        while not over.is_set():
            with contextlib.suppress(OSError):
                source = (f"127.{network}.0.{len(held) % 250 + 1}", 0)
                held.append(socket.create_connection((target.host, target.port), 1, source))
                strangers[0] += 1
            if len(held) > 250:
                held.pop(0).close()
        for one in held:
            one.close()

    with concurrent.futures.ThreadPoolExecutor() as storm:
        besiegers = [storm.submit(besiege, network) for network in (2, 3)]
        try:
            eventually(lambda: times(target, "closed", "descriptors") > 0, "descriptors that are short")
            pids = set()
            for _ in range(5):
                for session in sessions:
                    assert [message.type for message in session.query("BEGIN")] == ["C", "Z"]
                    pids.add(session.value("SELECT pg_backend_pid()"))
                for session in sessions:
                    session.query("COMMIT")
        finally:
            over.set()
        for one in besiegers:
            one.result()

    # Each transaction had a connection of its own, made in the storm.
    assert len(pids) == 5 * len(sessions)
    assert strangers[0] > 192
    assert max(descriptors(target)) < 192


def test_when_no_descriptor_is_left_the_error_says_so(
    make_gateway: MakeGateway, dial: Dial, cluster: Any
) -> None:
    """And the server is not taken for one that is away."""
    target = make_gateway(admin=ADMIN, general={"server_lifetime": 0}, databases=[primary_alone(cluster)])
    session = log_in(dial(target), target)
    with target.connect("admin", ADMIN["password"], dbname="admin") as console:
        soft, hard = resource.prlimit(target.gateway.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(target.gateway.pid, resource.RLIMIT_NOFILE, (3, hard))
        try:
            error = error_of(session.query("SELECT 1"))
            problems = [row[-1] for row in console.execute("SHOW POOLS").fetchall()]
            bans = console.execute("SHOW BANS").fetchall()
        finally:
            resource.prlimit(target.gateway.pid, resource.RLIMIT_NOFILE, (soft, hard))
        eventually(lambda: session.value("SELECT 1") == "1", "the session to go on")

    assert (error["S"], error["C"]) == ("ERROR", "53000")
    assert "limit of open files" in error["M"]
    assert "LimitNOFILE" in error["H"]
    assert any("limit of open files" in problem for problem in problems if problem)
    assert bans == []
