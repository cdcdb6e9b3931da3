//! What a [`Classifier`](super::Classifier) looks for.

use super::class::Refusal;
use super::dialect::Dialect;
use super::guard;
use super::protected::Protected;

/// Whether, and how strictly, statements that could change who a session is are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "vectors", derive(serde::Deserialize), serde(rename_all = "lowercase"))]
pub enum GuardMode {
    /// Nothing is refused for the sake of the identity: PostgreSQL itself holds it (modes other than `role`).
    Off,
    /// Everything that the text itself shows is refused. Code that PostgreSQL keeps (`DO`, functions, procedures) may
    /// be written and run, so the host must verify a server's identity each time before the server serves again.
    Standard,
    /// Also refuses `DO`, creating functions, procedures, languages, event triggers, transforms and extensions.
    Strict,
}

/// Whose account a session has on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "vectors", derive(serde::Deserialize), serde(rename_all = "lowercase"))]
pub enum Account {
    /// Of a user that the configuration names: what it does to its account is its own business.
    Named,
    /// The subject's alone.
    Own,
    /// Of several subjects or tenants: none of them changes it for the others.
    Shared,
}

/// PgDog's `read_write_strategy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadWriteStrategy {
    /// An explicit transaction that is not `READ ONLY` belongs to the primary.
    Conservative,
    /// The first statement of a transaction decides.
    Aggressive,
}

/// What a [`Classifier`](super::Classifier) looks for; fixed for its life.
#[derive(Clone, Debug)]
pub struct Policy {
    /// How strict the guard is.
    pub guard: GuardMode,
    /// Whether SQL could change who the session is. Otherwise PostgreSQL holds it to whoever logged in, and the guard is
    /// there for the account's sake.
    pub identity: bool,
    /// Whose account it is.
    pub account: Account,
    /// How transactions count as reads or writes.
    pub strategy: ReadWriteStrategy,
    /// Variables that carry identity besides `role` and `session_authorization`.
    pub protected: Protected,
    /// How many texts, and how many templates, one classifier remembers.
    pub cache_limit: usize,
    /// The most words, constants and signs of a text that is parsed: a parser takes some two kilobytes for each. Lists of
    /// constants and equal rows of `VALUES` count once.
    pub max_words: usize,
    /// What means something to the host alone.
    pub dialect: Dialect,
}

/// What is watched for in a session's statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// What could change who the session is.
    pub identity: bool,
    /// What could make it write.
    pub read_only: bool,
    /// What could change its account, or other sessions of it.
    pub account: Account,
}

impl Watch {
    /// Whether all that the session sends must be understood: it has no other barrier.
    pub fn is_guarded(self) -> bool {
        self.keeps_settings() || self.account == Account::Shared
    }

    /// Whether anything may be refused.
    pub fn may_refuse(self) -> bool {
        self.is_guarded() || self.account == Account::Own
    }

    fn keeps_settings(self) -> bool {
        self.identity || self.read_only
    }
}

/// What a read-only session may not set: on a replica it makes no difference, on one that was promoted it does.
const READ_ONLY: [&str; 2] = ["transaction_read_only", "default_transaction_read_only"];

/// The policies of one configuration.
#[derive(Clone, Debug)]
pub struct Policies {
    all: Policy,
    read_only: Policy,
}

impl Policies {
    /// From what holds for a session whose role SQL could change, and which may write.
    pub fn new(all: Policy) -> Self {
        let protected = all.protected.and(READ_ONLY);
        Self { read_only: Policy { protected, ..all.clone() }, all }
    }

    /// The policy of sessions that write, or only read.
    pub fn base(&self, read_only: bool) -> &Policy {
        if read_only { &self.read_only } else { &self.all }
    }

    /// The policy of one kind of session.
    pub fn of(&self, watch: Watch) -> Policy {
        let base = self.base(watch.read_only);
        let guard = if watch.is_guarded() { base.guard } else { GuardMode::Off };
        // Nobody but the guard keeps what is protected: where there is none for it, nothing is.
        let identity = watch.keeps_settings();
        let protected = if identity || guard == GuardMode::Off { base.protected.clone() } else { Protected::default() };
        Policy { guard, identity, account: watch.account, protected, ..base.clone() }
    }
}

impl Policy {
    /// As this one, for what may set a variable that is protected from others.
    pub fn without(self, name: &str) -> Self {
        Self { protected: self.protected.without(name), ..self }
    }

    /// Whether a setting may have a value that comes from elsewhere than a statement.
    pub fn refused_setting(&self, name: &str, value: &str) -> Option<&'static Refusal> {
        guard::setting(name, Some(value), self)
    }
}
