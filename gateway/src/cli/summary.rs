//! What a configuration means, in a page of text. Secrets are not in it.

use std::fmt::{Result, Write};
use std::time::Duration;

use pgdog_jwt::config::{BoundTokens, IdentityMode, Issuer, KeySource, UserMatch};

use super::identities;
use crate::config::{
    AuthType, Choice, ClientFlow, Config, Database, Databases, Guard, Jwt, LoginAuth, Provisioning, User,
};

/// The page.
pub(super) fn summary(config: &Config) -> String {
    let mut page = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut page, config);
    page
}

fn write(page: &mut String, config: &Config) -> Result {
    listener(page, config)?;
    databases(page, config)?;
    users(page, config)?;
    tenants(page, config)?;
    match &config.jwt {
        Some(jwt) => tokens(page, config, jwt),
        None => {
            shared(page, config)?;
            writeln!(page, "tokens     not accepted: auth_type is \"{}\"", config.general.auth_type.word())
        }
    }
}

fn listener(page: &mut String, config: &Config) -> Result {
    let general = &config.general;
    writeln!(page, "listen     {}:{}", general.host, general.port)?;
    if let Some(folder) = &general.unix_socket_dir {
        writeln!(page, "           {}/.s.PGSQL.{}", folder.display(), general.port)?;
    }
    let tls = match (&general.tls_certificate, general.tls_client_required) {
        (Some(path), true) => format!("required, certificate {}", path.display()),
        (Some(path), false) => format!("offered, certificate {}", path.display()),
        (None, _) => "none".to_owned(),
    };
    writeln!(page, "TLS        {tls}")?;
    if let Some(path) = &general.tls_client_ca_certificate {
        let word = if general.tls_client_certificate_required { "required" } else { "asked for" };
        writeln!(page, "           client certificates {word}, authority {}", path.display())?;
    }
    writeln!(page, "servers    TLS {}", general.tls_verify.word())?;
    let (mode, size) = (general.pooler_mode.word(), general.default_pool_size);
    writeln!(page, "pools      {mode} mode, up to {size} connections each")
}

fn databases(page: &mut String, config: &Config) -> Result {
    for name in config.database_names() {
        writeln!(page, "database   {name}")?;
        for server in config.servers(name) {
            writeln!(page, "           {}", server_line(server))?;
        }
    }
    Ok(())
}

fn server_line(server: &Database) -> String {
    let port = server.port;
    let address = match server.host.contains(':') {
        true => format!("[{}]:{port}", server.host),
        false => format!("{}:{port}", server.host),
    };
    let renamed = server.database_name.as_ref().map_or_else(String::new, |name| format!(", there called {name}"));
    let account = server.user.as_ref().map_or_else(String::new, |user| format!(", as {user}"));
    format!("{} {address}{renamed}{account}", server.role.word())
}

fn users(page: &mut String, config: &Config) -> Result {
    for user in &config.users {
        let databases = match &user.databases {
            Databases::All => "all databases".to_owned(),
            Databases::Some(names) => names.join(", "),
        };
        let read_only = if user.read_only == Some(true) { ", read-only" } else { "" };
        writeln!(page, "user       {} on {databases}: {}{read_only}", user.name, method(config, user))?;
    }
    Ok(())
}

fn tenants(page: &mut String, config: &Config) -> Result {
    if let Some(tenants) = &config.tenants {
        let (variables, separator) = (tenants.variables.join(", "), &tenants.separator);
        writeln!(page, "tenants    {variables}, behind \"{separator}\" in user names")?;
    }
    for resolver in &config.resolvers {
        let variables: Vec<_> = resolver.inject.iter().map(|(name, _)| name.as_str()).collect();
        let required = if resolver.required { ", required" } else { "" };
        writeln!(page, "resolver   {}: {}{required}", resolver.name, variables.join(", "))?;
    }
    Ok(())
}

/// How one user of `users.toml` proves itself.
fn method(config: &Config, user: &User) -> String {
    match (config.general.auth_type, &config.jwt) {
        (AuthType::Jwt, Some(jwt)) if user.has_password() => match jwt.core.has_suffix(&user.name) {
            true => "token".to_owned(),
            false => jwt.password_auth_type.word().to_owned(),
        },
        (AuthType::Jwt, _) => "token".to_owned(),
        (AuthType::Trust, _) => "trust (no proof)".to_owned(),
        (method, _) if user.has_password() => method.word().to_owned(),
        _ => "nothing: it has no password and cannot log in".to_owned(),
    }
}

