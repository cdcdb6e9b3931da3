"""Input that is no protocol, or too much of it: a clean close, bounded memory, one line in the log."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Callable, Iterator

import pytest

from harness import eventually
from harness import wire as w
from harness.target import Target
from harness.wire import Wire

MEGABYTE = 1024 * 1024
GROWTH = 8 * MEGABYTE
# After it, a client that has not logged in must be gone.
LOGIN_LIMIT = 1_000


@pytest.fixture(scope="module")
def target(make_module_gateway: Callable[..., Target]) -> Target:
    return make_module_gateway(general={"client_login_timeout": LOGIN_LIMIT})


@pytest.fixture(autouse=True)
def unharmed(target: Target) -> Iterator[None]:
    """Whatever a test does, others are served afterwards and the gateway has not grown."""
    target.wire("alice").close()
    before = target.gateway.memory()
    yield
    with target.wire("alice") as wire:
        assert wire.value("SELECT current_user") == "alice"
    assert target.gateway.memory() - before < GROWTH
    assert "panicked" not in target.gateway.log_text()


def random_bytes(seed: int) -> bytes:
    return random.Random(seed).randbytes(2000)


def length_of_a_gigabyte() -> bytes:
    return struct.pack("!ii", 1024 * MEGABYTE, w.PROTOCOL_3_0) + b"user\0alice\0"


GARBAGE = {
    **{f"random bytes {seed}": random_bytes(seed) for seed in range(8)},
    "an HTTP request": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a TLS hello without SSLRequest": bytes.fromhex("16030100a5010000a10303") + b"\0" * 160,
    "an SSH banner": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a length of one gigabyte": length_of_a_gigabyte(),
    "a length of zero": struct.pack("!ii", 0, w.PROTOCOL_3_0),
    "a length of seven": struct.pack("!ii", 7, w.PROTOCOL_3_0),
    "a negative length": struct.pack("!ii", -1, w.PROTOCOL_3_0),
    "a start-up packet without its end": struct.pack("!ii", 20, w.PROTOCOL_3_0) + b"user\0alice\0a",
    "a start-up packet without a user": w.startup(database="demo"),
    "an empty user": w.startup(user="", database="demo"),
    "a user that is not UTF-8": struct.pack("!ii", 18, w.PROTOCOL_3_0) + b"user\0\xff\xfe\0\0\0",
    "a cancel request that is too short": struct.pack("!ii", 8, w.CANCEL_REQUEST),
    "a cancel request that is too long": w.cancel_request(b"x" * 5000),
    "a start-up packet of a megabyte": w.startup(user="alice", padding="x" * MEGABYTE),
    "SSLRequests without end": struct.pack("!ii", 8, w.SSL_REQUEST) * 1000,
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_is_closed(target: Target, data: bytes) -> None:
    with target.open() as wire:
        try:
            wire.send(data)
        except OSError:
            return

        assert wire.closed_by_peer()


@pytest.mark.parametrize(
    "data",
    [b"", b"\0", b"\0\0\0", struct.pack("!i", 40), w.startup(user="alice", database="demo")[:-3]],
    ids=["nothing", "a byte", "three bytes", "a length", "half a packet"],
)
def test_silence_before_the_login_is_closed(target: Target, data: bytes) -> None:
    with target.open() as wire:
        wire.send(data)

        assert wire.closed_by_peer()


def test_silence_in_place_of_the_password_is_closed(target: Target) -> None:
    with target.open() as wire:
        wire.startup(user="alice", database="demo")
        assert wire.receive().type == "R"

        assert wire.closed_by_peer()


def test_a_start_up_packet_that_trickles_in_is_closed(target: Target) -> None:
    """The limit is for the login as a whole, not for the time between two bytes."""
    with target.open() as wire:
        wire.send(struct.pack("!ii", 10_000, w.PROTOCOL_3_0))

        def closed() -> bool:
            try:
                wire.send(b"x")
            except OSError:
                return True
            return False

        eventually(closed, "the end of a slow login", 20, interval=0.1)


@pytest.mark.parametrize("size", [10 * MEGABYTE, 100 * MEGABYTE])
def test_a_huge_password_is_closed_without_being_kept(target: Target, size: int) -> None:
    with target.open() as wire:
        wire.startup(user="alice", database="demo")
        wire.receive()
        before = peak = target.gateway.memory()
        try:
            wire.send(struct.pack("!ci", b"p", size + 4))
            for _ in range(size // MEGABYTE):
                wire.send(b"x" * MEGABYTE)
                peak = max(peak, target.gateway.memory())
        except OSError:
            pass

        assert wire.closed_by_peer()
        assert peak - before < GROWTH


@pytest.mark.parametrize("kind", ["p", "Q", "X", "\0", "P", "d"])
def test_another_message_in_place_of_the_password_is_closed(target: Target, kind: str) -> None:
    with target.open() as wire:
        wire.startup(user="alice", database="demo")
        wire.receive()
        wire.send(w.message(kind, b"SELECT 1"))

        assert wire.closed_by_peer()


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\0\0\0",
        w.message("~", b"unknown"),
        struct.pack("!ci", b"Q", 3),
        struct.pack("!ci", b"Q", -5),
        w.message("Q", b"SELECT 1"),
        w.message("P", b"no zero"),
        w.message("B", b""),
        w.message("B", b"\0\0" + struct.pack("!hh", 0, 30_000)),
        w.message("E", b"\0"),
        w.message("C", b"Z\0"),
        w.message("S", b"too long"),
        w.message("p", b"again\0"),
        random_bytes(99),
    ],
    ids=repr,
)
def test_a_broken_message_after_the_login_is_an_error_or_the_end(target: Target, data: bytes) -> None:
    with target.wire("alice") as wire:
        wire.send(data, w.SYNC)
        wire.socket.settimeout(5)
        try:
            answer = wire.receive_until("E")
        except (EOFError, OSError):
            return

        assert answer[-1].fields["C"]


def test_a_message_of_a_gigabyte_that_never_comes_takes_no_memory(target: Target) -> None:
    before = target.gateway.memory()
    with target.wire("alice") as wire:
        wire.send(struct.pack("!ci", b"Q", 1024 * MEGABYTE), b"SELECT '")
        with target.wire("bob") as other:
            for _ in range(50):
                other.value("SELECT 1")

        assert target.gateway.memory() - before < GROWTH


@pytest.mark.parametrize("word", ["a,", "1+", "f(),", "SELECT 1;"])
def test_a_statement_of_many_words_is_refused_unread(target: Target, word: str) -> None:
    before = target.gateway.memory()
    text = "SELECT " + word * 150_000 + " 1"
    with target.wire("alice") as wire:
        for sent in (w.query(text), w.parse(text) + w.SYNC):
            wire.send(sent)
            assert w.error_of(wire.until_ready())["C"] == "54001"
        assert wire.value("SELECT 1") == "1"

    assert target.gateway.memory() - before < 2 * len(text) + GROWTH


def test_connections_that_say_nothing_do_not_keep_others_out(target: Target) -> None:
    silent = [socket.create_connection((target.host, target.port)) for _ in range(200)]
    try:
        with target.wire("alice") as wire:
            assert wire.value("SELECT current_user") == "alice"
    finally:
        for each in silent:
            each.close()


def test_garbage_is_one_line_in_the_log(target: Target) -> None:
    with target.open() as wire:
        port = wire.socket.getsockname()[1]
        wire.send(GARBAGE["an HTTP request"])
        wire.closed_by_peer()

    def lines() -> list[str]:
        return [line for line in target.gateway.log_text().splitlines() if f":{port}" in line]

    eventually(lines, "a line in the log")
    assert len(lines()) == 1, lines()


def test_a_port_scan_costs_nothing(target: Target) -> None:
    for _ in range(100):
        socket.create_connection((target.host, target.port)).close()

    with Wire(target.host, target.port) as wire:
        wire.login("alice", "demo", target.issuer.token("alice"))
