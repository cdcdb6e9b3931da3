"""Messages sent without waiting for replies, and errors in the middle of them. Two clients share one server
connection, so that whatever one of them leaves there would be found by the other.
"""

from __future__ import annotations

import concurrent.futures
from typing import Any

import pytest

from harness import eventually
from harness import wire as w
from harness.target import Target
from harness.wire import Message, Wire

LONG = "no number " * 40_000


def ask(wire: Wire, *messages: bytes) -> list[Message]:
    """Messages that are answered with one ReadyForQuery."""
    wire.send(*messages)
    return wire.until_ready()


def run(name: str = "") -> bytes:
    return w.bind((), name) + w.execute() + w.SYNC


def usable(wire: Wire) -> bool:
    """Answers come in order, and none is left over from before."""
    return w.types_of(ask(wire, w.extended("SELECT 'still there'"))) == "12TDCZ"


# Errors in a batch


def test_a_query_behind_an_error_is_ignored_until_sync(wire: Wire) -> None:
    wire.send(w.parse("SELECT * FROM missing"), w.query("SELECT 'ignored'"), w.SYNC, w.query("SELECT 1"))

    assert w.types_of(wire.until_ready() + wire.until_ready()) == "EZTDCZ"
    assert w.types_of(ask(wire, w.close("S", "none"), w.SYNC)) == "3Z"


def test_a_function_call_behind_an_error_is_ignored_until_sync(wire: Wire) -> None:
    wire.send(
        w.parse("SELECT * FROM missing"), w.function_call(964, b"\0\0\0\1"), w.SYNC, w.query("SELECT 1")
    )

    assert w.types_of(wire.until_ready() + wire.until_ready()) == "EZTDCZ"
    assert w.types_of(ask(wire, w.close("S", "none"), w.SYNC)) == "3Z"


def test_after_a_query_in_a_failed_batch_the_server_serves_others(wire: Wire, other: Wire) -> None:
    ask(wire, w.parse("SELECT * FROM missing"), w.query("SELECT 'ignored'"), w.SYNC)

    assert other.value("SELECT 1") == "1"


def test_an_error_too_long_to_read_ends_its_batch_as_any_other(wire: Wire) -> None:
    replies = ask(wire, w.parse("SELECT $1::int"), w.bind([LONG]), w.execute(), w.SYNC)

    assert w.types_of(replies) == "1EZ"
    assert len(replies[1].body) > 300_000
    assert usable(wire)


def test_a_name_whose_parse_failed_may_be_used_in_the_next_batch_of_the_pipeline(wire: Wire) -> None:
    wire.send(w.parse("SELECT * FROM missing", "again"), w.SYNC, w.parse("SELECT 1", "again"), w.SYNC)

    assert w.types_of(wire.until_ready() + wire.until_ready()) == "EZ1Z"
    assert w.types_of(ask(wire, run("again"))) == "2DCZ"


def test_a_name_whose_parse_was_skipped_may_be_used_again(wire: Wire) -> None:
    ask(wire, w.execute("no portal"), w.parse("SELECT 1", "skipped"), w.SYNC)

    assert w.types_of(ask(wire, w.parse("SELECT 1", "skipped"), w.SYNC)) == "1Z"


def test_a_statement_that_the_server_never_got_is_missing_by_its_own_name(wire: Wire) -> None:
    wire.send(w.execute("no portal"), w.parse("SELECT 1", "mine"), w.SYNC, run("mine"))

    wire.until_ready()
    error = w.error_of(wire.until_ready())
    assert (error["C"], error["M"]) == ("26000", 'prepared statement "mine" does not exist')


def test_an_error_takes_nothing_from_the_next_batch_of_the_pipeline(wire: Wire) -> None:
    wire.send(w.execute("no portal"), w.parse("SELECT 1"), w.SYNC, w.parse("SELECT 2"), w.FLUSH)
    wire.receive_until("1")

    assert w.types_of(ask(wire, w.bind(), w.execute(), w.SYNC)) == "2DCZ"


def test_a_close_behind_an_error_closes_nothing(wire: Wire) -> None:
    ask(wire, w.parse("SELECT 1", "kept"), w.SYNC)

    ask(wire, w.execute("no portal"), w.close("S", "kept"), w.SYNC)

    assert w.types_of(ask(wire, run("kept"))) == "2DCZ"


