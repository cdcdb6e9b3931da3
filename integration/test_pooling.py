"""Server connections: whose they are, how many there are, and what a client finds on the one that it gets."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable
from typing import Any

import pytest

from harness import eventually
from harness import wire as w
from harness.target import Target
from harness.wire import ServerError, Wire

MakeGateway = Callable[..., Target]
PID = "SELECT pg_backend_pid()"


def primary_pid(wire: Wire) -> str | None:
    """Of the server connection to the primary: a transaction never runs on a replica here."""
    wire.query("BEGIN")
    pid = wire.value(PID)
    wire.query("COMMIT")
    return pid


def gateway_connections(cluster: Any, user: str = "gateway") -> int:
    with cluster.admin() as admin:
        row = admin.execute("SELECT count(*) FROM pg_stat_activity WHERE usename = %s", [user]).fetchone()
    return row[0]


@pytest.fixture
def quiet(cluster: Any) -> Any:
    """No server connections of an earlier test's gateway are left."""
    with cluster.admin() as admin:
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'gateway'")
    eventually(lambda: gateway_connections(cluster) == 0, "the end of earlier server connections")
    return cluster


def test_each_subject_has_a_pool_of_its_own(make_gateway: MakeGateway) -> None:
    target = make_gateway(general={"default_pool_size": 1})
    with target.wire("alice") as alice, target.wire("bob") as bob:
        alice.query("BEGIN")
        bob.query("BEGIN")

        assert alice.value(PID) != bob.value(PID)
        assert (alice.value("SELECT current_user"), bob.value("SELECT current_user")) == ("alice", "bob")


def test_clients_of_one_subject_share_server_connections_in_transaction_mode(
    make_gateway: MakeGateway,
) -> None:
    target = make_gateway(general={"default_pool_size": 1})
    clients = [target.wire("alice") for _ in range(5)]

    pids = {primary_pid(client) for client in clients for _ in range(3)}

    for client in clients:
        client.close()
    assert len(pids) == 1


def test_a_transaction_stays_on_one_server_connection(make_gateway: MakeGateway) -> None:
    target = make_gateway(general={"default_pool_size": 3})
    others = [target.wire("alice") for _ in range(2)]
    with target.wire("alice") as wire:
        wire.query("BEGIN")
        pids = set()
        for other in others * 5:
            other.value("SELECT 1")
            pids.add(wire.value(PID))
        wire.query("COMMIT")

    assert len(pids) == 1


def test_a_session_keeps_its_server_connection_in_session_mode(make_gateway: MakeGateway) -> None:
    target = make_gateway(general={"pooler_mode": "session", "default_pool_size": 3})
    with target.wire("alice") as one, target.wire("alice") as other:
        one.rows("CREATE TEMPORARY TABLE mine AS SELECT 42 AS answer")
        one.rows("SET work_mem = '9MB'")
        pids = set()
        for _ in range(5):
            other.value("SELECT 1")
            pids.add(one.value(PID))

        assert len(pids) == 1
        assert one.value("SELECT answer FROM mine") == "42"
        assert one.value("SHOW work_mem") == "9MB"


def test_nothing_of_a_session_stays_for_the_next_one(make_gateway: MakeGateway) -> None:
    target = make_gateway(general={"pooler_mode": "session", "default_pool_size": 1})
    with target.wire("alice") as first:
        first.rows("CREATE TEMPORARY TABLE mine ()")
        first.rows("SET work_mem = '9MB'")
        first.rows("PREPARE mine AS SELECT 1")
        first.rows("SELECT pg_advisory_lock(4711)")
        first.rows("LISTEN mine")
        first.rows("DECLARE mine CURSOR WITH HOLD FOR SELECT 1")

    with target.wire("alice") as second:
        assert second.value("SHOW work_mem") != "9MB"
        assert second.value("SELECT to_regclass('pg_temp.mine') IS NULL") == "t"
        assert second.value("SELECT count(*) FROM pg_prepared_statements") == "0"
        assert second.value("SELECT count(*) FROM pg_cursors") == "0"
        assert second.value("SELECT count(*) FROM pg_listening_channels()") == "0"
        assert second.value("SELECT pg_try_advisory_lock(4711)") == "t"
        assert second.value("SELECT current_user") == "alice"


def test_a_full_pool_gives_a_clear_error_and_the_session_goes_on(make_gateway: MakeGateway) -> None:
    target = make_gateway(general={"default_pool_size": 1, "checkout_timeout": 300})
    with target.wire("alice") as holder, target.wire("alice") as waiter:
        holder.query("BEGIN")
        holder.value(PID)

        waiter.send(w.query("BEGIN"), w.query(PID))
        error = w.error_of(waiter.until_ready())
        waiter.until_ready()
        holder.query("COMMIT")

        assert error["C"] == "53300"
        assert waiter.value("SELECT current_user") == "alice"


