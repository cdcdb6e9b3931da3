"""SQLAlchemy 2 with either driver, its pool and its transactions, a token for its password."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from harness.target import Target

sqlalchemy = pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")
aio = pytest.importorskip("sqlalchemy.ext.asyncio", reason="SQLAlchemy's asyncio part is not installed")

ROUNDS = 30


def url(target: Target, driver: str) -> Any:
    return sqlalchemy.URL.create(
        f"postgresql+{driver}",
        username="alice",
        password=target.issuer.token("alice"),
        host=target.host,
        port=target.port,
        database=target.database,
    )


def table() -> Any:
    return sqlalchemy.Table(
        "notes",
        sqlalchemy.MetaData(),
        sqlalchemy.Column("id", sqlalchemy.BigInteger, sqlalchemy.Identity(), primary_key=True),
        sqlalchemy.Column("body", sqlalchemy.Text),
    )


def test_sqlalchemy_with_psycopg(pooled: Target) -> None:
    notes = table()
    engine = sqlalchemy.create_engine(url(pooled, "psycopg"), pool_size=3)
    with engine.connect() as connection:
        assert sqlalchemy.inspect(connection).has_table("notes")
        made = connection.execute(notes.insert().returning(notes.c.id), [{"body": "a"}, {"body": "b"}])
        assert len(made.all()) == 2
        with pytest.raises(sqlalchemy.exc.DBAPIError), connection.begin_nested():
            connection.execute(sqlalchemy.text("SELECT 1/0"))
        assert connection.scalar(sqlalchemy.select(sqlalchemy.func.count()).where(notes.c.body == "a")) == 1
        connection.rollback()
    for number in range(ROUNDS):
        with engine.begin() as connection:
            assert connection.scalar(sqlalchemy.text("SELECT :n + 1"), {"n": number}) == number + 1
    with engine.connect().execution_options(stream_results=True) as connection:
        rows = connection.execute(sqlalchemy.text("SELECT generate_series(1, 2000)"))
        assert sum(row[0] for row in rows) == 2_001_000
    engine.dispose()


def test_sqlalchemy_with_asyncpg(pooled: Target) -> None:
    notes = table()

    async def work() -> None:
        engine = aio.create_async_engine(url(pooled, "asyncpg"), pool_size=3)
        async with engine.connect() as connection:
            made = await connection.execute(notes.insert().returning(notes.c.id), {"body": "a"})
            assert made.scalar()
            with pytest.raises(sqlalchemy.exc.DBAPIError):
                async with connection.begin_nested():
                    await connection.execute(sqlalchemy.text("SELECT 1/0"))
            await connection.rollback()

        async def ask(number: int) -> int:
            async with engine.begin() as connection:
                query = sqlalchemy.text("SELECT CAST(:n AS int) + 1")
                return (await connection.execute(query, {"n": number})).scalar()

        answers = await asyncio.gather(*(ask(number) for number in range(ROUNDS)))
        assert answers == [number + 1 for number in range(ROUNDS)]
        async with engine.connect() as connection:
            rows = await connection.stream(sqlalchemy.text("SELECT generate_series(1, 2000)"))
            assert sum([row[0] async for row in rows]) == 2_001_000
        await engine.dispose()

    asyncio.run(asyncio.wait_for(work(), 60))
