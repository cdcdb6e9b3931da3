//! The `introspect` keys of `[[jwt.issuers]]`: issuers that are asked about tokens that only they can read (RFC 7662).

use std::time::Duration;

use pgdog_jwt::config::{ClientAuth, ClientKey, IntrospectionSource, Secret};

use super::choices::Choice;
use super::jwks_url;
use super::section::Section;

/// Longest wait for an issuer that may be configured, in milliseconds (S9).
const LONGEST_WAIT: i64 = 60_000;
/// Longest time that an answer may count, in seconds: what is revoked at the issuer is good for so long.
const LONGEST_TTL: i64 = 3_600;
/// Longest life that an answer without an end may be given, in seconds.
const LONGEST_AGE: i64 = 30 * 24 * 3_600;
/// Most answers of a kind that may be remembered (S9).
const MAX_CACHE_SIZE: i64 = 10_000_000;
/// Most requests at a time.
const MAX_REQUESTS: i64 = 10_000;

/// How the gateway proves itself to the issuer, as the OAuth registry calls it (RFC 7591 section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Basic,
    Post,
    PrivateKey,
}

impl Choice for Method {
    const ALL: &'static [(&'static str, Self)] = &[
        ("client_secret_basic", Self::Basic),
        ("client_secret_post", Self::Post),
        ("private_key_jwt", Self::PrivateKey),
    ];
}

/// Reads them. `general` knows the environment. `None`: the issuer is not asked.
pub(super) fn introspection(section: &Section<'_>, general: &Section<'_>) -> Option<IntrospectionSource> {
    let url = section.filled("introspection_url");
    if let Some(Err(reason)) = url.as_deref().map(jwks_url::check) {
        section.report.error(section.spot("introspection_url"), format!("\"introspection_url\" {reason}"));
    }
    let client_id = section.filled("introspection_client_id");
    let auth = auth(section, general);
    let source = limits(section);
    let Some(url) = url else {
        if let Some(key) = KEYS.into_iter().find(|key| section.is_present_key(key)) {
            let reason = format!("\"{key}\" needs an \"introspection_url\"");
            section.report.error(section.spot(key), reason);
        }
        return None;
    };
    let (Some(client_id), Some(client_auth)) = (client_id, auth) else {
        let reason = "\"introspection_url\" needs a client to ask as; set \"introspection_client_id\" and one of \
                      \"introspection_client_secret\", \"introspection_client_secret_env\", \
                      \"introspection_client_secret_file\" and \"introspection_client_key_file\"";
        section.report.error(section.spot("introspection_url"), reason);
        return None;
    };
    Some(IntrospectionSource { url, client_id, client_auth, ..source })
}

/// What makes no sense where nobody is asked.
const KEYS: [&str; 10] = [
    "introspection_client_id",
    "introspection_client_auth",
    "introspection_client_secret",
    "introspection_client_secret_env",
    "introspection_client_secret_file",
    "introspection_client_key_file",
    "introspection_client_key_id",
    "introspection_client_audience",
    "introspection_max_age",
    "introspect_jwts",
];

fn auth(section: &Section<'_>, general: &Section<'_>) -> Option<ClientAuth> {
    let method: Option<Method> = section.choice("introspection_client_auth");
    let secret = [section.secret("introspection_client_secret"), from_env(section, general), from_file(section)];
    let file = section.path("introspection_client_key_file");
    let kid = section.filled("introspection_client_key_id");
    let audience = section.filled("introspection_client_audience");
    let given = secret.iter().flatten().count() + usize::from(file.is_some());
    if given > 1 {
        let reason = "set one of \"introspection_client_secret\", \"introspection_client_secret_env\", \
                      \"introspection_client_secret_file\" and \"introspection_client_key_file\"";
        section.report.error(section.place(), reason);
    }
    if (kid.is_some() || audience.is_some()) && file.is_none() {
        let reason = "\"introspection_client_key_id\" and \"introspection_client_audience\" are for \
                      \"introspection_client_key_file\"";
        section.report.error(section.place(), reason);
    }
    let key = file.map(|file| ClientKey { file, kid, audience });
    let auth = match (secret.into_iter().flatten().next(), key) {
        (None, Some(key)) => ClientAuth::PrivateKey(key),
        (Some(secret), _) if method == Some(Method::Post) => ClientAuth::Post(secret),
        (Some(secret), _) => ClientAuth::Basic(secret),
        (None, None) => return None,
    };
    let fits = match auth {
        ClientAuth::PrivateKey(_) => method.is_none_or(|method| method == Method::PrivateKey),
        _ => method != Some(Method::PrivateKey),
    };
    if !fits {
        let reason = format!("\"introspection_client_auth\" does not fit what is set; that is {}", auth.name());
        section.report.error(section.spot("introspection_client_auth"), reason);
    }
    Some(auth)
}

fn from_env(section: &Section<'_>, general: &Section<'_>) -> Option<Secret> {
    let key = "introspection_client_secret_env";
    let name = section.filled(key)?;
    let value = general.variable(&name);
    if value.is_none() {
        section.report.error(section.spot(key), format!("\"{key}\": there is no environment variable {name:?}"));
    }
    value.map(Secret::new)
}

/// White space at the end is the editor's.
fn from_file(section: &Section<'_>) -> Option<Secret> {
    let key = "introspection_client_secret_file";
    let path = section.path(key)?;
    let problem = match std::fs::read_to_string(&path) {
        Ok(text) if !text.trim_end().is_empty() => return Some(Secret::new(text.trim_end())),
        Ok(_) => "is empty".to_owned(),
        Err(error) => format!("cannot be read: {error}"),
    };
    section.report.error(section.spot(key), format!("\"{key}\": {} {problem}", path.display()));
    None
}

/// The limits, and no endpoint yet.
fn limits(section: &Section<'_>) -> IntrospectionSource {
    let none = IntrospectionSource::new("", "", ClientAuth::Basic(Secret::new("")));
    let size = |key: &'static str| section.integer(key, 0..=MAX_CACHE_SIZE).and_then(|size| usize::try_from(size).ok());
    let wait = |key: &'static str| section.millis_up_to(key, LONGEST_WAIT);
    IntrospectionSource {
        introspect_jwts: section.boolean("introspect_jwts").unwrap_or(none.introspect_jwts),
        max_age: section.seconds_within("introspection_max_age", 1..=LONGEST_AGE),
        cache_ttl: section.seconds_within("introspection_cache_ttl", 1..=LONGEST_TTL).unwrap_or(none.cache_ttl),
        cache_size: size("introspection_cache_size").unwrap_or(none.cache_size),
        negative_ttl: negative_ttl(section).unwrap_or(none.negative_ttl),
        negative_cache_size: size("introspection_negative_cache_size").unwrap_or(none.negative_cache_size),
        max_requests: section
            .integer("introspection_max_requests", 1..=MAX_REQUESTS)
            .and_then(|most| usize::try_from(most).ok())
            .unwrap_or(none.max_requests),
        connect_timeout: wait("introspection_connect_timeout").unwrap_or(none.connect_timeout),
        timeout: wait("introspection_timeout").unwrap_or(none.timeout),
        max_body_size: section.count("introspection_max_body_size", 1).unwrap_or(none.max_body_size),
        ..none
    }
}

fn negative_ttl(section: &Section<'_>) -> Option<Duration> {
    section.seconds_up_to("introspection_negative_ttl", LONGEST_TTL)
}
