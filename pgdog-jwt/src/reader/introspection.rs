//! The `introspect` keys of `[[jwt.issuers]]`: issuers that are asked about tokens that only they can read (RFC 7662).

use super::choices::Choice;
use super::keys::introspection as keys;
use super::section::Section;
use crate::config::{ClientAuth, ClientKey, IntrospectionSource, Secret, check_url};

/// How the gateway proves itself to the issuer, as the OAuth registry calls it (RFC 7591 section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
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
    let url = section.given(&keys::URL);
    if let Some(Err(reason)) = url.as_deref().map(check_url) {
        section.report.error(section.spot("introspection_url"), format!("\"introspection_url\" {reason}"));
    }
    let client_id = section.given(&keys::CLIENT_ID);
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
        let reason = "\"introspection_url\" needs a client to ask as; set \"introspection_client_id\" and \
                      \"introspection_client_secret\" (or its _file, _env or _command) or \"introspection_client_key_file\"";
        section.report.error(section.spot("introspection_url"), reason);
        return None;
    };
    Some(IntrospectionSource { url, client_id, client_auth, ..source })
}

/// What makes no sense where nobody is asked.
const KEYS: [&str; 11] = [
    "introspection_client_id",
    "introspection_client_auth",
    "introspection_client_secret",
    "introspection_client_secret_env",
    "introspection_client_secret_file",
    "introspection_client_secret_command",
    "introspection_client_key_file",
    "introspection_client_key_id",
    "introspection_client_audience",
    "introspection_max_age",
    "introspect_jwts",
];

fn auth(section: &Section<'_>, general: &Section<'_>) -> Option<ClientAuth> {
    let method = section.given(&keys::CLIENT_AUTH);
    let secret = section.secret(&keys::CLIENT_SECRET, general.env());
    let file = section.given(&keys::CLIENT_KEY_FILE);
    let kid = section.given(&keys::CLIENT_KEY_ID);
    let audience = section.given(&keys::CLIENT_AUDIENCE);
    if secret.is_some() && file.is_some() {
        let reason = "\"introspection_client_secret\" and \"introspection_client_key_file\" are two ways to prove one thing: \
                      use one of them";
        section.report.error(section.spot("introspection_client_key_file"), reason);
    }
    if let Some(file) = &file {
        section.warn_if_readable("introspection_client_key_file", file);
    }
    if (kid.is_some() || audience.is_some()) && file.is_none() {
        let reason = "\"introspection_client_key_id\" and \"introspection_client_audience\" are for \
                      \"introspection_client_key_file\"";
        section.report.error(section.place(), reason);
    }
    let key = file.map(|file| ClientKey { file, kid, audience });
    let auth = match (secret, key) {
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

/// The limits, and no endpoint yet.
fn limits(section: &Section<'_>) -> IntrospectionSource {
    IntrospectionSource {
        introspect_jwts: section.value(&keys::JWTS),
        max_age: section.given(&keys::MAX_AGE),
        cache_ttl: section.value(&keys::CACHE_TTL),
        cache_size: section.value(&keys::CACHE_SIZE),
        negative_ttl: section.value(&keys::NEGATIVE_TTL),
        negative_cache_size: section.value(&keys::NEGATIVE_CACHE_SIZE),
        max_requests: section.value(&keys::REQUESTS),
        connect_timeout: section.value(&keys::CONNECT_TIMEOUT),
        timeout: section.value(&keys::TIMEOUT),
        max_body_size: section.value(&keys::MAX_BODY_SIZE),
        ..IntrospectionSource::new("", "", ClientAuth::Basic(Secret::new("")))
    }
}
