//! Fetching a key set over HTTP, and finding out where it is.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Client, Url};

use super::discovery::{self, MetadataError};
use super::jwk::{self, ParsedSet};
use super::lifetime;
use crate::config::{Algorithm, Fault, JwksSource, printable};
use crate::file;
use crate::http::{self, HttpError, Route};

/// How long an issuer's metadata is taken for what it was, while the keys can be fetched from where it says.
const METADATA_TTL: Duration = Duration::from_secs(60 * 60);
/// Longest entity tag that is kept, in bytes.
const MAX_ETAG_SIZE: usize = 256;
/// Largest file with a token or with certificates, in bytes.
const MAX_FILE_SIZE: u64 = 1024 * 1024;

/// Why a fetch gave no keys.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    #[error("the answer is of type {0:?}, and not JSON")]
    WrongType(String),
    #[error(transparent)]
    NotAKeySet(#[from] jwk::NotAKeySet),
    #[error("the file with the bearer token {0}")]
    BearerToken(String),
    #[error("the file with the issuer's authority {0}")]
    Authority(String),
    #[error(transparent)]
    Setup(#[from] Fault),
}

/// What a fetch gave.
pub(super) struct Fetched {
    /// How long the issuer wants it to be used.
    pub(super) asked_for: Option<Duration>,
    /// `None`: the set is the one that the validator stands for.
    pub(super) set: Option<(ParsedSet, Option<Validator>)>,
}

/// What lets an issuer answer "nothing has changed" (RFC 9110 section 8.8.3).
#[derive(Clone)]
pub(super) struct Validator {
    /// Where the answer came from: an entity tag means nothing elsewhere.
    url: String,
    etag: HeaderValue,
}

impl Validator {
    pub(super) fn etag(&self) -> &str {
        self.etag.to_str().unwrap_or_default()
    }
}

/// Asks one issuer.
pub(super) struct Fetcher {
    source: JwksSource,
    discovers: bool,
    algorithms: Vec<Algorithm>,
    /// `None` where the certificates that it trusts are read each time.
    client: Option<Client>,
    found: Mutex<Option<Found>>,
}

/// Where the metadata said that the keys are, and when.
#[derive(Clone)]
struct Found {
    url: String,
    learned: Instant,
}

impl Fetcher {
    /// Asks nobody yet. Reads the file with the issuer's authority, so that one that cannot be used is found out now.
    pub(super) fn new(
        source: &JwksSource,
        discovers: bool,
        algorithms: &[Algorithm],
        before: Option<&Self>,
    ) -> Result<Self, Fault> {
        let mut fetcher = Self {
            source: source.clone(),
            discovers,
            algorithms: algorithms.to_vec(),
            client: None,
            found: Mutex::new(before.and_then(|before| before.found.lock().clone())),
        };
        match &source.ca_file {
            None => fetcher.client = Some(fetcher.make_client(None)?),
            Some(path) => {
                let problem = |problem| Fault::KeyFile { path: path.clone(), problem };
                let pem = file::read(path, MAX_FILE_SIZE).map_err(problem)?;
                fetcher.make_client(Some(&pem))?;
            }
        }
        Ok(fetcher)
    }

    /// Whether it asks as this configuration wants it.
    pub(super) fn is_for(&self, source: &JwksSource, discovers: bool, algorithms: &[Algorithm]) -> bool {
        self.source == *source && self.discovers == discovers && self.algorithms == algorithms
    }

    /// Whether what it was told would be told to this configuration as well: only limits differ.
    pub(super) fn asks_as(&self, source: &JwksSource, discovers: bool, algorithms: &[Algorithm]) -> bool {
        fn way(of: &JwksSource) -> impl PartialEq + '_ {
            (&of.url, &of.proxy, &of.ca_file, &of.bearer_token_file, of.max_keys, of.max_body_size)
        }
        way(&self.source) == way(source) && self.discovers == discovers && self.algorithms == algorithms
    }

    pub(super) fn source(&self) -> &JwksSource {
        &self.source
    }

    /// Asks once, within the source's limits. After a fetch that failed, the metadata is asked again as well.
    pub(super) async fn fetch(&self, known: Option<Validator>, after_failure: bool) -> Result<Fetched, FetchError> {
        let fetched = tokio::time::timeout(self.source.timeout, self.ask(known, after_failure)).await;
        fetched.map_err(|_| HttpError::TimedOut)?
    }

    async fn ask(&self, known: Option<Validator>, after_failure: bool) -> Result<Fetched, FetchError> {
        let client = self.client().await?;
        let url = match self.discovers {
            true => self.discovered(&client, after_failure).await?,
            false => self.source.url.clone(),
        };
        let mut headers = self.headers(&url).await?;
        let known = known.filter(|known| known.url == url);
        if let Some(known) = &known {
            headers.insert(header::IF_NONE_MATCH, known.etag.clone());
        }
        let answer = http::answer(client.get(&url).headers(headers), self.source.max_body_size).await?;
        let asked_for = lifetime::asked_for(&answer.headers);
        let Some(body) = answer.body else {
            let unasked = HttpError::Status(304);
            return if known.is_some() { Ok(Fetched { asked_for, set: None }) } else { Err(unasked.into()) };
        };
        check_type(&answer.headers)?;
        let set = jwk::parse(&body, &self.algorithms, self.source.max_keys)?;
        let etag = answer.headers.get(header::ETAG).filter(|etag| is_usable_etag(etag));
        let validator = etag.map(|etag| Validator { url, etag: etag.clone() });
        Ok(Fetched { asked_for, set: Some((set, validator)) })
    }

    /// Where the keys are. Metadata that cannot be had leaves them where they were, for as long as keys outlive an issuer
    /// that cannot be reached.
    async fn discovered(&self, client: &Client, after_failure: bool) -> Result<String, FetchError> {
        let known = self.found.lock().clone();
        if let Some(known) = &known
            && !after_failure
            && known.learned.elapsed() < METADATA_TTL
        {
            return Ok(known.url.clone());
        }
        // Where there is another way, time is left for it.
        let limit = if known.is_some() { self.source.timeout / 2 } else { self.source.timeout };
        let asked = tokio::time::timeout(limit, self.ask_for_place(client)).await;
        match asked.unwrap_or(Err(HttpError::TimedOut.into())) {
            Ok(url) => {
                *self.found.lock() = Some(Found { url: url.clone(), learned: Instant::now() });
                Ok(url)
            }
            Err(error) => match known.filter(|known| known.learned.elapsed() < self.source.max_stale) {
                Some(known) => {
                    let issuer = printable(&self.source.url);
                    tracing::warn!(issuer, %error, "the issuer's metadata could not be fetched, its keys are where they were");
                    Ok(known.url)
                }
                None => Err(error),
            },
        }
    }

    async fn ask_for_place(&self, client: &Client) -> Result<String, FetchError> {
        let url = discovery::url(&self.source.url);
        let request = client.get(&url).headers(self.headers(&url).await?);
        let answer = http::answer(request, self.source.max_body_size).await?;
        let body = answer.body.ok_or(HttpError::Status(304))?;
        check_type(&answer.headers)?;
        Ok(discovery::keys_url(&body, &self.source.url)?)
    }

    /// What every request has. The token goes to the configured place alone, wherever the metadata leads.
    async fn headers(&self, url: &str) -> Result<HeaderMap, FetchError> {
        let mut headers = HeaderMap::new();
        let types = HeaderValue::from_static("application/jwk-set+json, application/json");
        headers.insert(header::ACCEPT, types);
        if let Some(path) = &self.source.bearer_token_file
            && same_origin(url, &self.source.url)
        {
            let token = read(path).await.map_err(FetchError::BearerToken)?;
            headers.insert(header::AUTHORIZATION, bearer(&token).map_err(FetchError::BearerToken)?);
        }
        Ok(headers)
    }

    async fn client(&self) -> Result<Client, FetchError> {
        match (&self.client, &self.source.ca_file) {
            (Some(client), _) => Ok(client.clone()),
            (None, None) => Ok(self.make_client(None)?),
            (None, Some(path)) => Ok(self.make_client(Some(&read(path).await.map_err(FetchError::Authority)?))?),
        }
    }

    fn make_client(&self, authorities: Option<&[u8]>) -> Result<Client, Fault> {
        http::client_by(&Route {
            // An issuer on this machine may have its keys elsewhere.
            https: self.discovers || !http::is_clear_text(&self.source.url),
            https_only: !http::is_clear_text(&self.source.url),
            connect_timeout: self.source.connect_timeout,
            timeout: self.source.timeout,
            proxy: &self.source.proxy,
            authorities,
        })
    }
}

