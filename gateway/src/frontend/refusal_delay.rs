//! When a refusal is answered. The time that a login took could tell which check has failed: whether the user exists, the
//! token was signed, the role could be had. So the answer waits for the next full step after the client's credential came
//! in, whatever failed (S6). What takes longer than a step, such as a fetch of keys, shows as more steps.

use std::cell::Cell;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

/// Most refusals that wait at a time. Those beyond are answered at once: what a flood costs is bounded (S9).
const MOST: usize = 1_024;

static WAITING: Semaphore = Semaphore::const_new(MOST);

tokio::task_local! {
    /// When the client sent its last word in this login. Kept beside the login and not passed through it: every method
    /// reads the credential in a place of its own.
    static CREDENTIAL_AT: Cell<Option<Instant>>;
}

/// Runs a login whose refusal may wait.
pub(super) fn timed<T>(login: impl Future<Output = T>) -> impl Future<Output = T> {
    CREDENTIAL_AT.scope(Cell::new(None), login)
}

/// The client has sent its credential, or another part of it.
pub(super) fn credential_received() {
    // Nobody measures outside of a login.
    let _ = CREDENTIAL_AT.try_with(|at| at.set(Some(Instant::now())));
}

/// When a refusal that is decided now may be answered; `None`: the client was not asked for a credential, or left.
pub(super) fn due(step: Duration) -> Option<Instant> {
    let since = CREDENTIAL_AT.try_with(Cell::get).ok().flatten()?;
    let now = Instant::now();
    now.checked_add(left(now.saturating_duration_since(since), step))
}

/// Waits until then.
pub(super) async fn wait(due: Instant) {
    let Ok(_place) = WAITING.try_acquire() else { return };
    tokio::time::sleep_until(due.into()).await;
}

/// How many refusals wait.
pub(crate) fn waiting() -> usize {
    MOST - WAITING.available_permits()
}

/// How long it is to the next full step; no step is 0.
fn left(elapsed: Duration, step: Duration) -> Duration {
    let (elapsed, step) = (elapsed.as_nanos(), step.as_nanos());
    match elapsed.checked_rem(step) {
        None => Duration::ZERO,
        Some(over) => Duration::from_nanos(u64::try_from(step - over).unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_comes_at_a_full_step() {
        let step = Duration::from_millis(50);
        for micros in [0, 1, 800, 49_999, 50_000, 50_001, 123_456, 10_000_000] {
            let elapsed = Duration::from_micros(micros);
            let left = left(elapsed, step);
            assert!(left > Duration::ZERO && left <= step, "{elapsed:?}");
            assert_eq!((elapsed + left).as_nanos() % step.as_nanos(), 0, "{elapsed:?}");
        }
    }

    #[test]
    fn what_takes_less_than_a_step_is_not_told_apart() {
        let step = Duration::from_millis(50);
        let answered = |micros| Duration::from_micros(micros) + left(Duration::from_micros(micros), step);
        assert_eq!(answered(3), answered(49_000));
    }

    #[test]
    fn without_a_step_nothing_waits() {
        assert_eq!(left(Duration::from_secs(1), Duration::ZERO), Duration::ZERO);
    }
}