def test_a_full_pool_of_one_subject_holds_up_no_other(make_gateway: MakeGateway) -> None:
    target = make_gateway(general={"default_pool_size": 1, "checkout_timeout": 10_000})
    with target.wire("alice") as holder, target.wire("bob") as bob:
        holder.query("BEGIN")
        holder.value(PID)

        assert bob.value("SELECT current_user") == "bob"


def test_waiting_clients_are_served_in_order_of_arrival(make_gateway: MakeGateway, cluster: Any) -> None:
    target = make_gateway(general={"default_pool_size": 1, "checkout_timeout": 20_000})
    holder = target.wire("alice")
    holder.query("BEGIN")
    holder.value(PID)
    waiters = [target.wire("alice") for _ in range(6)]
    order: list[int] = []
    lock = threading.Lock()

    def wait(number: int) -> None:
        answer = waiters[number].query("BEGIN")
        with lock:
            order.append(number)
        assert w.types_of(answer) == "CZ"
        waiters[number].query("COMMIT")

    with concurrent.futures.ThreadPoolExecutor(len(waiters)) as pool:
        futures = []
        for number in range(len(waiters)):
            futures.append(pool.submit(wait, number))
            # Arrival cannot be seen from outside: leave each statement time to reach the queue.
            threading.Event().wait(0.1)
        holder.query("COMMIT")
        for future in futures:
            future.result(timeout=20)

    for client in (holder, *waiters):
        client.close()
    assert order == sorted(order)


def test_many_clients_over_few_server_connections(make_gateway: MakeGateway, quiet: Any) -> None:
    target = make_gateway(general={"default_pool_size": 3, "checkout_timeout": 30_000})

    def work(number: int) -> int:
        with target.wire("alice") as wire:
            return sum(int(wire.value(f"SELECT {number}") or 0) for _ in range(20))

    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(work, range(80)))

    assert answers == [number * 20 for number in range(80)]
    assert gateway_connections(quiet) <= 3


def test_idle_server_connections_are_closed(make_gateway: MakeGateway, quiet: Any) -> None:
    target = make_gateway(general={"idle_timeout": 300})
    with target.wire("alice") as wire:
        primary_pid(wire)
        assert gateway_connections(quiet) > 0

        eventually(lambda: gateway_connections(quiet) == 0, "the idle connections' end")
        assert wire.value("SELECT current_user") == "alice"


def test_old_server_connections_are_replaced(make_gateway: MakeGateway) -> None:
    target = make_gateway(general={"default_pool_size": 1, "server_lifetime": 500})
    with target.wire("alice") as wire:
        first = primary_pid(wire)

        eventually(lambda: primary_pid(wire) != first, "a new server connection")


def test_a_server_connection_that_died_while_idle_is_not_handed_out(
    make_gateway: MakeGateway, quiet: Any
) -> None:
    target = make_gateway()
    with target.wire("alice") as wire:
        for _ in range(3):
            primary_pid(wire)
            with quiet.admin() as admin:
                terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'gateway'"
                assert admin.execute(terminate).fetchall()
            eventually(lambda: gateway_connections(quiet) == 0, "the end of the server connections")

            assert primary_pid(wire)


def test_a_server_connection_that_dies_in_a_transaction_is_an_error_and_not_the_end(
    make_gateway: MakeGateway, quiet: Any
) -> None:
    target = make_gateway()
    with target.wire("alice") as wire:
        wire.query("BEGIN")
        pid = wire.value(PID)
        with quiet.admin() as admin:
            admin.execute("SELECT pg_terminate_backend(%s::int)", [pid])
        eventually(lambda: gateway_connections(quiet) == 0, "the server connection's end")

        answer = wire.query("SELECT 1")

        assert w.error_of(answer)["C"][:2] in ("57", "08")
        assert wire.value("SELECT current_user") == "alice"


def test_the_number_of_provisioned_pools_is_limited(make_gateway: MakeGateway) -> None:
    target = make_gateway(jwt={"max_pools": 2})
    with target.wire("alice") as alice, target.wire("bob") as bob:
        for wire in (alice, bob):
            wire.query("BEGIN")
            wire.value(PID)

        with pytest.raises(ServerError) as refused:
            target.wire("carol")

    assert refused.value.fields["S"] == "FATAL"
    # Nobody uses the other two any more, so one of them makes room.
    eventually(lambda: target.wire("carol").close() is None, "room for a third pool")


def test_pools_of_the_users_file_do_not_count_as_provisioned(make_gateway: MakeGateway) -> None:
    target = make_gateway(jwt={"max_pools": 1})
    with target.wire("alice") as alice, target.wire("reader") as reader:
        assert alice.value("SELECT current_user") == "alice"
        assert reader.value("SELECT current_user") == "reader"


def test_min_pool_size_keeps_connections_ready(make_gateway: MakeGateway, quiet: Any) -> None:
    make_gateway(general={"min_pool_size": 2, "idle_timeout": 300})

    eventually(lambda: gateway_connections(quiet, "service") >= 2, "two server connections")
