//! The SQL that makes a server connection an identity: nothing is sent here. What is somebody's is in no text, see [`Sql`].

use std::ops::RangeInclusive;
use std::sync::LazyLock;

use pgdog_jwt::proof;
use pgdog_jwt::server::WHO;

use super::identity::Identity;
use super::nonce::Nonce;
use super::own_requests::{BEGIN, COMMIT, UNHURRIED};
use super::settings::Settings;
use super::sql::Sql;
use crate::wire::message;

/// Undoes what the last identity may have left behind: DISCARD ALL in parts, which may be in one transaction with others
/// (PostgreSQL documentation, DISCARD), but for plans, which PostgreSQL itself does not use for another role.
const CLEANING: [&str; 7] =
    [LOGIN_AGAIN, "CLOSE ALL", "RESET ALL", "DEALLOCATE ALL", "UNLISTEN *", "DISCARD TEMP", "DISCARD SEQUENCES"];

const LOGIN_AGAIN: &str = "SET SESSION AUTHORIZATION DEFAULT";

/// The rest of it, which is an expression.
const UNLOCK: &str = "SELECT pg_catalog.pg_advisory_unlock_all()";

/// Settings and variables of a take-over as messages, at most: a row of PostgreSQL's has room for 1664 columns.
pub(super) const MAX_SETTINGS: usize = 500;

/// The setting that says which take-over the connection has last seen to its end.
const MARK: &str = "pgdog_jwt.take_over";

/// What a question for the identity fails with: it is no number, and cast to one.
const MISTAKEN: &str = " THEN '1' ELSE 'this connection is not who it must be' END::pg_catalog.int4";

/// How a take-over as messages begins, the same for all identities.
static FRONT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut out = Vec::new();
    message::run_unnamed(&mut out, BEGIN.as_bytes(), &[]);
    CLEANING.iter().for_each(|sql| message::run_unnamed(&mut out, sql.as_bytes(), &[]));
    out
});

/// From its first transaction to the second.
static BETWEEN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut out = Vec::new();
    message::run_unnamed(&mut out, COMMIT.as_bytes(), &[]);
    message::run_unnamed(&mut out, BEGIN.as_bytes(), &[]);
    out
});

/// The statements of a take-over as messages, by their numbers.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) steps: usize,
    /// Those that set something answer with what they have set.
    pub(super) setting: RangeInclusive<usize>,
    /// The answer to this one says who the connection is.
    pub(super) question: usize,
}

impl Layout {
    /// BEGIN, the cleaning, the role, variables and settings, COMMIT; BEGIN, the question, COMMIT.
    pub(super) const WHOLE: Self = Self::of(CLEANING.len() + 1, CLEANING.len() + 2);

    /// BEGIN, the role, COMMIT; BEGIN, the question, COMMIT.
    pub(super) const OF_ROLE: Self = Self::of(1, 1);

    const fn of(first: usize, last: usize) -> Self {
        Self { steps: last + 5, setting: RangeInclusive::new(first, last), question: last + 3 }
    }
}

/// The statements by which a connection becomes an identity in a round trip of its own, in one transaction, before PostgreSQL
/// is asked who it is. `proof` is that of its claims, where it proves them; `settings` are the session's.
pub(crate) fn steps<'a>(
    identity: &'a Identity,
    proof: Option<&'a str>,
    cleans: bool,
    settings: &'a Settings,
) -> Vec<Sql<'a>> {
    let mut steps = Vec::with_capacity(CLEANING.len() + 8);
    if cleans {
        steps.extend(CLEANING.map(Sql::of));
        steps.push(Sql::of(UNLOCK));
        // RESET ALL has brought the limit back.
        steps.push(Sql::of(UNHURRIED));
    }
    if identity.role.is_none() {
        steps.push(Sql::of(LOGIN_AGAIN));
    }
    steps.push(role(identity));
    steps.extend(variables(identity, proof));
    let settings = Settings::default().difference(settings);
    if !settings.is_empty() {
        steps.extend(settings);
        // They may have set the limit that holds for the session.
        steps.push(Sql::of(UNHURRIED));
    }
    steps
}

/// Takes the role on.
fn role(identity: &Identity) -> Sql<'_> {
    let Some(role) = &identity.role else { return Sql::of("RESET ROLE") };
    let mut sql = Sql::new("SELECT pg_catalog.set_config('role',");
    sql.value(role).push(",false)");
    sql
}

