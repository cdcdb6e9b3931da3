//! Pools by user and database.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, MutexGuard};

use super::pool::{Pool, Shard};
use crate::config::{Config, ConfigAndUsers, Role, User as ConfigUser, config};
use crate::net::messages::FrontendPid;

#[path = "../../../0.1.54-7-gb4601264/files/pgdog/src/backend/databases/jwt.rs"]
pub mod jwt;

/// A user of a database.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct User {
    pub user: String,
    pub database: String,
}

pub trait ToUser {
    fn to_user(&self) -> User;
}

impl ToUser for (&str, &str) {
    fn to_user(&self) -> User {
        User { user: self.0.to_owned(), database: self.1.to_owned() }
    }
}

#[derive(Default, Clone)]
pub struct SchemaCache(());

#[derive(Clone)]
pub struct Cluster {
    shards: Vec<Shard>,
    online: Arc<AtomicBool>,
}

impl Cluster {
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    pub fn launch(&self) {
        self.online.store(true, Ordering::Relaxed);
    }

    pub fn shutdown(&self) {
        self.online.store(false, Ordering::Relaxed);
    }
}

#[derive(Default, Clone)]
pub struct Databases {
    pub databases: HashMap<User, Cluster>,
}

#[derive(Debug)]
pub struct NoDatabase;

impl Databases {
    pub fn cluster(&self, user: impl ToUser) -> Result<Cluster, NoDatabase> {
        self.databases.get(&user.to_user()).cloned().ok_or(NoDatabase)
    }
}

/// Whose statements were cancelled.
pub static CANCELLED: Mutex<Vec<FrontendPid>> = Mutex::new(Vec::new());

impl Databases {
    pub async fn cancel(&self, client: FrontendPid) -> Result<(), super::Error> {
        CANCELLED.lock().push(client);
        Ok(())
    }
}

static DATABASES: LazyLock<ArcSwap<Databases>> = LazyLock::new(ArcSwap::default);
static LOCK: Mutex<()> = Mutex::new(());

pub fn lock() -> MutexGuard<'static, ()> {
    LOCK.lock()
}

pub fn databases() -> Arc<Databases> {
    DATABASES.load_full()
}

fn new_pool(user: &ConfigUser, config: &Config, _: SchemaCache) -> Option<(User, Cluster)> {
    let servers: Vec<_> = config.databases.iter().filter(|server| server.name == user.database).collect();
    let shards = servers.iter().map(|server| server.shard).max()? + 1;
    let online = Arc::new(AtomicBool::new(false));
    let pool = |is_replica| Pool { identity: crate::jwt::identity_of(user), is_replica, online: online.clone() };
    let shards = (0..shards).map(|shard| {
        let own = servers.iter().filter(|server| server.shard == shard);
        Shard(own.map(|server| pool(server.role == Role::Replica)).collect())
    });
    let shards = shards.collect();
    Some(((user.name.as_str(), user.database.as_str()).to_user(), Cluster { shards, online }))
}

/// All pools anew, as after a reload.
pub fn reload(config: &ConfigAndUsers) {
    let mut databases = HashMap::new();
    jwt::keep(&mut databases, config, &SchemaCache::default());
    databases.values().for_each(Cluster::launch);
    DATABASES.store(Arc::new(Databases { databases }));
}
