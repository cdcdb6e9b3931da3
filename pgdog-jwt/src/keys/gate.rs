//! Who may ask the issuer, and when: one fetch at a time, a pause after each that failed, and not on the word of every
//! unknown `kid`. The lock is held for a few comparisons and never across an await.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::jitter;

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
    /// The copy lacks a key.
    UnknownKid,
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
    /// One for an unknown `kid` was made just now.
    AskedAlready,
}

/// How a fetch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Fetched,
    Failed,
    /// Given up with the runtime that it ran on: the issuer is not to blame.
    Abandoned,
}

#[derive(Default)]
pub(super) struct Gate(Mutex<State>);

#[derive(Default)]
struct State {
    running: Option<watch::Receiver<()>>,
    failures: u32,
    not_before: Option<Instant>,
    last_for_unknown_kid: Option<Instant>,
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
        if cause == Cause::UnknownKid {
            let recent = |last: Instant| now.duration_since(last) < kid_interval;
            if state.last_for_unknown_kid.is_some_and(recent) {
                return Pass::AskedAlready;
            }
            state.last_for_unknown_kid = Some(now);
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
            Outcome::Fetched => {
                state.failures = 0;
                state.not_before = None;
            }
            Outcome::Failed => {
                let pause = FIRST_PAUSE * (1 << state.failures.min(5));
                state.failures = state.failures.saturating_add(1);
                state.not_before = Some(now + jitter::shortened(pause.min(LONGEST_PAUSE), LEAST_PAUSE));
                // The pause is enough: a key that could not be asked for may be asked for after it.
                state.last_for_unknown_kid = None;
            }
            Outcome::Abandoned => state.last_for_unknown_kid = None,
        }
    }

    /// A fetch that was made for another cause has answered for every unknown `kid` as well.
    pub(super) fn answered_for_unknown_kids(&self, now: Instant) {
        self.0.lock().last_for_unknown_kid.get_or_insert(now);
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

    fn passes(gate: &Gate, cause: Cause, now: Instant) -> bool {
        matches!(gate.ask(cause, INTERVAL, now), Pass::Start(..))
    }

    #[test]
    fn one_fetch_runs_at_a_time() {
        let (gate, now) = (Gate::default(), Instant::now());
        let Pass::Start(sender, receiver) = gate.ask(Cause::Age, INTERVAL, now) else {
            panic!("the first may start");
        };
        for cause in [Cause::Age, Cause::UnknownKid] {
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
            assert!(matches!(gate.ask(Cause::UnknownKid, INTERVAL, just_before), Pass::Pausing));
            now += pause;
        }
        assert!(gate.is_open() && passes(&gate, Cause::Age, now));
        gate.end(Outcome::Fetched, now);
        assert!(!gate.is_open() && passes(&gate, Cause::Age, now));
    }

    #[test]
    fn unknown_kids_wait_for_their_interval_and_age_does_not() {
        let (gate, now) = (Gate::default(), Instant::now());
        assert!(passes(&gate, Cause::UnknownKid, now));
        gate.end(Outcome::Fetched, now);
        let later = now + INTERVAL - Duration::from_millis(1);
        assert!(matches!(gate.ask(Cause::UnknownKid, INTERVAL, later), Pass::AskedAlready));
        assert!(passes(&gate, Cause::Age, later));
        gate.end(Outcome::Fetched, later);
        assert!(passes(&gate, Cause::UnknownKid, now + INTERVAL));
    }

    #[test]
    fn a_fetch_that_gave_no_answer_does_not_use_up_the_interval() {
        for (outcome, pause) in [(Outcome::Failed, 1), (Outcome::Abandoned, 0)] {
            let (gate, now) = (Gate::default(), Instant::now());
            assert!(passes(&gate, Cause::UnknownKid, now));
            gate.end(outcome, now);
            assert!(passes(&gate, Cause::UnknownKid, now + Duration::from_secs(pause)));
        }
    }
}
