"""Servers that crash, freeze or are all gone, and a promotion under load: what each client hears, and that
all is well again afterwards.
"""

from __future__ import annotations

import concurrent.futures
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness import DATABASE, Cluster, Workspace, eventually, primary_alone
from harness import wire as w
from harness.external import is_external
from harness.freeze import frozen
from harness.target import Target
from harness.wire import ServerError, Wire

MakeGateway = Callable[..., Target]

LOST = {"08006", "57P01", "57P02", "57P03"}
WRITE = "INSERT INTO notes (body) VALUES ('failures')"
COUNT = "SELECT count(*) FROM notes WHERE body = 'failures'"
QUICK = {"connect_timeout": 500, "checkout_timeout": 1_000, "healthcheck_timeout": 500}


def before_primary(make: MakeGateway, cluster: Any, **general: Any) -> Target:
    databases = [primary_alone(cluster)]
    return make(databases=databases, general=general)


def outcome(wire: Wire, sql: str) -> str:
    """The SQLSTATE of the error, or nothing; also when the session ended with it."""
    try:
        wire.send(w.query(sql))
        messages = wire.receive_until("Z", "E")
        if messages[-1].type == "Z":
            return ""
        if messages[-1].fields["S"] != "FATAL":
            wire.until_ready()
        return messages[-1].fields["C"]
    except (EOFError, ConnectionError):
        return "closed"


def works(target: Target, subject: str = "alice") -> bool:
    with target.wire(subject) as wire:
        return outcome(wire, WRITE) == ""


def gateway_backends(cluster: Any, where: str) -> list[int]:
    with cluster.admin() as admin:
        query = f"SELECT pid FROM pg_stat_activity WHERE usename = 'gateway' AND {where}"
        return [row[0] for row in admin.execute(query)]


@pytest.fixture
def no_notes(servers: Cluster) -> Iterator[None]:
    yield
    with servers.admin() as admin:
        admin.execute("DELETE FROM notes WHERE body = 'failures'")


# What the client has said before the process of its server is killed, and what it hears next.
KILLED: dict[str, tuple[list[bytes], set[str]]] = {
    "free": ([w.query("SELECT 1")], {"", *LOST}),
    "in a transaction": ([w.query("BEGIN"), w.query(WRITE)], LOST),
    "in a failed transaction": ([w.query("BEGIN"), w.query("SELECT 1/0")], {"25P02", *LOST}),
}


@pytest.mark.parametrize("mode", ["transaction", "session"])
@pytest.mark.parametrize("phase", KILLED)
def test_a_killed_server_process(
    make_gateway: MakeGateway, servers: Cluster, no_notes: None, mode: str, phase: str
) -> None:
    """kill -9: PostgreSQL then ends all its sessions and recovers."""
    target = before_primary(make_gateway, servers, pooler_mode=mode)
    messages, heard = KILLED[phase]
    own = "application_name <> 'pgdog-jwt monitor'"
    others = set(gateway_backends(servers, own))
    with target.wire("alice") as wire:
        for message in messages:
            wire.send(message)
            wire.until_ready()
        (mine,) = set(gateway_backends(servers, own)) - others

        os.kill(mine, signal.SIGKILL)

        eventually(lambda: mine not in gateway_backends(servers, "true"), "the end of the process")
        told = outcome(wire, "SELECT 'after'")
        assert told in heard | ({"closed"} if mode == "session" else set())
        if mode == "transaction":
            eventually(lambda: outcome(wire, WRITE) == "", "a write of the same session")
    eventually(lambda: works(target), "a new session")
    with servers.admin() as admin:
        # Nothing of the lost transaction is there; the two that came later are.
        assert admin.execute(COUNT).fetchone() == (2 if mode == "transaction" else 1,)


def test_a_frozen_primary_is_an_error_in_time_and_all_is_well_afterwards(
    make_gateway: MakeGateway, servers: Cluster, no_notes: None
) -> None:
    target = before_primary(make_gateway, servers, query_timeout=1_500, **QUICK)
    statement = "SELECT pg_sleep(60), 'frozen'"
    with target.wire("alice") as busy, target.wire("bob") as idle, target.wire("alice") as inside:
        assert outcome(idle, WRITE) == ""
        assert outcome(inside, "BEGIN") == ""
        assert outcome(inside, WRITE) == ""
        with frozen(servers.primary):
            busy.send(w.query(statement))
            idle.send(w.query(WRITE))
            inside.send(w.query(WRITE))

            # It had to be opened, which does not end.
            assert w.error_of(busy.until_ready())["C"] == "08006"
            # These were sent, and have no answer.
            for wire in (idle, inside):
                assert w.error_of(wire.until_ready())["C"] == "57014"
            with pytest.raises(ServerError) as refused, target.wire("carol") as late:
                late.rows("SELECT 1")
            assert refused.value.sqlstate in LOST

        for subject in ("alice", "bob", "carol"):
            eventually(lambda subject=subject: works(target, subject), f"a write of {subject}")
        for wire in (busy, idle, inside):
            eventually(lambda wire=wire: not outcome(wire, "SELECT 1"), "the same session")
    eventually(lambda: not gateway_backends(servers, "state <> 'idle'"), "nothing is left on the server")


