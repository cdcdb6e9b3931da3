//! The messages around SCRAM (PostgreSQL documentation, section "SASL Authentication").

use super::scram::{Challenge, ClientFirst};
use super::{Candidates, MAX_RESPONSE_SIZE, MethodError, Verdict, response, send};
use crate::net::read::Incoming;
use crate::wire::fields::Fields;
use crate::wire::message;

const MECHANISM: &str = "SCRAM-SHA-256";

/// The length field of a first response that holds none.
const NO_RESPONSE: u32 = u32::MAX;

/// Channel binding (`SCRAM-SHA-256-PLUS`) is not offered, so a client that says it would have liked it (`y`) is right
/// and may go on, and one that demands it (`p`) cannot.
pub(super) async fn authenticate(
    stream: &mut Incoming,
    user: &str,
    candidates: &Candidates,
) -> Result<Verdict, MethodError> {
    let verifiers = candidates.scram(user);
    let mut out = Vec::new();
    message::authentication_sasl(&mut out, MECHANISM);
    send(stream, &out).await?;

    let mut body = Vec::new();
    let first = first_response(stream, MECHANISM, MAX_RESPONSE_SIZE, &mut body).await?;
    let first = ClientFirst::parse(first)?;
    // The verifiers share salt and iterations, so the first speaks for all.
    let Some(model) = verifiers.first() else {
        return Ok(Verdict::Refused);
    };
    let challenge = Challenge::new(first, &fresh_nonce(), model);
    out.clear();
    message::authentication_sasl_continue(&mut out, challenge.message().as_bytes());
    send(stream, &out).await?;

    response(stream, MAX_RESPONSE_SIZE, &mut body).await?;
    let Some(server_final) = challenge.verify(&body, verifiers)? else {
        return Ok(Verdict::Refused);
    };
    out.clear();
    message::authentication_sasl_final(&mut out, server_final.as_bytes());
    send(stream, &out).await?;
    Ok(Verdict::Accepted)
}

/// The first message of the mechanism: in the client's first response, or in its second when the first was empty.
pub(super) async fn first_response<'a>(
    stream: &mut Incoming,
    mechanism: &str,
    limit: usize,
    body: &'a mut Vec<u8>,
) -> Result<&'a [u8], MethodError> {
    const MALFORMED: MethodError = MethodError::Protocol("malformed SASL response");
    response(stream, limit, body).await?;
    let mut fields = Fields(body);
    if fields.cstr().ok_or(MALFORMED)? != mechanism.as_bytes() {
        return Err(MethodError::Protocol("client selected an invalid SASL authentication mechanism"));
    }
    let length = fields.u32().ok_or(MALFORMED)?;
    if length == NO_RESPONSE && fields.is_empty() {
        let mut out = Vec::new();
        message::authentication_sasl_continue(&mut out, b"");
        send(stream, &out).await?;
        response(stream, limit, body).await?;
        return Ok(body);
    }
    if length as usize != fields.0.len() {
        return Err(MALFORMED);
    }
    let start = body.len() - length as usize;
    Ok(&body[start..])
}

/// The server's half of the nonce: 144 random bits.
fn fresh_nonce() -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(rand::random::<[u8; 18]>())
}
