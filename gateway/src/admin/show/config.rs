//! SHOW CONFIG: what holds now, key by key, under the names of the files, and what a restart would change. Of a secret,
//! only that there is one.

use std::path::PathBuf;
use std::time::Duration;

use pgdog_jwt::config::{JwtConfig, KeySource, Proxy, Secret, UserMatch};
use pgdog_jwt::session::Variable;

use super::secrets::forms;
use crate::admin::table::{Kind, Table, Value};
use crate::cli::logging;
use crate::config::{Audit, Choice, Config, Databases, Life, Proof, Text};
use crate::frontend::unauthenticated::Bounds;

/// A configuration in which every key has its default.
const DEFAULTS: &str = "[general]\nauth_type = \"jwt\"\njwt_public_key_file = \"-\"\njwt_server_user = \"-\"\n\
                        jwt_audience = \"-\"\n[[databases]]\nname = \"-\"\nhost = \"-\"\n";

/// A key of which the files say something that only the next start will heed.
pub(crate) struct Waiting {
    pub(crate) key: &'static str,
    pub(crate) now: Option<String>,
    pub(crate) then: Option<String>,
}

/// Those, of a process that began with `started`.
pub(crate) fn waiting(started: &Config, config: &Config) -> Vec<Waiting> {
    let now = general(started);
    let changed = |(_, key, then): Entry| {
        let (_, _, now) = now.iter().find(|(_, known, _)| *known == key)?.clone();
        (ON_START.contains(&key) && now != then).then_some(Waiting { key, now, then })
    };
    general(config).into_iter().filter_map(changed).collect()
}

pub(super) fn config(started: &Config, config: &Config) -> Table {
    let columns = [
        ("key", Kind::Text),
        ("value", Kind::Text),
        ("default", Kind::Text),
        ("changeable", Kind::Text),
        ("after_restart", Kind::Text),
    ];
    let waiting = waiting(started, config);
    let mut table = Table::new(&columns);
    let text = |name, text| Text { name, text };
    let defaults = Config::from_texts(text("", DEFAULTS), text("", ""), &|_| None).ok();
    let defaults = defaults.map(|loaded| entries(&loaded.config)).unwrap_or_default();
    for (section, key, value) in entries(config) {
        let default = defaults.iter().find(|(in_section, of, _)| (*in_section, *of) == (section, key));
        // What stands for "nothing" in the text above is no default.
        let default = default.and_then(|(_, _, value)| value.as_deref()).filter(|value| *value != "-");
        let default = if key == "auth_type" { Some("scram") } else { default };
        let waits = waiting.iter().find(|change| section == "general" && change.key == key);
        let value = match (waits, key) {
            (Some(change), _) => change.now.clone(),
            (None, "log_level") => Some(logging::level(&config.general)),
            (None, _) => value,
        };
        let then = waits.map(|change| change.then.as_deref().unwrap_or("none"));
        let name = if section == "general" { key.to_owned() } else { format!("{section}.{key}") };
        table.push(vec![
            Value::text(name),
            Value::maybe(value.as_deref()),
            Value::maybe(default),
            Value::text(if section == "general" && ON_START.contains(&key) { "no" } else { "yes" }),
            Value::maybe(then),
        ]);
    }
    table
}

/// Keys that a reload does not change.
const ON_START: [&str; 10] = [
    "host",
    "port",
    "unix_socket_dir",
    "unix_socket_permissions",
    "reuse_port",
    "workers",
    "openmetrics_host",
    "openmetrics_port",
    "healthcheck_port",
    "log_format",
];

pub(crate) type Entry = (&'static str, &'static str, Option<String>);

/// Section and key of every entry.
#[cfg(test)]
pub(crate) fn names(config: &Config) -> Vec<(&'static str, &'static str)> {
    entries(config).into_iter().map(|(section, key, _)| (section, key)).collect()
}

pub(crate) fn entries(config: &Config) -> Vec<Entry> {
    let mut entries = general(config);
    entries.extend(tokens(config));
    entries.extend(tenants(config));
    entries.extend(audit(&config.audit));
    entries.extend(forms!("admin", "password", config.admin.password.as_ref().map(Secret::origin)));
    entries.extend([
        ("admin", "name", shown(&config.admin.name)),
        ("admin", "user", shown(&config.admin.user)),
        ("admin", "pause_timeout", millis(config.admin.pause_timeout)),
        ("tcp", "keepalive", shown(config.tcp.keepalive)),
        ("tcp", "time", config.tcp.time.and_then(millis)),
        ("tcp", "interval", config.tcp.interval.and_then(millis)),
        ("tcp", "retries", config.tcp.retries.and_then(shown)),
        ("tcp", "user_timeout", config.tcp.user_timeout.and_then(millis)),
        ("tcp", "congestion_control", config.tcp.congestion_control.clone()),
    ]);
    entries
}

