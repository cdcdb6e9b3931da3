//! New connections of a pool: not too many at a time, not too soon after one failed, and checked before they serve.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rand::RngExt;
use tokio::sync::SemaphorePermit;

use super::backoff::Permission;
use super::bans::BanReason;
use super::checkout_error::CheckoutError;
use super::connect::{self, ConnectError, ServerLogin};
use super::connection::Connection;
use super::greeting::OWN_NAME;
use super::held::Held;
use super::identity::Unconfirmed;
use super::pool::{Pool, PoolSpec};
use super::slot::Slot;
use pgdog_jwt::config::Secret;

impl PoolSpec {
    /// What a start-up packet says besides user and database.
    pub(crate) fn startup_parameters(&self) -> Vec<(&str, &str)> {
        let mut parameters = vec![("client_encoding", "UTF8"), ("application_name", OWN_NAME)];
        if let Some(role) = &self.identity.role {
            // In the start-up packet the role becomes PostgreSQL's own reset value: RESET and DISCARD ALL lead back to
            // the subject, not to the account that logged in.
            parameters.push(("role", role));
        }
        if self.identity.read_only {
            parameters.push(("default_transaction_read_only", "on"));
        }
        parameters.extend(self.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        parameters
    }
}

impl Pool {
    /// Makes a connection and makes sure of its identity. While the server is known to be absent, a `patient` caller waits
    /// for the next attempt, until `deadline`; another one has waited already and hears of the last failure at once.
    pub(super) async fn connect(
        self: &Arc<Self>,
        mut slot: Slot,
        deadline: Option<Instant>,
        patient: bool,
    ) -> Result<Box<Unconfirmed>, CheckoutError> {
        if self.spec.proof.has_expired() {
            return Err(CheckoutError::TokenExpired);
        }
        slot.succeed().await;
        let permit = self.permit(deadline, patient).await?;
        let limits = self.spec.limits;
        let mut connection = match self.attempt().await {
            Ok(connection) => connection,
            Err(error) => {
                if error.is_unreachable() {
                    self.node.failures.fetch_add(1, Ordering::Relaxed);
                    self.node.missed(BanReason::Unreachable, limits.ban_timeout);
                }
                if error.is_login_refused() {
                    self.report_refusal(&error);
                }
                self.backoff.lock().failed(&error, self.node.returns());
                return Err(error.into());
            }
        };
        self.backoff.lock().clear();
        self.node.reached();
        self.node.connects.fetch_add(1, Ordering::Relaxed);
        self.stats.connects.fetch_add(1, Ordering::Relaxed);
        let held = Held::new(limits.prepared_statements);
        connection.seat = Some(self.stats.seats.take(connection.process, connection.is_tls(), held.count()));
        let first = Unconfirmed::first(connection, slot, &self.spec.identity, held);
        let outcome = tokio::time::timeout(limits.connect_timeout, first).await;
        drop(permit);
        match outcome {
            Ok(server) => Ok(server?),
            Err(_) => Err(CheckoutError::ConnectTimeout(limits.connect_timeout)),
        }
    }

    /// An outage goes by, this does not: somebody has to change a password or a rule.
    fn report_refusal(&self, error: &ConnectError) {
        self.node.refusals.fetch_add(1, Ordering::Relaxed);
        if let Some(times) = self.node.refusals_told.due() {
            tracing::error!(
                event = "server_login",
                decision = "refused",
                server = %self.node.address,
                database = self.spec.database,
                user = self.spec.user,
                reason = %error,
                times,
                "PostgreSQL does not let the gateway in"
            );
        }
    }

    /// Why the last attempt to connect failed; `None` when it did not.
    pub(crate) fn problem(&self) -> Option<String> {
        self.backoff.lock().error().map(|error| error.to_string())
    }

