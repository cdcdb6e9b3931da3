//! Where the keys of an issuer come from, and the limits of fetching them.

use std::path::PathBuf;
use std::time::Duration;

use super::key::Key;
use super::keys::{general as of_general, issuers as of, jwt as of_jwt};
use super::kinds::{Filled, Hidden, Strings};
use super::presets::Preset;
use super::section::Section;
use crate::config::{JwksSource, KeySource, Proxy, check_url};

/// The longest time to live, whatever the file says, so that points in time can be computed with it.
const LONGEST_TTL: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// What `jwks_proxy` says where there is none, and where the environment says it.
const NO_PROXY: &str = "none";
const ENVIRONMENT: &str = "environment";

/// The places of keys that `[[jwt.issuers]]` has keys for.
const PLACES: [&str; 6] = ["discovery", "jwks_url", "jwks", "jwks_file", "key_files", "key_directory"];

/// The key set of the short form. Without a URL, it is what other issuers have their limits from. The files that belong to
/// one issuer, its authority's certificate and the token that it is shown, are nobody else's: see [`shared`].
pub(super) fn short_jwks(general: &Section<'_>, own: &Section<'_>) -> JwksSource {
    let defaults = JwksSource {
        cache_ttl: general.value(&of_general::JWKS_CACHE_TTL).min(LONGEST_TTL),
        min_cache_ttl: own.value(&of_jwt::JWKS_MIN_CACHE_TTL),
        max_cache_ttl: own.value(&of_jwt::JWKS_MAX_CACHE_TTL),
        max_stale: own.value(&of_jwt::JWKS_MAX_STALE),
        min_refresh_interval: own.value(&of_jwt::JWKS_MIN_REFRESH_INTERVAL),
        connect_timeout: own.value(&of_jwt::JWKS_CONNECT_TIMEOUT),
        timeout: own.value(&of_jwt::JWKS_TIMEOUT),
        max_body_size: own.value(&of_jwt::JWKS_MAX_BODY_SIZE),
        max_keys: own.value(&of_jwt::JWKS_MAX_KEYS),
        ..JwksSource::new(url(general, &of_general::JWKS_URL).unwrap_or_default())
    };
    JwksSource {
        proxy: proxy(own, &of_jwt::JWKS_PROXY.key).unwrap_or_default(),
        ca_file: own.given(&of_jwt::JWKS_CA_FILE),
        bearer_token_file: own.given(&of_jwt::JWKS_BEARER_TOKEN_FILE),
        ..defaults
    }
}

/// Files go before the URL, as in pull request 1084.
pub(super) fn short(general: &Section<'_>, own: &Section<'_>, jwks: &JwksSource) -> Option<KeySource> {
    let mut files: Vec<PathBuf> = general.given(&of_general::PUBLIC_KEY_FILE).into_iter().collect();
    files.extend(key_files(own, &of_jwt::KEY_FILES).unwrap_or_default());
    let has_url = !jwks.url.is_empty();
    if has_url && !files.is_empty() {
        general.report.warn(general.spot("jwt_jwks_url"), "\"jwt_jwks_url\" is not used beside a key file");
    }
    match files.is_empty() {
        true => has_url.then(|| KeySource::Jwks(jwks.clone())),
        false => Some(KeySource::PemFiles(files)),
    }
}

/// What an issuer has from the short form.
pub(super) fn shared(jwks: &JwksSource) -> JwksSource {
    JwksSource { ca_file: None, bearer_token_file: None, ..jwks.clone() }
}

/// What an issuer has that does not say where its keys are.
pub(super) struct Otherwise {
    pub(super) preset: Option<Preset>,
    /// It is asked about tokens, and needs no keys.
    pub(super) is_asked: bool,
}

/// The keys of one of `[[jwt.issuers]]`: from exactly one place. And how keys are fetched, or would be.
pub(super) fn of_issuer(
    section: &Section<'_>,
    issuer: Option<&str>,
    defaults: JwksSource,
    otherwise: Otherwise,
) -> (KeySource, JwksSource) {
    let jwks = fetching(section, defaults);
    let discovers = section.value(&of::DISCOVERY);
    let url = url(section, &of::JWKS_URL);
    let mut places = [
        discovers.then(|| discovery(issuer, &jwks)),
        url.map(|url| KeySource::Jwks(JwksSource { url, ..jwks.clone() })),
        section.given(&of::JWKS).map(KeySource::JwksInline),
        section.given(&of::JWKS_FILE).map(KeySource::JwksFile),
        key_files(section, &of::KEY_FILES).map(KeySource::PemFiles),
        section.given(&of::KEY_DIRECTORY).map(KeySource::PemDirectory),
    ]
    .into_iter()
    .flatten();
    let (first, second) = (places.next(), places.next());
    let first = first.or_else(|| otherwise.keys(issuer, &jwks));
    if first.is_none() {
        let (last, others) = (PLACES[PLACES.len() - 1], PLACES[..PLACES.len() - 1].join("\", \""));
        let reason = format!("[[jwt.issuers]] needs keys to check tokens with; set one of \"{others}\" and \"{last}\"");
        section.report.error(section.place(), reason);
    }
    if second.is_some() {
        let named: Vec<_> = PLACES.into_iter().filter(|key| section.is_present_key(key)).collect();
        let reason = format!("keys come from one place; set only one of \"{}\"", named.join("\", \""));
        section.report.error(section.spot(named.first().copied().unwrap_or_default()), reason);
    }
    (first.unwrap_or(KeySource::PemFiles(Vec::new())), jwks)
}

