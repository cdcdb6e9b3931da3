//! Token users: the `jwt_` keys of `[general]` that PgDog pull request 1084 introduced, and our own `[jwt]` table for
//! what they cannot say. Both build one value.

use super::application_name::NameTemplate;
use super::choices::{AuthType, Choice};
use super::findings::{self, Places};
use super::identity_rules;
use super::issuers;
use super::keys;
use super::keys::jwt::{self as of, MAX_STATEMENT};
use super::life;
use super::model::{HostSettings, Jwt, SubjectLogin};
use super::section::Section;
use super::session;
use super::surroundings::Surroundings;
use crate::config::{IdentityMode, JwtConfig, Part, Secret, UserMatch};

/// What a password message may hold beyond the token: header, terminator, stray white space.
const PASSWORD_SLACK: usize = 256;
/// Holds the password of subjects that log in themselves when the file does not.
pub const LOGIN_PASSWORD_VARIABLE: &str = "PGDOG_JWT_LOGIN_PASSWORD";

impl Choice for IdentityMode {
    const ALL: &'static [(&'static str, Self)] = &[
        ("role", Self::Role),
        ("login", Self::Login),
        ("service_account", Self::ServiceAccount),
        ("passthrough", Self::Passthrough),
    ];
}

impl Choice for UserMatch {
    const ALL: &'static [(&'static str, Self)] = &[("exact", Self::Exact), ("claim", Self::Claim)];
}

/// The sections of the token settings, and where they stand.
#[derive(Clone, Copy)]
pub struct Sections<'a, 'f> {
    /// `[general]`, of which the keys that begin with `jwt_` are read. It knows the environment.
    pub general: &'a Section<'f>,
    /// `[jwt]`.
    pub own: &'a Section<'f>,
    /// `[jwt.identity]`.
    pub identity: &'a Section<'f>,
}

/// Reads them. The value is present exactly when `auth_type` is `jwt`; the keys are checked in any case. What the sections
/// hold beyond that is the host's to read, who then calls [`Section::finish`] for each.
pub fn jwt(sections: Sections<'_, '_>, auth_type: AuthType, around: &Surroundings<'_>) -> Option<Jwt> {
    let Sections { general, own, identity } = sections;
    let rules = identity_rules::read(own, identity, around);
    let issuers = issuers::issuers(general, own);
    let mode: IdentityMode = identity.value(&keys::identity::MODE);
    let server_user = general.given(&keys::general::SERVER_USER);
    let max_token_size = own.value(&of::MAX_TOKEN_SIZE);
    let modes: Vec<_> = issuers.all.iter().map(|issuer| issuer.mode.unwrap_or(mode)).collect();
    let mapped = rules.user_mappings.iter().filter_map(|rule| rule.mode);
    let only_accounts = modes.into_iter().chain(mapped).all(|mode| mode == IdentityMode::ServiceAccount);
    let mut core = JwtConfig {
        issuers: issuers.all,
        max_token_size,
        token_cache_size: own.value(&of::TOKEN_CACHE_SIZE),
        user_match: own.value(&of::USER_MATCH),
        mode,
        role_mappings: rules.role_mappings(),
        user_mappings: rules.user_mappings.clone(),
        // Where no account logs in for all tokens, none is in danger.
        denied_roles: denied_roles(own, server_user.as_deref().filter(|_| !only_accounts), around),
        server_user,
        server_password: general.secret(&keys::general::SERVER_PASSWORD, around.env),
        auto_provision: general.value(&keys::general::USER_AUTO_PROVISION),
        auto_provision_read_only: general.value(&keys::general::USER_AUTO_PROVISION_READ_ONLY),
        variables: session::variables(own),
        claims: session::claims(own),
        kept_claims: Vec::new(),
        host_variables: false,
        proves_claims: false,
        revocation_file: own.given(&of::REVOCATION_FILE),
        max_revocations: own.value(&of::MAX_REVOCATIONS),
    };
    let host = HostSettings {
        has_short_form: issuers.has_short_form,
        presets: issuers.filled,
        allow_plaintext: own.value(&of::ALLOW_PLAINTEXT),
        oauth: issuers.oauth,
        password_auth_type: own.value(&of::PASSWORD_AUTH_TYPE),
        account_pools: rules.account_pools(),
        role_mappings_from_env: rules.from_env,
        shared_pool: own.value(&of::SHARED_POOL),
        role_settings_ttl: own.value(&of::ROLE_SETTINGS_TTL),
        max_pools: own.value(&of::MAX_POOLS),
        max_password_size: max_token_size.saturating_add(PASSWORD_SLACK),
        allow_privileged_roles: own.value(&of::ALLOW_PRIVILEGED_ROLES),
        guard: own.value(&of::GUARD),
        shared_roles: own.value(&of::STANDARD_GUARD_ON_SHARED_ROLES),
        login: subject_login(general, identity, around),
        max_statement_size: own.value(&of::MAX_STATEMENT_SIZE),
        max_statement_words: own.value(&of::MAX_STATEMENT_WORDS),
        life: life::life(own),
        application_name: application_name(own),
    };
    let place_of = |part: Part| match part {
        Part::Whole => Some(Places::of(own)),
        Part::Issuer(number) => issuers.places.get(number).cloned(),
        Part::RoleMapping(number) => rules.place(number).map(Places::at),
    };
    let is_on = auth_type == AuthType::Jwt;
    if is_on {
        check(general, own, &core, &host);
        rules.check(general, own, &core);
    }
    findings::report(own, &core, is_on, place_of);
    if !is_on {
        if own.is_present() || issuers.has_short_form {
            let spot = if own.is_present() { own.place() } else { general.spot("jwt_public_key_file") };
            let word = auth_type.word();
            own.report.warn(spot, format!("the token settings are not used while \"auth_type\" is \"{word}\""));
        }
        return None;
    }
    deny_accounts(&mut core, around);
    warn_without_replica(general, &core, around);
    Some(Jwt { core, host })
}

