"""`read_your_writes`: a session that wrote reads only from servers that show it."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from harness import Cluster, eventually
from harness import wire as w
from harness.target import Target
from harness.wire import Wire

MakeGateway = Callable[..., Target]

# `on` at a replica; a read for everybody, because it calls no function.
WHERE = "SELECT setting FROM in_hot_standby"
PRIMARY, REPLICA = "off", "on"
OPTION = {"read_write_split": "exclude_primary", "read_your_writes": True, "idle_healthcheck_delay": 0}


@pytest.fixture
def replica(servers: Cluster) -> Iterator[psycopg.Connection]:
    """A superuser's connection to the replica, whose replay goes on afterwards."""
    assert servers.replica
    with servers.replica.admin() as replica:
        yield replica
        replica.execute("SELECT pg_wal_replay_resume()")
    servers.wait_for_replay()


def pause(replica: psycopg.Connection) -> None:
    replica.execute("SELECT pg_wal_replay_pause()")
    if replica.info.server_version >= 140_000:
        state = "SELECT pg_get_wal_replay_pause_state()"
        eventually(lambda: replica.execute(state).fetchone() == ("paused",), "the pause")


def write(wire: Wire) -> str:
    """Writes something; gives the query that counts it."""
    mark = f"note {uuid.uuid4()}"
    wire.rows(f"INSERT INTO notes (body) VALUES ('{mark}')")
    return f"SELECT count(*) FROM notes WHERE body = '{mark}'"


def test_without_the_option_a_session_may_miss_its_own_write(
    make_gateway: MakeGateway, replica: psycopg.Connection
) -> None:
    target = make_gateway(general={**OPTION, "read_your_writes": False})
    with target.wire("alice") as wire:
        pause(replica)
        assert wire.value(write(wire)) == "0"


def test_a_session_always_sees_its_own_write(make_gateway: MakeGateway, replica: psycopg.Connection) -> None:
    target = make_gateway(general=OPTION)
    with target.wire("alice") as wire, target.wire("alice") as other:
        assert wire.value(WHERE) == REPLICA
        pause(replica)
        for _ in range(5):
            mine = write(wire)
            assert [wire.value(mine) for _ in range(3)] == ["1"] * 3
            assert wire.value(WHERE) == PRIMARY
            assert other.value(WHERE) == REPLICA, "who wrote nothing has nothing to wait for"
        replica.execute("SELECT pg_wal_replay_resume()")
        eventually(lambda: wire.value(WHERE) == REPLICA, "reads on the replica")
        assert wire.value(mine) == "1"


def test_without_a_pause_reads_return_to_the_replica_at_once(make_gateway: MakeGateway) -> None:
    target = make_gateway(general=OPTION)
    with target.wire("alice") as wire:
        wire.value(WHERE)
        for _ in range(50):
            assert wire.value(write(wire)) == "1"
            eventually(lambda: wire.value(WHERE) == REPLICA, "reads on the replica", 0.5, 0.002)


def test_many_sessions_each_see_their_own_writes(make_gateway: MakeGateway) -> None:
    target = make_gateway(general=OPTION | {"read_write_split": "include_primary"})

    def session(user: str) -> Counter[str | None]:
        with target.wire(user) as wire:
            seen = Counter(wire.value(mine) for mine in (write(wire) for _ in range(60)) for _ in range(3))
            eventually(lambda: wire.value(WHERE) == REPLICA, "reads on the replica")
        return seen

    with ThreadPoolExecutor() as threads:
        assert list(threads.map(session, ["alice", "bob", "carol"] * 2)) == [{"1": 180}] * 6


@pytest.mark.parametrize(
    "write_by",
    [
        lambda wire: wire.rows("BEGIN; INSERT INTO notes (body) VALUES ('own'); COMMIT"),
        lambda wire: [
            wire.rows(sql) for sql in ("BEGIN", "INSERT INTO notes (body) VALUES ('own')", "COMMIT")
        ],
        lambda wire: wire.rows("SELECT add_note('own')"),
        lambda wire: wire.rows(
            "WITH n AS (INSERT INTO notes (body) VALUES ('own') RETURNING 1) SELECT 1 FROM n"
        ),
        lambda wire: (wire.send(w.extended("INSERT INTO notes (body) VALUES ('own')")), wire.until_ready()),
    ],
    ids=["batch", "transaction", "function", "with", "extended"],
)
def test_every_kind_of_write_counts(
    make_gateway: MakeGateway, replica: psycopg.Connection, write_by: Callable[[Wire], Any]
) -> None:
    target = make_gateway(general=OPTION)
    with target.wire("bob") as wire:
        wire.rows("DELETE FROM notes WHERE body = 'own'")
        eventually(lambda: wire.value(WHERE) == REPLICA, "reads on the replica")
        pause(replica)
        write_by(wire)
        assert wire.value("SELECT count(*) FROM notes WHERE body = 'own'") == "1"


