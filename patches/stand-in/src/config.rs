//! Configuration: the fields that our files look at.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;

pub use pgdog_jwt::config::Secret;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    ParseError(String),
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AuthType {
    Md5,
    #[default]
    Scram,
    Trust,
    Plain,
    Jwt,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PoolerMode {
    #[default]
    Transaction,
    Session,
    Statement,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Role {
    #[default]
    Primary,
    Replica,
    Auto,
}

#[derive(Debug, Clone, Default)]
pub struct General {
    pub auth_type: AuthType,
    pub idle_timeout: u64,
    pub passthrough: bool,
    pub pub_sub: bool,
}

impl General {
    pub fn passthrough_auth(&self) -> bool {
        self.passthrough
    }

    pub fn pub_sub_enabled(&self) -> bool {
        self.pub_sub
    }
}

#[derive(Debug, Clone, Default)]
pub struct Admin {
    pub name: String,
}

#[derive(Debug, Clone, Default)]
pub struct Database {
    pub name: String,
    pub user: Option<String>,
    pub password: Option<String>,
    pub role: Role,
    pub shard: usize,
    pub read_only: Option<bool>,
}

#[derive(Debug, Clone, Default)]
pub struct User {
    pub name: String,
    pub database: String,
    pub databases: Vec<String>,
    pub all_databases: bool,
    pub password: Option<String>,
    pub passwords: Vec<String>,
    pub password_hash: Option<String>,
    pub identity: Option<String>,
    pub server_user: Option<String>,
    pub server_password: Option<String>,
    pub read_only: Option<bool>,
    pub min_pool_size: Option<usize>,
    pub pool_size: Option<usize>,
    pub pooler_mode: Option<PoolerMode>,
    pub schema_admin: bool,
    pub replication_mode: bool,
    /// Something that our files leave as it is.
    pub idle_timeout: Option<u64>,
}

impl User {
    pub fn passwords(&self) -> Vec<String> {
        self.password.iter().chain(&self.passwords).cloned().collect()
    }
}

#[derive(Debug, Clone, Default)]
pub struct Config {
    pub general: General,
    pub admin: Admin,
    pub databases: Vec<Database>,
}

#[derive(Debug, Clone, Default)]
pub struct Users {
    pub users: Vec<User>,
}

#[derive(Debug, Clone, Default)]
pub struct ConfigAndUsers {
    pub config: Config,
    pub users: Users,
    pub config_path: PathBuf,
    pub config_text: Option<String>,
}

static CURRENT: LazyLock<ArcSwap<ConfigAndUsers>> = LazyLock::new(ArcSwap::default);

pub fn config() -> Arc<ConfigAndUsers> {
    CURRENT.load_full()
}

/// Judged before it is in use.
pub fn set(config: ConfigAndUsers) -> Result<(), Error> {
    crate::jwt::configure(&config)?;
    CURRENT.store(Arc::new(config));
    Ok(())
}
