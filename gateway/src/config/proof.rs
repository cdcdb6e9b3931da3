//! `[jwt.proof]`: the keys that claims are proven to databases with. One table for all databases, or `[[jwt.proof]]` for
//! several.

use pgdog_jwt::proof::{ProofKey, ProofKeyError, ProofPolicy};
use pgdog_jwt::reader::{Env, Section, nearest};

use super::keys::proof as keys;
use super::model::{Database, Databases, Proof};

const LABEL: &str = "[jwt.proof]";
/// All of them.
const ALL: &str = "*";

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
    let has_key = own.has_secret(&keys::KEY);
    let secret = own.secret(&keys::KEY, env);
    let id = own.given(&keys::KEY_ID.key);
    let claims = own.given(&keys::CLAIMS.key);
    let lifetime = own.given(&keys::LIFETIME);
    let databases = scope(own, databases);
    if !has_key {
        let is_empty = id.is_none() && claims.is_none() && lifetime.is_none() && !own.is_present_key("databases");
        if !is_empty {
            let reason = format!("{LABEL} needs a key: set \"key\", or its _file, _env or _command");
            own.report.error(own.place(), reason);
        }
        return None;
    }
    let claims = match claims {
        None => Some(own.value(&keys::CLAIMS)),
        Some(names) if names == [ALL] => None,
        Some(names) => {
            if names.is_empty() {
                own.report.error(own.spot("claims"), "\"claims\" must name at least one claim");
            } else if names.iter().any(|name| name == ALL) {
                own.report.error(own.spot("claims"), "\"*\" in \"claims\" stands for all claims, and alone");
            }
            Some(names)
        }
    };
    let Some(secret) = secret else {
        let is_alone = || keys::KEY.names().into_iter().filter(|name| own.is_present_key(name)).count() == 1;
        if own.is_present_key("key") && is_alone() {
            own.report.error(own.spot("key"), format!("\"key\" in {LABEL} must not be empty"));
        }
        return None;
    };
    match ProofKey::new(id.unwrap_or_else(|| keys::KEY_ID.default.to_owned()), secret) {
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
    let Some(names) = own.given(&keys::DATABASES) else { return Databases::All };
    let known = || databases.iter().map(|database| database.name.as_str());
    for name in names.iter().filter(|name| !known().any(|known| known == **name)) {
        let reason = format!("unknown database \"{name}\" in {LABEL}{}", nearest(name, known()));
        own.report.error(own.spot("databases"), reason);
    }
    Databases::Some(names)
}
