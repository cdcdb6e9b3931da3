"""Statements on record: who ran what, for how long, with how many rows and which error; and no secret."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from conftest import MakeGateway
from harness import Cluster, eventually, primary_alone
from harness.gateway import whole_lines
from harness.target import Target
from harness.wire import (
    SYNC,
    TERMINATE,
    bind,
    close,
    error_of,
    execute,
    extended,
    function_call,
    parse,
    query,
    types_of,
)


class Records:
    """The events of statements in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def all(self, **fields: Any) -> list[dict[str, Any]]:
        events = [json.loads(line) for line in whole_lines(self.path.read_text())]
        return [event for event in events if {"event": "statement", **fields}.items() <= event.items()]

    def last(self, **fields: Any) -> dict[str, Any]:
        return eventually(
            lambda: self.all(**fields), f"a statement with {fields}; there: {self.path.read_text()[-900:]}"
        )[-1]


Make = Callable[..., tuple[Target, Records]]


@pytest.fixture
def make(make_gateway: MakeGateway, cluster: Cluster, tmp_path: Path) -> Make:
    def make(general: dict[str, Any] | None = None, **audit: Any) -> tuple[Target, Records]:
        path = tmp_path / "audit.json"
        settings = {"destination": "file", "file": str(path), "statements": "text", **audit}
        target = make_gateway(databases=[primary_alone(cluster)], general=general or {}, audit=settings)
        return target, Records(path)

    return make


@pytest.fixture(params=["transaction", "session"])
def recorded(make: Make, request: pytest.FixtureRequest) -> tuple[Target, Records]:
    return make({"pooler_mode": request.param})


def test_a_simple_query_is_one_event(recorded: tuple[Target, Records]) -> None:
    target, records = recorded
    with target.wire("alice") as wire:
        wire.query("SELECT n FROM generate_series(1, 3) AS n")
        event = records.last(command="SELECT")
        assert event["statement"] == "SELECT n FROM generate_series(?) AS n"
        assert (event["rows"], event["user"], event["role"], event["subject"]) == (
            3,
            "alice",
            "alice",
            "alice",
        )
        assert event["session"] == int.from_bytes(wire.cancel_key[:4], "big")
        assert event["duration_us"] > 0
        assert len(event["fingerprint"]) == 16
        assert "sqlstate" not in event
        assert event["database"] == target.database


def test_several_statements_in_one_query_are_one_event(recorded: tuple[Target, Records]) -> None:
    target, records = recorded
    with target.wire("alice") as wire:
        wire.query("SELECT 1; SELECT 2 UNION ALL SELECT 3")
        assert records.last(command="SELECT")["rows"] == 3
        assert len(records.all()) == 1


def test_an_error_is_on_record(recorded: tuple[Target, Records]) -> None:
    target, records = recorded
    with target.wire("alice") as wire:
        wire.query("SELECT 1 / 0")
        assert records.last(sqlstate="22012")["statement"] == "SELECT ? / ?"
        wire.query("SELECT nonsense")
        assert records.last(sqlstate="42703")["statement"] == "SELECT ?"


def test_each_execute_is_an_event(recorded: tuple[Target, Records]) -> None:
    target, records = recorded
    with target.wire("alice") as wire:
        wire.send(parse("SELECT 1 AS a", "one"), parse("SELECT 2 AS b", "two"))
        wire.send(bind((), "one", "p"), bind((), "two", "q"), execute("q"), execute("p"), SYNC)
        wire.until_ready()
        records.last(statement="SELECT ? AS a")
        assert [event["statement"] for event in records.all()] == ["SELECT ? AS b", "SELECT ? AS a"]
        wire.send(bind((), "one"), execute(), SYNC)
        wire.until_ready()
        eventually(lambda: len(records.all()) == 3, "the third")
        assert records.all()[-1]["statement"] == "SELECT ? AS a"


def test_a_statement_of_a_driver_is_on_record(recorded: tuple[Target, Records]) -> None:
    target, records = recorded
    with target.connect("alice") as connection:
        connection.execute("SELECT %s::int + 1", (41,), prepare=True)
    assert records.last(command="SELECT")["statement"] == "SELECT $1::int + ?"


def test_a_failed_parse_does_not_give_its_name_another_text(recorded: tuple[Target, Records]) -> None:
    target, records = recorded
    with target.wire("alice") as wire:
        wire.send(parse("SELECT nonsense", "s"), SYNC)
        assert error_of(wire.until_ready())["C"] == "42703"
        wire.send(parse("SELECT 1 AS a", "s"), SYNC)
        wire.until_ready()
        wire.send(parse("SELECT 2 AS innocent", "s"), SYNC)
        assert error_of(wire.until_ready())["C"] == "42P05"
        wire.send(bind((), "s"), execute(), SYNC)
        wire.until_ready()
        assert records.last(command="SELECT")["statement"] == "SELECT ? AS a"


