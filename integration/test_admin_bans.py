"""BAN and UNBAN: the administrator keeps reads away from a server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from harness import Cluster, eventually
from harness.target import Target
from harness.wire import Wire

MakeGateway = Callable[..., Target]
PASSWORD = "admin-secret"
ADMIN = {"name": "admin", "user": "admin", "password": PASSWORD}

# `on` at a replica; a read for everybody, because it calls no function.
WHERE = "SELECT setting FROM in_hot_standby"
GENERAL = {"load_balancing_strategy": "round_robin", "idle_healthcheck_delay": 0}


@pytest.fixture
def target(make_gateway: MakeGateway) -> Target:
    return make_gateway(admin=ADMIN, general=GENERAL)


def admin(target: Target, command: str) -> list[dict[str, Any]]:
    with target.connect("admin", PASSWORD, dbname="admin", row_factory=dict_row) as connection:
        cursor = connection.execute(command)
        return cursor.fetchall() if cursor.description else [{"tag": cursor.statusmessage}]


def places(wire: Wire, count: int = 10) -> Counter[str]:
    return Counter(str(wire.value(WHERE)) for _ in range(count))


def address(server: Any) -> str:
    return f"{server.host}:{server.port}"


def number(target: Target, port: int) -> int:
    return next(row["id"] for row in admin(target, "SHOW POOLS") if row["port"] == port)


@pytest.mark.parametrize("by", ["address", "quoted", "number", "database", "nothing"])
def test_a_banned_server_gets_no_reads_until_the_ban_is_ended(target: Target, cluster: Any, by: str) -> None:
    replica = cluster.replica
    with target.wire("alice") as wire:
        assert places(wire) == {"on": 5, "off": 5}
        named = {
            "address": address(replica),
            "quoted": f"'{address(replica)}'",
            "number": str(number(target, replica.port)),
            "database": "demo",
            "nothing": "",
        }[by]

        assert admin(target, f"BAN {named}") == [{"tag": "BAN 1"}]
        assert places(wire) == {"off": 10}
        (ban,) = admin(target, "SHOW BANS")
        assert (ban["port"], ban["reason"], ban["until"]) == (
            replica.port,
            "the administrator banned it",
            None,
        )
        pools = {row["port"]: row for row in admin(target, "SHOW POOLS")}
        assert (pools[replica.port]["banned"], pools[cluster.primary.port]["banned"]) == (True, False)
        assert pools[replica.port]["online"], "a ban by hand says nothing about health"

        assert admin(target, f"UNBAN {named}")[0]["tag"] in ("UNBAN 1", "UNBAN 2")
        assert admin(target, "SHOW BANS") == []
        assert places(wire) == {"on": 5, "off": 5}


def test_a_ban_outlives_checks_and_reloads(target: Target, cluster: Any) -> None:
    with target.wire("alice") as wire:
        admin(target, f"BAN {address(cluster.replica)}")
        started = cluster.replica.admin().execute("SELECT now()").fetchone()
        admin(target, "RELOAD")

        def checked() -> bool:
            """Whether the monitor has looked since, twice."""
            query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgdog-jwt monitor' \
                     AND query_start > %s + interval '1.5 s'"
            with cluster.replica.admin() as replica:
                return replica.execute(query, started).fetchone() != (0,)

        eventually(checked, "a check")
        assert places(wire) == {"off": 10}


def test_the_primary_takes_writes_whatever_is_banned(target: Target, cluster: Any) -> None:
    with target.wire("alice") as wire:
        assert admin(target, f"BAN {address(cluster.primary)}") == [{"tag": "BAN 1"}]
        assert places(wire) == {"on": 10}
        wire.rows("INSERT INTO notes (body) VALUES ('banned')")


def test_a_read_only_user_keeps_the_only_replica(target: Target, cluster: Any) -> None:
    admin(target, "BAN")
    with target.wire("reader") as wire:
        assert places(wire, 3) == {"on": 3}


def test_unban_ends_the_ban_of_a_server_that_failed(make_gateway: MakeGateway, servers: Cluster) -> None:
    # No check that would end it by itself.
    general = {**GENERAL, "idle_healthcheck_delay": 60_000, "connect_timeout": 500}
    target = make_gateway(admin=ADMIN, general=general)
    assert servers.replica
    with target.wire("alice") as wire:
        places(wire)
        servers.replica.stop()
        assert places(wire) == {"off": 10}
        assert [row["port"] for row in admin(target, "SHOW BANS")] == [servers.replica.port]
        servers.replica.start()

        admin(target, f"UNBAN {address(servers.replica)}")

        assert admin(target, "SHOW BANS") == []
        assert places(wire) == {"on": 5, "off": 5}


def test_what_is_no_server_is_refused_with_advice(target: Target) -> None:
    for command in ("BAN elsewhere:5432", "UNBAN nothing", "BAN 99999"):
        with pytest.raises(psycopg.Error) as refused:
            admin(target, command)
        assert refused.value.sqlstate == "42704"
        assert "SHOW DATABASES" in str(refused.value)


def test_who_banned_is_in_the_log(target: Target, cluster: Any) -> None:
    admin(target, f"BAN {address(cluster.replica)}")
    admin(target, f"UNBAN {address(cluster.replica)}")
    log = target.gateway.log()
    assert [event["command"] for event in log if event.get("event") == "admin"] == ["BAN", "UNBAN"]
    assert [event["event"] for event in log if event.get("event") in ("ban", "unban")] == ["ban", "unban"]


def test_every_command_is_listed_by_help(target: Target) -> None:
    listed = {row["command"].split()[0] for row in admin(target, "SHOW HELP")}
    assert listed == {
        "SHOW",
        "RELOAD",
        "RECONNECT",
        "PAUSE",
        "RESUME",
        "BAN",
        "UNBAN",
        "KILL",
        "WAIT_CLOSE",
        "DISABLE",
        "ENABLE",
        "FLUSH",
        "REVOKE",
        "UNREVOKE",
        "SHUTDOWN",
    }


def test_lag_in_bytes_keeps_reads_away(make_gateway: MakeGateway, servers: Cluster) -> None:
    split = {"read_write_split": "include_primary_if_replica_banned", "ban_replica_lag_bytes": 10_000}
    target = make_gateway(admin=ADMIN, general={**GENERAL, **split})
    assert servers.replica
    with target.wire("alice") as wire, servers.replica.admin() as replica:
        assert places(wire) == {"on": 10}
        replica.execute("SELECT pg_wal_replay_pause()")
        try:
            wire.rows("INSERT INTO notes (body) SELECT repeat('x', 100) FROM generate_series(1, 1000)")
            eventually(lambda: places(wire, 5) == {"off": 5}, "reads on the primary")
            assert [row["reason"] for row in admin(target, "SHOW BANS")] == ["it lags too far behind"]
        finally:
            replica.execute("SELECT pg_wal_replay_resume()")
        eventually(lambda: places(wire, 5)["on"] > 0, "reads on the replica")
        wire.rows("DELETE FROM notes WHERE body = repeat('x', 100)")
