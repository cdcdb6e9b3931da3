//! What tokio-postgres does, one check per feature.

use std::pin::pin;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::{join_all, poll_fn, try_join_all};
use futures_util::{SinkExt, StreamExt, TryStreamExt};
use pgdog_jwt_drivers::{Outcome, Place, check, same};
use tokio::sync::mpsc;
use tokio_postgres::binary_copy::{BinaryCopyInWriter, BinaryCopyOutStream};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{Kind, Type};
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, SimpleQueryMessage};

#[tokio::main]
async fn main() -> Outcome {
    let place = &Place::from_env()?;
    check("values in binary", values(place)).await;
    check("prepared statements", prepared_statements(place)).await;
    check("many statements, closed and forgotten", many_statements(place)).await;
    check("unprepared statements", unprepared_statements(place)).await;
    check("a pipeline", pipeline(place)).await;
    check("an error in a pipeline", error_in_a_pipeline(place)).await;
    check("transactions and savepoints", transactions(place)).await;
    check("transactions that are dropped", dropped_transactions(place)).await;
    check("portals with row limits", portals(place)).await;
    check("rows that nobody reads", unread_rows(place)).await;
    check("several statements in one text", simple_queries(place)).await;
    check("copy in and out", copy(place)).await;
    check("copy in binary", binary_copy(place)).await;
    check("copy that is given up", copy_given_up(place)).await;
    check("types of the user's own", types(place)).await;
    check("errors with their class", errors(place)).await;
    check("notifications and notices", notifications(place)).await;
    check("cancel", cancel(place)).await;
    check("many clients", many_clients(place)).await;
    check("a table that changes", changed_table(place)).await;
    Ok(())
}

