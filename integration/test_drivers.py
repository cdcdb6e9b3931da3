"""Real drivers with their own features."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import datetime
import decimal
import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from harness import eventually
from harness.external import is_external
from harness.target import Target


@pytest.fixture
def target(pooled: Target) -> Target:
    return pooled


def sessions(target: Target) -> bool:
    """Whether each client has a server of its own."""
    return target.process is not None and target.gateway.config["general"]["pooler_mode"] == "session"


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


def test_psycopg_statements_prepared_by_the_driver(target: Target) -> None:
    with target.connect("alice", prepare_threshold=0) as connection:
        answers = [connection.execute("SELECT %s::int + 1", [number]).fetchone() for number in range(20)]

        assert answers == [(number + 1,) for number in range(20)]


def test_psycopg_copies(target: Target) -> None:
    with target.connect("alice", autocommit=False) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE copied (number int, word text) ON COMMIT DROP")
        with cursor.copy("COPY copied FROM STDIN") as copy:
            for number in range(500):
                copy.write_row((number, f"word {number}"))
        with cursor.copy("COPY copied TO STDOUT") as copy:
            assert sum(1 for _ in copy.rows()) == 500


def test_psycopg_gives_a_copy_up(target: Target) -> None:
    with target.connect("alice", autocommit=False) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE copied (number int) ON COMMIT DROP")
        with pytest.raises(ZeroDivisionError), cursor.copy("COPY copied FROM STDIN") as copy:
            copy.write_row((1 // 0,))
        connection.rollback()
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_psycopg_reads_and_writes_in_one_pipeline(target: Target) -> None:
    with target.connect("alice") as connection, connection.pipeline():
        read = connection.execute("SELECT 1").fetchone()
        written = connection.execute("INSERT INTO notes (body) VALUES ('pipeline') RETURNING 2").fetchone()
        connection.execute("DELETE FROM notes WHERE body = 'pipeline'")

        assert (read, written) == ((1,), (2,))


def test_psycopg_pipeline_goes_on_behind_an_error(target: Target) -> None:
    with target.connect("alice", prepare_threshold=0) as connection:
        for _ in range(5):
            with contextlib.suppress(psycopg.errors.DivisionByZero), connection.pipeline() as pipeline:
                connection.execute("SELECT %s::int", [1])
                connection.execute("SELECT 1 / %s::int", [0])
                connection.execute("SELECT %s::text", ["skipped"])
                pipeline.sync()
                raise AssertionError("no error came back")
            assert connection.execute("SELECT %s::text", ["skipped"]).fetchone() == ("skipped",)


def test_psycopg_listens(target: Target) -> None:
    with target.connect("alice") as connection, target.connect("bob") as loud:
        connection.execute("LISTEN psycopg_channel")
        loud.execute("SELECT pg_notify('psycopg_channel', 'hello')")

        assert [each.payload for each in connection.notifies(timeout=10, stop_after=1)] == ["hello"]


def test_psycopg_cancels(target: Target) -> None:
    with target.connect("alice") as connection, concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(connection.execute, "SELECT pg_advisory_xact_lock(77), pg_sleep(30)")
        with target.connect("bob") as other:
            held = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 77"
            eventually(lambda: other.execute(held).fetchone(), "the start of the statement")
        connection.cancel_safe()

        with pytest.raises(psycopg.errors.QueryCanceled):
            asked.result(timeout=15)


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

    assert run_asyncpg(target, work) == 1


def test_asyncpg_with_its_statement_cache(target: Target) -> None:
    async def work(connection: Any) -> Any:
        statement = await connection.prepare("SELECT $1::int * 2")
        return [await statement.fetchval(number) for number in range(20)]

    assert run_asyncpg(target, work) == [number * 2 for number in range(20)]


def test_asyncpg_cursors(target: Target) -> None:
    async def work(connection: Any) -> Any:
        async with connection.transaction():
            return [row[0] async for row in connection.cursor("SELECT generate_series(1, 120)", prefetch=50)]

    assert run_asyncpg(target, work) == list(range(1, 121))


def test_asyncpg_copies(target: Target) -> None:
    async def work(connection: Any) -> Any:
        async with connection.transaction():
            await connection.execute("CREATE TEMPORARY TABLE copied (number int, word text) ON COMMIT DROP")
            await connection.copy_records_to_table("copied", records=[(n, f"word {n}") for n in range(500)])
            lines = io.BytesIO()
            await connection.copy_from_query("SELECT * FROM copied", output=lines)
            return lines.getvalue().count(b"\n"), await connection.fetchval("SELECT sum(number) FROM copied")

    assert run_asyncpg(target, work) == (500, sum(range(500)))


@pytest.mark.parametrize("cache", [100, 0])
def test_asyncpg_clients_that_share_servers(target: Target, cache: int) -> None:
    """Fewer clients than servers in session mode, more in transaction mode."""
    clients = 4 if sessions(target) else 12

    async def work() -> list[Any]:
        connections = [
            await target.connect_asyncpg("alice", statement_cache_size=cache) for _ in range(clients)
        ]

        async def ask(connection: Any, number: int) -> Any:
            answers = [await connection.fetchval(f"SELECT $1::int + {n % 7}", number) for n in range(40)]
            return sum(answers) - 40 * number - sum(n % 7 for n in range(40))

        answers = await asyncio.gather(*(ask(each, number) for number, each in enumerate(connections)))
        for connection in connections:
            await connection.close()
        return answers

    assert asyncio.run(asyncio.wait_for(work(), 60)) == [0] * clients


def test_asyncpg_recovers_when_a_table_changes_under_its_statements(target: Target, cluster: Any) -> None:
    async def work(connection: Any) -> Any:
        await connection.execute("CREATE TABLE scratch.asyncpg_changes AS SELECT 1 AS a")
        query = "SELECT * FROM scratch.asyncpg_changes"
        before = await connection.fetchrow(query)
        await connection.execute("ALTER TABLE scratch.asyncpg_changes ADD COLUMN b int DEFAULT 2")
        return tuple(before), tuple(await connection.fetchrow(query))

    try:
        assert run_asyncpg(target, work) == ((1,), (1, 2))
    finally:
        with cluster.admin() as admin:
            admin.execute("DROP TABLE IF EXISTS scratch.asyncpg_changes")


def test_asyncpg_listens(target: Target) -> None:
    async def work(connection: Any) -> Any:
        heard: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        await connection.add_listener("asyncpg_channel", lambda *event: heard.set_result(event[3]))
        with target.connect("bob") as loud:
            loud.execute("SELECT pg_notify('asyncpg_channel', 'hello')")
        return await heard

    assert run_asyncpg(target, work) == "hello"


def test_asyncpg_cancels_what_takes_too_long(target: Target) -> None:
    async def work(connection: Any) -> Any:
        with pytest.raises(asyncio.TimeoutError):
            await connection.execute("SELECT pg_sleep(30)", timeout=0.3)
        return await connection.fetchval("SELECT 1")

    assert run_asyncpg(target, work) == 1


def test_psql_commands_for_people(target: Target, cluster: Any) -> None:
    if not is_external():
        # What they ask of the catalogue is that of psql's own version, and of older ones.
        target = replace(target, psql_program=str(cluster.installation.program("psql")))
    done = target.psql("alice", input="\\dt\n\\d notes\n\\conninfo\n\\l\n\\du\n\\df\n")

    assert done.returncode == 0, done.stderr
    assert "notes" in done.stdout
    assert done.stderr == ""
