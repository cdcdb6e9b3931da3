"""Cancel requests that come early: while the client waits for a server, and right behind the query."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from harness import eventually, primary_alone
from harness import wire as w
from harness.server import Server
from harness.target import Target
from harness.wire import Message, Wire

MakeGateway = Callable[..., Target]

CANCELLED = "57014"
PASSWORD = "admin-secret"
ADMIN = {"name": "admin", "user": "admin", "password": PASSWORD}
COUNT = "SELECT count(*) FROM notes WHERE body = 'cancelled'"
INSERT = "INSERT INTO notes (body) VALUES ('cancelled')"
ONE_SERVER = {"default_pool_size": 1, "checkout_timeout": 60_000, "connect_timeout": 60_000}


@pytest.fixture
def target(make_gateway: MakeGateway) -> Target:
    return make_gateway(general=ONE_SERVER, admin=ADMIN)


@pytest.fixture
def admin(target: Target) -> Iterator[psycopg.Connection[Any]]:
    with target.connect("admin", PASSWORD, dbname="admin") as connection:
        yield connection


def cancel(target: Target, wire: Wire) -> None:
    with Wire(target.host, target.port) as other:
        other.send(w.cancel_request(wire.cancel_key))
        assert other.closed_by_peer()


def await_waiting(admin: psycopg.Connection[Any]) -> None:
    def waits() -> bool:
        cursor = admin.execute("SHOW CLIENTS")
        names = [column.name for column in cursor.description or ()]
        return any(dict(zip(names, row, strict=True))["state"] == "waiting" for row in cursor.fetchall())

    eventually(waits, "a client that waits for a server")


def assert_cancelled(messages: list[Message], status: str = "I") -> None:
    assert w.types_of(messages) == "EZ"
    assert w.error_of(messages)["C"] == CANCELLED
    assert messages[-1].body.decode() == status


BATCH = w.step(INSERT) + w.step(INSERT) + w.SYNC
REQUESTS = {"simple": w.query(INSERT), "extended": BATCH, "named": w.extended(INSERT, name="insert")}


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_what_waits_for_a_server_is_cancelled(
    target: Target, admin: psycopg.Connection[Any], request_: bytes
) -> None:
    with target.wire("alice") as holder, target.wire("alice") as wire:
        holder.query("BEGIN")
        holder.query("SELECT 1")
        wire.send(request_)
        await_waiting(admin)

        cancel(target, wire)

        assert_cancelled(wire.until_ready())
        holder.query("COMMIT")
        assert wire.value(COUNT) == "0"
        assert holder.value(COUNT) == "0"


def test_a_cancelled_batch_ends_with_its_sync(target: Target, admin: psycopg.Connection[Any]) -> None:
    with target.wire("alice") as holder, target.wire("alice") as wire:
        holder.query("BEGIN")
        holder.query("SELECT 1")
        wire.send(w.step(INSERT))
        await_waiting(admin)
        cancel(target, wire)
        assert w.error_of([wire.receive()])["C"] == CANCELLED
        holder.query("COMMIT")

        wire.send(w.step(INSERT), w.query(INSERT), w.SYNC)

        assert w.types_of(wire.until_ready()) == "Z"
        assert wire.value(COUNT) == "0"


def test_a_statement_that_waits_for_resume_is_cancelled(
    target: Target, admin: psycopg.Connection[Any]
) -> None:
    with target.wire("alice") as wire:
        admin.execute("PAUSE")
        wire.send(w.query(INSERT))
        await_waiting(admin)

        cancel(target, wire)

        assert_cancelled(wire.until_ready())
        admin.execute("RESUME")
        assert wire.value(COUNT) == "0"


@contextlib.contextmanager
def silent(server: Server) -> Iterator[None]:
    """New connections are accepted by the system and by nobody else."""
    assert server.pid
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


def test_a_statement_that_waits_for_a_connection_is_cancelled(
    make_gateway: MakeGateway, cluster: Any
) -> None:
    general = {**ONE_SERVER, "default_pool_size": 2}
    target = make_gateway(general=general, admin=ADMIN, databases=[primary_alone(cluster)])
    with (
        target.connect("admin", PASSWORD, dbname="admin") as admin,
        target.wire("alice") as holder,
        target.wire("alice") as wire,
    ):
        holder.query("BEGIN")
        holder.query("SELECT 1")
        with silent(cluster.primary):
            wire.send(w.query(INSERT))
            await_waiting(admin)

            cancel(target, wire)

            assert_cancelled(wire.until_ready())
        holder.query("COMMIT")
        assert wire.value(COUNT) == "0"


def test_a_transaction_whose_first_statement_was_cancelled_has_failed(make_gateway: MakeGateway) -> None:
    """Its BEGIN has reached no server yet; what follows must not run outside of it."""
    general = {**ONE_SERVER, "read_write_split": "exclude_primary", "read_write_strategy": "aggressive"}
    target = make_gateway(general=general, admin=ADMIN)
    with (
        target.connect("admin", PASSWORD, dbname="admin") as admin,
        target.wire("alice") as holder,
        target.wire("alice") as wire,
    ):
        holder.query("BEGIN")
        holder.rows("INSERT INTO notes (body) VALUES ('held')")
        wire.query("BEGIN")
        wire.send(w.query(INSERT))
        await_waiting(admin)

        cancel(target, wire)

        assert_cancelled(wire.until_ready(), "E")
        wire.send(w.SYNC)
        assert wire.until_ready()[-1].body == b"E"
        holder.query("ROLLBACK")
        assert w.error_of(wire.query(INSERT))["C"] == "25P02"
        assert wire.query("COMMIT")[0].tag == "ROLLBACK"
        assert wire.value(COUNT) == "0"


POOLS = {
    "own": {"jwt": {}},
    "shared": {"jwt": {"shared_pool": True}},
    "standard": {"jwt": {"shared_pool": True, "guard": "standard"}},
}


@pytest.mark.parametrize("tables", POOLS.values(), ids=POOLS)
def test_a_cancel_right_behind_its_query_is_not_lost(
    make_gateway: MakeGateway, tables: dict[str, Any]
) -> None:
    """A time limit of a client cancels only once."""
    target = make_gateway(general={"default_pool_size": 1}, **tables)
    codes = []
    with target.wire("alice") as wire, target.wire("bob") as other:
        for round_ in range(24):
            if round_ % 2:
                other.value("SELECT 1")
            with Wire(target.host, target.port) as late:
                wire.send(w.query("SELECT pg_sleep(2)"))
                late.send(w.cancel_request(wire.cancel_key))
                answer = wire.until_ready()
                codes.append(w.error_of(answer)["C"] if "E" in w.types_of(answer) else "lost")

    assert codes == [CANCELLED] * 24


def test_a_cancel_is_not_kept_for_a_later_statement(target: Target) -> None:
    with target.wire("alice") as wire:
        for _ in range(20):
            cancel(target, wire)
            assert wire.value("SELECT pg_sleep(0.01)") == ""


def test_of_many_cancels_none_is_left_when_their_connections_are_closed(make_gateway: MakeGateway) -> None:
    """More sessions than servers, each cancelled by several at once."""
    target = make_gateway(general={"default_pool_size": 3})

    def talk(_: int) -> list[str]:
        hit = []
        with target.wire("alice") as wire, ThreadPoolExecutor(3) as others:
            for _ in range(40):
                wire.send(w.query("SELECT pg_sleep(0.02)"))
                cancels = [others.submit(cancel, target, wire) for _ in range(3)]
                wire.until_ready()
                for each in cancels:
                    each.result()
                answer = wire.query("SELECT pg_sleep(0.002)")
                hit += [w.error_of(answer)["M"]] if "E" in w.types_of(answer) else []
        return hit

    with ThreadPoolExecutor(6) as clients:
        assert [hit for hits in clients.map(talk, range(6)) for hit in hits] == []


def test_the_connection_of_a_cancel_is_open_until_the_server_has_taken_it(
    make_gateway: MakeGateway, cluster: Any
) -> None:
    target = make_gateway(databases=[primary_alone(cluster)])
    with target.wire("alice") as wire, Wire(target.host, target.port, timeout=0.3) as late:
        wire.send(w.query("SELECT pg_sleep(20)"))
        await_running(cluster, "SELECT pg_sleep(20)")
        with silent(cluster.primary):
            late.send(w.cancel_request(wire.cancel_key))
            with pytest.raises(TimeoutError):
                late.socket.recv(1)

        late.socket.settimeout(30)
        assert late.closed_by_peer()
        answer = wire.until_ready()
        assert w.types_of(answer)[-2:] == "EZ"
        assert w.error_of(answer)["C"] == CANCELLED


def await_running(cluster: Any, statement: str) -> None:
    with cluster.admin() as admin:
        query = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = %s"
        eventually(lambda: admin.execute(query, [statement]).fetchone()[0] == 1, "a statement that runs")


def test_an_administrator_waits_for_no_cancel(target: Target, admin: psycopg.Connection[Any]) -> None:
    with target.wire("admin", PASSWORD, database="admin") as wire:
        cancel(target, wire)
        assert w.error_of(wire.query("NONSENSE"))["C"] == "42601"


PLAIN = {"default_pool_size": 1, "tls_verify": "disabled"}
SHARED = {"jwt": {"shared_pool": True}}


def late_cancel(target: Target, wire: Wire) -> Wire:
    """The connection of a cancel request that was sent."""
    late = Wire(target.host, target.port)
    late.send(w.cancel_request(wire.cancel_key))
    return late


def is_served(clients: psycopg.Connection[Any], backends: psycopg.Connection[Any], statement: str) -> bool:
    cursor = clients.execute("SHOW CLIENTS")
    names = [column.name for column in cursor.description or ()]
    waits = any(dict(zip(names, row, strict=True))["state"] == "waiting" for row in cursor.fetchall())
    query = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = %s"
    count = backends.execute(query, [statement]).fetchone()
    return waits or bool(count and count[0])


def test_a_cancel_of_a_session_that_was_ended_hits_nobody_else(
    make_gateway: MakeGateway, cluster: Any
) -> None:
    """The request is on its way when the administrator ends the session, whose server goes to another."""
    target = make_gateway(general=PLAIN, admin=ADMIN, databases=[primary_alone(cluster)], **SHARED)
    statement = "SELECT pg_sleep(1)"
    with (
        target.connect("admin", PASSWORD, dbname="admin") as admin,
        cluster.admin() as backends,
        target.wire("bob") as bob,
        target.wire("alice") as alice,
    ):
        bob.value("SELECT 1")
        alice.send(w.query("SELECT pg_sleep(0.3); SET work_mem = '1MB'"))
        await_running(cluster, "SELECT pg_sleep(0.3); SET work_mem = '1MB'")
        with silent(cluster.primary):
            late = late_cancel(target, alice)
            assert "E" not in w.types_of(alice.until_ready())
            admin.execute("KILL USER alice")
            assert w.error_of(alice.receive_until("E"))["C"] == "57P01"
            bob.send(w.query(statement))
            eventually(lambda: is_served(admin, backends, statement), "bob's statement")

        late.close()
        answer = bob.until_ready()
        assert "E" not in w.types_of(answer), w.error_of(answer)


def test_a_server_whose_cancel_got_no_answer_serves_nobody_else(
    make_gateway: MakeGateway, cluster: Any
) -> None:
    target = make_gateway(general=PLAIN, databases=[primary_alone(cluster)], **SHARED)
    with target.wire("bob") as bob, target.wire("alice") as alice:
        before = alice.value("SELECT pg_backend_pid()")
        alice.send(w.query("SELECT pg_sleep(0.3)"))
        await_running(cluster, "SELECT pg_sleep(0.3)")
        with silent(cluster.primary):
            late = late_cancel(target, alice)
            assert "E" not in w.types_of(alice.until_ready())
            # The gateway gives up.
            assert late.closed_by_peer()
            bob.send(w.query("SELECT pg_backend_pid(), pg_sleep(1)"))

        answer = bob.until_ready()
        assert "E" not in w.types_of(answer), w.error_of(answer)
        assert next(message for message in answer if message.type == "D").row[0] != before


def test_cancel_requests_whose_clients_have_left_keep_nobody_out(
    make_gateway: MakeGateway, cluster: Any
) -> None:
    most = {"max_unauthenticated_clients": 8, "max_unauthenticated_clients_per_address": 4}
    target = make_gateway(general={**PLAIN, **most}, databases=[primary_alone(cluster)])
    with target.wire("alice") as alice:
        alice.send(w.query("SELECT pg_sleep(0.5)"))
        await_running(cluster, "SELECT pg_sleep(0.5)")
        with silent(cluster.primary):
            held = [late_cancel(target, alice) for _ in range(4)]
            # Each makes room for the next, as who is silent does.
            for _ in range(4):
                with target.open() as other:
                    other.startup(user="alice", database=target.database)
                    assert other.receive().type == "R"
            for late in held:
                late.close()
        assert "Z" in w.types_of(alice.until_ready())


def test_cancel_requests_for_a_session_that_ends_are_not_held(
    make_gateway: MakeGateway, cluster: Any
) -> None:
    general = {"default_pool_size": 1, "rollback_timeout": 60_000}
    target = make_gateway(general=general, databases=[primary_alone(cluster)])
    alice = target.wire("alice")
    alice.send(w.query("SELECT pg_sleep(20)"))
    await_running(cluster, "SELECT pg_sleep(20)")
    alice.socket.shutdown(2)

    def is_closed_at_once() -> bool:
        late = late_cancel(target, alice)
        late.socket.settimeout(2)
        return late.closed_by_peer()

    eventually(is_closed_at_once, "a cancel request that is not held")
    alice.close()
    with cluster.admin() as admin:
        admin.execute("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(20)'")
