//! The names that a client gave its prepared statements. Requests run ahead of their answers, so a name is changed when
//! the request is read, and changed back when PostgreSQL refuses or skips the request. Until that is known, requests of
//! later batches that use the name wait.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::backend::statements::Statement;

/// A name, as the client typed it.
pub(super) type Name = Arc<[u8]>;

/// PostgreSQL compares so many bytes of a name: `NAMEDATALEN` less one (PostgreSQL documentation, section "Identifiers and Key
/// Words").
const SIGNIFICANT: usize = 63;

/// The part of a name of a statement or portal that PostgreSQL looks at.
#[inline]
pub(super) fn significant(name: &[u8]) -> &[u8] {
    name.get(..SIGNIFICANT).unwrap_or(name)
}

/// What a name stands for.
pub(super) enum Found {
    Statement(Name, Arc<Statement>),
    Nothing,
    /// It depends on the answer to a request of an earlier batch.
    Unsettled,
    /// It depends on the answer to a request of this batch.
    Clearing,
}

/// What a client typed as its name for a statement, and what it stands for.
#[derive(Default)]
pub(super) struct Names {
    /// Most clients never prepare anything, and there are many that only wait: made when it is needed.
    list: Option<Box<List>>,
    /// Batches that were sent whole: the number of the one that is being sent.
    batch: u64,
}

#[derive(Default)]
struct List {
    entries: HashMap<Name, Entry, RandomState>,
    /// Names that stand for nothing, but are kept until that is settled.
    closed: Vec<Name>,
    /// What may take away all names that were there before it.
    clearing: Option<Clearing>,
    /// Changes so far.
    changes: u64,
    /// Those whose names were taken away.
    cleared: u64,
    /// Bytes of the statements.
    size: usize,
}

struct Clearing {
    batch: u64,
    /// Those that were there when a request was executed that may be it.
    changes: u64,
    /// There was such a request in this batch.
    executed: bool,
}

/// What a name stood for, and since which change.
pub(super) type Before = Option<(Arc<Statement>, u64)>;

struct Entry {
    statement: Option<Arc<Statement>>,
    /// The batch that changed it last.
    changed_in: u64,
    /// Which change that was.
    change: u64,
    /// It is among those that were closed.
    is_listed: bool,
}

impl Names {
    /// What the name stands for, where the last `open` batches that were sent have no answer yet, and `quiet` says that
    /// nothing at all is unanswered.
    #[inline]
    pub(super) fn find(&self, name: &[u8], open: usize, quiet: bool) -> Found {
        let Some(list) = &self.list else { return Found::Nothing };
        if let Some(clearing) = &list.clearing {
            if !self.is_settled(clearing.batch, open) {
                return Found::Unsettled;
            }
            if clearing.executed && clearing.batch == self.batch && !quiet {
                return Found::Clearing;
            }
        }
        match list.entries.get_key_value(significant(name)) {
            Some((_, entry)) if !self.is_settled(entry.changed_in, open) => Found::Unsettled,
            Some((known, Entry { statement: Some(statement), .. })) => {
                // Errors show the name as the client types it now.
                let name = if name.len() > SIGNIFICANT { name.into() } else { known.clone() };
                Found::Statement(name, statement.clone())
            }
            _ => Found::Nothing,
        }
    }

    /// What the name stands for if all goes well.
    pub(super) fn get(&self, name: &[u8]) -> Option<&Arc<Statement>> {
        self.list.as_ref()?.get(name)
    }

    /// Gives the name another meaning, or none; gives the one that it had.
    pub(super) fn set(&mut self, name: &Name, statement: Option<Arc<Statement>>) -> Before {
        let list = self.list.get_or_insert_default();
        list.changes += 1;
        let change = list.changes;
        if name.len() > SIGNIFICANT {
            return list.put(&significant(name).into(), statement, change, self.batch);
        }
        list.put(name, statement, change, self.batch)
    }

    /// Gives the name the meaning back that it had, unless that was taken away since.
    pub(super) fn restore(&mut self, name: &Name, before: Before) {
        let list = self.list.get_or_insert_default();
        match before.filter(|(_, change)| *change > list.cleared) {
            Some((statement, change)) => list.put(&significant(name).into(), Some(statement), change, self.batch),
            None => self.set(name, None),
        };
    }

