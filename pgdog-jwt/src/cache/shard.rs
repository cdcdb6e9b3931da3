//! One part of the cache: a bounded map that knows which entry was not used for longest. Every operation is O(1).

use std::sync::Arc;
use std::time::SystemTime;

use lru::LruCache;

use super::{Fingerprint, Verified};

/// Most expired entries that one new entry clears away.
const SWEEP: usize = 2;

pub(super) struct Shard {
    entries: LruCache<Fingerprint, Entry>,
    capacity: usize,
}

struct Entry {
    verified: Arc<Verified>,
    /// From then on the token is refused; `None`: not in the time that a clock can show.
    until: Option<SystemTime>,
}

impl Shard {
    pub(super) fn new(capacity: usize) -> Self {
        // Bounded here and not by the map, which would take all its room at once.
        Self { entries: LruCache::unbounded(), capacity }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn find(&mut self, fingerprint: &Fingerprint) -> Option<Arc<Verified>> {
        self.entries.get(fingerprint).map(|entry| Arc::clone(&entry.verified))
    }

    /// Returns what had to go, so that it can be dropped where no lock is held.
    pub(super) fn put(
        &mut self,
        fingerprint: Fingerprint,
        verified: Arc<Verified>,
        until: Option<SystemTime>,
        now: SystemTime,
    ) -> Vec<Arc<Verified>> {
        let mut gone = Vec::new();
        gone.extend(self.entries.put(fingerprint, Entry { verified, until }).map(|entry| entry.verified));
        while gone.len() < SWEEP
            && self.entries.peek_lru().is_some_and(|(_, oldest)| oldest.until.is_some_and(|until| until <= now))
        {
            gone.extend(self.entries.pop_lru().map(|(_, entry)| entry.verified));
        }
        if self.entries.len() > self.capacity {
            gone.extend(self.entries.pop_lru().map(|(_, entry)| entry.verified));
        }
        gone
    }

    pub(super) fn remove(&mut self, fingerprint: &Fingerprint) -> Option<Arc<Verified>> {
        self.entries.pop(fingerprint).map(|entry| entry.verified)
    }
}
