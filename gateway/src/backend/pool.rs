//! A pool: the server connections to one PostgreSQL for one database and user. First come, first served; a connection
//! that comes back goes straight to the client that has waited longest.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::connect::{self, ConnectError, ServerLogin};
use super::connection::Connection;
use super::identity::{Identity, IdentityError, Unconfirmed};
use super::node::Node;
use super::statements::Held;
use crate::app::worker;
use crate::stats::Seats;
use pgdog_jwt::config::Secret;

/// Failed connections ahead of need are tried again after 2, 4, 8 … seconds, at most 2 to this power.
const MAX_BACK_OFF: u32 = 6;

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
    pub(crate) checkout_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) server_lifetime: Duration,
    pub(crate) prepared_statements: usize,
}

/// Why no server connection was to be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckoutError {
    #[error("no server connection became free within {0:?}")]
    Timeout(Duration),
    #[error("the pool was closed")]
    Closed,
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the server did not answer within {0:?}")]
    ConnectTimeout(Duration),
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl ConnectError {
    /// Whether there was no answer at all, so that another server may still do.
    pub(crate) fn is_unreachable(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            // The server starts, stops, or has no room (PostgreSQL documentation, class 57P and 53).
            Self::Refused(fields) => fields.code.starts_with("57P"),
            _ => false,
        }
    }
}

/// See the module.
pub(crate) struct Pool {
    pub(crate) spec: PoolSpec,
    pub(crate) node: Arc<Node>,
    inner: Mutex<Inner>,
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
struct Inner {
    /// Free connections, the one used last at the end.
    idle: Vec<Idle>,
    /// Connections that exist or are being made: free, in use, on their way.
    size: usize,
    waiters: VecDeque<oneshot::Sender<Handover>>,
    closed: bool,
    /// Connections ahead of need that failed in a row, and when the next may be tried.
    failures: u32,
    open_after: Option<Instant>,
}

struct Idle {
    server: Unconfirmed,
    since: Instant,
}

/// What a waiter is given.
enum Handover {
    Server(Box<Unconfirmed>),
    /// Room to make a connection.
    Slot(Slot),
}

/// The right to one of a pool's connections. Dropping it makes room for another, whatever the reason: there is no way to
/// lose one.
pub(crate) struct Slot(Arc<Pool>);

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
    Server(Box<Unconfirmed>),
    Slot(Slot),
    Wait(oneshot::Receiver<Handover>),
}

impl Pool {
    pub(crate) fn new(spec: PoolSpec, node: Arc<Node>) -> Arc<Self> {
        Arc::new(Self { spec, node, inner: Mutex::default(), stats: PoolStats::default() })
    }

