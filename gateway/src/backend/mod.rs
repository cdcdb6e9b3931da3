//! PostgreSQL as the gateway uses it: clusters and their servers, pools, connections and who they are.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

pub(crate) mod backoff;
pub(crate) mod balance;
pub(crate) mod bans;
pub(crate) mod checkout_error;
mod choose;
pub(crate) mod cluster;
pub(crate) mod connect;
pub(crate) mod connection;
pub(crate) mod gate;
pub(crate) mod greeting;
pub(crate) mod health;
pub(crate) mod identity;
pub(crate) mod inquiry;
pub(crate) mod janitor;
pub(crate) mod monitor;
pub(crate) mod node;
mod opening;
pub(crate) mod plan;
pub(crate) mod pool;
pub(crate) mod registry;
pub(crate) mod role;
pub(crate) mod server;
pub(crate) mod settings;
pub(crate) mod statements;
mod upkeep;

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Time since the first use of the pools.
pub(crate) fn uptime() -> Duration {
    STARTED.elapsed()
}
