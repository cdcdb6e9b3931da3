//! What a pool tells the budget of its server: what it wants, and what it can do without. All of it is called under the
//! lock of the budget.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::identity::Unconfirmed;
use super::pool::{Inner, Pool};
use super::slot::Handover;

/// In which lists of the budget a pool is.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// Of those with clients that wait for room.
    pub(super) hungry: bool,
    /// Of those with free connections.
    pub(super) idle: bool,
    /// Of those with connections.
    pub(super) occupied: bool,
}

impl Inner {
    /// The first waiter that is still there came then.
    fn first_arrival(&mut self) -> Option<Instant> {
        self.forget_gone_waiters();
        self.waiters.front().map(|waiter| waiter.arrived)
    }
}

impl Pool {
    /// Counts a connection that will be made, when there is room and nobody waits for it.
    pub(super) fn reserve(&self) -> bool {
        let mut inner = self.inner.lock();
        let room = !inner.closed && inner.size < self.spec.size && inner.first_arrival().is_none();
        inner.size += usize::from(room);
        room
    }

    /// The same, for the first of those that wait.
    pub(super) fn reserve_for_waiter(&self) -> Option<oneshot::Sender<Handover>> {
        let mut inner = self.inner.lock();
        inner.forget_gone_waiters();
        let waiter = if inner.size < self.spec.size { inner.waiters.pop_front()? } else { return None };
        inner.size += 1;
        Some(waiter.sender)
    }

    /// When the first waiter came.
    pub(super) fn first_arrival(&self) -> Option<Instant> {
        self.inner.lock().first_arrival()
    }

    /// The arrival of the first client that waits for room, when the pool is not listed for it yet. It is then.
    pub(super) fn becomes_hungry(&self) -> Option<Instant> {
        let mut inner = self.inner.lock();
        let arrived = inner.first_arrival().filter(|_| inner.size < self.spec.size && !inner.listed.hungry)?;
        inner.listed.hungry = true;
        Some(arrived)
    }

    /// The same for one that was listed. `None`: it is not any more.
    pub(super) fn still_hungry(&self) -> Option<Instant> {
        let mut inner = self.inner.lock();
        let arrived = inner.first_arrival().filter(|_| inner.size < self.spec.size);
        inner.listed.hungry = arrived.is_some();
        arrived
    }

    /// Since when its first free connection is free, when the pool is not listed with it yet. It is then.
    pub(super) fn becomes_listed(&self) -> Option<Instant> {
        let mut inner = self.inner.lock();
        if inner.listed.idle {
            return None;
        }
        let since = inner.idle.front()?.since;
        inner.listed.idle = true;
        Some(since)
    }

    /// Gives up the connection that was free for longest, if that was since `at` or before; and says since when the next
    /// one is free. `None`: none is, and the pool is not listed any more.
    pub(super) fn evict(&self, at: Instant) -> (Option<Box<Unconfirmed>>, Option<Instant>) {
        let mut inner = self.inner.lock();
        let due = inner.idle.front().is_some_and(|idle| idle.since <= at);
        let evicted = if due { inner.idle.pop_front() } else { None };
        let next = inner.idle.front().map(|idle| idle.since);
        inner.listed.idle = next.is_some();
        (evicted.map(|idle| idle.server), next)
    }

    /// Whether the pool has to be listed with those that have connections. It is then.
    pub(super) fn becomes_occupied(self: &Arc<Self>) -> bool {
        !std::mem::replace(&mut self.inner.lock().listed.occupied, true)
    }

    /// Whether it still has connections. If not, it is listed no more.
    pub(super) fn is_occupied(&self) -> bool {
        let mut inner = self.inner.lock();
        inner.listed.occupied = inner.size > 0;
        inner.listed.occupied
    }
}
