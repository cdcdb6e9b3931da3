//! A session's cancel requests on their way to its server: one at a time, and however many more come meanwhile, one
//! behind it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::task::JoinHandle;

/// Nothing is on its way.
const DONE: u8 = 0;
/// One request is.
const ONE: u8 = 1;
/// One is, and another was asked for since.
const ANOTHER: u8 = 2;

/// See the module.
pub(super) struct Cancelling {
    task: JoinHandle<()>,
    state: Arc<AtomicU8>,
}

impl Cancelling {
    /// Passes a request on by `pass`.
    pub(super) fn begin<F: Future<Output = ()> + Send + 'static>(pass: impl Fn() -> F + Send + Sync + 'static) -> Self {
        let state = Arc::new(AtomicU8::new(ONE));
        let shared = state.clone();
        let task = tokio::spawn(async move {
            loop {
                pass().await;
                if shared.compare_exchange(ONE, DONE, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                    return;
                }
                shared.store(ONE, Ordering::Release);
            }
        });
        Self { task, state }
    }

    /// Passes another one on behind the one that is on its way; `false` when that one has arrived.
    pub(super) fn again(&self) -> bool {
        self.state.compare_exchange(ONE, ANOTHER, Ordering::AcqRel, Ordering::Acquire) != Err(DONE)
    }

    /// Waits until nothing is on its way any more.
    pub(super) async fn over(self) {
        let _ = self.task.await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn a_flood_is_one_request_and_one_more() {
        let (server, sent) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
        let (answers, count) = (server.clone(), sent.clone());
        let cancelling = Cancelling::begin(move || {
            let (answers, count) = (answers.clone(), count.clone());
            async move {
                count.fetch_add(1, Ordering::Relaxed);
                answers.acquire().await.expect("an answer").forget();
            }
        });
        for _ in 0..1_000 {
            assert!(cancelling.again());
        }
        server.add_permits(10);
        cancelling.over().await;
        assert_eq!(sent.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn what_has_arrived_takes_no_other_along() {
        let cancelling = Cancelling::begin(|| async {});
        while cancelling.again() {
            tokio::task::yield_now().await;
        }
    }
}
