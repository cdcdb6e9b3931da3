//! Passwords in clear text. A token comes the same way, so asking is public.

use std::str;

use subtle::ConstantTimeEq;

use super::credentials::Stored;
use super::{Candidates, MAX_RESPONSE_SIZE, MethodError, Secret, Verdict, response, send};
use crate::net::read::Incoming;
use crate::wire::fields::Fields;
use crate::wire::message;

/// Asks for a password of at most `limit` bytes (its NUL not counted) and reads it. It may be empty.
pub(crate) async fn ask(stream: &mut Incoming, limit: usize) -> Result<Secret, MethodError> {
    let mut out = Vec::new();
    message::authentication_cleartext(&mut out);
    send(stream, &out).await?;
    let mut body = Vec::new();
    response(stream, limit.saturating_add(1), &mut body).await?;
    Ok(Secret::new(text(&body)?))
}

pub(super) async fn authenticate(
    stream: &mut Incoming,
    user: &str,
    candidates: &Candidates,
) -> Result<Verdict, MethodError> {
    let password = ask(stream, MAX_RESPONSE_SIZE).await?;
    // PostgreSQL never lets an empty password in, whatever is stored.
    if password.as_bytes().is_empty() {
        return Ok(Verdict::Refused);
    }
    let mut accepted = subtle::Choice::from(0);
    for stored in candidates.stored() {
        accepted |= match stored {
            Stored::Plain(expected) => expected.as_bytes().ct_eq(password.as_bytes()),
            Stored::Md5(expected) => md5_of(&password, user).as_bytes().ct_eq(expected.as_bytes()),
            Stored::Scram(verifier) => verifier.is_of(password.as_bytes()),
        };
    }
    Ok(bool::from(accepted).into())
}

/// The hash that PostgreSQL stores, without its prefix.
fn md5_of(password: &Secret, user: &str) -> String {
    let hash = postgres_protocol::password::md5(password.as_bytes(), user);
    hash.trim_start_matches("md5").to_owned()
}

/// The one NUL-terminated text of a PasswordMessage.
pub(super) fn text(body: &[u8]) -> Result<&[u8], MethodError> {
    let mut fields = Fields(body);
    match fields.cstr() {
        Some(text) if fields.is_empty() => Ok(text),
        _ => Err(MethodError::Protocol("invalid password packet size")),
    }
}
