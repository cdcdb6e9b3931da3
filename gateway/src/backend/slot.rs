//! The right to one of a pool's connections, and the clients that wait for one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::connection::Connection;
use super::identity::Unconfirmed;
use super::pool::Pool;

/// How long PostgreSQL gets to end a connection that makes room for another. A session that is told to end does so at once.
const FAREWELL: Duration = Duration::from_secs(1);

/// The right to one of a pool's connections and to one of its server's budget. Dropping it makes room for another,
/// whatever the reason: there is no way to lose one.
pub(crate) struct Slot {
    pool: Arc<Pool>,
    /// Its share of the budget is its own, and was not passed on to another slot.
    counted: bool,
    /// The connection of another pool whose share of the budget this is. It ends before the next one is made.
    after: Option<Box<Unconfirmed>>,
}

impl Slot {
    /// The pool and the budget have counted it already.
    pub(super) fn new(pool: Arc<Pool>, after: Option<Box<Unconfirmed>>) -> Self {
        Self { pool, counted: true, after }
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Takes the share of the budget out of it, for another slot.
    pub(super) fn give_share(&mut self) {
        self.counted = false;
    }

    /// Takes the share back that nobody wanted.
    pub(super) fn keep_share(&mut self) {
        self.counted = true;
    }

    /// Ends the connection whose place this is, and waits until PostgreSQL has let go of it: at no moment there are more
    /// connections than the budget has.
    pub(super) async fn succeed(&mut self) {
        if let Some(mut before) = self.after.take() {
            self.end(&mut before.connection).await;
        }
    }

    /// Ends a connection before another one has its place.
    pub(super) async fn end(&self, before: &mut Connection) {
        before.farewell();
        if tokio::time::timeout(FAREWELL, before.ended()).await.is_err() {
            tracing::debug!(address = %self.pool.node.address, "a server connection takes long to end");
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.pool.inner.lock().size -= 1;
        self.pool.node.budget.released(&self.pool, self.counted);
    }
}

/// What a waiter is given.
pub(super) enum Handover {
    Server(Box<Unconfirmed>),
    /// Room to make a connection.
    Slot(Slot),
}

/// A client in the queue of its pool.
pub(super) struct Waiter {
    pub(super) arrived: Instant,
    /// The worker that it runs on.
    pub(super) worker: usize,
    pub(super) sender: oneshot::Sender<Handover>,
}
