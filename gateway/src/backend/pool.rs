//! A pool: the server connections to one PostgreSQL for one database and user. First come, first served; a connection
//! that comes back goes straight to the client that has waited longest.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::backoff::Backoff;
use super::checkout_error::CheckoutError;
use super::connect::Proof;
use super::doubts::Doubts;
use super::identity::{Identity, Unconfirmed};
use super::node::Node;
use super::sharing::Listed;
use super::slot::{Handover, Slot, Waiter};
use super::upkeep::usable;
use crate::app::worker;
use crate::config::ServerCleaning;
use crate::stats::Seats;
use pgdog_jwt::config::Secret;

/// Free connections, or waiting clients, among which one of the worker's own is looked for.
const LOOK_AT: usize = 16;

/// How long a client may have waited before it is its turn, whatever worker it runs on.
const PATIENCE: Duration = Duration::from_millis(5);

/// What a pool connects to, as whom, and its limits. Two equal specifications are the same pool.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PoolSpec {
    pub(crate) user: String,
    pub(crate) password: Option<Secret>,
    /// How it proves that it may log in.
    pub(crate) proof: Proof,
    pub(crate) database: String,
    /// Who every connection of the pool must be; where it is `shared`, who it is after its login.
    pub(crate) identity: Arc<Identity>,
    /// Identities follow the clients: a connection becomes each of them in turn.
    pub(crate) shared: bool,
    /// Its clients' roles are made at their logins, while connections are open.
    pub(crate) makes_roles: bool,
    /// Further start-up parameters.
    pub(crate) parameters: Vec<(String, String)>,
    pub(crate) size: usize,
    pub(crate) min_size: usize,
    pub(crate) limits: PoolLimits,
}

/// Times and counts that all pools share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PoolLimits {
    pub(crate) connect_timeout: Duration,
    pub(crate) connect_attempts: u32,
    pub(crate) connect_attempt_delay: Duration,
    pub(crate) checkout_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) server_lifetime: Duration,
    pub(crate) server_lifetime_jitter: Duration,
    pub(crate) healthcheck_interval: Duration,
    pub(crate) healthcheck_timeout: Duration,
    pub(crate) ban_timeout: Duration,
    pub(crate) prepared_statements: usize,
    pub(crate) cleaning: ServerCleaning,
}

/// See the module.
pub(crate) struct Pool {
    pub(crate) spec: PoolSpec,
    pub(crate) node: Arc<Node>,
    pub(super) inner: Mutex<Inner>,
    pub(super) backoff: Mutex<Backoff>,
    pub(super) doubts: Mutex<Doubts>,
    pub(crate) stats: PoolStats,
}

/// What a pool has done since it was made.
#[derive(Debug, Default)]
pub(crate) struct PoolStats {
    pub(crate) connects: AtomicU64,
    pub(crate) waits: AtomicU64,
    pub(crate) timeouts: AtomicU64,
    /// The connections that exist.
    pub(crate) seats: Arc<Seats>,
}

/// Who wants a connection. Where identities share a pool, it makes a difference which connection that is.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) identity: Arc<Identity>,
    /// The number of the connection that the session had last; 0: none.
    pub(crate) last: u64,
    /// The number of the session.
    pub(crate) session: u64,
}

/// A pool at one moment.
pub(crate) struct View {
    /// The numbers of the free connections.
    pub(crate) idle: Vec<u64>,
    /// Connections that exist or are being made.
    pub(crate) size: usize,
    /// Clients in the queue.
    pub(crate) waiting: usize,
    /// How long the first of them has waited.
    pub(crate) longest_wait: Duration,
}

#[derive(Default)]
pub(super) struct Inner {
    /// Free connections, the one used last at the end.
    pub(super) idle: VecDeque<Idle>,
    /// Connections that exist or are being made: free, in use, on their way.
    pub(super) size: usize,
    pub(super) waiters: VecDeque<Waiter>,
    pub(super) closed: bool,
    pub(super) listed: Listed,
}

pub(super) struct Idle {
    pub(super) server: Box<Unconfirmed>,
    pub(super) since: Instant,
}

/// The first step of a check-out.
enum Found {
    Idle(Idle),
    Slot(Slot),
    Wait(oneshot::Receiver<Handover>),
}

impl Pool {
    pub(crate) fn new(spec: PoolSpec, node: Arc<Node>) -> Arc<Self> {
        let (inner, backoff, doubts, stats) = Default::default();
        Arc::new(Self { spec, node, inner, backoff, doubts, stats })
    }

    /// A free connection, if there is one at once that needs no check and is the right identity already; or, where
    /// `may_pipeline`, becomes it with the first request.
    #[inline]
    pub(crate) fn try_check_out(
        self: &Arc<Self>,
        wish: &Wish,
        may_pipeline: bool,
        now: Instant,
    ) -> Option<Box<Unconfirmed>> {
        loop {
            let server = {
                let mut inner = self.inner.lock();
                if !inner.waiters.is_empty() {
                    return None;
                }
                let idle = match self.spec.shared {
                    false => inner.take_idle(),
                    true if may_pipeline => inner.take_for(wish),
                    true => inner.take_fitting(wish),
                }?;
                if self.needs_check(&idle, now) {
                    // Where `check_out` finds it again.
                    if self.spec.shared {
                        inner.idle.push_front(idle)
                    } else {
                        inner.idle.push_back(idle)
                    }
                    return None;
                }
                idle.server
            };
            if let Some(mut server) = usable(server) {
                server.hand_to(wish.session);
                return Some(server);
            }
        }
    }