def test_a_closed_name_may_stand_for_another_text(recorded: tuple[Target, Records]) -> None:
    target, records = recorded
    with target.wire("alice") as wire:
        for sql in ("SELECT 1 AS a", "SELECT 2 AS b"):
            wire.send(parse(sql, "s"), bind((), "s"), execute(), close("S", "s"), SYNC)
            assert "E" not in types_of(wire.until_ready())
        records.last(statement="SELECT ? AS b")
        assert [event["statement"] for event in records.all()] == ["SELECT ? AS a", "SELECT ? AS b"]


def test_a_batch_that_fails_is_one_event_with_the_error(recorded: tuple[Target, Records]) -> None:
    target, records = recorded
    with target.wire("alice") as wire:
        wire.send(
            *[part for sql in ("SELECT 1", "SELECT 1 / 0", "SELECT 3 AS c") for part in _run(sql)], SYNC
        )
        assert error_of(wire.until_ready())["C"] == "22012"
        records.last(sqlstate="22012")
        assert [(e["statement"], e.get("sqlstate")) for e in records.all()] == [
            ("SELECT ?", None),
            ("SELECT ? / ?", "22012"),
        ]
        wire.send(*_run("SELECT nonsense"), SYNC)
        wire.until_ready()
        assert records.last(sqlstate="42703")["statement"] == "SELECT ?"


def _run(sql: str) -> tuple[bytes, bytes, bytes]:
    return parse(sql), bind(), execute()


def test_an_error_that_is_too_long_to_be_read_hides_nothing(recorded: tuple[Target, Records]) -> None:
    target, records = recorded
    sql = "SELECT repeat('x', 600000)::int"
    with target.wire("alice") as wire:
        wire.query(sql)
        wire.send(*_run(sql), SYNC)
        wire.until_ready()
    eventually(
        lambda: len(records.all(sqlstate="22P02", statement="SELECT repeat(?, ?)::int")) == 2, "both errors"
    )


def test_pipelined_queries_keep_their_order(recorded: tuple[Target, Records]) -> None:
    target, records = recorded
    texts = [f"SELECT {number} AS a{number}" for number in range(20)]
    masked = [f"SELECT ? AS a{number}" for number in range(20)]
    with target.wire("alice") as wire:
        wire.send(*[query(sql) for sql in texts[:10]], *[extended(sql) for sql in texts[10:]])
        for _ in texts:
            wire.until_ready()
        records.last(statement=masked[-1])
        assert [event["statement"] for event in records.all()] == masked


def test_a_result_in_parts_is_an_event_for_each(recorded: tuple[Target, Records]) -> None:
    target, records = recorded
    with target.wire("alice") as wire:
        wire.send(
            parse("SELECT generate_series(1, 3)"), bind((), "", "p"), execute("p", 2), execute("p", 2), SYNC
        )
        wire.until_ready()
        assert records.last(command="SELECT")["rows"] == 1
        assert [event.get("rows") for event in records.all()] == [None, 1]


def test_copy_is_on_record(recorded: tuple[Target, Records]) -> None:
    target, records = recorded
    with target.connect("alice") as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("CREATE TEMPORARY TABLE copied (n int) ON COMMIT DROP")
        with cursor.copy("COPY copied FROM STDIN") as copy:
            copy.write("1\n2\n")
        with cursor.copy("COPY copied TO STDOUT") as copy:
            assert len(b"".join(copy)) == 4
        cursor.execute("ROLLBACK")
    records.last(command="ROLLBACK")
    assert [(e["statement"], e["rows"]) for e in records.all(command="COPY")] == [
        ("COPY copied FROM STDIN", 2),
        ("COPY copied TO STDOUT", 2),
    ]


def test_a_function_call_is_on_record(recorded: tuple[Target, Records]) -> None:
    target, records = recorded
    with target.wire("service", "service-secret") as wire:
        number = int(wire.value("SELECT 'now'::regproc::oid::int") or 0)
        wire.send(function_call(number))
        assert "E" not in types_of(wire.until_ready())
        assert records.last(command=f"FUNCTION {number}")["user"] == "service"


def test_a_refused_function_call_is_the_guards_event(recorded: tuple[Target, Records]) -> None:
    target, records = recorded
    with target.wire("alice") as wire:
        number = int(wire.value("SELECT 'now'::regproc::oid::int") or 0)
        wire.send(function_call(number))
        assert error_of(wire.until_ready())["C"] == "42501"
    eventually(lambda: '"event":"guard"' in records.path.read_text(), "the refusal")


def test_a_refused_statement_is_in_the_guards_event(recorded: tuple[Target, Records]) -> None:
    target, records = recorded
    with target.connect("alice") as connection:
        for prepare in (False, True):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("SET ROLE postgres", prepare=prepare)

    def guard() -> list[dict[str, Any]]:
        return [
            event
            for event in map(json.loads, whole_lines(records.path.read_text()))
            if event["event"] == "guard"
        ]

    eventually(lambda: len(guard()) == 2, "both refusals")
    assert {event["statement"] for event in guard()} == {"SET ROLE postgres"}
    assert records.all(statement="SET ROLE postgres") == []