/// How the host logs in as a subject.
fn subject_login(general: &Section<'_>, identity: &Section<'_>, around: &Surroundings<'_>) -> SubjectLogin {
    let password = identity.secret(&keys::identity::LOGIN_PASSWORD, around.env);
    SubjectLogin {
        auth: identity.value(&keys::identity::LOGIN_AUTH),
        password: password.or_else(|| general.variable(LOGIN_PASSWORD_VARIABLE).map(Secret::new)),
    }
}

/// Accounts of the host's own are no subjects (S13): where subjects log in themselves, the host could become such an account
/// without being asked for its password. The host may know a user of that name, which allows it.
fn deny_accounts(core: &mut JwtConfig, around: &Surroundings<'_>) {
    if !core.uses(IdentityMode::Login) && !core.uses(IdentityMode::Passthrough) {
        return;
    }
    for name in around.servers.iter().filter_map(|server| server.account) {
        if !around.has_user(name) && !core.denied_roles.iter().any(|role| role == name) {
            core.denied_roles.push(name.to_owned());
        }
    }
}

/// A read-only subject is never sent to a primary (S10), so a database without a replica has no place for it.
fn warn_without_replica(general: &Section<'_>, core: &JwtConfig, around: &Surroundings<'_>) {
    if !(core.auto_provision && core.auto_provision_read_only) {
        return;
    }
    for name in around.without_replica() {
        let reason = format!("database \"{name}\" has no replica: read-only subjects will be refused there");
        general.report.warn(general.spot("jwt_user_auto_provision_read_only"), reason);
    }
}

/// The name of sessions in PostgreSQL.
fn application_name(own: &Section<'_>) -> Option<NameTemplate> {
    let parsed = NameTemplate::parse(&own.given(&of::APPLICATION_NAME)?);
    let wrong = |problem| own.report.error(own.spot("application_name"), format!("\"application_name\" {problem}"));
    parsed.map_err(wrong).ok()
}

/// The server user is denied as well, unless the host knows a user of that name (S13).
fn denied_roles(own: &Section<'_>, server_user: Option<&str>, around: &Surroundings<'_>) -> Vec<String> {
    let mut roles = own.value(&of::DENY_ROLES);
    let malformed = |role: &String| role.trim_end_matches('*').contains('*') || role.ends_with("**") || role.is_empty();
    if let Some(role) = roles.iter().find(|role| malformed(role)) {
        let reason = format!("\"{role}\" in \"deny_roles\" must be a role, or a prefix followed by one \"*\"");
        own.report.error(own.spot("deny_roles"), reason);
    }
    if let Some(name) = server_user
        && !around.has_user(name)
        && !roles.iter().any(|role| role == name)
    {
        roles.push(name.to_owned());
    }
    roles
}

fn check(general: &Section<'_>, own: &Section<'_>, core: &JwtConfig, host: &HostSettings) {
    let report = general.report;
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
    if host.shared_pool && needs_account {
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
    if host.has_short_form && core.issuers.first().is_some_and(|issuer| issuer.audiences.is_empty()) {
        let reason = "no \"jwt_audience\": a token that was issued for another service logs in here as well";
        report.warn(general.spot("auth_type"), reason);
    }
    match host.password_auth_type {
        AuthType::Jwt => report
            .error(own.spot("password_auth_type"), "\"password_auth_type\" is for passwords; it cannot be \"jwt\""),
        AuthType::Trust => report.warn(
            own.spot("password_auth_type"),
            "\"password_auth_type\" = \"trust\" lets anyone in as any user of users.toml that has a password",
        ),
        _ => {}
    }
    if core.max_token_size as i64 > MAX_STATEMENT {
        report.error(own.spot("max_token_size"), "\"max_token_size\" must be at most 16777216 bytes");
    }
}
