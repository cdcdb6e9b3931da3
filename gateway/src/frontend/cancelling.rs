//! A session's cancel requests on their way to its server: one at a time, and however many more come meanwhile, one
//! behind it.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::sessions::Askers;
use crate::backend::node::CancelOutcome;

/// See the module.
pub(super) struct Cancelling {
    state: Arc<Mutex<State>>,
    /// Closed without an outcome when the task has failed.
    outcome: watch::Receiver<Option<CancelOutcome>>,
}

enum State {
    /// Nothing is on its way.
    Done,
    /// One request is.
    One,
    /// One is, and these came later.
    Another(Askers),
}

impl Cancelling {
    /// Passes a request on by `pass`. The connections of `askers` are held until that has ended. `before`: of those that were
    /// passed on earlier.
    pub(super) fn begin<F: Future<Output = CancelOutcome> + Send + 'static>(
        mut askers: Askers,
        before: CancelOutcome,
        pass: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self {
        let state = Arc::new(Mutex::new(State::One));
        let (end, outcome) = watch::channel(None);
        let shared = state.clone();
        tokio::spawn(async move {
            let mut all = before;
            loop {
                if pass().await == CancelOutcome::InDoubt {
                    all = CancelOutcome::InDoubt;
                }
                let mut state = shared.lock();
                match std::mem::replace(&mut *state, State::Done) {
                    // The old ones are dropped.
                    State::Another(others) => (askers, *state) = (others, State::One),
                    State::One | State::Done => {
                        end.send_replace(Some(all));
                        return drop(askers);
                    }
                }
            }
        });
        Self { state, outcome }
    }

    /// Passes another one on behind the one that is on its way; gives `askers` back when that one has arrived.
    pub(super) fn again(&self, askers: Askers) -> Result<(), Askers> {
        let mut state = self.state.lock();
        match &mut *state {
            State::Done => return Err(askers),
            State::One => *state = State::Another(askers),
            State::Another(others) => others.extend(askers),
        }
        Ok(())
    }

    /// What became of those that have ended.
    pub(super) fn outcome(&self) -> CancelOutcome {
        self.outcome.borrow().unwrap_or(CancelOutcome::InDoubt)
    }

    /// Waits until nothing is on its way any more. Who gives that up must ask again: until then the server is nobody else's.
    pub(super) fn over(&self) -> impl Future<Output = CancelOutcome> + Send + 'static {
        let mut outcome = self.outcome.clone();
        async move {
            outcome
                .wait_for(Option::is_some)
                .await
                .map_or(CancelOutcome::InDoubt, |it| it.unwrap_or(CancelOutcome::InDoubt))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::{Semaphore, oneshot};

    use super::*;

    #[tokio::test]
    async fn a_flood_is_one_request_and_one_more() {
        let (server, sent) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
        let (answers, count) = (server.clone(), sent.clone());
        let cancelling = Cancelling::begin(Vec::new(), CancelOutcome::Over, move || {
            let (answers, count) = (answers.clone(), count.clone());
            async move {
                count.fetch_add(1, Ordering::Relaxed);
                answers.acquire().await.expect("an answer").forget();
                CancelOutcome::Over
            }
        });
        for _ in 0..1_000 {
            assert!(cancelling.again(Vec::new()).is_ok());
        }
        server.add_permits(10);
        assert_eq!(cancelling.over().await, CancelOutcome::Over);
        assert_eq!(sent.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn what_has_arrived_takes_no_other_along() {
        let cancelling = Cancelling::begin(Vec::new(), CancelOutcome::Over, || async { CancelOutcome::Over });
        while cancelling.again(Vec::new()).is_ok() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn each_is_held_until_its_own_request_has_arrived() {
        let server = Arc::new(Semaphore::new(0));
        let answers = server.clone();
        let (first, mut first_done) = oneshot::channel();
        let cancelling = Cancelling::begin(vec![first], CancelOutcome::Over, move || {
            let answers = answers.clone();
            async move {
                answers.acquire().await.expect("an answer").forget();
                CancelOutcome::Over
            }
        });
        let (second, mut second_done) = oneshot::channel();
        assert!(cancelling.again(vec![second]).is_ok());
        tokio::task::yield_now().await;
        assert_eq!(first_done.try_recv(), Err(oneshot::error::TryRecvError::Empty));

        server.add_permits(1);
        assert!((&mut first_done).await.is_err());
        assert_eq!(second_done.try_recv(), Err(oneshot::error::TryRecvError::Empty));

        server.add_permits(1);
        cancelling.over().await;
        assert_eq!(second_done.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }

    #[tokio::test]
    async fn one_in_doubt_is_enough_and_is_not_forgotten() {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = count.clone();
        let first = Cancelling::begin(Vec::new(), CancelOutcome::Over, move || {
            let is_first = counted.fetch_add(1, Ordering::Relaxed) == 0;
            async move { if is_first { CancelOutcome::InDoubt } else { CancelOutcome::Over } }
        });
        assert!(first.again(Vec::new()).is_ok());
        assert_eq!(first.over().await, CancelOutcome::InDoubt);
        let second = Cancelling::begin(Vec::new(), first.outcome(), || async { CancelOutcome::Over });
        assert_eq!(second.over().await, CancelOutcome::InDoubt);
    }

    #[tokio::test]
    async fn who_stops_waiting_can_ask_again() {
        let server = Arc::new(Semaphore::new(0));
        let answers = server.clone();
        let cancelling = Cancelling::begin(Vec::new(), CancelOutcome::Over, move || {
            let answers = answers.clone();
            async move {
                answers.acquire().await.expect("an answer").forget();
                CancelOutcome::Over
            }
        });
        drop(cancelling.over());
        let over = tokio::spawn(cancelling.over());
        tokio::task::yield_now().await;
        assert!(!over.is_finished());
        server.add_permits(1);
        assert_eq!(over.await.expect("no panic"), CancelOutcome::Over);
    }
}
