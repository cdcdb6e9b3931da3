//! What SCRAM-SHA-256 stores of a password (RFC 5803, in PostgreSQL's spelling).

use std::fmt;
use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use stringprep::saslprep;
use subtle::{Choice, ConstantTimeEq};

/// PostgreSQL's `scram_iterations`.
const ITERATIONS: NonZeroU32 = NonZeroU32::MIN.saturating_add(4095);

/// Bytes of SHA-256.
pub(super) const KEY_SIZE: usize = 32;

/// What is stored of a password: enough to recognise it, not enough to log in with it.
#[derive(Clone)]
pub(super) struct Verifier {
    pub(super) iterations: NonZeroU32,
    pub(super) salt: Vec<u8>,
    pub(super) stored_key: [u8; KEY_SIZE],
    pub(super) server_key: [u8; KEY_SIZE],
}

impl Verifier {
    /// Reads `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, the form of `pg_authid.rolpassword`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (head, keys) = text.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
        let (iterations, salt) = head.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        Some(Self {
            iterations: iterations.parse().ok()?,
            salt: STANDARD.decode(salt).ok()?,
            stored_key: STANDARD.decode(stored_key).ok()?.try_into().ok()?,
            server_key: STANDARD.decode(server_key).ok()?.try_into().ok()?,
        })
    }

    /// A verifier of no password, for users who have none.
    pub(super) fn unsatisfiable(salt: Vec<u8>) -> Self {
        Self { iterations: ITERATIONS, salt, stored_key: rand::random(), server_key: rand::random() }
    }

    /// A verifier of no password that looks like this one.
    pub(super) fn of_nobody(&self) -> Self {
        Self { iterations: self.iterations, ..Self::unsatisfiable(self.salt.clone()) }
    }

    /// The verifier of a password with the salt and the iterations of this one.
    ///
    /// Clients prepare a password by SASLprep (RFC 4013) before they derive anything from it, and take it as it is where that is not
    /// allowed or it is no UTF-8; so does PostgreSQL when it is set (PostgreSQL documentation, section "SCRAM-SHA-256 Authentication").
    pub(super) fn derive_alike(&self, password: &[u8]) -> Self {
        // PostgreSQL never lets an empty password in.
        if password.is_empty() {
            return self.of_nobody();
        }
        let prepared = std::str::from_utf8(password).ok().and_then(|text| saslprep(text).ok());
        let password = prepared.as_ref().map_or(password, |text| text.as_bytes());
        let mut salted = [0; KEY_SIZE];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, self.iterations, &self.salt, password, &mut salted);
        Self {
            iterations: self.iterations,
            salt: self.salt.clone(),
            stored_key: sha256(&sign(&salted, b"Client Key")),
            server_key: sign(&salted, b"Server Key"),
        }
    }

    /// Whether both can be asked for in one exchange.
    pub(super) fn is_alike(&self, other: &Self) -> bool {
        self.iterations == other.iterations && self.salt == other.salt
    }

    /// Whether this is the verifier of a password that is at hand.
    pub(super) fn is_of(&self, password: &[u8]) -> Choice {
        self.derive_alike(password).stored_key.ct_eq(&self.stored_key)
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SCRAM-SHA-256${}:{}${}:{}",
            self.iterations,
            STANDARD.encode(&self.salt),
            STANDARD.encode(self.stored_key),
            STANDARD.encode(self.server_key)
        )
    }
}

/// HMAC-SHA-256.
pub(super) fn sign(key: &[u8], message: &[u8]) -> [u8; KEY_SIZE] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    fixed(tag.as_ref())
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; KEY_SIZE] {
    fixed(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// SHA-256 always has this many bytes; their type does not say so.
fn fixed(bytes: &[u8]) -> [u8; KEY_SIZE] {
    let mut out = [0; KEY_SIZE];
    for (to, from) in out.iter_mut().zip(bytes) {
        *to = *from;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_reads_what_postgresql_stores() {
        let stored = postgres_protocol::password::scram_sha_256(b"pencil");
        let verifier = Verifier::parse(&stored).unwrap();
        assert_eq!(verifier.to_string(), stored);
        assert!(bool::from(verifier.is_of(b"pencil")));
        assert!(!bool::from(verifier.is_of(b"crayon")));
        assert!(Verifier::parse("SCRAM-SHA-256$0:c2FsdA==$AA==:AA==").is_none());
    }

    /// What PostgreSQL stores of a password is what is derived of it here, in whatever form it is typed.
    #[test]
    fn a_password_is_prepared_as_postgresql_does() {
        for password in ["½cup", "naïve", "nai\u{308}ve", "\u{fb01}sh", "a\u{a0}b", "x\u{ad}y", "ascii", "\u{7}bell"]
        {
            let stored = Verifier::parse(&postgres_protocol::password::scram_sha_256(password.as_bytes())).unwrap();
            assert!(bool::from(stored.is_of(password.as_bytes())), "{password:?}");
        }
        let model = Verifier::unsatisfiable(b"salt".to_vec());
        let same = |one: &str, other: &str| bool::from(model.derive_alike(one.as_bytes()).is_of(other.as_bytes()));
        assert!(same("½cup", "1\u{2044}2cup") && same("nai\u{308}ve", "naïve") && !same("½cup", "½cups"));
        assert!(bool::from(model.derive_alike(b"\xff").is_of(b"\xff")));
    }

    #[test]
    fn an_empty_password_is_nobodys() {
        let model = Verifier::unsatisfiable(b"salt".to_vec());
        let empty = model.derive_alike(b"");
        assert!(!bool::from(empty.is_of(b"")));
    }
}
