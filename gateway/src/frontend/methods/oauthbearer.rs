//! OAUTHBEARER as its server (RFC 7628; PostgreSQL documentation, section "OAUTHBEARER Authentication"): a token comes in
//! a message that is made for it. What is read is the token; whether it is good is the caller's to find out.

use std::time::Duration;

use super::bearer_message::{Credential, SEPARATOR, parse};
use super::sasl::first_response;
use super::{MethodError, Secret, response, send};
use crate::net::read::Incoming;
use crate::wire::message;

const MECHANISM: &str = "OAUTHBEARER";

/// How long a client that was refused may take to say that it has heard. Then it hears the error all the same.
const FAREWELL: Duration = Duration::from_secs(5);

/// What the client showed.
pub(crate) enum Shown {
    Token(Secret),
    /// Nothing: it wants to know where to get a token.
    Nothing,
    /// Something that is no bearer token.
    Unusable,
}

/// Asks for a token and reads it from a message of at most `limit` bytes.
pub(crate) async fn ask(stream: &mut Incoming, limit: usize) -> Result<Shown, MethodError> {
    let mut out = Vec::new();
    message::authentication_sasl(&mut out, MECHANISM);
    send(stream, &out).await?;
    let mut body = Vec::new();
    let first = first_response(stream, MECHANISM, limit, &mut body).await?;
    Ok(match parse(first)? {
        Credential::Token(token) => Shown::Token(Secret::new(token)),
        Credential::Absent => Shown::Nothing,
        Credential::Unusable => Shown::Unusable,
    })
}

/// Ends the exchange with `challenge` (RFC 7628, section 3.2.3): the client has one word of its own left before it is
/// told the error. Whatever it says instead, the error stands.
pub(crate) async fn dismiss(stream: &mut Incoming, challenge: &[u8]) -> Result<(), MethodError> {
    let mut out = Vec::new();
    message::authentication_sasl_continue(&mut out, challenge);
    send(stream, &out).await?;
    let mut body = Vec::new();
    let word = response(stream, [SEPARATOR].len(), &mut body);
    match tokio::time::timeout(FAREWELL, word).await {
        Ok(Err(MethodError::Closed)) => Err(MethodError::Closed),
        Ok(_) | Err(_) => Ok(()),
    }
}
