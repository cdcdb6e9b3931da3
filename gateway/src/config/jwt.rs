//! Token users: the `jwt_` keys of `[general]` that PgDog pull request 1084 introduced, and our own `[jwt]` table for
//! what they cannot say. Both build one value.

use std::time::Duration;

use pgdog_jwt::config::{DEFAULT_MAX_REVOCATIONS, DEFAULT_TOKEN_CACHE_SIZE, IdentityMode, JwtConfig, UserMatch};

use super::application_name::NameTemplate;
use super::choices::{AuthType, Choice};
use super::identity::subject_login;
use super::identity_rules::Rules;
use super::issuers;
use super::life;
use super::model::{Jwt, User};
use super::section::Section;
use super::session;

/// Roles that no token becomes unless the file says so.
const DENIED_ROLES: [&str; 2] = ["postgres", "pg_*"];
/// Largest token, in bytes.
const MAX_TOKEN_SIZE: usize = 16 * 1024;
/// Most verified tokens that may be remembered (S9).
const MAX_TOKEN_CACHE_SIZE: i64 = 10_000_000;
/// What a password message may hold beyond the token: header, terminator, stray white space.
const PASSWORD_SLACK: usize = 256;
/// Most provisioned pools.
const MAX_POOLS: usize = 1_000;
/// How long the settings of a role are taken for what they were.
const ROLE_SETTINGS_TTL: Duration = Duration::from_secs(30);
/// Largest statement the guard reads, in bytes.
const MAX_STATEMENT_SIZE: usize = 16 * 1024 * 1024;
/// In seconds.
const DAY: i64 = 24 * 3_600;

impl Choice for UserMatch {
    const ALL: &'static [(&'static str, Self)] = &[("exact", Self::Exact), ("claim", Self::Claim)];
}

/// Reads both tables. The value is present exactly when `auth_type` is `jwt`; the keys are checked in any case.
pub(super) fn jwt(
    general: &Section<'_>,
    own: &Section<'_>,
    identity: &Section<'_>,
    auth_type: AuthType,
    users: &[User],
    rules: &Rules,
) -> Option<Jwt> {
    let issuers = issuers::issuers(general, own);
    let mode: IdentityMode = identity.choice("mode").unwrap_or_default();
    let server_user = general.filled("jwt_server_user");
    let max_token_size = own.count("max_token_size", 1).unwrap_or(MAX_TOKEN_SIZE);
    let token_cache_size = own.integer("token_cache_size", 0..=MAX_TOKEN_CACHE_SIZE);
    let token_cache_size =
        token_cache_size.and_then(|size| usize::try_from(size).ok()).unwrap_or(DEFAULT_TOKEN_CACHE_SIZE);
    let modes: Vec<_> = issuers.all.iter().map(|issuer| issuer.mode.unwrap_or(mode)).collect();
    let mapped = rules.user_mappings.iter().filter_map(|rule| rule.mode);
    let only_accounts = modes.into_iter().chain(mapped).all(|mode| mode == IdentityMode::ServiceAccount);
    let core = JwtConfig {
        issuers: issuers.all,
        max_token_size,
        token_cache_size,
        user_match: own.choice("user_match").unwrap_or_default(),
        mode,
        role_mappings: rules.role_mappings(),
        user_mappings: rules.user_mappings.clone(),
        // Where no account logs in for all tokens, none is in danger.
        denied_roles: denied_roles(own, server_user.as_deref().filter(|_| !only_accounts), users),
        server_user,
        server_password: general.secret("jwt_server_password"),
        auto_provision: general.boolean("jwt_user_auto_provision").unwrap_or(false),
        auto_provision_read_only: general.boolean("jwt_user_auto_provision_read_only").unwrap_or(false),
        variables: session::variables(own),
        claims: session::claims(own),
        kept_claims: Vec::new(),
        host_variables: false,
        proves_claims: false,
        revocation_file: own.path("revocation_file"),
        max_revocations: own.count("max_revocations", 1).unwrap_or(DEFAULT_MAX_REVOCATIONS),
    };
    let jwt = Jwt {
        core,
        has_short_form: issuers.has_short_form,
        presets: issuers.filled,
        allow_plaintext: own.boolean("allow_plaintext").unwrap_or(false),
        oauth: issuers.oauth,
        password_auth_type: own.choice("password_auth_type").unwrap_or(AuthType::Scram),
        account_pools: rules.account_pools(),
        role_mappings_from_env: rules.from_env,
        shared_pool: own.boolean("shared_pool").unwrap_or(false),
        role_settings_ttl: own.seconds_up_to("role_settings_ttl", DAY).unwrap_or(ROLE_SETTINGS_TTL),
        max_pools: own.count("max_pools", 1).unwrap_or(MAX_POOLS),
        max_password_size: max_token_size.saturating_add(PASSWORD_SLACK),
        allow_privileged_roles: own.boolean("allow_privileged_roles").unwrap_or(false),
        guard: own.choice("guard").unwrap_or_default(),
        login: subject_login(general, identity),
        max_statement_size: own.count("max_statement_size", 1).unwrap_or(MAX_STATEMENT_SIZE),
        life: life::life(own),
        proofs: Vec::new(),
        provisioning: None,
        application_name: application_name(own),
    };
    if auth_type != AuthType::Jwt {
        if own.is_present() || issuers.has_short_form {
            let spot = if own.is_present() { own.place() } else { general.spot("jwt_public_key_file") };
            let word = auth_type.word();
            own.report.warn(spot, format!("the token settings are not used while \"auth_type\" is \"{word}\""));
        }
        return None;
    }
    check(general, own, &jwt, issuers.has_short_form);
    rules.check(general, own, &jwt.core);
    Some(jwt)
}

