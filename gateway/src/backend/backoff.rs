//! When a pool may try to connect again after it failed, and what it says until then.

use std::time::{Duration, Instant};

use rand::RngExt;

use super::connect::ConnectError;

/// After the first failure to reach a server; doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// After a server refused who logs in. Only somebody's change of a role or a rule can help, so this is longer.
const FIRST_REFUSAL: Duration = Duration::from_secs(2);
const LONGEST_REFUSAL: Duration = Duration::from_secs(60);

/// What a failure says about the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The server may be there in a moment.
    Absent,
    /// The server does not take this user, role or database.
    Refused,
}

impl ConnectError {
    pub(crate) fn failure(&self) -> Failure {
        match self {
            // Class 28: not let in. 22023, 42704: the role in the start-up packet may not be assumed, or does not exist.
            // 42501, 3D000: no right to the database, or no such database.
            Self::Refused(fields) if is_refusal(&fields.code) => Failure::Refused,
            Self::Authentication(_) | Self::TokenRefused { .. } => Failure::Refused,
            _ => Failure::Absent,
        }
    }
}

fn is_refusal(code: &str) -> bool {
    code.starts_with("28") || matches!(code, "22023" | "42704" | "42501" | "3D000")
}

/// The failures of one pool in a row.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    count: u32,
    last: Option<Last>,
}

#[derive(Debug)]
struct Last {
    error: ConnectError,
    kind: Failure,
    until: Instant,
    /// How often the server had returned when this happened.
    returns: u64,
}

/// Whether a connection may be made now.
#[derive(Debug)]
pub(crate) enum Permission {
    Now,
    /// Not before this, and what failed.
    Later(Instant, ConnectError),
    /// The server has said no, a short while ago.
    No(ConnectError),
}

impl Backoff {
    /// `returns`: how often the server has come back so far. What failed before it did is forgotten.
    pub(crate) fn permission(&mut self, returns: u64) -> Permission {
        let Some(last) = &self.last else { return Permission::Now };
        if last.kind == Failure::Absent && last.returns != returns {
            self.clear();
            return Permission::Now;
        }
        match last.kind {
            _ if last.until <= Instant::now() => Permission::Now,
            Failure::Absent => Permission::Later(last.until, last.error.clone()),
            Failure::Refused => Permission::No(last.error.clone()),
        }
    }

    pub(crate) fn failed(&mut self, error: &ConnectError, returns: u64) {
        let kind = error.failure();
        if self.last.as_ref().is_none_or(|last| last.kind != kind) {
            self.count = 0;
        }
        let until = Instant::now() + jittered(pause(kind, self.count));
        self.count = self.count.saturating_add(1);
        self.last = Some(Last { error: error.clone(), kind, until, returns });
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// How many attempts have failed so far, to notice those of others.
    pub(crate) fn failures(&self) -> u32 {
        self.count
    }

    /// Whether the server does not take this pool at this moment.
    pub(crate) fn is_refused(&self) -> bool {
        self.last.as_ref().is_some_and(|last| last.kind == Failure::Refused && last.until > Instant::now())
    }

    pub(crate) fn error(&self) -> Option<ConnectError> {
        self.last.as_ref().map(|last| last.error.clone())
    }
}

fn pause(kind: Failure, count: u32) -> Duration {
    let (first, longest) = match kind {
        Failure::Absent => (FIRST_PAUSE, LONGEST_PAUSE),
        Failure::Refused => (FIRST_REFUSAL, LONGEST_REFUSAL),
    };
    first.saturating_mul(1 << count.min(16)).min(longest)
}

/// Between half and all of it, so that pools that failed together do not try together.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::rng().random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::wire::ErrorFields;

    fn absent() -> ConnectError {
        ConnectError::unreachable(io::ErrorKind::ConnectionRefused.into())
    }

    fn refused(code: &str) -> ConnectError {
        ConnectError::Refused(ErrorFields { code: code.to_owned(), ..ErrorFields::default() })
    }

    #[test]
    fn pauses_grow_to_their_limit() {
        let pauses: Vec<_> = (0..8).map(|count| pause(Failure::Absent, count).as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1_600, 2_000, 2_000]);
        assert_eq!(pause(Failure::Refused, 40), LONGEST_REFUSAL);
    }

    #[test]
    fn pauses_differ() {
        let pauses: Vec<_> = (0..100).map(|_| jittered(LONGEST_PAUSE)).collect();
        assert!(pauses.iter().all(|pause| (LONGEST_PAUSE / 2..=LONGEST_PAUSE).contains(pause)));
        assert!(pauses.iter().any(|pause| *pause != pauses[0]));
    }

    #[test]
    fn an_absent_server_is_tried_later_and_at_once_when_it_is_back() {
        let mut backoff = Backoff::default();
        backoff.failed(&absent(), 7);
        assert!(matches!(backoff.permission(7), Permission::Later(..)));
        assert!(matches!(backoff.permission(8), Permission::Now));
        assert_eq!(backoff.failures(), 0);
    }

    #[test]
    fn refused_credentials_are_not_tried_again_for_a_while() {
        for code in ["28000", "28P01", "22023", "42704"] {
            let mut backoff = Backoff::default();
            backoff.failed(&refused(code), 0);
            assert!(backoff.is_refused());
            assert!(matches!(backoff.permission(1), Permission::No(ConnectError::Refused(_))), "{code}");
        }
    }

    #[test]
    fn a_full_server_is_no_refusal() {
        assert_eq!(refused("53300").failure(), Failure::Absent);
        assert_eq!(refused("57P03").failure(), Failure::Absent);
    }
}
