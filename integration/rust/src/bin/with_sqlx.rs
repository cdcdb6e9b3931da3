//! What sqlx does, one check per feature. The environment is where it looks by itself.

use std::time::Duration;

use futures_util::TryStreamExt;
use futures_util::future::try_join_all;
use pgdog_jwt_drivers::{Failure, Outcome, Place, check, same};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{
    PgAdvisoryLock, PgArgumentBuffer, PgConnectOptions, PgConnection, PgListener, PgPool, PgPoolCopyExt, PgPoolOptions,
    PgTypeInfo, PgValueRef, Postgres,
};
use sqlx::{AssertSqlSafe, Connection, Decode, Encode, Executor, Row, Statement, Type, TypeInfo};

#[tokio::main]
async fn main() -> Outcome {
    let place = &Place::from_env()?;
    check("values in binary", values()).await;
    check("a cache of statements that overflows", small_cache()).await;
    check("statements that are not kept", unprepared_statements()).await;
    check("statements prepared by hand", prepared_by_hand()).await;
    check("transactions and savepoints", transactions()).await;
    check("transactions that are dropped", dropped_transactions()).await;
    check("rows that nobody reads", unread_rows()).await;
    check("several statements in one text", simple_queries()).await;
    check("copy in and out", copy()).await;
    check("copy that is given up", copy_given_up()).await;
    check("types of the user's own", types()).await;
    check("errors with their class", errors()).await;
    check("notifications", notifications()).await;
    check("an advisory lock of the session", advisory_lock()).await;
    check("a query whose future is dropped", dropped_query()).await;
    check("a pool", pool(place.clients)).await;
    check("a table that changes", changed_table()).await;
    Ok(())
}

async fn connected() -> Outcome<PgConnection> {
    Ok(PgConnection::connect_with(&PgConnectOptions::new()).await?)
}

async fn pool_of(clients: usize) -> Outcome<PgPool> {
    let size = u32::try_from(clients)?;
    Ok(PgPoolOptions::new().max_connections(size).connect_with(PgConnectOptions::new()).await?)
}

fn sqlstate<T>(outcome: Result<T, sqlx::Error>) -> Option<String> {
    outcome.err()?.as_database_error()?.code().map(|code| code.into_owned())
}

async fn values() -> Outcome {
    let mut connection = connected().await?;
    let row = sqlx::query("SELECT $1, $2, $3, $4, $5, $6, $7")
        .bind(-1i32)
        .bind(i64::MAX)
        .bind("två")
        .bind(b"\0\xff".as_slice())
        .bind(1.5f64)
        .bind(vec![Some(1i32), None])
        .bind(None::<String>)
        .fetch_one(&mut connection)
        .await?;
    same((row.try_get::<i32, _>(0)?, row.try_get::<i64, _>(1)?), (-1, i64::MAX))?;
    same((row.try_get::<&str, _>(2)?, row.try_get::<&[u8], _>(3)?), ("två", b"\0\xff".as_slice()))?;
    same((row.try_get::<f64, _>(4)?, row.try_get::<Vec<Option<i32>>, _>(5)?), (1.5, vec![Some(1), None]))?;
    same(row.try_get::<Option<String>, _>(6)?, None)
}

/// Two connections with caches for three statements and more texts than that: Close for the ones that make room.
async fn small_cache() -> Outcome {
    let options = PgConnectOptions::new().statement_cache_capacity(3);
    let mut connections = [PgConnection::connect_with(&options).await?, PgConnection::connect_with(&options).await?];
    for round in 0..60i32 {
        for connection in &mut connections {
            let text = AssertSqlSafe(format!("SELECT $1 + {}", round % 5));
            let answer: i32 = sqlx::query_scalar(text).bind(round).fetch_one(&mut *connection).await?;
            same(answer, round + round % 5)?;
        }
    }
    for mut connection in connections {
        connection.clear_cached_statements().await?;
        same(sqlx::query_scalar::<_, i32>("SELECT 1").fetch_one(&mut connection).await?, 1)?;
    }
    Ok(())
}

