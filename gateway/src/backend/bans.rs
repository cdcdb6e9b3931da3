//! When a server gets no reads: it failed, or it lags too far behind. A ban ends by itself, or as soon as the server is
//! seen to answer. It never keeps anything from a server that has no equal: that is for whoever chooses servers.

use std::fmt;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Why a server was banned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BanReason {
    /// No connection could be made.
    Unreachable,
    /// It did not answer a check.
    Unhealthy,
}

impl fmt::Display for BanReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreachable => "it cannot be reached",
            Self::Unhealthy => "it did not pass a health check",
        })
    }
}

/// The bans of one server.
#[derive(Debug, Default)]
pub(crate) struct Bans {
    /// Milliseconds since the process first looked at the clock; 0: not banned.
    until: AtomicU64,
    /// Not ended by time, only by catching up.
    lagging: AtomicBool,
    /// Of the last ban.
    unhealthy: AtomicBool,
}

impl Bans {
    /// Starts or prolongs a ban; `true` when there was none.
    pub(crate) fn ban(&self, duration: Duration) -> bool {
        let until = EPOCH.elapsed().saturating_add(duration).as_millis();
        let until = u64::try_from(until).unwrap_or(u64::MAX).max(1);
        let before = self.until.swap(until, Ordering::Relaxed);
        !is_future(before)
    }

    /// Why the ban that begins was laid.
    pub(crate) fn note(&self, reason: BanReason) {
        self.unhealthy.store(reason == BanReason::Unhealthy, Ordering::Relaxed);
    }

    /// The ban that holds: why, and for how long it would yet.
    pub(crate) fn current(&self) -> Option<(BanReason, Duration)> {
        let until = Duration::from_millis(self.until.load(Ordering::Relaxed));
        let left = until.checked_sub(EPOCH.elapsed()).filter(|left| !left.is_zero())?;
        let unhealthy = self.unhealthy.load(Ordering::Relaxed);
        Some((if unhealthy { BanReason::Unhealthy } else { BanReason::Unreachable }, left))
    }

    /// Whether the server lags too far behind.
    pub(crate) fn is_lagging(&self) -> bool {
        self.lagging.load(Ordering::Relaxed)
    }

    /// Ends the ban; `true` when there was one, or a trace of one.
    pub(crate) fn lift(&self) -> bool {
        // A look first: this is asked often, and there is seldom anything to do.
        self.until.load(Ordering::Relaxed) != 0 && self.until.swap(0, Ordering::Relaxed) != 0
    }

    /// Notes whether the server lags too far behind; `true` when that is news.
    pub(crate) fn set_lagging(&self, lagging: bool) -> bool {
        self.lagging.swap(lagging, Ordering::Relaxed) != lagging
    }

    /// Whether the server failed a short while ago.
    #[inline]
    pub(crate) fn is_banned(&self) -> bool {
        is_future(self.until.load(Ordering::Relaxed))
    }

    /// Whether the server should get reads only when there is no other.
    #[inline]
    pub(crate) fn keeps_reads_away(&self) -> bool {
        self.lagging.load(Ordering::Relaxed) || self.is_banned()
    }
}

#[inline]
fn is_future(millis: u64) -> bool {
    millis != 0 && EPOCH.elapsed().as_millis() < u128::from(millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ban_ends_by_itself() {
        let bans = Bans::default();
        assert!(bans.ban(Duration::from_millis(20)));
        assert!(bans.is_banned());
        std::thread::sleep(Duration::from_millis(30));
        assert!(!bans.is_banned());
        assert!(bans.lift(), "a trace is left, so that the return of the server is noticed");
    }

    #[test]
    fn a_ban_without_limit_is_lifted_early() {
        let bans = Bans::default();
        assert!(bans.ban(Duration::MAX));
        assert!(!bans.ban(Duration::MAX), "it is no news");
        assert!(bans.keeps_reads_away());
        assert!(bans.lift());
        assert!(!bans.is_banned() && !bans.lift());
    }

    #[test]
    fn lag_is_ended_by_catching_up_only() {
        let bans = Bans::default();
        assert!(bans.set_lagging(true));
        assert!(!bans.lift());
        assert!(bans.keeps_reads_away() && !bans.is_banned());
        assert!(bans.set_lagging(false));
        assert!(!bans.keeps_reads_away());
    }
}