    /// A connection: a free one, a new one, or the next that comes back.
    pub(crate) async fn check_out(self: &Arc<Self>, wish: &Wish) -> Result<Box<Unconfirmed>, CheckoutError> {
        let mut server = self.obtain(wish).await?;
        server.hand_to(wish.session);
        Ok(server)
    }

    async fn obtain(self: &Arc<Self>, wish: &Wish) -> Result<Box<Unconfirmed>, CheckoutError> {
        let deadline = Instant::now().checked_add(self.spec.limits.checkout_timeout);
        loop {
            let found = self.find(wish).ok_or(CheckoutError::Closed)?;
            match found {
                Found::Slot(slot) => return self.connect(slot, deadline, true).await,
                Found::Idle(idle) => {
                    let doubtful = self.needs_check(&idle, Instant::now());
                    let Some(server) = usable(idle.server) else { continue };
                    if !doubtful {
                        return Ok(server);
                    }
                    if let Some(server) = self.check(server).await? {
                        return Ok(server);
                    }
                }
                Found::Wait(receiver) => match self.wait(receiver, deadline).await? {
                    Handover::Slot(slot) => return self.connect(slot, deadline, false).await,
                    Handover::Server(server) => {
                        if let Some(server) = usable(server) {
                            return Ok(server);
                        }
                    }
                },
            }
        }
    }

    /// `None`: the pool is closed.
    fn find(self: &Arc<Self>, wish: &Wish) -> Option<Found> {
        let mut inner = self.inner.lock();
        let mut may_grow = true;
        loop {
            if inner.closed {
                return None;
            }
            inner.forget_gone_waiters();
            if !inner.waiters.is_empty() {
                break;
            }
            let idle = if self.spec.shared { inner.take_for(wish) } else { inner.take_idle() };
            if let Some(idle) = idle {
                return Some(Found::Idle(idle));
            }
            if !std::mem::take(&mut may_grow) || inner.size >= self.spec.size {
                break;
            }
            drop(inner);
            if let Some(slot) = self.node.budget.take(self) {
                return Some(Found::Slot(slot));
            }
            inner = self.inner.lock();
        }
        let (sender, receiver) = oneshot::channel();
        inner.waiters.push_back(Waiter { arrived: Instant::now(), worker: worker::current(), sender });
        let is_full = inner.size >= self.spec.size;
        drop(inner);
        if !is_full {
            self.node.budget.enlist(self);
        }
        Some(Found::Wait(receiver))
    }

    async fn wait(
        &self,
        receiver: oneshot::Receiver<Handover>,
        deadline: Option<Instant>,
    ) -> Result<Handover, CheckoutError> {
        self.stats.waits.fetch_add(1, Ordering::Relaxed);
        let outcome = match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline.into(), receiver).await,
            None => Ok(receiver.await),
        };
        match outcome {
            Ok(Ok(handover)) => Ok(handover),
            Ok(Err(_)) => Err(CheckoutError::Closed),
            Err(_) => {
                self.stats.timeouts.fetch_add(1, Ordering::Relaxed);
                let limit = self.spec.limits.checkout_timeout;
                let is_full = self.inner.lock().size >= self.spec.size;
                Err(if is_full { CheckoutError::Timeout(limit) } else { CheckoutError::BudgetSpent(limit) })
            }
        }
    }

    /// See [`Self::check_in_at`].
    pub(crate) fn check_in(server: Box<Unconfirmed>) {
        Self::check_in_at(server, Instant::now());
    }

    /// Takes a connection back at this moment: for the client that has waited longest, or among the free ones.
    #[inline]
    pub(crate) fn check_in_at(mut server: Box<Unconfirmed>, now: Instant) {
        let pool = server.slot.pool().clone();
        server.connection.is_new = false;
        if server.connection.is_spent(now) {
            return;
        }
        let budget = &pool.node.budget;
        let claimed = if budget.is_pressed() { budget.claim(server) } else { Some(server) };
        let Some(mut server) = claimed else { return };
        let mut inner = pool.inner.lock();
        while let Some(waiter) = inner.next_waiter(now) {
            match waiter.sender.send(Handover::Server(server)) {
                Ok(()) => return,
                Err(Handover::Server(back)) => server = back,
                Err(Handover::Slot(_)) => return,
            }
        }
        if inner.closed {
            drop(inner);
            return;
        }
        inner.idle.push_back(Idle { server, since: now });
        let is_news = budget.is_limited() && !std::mem::replace(&mut inner.listed.idle, true);
        drop(inner);
        if is_news {
            budget.list_idle(&pool, now);
        }
    }

    /// Ends the pool: free connections are closed now, others when they come back, waiters are told.
    pub(crate) fn close(&self) {
        let mut inner = self.inner.lock();
        inner.closed = true;
        let mut idle = std::mem::take(&mut inner.idle);
        let waiters = std::mem::take(&mut inner.waiters);
        drop(inner);
        drop(waiters);
        for idle in &mut idle {
            idle.server.connection.farewell();
        }
    }

    /// The pool as it is now.
    pub(crate) fn view(&self) -> View {
        let inner = self.inner.lock();
        let waiters = || inner.waiters.iter().filter(|waiter| !waiter.sender.is_closed());
        View {
            idle: inner.idle.iter().map(|idle| idle.server.connection.seat_id()).collect(),
            size: inner.size,
            waiting: waiters().count(),
            longest_wait: waiters().next().map_or(Duration::ZERO, |waiter| waiter.arrived.elapsed()),
        }
    }

    /// Closes all connections: free ones now, others when they come back. New ones take their place.
    pub(crate) fn reconnect(self: &Arc<Self>) {
        for card in self.stats.seats.cards() {
            card.retire();
        }
        self.tidy();
    }

    /// The server may say something else now: it is asked at once.
    pub(crate) fn forget_failures(&self) {
        self.backoff.lock().clear();
    }

    /// Connections that exist or are being made.
    pub(crate) fn size(&self) -> usize {
        self.inner.lock().size
    }

    /// Connections in use.
    pub(crate) fn active(&self) -> usize {
        let inner = self.inner.lock();
        inner.size - inner.idle.len()
    }
}

