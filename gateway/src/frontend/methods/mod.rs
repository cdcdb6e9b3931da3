//! How clients with a password prove it: the methods of `auth_type` for users of `users.toml` (PostgreSQL documentation,
//! section "Password Authentication"). What comes out is a verdict; AuthenticationOk is the caller's to send, with the
//! greeting, when all else was decided too.

mod bearer_message;
pub(crate) mod credentials;
mod md5;
pub(crate) mod oauthbearer;
pub(crate) mod plain;
mod sasl;
mod scram;
#[cfg(test)]
mod tests;
mod verifier;

pub(crate) use bearer_message::challenge;
pub(crate) use credentials::{Candidates, Secret};

use super::{refusal_delay, unauthenticated};
use crate::net::read::{Incoming, ReadError, read_message};
use crate::wire::PgError;

/// Longest password or SASL message in bytes, as PostgreSQL has it (`PG_MAX_AUTH_TOKEN_LENGTH`).
pub(crate) const MAX_RESPONSE_SIZE: usize = 65_535;

/// How the client is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// SCRAM-SHA-256.
    Scram,
    /// MD5, for old clients.
    Md5,
    /// In clear text.
    Plain,
}

/// What came of it. The client is told by the caller, in the same words for every reason (S6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Verdict {
    Accepted,
    Refused,
}

impl From<bool> for Verdict {
    fn from(accepted: bool) -> Self {
        if accepted { Self::Accepted } else { Self::Refused }
    }
}

/// The exchange itself went wrong: nothing is known about the password.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MethodError {
    /// The client left when it was asked. `psql` does, to ask its user and come back.
    #[error("the client left when it was asked for its password")]
    Closed,
    #[error(transparent)]
    Read(ReadError),
    #[error("{0}")]
    Protocol(&'static str),
    #[error("malformed OAUTHBEARER message: {0}")]
    MalformedBearer(&'static str),
    #[error("the client cannot send its answer: {0}")]
    Write(std::io::Error),
}

impl MethodError {
    /// What the client hears, if it still listens.
    pub(crate) fn client_error(&self) -> Option<PgError> {
        match self {
            Self::Protocol(reason) => Some(PgError::fatal("08P01", *reason)),
            Self::MalformedBearer(_) => Some(PgError::fatal("08P01", self.to_string())),
            Self::Read(ReadError::TooLarge { .. } | ReadError::Protocol(_)) => {
                Some(PgError::fatal("08P01", "invalid password message"))
            }
            Self::Closed | Self::Read(_) | Self::Write(_) => None,
        }
    }
}

impl From<ReadError> for MethodError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Closed => Self::Closed,
            other => Self::Read(other),
        }
    }
}

/// Asks the client for its password in the way of `method` and compares it with each candidate.
///
/// A user who does not exist is asked as well: [`Candidates::none`] takes the same messages and refuses. As in
/// PostgreSQL, `md5` becomes SCRAM for a user of whom only SCRAM verifiers are stored.
pub(crate) async fn authenticate(
    stream: &mut Incoming,
    method: Method,
    user: &str,
    candidates: &Candidates,
) -> Result<Verdict, MethodError> {
    match method {
        Method::Scram => sasl::authenticate(stream, user, candidates).await,
        Method::Md5 if candidates.only_scram() => sasl::authenticate(stream, user, candidates).await,
        Method::Md5 => md5::authenticate(stream, user, candidates).await,
        Method::Plain => plain::authenticate(stream, user, candidates).await,
    }
}

/// Reads the answer to an authentication request into `body`.
async fn response(stream: &mut Incoming, limit: usize, body: &mut Vec<u8>) -> Result<(), MethodError> {
    let tag = unauthenticated::message(read_message(stream, limit, body)).await?;
    refusal_delay::credential_received();
    match tag {
        b'p' => Ok(()),
        b'X' => Err(MethodError::Closed),
        _ => Err(MethodError::Protocol("expected a password response, got another message")),
    }
}

async fn send(stream: &mut Incoming, bytes: &[u8]) -> Result<(), MethodError> {
    use tokio::io::AsyncWriteExt;
    stream.write_all(bytes).await.map_err(MethodError::Write)
}
