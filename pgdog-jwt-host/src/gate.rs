//! The guard over whole requests: every message of a request is judged before any of it goes on.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use pgdog_jwt_guard::{Classifier, Effects, Parser, Policy, TOO_LONG, Transaction, Verdict};

/// How many policies a thread remembers statements for.
const POLICIES: usize = 8;

/// A message of a client, as far as the guard looks at it.
#[derive(Debug, Clone, Copy)]
pub enum Message<'m> {
    /// Query.
    Query(&'m str),
    /// Parse: the statement's name and its text.
    Parse(&'m str, &'m str),
    /// Bind, or Describe or Close of a statement: the statement's name.
    Statement(&'m str),
    /// FunctionCall.
    FunctionCall,
    /// Sync.
    Sync,
    /// Anything that names no statement and holds no SQL.
    Other,
}

/// An error for the client; the session goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Five characters (PostgreSQL, appendix A).
    pub sqlstate: &'static str,
    /// The error's primary message.
    pub message: &'static str,
    /// What to do instead.
    pub hint: &'static str,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It goes on as it is.
    Forward,
    /// None of it does, and the client gets the error. `true`: and a ReadyForQuery behind it.
    Refuse(Refused, bool),
    /// It belongs to one that was refused: nothing goes on. `true`: its end is there, and the client gets a ReadyForQuery.
    Skip(bool),
}

/// What a FunctionCall is refused with: an object id does not say what a function does.
const FUNCTION_CALL: Refused = Refused {
    sqlstate: "42501",
    message: "permission denied for the function call protocol",
    hint: "Call the function with SELECT.",
};

/// What statements are refused with in a transaction that has failed on no server.
const FAILED: Refused = Refused {
    sqlstate: "25P02",
    message: "current transaction is aborted, commands ignored until end of transaction block",
    hint: "",
};

/// The guard of one session.
pub struct Gate {
    policy: Arc<Policy>,
    parser: &'static dyn Parser,
    max_statement_size: usize,
    /// A request was refused whose Sync is still to come: PostgreSQL reads and drops everything up to it (55.2.3).
    skipping: bool,
    /// A request went on whose code the guard has not read.
    is_in_doubt: bool,
    /// A prepared statement may run such code.
    prepared_doubt: bool,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("skipping", &self.skipping).finish_non_exhaustive()
    }
}

impl Gate {
    /// Sessions of one kind share one policy. Statements longer than `max_statement_size` bytes are refused unread.
    pub fn new(policy: Arc<Policy>, parser: &'static dyn Parser, max_statement_size: usize) -> Self {
        Self { policy, parser, max_statement_size, skipping: false, is_in_doubt: false, prepared_doubt: false }
    }

    /// Judges the messages of a request together. `has_failed`: the session is in a transaction that was refused something
    /// before any server had a part in it, so that no server knows.
    pub fn judge<'m>(&mut self, request: impl Iterator<Item = Message<'m>>, has_failed: bool) -> Outcome {
        let mut messages = request.peekable();
        if self.skipping {
            let ends = messages.any(|message| matches!(message, Message::Sync));
            self.skipping = !ends;
            return Outcome::Skip(ends);
        }
        let mut refused = None;
        let (mut is_extended, mut last_is_sync) = (false, false);
        for message in messages {
            refused = refused.or_else(|| self.refusal(message, has_failed));
            is_extended |= matches!(message, Message::Parse(..) | Message::Statement(_));
            last_is_sync = matches!(message, Message::Sync);
        }
        let Some(refused) = refused else { return Outcome::Forward };
        self.skipping = is_extended && !last_is_sync;
        Outcome::Refuse(refused, !self.skipping)
    }

    /// Whether code has run since this was last asked that the guard has not read: functions, triggers, blocks. The host asks the
    /// server who it is before it gets anything more.
    pub fn take_doubt(&mut self) -> bool {
        std::mem::take(&mut self.is_in_doubt)
    }

    fn refusal(&mut self, message: Message<'_>, has_failed: bool) -> Option<Refused> {
        match message {
            Message::Query(sql) => self.of_text(sql, has_failed),
            Message::Parse(name, sql) => {
                let refused = self.of_name(name).or_else(|| self.of_text(sql, has_failed));
                self.prepared_doubt |= self.is_in_doubt;
                refused
            }
            Message::Statement(name) => {
                self.is_in_doubt |= self.prepared_doubt;
                self.of_name(name)
            }
            Message::FunctionCall => Some(FUNCTION_CALL),
            Message::Sync | Message::Other => None,
        }
    }

    fn of_name(&self, name: &str) -> Option<Refused> {
        let reserved = self.policy.dialect.reserved.filter(|reserved| name.starts_with(reserved.prefix))?;
        Some(Refused::from(reserved.refusal))
    }

    fn of_text(&mut self, sql: &str, has_failed: bool) -> Option<Refused> {
        if sql.len() > self.max_statement_size {
            return Some(Refused::from(&TOO_LONG));
        }
        let class = classify(&self.policy, self.parser, sql);
        let executes = class.effects.intersects(Effects::EXECUTES) && self.prepared_doubt;
        self.is_in_doubt |= executes || class.code.may_be_foreign() || class.effects.intersects(Effects::UNKNOWN);
        self.prepared_doubt |= self.is_in_doubt && class.effects.intersects(Effects::PREPARED);
        match class.verdict {
            // A request goes on as it is, or not at all.
            Verdict::Refuse(refusal) | Verdict::Rewrite(refusal) => Some(Refused::from(refusal)),
            Verdict::Allow | Verdict::Barrier if has_failed && class.transaction != Transaction::End => Some(FAILED),
            // The identity stands in the start-up packet, which is what these go back to.
            Verdict::Allow | Verdict::Barrier => None,
        }
    }
}

