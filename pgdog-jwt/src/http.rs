//! Asking an issuer over HTTP, with every limit that a slow or hostile one could need (S8, S9). Connections are not kept:
//! a request may run on any of the host's runtimes, and a kept connection would belong to the one that made it.

use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, StatusCode};
use rustls::{ClientConfig, RootCertStore};

use crate::config::ConfigError;

/// Why a request gave no answer. Does not repeat the URL, which may carry an access key, nor the answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
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
}

/// Makes a client for one URL. Asks nobody yet.
///
/// The system's certificates are trusted; `SSL_CERT_FILE` and `SSL_CERT_DIR` replace them. Proxy variables are not read.
pub(crate) fn client(url: &str, connect_timeout: Duration, timeout: Duration) -> Result<Client, ConfigError> {
    let cannot = |error: &dyn std::fmt::Display| ConfigError::System(format!("cannot prepare for HTTPS: {error}"));
    let mut roots = RootCertStore::empty();
    if !url.starts_with("http:") {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            tracing::warn!("the system has no trusted certificates: an issuer cannot be asked over HTTPS");
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
        .connect_timeout(connect_timeout)
        .timeout(timeout)
        .pool_max_idle_per_host(0)
        .user_agent(concat!("pgdog-jwt/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| cannot(&error))
}

/// Sends the request and reads an answer of at most `limit` bytes. The client's time-out holds for each of its parts; the
/// caller limits the whole.
pub(crate) async fn body(request: RequestBuilder, limit: usize) -> Result<Vec<u8>, HttpError> {
    let mut response = request.send().await.map_err(transport)?;
    match response.status() {
        StatusCode::OK => {}
        status if status.is_redirection() => return Err(HttpError::Redirect),
        status => return Err(HttpError::Status(status.as_u16())),
    }
    if response.content_length().is_some_and(|length| length > limit as u64) {
        return Err(HttpError::TooLarge(limit));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(transport)? {
        if chunk.len() > limit - body.len() {
            return Err(HttpError::TooLarge(limit));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn transport(error: reqwest::Error) -> HttpError {
    if error.is_timeout() {
        return HttpError::TimedOut;
    }
    let error = error.without_url();
    // The cause is what helps ("connection refused", "certificate has expired"), and it is at the end of the chain.
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    HttpError::Transport(cause.to_string())
}
