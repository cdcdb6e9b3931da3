//! The monitors: one for each server. It keeps a connection of its own, asks on it what the server is and whether it is
//! well, and notes the answer at the server for all pools. It never does anything for a client.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pgdog_jwt::config::{IdentityMode, Secret};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, warn};

use super::bans::BanReason;
use super::cluster::Cluster;
use super::connect::{self, ConnectError, Proof, ServerLogin};
use super::connection::Connection;
use super::conversation::ConversationError;
use super::health::{Lag, Question, Report};
use super::node::Node;
use crate::app::state::{App, Generation};
use crate::config::{Config, General, User};

/// Between two looks at a server whose role may change, or that is banned.
const SOON: Duration = Duration::from_secs(1);

/// The same for `role = "auto"`: writes depend on it.
const VERY_SOON: Duration = Duration::from_millis(500);

/// Between two looks at a replica of which a session wants to know how far it is.
const LEAST: Duration = Duration::from_millis(5);

/// Between two looks at a server that lets no account of the configuration in.
const BLIND: Duration = Duration::from_secs(10);

/// A connection is kept from one look to the next when they are no further apart.
const KEEP_UP_TO: Duration = Duration::from_secs(5);

/// Accounts that are tried.
const MOST_ACCOUNTS: usize = 4;

/// Starts the monitors of servers that have none yet: at the start, and of new servers after a reload.
pub(crate) fn start_missing(app: &'static App, state: &Generation) {
    for (database, cluster) in state.registry.clusters() {
        for node in &cluster.nodes {
            if !node.monitored.swap(true, Ordering::AcqRel) {
                let monitor = Monitor::new(app, database, node.clone());
                tokio::spawn(monitor.run());
            }
        }
    }
}

struct Monitor {
    app: &'static App,
    database: String,
    node: Arc<Node>,
    connection: Option<Connection>,
    /// Which of the accounts got in last.
    account: usize,
    question: Question,
    lag: Lag,
}

/// What came of a look.
enum Look {
    Report(Report),
    /// The server is there and would not say more.
    Alive,
    Failed(String),
}

/// Who may ask.
struct Account<'a> {
    user: &'a str,
    password: Option<&'a Secret>,
    database: &'a str,
}

impl Monitor {
    fn new(app: &'static App, database: &str, node: Arc<Node>) -> Self {
        Self {
            app,
            database: database.to_owned(),
            node,
            connection: None,
            account: 0,
            question: Question::default(),
            lag: Lag::default(),
        }
    }

    /// Runs until the configuration has no such server any more.
    async fn run(mut self) {
        if !self.node.is_auto() {
            tokio::time::sleep(self.app.state().config.general.idle_healthcheck_delay).await;
        }
        loop {
            let state = self.app.state();
            let Some(cluster) = self.cluster(&state) else { break };
            let general = &state.config.general;
            let started = Instant::now();
            if cluster.gate.is_closed() {
                // Paused: PostgreSQL may be about to restart.
                self.hang_up();
                drop(state);
                sleep_until(started + SOON).await;
                continue;
            }
            let look = match timeout(general.healthcheck_timeout, self.look(&state.config)).await {
                Ok(look) => look,
                Err(_) => Look::Failed(format!("no answer within {:?}", general.healthcheck_timeout)),
            };
            let blind = matches!(look, Look::Alive);
            self.note(look, &cluster, general);
            if self.period(general) > KEEP_UP_TO {
                self.hang_up();
            }
            drop(state);
            self.wait(started, blind).await;
        }
        self.hang_up();
        self.node.monitored.store(false, Ordering::Release);
    }

    fn cluster(&self, state: &Generation) -> Option<Arc<Cluster>> {
        let has_mine = |cluster: &Cluster| cluster.nodes.iter().any(|node| Arc::ptr_eq(node, &self.node));
        state.registry.clusters().find(|(_, cluster)| has_mine(cluster)).map(|(_, cluster)| cluster.clone())
    }

    fn period(&self, general: &General) -> Duration {
        let node = &self.node;
        let watches_lag = general.ban_replica_lag != Duration::MAX || general.ban_replica_lag_bytes != usize::MAX;
        let most = match () {
            () if node.is_auto() => VERY_SOON,
            () if !node.is_configured_primary() || watches_lag || node.bans.is_banned() => SOON,
            () => Duration::MAX,
        };
        most.min(general.idle_healthcheck_interval).max(Duration::from_millis(10))
    }

    /// Sleeps until the next look is due, by what holds then: a ban or a reload changes it.
    async fn wait(&self, started: Instant, blind: bool) {
        loop {
            let state = self.app.state();
            let period = if blind { BLIND } else { self.period(&state.config.general) };
            let now = Instant::now();
            let end = started.checked_add(period).unwrap_or(now + BLIND);
            if now >= end || self.cluster(&state).is_none() {
                return;
            }
            drop(state);
            let wanted = async {
                sleep_until(started + LEAST).await;
                self.node.replay.wanted().await;
            };
            tokio::select! {
                () = sleep_until(end.min(now + SOON)) => {}
                // Only where a look costs no login.
                () = wanted, if self.connection.is_some() => return,
            }
        }
    }

