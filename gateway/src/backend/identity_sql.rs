//! The SQL that makes a server connection an identity, as text: nothing is sent here.

use std::fmt::Write;
use std::sync::LazyLock;

use pgdog_jwt::proof;

use super::connection::{PLAINLY, UNHURRIED};
use super::identity::{Identity, WHO};
use super::settings::{Settings, quote_identifier, quote_literal};
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

const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// How a take-over as messages begins, the same for all identities.
static FRONT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut out = Vec::new();
    message::run_unnamed(&mut out, BEGIN.as_bytes());
    CLEANING.iter().for_each(|sql| message::run_unnamed(&mut out, sql.as_bytes()));
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
    out.reserve(FRONT.len() + 1536);
    out.extend_from_slice(&FRONT);
    let role = identity.role.as_deref().map(|role| format!("SET ROLE {}", quote_identifier(role)));
    message::run_unnamed(out, role.as_deref().unwrap_or("RESET ROLE").as_bytes());
    let mut sql = format!("SELECT {UNLOCK},pg_catalog.set_config('{MARK}','{mark}',false)");
    let variables = identity.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in variables.chain(settings.iter()) {
        let _ = write!(sql, ",pg_catalog.set_config({},{},false)", quote_literal(name), quote_literal(value));
    }
    message::run_unnamed(out, sql.as_bytes());
    message::run_unnamed(out, b"COMMIT");
    message::run_unnamed(out, BEGIN.as_bytes());
    sql.clear();
    write_insistence(identity, login, mark, &mut sql);
    message::run_unnamed(out, sql.as_bytes());
    message::run_unnamed(out, b"COMMIT");
}

/// Asks who the connection is, and fails unless it is the identity, by this take-over: a text that is no number is cast to one.
fn write_insistence(identity: &Identity, login: &str, mark: u64, sql: &mut String) {
    let role = identity.role.as_deref().unwrap_or(login);
    let privileges = if identity.allow_privileged { "true" } else { "NOT (r.rolsuper OR r.rolbypassrls)" };
    let _ = write!(
        sql,
        "SELECT current_user, session_user, pg_catalog.pg_is_in_recovery(), CASE WHEN \
         pg_catalog.current_setting('{MARK}', true) OPERATOR(pg_catalog.=) '{mark}' \
         AND current_user OPERATOR(pg_catalog.=) {} AND session_user OPERATOR(pg_catalog.=) {} AND (SELECT {privileges} \
         FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) current_user)",
        quote_literal(role),
        quote_literal(login),
    );
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
