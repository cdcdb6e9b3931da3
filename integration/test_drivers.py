"""Real drivers with their own features."""

from __future__ import annotations

import asyncio
import datetime
import decimal
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from harness.target import Target


@pytest.fixture
def target(pooled: Target) -> Target:
    return pooled


@pytest.fixture(scope="module")
def session_target(make_module_gateway: Callable[..., Target]) -> Target:
    return make_module_gateway(general={"pooler_mode": "session"})


def test_psycopg_binary_values(target: Target) -> None:
    values = [1, "två", decimal.Decimal("1.50"), datetime.date(2024, 2, 29), b"\x00\xff", None, [1, 2]]
    with target.connect("alice") as connection:
        query = "SELECT %s::int, %s::text, %s::numeric, %s::date, %s::bytea, %s::int, %s::int[]"

        assert connection.execute(query, values, binary=True).fetchone() == tuple(values)


def test_psycopg_pipeline_mode(target: Target) -> None:
    with target.connect("alice") as connection, connection.pipeline():
        cursors = [connection.execute("SELECT %s::int", [number]) for number in range(100)]

        assert [cursor.fetchone() for cursor in cursors] == [(number,) for number in range(100)]


def test_psycopg_server_side_cursor(target: Target) -> None:
    with target.connect("alice", autocommit=False) as connection, connection.cursor(name="rows") as cursor:
        cursor.execute("SELECT generate_series(1, 1000)")
        cursor.itersize = 50

        assert sum(row[0] for row in cursor) == 500_500


def test_psycopg_statements_prepared_by_the_driver(session_target: Target) -> None:
    with session_target.connect("alice", prepare_threshold=0) as connection:
        answers = [connection.execute("SELECT %s::int + 1", [number]).fetchone() for number in range(20)]

        assert answers == [(number + 1,) for number in range(20)]


def test_psycopg_errors_carry_their_class(target: Target) -> None:
    with target.connect("alice") as connection, pytest.raises(psycopg.errors.DivisionByZero):
        connection.execute("SELECT 1/0")


def run_asyncpg(target: Target, work: Callable[[Any], Any], **options: Any) -> Any:
    async def session() -> Any:
        connection = await target.connect_asyncpg("alice", **options)
        try:
            return await asyncio.wait_for(work(connection), 30)
        finally:
            await connection.close()

    return asyncio.run(session())


def test_asyncpg_transactions(target: Target) -> None:
    async def work(connection: Any) -> Any:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("INSERT INTO notes (body) VALUES ($1)", "asyncpg")
        inside = await connection.fetchval("SELECT count(*) FROM notes WHERE body = 'asyncpg'")
        await transaction.rollback()
        return inside

    assert run_asyncpg(target, work, statement_cache_size=0) == 1


def test_asyncpg_with_its_statement_cache(session_target: Target) -> None:
    async def work(connection: Any) -> Any:
        statement = await connection.prepare("SELECT $1::int * 2")
        return [await statement.fetchval(number) for number in range(20)]

    assert run_asyncpg(session_target, work) == [number * 2 for number in range(20)]


def test_asyncpg_cursors(session_target: Target) -> None:
    async def work(connection: Any) -> Any:
        async with connection.transaction():
            return [row[0] async for row in connection.cursor("SELECT generate_series(1, 120)", prefetch=50)]

    assert run_asyncpg(session_target, work) == list(range(1, 121))


def test_asyncpg_copies(session_target: Target) -> None:
    async def work(connection: Any) -> Any:
        await connection.execute("CREATE TEMPORARY TABLE copied (number int, word text)")
        await connection.copy_records_to_table("copied", records=[(n, f"word {n}") for n in range(500)])
        return await connection.fetchval("SELECT sum(number) FROM copied")

    assert run_asyncpg(session_target, work) == sum(range(500))


def test_psql_commands_for_people(session_target: Target) -> None:
    done = session_target.psql("alice", input="\\dt\n\\d notes\n\\conninfo\n\\l\n\\du\n\\df\n")

    assert done.returncode == 0, done.stderr
    assert "notes" in done.stdout
    assert done.stderr == ""
