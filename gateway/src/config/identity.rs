//! `[jwt.identity]`: how a session becomes its subject on the server, and what that mode needs of the other sections.

use std::net::IpAddr;
use std::time::Duration;

use pgdog_jwt::config::IdentityMode;
use pgdog_jwt::reader::{Choice, LOGIN_PASSWORD_VARIABLE, LoginAuth, Section, SubjectLogin};

use super::choices::{Role, TlsVerify};
use super::model::{Database, General, Jwt, User};

/// What the mode needs, what it cannot have, and what it leaves unused.
pub(super) fn check(section: &Section<'_>, jwt: &Jwt, general: &General, databases: &[Database], users: &[User]) {
    if jwt.core.uses(IdentityMode::Passthrough) {
        check_passthrough(section, general, databases);
    }
    if jwt.core.uses(IdentityMode::Login) {
        check_login(section, &jwt.login, general, databases);
    } else {
        let is_set = [
            ("login_auth", jwt.login.auth != LoginAuth::default()),
            ("login_password", section.is_present_key("login_password")),
        ];
        for (key, _) in is_set.into_iter().filter(|(_, is_set)| *is_set) {
            section.report.warn(section.spot(key), format!("\"{key}\" is for \"mode\" = \"login\" alone"));
        }
    }
    if logs_in_as_subject(jwt) {
        check_pools(section, jwt, users);
        check_monitoring(section, jwt, general, databases, users);
    }
}

fn logs_in_as_subject(jwt: &Jwt) -> bool {
    jwt.core.uses(IdentityMode::Login) || jwt.core.uses(IdentityMode::Passthrough)
}

fn check_login(section: &Section<'_>, login: &SubjectLogin, general: &General, databases: &[Database]) {
    let error = |key: &str, reason: String| section.report.error(section.spot(key), reason);
    match login.auth {
        LoginAuth::Certificate => {
            let needs = "\"login_auth\" = \"certificate\" needs";
            if general.tls_server_certificate.is_none() {
                let keys = "\"tls_server_certificate\" and \"tls_server_private_key\"";
                error("login_auth", format!("{needs} {keys}: what the gateway shows to PostgreSQL"));
            }
            if general.tls_verify == TlsVerify::Disabled {
                error("login_auth", format!("{needs} TLS, and \"tls_verify\" is \"disabled\""));
            }
            if let Some(server) = databases.iter().find(|server| server.is_unix()) {
                let reason = format!("a Unix socket, where there is no TLS, leads to database \"{}\"", server.name);
                error("login_auth", format!("{needs} TLS: {reason}"));
            }
        }
        LoginAuth::Password if login.password.is_none() => {
            let hint = format!("set \"login_password\" or {LOGIN_PASSWORD_VARIABLE}");
            error("login_auth", format!("\"login_auth\" = \"password\" needs the password; {hint}"));
        }
        LoginAuth::Password | LoginAuth::Trust => {}
    }
    if login.auth != LoginAuth::Password && section.is_present_key("login_password") {
        let reason = format!("\"login_password\" is not used with \"login_auth\" = \"{}\"", login.auth.word());
        section.report.warn(section.spot("login_password"), reason);
    }
}

/// A bearer token is as good as a password, so it goes only where nobody can read it, to a server that is known to be the
/// right one (RFC 6750, section 5.3).
fn check_passthrough(section: &Section<'_>, general: &General, databases: &[Database]) {
    if matches!(general.tls_verify, TlsVerify::VerifyCa | TlsVerify::VerifyFull) {
        return;
    }
    if let Some(server) = databases.iter().find(|server| !server.is_unix() && !is_loopback(&server.host)) {
        let (name, host, verify) = (&server.name, &server.host, general.tls_verify.word());
        let reason = format!("\"tls_verify\" = \"{verify}\" does not keep the tokens safe on the way to {host}");
        let hint = "set it to \"verify_full\" or \"verify_ca\"";
        section
            .report
            .error(section.spot("mode"), format!("\"mode\" = \"passthrough\": database \"{name}\": {reason}; {hint}"));
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn check_pools(section: &Section<'_>, jwt: &Jwt, users: &[User]) {
    let mode = if jwt.core.uses(IdentityMode::Login) { IdentityMode::Login } else { IdentityMode::Passthrough }.word();
    // A pool that subjects share is theirs whose role is taken.
    if jwt.core.uses(IdentityMode::Role) {
        return;
    }
    if jwt.shared_pool {
        let reason = "a connection on which one subject has logged in cannot become another's";
        section.report.error(
            section.spot("mode"),
            format!("\"mode\" = \"{mode}\" and \"shared_pool\" do not go together: {reason}"),
        );
    }
    if let Some(user) = users.iter().find(|user| !user.has_password() && user.server_user.is_some()) {
        let reason = format!("\"server_user\" of user \"{}\" is not used: the subject itself logs in", user.name);
        section.report.warn(section.spot("mode"), format!("\"mode\" = \"{mode}\": {reason}"));
    }
}

/// What a server is, and how far behind, is asked with an account of the gateway's own.
fn check_monitoring(section: &Section<'_>, jwt: &Jwt, general: &General, databases: &[Database], users: &[User]) {
    let watches_lag = general.ban_replica_lag != Duration::MAX || general.ban_replica_lag_bytes != usize::MAX;
    let is_blind = |server: &&Database| {
        let has_user = users.iter().any(|user| user.has_password() && user.databases.contains(&server.name));
        server.user.is_none() && jwt.core.server_user.is_none() && !has_user
    };
    let asks = |server: &&Database| server.role == Role::Auto || (server.role == Role::Replica && watches_lag);
    if let Some(server) = databases.iter().filter(is_blind).find(asks) {
        let reason = format!("no account can ask the servers of database \"{}\" what they are", server.name);
        let hint = "set its \"user\" and \"password\" to an account that may log in";
        section.report.warn(section.spot("mode"), format!("{reason}; {hint}"));
    }
}