def test_a_parse_behind_an_error_does_not_cost_another_statement_its_place(wire: Wire) -> None:
    for number in range(2):
        ask(wire, w.parse(f"SELECT {number} AS place", f"place {number}"), w.SYNC)
    for number in range(3, 9):
        ask(wire, w.execute("no portal"), w.parse(f"SELECT {number} AS skipped", f"skipped {number}"), w.SYNC)

    for number in range(2):
        assert w.types_of(ask(wire, run(f"place {number}"))) == "2DCZ"


# COPY FROM STDIN by the extended protocol, all of it sent at once


COPY = w.step("COPY piped FROM STDIN")


@pytest.fixture
def copying(wire: Wire) -> Wire:
    """In a transaction with a table to copy to."""
    wire.query("BEGIN; CREATE TEMPORARY TABLE piped (line text) ON COMMIT DROP")
    return wire


def test_a_copy_may_be_sent_without_waiting_for_the_server_to_ask_for_it(copying: Wire) -> None:
    for _ in range(20):
        assert w.types_of(ask(copying, COPY, w.copy_data(b"one\n"), w.COPY_DONE, w.SYNC)) == "12GCZ"

    assert copying.value("SELECT count(*) FROM piped") == "20"


def test_a_copy_may_be_taken_back_without_waiting_for_the_server_to_ask_for_it(copying: Wire) -> None:
    assert w.types_of(ask(copying, COPY, w.copy_data(b"one\n"), w.copy_fail("no"), w.SYNC)) == "12GEZ"

    copying.query("ROLLBACK")
    assert usable(copying)


def test_sync_in_copy_data_is_not_answered(copying: Wire) -> None:
    data = (w.SYNC, w.FLUSH, w.copy_data(b"one\n"), w.SYNC, w.COPY_DONE)

    assert w.types_of(ask(copying, COPY, *data, w.SYNC)) == "12GCZ"
    assert w.types_of(ask(copying, w.query("COPY piped FROM STDIN"), *data)) == "GCZ"

    assert copying.value("SELECT count(*) FROM piped") == "2"


# The order of replies


def test_the_replies_of_the_gateway_stay_out_of_messages_on_their_way(wire: Wire, cluster: Any) -> None:
    wire.query("LISTEN flood")
    payload = "x" * 7_900
    shouts = "SELECT " + ", ".join(f"pg_notify('flood', '{payload}{number}')" for number in range(10, 50))
    with cluster.admin() as loud, concurrent.futures.ThreadPoolExecutor(1) as pool:
        shouting = pool.submit(lambda: [loud.execute(shouts) for _ in range(30)])
        for _ in range(400):
            wire.send(w.close("S", "none"))
            while (message := wire.receive()).type != "3":
                assert message.type == "A"
                assert message.body.startswith(payload.encode(), message.body.index(b"x"))
        shouting.result()
    assert w.types_of(ask(wire, w.SYNC)).strip("A") == "Z"


def test_no_notification_is_lost_once_listen_is_answered(gateway: Target, cluster: Any) -> None:
    with cluster.admin() as loud:
        for _ in range(60):
            with gateway.wire("alice") as wire:
                wire.socket.settimeout(5)
                wire.query("LISTEN at_once")
                loud.execute("NOTIFY at_once, 'hello'")

                assert wire.receive().type == "A"


def test_a_pipeline_that_ends_with_terminate_is_carried_out(wire: Wire, cluster: Any) -> None:
    insert = w.extended("INSERT INTO notes (owner, body) VALUES ($1, 'last words')", ["alice"])
    wire.send(insert * 50, w.TERMINATE)

    def written() -> bool:
        with cluster.admin() as admin:
            return admin.execute("SELECT count(*) FROM notes WHERE body = 'last words'").fetchone() == (50,)

    eventually(written, "what was asked for before the goodbye")
    with cluster.admin() as admin:
        admin.execute("DELETE FROM notes WHERE body = 'last words'")


def test_replies_to_a_pipeline_that_ends_with_terminate_still_come(wire: Wire) -> None:
    wire.send(w.query("SELECT 1"), w.query("SELECT 2"), w.TERMINATE)

    assert w.types_of(wire.until_ready() + wire.until_ready()) == "TDCZTDCZ"


def test_a_batch_with_a_flush_may_write_behind_its_reads(gateway: Target) -> None:
    with gateway.wire("alice") as wire:
        wire.send(w.parse("SELECT 1"), w.bind(), w.execute(), w.FLUSH)
        wire.receive_until("C")
        replies = ask(wire, w.parse("DELETE FROM notes WHERE false"), w.bind(), w.execute(), w.SYNC)

    assert w.types_of(replies) == "12CZ"
