//! An issuer's public keys, and the question that a login asks them: did one of you sign this?
//!
//! [`files`] watches files with keys; [`pem`] and [`jwk`] read the two forms that keys have; [`jwks`] decides when a set
//! behind a URL is good enough and when to ask again, [`gate`] and [`strangers`] who may ask; [`fetch`] is the asking, [`discovery`] where,
//! and [`lifetime`] how long the answer counts.

mod changes;
mod discovery;
mod fetch;
mod files;
mod gate;
mod jitter;
mod jwk;
mod jwks;
mod key;
mod lifetime;
mod pem;
mod strangers;
#[cfg(test)]
mod wycheproof_tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::task::JoinSet;

use crate::config::{Algorithm, DEFAULT_MAX_KEYS, Fault, Issuer, KeySource};
use crate::deny::DenyReason;
use crate::status::{IssuerStatus, KeyState, KeyStatus};
use crate::token::Token;
use key::Key;
use strangers::Source;

/// Most keys that one token is tried against: a bound on the work that a forged token causes.
pub(crate) const MAX_TRIES: usize = 16;

/// The keys of one issuer, wherever they come from.
#[derive(Clone)]
pub(crate) enum Keys {
    /// In the configuration itself.
    Inline(Arc<jwk::ParsedSet>),
    Files(Arc<files::FileStore>),
    Jwks(Arc<jwks::JwksStore>),
    /// The issuer signs nothing.
    None,
}

impl Keys {
    /// Reads key files; asks no issuer yet. Of `known`, a set that is fetched in the same way lives on,
    /// and one that only other limits hold for from now on is taken over.
    pub(crate) fn open(issuer: &Issuer, known: &[Self]) -> Result<Self, Fault> {
        let algorithms = &issuer.algorithms;
        if let Some(place) = files::Place::of(&issuer.keys) {
            let before = known.iter().find_map(|keys| match keys {
                Self::Files(store) if store.is_of(&place) => Some(&**store),
                _ => None,
            });
            return Ok(Self::Files(Arc::new(files::FileStore::open(place, algorithms, before)?)));
        }
        let (source, discovers) = match &issuer.keys {
            KeySource::None => return Ok(Self::None),
            KeySource::JwksInline(text) => return Ok(Self::Inline(Arc::new(inline(text, algorithms)?))),
            KeySource::Discovery(source) => (source, true),
            other => (other.fetched().ok_or(Fault::NoIssuer)?, false),
        };
        let serves = |keys: &&Self| matches!(keys, Self::Jwks(store) if store.serves(source, discovers, algorithms));
        match known.iter().find(serves) {
            Some(keys) => Ok(keys.clone()),
            None => {
                let before = known.iter().find_map(|keys| match keys {
                    Self::Jwks(store) if store.asks_as(source, discovers, algorithms) => Some(&**store),
                    _ => None,
                });
                Ok(Self::Jwks(Arc::new(jwks::JwksStore::new(source, discovers, algorithms, before)?)))
            }
        }
    }

    /// Fetches the sets that were not fetched yet, all at the same time, and waits for them no longer than they may take.
    pub(crate) async fn warm(all: &[Self]) {
        let mut fetches = JoinSet::new();
        for keys in all {
            if let Self::Jwks(store) = keys {
                let store = Arc::clone(store);
                fetches.spawn(async move { store.warm().await });
            }
        }
        while fetches.join_next().await.is_some() {}
    }

    /// How they are.
    pub(crate) fn status(&self, issuer: &Issuer) -> IssuerStatus {
        let mut status = IssuerStatus {
            issuer: issuer.issuer.clone(),
            source: issuer.keys.place(),
            kind: issuer.keys.kind(),
            state: KeyState::Fresh,
            keys: Vec::new(),
            skipped: Vec::new(),
            age: None,
            ttl: None,
            next_refresh: None,
            etag: None,
            fetches: 0,
            unchanged: 0,
            failures: 0,
            last_error: None,
        };
        match self {
            Self::Inline(set) => {
                status.keys = set.keys.status();
                status.skipped.clone_from(&set.skipped);
            }
            Self::Files(store) => store.describe(&mut status),
            Self::Jwks(store) => store.describe(&mut status),
            Self::None => {}
        }
        status
    }

    /// Waits for the key that the token needs, if it is not known. Tells whether it waited.
    pub(crate) async fn prepare(
        &self,
        token: &Token<'_>,
        algorithm: Algorithm,
        address: Option<IpAddr>,
    ) -> Result<bool, DenyReason> {
        match self {
            Self::Inline(_) | Self::Files(_) | Self::None => Ok(false),
            Self::Jwks(store) => store.prepare(token, algorithm, Source::of(address)).await,
        }
    }

