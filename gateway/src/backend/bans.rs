//! When a server gets no reads: it failed, it lags too far behind, or the administrator said so. A ban ends by itself, or
//! as soon as the server is seen to answer; the administrator's ends when he says so. It never keeps anything from a
//! server that has no equal: that is for whoever chooses servers.

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
    /// It lags too far behind.
    Lagging,
    /// The administrator wants it so.
    Manual,
}

impl BanReason {
    /// In the order of their counters.
    pub(crate) const ALL: [Self; 4] = [Self::Unreachable, Self::Unhealthy, Self::Lagging, Self::Manual];

    /// One word, for metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Unhealthy => "unhealthy",
            Self::Lagging => "lagging",
            Self::Manual => "manual",
        }
    }
}

impl fmt::Display for BanReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreachable => "it cannot be reached",
            Self::Unhealthy => "it did not pass a health check",
            Self::Lagging => "it lags too far behind",
            Self::Manual => "the administrator banned it",
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
    /// Not ended by time either, only by the administrator.
    manual: AtomicBool,
    /// Of the last ban.
    unhealthy: AtomicBool,
    /// Bans so far, by [`BanReason::ALL`].
    counts: [AtomicU64; BanReason::ALL.len()],
}

impl Bans {
    /// Starts or prolongs a ban of a server that failed; `true` when there was none.
    pub(crate) fn ban(&self, reason: BanReason, duration: Duration) -> bool {
        self.unhealthy.store(reason == BanReason::Unhealthy, Ordering::Relaxed);
        let until = EPOCH.elapsed().saturating_add(duration).as_millis();
        let until = u64::try_from(until).unwrap_or(u64::MAX).max(1);
        let before = self.until.swap(until, Ordering::Relaxed);
        self.count(reason, !is_future(before))
    }

    fn count(&self, reason: BanReason, is_new: bool) -> bool {
        if let (true, Some(count)) = (is_new, self.counts.get(reason as usize)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        is_new
    }

    /// Bans so far, by reason.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (BanReason, u64)> {
        BanReason::ALL.into_iter().zip(self.counts.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    /// The bans that hold: why, and for how long yet, where time ends them.
    pub(crate) fn current(&self) -> impl Iterator<Item = (BanReason, Option<Duration>)> {
        let until = Duration::from_millis(self.until.load(Ordering::Relaxed));
        let left = until.checked_sub(EPOCH.elapsed()).filter(|left| !left.is_zero());
        let unhealthy = self.unhealthy.load(Ordering::Relaxed);
        let failed = if unhealthy { BanReason::Unhealthy } else { BanReason::Unreachable };
        let lagging = self.is_lagging().then_some((BanReason::Lagging, None));
        let manual = self.is_manual().then_some((BanReason::Manual, None));
        left.map(|left| (failed, Some(left))).into_iter().chain(lagging).chain(manual)
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
        let is_news = self.lagging.swap(lagging, Ordering::Relaxed) != lagging;
        self.count(BanReason::Lagging, is_news && lagging);
        is_news
    }

    /// Whether the administrator banned the server.
    pub(crate) fn is_manual(&self) -> bool {
        self.manual.load(Ordering::Relaxed)
    }

    /// The administrator bans the server, or ends that; `true` when that is news.
    pub(crate) fn set_manual(&self, banned: bool) -> bool {
        let is_news = self.manual.swap(banned, Ordering::Relaxed) != banned;
        self.count(BanReason::Manual, is_news && banned);
        is_news
    }

    /// Whether the server failed a short while ago.
    #[inline]
    pub(crate) fn is_banned(&self) -> bool {
        is_future(self.until.load(Ordering::Relaxed))
    }

    /// Whether the server should get reads only when there is no other.
    #[inline]
    pub(crate) fn keeps_reads_away(&self) -> bool {
        self.is_lagging() || self.is_manual() || self.is_banned()
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
        assert!(bans.ban(BanReason::Unreachable, Duration::from_millis(20)));
        assert!(bans.is_banned());
        std::thread::sleep(Duration::from_millis(30));
        assert!(!bans.is_banned());
        assert!(bans.lift(), "a trace is left, so that the return of the server is noticed");
    }

    #[test]
    fn a_ban_without_limit_is_lifted_early() {
        let bans = Bans::default();
        assert!(bans.ban(BanReason::Unhealthy, Duration::MAX));
        assert!(!bans.ban(BanReason::Unhealthy, Duration::MAX), "it is no news");
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

    #[test]
    fn the_administrator_s_ban_outlives_the_others_and_says_nothing_about_health() {
        let bans = Bans::default();
        assert!(bans.set_manual(true) && !bans.set_manual(true));
        bans.ban(BanReason::Unreachable, Duration::MAX);
        assert!(bans.lift());
        assert!(bans.keeps_reads_away() && !bans.is_banned());
        assert_eq!(bans.current().collect::<Vec<_>>(), [(BanReason::Manual, None)]);
        assert!(bans.set_manual(false) && !bans.keeps_reads_away());
    }

    #[test]
    fn each_ban_is_counted_once_under_its_reason() {
        let bans = Bans::default();
        for _ in 0..2 {
            bans.ban(BanReason::Unhealthy, Duration::MAX);
            bans.set_lagging(true);
            bans.set_manual(true);
        }
        let counts: Vec<_> = bans.counts().map(|(reason, count)| (reason.name(), count)).collect();
        assert_eq!(counts, [("unreachable", 0), ("unhealthy", 1), ("lagging", 1), ("manual", 1)]);
    }
}
