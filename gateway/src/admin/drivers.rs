//! What drivers and their pools send of their own accord: settings, transactions, questions about the server. They are
//! answered as far as a database without data can, so that any PostgreSQL client can open the admin database.

use super::command::{Command, NotACommand, Word};
use super::table::{Kind, Table, Value};

/// Who asks.
pub(super) struct Who<'a> {
    pub(super) user: &'a str,
    pub(super) database: &'a str,
    pub(super) process: u32,
}

/// Settings that may be set here, to no effect. Others are refused: nobody should believe to have changed something.
const HARMLESS: [&str; 18] = [
    "application_name",
    "bytea_output",
    "client_encoding",
    "client_min_messages",
    "datestyle",
    "extra_float_digits",
    "geqo",
    "idle_in_transaction_session_timeout",
    "intervalstyle",
    "jit",
    "lock_timeout",
    "names",
    "search_path",
    "session",
    "standard_conforming_strings",
    "statement_timeout",
    "time",
    "timezone",
];

/// Statements by their first word, and the tag that their driver waits for.
const ACCEPTED: [(&str, &str); 13] = [
    ("BEGIN", "BEGIN"),
    ("START", "START TRANSACTION"),
    ("COMMIT", "COMMIT"),
    ("END", "COMMIT"),
    ("ROLLBACK", "ROLLBACK"),
    ("ABORT", "ROLLBACK"),
    ("DISCARD", "DISCARD ALL"),
    ("RESET", "RESET"),
    ("CLOSE", "CLOSE CURSOR"),
    ("UNLISTEN", "UNLISTEN"),
    ("DEALLOCATE", "DEALLOCATE"),
    ("SAVEPOINT", "SAVEPOINT"),
    ("RELEASE", "RELEASE"),
];

/// Reads a statement that is none of the administrator's commands.
pub(super) fn parse(words: &[Word], who: &Who<'_>) -> Result<Command, NotACommand> {
    let unknown = || {
        let shown: Vec<&str> = words.iter().take(3).map(|word| word.text.as_str()).collect();
        NotACommand(format!("unknown command: {}", shown.join(" ").chars().take(80).collect::<String>()))
    };
    let (first, rest) = words.split_first().ok_or_else(unknown)?;
    if let Some((_, tag)) = ACCEPTED.iter().find(|(word, _)| first.is(word)) {
        return Ok(Command::Accept(tag));
    }
    if first.is("SET") {
        return set(rest);
    }
    if first.is("SELECT") {
        return select(rest, who).map(Command::Answer).ok_or_else(unknown);
    }
    if first.is("SHOW") {
        return setting(rest, who).map(Command::Answer).ok_or_else(unknown);
    }
    Err(unknown())
}

fn set(words: &[Word]) -> Result<Command, NotACommand> {
    let name = words.iter().find(|word| !word.is("SESSION") && !word.is("LOCAL")).or(words.first());
    let name =
        name.map(|word| word.text.split('=').next().unwrap_or_default().to_ascii_lowercase()).unwrap_or_default();
    let transaction = words.iter().any(|word| word.is("TRANSACTION") || word.is("CHARACTERISTICS"));
    if transaction || HARMLESS.contains(&name.as_str()) {
        return Ok(Command::Accept("SET"));
    }
    Err(NotACommand(format!("{name:?} cannot be set here: change pgdog.toml and type RELOAD")))
}

