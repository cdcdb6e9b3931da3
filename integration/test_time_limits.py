"""Limits on how long a statement or a silence may last."""

from __future__ import annotations

from typing import Any

import pytest

from conftest import MakeGateway
from harness import eventually
from harness import wire as w
from harness.target import Target

SLEEP = "SELECT pg_sleep(60)"


@pytest.fixture(scope="module")
def impatient(make_module_gateway: MakeGateway) -> Target:
    return make_module_gateway(general={"query_timeout": 1_000, "default_pool_size": 2})


def running(cluster: Any, query: str) -> int:
    with cluster.admin() as admin:
        sql = "SELECT count(*) FROM pg_stat_activity WHERE query = %s AND state = 'active'"
        return admin.execute(sql, [query]).fetchone()[0]


@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
def test_a_statement_that_takes_too_long_is_an_error_and_the_session_goes_on(
    impatient: Target, cluster: Any, extended: bool
) -> None:
    with impatient.wire("alice") as wire:
        for _ in range(3):
            wire.send(w.extended(SLEEP) if extended else w.query(SLEEP))
            replies = wire.until_ready()

            error = w.error_of(replies)
            assert (error["S"], error["C"]) == ("ERROR", "57014")
            assert replies[-1].body == b"I"
            assert wire.value("SELECT current_user") == "alice"

    eventually(lambda: running(cluster, SLEEP) == 0, "the statement to be cancelled")


def test_a_transaction_ends_with_the_statement_that_took_too_long(impatient: Target, cluster: Any) -> None:
    with impatient.wire("alice") as wire:
        wire.query("BEGIN")
        wire.query("INSERT INTO notes (body) VALUES ('too late')")
        wire.send(w.query(SLEEP))
        replies = wire.until_ready()

        assert w.error_of(replies)["C"] == "57014"
        assert replies[-1].body == b"I"
        assert wire.value("SELECT count(*) FROM notes WHERE body = 'too late'") == "0"


def test_the_limit_is_for_statements_and_not_for_what_is_between_them(impatient: Target) -> None:
    with impatient.wire("alice") as wire:
        wire.query("BEGIN")
        for _ in range(3):
            assert wire.value("SELECT 'quick' FROM pg_sleep(0.4)") == "quick"
        wire.query("COMMIT")


def test_a_statement_that_takes_too_long_ends_a_session_that_is_its_server(
    make_gateway: MakeGateway,
) -> None:
    target = make_gateway(general={"query_timeout": 300, "pooler_mode": "session"})
    with target.wire("alice") as wire:
        wire.send(w.query(SLEEP))
        error = w.error_of(wire.receive_until("E"))

        assert (error["S"], error["C"]) == ("FATAL", "57014")
        assert wire.closed_by_peer()


def test_a_silent_client_is_cut_off(make_gateway: MakeGateway) -> None:
    target = make_gateway(general={"client_idle_timeout": 300})
    with target.wire("alice") as wire:
        error = w.error_of(wire.receive_until("E"))

        assert (error["S"], error["C"]) == ("FATAL", "57P05")
        assert wire.closed_by_peer()


def test_a_client_that_is_silent_in_a_transaction_is_cut_off_and_its_server_is_free(
    make_gateway: MakeGateway, cluster: Any
) -> None:
    target = make_gateway(general={"client_idle_in_transaction_timeout": 300, "default_pool_size": 1})
    with target.wire("alice") as wire:
        wire.query("BEGIN")
        wire.query("INSERT INTO notes (body) VALUES ('left open')")
        error = w.error_of(wire.receive_until("E"))

        assert (error["S"], error["C"]) == ("FATAL", "25P03")
        assert wire.closed_by_peer()
    with target.wire("alice") as wire:
        assert wire.value("SELECT count(*) FROM notes WHERE body = 'left open'") == "0"


def test_a_client_outside_a_transaction_may_be_silent(make_gateway: MakeGateway) -> None:
    target = make_gateway(general={"client_idle_in_transaction_timeout": 200})
    with target.wire("alice") as wire, target.wire("bob") as other:
        for _ in range(6):
            assert other.value("SELECT 1 FROM pg_sleep(0.1)") == "1"

        assert wire.value("SELECT 1") == "1"