fn general(config: &Config) -> Vec<Entry> {
    let g = &config.general;
    // What follows from the number of descriptors is shown as well.
    let bounds = Bounds::of(config);
    let entries = [
        ("host", shown(&g.host)),
        ("port", shown(g.port)),
        ("unix_socket_dir", path(g.unix_socket_dir.as_ref())),
        ("unix_socket_permissions", shown(format!("{:04o}", g.unix_socket_permissions))),
        ("reuse_port", shown(g.reuse_port)),
        ("workers", shown(g.workers)),
        ("default_database", g.default_database.clone()),
        ("default_pool_size", shown(g.default_pool_size)),
        ("min_pool_size", shown(g.min_pool_size)),
        ("max_server_connections", g.max_server_connections.and_then(shown)),
        ("pooler_mode", word(g.pooler_mode)),
        ("auth_type", word(g.auth_type)),
        ("passthrough_auth", word(g.passthrough_auth)),
        ("connect_timeout", millis(g.connect_timeout)),
        ("connect_attempts", shown(g.connect_attempts)),
        ("connect_attempt_delay", millis(g.connect_attempt_delay)),
        ("checkout_timeout", millis(g.checkout_timeout)),
        ("query_timeout", millis(g.query_timeout)),
        ("idle_timeout", millis(g.idle_timeout)),
        ("transaction_timeout", millis(g.transaction_timeout)),
        ("query_wait_notify", millis(g.query_wait_notify)),
        ("client_idle_timeout", millis(g.client_idle_timeout)),
        ("client_idle_in_transaction_timeout", millis(g.client_idle_in_transaction_timeout)),
        ("client_login_timeout", millis(g.client_login_timeout)),
        ("max_client_conn", g.max_client_conn.and_then(count)),
        ("max_db_client_connections", g.max_db_client_connections.and_then(count)),
        ("max_user_client_connections", g.max_user_client_connections.and_then(count)),
        ("max_unauthenticated_clients", count(bounds.total)),
        ("max_unauthenticated_clients_per_address", count(bounds.per_address)),
        ("unauthenticated_limit_exempt", list(&g.unauthenticated_limit_exempt)),
        ("login_failures_per_address", count(g.login_failures_per_address)),
        ("login_failures_per_address_burst", shown(g.login_failures_per_address_burst)),
        ("login_failures_per_user", count(g.login_failures_per_user)),
        ("login_failures_per_user_burst", shown(g.login_failures_per_user_burst)),
        ("login_failures_tracked", shown(g.login_failures_tracked)),
        ("login_refusal_delay", millis(g.login_refusal_delay)),
        ("cancel_failures_per_address", count(g.cancel_failures_per_address)),
        ("cancel_failures_per_address_burst", shown(g.cancel_failures_per_address_burst)),
        ("cancel_failures", count(g.cancel_failures)),
        ("cancel_failures_burst", shown(g.cancel_failures_burst)),
        ("server_lifetime", millis(g.server_lifetime)),
        ("server_lifetime_jitter", millis(g.server_lifetime_jitter)),
        ("rollback_timeout", millis(g.rollback_timeout)),
        ("healthcheck_interval", millis(g.healthcheck_interval)),
        ("healthcheck_timeout", millis(g.healthcheck_timeout)),
        ("idle_healthcheck_interval", millis(g.idle_healthcheck_interval)),
        ("idle_healthcheck_delay", millis(g.idle_healthcheck_delay)),
        ("healthcheck_port", g.healthcheck_port.and_then(shown)),
        ("ban_timeout", millis(g.ban_timeout)),
        ("ban_replica_lag", millis(g.ban_replica_lag)),
        ("ban_replica_lag_bytes", count(g.ban_replica_lag_bytes)),
        ("shutdown_timeout", millis(g.shutdown_timeout)),
        ("load_balancing_strategy", word(g.load_balancing_strategy)),
        ("read_write_strategy", word(g.read_write_strategy)),
        ("read_write_split", word(g.read_write_split)),
        ("read_your_writes", shown(g.read_your_writes)),
        ("read_your_writes_timeout", millis(g.read_your_writes_timeout)),
        ("prepared_statements", word(g.prepared_statements)),
        ("prepared_statements_limit", count(g.prepared_statements_limit)),
        ("client_statements_limit", count(g.client_statements_limit)),
        ("client_statements_size", count(g.client_statements_size)),
        ("query_cache_limit", count(g.query_cache_limit)),
        ("server_cleaning", word(g.server_cleaning)),
        ("tls_certificate", path(g.tls_certificate.as_ref())),
        ("tls_private_key", path(g.tls_private_key.as_ref())),
        ("tls_client_required", shown(g.tls_client_required)),
        ("tls_client_ca_certificate", path(g.tls_client_ca_certificate.as_ref())),
        ("tls_client_certificate_required", shown(g.tls_client_certificate_required)),
        ("tls_verify", word(g.tls_verify)),
        ("tls_server_ca_certificate", path(g.tls_server_ca_certificate.as_ref())),
        ("tls_server_certificate", path(g.tls_server_certificate.as_ref())),
        ("tls_server_private_key", path(g.tls_server_private_key.as_ref())),
        ("openmetrics_host", shown(&g.openmetrics_host)),
        ("openmetrics_port", g.openmetrics_port.and_then(shown)),
        ("openmetrics_namespace", g.openmetrics_namespace.clone()),
        ("http_hosts", list(g.http_hosts.as_deref().unwrap_or_default())),
        ("log_format", word(g.log_format)),
        ("log_level", shown(&g.log_level)),
        ("log_connections", shown(g.log_connections)),
        ("log_disconnections", shown(g.log_disconnections)),
    ];
    entries.into_iter().map(|(key, value)| ("general", key, value)).collect()
}

