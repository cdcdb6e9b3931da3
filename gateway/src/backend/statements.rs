//! Prepared statements that follow the client. A client's name stands for a [`Statement`]: text and parameter types, with
//! one name that is the same on every server and for every client that prepares the same. Servers remember which of them
//! they hold and forget the least recently used.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Weak};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use lru::LruCache;
use parking_lot::Mutex;

use crate::router::Class;

/// What a client prepared, shared by all clients that prepared the same.
#[derive(Debug)]
pub(crate) struct Statement {
    /// The name on servers ends in this number.
    pub(crate) id: u64,
    /// Body of the Parse message without its name: the text, NUL, the parameter types.
    body: Box<[u8]>,
    text_size: usize,
    server_name: Box<str>,
    /// What the router said of the text.
    pub(crate) class: Class,
}

impl Statement {
    pub(crate) fn text(&self) -> &[u8] {
        self.body.get(..self.text_size).unwrap_or_default()
    }

    /// The parameter types as the Parse message has them, count first.
    pub(crate) fn types(&self) -> &[u8] {
        self.body.get(self.text_size + 1..).unwrap_or_default()
    }

    /// The name on servers. Clients cannot make it: theirs are never sent.
    pub(crate) fn server_name(&self) -> &str {
        &self.server_name
    }

    pub(crate) fn name_on_server(id: u64) -> String {
        format!("__pgdog_jwt_{id}")
    }
}

/// All statements that some client or server still knows.
struct Interned {
    hasher: RandomState,
    table: Mutex<Table>,
    next: AtomicU64,
}

#[derive(Default)]
struct Table {
    entries: HashTable<(u64, Weak<Statement>)>,
    /// The table is swept when it grows beyond this.
    sweep_at: usize,
}

static INTERNED: LazyLock<Interned> = LazyLock::new(|| Interned {
    hasher: RandomState::default(),
    table: Mutex::new(Table { entries: HashTable::new(), sweep_at: 1024 }),
    next: AtomicU64::new(1),
});

/// The statement with this text and these types: the one that there is already, or a new one. `body` is the Parse message
/// behind its name, `text_size` the length of the text in it.
pub(crate) fn intern(body: &[u8], text_size: usize, class: Class) -> Arc<Statement> {
    let hash = INTERNED.hasher.hash_one(body);
    let mut table = INTERNED.table.lock();
    let mut found = None;
    table.entries.find(hash, |(_, weak)| {
        found = weak.upgrade().filter(|statement| *statement.body == *body);
        found.is_some()
    });
    if let Some(statement) = found {
        return statement;
    }
    let id = INTERNED.next.fetch_add(1, Ordering::Relaxed);
    let statement = Arc::new(Statement {
        id,
        server_name: Statement::name_on_server(id).into(),
        body: body.into(),
        text_size,
        class,
    });
    if table.entries.len() >= table.sweep_at {
        table.entries.retain(|(_, weak)| weak.strong_count() > 0);
        table.sweep_at = (table.entries.len() * 2).max(1024);
    }
    table.entries.insert_unique(hash, (hash, Arc::downgrade(&statement)), |(hash, _)| *hash);
    statement
}

/// All statements that some client or server still knows, the oldest first.
pub(crate) fn all() -> Vec<Arc<Statement>> {
    let mut all: Vec<_> = INTERNED.table.lock().entries.iter().filter_map(|(_, weak)| weak.upgrade()).collect();
    all.sort_by_key(|statement| statement.id);
    all
}

/// The statements that one server connection holds, most recently used first.
pub(crate) struct Held {
    statements: LruCache<u64, (), RandomState>,
    limit: usize,
    /// Their number, for the admin database.
    count: Arc<AtomicUsize>,
}

impl Held {
    pub(crate) fn new(limit: usize) -> Self {
        let statements = LruCache::unbounded_with_hasher(RandomState::default());
        Self { statements, limit: limit.max(1), count: Arc::default() }
    }

    /// The number of statements, kept up to date.
    pub(crate) fn count(&self) -> Arc<AtomicUsize> {
        self.count.clone()
    }

    fn publish(&self) {
        self.count.store(self.statements.len(), Ordering::Relaxed);
    }

    /// Whether the server holds the statement; marks it as used.
    #[inline]
    pub(crate) fn touch(&mut self, id: u64) -> bool {
        self.statements.get(&id).is_some()
    }

    /// Adds a statement that the server holds, or will.
    pub(crate) fn add(&mut self, id: u64) {
        self.statements.put(id, ());
        self.publish();
    }

    /// Takes out the statement used longest ago while there are too many: the server must close it.
    pub(crate) fn evict(&mut self) -> Option<u64> {
        if self.statements.len() <= self.limit {
            return None;
        }
        let oldest = self.statements.pop_lru().map(|(id, ())| id);
        self.publish();
        oldest
    }

    pub(crate) fn remove(&mut self, id: u64) {
        self.statements.pop(&id);
        self.publish();
    }

    pub(crate) fn clear(&mut self) {
        self.statements.clear();
        self.publish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_and_types_are_one_statement() {
        let one = intern(b"select 1\0\0\0", 8, Class::UNKNOWN);
        let two = intern(b"select 1\0\0\0", 8, Class::UNKNOWN);
        let other = intern(b"select 1\0\0\x01\0\0\0\x17", 8, Class::UNKNOWN);
        assert_eq!(one.id, two.id);
        assert_ne!(one.id, other.id);
        assert_eq!(one.text(), b"select 1");
        assert_eq!(other.types(), b"\0\x01\0\0\0\x17");
    }

    #[test]
    fn a_server_forgets_the_least_recently_used() {
        let mut held = Held::new(2);
        held.add(1);
        held.add(2);
        assert_eq!(held.evict(), None);
        assert!(held.touch(1));
        held.add(3);
        assert_eq!(held.evict(), Some(2));
        assert_eq!(held.evict(), None);
        assert!(!held.touch(2));
    }
}
