"""Sessions that an administrator ends (`57P01`): what they run is cancelled at once, and nothing more of
what they have sent is carried out.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness import eventually
from harness import wire as w
from harness.target import Target
from harness.wire import Wire

MakeGateway = Callable[..., Target]

STOPPED = "57P01"
PASSWORD = "admin-secret"
ADMIN = {"name": "admin", "user": "admin", "password": PASSWORD}
SECONDS = 3
SLOW = f"INSERT INTO notes (body) SELECT 'stopped' FROM pg_sleep({SECONDS})"
COUNT = "SELECT count(*) FROM notes WHERE body = 'stopped'"
REQUESTS = {
    "statement": w.query(SLOW),
    "transaction": w.query("BEGIN") + w.query(SLOW) + w.query("COMMIT"),
    "one after the other": w.query(SLOW) + w.query(SLOW),
    "batches": w.extended(SLOW) + w.extended(SLOW),
}


@pytest.fixture(autouse=True)
def no_notes(cluster: Any) -> Iterator[None]:
    yield
    with cluster.admin() as admin:
        admin.execute("DELETE FROM notes WHERE body = 'stopped'")


def running(cluster: Any) -> int:
    query = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE %s"
    with cluster.admin() as admin:
        row = admin.execute(query, ["INSERT INTO notes%pg_sleep%"]).fetchone()
    assert row
    return int(row[0])


def assert_stopped(wire: Wire, cluster: Any) -> None:
    """The last word is `57P01`, and nothing is stored, also when all that was sent has had its time."""
    assert wire.receive_until("E")[-1].fields["C"] == STOPPED
    assert wire.closed_by_peer()
    eventually(lambda: running(cluster) == 0, "the end of the statements")
    with cluster.admin() as admin:
        assert admin.execute(COUNT).fetchone() == (0,)


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_a_forced_shutdown_cancels_what_runs(
    make_gateway: MakeGateway, cluster: Any, request_: bytes
) -> None:
    target = make_gateway(general={"shutdown_timeout": 60_000, "rollback_timeout": 60_000})
    with target.wire("alice") as wire:
        wire.send(request_)
        eventually(lambda: running(cluster) == 1, "the start of the statement")

        target.gateway.send(signal.SIGTERM)
        eventually(lambda: "shutdown" in target.gateway.log_text(), "the start of the shutdown")
        target.gateway.send(signal.SIGTERM)

        assert target.gateway.wait(timeout=30) == 0
        # The servers have heard it when the process is gone.
        assert running(cluster) == 0
        assert_stopped(wire, cluster)


@pytest.mark.parametrize("mode", ["transaction", "session"])
@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_a_killed_client_has_nothing_carried_out(
    make_gateway: MakeGateway, cluster: Any, request_: bytes, mode: str
) -> None:
    target = make_gateway(general={"pooler_mode": mode, "rollback_timeout": 60_000}, admin=ADMIN)
    with target.wire("alice") as wire:
        wire.send(request_)
        eventually(lambda: running(cluster) == 1, "the start of the statement")

        with target.connect("admin", PASSWORD, dbname="admin") as admin:
            admin.execute("KILL 'alice'")

        assert_stopped(wire, cluster)


def test_a_killed_batch_without_its_end_is_cancelled(make_gateway: MakeGateway, cluster: Any) -> None:
    target = make_gateway(admin=ADMIN)
    with target.wire("alice") as wire:
        wire.send(w.extended(SLOW), w.step("SELECT 1"))
        eventually(lambda: running(cluster) == 1, "the start of the statement")

        with target.connect("admin", PASSWORD, dbname="admin") as admin:
            admin.execute("KILL 'alice'")

        assert_stopped(wire, cluster)
