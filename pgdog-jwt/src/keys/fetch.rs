//! Fetching a key set over HTTP, with every limit that a slow or hostile issuer could need (S8, S9). Connections are not
//! kept: a fetch may run on any of the host's runtimes, and a kept connection would belong to the one that made it.

use std::sync::Arc;

use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, header};
use rustls::{ClientConfig, RootCertStore};

use super::jwk::{self, ParsedSet};
use crate::config::{Algorithm, ConfigError, JwksSource};

/// Why a fetch gave no keys. Does not repeat the URL, which may carry an access key, nor the answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("the issuer cannot be reached: {0}")]
    Transport(String),
    #[error("the issuer did not answer in time")]
    TimedOut,
    #[error("the issuer redirects, which is not followed")]
    Redirect,
    #[error("the issuer answered with status {0}")]
    Status(u16),
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    #[error(transparent)]
    NotAKeySet(#[from] jwk::NotAKeySet),
}

/// Makes a client for one source. Asks nobody yet.
///
/// The system's certificates are trusted; `SSL_CERT_FILE` and `SSL_CERT_DIR` replace them. Proxy variables are not read.
pub(crate) fn client(source: &JwksSource) -> Result<Client, ConfigError> {
    let cannot = |error: &dyn std::fmt::Display| ConfigError::System(format!("cannot prepare for HTTPS: {error}"));
    let mut roots = RootCertStore::empty();
    if !source.url.starts_with("http:") {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            tracing::warn!("the system has no trusted certificates: keys cannot be fetched over HTTPS");
        }
    }
    let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| cannot(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(source.connect_timeout)
        .timeout(source.timeout)
        .pool_max_idle_per_host(0)
        .user_agent(concat!("pgdog-jwt/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| cannot(&error))
}

/// Asks once, within the source's limits.
pub(crate) async fn fetch(
    client: &Client,
    source: &JwksSource,
    allowed: &[Algorithm],
) -> Result<ParsedSet, FetchError> {
    let body = tokio::time::timeout(source.timeout, body(client, source)).await.map_err(|_| FetchError::TimedOut)??;
    Ok(jwk::parse(&body, allowed)?)
}

async fn body(client: &Client, source: &JwksSource) -> Result<Vec<u8>, FetchError> {
    let request = client.get(&source.url).header(header::ACCEPT, "application/jwk-set+json, application/json");
    let mut response = request.send().await.map_err(transport)?;
    match response.status() {
        StatusCode::OK => {}
        status if status.is_redirection() => return Err(FetchError::Redirect),
        status => return Err(FetchError::Status(status.as_u16())),
    }
    let limit = source.max_body_size;
    if response.content_length().is_some_and(|length| length > limit as u64) {
        return Err(FetchError::TooLarge(limit));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(transport)? {
        if chunk.len() > limit - body.len() {
            return Err(FetchError::TooLarge(limit));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn transport(error: reqwest::Error) -> FetchError {
    if error.is_timeout() {
        return FetchError::TimedOut;
    }
    let error = error.without_url();
    // The cause is what helps ("connection refused", "certificate has expired"), and it is at the end of the chain.
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    FetchError::Transport(cause.to_string())
}
