"""SHOW STATS and its parts: PgBouncer's columns, and what they count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness import primary_alone
from harness import wire as w
from harness.target import Target

MakeGateway = Callable[..., Target]

pytestmark = pytest.mark.gateway("PgDog has an admin database of its own")

PASSWORD = "admin-secret"
ADMIN = {"name": "admin", "user": "admin", "password": PASSWORD}

# As in PgBouncer's src/stats.c.
TOTALS = [
    "total_server_assignment_count",
    "total_xact_count",
    "total_query_count",
    "total_received",
    "total_sent",
    "total_xact_time",
    "total_query_time",
    "total_wait_time",
    "total_client_parse_count",
    "total_server_parse_count",
    "total_bind_count",
    "total_client_login_count",
]
AVERAGES = [
    "avg_server_assignment_count",
    "avg_xact_count",
    "avg_query_count",
    "avg_recv",
    "avg_sent",
    "avg_xact_time",
    "avg_query_time",
    "avg_wait_time",
    "avg_client_parse_count",
    "avg_server_parse_count",
    "avg_bind_count",
    "avg_client_login_count",
]
PART = [
    "server_assignment_count",
    "xact_count",
    "query_count",
    "bytes_received",
    "bytes_sent",
    "xact_time",
    "query_time",
    "wait_time",
]
COUNTS = ["client_parse_count", "server_parse_count", "bind_count", "client_login_count"]


def table(target: Target, command: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    with target.connect("admin", PASSWORD, dbname="admin") as connection:
        cursor = connection.execute(f"SHOW {command}")
        return [column.name for column in cursor.description or ()], cursor.fetchall()


def counts(target: Target) -> tuple[int, ...]:
    """Statements of clients, those that servers were told, binds, logins; once all sessions have ended."""
    names, rows = table(target, "STATS demo")
    row = dict(zip(names, rows[0], strict=True)) if rows else dict.fromkeys(TOTALS, 0)
    return tuple(row[f"total_{name}"] for name in COUNTS)


def test_columns_are_those_of_pgbouncer_in_its_order(make_gateway: MakeGateway) -> None:
    target = make_gateway(admin=ADMIN)

    assert table(target, "STATS")[0] == ["database", *TOTALS, *AVERAGES, "total_errors", "avg_errors"]
    assert table(target, "STATS_TOTALS")[0] == ["database", *PART, *COUNTS]
    assert table(target, "STATS_AVERAGES")[0] == ["database", *PART, *(f"avg_{name}" for name in COUNTS)]


def test_statements_that_follow_the_client_are_counted(make_gateway: MakeGateway, cluster: Any) -> None:
    """Twice prepared by clients, on one server: it is told once, and they are bound five times."""
    target = make_gateway(admin=ADMIN, general={"default_pool_size": 1}, databases=[primary_alone(cluster)])
    with target.wire("alice") as one, target.wire("alice") as other:
        for wire, uses in ((one, 2), (other, 3)):
            wire.send(w.parse("SELECT 'counted'", "mine") + w.SYNC)
            assert w.types_of(wire.until_ready()) == "1Z"
            for _ in range(uses):
                wire.send(w.bind([], "mine") + w.execute() + w.SYNC)
                assert w.types_of(wire.until_ready()) == "2DCZ"
            # Neither has a name that could follow anybody.
            wire.query("SELECT 'simple'")
            wire.send(w.extended("SELECT 'unnamed'"))
            wire.until_ready()

        assert counts(target) == (2, 1, 5, 2)
    assert counts(target) == (2, 1, 5, 2)
    names, rows = table(target, "STATS_TOTALS demo")
    assert dict(zip(names, rows[0], strict=True))["bind_count"] == 5
    summed = dict(table(target, "TOTALS")[1])
    assert (summed["total_ps_client_parse_count"], summed["total_ps_bind_count"]) == (2, 5)


def test_a_server_that_does_not_know_a_statement_is_told_again(
    make_gateway: MakeGateway, cluster: Any
) -> None:
    general = {"default_pool_size": 1, "prepared_statements_limit": 1}
    target = make_gateway(admin=ADMIN, general=general, databases=[primary_alone(cluster)])
    with target.wire("alice") as wire:
        for name in ("one", "two"):
            wire.send(w.parse(f"SELECT '{name}'", name) + w.SYNC)
            wire.until_ready()
        for name in ("one", "two"):
            wire.send(w.bind([], name) + w.execute() + w.SYNC)
            assert w.types_of(wire.until_ready()) == "2DCZ"

    clients, servers, binds, _ = counts(target)
    assert (clients, binds) == (2, 2)
    assert servers == 4


def test_in_session_mode_names_are_the_servers_own(make_gateway: MakeGateway) -> None:
    target = make_gateway(admin=ADMIN, general={"pooler_mode": "session"})
    with target.wire("alice") as wire:
        wire.send(w.extended("SELECT 1", name="mine"))
        wire.until_ready()

    assert counts(target) == (0, 0, 0, 1)


def test_logins_that_are_refused_are_not_counted(make_gateway: MakeGateway) -> None:
    target = make_gateway(admin=ADMIN)
    with target.wire("alice"):
        pass
    target.refusal("alice", "nonsense")
    target.refusal("stranger")

    assert counts(target)[3] == 1


def test_the_state_is_paused_while_all_databases_are(make_gateway: MakeGateway) -> None:
    target = make_gateway(admin=ADMIN)
    before = dict(table(target, "STATE")[1])
    with target.connect("admin", PASSWORD, dbname="admin") as admin:
        admin.execute("PAUSE")
        while_paused = dict(admin.execute("SHOW STATE").fetchall())
        admin.execute("RESUME")
        after = dict(admin.execute("SHOW STATE").fetchall())

    assert before == after == {"active": "yes", "paused": "no", "suspended": "no"}
    assert while_paused == {"active": "no", "paused": "yes", "suspended": "no"}
