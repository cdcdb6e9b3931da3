"""One budget of server connections for all pools of a database: many subjects, few servers."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from harness import Cluster, eventually, merged
from harness import wire as w
from harness.activity import end_backends
from harness.cluster import DATABASE
from harness.ports import free_port
from harness.target import Target
from harness.wire import ServerError, Wire

MakeGateway = Callable[..., Target]
PID = "SELECT pg_backend_pid()"
ADMIN = {"name": "admin", "user": "admin", "password": "admin-secret"}
# Logs in for the gateways of this file alone, so that their server connections can be counted.
ACCOUNT, ACCOUNT_PASSWORD = "budgeted", "budgeted-secret"
SUBJECTS = [f"subject {number}" for number in range(300)]


@pytest.fixture(scope="module")
def accounts(cluster: Any) -> Iterator[Cluster]:
    """Three hundred subjects with a row each, and the account that becomes them."""
    with cluster.admin() as admin:
        admin.execute(f"CREATE ROLE {ACCOUNT} LOGIN NOINHERIT PASSWORD '{ACCOUNT_PASSWORD}'")
        admin.execute(f"GRANT alice, bob, carol TO {ACCOUNT}")
        names = ", ".join(f'"{name}"' for name in SUBJECTS)
        for name in SUBJECTS:
            admin.execute(f'CREATE ROLE "{name}" NOLOGIN')
            admin.execute("INSERT INTO notes (owner, body) VALUES (%s, %s)", [name, f"of {name}"])
        admin.execute(f"GRANT subjects TO {names}")
        admin.execute(f"GRANT {names} TO {ACCOUNT}")
    yield cluster
    with cluster.admin() as admin:
        end_backends(admin, f"usename = '{ACCOUNT}'")
        admin.execute("DELETE FROM notes WHERE owner LIKE 'subject %'")
        admin.execute(f"DROP ROLE {names}, {ACCOUNT}")


@pytest.fixture
def make_budget(make_gateway: MakeGateway, accounts: Cluster) -> Callable[..., Target]:
    """A gateway in front of the primary alone, with a budget."""

    def make(budget: int | None, *, general: dict[str, Any] | None = None, **tables: Any) -> Target:
        primary = accounts.primary
        database: dict[str, Any] = {"name": DATABASE, "host": primary.host, "port": primary.port}
        if budget:
            database["max_server_connections"] = budget
        account = {"jwt_server_user": ACCOUNT, "jwt_server_password": ACCOUNT_PASSWORD}
        return make_gateway(
            general={"checkout_timeout": 20_000, **account, **(general or {})},
            databases=[database],
            admin=ADMIN,
            **tables,
        )

    return make


def connections(cluster: Any) -> int:
    """What PostgreSQL counts: the pools' connections, without the monitor's."""
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND application_name <> 'pgdog-jwt monitor'"
    )
    with cluster.admin() as admin:
        return int(admin.execute(query, [ACCOUNT]).fetchone()[0])


class Count:
    """The most connections that PostgreSQL ever had while this ran."""

    def __init__(self, cluster: Any) -> None:
        self.cluster, self.most, self.looks = cluster, 0, 0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        query = (
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE usename = %s AND application_name <> 'pgdog-jwt monitor'"
        )
        with self.cluster.admin() as admin:
            while not self.done.wait(0.002):
                self.most = max(self.most, int(admin.execute(query, [ACCOUNT]).fetchone()[0]))
                self.looks += 1

    def __enter__(self) -> Count:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()


def show(target: Target, command: str) -> list[dict[str, Any]]:
    options = {"dbname": "admin", "row_factory": dict_row}
    with target.connect("admin", "admin-secret", **options) as connection:  # type: ignore[arg-type]
        return connection.execute(f"SHOW {command}").fetchall()  # type: ignore[return-value]


def budget(target: Target) -> tuple[int | None, int, int]:
    """Limit, used, clients that wait for it."""
    (row,) = show(target, "DATABASES")
    return row["max_server_connections"], row["server_connections"], row["cl_waiting_for_budget"]


def hold(wire: Wire) -> str | None:
    """Keeps a server connection until COMMIT."""
    wire.query("BEGIN")
    return wire.value(PID)


def reload(target: Target, budget: int | None) -> None:
    databases = [dict(database) for database in target.gateway.config["databases"]]
    for database in databases:
        database.pop("max_server_connections", None)
        if budget:
            database["max_server_connections"] = budget
    target.gateway.write({**target.gateway.config, "databases": databases})
    target.gateway.send(signal.SIGHUP)


def test_three_hundred_subjects_share_eight_servers(make_budget: Any, accounts: Cluster) -> None:
    target = make_budget(8, jwt={"max_pools": 300})
    wires: dict[str, Wire] = {}
    chance = random.Random(7)

    def work(names: list[str]) -> int:
        for name in names:
            wires[name] = target.wire(name)
        count = 0
        for _ in range(3):
            chance.shuffle(names)
            for name in names:
                wire = wires[name]
                assert wire.value("SELECT current_user") == name
                assert wire.rows("SELECT owner, body FROM notes") == [(name, f"of {name}")]
                count += 2
        return count

    with Count(accounts) as counted, ThreadPoolExecutor(12) as threads:
        done = sum(threads.map(work, [SUBJECTS[start::12] for start in range(12)]))

    for wire in wires.values():
        wire.close()
    assert done == 3 * 2 * len(SUBJECTS)
    assert counted.looks > 100
    assert counted.most <= 8, "more server connections than the budget has"
    limit, used, waiting = budget(target)
    assert (limit, waiting) == (8, 0)
    assert used == connections(accounts) <= 8


def test_the_connection_that_was_idle_for_longest_makes_room(make_budget: Any, accounts: Cluster) -> None:
    target = make_budget(2)
    with target.wire("alice") as alice, target.wire("bob") as bob, target.wire("carol") as carol:
        alices, bobs = alice.value(PID), bob.value(PID)
        # It was made first, and is used last.
        assert alice.value(PID) == alices

        carols = carol.value(PID)

        with accounts.admin() as admin:
            rows = admin.execute(
                "SELECT pid::text FROM pg_stat_activity WHERE usename = %s", [ACCOUNT]
            ).fetchall()
        pids = {pid for (pid,) in rows}
        assert {alices, carols} <= pids
        assert bobs not in pids
        assert alice.value(PID) == alices
        assert bob.value("SELECT current_user") == "bob"


def test_clients_are_served_in_order_of_arrival_over_all_pools(make_budget: Any) -> None:
    target = make_budget(1)
    # The holder's own pool would go on with the third and the fifth: they came later.
    names = ["bob", "carol", "alice", "bob", "alice"]
    holder = target.wire("alice")
    waiters = []
    for name in names:
        waiters.append(target.wire(name))
    hold(holder)
    order: list[int] = []

    def wait(number: int) -> None:
        hold(waiters[number])
        order.append(number)
        waiters[number].query("COMMIT")

    with ThreadPoolExecutor(len(names)) as threads:
        tasks = []
        for number in range(len(names)):
            tasks.append(threads.submit(wait, number))
            eventually(lambda: waiting_clients(target) == len(tasks), "one more in the queue")
        holder.query("COMMIT")
        for task in tasks:
            task.result(20)

    for wire in [holder, *waiters]:
        wire.close()
    assert order == sorted(order)


def waiting_clients(target: Target) -> int:
    return sum(row["cl_waiting"] for row in show(target, "POOLS"))


def test_a_busy_pool_gives_way_to_one_that_waits(make_budget: Any) -> None:
    target = make_budget(1)
    stop = threading.Event()

    def insist() -> int:
        count = 0
        with target.wire("alice") as wire:
            while not stop.is_set():
                wire.value("SELECT 1")
                count += 1
        return count

    with ThreadPoolExecutor(4) as threads:
        busy = [threads.submit(insist) for _ in range(4)]
        with target.wire("bob") as bob:
            for _ in range(20):
                assert bob.value("SELECT current_user") == "bob"
        stop.set()
        counts = [task.result(20) for task in busy]

    assert min(counts) > 0


def test_a_spent_budget_gives_a_clear_error_and_the_session_goes_on(make_budget: Any) -> None:
    target = make_budget(1, general={"checkout_timeout": 300})
    with target.wire("alice") as holder, target.wire("alice") as other:
        bob = target.wire("bob")
        hold(holder)
        for waiter in (bob, other):
            error = w.error_of(waiter.query(PID))
            assert error["C"] == "53300"
            assert "max_server_connections" in error["H"]
        assert target.refusal("carol")["C"] == "53300"
        holder.query("COMMIT")

        assert bob.value("SELECT current_user") == "bob"
        assert other.value("SELECT current_user") == "alice"
        bob.close()


def test_a_full_pool_is_not_blamed_on_the_budget(make_budget: Any) -> None:
    target = make_budget(5, general={"checkout_timeout": 300, "default_pool_size": 1})
    with target.wire("alice") as holder, target.wire("alice") as waiter:
        hold(holder)

        assert "pool_size" in w.error_of(waiter.query(PID))["H"]


def test_nothing_that_goes_wrong_costs_a_share(make_budget: Any, accounts: Cluster) -> None:
    target = make_budget(3, general={"checkout_timeout": 200, "rollback_timeout": 500})
    names = ["alice", "bob", "carol", *SUBJECTS[:5]]
    chance = random.Random(3)

    def misbehave(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(15):
            name = chance.choice(names)
            with contextlib.suppress(ServerError, EOFError, ConnectionError):
                wire = target.wire(name)
                match chance.randrange(6):
                    case 0:
                        hold(wire)  # and leave
                    case 1:
                        wire.query("BEGIN; SELECT 1/0")
                    case 2:
                        wire.query("SELECT pg_terminate_backend(pg_backend_pid())")
                    case 3:
                        wire.send(w.query("SELECT pg_sleep(0.1)"))  # and leave
                    case 4:
                        wire.query("LISTEN news")
                    case 5:
                        target.refusal("stranger")
                wire.close()

    with Count(accounts) as counted, ThreadPoolExecutor(8) as threads:
        list(threads.map(misbehave, (chance.random() for _ in range(8))))

    assert counted.most >= 3
    eventually(lambda: budget(target)[1:] == (connections(accounts), 0), "the count to be right again")
    wires = [target.wire(name) for name in ("alice", "bob", "carol")]
    pids = {hold(wire) for wire in wires}
    for wire in wires:
        wire.close()
    assert len(pids) == 3, "all of the budget can still be had"


def test_min_pool_size_does_not_keep_the_budget_from_others(make_budget: Any, accounts: Cluster) -> None:
    service = {"name": "service", "database": DATABASE, "password": "service-secret", "min_pool_size": 2}
    service |= {"server_user": ACCOUNT, "server_password": ACCOUNT_PASSWORD}
    target = make_budget(2, users=[service])
    eventually(lambda: connections(accounts) == 2, "two connections ahead of need")

    with target.wire("alice") as alice, target.wire("bob") as bob:
        assert hold(alice)
        assert hold(bob)
        assert budget(target) == (2, 2, 0)


def test_a_reload_changes_the_budget_at_once(make_budget: Any, accounts: Cluster) -> None:
    target = make_budget(None)
    wires = [target.wire(name) for name in SUBJECTS[:6]]
    pids = [hold(wire) for wire in wires]
    assert len(set(pids)) == 6
    for wire in wires[2:]:
        wire.query("COMMIT")
    assert budget(target) == (None, 6, 0)

    reload(target, 1)
    # Free ones are closed, those in use as they come back.
    eventually(lambda: budget(target) == (1, 2, 0), "the free ones to be closed")
    wires[0].query("COMMIT")
    eventually(lambda: connections(accounts) == 1, "the next to be closed")
    wires[1].query("COMMIT")
    for name, wire in zip(SUBJECTS, wires, strict=False):
        assert wire.value("SELECT current_user") == name
    assert connections(accounts) == 1

    reload(target, 3)
    eventually(lambda: budget(target)[0] == 3, "more room")
    assert len({hold(wire) for wire in wires[:3]}) == 3
    reload(target, None)
    eventually(lambda: budget(target)[0] is None, "no limit")
    assert len({hold(wire) for wire in wires[3:]}) == 3
    for wire in wires:
        wire.close()


def test_a_server_described_anew_keeps_its_count(make_budget: Any, accounts: Cluster) -> None:
    target = make_budget(2)
    with target.wire("alice") as alice, target.wire("bob") as bob, target.wire("carol") as carol:
        hold(alice)
        bob.value(PID)
        databases = [{**target.gateway.config["databases"][0], "lb_weight": 7}]
        target.gateway.write(merged(target.gateway.config, {"databases": databases}))
        target.gateway.send(signal.SIGHUP)
        eventually(lambda: show(target, "DATABASES")[0]["lb_weight"] == 7, "the reload")

        hold(carol)

        assert connections(accounts) == 2
        assert budget(target)[:2] == (2, 2)


def test_the_monitor_has_a_connection_beside_the_budget(make_budget: Any, accounts: Cluster) -> None:
    target = make_budget(1, general={"idle_healthcheck_delay": 0, "idle_healthcheck_interval": 200})
    with target.wire("alice") as alice:
        hold(alice)
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND application_name LIKE '%% monitor'"
        )
        with accounts.admin() as admin:
            eventually(lambda: admin.execute(query, [ACCOUNT]).fetchone() == (1,), "the monitor's connection")
        assert budget(target) == (1, 1, 0)


def test_pools_of_subjects_end_when_they_are_idle(make_budget: Any) -> None:
    target = make_budget(None, general={"idle_timeout": 200}, jwt={"max_pools": 3})

    def subject_pools() -> int:
        return next(row["items"] for row in show(target, "LISTS") if row["list"] == "subject_pools")

    for name in SUBJECTS[:5]:
        # The one left first makes room for the fourth and the fifth.
        target.wire(name).close()
    assert subject_pools() == 3
    eventually(lambda: subject_pools() == 0, "the end of idle pools")

    wires = [target.wire(name) for name in SUBJECTS[5:8]]
    with pytest.raises(ServerError):
        target.wire(SUBJECTS[8])
    assert [wire.value("SELECT current_user") for wire in wires] == SUBJECTS[5:8]
    for wire in wires:
        wire.close()


def test_the_metrics_have_the_budget(make_budget: Any) -> None:
    port = free_port()
    target = make_budget(1, general={"openmetrics_port": port, "openmetrics_host": "127.0.0.1"})
    with target.wire("alice") as alice, target.wire("bob") as bob, ThreadPoolExecutor(1) as threads:
        hold(alice)
        waiter = threads.submit(bob.value, "SELECT current_user")
        eventually(lambda: budget(target)[2] == 1, "a client that waits")
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
        alice.query("COMMIT")
        assert waiter.result(10) == "bob"

    for name in ("server_budget", "server_budget_used", "server_budget_waiting"):
        (line,) = [line for line in text.splitlines() if line.startswith(f"pgdog_jwt_{name}{{")]
        assert line.endswith(" 1"), line


def test_a_client_that_leaves_the_queue_costs_nobody_a_turn(make_budget: Any) -> None:
    target = make_budget(1)
    with target.wire("alice") as holder, target.wire("carol") as carol:
        leaver = target.wire("bob")
        hold(holder)
        leaver.send(w.query(PID))
        eventually(lambda: waiting_clients(target) == 1, "the first in the queue")
        with ThreadPoolExecutor(1) as threads:
            waiter = threads.submit(carol.value, "SELECT current_user")
            eventually(lambda: waiting_clients(target) == 2, "the second in the queue")
            leaver.close()
            holder.query("COMMIT")
            assert waiter.result(10) == "carol"
    with contextlib.suppress(psycopg.Error), target.connect("bob") as bob:
        assert bob.execute("SELECT current_user").fetchone() == ("bob",)
