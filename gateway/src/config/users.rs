//! `[[users]]` of `users.toml`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pgdog_jwt::config::Secret;
use pgdog_jwt::reader::{Env, Report, Section, Spot, nearest};

use super::keys::users as keys;
use super::model::{Database, Databases, User};

/// Reads one user. `None` when it has no name, which is reported.
pub(super) fn user(section: &Section<'_>, env: Env<'_>) -> Option<User> {
    let name = section.given(&keys::NAME);
    if name.is_none() {
        section.report.error(section.spot("name"), "[[users]] needs a \"name\"");
    }
    let user = User {
        name: name.clone().unwrap_or_default(),
        databases: databases(section),
        passwords: passwords(section, env),
        password_hash: password_hash(section, env),
        pool_size: section.given(&keys::POOL_SIZE),
        min_pool_size: section.given(&keys::MIN_POOL_SIZE),
        max_user_client_connections: section.given(&keys::MAX_USER_CLIENT_CONNECTIONS),
        pooler_mode: section.given(&keys::POOLER_MODE),
        server_user: section.given(&keys::SERVER_USER),
        server_password: section.secret(&keys::SERVER_PASSWORD, env),
        statement_timeout: section.given(&keys::STATEMENT_TIMEOUT),
        lock_timeout: section.given(&keys::LOCK_TIMEOUT),
        read_only: section.given(&keys::READ_ONLY),
        tenants: section.given(&keys::TENANTS),
        tls_client_certificate_required: section.given(&keys::TLS_CLIENT_CERTIFICATE_REQUIRED),
    };
    name.is_some().then_some(user)
}

/// `all_databases` goes before `database`, and that before `databases`.
fn databases(section: &Section<'_>) -> Databases {
    let one = section.given(&keys::DATABASE);
    let several = section.given(&keys::DATABASES).unwrap_or_default();
    let all = section.value(&keys::ALL_DATABASES);
    if all {
        return Databases::All;
    }
    if one.is_some() && !several.is_empty() {
        section.report.warn(section.spot("databases"), "\"databases\" is not used beside \"database\"");
    }
    if one.is_none() && several.is_empty() {
        let hint = "set \"database\", \"databases\" or \"all_databases\"";
        section.report.warn(section.spot("name"), format!("this user can log in to no database; {hint}"));
    }
    Databases::Some(one.map_or(several, |database| vec![database]))
}

/// An empty password lets nobody in.
fn passwords(section: &Section<'_>, env: Env<'_>) -> Vec<Secret> {
    let first = section.secret(&keys::PASSWORD, env);
    let more = section.given(&keys::PASSWORDS).unwrap_or_default();
    let is_empty = [
        ("password", first.is_none() && section.is_present_key("password")),
        ("passwords", more.iter().any(String::is_empty)),
    ];
    if let Some((key, _)) = is_empty.into_iter().find(|(_, is_empty)| *is_empty) {
        section.report.warn(section.spot(key), "an empty password lets nobody in");
    }
    first.into_iter().chain(more.into_iter().filter(|password| !password.is_empty()).map(Secret::new)).collect()
}

fn password_hash(section: &Section<'_>, env: Env<'_>) -> Option<Secret> {
    let secret = section.secret(&keys::PASSWORD_HASH, env)?;
    let hash = secret.expose();
    if !is_scram_verifier(hash) && !is_md5_verifier(hash) {
        let form = "SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>, or \"md5\" and 32 hexadecimal digits";
        let reason = format!("\"password_hash\" is not a verifier of PostgreSQL ({form})");
        let given = keys::PASSWORD_HASH.names().into_iter().find(|name| section.is_present_key(name));
        section.report.error(section.spot(given.unwrap_or("password_hash")), reason);
    }
    Some(secret)
}

/// The form of `pg_authid.rolpassword` (PostgreSQL documentation, chapter on `pg_authid`).
fn is_scram_verifier(hash: &str) -> bool {
    let key = |text: &str| STANDARD.decode(text).is_ok_and(|bytes| bytes.len() == 32);
    let parts = || {
        let (head, keys) = hash.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
        let (iterations, salt) = head.split_once(':')?;
        let (stored, server) = keys.split_once(':')?;
        Some((iterations.parse::<u32>().ok()?, salt, stored, server))
    };
    parts().is_some_and(|(iterations, salt, stored, server)| {
        let salted = STANDARD.decode(salt).is_ok_and(|bytes| !bytes.is_empty());
        iterations > 0 && salted && key(stored) && key(server)
    })
}

fn is_md5_verifier(hash: &str) -> bool {
    hash.strip_prefix("md5")
        .is_some_and(|digits| digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Users name databases that exist, and no user is described twice for one database.
pub(super) fn check_users(users: &[(User, Spot)], databases: &[(Database, Spot)], report: &Report) {
    let known = || databases.iter().map(|(database, _)| database.name.as_str());
    for (index, (user, spot)) in users.iter().enumerate() {
        if let Databases::Some(names) = &user.databases {
            for name in names.iter().filter(|name| !known().any(|known| known == **name)) {
                let hint = nearest(name, known());
                report.error(spot.clone(), format!("user \"{}\": unknown database \"{name}\"{hint}", user.name));
            }
        }
        let twin = users.iter().take(index).find_map(|(other, first)| {
            (other.name == user.name)
                .then(|| shared(&other.databases, &user.databases))
                .flatten()
                .map(|name| (name, first))
        });
        if let Some((database, first)) = twin {
            let place = first.position.map_or_else(String::new, |(line, _)| format!(" (first in line {line})"));
            report.error(spot.clone(), format!("user \"{}\" is there twice for {database}{place}", user.name));
        }
    }
}

/// A certificate that nobody asks for cannot be shown.
pub(super) fn check_certificates(users: &[(User, Spot)], authority: bool, report: &Report) {
    for (user, spot) in users.iter().filter(|(user, _)| user.tls_client_certificate_required == Some(true)) {
        if !authority {
            let reason = "\"tls_client_certificate_required\" needs \"tls_client_ca_certificate\" in [general]";
            report.error(spot.clone(), format!("user \"{}\": {reason}", user.name));
        }
    }
}

/// What two users of one name have in common.
fn shared(one: &Databases, other: &Databases) -> Option<String> {
    match (one, other) {
        (Databases::All, _) | (_, Databases::All) => Some("all databases".to_owned()),
        (Databases::Some(names), Databases::Some(_)) => {
            names.iter().find(|name| other.contains(name)).map(|name| format!("database \"{name}\""))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verifiers_are_told_from_other_text() {
        let key = "A".repeat(43) + "=";
        assert!(is_scram_verifier(&format!("SCRAM-SHA-256$4096:c2FsdA==${key}:{key}")));
        assert!(!is_scram_verifier(&format!("SCRAM-SHA-256$0:c2FsdA==${key}:{key}")));
        assert!(!is_scram_verifier(&format!("SCRAM-SHA-256$4096:c2FsdA==${key}")));
        assert!(!is_scram_verifier("hunter2"));
        assert!(is_md5_verifier(&format!("md5{}", "0a".repeat(16))));
        assert!(!is_md5_verifier("md5hunter2"));
    }
}
