//! The gateway as TLS client, for PostgreSQL servers.

use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::verify::{Anchors, Trust, Verifier};
use super::{ALPN, TlsError, certificates, certified, provider};
use crate::net::Stream;
use crate::wire::message;

/// `tls_verify`, as PgDog names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsMode {
    /// Never TLS.
    Disabled,
    /// TLS if the server offers it, and its certificate is not looked at. PgDog means this by `prefer`, as libpq does:
    /// safe from those who listen, not from those who stand in between.
    Prefer,
    /// TLS or nothing; an authority that is known must have signed the certificate.
    VerifyCa,
    /// TLS or nothing; the certificate must also be made out to the host.
    VerifyFull,
}

/// How connections to servers are encrypted. Built once, shared by all connections.
#[derive(Debug, Clone)]
pub(crate) struct ClientTls {
    mode: TlsMode,
    config: Option<Arc<ClientConfig>>,
}

impl ClientTls {
    /// Reads the files. Without `ca` the operating system's authorities count. `identity` is the certificate and key
    /// that the gateway shows when a server asks (`cert` in `pg_hba.conf`).
    pub(crate) fn new(mode: TlsMode, ca: Option<&Path>, identity: Option<(&Path, &Path)>) -> Result<Self, TlsError> {
        let trust = match mode {
            TlsMode::Disabled => return Ok(Self::disabled()),
            TlsMode::Prefer => Trust::Anyone,
            TlsMode::VerifyCa => Trust::Chain(anchors(ca)?),
            TlsMode::VerifyFull => Trust::ChainAndName(anchors(ca)?),
        };
        let provider = provider();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::setup)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier { trust, provider }));
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                builder.with_client_cert_resolver(certified("the gateway's TLS certificate", certificate, key)?)
            }
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self { mode, config: Some(Arc::new(config)) })
    }

    /// Never TLS.
    pub(crate) fn disabled() -> Self {
        Self { mode: TlsMode::Disabled, config: None }
    }

    #[cfg(test)]
    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        self.config.clone().unwrap()
    }

    /// Asks the server for TLS and begins it. A Unix socket is never encrypted: PostgreSQL does not offer it there.
    ///
    /// The answer is one byte, and a server has nothing to add before the client's hello: bytes behind it come from
    /// somebody who wants them taken for encrypted ones later (CVE-2021-23222), so they end the connection. An error
    /// message instead of the answer is not read either, it could be anybody's (CVE-2024-10977).
    pub(crate) async fn encrypt(&self, mut stream: Stream, host: &str) -> Result<Stream, EncryptError> {
        let Some(config) = &self.config else {
            return Ok(stream);
        };
        if matches!(stream, Stream::Unix(_)) {
            return Ok(stream);
        }
        let mut request = Vec::with_capacity(8);
        message::ssl_request(&mut request);
        stream.write_all(&request).await?;
        let answer = stream.read_u8().await?;
        if stream.has_unread()? {
            return Err(EncryptError::Stuffed);
        }
        match answer {
            b'S' => {}
            b'N' if self.mode == TlsMode::Prefer => return Ok(stream),
            b'N' => return Err(EncryptError::NotOffered),
            other => return Err(EncryptError::Answer(other)),
        }
        let Stream::Tcp(socket) = stream else {
            return Ok(stream);
        };
        let session = TlsConnector::from(Arc::clone(config))
            .connect(self.server_name(host)?, socket)
            .await
            .map_err(EncryptError::Handshake)?;
        Ok(session.into())
    }

    /// Where the name is not checked, a host that cannot stand in a certificate is no reason to fail: an address takes
    /// its place, which is not sent.
    fn server_name(&self, host: &str) -> Result<ServerName<'static>, EncryptError> {
        match ServerName::try_from(host.to_owned()) {
            Ok(name) => Ok(name),
            Err(_) if self.mode == TlsMode::VerifyFull => Err(EncryptError::Name(host.to_owned())),
            Err(_) => Ok(ServerName::from(std::net::Ipv4Addr::UNSPECIFIED)),
        }
    }
}

/// Why a connection to a server could not be encrypted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EncryptError {
    #[error("the server does not offer TLS, which tls_verify demands")]
    NotOffered,
    #[error("the server answered the request for TLS with byte {0:#04x}")]
    Answer(u8),
    #[error("the server sent bytes behind its answer to the request for TLS")]
    Stuffed,
    #[error("{0:?} cannot be the name in a certificate")]
    Name(String),
    #[error("TLS handshake with the server failed: {0}")]
    Handshake(std::io::Error),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

fn anchors(ca: Option<&Path>) -> Result<Anchors, TlsError> {
    const WHAT: &str = "the authority of server certificates";
    let mut roots = RootCertStore::empty();
    let Some(path) = ca else {
        let native = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(native.certs);
        if roots.is_empty() {
            return Err(TlsError::setup("this system has no certificate authorities; set tls_server_ca_certificate"));
        }
        return Ok(Anchors { roots, exact: Vec::new() });
    };
    let exact = certificates(WHAT, path)?;
    for certificate in &exact {
        roots.add(certificate.clone()).map_err(|error| TlsError::file(WHAT, path, error))?;
    }
    Ok(Anchors { roots, exact })
}
