//! The prepared statements that one server connection holds, most recently used first. When there are too many, the one
//! used longest ago is closed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use foldhash::fast::RandomState;
use lru::LruCache;

/// Whether a server holds a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    Yes,
    No,
    /// Perhaps, and perhaps not as it should be: it must be closed before it is prepared. To close what is not there is
    /// no error.
    Perhaps,
}

/// Texts of SQL `PREPARE`, by the name in them.
pub(crate) type SqlNames = HashMap<Box<str>, Arc<str>, RandomState>;

/// Changes of schemas that went through the gateway, of any database.
static SCHEMAS: AtomicU32 = AtomicU32::new(0);

/// A schema has changed: what servers hold may not be what PostgreSQL would make of the same text now.
pub(crate) fn schema_changed() {
    SCHEMAS.fetch_add(1, Ordering::Relaxed);
}

/// How often that was.
#[inline]
pub(crate) fn schemas() -> u32 {
    SCHEMAS.load(Ordering::Relaxed)
}

#[derive(Clone, Copy)]
struct Entry {
    holds: Holds,
    /// The changes of schemas when it was prepared.
    schemas: u32,
}

impl Entry {
    fn new(holds: Holds) -> Self {
        Self { holds, schemas: schemas() }
    }
}

/// See the module.
pub(crate) struct Held {
    statements: LruCache<u64, Entry, RandomState>,
    limit: usize,
    /// Statements of SQL `PREPARE` that the gateway knows of, by name: the whole text. `None`: any there may be.
    sql: Option<SqlNames>,
    /// Their number, for the admin database.
    count: Arc<AtomicUsize>,
}

impl Held {
    pub(crate) fn new(limit: usize) -> Self {
        let statements = LruCache::unbounded_with_hasher(RandomState::default());
        Self { statements, limit: limit.max(1), sql: Some(SqlNames::default()), count: Arc::default() }
    }

    /// The number of statements, kept up to date.
    pub(crate) fn count(&self) -> Arc<AtomicUsize> {
        self.count.clone()
    }

    fn publish(&self) {
        self.count.store(self.statements.len(), Ordering::Relaxed);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }

    /// Whether the server holds the statement; marks it as used.
    #[inline]
    pub(crate) fn touch(&mut self, id: u64) -> Holds {
        self.statements.get(&id).map_or(Holds::No, |entry| entry.holds)
    }

    /// As [`Self::touch`], for a client that prepares the statement now: what was prepared before a schema changed is in
    /// doubt.
    pub(crate) fn touch_anew(&mut self, id: u64) -> Holds {
        let Some(entry) = self.statements.get_mut(&id) else { return Holds::No };
        if entry.schemas != schemas() {
            entry.holds = Holds::Perhaps;
        }
        entry.holds
    }

    /// Adds a statement that the server holds, or will.
    pub(crate) fn add(&mut self, id: u64) {
        self.statements.put(id, Entry::new(Holds::Yes));
        self.publish();
    }

    /// Takes out the statement used longest ago while there are too many: the server must close it.
    pub(crate) fn evict(&mut self) -> Option<u64> {
        if self.statements.len() <= self.limit {
            return None;
        }
        let oldest = self.statements.pop_lru().map(|(id, _)| id);
        self.publish();
        oldest
    }

    /// The server may hold the statement or not.
    pub(crate) fn doubt(&mut self, id: u64) {
        self.statements.put(id, Entry::new(Holds::Perhaps));
        self.publish();
    }

    /// The server may hold the statements that it held, or not.
    pub(crate) fn doubt_all(&mut self) {
        for (_, entry) in self.statements.iter_mut() {
            entry.holds = Holds::Perhaps;
        }
        self.sql = None;
    }

    /// The server holds nothing any more.
    pub(crate) fn clear(&mut self) {
        self.statements.clear();
        self.sql = Some(SqlNames::default());
        self.publish();
    }

    /// What is known of the statements, leaving nothing behind.
    pub(super) fn take(&mut self) -> Self {
        let taken = Self { statements: self.statements.clone(), sql: self.sql.clone(), ..Self::new(self.limit) };
        self.clear();
        taken
    }

    /// Knows of the statements of another server, which this one is sent too.
    pub(super) fn become_as(&mut self, other: Self) {
        self.statements = other.statements;
        self.sql = other.sql;
        self.publish();
    }

    /// Statements of SQL `PREPARE`; `None`: not known.
    pub(crate) fn sql(&self) -> Option<&SqlNames> {
        self.sql.as_ref()
    }

    /// There is no statement of SQL `PREPARE` any more.
    pub(crate) fn clear_sql(&mut self) {
        self.sql = Some(SqlNames::default());
    }

    pub(crate) fn add_sql(&mut self, name: &str, text: Arc<str>) {
        if let Some(sql) = &mut self.sql {
            sql.insert(name.into(), text);
        }
    }

    pub(crate) fn remove_sql(&mut self, name: &str) {
        if let Some(sql) = &mut self.sql {
            sql.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_forgets_the_least_recently_used() {
        let mut held = Held::new(2);
        held.add(1);
        held.add(2);
        assert_eq!(held.evict(), None);
        assert_eq!(held.touch(1), Holds::Yes);
        held.add(3);
        assert_eq!(held.evict(), Some(2));
        assert_eq!(held.evict(), None);
        assert_eq!(held.touch(2), Holds::No);
    }

    #[test]
    fn after_a_change_of_a_schema_it_is_prepared_again_for_who_prepares_it() {
        let mut held = Held::new(2);
        held.add(1);
        schema_changed();
        assert_eq!(held.touch(1), Holds::Yes);
        assert_eq!(held.touch_anew(1), Holds::Perhaps);
        held.add(1);
        assert_eq!(held.touch_anew(2), Holds::No);
    }

    #[test]
    fn what_is_in_doubt_stays_so_until_it_is_prepared_again() {
        let mut held = Held::new(2);
        held.add(1);
        held.doubt_all();
        assert_eq!(held.touch(1), Holds::Perhaps);
        held.add(1);
        assert_eq!(held.touch(1), Holds::Yes);
    }
}
