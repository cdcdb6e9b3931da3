//! Whose tokens are taken: the short form of one issuer in `[general]` and `[jwt]`, and `[[jwt.issuers]]` for any number.
//! What an entry does not say, it has from the short form.

use super::choices::Choice;
use super::client_flow::{self, Oauth};
use super::findings::Places;
use super::introspection::introspection;
use super::key::Key;
use super::key_sources::{self, Otherwise};
use super::keys;
use super::keys::issuers as of;
use super::kinds::Strings;
use super::presets::{FilledIn, Preset};
use super::required_claims::required_claims;
use super::section::Section;
use crate::config::{Algorithm, BoundTokens, IntrospectionSource, Issuer, JwksSource, KeySource};

/// The issuers of the configuration.
pub(super) struct Issuers {
    pub(super) all: Vec<Issuer>,
    /// Whether the short form has keys, and so is an issuer.
    pub(super) has_short_form: bool,
    /// Where each is in the file.
    pub(super) places: Vec<Places>,
    /// What presets have filled in.
    pub(super) filled: Vec<FilledIn>,
    /// How their tokens are shown.
    pub(super) oauth: Oauth,
}

/// Reads both forms.
pub(super) fn issuers(general: &Section<'_>, own: &Section<'_>) -> Issuers {
    let jwks = key_sources::short_jwks(general, own);
    let keys = key_sources::short(general, own, &jwks);
    let short = Issuer {
        issuer: own.given(&keys::jwt::ISSUER),
        audiences: filled(general.given(&keys::general::AUDIENCE).unwrap_or_default()),
        username_claim: general.value(&keys::general::USERNAME_CLAIM),
        user_suffix: general.given(&keys::general::USER_SUFFIX),
        ..policy(own, declared())
    };
    let tables = own.tables("issuers", "[[jwt.issuers]]");
    if let (Some(_), None, false) = (&keys, &short.issuer, tables.is_empty()) {
        let reason = "the issuer of the \"jwt_\" keys must have a name beside [[jwt.issuers]]";
        own.report.error(own.place(), format!("{reason}; set \"issuer\" in [jwt] to the value of its \"iss\""));
    }
    let has_short_form = keys.is_some();
    let defaults = short.clone();
    let discovery = client_flow::discovery(own, &short, None);
    let scope = own.is_present_key("oauth_scope").then(|| discovery.scope.clone());
    let mut discoveries: Vec<_> = has_short_form.then_some(discovery).into_iter().collect();
    let mut all: Vec<Issuer> = keys.map(|keys| Issuer { keys, ..short }).into_iter().collect();
    let own_places = Places::of(own);
    let mut places: Vec<_> = has_short_form.then(|| Places::of_short(general, &own_places)).into_iter().collect();
    let mut filled = Vec::new();
    for section in tables {
        let preset = section.given(&of::PRESET);
        let issuer = issuer(&section, general, preset, &defaults, &jwks);
        filled.extend(preset.map(|preset| preset.filled_in(&section, &issuer)));
        discoveries.push(client_flow::discovery(&section, &issuer, scope.as_deref()));
        places.push(Places::of_issuer(&section, &own_places));
        section.finish(&[]);
        all.push(issuer);
    }
    Issuers { all, has_short_form, places, filled, oauth: client_flow::oauth(own, discoveries) }
}

