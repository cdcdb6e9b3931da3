//! What a session has done to its server, asked of the server itself. PostgreSQL knows exactly which settings a session
//! changed, also after a rollback, a `RESET` or a function that set something; no parser does.

use std::fmt::Write;

use super::connection::{Connection, ConversationError};
use super::settings::{Settings, quote_literal};

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
    let mut sql = String::from(
        "SELECT s.name, s.setting FROM pg_catalog.pg_settings s WHERE s.source OPERATOR(pg_catalog.=) 'session'",
    );
    for name in named {
        let name = quote_literal(name);
        let _ = write!(sql, " UNION ALL SELECT {name}, pg_catalog.current_setting({name}, true)");
    }
    let answer = connection.query(&sql).await?;
    let mut settings = Settings::default();
    for row in &answer.rows {
        let [Some(name), Some(value)] = row.as_slice() else { continue };
        let is_default_role = name == "role" && value == "none";
        if !NOT_KEPT.contains(&name.as_str()) && !is_default_role {
            settings.set(name, value);
        }
    }
    Ok(settings)
}

/// Whether the session has state that cannot follow it to another server: temporary objects, cursors that outlive their
/// transaction, statements of SQL `PREPARE`, advisory locks, channels that it listens to.
pub(crate) async fn is_held(connection: &mut Connection) -> Result<bool, ConversationError> {
    let answer = connection
        .query(
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_listening_channels()) \
             OR EXISTS (SELECT FROM pg_catalog.pg_cursors c WHERE c.is_holdable) \
             OR EXISTS (SELECT FROM pg_catalog.pg_prepared_statements p WHERE p.from_sql) \
             OR EXISTS (SELECT FROM pg_catalog.pg_locks l WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory' \
                        AND l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()) \
             OR EXISTS (SELECT FROM pg_catalog.pg_class c \
                        WHERE c.relnamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema() \
                        AND pg_catalog.pg_my_temp_schema() OPERATOR(pg_catalog.<>) 0)",
        )
        .await?;
    Ok(answer.value(0) != "f")
}
