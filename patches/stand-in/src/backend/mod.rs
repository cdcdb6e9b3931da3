//! Servers: whoever logs in is who the start-up packet says, until somebody says otherwise.

use std::sync::Arc;

use pgdog_jwt_host::identity::Identity;

use crate::net::messages::DataRow;
use crate::state::State;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("not in sync")]
    NotInSync,
    #[error(transparent)]
    Pool(#[from] pool::Error),
    #[error("{0}")]
    Execution(String),
}

#[derive(Debug, Clone, Copy)]
pub enum ConnectReason {
    Probe,
}

#[derive(Default)]
pub struct Address {
    pub jwt: Option<Arc<Identity>>,
}

#[derive(Debug)]
pub struct Stats(pub State);

impl Stats {
    pub fn state(&mut self, state: State) {
        self.0 = state;
    }
}

/// A connection of the account `gate`.
pub struct Server {
    pub addr: Address,
    pub stats: Stats,
    /// `current_user`.
    pub role: String,
    /// What the role becomes again.
    pub startup_role: String,
    /// Statements that have no effect.
    pub deaf: bool,
    pub in_recovery: bool,
    pub executed: Vec<String>,
}

impl Server {
    pub fn new(identity: Option<Arc<Identity>>, in_recovery: bool) -> Self {
        let role = identity.as_ref().map_or("gate", |identity| identity.role()).to_owned();
        let (stats, startup_role) = (Stats(State::Idle), role.clone());
        Self {
            addr: Address { jwt: identity },
            stats,
            role,
            startup_role,
            deaf: false,
            in_recovery,
            executed: Vec::new(),
        }
    }

    pub fn addr(&self) -> &Address {
        &self.addr
    }

    pub fn in_sync(&self) -> bool {
        self.stats.0 == State::Idle
    }

    pub fn in_transaction(&self) -> bool {
        false
    }

    pub fn stats_mut(&mut self) -> &mut Stats {
        &mut self.stats
    }

    pub async fn execute(&mut self, sql: impl Into<String>) -> Result<Vec<()>, Error> {
        let sql = sql.into();
        if sql == "RESET ROLE" && !self.deaf {
            self.role.clone_from(&self.startup_role);
        }
        self.executed.push(sql);
        Ok(Vec::new())
    }

    /// Answers the question for the identity.
    pub async fn fetch_all<T: From<DataRow>>(&mut self, sql: impl Into<String>) -> Result<Vec<T>, Error> {
        let sql = sql.into();
        let nonce = sql.split('\'').find(|part| part.len() == 32).unwrap_or_default();
        let recovery = if self.in_recovery { "t" } else { "f" };
        let settings = self.addr.jwt.iter().flat_map(|identity| identity.startup_parameters());
        let settings = settings.filter(|(name, _)| *name != "role").map(|(_, value)| value);
        let fixed = [self.role.as_str(), "gate", "f", recovery, "1", nonce];
        let row = fixed.into_iter().chain(settings).map(|value| Some(value.to_owned())).collect();
        Ok(vec![T::from(DataRow(row))])
    }
}

pub use databases::Cluster;

pub mod databases;
pub mod pool;
