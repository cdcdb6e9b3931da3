//! What a session has done to its server, asked of the server itself. PostgreSQL knows exactly which settings a session
//! changed, also after a rollback, a `RESET` or a function that set something; no parser does.

use std::fmt::Write;

use super::connection::Connection;
use super::conversation::{Answer, ConversationError, PLAINLY, UNHURRIED};
use super::health;
use super::settings::{Settings, quote_literal};
use super::sql::Sql;

/// For the rest of a query that says what a session has chosen, in whatever encoding.
const IN_UTF8: &str = "SET LOCAL client_encoding TO 'UTF8';";

/// Settings of the transaction, and of the identity, which are not the session's to keep.
const NOT_KEPT: [&str; 5] = [
    "transaction_isolation",
    "transaction_read_only",
    "transaction_deferrable",
    "session_authorization",
    "is_superuser",
];

/// The settings that the session has changed, as they are now. `named` are those that PostgreSQL does not list:
/// variables of applications (`app.tenant`), and `role` where the session may change it.
pub(crate) async fn settings(connection: &mut Connection, named: &[String]) -> Result<Settings, ConversationError> {
    let mut list = "SELECT s.name, s.setting FROM pg_catalog.pg_settings s \
                    WHERE s.source OPERATOR(pg_catalog.=) 'session'"
        .to_owned();
    for name in named {
        let name = quote_literal(name);
        let _ = write!(list, " UNION ALL SELECT {name}, pg_catalog.current_setting({name}, true)");
    }
    let encoding = connection.parameter("client_encoding").filter(|_| !connection.is_utf8()).map(str::to_owned);
    let in_utf8 = if encoding.is_some() { IN_UTF8 } else { "" };
    let mut settings = match connection.query_fresh(&format!("{PLAINLY}{in_utf8}{list}")).await {
        // The session's own limit is too short for it. To be lifted, it must be known.
        Err(error) if error.is_canceled() => {
            let limit = connection.query_fresh("SHOW statement_timeout").await?;
            let answer = connection.query_fresh_unhurried(&format!("{PLAINLY}{UNHURRIED}{in_utf8}{list}")).await?;
            let mut settings = listed(&answer);
            settings.set("statement_timeout", limit.value(0));
            settings
        }
        outcome => listed(&outcome?),
    };
    if let Some(encoding) = encoding {
        settings.set("client_encoding", &encoding);
    }
    Ok(settings)
}

fn listed(answer: &Answer) -> Settings {
    let mut settings = Settings::default();
    for row in &answer.rows {
        let [Some(name), Some(value)] = row.as_slice() else { continue };
        let is_default_role = name == "role" && value == "none";
        if !NOT_KEPT.contains(&name.as_str()) && !is_default_role {
            settings.set(name, value);
        }
    }
    settings
}

/// Whether the session has state that cannot follow it to another server: temporary objects, cursors that outlive their
/// transaction, statements of SQL `PREPARE` that are not among `followed`, advisory locks, channels that it listens to.
pub(crate) async fn is_held(
    connection: &mut Connection,
    followed: impl Iterator<Item = &str>,
) -> Result<bool, ConversationError> {
    let mut names = String::from("NULL");
    for name in followed {
        let _ = write!(names, ",{}", quote_literal(name));
    }
    let answer = connection
        .query_fresh_unhurried(&format!(
            "{PLAINLY}{UNHURRIED}SELECT EXISTS (SELECT FROM pg_catalog.pg_listening_channels()) \
             OR EXISTS (SELECT FROM pg_catalog.pg_cursors c WHERE c.is_holdable) \
             OR EXISTS (SELECT FROM pg_catalog.pg_prepared_statements p WHERE p.from_sql \
                        AND (p.name OPERATOR(pg_catalog.=) ANY (ARRAY[{names}]::pg_catalog.text[])) IS NOT TRUE) \
             OR EXISTS (SELECT FROM pg_catalog.pg_locks l WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory' \
                        AND l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()) \
             OR EXISTS (SELECT FROM pg_catalog.pg_depend d \
                        WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass \
                        AND d.refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema() \
                        AND pg_catalog.pg_my_temp_schema() OPERATOR(pg_catalog.<>) 0)",
        ))
        .await?;
    Ok(answer.value(0) != "f")
}

/// Gives settings that the session has no value for the values of `startup`. Of variables of applications PostgreSQL does
/// not say where their value comes from: for those, empty is none.
pub(crate) async fn reset_to(connection: &mut Connection, startup: &Settings) -> Result<(), ConversationError> {
    if startup.is_empty() {
        return Ok(());
    }
    let mut sql = Sql::new("SELECT pg_catalog.set_config(v.name, v.value, false) FROM (VALUES ");
    for (at, (name, value)) in startup.iter().enumerate() {
        sql.push(if at == 0 { "(" } else { ",(" }).value(name).push("::pg_catalog.text,");
        sql.value(value).push("::pg_catalog.text)");
    }
    sql.push(
        ") v (name, value) \
         WHERE CASE WHEN pg_catalog.strpos(v.name, '.') OPERATOR(pg_catalog.>) 0 \
         THEN COALESCE(pg_catalog.current_setting(v.name, true), '') OPERATOR(pg_catalog.=) '' \
         ELSE NOT EXISTS (SELECT FROM pg_catalog.pg_settings s WHERE pg_catalog.lower(s.name) OPERATOR(pg_catalog.=) v.name \
         AND s.source OPERATOR(pg_catalog.=) 'session') END",
    );
    // In session mode the unnamed statement is the client's, and a simple query would end it.
    connection.query_aside_in_utf8(vec![sql]).await.map(drop)
}

/// The statements of SQL `PREPARE`, by name.
pub(crate) async fn sql_statements(connection: &mut Connection) -> Result<Vec<String>, ConversationError> {
    let answer =
        connection.query_fresh("SELECT p.name FROM pg_catalog.pg_prepared_statements p WHERE p.from_sql").await?;
    Ok(answer.rows.into_iter().filter_map(|mut row| row.pop().flatten()).collect())
}

/// Where the primary's write-ahead log ends: everything committed until now is before that. `None` when the answer cannot
/// be read.
pub(crate) async fn written(connection: &mut Connection) -> Result<Option<u64>, ConversationError> {
    let sql = "SELECT pg_catalog.pg_current_wal_insert_lsn(), pg_catalog.current_setting('wal_block_size')";
    let answer = connection.query_fresh(sql).await?;
    let (end, block) = (health::position(answer.value(0)), answer.value(1).parse().ok());
    Ok(end.zip(block).map(|(end, block)| last_record(end, block)))
}

/// The end of the last record before the insert position `end`. At the start of a block that position is behind the
/// block's header (40 bytes at most, PostgreSQL's `xlog_internal.h`), which a replica has not replayed before the next
/// record is there.
fn last_record(end: u64, block: u64) -> u64 {
    const LONGEST_HEADER: u64 = 40;
    match end.checked_rem(block) {
        Some(offset) if offset <= LONGEST_HEADER => end - offset,
        _ => end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_of_a_block_is_no_record() {
        assert_eq!(last_record(8192 * 3 + 24, 8192), 8192 * 3);
        assert_eq!(last_record(8192 * 3 + 40, 8192), 8192 * 3);
        assert_eq!(last_record(8192 * 3 + 64, 8192), 8192 * 3 + 64);
        assert_eq!(last_record(8192, 8192), 8192);
        assert_eq!(last_record(77, 0), 77);
    }
}
