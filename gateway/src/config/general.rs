//! `[general]`, `[admin]` and `[tcp]`. Defaults are PgDog's, with PgDog's units: milliseconds.

use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::choices::{AuthType, Choice, PassthroughAuth};
use super::model::{Admin, General, Tcp};
use super::section::Section;

/// The steps at which refusals are answered.
const REFUSAL_DELAY: Duration = Duration::from_millis(50);
/// Most failed logins that may be counted, and most of those that are remembered (S9).
const MOST_FAILURES: i64 = 10_000_000;

/// Reads the keys of `[general]` that are not about tokens.
pub(super) fn general(section: &Section<'_>) -> General {
    let millis = |key, default| section.millis(key).unwrap_or(Duration::from_millis(default));
    let unlimited = |key| section.millis(key).unwrap_or(Duration::MAX);
    let count_up_to = |key, default| {
        let number = section.integer(key, 1..=MOST_FAILURES);
        number.and_then(|number| usize::try_from(number).ok()).unwrap_or(default)
    };
    let general = General {
        host: section.filled("host").unwrap_or_else(|| "0.0.0.0".to_owned()),
        port: section.port("port").unwrap_or(6432),
        unix_socket_dir: section.path("unix_socket_dir"),
        unix_socket_permissions: section.permissions("unix_socket_permissions").unwrap_or(0o777),
        reuse_port: section.boolean("reuse_port").unwrap_or(false),
        workers: section.count("workers", 0).unwrap_or(2),
        default_pool_size: section.count("default_pool_size", 1).unwrap_or(10),
        min_pool_size: section.count("min_pool_size", 0).unwrap_or(1),
        max_server_connections: section.count("max_server_connections", 1),
        pooler_mode: section.choice("pooler_mode").unwrap_or_default(),
        auth_type: section.choice("auth_type").unwrap_or_default(),
        passthrough_auth: section.choice("passthrough_auth").unwrap_or_default(),
        connect_timeout: millis("connect_timeout", 5_000),
        connect_attempts: section.count("connect_attempts", 1).unwrap_or(1),
        connect_attempt_delay: millis("connect_attempt_delay", 0),
        checkout_timeout: millis("checkout_timeout", 5_000),
        query_timeout: unlimited("query_timeout"),
        idle_timeout: millis("idle_timeout", 60_000),
        client_idle_timeout: unlimited("client_idle_timeout"),
        client_idle_in_transaction_timeout: unlimited("client_idle_in_transaction_timeout"),
        client_login_timeout: millis("client_login_timeout", 60_000),
        login_failures_per_address: section.count("login_failures_per_address", 1).unwrap_or(600),
        login_failures_per_address_burst: count_up_to("login_failures_per_address_burst", 1_000),
        login_failures_per_user: section.count("login_failures_per_user", 1).unwrap_or(60),
        login_failures_per_user_burst: count_up_to("login_failures_per_user_burst", 500),
        login_failures_tracked: count_up_to("login_failures_tracked", 65_536),
        login_refusal_delay: section.millis_within("login_refusal_delay", 0..=10_000).unwrap_or(REFUSAL_DELAY),
        server_lifetime: millis("server_lifetime", 86_400_000),
        server_lifetime_jitter: millis("server_lifetime_jitter", 0),
        rollback_timeout: millis("rollback_timeout", 5_000),
        healthcheck_interval: millis("healthcheck_interval", 30_000),
        healthcheck_timeout: millis("healthcheck_timeout", 5_000),
        idle_healthcheck_interval: millis("idle_healthcheck_interval", 30_000),
        idle_healthcheck_delay: millis("idle_healthcheck_delay", 5_000),
        healthcheck_port: section.port("healthcheck_port"),
        ban_timeout: millis("ban_timeout", 300_000),
        ban_replica_lag: unlimited("ban_replica_lag"),
        ban_replica_lag_bytes: section.count("ban_replica_lag_bytes", 0).unwrap_or(usize::MAX),
        shutdown_timeout: millis("shutdown_timeout", 60_000),
        load_balancing_strategy: section.choice("load_balancing_strategy").unwrap_or_default(),
        read_write_strategy: section.choice("read_write_strategy").unwrap_or_default(),
        read_write_split: section.choice("read_write_split").unwrap_or_default(),
        read_your_writes: section.boolean("read_your_writes").unwrap_or(false),
        read_your_writes_timeout: millis("read_your_writes_timeout", 0),
        prepared_statements: section.choice("prepared_statements").unwrap_or_default(),
        prepared_statements_limit: section.count("prepared_statements_limit", 0).unwrap_or(usize::MAX),
        query_cache_limit: section.count("query_cache_limit", 0).unwrap_or(1_000),
        tls_certificate: section.path("tls_certificate"),
        tls_private_key: section.path("tls_private_key"),
        tls_client_required: section.boolean("tls_client_required").unwrap_or(false),
        tls_client_ca_certificate: section.path("tls_client_ca_certificate"),
        tls_client_certificate_required: section.boolean("tls_client_certificate_required").unwrap_or(false),
        tls_verify: section.choice("tls_verify").unwrap_or_default(),
        tls_server_ca_certificate: section.path("tls_server_ca_certificate"),
        tls_server_certificate: section.path("tls_server_certificate"),
        tls_server_private_key: section.path("tls_server_private_key"),
        openmetrics_host: section.filled("openmetrics_host").unwrap_or_else(|| "0.0.0.0".to_owned()),
        openmetrics_port: section.port("openmetrics_port"),
        openmetrics_namespace: section.filled("openmetrics_namespace"),
        log_format: section.choice("log_format").unwrap_or_default(),
        log_level: section.filled("log_level").unwrap_or_else(|| "info".to_owned()),
        log_connections: section.boolean("log_connections").unwrap_or(true),
        log_disconnections: section.boolean("log_disconnections").unwrap_or(true),
    };
    check(section, &general);
    general
}