async fn unprepared_statements() -> Outcome {
    let mut connection = connected().await?;
    for number in 0..20i32 {
        let asked = sqlx::query_scalar("SELECT $1 * 2").bind(number).persistent(false);
        same::<i32, _>(asked.fetch_one(&mut connection).await?, number * 2)?;
    }
    Ok(())
}

async fn prepared_by_hand() -> Outcome {
    let mut connection = connected().await?;
    let statement =
        (&mut connection).prepare(sqlx::SqlStr::from_static("SELECT 1::int8 AS one, 'x'::text AS word")).await?;
    let columns: Vec<_> =
        statement.columns().iter().map(|column| sqlx::Column::type_info(column).name().to_owned()).collect();
    same(columns, vec!["INT8", "TEXT"])?;
    for _ in 0..5 {
        same(statement.query().fetch_one(&mut connection).await?.try_get::<i64, _>("one")?, 1)?;
    }
    Ok(())
}

const NOTE: &str = "INSERT INTO notes (body) VALUES ('sqlx')";

async fn noted(connection: &mut PgConnection) -> Outcome<i64> {
    Ok(sqlx::query_scalar("SELECT count(*) FROM notes WHERE body = 'sqlx'").fetch_one(connection).await?)
}

async fn transactions() -> Outcome {
    let mut connection = connected().await?;
    let mut transaction = connection.begin().await?;
    sqlx::query(NOTE).execute(&mut *transaction).await?;
    let mut savepoint = transaction.begin().await?;
    sqlx::query(NOTE).execute(&mut *savepoint).await?;
    same(noted(&mut savepoint).await?, 2)?;
    same(sqlstate(sqlx::query("SELECT 1/0").execute(&mut *savepoint).await), Some("22012".to_owned()))?;
    same(sqlstate(sqlx::query("SELECT 1").execute(&mut *savepoint).await), Some("25P02".to_owned()))?;
    savepoint.rollback().await?;
    same(noted(&mut transaction).await?, 1)?;
    transaction.commit().await?;
    let removed = sqlx::query("DELETE FROM notes WHERE body = 'sqlx'").execute(&mut connection).await?;
    same(removed.rows_affected(), 1)
}

/// The next use of the connection rolls back first.
async fn dropped_transactions() -> Outcome {
    let pool = pool_of(1).await?;
    for _ in 0..10 {
        let mut transaction = pool.begin().await?;
        sqlx::query(NOTE).execute(&mut *transaction).await?;
        same(noted(&mut transaction).await?, 1)?;
        drop(transaction);
        same(noted(&mut *pool.acquire().await?).await?, 0)?;
    }
    pool.close().await;
    Ok(())
}

async fn unread_rows() -> Outcome {
    let mut connection = connected().await?;
    for _ in 0..5 {
        let mut rows =
            sqlx::query("SELECT n, repeat('x', 1000) FROM generate_series(1, 5000) AS n").fetch(&mut connection);
        same(rows.try_next().await?.ok_or("no row")?.try_get::<i32, _>(0)?, 1)?;
    }
    let first: i32 = sqlx::query_scalar("SELECT generate_series(7, 9999)").fetch_one(&mut connection).await?;
    same(first, 7)?;
    connection.ping().await?;
    Ok(())
}

async fn simple_queries() -> Outcome {
    let mut connection = connected().await?;
    let rows = sqlx::raw_sql("SELECT 1; BEGIN; SELECT 2; COMMIT; SELECT 3").fetch_all(&mut connection).await?;
    let numbers: Result<Vec<i32>, _> = rows.iter().map(|row| row.try_get(0)).collect();
    same(numbers?, vec![1, 2, 3])
}

async fn copy() -> Outcome {
    let mut connection = connected().await?;
    let mut transaction = connection.begin().await?;
    sqlx::query("CREATE TEMPORARY TABLE copied (line text) ON COMMIT DROP").execute(&mut *transaction).await?;
    let mut data = transaction.copy_in_raw("COPY copied FROM STDIN").await?;
    for number in 0..1000 {
        data.send(format!("line {number}\n").into_bytes()).await?;
    }
    same(data.finish().await?, 1000)?;
    let chunks: Vec<_> = transaction.copy_out_raw("COPY copied TO STDOUT").await?.try_collect().await?;
    same(chunks.iter().map(|chunk| chunk.len()).sum::<usize>(), 8890)?;
    transaction.commit().await?;
    Ok(())
}

