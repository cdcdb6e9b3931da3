//! One public key. Its type decides which algorithms it can verify (S7): a verifier exists for each of them and for no
//! other, so a token that asks for another algorithm finds nothing to be checked with.

use aws_lc_rs::signature::{
    self as sig, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents, VerificationAlgorithm,
};
use x509_parser::oid_registry::OID_PKCS1_RSASSAPSS;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::RSAPublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::config::Algorithm;
use crate::status::KeyStatus;
use crate::token::Token;

/// Shorter RSA keys are refused (RFC 7518 sections 3.3 and 3.5).
const MIN_RSA_BITS: usize = 2048;
/// Longer ones are slow enough to be an attack, and the verifier does not take them.
const MAX_RSA_BITS: usize = 8192;

/// Why a key cannot be used. Says nothing of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("is not an RSA, P-256, P-384 or Ed25519 public key")]
    Unsupported,
    #[error("is an RSA key of less than 2048 bits")]
    RsaTooShort,
    #[error("is an RSA key of more than 8192 bits")]
    RsaTooLong,
    #[error("is an RSA key for RSASSA-PSS alone (RFC 4055), which no algorithm of JWS is bound to")]
    RsaPss,
    #[error("holds a private key, which must not be published")]
    Private,
    #[error("lacks a part, or a part of it is malformed")]
    Malformed,
}

/// What a key is, and so what it can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyKind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl KeyKind {
    /// The verifier for an algorithm, if this kind of key can have one.
    fn verifier(self, algorithm: Algorithm) -> Option<&'static dyn VerificationAlgorithm> {
        let rsa: &'static RsaParameters = match (self, algorithm) {
            (Self::P256, Algorithm::ES256) => return Some(&sig::ECDSA_P256_SHA256_FIXED),
            (Self::P384, Algorithm::ES384) => return Some(&sig::ECDSA_P384_SHA384_FIXED),
            (Self::Ed25519, Algorithm::EdDSA) => return Some(&sig::ED25519),
            (Self::Rsa, Algorithm::RS256) => &sig::RSA_PKCS1_2048_8192_SHA256,
            (Self::Rsa, Algorithm::RS384) => &sig::RSA_PKCS1_2048_8192_SHA384,
            (Self::Rsa, Algorithm::RS512) => &sig::RSA_PKCS1_2048_8192_SHA512,
            (Self::Rsa, Algorithm::PS256) => &sig::RSA_PSS_2048_8192_SHA256,
            (Self::Rsa, Algorithm::PS384) => &sig::RSA_PSS_2048_8192_SHA384,
            (Self::Rsa, Algorithm::PS512) => &sig::RSA_PSS_2048_8192_SHA512,
            _ => return None,
        };
        Some(rsa)
    }
}

/// A public key, parsed once for each algorithm that it may verify. It has no `Debug` (S5).
pub(crate) struct Key {
    kid: Option<String>,
    verifiers: Vec<(Algorithm, ParsedPublicKey)>,
}

impl Key {
    /// A key in DER: SubjectPublicKeyInfo (RFC 5280) or, for RSA, RSAPublicKey (RFC 8017).
    pub(crate) fn from_der(der: &[u8], allowed: &[Algorithm]) -> Result<Self, KeyError> {
        let kinds: [(KeyKind, &'static dyn VerificationAlgorithm); 4] = [
            (KeyKind::Rsa, &sig::RSA_PKCS1_2048_8192_SHA256),
            (KeyKind::P256, &sig::ECDSA_P256_SHA256_FIXED),
            (KeyKind::P384, &sig::ECDSA_P384_SHA384_FIXED),
            (KeyKind::Ed25519, &sig::ED25519),
        ];
        let kind = kinds
            .into_iter()
            .find(|(_, probe)| ParsedPublicKey::new(*probe, der).is_ok())
            .map(|(kind, _)| kind)
            .ok_or(KeyError::Unsupported)?;
        if kind == KeyKind::Rsa {
            check_rsa_purpose(der)?;
            check_rsa_size(der)?;
        }
        Self::build(kind, der, None, allowed)
    }

    /// An RSA key from its modulus and exponent, big-endian.
    pub(crate) fn from_rsa_parts(
        n: &[u8],
        e: &[u8],
        kid: Option<String>,
        allowed: &[Algorithm],
    ) -> Result<Self, KeyError> {
        let components = RsaPublicKeyComponents { n: without_leading_zeros(n), e: without_leading_zeros(e) };
        check_rsa_bits(components.n)?;
        let der = components.to_parsed_public_key(&sig::RSA_PKCS1_2048_8192_SHA256).map_err(|_| KeyError::Malformed)?;
        // Parsed again from DER: only that path checks modulus and exponent against each other.
        Self::build(KeyKind::Rsa, der.as_ref(), kid, allowed)
    }

    /// A key from the bytes of its point: uncompressed SEC 1 for the NIST curves, the 32 bytes of RFC 8032 for Ed25519.
    pub(crate) fn from_point(
        kind: KeyKind,
        point: &[u8],
        kid: Option<String>,
        allowed: &[Algorithm],
    ) -> Result<Self, KeyError> {
        Self::build(kind, point, kid, allowed)
    }

    fn build(kind: KeyKind, bytes: &[u8], kid: Option<String>, allowed: &[Algorithm]) -> Result<Self, KeyError> {
        let mut verifiers = Vec::new();
        for algorithm in Algorithm::ALL {
            let Some(verifier) = kind.verifier(algorithm) else {
                continue;
            };
            let parsed = ParsedPublicKey::new(verifier, bytes).map_err(|_| KeyError::Malformed)?;
            if allowed.contains(&algorithm) {
                verifiers.push((algorithm, parsed));
            }
        }
        Ok(Self { kid, verifiers })
    }

    pub(crate) fn status(&self) -> KeyStatus {
        KeyStatus {
            kid: self.kid.clone(),
            algorithms: self.verifiers.iter().map(|(algorithm, _)| *algorithm).collect(),
        }
    }

    pub(crate) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Whether the key may verify this algorithm.
    pub(crate) fn fits(&self, algorithm: Algorithm) -> bool {
        self.verifiers.iter().any(|(of, _)| *of == algorithm)
    }

    /// Whether this key signed the token.
    pub(crate) fn signed(&self, token: &Token<'_>, algorithm: Algorithm) -> bool {
        self.verify(algorithm, token.signing_input, &token.signature)
    }

    /// Whether this key made the signature, with this algorithm.
    pub(crate) fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        self.verifiers
            .iter()
            .find(|(of, _)| *of == algorithm)
            .is_some_and(|(_, key)| key.verify_sig(message, signature).is_ok())
    }
}

