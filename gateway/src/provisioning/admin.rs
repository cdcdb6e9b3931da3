//! The administrator's connections to the primary of one database: a few at most, kept for a while, never a client's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pgdog_jwt::config::Secret;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::Failure;
use super::state::has_options;
use crate::backend::connect::{self, Proof, ServerAddress, ServerLogin};
use crate::backend::connection::Connection;
use crate::config::{Config, Role};
use crate::net::options::TcpOptions;
use crate::net::tls::ClientTls;

/// Connections to one primary.
const MAX_CONNECTIONS: usize = 4;
/// How long a connection is kept that nobody uses.
const KEEP: Duration = Duration::from_secs(60);
/// How long a failure counts, so that not every login waits for a server that is not there.
const FAILURE_TTL: Duration = Duration::from_secs(1);

/// Who may change roles, and where.
pub(super) struct Admins {
    servers: Vec<Server>,
    user: String,
    password: Option<Secret>,
    tls: Arc<ClientTls>,
    tcp: TcpOptions,
    connect_timeout: Duration,
    /// Of a statement, in milliseconds, as PostgreSQL takes it.
    statement_timeout: String,
    idle: Mutex<Vec<(Connection, Instant)>>,
    permits: Semaphore,
    failed: Mutex<Option<(Instant, String)>>,
}

struct Server {
    address: ServerAddress,
    database: String,
}

/// A connection that is lent out. Dropped, it is closed: a transaction on it then ends with nothing done.
pub(super) struct Lent<'a> {
    pub(super) connection: Connection,
    admins: &'a Admins,
    _permit: SemaphorePermit<'a>,
}

impl Admins {
    /// For the primary of a database: the server that is configured as one, or that turns out to be one.
    pub(super) fn new(
        config: &Config,
        database: &str,
        user: &str,
        password: Option<&Secret>,
        tls: &Arc<ClientTls>,
    ) -> Self {
        let of = |role: Role| config.servers(database).filter(move |server| server.role == role);
        let servers = of(Role::Primary).chain(of(Role::Auto)).map(|server| Server {
            address: ServerAddress { host: server.host.clone(), port: server.port },
            database: server.server_database().to_owned(),
        });
        let timeout = config.jwt.as_ref().and_then(|jwt| jwt.provisioning.as_ref()).map(|settings| settings.timeout);
        Self {
            servers: servers.collect(),
            user: user.to_owned(),
            password: password.cloned(),
            tls: tls.clone(),
            tcp: TcpOptions::from(&config.tcp),
            connect_timeout: config.general.connect_timeout,
            statement_timeout: timeout.unwrap_or_default().as_millis().max(1).to_string(),
            idle: Mutex::default(),
            permits: Semaphore::new(MAX_CONNECTIONS),
            failed: Mutex::default(),
        }
    }

    /// Whether both would ask the same servers: roles are common to all databases of a server.
    pub(super) fn is_same_server(&self, other: &Self) -> bool {
        self.servers.iter().map(|server| &server.address).eq(other.servers.iter().map(|server| &server.address))
    }

    /// A connection, kept or new. The caller limits the wait.
    pub(super) async fn lend(&self) -> Result<Lent<'_>, Failure> {
        let ending = |_| Failure::Unavailable("the gateway is ending".to_owned());
        let permit = self.permits.acquire().await.map_err(ending)?;
        let kept = loop {
            let Some((mut connection, _)) = self.idle.lock().pop() else { break None };
            if connection.is_alive() {
                break connection.adopt().ok();
            }
        };
        let connection = match kept {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        Ok(Lent { connection, admins: self, _permit: permit })
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        if let Some((at, reason)) = &*self.failed.lock()
            && at.elapsed() < FAILURE_TTL
        {
            return Err(Failure::Unavailable(reason.clone()));
        }
        let mut reason = "the database has no primary".to_owned();
        for server in &self.servers {
            match tokio::time::timeout(self.connect_timeout, self.log_in(server)).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => reason = format!("{}: {error}", server.address),
                Err(_) => reason = format!("{}: no answer within {:?}", server.address, self.connect_timeout),
            }
        }
        *self.failed.lock() = Some((Instant::now(), reason.clone()));
        Err(Failure::Unavailable(reason))
    }

    async fn log_in(&self, server: &Server) -> Result<Connection, String> {
        let password = self.password.as_ref().map(Secret::current).transpose()?;
        let login = ServerLogin {
            user: &self.user,
            password: password.as_ref().map(Secret::expose),
            proof: &Proof::Password,
            database: &server.database,
            parameters: &[
                ("application_name", "pgdog-jwt provisioning"),
                ("client_encoding", "UTF8"),
                ("search_path", "pg_catalog"),
                ("standard_conforming_strings", "on"),
                ("statement_timeout", &self.statement_timeout),
                ("idle_in_transaction_session_timeout", &self.statement_timeout),
            ],
        };
        let connected = connect::connect(&server.address, login, &self.tls, &self.tcp).await;
        let mut connection = Connection::new(connected.map_err(|error| error.to_string())?);
        // Of several servers that may be the primary, one is.
        if self.servers.len() > 1 {
            let answer = connection.query("SELECT pg_catalog.pg_is_in_recovery()").await;
            if answer.map_err(|error| error.to_string())?.value(0) != "f" {
                connection.farewell();
                return Err("the server is not the primary".to_owned());
            }
        }
        Ok(connection)
    }

    /// Closes connections that nobody has used for a while.
    pub(super) fn tidy(&self) {
        self.idle.lock().retain_mut(|(connection, since)| {
            let stays = since.elapsed() < KEEP && connection.is_alive();
            if !stays {
                connection.farewell();
            }
            stays
        });
    }
}

impl Lent<'_> {
    /// Whether memberships have options there.
    pub(super) fn has_options(&self) -> bool {
        self.connection.parameter("server_version").is_some_and(has_options)
    }

    /// Gives the connection back for the next, if it is in no transaction.
    pub(super) fn give_back(self) {
        if self.connection.status == b'I' {
            self.admins.idle.lock().push((self.connection, Instant::now()));
        }
    }
}
