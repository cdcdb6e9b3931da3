//! `[general]`, `[admin]` and `[tcp]`. Defaults are PgDog's, with PgDog's units: milliseconds.

use tracing_subscriber::EnvFilter;

use pgdog_jwt::reader::{AuthType, Choice, Env, Key, Section, Strings};

use super::choices::PassthroughAuth;
use super::keys::{admin as admin_keys, general as keys, tcp as tcp_keys};
use super::model::{Admin, General, Tcp};
use super::networks::Network;

/// Reads the keys of `[general]` that are not about tokens.
pub(super) fn general(section: &Section<'_>) -> General {
    let general = General {
        host: section.value(&keys::HOST),
        port: section.value(&keys::PORT),
        unix_socket_dir: section.given(&keys::UNIX_SOCKET_DIR),
        unix_socket_permissions: section.value(&keys::UNIX_SOCKET_PERMISSIONS),
        reuse_port: section.value(&keys::REUSE_PORT),
        workers: section.value(&keys::WORKERS),
        default_database: section.given(&keys::DEFAULT_DATABASE),
        default_pool_size: section.value(&keys::DEFAULT_POOL_SIZE),
        min_pool_size: section.value(&keys::MIN_POOL_SIZE),
        max_server_connections: section.given(&keys::MAX_SERVER_CONNECTIONS),
        pooler_mode: section.value(&keys::POOLER_MODE),
        auth_type: section.value(&keys::AUTH_TYPE),
        passthrough_auth: section.value(&keys::PASSTHROUGH_AUTH),
        connect_timeout: section.value(&keys::CONNECT_TIMEOUT),
        connect_attempts: section.value(&keys::CONNECT_ATTEMPTS),
        connect_attempt_delay: section.value(&keys::CONNECT_ATTEMPT_DELAY),
        checkout_timeout: section.value(&keys::CHECKOUT_TIMEOUT),
        query_timeout: section.value(&keys::QUERY_TIMEOUT),
        transaction_timeout: section.value(&keys::TRANSACTION_TIMEOUT),
        query_wait_notify: section.value(&keys::QUERY_WAIT_NOTIFY),
        idle_timeout: section.value(&keys::IDLE_TIMEOUT),
        client_idle_timeout: section.value(&keys::CLIENT_IDLE_TIMEOUT),
        client_idle_in_transaction_timeout: section.value(&keys::CLIENT_IDLE_IN_TRANSACTION_TIMEOUT),
        client_login_timeout: section.value(&keys::CLIENT_LOGIN_TIMEOUT),
        max_client_conn: section.given(&keys::MAX_CLIENT_CONN),
        max_db_client_connections: section.given(&keys::MAX_DB_CLIENT_CONNECTIONS),
        max_user_client_connections: section.given(&keys::MAX_USER_CLIENT_CONNECTIONS),
        max_unauthenticated_clients: section.given(&keys::MAX_UNAUTHENTICATED_CLIENTS),
        max_unauthenticated_clients_per_address: section.given(&keys::MAX_UNAUTHENTICATED_CLIENTS_PER_ADDRESS),
        unauthenticated_limit_exempt: networks(section, &keys::UNAUTHENTICATED_LIMIT_EXEMPT),
        login_failures_per_address: section.value(&keys::LOGIN_FAILURES_PER_ADDRESS),
        login_failures_per_address_burst: section.value(&keys::LOGIN_FAILURES_PER_ADDRESS_BURST),
        login_failures_per_user: section.value(&keys::LOGIN_FAILURES_PER_USER),
        login_failures_per_user_burst: section.value(&keys::LOGIN_FAILURES_PER_USER_BURST),
        login_failures_tracked: section.value(&keys::LOGIN_FAILURES_TRACKED),
        login_refusal_delay: section.value(&keys::LOGIN_REFUSAL_DELAY),
        cancel_failures_per_address: section.value(&keys::CANCEL_FAILURES_PER_ADDRESS),
        cancel_failures_per_address_burst: section.value(&keys::CANCEL_FAILURES_PER_ADDRESS_BURST),
        cancel_failures: section.value(&keys::CANCEL_FAILURES),
        cancel_failures_burst: section.value(&keys::CANCEL_FAILURES_BURST),
        server_lifetime: section.value(&keys::SERVER_LIFETIME),
        server_lifetime_jitter: section.value(&keys::SERVER_LIFETIME_JITTER),
        rollback_timeout: section.value(&keys::ROLLBACK_TIMEOUT),
        healthcheck_interval: section.value(&keys::HEALTHCHECK_INTERVAL),
        healthcheck_timeout: section.value(&keys::HEALTHCHECK_TIMEOUT),
        idle_healthcheck_interval: section.value(&keys::IDLE_HEALTHCHECK_INTERVAL),
        idle_healthcheck_delay: section.value(&keys::IDLE_HEALTHCHECK_DELAY),
        healthcheck_port: section.given(&keys::HEALTHCHECK_PORT),
        ban_timeout: section.value(&keys::BAN_TIMEOUT),
        ban_replica_lag: section.value(&keys::BAN_REPLICA_LAG),
        ban_replica_lag_bytes: section.value(&keys::BAN_REPLICA_LAG_BYTES),
        shutdown_timeout: section.value(&keys::SHUTDOWN_TIMEOUT),
        load_balancing_strategy: section.value(&keys::LOAD_BALANCING_STRATEGY),
        read_write_strategy: section.value(&keys::READ_WRITE_STRATEGY),
        read_write_split: section.value(&keys::READ_WRITE_SPLIT),
        read_your_writes: section.value(&keys::READ_YOUR_WRITES),
        read_your_writes_timeout: section.value(&keys::READ_YOUR_WRITES_TIMEOUT),
        prepared_statements: section.value(&keys::PREPARED_STATEMENTS),
        prepared_statements_limit: section.value(&keys::PREPARED_STATEMENTS_LIMIT),
        client_statements_limit: section.value(&keys::CLIENT_STATEMENTS_LIMIT),
        client_statements_size: section.value(&keys::CLIENT_STATEMENTS_SIZE),
        query_cache_limit: section.value(&keys::QUERY_CACHE_LIMIT),
        server_cleaning: section.value(&keys::SERVER_CLEANING),
        tls_certificate: section.given(&keys::TLS_CERTIFICATE),
        tls_private_key: section.given(&keys::TLS_PRIVATE_KEY),
        tls_client_required: section.value(&keys::TLS_CLIENT_REQUIRED),
        tls_client_ca_certificate: section.given(&keys::TLS_CLIENT_CA_CERTIFICATE),
        tls_client_certificate_required: section.value(&keys::TLS_CLIENT_CERTIFICATE_REQUIRED),
        tls_verify: section.value(&keys::TLS_VERIFY),
        tls_server_ca_certificate: section.given(&keys::TLS_SERVER_CA_CERTIFICATE),
        tls_server_certificate: section.given(&keys::TLS_SERVER_CERTIFICATE),
        tls_server_private_key: section.given(&keys::TLS_SERVER_PRIVATE_KEY),
        openmetrics_host: section.value(&keys::OPENMETRICS_HOST),
        openmetrics_port: section.given(&keys::OPENMETRICS_PORT),
        openmetrics_namespace: section.given(&keys::OPENMETRICS_NAMESPACE),
        log_format: section.value(&keys::LOG_FORMAT),
        log_level: section.value(&keys::LOG_LEVEL),
        http_hosts: section.given(&keys::HTTP_HOSTS),
        log_connections: section.value(&keys::LOG_CONNECTIONS),
        log_disconnections: section.value(&keys::LOG_DISCONNECTIONS),
    };
    check(section, &general);
    general
}

