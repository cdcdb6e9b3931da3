//! When a token ends, by two clocks: whichever of them says so first is right. The clock on the wall may be set. Set
//! forward, it ends sessions whose tokens it says are over; set back, it gives none of them more time than the token had
//! left when the session began.

use std::time::{Duration, Instant, SystemTime};

use crate::wire::PgError;

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    wall: SystemTime,
    /// `None`: too far away to be told.
    steady: Option<Instant>,
}

impl Deadline {
    pub(super) fn new(end: SystemTime) -> Self {
        Self::at(end, SystemTime::now(), Instant::now())
    }

    fn at(end: SystemTime, today: SystemTime, now: Instant) -> Self {
        Self { wall: end, steady: now.checked_add(until(end, today)) }
    }

    /// How long it still is; zero when it has passed.
    pub(super) fn left(&self) -> Duration {
        self.left_at(SystemTime::now(), Instant::now())
    }

    fn left_at(&self, today: SystemTime, now: Instant) -> Duration {
        let steady = self.steady.map_or(Duration::MAX, |end| end.saturating_duration_since(now));
        until(self.wall, today).min(steady)
    }
}

fn until(end: SystemTime, today: SystemTime) -> Duration {
    end.duration_since(today).unwrap_or_default()
}

/// See [`token_expired`].
pub(super) const TOKEN_EXPIRED: &str = "terminating connection because the token of this session has expired";

/// The last word to a session whose token has ended.
pub(super) fn token_expired() -> PgError {
    PgError::fatal("57P01", TOKEN_EXPIRED).hint("Log in again with a new token.")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn time_passes_by_both_clocks() {
        let (today, now) = (SystemTime::now(), Instant::now());
        let deadline = Deadline::at(today + MINUTE, today, now);
        assert_eq!(deadline.left_at(today, now), MINUTE);
        assert_eq!(deadline.left_at(today + MINUTE / 2, now + MINUTE / 2), MINUTE / 2);
        assert_eq!(deadline.left_at(today + MINUTE, now + MINUTE), Duration::ZERO);
        assert_eq!(deadline.left_at(today + 2 * MINUTE, now + 2 * MINUTE), Duration::ZERO);
    }

    #[test]
    fn a_clock_that_is_set_forward_ends_the_token() {
        let (today, now) = (SystemTime::now(), Instant::now());
        let deadline = Deadline::at(today + MINUTE, today, now);
        assert_eq!(deadline.left_at(today + 60 * MINUTE, now), Duration::ZERO);
        assert_eq!(deadline.left_at(today + MINUTE / 2, now), MINUTE / 2);
    }

    #[test]
    fn a_clock_that_is_set_back_gives_no_time() {
        let (today, now) = (SystemTime::now(), Instant::now());
        let deadline = Deadline::at(today + MINUTE, today, now);
        assert_eq!(deadline.left_at(today - 60 * MINUTE, now), MINUTE);
        assert_eq!(deadline.left_at(today - 60 * MINUTE, now + MINUTE), Duration::ZERO);
    }

    #[test]
    fn a_token_that_has_ended_has_no_time_left_and_one_that_never_does_has_much() {
        let (today, now) = (SystemTime::now(), Instant::now());
        assert_eq!(Deadline::at(today - MINUTE, today, now).left_at(today, now), Duration::ZERO);
        let ages = Duration::from_secs(u64::from(u32::MAX) * 1000);
        assert!(Deadline::at(today + ages, today, now).left_at(today, now) > 1_000_000 * MINUTE);
    }
}
