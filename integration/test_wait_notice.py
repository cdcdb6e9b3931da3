"""`query_wait_notify`: a notice to a client that waits for a server connection."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Any

import pytest

from harness import primary_alone
from harness import wire as w
from harness.target import Target
from harness.wire import Message, Wire

MakeGateway = Callable[..., Target]

pytestmark = pytest.mark.gateway("PgDog sends no such notice")

PASSWORD = "admin-secret"
ADMIN = {"name": "admin", "user": "admin", "password": PASSWORD}
GENERAL = {"query_wait_notify": 200, "checkout_timeout": 60_000, "default_pool_size": 1}
WAITS = "no server connection is free: this statement waits for one"


@pytest.fixture(scope="module")
def target(make_module_gateway: MakeGateway, cluster: Any) -> Target:
    return make_module_gateway(general=GENERAL, admin=ADMIN, databases=[primary_alone(cluster)])


@pytest.fixture
def holder(target: Target) -> Any:
    """Has the only server."""
    with target.wire("alice") as wire:
        wire.query("BEGIN")
        wire.query("SELECT 1")
        yield wire


def assert_notice(message: Message, text: str = WAITS) -> None:
    assert message.type == "N"
    assert (message.fields["S"], message.fields["C"], message.fields["M"]) == ("NOTICE", "00000", text)


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (w.query("SELECT 'late'"), "TDCZ"),
        (w.extended("SELECT 'late'"), "12TDCZ"),
        (w.parse("SELECT 'late'", "named") + w.bind([], "named") + w.execute() + w.SYNC, "12DCZ"),
        (w.query("COPY (SELECT 'late') TO STDOUT"), "HdcCZ"),
    ],
    ids=["simple", "extended", "named", "copy"],
)
def test_who_waits_is_told_once_and_then_answered(
    target: Target, holder: Wire, request_: bytes, answer: str
) -> None:
    with target.wire("alice") as waiter:
        waiter.send(request_)
        assert_notice(waiter.receive())
        holder.query("COMMIT")
        messages = waiter.until_ready()

    assert "".join(message.type for message in messages) == answer


def test_each_wait_has_its_notice(target: Target) -> None:
    with target.wire("alice") as holder, target.wire("alice") as waiter:
        for _ in range(2):
            holder.query("BEGIN")
            holder.query("SELECT 1")
            waiter.send(w.query("SELECT 'late'"))
            assert_notice(waiter.receive())
            holder.query("COMMIT")
            assert "N" not in [message.type for message in waiter.until_ready()]


def test_who_does_not_wait_for_long_hears_nothing(target: Target) -> None:
    with target.wire("alice") as one, target.wire("alice") as other:
        for wire in (one, other) * 3:
            assert [message.type for message in wire.query("SELECT 1 FROM pg_sleep(0.3)")] == list("TDCZ")


@pytest.mark.parametrize("level", ["warning", "ERROR"])
def test_who_wants_no_notices_hears_none(target: Target, level: str) -> None:
    with target.wire("alice") as waiter:
        waiter.query(f"SET client_min_messages = {level}")
        with target.wire("alice") as holder:
            holder.query("BEGIN")
            holder.query("SELECT 1")
            waiter.send(w.query("SELECT 'late'"))
            # Another client has heard of its wait, which began later.
            second = target.wire("alice")
            second.send(w.query("SELECT 'later'"))
            assert_notice(second.receive())
            holder.query("COMMIT")
            assert [message.type for message in waiter.until_ready()] == list("TDCZ")
            second.close()


def test_who_waits_for_resume_is_told(target: Target) -> None:
    with target.wire("alice") as waiter, target.connect("admin", PASSWORD, dbname="admin") as admin:
        admin.execute("PAUSE")
        try:
            waiter.send(w.query("SELECT 'late'"))
            assert_notice(
                waiter.receive(), "the database is paused: this statement waits until it is resumed"
            )
        finally:
            admin.execute("RESUME")
        assert [message.type for message in waiter.until_ready()] == list("TDCZ")


@pytest.mark.parametrize(
    "general", [{"query_wait_notify": 0}, {"query_wait_notify": 300, "checkout_timeout": 300}]
)
def test_without_a_limit_or_with_the_end_of_the_wait_there_is_no_notice(
    make_gateway: MakeGateway, cluster: Any, general: dict[str, int]
) -> None:
    own = {**GENERAL, "checkout_timeout": 600, **general}
    target = make_gateway(general=own, databases=[primary_alone(cluster)])
    with target.wire("alice") as holder, target.wire("alice") as waiter:
        holder.query("BEGIN")
        holder.query("SELECT 1")
        messages = waiter.query("SELECT 'late'")

        assert [message.type for message in messages] == ["E", "Z"]
        assert w.error_of(messages)["C"] == "53300"


@pytest.mark.parametrize("size", [1_000, 50_000, 400_000])
def test_a_notice_stands_between_messages_of_a_client_that_reads_late(target: Target, size: int) -> None:
    """Replies that it has not taken are in front of the notice, whole, wherever the kernel has cut them."""
    with target.wire("alice") as holder, target.wire("alice") as slow:
        slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        slow.query("BEGIN")
        slow.query("SELECT 1")
        # The next in the queue.
        holder.send(w.query("BEGIN; SELECT 1"))
        assert_notice(holder.receive())
        requests = (f"SELECT repeat('x', {size})", "COMMIT", "SELECT 'second'")
        slow.send(*map(w.query, requests))
        holder.socket.settimeout(1)
        with contextlib.suppress(TimeoutError):
            # Not before the client has read, where the kernel holds less than that for it.
            holder.until_ready()
            holder.query("SELECT pg_sleep(0.3)")
        holder.socket.settimeout(w.TIMEOUT_SECONDS)
        first = [slow.until_ready(), slow.until_ready()]
        holder.query("COMMIT")
        second = slow.until_ready()

    assert [w.types_of(messages) for messages in (*first, second)] == ["TDCZ", "CZ", "TDCZ"]
    assert len(first[0][-3].row[0] or "") == size
    assert second[-3].row == ("second",)
