//! The SQL that makes a server connection an identity, as text: nothing is sent here.

use std::fmt::Write;
use std::sync::LazyLock;

use pgdog_jwt::proof;

use super::conversation::{PLAINLY, UNHURRIED};
use super::identity::{Identity, WHO};
use super::settings::{Settings, push_literal, quote_identifier};
use crate::wire::message;

/// Undoes what the last identity may have left behind: DISCARD ALL in parts, which may be in one transaction with others
/// (PostgreSQL documentation, DISCARD), but for plans, which PostgreSQL itself does not use for another role.
const CLEANING: [&str; 7] = [
    "SET SESSION AUTHORIZATION DEFAULT",
    "CLOSE ALL",
    "RESET ALL",
    "DEALLOCATE ALL",
    "UNLISTEN *",
    "DISCARD TEMP",
    "DISCARD SEQUENCES",
];

/// The rest of it, which is an expression.
const UNLOCK: &str = "pg_catalog.pg_advisory_unlock_all()";

/// The same, as the start of a string of statements.
pub(crate) static CLEAN: LazyLock<String> = LazyLock::new(|| format!("{};SELECT {UNLOCK};", CLEANING.join(";")));

/// Says which take-over the connection has last seen to its end.
const MARK: &str = "pgdog_jwt.take_over";

const BEGIN: &[u8] = b"BEGIN ISOLATION LEVEL READ COMMITTED";
const COMMIT: &[u8] = b"COMMIT";

/// How a take-over as messages begins, the same for all identities.
static FRONT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut out = Vec::new();
    message::run_unnamed(&mut out, BEGIN);
    CLEANING.iter().for_each(|sql| message::run_unnamed(&mut out, sql.as_bytes()));
    out
});

/// From its first transaction to the second.
static BETWEEN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut out = Vec::new();
    message::run_unnamed(&mut out, COMMIT);
    message::run_unnamed(&mut out, BEGIN);
    out
});

/// The statements of such a take-over: BEGIN, the cleaning, the role, the rest, COMMIT; BEGIN, the question, COMMIT.
pub(super) const STEPS: usize = CLEANING.len() + 7;

/// The step that sets variables and settings, and answers with them.
pub(super) const SETTING: usize = STEPS - 5;

/// The step whose answer says who the connection is.
pub(super) const QUESTION: usize = STEPS - 2;

/// Takes on the identity and asks PostgreSQL for it, in one transaction. `proof` is that of its claims, where it proves
/// them; `before` and `after` are SQL that goes with it.
pub(crate) fn statement(identity: &Identity, proof: Option<&str>, before: &str, after: &str) -> String {
    let mut sql = String::with_capacity(before.len() + after.len() + 512);
    sql.push_str(PLAINLY);
    sql.push_str(before);
    sql.push_str(UNHURRIED);
    match &identity.role {
        Some(role) => {
            let _ = write!(sql, "SET ROLE {};", quote_identifier(role));
        }
        None => sql.push_str("SET SESSION AUTHORIZATION DEFAULT; RESET ROLE;"),
    }
    write_variables(identity, proof, &mut sql);
    if !after.is_empty() {
        sql.push_str(after);
        // It may have set the limit that holds for the session.
        sql.push_str(UNHURRIED);
    }
    sql.push_str(WHO);
    sql
}

/// Takes a connection over by messages of the extended protocol, without Sync, so that PostgreSQL reads nothing of what comes
/// behind one that fails. The first transaction does it, the second insists on it: see [`super::pipelined`]. `mark` is a
/// number that nobody could guess, and `login` who logged in.
pub(super) fn write_take_over(identity: &Identity, login: &str, settings: &Settings, mark: u64, out: &mut Vec<u8>) {
    let mark = mark.to_string();
    let mut sql = String::with_capacity(1024);
    out.reserve(FRONT.len() + 2048);
    out.extend_from_slice(&FRONT);
    match &identity.role {
        Some(role) => {
            sql.push_str("SET ROLE ");
            sql.push_str(&quote_identifier(role));
        }
        None => sql.push_str("RESET ROLE"),
    }
    message::run_unnamed(out, sql.as_bytes());
    sql.clear();
    push_changes(identity, settings, &mark, &mut sql);
    message::run_unnamed(out, sql.as_bytes());
    out.extend_from_slice(&BETWEEN);
    sql.clear();
    push_question(identity, login, &mark, &mut sql);
    message::run_unnamed(out, sql.as_bytes());
    message::run_unnamed(out, COMMIT);
}

/// Sets the mark, the variables and the settings. Fails when the role may not be used, and sets nothing when it is gone.
fn push_changes(identity: &Identity, settings: &Settings, mark: &str, sql: &mut String) {
    sql.push_str("SELECT ");
    sql.push_str(UNLOCK);
    push_setting(MARK, mark, sql);
    identity.variables.iter().for_each(|(name, value)| push_setting(name, value, sql));
    settings.iter().for_each(|(name, value)| push_setting(name, value, sql));
    if !identity.allow_privileged {
        sql.push_str(
            ",CASE WHEN NOT (r.rolsuper OR r.rolbypassrls) THEN '1' ELSE 'this role may not be used' END::pg_catalog.int4",
        );
    }
    sql.push_str(" FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) current_user");
}

fn push_setting(name: &str, value: &str, sql: &mut String) {
    sql.push_str(",pg_catalog.set_config(");
    push_literal(sql, name);
    sql.push(',');
    push_literal(sql, value);
    sql.push_str(",false)");
}

/// Asks who the connection is, and fails unless it is the identity, by this take-over: a text that is no number is cast to one.
fn push_question(identity: &Identity, login: &str, mark: &str, sql: &mut String) {
    sql.push_str(
        "SELECT current_user, session_user, pg_catalog.pg_is_in_recovery(), CASE WHEN \
         pg_catalog.current_setting('pgdog_jwt.take_over', true) OPERATOR(pg_catalog.=) ",
    );
    push_literal(sql, mark);
    sql.push_str(" AND current_user OPERATOR(pg_catalog.=) ");
    push_literal(sql, identity.role.as_deref().unwrap_or(login));
    sql.push_str(" AND session_user OPERATOR(pg_catalog.=) ");
    push_literal(sql, login);
    if identity.read_only {
        sql.push_str(" AND pg_catalog.pg_is_in_recovery()");
    }
    if identity.watched {
        sql.push_str(
            " AND pg_catalog.current_setting('standard_conforming_strings') OPERATOR(pg_catalog.=) 'on' \
             AND pg_catalog.current_setting('client_encoding') OPERATOR(pg_catalog.=) 'UTF8'",
        );
    }
    sql.push_str(" THEN '1' ELSE 'this connection is not who it must be' END::pg_catalog.int4");
}

/// Sets the variables that say who the session is, all in one statement; none where there are none.
pub(crate) fn write_variables(identity: &Identity, proof: Option<&str>, sql: &mut String) {
    let mut variables = Settings::default();
    for (name, value) in identity.variables.iter() {
        variables.set(name, value);
    }
    if let Some(proof) = proof {
        variables.set(proof::SETTING, proof);
    }
    Settings::default().write_difference(&variables, sql);
}

/// Asks who a connection is that its start-up packet has made what it must be, and which process.
pub(crate) fn question() -> String {
    format!("{PLAINLY}{UNHURRIED}SELECT w.*, pg_catalog.pg_backend_pid() FROM ({WHO}) w")
}
