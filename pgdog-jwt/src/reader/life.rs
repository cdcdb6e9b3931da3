//! `[jwt]`: how long a session lasts with its token, and how many there may be of one subject or one token.

use std::time::Duration;

use super::choices::Choice;
use super::keys::jwt as keys;
use super::section::Section;

/// How long a session lasts with its token, and how many there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// What becomes of it when the token ends.
    pub on_expiry: OnExpiry,
    /// For [`OnExpiry::Disconnect`]; may be zero.
    pub expiry_grace: Duration,
    /// Sessions of one subject at a time, in all databases; `None`: any number.
    pub max_sessions_per_subject: Option<usize>,
    /// The same of one token.
    pub max_sessions_per_token: Option<usize>,
    /// From where a token may be used again.
    pub replay: Replay,
}

/// What becomes of a session whose token has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnExpiry {
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
pub enum Replay {
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
    let most = |setting| Some(jwt.value(setting)).filter(|most| !matches!(*most, 0 | usize::MAX));
    Life {
        on_expiry: jwt.value(&keys::ON_EXPIRY),
        expiry_grace: jwt.value(&keys::EXPIRY_GRACE),
        max_sessions_per_subject: most(&keys::MAX_SESSIONS_PER_SUBJECT),
        max_sessions_per_token: most(&keys::MAX_SESSIONS_PER_TOKEN),
        replay: jwt.value(&keys::REPLAY),
    }
}
