"""Servers that are not PostgreSQL, or that somebody else speaks for: the login fails, and others are served.

What was published of PgBouncer is named; docs/security.md lists it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness import primary_alone
from harness import wire as w
from harness.impostor import SASL, SASL_CONTINUE, SASL_FINAL, Impostor, Victim
from harness.line import Line, frames, unchanged
from harness.target import Target

MakeGateway = Callable[..., Target]
HostileLogin = Callable[[Callable[[Victim], None]], str]

MEGABYTE = 1024 * 1024
GROWTH = 16 * MEGABYTE
SERVICE = {"name": "service", "database": "demo", "password": "service-secret"}
# A name is not tried again at once when a server has refused it.
HOSTILE = [f"hostile-{number}" for number in range(60)]


@pytest.fixture(scope="module")
def impostor() -> Iterator[Impostor]:
    impostor = Impostor()
    yield impostor
    impostor.close()


@pytest.fixture(scope="module")
def target(make_module_gateway: MakeGateway, cluster: Any, impostor: Impostor) -> Target:
    """One thread works for everybody: a server that keeps it busy keeps it from all."""
    hostile = {"name": "hostile", "host": "127.0.0.1", "port": impostor.port}
    users = [{"name": name, "database": "hostile", "password": "secret"} for name in HOSTILE]
    return make_module_gateway(
        general={"workers": 1, "tls_verify": "disabled", "idle_healthcheck_delay": 600_000},
        databases=[primary_alone(cluster), hostile],
        users=[SERVICE, *users],
    )


@pytest.fixture(scope="module")
def names() -> Iterator[str]:
    return iter(HOSTILE)


@pytest.fixture
def hostile_login(target: Target, impostor: Impostor, names: Iterator[str]) -> Iterator[HostileLogin]:
    """Lets the gateway log in to the impostor, and gives the SQLSTATE that its client hears.

    Afterwards the same process serves others, and has not grown.
    """
    serves(target)
    pid, before = target.gateway.pid, target.gateway.memory()

    def log_in(script: Callable[[Victim], None]) -> str:
        impostor.script, before = script, impostor.asked
        refused = target.refusal(next(names), "secret", database="hostile")
        assert impostor.asked > before
        return refused["C"]

    yield log_in
    serves(target)
    assert target.gateway.pid == pid
    assert target.gateway.memory() - before < GROWTH
    assert "panicked" not in target.gateway.log_text()


def serves(target: Target) -> None:
    with target.wire("alice") as wire:
        assert wire.value("SELECT current_user") == "alice"


def challenge(victim: Victim, *, nonce: str = "srv", salt: str = "c2FsdA==", count: int = 4096) -> None:
    own = victim.scram_nonce()
    victim.ask(SASL_CONTINUE, f"r={own}{nonce},s={salt},i={count}".encode())
    victim.receive()


@pytest.mark.parametrize("size", [600, 2_000, 60_000, MEGABYTE])
@pytest.mark.parametrize("part", ["nonce", "salt", "signature", "mechanisms", "error"])
def test_a_server_that_says_too_much_in_a_login(hostile_login: HostileLogin, part: str, size: int) -> None:
    """CVE-2026-6665: a long nonce of a server went past the end of PgBouncer's buffer on the stack."""

    def script(victim: Victim) -> None:
        if part == "mechanisms":
            victim.ask(SASL, b"SCRAM-SHA-256\0" + b"X" * size + b"\0\0")
        elif part == "error":
            victim.send(w.message("E", b"SFATAL\0C28000\0M" + b"x" * size + b"\0\0"))
        elif part == "signature":
            challenge(victim)
            victim.ask(SASL_FINAL, b"v=" + b"A" * size)
        else:
            challenge(victim, **{part: "A" * size})

    assert hostile_login(script) in ("08004", "08006", "08P01")


