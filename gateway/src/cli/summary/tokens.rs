//! The part of the page about tokens: whose are taken, and what becomes of their bearers.

use std::time::Duration;

use pgdog_jwt::config::{BoundTokens, IdentityMode, Issuer, KeySource, UserMatch};

use super::page::{Page, Section};
use super::{given, identities, listed, names, rules};
use crate::config::{Choice, ClientFlow, Config, Guard, Jwt, LoginAuth};

pub(super) fn tokens(page: &mut Page, config: &Config, jwt: &Jwt) {
    for issuer in &jwt.core.issuers {
        self::issuer(page.one_of("tokens", "issuers"), issuer, jwt);
    }
    sessions(page.section("sessions"), config, jwt);
    rules::variables(page, &jwt.core);
    rules::claims(page, &jwt.core);
    if let Some(settings) = &jwt.provisioning {
        let section = page.section("roles");
        section.say(format!("made at logins by {}, in {}", settings.admin_user, given(settings)));
        section.fact("admin_user", settings.admin_user.as_str()).fact("disable_after", settings.disable_after);
        if let Some(days) = settings.disable_after {
            section.say(format!("disabled when no token was seen for {days} days"));
        }
    }
    identities::servers(page, jwt);
}

fn sessions(section: &mut Section, config: &Config, jwt: &Jwt) {
    let core = &jwt.core;
    let (word, user_match) = match core.user_match {
        UserMatch::Exact => ("exact", "must be the user name that the client typed"),
        UserMatch::Claim => ("claim", "decides, whatever user name the client typed"),
    };
    section.say(format!("the token's identity {user_match}")).fact("user_match", word);
    identities::users(section, jwt);
    let pool = if jwt.shared_pool { "use shared pools" } else { "get a pool at first login" };
    let limit = if jwt.shared_pool { String::new() } else { format!(", up to {}", jwt.max_pools) };
    let provision = match (core.auto_provision, core.auto_provision_read_only) {
        (true, true) => format!("{pool}{limit}, read-only"),
        (true, false) => format!("{pool}{limit}"),
        (false, _) => "are refused".to_owned(),
    };
    if core.uses(IdentityMode::Role) || core.uses(IdentityMode::Login) || core.uses(IdentityMode::Passthrough) {
        section.say(format!("subjects that users.toml does not name {provision}"));
    }
    section.fact("auto_provision", core.auto_provision).fact("shared_pool", jwt.shared_pool);
    section.say(format!("never as {}", core.denied_roles.join(", "))).fact("deny_roles", core.denied_roles.clone());
    let privileged = if jwt.allow_privileged_roles { "allowed" } else { "refused" };
    section.say(format!("roles with SUPERUSER or BYPASSRLS: {privileged}"));
    section.fact("allow_privileged_roles", jwt.allow_privileged_roles);
    let plaintext = if jwt.allow_plaintext { "accepted from anywhere" } else { "accepted from this machine only" };
    section.say(format!("without TLS: {plaintext}")).fact("allow_plaintext", jwt.allow_plaintext);
    let shown = match jwt.oauth.client_flow {
        ClientFlow::Password => "as a password",
        ClientFlow::OauthBearer => "over SASL OAUTHBEARER",
        ClientFlow::Both => "as a password, or over SASL OAUTHBEARER by clients that ask for it",
    };
    section.say(format!("shown {shown}")).fact("client_flow", jwt.oauth.client_flow.word());
    let guard = match jwt.guard {
        Guard::Strict => "strict",
        Guard::Standard => "standard",
    };
    section.say(format!("guard: {guard}")).fact("guard", guard);
    shared(section, config);
    for proof in &jwt.proofs {
        let databases = names(&proof.databases);
        section.say(format!("claims proven to {databases} with key {}", proof.policy.key.id()));
    }
    section.fact("proven_to", jwt.proofs.iter().map(|proof| listed(&proof.databases)).collect::<Vec<_>>());
}

/// Where several subjects or tenants are one role.
pub(super) fn shared(section: &mut Section, config: &Config) {
    let places = config.shared_roles();
    section.fact("shared_roles", places.iter().map(ToString::to_string).collect::<Vec<_>>());
    for place in &places {
        section.say(format!("shared role: {place}"));
    }
    if !places.is_empty() {
        section.say("for each database that such a role may connect to: pgdog-jwt setup sql --shared-roles");
    }
}