fn check(section: &Section<'_>, general: &General) {
    let error = |key: &str, reason: String| section.report.error(section.spot(key), reason);
    pair(
        section,
        "tls_certificate",
        "tls_private_key",
        general.tls_certificate.is_some(),
        general.tls_private_key.is_some(),
    );
    pair(
        section,
        "tls_server_certificate",
        "tls_server_private_key",
        general.tls_server_certificate.is_some(),
        general.tls_server_private_key.is_some(),
    );
    for (key, set) in [
        ("tls_client_required", general.tls_client_required),
        ("tls_client_ca_certificate", general.tls_client_ca_certificate.is_some()),
    ] {
        if set && general.tls_certificate.is_none() {
            error(key, format!("\"{key}\" needs \"tls_certificate\" and \"tls_private_key\""));
        }
    }
    if general.tls_client_certificate_required && general.tls_client_ca_certificate.is_none() {
        let reason = "\"tls_client_certificate_required\" needs \"tls_client_ca_certificate\"";
        error("tls_client_certificate_required", reason.to_owned());
    }
    if general.passthrough_auth != PassthroughAuth::Disabled {
        let word = general.passthrough_auth.word();
        let reason = "every password would be tried on PostgreSQL; name the users in users.toml, or give them tokens";
        error("passthrough_auth", format!("\"passthrough_auth\" = \"{word}\" is not supported: {reason}"));
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':');
    let namespace = general.openmetrics_namespace.as_deref().unwrap_or("_");
    if !namespace.bytes().all(is_name) || namespace.starts_with(|first: char| first.is_ascii_digit()) {
        let reason = "must be letters, digits and \"_\", and not begin with a digit";
        error("openmetrics_namespace", format!("\"openmetrics_namespace\" {reason}"));
    }
    if EnvFilter::try_new(&general.log_level).is_err() {
        let form = "\"info\", or a list such as \"info,pgdog_jwt=debug\"";
        error("log_level", format!("\"log_level\" must be a level such as {form}"));
    }
    if general.auth_type == AuthType::Trust {
        section
            .report
            .warn(section.spot("auth_type"), "\"auth_type\" = \"trust\" lets anyone in as any user of users.toml");
    }
}

fn pair(section: &Section<'_>, certificate: &'static str, key: &'static str, has_certificate: bool, has_key: bool) {
    let (present, absent) = match (has_certificate, has_key) {
        (true, false) => (certificate, key),
        (false, true) => (key, certificate),
        _ => return,
    };
    section.report.error(section.spot(present), format!("\"{present}\" needs \"{absent}\" beside it"));
}

/// Reads `[admin]` of either file.
pub(super) fn admin(section: &Section<'_>) -> Admin {
    Admin {
        name: section.filled("name").unwrap_or_else(|| "admin".to_owned()),
        user: section.filled("user").unwrap_or_else(|| "admin".to_owned()),
        password: section.secret("password"),
        pause_timeout: section.millis("pause_timeout").unwrap_or(Duration::from_secs(120)),
    }
}

/// Reads `[tcp]`.
pub(super) fn tcp(section: &Section<'_>) -> Tcp {
    Tcp {
        keepalive: section.boolean("keepalive").unwrap_or(true),
        time: section.millis("time"),
        interval: section.millis("interval"),
        retries: section.integer("retries", 0..=i64::from(u32::MAX)).and_then(|number| u32::try_from(number).ok()),
        user_timeout: section.millis("user_timeout"),
        congestion_control: section.filled("congestion_control"),
    }
}
