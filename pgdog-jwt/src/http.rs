//! Asking an issuer over HTTP, with every limit that a slow or hostile one could need (S8, S9). Connections are not kept:
//! a request may run on any of the host's runtimes, and a kept connection would belong to the one that made it.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, StatusCode};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::config::{Fault, Proxy};

/// Most bytes of all headers of an answer together.
const MAX_HEADER_SIZE: usize = 64 * 1024;

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

/// How a client reaches an issuer.
pub(crate) struct Route<'a> {
    /// Whether anything is asked over HTTPS, so that certificates of authorities are needed.
    pub(crate) https: bool,
    /// Whether nothing is asked in clear text.
    pub(crate) https_only: bool,
    pub(crate) connect_timeout: Duration,
    pub(crate) timeout: Duration,
    pub(crate) proxy: &'a Proxy,
    /// Certificates of authorities in PEM, instead of the system's.
    pub(crate) authorities: Option<&'a [u8]>,
}

/// Makes a client for one URL. Asks nobody yet.
///
/// The system's certificates are trusted; `SSL_CERT_FILE` and `SSL_CERT_DIR` replace them. Proxy variables are not read.
pub(crate) fn client(url: &str, connect_timeout: Duration, timeout: Duration) -> Result<Client, Fault> {
    let https = !is_clear_text(url);
    client_by(&Route { https, https_only: https, connect_timeout, timeout, proxy: &Proxy::None, authorities: None })
}

/// Whether this is asked over HTTP without TLS. A scheme may be written in any case (RFC 3986 section 3.1).
pub(crate) fn is_clear_text(url: &str) -> bool {
    url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http:"))
}

/// Makes a client for a route. Asks nobody yet.
pub(crate) fn client_by(route: &Route<'_>) -> Result<Client, Fault> {
    let cannot = |error: &dyn std::fmt::Display| Fault::System(format!("cannot prepare for HTTPS: {error}"));
    let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| cannot(&error))?
        .with_root_certificates(roots(route)?)
        .with_no_client_auth();
    let mut builder = Client::builder().tls_backend_preconfigured(tls).no_proxy();
    if let Some(proxy) = proxy(route.proxy)? {
        builder = builder.proxy(proxy);
    }
    builder
        .https_only(route.https_only)
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(route.connect_timeout)
        .timeout(route.timeout)
        .pool_max_idle_per_host(0)
        .http2_max_header_list_size(MAX_HEADER_SIZE as u32)
        .user_agent(concat!("pgdog-jwt/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| cannot(&error))
}

fn roots(route: &Route<'_>) -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    if !route.https {
        return Ok(roots);
    }
    match route.authorities {
        Some(pem) => {
            let certificates = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
            roots.add_parsable_certificates(certificates);
            if roots.is_empty() {
                let problem = "holds no certificate in PEM form".to_owned();
                return Err(Fault::Route { what: "the file of the issuer's authority (\"jwks_ca_file\")", problem });
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                tracing::warn!("the system has no trusted certificates: an issuer cannot be asked over HTTPS");
            }
        }
    }
    Ok(roots)
}

/// Only for `https://`: what is asked in clear text is on this machine, where a proxy has no business.
fn proxy(proxy: &Proxy) -> Result<Option<reqwest::Proxy>, Fault> {
    let (url, exceptions) = match proxy {
        Proxy::None => return Ok(None),
        Proxy::Url(url) => (url.expose().to_owned(), None),
        Proxy::Environment => {
            let names = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
            let named = names.into_iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
            match named {
                Some(url) => (url, reqwest::NoProxy::from_env()),
                None => return Ok(None),
            }
        }
    };
    // The error would repeat the URL, which may hold a password.
    let unusable = |_| Fault::Route { what: "the proxy", problem: "must be a URL".to_owned() };
    Ok(Some(reqwest::Proxy::https(&url).map_err(unusable)?.no_proxy(exceptions)))
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    /// `None`: nothing has changed since the answer that the request names (RFC 9110 section 15.4.5).
    pub(crate) body: Option<Vec<u8>>,
}

/// Sends the request and reads an answer of at most `limit` bytes. The client's time-out holds for each of its parts; the
/// caller limits the whole.
pub(crate) async fn body(request: RequestBuilder, limit: usize) -> Result<Vec<u8>, HttpError> {
    let not_asked_for = HttpError::Status(StatusCode::NOT_MODIFIED.as_u16());
    answer(request, limit).await?.body.ok_or(not_asked_for)
}

/// As [`body`], with the headers, for a request that may be answered with "nothing has changed".
pub(crate) async fn answer(request: RequestBuilder, limit: usize) -> Result<Answer, HttpError> {
    let mut response = request.send().await.map_err(transport)?;
    let headers = response.headers().clone();
    if headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>() > MAX_HEADER_SIZE {
        return Err(HttpError::TooLarge(MAX_HEADER_SIZE));
    }
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_MODIFIED => return Ok(Answer { headers, body: None }),
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
    Ok(Answer { headers, body: Some(body) })
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
