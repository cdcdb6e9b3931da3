//! Cancel requests, which anybody who reaches the port may send: a process id and a key, and no answer.
//!
//! Whoever guesses at keys is limited as those are whose logins fail: for each address, and in all. A request that reaches
//! its session costs nothing of that, and one from the session's own address is looked at whatever others have used up.
//! Drivers send right keys, or those of a session that has just ended or is at another gateway behind the same name, which
//! are told from right ones only by a look into a table.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use lru::LruCache;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tracing::debug;

use super::audit::{self, client_name};
use super::buckets::{Bucket, Rate, is_empty, take as take_of, take_one};
use super::login_limits::Prefix;
use super::sessions::{self, CancelError};
use crate::config::General;

static FAILURES: LazyLock<Mutex<Failures>> = LazyLock::new(Mutex::default);
static PASSED: AtomicU64 = AtomicU64::new(0);
static FAILED: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

impl CancelError {
    const ALL: [Self; 3] = [Self::NoSession, Self::WrongKey, Self::Unseen];

    /// A word of the audit log's list, and of the metric's.
    fn reason(self) -> &'static str {
        match self {
            Self::NoSession => "no_session",
            Self::WrongKey => "wrong_key",
            Self::Unseen => "too_many_failures",
        }
    }
}

/// Does what a cancel request asks for. What is returned ends when that is done: a client that has seen its connection closed
/// may send the next statement, and nothing cancels that one any more.
pub(super) fn take(
    general: &General,
    address: Option<SocketAddr>,
    process: u32,
    key: &[u8],
) -> Option<oneshot::Receiver<()>> {
    let limits = Limits::of(general);
    // Unix sockets are exempt.
    let place = address.map(Prefix::of);
    let has_room = place.is_none_or(|place| FAILURES.lock().has_room(&limits, place, Instant::now()));
    let error = match sessions::cancel(process, key, address, has_room) {
        Ok(done) => {
            PASSED.fetch_add(1, Ordering::Relaxed);
            debug!(client = client_name(address), session = process, "cancel request");
            return Some(done);
        }
        Err(error) => error,
    };
    FAILED[error as usize].fetch_add(1, Ordering::Relaxed);
    if let Some(place) = place.filter(|_| error != CancelError::Unseen) {
        FAILURES.lock().add(&limits, place, Instant::now());
    }
    audit::cancel_refused(error.reason(), address, (error == CancelError::WrongKey).then_some(process));
    None
}

/// Cancel requests so far, by what became of them.
pub(crate) fn counts() -> impl Iterator<Item = (&'static str, u64)> {
    let failed = |error: CancelError| (error.reason(), FAILED[error as usize].load(Ordering::Relaxed));
    std::iter::once(("passed", PASSED.load(Ordering::Relaxed))).chain(CancelError::ALL.map(failed))
}

/// What the configuration says.
struct Limits {
    address: Rate,
    all: Rate,
    /// Most addresses that are remembered.
    tracked: usize,
}

impl Limits {
    fn of(general: &General) -> Self {
        Self {
            address: Rate::new(general.cancel_failures_per_address, general.cancel_failures_per_address_burst),
            all: Rate::new(general.cancel_failures, general.cancel_failures_burst),
            tracked: general.login_failures_tracked,
        }
    }
}

struct Failures {
    addresses: LruCache<Prefix, Bucket>,
    all: Option<Bucket>,
}

impl Default for Failures {
    fn default() -> Self {
        Self { addresses: LruCache::unbounded(), all: None }
    }
}

impl Failures {
    fn has_room(&self, limits: &Limits, address: Prefix, now: Instant) -> bool {
        !is_empty(self.addresses.peek(&address), limits.address, now) && !is_empty(self.all.as_ref(), limits.all, now)
    }

    fn add(&mut self, limits: &Limits, address: Prefix, now: Instant) {
        take_of(&mut self.addresses, address, limits.address, limits.tracked, now);
        take_one(&mut self.all, limits.all, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frontend::buckets::MINUTE;

    fn limits(address: usize, all: usize) -> Limits {
        Limits { address: Rate::new(60, address), all: Rate::new(60, all), tracked: 10 }
    }

    fn place(last: u8) -> Prefix {
        Prefix::of(SocketAddr::from(([192, 0, 2, last], 1)))
    }

    /// How many of many guesses are looked at.
    fn guesses(failures: &mut Failures, limits: &Limits, last: u8, now: Instant) -> usize {
        let look = |_: &usize| {
            let looked_at = failures.has_room(limits, place(last), now);
            if looked_at {
                failures.add(limits, place(last), now);
            }
            looked_at
        };
        (0..100).filter(look).count()
    }

    #[test]
    fn guesses_are_bounded_for_each_address_and_in_all() {
        let (mut failures, limits, now) = (Failures::default(), limits(5, 12), Instant::now());
        assert_eq!(guesses(&mut failures, &limits, 1, now), 5);
        assert_eq!(guesses(&mut failures, &limits, 2, now), 5, "others are not held back");
        assert_eq!(guesses(&mut failures, &limits, 3, now), 2, "but there is a limit in all");
        assert_eq!(guesses(&mut failures, &limits, 1, now + MINUTE), 5, "and time heals");
    }

    #[test]
    fn memory_is_bounded() {
        let (mut failures, limits, now) = (Failures::default(), limits(5, 1_000), Instant::now());
        for last in 0..200 {
            failures.add(&limits, place(last), now);
        }
        assert_eq!(failures.addresses.len(), 10);
    }

    #[test]
    fn no_limit_remembers_nobody() {
        let unlimited = Rate::new(usize::MAX, 1);
        let limits = Limits { address: unlimited, all: unlimited, tracked: 10 };
        let mut failures = Failures::default();
        assert_eq!(guesses(&mut failures, &limits, 1, Instant::now()), 100);
        assert!(failures.addresses.is_empty() && failures.all.is_none());
    }
}
