//! Introspection endpoints: what can be said of them without asking an issuer.

use std::collections::HashSet;

use super::keys::check_proxy;
use super::{Finding, Found, Part};
use crate::config::fault::Fault;
use crate::config::{ClientAuth, IntrospectionSource, Issuer, KeySource};

/// Most requests to one issuer at a time that may be configured.
const MAX_REQUESTS: usize = 10_000;

/// A token has one issuer that it may be shown to.
pub(super) fn check_all(issuers: &[Issuer], all: &mut Vec<Finding>) {
    let mut asked = HashSet::new();
    for (number, issuer) in issuers.iter().enumerate().filter(|(_, issuer)| issuer.introspection.is_some()) {
        if !asked.insert(issuer.user_suffix.as_deref()) {
            let fault = Fault::DuplicateIntrospection(issuer.user_suffix.clone());
            all.push(Finding { part: Part::Issuer(number), key: "introspection_url", fault });
        }
    }
}

pub(super) fn check(issuer: &Issuer, found: &mut Found<'_>) {
    match &issuer.introspection {
        Some(source) => check_source(source, found),
        None => found.check("keys", issuer.keys == KeySource::None, "must be there without introspection"),
    }
}

fn check_source(source: &IntrospectionSource, found: &mut Found<'_>) {
    found.check_url("introspection_url", &source.url, |url, problem| Fault::IntrospectionUrl { url, problem });
    let has_no_secret = match &source.client_auth {
        ClientAuth::Basic(secret) | ClientAuth::Post(secret) => secret.expose().is_empty(),
        ClientAuth::PrivateKey(_) => false,
    };
    for (key, is_nothing) in [
        ("introspection_cache_ttl", source.cache_ttl.is_zero()),
        ("introspection_connect_timeout", source.connect_timeout.is_zero()),
        ("introspection_timeout", source.timeout.is_zero()),
        ("introspection_max_body_size", source.max_body_size == 0),
        ("introspection_max_age", source.max_age.is_some_and(|age| age.is_zero())),
    ] {
        found.check(key, is_nothing, "must be more than 0");
    }
    let has_no_client = source.client_id.is_empty() || has_no_secret;
    found.check("introspection_client_auth", has_no_client, "must have a client ID, and a secret or a key");
    let is_beyond = !(1..=MAX_REQUESTS).contains(&source.max_requests);
    found.check("introspection_max_requests", is_beyond, "must be from 1 to 10000");
    check_proxy(&source.proxy, found);
}