impl From<&pgdog_jwt_guard::Refusal> for Refused {
    fn from(refusal: &pgdog_jwt_guard::Refusal) -> Self {
        Self { sqlstate: refusal.sqlstate, message: refusal.message, hint: refusal.hint }
    }
}

type Known = (Arc<Policy>, Classifier);

thread_local! {
    /// A classifier takes no lock and belongs to one thread. The policy is kept, so that none is mistaken for another.
    static KNOWN: RefCell<Vec<Known>> = const { RefCell::new(Vec::new()) };
}

fn classify(policy: &Arc<Policy>, parser: &'static dyn Parser, sql: &str) -> pgdog_jwt_guard::Class {
    KNOWN.with_borrow_mut(|known| {
        let position = known.iter().position(|(of, _)| Arc::ptr_eq(of, policy));
        let mut entry = match position {
            Some(position) => known.remove(position),
            None => (policy.clone(), Classifier::new((**policy).clone(), parser)),
        };
        let class = entry.1.classify(sql.as_bytes());
        known.truncate(POLICIES - 1);
        known.insert(0, entry);
        class
    })
}

#[cfg(test)]
mod tests {
    use pgdog_jwt_guard::{Account, GuardMode, PgQuery};

    use super::Message::{FunctionCall, Other, Parse, Query, Statement, Sync};
    use super::*;
    use crate::config::policy;

    const GOOD: &str = "SELECT 1";
    const BAD: &str = "SET ROLE bob";

    fn gate() -> Gate {
        let policy = policy(GuardMode::Strict, Account::Own, &["app.tenant".to_owned()], false);
        Gate::new(Arc::new(policy), &PgQuery, 1000)
    }

    fn outcome(request: &[Message<'_>]) -> Outcome {
        gate().judge(request.iter().copied(), false)
    }

    #[track_caller]
    fn refused(request: &[Message<'_>]) -> Refused {
        match outcome(request) {
            Outcome::Refuse(refused, true) => refused,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_message_is_judged() {
        assert_eq!(outcome(&[Query(GOOD)]), Outcome::Forward);
        assert_eq!(outcome(&[Parse("", GOOD), Statement(""), Other, Sync]), Outcome::Forward);
        assert_eq!(refused(&[Query(BAD)]).sqlstate, "42501");
        assert_eq!(refused(&[Query("SET app.tenant = 'x'")]).sqlstate, "42501");
        assert_eq!(refused(&[Parse("", GOOD), Parse("", BAD), Statement(""), Other, Sync]).sqlstate, "42501");
        assert_eq!(refused(&[Parse("", GOOD), Statement(""), Other, Parse("", BAD), Sync]).sqlstate, "42501");
        assert_eq!(refused(&[FunctionCall]), FUNCTION_CALL);
        assert_eq!(refused(&[Query(&"x".repeat(1001))]).sqlstate, TOO_LONG.sqlstate);
    }

    #[test]
    fn statements_of_others_are_out_of_reach() {
        for request in [&[Statement("__pgdog_1"), Sync][..], &[Parse("__pgdog_7", GOOD), Sync]] {
            assert!(refused(request).message.contains("__pgdog_"));
        }
        assert!(refused(&[Query("EXECUTE __pgdog_1")]).message.contains("__pgdog_"));
        assert_eq!(outcome(&[Statement("pgdog"), Sync]), Outcome::Forward);
    }

    #[test]
    fn a_refused_batch_is_dropped_up_to_its_sync() {
        let mut gate = gate();
        let mut judge = |request: &[Message<'_>]| gate.judge(request.iter().copied(), false);
        assert!(matches!(judge(&[Parse("", BAD), Other]), Outcome::Refuse(_, false)));
        assert_eq!(judge(&[Parse("", GOOD), Other]), Outcome::Skip(false));
        assert_eq!(judge(&[Query(GOOD)]), Outcome::Skip(false));
        assert_eq!(judge(&[Other, Sync]), Outcome::Skip(true));
        assert_eq!(judge(&[Query(GOOD)]), Outcome::Forward);
    }

    #[test]
    fn a_transaction_that_failed_on_no_server_waits_for_its_end() {
        let judge = |sql| gate().judge([Query(sql)].into_iter(), true);
        assert_eq!(judge(GOOD), Outcome::Refuse(FAILED, true));
        assert_eq!(judge("ROLLBACK"), Outcome::Forward);
        assert_eq!(judge("COMMIT"), Outcome::Forward);
        assert!(matches!(judge("COMMIT; SELECT 1"), Outcome::Refuse(..)));
    }

    #[test]
    fn code_that_cannot_be_read_leaves_a_doubt() {
        let mut gate = gate();
        let mut doubt = |request: &[Message<'_>]| {
            assert_eq!(gate.judge(request.iter().copied(), false), Outcome::Forward);
            gate.take_doubt()
        };
        assert!(!doubt(&[Query("SELECT 1")]));
        assert!(doubt(&[Query("SELECT own()")]) && doubt(&[Query("CALL own()")]));
        assert!(!doubt(&[Parse("a", "SELECT 1"), Statement("a"), Other, Sync]));
        assert!(doubt(&[Parse("b", "SELECT own()"), Sync]));
        assert!(doubt(&[Statement("b"), Other, Sync]) && doubt(&[Query("EXECUTE b")]));
    }

    #[test]
    fn what_goes_back_to_the_start_up_packet_passes() {
        for sql in ["RESET ALL", "DISCARD ALL"] {
            assert_eq!(outcome(&[Query(sql)]), Outcome::Forward);
        }
    }
}