/// A question about a setting of PostgreSQL's.
fn setting(words: &[Word], who: &Who<'_>) -> Option<Table> {
    let name = words.iter().map(|word| word.text.to_ascii_lowercase()).collect::<Vec<_>>().join(" ");
    let (name, value) = match name.as_str() {
        "transaction isolation level" | "transaction_isolation" => {
            ("transaction_isolation", "read committed".to_owned())
        }
        "default_transaction_isolation" => ("default_transaction_isolation", "read committed".to_owned()),
        "transaction_read_only" => ("transaction_read_only", "off".to_owned()),
        "time zone" => ("TimeZone", "UTC".to_owned()),
        "search_path" => ("search_path", "\"$user\", public".to_owned()),
        "server_version_num" => ("server_version_num", "140000".to_owned()),
        "max_identifier_length" => ("max_identifier_length", "63".to_owned()),
        "statement_timeout" => ("statement_timeout", "0".to_owned()),
        _ => super::parameters(who.user, "").into_iter().find(|(known, _)| known.eq_ignore_ascii_case(&name))?,
    };
    Some(Table::one(name, Kind::Text, Value::text(value)))
}

/// `SELECT 1` and its like: constants and functions without a FROM.
fn select(words: &[Word], who: &Who<'_>) -> Option<Table> {
    let expression: String = words.iter().map(|word| word.text.to_ascii_lowercase()).collect::<Vec<_>>().join(" ");
    let mut table = Table { columns: Vec::new(), rows: vec![Vec::new()] };
    for item in expression.split(',') {
        let item = item.trim();
        let item = item.strip_prefix("pg_catalog.").unwrap_or(item);
        let (name, kind, value) = match item {
            "version()" => ("version", Kind::Text, Value::text(format!("PostgreSQL {}", super::SERVER_VERSION))),
            "current_database()" => ("current_database", Kind::Text, Value::text(who.database)),
            "current_schema()" | "current_schema" => ("current_schema", Kind::Text, Value::text("public")),
            "current_user" => ("current_user", Kind::Text, Value::text(who.user)),
            "session_user" => ("session_user", Kind::Text, Value::text(who.user)),
            "user" => ("user", Kind::Text, Value::text(who.user)),
            "pg_backend_pid()" => ("pg_backend_pid", Kind::Int, Value::int(who.process)),
            "pg_is_in_recovery()" => ("pg_is_in_recovery", Kind::Bool, Value::Bool(false)),
            "pg_advisory_unlock_all()" => ("pg_advisory_unlock_all", Kind::Text, Value::text("")),
            "true" => ("bool", Kind::Bool, Value::Bool(true)),
            "" if words.is_empty() => continue,
            number => ("?column?", Kind::Int, Value::Int(number.parse().ok()?)),
        };
        table.columns.push((name, kind));
        table.rows.iter_mut().for_each(|row| row.push(value.clone()));
    }
    Some(table)
}

#[cfg(test)]
mod tests {
    use super::super::command::statements;
    use super::*;

    const WHO: Who<'_> = Who { user: "admin", database: "admin", process: 7 };

    fn one(text: &str) -> Result<Command, NotACommand> {
        parse(&statements(text)[0], &WHO)
    }

    #[test]
    fn what_drivers_send_is_taken() {
        let sent = [
            "SET extra_float_digits = 3",
            "SET application_name='x'",
            "set client_encoding to 'UTF8'",
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
            "SET TIME ZONE 'UTC'",
            "BEGIN",
            "COMMIT",
            "DISCARD ALL",
            "SELECT 1",
            "select pg_catalog.version()",
            "select current_schema()",
            "SELECT pg_advisory_unlock_all()",
            "CLOSE ALL",
            "UNLISTEN *",
            "RESET ALL",
            "show transaction isolation level",
            "show standard_conforming_strings",
            "SHOW server_version",
        ];
        for text in sent {
            assert!(one(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn nobody_is_told_that_a_setting_was_changed_when_it_was_not() {
        for text in ["SET default_pool_size = 3", "SET", "SELECT * FROM pg_class", "SELECT 'x'", "SHOW all"] {
            assert!(one(text).is_err(), "{text}");
        }
    }

    #[test]
    fn constants_keep_their_value() {
        let Ok(Command::Answer(table)) = one("SELECT 1, current_database()") else { panic!("an answer") };
        assert_eq!(table.rows, [[Value::Int(1), Value::text("admin")]]);
    }
}
