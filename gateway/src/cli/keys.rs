//! Development keys: made, written to files, read back.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::{Jwk, KeyAlgorithm, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::json;

use super::Failure;

/// The file with the private key.
const PRIVATE: &str = "private.pem";

/// A private key that can sign tokens.
pub(super) struct SigningKey {
    pub(super) key: EncodingKey,
    pub(super) algorithm: Algorithm,
    /// The public half, named by its thumbprint (RFC 7638).
    pub(super) jwk: Jwk,
    spki: Vec<u8>,
    pkcs8: Vec<u8>,
}

impl SigningKey {
    /// Makes a key for an algorithm. RSA keys have 2048 bits.
    pub(super) fn generate(algorithm: Algorithm) -> Result<Self, Failure> {
        let unspecified = |_| format!("a key for {algorithm:?} could not be made");
        let pkcs8 = match algorithm {
            Algorithm::ES256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(unspecified)?;
                pair.to_pkcs8v1().map_err(unspecified)?.as_ref().to_vec()
            }
            Algorithm::ES384 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).map_err(unspecified)?;
                pair.to_pkcs8v1().map_err(unspecified)?.as_ref().to_vec()
            }
            Algorithm::EdDSA => {
                let pair = Ed25519KeyPair::generate().map_err(unspecified)?;
                pair.to_pkcs8v1().map_err(unspecified)?.as_ref().to_vec()
            }
            _ => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(unspecified)?;
                AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).map_err(unspecified)?.as_ref().to_vec()
            }
        };
        Self::from_pkcs8(pkcs8, Some(algorithm))
    }

    /// Reads a PEM file with a PKCS#8 private key.
    pub(super) fn read(path: &Path, algorithm: Option<Algorithm>) -> Result<Self, Failure> {
        let text = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(&text).map_err(|_| {
            let hint = "convert it with: openssl pkcs8 -topk8 -nocrypt -in FILE";
            format!("{}: there is no unencrypted PKCS#8 private key in PEM form; {hint}", path.display())
        })?;
        Self::from_pkcs8(key.secret_pkcs8_der().to_vec(), algorithm)
            .map_err(|error| format!("{}: {error}", path.display()).into())
    }

    fn from_pkcs8(pkcs8: Vec<u8>, wanted: Option<Algorithm>) -> Result<Self, Failure> {
        let (possible, spki) = recognise(&pkcs8).ok_or("the key is not RSA, P-256, P-384 or Ed25519")?;
        let natural = possible.first().copied().ok_or("the key has no algorithm")?;
        let algorithm = wanted.unwrap_or(natural);
        if !possible.contains(&algorithm) {
            return Err(format!("the key cannot sign {algorithm:?}; it is for {possible:?}").into());
        }
        let pem = pem("PRIVATE KEY", &pkcs8);
        let key = match algorithm {
            Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem(pem.as_bytes())?,
            Algorithm::EdDSA => EncodingKey::from_ed_pem(pem.as_bytes())?,
            _ => EncodingKey::from_rsa_pem(pem.as_bytes())?,
        };
        let mut jwk = Jwk::from_encoding_key(&key, algorithm)?;
        jwk.common.key_id = Some(jwk.thumbprint(ThumbprintHash::SHA256)?);
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        jwk.common.key_algorithm = Some(KeyAlgorithm::from(algorithm));
        Ok(Self { key, algorithm, jwk, spki, pkcs8 })
    }

    /// Writes `private.pem` (for its owner only), `public.pem` and `jwks.json`. Existing files stay.
    pub(super) fn write(&self, folder: &Path) -> Result<(), Failure> {
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        write(&folder.join(PRIVATE), 0o600, &pem("PRIVATE KEY", &self.pkcs8))?;
        self.public_files()?.iter().try_for_each(|(name, text)| write(&folder.join(name), 0o644, text))
    }

    /// Whether a folder has a private key.
    pub(super) fn is_in(folder: &Path) -> bool {
        folder.join(PRIVATE).exists()
    }

    /// The key in a folder. What says its public half is written where it is missing.
    pub(super) fn found(folder: &Path, algorithm: Option<Algorithm>) -> Result<Self, Failure> {
        let key = Self::read(&folder.join(PRIVATE), algorithm)?;
        for (name, text) in key.public_files()? {
            let path = folder.join(name);
            if !path.exists() {
                write(&path, 0o644, &text)?;
            }
        }
        Ok(key)
    }

    /// Names and texts of the files that say the public half.
    fn public_files(&self) -> Result<[(&'static str, String); 2], Failure> {
        let jwks = serde_json::to_string_pretty(&json!({ "keys": [self.jwk] }))?;
        Ok([("public.pem", pem("PUBLIC KEY", &self.spki)), ("jwks.json", jwks + "\n")])
    }
}

/// The algorithms that a key can be used with, the natural one first, and its public half.
fn recognise(pkcs8: &[u8]) -> Option<(&'static [Algorithm], Vec<u8>)> {
    fn spki(key: &impl AsDer<PublicKeyX509Der<'static>>) -> Option<Vec<u8>> {
        key.as_der().ok().map(|der| der.as_ref().to_vec())
    }
    if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8) {
        return Some((&[Algorithm::ES256], spki(pair.public_key())?));
    }
    if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, pkcs8) {
        return Some((&[Algorithm::ES384], spki(pair.public_key())?));
    }
    if let Ok(pair) = Ed25519KeyPair::from_pkcs8(pkcs8) {
        return Some((&[Algorithm::EdDSA], spki(pair.public_key())?));
    }
    let pair = RsaKeyPair::from_pkcs8(pkcs8).ok()?;
    let rsa =
        &[Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512];
    Some((rsa, spki(pair.public_key())?))
}

/// RFC 7468.
fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = more;
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}

fn write(path: &Path, mode: u32, text: &str) -> Result<(), Failure> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| format!("{}: {error}", path.display()).into())
}