async fn connected(place: &Place) -> Outcome<Client> {
    let (client, connection) = config(place).connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

fn config(place: &Place) -> Config {
    let mut config = Config::new();
    config.host(&place.host).port(place.port).dbname(&place.database);
    config.user(&place.user).password(&place.password);
    config
}

async fn values(place: &Place) -> Outcome {
    let client = connected(place).await?;
    let moment = SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
    let row = client
        .query_one(
            "SELECT $1::int, $2::bigint, $3::text, $4::bytea, $5::float8, $6::bool, $7::int[], $8::timestamptz, $9::text",
            &[&-1i32, &i64::MAX, &"två", &&b"\0\xff"[..], &1.5f64, &true, &vec![1i32, 2], &moment, &None::<String>],
        )
        .await?;
    same(row.try_get::<_, i32>(0)?, -1)?;
    same(row.try_get::<_, i64>(1)?, i64::MAX)?;
    same(row.try_get::<_, &str>(2)?, "två")?;
    same(row.try_get::<_, &[u8]>(3)?, b"\0\xff")?;
    same(row.try_get::<_, f64>(4)?, 1.5)?;
    same(row.try_get::<_, bool>(5)?, true)?;
    same(row.try_get::<_, Vec<i32>>(6)?, vec![1, 2])?;
    same(row.try_get::<_, SystemTime>(7)?, moment)?;
    same(row.try_get::<_, Option<String>>(8)?, None)
}

/// Two clients prepare the same text and others; the statements outlive transactions and rollbacks.
async fn prepared_statements(place: &Place) -> Outcome {
    let (mut first, second) = (connected(place).await?, connected(place).await?);
    let text = "SELECT $1::int + 1";
    let (one, two) = (first.prepare(text).await?, second.prepare(text).await?);
    let other = second.prepare("SELECT $1::text").await?;
    for number in 0..20 {
        let transaction = first.transaction().await?;
        let inside = transaction.prepare("SELECT $1::int * 2").await?;
        same(transaction.query_one(&one, &[&number]).await?.try_get::<_, i32>(0)?, number + 1)?;
        transaction.rollback().await?;
        same(second.query_one_scalar::<i32, _>(&two, &[&number]).await?, number + 1)?;
        same(second.query_one_scalar::<String, _>(&other, &[&"word"]).await?, "word")?;
        same(first.query_one_scalar::<i32, _>(&inside, &[&number]).await?, number * 2)?;
    }
    same(one.params(), [Type::INT4])?;
    same(one.columns().first().map(|column| column.type_().clone()), Some(Type::INT4))
}

async fn many_statements(place: &Place) -> Outcome {
    let client = connected(place).await?;
    for number in 0..150i32 {
        let statement = client.prepare(&format!("SELECT $1::int + {number}")).await?;
        same(client.query_one_scalar::<i32, _>(&statement, &[&1]).await?, number + 1)?;
        drop(statement);
    }
    Ok(())
}

async fn unprepared_statements(place: &Place) -> Outcome {
    let client = connected(place).await?;
    for number in 0..20i32 {
        let row = client.query_typed_one("SELECT $1 + 1", &[(&number, Type::INT4)]).await?;
        same(row.try_get::<_, i32>(0)?, number + 1)?;
    }
    same(client.execute_typed("SELECT generate_series(1, $1)", &[(&7, Type::INT4)]).await?, 7)
}

async fn pipeline(place: &Place) -> Outcome {
    let client = connected(place).await?;
    let statement = client.prepare("SELECT $1::int").await?;
    let wanted: Vec<i32> = (0..300).collect();
    let parameters: Vec<_> =
        wanted.iter().map(|number| [number as &(dyn tokio_postgres::types::ToSql + Sync)]).collect();
    let asked = parameters.iter().map(|number| client.query_one_scalar::<i32, _>(&statement, number));
    same(try_join_all(asked).await?, wanted)
}

async fn error_in_a_pipeline(place: &Place) -> Outcome {
    let client = connected(place).await?;
    let statement = client.prepare("SELECT 10 / $1::int").await?;
    let answers = join_all([0, 1, 2, 0, 5].map(|number| {
        let (client, statement) = (&client, &statement);
        async move { client.query_one_scalar::<i32, _>(statement, &[&number]).await }
    }))
    .await;
    let seen: Vec<_> = answers.iter().map(|answer| answer.as_ref().map_err(|error| error.code().cloned())).collect();
    let zero = || Err(Some(SqlState::DIVISION_BY_ZERO));
    same(seen, vec![zero(), Ok(&10), Ok(&5), zero(), Ok(&2)])
}

async fn noted(client: &impl tokio_postgres::GenericClient) -> Outcome<i64> {
    let row = client.query_one("SELECT count(*) FROM notes WHERE body = 'tokio-postgres'", &[]).await?;
    Ok(row.try_get(0)?)
}

const NOTE: &str = "INSERT INTO notes (body) VALUES ('tokio-postgres')";

async fn transactions(place: &Place) -> Outcome {
    let mut client = connected(place).await?;
    let mut transaction = client.build_transaction().deferrable(true).start().await?;
    transaction.execute(NOTE, &[]).await?;
    let savepoint = transaction.savepoint("kept").await?;
    savepoint.execute(NOTE, &[]).await?;
    same(noted(&savepoint).await?, 2)?;
    same(
        savepoint.query("SELECT 1/0", &[]).await.err().and_then(|e| e.code().cloned()),
        Some(SqlState::DIVISION_BY_ZERO),
    )?;
    same(
        savepoint.query("SELECT 1", &[]).await.err().and_then(|e| e.code().cloned()),
        Some(SqlState::IN_FAILED_SQL_TRANSACTION),
    )?;
    savepoint.rollback().await?;
    same(noted(&transaction).await?, 1)?;
    transaction.commit().await?;
    same(noted(&client).await?, 1)?;
    same(client.execute("DELETE FROM notes WHERE body = 'tokio-postgres'", &[]).await?, 1)
}

async fn dropped_transactions(place: &Place) -> Outcome {
    let mut client = connected(place).await?;
    for _ in 0..10 {
        let mut transaction = client.transaction().await?;
        transaction.execute(NOTE, &[]).await?;
        let nested = transaction.transaction().await?;
        nested.execute(NOTE, &[]).await?;
        drop(nested);
        same(noted(&transaction).await?, 1)?;
        drop(transaction);
        same(noted(&client).await?, 0)?;
    }
    Ok(())
}

async fn portals(place: &Place) -> Outcome {
    let mut client = connected(place).await?;
    let transaction = client.transaction().await?;
    let portal = transaction.bind("SELECT generate_series(1, $1::int)", &[&10]).await?;
    let other = transaction.bind("SELECT generate_series(100, 105)", &[]).await?;
    let mut lengths = Vec::new();
    for limit in [4, 4, 4, 4] {
        lengths.push(transaction.query_portal(&portal, limit).await?.len());
        lengths.push(transaction.query_portal(&other, 2).await?.len());
    }
    same(lengths, vec![4, 2, 4, 2, 2, 2, 0, 0])?;
    transaction.commit().await?;
    Ok(())
}

async fn unread_rows(place: &Place) -> Outcome {
    let client = connected(place).await?;
    for _ in 0..5 {
        let none: [i32; 0] = [];
        let mut rows =
            pin!(client.query_raw("SELECT repeat('x', 1000), n FROM generate_series(1, 5000) AS n", none).await?);
        let first = rows.try_next().await?.ok_or("no row")?;
        same(first.try_get::<_, i32>(1)?, 1)?;
    }
    same(client.query_one_scalar::<i32, _>("SELECT 1", &[]).await?, 1)
}

async fn simple_queries(place: &Place) -> Outcome {
    let client = connected(place).await?;
    let answers = client.simple_query("SELECT 1; CREATE TEMP TABLE t ON COMMIT DROP AS SELECT 2; ; SELECT 3").await?;
    let rows: Vec<_> = answers
        .iter()
        .filter_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        })
        .collect();
    same(rows, vec!["1", "3"])?;
    client.batch_execute("BEGIN; SELECT 1; COMMIT").await?;
    client.check_connection().await?;
    Ok(())
}