def test_a_write_behind_a_flush_counts(
    make_gateway: MakeGateway, servers: Cluster, replica: psycopg.Connection
) -> None:
    balance = {"read_write_split": "include_primary", "load_balancing_strategy": "round_robin"}
    target = make_gateway(general=OPTION | balance)
    write = "INSERT INTO notes (body) VALUES ('behind a flush')"
    seen = "SELECT count(*) FROM notes WHERE owner = 'bob' AND body = 'behind a flush'"
    with target.wire("bob") as wire, servers.admin() as admin:
        wire.value(WHERE)
        pause(replica)
        for _ in range(6):
            # An odd number of reads each time, so that every second batch begins at the primary.
            wire.value("SELECT 1")
            wire.send(w.extended("SELECT 1").replace(w.SYNC, w.FLUSH))
            wire.receive_until("C")
            wire.send(w.extended(write))
            wire.until_ready()
            assert wire.value(seen) == str(admin.execute(seen).fetchone()[0])
        assert admin.execute(seen).fetchone()[0] >= 3


def test_transactions_that_only_read_see_it_too(
    make_gateway: MakeGateway, replica: psycopg.Connection
) -> None:
    target = make_gateway(general=OPTION)
    with target.wire("alice") as wire:
        pause(replica)
        mine = write(wire)
        wire.query("BEGIN READ ONLY")
        assert wire.value(mine) == "1"
        wire.query("COMMIT")


def test_who_asks_for_a_replica_sees_it_too(make_gateway: MakeGateway, replica: psycopg.Connection) -> None:
    target = make_gateway(general=OPTION)
    with target.wire("alice") as wire:
        pause(replica)
        mine = write(wire)
        assert wire.value(f"/* pgdog_role: replica */ {mine}") == "1"
        wire.query("SET pgdog.role TO 'replica'")
        assert wire.value(mine) == "1"


def test_a_session_waits_for_a_replica_as_long_as_it_is_told(
    make_gateway: MakeGateway, replica: psycopg.Connection
) -> None:
    target = make_gateway(general={**OPTION, "read_your_writes_timeout": 1_500})
    with target.wire("alice") as wire:
        for _ in range(20):
            assert wire.value(write(wire)) == "1"
            assert wire.value(WHERE) == REPLICA, "a replica that follows is waited for"
        pause(replica)
        mine = write(wire)
        started = time.monotonic()
        assert wire.value(mine) == "1"
        assert time.monotonic() - started > 1.4
        assert wire.value(WHERE) == PRIMARY


def test_a_replica_that_was_started_again_is_asked_anew(make_gateway: MakeGateway, servers: Cluster) -> None:
    target = make_gateway(general=OPTION)
    assert servers.replica
    with target.wire("alice") as wire:
        assert wire.value(write(wire)) == "1"
        eventually(lambda: wire.value(WHERE) == REPLICA, "reads on the replica")
        servers.replica.stop()
        assert wire.value(write(wire)) == "1"
        servers.replica.start()
        assert wire.value(write(wire)) == "1"
        eventually(lambda: wire.value(WHERE) == REPLICA, "reads on the replica")


def test_sessions_that_were_pinned_or_failed_see_it_too(
    make_gateway: MakeGateway, replica: psycopg.Connection
) -> None:
    target = make_gateway(general=OPTION)
    with target.wire("alice") as wire:
        pause(replica)
        wire.query("CREATE TEMP TABLE held (a int)")
        mine = write(wire)
        wire.query("DROP TABLE held")
        assert wire.value(mine) == "1"
        mine = write(wire)
        assert w.error_of(wire.query("INSERT INTO notes (id) VALUES (1)"))["C"]
        assert wire.value(mine) == "1"


def test_a_primary_that_does_not_tell_serves_the_session_itself(
    make_gateway: MakeGateway, servers: Cluster, replica: psycopg.Connection
) -> None:
    target = make_gateway(general=OPTION)
    with servers.admin() as admin:
        admin.execute("REVOKE EXECUTE ON FUNCTION pg_current_wal_insert_lsn() FROM PUBLIC")
    try:
        with target.wire("alice") as wire:
            assert wire.value(write(wire)) == "1"
            assert [wire.value(WHERE) for _ in range(10)] == [PRIMARY] * 10
    finally:
        with servers.admin() as admin:
            admin.execute("GRANT EXECUTE ON FUNCTION pg_current_wal_insert_lsn() TO PUBLIC")
