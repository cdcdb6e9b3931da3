//! What means something to the host alone.

use super::class::Refusal;

/// Names that mean something to the host alone. What a text does with them is not PostgreSQL's to say.
#[derive(Clone, Copy, Debug)]
pub struct Dialect {
    /// What the names of the host's own settings begin with, in lower case. The host answers the statements about them that
    /// it knows before it asks the guard, which refuses all others.
    pub settings: Option<&'static str>,
    /// Start-up parameters that the host reads itself, in lower case: no server hears of them.
    pub startup_parameters: &'static [&'static str],
    /// Prepared statements that the host makes.
    pub reserved: Option<Reserved>,
    /// How a text asks for a side.
    pub hints: Option<Hints>,
    /// Whether a text may hold a secret for the host: it is neither remembered nor written down.
    pub may_hold_secret: fn(&[u8]) -> bool,
}

/// Names of prepared statements that are the host's own. What lies under them on a server was judged for whoever prepared
/// it, and is not what its name says elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Reserved {
    /// What they begin with.
    pub prefix: &'static str,
    /// What a client hears that uses one of them in SQL.
    pub refusal: &'static Refusal,
}

/// How a text asks for the primary or for a replica.
#[derive(Clone, Copy, Debug)]
pub struct Hints {
    /// The word in a comment: `/* word: replica */`.
    pub comment: &'static str,
    /// The setting that chooses the side for a session or a transaction, in lower case. The server keeps it like any other
    /// variable of an application.
    pub setting: &'static str,
}

impl Dialect {
    /// Of a host without any.
    pub const NONE: Self =
        Self { settings: None, startup_parameters: &[], reserved: None, hints: None, may_hold_secret: |_| false };

    /// Whether a prepared statement of this name is the host's own.
    pub(super) fn is_reserved(&self, name: &str) -> bool {
        self.reserved.is_some_and(|reserved| name.starts_with(reserved.prefix))
    }

    /// Whether a start-up parameter is for the host alone.
    pub(super) fn is_startup_parameter(&self, name: &str) -> bool {
        self.startup_parameters.iter().any(|own| name.eq_ignore_ascii_case(own))
    }
}
