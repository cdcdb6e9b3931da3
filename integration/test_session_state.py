"""What a session sets and makes follows it from server to server, or holds it to one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from harness import eventually
from harness import wire as w
from harness.target import Target
from harness.wire import ServerError, Wire

MakeGateway = Callable[..., Target]

PID = "SELECT pg_backend_pid()"


@pytest.fixture(scope="module")
def shared(make_module_gateway: object) -> Target:
    """Two server connections for all clients of a subject."""
    return make_module_gateway(general={"default_pool_size": 2, "checkout_timeout": 2000})  # type: ignore[operator]


@pytest.fixture
def pair(shared: Target) -> Iterator[tuple[Wire, Wire]]:
    with shared.wire("alice") as one, shared.wire("alice") as other:
        yield one, other


def scatter(wire: Wire, other: Wire) -> None:
    """Makes `wire` get another server connection than the one that it had."""
    before = wire.value(PID)
    other.query("BEGIN")
    if other.value(PID) != before:
        other.query("COMMIT")
        return
    assert wire.value(PID) != before
    other.query("COMMIT")


@pytest.mark.parametrize(
    ("statement", "show", "value"),
    [
        ("SET search_path TO scratch, public", "search_path", "scratch, public"),
        ("SET TIME ZONE 'Asia/Tokyo'", "TimeZone", "Asia/Tokyo"),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "default_transaction_read_only", "on"),
        ("SELECT set_config('work_mem', '8MB', false)", "work_mem", "8MB"),
        ("SET app.tenant = 'acme'", "app.tenant", "acme"),
        ("SELECT set_config('app.tenant', 'it''s \\ odd', false)", "app.tenant", "it's \\ odd"),
        ("SET datestyle = 'German'", "DateStyle", "German, DMY"),
    ],
)
def test_a_setting_follows_its_client_and_no_other(
    pair: tuple[Wire, Wire], statement: str, show: str, value: str
) -> None:
    one, other = pair
    # A variable of an application is NULL on a server that never heard of it and empty on one that forgot it.
    current = f"SELECT coalesce(current_setting('{show}', true), '')"
    usual = other.value(current)

    one.query(statement)

    for _ in range(3):
        scatter(one, other)
        assert one.value(current) == value
        assert other.value(current) == usual


def test_a_setting_in_a_rolled_back_transaction_is_undone(pair: tuple[Wire, Wire]) -> None:
    one, other = pair
    usual = one.value("SHOW work_mem")
    for statement in ("BEGIN", "SET work_mem = '9MB'", "ROLLBACK"):
        one.query(statement)

    scatter(one, other)

    assert one.value("SHOW work_mem") == usual


def test_a_setting_in_a_committed_transaction_stays(pair: tuple[Wire, Wire]) -> None:
    one, other = pair
    for statement in ("BEGIN", "SET work_mem = '9MB'", "COMMIT"):
        one.query(statement)

    scatter(one, other)

    assert one.value("SHOW work_mem") == "9MB"


def test_a_local_setting_ends_with_its_transaction(pair: tuple[Wire, Wire]) -> None:
    one, _ = pair
    usual = one.value("SHOW work_mem")
    one.query("BEGIN; SET LOCAL work_mem = '9MB'; COMMIT")

    assert one.value("SHOW work_mem") == usual


def test_reset_leads_back_to_what_the_client_logged_in_with(shared: Target) -> None:
    with shared.wire("alice", options="-c work_mem=5MB") as one, shared.wire("alice") as other:
        one.query("SET work_mem = '9MB'")
        scatter(one, other)
        assert one.value("SHOW work_mem") == "9MB"

        one.query("RESET work_mem")

        scatter(one, other)
        assert one.value("SHOW work_mem") == "5MB"
        one.query("SET work_mem = '9MB'")
        one.query("RESET ALL")
        scatter(one, other)
        assert one.value("SHOW work_mem") == "5MB"


def test_settings_through_the_extended_protocol_follow(pair: tuple[Wire, Wire]) -> None:
    one, other = pair
    one.send(w.parse("SET work_mem = '7MB'", "s"), w.bind(statement="s"), w.execute(), w.SYNC)
    assert "E" not in [message.type for message in one.until_ready()]

    scatter(one, other)

    assert one.value("SHOW work_mem") == "7MB"


def test_temporary_tables_hold_the_session_to_its_server_until_they_are_gone(
    shared: Target, pair: tuple[Wire, Wire]
) -> None:
    one, other = pair
    one.query("CREATE TEMP TABLE mine (n int)")
    one.query("INSERT INTO mine VALUES (1)")
    pid = one.value(PID)
    assert {one.value(PID) for _ in range(5)} == {pid}
    assert one.value("SELECT count(*) FROM mine") == "1"
    assert other.value(PID) != pid

    one.query("DROP TABLE mine")

    def both_serve_others() -> bool:
        with shared.wire("alice") as third:
            for wire in (other, third):
                wire.query("BEGIN")
            pids = {other.value(PID), third.value(PID)}
            other.query("COMMIT")
            return pid in pids

    eventually(both_serve_others, "the server serves others again")


def test_one_server_of_a_pool_stays_free_for_the_others(shared: Target) -> None:
    with shared.wire("alice") as one, shared.wire("alice") as other:
        one.query("LISTEN something")

        with pytest.raises(ServerError) as refused:
            other.value("LISTEN something")

        assert refused.value.fields["C"] == "53400"
        assert "pooler_mode" in refused.value.fields["H"]
        assert other.value("SELECT 1") == "1"
        one.query("UNLISTEN *")
        eventually(lambda: other.query("LISTEN something")[0].type == "C", "room for another")
        assert other.value("SELECT count(*) FROM pg_listening_channels()") == "1"


PINNING = ["LISTEN something", "CREATE TEMP TABLE mine (n int)", "SELECT pg_advisory_lock(4712)"]


@pytest.mark.parametrize("statement", PINNING)
def test_the_only_server_of_a_pool_is_held_by_nobody_while_there_are_others(
    make_gateway: MakeGateway, statement: str
) -> None:
    target = make_gateway(general={"default_pool_size": 1})
    with target.wire("alice") as one:
        with target.wire("alice") as other:
            assert w.error_of(one.query(statement))["C"] == "53400"
            assert other.value("SELECT 1") == "1"
            one.query("BEGIN")
            one.query("SELECT 1/0")
            assert w.error_of(one.query(statement))["C"] == "25P02"
            one.query("ROLLBACK")

        # Alone, it takes nothing from anybody.
        eventually(lambda: "E" not in w.types_of(one.query(statement)), "a statement that holds the server")
        assert len({one.value(PID) for _ in range(3)}) == 1


def test_what_a_session_leaves_behind_does_not_meet_the_next_client(shared: Target) -> None:
    with shared.wire("alice") as one:
        one.query("CREATE TEMP TABLE leftover (n int)")
        one.query("SET app.tenant = 'acme'")
        one.query("SELECT pg_advisory_lock(4711)")

    with shared.wire("alice") as one, shared.wire("alice") as other:
        for wire in (one, other):
            wire.query("BEGIN")
            assert wire.value("SELECT to_regclass('pg_temp.leftover')") is None
            assert wire.value("SELECT coalesce(current_setting('app.tenant', true), '')") == ""
        assert one.value("SELECT pg_try_advisory_xact_lock(4711)") == "t"


def test_statement_mode_refuses_transaction_blocks(make_gateway: object) -> None:
    target = make_gateway(general={"pooler_mode": "statement"})  # type: ignore[operator]
    with target.wire("alice") as wire:
        assert wire.value("SELECT 1") == "1"
        assert w.error_of(wire.query("SELECT 1; SELECT 1/0"))["C"] == "22012"

        wire.send(w.query("BEGIN"))

        error = wire.receive_until("E")[-1]
        assert error.fields["S"] == "FATAL"
        assert "transaction" in error.fields["M"]
