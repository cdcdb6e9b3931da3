//! PEM text (RFC 7468) into keys. Read here and not by a library because of what must *not* happen: a private key in the
//! file is refused by name, and no message repeats a line of the file (S5).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::key::{Key, KeyError};
use crate::config::Algorithm;

/// Why a file's text cannot be used. Says nothing of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PemError {
    #[error("is not text")]
    NotText,
    #[error("holds no public key or certificate in PEM form")]
    NoKey,
    #[error("holds a private key; it must hold public keys only, and that private key should be replaced")]
    PrivateKey,
    #[error("holds a block that is not PUBLIC KEY, RSA PUBLIC KEY or CERTIFICATE")]
    UnknownBlock,
    #[error("has a PEM block that does not end, or ends as another than it began")]
    Unfinished,
    #[error("has a PEM block that is not base64")]
    NotBase64,
    #[error("has a certificate that cannot be read")]
    BadCertificate,
    #[error("has a key that {0}")]
    Key(KeyError),
}

/// All keys of a file. One that cannot be used spoils the file: a person wrote it, and should hear of it.
///
/// Of a certificate only the public key counts. Its dates and its chain do not: the file itself is the trust.
pub(crate) fn keys(content: &[u8], algorithms: &[Algorithm]) -> Result<Vec<Key>, PemError> {
    let text = std::str::from_utf8(content).map_err(|_| PemError::NotText)?;
    if text.lines().filter_map(begin).any(|label| label.contains("PRIVATE KEY")) {
        return Err(PemError::PrivateKey);
    }
    let mut keys = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(label) = begin(line) else { continue };
        let der = body(&mut lines, label)?;
        keys.push(key(label, &der, algorithms)?);
    }
    if keys.is_empty() { Err(PemError::NoKey) } else { Ok(keys) }
}

fn begin(line: &str) -> Option<&str> {
    line.trim().strip_prefix("-----BEGIN ")?.strip_suffix("-----")
}

/// The block's bytes. Leaves `lines` after its end.
fn body<'a>(lines: &mut impl Iterator<Item = &'a str>, label: &str) -> Result<Vec<u8>, PemError> {
    let mut encoded = String::new();
    for line in lines {
        let line = line.trim();
        if let Some(end) = line.strip_prefix("-----END ") {
            return if end.strip_suffix("-----") == Some(label) {
                STANDARD.decode(encoded).map_err(|_| PemError::NotBase64)
            } else {
                Err(PemError::Unfinished)
            };
        }
        encoded.push_str(line);
    }
    Err(PemError::Unfinished)
}

fn key(label: &str, der: &[u8], algorithms: &[Algorithm]) -> Result<Key, PemError> {
    let key = match label {
        "PUBLIC KEY" | "RSA PUBLIC KEY" => Key::from_der(der, algorithms),
        "CERTIFICATE" => {
            let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| PemError::BadCertificate)?;
            if !rest.is_empty() {
                return Err(PemError::BadCertificate);
            }
            Key::from_der(certificate.public_key().raw, algorithms)
        }
        _ => return Err(PemError::UnknownBlock),
    };
    key.map_err(PemError::Key)
}
