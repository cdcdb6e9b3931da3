//! Tokens that were verified, so that the next login with one of them needs no parsing, no key and no signature check.
//! What depends on the moment or on the start-up user is no part of an entry: it is decided at every login.
//!
//! - An entry is found by the HMAC-SHA-256 of the whole token, all 32 bytes of it, under a random key that never leaves
//!   the cache. The token itself is not kept. A token that differs in one bit has another place, and nobody outside can
//!   tell which tokens share a shard.
//! - An entry says which set of keys the token was verified by, and counts only while that very set is in use: a hit
//!   accepts nothing that a signature check would refuse. An issuer that publishes the same keys again changes nothing.
//! - Only tokens whose login was allowed get in, so nobody without a good token can push out anybody else's.
//! - The number of entries is bounded: the one that was not used for longest goes. The locks are held for a look-up and
//!   never while a token is verified.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use parking_lot::Mutex;

use crate::claims::Claims;
use crate::config::Fault;
use crate::keys::Version;
use shard::Shard;

mod shard;

/// Most parts with a lock of their own.
const MAX_SHARDS: usize = 16;
/// Least entries of a part: a small cache is not worth dividing, since the parts fill unevenly.
const MIN_SHARD_SIZE: usize = 64;

/// What a signature check has found out about a token. It has no `Debug` (S5).
pub(crate) struct Verified {
    pub(crate) claims: Claims,
    /// The issuer's number in the configuration.
    pub(crate) issuer: usize,
    /// The keys that it was verified by.
    pub(crate) key_set: Version,
}

/// How a cache of verified tokens does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Logins whose token was known, allowed or not.
    pub hits: u64,
    /// Logins whose token was not, so that its signature had to be checked. What is no token is not counted.
    pub misses: u64,
    /// Tokens that are known now.
    pub size: usize,
}

/// Stands for one token. It has no `Debug` (S5).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Fingerprint([u8; 32]);

/// The verified tokens of one configuration.
pub(crate) struct TokenCache {
    key: hmac::Key,
    shards: Box<[Mutex<Shard>]>,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl TokenCache {
    /// A cache for so many tokens; `None` for none. Takes no room before it is used.
    pub(crate) fn new(size: usize) -> Result<Option<Self>, Fault> {
        if size == 0 {
            return Ok(None);
        }
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| Fault::System("the system has no random numbers to give".to_owned()))?;
        let shards = (size / MIN_SHARD_SIZE).clamp(1, MAX_SHARDS);
        let shards = (0..shards).map(|_| Mutex::new(Shard::new(size / shards))).collect();
        Ok(Some(Self { key, shards, hits: AtomicU64::new(0), misses: AtomicU64::new(0) }))
    }

    /// Where this token would be. `None` if its fingerprint cannot be computed: then it is verified like any other.
    pub(crate) fn place(&self, token: &[u8]) -> Option<Place<'_>> {
        let mut fingerprint = [0; 32];
        hmac::sign_to_buffer(&self.key, token, &mut fingerprint).ok()?;
        Some(Place { cache: self, fingerprint: Fingerprint(fingerprint) })
    }

    pub(crate) fn stats(&self) -> CacheStats {
        CacheStats {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            size: self.shards.iter().map(|shard| shard.lock().len()).sum(),
        }
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stats().fmt(f)
    }
}

/// Where one token is, or would be. Entries are dropped after the lock is released.
pub(crate) struct Place<'a> {
    cache: &'a TokenCache,
    fingerprint: Fingerprint,
}

impl Place<'_> {
    fn shard(&self) -> &Mutex<Shard> {
        let shards = &self.cache.shards;
        &shards[usize::from(self.fingerprint.0[0]) % shards.len()]
    }

    /// A number that two tokens have in common by chance alone, and that nobody outside can know.
    pub(crate) fn number(&self) -> usize {
        usize::from(u16::from_le_bytes([self.fingerprint.0[1], self.fingerprint.0[2]]))
    }

    /// What is known of the token. If it does not count any more, it is forgotten.
    pub(crate) fn find(&self, counts: impl FnOnce(&Verified) -> bool) -> Option<Arc<Verified>> {
        let known = self.shard().lock().find(&self.fingerprint)?;
        if !counts(&known) {
            self.forget();
            return None;
        }
        self.cache.hits.fetch_add(1, Ordering::Relaxed);
        Some(known)
    }

    /// The token's signature is about to be checked.
    pub(crate) fn count_miss(&self) {
        self.cache.misses.fetch_add(1, Ordering::Relaxed);
    }

    /// Remembers the token. From `until` on it is no good to anybody, and goes before others do.
    pub(crate) fn keep(self, verified: Verified, until: Option<SystemTime>) {
        let _gone = self.shard().lock().put(self.fingerprint, Arc::new(verified), until, SystemTime::now());
    }

    pub(crate) fn forget(&self) {
        let _gone = self.shard().lock().remove(&self.fingerprint);
    }
}

#[cfg(test)]
mod tests;
