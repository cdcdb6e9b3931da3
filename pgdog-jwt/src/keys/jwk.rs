//! A JSON Web Key Set (RFC 7517) into keys. One key that cannot be used never spoils the set.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use super::KeySet;
use super::changes;
use super::key::{Key, KeyError, KeyKind, without_leading_zeros};
use crate::config::Algorithm;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// A key set as it was read.
pub(crate) struct ParsedSet {
    pub(crate) keys: KeySet,
    /// Keys that were left out although they look like signature keys: which, and why.
    pub(crate) skipped: Vec<String>,
}

/// What came is not a key set at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer is not a JSON Web Key Set")]
pub(crate) struct NotAKeySet;

#[derive(Deserialize)]
struct RawSet {
    keys: Vec<Value>,
}

/// The parameters that matter (RFC 7517 section 4, RFC 7518 section 6, RFC 8037 section 2).
#[derive(Deserialize)]
struct RawKey {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    d: Option<Value>,
}

/// Reads a set, of which at most `max_keys` are looked at. An empty one is valid: it says that the issuer has withdrawn
/// every key.
///
/// Two keys may have one `kid` (RFC 7517 section 4.5 only advises against it): a token that names it is tried with both.
/// The same key twice counts once.
pub(crate) fn parse(body: &[u8], allowed: &[Algorithm], max_keys: usize) -> Result<ParsedSet, NotAKeySet> {
    // RFC 8259 section 8.1 lets a reader ignore it.
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    let raw: RawSet = serde_json::from_slice(body).map_err(|_| NotAKeySet)?;
    let total = raw.keys.len();
    let mut keys: Vec<Key> = Vec::new();
    let mut skipped = Vec::new();
    for (index, value) in raw.keys.into_iter().take(max_keys).enumerate() {
        let name = name(index, &value);
        let key = serde_json::from_value::<RawKey>(value).map_err(|_| KeyError::Malformed);
        match key.and_then(|raw| read(raw, allowed)) {
            Ok(Some(key)) if keys.contains(&key) => skipped.push(format!("{name} is in the set already")),
            Ok(Some(key)) => keys.push(key),
            Ok(None) => {}
            Err(error) => skipped.push(format!("{name} {error}")),
        }
    }
    if total > max_keys {
        skipped.push(format!("key {max_keys} and later are more than the {max_keys} keys of a set that are looked at"));
    }
    Ok(ParsedSet { keys: KeySet::new(keys), skipped })
}

/// What a key is called in a warning. Its name says more to its owner than its place.
fn name(index: usize, key: &Value) -> String {
    match key.get("kid").and_then(Value::as_str) {
        Some(kid) => format!("key {index} ({:?})", changes::shortened(kid)),
        None => format!("key {index}"),
    }
}

/// One key; `None` for a key that is not meant to verify signatures of the algorithms that we take.
fn read(raw: RawKey, allowed: &[Algorithm]) -> Result<Option<Key>, KeyError> {
    let for_signatures = raw.usage.as_deref().is_none_or(|usage| usage == "sig")
        && raw.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
    if !for_signatures || raw.kty == "oct" {
        return Ok(None);
    }
    if raw.d.is_some() {
        return Err(KeyError::Private);
    }
    let narrowed: Vec<Algorithm> = match raw.alg.as_deref() {
        None => allowed.to_vec(),
        Some(name) => match Algorithm::from_name(name) {
            Some(algorithm) => allowed.iter().copied().filter(|of| *of == algorithm).collect(),
            None => return Ok(None),
        },
    };
    let key = match (raw.kty.as_str(), raw.crv.as_deref()) {
        ("RSA", _) => Key::from_rsa_parts(&bytes(raw.n.as_ref())?, &bytes(raw.e.as_ref())?, raw.kid, &narrowed),
        ("EC", Some("P-256")) => Key::from_point(KeyKind::P256, &point(&raw, 32)?, raw.kid, &narrowed),
        ("EC", Some("P-384")) => Key::from_point(KeyKind::P384, &point(&raw, 48)?, raw.kid, &narrowed),
        ("OKP", Some("Ed25519")) => {
            Key::from_point(KeyKind::Ed25519, &coordinate(raw.x.as_ref(), 32)?, raw.kid, &narrowed)
        }
        _ => return Err(KeyError::Unsupported),
    };
    key.map(Some)
}

/// An uncompressed point (SEC 1 section 2.3.3) from its coordinates. RFC 7518 section 6.2.1.2 wants their full length; where an
/// issuer writes them as numbers, without leading zero bytes or with one too many, they are the same numbers. Whether the point is on the
/// curve is checked with the key.
fn point(raw: &RawKey, size: usize) -> Result<Vec<u8>, KeyError> {
    let mut point = vec![4];
    for encoded in [&raw.x, &raw.y] {
        let bytes = bytes(encoded.as_ref())?;
        if bytes.is_empty() {
            return Err(KeyError::Malformed);
        }
        let number = without_leading_zeros(&bytes);
        let missing = size.checked_sub(number.len()).ok_or(KeyError::Malformed)?;
        point.resize(point.len() + missing, 0);
        point.extend_from_slice(number);
    }
    Ok(point)
}

fn coordinate(encoded: Option<&String>, size: usize) -> Result<Vec<u8>, KeyError> {
    let bytes = bytes(encoded)?;
    if bytes.len() == size { Ok(bytes) } else { Err(KeyError::Malformed) }
}

fn bytes(encoded: Option<&String>) -> Result<Vec<u8>, KeyError> {
    encoded.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).ok_or(KeyError::Malformed)
}
