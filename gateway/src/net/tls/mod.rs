//! TLS on both sides, with one crypto provider (aws-lc-rs) that is always named, so that no other part of the process
//! can change which one is used.

pub(crate) mod client;
pub(crate) mod end_point;
pub(crate) mod server;
mod subject;
mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pgdog_jwt::config::{Problem, Spot};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{InconsistentKeys, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

pub(crate) use client::ClientTls;
pub(crate) use server::server_config;
pub(crate) use subject::{common_name_in, subject};

/// The protocol's registered name in TLS (IANA, "TLS ALPN Protocol IDs"). PostgreSQL 17 and newer agree on it, which
/// keeps a connection meant for another protocol from being replayed to this one.
pub(crate) const ALPN: &[u8] = b"postgresql";

/// Why a TLS configuration could not be built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("{}: {}", path.display(), unusable(what, reason))]
    File { what: &'static str, path: PathBuf, reason: String },
    #[error("{0}")]
    Setup(String),
}

impl TlsError {
    fn file(what: &'static str, path: &Path, reason: impl ToString) -> Self {
        Self::File { what, path: path.to_owned(), reason: reason.to_string() }
    }

    fn setup(reason: impl ToString) -> Self {
        Self::Setup(reason.to_string())
    }
}

/// What is wrong with a file, without its name.
fn unusable(what: &str, reason: &str) -> String {
    format!("cannot be used as {what}: {reason}")
}

impl From<TlsError> for Problem {
    fn from(error: TlsError) -> Self {
        match error {
            TlsError::File { what, path, reason } => {
                Self { spot: Spot::whole(path.display().to_string()), reason: unusable(what, &reason) }
            }
            TlsError::Setup(reason) => Self { spot: Spot::none(), reason },
        }
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// All certificates of a PEM file, at least one.
fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| TlsError::file(what, path, error))?;
    if chain.is_empty() {
        return Err(TlsError::file(what, path, "no PEM certificate in the file"));
    }
    Ok(chain)
}

/// A certificate with its chain and its key, each blamed for what is wrong with it alone.
fn certified(what: &'static str, certificate: &Path, key: &Path) -> Result<Arc<SingleCertAndKey>, TlsError> {
    const KEY: &str = "the TLS private key";
    let chain = certificates(what, certificate)?;
    let der = PrivateKeyDer::from_pem_file(key).map_err(|error| TlsError::file(KEY, key, error))?;
    let loaded = provider().key_provider.load_private_key(der).map_err(|error| TlsError::file(KEY, key, error))?;
    let pair = CertifiedKey::new(chain, loaded);
    match pair.keys_match() {
        // A key that cannot give its public half is taken as it is.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(rustls::Error::InconsistentKeys(_)) => {
            return Err(TlsError::file(KEY, key, format!("it is not the key of {}", certificate.display())));
        }
        Err(error) => return Err(TlsError::file(what, certificate, error)),
    }
    Ok(Arc::new(pair.into()))
}

fn roots(what: &'static str, path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(what, path)? {
        roots.add(certificate).map_err(|error| TlsError::file(what, path, error))?;
    }
    Ok(roots)
}
