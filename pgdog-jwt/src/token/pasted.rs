//! What people paste with a token, or in its place, told by its shape. Only the kind of thing is said, never a part of it (S5),
//! and nothing is taken off: every token has one form.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{MIN_BEARER_SIZE, is_b64token};

const BEARER: &[u8] = b"bearer";
const BASIC: &[u8] = b"basic";
const AUTHORIZATION: &[u8] = b"authorization:";

/// What is certain to be no token, whatever its parts.
pub(super) fn found(credential: &[u8]) -> Option<&'static str> {
    around(credential).or_else(|| instead(credential))
}

/// What stands around a credential and can be part of no token.
fn around(credential: &[u8]) -> Option<&'static str> {
    let is_white = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_whitespace);
    let is_quote = |byte: Option<&u8>| matches!(byte, Some(b'"' | b'\'' | b'`'));
    let (first, last) = (credential.first(), credential.last());
    let mut words = credential.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let (scheme, next) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    match credential {
        _ if last == Some(&b'\n') => Some("a line break follows it"),
        _ if is_white(first) || is_white(last) => Some("there is white space around it"),
        _ if is_quote(first) || is_quote(last) => Some("it stands in quotes"),
        _ if scheme.eq_ignore_ascii_case(BEARER) && next.eq_ignore_ascii_case(BEARER) => {
            Some("\"Bearer\" stands in front of it twice: send the token alone")
        }
        _ if scheme.eq_ignore_ascii_case(BEARER) => Some("\"Bearer\" stands in front of it: send the token alone"),
        _ if scheme.eq_ignore_ascii_case(BASIC) => {
            Some("\"Basic\" stands in front of it: it is a name and a password, not a token")
        }
        _ if scheme.eq_ignore_ascii_case(AUTHORIZATION) => {
            Some("\"Authorization:\" stands in front of it: send the token alone")
        }
        _ => None,
    }
}

/// What a credential is that is no token at all: the header of a token is an object, and begins with "e" in base64url.
fn instead(credential: &[u8]) -> Option<&'static str> {
    let begins = |beginnings: &[&str]| beginnings.iter().any(|text| credential.starts_with(text.as_bytes()));
    let is_word = |words: &[&str]| words.iter().any(|word| credential.eq_ignore_ascii_case(word.as_bytes()));
    match credential {
        _ if begins(&["$", "%", "{{", "<"]) => Some("it looks like a variable that nothing has replaced"),
        _ if begins(&["{", "["]) => {
            Some("it is JSON: send the token in it alone, which is \"access_token\" of an issuer's answer")
        }
        _ if begins(&["-----BEGIN"]) => Some("it is a key or a certificate"),
        _ if begins(&["https://", "http://"]) => Some("it is a URL"),
        _ if begins(&["/", "./", "../", "~/", "file:"]) => {
            Some("it looks like the path of a file: send what the file holds")
        }
        _ if is_word(&["null", "none", "nil", "undefined", "true", "false"]) => {
            Some("it is a word that programs print where there is no token")
        }
        _ if is_encoded_header(credential) => Some("it is base64 of a whole header: send the token alone"),
        _ => None,
    }
}

/// What its parts say where there are not three of them.
pub(super) fn parts(credential: &[u8]) -> &'static str {
    let is_encoded = |part: &[u8]| part.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    let parts: Vec<&[u8]> = credential.split(|byte| *byte == b'.').collect();
    // An object in base64url.
    let is_object = |part: &&&[u8]| part.starts_with(b"eyJ");
    let begins_as_one = parts.first().is_some_and(|part| is_object(&part));
    match parts.len() {
        5 if begins_as_one && parts.iter().all(|part| is_encoded(part)) => {
            "it is encrypted (a JWE, which has five parts); only signed tokens are taken"
        }
        1 | 2 if begins_as_one => "it is the beginning of a token, the rest is missing",
        _ if parts.iter().filter(is_object).count() > 2 => "it is more than one token",
        _ if is_b64token(credential) && credential.len() >= MIN_BEARER_SIZE => {
            "it does not have three parts; it looks like an opaque token, which only introspection can read"
        }
        _ => "it does not have three parts; it looks like a password",
    }
}

fn is_encoded_header(credential: &[u8]) -> bool {
    let begins = |text: &[u8], beginning: &[u8]| {
        text.get(..beginning.len()).is_some_and(|start| start.eq_ignore_ascii_case(beginning))
    };
    let text = credential.iter().copied().filter(|byte| *byte != b'=').take(24).collect::<Vec<u8>>();
    // Whole groups, so that nothing depends on the end.
    let text = text.get(..text.len() / 4 * 4).and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
    begins(&text, b"bearer ") || begins(&text, AUTHORIZATION)
}