async fn copy(place: &Place) -> Outcome {
    let mut client = connected(place).await?;
    let transaction = client.transaction().await?;
    transaction.batch_execute("CREATE TEMPORARY TABLE copied (line text) ON COMMIT DROP").await?;
    let mut sink = pin!(transaction.copy_in("COPY copied FROM STDIN").await?);
    for number in 0..1000 {
        sink.send(Bytes::from(format!("line {number}\n"))).await?;
    }
    same(sink.finish().await?, 1000)?;
    let chunks: Vec<Bytes> = transaction.copy_out("COPY copied TO STDOUT").await?.try_collect().await?;
    same(chunks.iter().map(Bytes::len).sum::<usize>(), 8890)?;
    transaction.commit().await?;
    Ok(())
}

async fn binary_copy(place: &Place) -> Outcome {
    let mut client = connected(place).await?;
    let transaction = client.transaction().await?;
    transaction.batch_execute("CREATE TEMPORARY TABLE copied (n int, word text) ON COMMIT DROP").await?;
    let types = [Type::INT4, Type::TEXT];
    let sink = transaction.copy_in("COPY copied FROM STDIN (FORMAT binary)").await?;
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
    for number in 0..500i32 {
        writer.as_mut().write(&[&number, &format!("word {number}")]).await?;
    }
    same(writer.finish().await?, 500)?;
    let stream = transaction.copy_out("COPY copied TO STDOUT (FORMAT binary)").await?;
    let rows: Vec<_> = BinaryCopyOutStream::new(stream, &types).try_collect().await?;
    same(rows.len(), 500)?;
    same(rows.last().map(|row| row.try_get::<&str>(1)).transpose()?, Some("word 499"))
}

/// A sink that is dropped tells the server that the data will not come.
async fn copy_given_up(place: &Place) -> Outcome {
    let client = connected(place).await?;
    let table = "DROP TABLE IF EXISTS scratch.tokio_copy; CREATE TABLE scratch.tokio_copy (line text)";
    client.batch_execute(table).await?;
    for _ in 0..5 {
        let mut sink = Box::pin(client.copy_in("COPY scratch.tokio_copy FROM STDIN").await?);
        sink.send(Bytes::from_static(b"tokio-postgres\n")).await?;
        drop(sink);
        same(client.query_one_scalar::<i64, _>("SELECT count(*) FROM scratch.tokio_copy", &[]).await?, 0)?;
    }
    let mut lines =
        Box::pin(client.copy_out("COPY (SELECT repeat('x', 999) FROM generate_series(1, 9999)) TO STDOUT").await?);
    lines.next().await.ok_or("no data")??;
    drop(lines);
    client.batch_execute("DROP TABLE scratch.tokio_copy").await?;
    Ok(())
}

/// The driver asks the catalogue about types that it does not know, by statements that it keeps.
async fn types(place: &Place) -> Outcome {
    let client = connected(place).await?;
    client
        .batch_execute(
            "DROP TYPE IF EXISTS scratch.tokio_mood CASCADE; DROP TYPE IF EXISTS scratch.tokio_pair;
             DROP DOMAIN IF EXISTS scratch.tokio_positive;
             CREATE TYPE scratch.tokio_mood AS ENUM ('sad', 'ok');
             CREATE TYPE scratch.tokio_pair AS (mood scratch.tokio_mood, n int);
             CREATE DOMAIN scratch.tokio_positive AS int CHECK (VALUE > 0)",
        )
        .await?;
    for client in [&client, &connected(place).await?] {
        let text = "SELECT 'ok'::scratch.tokio_mood, $1::scratch.tokio_pair, '{}'::scratch.tokio_mood[],
            $2::scratch.tokio_positive";
        let statement = client.prepare(text).await?;
        let kinds: Vec<_> = statement.columns().iter().map(|column| column.type_().kind()).collect();
        let mood = Kind::Enum(vec!["sad".to_owned(), "ok".to_owned()]);
        let [first, Kind::Composite(fields), Kind::Array(element), Kind::Simple] = kinds.as_slice() else {
            return Err(format!("{kinds:?}").into());
        };
        same(*first, &mood)?;
        same(fields.iter().map(|field| field.name()).collect::<Vec<_>>(), vec!["mood", "n"])?;
        same(element.kind(), &mood)?;
        // A column of a domain is told as one of the type behind it, a parameter is not.
        same(statement.params().last().map(Type::kind), Some(&Kind::Domain(Type::INT4)))?;
    }
    client
        .batch_execute("DROP TYPE scratch.tokio_pair, scratch.tokio_mood; DROP DOMAIN scratch.tokio_positive")
        .await?;
    Ok(())
}

