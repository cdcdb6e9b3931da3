//! Where the keys of an issuer come from, and the limits of fetching them.

use std::path::PathBuf;
use std::time::Duration;

use pgdog_jwt::config::{JwksSource, KeySource, Proxy};

use super::jwks_url;
use super::presets::Preset;
use super::section::Section;

/// How long a key set is used without asking again.
const CACHE_TTL: Duration = Duration::from_secs(300);
/// The shortest time that an issuer may ask for.
const MIN_CACHE_TTL: Duration = Duration::from_secs(60);
/// How long known keys outlive an issuer that cannot be reached.
const MAX_STALE: Duration = Duration::from_secs(24 * 60 * 60);
/// Least time between two fetches that unknown key ids cause.
const MIN_REFRESH_INTERVAL: Duration = Duration::from_secs(30);
/// Limit for connecting to the issuer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Limit for a whole fetch.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest fetch that may be configured, in milliseconds (S9).
const LONGEST_FETCH: i64 = 600_000;
/// The longest time to live, whatever the file says, so that points in time can be computed with it.
const LONGEST_TTL: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// In seconds.
const DAY: i64 = 24 * 3_600;
const YEAR: i64 = 365 * DAY;
/// Largest key set, in bytes.
const MAX_BODY_SIZE: usize = 1024 * 1024;
/// Most keys of a set that may be configured (S9).
const MOST_KEYS: i64 = 10_000;
/// What `jwks_proxy` says where there is none, and where the environment says it.
const NO_PROXY: &str = "none";
const ENVIRONMENT: &str = "environment";

/// The places of keys that `[[jwt.issuers]]` has keys for.
const PLACES: [&str; 6] = ["discovery", "jwks_url", "jwks", "jwks_file", "key_files", "key_directory"];

/// The key set of the short form. Without a URL, it is what other issuers have their limits from. The files that belong to
/// one issuer, its authority's certificate and the token that it is shown, are nobody else's: see [`shared`].
pub(super) fn short_jwks(general: &Section<'_>, own: &Section<'_>) -> JwksSource {
    let ttl = general.seconds("jwt_jwks_cache_ttl").unwrap_or(CACHE_TTL).min(LONGEST_TTL);
    let defaults = JwksSource {
        cache_ttl: ttl,
        min_cache_ttl: MIN_CACHE_TTL,
        max_cache_ttl: Duration::ZERO,
        max_stale: MAX_STALE,
        min_refresh_interval: MIN_REFRESH_INTERVAL,
        connect_timeout: CONNECT_TIMEOUT,
        timeout: FETCH_TIMEOUT,
        max_body_size: MAX_BODY_SIZE,
        ..JwksSource::new(url(general, "jwt_jwks_url").unwrap_or_default())
    };
    fetching(own, defaults)
}

/// Files go before the URL, as in pull request 1084.
pub(super) fn short(general: &Section<'_>, own: &Section<'_>, jwks: &JwksSource) -> Option<KeySource> {
    let mut files: Vec<PathBuf> = general.path("jwt_public_key_file").into_iter().collect();
    files.extend(key_files(own).unwrap_or_default());
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
    let ttl = section.seconds("jwks_cache_ttl").map_or(defaults.cache_ttl, |ttl| ttl.min(LONGEST_TTL));
    let jwks = fetching(section, JwksSource { cache_ttl: ttl, ..defaults });
    let discovers = section.boolean("discovery").unwrap_or(false);
    let url = url(section, "jwks_url");
    let mut places = [
        discovers.then(|| discovery(section, issuer, &jwks)),
        url.map(|url| KeySource::Jwks(JwksSource { url, ..jwks.clone() })),
        section.filled("jwks").map(KeySource::JwksInline),
        section.path("jwks_file").map(KeySource::JwksFile),
        key_files(section).map(KeySource::PemFiles),
        section.path("key_directory").map(KeySource::PemDirectory),
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
fn discovery(section: &Section<'_>, issuer: Option<&str>, jwks: &JwksSource) -> KeySource {
    let url = issuer.unwrap_or_default().to_owned();
    let reason = match jwks_url::check(&url) {
        _ if issuer.is_none() => None,
        Ok(()) if url.contains(['?', '#']) => Some("must have no query and no fragment"),
        checked => checked.err(),
    };
    if let Some(reason) = reason {
        section.report.error(section.spot("discovery"), format!("with \"discovery\", \"issuer\" {reason}"));
    }
    KeySource::Discovery(JwksSource { url, ..jwks.clone() })
}

/// How a key set is fetched: what `[jwt]` and `[[jwt.issuers]]` may say of it.
fn fetching(section: &Section<'_>, defaults: JwksSource) -> JwksSource {
    let ttl = |key: &'static str| section.seconds_up_to(key, YEAR);
    JwksSource {
        min_cache_ttl: ttl("jwks_min_cache_ttl").unwrap_or(defaults.min_cache_ttl),
        max_cache_ttl: ttl("jwks_max_cache_ttl").unwrap_or(defaults.max_cache_ttl),
        max_stale: ttl("jwks_max_stale").unwrap_or(defaults.max_stale),
        min_refresh_interval: section
            .seconds_up_to("jwks_min_refresh_interval", DAY)
            .unwrap_or(defaults.min_refresh_interval),
        connect_timeout: section
            .millis_up_to("jwks_connect_timeout", LONGEST_FETCH)
            .unwrap_or(defaults.connect_timeout),
        timeout: section.millis_up_to("jwks_timeout", LONGEST_FETCH).unwrap_or(defaults.timeout),
        max_body_size: section.count("jwks_max_body_size", 1).unwrap_or(defaults.max_body_size),
        max_keys: section
            .integer("jwks_max_keys", 1..=MOST_KEYS)
            .and_then(|most| usize::try_from(most).ok())
            .unwrap_or(defaults.max_keys),
        proxy: proxy(section).unwrap_or(defaults.proxy),
        ca_file: section.path("jwks_ca_file").or(defaults.ca_file),
        bearer_token_file: section.path("jwks_bearer_token_file").or(defaults.bearer_token_file),
        url: defaults.url,
        cache_ttl: defaults.cache_ttl,
    }
}

/// An issuer may do without that of `[jwt]`. The URL is not repeated: it may hold a password.
fn proxy(section: &Section<'_>) -> Option<Proxy> {
    let secret = section.secret("jwks_proxy")?;
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

fn key_files(section: &Section<'_>) -> Option<Vec<PathBuf>> {
    let files = section.strings("key_files")?;
    Some(files.into_iter().map(PathBuf::from).collect::<Vec<_>>()).filter(|files| !files.is_empty())
}

fn url(section: &Section<'_>, key: &'static str) -> Option<String> {
    let url = section.filled(key)?;
    if let Err(reason) = jwks_url::check(&url) {
        section.report.error(section.spot(key), format!("\"{key}\" {reason}"));
    }
    Some(url)
}
