//! Who may ask the issuer, and when: one fetch at a time, a pause after each that failed, and not on the word of every
//! unknown `kid` ([`super::strangers`]). The lock is held for a few comparisons and never across an await.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::jitter;
use super::strangers::{Source, Strangers};

/// The pause after one failed fetch; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A pause is at least so much of what it would be, by chance.
const LEAST_PAUSE: f64 = 0.8;

/// Why a fetch is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// There is no copy of the set, or it is getting old.
    Age,
    /// The copy lacks a key, says somebody from here.
    UnknownKid(Source),
}

/// What whoever wants a fetch shall do. Each receiver closes when the fetch has ended.
#[derive(Debug)]
pub(super) enum Pass {
    /// Fetch, and drop the sender when it is over.
    Start(watch::Sender<()>, watch::Receiver<()>),
    /// Somebody else is fetching.
    Running(watch::Receiver<()>),
    /// The last fetch failed just now.
    Pausing,
    /// Fetches for unknown `kid`s were made just now: another may be so much later.
    Later(Duration),
}

/// How a fetch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The set that is known already.
    Fetched,
    /// Another one.
    Changed,
    Failed,
    /// Given up with the runtime that it ran on: the issuer is not to blame.
    Abandoned,
}

#[derive(Default)]
pub(super) struct Gate(Mutex<State>);

/// See [`Gate::wait`].
pub(super) struct Waiting<'a> {
    gate: &'a Gate,
    source: Source,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.gate.0.lock().strangers.end_to_wait(self.source);
    }
}

#[derive(Default)]
struct State {
    running: Option<watch::Receiver<()>>,
    failures: u32,
    not_before: Option<Instant>,
    strangers: Strangers,
}

impl Gate {
    /// Asks to pass. Whoever is told to start must call [`end`](Self::end).
    pub(super) fn ask(&self, cause: Cause, kid_interval: Duration, now: Instant) -> Pass {
        let mut state = self.0.lock();
        if let Some(running) = &state.running {
            return Pass::Running(running.clone());
        }
        if state.not_before.is_some_and(|moment| now < moment) {
            return Pass::Pausing;
        }
        if let Cause::UnknownKid(source) = cause {
            match state.strangers.wait(source, kid_interval, now) {
                Duration::ZERO => state.strangers.ask(source, now),
                wait => return Pass::Later(wait),
            }
        }
        let (ended, running) = watch::channel(());
        state.running = Some(running.clone());
        Pass::Start(ended, running)
    }

    /// The running fetch is over.
    pub(super) fn end(&self, outcome: Outcome, now: Instant) {
        let mut state = self.0.lock();
        state.running = None;
        match outcome {
            Outcome::Fetched | Outcome::Changed => {
                state.failures = 0;
                state.not_before = None;
                if outcome == Outcome::Changed {
                    state.strangers.forget();
                }
            }
            Outcome::Failed => {
                let pause = FIRST_PAUSE * (1 << state.failures.min(5));
                state.failures = state.failures.saturating_add(1);
                state.not_before = Some(now + jitter::shortened(pause.min(LONGEST_PAUSE), LEAST_PAUSE));
                // The pause is enough: a key that could not be asked for may be asked for after it.
                state.strangers.forget();
            }
            Outcome::Abandoned => state.strangers.forget(),
        }
    }

    /// A fetch that was made for another cause has answered for every unknown `kid` as well.
    pub(super) fn answered_for_unknown_kids(&self, now: Instant) {
        self.0.lock().strangers.answered(now);
    }

    /// A login waits until another fetch may be made for an unknown `kid`; `None` when too many do. Dropping it ends that.
    pub(super) fn wait(&self, source: Source) -> Option<Waiting<'_>> {
        let may_wait = self.0.lock().strangers.begin_to_wait(source);
        may_wait.then(|| Waiting { gate: self, source })
    }

    /// Whether the last word of the issuer is still to come: a fetch runs, or the last one failed.
    pub(super) fn is_open(&self) -> bool {
        let state = self.0.lock();
        state.running.is_some() || state.failures > 0
    }

    /// Whether the last fetch failed.
    pub(super) fn has_failed(&self) -> bool {
        self.0.lock().failures > 0
    }

    /// How long nobody may ask because of failures.
    pub(super) fn pause_left(&self, now: Instant) -> Duration {
        let not_before = self.0.lock().not_before;
        not_before.map_or(Duration::ZERO, |moment| moment.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);

    fn unknown() -> Cause {
        Cause::UnknownKid(Source::of(None))
    }

    fn passes(gate: &Gate, cause: Cause, now: Instant) -> bool {
        matches!(gate.ask(cause, INTERVAL, now), Pass::Start(..))
    }

    #[test]
    fn one_fetch_runs_at_a_time() {
        let (gate, now) = (Gate::default(), Instant::now());
        let Pass::Start(sender, receiver) = gate.ask(Cause::Age, INTERVAL, now) else {
            panic!("the first may start");
        };
        for cause in [Cause::Age, unknown()] {
            assert!(matches!(gate.ask(cause, INTERVAL, now), Pass::Running(_)));
        }
        gate.end(Outcome::Fetched, now);
        drop(sender);
        assert!(receiver.has_changed().is_err(), "waiters wake");
        assert!(passes(&gate, Cause::Age, now));
    }

    #[test]
    fn the_pause_after_failures_doubles_up_to_a_limit() {
        let (gate, mut now) = (Gate::default(), Instant::now());
        for seconds in [1, 2, 4, 8, 16, 30, 30, 30] {
            assert!(passes(&gate, Cause::Age, now));
            gate.end(Outcome::Failed, now);
            let pause = gate.pause_left(now);
            let most = Duration::from_secs(seconds);
            assert!(pause >= most.mul_f64(LEAST_PAUSE) && pause <= most, "{pause:?}");
            let just_before = now + pause - Duration::from_millis(1);
            assert!(matches!(gate.ask(unknown(), INTERVAL, just_before), Pass::Pausing));
            now += pause;
        }
        assert!(gate.is_open() && passes(&gate, Cause::Age, now));
        gate.end(Outcome::Fetched, now);
        assert!(!gate.is_open() && passes(&gate, Cause::Age, now));
    }

    #[test]
    fn unknown_kids_wait_for_their_interval_and_age_does_not() {
        let (gate, now) = (Gate::default(), Instant::now());
        assert!(passes(&gate, unknown(), now));
        gate.end(Outcome::Fetched, now);
        let wait = Duration::from_millis(1);
        let later = now + Duration::from_secs(1) - wait;
        assert!(matches!(gate.ask(unknown(), INTERVAL, later), Pass::Later(left) if left == wait));
        assert!(passes(&gate, Cause::Age, later));
        gate.end(Outcome::Fetched, later);
        assert!(passes(&gate, unknown(), later + wait));
        gate.end(Outcome::Changed, later + wait);
        assert!(passes(&gate, unknown(), later + wait), "what was rotated may be rotated again");
    }

    #[test]
    fn a_fetch_that_gave_no_answer_does_not_use_up_the_interval() {
        for (outcome, pause) in [(Outcome::Failed, 1), (Outcome::Abandoned, 0)] {
            let (gate, now) = (Gate::default(), Instant::now());
            assert!(passes(&gate, unknown(), now));
            gate.end(outcome, now);
            assert!(passes(&gate, unknown(), now + Duration::from_secs(pause)));
        }
    }
}