/// By a word, by dropping it, by an error of the server.
async fn copy_given_up() -> Outcome {
    let pool = pool_of(1).await?;
    sqlx::raw_sql("DROP TABLE IF EXISTS scratch.sqlx_copy; CREATE TABLE scratch.sqlx_copy (line text)")
        .execute(&pool)
        .await?;
    let text = "COPY scratch.sqlx_copy FROM STDIN";
    let count = "SELECT count(*) FROM scratch.sqlx_copy";
    let mut data = pool.copy_in_raw(text).await?;
    data.send(b"sqlx\n".as_slice()).await?;
    data.abort("changed my mind").await?;
    same(sqlx::query_scalar::<_, i64>(count).fetch_one(&pool).await?, 0)?;

    let mut data = pool.copy_in_raw(text).await?;
    data.send(b"sqlx\n".as_slice()).await?;
    drop(data);
    same(sqlx::query_scalar::<_, i64>(count).fetch_one(&pool).await?, 0)?;

    let mut data = pool.copy_in_raw(text).await?;
    data.send(b"sqlx\ttoo much\n".as_slice()).await?;
    same(sqlstate(data.finish().await), Some("22P04".to_owned()))?;
    same(sqlx::query_scalar::<_, i64>(count).fetch_one(&pool).await?, 0)?;
    sqlx::raw_sql("DROP TABLE scratch.sqlx_copy").execute(&pool).await?;
    pool.close().await;
    Ok(())
}

#[derive(Debug, PartialEq)]
struct Mood(String);

impl Type<Postgres> for Mood {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("scratch.sqlx_mood")
    }
}

impl Encode<'_, Postgres> for Mood {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        <&str as Encode<'_, Postgres>>::encode(self.0.as_str(), buffer)
    }
}

impl<'r> Decode<'r, Postgres> for Mood {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        Ok(Self(value.as_str()?.to_owned()))
    }
}

/// The driver asks the catalogue about types that it does not know: by name for values, by number for results.
async fn types() -> Outcome {
    let mut connection = connected().await?;
    sqlx::raw_sql(
        "DROP TYPE IF EXISTS scratch.sqlx_mood CASCADE; DROP TYPE IF EXISTS scratch.sqlx_pair;
         CREATE TYPE scratch.sqlx_mood AS ENUM ('sad', 'ok');
         CREATE TYPE scratch.sqlx_pair AS (mood scratch.sqlx_mood, n int)",
    )
    .execute(&mut connection)
    .await?;
    let mut second = connected().await?;
    for connection in [&mut connection, &mut second] {
        let row = sqlx::query("SELECT $1 AS mood, ROW('sad', 1)::scratch.sqlx_pair AS pair")
            .bind(Mood("ok".to_owned()))
            .fetch_one(&mut *connection)
            .await?;
        same(row.try_get::<Mood, _>("mood")?, Mood("ok".to_owned()))?;
        let kind = sqlx::Column::type_info(row.column("pair")).name().to_owned();
        same(kind.ends_with("pair"), true)?;
    }
    sqlx::raw_sql("DROP TYPE scratch.sqlx_pair, scratch.sqlx_mood").execute(&mut connection).await?;
    Ok(())
}

async fn errors() -> Outcome {
    let mut connection = connected().await?;
    let table = "DROP TABLE IF EXISTS scratch.sqlx_errors; CREATE TABLE scratch.sqlx_errors (n int CONSTRAINT few CHECK (n < 5))";
    sqlx::raw_sql(table).execute(&mut connection).await?;
    let failed = sqlx::query("INSERT INTO scratch.sqlx_errors VALUES ($1)").bind(9).execute(&mut connection).await;
    let error = failed.err().and_then(sqlx::Error::into_database_error).ok_or("no error")?;
    same((error.code().as_deref(), error.constraint()), (Some("23514"), Some("few")))?;
    sqlx::raw_sql("DROP TABLE scratch.sqlx_errors").execute(&mut connection).await?;
    let failed = sqlx::query("SELECT nothing FROM notes").execute(&mut connection).await;
    same(sqlstate(failed), Some("42703".to_owned()))
}

