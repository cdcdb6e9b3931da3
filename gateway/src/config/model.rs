//! The configuration that the rest of the gateway sees: typed, complete, with every default filled in.
//!
//! A value is never changed after it was built. A reload builds another one and compares.

use std::ops::Deref;
use std::path::PathBuf;
use std::time::Duration;

use pgdog_jwt::config::{JwtConfig, Secret, Shared};
use pgdog_jwt::proof::ProofPolicy;
use pgdog_jwt::reader::{AuthType, HostSettings, PoolerMode};

use super::audit::Audit;
use super::choices::{
    LoadBalancingStrategy, LogFormat, PassthroughAuth, PreparedStatements, ReadWriteSplit, ReadWriteStrategy, Role,
    ServerCleaning, TlsVerify,
};
use super::networks::Network;
use super::provisioning::Provisioning;
use super::resolvers::{Resolver, ResolverAccount};
use super::tenants::Tenants;

/// Everything that `pgdog.toml`, `users.toml` and the environment say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    pub(crate) general: General,
    pub(crate) admin: Admin,
    pub(crate) audit: Audit,
    pub(crate) tcp: Tcp,
    /// One entry per server; entries with one name are one cluster.
    pub(crate) databases: Vec<Database>,
    pub(crate) users: Vec<User>,
    /// Present exactly when `auth_type` is `jwt`.
    pub(crate) jwt: Option<Jwt>,
    /// Present exactly when user names hold tenants.
    pub(crate) tenants: Option<Tenants>,
    pub(crate) resolvers: Vec<Resolver>,
    pub(crate) resolver_account: Option<ResolverAccount>,
}

impl Config {
    /// The servers of one database, in the order of the file.
    pub(crate) fn servers<'a>(&'a self, database: &'a str) -> impl Iterator<Item = &'a Database> {
        self.databases.iter().filter(move |server| server.name == database)
    }

    /// The names of the databases, each once, in the order of the file.
    pub(crate) fn database_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for database in &self.databases {
            if !names.contains(&database.name.as_str()) {
                names.push(&database.name);
            }
        }
        names
    }

    /// Most connections of all pools to a server together; `None`: no limit.
    pub(crate) fn server_budget(&self, server: &Database) -> Option<usize> {
        server.max_server_connections.or(self.general.max_server_connections)
    }

    /// Most clients of a database.
    pub(crate) fn client_limit_of(&self, database: &str) -> Option<usize> {
        let own = self.databases.iter().filter(|server| server.name == database);
        own.filter_map(|server| server.max_db_client_connections).min().or(self.general.max_db_client_connections)
    }

    /// Most clients that are this user.
    pub(crate) fn client_limit_as(&self, user: &str, database: &str) -> Option<usize> {
        let own = self.user(user, database).and_then(|user| user.max_user_client_connections);
        own.or(self.general.max_user_client_connections)
    }

    #[allow(dead_code, reason = "for the modules that log clients in")]
    /// The entry of `users.toml` for this user and database.
    pub(crate) fn user(&self, name: &str, database: &str) -> Option<&User> {
        self.users.iter().find(|user| user.name == name && user.databases.contains(database))
    }
}