def test_a_statement_that_froze_is_not_carried_out_later(make_gateway: MakeGateway, servers: Cluster) -> None:
    """It ran when the server froze; the client heard of the time-out long before the server went on."""
    target = before_primary(make_gateway, servers, query_timeout=1_500, **QUICK)
    with target.wire("alice") as wire:
        wire.send(w.query("SELECT pg_sleep(60), 'frozen'"))
        running = "query LIKE '%frozen%' AND state = 'active'"
        eventually(lambda: gateway_backends(servers, running), "the statement")
        with frozen(servers.primary):
            assert wire.receive_until("Z", "E")[-1].fields["C"] == "57014"
        eventually(lambda: not gateway_backends(servers, running), "its cancellation")


def test_reads_that_froze_with_a_replica_end_and_others_go_elsewhere(
    make_gateway: MakeGateway, servers: Cluster
) -> None:
    target = make_gateway(
        general={
            "read_write_split": "exclude_primary",
            "query_timeout": 1_500,
            "idle_healthcheck_delay": 0,
            **QUICK,
        }
    )
    assert servers.replica
    with target.wire("alice") as wire:
        assert outcome(wire, "SELECT body FROM notes") == ""
        with frozen(servers.replica):
            assert outcome(wire, "SELECT body FROM notes") in {"57014", "08006"}
            with target.wire("alice") as writer:
                assert outcome(writer, "BEGIN; SELECT 1; COMMIT") == ""
    with target.wire("alice") as again:
        eventually(lambda: not outcome(again, "SELECT body FROM notes"), "a read")


def test_with_no_server_left_everybody_hears_so_and_nobody_is_lost(
    make_gateway: MakeGateway, servers: Cluster, no_notes: None
) -> None:
    target = make_gateway(general=QUICK)
    assert servers.replica
    subjects = ["alice", "bob", "carol"] * 10
    wires = [target.wire(subject) for subject in subjects]
    for wire in wires:
        assert outcome(wire, WRITE) == ""

    servers.replica.stop()
    servers.primary.stop()
    for wire in wires:
        wire.send(w.query("SELECT 1"))
    for wire in wires:
        assert wire.receive_until("Z", "E")[-1].fields["C"] in LOST
        wire.until_ready()
    with pytest.raises(ServerError) as refused, target.wire("reader") as late:
        late.rows("SELECT 1")
    assert refused.value.sqlstate in LOST | {"25006"}

    servers.primary.start()
    servers.replica.start()
    for wire in wires:
        eventually(lambda wire=wire: outcome(wire, WRITE) == "", "a write")
        wire.close()


@pytest.fixture
def pair(workspace: Workspace) -> Iterator[Cluster]:
    """A primary and a replica that is promoted."""
    if is_external():
        pytest.skip("promotes servers, and these run elsewhere")
    cluster = Cluster(workspace)
    yield cluster
    for server in (cluster.replica, cluster.primary):
        if server and server.pid:
            server.stop()


def test_a_promotion_under_load_loses_no_write_that_was_acknowledged(
    make_gateway: MakeGateway, pair: Cluster
) -> None:
    assert pair.replica
    databases = [
        {"name": DATABASE, "host": server.host, "port": server.port, "role": "auto"}
        for server in (pair.replica, pair.primary)
    ]
    target = make_gateway(databases=databases, general={"checkout_timeout": 10_000})
    over = threading.Event()
    moved = threading.Event()
    # How much each has written since.
    after = [0] * 9

    def work(number: int) -> tuple[list[str], list[str]]:
        """Writes until it is over: what was acknowledged, and what went wrong."""
        done: list[str] = []
        wrong: list[str] = []
        with target.wire(("alice", "bob", "carol")[number % 3]) as wire:
            while not over.is_set():
                body = f"load {number} {len(done) + len(wrong)}"
                promoted = moved.is_set()
                told = outcome(wire, f"BEGIN; INSERT INTO notes (body) VALUES ('{body}'); COMMIT")
                (wrong if told else done).append(told or body)
                after[number] += promoted and not told
        return done, wrong

    with concurrent.futures.ThreadPoolExecutor(len(after)) as pool:
        working = [pool.submit(work, number) for number in range(len(after))]
        try:
            # So much of it that the stop comes into the middle.
            time.sleep(0.5)
            pair.primary.stop()
            with pair.replica.admin() as replica:
                assert replica.execute("SELECT pg_promote()").fetchone() == (True,)
            moved.set()
            eventually(lambda: min(after) >= 10, "writes of everybody")
        finally:
            over.set()
        results = [each.result() for each in working]
    with pair.replica.admin(DATABASE) as new:
        present = {row[0] for row in new.execute("SELECT body FROM notes WHERE body LIKE 'load%'")}

    for done, wrong in results:
        assert set(done) <= present
        assert set(wrong) <= LOST | {"25006"}
        assert len(wrong) <= 2
