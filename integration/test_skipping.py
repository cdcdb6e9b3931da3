"""What the change of identity in one write counts on, asked of PostgreSQL itself, without the gateway."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from harness import Cluster, Workspace, chosen_installations
from harness import wire as w
from harness.cluster import DATABASE, SERVER_PASSWORD, SERVER_USER
from harness.external import is_external
from harness.wire import Wire

INSTALLATIONS = [] if is_external() else chosen_installations()


@pytest.fixture(scope="module", params=INSTALLATIONS, ids=lambda one: f"PostgreSQL {one.version}")
def each(request: pytest.FixtureRequest, cluster: Any) -> Iterator[Cluster]:
    if request.param.version == cluster.installation.version:
        yield cluster
        return
    with Workspace() as workspace:
        yield Cluster(workspace, request.param, replica=False)


@pytest.fixture
def server(each: Cluster) -> Iterator[Wire]:
    with Wire(each.primary.host, each.primary.port) as wire:
        wire.login(SERVER_USER, DATABASE, SERVER_PASSWORD)
        yield wire


def test_behind_a_message_that_failed_nothing_is_run_until_sync(server: Wire) -> None:
    late = w.query("SELECT 1") + w.query("SELECT 2") + w.function_call(1598) + w.step("SELECT 3")
    server.send(w.step("SELECT 1/0"), late, w.SYNC)
    assert w.types_of(server.until_ready()) == "1EZ"
    server.send(w.step("BEGIN"), w.step("SET ROLE nobody_at_all"), w.step("COMMIT"), late, w.SYNC)
    assert w.types_of(server.until_ready()) == "12C12EZ"
    server.query("ROLLBACK")


def test_behind_a_sync_it_goes_on(server: Wire) -> None:
    """Which is why no second one is sent before the proof."""
    server.send(w.step("SELECT 1/0"), w.SYNC, w.query("SELECT current_user"))
    assert w.types_of(server.until_ready()) == "1EZ"
    assert w.types_of(server.until_ready()) == "TDCZ"


def test_a_time_limit_between_two_messages_counts_as_an_error_of_the_second(server: Wire) -> None:
    """Were it an error of none, COMMIT would be a ROLLBACK, and what comes behind it would be run."""
    server.query("SET statement_timeout = '50ms'")
    server.send(w.step("BEGIN"), w.step("SET ROLE alice"), w.parse("COMMIT"), w.FLUSH)
    answers = ""
    while answers.count("1") < 3:
        kind = server.receive().type
        # Before PostgreSQL 14, a setting is reported as soon as it has changed, and not when all is done.
        answers += "" if kind == "S" else kind
    assert answers == "12C12C1"
    time.sleep(0.2)
    server.send(w.bind(), w.execute(), w.query("SELECT current_user"), w.SYNC)
    assert w.types_of(server.until_ready()).replace("S", "") == "EZ"
    server.query("ROLLBACK")
    assert server.value("SELECT current_user") == SERVER_USER


@pytest.mark.parametrize(
    "sql", ["SELECT 1/0", "ROLLBACK", "COMMIT", "VACUUM", "BEGIN ISOLATION LEVEL SERIALIZABLE", "DISCARD ALL"]
)
def test_what_was_committed_in_front_is_not_undone(server: Wire, sql: str) -> None:
    server.send(w.step("BEGIN"), w.step("SET app.mark = 'kept'"), w.step("COMMIT"), w.query(sql))
    codes = [each.fields["C"] for each in server.until_ready() if each.type in "EN"]
    # Nothing says that it was in a transaction, or in a pipeline.
    assert "25001" not in codes
    server.query("ROLLBACK")
    if sql != "DISCARD ALL":
        assert server.value("SELECT current_setting('app.mark')") == "kept"
