//! `[jwt.proof]`: the keys that claims are proven to databases with. One table for all databases, or `[[jwt.proof]]` for
//! several.

use pgdog_jwt::proof::{ProofKey, ProofKeyError, ProofPolicy};

use super::error::nearest;
use super::model::{Database, Databases, Proof};
use super::secret_source;
use super::section::{Env, Section};

const LABEL: &str = "[jwt.proof]";
/// Where the key is.
const KEY: secret_source::Keys = ["key", "key_env", "key_file"];
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
    let has_key = KEY.iter().any(|name| own.is_present_key(name));
    let secret = secret_source::secret(own, KEY, env);
    let id = own.filled("key_id");
    let claims = own.strings("claims");
    let lifetime = own.seconds_within("lifetime", 1..=LONGEST_LIFE);
    let databases = scope(own, databases);
    if !has_key {
        let is_empty = id.is_none() && claims.is_none() && lifetime.is_none() && !own.is_present_key("databases");
        if !is_empty {
            let reason = format!("{LABEL} needs a key: set \"key_file\", \"key_env\" or \"key\"");
            own.report.error(own.place(), reason);
        }
        return None;
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

fn scope(own: &Section<'_>, databases: &[Database]) -> Databases {
    let Some(names) = own.strings("databases") else { return Databases::All };
    let known = || databases.iter().map(|database| database.name.as_str());
    for name in names.iter().filter(|name| !known().any(|known| known == **name)) {
        let reason = format!("unknown database \"{name}\" in {LABEL}{}", nearest(name, known()));
        own.report.error(own.spot("databases"), reason);
    }
    Databases::Some(names)
}