/// Whether they have one name and verify the same tokens.
impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        fn parts(key: &Key) -> impl Iterator<Item = (Algorithm, &[u8])> {
            key.verifiers.iter().map(|(algorithm, key)| (*algorithm, key.as_ref()))
        }
        self.kid == other.kid && parts(self).eq(parts(other))
    }
}

pub(super) fn without_leading_zeros(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    &bytes[start..]
}

/// A key that says "PSS alone" must not verify PKCS #1 signatures, and its parameters are of no algorithm here.
fn check_rsa_purpose(der: &[u8]) -> Result<(), KeyError> {
    match SubjectPublicKeyInfo::from_der(der) {
        Ok((_, info)) if info.algorithm.algorithm == OID_PKCS1_RSASSAPSS => Err(KeyError::RsaPss),
        _ => Ok(()),
    }
}

fn check_rsa_size(der: &[u8]) -> Result<(), KeyError> {
    let canonical = aws_lc_rs::rsa::PublicKey::from_der(der).map_err(|_| KeyError::Malformed)?;
    let (_, key) = RSAPublicKey::from_der(canonical.as_ref()).map_err(|_| KeyError::Malformed)?;
    check_rsa_bits(without_leading_zeros(key.modulus))
}

fn check_rsa_bits(modulus: &[u8]) -> Result<(), KeyError> {
    let unused = modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
    match modulus.len() * 8 - unused {
        bits if bits < MIN_RSA_BITS => Err(KeyError::RsaTooShort),
        bits if bits > MAX_RSA_BITS => Err(KeyError::RsaTooLong),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_a_key_decides_its_algorithms() {
        let fitting = |kind: KeyKind| -> Vec<&str> {
            Algorithm::ALL.into_iter().filter(|a| kind.verifier(*a).is_some()).map(Algorithm::name).collect()
        };
        assert_eq!(fitting(KeyKind::Rsa), ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]);
        assert_eq!(fitting(KeyKind::P256), ["ES256"]);
        assert_eq!(fitting(KeyKind::P384), ["ES384"]);
        assert_eq!(fitting(KeyKind::Ed25519), ["EdDSA"]);
    }

    #[test]
    fn garbage_is_not_a_key() {
        for bytes in [&b""[..], b"x", &[0x30, 0x00], &[0xff; 300]] {
            assert_eq!(Key::from_der(bytes, &Algorithm::ALL).err(), Some(KeyError::Unsupported));
        }
        assert_eq!(Key::from_rsa_parts(&[], &[3], None, &Algorithm::ALL).err(), Some(KeyError::RsaTooShort));
        let even = [0xfe; 256];
        assert_eq!(Key::from_rsa_parts(&even, &[], None, &Algorithm::ALL).err(), Some(KeyError::Malformed));
        assert_eq!(Key::from_point(KeyKind::P256, &[4; 65], None, &Algorithm::ALL).err(), Some(KeyError::Malformed));
        assert_eq!(Key::from_point(KeyKind::P256, &[0], None, &Algorithm::ALL).err(), Some(KeyError::Malformed));
    }

    #[test]
    fn a_short_rsa_key_is_refused() {
        let n = |bytes: usize, first: u8| {
            let mut n = vec![0xab; bytes];
            n[0] = first;
            n
        };
        let verdict = |n: &[u8]| Key::from_rsa_parts(n, &[1, 0, 1], None, &Algorithm::ALL).err();
        assert_eq!(verdict(&n(128, 0x80)), Some(KeyError::RsaTooShort));
        assert_eq!(verdict(&n(256, 0x7f)), Some(KeyError::RsaTooShort));
        assert_eq!(verdict(&n(256, 0x80)), None);
        assert_eq!(verdict(&n(1025, 0x80)), Some(KeyError::RsaTooLong));
    }
}
