//! Whose tokens are taken: the short form of one issuer in `[general]` and `[jwt]`, and `[[jwt.issuers]]` for any number.
//! What an entry does not say, it has from the short form.

use std::path::PathBuf;
use std::time::Duration;

use pgdog_jwt::config::{Algorithm, Issuer, JwksSource, KeySource};

use super::jwks_url;
use super::required_claims::required_claims;
use super::section::Section;

/// How long a key set is used without asking again.
const CACHE_TTL: Duration = Duration::from_secs(300);
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
const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;
/// Largest key set, in bytes.
const MAX_BODY_SIZE: usize = 1024 * 1024;

/// The issuers of the configuration.
pub(super) struct Issuers {
    pub(super) all: Vec<Issuer>,
    /// Whether the short form has keys, and so is an issuer.
    pub(super) has_short_form: bool,
}

/// Reads both forms.
pub(super) fn issuers(general: &Section<'_>, own: &Section<'_>) -> Issuers {
    let jwks = short_jwks(general, own);
    let keys = short_keys(general, own, &jwks);
    let short = Issuer {
        issuer: own.filled("issuer"),
        audiences: filled(general.strings("jwt_audience").unwrap_or_default()),
        username_claim: general.filled("jwt_username_claim").unwrap_or_else(|| "sub".to_owned()),
        user_suffix: general.filled("jwt_user_suffix"),
        ..policy(own, Issuer::new(KeySource::PemFiles(Vec::new())))
    };
    let tables = own.tables("issuers", "[[jwt.issuers]]");
    if let (Some(_), None, false) = (&keys, &short.issuer, tables.is_empty()) {
        let reason = "the issuer of the \"jwt_\" keys must have a name beside [[jwt.issuers]]";
        own.report.error(own.place(), format!("{reason}; set \"issuer\" in [jwt] to the value of its \"iss\""));
    }
    let has_short_form = keys.is_some();
    let defaults = short.clone();
    let mut all: Vec<Issuer> = keys.map(|keys| Issuer { keys, ..short }).into_iter().collect();
    for section in tables {
        let issuer = issuer(&section, &defaults, &jwks);
        if issuer.issuer.is_some() && all.iter().any(|other| other.issuer == issuer.issuer) {
            section.report.error(section.spot("issuer"), "another issuer has the same \"issuer\"");
        }
        section.finish(&[]);
        all.push(issuer);
    }
    Issuers { all, has_short_form }
}

/// One of `[[jwt.issuers]]`.
fn issuer(section: &Section<'_>, defaults: &Issuer, jwks: &JwksSource) -> Issuer {
    let name = section.filled("issuer");
    if name.is_none() {
        let reason = "[[jwt.issuers]] needs an \"issuer\": the value of \"iss\" in its tokens";
        section.report.error(section.place(), reason);
    }
    let audiences = section.strings("audiences").map(filled);
    let issuer = policy(section, defaults.clone());
    let issuer = Issuer {
        issuer: name,
        keys: keys(section, jwks),
        audiences: audiences.unwrap_or(issuer.audiences),
        username_claim: section.filled("username_claim").unwrap_or(issuer.username_claim),
        user_suffix: section.filled("user_suffix").or(issuer.user_suffix),
        databases: patterns(section, "databases"),
        roles: patterns(section, "roles"),
        read_only: section.boolean("read_only").unwrap_or(false),
        mode: section.choice("mode"),
        ..issuer
    };
    if issuer.audiences.is_empty() {
        let reason = "no \"audiences\": a token that was issued for another service logs in here as well";
        section.report.warn(section.place(), reason);
    }
    issuer
}

/// What `[jwt]` and each of `[[jwt.issuers]]` may say of tokens.
fn policy(section: &Section<'_>, defaults: Issuer) -> Issuer {
    Issuer {
        algorithms: algorithms(section).unwrap_or(defaults.algorithms),
        leeway: section.seconds_up_to("leeway", HOUR).unwrap_or(defaults.leeway),
        max_token_age: section.seconds_within("max_token_age", 1..=YEAR).or(defaults.max_token_age),
        token_types: section.strings("token_types").map(filled).unwrap_or(defaults.token_types),
        clients: section.strings("clients").map(filled).unwrap_or(defaults.clients),
        required_scopes: section.strings("required_scopes").map(filled).unwrap_or(defaults.required_scopes),
        required_claims: required_claims(section).unwrap_or(defaults.required_claims),
        ..defaults
    }
}

/// Files go before the URL, as in pull request 1084.
fn short_keys(general: &Section<'_>, own: &Section<'_>, jwks: &JwksSource) -> Option<KeySource> {
    let mut files: Vec<PathBuf> = general.path("jwt_public_key_file").into_iter().collect();
    files.extend(key_files(own));
    let has_url = !jwks.url.is_empty();
    if has_url && !files.is_empty() {
        general.report.warn(general.spot("jwt_jwks_url"), "\"jwt_jwks_url\" is not used beside a key file");
    }
    match files.is_empty() {
        true => has_url.then(|| KeySource::Jwks(jwks.clone())),
        false => Some(KeySource::PemFiles(files)),
    }
}

