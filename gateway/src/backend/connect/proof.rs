//! What the gateway proves itself to a server with.

use std::time::SystemTime;

use pgdog_jwt::config::Secret;

use super::ConnectError;
use crate::net::Stream;

/// See the module.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum Proof {
    /// The password of the account, when the server asks for it.
    #[default]
    Password,
    /// The certificate of the TLS handshake, so there must be TLS.
    Certificate,
    /// The client's own token. Nothing else counts, whatever else the server would take.
    Token(Bearer),
}

/// A token that is passed on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bearer {
    pub(crate) token: Secret,
    pub(crate) expires_at: SystemTime,
}

impl Proof {
    /// When a connection that was made with it must end.
    pub(crate) fn expires_at(&self) -> Option<SystemTime> {
        match self {
            Self::Token(bearer) => Some(bearer.expires_at),
            Self::Password | Self::Certificate => None,
        }
    }

    pub(crate) fn has_expired(&self) -> bool {
        self.expires_at().is_some_and(|at| at <= SystemTime::now())
    }

    /// Whether it may be given over this connection: asked before the server hears anything.
    pub(super) fn check_transport(&self, stream: &Stream) -> Result<(), ConnectError> {
        match self {
            Self::Certificate if !stream.is_tls() => Err(ConnectError::authentication(
                "the server has no TLS, in which the gateway would show its certificate",
            )),
            // RFC 6750, section 5.3: whoever reads the token can use it.
            Self::Token(_) if !stream.is_tls() && !stream.is_local() => Err(ConnectError::authentication(
                "a token is not passed on over an unencrypted network connection; give the server TLS (tls_verify)",
            )),
            _ => Ok(()),
        }
    }
}
