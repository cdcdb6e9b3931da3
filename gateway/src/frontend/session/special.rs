//! Statements that need more than to be sent: those that may read COPY data, those that forget what a session has set
//! (see [`super::forgetting`]), and those that PostgreSQL calls something else (see [`super::rewriting`]). Which prepared
//! statements and portals stand for one is remembered here.
//!
//! Nothing unsafe comes of a mistake in it. A COPY that was not foreseen ends the connection when something was sent behind
//! it, and what lies on the server under the name of a statement that forgets is harmless.

use pgdog_jwt_guard::{Class, Effects};

use super::Session;
use super::forgetting::Forgets;
use super::names::significant;
use super::requests::{Next, Step};
use super::rewriting::Completes;
use crate::wire::PgError;

/// Such names of one client.
const MAX_NAMES: usize = 64;

/// Why a statement is a special one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Special {
    /// It may read COPY data.
    Copies,
    /// It makes the session forget its settings, or all that it has done.
    Forgets(Forgets),
    /// It was sent otherwise than it was written.
    Completes(Completes),
}

/// A name, and what special it stood for before.
pub(super) type Mark = (Box<[u8]>, Option<Special>);

/// What a name is the name of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// A prepared statement, where names are the server's own.
    Statement,
    Portal,
}

/// What the names of special statements, and of portals of such statements, stand for.
#[derive(Debug, Default)]
pub(super) struct SpecialNames(
    /// Boxed as a whole: most sessions have none, and there are many sessions.
    Option<Box<Lists>>,
);

#[derive(Debug, Default)]
struct Lists {
    statements: List,
    portals: List,
    /// A request that is not answered has taken a name away: what it stood for may come back.
    is_undecided: bool,
}

type List = Vec<(Box<[u8]>, Special)>;

impl Lists {
    fn of(&mut self, named: Named) -> &mut List {
        match named {
            Named::Statement => &mut self.statements,
            Named::Portal => &mut self.portals,
        }
    }
}

impl SpecialNames {
    #[inline]
    fn list(&self, named: Named) -> &[(Box<[u8]>, Special)] {
        match (&self.0, named) {
            (None, _) => &[],
            (Some(lists), Named::Statement) => &lists.statements,
            (Some(lists), Named::Portal) => &lists.portals,
        }
    }

    /// Whether there is no name at all, and none may come back.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whether there are names of this kind.
    #[inline]
    pub(super) fn has(&self, named: Named) -> bool {
        !self.list(named).is_empty()
    }

    pub(super) fn get(&self, named: Named, name: &[u8]) -> Option<Special> {
        let name = significant(name);
        self.list(named).iter().find(|(known, _)| **known == *name).map(|(_, special)| *special)
    }

    /// Remembers what a name stands for; `false` when there are too many.
    pub(super) fn put(&mut self, named: Named, name: &[u8], special: Special) -> bool {
        let name = significant(name);
        let has_room = self.has_room(named);
        let list = self.0.get_or_insert_default().of(named);
        if let Some(entry) = list.iter_mut().find(|(known, _)| **known == *name) {
            entry.1 = special;
            return true;
        }
        if has_room {
            list.push((name.into(), special));
        }
        has_room
    }

    /// Whether one more name can be remembered.
    pub(super) fn has_room(&self, named: Named) -> bool {
        self.list(named).len() < MAX_NAMES
    }

    /// The name stands for nothing special any more.
    pub(super) fn remove(&mut self, named: Named, name: &[u8]) {
        let name = significant(name);
        let Some(lists) = &mut self.0 else { return };
        let list = lists.of(named);
        let before = list.len();
        list.retain(|(known, _)| **known != *name);
        lists.is_undecided |= list.len() < before;
    }

    pub(super) fn clear_portals(&mut self) {
        if let Some(lists) = &mut self.0 {
            lists.portals.clear();
        }
    }

    /// All requests are answered: no name comes back.
    pub(super) fn settle(&mut self) {
        if let Some(lists) = &mut self.0 {
            lists.is_undecided = false;
            if lists.statements.is_empty() && lists.portals.is_empty() {
                self.0 = None;
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.0 = None;
    }
}

/// Whether a text that is not otherwise read may read COPY data when it is run: it would say so.
pub(super) fn may_copy(text: &[u8]) -> bool {
    const WORDS: [&[u8]; 2] = [b"copy", b"execute"];
    memchr::memchr2_iter(b'c', b'C', text).chain(memchr::memchr2_iter(b'e', b'E', text)).any(|at| {
        let rest = text.get(at..).unwrap_or_default();
        WORDS.iter().any(|word| rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word)))
    })
}