def test_passwords_are_not_on_record(recorded: tuple[Target, Records]) -> None:
    target, records = recorded
    with target.wire("alice") as wire:
        for sql in (
            "ALTER ROLE alice PASSWORD 'swordfish'",
            "CREATE USER someone WITH PASSWORD $$swordfish$$",
            "ALTER ROLE alice PASSWRD 'swordfish password'",
            "SELECT 1; ALTER USER alice ENCRYPTED PASSWORD E'sword\\x66ish swordfish'",
            "SET \"pgdog_jwt.token\" = 'swordfish'",
        ):
            wire.query(sql)
            wire.send(*_run(sql), SYNC)
            wire.until_ready()
        wire.query("SELECT 1 AS the_end")
    records.last(statement="SELECT ? AS the_end")
    assert "swordfish" not in records.path.read_text()
    assert records.all(statement="CREATE USER someone WITH PASSWORD ?")
    assert '"incomplete":"hidden"' in records.path.read_text()


def test_tokens_are_not_on_record(recorded: tuple[Target, Records]) -> None:
    target, records = recorded
    token = target.issuer.token("alice")
    with target.wire("alice", token) as wire:
        wire.query(f"SELECT '{token}' AS mine")
        wire.query(f'SELECT 1 AS "{token}"')
    records.last(statement='SELECT ? AS "[token]"')
    assert records.all(statement="SELECT ? AS mine")
    assert token.rpartition(".")[2] not in records.path.read_text()


def test_parameters_are_recorded_when_asked_for(make: Make) -> None:
    target, records = make(statement_parameters=True)
    with target.connect("alice") as connection:
        connection.execute("CREATE TEMPORARY TABLE kept (a text, b text, c bytea)")
        connection.execute("INSERT INTO kept (a, b, c) VALUES (%s, %s, %s)", ("höflich\n", None, b"\x01\xff"))
    assert records.last(command="INSERT")["parameters"] == ["höflich\n", None, "\\x01ff"]


def test_parameters_are_left_out_by_default(recorded: tuple[Target, Records]) -> None:
    target, records = recorded
    with target.connect("alice") as connection:
        connection.execute("SELECT %s::text", ("private",))
    assert "parameters" not in records.last(command="SELECT")
    assert "private" not in records.path.read_text()


def test_a_long_text_is_cut(make: Make) -> None:
    target, records = make(statement_max_length=30)
    with target.wire("alice") as wire:
        wire.query('SELECT 1 AS "' + "ü" * 5_000 + '"')
    event = records.last(command="SELECT")
    assert event["incomplete"] == "cut"
    assert len(event["statement"].encode()) <= 30


def test_fingerprints_alone_hold_no_text(make: Make) -> None:
    target, records = make(statements="fingerprint")
    with target.wire("alice") as wire:
        wire.query("SELECT 'private' AS a")
        wire.query("SELECT 'other' AS a")
        wire.query("SELECT 1 + 1")
        wire.send(*_run("SELECT $1::text AS a"), SYNC)
    eventually(lambda: len(records.all()) >= 3, "the statements")
    one, same, other, *_ = [event["fingerprint"] for event in records.all()]
    assert one == same != other
    assert all("statement" not in event for event in records.all())
    assert "private" not in records.path.read_text()


def test_only_statements_of_those_who_are_named_are_recorded(make: Make) -> None:
    target, records = make(statements_for=["bob", "car*"])
    for user in ("alice", "bob", "carol"):
        with target.wire(user) as wire:
            wire.query(f"SELECT 1 AS {user}")
    records.last(user="carol")
    assert {event["user"] for event in records.all()} == {"bob", "carol"}


def test_no_statement_is_recorded_by_default(make: Make) -> None:
    target, records = make(statements="none")
    with target.wire("alice") as wire:
        wire.query("SELECT 'private'")
    assert records.all() == []
    assert "private" not in records.path.read_text()


def test_a_statement_whose_client_leaves_is_on_record(recorded: tuple[Target, Records]) -> None:
    target, records = recorded
    with target.wire("alice") as wire:
        wire.send(query("SELECT pg_sleep(0.2)"), TERMINATE)
    assert records.last(statement="SELECT pg_sleep(?)")["command"] == "SELECT"


def test_users_with_passwords_are_recorded_as_well(make: Make) -> None:
    target, records = make({"pooler_mode": "session"})
    with target.connect("service", "service-secret") as connection:
        connection.execute("SELECT %s::int", (1,), prepare=True)
        connection.execute("SELECT %s::int", (2,), prepare=True)
    records.last(user="service")
    assert {event["statement"] for event in records.all(user="service")} == {"SELECT $1::int"}


def test_a_message_of_a_batch_stays_one_event_with_names_of_the_servers_own(make: Make) -> None:
    target, records = make({"prepared_statements": "disabled"})
    with target.wire("alice") as wire:
        wire.send(query("BEGIN"), parse("SELECT 1", "s"), bind((), "s"), execute(), SYNC, query("ROLLBACK"))
        for _ in range(3):
            wire.until_ready()
    records.last(command="ROLLBACK")
    assert [event["statement"] for event in records.all()] == ["BEGIN", "SELECT ?", "ROLLBACK"]