/// Who PostgreSQL sees.
fn identity(jwt: &Jwt, mode: IdentityMode) -> String {
    let account = jwt.core.server_user.as_deref().unwrap_or("the account in users.toml");
    match mode {
        IdentityMode::Role => format!("PostgreSQL sees {account}, then the role of the subject"),
        IdentityMode::Login => {
            let by = match jwt.login.auth {
                LoginAuth::Certificate => "the gateway's certificate",
                LoginAuth::Password => "login_password",
                LoginAuth::Trust => "nothing: it trusts the gateway's address",
            };
            format!("PostgreSQL sees the subject log in, by {by}")
        }
        IdentityMode::ServiceAccount => {
            "PostgreSQL sees the account of the first rule that is for the token".to_owned()
        }
        IdentityMode::Passthrough => "PostgreSQL sees the subject log in, by its own token".to_owned(),
    }
}

fn issuer(section: &mut Section, issuer: &Issuer, jwt: &Jwt) {
    let from = issuer.issuer.as_deref().unwrap_or("any issuer");
    section.say(format!("of {from}")).fact("issuer", issuer.issuer.clone());
    if let Some(filled) = jwt.preset_of(issuer.issuer.as_deref()) {
        section.say(format!("preset: {}", filled.text()));
    }
    let place = issuer.keys.place();
    section.fact("keys", place.as_str()).fact("keys_by", issuer.keys.kind());
    section.say(match issuer.keys.fetched() {
        None => format!("keys: {place}"),
        Some(source) => {
            let found = if matches!(issuer.keys, KeySource::Discovery(_)) { "where the metadata of " } else { "" };
            let says = if found.is_empty() { "" } else { " says" };
            let ttl = seconds(source.cache_ttl);
            let stale = seconds(source.max_stale);
            format!("keys: {found}{place}{says}, for {ttl}, up to {stale} while it is down")
        }
    });
    if let Some(source) = &issuer.introspection {
        let url = source.url.split(['?', '#']).next().unwrap_or("");
        let which = if source.introspect_jwts { "every token" } else { "tokens that are no JWTs" };
        let (auth, ttl) = (source.client_auth.name(), seconds(source.cache_ttl));
        section.say(format!("asked about {which}: {url}, by {auth}; an answer counts for {ttl}"));
        section.fact("introspection", url);
    }
    let algorithms: Vec<_> = issuer.algorithms.iter().map(|algorithm| algorithm.name()).collect();
    section.say(format!("algorithms: {}", algorithms.join(", "))).fact("algorithms", algorithms);
    let audiences = if issuer.audiences.is_empty() { "any".to_owned() } else { issuer.audiences.join(", ") };
    section.say(format!("audience: {audiences}")).fact("audiences", issuer.audiences.clone());
    let leeway = seconds(issuer.leeway);
    section.say(format!("identity: claim \"{}\", clocks may differ by {leeway}", issuer.username_claim));
    section.fact("username_claim", issuer.username_claim.as_str()).fact("leeway_seconds", issuer.leeway.as_secs());
    demands(section, issuer);
    let who = match &issuer.user_suffix {
        Some(suffix) => format!("users ending in \"{suffix}\""),
        None => "every user without a password in users.toml".to_owned(),
    };
    let mode = issuer.mode.unwrap_or(jwt.core.mode);
    section.say(format!("for {who}")).fact("user_suffix", issuer.user_suffix.clone());
    section.say(identity(jwt, mode)).fact("mode", mode.word());
}

/// What an issuer's tokens must say besides, and what they may lead to.
fn demands(section: &mut Section, issuer: &Issuer) {
    let claims: Vec<_> = issuer.required_claims.iter().map(|required| required.claim.clone()).collect();
    let lists = [
        ("types", Some(&issuer.token_types)),
        ("clients", Some(&issuer.clients)),
        ("scopes", Some(&issuer.required_scopes)),
        ("with claims", Some(&claims)),
        ("databases", issuer.databases.as_ref()),
        ("roles", issuer.roles.as_ref()),
    ];
    for (name, list) in lists {
        if let Some(list) = list.filter(|list| !list.is_empty()) {
            section.say(format!("{name}: {}", list.join(", "))).fact(&name.replace(' ', "_"), list.clone());
        }
    }
    if issuer.bound_tokens == BoundTokens::AsBearer {
        section.say("also tokens that are bound to a key, which nobody has to show");
    }
    if let Some(age) = issuer.max_token_age {
        section.say(format!("not older than {}", seconds(age))).fact("max_token_age_seconds", age.as_secs());
    }
    if issuer.read_only {
        section.say("read-only").fact("read_only", true);
    }
}

fn seconds(duration: Duration) -> String {
    if duration == Duration::MAX { "ever".to_owned() } else { format!("{} s", duration.as_secs()) }
}
