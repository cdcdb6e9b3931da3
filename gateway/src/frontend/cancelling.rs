//! A session's cancel requests on their way to its server: one at a time, and however many more come meanwhile, one
//! behind it.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::sessions::Askers;

/// See the module.
pub(super) struct Cancelling {
    task: JoinHandle<()>,
    state: Arc<Mutex<State>>,
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
    /// Passes a request on by `pass`. The connections of `askers` are held until that has ended.
    pub(super) fn begin<F: Future<Output = ()> + Send + 'static>(
        mut askers: Askers,
        pass: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self {
        let state = Arc::new(Mutex::new(State::One));
        let shared = state.clone();
        let task = tokio::spawn(async move {
            loop {
                pass().await;
                let mut state = shared.lock();
                match std::mem::replace(&mut *state, State::Done) {
                    // The old ones are dropped.
                    State::Another(others) => (askers, *state) = (others, State::One),
                    State::One | State::Done => return drop(askers),
                }
            }
        });
        Self { task, state }
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

    /// Waits until nothing is on its way any more.
    pub(super) async fn over(self) {
        let _ = self.task.await;
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
        let cancelling = Cancelling::begin(Vec::new(), move || {
            let (answers, count) = (answers.clone(), count.clone());
            async move {
                count.fetch_add(1, Ordering::Relaxed);
                answers.acquire().await.expect("an answer").forget();
            }
        });
        for _ in 0..1_000 {
            assert!(cancelling.again(Vec::new()).is_ok());
        }
        server.add_permits(10);
        cancelling.over().await;
        assert_eq!(sent.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn what_has_arrived_takes_no_other_along() {
        let cancelling = Cancelling::begin(Vec::new(), || async {});
        while cancelling.again(Vec::new()).is_ok() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn each_is_held_until_its_own_request_has_arrived() {
        let server = Arc::new(Semaphore::new(0));
        let answers = server.clone();
        let (first, mut first_done) = oneshot::channel();
        let cancelling = Cancelling::begin(vec![first], move || {
            let answers = answers.clone();
            async move { answers.acquire().await.expect("an answer").forget() }
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
}
