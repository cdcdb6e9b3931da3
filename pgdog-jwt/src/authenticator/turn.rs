//! When a new token may be checked. A signature check takes as long as many queries, and a host serves its other clients
//! on the same thread: so checks go one by one on each thread, and between two of them everybody else has a chance, also
//! those whose bytes arrived in the meantime. Logins with the same new token, on whatever threads, go one behind the other:
//! the first one checks it, the others find it remembered.
//!
//! Nobody holds a turn while it waits for something else than another's check, so that a wait is as long as the checks
//! before it. How many wait is the host's number of clients, and its login time-out ends each.

use std::sync::Arc;

use tokio::sync::{Mutex, MutexGuard, OwnedSemaphorePermit, Semaphore};
use tokio::task::yield_now;

thread_local! {
    static CHECK: Arc<Semaphore> = Arc::new(Semaphore::new(1));
}

/// Different tokens that may be on their way at a time. More only wait for each other.
const FLIGHTS: usize = 256;

/// Who checks which token.
pub(super) struct Flights(Box<[Mutex<()>]>);

impl Flights {
    pub(super) fn new() -> Self {
        Self((0..FLIGHTS).map(|_| Mutex::new(())).collect())
    }

    /// Waits until nobody checks the token that has this number.
    pub(super) async fn board(&self, number: usize) -> MutexGuard<'_, ()> {
        self.0[number % FLIGHTS].lock().await
    }
}

/// Waits for this thread's next check. Dropping it lets the next one begin.
pub(crate) async fn take() -> Option<OwnedSemaphorePermit> {
    let turn = CHECK.with(Arc::clone).acquire_owned().await.ok();
    yield_now().await;
    turn
}