/// The name of sessions in PostgreSQL.
fn application_name(own: &Section<'_>) -> Option<NameTemplate> {
    let parsed = NameTemplate::parse(&own.filled("application_name")?);
    let wrong = |problem| own.report.error(own.spot("application_name"), format!("\"application_name\" {problem}"));
    parsed.map_err(wrong).ok()
}

/// The server user is denied as well, unless `users.toml` has a user of that name (S13).
fn denied_roles(own: &Section<'_>, server_user: Option<&str>, users: &[User]) -> Vec<String> {
    let mut roles = own.strings("deny_roles").unwrap_or_else(|| DENIED_ROLES.map(str::to_owned).to_vec());
    let malformed = |role: &String| role.trim_end_matches('*').contains('*') || role.ends_with("**") || role.is_empty();
    if let Some(role) = roles.iter().find(|role| malformed(role)) {
        let reason = format!("\"{role}\" in \"deny_roles\" must be a role, or a prefix followed by one \"*\"");
        own.report.error(own.spot("deny_roles"), reason);
    }
    if let Some(name) = server_user
        && !users.iter().any(|user| user.name == name)
        && !roles.iter().any(|role| role == name)
    {
        roles.push(name.to_owned());
    }
    roles
}

fn check(general: &Section<'_>, own: &Section<'_>, jwt: &Jwt, has_short_form: bool) {
    let report = general.report;
    let core = &jwt.core;
    // Other modes need no account, or have one of their own.
    let needs_account = core.uses(IdentityMode::Role) && core.server_user.is_none();
    if core.issuers.is_empty() {
        let hint = "set \"jwt_public_key_file\" or \"jwt_jwks_url\", or add [[jwt.issuers]]";
        report.error(
            general.spot("auth_type"),
            format!("\"auth_type\" = \"jwt\" needs a key to check tokens with; {hint}"),
        );
    }
    if core.auto_provision && needs_account {
        let hint = "set \"jwt_server_user\" to an account that may SET ROLE to every subject";
        let reason = format!("\"jwt_user_auto_provision\" needs an account to log in to PostgreSQL with; {hint}");
        report.error(general.spot("jwt_user_auto_provision"), reason);
    }
    if jwt.shared_pool && needs_account {
        let hint = "set \"jwt_server_user\" to an account that may SET ROLE to every subject";
        report.error(
            own.spot("shared_pool"),
            format!("\"shared_pool\" needs an account that all subjects share; {hint}"),
        );
    }
    let provisions = core.auto_provision || core.uses(IdentityMode::ServiceAccount);
    if core.auto_provision_read_only && !provisions {
        let reason = "\"jwt_user_auto_provision_read_only\" has no effect without \"jwt_user_auto_provision\"";
        report.warn(general.spot("jwt_user_auto_provision_read_only"), reason);
    }
    // The others were told where they stand.
    if has_short_form && core.issuers.first().is_some_and(|issuer| issuer.audiences.is_empty()) {
        let reason = "no \"jwt_audience\": a token that was issued for another service logs in here as well";
        report.warn(general.spot("auth_type"), reason);
    }
    match jwt.password_auth_type {
        AuthType::Jwt => report
            .error(own.spot("password_auth_type"), "\"password_auth_type\" is for passwords; it cannot be \"jwt\""),
        AuthType::Trust => report.warn(
            own.spot("password_auth_type"),
            "\"password_auth_type\" = \"trust\" lets anyone in as any user of users.toml that has a password",
        ),
        _ => {}
    }
    if core.max_token_size > MAX_STATEMENT_SIZE {
        report.error(own.spot("max_token_size"), "\"max_token_size\" must be at most 16777216 bytes");
    }
}