    /// The batch that is being sent is complete.
    pub(super) fn end_batch(&mut self) {
        self.batch += 1;
    }

    /// The number of the batch that is being sent.
    pub(super) fn batch(&self) -> u64 {
        self.batch
    }

    /// Whether a change in this batch is certain, or certain enough for the same batch: after an error PostgreSQL skips
    /// the rest of it.
    #[inline]
    pub(super) fn is_settled(&self, changed_in: u64, open: usize) -> bool {
        changed_in == self.batch || changed_in + (open as u64) < self.batch
    }

    /// Nothing is unanswered: names that stand for nothing are forgotten.
    #[inline]
    pub(super) fn settle(&mut self) {
        if let Some(list) = &mut self.list {
            list.settle();
        }
    }

    /// A request may take all names away, when it is executed.
    pub(super) fn may_clear(&mut self) {
        let (list, batch) = (self.list.get_or_insert_default(), self.batch);
        let executed = list.clearing.as_ref().is_some_and(|earlier| earlier.batch == batch && earlier.executed);
        list.clearing = Some(Clearing { batch, changes: list.changes, executed });
    }

    /// Something is executed: perhaps that.
    #[inline]
    pub(super) fn executed(&mut self) {
        let Some(list) = &mut self.list else { return };
        if let Some(clearing) = list.clearing.as_mut().filter(|clearing| clearing.batch == self.batch) {
            clearing.executed = true;
            clearing.changes = list.changes;
        }
    }

    /// Whether a request that is under way may take all names away.
    #[inline]
    pub(super) fn may_be_cleared(&self) -> bool {
        self.list.as_ref().is_some_and(|list| list.clearing.is_some())
    }

    /// That request has been carried out. What came behind it stays.
    pub(super) fn cleared(&mut self) {
        if let Some(list) = &mut self.list {
            list.clear_before();
        }
    }

    pub(super) fn clear(&mut self) {
        if let Some(list) = &mut self.list {
            list.entries.clear();
            list.closed = Vec::new();
            list.size = 0;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.list.as_ref().map_or(0, |list| list.entries.len())
    }

    /// Bytes of the statements.
    pub(super) fn size(&self) -> usize {
        self.list.as_ref().map_or(0, |list| list.size)
    }
}

impl List {
    fn get(&self, name: &[u8]) -> Option<&Arc<Statement>> {
        self.entries.get(significant(name)).and_then(|entry| entry.statement.as_ref())
    }

    fn put(&mut self, name: &Name, statement: Option<Arc<Statement>>, change: u64, batch: u64) -> Before {
        self.size += statement.as_ref().map_or(0, |statement| statement.size());
        let was_listed = self.entries.get(name).is_some_and(|entry| entry.is_listed);
        if statement.is_none() && !was_listed {
            self.closed.push(name.clone());
        }
        let is_listed = was_listed || statement.is_none();
        let before = self.entries.insert(name.clone(), Entry { statement, changed_in: batch, change, is_listed })?;
        let statement = before.statement?;
        self.size -= statement.size();
        Some((statement, before.change))
    }

    fn settle(&mut self) {
        self.clearing = None;
        for name in std::mem::take(&mut self.closed) {
            match self.entries.get_mut(&name) {
                Some(entry) if entry.statement.is_some() => entry.is_listed = false,
                _ => _ = self.entries.remove(&name),
            }
        }
    }