impl Inner {
    /// The connection used last, one of this worker's own before another's: it needs no move to another reactor.
    #[inline]
    fn take_idle(&mut self) -> Option<Idle> {
        let here = worker::current();
        let count = self.idle.len();
        let own = (count.saturating_sub(LOOK_AT)..count)
            .rev()
            .find(|at| self.idle.get(*at).is_some_and(|idle| idle.server.connection.worker() == here));
        match own {
            Some(at) => self.idle.remove(at),
            None => self.idle.pop_back(),
        }
    }

    /// A connection that is the identity already: the one that the session had last, before others.
    #[inline]
    fn take_fitting(&mut self, wish: &Wish) -> Option<Idle> {
        let mut found = None;
        for (at, Idle { server, .. }) in self.idle.iter().enumerate().rev() {
            if server.known.as_ref().is_some_and(|known| Arc::ptr_eq(known, &wish.identity)) {
                found = found.or(Some(at));
                if server.connection.seat_id() == wish.last {
                    found = Some(at);
                    break;
                }
            }
        }
        self.idle.remove(found?)
    }

    /// Such a connection, or else the one that nobody has used for longest: the others stay what they are for those who
    /// come back soon. One of this worker's own before another's.
    fn take_for(&mut self, wish: &Wish) -> Option<Idle> {
        if let fitting @ Some(_) = self.take_fitting(wish) {
            return fitting;
        }
        let here = worker::current();
        let own = self.idle.iter().take(LOOK_AT).position(|idle| idle.server.connection.worker() == here);
        self.idle.remove(own.unwrap_or(0))
    }

    /// The client whose turn it is: the one that has waited longest. While nobody waits long, one of this worker's own comes
    /// before it, for whom neither another thread must wake up nor the socket move.
    fn next_waiter(&mut self, now: Instant) -> Option<Waiter> {
        let first = self.waiters.front()?;
        let here = worker::current();
        let waits_long = now.saturating_duration_since(first.arrived) > PATIENCE;
        let mut near = self.waiters.iter().take(LOOK_AT);
        let own = if waits_long { None } else { near.position(|waiter| waiter.worker == here) };
        self.waiters.remove(own.unwrap_or(0))
    }

    /// Waiters that have given up are no part of the queue.
    pub(super) fn forget_gone_waiters(&mut self) {
        while self.waiters.front().is_some_and(|waiter| waiter.sender.is_closed()) {
            self.waiters.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The workers of the waiting clients, in the order in which they are served, `waited` after they came.
    fn served(workers: &[usize], waited: Duration) -> Vec<usize> {
        let (mut inner, arrived) = (Inner::default(), Instant::now());
        let waiter = |worker: &usize| Waiter { arrived, worker: *worker, sender: oneshot::channel().0 };
        inner.waiters.extend(workers.iter().map(waiter));
        std::iter::from_fn(|| inner.next_waiter(arrived + waited)).map(|waiter| waiter.worker).collect()
    }

    #[test]
    fn a_client_of_the_same_worker_comes_first_while_nobody_waits_long() {
        let here = worker::current();

        assert_eq!(served(&[1, 2, here, 3, here], Duration::ZERO), [here, here, 1, 2, 3]);
        assert_eq!(served(&[1, 2, here, 3, here], PATIENCE * 2), [1, 2, here, 3, here]);
        assert!(served(&[], Duration::ZERO).is_empty());
    }

    #[test]
    fn the_look_for_a_client_of_the_same_worker_is_short() {
        let here = worker::current();
        let mut workers = vec![1; LOOK_AT];
        workers.push(here);

        assert_eq!(served(&workers, Duration::ZERO).first(), Some(&1));
    }
}