/// Takes a connection over by messages of the extended protocol, without Sync, so that PostgreSQL reads nothing of what comes
/// behind one that fails. The first transaction does it, the second insists on it: see [`super::pipelined`]. `nonce` marks
/// this take-over, and is repeated in its answer; `login` is who logged in.
pub(super) fn write_take_over(identity: &Identity, login: &str, settings: &Settings, nonce: &Nonce, out: &mut Vec<u8>) {
    out.reserve(FRONT.len() + 4096);
    out.extend_from_slice(&FRONT);
    match &identity.role {
        Some(role) => run(out, &[ROLE], [role.as_str()]),
        None => message::run_unnamed(out, b"RESET ROLE", &[]),
    }
    let variables = identity.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let changes = [(MARK, nonce.as_str())].into_iter().chain(variables).chain(settings.iter());
    let sets = sets(1 + identity.variables.len() + settings.len());
    let permitted = if identity.allow_privileged { "" } else { PERMITTED };
    run(out, &[UNLOCK, sets, permitted, OF_THE_ROLE], changes.flat_map(|(name, value)| [name, value]));
    insist(identity, login, nonce, out);
}

/// The same for a connection that has an identity without a role, and may have got one: takes that away and nothing else. Of
/// another session authorization it would have told.
pub(super) fn write_role_again(identity: &Identity, login: &str, nonce: &Nonce, out: &mut Vec<u8>) {
    out.reserve(1024);
    message::run_unnamed(out, BEGIN.as_bytes(), &[]);
    run(out, &[ROLE, ",pg_catalog.set_config($2,$3,false)"], ["none", MARK, nonce.as_str()]);
    insist(identity, login, nonce, out);
}

/// Ends the first transaction; the second fails unless the connection is the identity.
fn insist(identity: &Identity, login: &str, nonce: &Nonce, out: &mut Vec<u8>) {
    out.extend_from_slice(&BETWEEN);
    let is_on_a_replica = if identity.read_only { " AND pg_catalog.pg_is_in_recovery()" } else { "" };
    let reads_as_the_guard = if identity.watched { READS_AS_THE_GUARD } else { "" };
    let role = identity.role.as_deref().unwrap_or(login);
    let values = [MARK, nonce.as_str(), role, login, nonce.as_str()];
    run(out, &[INSISTS, is_on_a_replica, reads_as_the_guard, MISTAKEN, ",$5::pg_catalog.text"], values);
    message::run_unnamed(out, COMMIT.as_bytes(), &[]);
    // No statement stays that a client could bind.
    message::close_statement(out, b"");
}

/// Prepares a statement of these parts under no name and runs it with these parameters.
fn run<'a>(out: &mut Vec<u8>, parts: &[&str], values: impl IntoIterator<Item = &'a str>) {
    message::parse_parts(out, parts);
    message::bind(out, b"", b"", values);
    message::execute(out, 0);
}

/// Sets the role, the first parameter.
const ROLE: &str = "SELECT pg_catalog.set_config('role',$1,false)";

/// Fails when the role may not be used; where the role is gone, the statement sets nothing.
const PERMITTED: &str =
    ",CASE WHEN NOT (r.rolsuper OR r.rolbypassrls) THEN '1' ELSE 'this role may not be used' END::pg_catalog.int4";

/// Asks who the connection is, and fails unless it is the identity, by this take-over.
const INSISTS: &str = "SELECT current_user, session_user, pg_catalog.pg_is_in_recovery(), CASE WHEN \
                       pg_catalog.current_setting($1, true) OPERATOR(pg_catalog.=) $2 \
                       AND current_user OPERATOR(pg_catalog.=) $3 AND session_user OPERATOR(pg_catalog.=) $4";

const READS_AS_THE_GUARD: &str = " AND pg_catalog.current_setting('standard_conforming_strings') OPERATOR(pg_catalog.=) 'on' \
     AND pg_catalog.current_setting('client_encoding') OPERATOR(pg_catalog.=) 'UTF8'";

/// Expressions that set so many settings, from the first parameters on: names and values.
fn sets(count: usize) -> &'static str {
    static SETS: LazyLock<(String, Vec<usize>)> = LazyLock::new(|| {
        let (mut text, mut ends) = (String::new(), vec![0]);
        for number in 0..=MAX_SETTINGS {
            let (name, value) = (2 * number + 1, 2 * number + 2);
            text.push_str(&format!(",pg_catalog.set_config(${name},${value},false)"));
            ends.push(text.len());
        }
        (text, ends)
    });
    let (text, ends) = &*SETS;
    text.get(..ends.get(count).copied().unwrap_or(text.len())).unwrap_or_default()
}

