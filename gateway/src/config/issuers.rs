//! Whose tokens are taken: the short form of one issuer in `[general]` and `[jwt]`, and `[[jwt.issuers]]` for any number.
//! What an entry does not say, it has from the short form.

use pgdog_jwt::config::{Algorithm, IntrospectionSource, Issuer, JwksSource, KeySource};

use super::client_flow::{self, Oauth};
use super::introspection::introspection;
use super::key_sources::{self, Otherwise};
use super::presets::{Filled, Preset};
use super::required_claims::required_claims;
use super::section::Section;

/// In seconds.
const HOUR: i64 = 3_600;
const YEAR: i64 = 365 * 24 * HOUR;

/// The issuers of the configuration.
pub(super) struct Issuers {
    pub(super) all: Vec<Issuer>,
    /// Whether the short form has keys, and so is an issuer.
    pub(super) has_short_form: bool,
    /// What presets have filled in.
    pub(super) filled: Vec<Filled>,
    /// How their tokens are shown.
    pub(super) oauth: Oauth,
}

/// Reads both forms.
pub(super) fn issuers(general: &Section<'_>, own: &Section<'_>) -> Issuers {
    let jwks = key_sources::short_jwks(general, own);
    let keys = key_sources::short(general, own, &jwks);
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
    let discovery = client_flow::discovery(own, &short, None);
    let scope = own.is_present_key("oauth_scope").then(|| discovery.scope.clone());
    let mut discoveries: Vec<_> = has_short_form.then_some(discovery).into_iter().collect();
    let mut all: Vec<Issuer> = keys.map(|keys| Issuer { keys, ..short }).into_iter().collect();
    let mut filled = Vec::new();
    for section in tables {
        let preset: Option<Preset> = section.choice("preset");
        let issuer = issuer(&section, general, preset, &defaults, &jwks);
        filled.extend(preset.map(|preset| preset.filled_in(&section, &issuer)));
        if issuer.issuer.is_some() && all.iter().any(|other| other.issuer == issuer.issuer) {
            section.report.error(section.spot("issuer"), "another issuer has the same \"issuer\"");
        }
        discoveries.push(client_flow::discovery(&section, &issuer, scope.as_deref()));
        section.finish(&[]);
        all.push(issuer);
    }
    Issuers { all, has_short_form, filled, oauth: client_flow::oauth(own, discoveries) }
}

/// One of `[[jwt.issuers]]`.
fn issuer(
    section: &Section<'_>,
    general: &Section<'_>,
    preset: Option<Preset>,
    defaults: &Issuer,
    jwks: &JwksSource,
) -> Issuer {
    let name = section.filled("issuer").or_else(|| preset?.issuer());
    if name.is_none() {
        let reason = "[[jwt.issuers]] needs an \"issuer\": the value of \"iss\" in its tokens";
        section.report.error(section.place(), reason);
    }
    let named = name.as_deref().unwrap_or_default();
    let defaults = preset.map_or_else(|| defaults.clone(), |preset| preset.defaults(named, defaults.clone()));
    let audiences = section.strings("audiences").map(filled);
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
        username_claim: section.filled("username_claim").unwrap_or(issuer.username_claim),
        user_suffix: section.filled("user_suffix").or(issuer.user_suffix),
        databases: patterns(section, "databases"),
        roles: patterns(section, "roles"),
        read_only: section.boolean("read_only").unwrap_or(false),
        mode: section.choice("mode"),
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
