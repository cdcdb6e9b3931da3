//! `[jwt]`: how long a session lasts with its token, and how many there may be of one subject or one token.

use std::time::Duration;

use super::choices::Choice;
use super::section::Section;

/// How long a transaction that runs may go on after the token has ended.
const EXPIRY_GRACE: Duration = Duration::from_secs(10);
/// In milliseconds: longer, and the end of a token would mean little.
const LONGEST_GRACE: i64 = 24 * 60 * 60 * 1000;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) on_expiry: OnExpiry,
    /// For [`OnExpiry::Disconnect`]; may be zero.
    pub(crate) expiry_grace: Duration,
    /// Sessions of one subject at a time, in all databases; `None`: any number.
    pub(crate) max_sessions_per_subject: Option<usize>,
    /// The same of one token.
    pub(crate) max_sessions_per_token: Option<usize>,
    pub(crate) replay: Replay,
}

/// What becomes of a session whose token has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum OnExpiry {
    /// It ends at the first quiet moment, at the latest after the grace.
    #[default]
    Disconnect,
    /// It stays, and runs nothing new.
    RefuseNewTransactions,
    /// It stays what it was.
    Ignore,
}

impl Choice for OnExpiry {
    const ALL: &'static [(&'static str, Self)] = &[
        ("disconnect", Self::Disconnect),
        ("refuse_new_transactions", Self::RefuseNewTransactions),
        ("ignore", Self::Ignore),
    ];
}

/// From where a token may be used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Replay {
    /// From anywhere.
    #[default]
    Anywhere,
    /// From the address that used it first.
    SameAddress,
}

impl Choice for Replay {
    const ALL: &'static [(&'static str, Self)] = &[("none", Self::Anywhere), ("address", Self::SameAddress)];
}

pub(super) fn life(jwt: &Section<'_>) -> Life {
    let most = |key| jwt.count(key, 0).filter(|most| !matches!(*most, 0 | usize::MAX));
    let grace = jwt.integer("expiry_grace", 0..=LONGEST_GRACE).map(i64::unsigned_abs).map(Duration::from_millis);
    Life {
        on_expiry: jwt.choice("on_expiry").unwrap_or_default(),
        expiry_grace: grace.unwrap_or(EXPIRY_GRACE),
        max_sessions_per_subject: most("max_sessions_per_subject"),
        max_sessions_per_token: most("max_sessions_per_token"),
        replay: jwt.choice("replay").unwrap_or_default(),
    }
}