/// Reads on a thread that may wait for a disk.
async fn read(path: &Path) -> Result<Vec<u8>, String> {
    let path: Arc<Path> = path.into();
    let read = tokio::task::spawn_blocking(move || file::read(&path, MAX_FILE_SIZE)).await;
    read.unwrap_or_else(|_| Err("could not be read".to_owned()))
}

/// A token as RFC 6750 section 2.1 wants it. Says nothing of its content (S5).
fn bearer(file: &[u8]) -> Result<HeaderValue, String> {
    let token = file.trim_ascii();
    if token.is_empty() {
        return Err("is empty".to_owned());
    }
    let mut value = HeaderValue::try_from([b"Bearer ", token].concat()).map_err(|_| "holds no token".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

fn same_origin(one: &str, other: &str) -> bool {
    let origin = |url: &str| Url::parse(url).map(|url| url.origin());
    matches!((origin(one), origin(other)), (Ok(one), Ok(other)) if one == other)
}

/// An error page must not pass for a key set. Places that only store files call a set text, or bytes, or nothing.
fn check_type(headers: &HeaderMap) -> Result<(), FetchError> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let essence = value.to_str().unwrap_or("?").split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/json" | "text/json" | "text/plain" | "application/octet-stream" | "binary/octet-stream" => Ok(()),
        json if json.starts_with("application/") && json.ends_with("+json") => Ok(()),
        _ => Err(FetchError::WrongType(essence.chars().take(100).collect())),
    }
}

