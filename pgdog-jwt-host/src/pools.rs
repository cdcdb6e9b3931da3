//! The pools that logins bring into being: who uses which, how many there may be, which one makes room.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A table of pools. `K` tells them apart, `P` is what the host keeps of one.
#[derive(Debug)]
pub struct Pools<K: Eq + Hash, P>(Arc<Mutex<HashMap<K, Entry<P>>>>);

impl<K: Eq + Hash, P> Default for Pools<K, P> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

#[derive(Debug)]
struct Entry<P> {
    pool: P,
    sessions: usize,
    /// Since when nobody uses it.
    idle_since: Instant,
}

/// A session's use of a pool. While there is one, the pool stays.
#[derive(Debug)]
pub struct Seat<K: Eq + Hash, P> {
    pools: Arc<Mutex<HashMap<K, Entry<P>>>>,
    key: K,
}

impl<K: Eq + Hash, P> Seat<K, P> {
    /// The pool's.
    pub fn key(&self) -> &K {
        &self.key
    }
}

impl<K: Eq + Hash, P> Drop for Seat<K, P> {
    fn drop(&mut self) {
        if let Some(entry) = self.pools.lock().get_mut(&self.key) {
            entry.sessions = entry.sessions.saturating_sub(1);
            entry.idle_since = Instant::now();
        }
    }
}

/// There are as many pools as there may be, and all are in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("all {0} pools that tokens may bring into being are in use")]
pub struct Full(pub usize);

impl<K: Eq + Hash + Clone, P: Clone> Pools<K, P> {
    /// Takes a seat in a pool that is there; gives what the host keeps of it.
    pub fn enter(&self, key: &K) -> Option<(Seat<K, P>, P)> {
        let mut pools = self.0.lock();
        let entry = pools.get_mut(key)?;
        entry.sessions += 1;
        let pool = entry.pool.clone();
        Some((Seat { pools: self.0.clone(), key: key.clone() }, pool))
    }

    /// Adds a pool with its first session. Where there are `limit` already, the one that was idle for longest makes room and is
    /// given back, for the host to close.
    ///
    /// # Errors
    /// None of them is idle.
    #[allow(clippy::type_complexity, reason = "a seat, and what had to go")]
    pub fn add(&self, key: K, pool: P, limit: usize) -> Result<(Seat<K, P>, Option<(K, P)>), Full> {
        let mut pools = self.0.lock();
        let mut gone = None;
        if pools.len() >= limit && !pools.contains_key(&key) {
            let idle = pools.iter().filter(|(_, entry)| entry.sessions == 0);
            let longest = idle.min_by_key(|(_, entry)| entry.idle_since).map(|(key, _)| key.clone());
            gone = longest.and_then(|key| pools.remove(&key).map(|entry| (key, entry.pool)));
            if gone.is_none() {
                return Err(Full(limit));
            }
        }
        let entry = pools.entry(key.clone());
        let entry = entry.or_insert(Entry { pool: pool.clone(), sessions: 0, idle_since: Instant::now() });
        entry.pool = pool;
        entry.sessions += 1;
        Ok((Seat { pools: self.0.clone(), key }, gone))
    }

    /// Takes out the pools that nobody has used for so long, for the host to close.
    pub fn take_idle(&self, idle: Duration) -> Vec<(K, P)> {
        let mut pools = self.0.lock();
        let is_idle = |entry: &Entry<P>| entry.sessions == 0 && entry.idle_since.elapsed() >= idle;
        let keys: Vec<K> = pools.iter().filter(|(_, entry)| is_idle(entry)).map(|(key, _)| key.clone()).collect();
        keys.into_iter().filter_map(|key| pools.remove(&key).map(|entry| (key, entry.pool))).collect()
    }

    /// Takes out a pool that could not be made, unless others use it.
    pub fn take_unused(&self, key: &K) -> bool {
        let mut pools = self.0.lock();
        let is_unused = pools.get(key).is_some_and(|entry| entry.sessions == 0);
        if is_unused {
            pools.remove(key);
        }
        is_unused
    }

    /// Changes what is kept of a pool.
    pub fn update(&self, key: &K, change: impl FnOnce(&mut P)) {
        if let Some(entry) = self.0.lock().get_mut(key) {
            change(&mut entry.pool);
        }
    }

    /// What is kept of a pool.
    pub fn get(&self, key: &K) -> Option<P> {
        self.0.lock().get(key).map(|entry| entry.pool.clone())
    }

    /// All pools.
    pub fn all(&self) -> Vec<(K, P)> {
        self.0.lock().iter().map(|(key, entry)| (key.clone(), entry.pool.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_in_use_stays_and_an_idle_one_makes_room() {
        let pools = Pools::<&str, u8>::default();
        let (alice, _) = pools.add("alice", 1, 2).unwrap();
        let (bob, _) = pools.add("bob", 2, 2).unwrap();
        assert_eq!(pools.add("carol", 3, 2).unwrap_err(), Full(2));
        drop(bob);
        assert!(pools.take_idle(Duration::from_secs(60)).is_empty());
        let (_carol, gone) = pools.add("carol", 3, 2).unwrap();
        assert_eq!(gone, Some(("bob", 2)));
        drop(alice);
        assert_eq!(pools.take_idle(Duration::ZERO), [("alice", 1)]);
        assert!(pools.enter(&"alice").is_none());
    }

    #[test]
    fn every_seat_counts() {
        let pools = Pools::<&str, u8>::default();
        let (first, _) = pools.add("alice", 1, 1).unwrap();
        let (second, pool) = pools.enter(&"alice").unwrap();
        assert_eq!(pool, 1);
        drop(first);
        assert!(pools.take_idle(Duration::ZERO).is_empty());
        drop(second);
        assert_eq!(pools.take_idle(Duration::ZERO).len(), 1);
        let (third, _) = pools.add("alice", 1, 1).unwrap();
        pools.update(&"alice", |pool| *pool = 2);
        assert_eq!(pools.get(&"alice"), Some(2));
        assert!(!pools.take_unused(&"alice"));
        drop(third);
        assert!(pools.take_unused(&"alice") && !pools.take_unused(&"alice"));
        assert!(pools.all().is_empty() && pools.get(&"alice").is_none());
    }
}
