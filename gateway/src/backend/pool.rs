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
use super::identity::{Identity, Unconfirmed};
use super::node::Node;
use super::upkeep::usable;
use crate::app::worker;
use crate::stats::Seats;
use pgdog_jwt::config::Secret;

/// What a pool connects to, as whom, and its limits. Two equal specifications are the same pool.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PoolSpec {
    pub(crate) user: String,
    pub(crate) password: Option<Secret>,
    pub(crate) database: String,
    /// Who every connection of the pool must be.
    pub(crate) identity: Arc<Identity>,
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
}

/// See the module.
pub(crate) struct Pool {
    pub(crate) spec: PoolSpec,
    pub(crate) node: Arc<Node>,
    pub(super) inner: Mutex<Inner>,
    pub(super) backoff: Mutex<Backoff>,
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

/// A pool at one moment.
pub(crate) struct View {
    /// The numbers of the free connections.
    pub(crate) idle: Vec<u64>,
    /// Connections that exist or are being made.
    pub(crate) size: usize,
    /// Clients in the queue.
    pub(crate) waiting: usize,
}

#[derive(Default)]
pub(super) struct Inner {
    /// Free connections, the one used last at the end.
    pub(super) idle: Vec<Idle>,
    /// Connections that exist or are being made: free, in use, on their way.
    pub(super) size: usize,
    waiters: VecDeque<oneshot::Sender<Handover>>,
    pub(super) closed: bool,
}

pub(super) struct Idle {
    pub(super) server: Unconfirmed,
    pub(super) since: Instant,
}

/// What a waiter is given.
enum Handover {
    Server(Box<Unconfirmed>),
    /// Room to make a connection.
    Slot(Slot),
}

/// The right to one of a pool's connections. Dropping it makes room for another, whatever the reason: there is no way to
/// lose one.
pub(crate) struct Slot(pub(super) Arc<Pool>);

impl Slot {
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.0
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.release_slot();
    }
}

/// The first step of a check-out.
enum Found {
    Idle(Box<Idle>),
    Slot(Slot),
    Wait(oneshot::Receiver<Handover>),
}

impl Pool {
    pub(crate) fn new(spec: PoolSpec, node: Arc<Node>) -> Arc<Self> {
        Arc::new(Self { spec, node, inner: Mutex::default(), backoff: Mutex::default(), stats: PoolStats::default() })
    }

    /// A free connection, if there is one at once that needs no check.
    #[inline]
    pub(crate) fn try_check_out(self: &Arc<Self>) -> Option<Unconfirmed> {
        loop {
            let server = {
                let mut inner = self.inner.lock();
                if !inner.waiters.is_empty() {
                    return None;
                }
                let idle = inner.take_idle()?;
                if self.needs_check(&idle) {
                    inner.idle.push(idle);
                    return None;
                }
                idle.server
            };
            if let Some(server) = usable(server) {
                return Some(server);
            }
        }
    }

    /// A connection: a free one, a new one, or the next that comes back.
    pub(crate) async fn check_out(self: &Arc<Self>) -> Result<Unconfirmed, CheckoutError> {
        let deadline = Instant::now().checked_add(self.spec.limits.checkout_timeout);
        loop {
            let found = self.find().ok_or(CheckoutError::Closed)?;
            match found {
                Found::Slot(slot) => return self.connect(slot, deadline, true).await,
                Found::Idle(idle) => {
                    let doubtful = self.needs_check(&idle);
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
                        if let Some(server) = usable(*server) {
                            return Ok(server);
                        }
                    }
                },
            }
        }
    }

    /// `None`: the pool is closed.
    fn find(self: &Arc<Self>) -> Option<Found> {
        let mut inner = self.inner.lock();
        if inner.closed {
            return None;
        }
        while inner.waiters.front().is_some_and(oneshot::Sender::is_closed) {
            inner.waiters.pop_front();
        }
        if inner.waiters.is_empty() {
            if let Some(idle) = inner.take_idle() {
                return Some(Found::Idle(Box::new(idle)));
            }
            if inner.size < self.spec.size {
                inner.size += 1;
                return Some(Found::Slot(Slot(self.clone())));
            }
        }
        let (sender, receiver) = oneshot::channel();
        inner.waiters.push_back(sender);
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
                Err(CheckoutError::Timeout(self.spec.limits.checkout_timeout))
            }
        }
    }

    /// Takes a connection back: for the client that has waited longest, or among the free ones.
    #[inline]
    pub(crate) fn check_in(server: Unconfirmed) {
        let pool = server.slot.pool().clone();
        if server.connection.is_spent() {
            return;
        }
        let mut server = Box::new(server);
        let mut inner = pool.inner.lock();
        while let Some(waiter) = inner.waiters.pop_front() {
            match waiter.send(Handover::Server(server)) {
                Ok(()) => return,
                Err(Handover::Server(back)) => server = back,
                Err(Handover::Slot(_)) => return,
            }
        }
        if inner.closed {
            drop(inner);
            return;
        }
        inner.idle.push(Idle { server: *server, since: Instant::now() });
    }

    fn release_slot(self: &Arc<Self>) {
        let mut inner = self.inner.lock();
        inner.size -= 1;
        while let Some(waiter) = inner.waiters.pop_front() {
            if waiter.is_closed() {
                continue;
            }
            inner.size += 1;
            // The lock is let go first: a waiter that has just left gives the slot back by dropping it.
            drop(inner);
            let _ = waiter.send(Handover::Slot(Slot(self.clone())));
            return;
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
        View {
            idle: inner.idle.iter().map(|idle| idle.server.connection.seat_id()).collect(),
            size: inner.size,
            waiting: inner.waiters.iter().filter(|waiter| !waiter.is_closed()).count(),
        }
    }

    /// Closes all connections: free ones now, others when they come back. New ones take their place.
    pub(crate) fn reconnect(self: &Arc<Self>) {
        for card in self.stats.seats.cards() {
            card.retire();
        }
        self.tidy();
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
        const LOOK_AT: usize = 8;
        let here = worker::current();
        let count = self.idle.len();
        let own = (count.saturating_sub(LOOK_AT)..count)
            .rev()
            .find(|at| self.idle.get(*at).is_some_and(|idle| idle.server.connection.worker() == here));
        match own {
            Some(at) => Some(self.idle.remove(at)),
            None => self.idle.pop(),
        }
    }
}
