//! The budget of a server: how many connections all pools of it may have together. A pool that needs one when the budget
//! is spent gets that of the free connection that was idle for longest, whichever pool has it; when none is free, its
//! client waits, and clients are served in the order in which they came, over all pools.
//!
//! What a check-in or check-out of a free connection costs does not depend on any of this: a pool is listed once when it
//! gets a free connection, and looked at again when somebody needs it. Both lists may therefore hold pools that have
//! nothing to give or to ask for any more, and times that are too early; whoever takes the first entry puts that right.
//!
//! Locks are taken in one order: the budget's, then a pool's. A [`Slot`] is never dropped under either.

#[cfg(test)]
mod tests;

use std::cmp::Ordering as Order;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::identity::Unconfirmed;
use super::pool::Pool;
use super::slot::{Handover, Slot};

/// See the module.
pub(crate) struct Budget {
    /// What the hot path looks at: whether there is a limit, and whether somebody may be waiting because of it.
    is_limited: AtomicBool,
    is_pressed: AtomicBool,
    state: Mutex<State>,
}

/// A budget at one moment.
pub(crate) struct BudgetView {
    /// `None`: no limit.
    pub(crate) limit: Option<usize>,
    /// Connections that exist or are being made.
    pub(crate) used: usize,
    /// Clients that the budget alone keeps waiting.
    pub(crate) waiting: usize,
}

struct State {
    /// [`usize::MAX`]: none.
    limit: usize,
    used: usize,
    /// Pools whose clients wait though the pool is not full, by the arrival of the first.
    hungry: BinaryHeap<Entry>,
    /// Pools with free connections, by since when the first is free. Kept while there is a limit.
    idle: BinaryHeap<Entry>,
    /// Pools that have connections.
    occupied: Vec<Weak<Pool>>,
}

