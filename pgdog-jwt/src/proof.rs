//! Proof of a token's claims for the database: text that SQL functions in `sql/` verify without asking anyone.
//!
//! A proof is `v1.<key id>.<payload>.<mac>`. The payload is base64url (RFC 4648 section 5, without padding) of a JSON object
//! with `role`, `db`, `pid`, `start`, `exp` and `claims`; the MAC is base64url of HMAC-SHA-256 (RFC 2104) over everything
//! before the last dot. It has no character that SQL would have to quote.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use crate::claims;
use crate::config::Secret;
use crate::secret::Origin;

/// The setting that the functions read.
pub const SETTING: &str = "jwt.proof";

/// Asks a server connection for what [`Bound::pid`] and [`Bound::start`] must be. Works in any role once the functions are
/// installed; without them it is an error.
pub const BACKEND_QUERY: &str = "SELECT pg_catalog.pg_backend_pid(), jwt.backend_start()";

/// Shortest key, in bytes: as long as the digest (RFC 2104 section 3).
pub const MIN_KEY_SIZE: usize = 32;

const MAX_KEY_ID_SIZE: usize = 64;

/// A key that the owner of the database knows as well. Its `Debug` shows its id alone (S5).
#[derive(Clone)]
pub struct ProofKey {
    id: String,
    secret: Secret,
    key: hmac::Key,
}

/// Why a key cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofKeyError {
    /// The database tells keys apart by id.
    #[error("must be 1 to 64 letters, digits, \"-\" and \"_\"")]
    Id,
    /// Short keys can be guessed.
    #[error("must have at least {MIN_KEY_SIZE} bytes")]
    TooShort,
}

impl ProofKey {
    /// A key from its id and its secret, of which the UTF-8 bytes are the key.
    ///
    /// # Errors
    /// See [`ProofKeyError`].
    pub fn new(id: impl Into<String>, secret: Secret) -> Result<Self, ProofKeyError> {
        let id = id.into();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if id.is_empty() || id.len() > MAX_KEY_ID_SIZE || !id.bytes().all(is_plain) {
            return Err(ProofKeyError::Id);
        }
        if secret.expose().len() < MIN_KEY_SIZE {
            return Err(ProofKeyError::TooShort);
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
        Ok(Self { id, secret, key })
    }

    /// Where its secret comes from.
    pub fn origin(&self) -> &Origin {
        self.secret.origin()
    }

    /// What the database calls it.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl PartialEq for ProofKey {
    fn eq(&self, other: &Self) -> bool {
        // What the key is made of, also where a program prints it.
        self.id == other.id && self.secret.expose() == other.secret.expose()
    }
}

impl fmt::Debug for ProofKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProofKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The one place and time for which a proof counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound<'a> {
    /// The role in effect: the one that was set, or else the one that logged in.
    pub role: &'a str,
    /// What PostgreSQL calls the database.
    pub database: &'a str,
    /// The server process: the first column of [`BACKEND_QUERY`].
    pub pid: i32,
    /// When it began, in microseconds since 1970: the second column of [`BACKEND_QUERY`].
    pub start: i64,
    /// From this second on it counts for nothing.
    pub expires_at: SystemTime,
}

/// Signs claims. PostgreSQL has no text with NUL in it: of claims with one, the functions say NULL.
pub fn sign(key: &ProofKey, bound: &Bound<'_>, claims: &Map<String, Value>) -> String {
    let exp = bound.expires_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let payload = json!({
        "role": bound.role,
        "db": bound.database,
        "pid": bound.pid,
        "start": bound.start,
        "exp": exp,
        "claims": claims,
    });
    let mut proof = format!("v1.{}.{}", key.id, URL_SAFE_NO_PAD.encode(payload.to_string()));
    let mac = hmac::sign(&key.key, proof.as_bytes());
    proof.push('.');
    URL_SAFE_NO_PAD.encode_string(mac, &mut proof);
    proof
}

/// What is proven to a database, with which key and for how long.
#[derive(Debug, Clone, PartialEq)]
pub struct ProofPolicy {
    /// The key to sign with.
    pub key: ProofKey,
    /// The claims that are proven, by name or path; `None`: all of them.
    pub claims: Option<Vec<String>>,
    /// Longest time that a proof counts, and never longer than the token; `None`: as long as the token.
    pub lifetime: Option<Duration>,
}

impl ProofPolicy {
    /// When a proof that is made now must end.
    pub fn expires_at(&self, now: SystemTime, token_expires_at: SystemTime) -> SystemTime {
        let own = self.lifetime.and_then(|lifetime| now.checked_add(lifetime));
        own.map_or(token_expires_at, |own| own.min(token_expires_at))
    }

    /// A proof of the claims that the policy names. A claim that is named by a path is proven under the path.
    pub fn prove(&self, bound: &Bound<'_>, claims: &Map<String, Value>) -> String {
        let Some(names) = &self.claims else {
            return sign(&self.key, bound, claims);
        };
        let named = |name: &String| claims::find(claims, name).map(|value| (name.clone(), value.clone()));
        sign(&self.key, bound, &names.iter().filter_map(named).collect())
    }
}

#[cfg(test)]
mod tests;
