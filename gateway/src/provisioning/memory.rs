//! Roles that were found right, or made so, a short while ago: their logins need no look at PostgreSQL.

use std::time::{Duration, Instant};

use lru::LruCache;
use parking_lot::Mutex;

use super::plan::{Wanted, is_older};

/// Most roles that are remembered (S9).
const MAX_ENTRIES: usize = 10_000;

type Key = (String, String);

struct Entry {
    wanted: Wanted,
    at: Instant,
}

/// What is known of a role that a login wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// It is right.
    Fresh,
    /// It was right, but that was a while ago.
    Stale,
    Nothing,
}

/// By database and role.
pub(super) struct Memory(Mutex<LruCache<Key, Entry>>);

impl Default for Memory {
    fn default() -> Self {
        // Bounded here and not by the map, which would take all its room at once.
        Self(Mutex::new(LruCache::unbounded()))
    }
}

impl Memory {
    /// What is known. The groups of a token that is older than one that was seen already are replaced by that one's. What was
    /// right for one subject says nothing of another.
    pub(super) fn look(&self, database: &str, wanted: &mut Wanted, recheck: Duration) -> Known {
        let mut entries = self.0.lock();
        let Some(entry) = entries.get_mut(&key(database, &wanted.role)) else { return Known::Nothing };
        if entry.wanted.subject != wanted.subject {
            return Known::Nothing;
        }
        if is_older(wanted.groups_as_of, entry.wanted.groups_as_of) {
            wanted.groups.clone_from(&entry.wanted.groups);
            wanted.groups_as_of = entry.wanted.groups_as_of;
        }
        let same = wanted.login == entry.wanted.login
            && wanted.account == entry.wanted.account
            && wanted.roles == entry.wanted.roles
            && wanted.groups == entry.wanted.groups;
        // The newest token is remembered also when nothing has changed with it.
        if same {
            entry.wanted.groups_as_of = entry.wanted.groups_as_of.max(wanted.groups_as_of);
        }
        // The margin is what may be used up without another look.
        let lasts =
            |(end, _): (i64, i64)| entry.wanted.valid_until.is_some_and(|(until, margin)| end <= until + margin);
        match same && wanted.valid_until.is_none_or(lasts) {
            true if entry.at.elapsed() < recheck => Known::Fresh,
            true => Known::Stale,
            false => Known::Nothing,
        }
    }

    /// Notes that the role was what is wanted.
    pub(super) fn note(&self, database: &str, wanted: &Wanted) {
        let mut entries = self.0.lock();
        entries.put(key(database, &wanted.role), Entry { wanted: wanted.clone(), at: Instant::now() });
        if entries.len() > MAX_ENTRIES {
            entries.pop_lru();
        }
    }

    /// PostgreSQL has said otherwise.
    pub(super) fn forget(&self, database: &str, role: &str) {
        self.0.lock().pop(&key(database, role));
    }
}

fn key(database: &str, role: &str) -> Key {
    (database.to_owned(), role.to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn wanted(groups: &[&str], as_of: u64) -> Wanted {
        Wanted {
            role: "alice".to_owned(),
            login: false,
            subject: Some("a".to_owned()),
            account: None,
            roles: BTreeSet::new(),
            groups: groups.iter().map(|name| (*name).to_owned()).collect(),
            groups_as_of: Some(as_of),
            valid_until: None,
        }
    }

    const LONG: Duration = Duration::from_secs(1_000);

    #[test]
    fn what_was_right_counts_for_a_while_for_the_same_groups() {
        let memory = Memory::default();
        let mut first = wanted(&["a"], 100);
        assert_eq!(memory.look("db", &mut first, LONG), Known::Nothing);
        memory.note("db", &first);
        assert_eq!(memory.look("db", &mut wanted(&["a"], 200), LONG), Known::Fresh);
        assert_eq!(memory.look("db", &mut wanted(&["a"], 200), Duration::ZERO), Known::Stale);
        assert_eq!(memory.look("db", &mut wanted(&["b"], 200), LONG), Known::Nothing);
        assert_eq!(memory.look("other", &mut wanted(&["a"], 200), LONG), Known::Nothing);
        memory.forget("db", "alice");
        assert_eq!(memory.look("db", &mut first, LONG), Known::Nothing);
    }

    #[test]
    fn an_older_token_goes_by_the_groups_of_a_newer_one() {
        let memory = Memory::default();
        memory.note("db", &wanted(&["a"], 100));
        assert_eq!(memory.look("db", &mut wanted(&["a"], 300), LONG), Known::Fresh);
        let mut older = wanted(&["a", "b"], 200);
        assert_eq!(memory.look("db", &mut older, LONG), Known::Fresh);
        assert_eq!(older, wanted(&["a"], 300));
    }

    #[test]
    fn a_token_without_a_time_goes_by_the_groups_of_one_that_has_one() {
        let memory = Memory::default();
        memory.note("db", &wanted(&["a"], 100));
        let mut undated = Wanted { groups_as_of: None, ..wanted(&["b"], 0) };
        assert_eq!(memory.look("db", &mut undated, LONG), Known::Fresh);
        assert_eq!(undated, wanted(&["a"], 100));
    }

    #[test]
    fn what_was_right_for_one_subject_is_nothing_for_another() {
        let memory = Memory::default();
        memory.note("db", &wanted(&["a"], 100));
        let mut other = Wanted { subject: Some("b".to_owned()), ..wanted(&["a"], 50) };
        assert_eq!(memory.look("db", &mut other, LONG), Known::Nothing);
        assert_eq!(other.groups_as_of, Some(50), "nor are its groups the other's");
        assert_eq!(memory.look("db", &mut wanted(&["a"], 100), LONG), Known::Fresh);
    }

    #[test]
    fn the_number_of_entries_is_limited() {
        let memory = Memory::default();
        for number in 0..MAX_ENTRIES + 10 {
            memory.note("db", &Wanted { role: number.to_string(), ..wanted(&[], 1) });
        }
        assert_eq!(memory.0.lock().len(), MAX_ENTRIES);
        assert_eq!(memory.look("db", &mut Wanted { role: "0".to_owned(), ..wanted(&[], 1) }, LONG), Known::Nothing);
    }
}
