"""Servers that fail, hang, lag or refuse: what clients notice, and what they do not."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness import Cluster, eventually
from harness import wire as w
from harness.freeze import frozen
from harness.target import Target
from harness.wire import ServerError, Wire

MakeGateway = Callable[..., Target]

# `on` at a replica; a read for everybody, because it calls no function.
WHERE = "SELECT setting FROM pg_settings WHERE name = 'in_hot_standby'"
# At the primary: row locks are writes.
SLEEP = "SELECT pg_sleep(30) FROM notes LIMIT 1 FOR UPDATE"
QUICK = {"connect_timeout": 500, "healthcheck_timeout": 500, "idle_healthcheck_delay": 0}


def errors(messages: list[w.Message]) -> list[str]:
    return [message.fields["C"] for message in messages if message.type == "E"]


def places(wire: Wire, count: int) -> Counter[str]:
    return Counter(str(wire.value(WHERE)) for _ in range(count))


def banned(target: Target, port: int) -> Callable[[], bool]:
    """Whether the log says that the server is banned."""

    def check() -> bool:
        events = [event for event in target.gateway.log() if event.get("event") in ("ban", "unban")]
        mine = [event["event"] for event in events if event["address"].endswith(f":{port}")]
        return bool(mine) and mine[-1] == "ban"

    return check


def gateway_backends(servers: Cluster, where: str) -> list[int]:
    with servers.admin() as admin:
        query = f"SELECT pid FROM pg_stat_activity WHERE usename = 'gateway' AND {where}"
        return [row[0] for row in admin.execute(query)]


def test_a_killed_server_process_is_one_error_and_the_session_goes_on(
    make_gateway: MakeGateway, servers: Cluster
) -> None:
    target = make_gateway()
    with target.wire("alice") as wire:
        wire.send(w.query(SLEEP))
        busy = eventually(lambda: gateway_backends(servers, "query LIKE '%pg_sleep(30)%'"), "the statement")

        os.kill(busy[0], signal.SIGKILL)
        messages = wire.until_ready()

        assert errors(messages) in (["08006"], ["57P01"], ["57P02"])
        # PostgreSQL ends all its sessions when one of its processes is killed, and recovers.
        eventually(lambda: not errors(wire.query("INSERT INTO notes (body) VALUES ('again')")), "a write", 15)


def test_a_server_connection_that_dies_while_it_is_free_is_not_noticed(
    make_gateway: MakeGateway, servers: Cluster
) -> None:
    target = make_gateway()
    with target.wire("alice") as wire:
        for _ in range(5):
            assert not errors(wire.query("UPDATE notes SET body = body"))
            mine = "application_name <> 'pgdog-jwt monitor'"
            with servers.admin() as admin:
                for pid in gateway_backends(servers, mine):
                    admin.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


def test_reads_do_not_notice_that_a_replica_stops_and_returns(
    make_gateway: MakeGateway, servers: Cluster
) -> None:
    target = make_gateway(general={"load_balancing_strategy": "round_robin", **QUICK})
    assert servers.replica
    with target.wire("alice") as wire:
        assert places(wire, 10) == {"on": 5, "off": 5}

        servers.replica.stop()
        assert places(wire, 20) == {"off": 20}

        servers.replica.start()
        eventually(lambda: not banned(target, servers.replica.port)(), "the end of the ban")
        assert places(wire, 10)["on"] > 0


def test_a_frozen_replica_gets_no_more_reads(make_gateway: MakeGateway, servers: Cluster) -> None:
    target = make_gateway(general={"load_balancing_strategy": "round_robin", **QUICK})
    assert servers.replica
    with target.wire("alice") as wire:
        assert places(wire, 10) == {"on": 5, "off": 5}

        with frozen(servers.replica):
            eventually(banned(target, servers.replica.port), "the ban", 5)
            started = time.monotonic()
            assert places(wire, 20) == {"off": 20}
            assert time.monotonic() - started < 2

        eventually(lambda: not banned(target, servers.replica.port)(), "the end of the ban", 5)
        assert places(wire, 10)["on"] > 0


def test_a_new_connection_to_a_frozen_replica_is_given_up(
    make_gateway: MakeGateway, servers: Cluster
) -> None:
    target = make_gateway(
        general={"load_balancing_strategy": "round_robin", **QUICK, "idle_healthcheck_delay": 60_000}
    )
    assert servers.replica
    with frozen(servers.replica), target.wire("alice") as wire:
        started = time.monotonic()
        assert places(wire, 5) == {"off": 5}
        assert time.monotonic() - started < 4


def test_a_free_connection_is_checked_before_use(make_gateway: MakeGateway, servers: Cluster) -> None:
    checked = {"healthcheck_interval": 0, "idle_healthcheck_delay": 60_000}
    target = make_gateway(general={"load_balancing_strategy": "round_robin", **QUICK, **checked})
    assert servers.replica
    with target.wire("alice") as wire:
        assert places(wire, 10) == {"on": 5, "off": 5}
        with frozen(servers.replica):
            started = time.monotonic()
            assert places(wire, 10) == {"off": 10}
            assert time.monotonic() - started < 4


def test_a_restart_of_the_primary_is_one_error_at_most(make_gateway: MakeGateway, servers: Cluster) -> None:
    target = make_gateway()
    write = "INSERT INTO notes (body) VALUES ('restarted')"
    with target.wire("alice") as idle, target.wire("alice") as busy, target.wire("alice") as inside:
        for wire in (idle, busy, inside):
            assert not errors(wire.query(write))
        inside.query("BEGIN")
        inside.query(write)
        busy.send(w.query(SLEEP))
        eventually(lambda: gateway_backends(servers, "query LIKE '%pg_sleep(30)%'"), "the statement")

        servers.primary.stop()
        assert errors(busy.until_ready()) in (["57P01"], ["08006"])
        assert errors(inside.query(write)) in (["57P01"], ["08006"])
        assert errors(idle.query(write)) in (["57P03"], ["08006"])
        servers.primary.start()

        for wire in (idle, busy, inside):
            eventually(lambda wire=wire: not errors(wire.query(write)), "a write", 10)


@pytest.mark.parametrize("split", ["include_primary", "include_primary_if_replica_banned", "prefer_primary"])
def test_reads_go_on_while_the_primary_is_away(
    make_gateway: MakeGateway, servers: Cluster, split: str
) -> None:
    target = make_gateway(general={"read_write_split": split, **QUICK})
    preferred = {"prefer_primary": {"off"}, "include_primary_if_replica_banned": {"on"}}
    with target.wire("alice") as wire:
        assert places(wire, 30).keys() == preferred.get(split, {"on", "off"})

        servers.primary.stop()

        assert places(wire, 10) == {"on": 10}
        with target.wire("bob") as other:
            assert places(other, 5) == {"on": 5}


def test_weights_are_shares_of_reads(make_gateway: MakeGateway, cluster: Any) -> None:
    target = weighted(make_gateway, cluster, 3, 1)
    with target.wire("alice") as wire:
        assert places(wire, 40) == {"off": 30, "on": 10}


def test_a_server_of_weight_0_is_the_last_resort(make_gateway: MakeGateway, servers: Cluster) -> None:
    target = weighted(make_gateway, servers, 0, 1)
    assert servers.replica
    with target.wire("alice") as wire:
        assert places(wire, 10) == {"on": 10}
        servers.replica.stop()
        assert places(wire, 10) == {"off": 10}


def weighted(make_gateway: MakeGateway, cluster: Any, primary: int, replica: int) -> Target:
    servers = [("primary", cluster.primary, primary), ("replica", cluster.replica, replica)]
    databases = [
        {"name": "demo", "host": server.host, "port": server.port, "role": role, "lb_weight": weight}
        for role, server, weight in servers
    ]
    return make_gateway(databases=databases, general={"load_balancing_strategy": "weighted_round_robin"})


def test_a_lagging_replica_gets_no_reads_until_it_has_caught_up(
    make_gateway: MakeGateway, servers: Cluster
) -> None:
    split = {"read_write_split": "include_primary_if_replica_banned", "ban_replica_lag": 300}
    target = make_gateway(general={**split, **QUICK})
    assert servers.replica
    with target.wire("alice") as wire, servers.replica.admin() as replica:
        assert places(wire, 10) == {"on": 10}
        replica.execute("SELECT pg_wal_replay_pause()")
        try:
            wire.rows("INSERT INTO notes (body) VALUES ('not replayed')")
            eventually(lambda: places(wire, 5) == {"off": 5}, "reads on the primary", 10)
        finally:
            replica.execute("SELECT pg_wal_replay_resume()")
        eventually(lambda: places(wire, 5)["on"] > 0, "reads on the replica", 10)


def test_refused_credentials_of_a_monitor_ban_nobody(make_gateway: MakeGateway, cluster: Any) -> None:
    target = make_gateway(general={"jwt_server_password": "wrong", **QUICK})
    with target.connect("service", "service-secret") as service:
        time.sleep(1.5)
        found = {service.execute(WHERE).fetchone() for _ in range(40)}
    assert found == {("on",), ("off",)}
    assert [event for event in target.gateway.log() if event.get("event") == "ban"] == []


@pytest.fixture
def latecomer(cluster: Any) -> Iterator[str]:
    """The name of a role that does not exist yet."""
    yield "latecomer"
    with cluster.admin() as admin:
        admin.execute("DROP ROLE IF EXISTS latecomer")


def test_a_refused_role_is_not_tried_again_for_a_while(
    make_gateway: MakeGateway, servers: Cluster, latecomer: str
) -> None:
    target = make_gateway()

    def attempts() -> int:
        return servers.primary.log_text().count(f'role "{latecomer}" does not exist')

    before = attempts()
    for _ in range(5):
        assert target.refusal(latecomer)["C"] == "28000"
    assert attempts() == before + 1

    with servers.admin() as admin:
        admin.execute(f"CREATE ROLE {latecomer}")
        admin.execute(f"GRANT subjects TO {latecomer}")
        admin.execute(f"GRANT {latecomer} TO gateway")
    user = eventually(lambda: target.wire(latecomer).value("SELECT current_user"), "a login", 5, 0.2)
    assert user == latecomer


class SilentServer:
    """Accepts connections, counts those that are open at once, and never says a word."""

    def __init__(self, *, patient: bool = True) -> None:
        self.patient = patient
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.open = 0
        self.most = 0
        self.total = 0
        self.lock = threading.Lock()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.open += 1
                self.total += 1
                self.most = max(self.most, self.open)
            threading.Thread(target=self.swallow, args=[client], daemon=True).start()

    def swallow(self, client: socket.socket) -> None:
        with client:
            try:
                while client.recv(4096) and self.patient:
                    pass
            except OSError:
                pass
        with self.lock:
            self.open -= 1


def test_a_storm_of_logins_does_not_become_a_storm_of_connections(make_gateway: MakeGateway) -> None:
    server = SilentServer()
    database = {"name": "demo", "host": "127.0.0.1", "port": server.port, "pool_size": 50}
    target = make_gateway(databases=[database], general={"connect_timeout": 1000, "checkout_timeout": 2000})
    codes: list[str] = []

    def log_in() -> None:
        try:
            target.wire("alice").close()
        except ServerError as error:
            codes.append(error.sqlstate)

    clients = [threading.Thread(target=log_in) for _ in range(40)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(20)
    server.listener.close()

    assert codes == ["08006"] * 40
    assert 1 <= server.most <= 9, "8, and the monitor's"


def test_a_connection_is_tried_connect_attempts_times(make_gateway: MakeGateway) -> None:
    server = SilentServer(patient=False)
    database = {"name": "demo", "host": "127.0.0.1", "port": server.port}
    tries = {"connect_attempts": 3, "connect_attempt_delay": 100, "idle_healthcheck_delay": 60_000}
    target = make_gateway(databases=[database], general={**tries, "tls_verify": "disabled"})

    started = time.monotonic()
    assert target.refusal("alice")["C"] == "08006"

    assert time.monotonic() - started >= 0.2
    assert server.total == 3
    server.listener.close()


def test_server_connections_do_not_outlive_their_lifetime(make_gateway: MakeGateway, cluster: Any) -> None:
    target = make_gateway(general={"server_lifetime": 300, "server_lifetime_jitter": 100})
    with target.wire("alice") as wire:
        primary = "SELECT pg_backend_pid() FROM notes FOR UPDATE LIMIT 1"
        first = wire.value(primary)
        time.sleep(0.5)
        wire.value(primary)
        assert wire.value(primary) != first