@pytest.mark.parametrize("count", [-1, 100_001, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 32, 1 << 64])
def test_a_server_that_asks_for_too_much_work(hostile_login: HostileLogin, count: int) -> None:
    """CVE-2026-6669: nothing limited the iterations that a server asks for. 2³² of them are hours of work."""
    answered: list[bool] = []

    def script(victim: Victim) -> None:
        challenge(victim, count=count)
        answered.append(True)

    assert hostile_login(script) in ("08004", "08006", "08P01")
    assert not answered


@pytest.mark.parametrize("length", [0, 3, 0x3FFFFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF], ids=hex)
@pytest.mark.parametrize("kind", ["R", "S", "E", "N"])
def test_a_message_of_a_false_length_in_a_login(hostile_login: HostileLogin, kind: str, length: int) -> None:
    """CVE-2026-6668: a buffer's size overflowed as it grew, and PgBouncer went round for ever."""
    code = hostile_login(lambda victim: victim.send(kind.encode() + struct.pack("!I", length) + b"x" * 100))

    assert code in ("08004", "08006", "08P01")


ERRORS = {
    "no SQLSTATE": b"SFATAL\0Mno\0\0",
    "an empty SQLSTATE": b"SFATAL\0C\0Mno\0\0",
    "a SQLSTATE of other characters": b"SFATAL\0C\xff\n\x1b[31m\0Mno\0\0",
    "a message alone": b"Mno\0\0",
    "no fields": b"\0",
    "nothing": b"",
    "no end": b"SFATAL\0Mno",
    "fields without end": b"SCM",
}


@pytest.mark.parametrize("body", ERRORS.values(), ids=ERRORS.keys())
def test_an_error_without_its_sqlstate_in_a_login(hostile_login: HostileLogin, body: bytes) -> None:
    """CVE-2026-6666: PgBouncer read the SQLSTATE of a server's error, whether there was one or not."""
    code = hostile_login(lambda victim: victim.send(w.message("E", body)))

    assert code in ("08004", "08006", "08P01", "XX000")


@pytest.fixture(scope="module", params=["transaction", "session"])
def interfered(
    request: pytest.FixtureRequest, make_module_gateway: MakeGateway, cluster: Any
) -> Iterator[tuple[Target, Line]]:
    """A gateway, and its line to PostgreSQL."""
    line = Line(cluster.primary.port)
    database = primary_alone(cluster) | {"port": line.port}
    general = {"workers": 1, "tls_verify": "disabled", "pooler_mode": request.param}
    yield make_module_gateway(general=general, databases=[database]), line
    line.close()


def answered(interfered: tuple[Target, Line], error: bytes) -> str | None:
    """A statement fails, and its error comes like this. Gives the type of what the client hears."""
    target, line = interfered
    with target.wire("alice") as wire:
        line.to_client = lambda data: [error if each.startswith(b"E") else each for each in frames(data)]
        wire.send(w.query("SELECT 1/0"))
        try:
            return wire.receive().type
        except EOFError:
            return None
        finally:
            line.to_client = unchanged


@pytest.mark.parametrize("body", ERRORS.values(), ids=ERRORS.keys())
def test_an_error_without_its_sqlstate_in_a_session(interfered: tuple[Target, Line], body: bytes) -> None:
    """CVE-2026-6666, in the answer to a statement."""
    assert answered(interfered, w.message("E", body)) == "E"
    serves(interfered[0])


@pytest.mark.parametrize("length", [0, 3, 0x80000000, 0xFFFFFFFF], ids=hex)
@pytest.mark.parametrize("kind", ["T", "D", "E", "Z", "S"])
def test_a_message_of_a_false_length_in_a_session(
    interfered: tuple[Target, Line], kind: str, length: int
) -> None:
    """CVE-2026-6668, in the answer to a statement."""
    heard = answered(interfered, kind.encode() + struct.pack("!I", length) + b"x" * 100_000)

    assert heard in ("E", None)
    serves(interfered[0])