fn is_who<'a>(identity: &'a Identity, login: &'a str, sql: &mut Sql<'a>) {
    let role = identity.role.as_deref().unwrap_or(login);
    sql.push("current_user OPERATOR(pg_catalog.=) ").value_in_any_encoding(role);
    sql.push(" AND session_user OPERATOR(pg_catalog.=) ").value_in_any_encoding(login);
}

/// Fails unless the connection is the identity, with its variables: for the middle of a batch.
pub(super) fn assertion<'a>(identity: &'a Identity, login: &'a str) -> Sql<'a> {
    let mut sql = Sql::new("SELECT CASE WHEN ");
    is_who(identity, login, &mut sql);
    for (name, value) in identity.variables.iter() {
        sql.push(" AND pg_catalog.current_setting(").value(name).push(", true) OPERATOR(pg_catalog.=) ");
        sql.value_in_any_encoding(value);
    }
    sql.push(MISTAKEN);
    sql
}

/// Makes the connection the identity again in the middle of a transaction, in one statement.
pub(super) fn again<'a>(identity: &'a Identity, proof: Option<&'a str>) -> Sql<'a> {
    let mut sql = Sql::new("SELECT pg_catalog.set_config('role',");
    sql.value(identity.role.as_deref().unwrap_or("none")).push(",false)");
    for (name, value) in variables_of(identity, proof) {
        sql.push(",").set(name, value);
    }
    sql
}

/// Sets the variables that say who the session is, all in one statement; none where there are none.
pub(super) fn variables<'a>(identity: &'a Identity, proof: Option<&'a str>) -> Option<Sql<'a>> {
    let mut variables = variables_of(identity, proof);
    let (name, value) = variables.next()?;
    let mut sql = Sql::new("SELECT ");
    sql.set(name, value);
    variables.for_each(|(name, value)| _ = sql.push(",").set(name, value));
    Some(sql)
}

fn variables_of<'a>(identity: &'a Identity, proof: Option<&'a str>) -> impl Iterator<Item = (&'a str, &'a str)> {
    let variables = identity.variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    variables.chain(proof.map(|proof| (proof::SETTING, proof)))
}

/// The role of the connection, as PostgreSQL knows it.
const OF_THE_ROLE: &str = WHO[1];

/// The column of the answer to [`who_at_login`] that says whether another role can be taken.
pub(super) const TAKES_ROLES: usize = 6;

/// Of memberships that are more than their rights (`SET`, PostgreSQL 16 and later). The owner of a database is a member of
/// `pg_database_owner` there without being listed (PostgreSQL documentation, "Predefined Roles").
const IS_MEMBER: &str = ",r.rolsuper OR EXISTS (SELECT FROM pg_catalog.pg_auth_members m \
     WHERE m.member OPERATOR(pg_catalog.=) r.oid AND NOT COALESCE(pg_catalog.to_jsonb(m) OPERATOR(pg_catalog.->>) \
     'set_option'::pg_catalog.text OPERATOR(pg_catalog.=) 'false'::pg_catalog.text, false)) \
     OR EXISTS (SELECT FROM pg_catalog.pg_database d WHERE d.datdba OPERATOR(pg_catalog.=) r.oid \
     AND d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())";

/// Asks PostgreSQL who it takes the connection for; the answer ends with the nonce. Every name is qualified: the subject
/// chooses its `search_path`.
pub(crate) fn who(nonce: &Nonce) -> Sql<'_> {
    asks_who(nonce, "")
}

/// The same, and whether the account can take another role.
pub(super) fn who_at_login(nonce: &Nonce) -> Sql<'_> {
    asks_who(nonce, IS_MEMBER)
}

fn asks_who<'a>(nonce: &'a Nonce, more: &str) -> Sql<'a> {
    let mut sql = Sql::new(WHO[0]);
    sql.value(nonce.as_str()).push("::pg_catalog.text").push(more).push(OF_THE_ROLE);
    sql
}

/// The same for a connection that takes simple queries alone, and that no client has used.
pub(super) fn who_as_text(nonce: &Nonce) -> String {
    format!("{}'{}'{OF_THE_ROLE}", WHO[0], nonce.as_str())
}
