//! What is known about a text of SQL.

use std::ops::{BitOr, BitOrAssign};

use super::foreign::Code;

/// Everything known about one text. The same text under the same policy always has the same class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// Where it may run outside a transaction.
    pub access: Access,
    /// Whether the guard lets it pass.
    pub verdict: Verdict,
    /// What it may leave behind on the server.
    pub effects: Effects,
    /// What code it may run that is not PostgreSQL's own.
    pub code: Code,
    /// What it does to the transaction.
    pub transaction: Transaction,
    /// The side that it asks for, which goes before `access`.
    pub wish: Option<Access>,
}

impl Class {
    /// No statement at all.
    pub const NONE: Self = Self {
        access: Access::Read,
        verdict: Verdict::Allow,
        effects: Effects::NONE,
        code: Code::OWN,
        transaction: Transaction::None,
        wish: None,
    };

    /// What is known of a text that was not read.
    pub const UNKNOWN: Self = Self {
        access: Access::Write,
        verdict: Verdict::Allow,
        effects: Effects::of(&[Effects::UNKNOWN, Effects::COPY_IN]),
        code: Code::FOREIGN,
        transaction: Transaction::Mixed,
        wish: None,
    };
}

/// Where a text may run. Of several texts that run together, the greatest decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "vectors", derive(serde::Deserialize), serde(rename_all = "lowercase"))]
pub enum Access {
    /// A replica can answer it.
    Read,
    /// The client wants a replica for it, whatever it does.
    Replica,
    /// It needs the primary.
    Write,
}

/// The guard's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Forward it.
    Allow,
    /// It would take the identity, or what carries it: the host gives it its effect, together with the identity.
    Barrier,
    /// Send another text in its place, see [`Classifier::rewritten`](crate::Classifier::rewritten). A host that sends texts as
    /// they are answers with this error.
    Rewrite(&'static Refusal),
    /// Answer with this error; the session stays open.
    Refuse(&'static Refusal),
}

/// An error that the client sees instead of a result.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Five characters (PostgreSQL, appendix A).
    pub sqlstate: &'static str,
    /// The error's primary message.
    pub message: &'static str,
    /// What to do instead.
    pub hint: &'static str,
}

/// What a text does to the transaction state of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transaction {
    /// Nothing; also savepoints, which live inside a transaction.
    None,
    /// Opens one and does nothing else.
    Begin {
        /// Where the transaction belongs, as far as its modes say: `READ ONLY` is a read, `READ WRITE` a write, and so is
        /// `SERIALIZABLE`, which a replica does not know (PostgreSQL, 13.2.3).
        side: Option<Access>,
        /// It is written `START TRANSACTION`.
        start: bool,
    },
    /// Ends one and does nothing else (`COMMIT`, `ROLLBACK`, `PREPARE TRANSACTION`).
    End,
    /// Opens or ends one among other statements, or `AND CHAIN`: watch the server's ready status instead.
    Mixed,
}

/// State that a text may leave on its server connection after its transaction: a set of the constants below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effects(u32);

impl Effects {
    /// Leaves nothing.
    pub const NONE: Self = Self(0);
    /// `SET`, `RESET x`, `set_config` that is not local, `SESSION CHARACTERISTICS`, `LOAD`.
    pub const SETTINGS: Self = Self(1);
    /// SQL `PREPARE`.
    pub const PREPARED: Self = Self(1 << 1);
    /// `DEALLOCATE`.
    pub const DEALLOCATES: Self = Self(1 << 2);
    /// `LISTEN`.
    pub const LISTEN: Self = Self(1 << 3);
    /// `UNLISTEN`.
    pub const UNLISTEN: Self = Self(1 << 4);
    /// Temporary tables, views, sequences, or anything named in `pg_temp`.
    pub const TEMP: Self = Self(1 << 5);
    /// Advisory locks of the session (those of the transaction end with it).
    pub const ADVISORY_LOCK: Self = Self(1 << 6);
    /// `DECLARE … WITH HOLD`.
    pub const HOLD_CURSOR: Self = Self(1 << 7);
    /// `DISCARD ALL`.
    pub const DISCARD_ALL: Self = Self(1 << 8);
    /// `DISCARD PLANS`, `SEQUENCES` or `TEMP`.
    pub const DISCARD_OTHER: Self = Self(1 << 9);
    /// `RESET ALL`.
    pub const RESETS_ALL: Self = Self(1 << 10);
    /// May be a `COPY … FROM STDIN`: it reads the messages behind it as data.
    pub const COPY_IN: Self = Self(1 << 11);
    /// `DISCARD ALL` or `RESET ALL` and nothing else.
    pub const FORGETS: Self = Self(1 << 19);
    /// `DEALLOCATE ALL`.
    pub const DEALLOCATES_ALL: Self = Self(1 << 13);
    /// May end state that held a session to its server: advisory unlocks, `CLOSE`, `DROP`.
    pub const RELEASES: Self = Self(1 << 14);
    /// `EXECUTE`, also below `EXPLAIN` and `CREATE TABLE AS`.
    pub const EXECUTES: Self = Self(1 << 15);
    /// Changes what statements on tables, views or functions give, or what code they run.
    pub const SCHEMA: Self = Self(1 << 16);
    /// One `SET application_name` with a constant, or one `RESET` of it.
    pub const OWN_NAME: Self = Self(1 << 18);
    /// `BEGIN` or `SET TRANSACTION` and nothing else: it runs no code, and no query may come between it and another one.
    pub const OPENS: Self = Self(1 << 21);
    /// Sent otherwise, it completes as `RESET` all the same.
    pub const AS_RESET: Self = Self(1 << 22);
    /// Sent otherwise, it completes as `CREATE EXTENSION` all the same.
    pub const AS_EXTENSION: Self = Self(1 << 23);
    /// Of a text that is sent otherwise than it was written.
    pub const REWRITTEN: Self = Self(1 << 20);
    /// Cannot be told from the text: not parsed, `DO`, `CALL`, extension scripts.
    pub const UNKNOWN: Self = Self(1 << 12);

    /// All of `list`.
    pub const fn of(list: &[Self]) -> Self {
        let mut all = Self::NONE;
        let mut at = 0;
        while at < list.len() {
            all.0 |= list[at].0;
            at += 1;
        }
        all
    }

    /// This set less what is in `other`.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether nothing is left.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether any of `other` is in this set.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Effects {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Effects {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}
