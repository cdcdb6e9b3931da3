//! How long a session lets things last: `query_timeout`, `transaction_timeout`, the client's silence; and the notice to a client
//! that waits long for a server (`query_wait_notify`).

use std::num::NonZeroU64;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use super::{End, Session, TRANSACTION_TIMEOUT};
use crate::backend::gate;
use crate::stats::clock;
use crate::wire::PgError;

/// Values of `client_min_messages` with which a client wants no notices.
const ABOVE_NOTICE: [&str; 2] = ["warning", "error"];

/// Limits on how long a session may take over something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    Query,
    Transaction,
    Idle,
    IdleInTransaction,
}

impl Session {
    /// The limit that ends first of those that hold now.
    #[inline]
    pub(super) fn time_limit(&self) -> Option<(Duration, Limit)> {
        let has_limits = self.generation.has_client_limits || self.generation.limits_requests;
        if has_limits { self.first_limit() } else { None }
    }

    #[inline(never)]
    fn first_limit(&self) -> Option<(Duration, Limit)> {
        let general = &self.generation.config.general;
        let (limit, kind) = match (&self.server, self.asked_at) {
            (_, Some(asked)) => (left(self.query_timeout(), asked), Limit::Query),
            (Some(server), None) if server.status() != b'I' => {
                (general.client_idle_in_transaction_timeout, Limit::IdleInTransaction)
            }
            (None, None) if self.begun.is_some() => {
                (general.client_idle_in_transaction_timeout, Limit::IdleInTransaction)
            }
            _ if self.is_quiet() => (general.client_idle_timeout, Limit::Idle),
            _ => (Duration::MAX, Limit::Idle),
        };
        let transaction = self.time_of_transaction();
        let (limit, kind) = if transaction < limit { (transaction, Limit::Transaction) } else { (limit, kind) };
        (limit != Duration::MAX).then_some((limit, kind))
    }

    /// What is left of `transaction_timeout`.
    fn time_of_transaction(&self) -> Duration {
        let limit = self.generation.config.general.transaction_timeout;
        self.transaction_since.map_or(Duration::MAX, |since| left(limit, since))
    }

    /// Whether the transaction may go on.
    pub(super) fn has_time(&self) -> bool {
        !self.time_of_transaction().is_zero()
    }

    /// How long a query may take: as long as everybody's, and no longer than a tenant's.
    fn query_timeout(&self) -> Duration {
        let config = &self.generation.config;
        let of_tenants = config.tenants.as_ref().filter(|_| self.who.tenant().is_some());
        let general = config.general.query_timeout;
        of_tenants.map_or(general, |tenants| general.min(tenants.query_timeout))
    }

    /// The clocks of requests and transactions run, where they are limited.
    #[cold]
    pub(super) fn start_clocks(&mut self) {
        self.asked_at = NonZeroU64::new(clock());
        self.transaction_since = self.transaction_since.or(self.asked_at);
    }

    /// The gateway has answered a BEGIN that no server has heard yet.
    pub(super) fn start_transaction_clock(&mut self) {
        if self.generation.limits_requests {
            self.transaction_since = NonZeroU64::new(clock());
        }
    }

    /// A transaction has ended, and what was sent behind it begins the next.
    #[cold]
    pub(super) fn restart_transaction_clock(&mut self) {
        self.transaction_since = NonZeroU64::new(clock());
    }

    /// The server does not answer in time: it is told to stop, and nobody waits for it any more.
    pub(super) fn give_up(&mut self) -> PgError {
        self.cancel();
        if let Some(server) = &self.server {
            // It is closed next, and must not run what was sent behind.
            server.connection().reset_when_closed();
        }
        PgError::error("57014", "canceling statement due to query_timeout")
            .hint("Whether the statement took effect is not known: check before you repeat it.")
    }

    /// One of the limits is over that end a session.
    pub(super) fn timed_out(&mut self, limit: Limit) -> End {
        let error = match limit {
            Limit::Idle => PgError::fatal("57P05", "terminating connection due to client_idle_timeout"),
            Limit::Transaction => {
                PgError::fatal(TRANSACTION_TIMEOUT, "terminating connection due to transaction_timeout")
            }
            _ => PgError::fatal("25P03", "terminating connection due to client_idle_in_transaction_timeout"),
        };
        if self.replying > 0 { End::Broken(error) } else { End::Fatal(error) }
    }

    /// When a client that waits for a server from now on is told so.
    pub(super) fn wait_notice(&self) -> Option<Pin<Box<Sleep>>> {
        let after = self.generation.config.general.query_wait_notify;
        (!after.is_zero() && after != Duration::MAX).then(|| Box::pin(sleep(after)))
    }

    /// Tells the client that it waits. Between messages of a server PostgreSQL, too, may send a notice at any time.
    pub(super) fn say_that_it_waits(&mut self) {
        let general = &self.generation.config.general;
        let is_paused = gate::of(&self.pools.key.database).is_closed();
        // The client hears of the end of its wait in this moment.
        let is_late = !is_paused && general.query_wait_notify >= general.checkout_timeout;
        let level = self.settings.get("client_min_messages").unwrap_or_default();
        let is_unwanted = ABOVE_NOTICE.iter().any(|above| level.eq_ignore_ascii_case(above));
        if is_late || is_unwanted || self.replying > 0 {
            return;
        }
        let text = match is_paused {
            true => "the database is paused: this statement waits until it is resumed",
            false => "no server connection is free: this statement waits for one",
        };
        self.flush_forward_into_out();
        PgError::notice(text).write(&mut self.out);
    }
}

/// What is left of a limit.
fn left(limit: Duration, since: NonZeroU64) -> Duration {
    match limit {
        Duration::MAX => limit,
        limit => limit.saturating_sub(Duration::from_nanos(clock().saturating_sub(since.get()))),
    }
}
