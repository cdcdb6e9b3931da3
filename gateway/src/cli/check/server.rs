//! One account on one server, tried for real: it logs in, is asked what it may become and what the server writes down, and leaves.

use std::time::Duration;

use super::Severity;
use super::accounts::{Account, Login};
use super::log_settings;
use crate::backend::connect::{self, ConnectError, Proof, ServerLogin, knock};
use crate::backend::connection::Connection;
use crate::backend::conversation::ConversationError;
use crate::config::{Choice, Role};
use crate::net::options::TcpOptions;
use crate::net::tls::ClientTls;

/// How the gateway would connect.
pub(super) struct Ways {
    pub(super) tls: ClientTls,
    pub(super) tcp: TcpOptions,
    pub(super) connect_timeout: Duration,
    pub(super) allow_privileged_roles: bool,
}

/// Whether the role is there, whether the account may take it, and whether it is above row-level security. `SET` is a right
/// of its own since PostgreSQL 16.
const ROLE: &str = "SELECT r.rolname IS NOT NULL, \
    coalesce(pg_catalog.pg_has_role(current_user, r.oid, CASE WHEN \
    pg_catalog.current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END), false), \
    coalesce(r.rolsuper OR r.rolbypassrls, false) \
    FROM (VALUES ($1::text)) AS wanted (name) LEFT JOIN pg_catalog.pg_roles r ON r.rolname = wanted.name";

/// What is wrong, each as a sentence without the place.
pub(super) async fn problems(account: &Account, ways: &Ways) -> Vec<(Severity, String)> {
    let limit = ways.connect_timeout;
    let Some(login) = &account.login else {
        return match tokio::time::timeout(limit, knock(&account.address)).await {
            Ok(Ok(())) => Vec::new(),
            Ok(Err(error)) => vec![(Severity::Error, error.to_string())],
            Err(_) => vec![(Severity::Error, format!("no answer within {limit:?}"))],
        };
    };
    let parameters = [("application_name", "pgdog-jwt check"), ("client_encoding", "UTF8")];
    let server_login = ServerLogin {
        user: &login.user,
        password: login.password.as_ref().map(|password| password.expose()),
        proof: &Proof::Password,
        database: &account.server_database,
        parameters: &parameters,
    };
    let connecting = connect::connect(&account.address, server_login, &ways.tls, &ways.tcp);
    let mut connection = match tokio::time::timeout(limit, connecting).await {
        Ok(Ok(connected)) => Connection::new(connected),
        Ok(Err(error)) => return vec![(Severity::Error, refusal(&error, login))],
        Err(_) => return vec![(Severity::Error, format!("no answer within {limit:?}"))],
    };
    let mut found = Vec::new();
    if let Err(error) = ask(&mut connection, account, login, ways, &mut found).await {
        found.push((Severity::Error, format!("it cannot be asked: {error}")));
    }
    connection.farewell();
    found
}

/// Why an account is not let in, and which key that is about.
fn refusal(error: &ConnectError, login: &Login) -> String {
    let hint = match error {
        ConnectError::Authentication(_) if login.password.is_none() => format!("; set \"{}\"", login.key),
        ConnectError::Refused(fields) if matches!(fields.code.as_str(), "28P01" | "28000") => {
            let key = login.key;
            let what = if login.password.is_some() { "is it the right one?" } else { "it is not set" };
            format!("; \"{key}\": {what}")
        }
        _ => String::new(),
    };
    format!("{error}{hint}; {} will not be served", login.whom)
}

async fn ask(
    connection: &mut Connection,
    account: &Account,
    login: &Login,
    ways: &Ways,
    found: &mut Vec<(Severity, String)>,
) -> Result<(), ConversationError> {
    let is_standby = connection.query("SELECT pg_catalog.pg_is_in_recovery()").await?.value(0) == "t";
    let is_meant = match account.role {
        Role::Primary => !is_standby,
        Role::Replica => is_standby,
        Role::Auto => true,
    };
    if !is_meant {
        let is = if is_standby { "a standby" } else { "a primary" };
        found.push((Severity::Error, format!("\"role\" is \"{}\", and the server is {is}", account.role.word())));
    }
    let mut roles = login.roles.clone();
    roles.sort_unstable();
    roles.dedup();
    for role in roles.iter().filter(|role| **role != login.user) {
        let answer = connection.ask(ROLE, Some(&[role])).await?;
        let [is_there, is_granted, is_privileged] = [0, 1, 2].map(|column| answer.value(column) == "t");
        let user = &login.user;
        let problem = match (is_there, is_granted) {
            (false, _) => format!("there is no role \"{role}\": a login that leads to it is refused"),
            (true, false) => format!("\"{user}\" may not become \"{role}\": GRANT \"{role}\" TO \"{user}\""),
            (true, true) if is_privileged && !ways.allow_privileged_roles => {
                format!("role \"{role}\" has SUPERUSER or BYPASSRLS: a login that leads to it is refused")
            }
            (true, true) => continue,
        };
        found.push((Severity::Error, problem));
    }
    if login.carries_claims {
        let answer = connection.query(log_settings::QUESTION).await?;
        let values: Vec<&str> = (0..10).map(|column| answer.value(column)).collect();
        let leak = |setting| format!("whoever reads the server's log can read claims and proofs: {setting}");
        found.extend(log_settings::leaks(&values).into_iter().map(leak).map(|leak| (Severity::Warning, leak)));
    }
    Ok(())
}
