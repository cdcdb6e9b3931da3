"""Clients that vanish after each byte of a conversation, and servers that vanish in each phase of one."""

from __future__ import annotations

import asyncio
import concurrent.futures
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest

from harness import eventually, primary_alone
from harness import wire as w
from harness.target import Target
from harness.wire import Wire

SLOT = "SELECT pg_advisory_xact_lock(99)"
WORK = b"".join(
    (
        w.query("BEGIN; SET LOCAL work_mem = '5MB'"),
        w.parse("SELECT 'left', $1", "left"),
        w.bind(["value"], "left", "p"),
        w.execute("p", 1),
        w.FLUSH,
        w.parse("INSERT INTO notes (body) VALUES ('left')"),
        w.bind(),
        w.execute(),
        w.SYNC,
        w.query("CREATE TEMP TABLE cut () ON COMMIT DROP"),
        w.query("COPY cut FROM STDIN"),
        w.copy_data(b"\n"),
        w.COPY_DONE,
        w.query("SELECT repeat('left', 20000)"),
    )
)
SUBJECTS = ("alice", "bob", "carol")


@pytest.fixture(scope="module", params=["transaction", "session"])
def target(
    request: pytest.FixtureRequest, make_module_gateway: Callable[..., Target], cluster: Any
) -> Target:
    return make_module_gateway(
        general={"pooler_mode": request.param, "default_pool_size": 1, "checkout_timeout": 20_000},
        databases=[primary_alone(cluster)],
    )


def next_client_is_served(target: Target, token: str, subject: str = "alice") -> None:
    with target.wire(subject, token) as wire:
        replies = wire.query("SELECT 'mine', current_user, current_setting('work_mem')")
        assert w.types_of(replies) == "TDCZ"
        assert replies[-1].body == b"I"
        assert replies[1].row[:2] == ("mine", subject)
        assert replies[1].row[2] != "5MB"
        wire.send(w.bind((), "left"), w.SYNC)
        assert w.error_of(wire.until_ready())["C"] == "26000"


def test_a_client_cut_off_after_any_byte_of_its_requests_leaves_nothing(target: Target, cluster: Any) -> None:
    """Each subject has a server of its own, so they share the work."""

    def cut_off(subject: str) -> None:
        token = target.issuer.token(subject)
        for cut in range(SUBJECTS.index(subject), len(WORK), len(SUBJECTS)):
            wire = target.wire(subject, token)
            wire.send(WORK[:cut])
            if cut % 2:
                # Off with a reset instead of an orderly end.
                wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            wire.close()
            next_client_is_served(target, token, subject)

    with concurrent.futures.ThreadPoolExecutor(len(SUBJECTS)) as pool:
        list(pool.map(cut_off, SUBJECTS))

    with cluster.admin() as admin:
        assert admin.execute("SELECT count(*) FROM notes WHERE body = 'left'").fetchone() == (0,)


def test_a_client_cut_off_within_the_replies_leaves_nothing(target: Target) -> None:
    token = target.issuer.token("alice")
    for cut in range(0, 81_000, 1_500):
        wire = target.wire("alice", token)
        wire.send(WORK)
        while len(wire._unread) < cut:
            wire._unread += wire.socket.recv(cut - len(wire._unread))
        wire.close()
        next_client_is_served(target, token)


def test_a_client_cut_off_after_any_byte_of_its_login_leaves_nothing(target: Target) -> None:
    token = target.issuer.token("alice")
    opening = w.startup(user="alice", database="demo")
    login = opening + w.password_message(token)
    for cut in [*range(len(opening) + 8), *range(len(opening) + 8, len(login), 25)]:
        wire = target.open()
        wire.send(login[:cut])
        wire.close()
    next_client_is_served(target, token)


