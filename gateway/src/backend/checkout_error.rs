//! Why no server connection was to be had.

use std::time::Duration;

use super::backoff::Failure;
use super::connect::ConnectError;
use super::identity::IdentityError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckoutError {
    #[error("no server connection became free within {0:?}")]
    Timeout(Duration),
    #[error("the budget of the server's connections is spent, and none became free within {0:?}")]
    BudgetSpent(Duration),
    #[error("the pool was closed")]
    Closed,
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the server did not answer within {0:?}")]
    ConnectTimeout(Duration),
    #[error("the token of the session has expired")]
    TokenExpired,
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl CheckoutError {
    /// Whether another server may still do.
    pub(crate) fn is_unreachable(&self) -> bool {
        match self {
            Self::Connect(ConnectError::NoDescriptor(_)) => false,
            Self::Connect(error) => error.failure() == Failure::Absent,
            Self::ConnectTimeout(_) => true,
            Self::Identity(error) => matches!(error, IdentityError::Lost(_) | IdentityError::NotReplica),
            _ => false,
        }
    }
}

impl ConnectError {
    /// Whether there was no answer at all: the server is down, starts or stops.
    pub(crate) fn is_unreachable(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            // PostgreSQL documentation, appendix A: operator intervention.
            Self::Refused(fields) => fields.code.starts_with("57P"),
            _ => false,
        }
    }
}