/// `[general]`. A field has the name of its key; [`Duration::MAX`] is "no limit".
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub(crate) struct General {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) unix_socket_dir: Option<PathBuf>,
    /// Mode of the socket's file.
    pub(crate) unix_socket_permissions: u32,
    pub(crate) reuse_port: bool,
    pub(crate) workers: usize,
    /// Of clients that name none, or PostgreSQL's own.
    pub(crate) default_database: Option<String>,
    pub(crate) default_pool_size: usize,
    pub(crate) min_pool_size: usize,
    pub(crate) max_server_connections: Option<usize>,
    pub(crate) pooler_mode: PoolerMode,
    pub(crate) auth_type: AuthType,
    pub(crate) passthrough_auth: PassthroughAuth,
    pub(crate) connect_timeout: Duration,
    pub(crate) connect_attempts: usize,
    pub(crate) connect_attempt_delay: Duration,
    pub(crate) checkout_timeout: Duration,
    pub(crate) query_timeout: Duration,
    pub(crate) transaction_timeout: Duration,
    /// Zero: nobody is told.
    pub(crate) query_wait_notify: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) client_idle_timeout: Duration,
    pub(crate) client_idle_in_transaction_timeout: Duration,
    pub(crate) client_login_timeout: Duration,
    /// Of clients that are logged in: in all, on one database, as one user.
    pub(crate) max_client_conn: Option<usize>,
    pub(crate) max_db_client_connections: Option<usize>,
    pub(crate) max_user_client_connections: Option<usize>,
    /// `None`: a share of the descriptors, as for the next.
    pub(crate) max_unauthenticated_clients: Option<usize>,
    pub(crate) max_unauthenticated_clients_per_address: Option<usize>,
    pub(crate) unauthenticated_limit_exempt: Vec<Network>,
    pub(crate) login_failures_per_address: usize,
    pub(crate) login_failures_per_address_burst: usize,
    pub(crate) login_failures_per_user: usize,
    pub(crate) login_failures_per_user_burst: usize,
    pub(crate) login_failures_tracked: usize,
    pub(crate) login_refusal_delay: Duration,
    pub(crate) cancel_failures_per_address: usize,
    pub(crate) cancel_failures_per_address_burst: usize,
    pub(crate) cancel_failures: usize,
    pub(crate) cancel_failures_burst: usize,
    pub(crate) server_lifetime: Duration,
    pub(crate) server_lifetime_jitter: Duration,
    pub(crate) rollback_timeout: Duration,
    pub(crate) healthcheck_interval: Duration,
    pub(crate) healthcheck_timeout: Duration,
    pub(crate) idle_healthcheck_interval: Duration,
    pub(crate) idle_healthcheck_delay: Duration,
    pub(crate) healthcheck_port: Option<u16>,
    pub(crate) ban_timeout: Duration,
    pub(crate) ban_replica_lag: Duration,
    pub(crate) ban_replica_lag_bytes: usize,
    pub(crate) shutdown_timeout: Duration,
    pub(crate) load_balancing_strategy: LoadBalancingStrategy,
    pub(crate) read_write_strategy: ReadWriteStrategy,
    pub(crate) read_write_split: ReadWriteSplit,
    pub(crate) read_your_writes: bool,
    pub(crate) read_your_writes_timeout: Duration,
    pub(crate) prepared_statements: PreparedStatements,
    pub(crate) prepared_statements_limit: usize,
    /// Prepared statements that one session may keep, and their bytes.
    pub(crate) client_statements_limit: usize,
    pub(crate) client_statements_size: usize,
    pub(crate) query_cache_limit: usize,
    pub(crate) server_cleaning: ServerCleaning,
    pub(crate) tls_certificate: Option<PathBuf>,
    pub(crate) tls_private_key: Option<PathBuf>,
    pub(crate) tls_client_required: bool,
    pub(crate) tls_client_ca_certificate: Option<PathBuf>,
    pub(crate) tls_client_certificate_required: bool,
    pub(crate) tls_verify: TlsVerify,
    pub(crate) tls_server_ca_certificate: Option<PathBuf>,
    pub(crate) tls_server_certificate: Option<PathBuf>,
    pub(crate) tls_server_private_key: Option<PathBuf>,
    pub(crate) openmetrics_host: String,
    pub(crate) openmetrics_port: Option<u16>,
    pub(crate) openmetrics_namespace: Option<String>,
    /// `None`: see `admin/http_host.rs`.
    pub(crate) http_hosts: Option<Vec<String>>,
    pub(crate) log_format: LogFormat,
    pub(crate) log_level: String,
    pub(crate) log_connections: bool,
    pub(crate) log_disconnections: bool,
}

/// `[admin]`, from `users.toml` when it is there as well. Without a password nobody logs in to the admin database.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Admin {
    /// Name of the admin database.
    pub(crate) name: String,
    pub(crate) user: String,
    pub(crate) password: Option<Secret>,
    /// How long a client waits for a paused database to be resumed, and PAUSE for servers that are in use.
    pub(crate) pause_timeout: Duration,
}

/// `[tcp]`: socket options of every connection, clients' and servers'.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tcp {
    pub(crate) keepalive: bool,
    /// Idle time before the first keep-alive probe.
    pub(crate) time: Option<Duration>,
    /// Time between probes.
    pub(crate) interval: Option<Duration>,
    /// Probes without an answer before the connection counts as dead.
    pub(crate) retries: Option<u32>,
    /// How long sent bytes may stay without acknowledgement.
    pub(crate) user_timeout: Option<Duration>,
    pub(crate) congestion_control: Option<String>,
}