LARGE = "SELECT repeat('x', 1000) FROM generate_series(1, 100000)"
# What a client is doing when its server goes.
PHASES: dict[str, tuple[list[bytes], str]] = {
    "idle": ([w.query("SELECT 1")], "Z"),
    "in a statement": ([w.query(SLOT)], ""),
    "in a transaction": ([w.query("BEGIN"), w.query("SELECT 1")], "ZZ"),
    "in a failed transaction": ([w.query("BEGIN"), w.query("SELECT 1/0")], "ZZ"),
    "in a batch": ([w.parse("SELECT 1", "s"), w.bind((), "s"), w.execute(), w.FLUSH], "C"),
    "in a failed batch": ([w.parse("SELECT * FROM missing"), w.FLUSH], "E"),
    "at a portal": ([w.parse("SELECT generate_series(1, 9)"), w.bind(), w.execute("", 2), w.FLUSH], "s"),
    "in copy in": ([w.query("COPY scratch.passing FROM STDIN")], "G"),
    "in copy out": (
        [w.query("COPY (SELECT repeat('x', 1000) FROM generate_series(1, 100000)) TO STDOUT")],
        "d",
    ),
    "in a large row": ([w.query("SELECT repeat('x', 50000000)")], "T"),
}


@pytest.mark.parametrize("phase", PHASES)
def test_a_server_that_is_terminated_is_an_error_and_never_silence(
    target: Target, cluster: Any, phase: str
) -> None:
    messages, until = PHASES[phase]
    with cluster.admin() as blocker, target.wire("alice") as wire:
        blocker.execute("DROP TABLE IF EXISTS scratch.passing")
        blocker.execute("CREATE TABLE scratch.passing (line text)")
        blocker.execute("GRANT ALL ON scratch.passing TO subjects")
        blocker.execute("SELECT pg_advisory_lock(99)")
        wire.send(*messages)
        for kind in until:
            while wire.receive().type != kind:
                pass
        if phase == "in a statement":
            waits = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 99 AND NOT granted"
            eventually(lambda: blocker.execute(waits).fetchone(), "the statement")
        terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'gateway'"
        assert blocker.execute(terminate).fetchall()
        gone = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'gateway' AND query NOT LIKE '%repeat%'"
        eventually(lambda: blocker.execute(gone).fetchone() == (0,), "the server's end")

        told = rest_of(wire, [w.copy_data(b"line\n"), w.COPY_DONE] if "copy in" in phase else [])

    if told is not None:
        assert {error["C"][:2] for error in told} <= {"57", "08", "25"}, told
    with target.wire("alice") as fresh:
        assert fresh.value("SELECT current_user") == "alice"


def rest_of(wire: Wire, more: list[bytes]) -> list[dict[str, str]] | None:
    """The errors until a question is answered again; `None` when the session ended with the server."""
    errors: list[dict[str, str]] = []
    try:
        wire.send(*more, w.SYNC)
        for number in range(5):
            answer = f"still there {number}"
            wire.send(w.query(f"SELECT '{answer}'"))
            while True:
                message = wire.receive()
                if message.type == "E":
                    errors.append(dict(message.fields))
                    if errors[-1]["S"] == "FATAL":
                        return errors
                    if errors[-1]["C"][:2] != "25":
                        break
                if message.type == "D" and answer.encode() in message.body:
                    wire.until_ready()
                    return errors
    except (EOFError, ConnectionError):
        return None
    raise AssertionError(f"no answer any more, but {errors}")


def test_a_slow_reader_holds_up_nobody_and_takes_no_memory(target: Target) -> None:
    """Its server waits with it; `test_copy.py` has the large amounts."""
    before = target.gateway.memory()
    token = target.issuer.token("bob")

    async def one() -> int:
        reader, writer = await asyncio.open_connection(target.host, target.port, limit=4096)
        writer.write(w.startup(user="bob", database="demo") + w.password_message(token))
        writer.write(w.query("SELECT repeat('x', 1000) FROM generate_series(1, 20000)"))
        await reader.readexactly(5_000)
        peak = target.gateway.memory()
        received = 5_000
        while True:
            chunk = await reader.read(65_536)
            received += len(chunk)
            if received > 20_000_000:
                break
        writer.close()
        return peak

    assert asyncio.run(asyncio.wait_for(one(), 60)) - before < 16 << 20
    next_client_is_served(target, target.issuer.token("alice"))
