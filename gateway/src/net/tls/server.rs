//! The gateway as TLS server, for its clients.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;

use super::{ALPN, TlsError, certified, provider, roots};

/// Reads certificate chain, key and, when there is one, the authority of client certificates. TLS 1.2 and newer.
///
/// With `client_ca` a client may show a certificate: one that does not hold ends the handshake, none at all does not,
/// because whether a user must have one is said user by user (`tls_client_certificate_required`), as PostgreSQL says
/// it line by line in `pg_hba.conf`.
pub(crate) fn server_config(
    certificate: &Path,
    key: &Path,
    client_ca: Option<&Path>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let pair = certified("the TLS certificate", certificate, key)?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::setup)?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let what = "the authority of client certificates";
            let roots = Arc::new(roots(what, path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
                .allow_unauthenticated()
                .build()
                .map_err(|error| TlsError::file(what, path, error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_cert_resolver(pair);
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> (tempfile::TempDir, std::path::PathBuf, std::path::PathBuf) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let certificate = folder.path().join("server.crt");
        let key = folder.path().join("server.key");
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        (folder, certificate, key)
    }

    #[test]
    fn a_configuration_is_built_from_files() {
        let (_folder, certificate, key) = files();
        let config = server_config(&certificate, &key, Some(&certificate)).unwrap();
        assert_eq!(config.alpn_protocols, [ALPN.to_vec()]);
    }

    #[test]
    fn errors_name_the_file() {
        let (folder, certificate, key) = files();
        let missing = folder.path().join("missing.crt");
        let error = server_config(&missing, &key, None).unwrap_err().to_string();
        assert!(error.contains("missing.crt"), "{error}");

        let error = server_config(&key, &key, None).unwrap_err().to_string();
        assert!(error.contains("no PEM certificate"), "{error}");

        let error = server_config(&certificate, &certificate, None).unwrap_err().to_string();
        assert!(error.contains("private key"), "{error}");
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let (_one, certificate, _) = files();
        let (_two, _, key) = files();
        let error = server_config(&certificate, &key, None).unwrap_err().to_string();
        assert!(error.starts_with(&key.display().to_string()), "{error}");
    }

    #[test]
    fn a_certificate_that_cannot_be_read_is_blamed_itself() {
        let (_one, certificate, key) = files();
        let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        std::fs::write(&certificate, nonsense).unwrap();
        let error = server_config(&certificate, &key, None).unwrap_err().to_string();
        assert!(error.starts_with(&certificate.display().to_string()), "{error}");
    }
}
