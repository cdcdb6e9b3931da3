//! Pools of token users: made one by one, and kept when all others are made anew.

use super::*;
use crate::jwt;

/// The pool of a token user, not yet in use. `None`: no such database, or a shard without a server for it.
pub(crate) fn make(user: &ConfigUser) -> Option<(User, Cluster)> {
    let made = make_from(user, &config(), SchemaCache::default())?;
    made.1.shards().iter().all(|shard| !shard.pools().is_empty()).then_some(made)
}

fn make_from(user: &ConfigUser, config: &ConfigAndUsers, schemas: SchemaCache) -> Option<(User, Cluster)> {
    let mut servers = config.config.clone();
    for database in servers.databases.iter_mut().filter(|database| database.name == user.database) {
        // The account is the grant's.
        (database.user, database.password) = (None, None);
        if user.read_only == Some(true) && database.role != Role::Replica {
            // Without a primary in its pools, nothing that a client says leads there. The number of a server stays what it is.
            database.name = String::new();
        }
    }
    new_pool(user, &servers, schemas)
}

/// Brings a pool into use, in place of one of that name.
pub(crate) fn publish(made: (User, Cluster)) {
    let _lock = lock();
    made.1.launch();
    let mut all = (*databases()).clone();
    let former = all.databases.insert(made.0, made.1);
    DATABASES.store(Arc::new(all));
    former.inspect(Cluster::shutdown);
}

/// Closes a pool that nobody uses.
pub(crate) fn withdraw(key: &jwt::Key) {
    let _lock = lock();
    if jwt::is_known(key) {
        // Somebody has made it anew meanwhile.
        return;
    }
    let mut all = (*databases()).clone();
    let gone = all.databases.remove(&(key.0.as_str(), key.1.as_str()).to_user());
    DATABASES.store(Arc::new(all));
    gone.inspect(Cluster::shutdown);
}

/// The pools that are there, for a configuration that was read again.
pub(super) fn keep(databases: &mut HashMap<User, Cluster>, config: &ConfigAndUsers, schemas: &SchemaCache) {
    let users = jwt::users(config);
    databases.extend(users.iter().filter_map(|user| make_from(user, config, schemas.clone())));
}
