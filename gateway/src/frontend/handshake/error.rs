//! What can go wrong while a connection opens: what the log says, and what the client hears of it.

use std::fmt;
use std::io;

use crate::net::read::ReadError;
use crate::wire::PgError;
use crate::wire::startup::StartupError;

/// Why a connection did not get as far as its start-up packet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    /// Nothing was sent: a port probe, a health check of a load balancer. Not worth a warning.
    #[error("the client left without a word")]
    Closed,
    #[error("the client left inside its first packet")]
    Truncated,
    #[error("not a PostgreSQL client: it began with {}", FirstBytes(*.0))]
    NotPostgres([u8; 4]),
    #[error(transparent)]
    Startup(#[from] StartupError),
    #[error("the client asked twice for the same encryption")]
    AskedTwice,
    #[error("unencrypted bytes followed a request for encryption")]
    Stuffed,
    #[error("TLS handshake with the client failed: {0}")]
    Tls(io::Error),
    #[error("the client began with TLS but did not name the protocol by ALPN")]
    NoAlpn,
    #[error("the client did not use TLS, which is required")]
    TlsRequired,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl HandshakeError {
    /// What the client hears: `None` where the other side is no PostgreSQL client, or must not trust what it hears.
    pub(super) fn client_error(&self) -> Option<PgError> {
        match self {
            Self::TlsRequired => Some(
                PgError::fatal("28000", "connection requires TLS").hint("Connect with sslmode=require or stronger."),
            ),
            Self::Startup(StartupError::Version(version)) => Some(PgError::fatal(
                "0A000",
                format!(
                    "unsupported frontend protocol {}.{}: server supports 3.0 to 3.2",
                    version.major(),
                    version.minor()
                ),
            )),
            Self::AskedTwice => Some(PgError::fatal(
                "0A000",
                "unsupported frontend protocol 1234.5679: encryption was negotiated already",
            )),
            Self::Startup(StartupError::NotUtf8) => {
                Some(PgError::fatal("22021", "invalid byte sequence for encoding \"UTF8\" in the start-up packet"))
            }
            Self::Startup(StartupError::Malformed) => Some(PgError::fatal("08P01", "invalid startup packet layout")),
            _ => None,
        }
    }
}

impl From<ReadError> for HandshakeError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Io(error) => Self::Io(error),
            ReadError::Closed => Self::Closed,
            _ => Self::Truncated,
        }
    }
}

/// Four bytes that should have been a length, with the guess that helps whoever reads the log.
struct FirstBytes([u8; 4]);

impl fmt::Display for FirstBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let guess = match &self.0 {
            b"GET " | b"POST" | b"PUT " | b"HEAD" | b"OPTI" | b"PRI " | b"CONN" => " (HTTP)",
            b"SSH-" => " (SSH)",
            [0x16, 3, ..] => " (TLS, which is not configured here)",
            _ => "",
        };
        write!(f, "\"{}\"{guess}", self.0.escape_ascii())
    }
}
