//! Answers that still count, found by a keyed hash of the token as verified tokens are (see `cache`). Active tokens and
//! others have rooms of their own: whoever makes up tokens can push out nothing that is worth anything.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use lru::LruCache;
use parking_lot::Mutex;

use super::Outcome;
use crate::config::{Fault, IntrospectionSource};
use crate::decision::Credential;

/// Stands for one token. It has no `Debug` (S5).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Fingerprint([u8; 32]);

pub(super) struct Memory {
    key: hmac::Key,
    active: Room,
    others: Room,
}

/// A bounded map of outcomes and until when each counts: what was not used for longest goes. No limit: nothing is kept.
struct Room {
    limit: usize,
    outcomes: Mutex<LruCache<Fingerprint, (Outcome, Instant)>>,
}

impl Memory {
    pub(super) fn new(source: &IntrospectionSource) -> Result<Self, Fault> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| Fault::System("the system has no random numbers to give".to_owned()))?;
        Ok(Self { key, active: Room::new(source.cache_size), others: Room::new(source.negative_cache_size) })
    }

    pub(super) fn fingerprint(&self, token: Credential<'_>) -> Option<Fingerprint> {
        let mut fingerprint = [0; 32];
        hmac::sign_to_buffer(&self.key, token.expose(), &mut fingerprint).ok()?;
        Some(Fingerprint(fingerprint))
    }

    pub(super) fn find(&self, token: &Fingerprint) -> Option<Outcome> {
        self.active.find(token).or_else(|| self.others.find(token))
    }

    pub(super) fn keep(&self, token: Fingerprint, outcome: &Outcome, how_long: Duration) {
        let Some(until) = Instant::now().checked_add(how_long) else { return };
        let room = if matches!(outcome, Outcome::Active(_)) { &self.active } else { &self.others };
        room.keep(token, outcome.clone(), until);
    }

    /// How many active tokens are known, and how many others.
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.active.outcomes.lock().len(), self.others.outcomes.lock().len())
    }
}

impl Room {
    fn new(limit: usize) -> Self {
        // Bounded here and not by the map, which would take all its room at once.
        Self { limit, outcomes: Mutex::new(LruCache::unbounded()) }
    }

    fn find(&self, token: &Fingerprint) -> Option<Outcome> {
        let mut outcomes = self.outcomes.lock();
        let (outcome, until) = outcomes.get(token)?;
        if *until > Instant::now() {
            return Some(outcome.clone());
        }
        outcomes.pop(token);
        None
    }

    fn keep(&self, token: Fingerprint, outcome: Outcome, until: Instant) {
        if NonZeroUsize::new(self.limit).is_none() {
            return;
        }
        // Dropped after the lock is released.
        let _gone = {
            let mut outcomes = self.outcomes.lock();
            let replaced = outcomes.put(token, (outcome, until));
            let oldest = if outcomes.len() > self.limit { outcomes.pop_lru() } else { None };
            (replaced, oldest)
        };
    }
}

/// The requests on their way, so that logins with one token wait for one answer. It has no more entries than there are
/// logins that wait.
#[derive(Default)]
pub(super) struct Flights(Mutex<std::collections::HashMap<Fingerprint, Cell>>);

type Cell = Arc<tokio::sync::OnceCell<Outcome>>;

/// A place among those who wait for the answer about one token.
pub(super) struct Flight<'a> {
    flights: &'a Flights,
    token: Fingerprint,
    pub(super) outcome: Cell,
}

impl Flights {
    pub(super) fn join(&self, token: Fingerprint) -> Flight<'_> {
        let outcome = self.0.lock().entry(token).or_default().clone();
        Flight { flights: self, token, outcome }
    }
}

impl Drop for Flight<'_> {
    /// The last one clears the place: the map's own reference and this one are left.
    fn drop(&mut self) {
        let mut flights = self.flights.0.lock();
        if Arc::strong_count(&self.outcome) <= 2 {
            flights.remove(&self.token);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ClientAuth, Secret};

    const MINUTE: Duration = Duration::from_secs(60);

    fn memory(cache_size: usize, negative_cache_size: usize) -> Memory {
        let auth = ClientAuth::Post(Secret::new("s"));
        let source = IntrospectionSource::new("https://i.example", "c", auth);
        Memory::new(&IntrospectionSource { cache_size, negative_cache_size, ..source }).unwrap()
    }

    fn place(memory: &Memory, token: &str) -> Fingerprint {
        memory.fingerprint(Credential::new(token.as_bytes())).unwrap()
    }

    #[test]
    fn garbage_pushes_out_garbage_alone() {
        let memory = memory(2, 3);
        memory.keep(place(&memory, "good"), &Outcome::Active(Arc::default()), MINUTE);
        for number in 0..100 {
            memory.keep(place(&memory, &number.to_string()), &Outcome::Inactive, MINUTE);
        }
        assert!(matches!(memory.find(&place(&memory, "good")), Some(Outcome::Active(_))));
        assert!(matches!(memory.find(&place(&memory, "99")), Some(Outcome::Inactive)));
        assert!(memory.find(&place(&memory, "0")).is_none());
        assert_eq!(memory.sizes(), (1, 3));
    }

    #[test]
    fn nothing_counts_beyond_its_time_or_without_room() {
        let small = memory(0, 1);
        small.keep(place(&small, "good"), &Outcome::Active(Arc::default()), MINUTE);
        small.keep(place(&small, "old"), &Outcome::Inactive, Duration::ZERO);
        assert!(small.find(&place(&small, "good")).is_none());
        assert!(small.find(&place(&small, "old")).is_none());
        assert_eq!(small.sizes(), (0, 0));
    }

    #[test]
    fn the_last_of_those_who_wait_clears_the_place() {
        let memory = memory(1, 1);
        let flights = Flights::default();
        let one = flights.join(place(&memory, "token"));
        let two = flights.join(place(&memory, "token"));
        assert!(Arc::ptr_eq(&one.outcome, &two.outcome));
        drop(one);
        assert_eq!(flights.0.lock().len(), 1);
        drop(two);
        assert!(flights.0.lock().is_empty());
    }
}