async fn errors(place: &Place) -> Outcome {
    let client = connected(place).await?;
    client.batch_execute("DROP TABLE IF EXISTS scratch.tokio_errors; CREATE TABLE scratch.tokio_errors (n int CONSTRAINT few CHECK (n < 5))").await?;
    let failed = client.execute("INSERT INTO scratch.tokio_errors VALUES ($1)", &[&9]).await;
    let error = failed.err().ok_or("no error")?;
    let told = error.as_db_error().ok_or("not the server's error")?;
    same(told.code(), &SqlState::CHECK_VIOLATION)?;
    same((told.schema(), told.table(), told.constraint()), (Some("scratch"), Some("tokio_errors"), Some("few")))?;
    client.batch_execute("DROP TABLE scratch.tokio_errors").await?;
    let failed = client.prepare("SELECT nothing FROM notes").await;
    let told = failed.err().and_then(|error| error.as_db_error().cloned()).ok_or("no error")?;
    same(told.code(), &SqlState::UNDEFINED_COLUMN)?;
    same(told.position(), Some(&tokio_postgres::error::ErrorPosition::Original(8)))
}

async fn notifications(place: &Place) -> Outcome {
    let (client, mut connection) = config(place).connect(NoTls).await?;
    let (heard, mut messages) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            let text = match message {
                AsyncMessage::Notification(told) => format!("{} {}", told.channel(), told.payload()),
                AsyncMessage::Notice(told) => told.message().to_owned(),
                _ => continue,
            };
            if heard.send(text).is_err() {
                return;
            }
        }
    });
    client.batch_execute("DROP TABLE IF EXISTS tokio_none").await?;
    same(messages.recv().await, Some("table \"tokio_none\" does not exist, skipping".to_owned()))?;
    client.batch_execute("LISTEN tokio_channel").await?;
    let loud = connected(place).await?;
    for number in ["one", "two"] {
        loud.query("SELECT pg_notify('tokio_channel', $1)", &[&number]).await?;
        same(messages.recv().await, Some(format!("tokio_channel {number}")))?;
    }
    client.batch_execute("UNLISTEN tokio_channel").await?;
    Ok(())
}

async fn cancel(place: &Place) -> Outcome {
    let (client, other) = (connected(place).await?, connected(place).await?);
    let token = client.cancel_token();
    let asked =
        tokio::spawn(
            async move { (client.batch_execute("SELECT pg_advisory_xact_lock(21), pg_sleep(30)").await, client) },
        );
    // The lock shows to everybody that the statement has begun.
    while other.query("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 21", &[]).await?.is_empty() {}
    token.cancel_query(NoTls).await?;
    let (ended, client) = asked.await?;
    same(ended.err().and_then(|error| error.code().cloned()), Some(SqlState::QUERY_CANCELED))?;
    same(client.query_one_scalar::<i32, _>("SELECT 1", &[]).await?, 1)
}

async fn many_clients(place: &Place) -> Outcome {
    let clients = try_join_all((0..place.clients).map(|_| connected(place))).await?;
    try_join_all(clients.iter().zip(0i32..).map(async |(client, number)| -> Outcome {
        let statement = client.prepare(&format!("SELECT $1::int + {}", number % 7)).await?;
        for round in 0..40 {
            same(client.query_one_scalar::<i32, _>(&statement, &[&round]).await?, round + number % 7)?;
        }
        Ok(())
    }))
    .await?;
    Ok(())
}

/// The columns that a statement was prepared with have changed: on the server where it was prepared PostgreSQL says so;
/// a new statement is right everywhere.
async fn changed_table(place: &Place) -> Outcome {
    let client = connected(place).await?;
    client
        .batch_execute(
            "DROP TABLE IF EXISTS scratch.tokio_changes; CREATE TABLE scratch.tokio_changes AS SELECT 1 AS a",
        )
        .await?;
    let text = "SELECT * FROM scratch.tokio_changes";
    let statement = client.prepare(text).await?;
    same(client.query(&statement, &[]).await?.len(), 1)?;
    client.batch_execute("ALTER TABLE scratch.tokio_changes ADD COLUMN b int DEFAULT 2").await?;
    let failed = client.query(&statement, &[]).await.err().and_then(|error| error.code().cloned());
    same(failed.is_none_or(|code| code == SqlState::FEATURE_NOT_SUPPORTED), true)?;
    let again = client.query_one(text, &[]).await?;
    same((again.try_get::<_, i32>(0)?, again.try_get::<_, i32>(1)?), (1, 2))?;
    client.batch_execute("DROP TABLE scratch.tokio_changes").await?;
    Ok(())
}
