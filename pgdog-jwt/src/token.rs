//! One compact JWS (RFC 7515 section 3.1), taken apart once and strictly: what is unusual is refused, so that there is one
//! reading of every token. Nothing here decides whether a token is good; it decides whether it *is* one.

mod pasted;

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::deny::DenyReason;
use crate::json;

/// Header parameters whose presence changes what the token means. `crit` (RFC 7515 section 4.1.11) and `b64` (RFC 7797)
/// are not implemented; `enc` and `zip` (RFC 7516) belong to encrypted tokens.
const UNSUPPORTED_HEADERS: [&str; 4] = ["crit", "b64", "enc", "zip"];

/// Shortest bearer token that an issuer is asked about, in bytes: 128 bits as hexadecimal digits have 32, as base64 22.
const MIN_BEARER_SIZE: usize = 20;
const NOT_BEARER: &str = "it is not a bearer token";

/// A token that is well-formed and not verified. It has no `Debug`: it holds what must not be printed (S5).
pub(crate) struct Token<'a> {
    /// What the signature covers: header and payload as they were sent.
    pub(crate) signing_input: &'a [u8],
    pub(crate) signature: Vec<u8>,
    /// The name of the algorithm that the token asks for. The key has the last word (S7).
    pub(crate) algorithm: String,
    pub(crate) kid: Option<String>,
    /// The media type of the token (RFC 7515 section 4.1.9).
    pub(crate) typ: Option<String>,
    pub(crate) claims: Map<String, Value>,
}

impl<'a> Token<'a> {
    /// Takes a credential apart. Its size is checked before anything else.
    pub(crate) fn parse(credential: &'a [u8], max_size: usize) -> Result<Self, DenyReason> {
        check_size(credential, max_size)?;
        match pasted::found(credential) {
            Some(problem) => Err(DenyReason::Malformed(problem)),
            None => Self::parse_bare(credential),
        }
    }

    fn parse_bare(credential: &'a [u8]) -> Result<Self, DenyReason> {
        let parts = Parts::split(credential)?;
        if parts.signature.is_empty() {
            return Err(DenyReason::Malformed("it is not signed"));
        }
        let header = parts.header()?;
        if let Some(name) = UNSUPPORTED_HEADERS.into_iter().find(|name| header.contains_key(*name)) {
            return Err(DenyReason::UnsupportedHeader(name));
        }
        let algorithm = match header.get("alg") {
            Some(Value::String(name)) => name.clone(),
            _ => {
                return Err(DenyReason::Malformed("its header does not name an algorithm"));
            }
        };
        let text = |name: &str, problem: &'static str| match header.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(DenyReason::Malformed(problem)),
        };
        let kid = text("kid", "its key ID is not a string")?;
        let typ = text("typ", "its type is not a string")?;
        Ok(Self {
            signing_input: parts.signing_input,
            signature: decode(parts.signature)?,
            algorithm,
            kid,
            typ,
            claims: parts.claims()?,
        })
    }
}

/// What is checked before a credential is looked at in any way.
pub(crate) fn check_size(credential: &[u8], max_size: usize) -> Result<(), DenyReason> {
    match credential.len() {
        0 => Err(DenyReason::Empty),
        size if size > max_size => Err(DenyReason::TooLarge),
        _ => Ok(()),
    }
}

/// Whether a credential has the three parts of a compact JWS, whatever is in them: such a one is never shown to an issuer
/// before its signature was found good.
pub(crate) fn has_jws_form(credential: &[u8]) -> bool {
    let is_encoded = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let mut parts = credential.split(|byte| *byte == b'.');
    parts.by_ref().take(3).filter(|part| part.iter().all(is_encoded)).count() == 3 && parts.next().is_none()
}

/// Whether a credential may be a bearer token, and is not shorter than tokens are that cannot be guessed (RFC 6749 section
/// 10.10), as most passwords are.
pub(crate) fn check_bearer(credential: &[u8]) -> Result<(), DenyReason> {
    if !is_b64token(credential) {
        return Err(DenyReason::Malformed(pasted::found(credential).unwrap_or(NOT_BEARER)));
    }
    match credential.len() < MIN_BEARER_SIZE {
        true => Err(DenyReason::Malformed("it is shorter than a bearer token")),
        false => Ok(()),
    }
}

/// Whether all of it may stand behind `Bearer` (RFC 6750 section 2.1). Anything else could end the field that holds it.
pub fn is_b64token(token: &[u8]) -> bool {
    let end = token.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    let (bare, _) = token.split_at(end);
    !bare.is_empty() && bare.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte))
}

/// The three segments, still encoded.
struct Parts<'a> {
    signing_input: &'a [u8],
    header: &'a [u8],
    payload: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Parts<'a> {
    fn split(text: &'a [u8]) -> Result<Self, DenyReason> {
        let not_three = || DenyReason::Malformed(pasted::parts(text));
        if !text.is_ascii() {
            return Err(DenyReason::Malformed("it is not ASCII text"));
        }
        let mut segments = text.split(|byte| *byte == b'.');
        let (Some(header), Some(payload), Some(signature), None) =
            (segments.next(), segments.next(), segments.next(), segments.next())
        else {
            return Err(not_three());
        };
        let signing_input = &text[..header.len() + 1 + payload.len()];
        Ok(Self { signing_input, header, payload, signature })
    }

    fn header(&self) -> Result<Map<String, Value>, DenyReason> {
        json::parse_object(&decode(self.header)?)
            .ok_or(DenyReason::Malformed("its header is not a JSON object with unique names"))
    }

    fn claims(&self) -> Result<Map<String, Value>, DenyReason> {
        json::parse_object(&decode(self.payload)?)
            .ok_or(DenyReason::Malformed("its payload is not a JSON object with unique names"))
    }
}

/// base64url without padding (RFC 7515 section 2). Unused bits must be zero, so that no two texts mean the same bytes.
fn decode(segment: &[u8]) -> Result<Vec<u8>, DenyReason> {
    URL_SAFE_NO_PAD.decode(segment).map_err(|_| DenyReason::Malformed("a part of it is not base64url"))
}

/// What a token says, for a person to look at. **Not verified**: no decision may rest on it.
#[derive(Clone, PartialEq)]
pub struct Inspection {
    /// The header.
    pub header: Value,
    /// The claims.
    pub claims: Value,
}

impl fmt::Debug for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inspection(..)")
    }
}

/// Decodes a token's header and claims without verifying anything, for tools that show them to their owner.
///
/// # Errors
/// [`DenyReason::Empty`] or [`DenyReason::Malformed`] when the text is not a compact JWS. Header parameters and
/// algorithms that a login would refuse are shown.
pub fn inspect(token: &str) -> Result<Inspection, DenyReason> {
    if token.is_empty() {
        return Err(DenyReason::Empty);
    }
    let parts = Parts::split(token.as_bytes())?;
    Ok(Inspection { header: Value::Object(parts.header()?), claims: Value::Object(parts.claims()?) })
}

#[cfg(test)]
mod tests;
