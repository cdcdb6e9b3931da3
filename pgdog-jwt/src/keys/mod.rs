//! An issuer's public keys, and the question that a login asks them: did one of you sign this?
//!
//! [`pem`] reads keys from files and watches the files; [`jwk`] reads a key set as an issuer publishes it; [`jwks`]
//! decides when a published set is good enough and when to ask again; [`fetch`] is the asking.

pub(crate) mod fetch;
mod gate;
pub(crate) mod jwk;
pub(crate) mod jwks;
pub(crate) mod key;
pub(crate) mod pem;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::{Algorithm, ConfigError, Issuer, KeySource};
use crate::deny::DenyReason;
use crate::status::{IssuerStatus, KeyStatus};
use crate::token::Token;
use key::Key;

/// Most keys that one token is tried against: a bound on the work that a forged token causes.
pub(crate) const MAX_TRIES: usize = 16;

/// The keys of one issuer, wherever they come from.
#[derive(Clone)]
pub(crate) enum Keys {
    Pem(Arc<pem::PemStore>),
    Jwks(Arc<jwks::JwksStore>),
}

impl Keys {
    /// Reads key files; asks no issuer yet.
    pub(crate) fn open(issuer: &Issuer) -> Result<Self, ConfigError> {
        Ok(match &issuer.keys {
            KeySource::PemFiles(files) => Self::Pem(Arc::new(pem::PemStore::open(files, &issuer.algorithms)?)),
            KeySource::Jwks(source) => Self::Jwks(Arc::new(jwks::JwksStore::new(source, &issuer.algorithms)?)),
        })
    }

    /// How they are.
    pub(crate) fn status(&self, issuer: &Issuer) -> IssuerStatus {
        let mut status = IssuerStatus {
            issuer: issuer.issuer.clone(),
            source: String::new(),
            keys: Vec::new(),
            skipped: Vec::new(),
            age: None,
            fetches: 0,
            failures: 0,
            last_error: None,
        };
        match self {
            Self::Pem(store) => {
                if let KeySource::PemFiles(files) = &issuer.keys {
                    let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
                    status.source = names.join(", ");
                }
                status.keys = store.keys();
            }
            Self::Jwks(store) => store.describe(&mut status),
        }
        status
    }

    /// Waits for the key that the token needs, if it is not known. Tells whether it waited.
    pub(crate) async fn prepare(&self, token: &Token<'_>, algorithm: Algorithm) -> Result<bool, DenyReason> {
        match self {
            Self::Pem(_) => Ok(false),
            Self::Jwks(store) => store.prepare(token, algorithm).await,
        }
    }

    /// Whether the issuer signed the token, and by which of its sets that was found out. Never waits.
    pub(crate) fn verify(&self, token: &Token<'_>, algorithm: Algorithm) -> Result<Version, DenyReason> {
        match self {
            Self::Pem(store) => store.verify(token, algorithm),
            Self::Jwks(store) => store.verify(token, algorithm),
        }
    }

    /// The set that a token would be verified by now; `None` when there is none that may still be trusted.
    pub(crate) fn in_use(&self) -> Option<Version> {
        match self {
            Self::Pem(store) => Some(store.in_use()),
            Self::Jwks(store) => store.in_use(),
        }
    }
}

/// Stands for the content of a key set: equal versions are equal sets, of one issuer, in the whole process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version(u64);

impl Version {
    fn next() -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        Self(NUMBERS.fetch_add(1, Ordering::Relaxed))
    }
}

/// What a set of keys says about a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// One of the keys signed it.
    Signed,
    /// The set has no key that could have signed it. A newer set may have.
    NoKey,
    /// No `kid`, and several keys could have signed it.
    Ambiguous,
    /// The key it names is for other algorithms.
    WrongAlgorithm,
    /// The key it names did not sign it.
    BadSignature,
}

/// The keys of one issuer at one time.
pub(crate) struct KeySet {
    keys: Vec<Key>,
    version: Version,
}

impl KeySet {
    pub(crate) fn new(keys: Vec<Key>) -> Self {
        Self { keys, version: Version::next() }
    }

    /// This set, read after another. When nothing has changed, it is still that version.
    pub(crate) fn after(mut self, previous: &Self) -> Self {
        if self.keys == previous.keys {
            self.version = previous.version;
        }
        self
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    pub(crate) fn status(&self) -> Vec<KeyStatus> {
        self.keys.iter().map(Key::status).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Tries every key that fits the algorithm. For keys without names, such as those of a file.
    pub(crate) fn verify_by_any(&self, token: &Token<'_>, algorithm: Algorithm) -> Verdict {
        let mut fitting = self.keys.iter().filter(|key| key.fits(algorithm)).peekable();
        if fitting.peek().is_none() {
            return Verdict::WrongAlgorithm;
        }
        try_each(fitting, token, algorithm)
    }

    /// Asks the keys that the token's `kid` names. A token without `kid` is taken only when there is no choice.
    pub(crate) fn verify_by_name(&self, token: &Token<'_>, algorithm: Algorithm) -> Verdict {
        let Some(kid) = token.kid.as_deref() else {
            return self.verify_by_only_one(token, algorithm);
        };
        let mut named = self.keys.iter().filter(|key| key.kid() == Some(kid)).peekable();
        if named.peek().is_none() {
            return Verdict::NoKey;
        }
        let mut fitting = named.filter(|key| key.fits(algorithm)).peekable();
        if fitting.peek().is_none() {
            return Verdict::WrongAlgorithm;
        }
        try_each(fitting, token, algorithm)
    }

    /// Whether [`verify_by_name`](Self::verify_by_name) would have an answer other than [`Verdict::NoKey`].
    pub(crate) fn has_key_for(&self, token: &Token<'_>, algorithm: Algorithm) -> bool {
        match token.kid.as_deref() {
            Some(kid) => self.keys.iter().any(|key| key.kid() == Some(kid)),
            None => self.keys.iter().any(|key| key.fits(algorithm)),
        }
    }

    fn verify_by_only_one(&self, token: &Token<'_>, algorithm: Algorithm) -> Verdict {
        let mut fitting = self.keys.iter().filter(|key| key.fits(algorithm));
        match (fitting.next(), fitting.next()) {
            (None, _) => Verdict::NoKey,
            (Some(key), None) => try_each([key].into_iter(), token, algorithm),
            (Some(_), Some(_)) => Verdict::Ambiguous,
        }
    }
}

fn try_each<'a>(mut keys: impl Iterator<Item = &'a Key>, token: &Token<'_>, algorithm: Algorithm) -> Verdict {
    let signed = keys.by_ref().take(MAX_TRIES).any(|key| key.verify(algorithm, token.signing_input, &token.signature));
    if signed { Verdict::Signed } else { Verdict::BadSignature }
}
