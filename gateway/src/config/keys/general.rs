//! `[general]`.

use pgdog_jwt::reader::{
    AuthType, Count, FilePath, Filled, Flag, Key, NO_LIMIT, PoolerMode, Port, Setting, Strings, Time, Unit, Word, key,
    setting,
};

use crate::config::choices::{
    LoadBalancingStrategy, LogFormat, PassthroughAuth, PreparedStatements, ReadWriteSplit, ReadWriteStrategy,
    ServerCleaning, TlsVerify,
};
use crate::config::permissions::Permissions;

/// Most failed logins that may be counted, and most of those that are remembered (S9).
const MOST_FAILURES: i64 = 10_000_000;

pgdog_jwt::keys! {
    /// The gateway as a whole.
    pub(in crate::config) static GENERAL: Table = "[general]" {
        /// Address to listen on.
        HOST: Setting<Filled> = setting("host", Filled, "0.0.0.0");
        /// Port to listen on.
        PORT: Setting<Port> = setting("port", Port::ANY, 6_432);
        /// Also listen on .s.PGSQL.(port) in this folder.
        UNIX_SOCKET_DIR: Key<FilePath> = key("unix_socket_dir", FilePath);
        /// Mode of that socket in octal digits.
        UNIX_SOCKET_PERMISSIONS: Setting<Permissions> = setting("unix_socket_permissions", Permissions, "0777");
        /// Lets the next process listen on the same port while this one ends.
        REUSE_PORT: Setting<Flag> = setting("reuse_port", Flag, false);
        /// The database of clients that name none, or ask for "postgres" where there is none.
        DEFAULT_DATABASE: Key<Filled> = key("default_database", Filled);
        /// Threads. As many as there are cores for the gateway; 0 counts as 1.
        WORKERS: Setting<Count> = setting("workers", Count::from(0), 2);
        /// Log every login, accepted or refused.
        LOG_CONNECTIONS: Setting<Flag> = setting("log_connections", Flag, true);
        /// Log every client that leaves.
        LOG_DISCONNECTIONS: Setting<Flag> = setting("log_disconnections", Flag, true);
        /// How clients prove themselves. jwt takes tokens; users of users.toml that have a password then use jwt.password_auth_type.
        AUTH_TYPE: Setting<Word<AuthType>> = setting("auth_type", Word::ANY, AuthType::Scram);
        /// PgDog's other values are refused: they try every password on PostgreSQL.
        PASSTHROUGH_AUTH: Setting<Word<PassthroughAuth>> = setting("passthrough_auth", Word::ANY, PassthroughAuth::Disabled);
        /// From the first byte to the end of the login.
        CLIENT_LOGIN_TIMEOUT: Setting<Time> = setting("client_login_timeout", Time::millis(0, NO_LIMIT), 60_000);
        /// Most clients that are logged in; the next one hears 53300. The admin database counts nobody.
        MAX_CLIENT_CONN: Key<Count> = key("max_client_conn", Count::from(1)).or("no limit");
        /// Most of them on one database.
        MAX_DB_CLIENT_CONNECTIONS: Key<Count> = key("max_db_client_connections", Count::from(1)).or("no limit");
        /// Most of them as one user, on all databases.
        MAX_USER_CLIENT_CONNECTIONS: Key<Count> = key("max_user_client_connections", Count::from(1)).or("no limit");
        /// Most clients that have connected and not logged in yet.
        MAX_UNAUTHENTICATED_CLIENTS: Key<Count> = key("max_unauthenticated_clients", Count::from(1)).or("half of the descriptors");
        /// Most of them from one address: an IPv4 address, or the first 64 bits of an IPv6 address.
        MAX_UNAUTHENTICATED_CLIENTS_PER_ADDRESS: Key<Count> = key("max_unauthenticated_clients_per_address", Count::from(1)).or("a quarter of the above");
        /// Addresses and networks that have no such bound of their own, such as "10.0.0.7", "2001:db8::/32": proxies and load balancers that many clients come through.
        UNAUTHENTICATED_LIMIT_EXEMPT: Key<Strings> = key("unauthenticated_limit_exempt", Strings);
        /// Failed logins that one address may have for ever: an IPv4 address, or the first 64 bits of an IPv6 address.
        LOGIN_FAILURES_PER_ADDRESS: Setting<Count> = setting("login_failures_per_address", Count::from(1), 600);
        /// As many of them may come at once.
        LOGIN_FAILURES_PER_ADDRESS_BURST: Setting<Count> = setting("login_failures_per_address_burst", Count::within(1, MOST_FAILURES), 1_000);
        /// The same for one user name from one address, so that nobody is locked out by somebody elsewhere.
        LOGIN_FAILURES_PER_USER: Setting<Count> = setting("login_failures_per_user", Count::from(1), 60);
        /// As many of them may come at once.
        LOGIN_FAILURES_PER_USER_BURST: Setting<Count> = setting("login_failures_per_user_burst", Count::within(1, MOST_FAILURES), 500);
        /// Most addresses, and most users of addresses, that are remembered; each takes about 100 bytes.
        LOGIN_FAILURES_TRACKED: Setting<Count> = setting("login_failures_tracked", Count::within(1, MOST_FAILURES), 65_536);
        /// A refusal is answered at a full step of this length after the credential came in, so that the time does not tell what was wrong.
        LOGIN_REFUSAL_DELAY: Setting<Time> = setting("login_refusal_delay", Time::millis(0, 10_000), 50);
        /// Cancel requests with a wrong key, or for no session, that one address may send for ever; more of them are not looked at, but for sessions from the same address.
        CANCEL_FAILURES_PER_ADDRESS: Setting<Count> = setting("cancel_failures_per_address", Count::from(1), 600);
        /// As many of them may come at once.
        CANCEL_FAILURES_PER_ADDRESS_BURST: Setting<Count> = setting("cancel_failures_per_address_burst", Count::within(1, MOST_FAILURES), 1_000);
        /// The same of all addresses together.
        CANCEL_FAILURES: Setting<Count> = setting("cancel_failures", Count::from(1), 6_000);
        /// As many of them may come at once.
        CANCEL_FAILURES_BURST: Setting<Count> = setting("cancel_failures_burst", Count::within(1, MOST_FAILURES), 10_000);
        /// How long a client keeps a server connection.
        POOLER_MODE: Setting<Word<PoolerMode>> = setting("pooler_mode", Word::ANY, PoolerMode::Transaction);
        /// Most server connections of one pool.
        DEFAULT_POOL_SIZE: Setting<Count> = setting("default_pool_size", Count::from(1), 10);
        /// Server connections that a pool keeps open.
        MIN_POOL_SIZE: Setting<Count> = setting("min_pool_size", Count::from(0), 1);
        /// Most connections to one databases entry, over all pools.
        MAX_SERVER_CONNECTIONS: Key<Count> = key("max_server_connections", Count::from(1)).or("no limit");
        /// Longest wait for a server connection; then the client gets an error.
        CHECKOUT_TIMEOUT: Setting<Time> = setting("checkout_timeout", Time::millis(0, NO_LIMIT), 5_000);
        /// A client that has waited for a server connection for this long is told by a notice. 0: it is not.
        QUERY_WAIT_NOTIFY: Setting<Time> = setting("query_wait_notify", Time::millis(0, NO_LIMIT), 5_000);
        /// Server connections that were idle for this long are closed, down to min_pool_size.
        IDLE_TIMEOUT: Setting<Time> = setting("idle_timeout", Time::millis(0, NO_LIMIT), 60_000);
        /// Server connections this old are closed at check-in, or while they are free.
        SERVER_LIFETIME: Setting<Time> = setting("server_lifetime", Time::millis(0, NO_LIMIT), 86_400_000);
        /// Each connection lives longer or shorter by a random part of this, so that connections that were opened together are not closed together.
        SERVER_LIFETIME_JITTER: Setting<Time> = setting("server_lifetime_jitter", Time::millis(0, NO_LIMIT), 0);
        /// Longest wait for a new server connection, login included.
        CONNECT_TIMEOUT: Setting<Time> = setting("connect_timeout", Time::millis(0, NO_LIMIT), 5_000);
        /// Tries before a new server connection counts as failed and its server is banned.
        CONNECT_ATTEMPTS: Setting<Count> = setting("connect_attempts", Count::from(1), 1);
        /// Pause between two such tries.
        CONNECT_ATTEMPT_DELAY: Setting<Time> = setting("connect_attempt_delay", Time::millis(0, NO_LIMIT), 0);
        /// How long a server may take, when its client has left, to finish what it was asked and to roll back; then it is cancelled and closed.
        ROLLBACK_TIMEOUT: Setting<Time> = setting("rollback_timeout", Time::millis(0, NO_LIMIT), 5_000);
        /// Which prepared statements follow the client between server connections: none; those of the protocol, named and unnamed (extended, extended_anonymous); or also those of SQL PREPARE (full), which otherwise keep the client on its server connection.
        PREPARED_STATEMENTS: Setting<Word<PreparedStatements>> = setting("prepared_statements", Word::ANY, PreparedStatements::Extended);
        /// Most prepared statements of one server connection.
        PREPARED_STATEMENTS_LIMIT: Setting<Count> = setting("prepared_statements_limit", Count::from(0), NO_LIMIT);
        /// Most prepared statements that one session may have, where they follow it.
        CLIENT_STATEMENTS_LIMIT: Setting<Count> = setting("client_statements_limit", Count::from(1), 10_000);
        /// The same for their texts together.
        CLIENT_STATEMENTS_SIZE: Setting<Count> =
            setting("client_statements_size", Count::from(1).of(Unit::Bytes), 64 << 20);
        /// Statement texts whose parse is remembered.
        QUERY_CACHE_LIMIT: Setting<Count> = setting("query_cache_limit", Count::from(0), 1_000);
        /// When a server connection is cleaned before it serves another client, in transaction and statement mode: at every change of client; where code may have run that is not PostgreSQL's own, or functions of its own that leave something (set_config in a view); or not at all.
        SERVER_CLEANING: Setting<Word<ServerCleaning>> = setting("server_cleaning", Word::ANY, ServerCleaning::WhenNeeded);
        /// Longest query.
        QUERY_TIMEOUT: Setting<Time> = setting("query_timeout", Time::millis(0, NO_LIMIT), NO_LIMIT);
        /// Longest transaction, explicit or not; then the session ends with 25P04.
        TRANSACTION_TIMEOUT: Setting<Time> = setting("transaction_timeout", Time::millis(0, NO_LIMIT), NO_LIMIT);
        /// Longest silence of a client outside a transaction.
        CLIENT_IDLE_TIMEOUT: Setting<Time> = setting("client_idle_timeout", Time::millis(0, NO_LIMIT), NO_LIMIT);
        /// Longest silence inside a transaction.
        CLIENT_IDLE_IN_TRANSACTION_TIMEOUT: Setting<Time> = setting("client_idle_in_transaction_timeout", Time::millis(0, NO_LIMIT), NO_LIMIT);
        /// At SIGTERM, how long running transactions may take to finish.
        SHUTDOWN_TIMEOUT: Setting<Time> = setting("shutdown_timeout", Time::millis(0, NO_LIMIT), 60_000);
        /// conservative sends explicit transactions to the primary; aggressive decides by their first statement: see servers.md.
        READ_WRITE_STRATEGY: Setting<Word<ReadWriteStrategy>> = setting("read_write_strategy", Word::ANY, ReadWriteStrategy::Conservative);
        /// Whether the primary takes reads: like a replica, never, while a replica is banned, or first.
        READ_WRITE_SPLIT: Setting<Word<ReadWriteSplit>> = setting("read_write_split", Word::ANY, ReadWriteSplit::IncludePrimary);
        /// After a session has written, its reads go only to servers that show it.
        READ_YOUR_WRITES: Setting<Flag> = setting("read_your_writes", Flag, false);
        /// Longest wait for a replica that shows it, before the primary is used; only where reads are meant for replicas (exclude_primary, include_primary_if_replica_banned, or pgdog.role).
        READ_YOUR_WRITES_TIMEOUT: Setting<Time> = setting("read_your_writes_timeout", Time::millis(0, NO_LIMIT), 0);
        /// Which server a read goes to.
        LOAD_BALANCING_STRATEGY: Setting<Word<LoadBalancingStrategy>> = setting("load_balancing_strategy", Word::ANY, LoadBalancingStrategy::Random);
        /// A server connection that was free for this long is checked before a client gets it.
        HEALTHCHECK_INTERVAL: Setting<Time> = setting("healthcheck_interval", Time::millis(0, NO_LIMIT), 30_000);
        /// How often a configured primary is checked; all other servers, and banned ones, each second if this is not less.
        IDLE_HEALTHCHECK_INTERVAL: Setting<Time> = setting("idle_healthcheck_interval", Time::millis(0, NO_LIMIT), 30_000);
        /// No such check before this, after the start.
        IDLE_HEALTHCHECK_DELAY: Setting<Time> = setting("idle_healthcheck_delay", Time::millis(0, NO_LIMIT), 5_000);
        /// Longest check.
        HEALTHCHECK_TIMEOUT: Setting<Time> = setting("healthcheck_timeout", Time::millis(0, NO_LIMIT), 5_000);
        /// How long a failed server gets no reads.
        BAN_TIMEOUT: Setting<Time> = setting("ban_timeout", Time::millis(0, NO_LIMIT), 300_000);
        /// Replicas that lag by more get no reads until they have caught up.
        BAN_REPLICA_LAG: Setting<Time> = setting("ban_replica_lag", Time::millis(0, NO_LIMIT), NO_LIMIT);
        /// The same by what is written and not replayed.
        BAN_REPLICA_LAG_BYTES: Setting<Count> = setting("ban_replica_lag_bytes", Count::from(0).of(Unit::Bytes), NO_LIMIT);
        /// PEM certificate chain shown to clients.
        TLS_CERTIFICATE: Key<FilePath> = key("tls_certificate", FilePath);
        /// Its private key.
        TLS_PRIVATE_KEY: Key<FilePath> = key("tls_private_key", FilePath);
        /// Refuse clients without TLS.
        TLS_CLIENT_REQUIRED: Setting<Flag> = setting("tls_client_required", Flag, false);
        /// Ask clients for a certificate.
        TLS_CLIENT_CA_CERTIFICATE: Key<FilePath> = key("tls_client_ca_certificate", FilePath);
        /// Refuse clients without one, before they are asked for a password.
        TLS_CLIENT_CERTIFICATE_REQUIRED: Setting<Flag> = setting("tls_client_certificate_required", Flag, false);
        /// TLS towards PostgreSQL. prefer encrypts when the server can and checks nothing; use verify_full over a network.
        TLS_VERIFY: Setting<Word<TlsVerify>> = setting("tls_verify", Word::ANY, TlsVerify::Prefer);
        /// Authority of PostgreSQL's certificates.
        TLS_SERVER_CA_CERTIFICATE: Key<FilePath> = key("tls_server_ca_certificate", FilePath).or("the system's");
        /// Certificate shown to PostgreSQL.
        TLS_SERVER_CERTIFICATE: Key<FilePath> = key("tls_server_certificate", FilePath);
        /// Its private key.
        TLS_SERVER_PRIVATE_KEY: Key<FilePath> = key("tls_server_private_key", FilePath);
        /// Port of an HTTP health check for load balancers, on host: /live, /ready.
        HEALTHCHECK_PORT: Key<Port> = key("healthcheck_port", Port::ANY);
        /// Address for metrics.
        OPENMETRICS_HOST: Setting<Filled> = setting("openmetrics_host", Filled, "0.0.0.0");
        /// Port for metrics: /metrics.
        OPENMETRICS_PORT: Key<Port> = key("openmetrics_port", Port::ANY);
        /// Put before the name of every metric.
        OPENMETRICS_NAMESPACE: Key<Filled> = key("openmetrics_namespace", Filled).or("`pgdog_jwt_`");
        /// Names of hosts that HTTP requests may be for, such as "metrics.internal", "*.svc.cluster.local"; addresses, localhost and openmetrics_host always are.
        HTTP_HOSTS: Key<Strings> = key("http_hosts", Strings);
        /// Log lines go to standard error. json_flattened has an event's fields at the top.
        LOG_FORMAT: Setting<Word<LogFormat>> = setting("log_format", Word::ANY, LogFormat::Text);
        /// A level, or a list such as "info,pgdog_jwt=debug".
        LOG_LEVEL: Setting<Filled> = setting("log_level", Filled, "info");
    }
}
