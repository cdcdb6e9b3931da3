//! Who did what: one event for each login decision and whatever happens to a session afterwards, and for each statement
//! where that is asked for. An event names everybody that it is about, and holds no secret (S5); `docs/audit.md` lists
//! events, fields and reasons.
//!
//! Events are lines of the log, or go to a writer of their own ([`sink`]), which never mixes lines. A login is accepted
//! only once its event is written, unless the configuration says otherwise.

mod file;
mod record;
pub(crate) mod sink;
mod statement;
#[cfg(test)]
mod tests;

pub(crate) use record::{Record, Who};
pub(crate) use sink::{Unwritten, flush, install, prepare, try_out};
pub(crate) use statement::{Statement, StatementPolicy};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// A login was accepted or refused.
    Login,
    /// A session presented another token, which was accepted or refused.
    Renewal,
    /// A session ended because its token did.
    Expiry,
    /// A token or subject was revoked, or a session ended for that reason.
    Revocation,
    /// The administrator ended a session.
    Kill,
    /// A cancel request reached no session.
    Cancel,
    /// A session ended.
    Disconnect,
    /// The guard refused a statement.
    Guard,
    /// A statement ended.
    Statement,
    /// Events of statements were not recorded.
    Lost,
}

impl Event {
    pub(crate) const ALL: [Self; 10] = [
        Self::Login,
        Self::Renewal,
        Self::Expiry,
        Self::Revocation,
        Self::Kill,
        Self::Cancel,
        Self::Disconnect,
        Self::Guard,
        Self::Statement,
        Self::Lost,
    ];

    /// Its name in the events.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Renewal => "renewal",
            Self::Expiry => "expiry",
            Self::Revocation => "revocation",
            Self::Kill => "kill",
            Self::Cancel => "cancel",
            Self::Disconnect => "disconnect",
            Self::Guard => "guard",
            Self::Statement => "statement",
            Self::Lost => "audit_lost",
        }
    }
}