    /// The right to connect now.
    async fn permit(&self, deadline: Option<Instant>, patient: bool) -> Result<SemaphorePermit<'_>, CheckoutError> {
        let failures = loop {
            let permission = self.backoff.lock().permission(self.node.returns());
            match permission {
                Permission::Now => break self.backoff.lock().failures(),
                Permission::No(error) => return Err(error.into()),
                Permission::Later(at, error) => {
                    if !patient || deadline.is_some_and(|deadline| deadline < at) {
                        return Err(error.into());
                    }
                    self.pause(at).await;
                }
            }
        };
        let acquire = self.node.connecting.acquire();
        let permit = match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline.into(), acquire).await,
            None => Ok(acquire.await),
        };
        let permit = match permit {
            Ok(permit) => permit.map_err(|_| CheckoutError::Closed)?,
            Err(_) => return Err(CheckoutError::Timeout(self.spec.limits.checkout_timeout)),
        };
        // Others were before: what they found out holds for this one as well.
        let backoff = self.backoff.lock();
        match backoff.error() {
            Some(error) if backoff.failures() > failures => Err(error.into()),
            _ => Ok(permit),
        }
    }

    /// Until `at`, or until the server is back.
    async fn pause(&self, at: Instant) {
        const LOOK_EVERY: Duration = Duration::from_millis(50);
        let returns = self.node.returns();
        while Instant::now() < at && self.node.returns() == returns {
            tokio::time::sleep_until(at.min(Instant::now() + LOOK_EVERY).into()).await;
        }
    }

    /// Connects, `connect_attempts` times while the server cannot be reached. One that says no is not asked again.
    async fn attempt(&self) -> Result<Connection, ConnectError> {
        let limits = self.spec.limits;
        let mut attempt = 1;
        let mut is_renewed = false;
        loop {
            let password = self.spec.password.as_ref().map(Secret::latest);
            let error = match tokio::time::timeout(limits.connect_timeout, self.log_in(password.as_ref())).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) if error.is_login_refused() && !is_renewed && renew(password).await => {
                    is_renewed = true;
                    continue;
                }
                Ok(Err(error)) => error,
                Err(_) => {
                    let text = format!("no answer within {:?}", limits.connect_timeout);
                    ConnectError::unreachable(io::Error::new(io::ErrorKind::TimedOut, text))
                }
            };
            if attempt >= limits.connect_attempts || !error.is_unreachable() {
                return Err(error);
            }
            attempt += 1;
            tokio::time::sleep(limits.connect_attempt_delay).await;
        }
    }

    async fn log_in(&self, password: Option<&Secret>) -> Result<Connection, ConnectError> {
        let parameters = self.spec.startup_parameters();
        let login = ServerLogin {
            user: &self.spec.user,
            password: password.map(Secret::expose),
            proof: &self.spec.proof,
            database: &self.spec.database,
            parameters: &parameters,
        };
        let tls = self.node.tls.load_full();
        let connected = connect::connect(&self.node.address, login, &tls, &self.node.tcp).await?;
        let mut connection = Connection::new(connected);
        connection.expires_at = self.spec.proof.expires_at();
        connection.retires_at = Instant::now().checked_add(self.lifetime());
        Ok(connection)
    }

    /// `server_lifetime`, more or less by up to `server_lifetime_jitter`.
    fn lifetime(&self) -> Duration {
        let limits = self.spec.limits;
        if limits.server_lifetime_jitter.is_zero() {
            return limits.server_lifetime;
        }
        let least = limits.server_lifetime.saturating_sub(limits.server_lifetime_jitter);
        let most = limits.server_lifetime.saturating_add(limits.server_lifetime_jitter);
        rand::rng().random_range(least..=most)
    }
}

/// A password that is refused may have changed since its program was run. Whether there is another one now.
async fn renew(password: Option<Secret>) -> bool {
    let Some(password) = password.filter(Secret::is_renewable) else { return false };
    tokio::task::spawn_blocking(move || password.renew_refused()).await.unwrap_or(false)
}
