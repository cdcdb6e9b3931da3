"""Servers that fail, hang, lag or refuse: what clients notice, and what they do not."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from harness import Cluster, eventually
from harness import wire as w
from harness.activity import end_backends
from harness.freeze import frozen
from harness.target import Target
from harness.wire import Wire

MakeGateway = Callable[..., Target]

# `on` at a replica; a read for everybody, because it calls no function.
WHERE = "SELECT setting FROM in_hot_standby"
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
        eventually(lambda: not errors(wire.query("INSERT INTO notes (body) VALUES ('again')")), "a write")


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
                    end_backends(admin, f"pid = {pid}")


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
            eventually(banned(target, servers.replica.port), "the ban")
            assert places(wire, 20) == {"off": 20}

        eventually(lambda: not banned(target, servers.replica.port)(), "the end of the ban")
        assert places(wire, 10)["on"] > 0


def test_a_new_connection_to_a_frozen_replica_is_given_up(
    make_gateway: MakeGateway, servers: Cluster
) -> None:
    target = make_gateway(
        general={"load_balancing_strategy": "round_robin", **QUICK, "idle_healthcheck_delay": 60_000}
    )
    assert servers.replica
    with frozen(servers.replica), target.wire("alice") as wire:
        assert places(wire, 5) == {"off": 5}


def test_a_free_connection_is_checked_before_use(make_gateway: MakeGateway, servers: Cluster) -> None:
    checked = {"healthcheck_interval": 0, "idle_healthcheck_delay": 60_000}
    target = make_gateway(general={"load_balancing_strategy": "round_robin", **QUICK, **checked})
    assert servers.replica
    with target.wire("alice") as wire:
        assert places(wire, 10) == {"on": 5, "off": 5}
        with frozen(servers.replica):
            assert places(wire, 10) == {"off": 10}


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
            eventually(lambda wire=wire: not errors(wire.query(write)), "a write")


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
            eventually(lambda: places(wire, 5) == {"off": 5}, "reads on the primary")
        finally:
            replica.execute("SELECT pg_wal_replay_resume()")
        eventually(lambda: places(wire, 5)["on"] > 0, "reads on the replica")
