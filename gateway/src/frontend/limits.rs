//! How many sessions a user of a database may have at a time, where its token says so.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::LazyLock;

use parking_lot::Mutex;

static COUNTS: LazyLock<Mutex<HashMap<Key, usize>>> = LazyLock::new(Mutex::default);

type Key = (Box<str>, Box<str>);

/// A session that is counted, as long as this lives.
#[derive(Debug)]
pub(crate) struct Seat(Key);

/// Counts a session of `user`; `None` when there are `most` already.
pub(crate) fn take(database: &str, user: &str, most: usize) -> Option<Seat> {
    let key: Key = (database.into(), user.into());
    let mut counts = COUNTS.lock();
    if counts.get(&key).copied().unwrap_or(0) >= most {
        return None;
    }
    *counts.entry(key.clone()).or_default() += 1;
    Some(Seat(key))
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Entry::Occupied(mut entry) = COUNTS.lock().entry(std::mem::take(&mut self.0)) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_is_free_again_when_its_session_ends() {
        let first = take("db", "limited", 1).expect("the first");
        assert!(take("db", "limited", 1).is_none());
        assert!(take("other", "limited", 1).is_some() && take("db", "somebody", 1).is_some());
        drop(first);
        assert!(take("db", "limited", 1).is_some());
    }
}