/// One of `[[jwt.issuers]]`.
fn issuer(
    section: &Section<'_>,
    general: &Section<'_>,
    preset: Option<Preset>,
    defaults: &Issuer,
    jwks: &JwksSource,
) -> Issuer {
    let name = section.given(&of::ISSUER).or_else(|| preset?.issuer());
    if name.is_none() {
        let reason = "[[jwt.issuers]] needs an \"issuer\": the value of \"iss\" in its tokens";
        section.report.error(section.place(), reason);
    }
    let named = name.as_deref().unwrap_or_default();
    let defaults = preset.map_or_else(|| defaults.clone(), |preset| preset.defaults(named, defaults.clone()));
    let audiences = section.given(&of::AUDIENCES).map(filled);
    let mut issuer = policy(section, defaults);
    if let Some(preset) = preset {
        issuer.required_claims = preset.beside(named, issuer.required_claims);
    }
    let asked = introspection(section, general);
    let otherwise = Otherwise { preset, is_asked: asked.is_some() };
    let (keys, jwks) = key_sources::of_issuer(section, name.as_deref(), key_sources::shared(jwks), otherwise);
    // Where its keys come from, answers come from in the same way.
    let introspection = asked.map(|source| IntrospectionSource { proxy: jwks.proxy, ca_file: jwks.ca_file, ..source });
    let issuer = Issuer {
        issuer: name,
        keys,
        audiences: audiences.unwrap_or(issuer.audiences),
        username_claim: section.given(&of::USERNAME_CLAIM).unwrap_or(issuer.username_claim),
        user_suffix: section.given(&of::USER_SUFFIX).or(issuer.user_suffix),
        databases: patterns(section, &of::DATABASES),
        roles: patterns(section, &of::ROLES),
        read_only: section.value(&of::READ_ONLY),
        mode: section.given(&of::MODE),
        introspection,
        ..issuer
    };
    if let Some(preset) = preset {
        preset.check(section, &issuer);
    }
    if issuer.audiences.is_empty() && preset.is_none_or(Preset::has_audience) {
        let reason = "no \"audiences\": a token that was issued for another service logs in here as well";
        section.report.warn(section.place(), reason);
    }
    issuer
}

/// What holds where nothing is said.
fn declared() -> Issuer {
    let algorithms = keys::jwt::ALGORITHMS.fallback();
    Issuer {
        algorithms: algorithms.iter().filter_map(|name| Algorithm::from_name(name)).collect(),
        leeway: keys::jwt::LEEWAY.fallback(),
        early_leeway: keys::jwt::EARLY_LEEWAY.fallback(),
        bound_tokens: keys::jwt::BOUND_TOKENS.fallback(),
        ..Issuer::new(KeySource::PemFiles(Vec::new()))
    }
}

/// What `[jwt]` and each of `[[jwt.issuers]]` may say of tokens, under the same keys.
fn policy(section: &Section<'_>, defaults: Issuer) -> Issuer {
    Issuer {
        algorithms: algorithms(section).unwrap_or(defaults.algorithms),
        leeway: section.given(&of::LEEWAY).unwrap_or(defaults.leeway),
        early_leeway: section.given(&of::EARLY_LEEWAY).unwrap_or(defaults.early_leeway),
        max_token_age: section.given(&of::MAX_TOKEN_AGE).or(defaults.max_token_age),
        bound_tokens: bound_tokens(section).unwrap_or(defaults.bound_tokens),
        token_types: section.given(&of::TOKEN_TYPES).map(filled).unwrap_or(defaults.token_types),
        clients: section.given(&of::CLIENTS).map(filled).unwrap_or(defaults.clients),
        required_scopes: section.given(&of::REQUIRED_SCOPES).map(filled).unwrap_or(defaults.required_scopes),
        required_claims: required_claims(section).unwrap_or(defaults.required_claims),
        ..defaults
    }
}

impl Choice for BoundTokens {
    const ALL: &'static [(&'static str, Self)] = &[("refuse", Self::Refuse), ("as_bearer", Self::AsBearer)];
}

fn bound_tokens(section: &Section<'_>) -> Option<BoundTokens> {
    let chosen = section.given(&of::BOUND_TOKENS)?;
    if chosen == BoundTokens::AsBearer {
        let reason =
            "\"bound_tokens\" is \"as_bearer\": whoever steals a token logs in without the key that it is bound to";
        section.report.warn(section.spot("bound_tokens"), reason);
    }
    Some(chosen)
}

/// Names, and prefixes followed by one `*`.
fn patterns(section: &Section<'_>, key: &Key<Strings>) -> Option<Vec<String>> {
    let patterns = section.given(key)?;
    let key = key.name;
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
    let names = section.given(&of::ALGORITHMS)?;
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
    Some(algorithms)
}
