//! Why a connection to a server did not come about. No variant holds a secret.

use std::io;
use std::sync::Arc;

use nix::errno::Errno;

use crate::net::read::ReadError;
use crate::net::tls::client::EncryptError;
use crate::wire::ErrorFields;

/// Kept by pools, for clients that come while a server is not tried.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ConnectError {
    /// Nobody listens, the name does not resolve, or the connection broke.
    #[error("server is unreachable: {0}")]
    Unreachable(Arc<io::Error>),
    /// The gateway itself may open no further socket: the server is not to blame.
    #[error("the gateway's limit of open files is reached: {0}")]
    NoDescriptor(Arc<io::Error>),
    /// TLS was not to be had as the configuration demands it.
    #[error("{0}")]
    Tls(String),
    /// The server said no, in its own words.
    #[error("server refused the login: {} ({})", .0.message, .0.code)]
    Refused(ErrorFields),
    /// The server said no to the client's token: why, in the words of OAuth and in its own.
    #[error("server refused the token: {status}: {} ({})", .fields.message, .fields.code)]
    TokenRefused { status: String, fields: Box<ErrorFields> },
    /// The gateway cannot, or will not, prove itself in the way that the server asks.
    #[error("{0}")]
    Authentication(String),
    /// The server does not follow the protocol.
    #[error("server broke the protocol: {0}")]
    Protocol(String),
}

impl ConnectError {
    /// Whether who logs in is not let in, which trying again does not help: a wrong password or none, a rule of `pg_hba.conf`.
    pub(crate) fn is_login_refused(&self) -> bool {
        match self {
            Self::Refused(fields) => matches!(fields.code.as_str(), "28000" | "28P01"),
            Self::Authentication(_) => true,
            _ => false,
        }
    }

    pub(crate) fn unreachable(error: io::Error) -> Self {
        // Of the process, and of the whole system.
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EMFILE | Errno::ENFILE) => Self::NoDescriptor(Arc::new(error)),
            _ => Self::Unreachable(Arc::new(error)),
        }
    }

    pub(super) fn authentication(reason: impl Into<String>) -> Self {
        Self::Authentication(reason.into())
    }

    pub(super) fn protocol(reason: impl Into<String>) -> Self {
        Self::Protocol(reason.into())
    }
}

impl From<EncryptError> for ConnectError {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::Io(error) => Self::unreachable(error),
            other => Self::Tls(other.to_string()),
        }
    }
}

impl From<ReadError> for ConnectError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Io(error) => Self::unreachable(error),
            ReadError::Closed | ReadError::Truncated => {
                Self::unreachable(io::Error::new(io::ErrorKind::UnexpectedEof, error))
            }
            other => Self::Protocol(other.to_string()),
        }
    }
}
