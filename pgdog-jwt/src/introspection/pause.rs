//! An issuer that does not answer is left alone for a while: the logins that need it fail at once and not after a
//! time-out each (S8). The lock is held for a few comparisons and never across an await.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Failures in a row before the first pause: one lost request is no outage.
const PATIENCE: u32 = 3;
/// The first pause; it doubles with each further failure.
const FIRST: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(16);

#[derive(Default)]
pub(super) struct Pause(Mutex<State>);

#[derive(Default)]
struct State {
    /// In a row.
    failures: u32,
    until: Option<Instant>,
}

impl Pause {
    /// Whether the issuer is being left alone.
    pub(super) fn is_on(&self, now: Instant) -> bool {
        self.0.lock().until.is_some_and(|until| now < until)
    }

    /// It has answered, whatever it said.
    pub(super) fn end(&self) {
        *self.0.lock() = State::default();
    }

    /// It has not. Requests that began before a pause and fail in it count for nothing more.
    pub(super) fn count_failure(&self, now: Instant) {
        let mut state = self.0.lock();
        if state.until.is_some_and(|until| now < until) {
            return;
        }
        state.failures = state.failures.saturating_add(1);
        if let Some(further) = state.failures.checked_sub(PATIENCE) {
            state.until = now.checked_add((FIRST * (1 << further.min(5))).min(LONGEST));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_failures_in_a_row_make_a_pause_and_further_ones_a_longer_one() {
        let (pause, mut now) = (Pause::default(), Instant::now());
        pause.count_failure(now);
        pause.count_failure(now);
        pause.end();
        pause.count_failure(now);
        pause.count_failure(now);
        assert!(!pause.is_on(now));
        for seconds in [1, 2, 4, 8, 16, 16] {
            pause.count_failure(now);
            // Those that were on their way.
            pause.count_failure(now);
            assert!(pause.is_on(now + Duration::from_secs(seconds) - Duration::from_millis(1)));
            now += Duration::from_secs(seconds);
            assert!(!pause.is_on(now), "{seconds}");
        }
        pause.end();
        pause.count_failure(now);
        assert!(!pause.is_on(now));
    }
}
