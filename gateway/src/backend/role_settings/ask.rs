//! What a server says of the settings of the role that a connection has become, and which of them the role can make.

use super::{LeftOut, RoleSettings, Why};
use crate::backend::connection::Connection;
use crate::backend::conversation::{ConversationError, PLAINLY, UNHURRIED};
use crate::backend::nonce::Nonce;
use crate::backend::own_requests::OwnRequests;
use crate::backend::settings::Settings;

/// All settings of a role together: names and values, in bytes. A start-up packet may not be larger either.
const MAX_SIZE: usize = 10_000;

/// Settings that are looked at.
const MAX_COUNT: usize = 256;

/// Characters of a name that is reported.
const MAX_NAME: usize = 100;

/// `has_parameter_privilege` is there since PostgreSQL 15.
const HAS_PRIVILEGES: u32 = 15;

/// Those of a transaction; the one that `RESET` cannot undo; those that are read only while a connection is made.
const OUT_OF_PLACE: [&str; 6] = [
    "transaction_isolation",
    "transaction_read_only",
    "transaction_deferrable",
    "seed",
    "local_preload_libraries",
    "session_preload_libraries",
];

/// Asks for the settings of `current_user` in this database. Those that `is_guarded` are not even tried. The answer is
/// read as UTF-8, so the connection must have no other encoding.
pub(in crate::backend) async fn ask(
    connection: &mut Connection,
    is_guarded: impl Fn(&str, &str) -> bool,
) -> Result<RoleSettings, ConversationError> {
    let answer = connection.query_fresh_unhurried(&question(connection)).await?;
    let mut settings = Settings::default();
    let mut left_out = Vec::new();
    for row in &answer.rows {
        let [entry, Some(name), Some(may)] = row.as_slice() else { continue };
        let why = match entry.as_deref().map(|entry| entry.split_once('=')) {
            None => Why::TooMuch,
            Some(None) => continue,
            Some(Some((name, value))) => {
                // As PostgreSQL reads the name (19.1.3): what is guarded has no other spelling.
                let name = name.replace('-', "_").to_ascii_lowercase();
                if is_guarded(&name, value) {
                    Why::Guarded
                } else if OUT_OF_PLACE.contains(&name.as_str()) {
                    Why::OutOfPlace
                } else if may != "t" {
                    Why::NotPermitted
                } else {
                    // Those of this database come last.
                    settings.set(&name, value);
                    continue;
                }
            }
        };
        left_out.push(LeftOut { name: name.to_ascii_lowercase(), why });
    }
    let refused = refused(connection, &settings).await?;
    refused.iter().for_each(|left| drop(settings.remove(&left.name)));
    left_out.extend(refused);
    left_out.sort_by(|one, other| one.name.cmp(&other.name));
    left_out.dedup_by(|one, other| one.name == other.name);
    Ok(RoleSettings { settings, left_out })
}

/// For each setting `name=value`, its name, and whether the role may make it. Every name and operator is qualified: the
/// client may have chosen the `search_path`.
fn question(connection: &Connection) -> String {
    let privileged = if connection.major_version().unwrap_or(HAS_PRIVILEGES) >= HAS_PRIVILEGES {
        "pg_catalog.has_parameter_privilege(p.name, 'SET')"
    } else {
        "pg_catalog.current_setting('is_superuser') OPERATOR(pg_catalog.=) 'on'"
    };
    format!(
        "{PLAINLY}{UNHURRIED}SELECT CASE WHEN s.size OPERATOR(pg_catalog.<=) {MAX_SIZE} THEN s.entry END, \
         pg_catalog.substr(pg_catalog.split_part(s.entry, '=', 1), 1, {MAX_NAME}), \
         CASE WHEN p.context IS NULL OR p.context OPERATOR(pg_catalog.=) 'user' THEN true \
              WHEN p.context OPERATOR(pg_catalog.=) 'superuser' THEN {privileged} ELSE false END \
         FROM (SELECT d.setdatabase, e.entry, e.at, pg_catalog.sum(pg_catalog.octet_length(e.entry)) \
                      OVER (ORDER BY d.setdatabase DESC, e.at) AS size \
               FROM pg_catalog.pg_db_role_setting d, \
                    LATERAL ROWS FROM (pg_catalog.unnest(d.setconfig)) WITH ORDINALITY e (entry, at) \
               WHERE d.setrole OPERATOR(pg_catalog.=) \
                     (SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) current_user) \
               AND (d.setdatabase OPERATOR(pg_catalog.=) 0::pg_catalog.oid OR d.setdatabase OPERATOR(pg_catalog.=) \
                     (SELECT b.oid FROM pg_catalog.pg_database b \
                      WHERE b.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())) \
               ORDER BY size LIMIT {MAX_COUNT}) s \
         LEFT JOIN pg_catalog.pg_settings p ON pg_catalog.lower(p.name) OPERATOR(pg_catalog.=) \
              pg_catalog.lower(pg_catalog.replace(pg_catalog.split_part(s.entry, '=', 1), '-', '_')) \
         ORDER BY s.setdatabase, s.at"
    )
}

/// Which of the settings PostgreSQL does not take, and what it says of them. All are tried at once, and one by one only
/// when that fails. Each is `local`: it ends with the query that tries it.
pub(in crate::backend) async fn refused(
    connection: &mut Connection,
    settings: &Settings,
) -> Result<Vec<LeftOut>, ConversationError> {
    let mut refused = Vec::new();
    match try_out(connection, settings.iter()).await {
        Err(ConversationError::Refused(_)) => {}
        outcome => return outcome.map(|_| refused),
    }
    for (name, value) in settings.iter() {
        match try_out(connection, [(name, value)].into_iter()).await {
            Err(ConversationError::Refused(fields)) => {
                refused.push(LeftOut { name: name.to_owned(), why: Why::Refused(fields) });
            }
            outcome => drop(outcome?),
        }
    }
    Ok(refused)
}

/// The values are not wanted back: they would come in an encoding that is tried.
async fn try_out<'a>(
    connection: &mut Connection,
    settings: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<(), ConversationError> {
    let nonce = Nonce::new()?;
    let mut sql = nonce.question();
    for (name, value) in settings {
        sql.push(",pg_catalog.set_config(").value(name).push(",").value(value).push(",true) IS NULL");
    }
    let mut own = OwnRequests::default();
    own.begin();
    own.ask_sql(&sql);
    own.commit();
    let answer = connection.transact(&own).await?;
    if nonce.is_repeated(answer.value(0)) { Ok(()) } else { Err(ConversationError::Stale) }
}