    fn clear_before(&mut self) {
        self.cleared = self.clearing.as_ref().map_or(self.changes, |clearing| clearing.changes);
        self.entries.retain(|_, entry| entry.change > self.cleared);
        self.size = self.entries.values().filter_map(|entry| entry.statement.as_ref()).map(|one| one.size()).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::statements::intern;
    use pgdog_jwt_guard::Class;

    fn statement(text: &[u8]) -> Arc<Statement> {
        let body = [text, b"\0\0\0"].concat();
        intern(&body, text.len(), "", b"", Class::UNKNOWN)
    }

    #[test]
    fn a_name_is_certain_in_its_own_batch_and_after_the_answer() {
        let mut names = Names::default();
        names.set(&b"a"[..].into(), Some(statement(b"SELECT 1")));
        assert!(matches!(names.find(b"a", 0, 0 == 0), Found::Statement(..)));
        names.end_batch();
        assert!(matches!(names.find(b"a", 1, 1 == 0), Found::Unsettled));
        names.end_batch();
        assert!(matches!(names.find(b"a", 2, 2 == 0), Found::Unsettled));
        assert!(matches!(names.find(b"a", 1, 1 == 0), Found::Statement(..)));
    }

    #[test]
    fn a_closed_name_is_not_free_before_the_answer() {
        let mut names = Names::default();
        let name = Name::from(&b"a"[..]);
        names.set(&name, Some(statement(b"SELECT 1")));
        names.end_batch();
        names.set(&name, None);
        assert!(matches!(names.find(b"a", 0, 0 == 0), Found::Nothing));
        names.end_batch();
        assert!(matches!(names.find(b"a", 1, 1 == 0), Found::Unsettled));
        names.settle();
        assert!(matches!(names.find(b"a", 0, 0 == 0), Found::Nothing));
        assert_eq!((names.len(), names.size()), (0, 0));
    }

    #[test]
    fn what_may_be_cleared_is_not_certain() {
        let mut names = Names::default();
        names.set(&b"a"[..].into(), Some(statement(b"SELECT 1")));
        names.end_batch();
        names.may_clear();
        assert!(matches!(names.find(b"a", 0, 0 == 0), Found::Statement(..)));
        names.end_batch();
        assert!(matches!(names.find(b"a", 1, 1 == 0), Found::Unsettled));
        assert!(matches!(names.find(b"a", 0, 0 == 0), Found::Statement(..)));
    }

    #[test]
    fn what_comes_behind_the_clearing_stays() {
        let mut names = Names::default();
        names.set(&b"a"[..].into(), Some(statement(b"SELECT 1")));
        names.may_clear();
        names.set(&b"b"[..].into(), Some(statement(b"SELECT 2")));
        names.cleared();
        assert!(names.get(b"a").is_none() && names.get(b"b").is_some());
        assert_eq!(names.size(), statement(b"SELECT 2").size());
    }

    #[test]
    fn while_it_may_be_cleared_in_its_own_batch_nothing_is_certain_before_the_answer() {
        let mut names = Names::default();
        names.may_clear();
        names.set(&b"a"[..].into(), Some(statement(b"SELECT 1")));
        assert!(matches!(names.find(b"a", 0, false), Found::Statement(..)), "it is only bound");
        names.executed();
        assert!(matches!(names.find(b"a", 0, false), Found::Clearing));
        assert!(matches!(names.find(b"a", 0, true), Found::Statement(..)), "it was something else");
        names.cleared();
        assert!(matches!(names.find(b"a", 0, true), Found::Nothing));
    }

    #[test]
    fn what_was_cleared_does_not_come_back() {
        let mut names = Names::default();
        let name = Name::from(&b"a"[..]);
        names.set(&name, Some(statement(b"SELECT 1")));
        names.may_clear();
        names.executed();
        let before = names.set(&name, Some(statement(b"SELECT 2")));
        names.cleared();
        names.restore(&name, before);
        assert!(names.get(b"a").is_none());
    }

    #[test]
    fn names_are_compared_as_postgresql_compares_them() {
        let mut names = Names::default();
        let long = |end: u8| Name::from([&[b'a'; SIGNIFICANT][..], &[end]].concat());
        names.set(&long(b'x'), Some(statement(b"SELECT 1")));
        assert!(matches!(names.find(&long(b'y'), 0, true), Found::Statement(..)));
        let before = names.set(&long(b'z'), None);
        assert!(names.get(&long(b'x')).is_none());
        names.restore(&long(b'w'), before);
        assert!(names.get(&long(b'x')).is_some());
    }

    #[test]
    fn a_change_can_be_taken_back() {
        let mut names = Names::default();
        let first = statement(b"SELECT 1");
        let name = Name::from(&b"a"[..]);
        names.set(&name, Some(first.clone()));
        let before = names.set(&name, None);
        names.restore(&name, before);
        names.settle();
        assert_eq!(names.get(b"a").map(|statement| statement.id), Some(first.id));
    }
}
