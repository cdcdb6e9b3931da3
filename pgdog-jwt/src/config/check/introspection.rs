//! Introspection endpoints: what can be said of them without asking an issuer.

use std::collections::HashSet;

use super::{ConfigError, check_url, setting};
use crate::config::{ClientAuth, IntrospectionSource, Issuer, KeySource, Proxy};

/// Most requests to one issuer at a time that may be configured.
const MAX_REQUESTS: usize = 10_000;

/// A token has one issuer that it may be shown to.
pub(super) fn check_all(issuers: &[Issuer]) -> Result<(), ConfigError> {
    let mut asked = HashSet::new();
    for issuer in issuers.iter().filter(|issuer| issuer.introspection.is_some()) {
        if !asked.insert(issuer.user_suffix.as_deref()) {
            return Err(ConfigError::DuplicateIntrospection(issuer.user_suffix.clone()));
        }
    }
    Ok(())
}

pub(super) fn check(issuer: &Issuer) -> Result<(), ConfigError> {
    match &issuer.introspection {
        Some(source) => check_source(source),
        None if issuer.keys == KeySource::None => Err(setting("keys", "must be there without introspection")),
        None => Ok(()),
    }
}

fn check_source(source: &IntrospectionSource) -> Result<(), ConfigError> {
    check_url(&source.url).map_err(|(url, problem)| ConfigError::IntrospectionUrl { url, problem })?;
    let has_no_secret = match &source.client_auth {
        ClientAuth::Basic(secret) | ClientAuth::Post(secret) => secret.expose().is_empty(),
        ClientAuth::PrivateKey(_) => false,
    };
    for (name, is_nothing) in [
        ("introspection.cache_ttl", source.cache_ttl.is_zero()),
        ("introspection.connect_timeout", source.connect_timeout.is_zero()),
        ("introspection.timeout", source.timeout.is_zero()),
        ("introspection.max_body_size", source.max_body_size == 0),
        ("introspection.max_age", source.max_age.is_some_and(|age| age.is_zero())),
    ] {
        if is_nothing {
            return Err(setting(name, "must be more than 0"));
        }
    }
    if source.client_id.is_empty() || has_no_secret {
        return Err(setting("introspection.client_auth", "must have a client ID, and a secret or a key"));
    }
    if !(1..=MAX_REQUESTS).contains(&source.max_requests) {
        return Err(setting("introspection.max_requests", "must be from 1 to 10000"));
    }
    if let Proxy::Url(url) = &source.proxy {
        let problem = |problem: &str| ConfigError::Route { what: "the proxy", problem: problem.to_owned() };
        Proxy::check(url.expose()).map_err(problem)?;
    }
    Ok(())
}
