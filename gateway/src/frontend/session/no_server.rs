//! What a session makes of it when it gets no server: whether to try again, and what the client hears.

use super::turn::closed;
use crate::backend::checkout_error::CheckoutError;
use crate::backend::cluster::NoServer;
use crate::backend::connect;
use crate::backend::identity::IdentityError;
use crate::frontend::deadline::token_expired;
use crate::wire::{PgError, Severity};

/// What trying again does not help.
const ASK: &str =
    "Trying again does not help. The administrator finds the reason in the pooler's log and in SHOW POOLS.";

impl NoServer {
    /// Whether a server that was free turned out to be gone: the next one may do.
    pub(super) fn is_gone(&self) -> bool {
        let gone = |error: &IdentityError| {
            matches!(error, IdentityError::Lost(_) | IdentityError::NotReplica | IdentityError::HidesQuotes)
        };
        matches!(self, Self::Checkout(CheckoutError::Identity(error)) if gone(error))
    }

    /// Whether a setting of the session was refused.
    pub(super) fn is_setting(&self) -> bool {
        matches!(self, Self::Checkout(CheckoutError::Identity(IdentityError::Setting(_))))
    }

    /// What the client hears. Addresses and accounts of servers are not for it.
    pub(crate) fn for_client(&self) -> PgError {
        match self {
            Self::NoReplica => {
                PgError::error("25006", "cannot run this read-only user's statement: no replica is configured")
                    .hint("Read-only users are served by replicas only. Add a replica to the database in pgdog.toml.")
            }
            Self::ReplicaDown(_) => PgError::error(
                "25006",
                "cannot run this read-only user's statement: no replica can be reached",
            )
            .hint(
                "Read-only users are served by replicas only, never by the primary. Try again when a replica is back.",
            ),
            Self::Paused(limit) => {
                PgError::error("57P03", format!("the database was paused for more than {} ms", limit.as_millis()))
                    .hint("Try again when the administrator has resumed it.")
            }
            Self::NoStandby => PgError::error(
                "25006",
                "cannot run this read-only user's statement: no server is a replica at this moment",
            )
            .hint("Read-only users are served by replicas only, never by the primary."),
            Self::NoPrimary => PgError::error("25006", "cannot run this statement: the database has no primary")
                .hint("Only reads are possible. Add a primary to the database in pgdog.toml."),
            Self::Checkout(error) => error.for_client(),
        }
    }
}

impl CheckoutError {
    fn for_client(&self) -> PgError {
        match self {
            Self::Timeout(limit) => {
                let text = format!("no server connection became free within {} ms", limit.as_millis());
                PgError::error("53300", text)
                    .hint("All connections of this pool are in use: raise pool_size or checkout_timeout, or end idle transactions.")
            }
            Self::BudgetSpent(limit) => {
                let text = format!("no server connection of this database became free within {} ms", limit.as_millis());
                PgError::error("53300", text)
                    .hint("The database's budget of server connections is spent: raise max_server_connections or checkout_timeout, or end idle transactions.")
            }
            Self::Closed => PgError::error("57P01", "the pool was closed because the configuration changed"),
            Self::Connect(error) if error.is_login_refused() => {
                PgError::error("08004", "the database server does not let the pooler in").hint(ASK)
            }
            Self::Connect(connect::ConnectError::TokenRefused { .. }) => {
                PgError::error("08004", "the database server refused the token of this session")
            }
            Self::TokenExpired => token_expired(),
            Self::Connect(connect::ConnectError::Refused(fields)) => fields.clone().into_error(Severity::Error),
            Self::Connect(connect::ConnectError::Tls(_)) => {
                PgError::error("08006", "the connection to the database server cannot be encrypted as it must be")
                    .hint(ASK)
            }
            Self::Connect(connect::ConnectError::NoDescriptor(_)) => PgError::error(
                "53000",
                "the pooler cannot open a connection to the database server: its limit of open files is reached",
            )
            .hint("Try again later. The administrator can raise the limit (LimitNOFILE, ulimit -n)."),
            Self::Connect(_) | Self::ConnectTimeout(_) => {
                PgError::error("08006", "the database server cannot be reached").hint("Try again later.")
            }
            Self::Identity(IdentityError::Setting(fields)) => fields.clone().into_error(Severity::Error),
            Self::Identity(IdentityError::Lost(_)) => closed(),
            Self::Identity(IdentityError::NotReplica) => {
                PgError::error("25006", "cannot run this read-only user's statement: its server is no replica any more")
                    .hint("Try again.")
            }
            Self::Identity(_) => PgError::error("42501", "the session's identity could not be established"),
        }
    }
}
