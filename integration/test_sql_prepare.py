"""`prepared_statements = "full"`: statements of SQL `PREPARE` follow the client from server to server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from conftest import MakeGateway
from harness import wire as w
from harness.target import Target
from harness.wire import Wire

SERVERS = 2


@pytest.fixture(scope="module")
def full(make_module_gateway: MakeGateway) -> Target:
    return make_module_gateway(general={"prepared_statements": "full", "default_pool_size": SERVERS})


@pytest.fixture
def wires(full: Target) -> Iterator[list[Wire]]:
    """Clients of one subject, more of them than there are servers."""
    with ExitStack() as stack:
        yield [stack.enter_context(full.wire("alice")) for _ in range(SERVERS + 1)]


def code(wire: Wire, sql: str) -> str:
    wire.send(w.query(sql))
    return w.error_of(wire.until_ready())["C"]


def everywhere(wires: list[Wire], sql: str) -> set[str | None]:
    """What the first client hears on each of the servers, while the others are in transactions."""
    answers = set()
    wire, *others = wires
    for other in others:
        other.query("BEGIN")
        answers.add(wire.value(sql))
        answers.add(wire.value("SELECT pg_backend_pid()"))
        for each in others:
            each.query("COMMIT")
    return answers


def test_a_statement_is_wherever_its_client_is(wires: list[Wire]) -> None:
    wire, *others = wires
    wire.query("PREPARE mine (int) AS SELECT $1 + 1")

    servers = set()
    for held in others:
        held.query("BEGIN")
        servers.add(wire.value("SELECT pg_backend_pid()"))
        assert wire.value("EXECUTE mine (41)") == "42"
        held.query("COMMIT")
        wire.query("BEGIN")
        held.query("SELECT 1")
        wire.query("COMMIT")


def test_clients_may_use_the_same_name_for_different_things(wires: list[Wire]) -> None:
    for number, wire in enumerate(wires):
        wire.query(f"PREPARE same AS SELECT {number}")
    for _ in range(3):
        for number, wire in enumerate(wires):
            assert wire.value("EXECUTE same") == str(number)


def test_what_another_client_prepared_does_not_exist(wires: list[Wire]) -> None:
    one, *others = wires
    one.query("PREPARE private AS SELECT 'secret'")

    for other in others:
        for _ in range(SERVERS):
            assert code(other, "EXECUTE private") == "26000"
            assert code(other, "DEALLOCATE private") == "26000"
    assert one.value("EXECUTE private") == "secret"


def test_no_server_is_held(wires: list[Wire]) -> None:
    for wire in wires:
        wire.query("PREPARE free AS SELECT 1")
    for wire in wires:
        assert wire.value("EXECUTE free") == "1"


def test_a_name_is_taken_until_it_is_deallocated(wires: list[Wire]) -> None:
    wire = wires[0]
    wire.query("PREPARE once AS SELECT 1")
    assert code(wire, "PREPARE once AS SELECT 2") == "42P05"
    assert wire.value("EXECUTE once") == "1"

    wire.query("DEALLOCATE once")
    assert code(wire, "EXECUTE once") == "26000"
    wire.query("PREPARE once AS SELECT 2")
    assert wire.value("EXECUTE once") == "2"


@pytest.mark.parametrize("sql", ["DEALLOCATE ALL", "DISCARD ALL"])
def test_all_can_go_at_once(wires: list[Wire], sql: str) -> None:
    wire, other, *_ = wires
    for each in (wire, other):
        each.query("PREPARE here AS SELECT 1")
    wire.query(sql)

    assert code(wire, "EXECUTE here") == "26000"
    assert other.value("EXECUTE here") == "1"
    wire.query("PREPARE here AS SELECT 2")
    assert wire.value("EXECUTE here") == "2"


def test_a_rollback_does_not_take_it_away(wires: list[Wire]) -> None:
    wire = wires[0]
    for sql in ("BEGIN", "PREPARE kept AS SELECT 1", "ROLLBACK"):
        wire.query(sql)

    assert everywhere(wires, "EXECUTE kept") >= {"1"}


def test_a_statement_that_fails_is_not_kept(wires: list[Wire]) -> None:
    wire = wires[0]
    assert code(wire, "PREPARE broken AS SELECT * FROM missing") == "42P01"
    assert code(wire, "EXECUTE broken") == "26000"

    wire.query("BEGIN")
    assert code(wire, "SELECT 1/0") == "22012"
    assert code(wire, "PREPARE broken AS SELECT 1") == "25P02"
    wire.query("ROLLBACK")
    assert code(wire, "EXECUTE broken") == "26000"


def test_a_table_that_is_gone_is_an_error_and_the_session_goes_on(wires: list[Wire]) -> None:
    wire, other, *_ = wires
    wire.query("CREATE TABLE scratch.short_lived (a int)")
    wire.query("PREPARE late AS SELECT * FROM scratch.short_lived")
    wire.query("DROP TABLE scratch.short_lived")
    other.query("PREPARE late AS SELECT 1")

    assert code(wire, "EXECUTE late") == "42P01"
    assert wire.value("SELECT 1") == "1"


def test_settings_that_it_makes_follow_too(wires: list[Wire]) -> None:
    wire = wires[0]
    wire.query("PREPARE tune AS SELECT set_config('work_mem', '1234kB', false)")
    wire.query("EXECUTE tune")

    values = everywhere(wires, "SHOW work_mem")
    assert "1234kB" in values
    assert "4MB" not in values
    assert wires[1].value("SHOW work_mem") == "4MB"


def test_it_may_be_executed_below_other_statements(wires: list[Wire]) -> None:
    wire = wires[0]
    wire.query("PREPARE below AS SELECT 7 AS seven")

    assert "Result" in str(everywhere(wires, "EXPLAIN EXECUTE below"))
    wire.query("CREATE TABLE scratch.made AS EXECUTE below")
    assert wire.value("SELECT seven FROM scratch.made FOR UPDATE") == "7"
    wire.query("DROP TABLE scratch.made")


def test_the_extended_protocol_may_execute_it(wires: list[Wire]) -> None:
    wire, *others = wires
    wire.query("PREPARE extended AS SELECT 8")
    for other in others:
        other.query("PREPARE extended AS SELECT 'not this'")

    for _ in range(SERVERS):
        wire.send(w.extended("EXECUTE extended"))
        assert [message.row for message in wire.until_ready() if message.type == "D"] == [("8",)]
        wire.send(w.extended("EXECUTE extended", name=""))
        wire.until_ready()


def test_many_in_one_write(wires: list[Wire]) -> None:
    wire = wires[0]
    texts = ["PREPARE a AS SELECT 1", "EXECUTE a", "DEALLOCATE a", "PREPARE a AS SELECT 2", "EXECUTE a"]
    wire.send(*[w.query(text) for text in texts])

    rows = [message.row for _ in texts for message in wire.until_ready() if message.type == "D"]
    assert rows == [("1",), ("2",)]


def test_the_guard_reads_what_is_prepared(wires: list[Wire]) -> None:
    wire = wires[0]
    assert code(wire, "PREPARE escape AS SELECT set_config('role', 'bob', false)") == "42501"
    assert code(wire, "EXECUTE escape") == "26000"


def test_text_that_depends_on_the_encoding_stays_where_it_is(wires: list[Wire]) -> None:
    wire = wires[0]
    wire.query("PREPARE umlaut AS SELECT 'ä'")

    assert everywhere(wires, "EXECUTE umlaut") >= {"ä"}


def test_a_query_in_place_of_sync_may_execute_or_deallocate(wires: list[Wire]) -> None:
    wire, other, _ = wires
    wire.query("PREPARE mine AS SELECT 'mine'")
    other.query("PREPARE mine AS SELECT 'other'")
    batch = w.step("SELECT 1")
    for _ in range(4):
        wire.send(batch, w.query("EXECUTE mine"))
        replies = wire.until_ready()
        assert w.types_of(replies) == "12DCTDCZ"
        assert [message.row for message in replies if message.type == "D"] == [("1",), ("mine",)]
        assert other.value("EXECUTE mine") == "other"
    wire.send(batch, w.query("DEALLOCATE ALL"))
    assert w.types_of(wire.until_ready()) == "12DCCZ"
    assert code(wire, "EXECUTE mine") == "26000"