fn is_usable_etag(etag: &HeaderValue) -> bool {
    etag.len() <= MAX_ETAG_SIZE && etag.to_str().is_ok_and(|etag| !etag.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_is_not_json_is_no_key_set() {
        let verdict = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(value));
            check_type(&headers).is_ok()
        };
        for good in ["application/json; charset=utf-8", "application/jwk-set+json", "Application/JSON", "text/plain"] {
            assert!(verdict(good), "{good}");
        }
        for bad in ["text/html", "text/html; a=application/json", "image/png", "application/xml", "", "+json"] {
            assert!(!verdict(bad), "{bad}");
        }
        assert!(check_type(&HeaderMap::new()).is_ok());
    }

    #[test]
    fn a_token_goes_where_it_was_told_to_and_nowhere_else() {
        let here = "https://kubernetes.default.svc";
        for same in ["https://kubernetes.default.svc/openid/v1/jwks", "https://KUBERNETES.default.svc:443/a"] {
            assert!(same_origin(here, same), "{same}");
        }
        for other in [
            "https://10.0.0.1:6443/openid/v1/jwks",
            "http://kubernetes.default.svc/",
            "https://kubernetes.default.svc.evil/",
            "",
        ] {
            assert!(!same_origin(here, other), "{other}");
        }
    }

    #[test]
    fn a_bearer_token_is_not_shown() {
        let value = bearer(b" secret-token\n").unwrap();
        assert_eq!(value.as_bytes(), b"Bearer secret-token");
        assert!(!format!("{value:?}").contains("secret"));
        assert!(bearer(b" \n").is_err() && bearer(b"secret\nX: y").is_err_and(|error| !error.contains("secret")));
    }
}
