//! The SQL that makes a server connection an identity, as text: nothing is sent here.

use std::fmt::Write;

use pgdog_jwt::proof;

use super::connection::{PLAINLY, UNHURRIED};
use super::identity::{Identity, WHO};
use super::settings::{Settings, quote_identifier};

/// Undoes what the last identity may have left behind: DISCARD ALL in parts, which may be in one transaction with others
/// (PostgreSQL documentation, DISCARD), but for plans, which PostgreSQL itself does not use for another role.
pub(crate) const CLEAN: &str = "SET SESSION AUTHORIZATION DEFAULT;CLOSE ALL;RESET ALL;DEALLOCATE ALL;UNLISTEN *;\
                     SELECT pg_catalog.pg_advisory_unlock_all();DISCARD TEMP;DISCARD SEQUENCES;";

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

/// Asks who a connection is that its start-up packet has made what it must be.
pub(crate) fn question() -> String {
    format!("{PLAINLY}{UNHURRIED}{WHO}")
}