/// One `[[databases]]` entry: one PostgreSQL server.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Database {
    /// What clients call it.
    pub(crate) name: String,
    /// Host name, address, or the absolute path of a folder with a Unix socket.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) role: Role,
    /// Always 0 here.
    pub(crate) shard: usize,
    /// What PostgreSQL calls it; `None`: the same.
    pub(crate) database_name: Option<String>,
    /// The account to log in with, before any that a user names.
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) pool_size: Option<usize>,
    pub(crate) min_pool_size: Option<usize>,
    /// Most connections of all pools to this server together.
    pub(crate) max_server_connections: Option<usize>,
    /// Most clients of the database; of several entries the lowest counts.
    pub(crate) max_db_client_connections: Option<usize>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) server_lifetime: Option<Duration>,
    pub(crate) server_lifetime_jitter: Option<Duration>,
    pub(crate) pooler_mode: Option<PoolerMode>,
    pub(crate) statement_timeout: Option<Duration>,
    pub(crate) lock_timeout: Option<Duration>,
    pub(crate) read_only: Option<bool>,
    pub(crate) lb_weight: u8,
}

#[allow(dead_code, reason = "for the modules that connect to servers")]
impl Database {
    /// The name that goes into the server's start-up packet.
    pub(crate) fn server_database(&self) -> &str {
        self.database_name.as_deref().unwrap_or(&self.name)
    }

    /// Whether the host is the folder of a Unix socket.
    pub(crate) fn is_unix(&self) -> bool {
        self.host.starts_with('/')
    }
}

/// The databases that a user may log in to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Databases {
    All,
    Some(Vec<String>),
}

impl Databases {
    /// Whether this one is among them.
    pub(crate) fn contains(&self, database: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(names) => names.iter().any(|name| name == database),
        }
    }
}

/// One `[[users]]` entry of `users.toml`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) databases: Databases,
    /// Any of these lets the user in: `password` first, then `passwords`.
    pub(crate) passwords: Vec<Secret>,
    /// A SCRAM-SHA-256 or MD5 verifier as `pg_authid.rolpassword` holds it; its form has been checked.
    pub(crate) password_hash: Option<Secret>,
    pub(crate) pool_size: Option<usize>,
    pub(crate) min_pool_size: Option<usize>,
    pub(crate) max_user_client_connections: Option<usize>,
    pub(crate) pooler_mode: Option<PoolerMode>,
    pub(crate) server_user: Option<String>,
    pub(crate) server_password: Option<Secret>,
    pub(crate) statement_timeout: Option<Duration>,
    pub(crate) lock_timeout: Option<Duration>,
    pub(crate) read_only: Option<bool>,
    /// The tenants that the user may open; `None`: the entry says nothing of them.
    pub(crate) tenants: Option<Vec<String>>,
    /// Instead of the general setting.
    pub(crate) tls_client_certificate_required: Option<bool>,
}

impl User {
    /// Whether the entry says something about the user's pool, so that it cannot share one.
    pub(crate) fn has_pool_of_its_own(&self) -> bool {
        let has_account = self.has_password() || self.server_user.is_some() || self.server_password.is_some();
        let has_limits = self.statement_timeout.is_some() || self.lock_timeout.is_some();
        let has_sizes = self.pool_size.is_some() || self.min_pool_size.is_some();
        has_account || has_sizes || self.pooler_mode.is_some() || has_limits
    }

    /// Whether the user can prove itself without a token.
    pub(crate) fn has_password(&self) -> bool {
        !self.passwords.is_empty() || self.password_hash.is_some()
    }
}

/// The policy for token users: `[jwt]` and the `jwt_` keys of `[general]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Jwt {
    /// What the identity core is told.
    pub(crate) core: JwtConfig,
    /// What every host has to do.
    pub(crate) host: HostSettings,
    /// Which roles may be those of several subjects.
    pub(crate) shared: Shared,
    /// What is proven to which databases. The first that names a database counts.
    pub(crate) proofs: Vec<Proof>,
    /// Roles that are made for subjects; `None`: none are.
    pub(crate) provisioning: Option<Provisioning>,
}

impl Deref for Jwt {
    type Target = HostSettings;

    fn deref(&self) -> &HostSettings {
        &self.host
    }
}

/// One `[jwt.proof]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Proof {
    pub(crate) databases: Databases,
    pub(crate) policy: ProofPolicy,
}
