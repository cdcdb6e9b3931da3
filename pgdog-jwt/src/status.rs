//! How the keys of each issuer are, for those who look after a host. Public keys only, and no secret (S5).

use std::time::Duration;

use crate::config::Algorithm;

/// The keys of one issuer at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerStatus {
    /// The configured `iss`; `None` takes any.
    pub issuer: Option<String>,
    /// Where the keys come from: paths, or a URL without what may be secret in it.
    pub source: String,
    /// The keys that are known.
    pub keys: Vec<KeyStatus>,
    /// Keys of the last fetched set that cannot be used, and why.
    pub skipped: Vec<String>,
    /// How old a fetched set is; `None` for files, and before the first fetch.
    pub age: Option<Duration>,
    /// Fetches that succeeded since the start.
    pub fetches: u64,
    /// Fetches that failed since the start.
    pub failures: u64,
    /// Why the last fetch failed; `None` when it succeeded.
    pub last_error: Option<String>,
}

/// One public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStatus {
    /// Its name, which the issuer publishes; keys in files have none.
    pub kid: Option<String>,
    /// What it may verify.
    pub algorithms: Vec<Algorithm>,
}
