"""Prepared statements that follow the client, where two clients share one server connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from conftest import MakeGateway
from harness import eventually, primary_alone
from harness import wire as w
from harness.wire import Message, Wire

SLEEP = "SELECT pg_sleep(20)"
LONG = "no number " * 40_000


def ask(wire: Wire, *messages: bytes) -> list[Message]:
    """Messages that are answered with one ReadyForQuery."""
    wire.send(*messages)
    return wire.until_ready()


def run(name: str = "") -> bytes:
    return w.bind((), name) + w.execute() + w.SYNC


def test_errors_call_a_statement_by_the_name_that_the_client_gave_it(wire: Wire) -> None:
    error = w.error_of(ask(wire, w.parse("SELECT $1::int", "mine"), w.bind((), "mine"), w.SYNC))

    assert error["M"] == 'bind message supplies 0 parameters, but prepared statement "mine" requires 1'


def test_a_parse_in_a_failed_transaction_fails_also_for_a_text_that_is_known(wire: Wire) -> None:
    ask(wire, w.parse("SELECT 1 AS known", "one"), w.SYNC)
    wire.query("BEGIN")
    wire.query("SELECT 1/0")

    replies = ask(wire, w.parse("SELECT 1 AS known", "two"), w.SYNC)
    wire.query("ROLLBACK")

    assert w.error_of(replies)["C"] == "25P02"


# The unnamed statement


def test_the_unnamed_statement_of_another_client_does_not_exist(wire: Wire, other: Wire) -> None:
    ask(wire, w.parse("SELECT 'private'"), w.SYNC)

    replies = ask(other, run())

    assert w.error_of(replies)["C"] == "26000"


def test_a_long_unnamed_statement_is_not_taken_for_that_of_another_client(wire: Wire, other: Wire) -> None:
    ask(wire, w.parse(f"SELECT 'mine' /* {LONG} */"), w.SYNC)
    ask(other, w.parse("SELECT 'private'"), w.SYNC)

    rows = [message.row for message in ask(wire, run()) if message.type == "D"]

    assert rows in ([("mine",)], [])


def test_the_unnamed_statement_outlives_what_other_clients_do(wire: Wire, other: Wire) -> None:
    ask(wire, w.parse("SELECT 'mine'"), w.describe("S"), w.SYNC)
    other.query("SELECT 1")

    assert w.types_of(ask(wire, run())) == "2DCZ"

    other.query("SELECT 1")
    assert w.types_of(ask(wire, w.describe("S"), w.SYNC)) == "tTZ"


def test_a_simple_query_ends_the_unnamed_statement(wire: Wire, other: Wire) -> None:
    ask(wire, w.parse("SELECT 'mine'"), w.SYNC)
    wire.query("SELECT 1")
    ask(other, w.parse("SELECT 'private'"), w.SYNC)

    assert w.error_of(ask(wire, run()))["C"] == "26000"


# A server that is lost


def test_a_name_lost_with_its_server_may_be_used_again(wire: Wire, cluster: Any) -> None:
    name = "by another name"
    wire.send(w.parse(SLEEP), w.bind(), w.execute(), w.parse("SELECT 1 AS lost", name), w.SYNC)

    def terminated() -> bool:
        with cluster.admin() as admin:
            query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = %s"
            return bool(admin.execute(query, [SLEEP]).fetchall())

    eventually(terminated, "the statement")
    assert w.types_of(wire.until_ready()) == "12EZ"

    assert w.types_of(ask(wire, w.parse("SELECT 1 AS lost", name), w.SYNC)) == "1Z"


# State that servers hold for all their clients


def test_deallocate_all_takes_nothing_from_other_clients(wire: Wire, other: Wire) -> None:
    for each in (wire, other):
        ask(each, w.parse("SELECT 'shared'", "shared"), w.SYNC)

    wire.query("BEGIN")
    wire.query("DEALLOCATE ALL")
    wire.query("COMMIT")

    assert w.types_of(ask(other, run("shared"))) == "2DCZ"


def test_after_deallocate_all_a_driver_may_prepare_again_in_the_same_transaction(wire: Wire) -> None:
    ask(wire, w.parse("SELECT 'shared'", "mine"), w.SYNC)
    wire.query("BEGIN")
    wire.query("DEALLOCATE ALL")

    assert w.types_of(ask(wire, w.parse("SELECT 'shared'", "mine"), run("mine"))) == "12DCZ"
    wire.query("COMMIT")


# What an error skips


def lacks(other: Wire) -> None:
    """The server that they share loses what only other clients use: it may keep few statements."""
    for number in range(4):
        ask(other, w.parse(f"SELECT {number}", f"filler {number}"), w.SYNC)


def test_what_was_skipped_with_its_preparation_is_prepared_again(wire: Wire, other: Wire) -> None:
    ask(wire, w.parse("SELECT 'mine'", "c"), w.SYNC)
    lacks(other)

    wire.send(w.execute("no portal"), w.bind((), "c"), w.SYNC, run("c"))
    assert w.types_of(wire.until_ready()) == "EZ"
    assert w.types_of(wire.until_ready()) == "2DCZ"


def test_so_is_the_unnamed_statement(wire: Wire, other: Wire) -> None:
    ask(wire, w.parse("SELECT 'mine'"), w.SYNC)
    lacks(other)
    other.query("SELECT 1")

    wire.send(w.execute("no portal"), w.bind(), w.SYNC, run())
    assert w.types_of(wire.until_ready()) == "EZ"
    assert w.types_of(wire.until_ready()) == "2DCZ"


def test_a_skipped_parse_takes_nothing_away(wire: Wire, other: Wire) -> None:
    ask(wire, w.parse("SELECT 'first'", "c"), w.SYNC)
    lacks(other)

    wire.send(w.execute("no portal"), w.parse("SELECT 'other'", "c"), w.SYNC, run("c"))
    assert w.types_of(wire.until_ready()) == "EZ"
    assert [message.row for message in wire.until_ready() if message.type == "D"] == [("first",)]


def test_a_name_stays_taken_behind_a_skipped_parse(wire: Wire, other: Wire) -> None:
    ask(wire, w.parse("SELECT 'first'", "c"), w.SYNC)
    lacks(other)

    skipped = (w.bind((), "unknown"), w.parse("SELECT 'first'", "c"), w.SYNC)
    wire.send(*skipped, w.parse("SELECT 'other'", "c"), w.SYNC)
    assert w.error_of(wire.until_ready())["C"] == "26000"
    assert w.error_of(wire.until_ready())["M"] == 'prepared statement "c" already exists'
    assert w.types_of(ask(wire, run("c"))) == "2DCZ"


def test_deallocate_all_that_is_never_executed_takes_nothing_away(wire: Wire) -> None:
    ask(wire, w.parse("SELECT 1", "kept"), w.SYNC)
    ask(wire, w.parse("DEALLOCATE ALL", "all"), w.bind((), "all"), w.SYNC)

    assert w.types_of(ask(wire, run("kept"))) == "2DCZ"
    ask(wire, run("all"))
    assert w.error_of(ask(wire, run("kept")))["C"] == "26000"


def test_what_is_prepared_behind_deallocate_all_in_its_batch_stays(wire: Wire) -> None:
    ask(wire, w.parse("SELECT 0", "gone"), w.SYNC)
    clear = (w.parse("DEALLOCATE ALL"), w.bind(), w.execute())

    assert w.types_of(ask(wire, *clear, w.parse("SELECT 1", "new"), w.SYNC)) == "12C1Z"
    assert w.error_of(ask(wire, w.parse("SELECT 2", "new"), w.SYNC))["C"] == "42P05"
    assert w.error_of(ask(wire, run("gone")))["C"] == "26000"
    assert w.types_of(ask(wire, *clear, w.parse("SELECT 2", "new"), w.SYNC)) == "12C1Z"


def test_deallocate_all_takes_itself_away(wire: Wire) -> None:
    first = (w.parse("DEALLOCATE ALL"), w.bind((), "", "q"), w.execute("q"))
    second = (w.parse("DEALLOCATE ALL", "own"), w.bind((), "own"), w.execute())

    assert w.types_of(ask(wire, *first, *second, w.SYNC)) == "12C12CZ"
    assert w.error_of(ask(wire, run("own")))["C"] == "26000"


def test_deallocate_all_takes_away_what_is_prepared_between_its_bind_and_its_execution(wire: Wire) -> None:
    ask(wire, w.parse("SELECT 0", "before"), w.SYNC)
    bound = (w.parse("DEALLOCATE ALL"), w.bind((), "", "q"))
    between = (w.parse("SELECT 1", "between"), w.bind((), "before"), w.execute())
    behind = (w.parse("SELECT 2", "behind"), w.bind((), "behind"), w.execute())

    assert w.types_of(ask(wire, *bound, *between, w.execute("q"), *behind, w.SYNC)) == "1212DCC12DCZ"
    assert [w.types_of(ask(wire, run(name))) for name in ("before", "between", "behind")] == [
        "EZ",
        "EZ",
        "2DCZ",
    ]


def test_the_unnamed_statement_outlives_requests_that_are_skipped(wire: Wire) -> None:
    ask(wire, w.parse("SELECT 'kept'"), w.SYNC)
    wire.send(
        *(w.bind((), "unknown"), w.close("S", ""), w.SYNC),
        *(w.execute("no portal"), w.parse("SELECT 'skipped'"), w.SYNC),
        run(),
    )

    assert [w.types_of(wire.until_ready()) for _ in range(2)] == ["EZ", "EZ"]
    assert [message.row for message in wire.until_ready() if message.type == "D"] == [("kept",)]


def test_the_unnamed_statement_outlives_queries_that_are_skipped(wire: Wire) -> None:
    ask(wire, w.parse("SELECT 'kept'"), w.SYNC)
    wire.send(w.execute("no portal"), w.query("SELECT 1"), w.query("BEGIN"), w.SYNC, run())

    assert w.types_of(wire.until_ready()) == "EZ"
    assert [message.row for message in wire.until_ready() if message.type == "D"] == [("kept",)]


def test_what_follows_deallocate_all_in_a_pipeline_finds_nothing(wire: Wire) -> None:
    ask(wire, w.parse("SELECT 1", "gone"), w.SYNC)

    wire.send(w.query("DEALLOCATE ALL"), run("gone"), w.parse("SELECT 2", "gone"), run("gone"))
    assert w.types_of(wire.until_ready()) == "CZ"
    assert w.error_of(wire.until_ready())["C"] == "26000"
    assert w.types_of(wire.until_ready()) == "12DCZ"


# Errors


@pytest.mark.parametrize("text", ["", "ROLLBACK", "COMMIT", "ROLLBACK TO SAVEPOINT nowhere", "-- nothing"])
def test_a_failed_transaction_admits_what_ends_it_also_when_it_is_known(wire: Wire, text: str) -> None:
    ask(wire, w.parse(text, "known"), w.SYNC)
    wire.query("BEGIN")
    wire.query("SELECT 1/0")

    assert w.types_of(ask(wire, w.parse(text, "again"), w.parse(text, "and again"), w.SYNC)) == "11Z"
    wire.query("ROLLBACK")
    assert w.types_of(ask(wire, w.close("S", "again"), w.SYNC)) == "3Z"


def test_an_error_is_about_the_statement_in_question(wire: Wire) -> None:
    text = "SELECT $1::int"
    ask(wire, w.parse(text, "b"), w.parse(text, "c"), w.SYNC)

    for name in ("b", "c"):
        error = w.error_of(ask(wire, w.bind((), name), w.close("S", name), w.SYNC))
        assert error["M"] == f'bind message supplies 0 parameters, but prepared statement "{name}" requires 1'


# Tables that change

TABLE = "SELECT * FROM scratch.changing"


@pytest.fixture
def changing(cluster: Any) -> Iterator[Callable[[], None]]:
    """A table of one column; the call gives it another, past the gateway."""
    with cluster.admin() as admin:
        admin.execute("DROP TABLE IF EXISTS scratch.changing")
        admin.execute("CREATE TABLE scratch.changing AS SELECT 1 AS a")
        admin.execute("ALTER TABLE scratch.changing OWNER TO alice")
        yield lambda: admin.execute("ALTER TABLE scratch.changing ADD COLUMN b int")
        admin.execute("DROP TABLE scratch.changing")


def prepare(wire: Wire, name: str) -> list[Message]:
    return ask(wire, w.parse(TABLE, name), w.describe("S", name), w.SYNC)


def test_who_prepares_after_a_change_is_not_troubled(wire: Wire, changing: Any) -> None:
    prepare(wire, "old")
    ask(wire, run("old"))
    wire.query("ALTER TABLE scratch.changing ADD COLUMN b int")

    assert w.types_of(prepare(wire, "new")) == "1tTZ"
    (row,) = [message.row for message in ask(wire, run("new")) if message.type == "D"]
    assert row == ("1", None)
    assert w.error_of(ask(wire, run("old")))["C"] == "0A000"


def test_it_may_prepare_again_in_the_transaction_that_changed_the_table(wire: Wire, changing: Any) -> None:
    prepare(wire, "old")
    wire.query("BEGIN")
    wire.query("ALTER TABLE scratch.changing ADD COLUMN b int")

    assert w.types_of(prepare(wire, "new")) == "1tTZ"
    assert w.types_of(ask(wire, run("new"))) == "2DCZ"
    wire.query("ROLLBACK")
    assert w.error_of(ask(wire, run("new")))["C"] == "0A000"


def test_a_change_past_the_gateway_is_one_error(
    wire: Wire, other: Wire, changing: Callable[[], None]
) -> None:
    for each in (wire, other):
        prepare(each, "all")
        ask(each, run("all"))
    changing()

    assert w.error_of(ask(wire, run("all")))["C"] == "0A000"
    for each in (wire, other):
        ask(each, w.close("S", "all"), w.SYNC)
        assert w.types_of(prepare(each, "all")) == "1tTZ"
        assert w.types_of(ask(each, run("all"))) == "2DCZ"


def test_nobody_gets_columns_that_he_was_not_told_of(
    make_gateway: MakeGateway, cluster: Any, changing: Callable[[], None]
) -> None:
    only = primary_alone(cluster)
    target = make_gateway(general={"default_pool_size": 2}, databases=[only])
    with target.wire("alice") as wire, target.wire("alice") as holder:
        prepare(wire, "all")
        servers = {wire.value("SELECT pg_backend_pid()")}
        changing()
        holder.query("BEGIN")
        servers.add(holder.value("SELECT pg_backend_pid()"))
        wrong = ask(wire, w.bind(["1"], "all"), w.execute(), w.SYNC)
        replies = ask(wire, run("all"))
        servers.add(wire.value("SELECT pg_backend_pid()"))
        holder.query("COMMIT")

        assert len(servers) == 2
        assert w.error_of(wrong)["C"] == "08P01"
        assert w.types_of(replies) == "EZ"
        assert w.error_of(replies)["M"] == "cached plan must not change result type"
        ask(wire, w.close("S", "all"), w.SYNC)
        assert w.types_of(prepare(wire, "all")) == "1tTZ"
        assert w.types_of(ask(wire, run("all"))) == "2DCZ"