impl Session {
    /// What is special about a statement of this class.
    #[inline]
    pub(super) fn special(&self, class: Class) -> Option<Special> {
        const SPECIAL: Effects = Effects::of(&[
            Effects::FORGETS,
            Effects::COPY_IN,
            Effects::EXECUTES,
            Effects::AS_RESET,
            Effects::AS_EXTENSION,
        ]);
        if !class.effects.intersects(SPECIAL) {
            return None;
        }
        if let Some(completes) = Completes::of(class) {
            return Some(Special::Completes(completes));
        }
        match self.forgets(class) {
            Some(forgets) => Some(Special::Forgets(forgets)),
            None => class.effects.intersects(Effects::COPY_IN | Effects::EXECUTES).then_some(Special::Copies),
        }
    }

    /// What special names stand for is certain only when earlier batches are answered: what was noted for requests of theirs may
    /// have to be undone. `is_special`: there will be one.
    #[inline]
    pub(super) fn awaits_special(&mut self, is_special: bool) -> Option<Step> {
        if !self.special_names.is_empty() && self.conversation.is_empty() {
            self.special_names.settle();
        }
        let concerns = is_special || !self.special_names.is_empty();
        (concerns && self.conversation.open() > 0).then_some(Step::Wait(Next::Answers))
    }

    /// A Parse or Close is sent, where names are the server's own. Gives what is to be undone if it is not carried out; `None`
    /// when there are too many special names.
    pub(super) fn mark_name(&mut self, name: &[u8], special: Option<Special>) -> Option<Option<Mark>> {
        if special.is_none() && !self.special_names.has(Named::Statement) {
            return Some(None);
        }
        let before = self.special_names.get(Named::Statement, name);
        match special {
            Some(special) if !self.special_names.put(Named::Statement, name, special) => return None,
            Some(_) => {}
            None => self.special_names.remove(Named::Statement, name),
        }
        Some(Some((name.into(), before)))
    }

    /// A Parse or Close was not carried out. One of the unnamed statement that has failed has taken the one before with it.
    pub(super) fn unmark_name(&mut self, (name, before): Mark, has_failed: bool) {
        let before = before.filter(|_| !(has_failed && name.is_empty()));
        self.unmark(Named::Statement, (name, before));
    }

    /// A Bind is sent. Gives what is to be undone if it is not carried out.
    pub(super) fn note_portal(&mut self, portal: Box<[u8]>, special: Option<Special>) -> Option<Mark> {
        let before = self.special_names.get(Named::Portal, &portal);
        match special {
            Some(special) => _ = self.special_names.put(Named::Portal, &portal, special),
            None => self.special_names.remove(Named::Portal, &portal),
        }
        (special.is_some() || before.is_some()).then_some((portal, before))
    }

    /// A Bind was not carried out.
    pub(super) fn unmark_portal(&mut self, mark: Mark) {
        self.unmark(Named::Portal, mark);
    }

    fn unmark(&mut self, named: Named, (name, before): Mark) {
        match before {
            Some(special) => _ = self.special_names.put(named, &name, special),
            None => self.special_names.remove(named, &name),
        }
    }
}

/// The error for a client that keeps too many of them.
pub(super) fn too_many_special() -> PgError {
    PgError::error("53400", "too many prepared statements or portals of COPY, EXECUTE, DISCARD ALL or RESET ALL")
        .hint("Close those that are no longer used.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_postgresql() {
        let mut names = SpecialNames::default();
        let long = [b'a'; 63];
        assert!(names.put(Named::Portal, &[&long[..], b"x"].concat(), Special::Copies));
        assert_eq!(names.get(Named::Portal, &[&long[..], b"y"].concat()), Some(Special::Copies));
        assert_eq!(names.get(Named::Portal, &long[1..]), None);
        names.remove(Named::Portal, &long);
        assert!(!names.is_empty(), "it may come back");
        names.settle();
        assert!(names.is_empty());
    }

    #[test]
    fn statements_and_portals_have_names_of_their_own() {
        let mut names = SpecialNames::default();
        assert!(names.put(Named::Portal, b"a", Special::Copies) && names.put(Named::Statement, b"b", Special::Copies));
        assert_eq!(names.get(Named::Statement, b"a"), None);
        names.clear_portals();
        assert!(names.has(Named::Statement) && !names.has(Named::Portal));
        names.remove(Named::Statement, b"b");
        names.settle();
        assert!(names.is_empty());
    }

    #[test]
    fn there_is_a_bound() {
        let mut names = SpecialNames::default();
        for number in 0..MAX_NAMES {
            assert!(names.put(Named::Statement, number.to_string().as_bytes(), Special::Copies));
        }
        assert!(!names.put(Named::Statement, b"one more", Special::Copies));
        assert!(names.put(Named::Statement, b"0", Special::Forgets(Forgets::Settings)));
        assert!(names.has_room(Named::Portal));
    }

    #[test]
    fn a_text_that_copies_says_so() {
        for text in ["COPY t FROM STDIN", "/* */ cOpY t from stdin", "select 1; copy t from stdin", "eXecute \"x\""] {
            assert!(may_copy(text.as_bytes()), "{text}");
        }
        assert!(!may_copy(b"SELECT * FROM orders WHERE customer = $1 AND created > now()"));
    }
}