    /// Whether the issuer signed the token, and by which of its sets that was found out. Never waits.
    pub(crate) fn verify(&self, token: &Token<'_>, algorithm: Algorithm) -> Result<Version, DenyReason> {
        match self {
            Self::Inline(set) => set.keys.verify_by_name(token, algorithm).of(&set.keys),
            Self::Files(store) => store.verify(token, algorithm),
            Self::Jwks(store) => store.verify(token, algorithm),
            Self::None => Err(DenyReason::UnknownKid),
        }
    }

    /// The set that a token would be verified by now; `None` when there is none that may still be trusted.
    pub(crate) fn in_use(&self) -> Option<Version> {
        match self {
            Self::Inline(set) => Some(set.keys.version()),
            Self::Files(store) => Some(store.in_use()),
            Self::Jwks(store) => store.in_use(),
            Self::None => None,
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

impl Verdict {
    /// What it means for a login where no newer set can be had.
    fn of(self, keys: &KeySet) -> Result<Version, DenyReason> {
        match self {
            Self::Signed => Ok(keys.version()),
            Self::NoKey => Err(DenyReason::UnknownKid),
            Self::Ambiguous => Err(DenyReason::AmbiguousKey),
            Self::WrongAlgorithm => Err(DenyReason::AlgorithmMismatch),
            Self::BadSignature => Err(DenyReason::BadSignature),
        }
    }
}

/// Whether a set has a key that may have signed a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Candidate {
    /// By its name, or because the token names none.
    Named,
    /// One without a name, which may be another: only the signature tells.
    Unnamed,
    None,
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
        let same = self.keys.len() == previous.keys.len() && self.keys.iter().all(|key| previous.keys.contains(key));
        if same {
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

    /// Asks the keys that the token's `kid` names. A token without `kid` is taken only when there is no choice; so is a key
    /// without one.
    pub(crate) fn verify_by_name(&self, token: &Token<'_>, algorithm: Algorithm) -> Verdict {
        let Some(kid) = token.kid.as_deref() else {
            return self.verify_by_only_one(token, algorithm);
        };
        let mut named = self.keys.iter().filter(|key| key.kid() == Some(kid)).peekable();
        if named.peek().is_none() {
            // One that did not sign it may have another name: that says nothing of the one that the token names.
            let signed = self.unnamed(algorithm).is_some_and(|key| key.signed(token, algorithm));
            return if signed { Verdict::Signed } else { Verdict::NoKey };
        }
        let mut fitting = named.filter(|key| key.fits(algorithm)).peekable();
        if fitting.peek().is_none() {
            return Verdict::WrongAlgorithm;
        }
        try_each(fitting, token, algorithm)
    }

    /// Whether [`verify_by_name`](Self::verify_by_name) would have an answer other than [`Verdict::NoKey`].
    pub(crate) fn has_key_for(&self, token: &Token<'_>, algorithm: Algorithm) -> Candidate {
        let has = match token.kid.as_deref() {
            Some(kid) => self.keys.iter().any(|key| key.kid() == Some(kid)),
            None => self.keys.iter().any(|key| key.fits(algorithm)),
        };
        match has {
            true => Candidate::Named,
            false if token.kid.is_some() && self.unnamed(algorithm).is_some() => Candidate::Unnamed,
            false => Candidate::None,
        }
    }

    /// The only key without a `kid` that fits: RFC 7517 section 4.5 lets an issuer leave it out. A `kid` is a hint, and the signature decides
    /// (RFC 7515 section 4.1.4).
    fn unnamed(&self, algorithm: Algorithm) -> Option<&Key> {
        let mut unnamed = self.keys.iter().filter(|key| key.kid().is_none() && key.fits(algorithm));
        unnamed.next().filter(|_| unnamed.next().is_none())
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
    let signed = keys.by_ref().take(MAX_TRIES).any(|key| key.signed(token, algorithm));
    if signed { Verdict::Signed } else { Verdict::BadSignature }
}

/// The keys of a set that is written in the configuration: one without a usable key is a mistake.
fn inline(text: &str, algorithms: &[Algorithm]) -> Result<jwk::ParsedSet, Fault> {
    let set = read_inline(text, algorithms).map_err(Fault::KeySet)?;
    changes::warn_of_skipped("the configuration", &[], &set.skipped);
    Ok(set)
}

/// The same without a word in the log. The error is the end of a sentence.
pub(crate) fn read_inline(text: &str, algorithms: &[Algorithm]) -> Result<jwk::ParsedSet, &'static str> {
    let set = jwk::parse(text.as_bytes(), algorithms, DEFAULT_MAX_KEYS).map_err(|_| "is not a JSON Web Key Set")?;
    if set.keys.len() == 0 { Err("holds no key that can be used") } else { Ok(set) }
}
