//! What a pool does while nobody asks it for anything, and the check of a connection that was free for long.

use std::sync::Arc;
use std::time::Instant;

use super::bans::BanReason;
use super::checkout_error::CheckoutError;
use super::connect::ConnectError;
use super::identity::Unconfirmed;
use super::pool::{Idle, Pool};

/// Asks for nothing but an answer.
const CHECK: &str = "SELECT 1";

impl Pool {
    /// Whether a free connection has to show that it is alive before a client gets it. One that came back a short while
    /// ago has done so.
    #[inline]
    pub(super) fn needs_check(&self, idle: &Idle, now: Instant) -> bool {
        idle.since.checked_add(self.spec.limits.healthcheck_interval).is_some_and(|due| due <= now)
    }

    /// Checks a connection. `None`: it is gone, the next one may do. No answer in time is the server's failure.
    pub(super) async fn check(&self, mut server: Box<Unconfirmed>) -> Result<Option<Box<Unconfirmed>>, CheckoutError> {
        let limits = self.spec.limits;
        match tokio::time::timeout(limits.healthcheck_timeout, server.connection.query_fresh(CHECK)).await {
            Ok(Ok(_)) => Ok(Some(server)),
            Ok(Err(error)) => {
                tracing::debug!(%error, address = %self.node.address, "a free connection did not pass its check");
                Ok(None)
            }
            Err(_) => {
                self.node.missed(BanReason::Unhealthy, limits.ban_timeout);
                let text = format!("no answer to a check within {:?}", limits.healthcheck_timeout);
                Err(ConnectError::unreachable(std::io::Error::new(std::io::ErrorKind::TimedOut, text)).into())
            }
        }
    }

    /// Closes connections that were free for too long, are too old, or died.
    pub(crate) fn tidy(&self) {
        let limits = self.spec.limits;
        let now = Instant::now();
        let mut leaving = Vec::new();
        let mut inner = self.inner.lock();
        let mut at = 0;
        while at < inner.idle.len() {
            let too_many = inner.size - leaving.len() > self.spec.min_size;
            let idle = &mut inner.idle[at];
            let stale = too_many && now.saturating_duration_since(idle.since) > limits.idle_timeout;
            if stale || idle.server.connection.is_spent(now) || !idle.server.connection.is_alive() {
                leaving.extend(inner.idle.remove(at));
            } else {
                at += 1;
            }
        }
        drop(inner);
        for idle in &mut leaving {
            idle.server.connection.farewell();
        }
    }

    /// Whether there are fewer connections than there always should be.
    pub(crate) fn is_short(&self) -> bool {
        if self.spec.min_size == 0 || self.spec.proof.has_expired() {
            return false;
        }
        let inner = self.inner.lock();
        !inner.closed && inner.size < self.spec.min_size
    }

    /// Opens one connection ahead of need, where there is room for it that nobody waits for.
    pub(crate) async fn open_one(self: &Arc<Self>) -> Result<(), CheckoutError> {
        let Some(slot) = self.node.budget.take(self) else { return Ok(()) };
        let deadline = Instant::now().checked_add(self.spec.limits.checkout_timeout);
        Self::check_in(self.connect(slot, deadline, false).await?);
        Ok(())
    }

    /// Whether the server has refused this pool's login a short while ago.
    pub(crate) fn is_refused(&self) -> bool {
        self.backoff.lock().is_refused()
    }
}

/// The connection, if it is alive, on this worker's reactor.
#[inline]
pub(super) fn usable(server: Box<Unconfirmed>) -> Option<Box<Unconfirmed>> {
    if server.connection.has_expired() {
        return None;
    }
    let mut server = server.adopt()?;
    server.connection.is_alive().then_some(())?;
    let pool = server.slot.pool();
    if pool.spec.identity.read_only && server.connection.is_primary() {
        // It was promoted while the connection was free: no place for a read-only identity any more (S10).
        pool.node.observe_at_login(false);
        return None;
    }
    Some(server)
}