/// The policy for tokens, when they are taken. Key sources are with SHOW KEYS: a URL may hold an access key.
fn tokens(config: &Config) -> Vec<Entry> {
    let Some(jwt) = &config.jwt else { return Vec::new() };
    let core = &jwt.core;
    let mut entries = vec![
        ("general", "jwt_server_user", core.server_user.clone()),
        ("general", "jwt_user_auto_provision", shown(core.auto_provision)),
        ("general", "jwt_user_auto_provision_read_only", shown(core.auto_provision_read_only)),
        ("jwt", "max_token_size", shown(core.max_token_size)),
        ("jwt", "token_cache_size", shown(core.token_cache_size)),
        ("jwt", "revocation_file", path(core.revocation_file.as_ref())),
        ("jwt", "max_revocations", shown(core.max_revocations)),
        ("jwt", "user_match", shown(if core.user_match == UserMatch::Claim { "claim" } else { "exact" })),
        ("jwt", "deny_roles", shown(core.denied_roles.join(", "))),
        ("jwt", "allow_plaintext", shown(jwt.allow_plaintext)),
        ("jwt", "client_flow", word(jwt.oauth.client_flow)),
        ("jwt", "password_auth_type", word(jwt.password_auth_type)),
        ("jwt.identity", "mode", word(core.mode)),
        ("jwt.identity", "role_mappings_from_env", shown(jwt.role_mappings_from_env)),
        ("jwt", "default_role_mapping", default_mapping(core)),
        ("jwt", "shared_pool", shown(jwt.shared_pool)),
        ("jwt", "role_settings_ttl", shown(jwt.role_settings_ttl.as_secs())),
        ("jwt", "max_pools", shown(jwt.max_pools)),
        ("jwt", "allow_privileged_roles", shown(jwt.allow_privileged_roles)),
        ("jwt", "guard", word(jwt.guard)),
        ("jwt", "standard_guard_on_shared_roles", word(jwt.shared_roles)),
        ("jwt", "max_statement_size", shown(jwt.max_statement_size)),
        ("jwt", "max_statement_words", shown(jwt.max_statement_words)),
        ("jwt", "application_name", jwt.application_name.as_ref().map(|template| template.text().to_owned())),
    ];
    entries.extend(life(&jwt.life));
    entries.extend(forms!("general", "jwt_server_password", core.server_password.as_ref().map(Secret::origin)));
    entries.extend(forms!("jwt.identity", "login_password", jwt.login.password.as_ref().map(Secret::origin)));
    entries.extend([("jwt.identity", "mode", word(core.mode)), ("jwt.identity", "login_auth", word(jwt.login.auth))]);
    entries.extend(session(core));
    entries.extend(proofs(&jwt.proofs));
    entries.extend(super::provisioning::entries(jwt));
    if let Some(issuer) = core.issuers.first().filter(|_| jwt.has_short_form) {
        let algorithms: Vec<_> = issuer.algorithms.iter().map(|algorithm| algorithm.name()).collect();
        entries.extend([
            ("general", "jwt_audience", shown(issuer.audiences.join(", "))),
            ("general", "jwt_username_claim", shown(&issuer.username_claim)),
            ("jwt", "issuer", issuer.issuer.clone()),
            ("jwt", "algorithms", shown(algorithms.join(", "))),
            ("jwt", "leeway", shown(issuer.leeway.as_secs())),
            ("jwt", "early_leeway", shown(issuer.early_leeway.as_secs())),
            ("general", "jwt_user_suffix", issuer.user_suffix.clone()),
            ("jwt", "max_token_age", issuer.max_token_age.and_then(|age| shown(age.as_secs()))),
            ("jwt", "token_types", shown(issuer.token_types.join(", "))),
            ("jwt", "bound_tokens", word(issuer.bound_tokens)),
            ("jwt", "clients", shown(issuer.clients.join(", "))),
            ("jwt", "required_scopes", shown(issuer.required_scopes.join(", "))),
        ]);
        if let Some(discovery) = jwt.oauth.discoveries.first() {
            entries.push(("jwt", "oauth_issuer", discovery.issuer.clone()));
            entries.push(("jwt", "oauth_scope", shown(&discovery.scope)));
        }
        if let KeySource::Jwks(source) = &issuer.keys {
            entries.extend([
                ("general", "jwt_jwks_cache_ttl", shown(source.cache_ttl.as_secs())),
                ("jwt", "jwks_max_stale", shown(source.max_stale.as_secs())),
                ("jwt", "jwks_min_refresh_interval", shown(source.min_refresh_interval.as_secs())),
                ("jwt", "jwks_connect_timeout", millis(source.connect_timeout)),
                ("jwt", "jwks_timeout", millis(source.timeout)),
                ("jwt", "jwks_max_body_size", shown(source.max_body_size)),
                ("jwt", "jwks_min_cache_ttl", shown(source.min_cache_ttl.min(source.cache_ttl).as_secs())),
                ("jwt", "jwks_max_cache_ttl", shown(source.max_cache_ttl.max(source.cache_ttl).as_secs())),
                ("jwt", "jwks_max_keys", shown(source.max_keys)),
                ("jwt", "jwks_proxy", proxy(&source.proxy)),
                ("jwt", "jwks_ca_file", path(source.ca_file.as_ref())),
                ("jwt", "jwks_bearer_token_file", path(source.bearer_token_file.as_ref())),
            ]);
        }
    }
    entries
}

