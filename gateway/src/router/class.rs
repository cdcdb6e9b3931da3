//! What the gateway wants to know about a text of SQL, and what it was told to look for.

use std::ops::{BitOr, BitOrAssign};
use std::sync::Arc;

/// Whether, and how strictly, statements that could change who a session is are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GuardMode {
    /// Nothing is refused: PostgreSQL itself holds the identity (modes other than `role`).
    Off,
    /// Everything that the text itself shows is refused. Code that PostgreSQL keeps (`DO`, functions, procedures) may
    /// be written and run, so the host must verify a server's identity each time before the server serves again.
    Standard,
    /// Also refuses `DO`, creating functions, procedures, languages, event triggers, transforms and extensions.
    Strict,
}

/// PgDog's `read_write_strategy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadWriteStrategy {
    /// An explicit transaction that is not `READ ONLY` belongs to the primary.
    Conservative,
    /// The first statement of a transaction decides.
    Aggressive,
}

/// What a [`Classifier`](super::Classifier) looks for; fixed for its life.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    /// How strict the guard is.
    pub guard: GuardMode,
    /// How transactions count as reads or writes.
    pub strategy: ReadWriteStrategy,
    /// Variables that carry identity besides `role` and `session_authorization`, in lower case. A name that ends in
    /// `.` or `*` protects all names that begin with what is before the `*`.
    pub protected: Arc<[Box<str>]>,
    /// How many texts, and how many templates, one classifier remembers.
    pub cache_limit: usize,
}

/// Everything known about one text. The same text under the same policy always has the same class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Class {
    /// Where it may run outside a transaction.
    pub access: Access,
    /// Whether the guard lets it pass.
    pub verdict: Verdict,
    /// What it may leave behind on the server.
    pub effects: Effects,
    /// What it does to the transaction.
    pub transaction: Transaction,
    /// The side that it asks for, which goes before `access`.
    pub wish: Option<Access>,
}

impl Class {
    /// No statement at all.
    pub(crate) const NONE: Self = Self {
        access: Access::Read,
        verdict: Verdict::Allow,
        effects: Effects::NONE,
        transaction: Transaction::None,
        wish: None,
    };

    /// What is known of a text that was not read.
    pub(crate) const UNKNOWN: Self = Self {
        access: Access::Write,
        verdict: Verdict::Allow,
        effects: Effects::UNKNOWN,
        transaction: Transaction::Mixed,
        wish: None,
    };
}

/// Where a text may run. Of several texts that run together, the greatest decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Access {
    /// A replica can answer it.
    Read,
    /// The client wants a replica for it, whatever it does.
    Replica,
    /// It needs the primary.
    Write,
}

/// The guard's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Forward it.
    Allow,
    /// Forward it alone, then make the server's identity right again before anything else is sent.
    Barrier,
    /// Answer with this error; the session stays open.
    Refuse(&'static Refusal),
}

/// An error that the client sees instead of a result.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Five characters (PostgreSQL, appendix A).
    pub sqlstate: &'static str,
    /// The error's primary message.
    pub message: &'static str,
    /// What to do instead.
    pub hint: &'static str,
}

/// What a text does to the transaction state of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transaction {
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
pub(crate) struct Effects(pub(super) u32);

impl Effects {
    /// Leaves nothing.
    pub(crate) const NONE: Self = Self(0);
    /// `SET`, `RESET x`, `set_config` that is not local, `SESSION CHARACTERISTICS`, `LOAD`.
    pub(crate) const SETTINGS: Self = Self(1);
    /// SQL `PREPARE`.
    pub(crate) const PREPARED: Self = Self(1 << 1);
    /// `DEALLOCATE`.
    pub(crate) const DEALLOCATES: Self = Self(1 << 2);
    /// `LISTEN`.
    pub(crate) const LISTEN: Self = Self(1 << 3);
    /// `UNLISTEN`.
    pub(crate) const UNLISTEN: Self = Self(1 << 4);
    /// Temporary tables, views, sequences, or anything named in `pg_temp`.
    pub(crate) const TEMP: Self = Self(1 << 5);
    /// Advisory locks of the session (those of the transaction end with it).
    pub(crate) const ADVISORY_LOCK: Self = Self(1 << 6);
    /// `DECLARE … WITH HOLD`.
    pub(crate) const HOLD_CURSOR: Self = Self(1 << 7);
    /// `DISCARD ALL`.
    pub(crate) const DISCARD_ALL: Self = Self(1 << 8);
    /// `DISCARD PLANS`, `SEQUENCES` or `TEMP`.
    pub(crate) const DISCARD_OTHER: Self = Self(1 << 9);
    /// `RESET ALL`.
    pub(crate) const RESETS_ALL: Self = Self(1 << 10);
    /// `COPY`: the conversation may leave the ordinary request and reply.
    pub(crate) const COPY: Self = Self(1 << 11);
    /// `DEALLOCATE ALL`.
    pub(crate) const DEALLOCATES_ALL: Self = Self(1 << 13);
    /// May end state that held a session to its server: advisory unlocks, `CLOSE`, `DROP`.
    pub(crate) const RELEASES: Self = Self(1 << 14);
    /// `EXECUTE`, also below `EXPLAIN` and `CREATE TABLE AS`.
    pub(crate) const EXECUTES: Self = Self(1 << 15);
    /// Changes what statements on tables, views or functions give.
    pub(crate) const SCHEMA: Self = Self(1 << 16);
    /// Holds, or may hold, a password or a key.
    pub(crate) const SECRET: Self = Self(1 << 17);
    /// One `SET application_name` with a constant, or one `RESET` of it.
    pub(crate) const OWN_NAME: Self = Self(1 << 18);
    /// Cannot be told from the text: not parsed, `DO`, `CALL`, extension scripts.
    pub(crate) const UNKNOWN: Self = Self(1 << 12);

    /// All of `list`.
    pub(crate) const fn of(list: &[Self]) -> Self {
        let mut all = Self::NONE;
        let mut at = 0;
        while at < list.len() {
            all.0 |= list[at].0;
            at += 1;
        }
        all
    }

    /// This set less what is in `other`.
    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether nothing is left.
    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether any of `other` is in this set.
    pub(crate) const fn intersects(self, other: Self) -> bool {
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
