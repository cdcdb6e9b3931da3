//! Prepared statements that follow the client. A client's name stands for a [`Statement`]: text and parameter types, with
//! one name that is the same on every server and for every session of its owner that prepares the same. Which of them a
//! server holds: see [`super::held`].
//!
//! What is known of a statement is what sessions have done with it: that its result was described, and as what. So nobody
//! shares one with others: they could prepare it over tables of their own.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock, Weak};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use parking_lot::Mutex;
use pgdog_jwt_guard::Class;

use crate::dialect::STATEMENT_PREFIX;
use crate::wire::fields::Fields;

/// What a client prepared, shared by all sessions of its owner that prepared the same.
#[derive(Debug)]
pub(crate) struct Statement {
    /// The name on servers ends in this number.
    pub(crate) id: u64,
    /// Body of the Parse message without its name: the text, NUL, the parameter types.
    body: Box<[u8]>,
    text_size: usize,
    /// The `search_path` under which it was prepared, where the session has one of its own: tables of other schemas may
    /// have other columns.
    path: Box<str>,
    /// Whose it is: see [`intern`].
    owner: Box<[u8]>,
    server_name: Box<str>,
    /// The columns of its result, once a client has asked for them.
    shape: OnceLock<u64>,
    /// The columns of its result have changed since: who prepares the text now gets another statement.
    retired: AtomicBool,
    /// What the guard's crate said of the text.
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
        format!("{STATEMENT_PREFIX}{id}")
    }

    /// Bytes that it takes.
    pub(crate) fn size(&self) -> usize {
        self.body.len()
    }

    /// Whether a client knows the columns of the result, so that they must not change under it.
    pub(crate) fn is_described(&self) -> bool {
        self.shape.get().is_some()
    }

    /// A server has described the result, with the body of a RowDescription or without one. `false`: not as before.
    pub(crate) fn describe(&self, row: Option<&[u8]>) -> bool {
        let now = row.map_or(0, shape);
        *self.shape.get_or_init(|| now) == now
    }

    /// See [`Self::retired`].
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }
}

/// What PostgreSQL compares when it checks whether a result is still the same: names and types of the columns, not where
/// they come from.
fn shape(row_description: &[u8]) -> u64 {
    let mut hasher = INTERNED.hasher.build_hasher();
    let mut fields = Fields(row_description);
    fields.u16().hash(&mut hasher);
    while let Some(name) = fields.cstr() {
        let (_table, _column) = (fields.u32(), fields.u16());
        let (kind, size, modifier, _format) = (fields.u32(), fields.u16(), fields.u32(), fields.u16());
        (name, kind, size, modifier).hash(&mut hasher);
    }
    hasher.finish()
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

/// The statement with this text and these types: the one that its owner has already, or a new one. `body` is the Parse message
/// behind its name, `text_size` the length of the text in it, `path` the session's own `search_path`, `owner` who prepares it.
pub(crate) fn intern(body: &[u8], text_size: usize, path: &str, owner: &[u8], class: Class) -> Arc<Statement> {
    let hash = INTERNED.hasher.hash_one((body, path, owner));
    let mut table = INTERNED.table.lock();
    let mut found = None;
    table.entries.find(hash, |(_, weak)| {
        found = weak.upgrade().filter(|statement| {
            *statement.body == *body
                && *statement.path == *path
                && *statement.owner == *owner
                && statement.class == class
                && !statement.retired.load(Ordering::Relaxed)
        });
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
        path: path.into(),
        owner: owner.into(),
        shape: OnceLock::new(),
        retired: AtomicBool::new(false),
        class,
    });
    if table.entries.len() >= table.sweep_at {
        table.entries.retain(|(_, weak)| weak.strong_count() > 0);
        table.sweep_at = (table.entries.len() * 2).max(1024);
    }
    table.entries.insert_unique(hash, (hash, Arc::downgrade(&statement)), |(hash, _)| *hash);
    statement
}

/// Retires the statement with this number.
pub(crate) fn retire(id: u64) {
    let table = INTERNED.table.lock();
    let found = table.entries.iter().filter_map(|(_, weak)| weak.upgrade()).find(|statement| statement.id == id);
    drop(table);
    if let Some(statement) = found {
        statement.retire();
    }
}

/// All statements that some client or server still knows, the oldest first.
pub(crate) fn all() -> Vec<Arc<Statement>> {
    let mut all: Vec<_> = INTERNED.table.lock().entries.iter().filter_map(|(_, weak)| weak.upgrade()).collect();
    all.sort_by_key(|statement| statement.id);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_and_types_are_one_statement() {
        let one = intern(b"select 1\0\0\0", 8, "", b"", Class::UNKNOWN);
        let two = intern(b"select 1\0\0\0", 8, "", b"", Class::UNKNOWN);
        let other = intern(b"select 1\0\0\x01\0\0\0\x17", 8, "", b"", Class::UNKNOWN);
        assert_eq!(one.id, two.id);
        assert_ne!(one.id, other.id);
        assert_eq!(one.text(), b"select 1");
        assert_eq!(other.types(), b"\0\x01\0\0\0\x17");
    }

    #[test]
    fn another_search_path_is_another_statement() {
        let one = intern(b"select 2\0\0\0", 8, "a", b"", Class::UNKNOWN);
        let other = intern(b"select 2\0\0\0", 8, "b", b"", Class::UNKNOWN);
        assert_ne!(one.id, other.id);
    }

    #[test]
    fn nobody_shares_a_statement_with_another_owner_or_of_another_class() {
        let one = intern(b"select 5\0\0\0", 8, "", b"alice", Class::UNKNOWN);
        let other = intern(b"select 5\0\0\0", 8, "", b"bob", Class::UNKNOWN);
        let judged = intern(b"select 5\0\0\0", 8, "", b"alice", Class::NONE);
        assert!(one.id != other.id && one.id != judged.id);
    }

    #[test]
    fn who_prepares_after_a_change_gets_another_statement() {
        let before = intern(b"select 3\0\0\0", 8, "", b"", Class::UNKNOWN);
        retire(before.id);
        let after = intern(b"select 3\0\0\0", 8, "", b"", Class::UNKNOWN);
        assert_ne!(before.id, after.id);
        assert_eq!(after.id, intern(b"select 3\0\0\0", 8, "", b"", Class::UNKNOWN).id);
    }

    fn row(name: &[u8], table: u32, kind: u32) -> Vec<u8> {
        let mut row = b"\0\x01".to_vec();
        row.extend_from_slice(name);
        row.push(0);
        row.extend_from_slice(&table.to_be_bytes());
        row.extend_from_slice(&[0, 1]);
        row.extend_from_slice(&kind.to_be_bytes());
        row.extend_from_slice(&[0, 4, 0xff, 0xff, 0xff, 0xff, 0, 0]);
        row
    }

    #[test]
    fn a_result_is_the_same_when_names_and_types_are() {
        let statement = intern(b"select 4\0\0\0", 8, "", b"", Class::UNKNOWN);
        assert!(!statement.is_described());
        assert!(statement.describe(Some(&row(b"a", 100, 23))));
        assert!(statement.is_described());
        assert!(statement.describe(Some(&row(b"a", 200, 23))));
        assert!(!statement.describe(Some(&row(b"b", 100, 23))));
        assert!(!statement.describe(Some(&row(b"a", 100, 25))));
        assert!(!statement.describe(None));
    }
}