/// The key set of the short form. Without a URL, it is what other issuers have their limits from.
fn short_jwks(general: &Section<'_>, own: &Section<'_>) -> JwksSource {
    let url = url(general, "jwt_jwks_url");
    let ttl = general.seconds("jwt_jwks_cache_ttl").unwrap_or(CACHE_TTL).min(LONGEST_TTL);
    let defaults = JwksSource {
        cache_ttl: ttl,
        max_stale: MAX_STALE,
        min_refresh_interval: MIN_REFRESH_INTERVAL,
        connect_timeout: CONNECT_TIMEOUT,
        timeout: FETCH_TIMEOUT,
        max_body_size: MAX_BODY_SIZE,
        ..JwksSource::new(url.unwrap_or_default())
    };
    limits(own, defaults)
}

fn keys(section: &Section<'_>, jwks: &JwksSource) -> KeySource {
    let files = key_files(section);
    let url = url(section, "jwks_url");
    let ttl = section.seconds("jwks_cache_ttl").map_or(jwks.cache_ttl, |ttl| ttl.min(LONGEST_TTL));
    let jwks = limits(section, JwksSource { cache_ttl: ttl, ..jwks.clone() });
    match (files.is_empty(), url) {
        (true, Some(url)) => KeySource::Jwks(JwksSource { url, ..jwks }),
        (true, None) => {
            let reason = "[[jwt.issuers]] needs keys to check tokens with; set \"jwks_url\" or \"key_files\"";
            section.report.error(section.place(), reason);
            KeySource::PemFiles(files)
        }
        (false, url) => {
            if url.is_some() {
                let reason = "set one of \"jwks_url\" and \"key_files\"";
                section.report.error(section.spot("jwks_url"), reason);
            }
            KeySource::PemFiles(files)
        }
    }
}

/// The limits of fetching that `[jwt]` and `[[jwt.issuers]]` may set.
fn limits(section: &Section<'_>, defaults: JwksSource) -> JwksSource {
    JwksSource {
        max_stale: section.seconds_up_to("jwks_max_stale", YEAR).unwrap_or(defaults.max_stale),
        min_refresh_interval: section
            .seconds_up_to("jwks_min_refresh_interval", DAY)
            .unwrap_or(defaults.min_refresh_interval),
        connect_timeout: section
            .millis_up_to("jwks_connect_timeout", LONGEST_FETCH)
            .unwrap_or(defaults.connect_timeout),
        timeout: section.millis_up_to("jwks_timeout", LONGEST_FETCH).unwrap_or(defaults.timeout),
        max_body_size: section.count("jwks_max_body_size", 1).unwrap_or(defaults.max_body_size),
        ..defaults
    }
}

fn key_files(section: &Section<'_>) -> Vec<PathBuf> {
    section.strings("key_files").unwrap_or_default().into_iter().map(PathBuf::from).collect()
}

fn url(section: &Section<'_>, key: &'static str) -> Option<String> {
    let url = section.filled(key)?;
    if let Err(reason) = jwks_url::check(&url) {
        section.report.error(section.spot(key), format!("\"{key}\" {reason}"));
    }
    Some(url)
}

/// Names, and prefixes followed by one `*`.
fn patterns(section: &Section<'_>, key: &'static str) -> Option<Vec<String>> {
    let patterns = section.strings(key)?;
    let is_malformed = |text: &&String| text.is_empty() || text[..text.len() - 1].contains('*');
    if let Some(text) = patterns.iter().find(is_malformed) {
        let reason = format!("\"{text}\" in \"{key}\" must be a name, or a prefix followed by one \"*\"");
        section.report.error(section.spot(key), reason);
    }
    Some(patterns)
}

fn filled(list: Vec<String>) -> Vec<String> {
    list.into_iter().filter(|text| !text.is_empty()).collect()
}

fn algorithms(section: &Section<'_>) -> Option<Vec<Algorithm>> {
    let names = section.strings("algorithms")?;
    let mut algorithms = Vec::new();
    for name in &names {
        match Algorithm::from_name(name) {
            Some(algorithm) if !algorithms.contains(&algorithm) => algorithms.push(algorithm),
            Some(_) => {}
            None => {
                let known: Vec<_> = Algorithm::ALL.iter().map(|algorithm| algorithm.name()).collect();
                let reason = format!("unknown algorithm \"{name}\"; there are {}", known.join(", "));
                section.report.error(section.spot("algorithms"), reason);
            }
        }
    }
    if names.is_empty() {
        section.report.error(section.spot("algorithms"), "\"algorithms\" must name at least one algorithm");
    }
    Some(algorithms)
}