impl Otherwise {
    fn keys(self, issuer: Option<&str>, jwks: &JwksSource) -> Option<KeySource> {
        match self.preset.and_then(|preset| preset.keys(issuer.unwrap_or_default(), jwks)) {
            None if self.is_asked => Some(KeySource::None),
            found => found.map(KeySource::Jwks),
        }
    }
}

/// Whether the entry says itself where its keys are.
pub(super) fn says_where(section: &Section<'_>) -> bool {
    PLACES.into_iter().any(|key| section.is_present_key(key))
}

/// The metadata is below the issuer, which must therefore be a URL.
fn discovery(issuer: Option<&str>, jwks: &JwksSource) -> KeySource {
    let url = issuer.unwrap_or_default().to_owned();
    KeySource::Discovery(JwksSource { url, ..jwks.clone() })
}

/// How the key set of one of `[[jwt.issuers]]` is fetched.
fn fetching(section: &Section<'_>, defaults: JwksSource) -> JwksSource {
    let ttl = section.given(&of::JWKS_CACHE_TTL).map_or(defaults.cache_ttl, |ttl| ttl.min(LONGEST_TTL));
    JwksSource {
        cache_ttl: ttl,
        min_cache_ttl: section.given(&of::JWKS_MIN_CACHE_TTL).unwrap_or(defaults.min_cache_ttl),
        max_cache_ttl: section.given(&of::JWKS_MAX_CACHE_TTL).unwrap_or(defaults.max_cache_ttl),
        max_stale: section.given(&of::JWKS_MAX_STALE).unwrap_or(defaults.max_stale),
        min_refresh_interval: section.given(&of::JWKS_MIN_REFRESH_INTERVAL).unwrap_or(defaults.min_refresh_interval),
        connect_timeout: section.given(&of::JWKS_CONNECT_TIMEOUT).unwrap_or(defaults.connect_timeout),
        timeout: section.given(&of::JWKS_TIMEOUT).unwrap_or(defaults.timeout),
        max_body_size: section.given(&of::JWKS_MAX_BODY_SIZE).unwrap_or(defaults.max_body_size),
        max_keys: section.given(&of::JWKS_MAX_KEYS).unwrap_or(defaults.max_keys),
        proxy: proxy(section, &of::JWKS_PROXY).unwrap_or(defaults.proxy),
        ca_file: section.given(&of::JWKS_CA_FILE).or(defaults.ca_file),
        bearer_token_file: section.given(&of::JWKS_BEARER_TOKEN_FILE).or(defaults.bearer_token_file),
        url: defaults.url,
    }
}

/// An issuer may do without that of `[jwt]`. The URL is not repeated: it may hold a password.
fn proxy(section: &Section<'_>, key: &Key<Hidden>) -> Option<Proxy> {
    let secret = section.given(key)?;
    match secret.expose() {
        NO_PROXY => return Some(Proxy::None),
        ENVIRONMENT => return Some(Proxy::Environment),
        _ => {}
    }
    if let Err(reason) = Proxy::check(secret.expose()) {
        let words = format!("\"{NO_PROXY}\", \"{ENVIRONMENT}\" or a URL");
        section.report.error(section.spot("jwks_proxy"), format!("\"jwks_proxy\" is {words}, which {reason}"));
    }
    Some(Proxy::Url(secret))
}

fn key_files(section: &Section<'_>, key: &Key<Strings>) -> Option<Vec<PathBuf>> {
    let files = section.given(key)?;
    Some(files.into_iter().map(PathBuf::from).collect::<Vec<_>>()).filter(|files| !files.is_empty())
}

fn url(section: &Section<'_>, key: &Key<Filled>) -> Option<String> {
    let url = section.given(key)?;
    let key = key.name;
    if let Err(reason) = check_url(&url) {
        section.report.error(section.spot(key), format!("\"{key}\" {reason}"));
    }
    Some(url)
}