fn tokens(page: &mut String, config: &Config, jwt: &Jwt) -> Result {
    let core = &jwt.core;
    for issuer in &core.issuers {
        self::issuer(page, issuer, jwt)?;
    }
    writeln!(page, "sessions")?;
    let user_match = match core.user_match {
        UserMatch::Exact => "must be the user name that the client typed",
        UserMatch::Claim => "decides, whatever user name the client typed",
    };
    writeln!(page, "           the token's identity {user_match}")?;
    identities::users(page, jwt)?;
    let pool = if jwt.shared_pool { "use shared pools" } else { "get a pool at first login" };
    let limit = if jwt.shared_pool { String::new() } else { format!(", up to {}", jwt.max_pools) };
    let provision = match (core.auto_provision, core.auto_provision_read_only) {
        (true, true) => format!("{pool}{limit}, read-only"),
        (true, false) => format!("{pool}{limit}"),
        (false, _) => "are refused".to_owned(),
    };
    if core.uses(IdentityMode::Role) || core.uses(IdentityMode::Login) || core.uses(IdentityMode::Passthrough) {
        writeln!(page, "           subjects that users.toml does not name {provision}")?;
    }
    writeln!(page, "           never as {}", core.denied_roles.join(", "))?;
    let privileged = if jwt.allow_privileged_roles { "allowed" } else { "refused" };
    writeln!(page, "           roles with SUPERUSER or BYPASSRLS: {privileged}")?;
    let plaintext = if jwt.allow_plaintext { "accepted from anywhere" } else { "accepted from this machine only" };
    writeln!(page, "           without TLS: {plaintext}")?;
    let shown = match jwt.oauth.client_flow {
        ClientFlow::Password => "as a password",
        ClientFlow::OauthBearer => "over SASL OAUTHBEARER",
        ClientFlow::Both => "as a password, or over SASL OAUTHBEARER by clients that ask for it",
    };
    writeln!(page, "           shown {shown}")?;
    let guard = match jwt.guard {
        Guard::Strict => "strict",
        Guard::Standard => "standard",
    };
    writeln!(page, "           guard: {guard}")?;
    shared(page, config)?;
    for proof in &jwt.proofs {
        let databases = match &proof.databases {
            Databases::All => "all databases".to_owned(),
            Databases::Some(names) => names.join(", "),
        };
        writeln!(page, "           claims proven to {databases} with key {}", proof.policy.key.id())?;
    }
    if let Some(settings) = &jwt.provisioning {
        writeln!(page, "roles      made at logins by {}, in {}", settings.admin_user, given(settings))?;
        if let Some(days) = settings.disable_after {
            writeln!(page, "           disabled when no token was seen for {days} days")?;
        }
    }
    identities::servers(page, jwt)
}

/// Where several subjects or tenants are one role.
fn shared(page: &mut String, config: &Config) -> Result {
    let places = config.shared_roles();
    for place in &places {
        writeln!(page, "           shared role: {place}")?;
    }
    if places.is_empty() {
        return Ok(());
    }
    writeln!(page, "           for each database that such a role may connect to: pgdog-jwt setup sql --shared-roles")
}

/// What subjects are in.
fn given(settings: &Provisioning) -> String {
    let fixed = (!settings.roles.is_empty()).then(|| settings.roles.join(", "));
    let groups = (!settings.groups.is_empty()).then(|| format!("by groups: {}", settings.groups.shown()));
    let parts: Vec<String> = fixed.into_iter().chain(groups).collect();
    if parts.is_empty() { "no group".to_owned() } else { parts.join("; ") }
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

fn issuer(page: &mut String, issuer: &Issuer, jwt: &Jwt) -> Result {
    let from = issuer.issuer.as_deref().unwrap_or("any issuer");
    writeln!(page, "tokens     of {from}")?;
    if let Some(filled) = jwt.preset_of(issuer.issuer.as_deref()) {
        writeln!(page, "           preset: {}", filled.text())?;
    }
    let place = issuer.keys.place();
    match issuer.keys.fetched() {
        None => writeln!(page, "           keys: {place}")?,
        Some(source) => {
            let found = if matches!(issuer.keys, KeySource::Discovery(_)) { "where the metadata of " } else { "" };
            let says = if found.is_empty() { "" } else { " says" };
            let ttl = seconds(source.cache_ttl);
            let stale = seconds(source.max_stale);
            writeln!(page, "           keys: {found}{place}{says}, for {ttl}, up to {stale} while it is down")?;
        }
    }
    if let Some(source) = &issuer.introspection {
        let url = source.url.split(['?', '#']).next().unwrap_or("");
        let which = if source.introspect_jwts { "every token" } else { "tokens that are no JWTs" };
        let (auth, ttl) = (source.client_auth.name(), seconds(source.cache_ttl));
        writeln!(page, "           asked about {which}: {url}, by {auth}; an answer counts for {ttl}")?;
    }
    let algorithms: Vec<_> = issuer.algorithms.iter().map(|algorithm| algorithm.name()).collect();
    writeln!(page, "           algorithms: {}", algorithms.join(", "))?;
    let audiences = if issuer.audiences.is_empty() { "any".to_owned() } else { issuer.audiences.join(", ") };
    writeln!(page, "           audience: {audiences}")?;
    writeln!(
        page,
        "           identity: claim \"{}\", clocks may differ by {}",
        issuer.username_claim,
        seconds(issuer.leeway)
    )?;
    demands(page, issuer)?;
    let who = match &issuer.user_suffix {
        Some(suffix) => format!("users ending in \"{suffix}\""),
        None => "every user without a password in users.toml".to_owned(),
    };
    writeln!(page, "           for {who}")?;
    writeln!(page, "           {}", identity(jwt, issuer.mode.unwrap_or(jwt.core.mode)))
}

/// What an issuer's tokens must say besides, and what they may lead to.
fn demands(page: &mut String, issuer: &Issuer) -> Result {
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
            writeln!(page, "           {name}: {}", list.join(", "))?;
        }
    }
    if issuer.bound_tokens == BoundTokens::AsBearer {
        writeln!(page, "           also tokens that are bound to a key, which nobody has to show")?;
    }
    if let Some(age) = issuer.max_token_age {
        writeln!(page, "           not older than {}", seconds(age))?;
    }
    if issuer.read_only { writeln!(page, "           read-only") } else { Ok(()) }
}

fn seconds(duration: Duration) -> String {
    if duration == Duration::MAX { "ever".to_owned() } else { format!("{} s", duration.as_secs()) }
}
