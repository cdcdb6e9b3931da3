//! MD5 passwords: the hash that is stored, hashed again with a salt of this login. Whoever has the stored hash can log
//! in with it, which is why SCRAM took its place; it is here for clients that know nothing newer.

use postgres_protocol::{authentication, password};
use subtle::ConstantTimeEq;

use super::credentials::Stored;
use super::{Candidates, MAX_RESPONSE_SIZE, MethodError, Verdict, plain, response, send};
use crate::net::read::Incoming;
use crate::wire::message;

pub(super) async fn authenticate(
    stream: &mut Incoming,
    user: &str,
    candidates: &Candidates,
) -> Result<Verdict, MethodError> {
    // Seven bits of each byte, so that the salt is text, which hashing a stored hash needs: 28 bits of 32.
    let salt = rand::random::<[u8; 4]>().map(|byte| byte & 0x7f);
    let mut out = Vec::new();
    message::authentication_md5(&mut out, salt);
    send(stream, &out).await?;
    let mut body = Vec::new();
    response(stream, MAX_RESPONSE_SIZE, &mut body).await?;
    let answer = plain::text(&body)?;

    let mut accepted = subtle::Choice::from(0);
    for stored in candidates.stored() {
        if let Some(expected) = expected(stored, user, salt) {
            accepted |= expected.as_bytes().ct_eq(answer);
        }
    }
    Ok(bool::from(accepted).into())
}

/// What the right client answers; `None` for what is stored in a form that cannot say.
fn expected(stored: &Stored, user: &str, salt: [u8; 4]) -> Option<String> {
    match stored {
        // PostgreSQL never lets an empty password in.
        Stored::Plain(password) if password.as_bytes().is_empty() => None,
        Stored::Plain(password) => Some(authentication::md5_hash(user.as_bytes(), password.as_bytes(), salt)),
        Stored::Md5(digits) => {
            let salt = std::str::from_utf8(&salt).ok()?;
            Some(password::md5(digits.as_bytes(), salt))
        }
        Stored::Scram(_) => None,
    }
}