    async fn look(&mut self, config: &Config) -> Look {
        if let Some(mut connection) = self.connection.take() {
            match self.question.ask(&mut connection).await {
                Ok(report) => return self.keep(connection, report),
                Err(ConversationError::Refused(fields)) => debug!(reason = fields.message, "a server refused a look"),
                // The server may have restarted: that shows on a new connection.
                Err(error) => debug!(%error, address = %self.node.address, "a monitor lost its connection"),
            }
        }
        let accounts = accounts(config, &self.database, &self.node);
        if accounts.is_empty() {
            return match connect::knock(&self.node.address).await {
                Ok(()) => Look::Alive,
                Err(error) => Look::Failed(error.to_string()),
            };
        }
        for turn in 0..accounts.len() {
            let at = (self.account + turn) % accounts.len();
            match self.log_in(&accounts[at]).await {
                Ok(mut connection) => {
                    self.account = at;
                    return match self.question.ask(&mut connection).await {
                        Ok(report) => self.keep(connection, report),
                        Err(ConversationError::Refused(_)) => Look::Alive,
                        Err(error) => Look::Failed(error.to_string()),
                    };
                }
                Err(error) if error.is_unreachable() => return Look::Failed(error.to_string()),
                // Who may come in is no question of health.
                Err(error) => debug!(%error, address = %self.node.address, "a monitor was not let in"),
            }
        }
        Look::Alive
    }

    fn keep(&mut self, connection: Connection, report: Report) -> Look {
        self.connection = Some(connection);
        Look::Report(report)
    }

    async fn log_in(&self, account: &Account<'_>) -> Result<Connection, ConnectError> {
        let password = account.password.map(Secret::latest);
        let login = ServerLogin {
            user: account.user,
            password: password.as_ref().map(Secret::expose),
            proof: &Proof::Password,
            database: account.database,
            parameters: &[("application_name", "pgdog-jwt monitor")],
        };
        let tls = self.node.tls.load_full();
        connect::connect(&self.node.address, login, &tls, &self.node.tcp).await.map(Connection::new)
    }

    fn hang_up(&mut self) {
        if let Some(mut connection) = self.connection.take() {
            connection.farewell();
        }
    }

    fn note(&mut self, look: Look, cluster: &Cluster, general: &General) {
        let node = &self.node;
        match look {
            Look::Report(report) => {
                if let Some(timeline) = report.timeline {
                    node.observed.note_timeline(timeline);
                }
                node.observe(report.in_recovery);
                match report.position {
                    Some(position) if report.in_recovery => node.replay.note(position),
                    _ => node.replay.forget(),
                }
                node.reached();
                let is_writer =
                    cluster.writer().and_then(|at| cluster.nodes.get(at)).is_some_and(|at| Arc::ptr_eq(at, node));
                if let (true, Some(position)) = (is_writer && !report.in_recovery, report.position) {
                    cluster.written.store(position, Ordering::Relaxed);
                }
                let written = cluster.written.load(Ordering::Relaxed);
                let lag = if report.in_recovery { self.lag.measure(&report, written) } else { Duration::ZERO };
                let bytes = if report.in_recovery { report.bytes_behind(written) } else { 0 };
                let lagging = lag > general.ban_replica_lag || bytes > general.ban_replica_lag_bytes as u64;
                if node.bans.set_lagging(lagging) {
                    let lag = lag.as_millis() as u64;
                    warn!(event = "lag", address = %node.address, lag, bytes, banned = lagging, "replica lag");
                }
            }
            Look::Alive => {
                node.replay.forget();
                node.reached();
            }
            Look::Failed(reason) => {
                node.replay.forget();
                debug!(reason, address = %node.address, "a server did not pass its check");
                self.connection = None;
                node.missed(BanReason::Unhealthy, general.ban_timeout);
            }
        }
    }
}

fn subjects_log_in(config: &Config) -> bool {
    let uses = |mode| config.jwt.as_ref().is_some_and(|jwt| jwt.core.uses(mode));
    uses(IdentityMode::Login) || uses(IdentityMode::Passthrough)
}

/// The accounts that the configuration knows for a server: its own, the one for token users, those of users.toml.
fn accounts<'a>(config: &'a Config, database: &'a str, node: &Node) -> Vec<Account<'a>> {
    let mut servers = config.servers(database);
    let address = &node.address;
    let Some(server) = servers.find(|server| server.host == address.host && server.port == address.port) else {
        return Vec::new();
    };
    let own = server.user.as_deref().map(|user| (user, server.password.as_ref()));
    let tokens = config.jwt.as_ref().map(|jwt| &jwt.core);
    let tokens = tokens.and_then(|core| Some((core.server_user.as_deref()?, core.server_password.as_ref())));
    // Whom a token lets in is not for the gateway to be.
    let is_own = |user: &&User| !subjects_log_in(config) || user.has_password();
    let users = config.users.iter().filter(|user| user.databases.contains(database)).filter(is_own).map(|user| {
        let login = user.server_user.as_deref().or(server.user.as_deref()).unwrap_or(&user.name);
        (login, user.server_password.as_ref().or(server.password.as_ref()).or(user.passwords.first()))
    });
    let mut accounts: Vec<Account<'a>> = Vec::new();
    for (user, password) in own.into_iter().chain(tokens).chain(users) {
        if accounts.len() < MOST_ACCOUNTS && !accounts.iter().any(|account| account.user == user) {
            accounts.push(Account { user, password, database: server.server_database() });
        }
    }
    accounts
}