    /// A free connection, if there is one at once.
    #[inline]
    pub(crate) fn try_check_out(self: &Arc<Self>) -> Option<Unconfirmed> {
        loop {
            let server = {
                let mut inner = self.inner.lock();
                if !inner.waiters.is_empty() {
                    return None;
                }
                inner.take_idle()?
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
            let handover = match found {
                Found::Server(server) => Handover::Server(server),
                Found::Slot(slot) => Handover::Slot(slot),
                Found::Wait(receiver) => self.wait(receiver, deadline).await?,
            };
            match handover {
                Handover::Slot(slot) => return self.connect(slot).await,
                Handover::Server(server) => {
                    if let Some(server) = usable(*server) {
                        return Ok(server);
                    }
                }
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
            if let Some(server) = inner.take_idle() {
                return Some(Found::Server(Box::new(server)));
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

    /// Makes a connection and makes sure of its identity. Tried `connect_attempts` times while the server cannot be
    /// reached; a server that says no is not asked again.
    async fn connect(self: &Arc<Self>, slot: Slot) -> Result<Unconfirmed, CheckoutError> {
        let limits = self.spec.limits;
        let mut attempt = 1;
        let mut connection = loop {
            let made = tokio::time::timeout(limits.connect_timeout, self.log_in()).await;
            match made {
                Ok(Ok(connection)) => break connection,
                Ok(Err(error)) if !error.is_unreachable() || attempt >= limits.connect_attempts => {
                    if error.is_unreachable() {
                        self.node.mark_down();
                    }
                    return Err(error.into());
                }
                Err(_) if attempt >= limits.connect_attempts => {
                    self.node.mark_down();
                    return Err(CheckoutError::ConnectTimeout(limits.connect_timeout));
                }
                _ => attempt += 1,
            }
        };
        self.node.mark_up();
        self.stats.connects.fetch_add(1, Ordering::Relaxed);
        let held = Held::new(limits.prepared_statements);
        connection.seat = Some(self.stats.seats.take(connection.process, connection.is_tls(), held.count()));
        let first = Unconfirmed::first(connection, slot, &self.spec.identity, held);
        match tokio::time::timeout(limits.connect_timeout, first).await {
            Ok(server) => Ok(server?),
            Err(_) => Err(CheckoutError::ConnectTimeout(limits.connect_timeout)),
        }
    }

    async fn log_in(&self) -> Result<Connection, ConnectError> {
        let mut parameters = vec![("client_encoding", "UTF8"), ("application_name", "pgdog-jwt")];
        if let Some(role) = &self.spec.identity.role {
            // In the start-up packet the role becomes PostgreSQL's own reset value: RESET and DISCARD ALL lead back to
            // the subject, not to the account that logged in.
            parameters.push(("role", role));
        }
        if self.spec.identity.read_only {
            parameters.push(("default_transaction_read_only", "on"));
        }
        parameters.extend(self.spec.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let login = ServerLogin {
            user: &self.spec.user,
            password: self.spec.password.as_ref().map(Secret::expose),
            database: &self.spec.database,
            parameters: &parameters,
        };
        let tls = self.node.tls.load_full();
        let connected = connect::connect(&self.node.address, login, &tls, &self.node.tcp).await?;
        Ok(Connection::new(connected))
    }

    /// Takes a connection back: for the client that has waited longest, or among the free ones.
    #[inline]
    pub(crate) fn check_in(server: Unconfirmed) {
        let pool = server.slot.pool().clone();
        if pool.is_spent(&server) {
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

    fn is_spent(&self, server: &Unconfirmed) -> bool {
        server.connection.is_retired() || server.connection.connected_at.elapsed() > self.spec.limits.server_lifetime
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

    /// Closes connections that were free for too long, are too old, or died; opens some when there are too few. Gives
    /// the number that should be opened.
    pub(crate) fn tidy(self: &Arc<Self>) -> usize {
        let limits = self.spec.limits;
        let mut leaving = Vec::new();
        let mut inner = self.inner.lock();
        let mut at = 0;
        while at < inner.idle.len() {
            let too_many = inner.size > self.spec.min_size;
            let idle = &mut inner.idle[at];
            let stale = too_many && idle.since.elapsed() > limits.idle_timeout;
            if stale || self.is_spent(&idle.server) || !idle.server.connection.is_alive() {
                leaving.push(inner.idle.remove(at));
            } else {
                at += 1;
            }
        }
        let wait = inner.closed || inner.open_after.is_some_and(|after| after > Instant::now());
        let missing = if wait { 0 } else { self.spec.min_size.saturating_sub(inner.size - leaving.len()) };
        drop(inner);
        for idle in &mut leaving {
            idle.server.connection.farewell();
        }
        missing
    }

    /// Opens one connection ahead of need.
    pub(crate) async fn open_one(self: &Arc<Self>) -> Result<(), CheckoutError> {
        let slot = {
            let mut inner = self.inner.lock();
            if inner.closed || inner.size >= self.spec.size {
                return Ok(());
            }
            inner.size += 1;
            Slot(self.clone())
        };
        let made = self.connect(slot).await;
        let mut inner = self.inner.lock();
        inner.failures = if made.is_ok() { 0 } else { (inner.failures + 1).min(MAX_BACK_OFF) };
        inner.open_after = made.is_err().then(|| Instant::now() + Duration::from_secs(1 << inner.failures));
        drop(inner);
        Self::check_in(made?);
        Ok(())
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
    fn take_idle(&mut self) -> Option<Unconfirmed> {
        const LOOK_AT: usize = 8;
        let here = worker::current();
        let count = self.idle.len();
        let own = (count.saturating_sub(LOOK_AT)..count)
            .rev()
            .find(|at| self.idle.get(*at).is_some_and(|idle| idle.server.connection.worker() == here));
        match own {
            Some(at) => Some(self.idle.remove(at).server),
            None => self.idle.pop().map(|idle| idle.server),
        }
    }
}

/// The connection, if it is alive, on this worker's reactor.
#[inline]
fn usable(server: Unconfirmed) -> Option<Unconfirmed> {
    let Unconfirmed { connection, known, applied, held, unnamed, slot } = server;
    let mut connection = connection.adopt().ok()?;
    connection.is_alive().then_some(())?;
    Some(Unconfirmed { connection, known, applied, held, unnamed, slot })
}