/// A pool in a list; the earliest is the greatest.
struct Entry {
    at: Instant,
    pool: Weak<Pool>,
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Order {
        other.at.cmp(&self.at)
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Order> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Entry {}

/// What is to be done when the locks are let go.
#[derive(Default)]
struct Outgoing {
    grants: Vec<(oneshot::Sender<Handover>, Slot)>,
    leaving: Vec<Unconfirmed>,
}

impl Outgoing {
    fn send(self) {
        for mut server in self.leaving {
            server.connection.farewell();
        }
        for (waiter, slot) in self.grants {
            // A waiter that has just left gives the slot back by dropping it.
            let _ = waiter.send(Handover::Slot(slot));
        }
    }
}

impl Budget {
    pub(crate) fn new(limit: Option<usize>) -> Arc<Self> {
        Arc::new(Self {
            is_limited: AtomicBool::new(limit.is_some()),
            is_pressed: AtomicBool::new(false),
            state: Mutex::new(State {
                limit: limit.unwrap_or(usize::MAX),
                used: 0,
                hungry: BinaryHeap::new(),
                idle: BinaryHeap::new(),
                occupied: Vec::new(),
            }),
        })
    }

    /// Whether free connections have to be listed. Asked under the lock of a pool.
    #[inline]
    pub(super) fn is_limited(&self) -> bool {
        self.is_limited.load(Ordering::Relaxed)
    }

    /// Whether a connection that comes back may be due to another pool.
    #[inline]
    pub(super) fn is_pressed(&self) -> bool {
        self.is_pressed.load(Ordering::Relaxed)
    }

    /// Another limit, at once: free connections that are too many are closed, others when they come back.
    pub(crate) fn set_limit(&self, limit: Option<usize>) {
        self.change(|state, outgoing| {
            state.limit = limit.unwrap_or(usize::MAX);
            self.is_limited.store(limit.is_some(), Ordering::Relaxed);
            if limit.is_some() {
                state.list_all_idle();
            }
            while state.used > state.limit {
                let Some(server) = state.evict() else { break };
                state.used -= 1;
                outgoing.leaving.push(*server);
            }
        });
    }

    /// Room for one more connection of the pool, if both have some and nobody waits for it.
    pub(super) fn take(&self, pool: &Arc<Pool>) -> Option<Slot> {
        let mut state = self.state.lock();
        if state.used >= state.limit || state.first_hungry().is_some() || !pool.reserve() {
            return None;
        }
        state.used += 1;
        state.note_occupied(pool);
        Some(Slot::new(pool.clone(), None))
    }

    /// The pool has clients that wait, and is not full.
    pub(super) fn enlist(&self, pool: &Arc<Pool>) {
        self.change(|state, _| state.list_hungry(pool));
    }

    /// The pool has a free connection and was not listed.
    pub(super) fn list_idle(&self, pool: &Arc<Pool>, since: Instant) {
        self.change(|state, _| state.idle.push(Entry { at: since, pool: Arc::downgrade(pool) }));
    }

    /// A slot of the pool is gone.
    pub(super) fn released(&self, pool: &Arc<Pool>, counted: bool) {
        self.change(|state, _| {
            state.used -= usize::from(counted);
            state.list_hungry(pool);
        });
    }

    /// Decides about a connection that comes back while somebody may be waiting: `None` when it had to make room.
    pub(super) fn claim(&self, mut server: Box<Unconfirmed>) -> Option<Box<Unconfirmed>> {
        let mut kept = None;
        self.change(|state, outgoing| {
            if state.used > state.limit {
                state.used -= 1;
                server.slot.give_share();
                outgoing.leaving.push(*server);
                return;
            }
            let own = server.slot.pool().first_arrival();
            match state.first_hungry() {
                Some((pool, arrived)) if own.is_none_or(|own| arrived < own) => {
                    server.slot.give_share();
                    kept = state.grant(&pool, Some(server), outgoing);
                    if let Some(server) = &mut kept {
                        server.slot.keep_share();
                    }
                }
                _ => kept = Some(server),
            }
        });
        kept
    }

    /// Pools that have connections.
    pub(crate) fn occupied(&self) -> Vec<Arc<Pool>> {
        let mut pools = Vec::new();
        self.state.lock().occupied.retain(|pool| {
            let pool = pool.upgrade().filter(|pool| pool.is_occupied());
            pools.extend(pool.clone());
            pool.is_some()
        });
        pools
    }

    /// The budget as it is now.
    pub(crate) fn view(&self) -> BudgetView {
        let state = self.state.lock();
        let pools: Vec<_> = state.hungry.iter().filter_map(|entry| entry.pool.upgrade()).collect();
        let (limit, used) = (Some(state.limit).filter(|limit| *limit != usize::MAX), state.used);
        drop(state);
        BudgetView { limit, used, waiting: pools.iter().map(|pool| pool.view().waiting).sum() }
    }

    /// Changes the state, serves those who wait as far as it allows, and does the rest without the lock.
    fn change(&self, change: impl FnOnce(&mut State, &mut Outgoing)) {
        let mut outgoing = Outgoing::default();
        let mut state = self.state.lock();
        change(&mut state, &mut outgoing);
        state.serve(&mut outgoing);
        let pressed = state.limit != usize::MAX && (state.used > state.limit || !state.hungry.is_empty());
        self.is_pressed.store(pressed, Ordering::Relaxed);
        drop(state);
        outgoing.send();
    }
}

impl State {
    /// Gives room to those who wait, the first first, while there is any or can be made.
    fn serve(&mut self, outgoing: &mut Outgoing) {
        while let Some((pool, _)) = self.first_hungry() {
            if self.used < self.limit {
                let granted = outgoing.grants.len();
                self.grant(&pool, None, outgoing);
                self.used += outgoing.grants.len() - granted;
                continue;
            }
            if self.used > self.limit {
                break;
            }
            let Some(server) = self.evict() else { break };
            if let Some(server) = self.grant(&pool, Some(server), outgoing) {
                // The waiter got a connection of its own pool in this moment.
                self.used -= 1;
                outgoing.leaving.push(*server);
            }
        }
    }

    /// Gives the pool's first waiter the room for a connection, after another's when there was one. That comes back when
    /// nobody waits any more.
    fn grant(
        &mut self,
        pool: &Arc<Pool>,
        after: Option<Box<Unconfirmed>>,
        outgoing: &mut Outgoing,
    ) -> Option<Box<Unconfirmed>> {
        let Some(waiter) = pool.reserve_for_waiter() else { return after };
        self.note_occupied(pool);
        outgoing.grants.push((waiter, Slot::new(pool.clone(), after)));
        None
    }

    /// The pool whose first client has waited for longest, and since when.
    fn first_hungry(&mut self) -> Option<(Arc<Pool>, Instant)> {
        loop {
            let Entry { at, pool } = self.hungry.pop()?;
            let Some(pool) = pool.upgrade() else { continue };
            let Some(arrived) = pool.still_hungry() else { continue };
            self.hungry.push(Entry { at: arrived, pool: Arc::downgrade(&pool) });
            if arrived <= at {
                return Some((pool, arrived));
            }
        }
    }

    /// The connection that was idle for longest, out of its pool. Its share of the budget is the caller's.
    fn evict(&mut self) -> Option<Box<Unconfirmed>> {
        loop {
            let Entry { at, pool } = self.idle.pop()?;
            let Some(pool) = pool.upgrade() else { continue };
            let (evicted, next) = pool.evict(at);
            if let Some(next) = next {
                self.idle.push(Entry { at: next, pool: Arc::downgrade(&pool) });
            }
            if let Some(mut server) = evicted {
                server.slot.give_share();
                return Some(server);
            }
        }
    }

    fn list_hungry(&mut self, pool: &Arc<Pool>) {
        if let Some(arrived) = pool.becomes_hungry() {
            self.hungry.push(Entry { at: arrived, pool: Arc::downgrade(pool) });
        }
    }

    fn list_all_idle(&mut self) {
        for pool in self.occupied.iter().filter_map(Weak::upgrade) {
            if let Some(since) = pool.becomes_listed() {
                self.idle.push(Entry { at: since, pool: Arc::downgrade(&pool) });
            }
        }
    }

    fn note_occupied(&mut self, pool: &Arc<Pool>) {
        if pool.becomes_occupied() {
            self.occupied.push(Arc::downgrade(pool));
        }
    }
}
