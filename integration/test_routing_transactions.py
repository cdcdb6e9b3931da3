"""Where transactions run: those that say they only read, and those whose first statement decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from harness import eventually
from harness import wire as w
from harness.activity import end_backends
from harness.target import Target
from harness.wire import Message, Wire

MakeGateway = Callable[..., Target]

# `on` at a replica; a read for everybody, because it calls no function.
WHERE = "SELECT setting FROM in_hot_standby"
PRIMARY, REPLICA = "off", "on"
INSERT = "INSERT INTO notes (body) VALUES ('in a transaction')"
SPLIT = {"read_write_split": "exclude_primary"}


@pytest.fixture(scope="module")
def target(make_module_gateway: MakeGateway) -> Target:
    return make_module_gateway(general=SPLIT)


@pytest.fixture(scope="module")
def late(make_module_gateway: MakeGateway) -> Target:
    """The first statement decides."""
    return make_module_gateway(general={**SPLIT, "read_write_strategy": "aggressive"})


@pytest.fixture
def wire(target: Target) -> Iterator[Wire]:
    with target.wire("alice") as wire:
        yield wire


@pytest.fixture
def first(late: Target) -> Iterator[Wire]:
    with late.wire("alice") as wire:
        yield wire


def status(messages: list[Message]) -> str:
    return messages[-1].body.decode()


def codes(messages: list[Message]) -> list[str]:
    return [message.fields["C"] for message in messages if message.type == "E"]


def tags(messages: list[Message]) -> list[str]:
    return [message.body[:-1].decode() for message in messages if message.type == "C"]


# Transactions that say what they are

READ_ONLY = [
    "BEGIN READ ONLY",
    "START TRANSACTION READ ONLY",
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    "begin transaction isolation level read committed, read only, deferrable",
]
NOT_FOR_REPLICAS = [
    "BEGIN READ WRITE",
    "START TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY",
    "BEGIN READ ONLY, READ WRITE",
    "BEGIN READ WRITE, READ ONLY",
]


@pytest.mark.parametrize("strategy", ["target", "late"])
@pytest.mark.parametrize("begin", READ_ONLY)
def test_a_read_only_transaction_runs_on_a_replica(
    request: pytest.FixtureRequest, strategy: str, begin: str
) -> None:
    with request.getfixturevalue(strategy).wire("alice") as wire:
        assert status(wire.query(begin)) == "T"
        assert wire.value(WHERE) == REPLICA
        assert codes(wire.query("SELECT add_note('by a function')")) == ["25006"]
        assert status(wire.query("COMMIT")) == "I"
        wire.rows(INSERT)


@pytest.mark.parametrize("strategy", ["target", "late"])
@pytest.mark.parametrize("begin", NOT_FOR_REPLICAS)
def test_a_transaction_that_a_replica_cannot_run_goes_to_the_primary(
    request: pytest.FixtureRequest, strategy: str, begin: str
) -> None:
    with request.getfixturevalue(strategy).wire("alice") as wire:
        assert tags(wire.query(begin)) in (["BEGIN"], ["START TRANSACTION"])
        assert wire.value(WHERE) == PRIMARY
        wire.query("COMMIT")


def test_a_read_only_transaction_cannot_become_another_on_a_replica(wire: Wire) -> None:
    wire.query("BEGIN READ ONLY")
    assert codes(wire.query("SET TRANSACTION READ WRITE")) == ["0A000"]
    assert status(wire.query("ROLLBACK")) == "I"


@pytest.mark.parametrize("strategy", ["target", "late"])
@pytest.mark.parametrize(
    "by",
    [
        "SET default_transaction_isolation = 'serializable'",
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "",
    ],
)
def test_a_session_that_is_serializable_reads_from_the_primary(
    request: pytest.FixtureRequest, strategy: str, by: str
) -> None:
    parameters = {} if by else {"default_transaction_isolation": "Serializable"}
    with request.getfixturevalue(strategy).wire("alice", **parameters) as wire:
        if by:
            wire.rows(by)
        assert wire.value(WHERE) == PRIMARY
        for begin in ("BEGIN", "BEGIN READ ONLY"):
            wire.query(begin)
            assert wire.value(WHERE) == PRIMARY
            wire.query("COMMIT")
        wire.rows("SET default_transaction_isolation = 'read committed'")
        assert wire.value(WHERE) == REPLICA


def test_drivers_send_read_only_transactions_to_a_replica(target: Target) -> None:
    with target.connect("alice") as connection:
        connection.read_only = True
        connection.autocommit = False
        assert connection.execute(WHERE).fetchone() == (REPLICA,)
        connection.commit()
        connection.read_only = False
        assert connection.execute(WHERE).fetchone() == (PRIMARY,)
        connection.rollback()


def test_a_read_only_batch_runs_on_a_replica(wire: Wire) -> None:
    parts = [w.extended(sql).removesuffix(w.SYNC) for sql in ("BEGIN READ ONLY", WHERE, "COMMIT")]
    wire.send(b"".join(parts) + w.SYNC)
    assert [message.row for message in wire.until_ready() if message.type == "D"] == [(REPLICA,)]


def test_a_comment_chooses_the_side_of_a_transaction(wire: Wire) -> None:
    wire.query("/* pgdog_role: replica */ BEGIN")
    assert wire.value(WHERE) == REPLICA
    wire.query("COMMIT")


def test_other_transactions_run_on_the_primary(wire: Wire) -> None:
    wire.query("BEGIN")
    assert wire.value(WHERE) == PRIMARY
    wire.query("COMMIT")


# Transactions whose first statement decides


@pytest.mark.parametrize("begin", ["BEGIN", "START TRANSACTION", "BEGIN ISOLATION LEVEL REPEATABLE READ"])
def test_the_first_statement_decides(first: Wire, begin: str) -> None:
    for sql, where in ((WHERE, REPLICA), (INSERT, PRIMARY), ("SELECT 1 FROM notes FOR UPDATE", PRIMARY)):
        begun = first.query(begin)
        assert (tags(begun), status(begun)) == (
            [" ".join(begin.split()[:2]) if "START" in begin else "BEGIN"],
            "T",
        )
        assert not codes(first.query(sql))
        assert first.value(WHERE) == where
        level = "repeatable read" if "REPEATABLE" in begin else "read committed"
        assert first.value("SHOW transaction_isolation") == level
        assert tags(first.query("COMMIT")) == ["COMMIT"]


def test_a_transaction_that_began_with_a_read_cannot_write(first: Wire) -> None:
    first.query("BEGIN")
    assert first.value(WHERE) == REPLICA
    failed = first.query(INSERT)
    assert (codes(failed), status(failed)) == (["25006"], "E")
    assert codes(first.query(WHERE)) == ["25P02"]
    assert tags(first.query("COMMIT")) == ["ROLLBACK"]


@pytest.mark.parametrize(
    ("sql", "where"),
    [
        ("SET TRANSACTION READ ONLY", REPLICA),
        ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY", PRIMARY),
        ("SET LOCAL pgdog.role TO 'replica'", REPLICA),
        ("SET LOCAL pgdog.role TO 'primary'", PRIMARY),
        ("/* pgdog_role: primary */ SELECT 1", PRIMARY),
        ("/* pgdog_role: replica */ LOCK TABLE notes IN ACCESS SHARE MODE", REPLICA),
        ("SAVEPOINT one", PRIMARY),
        ("SET LOCAL work_mem = '1MB'", PRIMARY),
        ("SHOW search_path", REPLICA),
    ],
)
def test_what_else_decides(first: Wire, sql: str, where: str) -> None:
    first.query("BEGIN")
    assert not codes(first.query(sql))
    assert first.value(WHERE) == where
    assert tags(first.query("COMMIT")) == ["COMMIT"]


def test_what_a_session_asks_for_decides_unless_the_first_statement_does(first: Wire) -> None:
    first.query("SET pgdog.role TO 'primary'")
    for sql, where in (("SELECT 1", PRIMARY), ("SET LOCAL pgdog.role TO 'replica'", REPLICA)):
        first.query("BEGIN")
        first.query(sql)
        assert first.value(WHERE) == where
        first.query("COMMIT")


def test_nothing_is_lost_when_nothing_follows(first: Wire) -> None:
    for end in ("COMMIT", "ROLLBACK"):
        assert status(first.query("BEGIN")) == "T"
        ended = first.query(end)
        assert (tags(ended), status(ended)) == ([end], "I")
    first.rows(INSERT)


def test_a_client_that_leaves_behind_begin_leaves_nothing(late: Target, cluster: Any) -> None:
    with late.wire("alice") as wire:
        wire.query("BEGIN")
    with late.wire("alice") as wire:
        wire.rows(INSERT)
        with cluster.admin() as admin:
            query = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
            assert admin.execute(query).fetchone() == (0,)


def test_begin_within_begin_is_postgresql_s_to_answer(first: Wire) -> None:
    first.query("BEGIN")
    again = first.query("BEGIN")
    assert [message.fields["C"] for message in again if message.type == "N"] == ["25001"]
    assert (tags(again), status(again)) == (["BEGIN"], "T")
    first.query("ROLLBACK")


def test_an_error_in_the_first_statement_fails_the_transaction(first: Wire) -> None:
    for sql, code in (
        ("SELECT 1/0", "22012"),
        ("SELEKT", "42601"),
        ("SET ROLE bob", "42501"),
        ("DISCARD ALL", "25001"),
    ):
        first.query("BEGIN")
        failed = first.query(sql)
        assert (codes(failed), status(failed)) == ([code], "E"), sql
        assert codes(first.query("SELECT 1")) == ["25P02"]
        assert tags(first.query("COMMIT")) == ["ROLLBACK"]


def test_a_pipeline_of_simple_queries_is_answered_in_order(first: Wire) -> None:
    first.send(b"".join(w.query(sql) for sql in ("BEGIN", INSERT, WHERE, "ROLLBACK", WHERE)))
    answers = [first.until_ready() for _ in range(5)]
    assert [status(answer) for answer in answers] == ["T", "T", "T", "I", "I"]
    assert answers[2][1].row == (PRIMARY,)


def test_the_extended_protocol_decides_in_the_same_way(first: Wire) -> None:
    for sql, where in ((WHERE, REPLICA), (INSERT, PRIMARY), (f"/* pgdog_role: primary */ {WHERE}", PRIMARY)):
        first.query("BEGIN")
        first.send(w.SYNC)
        assert status(first.until_ready()) == "T"
        first.send(w.extended(sql))
        answer = first.until_ready()
        assert (codes(answer), status(answer)) == ([], "T")
        assert first.value(WHERE) == where
        first.query("ROLLBACK")


def test_an_error_in_an_extended_batch_fails_the_transaction(first: Wire) -> None:
    for sql, code in (("SET ROLE bob", "42501"), ("SELECT 1/0", "22012")):
        first.query("BEGIN")
        first.send(w.extended(sql))
        failed = first.until_ready()
        assert (codes(failed), status(failed)) == ([code], "E"), sql
        assert tags(first.query("COMMIT")) == ["ROLLBACK"]
    first.query("BEGIN")
    first.send(w.bind(statement="missing") + w.execute() + w.SYNC)
    failed = first.until_ready()
    assert (codes(failed), status(failed)) == (["26000"], "E")
    first.query("ROLLBACK")


@pytest.mark.parametrize(
    ("statements", "where"),
    [((), PRIMARY), ((WHERE,), REPLICA), ((WHERE, INSERT), PRIMARY), (("SAVEPOINT a",), PRIMARY)],
)
def test_a_batch_that_begins_decides_by_what_is_in_it(
    first: Wire, statements: tuple[str, ...], where: str
) -> None:
    batch = [w.extended(sql).removesuffix(w.SYNC) for sql in ("BEGIN", *statements)]
    first.send(b"".join(batch) + w.SYNC)
    answer = first.until_ready()
    assert (codes(answer), status(answer)) == ([], "T")
    assert first.value(WHERE) == where
    first.query("ROLLBACK")


def test_prepared_statements_and_drivers(late: Target) -> None:
    with late.connect("alice", autocommit=False, prepare_threshold=0) as connection:
        for _ in range(3):
            assert connection.execute(WHERE).fetchone() == (REPLICA,)
            connection.commit()
            connection.execute("INSERT INTO notes (body) VALUES (%s)", ["by a driver"])
            assert connection.execute(WHERE).fetchone() == (PRIMARY,)
            connection.rollback()


def test_copy_may_be_the_first_statement(late: Target) -> None:
    with late.connect("alice", autocommit=False) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE scratch.copied (body text)")
        connection.commit()
        with cursor.copy("COPY scratch.copied FROM STDIN") as copy:
            copy.write("copied\n")
        assert cursor.execute("SELECT * FROM scratch.copied").fetchall() == [("copied",)]
        cursor.execute("DROP TABLE scratch.copied")
        connection.commit()


def test_when_no_server_is_free_there_is_no_transaction(make_gateway: MakeGateway) -> None:
    general = {**SPLIT, "read_write_strategy": "aggressive", "default_pool_size": 1, "checkout_timeout": 200}
    target = make_gateway(general=general)
    with target.wire("alice") as holder, target.wire("alice") as wire:
        holder.query("BEGIN")
        holder.rows(INSERT)
        assert status(wire.query("BEGIN")) == "T"
        failed = wire.query(INSERT)
        assert (codes(failed), status(failed)) == (["53300"], "I")
        holder.query("ROLLBACK")
        assert eventually(lambda: not codes(wire.query(INSERT)), "a write")


def test_the_limit_for_idle_transactions_holds_behind_begin(make_gateway: MakeGateway) -> None:
    limits = {"client_idle_in_transaction_timeout": 300}
    target = make_gateway(general={**SPLIT, "read_write_strategy": "aggressive", **limits})
    with target.wire("alice") as wire:
        wire.query("BEGIN")
        assert w.error_of(wire.receive_until("E"))["C"] == "25P03"


def test_a_killed_server_ends_a_transaction_that_was_begun_late(late: Target, cluster: Any) -> None:
    with late.connect("alice", autocommit=False) as connection:
        row = connection.execute("/* pgdog_role: primary */ SELECT pg_backend_pid()").fetchone()
        assert row
        with cluster.admin() as admin:
            end_backends(admin, f"pid = {row[0]}")
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
        connection.rollback()
        assert connection.execute(WHERE).fetchone() == (REPLICA,)
