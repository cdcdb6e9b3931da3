//! Fetching a key set over HTTP.

use reqwest::{Client, header};

use super::jwk::{self, ParsedSet};
use crate::config::{Algorithm, ConfigError, JwksSource};
use crate::http::{self, HttpError};

/// Why a fetch gave no keys.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    NotAKeySet(#[from] jwk::NotAKeySet),
}

/// Makes a client for one source. Asks nobody yet.
pub(crate) fn client(source: &JwksSource) -> Result<Client, ConfigError> {
    http::client(&source.url, source.connect_timeout, source.timeout)
}

/// Asks once, within the source's limits.
pub(crate) async fn fetch(
    client: &Client,
    source: &JwksSource,
    allowed: &[Algorithm],
) -> Result<ParsedSet, FetchError> {
    let request = client.get(&source.url).header(header::ACCEPT, "application/jwk-set+json, application/json");
    let body = tokio::time::timeout(source.timeout, http::body(request, source.max_body_size));
    let body = body.await.map_err(|_| HttpError::TimedOut)??;
    Ok(jwk::parse(&body, allowed)?)
}