/// Where the audit events go.
fn audit(audit: &Audit) -> Vec<Entry> {
    let names = (!audit.statements_for.is_empty()).then(|| audit.statements_for.join(", "));
    vec![
        ("audit", "destination", word(audit.destination)),
        ("audit", "file", path(audit.file.as_ref())),
        ("audit", "on_failure", word(audit.on_failure)),
        ("audit", "statements", word(audit.statements)),
        ("audit", "statements_for", names),
        ("audit", "statement_max_length", shown(audit.statement_max_length)),
        ("audit", "statement_parameters", shown(audit.statement_parameters)),
    ]
}

/// Tenants in user names, and who runs resolvers.
fn tenants(config: &Config) -> Vec<Entry> {
    let tenants = config.tenants.as_ref();
    let account = config.resolver_account.as_ref();
    let password = account.and_then(|account| account.password.as_ref()).map(Secret::origin);
    let mut entries = vec![
        ("tenants", "separator", tenants.map(|tenants| tenants.separator.clone())),
        ("tenants", "value_separator", tenants.map(|tenants| tenants.value_separator.clone())),
        ("tenants", "variables", tenants.and_then(|tenants| list(&tenants.variables))),
        ("tenants", "allow_empty", tenants.map(|tenants| tenants.allow_empty.to_string())),
        ("tenants", "claim", tenants.and_then(|tenants| list(&tenants.claims))),
        ("tenants", "resolver", tenants.and_then(|tenants| tenants.resolver.clone())),
        ("tenants", "bypass_users", tenants.and_then(|tenants| list(&tenants.bypass_users))),
        ("tenants", "max_connections", tenants.and_then(|tenants| tenants.max_connections).and_then(shown)),
        ("tenants", "connection_rate", tenants.and_then(|tenants| tenants.connection_rate).and_then(shown)),
        ("tenants", "query_timeout", tenants.and_then(|tenants| millis(tenants.query_timeout))),
        ("resolver_account", "user", account.map(|account| account.user.clone())),
    ];
    entries.extend(forms!("resolver_account", "password", password));
    entries
}

