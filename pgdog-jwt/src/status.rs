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
    /// What kind of source that is: see [`KeySource::kind`](crate::config::KeySource::kind).
    pub kind: &'static str,
    /// Whether logins can go by the keys.
    pub state: KeyState,
    /// The keys that are known.
    pub keys: Vec<KeyStatus>,
    /// Keys of the last fetched set that cannot be used, and why.
    pub skipped: Vec<String>,
    /// How old a fetched set is; `None` for files, and before the first fetch.
    pub age: Option<Duration>,
    /// How long a fetched set is used without asking again, with what the issuer asked for.
    pub ttl: Option<Duration>,
    /// How long until the issuer is asked again; `None` where nobody is asked.
    pub next_refresh: Option<Duration>,
    /// What the issuer calls the version of the set that was fetched.
    pub etag: Option<String>,
    /// Fetches that succeeded since the start.
    pub fetches: u64,
    /// How many of them were answered with "nothing has changed".
    pub unchanged: u64,
    /// Fetches that failed since the start.
    pub failures: u64,
    /// Why the last fetch failed; `None` when it succeeded.
    pub last_error: Option<String>,
}

/// Whether logins can go by the keys of an issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// Yes: they were fetched not long ago, or they are here.
    Fresh,
    /// Yes, although they are older than their time to live: the issuer does not answer.
    Stale,
    /// No: they are older than `max_stale`.
    TooOld,
    /// No: they were not fetched yet.
    Missing,
}

impl KeyState {
    /// A word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::TooOld => "too_old",
            Self::Missing => "missing",
        }
    }
}

/// One public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStatus {
    /// Its name, which the issuer publishes; keys in files have none.
    pub kid: Option<String>,
    /// What it may verify.
    pub algorithms: Vec<Algorithm>,
}

/// How asking one issuer about its tokens goes. No secret is in it (S5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntrospectionStatus {
    /// The configured `iss`; `None` takes any.
    pub issuer: Option<String>,
    /// The endpoint, without what may be secret in its URL.
    pub url: String,
    /// How the host proves itself there: a method of RFC 7591 section 2.
    pub client_auth: &'static str,
    /// Active tokens that are remembered.
    pub active: usize,
    /// Tokens that are remembered as not active.
    pub inactive: usize,
    /// Requests on their way.
    pub running: usize,
    /// Requests since the start.
    pub requests: u64,
    /// Those of them that gave no answer.
    pub failures: u64,
    /// Whether the issuer is left alone for a moment, because it has not answered.
    pub is_paused: bool,
    /// Why the last request gave no answer; `None` when it did.
    pub last_error: Option<String>,
}