async fn notifications() -> Outcome {
    let pool = pool_of(2).await?;
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen_all(["sqlx_one", "sqlx_two"]).await?;
    for channel in ["sqlx_one", "sqlx_two", "sqlx_one"] {
        sqlx::query("SELECT pg_notify($1, 'hello')").bind(channel).execute(&pool).await?;
        let heard = listener.recv().await?;
        same((heard.channel(), heard.payload()), (channel, "hello"))?;
    }
    listener.unlisten("sqlx_one").await?;
    sqlx::query("SELECT pg_notify('sqlx_one', 'not heard'), pg_notify('sqlx_two', 'last')").execute(&pool).await?;
    same(listener.recv().await?.payload(), "last")?;
    drop(listener);
    pool.close().await;
    Ok(())
}

/// It is kept over statements, also where servers are shared.
async fn advisory_lock() -> Outcome {
    let (mut first, mut second) = (connected().await?, connected().await?);
    let lock = PgAdvisoryLock::new("pgdog-jwt");
    let held = lock.acquire(&mut first).await?;
    same(lock.try_acquire(&mut second).await?.is_left(), false)?;
    held.release_now().await?;
    let held = lock.try_acquire(&mut second).await?.left().ok_or("not free")?;
    held.release_now().await?;
    Ok(())
}

/// The driver reads the rest of the reply before its next statement.
async fn dropped_query() -> Outcome {
    let mut connection = connected().await?;
    for _ in 0..3 {
        let slow = sqlx::query("SELECT pg_sleep(0.2)").execute(&mut connection);
        same(tokio::time::timeout(Duration::from_millis(20), slow).await.is_err(), true)?;
        same(sqlx::query_scalar::<_, i32>("SELECT 1").fetch_one(&mut connection).await?, 1)?;
    }
    Ok(())
}

async fn pool(clients: usize) -> Outcome {
    let pool = pool_of(clients).await?;
    let tasks = (0..4 * i32::try_from(clients)?).map(|task| {
        let pool = pool.clone();
        tokio::spawn(async move {
            for round in 0..15 {
                let text = AssertSqlSafe(format!("SELECT $1 + {}", task % 7));
                let answer: i32 = sqlx::query_scalar(text).bind(round).fetch_one(&pool).await?;
                same(answer, round + task % 7)?;
            }
            Ok::<_, Failure>(())
        })
    });
    for outcome in try_join_all(tasks).await? {
        outcome?;
    }
    pool.close().await;
    Ok(())
}

/// On the server where a statement was prepared PostgreSQL says that it is outdated; a new one is right everywhere.
async fn changed_table() -> Outcome {
    let mut connection = connected().await?;
    let table = "DROP TABLE IF EXISTS scratch.sqlx_changes; CREATE TABLE scratch.sqlx_changes AS SELECT 1 AS a";
    sqlx::raw_sql(table).execute(&mut connection).await?;
    let text = "SELECT * FROM scratch.sqlx_changes";
    same(sqlx::query(text).fetch_one(&mut connection).await?.len(), 1)?;
    sqlx::raw_sql("ALTER TABLE scratch.sqlx_changes ADD COLUMN b int DEFAULT 2").execute(&mut connection).await?;
    let failed = sqlstate(sqlx::query(text).fetch_one(&mut connection).await);
    same(failed.is_none_or(|code| code == "0A000"), true)?;
    connection.clear_cached_statements().await?;
    same(sqlx::query(text).fetch_one(&mut connection).await?.try_get::<i32, _>("b")?, 2)?;
    sqlx::raw_sql("DROP TABLE scratch.sqlx_changes").execute(&mut connection).await?;
    Ok(())
}
