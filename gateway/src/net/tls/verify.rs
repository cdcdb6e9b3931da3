//! How much of a PostgreSQL server's certificate is believed, by `tls_verify`.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// What the certificate must show.
#[derive(Debug)]
pub(super) enum Trust {
    /// Nothing: the connection is encrypted, and whoever sits on the wire can still pretend to be the server.
    Anyone,
    /// Signed by an authority that is known.
    Chain(Anchors),
    /// The same, and made out to the host that was called.
    ChainAndName(Anchors),
}

/// The authorities, and the certificates of the configured file as they are.
#[derive(Debug)]
pub(super) struct Anchors {
    pub(super) roots: RootCertStore,
    pub(super) exact: Vec<CertificateDer<'static>>,
}

#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) trust: Trust,
    pub(super) provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn check_chain(
        &self,
        anchors: &Anchors,
        certificate: &CertificateDer<'_>,
        parsed: &ParsedCertificate<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let verified = verify_server_cert_signed_by_trust_anchor(
            parsed,
            &anchors.roots,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        );
        match verified {
            Err(error) if is_authority(&error) && anchors.exact.contains(certificate) => Ok(()),
            other => other,
        }
    }
}

/// The one complaint that is waived for a certificate that the configured file holds byte for byte: that it is marked
/// as an authority. `openssl req -x509`, PostgreSQL's own recipe, makes such certificates, and libpq takes them. The
/// dates are checked before this complaint is made.
fn is_authority(error: &Error) -> bool {
    match error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(reason))) => {
            reason.to_string() == "CaUsedAsEndEntity"
        }
        _ => false,
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.trust {
            Trust::Anyone => {}
            Trust::Chain(anchors) => {
                let parsed = ParsedCertificate::try_from(end_entity)?;
                self.check_chain(anchors, end_entity, &parsed, intermediates, now)?;
            }
            Trust::ChainAndName(anchors) => {
                let parsed = ParsedCertificate::try_from(end_entity)?;
                self.check_chain(anchors, end_entity, &parsed, intermediates, now)?;
                rustls::client::verify_server_name(&parsed, server_name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