/// What claims become.
fn session(core: &JwtConfig) -> Vec<Entry> {
    let claims = &core.claims;
    let names: Vec<_> = core.variables.iter().map(Variable::pattern).collect();
    let levels: Vec<_> = claims.levels.iter().map(ToString::to_string).collect();
    let names = (!names.is_empty()).then(|| names.join(", "));
    vec![
        ("jwt.session", "preset", None),
        ("jwt.session", "variables", names),
        ("jwt.claims", "read_only", claims.read_only.clone()),
        ("jwt.claims", "database", claims.database.clone()),
        ("jwt.claims", "permission_level", claims.permission_level.clone()),
        ("jwt.claims", "permission_levels", shown(levels.join(", "))),
        ("jwt.claims", "pool_mode", claims.pool_mode.clone()),
        ("jwt.claims", "pool_modes", shown(claims.pool_modes.join(", "))),
        ("jwt.claims", "max_connections", claims.max_connections.clone()),
        ("jwt.claims", "max_connections_ceiling", claims.max_connections_ceiling.and_then(shown)),
    ]
}

/// The name of the rule that is for every token.
fn default_mapping(core: &JwtConfig) -> Option<String> {
    core.role_mappings.iter().find(|rule| rule.value.is_none()).map(|rule| rule.name.clone())
}

/// Each `[jwt.proof]`; one without values when there is none.
fn proofs(proofs: &[Proof]) -> Vec<Entry> {
    let entries = |proof: Option<&Proof>| {
        let policy = proof.map(|proof| &proof.policy);
        let databases = proof.map(|proof| match &proof.databases {
            Databases::All => "*".to_owned(),
            Databases::Some(names) => names.join(", "),
        });
        let claims =
            policy.map(|policy| policy.claims.as_ref().map_or_else(|| "*".to_owned(), |names| names.join(", ")));
        let lifetime = policy.and_then(|policy| policy.lifetime).map(|lifetime| lifetime.as_secs().to_string());
        let key = forms!("jwt.proof", "key", policy.map(|policy| policy.key.origin()));
        let others = [
            ("jwt.proof", "databases", databases),
            ("jwt.proof", "key_id", policy.map(|policy| policy.key.id().to_owned())),
            ("jwt.proof", "claims", claims),
            ("jwt.proof", "lifetime", lifetime),
        ];
        others.into_iter().chain(key)
    };
    match proofs {
        [] => entries(None).collect(),
        proofs => proofs.iter().flat_map(|proof| entries(Some(proof))).collect(),
    }
}

fn life(life: &Life) -> [Entry; 5] {
    let most = |most: Option<usize>| shown(most.unwrap_or(0));
    [
        ("jwt", "on_expiry", word(life.on_expiry)),
        ("jwt", "expiry_grace", millis(life.expiry_grace)),
        ("jwt", "max_sessions_per_subject", most(life.max_sessions_per_subject)),
        ("jwt", "max_sessions_per_token", most(life.max_sessions_per_token)),
        ("jwt", "replay", word(life.replay)),
    ]
}

pub(super) fn shown(value: impl ToString) -> Option<String> {
    Some(value.to_string())
}

pub(super) fn word(choice: impl Choice) -> Option<String> {
    shown(choice.word())
}

fn path(path: Option<&PathBuf>) -> Option<String> {
    path.map(|path| path.display().to_string())
}

/// Milliseconds; nothing for "no limit".
pub(super) fn millis(time: Duration) -> Option<String> {
    (time != Duration::MAX).then(|| time.as_millis().to_string())
}

fn list<T: ToString>(list: &[T]) -> Option<String> {
    let texts: Vec<_> = list.iter().map(T::to_string).collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}

fn count(count: usize) -> Option<String> {
    (count != usize::MAX).then(|| count.to_string())
}

/// The URL of a proxy may hold a password.
fn proxy(proxy: &Proxy) -> Option<String> {
    match proxy {
        Proxy::None => Some("none".to_owned()),
        Proxy::Environment => Some("environment".to_owned()),
        Proxy::Url(_) => shown("****"),
    }
}