/// A list of addresses and networks.
fn networks(section: &Section<'_>, key: &Key<Strings>) -> Vec<Network> {
    let texts = section.given(key).unwrap_or_default();
    let key = key.name;
    let read = |text: &String| {
        let network = Network::parse(text);
        if network.is_none() {
            let reason = format!("\"{text}\" in \"{key}\" must be an address or a network, such as \"10.0.0.0/8\"");
            section.report.error(section.spot(key), reason);
        }
        network
    };
    texts.iter().filter_map(read).collect()
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
    for (key, path) in
        [("tls_private_key", &general.tls_private_key), ("tls_server_private_key", &general.tls_server_private_key)]
    {
        if let Some(path) = path {
            section.warn_if_readable(key, path);
        }
    }
    if general.passthrough_auth != PassthroughAuth::Disabled {
        let word = general.passthrough_auth.word();
        let reason = "every password would be tried on PostgreSQL; name the users in users.toml, or give them tokens";
        error("passthrough_auth", format!("\"passthrough_auth\" = \"{word}\" is not supported: {reason}"));
    }
    for host in general.http_hosts.iter().flatten() {
        let name = host.strip_prefix("*.").unwrap_or(host);
        let is_label = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.is_empty() || !name.bytes().all(is_label) {
            let reason = "must be the name of a host without a port, such as \"metrics.internal\", or \"*.\" and the rest of one";
            error("http_hosts", format!("\"{host}\" in \"http_hosts\" {reason}"));
        }
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
pub(super) fn admin(section: &Section<'_>, env: Env<'_>) -> Admin {
    Admin {
        name: section.value(&admin_keys::NAME),
        user: section.value(&admin_keys::USER),
        password: section.secret(&admin_keys::PASSWORD, env),
        pause_timeout: section.value(&admin_keys::PAUSE_TIMEOUT),
    }
}

/// Reads `[tcp]`.
pub(super) fn tcp(section: &Section<'_>) -> Tcp {
    Tcp {
        keepalive: section.value(&tcp_keys::KEEPALIVE),
        time: section.given(&tcp_keys::TIME),
        interval: section.given(&tcp_keys::INTERVAL),
        retries: section.given(&tcp_keys::RETRIES).and_then(|number| u32::try_from(number).ok()),
        user_timeout: section.given(&tcp_keys::USER_TIMEOUT),
        congestion_control: section.given(&tcp_keys::CONGESTION_CONTROL),
    }
}
