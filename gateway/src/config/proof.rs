//! `[jwt.proof]`: the keys that claims are proven to databases with. One table for all databases, or `[[jwt.proof]]` for
//! several.

use std::path::Path;

use pgdog_jwt::config::Secret;
use pgdog_jwt::proof::{ProofKey, ProofKeyError, ProofPolicy};

use super::error::nearest;
use super::model::{Database, Databases, Proof};
use super::section::{Env, Section};

const LABEL: &str = "[jwt.proof]";
/// What the database calls the key unless the file says otherwise.
const KEY_ID: &str = "1";
/// Longest life of a proof, in seconds: a year.
const LONGEST_LIFE: i64 = 365 * 24 * 3600;

/// Reads all of them. The first that names a database counts for it.
pub(super) fn proofs(jwt: &Section<'_>, databases: &[Database], env: Env<'_>) -> Vec<Proof> {
    let mut proofs = Vec::new();
    for section in jwt.table_or_tables("proof", LABEL) {
        proofs.extend(proof(&section, databases, env));
        section.finish(&[]);
    }
    proofs
}

/// Nothing at all in the table means that nothing is proven; half of it is an error.
fn proof(own: &Section<'_>, databases: &[Database], env: Env<'_>) -> Option<Proof> {
    let sources = ["key", "key_env", "key_file"].map(|name| own.is_present_key(name));
    let secret = [own.secret("key"), from_env(own, env), from_file(own)].into_iter().flatten().next();
    let id = own.filled("key_id");
    let claims = own.strings("claims");
    let lifetime = own.seconds_within("lifetime", 1..=LONGEST_LIFE);
    let databases = scope(own, databases);
    match sources.iter().filter(|is_present| **is_present).count() {
        0 => {
            let is_empty = id.is_none() && claims.is_none() && lifetime.is_none() && !own.is_present_key("databases");
            if !is_empty {
                let reason = format!("{LABEL} needs a key: set \"key_file\", \"key_env\" or \"key\"");
                own.report.error(own.place(), reason);
            }
            return None;
        }
        1 => {}
        _ => {
            own.report.error(own.place(), format!("{LABEL} has more than one of \"key\", \"key_env\" and \"key_file\""))
        }
    }
    if claims.as_ref().is_some_and(Vec::is_empty) {
        own.report.error(own.spot("claims"), "\"claims\" must name at least one claim");
    }
    let Some(secret) = secret else {
        if own.is_present_key("key") {
            own.report.error(own.spot("key"), format!("\"key\" in {LABEL} must not be empty"));
        }
        return None;
    };
    match ProofKey::new(id.unwrap_or_else(|| KEY_ID.to_owned()), secret) {
        Ok(key) => Some(Proof { databases, policy: ProofPolicy { key, claims, lifetime } }),
        Err(error @ ProofKeyError::Id) => {
            own.report.error(own.spot("key_id"), format!("\"key_id\" in {LABEL} {error}"));
            None
        }
        Err(error @ ProofKeyError::TooShort) => {
            own.report.error(own.place(), format!("the key of {LABEL} {error}"));
            None
        }
    }
}

fn from_env(own: &Section<'_>, env: Env<'_>) -> Option<Secret> {
    let name = own.filled("key_env")?;
    let value = env(&name).filter(|value| !value.is_empty());
    if value.is_none() {
        own.report.error(own.spot("key_env"), format!("\"key_env\": there is no environment variable {name:?}"));
    }
    value.map(Secret::new)
}

/// White space at the end is the editor's.
fn from_file(own: &Section<'_>) -> Option<Secret> {
    let path = own.path("key_file")?;
    match std::fs::read_to_string(Path::new(&path)) {
        Ok(text) => Some(Secret::new(text.trim_end())),
        Err(error) => {
            let reason = format!("\"key_file\": {} cannot be read: {error}", path.display());
            own.report.error(own.spot("key_file"), reason);
            None
        }
    }
}

fn scope(own: &Section<'_>, databases: &[Database]) -> Databases {
    let Some(names) = own.strings("databases") else { return Databases::All };
    let known = || databases.iter().map(|database| database.name.as_str());
    for name in names.iter().filter(|name| !known().any(|known| known == **name)) {
        let reason = format!("unknown database \"{name}\" in {LABEL}{}", nearest(name, known()));
        own.report.error(own.spot("databases"), reason);
    }
    Databases::Some(names)
}
