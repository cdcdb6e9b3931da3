//! What is said when a bound is met: numbers for each time, and a line in the log now and then.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::warn;

use super::{Bound, Bounds};
use crate::app::seldom::Seldom;
use crate::frontend::login_limits::Prefix;

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A silent client was closed.
    Closed,
    /// The new one was refused.
    Refused,
}

static COUNTS: [[AtomicU64; Bound::ALL.len()]; 2] = [const { [const { AtomicU64::new(0) }; Bound::ALL.len()] }; 2];
static LINES: [Seldom; Bound::ALL.len()] = [const { Seldom::new() }; Bound::ALL.len()];

/// A client from this address has met a bound.
pub(super) fn met(bounds: &Bounds, bound: Bound, address: Option<SocketAddr>, outcome: Outcome) {
    COUNTS[outcome as usize][bound as usize].fetch_add(1, Ordering::Relaxed);
    let Some(count) = LINES[bound as usize].due() else { return };
    let limit = match bound {
        Bound::Total => bounds.total,
        Bound::Address => bounds.per_address,
        Bound::Descriptors => bounds.descriptors,
    };
    let client = address.map_or_else(|| "unix".to_owned(), |address| Prefix::of(address).to_string());
    let (closed, refused) = (times(Outcome::Closed, bound), times(Outcome::Refused, bound));
    warn!(
        event = "unauthenticated_clients",
        bound = bound.name(),
        limit,
        client,
        count,
        closed,
        refused,
        "clients that have not logged in have met a bound"
    );
}

/// How often that has been so.
pub(crate) fn times(outcome: Outcome, bound: Bound) -> u64 {
    COUNTS[outcome as usize][bound as usize].load(Ordering::Relaxed)
}
