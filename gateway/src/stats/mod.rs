//! What the gateway counts, and how it does so without slowing down what it counts.
//!
//! Every number that changes with a query belongs to one session, which alone writes it: a plain load, add and store on a
//! cache line that no other thread writes, no locked instruction and no lock. Whoever wants to know (the admin database, a
//! scrape) reads the numbers of the live sessions and adds what the sessions of the past left behind. The clock is read
//! twice per request: when the server is asked and when it owes nothing any more. What happens rarely (logins, waits,
//! errors) is counted in shared numbers at once.

mod client;
pub(crate) mod events;
mod server;
mod totals;

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

pub(crate) use client::{About, Account, Card, Encryption, Meter, State, Token};
pub(crate) use server::{Seat, Seats, ServerCard};
pub(crate) use totals::{Sums, Totals, all as all_totals};

/// A number with one writer at a time. Readers see an old or the new value, never half of one.
#[derive(Debug, Default)]
pub(crate) struct Tally(AtomicU64);

impl Tally {
    /// Only for the writer: two at once would lose one of the additions.
    #[inline]
    pub(crate) fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// When the process began, on both clocks.
static EPOCH: LazyLock<(Instant, SystemTime)> = LazyLock::new(|| (Instant::now(), SystemTime::now()));

/// Nanoseconds since the process began; never 0, which stands for "not".
#[inline]
pub(crate) fn clock() -> u64 {
    clock_at(Instant::now())
}

/// What [`clock`] says, or said, at this moment.
#[inline]
pub(crate) fn clock_at(now: Instant) -> u64 {
    (now.saturating_duration_since(EPOCH.0).as_nanos() as u64).max(1)
}

/// The moment of a [`clock`] value; `None` for 0.
pub(crate) fn moment(nanos: u64) -> Option<SystemTime> {
    (nanos != 0).then(|| EPOCH.1 + Duration::from_nanos(nanos))
}

/// When the process began.
pub(crate) fn started_at() -> SystemTime {
    EPOCH.1
}
