//! From a grant to the pool that its session may use.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use pgdog_jwt::AuthGrant;
use pgdog_jwt::config::{IdentityMode, Secret};

use pgdog_jwt::reader::Choice;

use crate::config::Config;
use crate::identity::Identity;

/// What the host's own configuration says of a user, if it names it.
#[derive(Default, Clone)]
pub struct Entry {
    /// The account that logs in.
    pub server_user: Option<String>,
    /// Its password.
    pub server_password: Option<Secret>,
    /// The user has a password for clients: it is no token user.
    pub has_password: bool,
    /// Whether it only reads; `None`: as its database says.
    pub read_only: Option<bool>,
}

/// The pool that a session may use.
#[derive(Clone)]
pub struct Admission {
    /// Names of the pool where users have theirs, best first. Another identity may have the first already; none has the last.
    pub pools: Vec<String>,
    /// What its connections are.
    pub identity: Identity,
    /// The account that logs in.
    pub login: String,
    /// Its password.
    pub password: Option<Secret>,
    /// Most connections, where a role mapping says so.
    pub pool_size: Option<usize>,
    /// How long a client keeps a connection, in the host's words, where the token or a role mapping says so.
    pub pool_mode: Option<String>,
}

/// Why a grant leads to no pool.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum Inadmissible {
    /// No pool may be made for it.
    #[error("the configuration does not name the user, and provides no pool for users that it does not name")]
    NotProvided,
    /// A read-only session without a replica (S10).
    #[error("no replica is configured")]
    NoReplica,
    /// There is nobody to log in as.
    #[error("there is no account to log in to PostgreSQL with")]
    NoAccount,
}

/// `entry` is what the host says of the grant's user in this database; `database_reads`: the database only reads;
/// `has_replicas`: each of its shards has one.
///
/// # Errors
/// See [`Inadmissible`].
pub fn admit(
    config: &Config,
    grant: &AuthGrant,
    entry: Option<&Entry>,
    database_reads: bool,
    has_replicas: bool,
) -> Result<Admission, Inadmissible> {
    if entry.is_none() && !grant.provision {
        return Err(Inadmissible::NotProvided);
    }
    // An entry of the user's says nothing of an account that the token's roles lead to.
    let entry_of_role = entry.filter(|_| grant.mode == IdentityMode::Role);
    let own =
        entry_of_role.and_then(|entry| entry.server_user.clone().map(|user| (user, entry.server_password.clone())));
    let granted = || grant.server_user.clone().map(|user| (user, grant.server_password.clone()));
    let (login, password) = own.or_else(granted).ok_or(Inadmissible::NoAccount)?;
    let configured = match entry {
        Some(entry) => entry.read_only.unwrap_or(database_reads),
        None => config.provisions_read_only() || grant.provision_read_only || database_reads,
    };
    let read_only = configured || grant.read_only;
    if read_only && !has_replicas {
        return Err(Inadmissible::NoReplica);
    }
    let identity = Identity::new(grant, &login, read_only, config.host.allow_privileged_roles);
    let account = grant.account.as_ref().map(|account| &account.rule().name);
    let pools = config.host.account_pools.iter().find(|pool| account == Some(&pool.name));
    let mapped_mode = pools.and_then(|pool| pool.pooler_mode).map(|mode| mode.word().to_owned());
    Ok(Admission {
        pools: pool_names(grant, &identity, entry),
        identity,
        login,
        password,
        pool_size: pools.and_then(|pool| pool.pool_size),
        pool_mode: grant.pool_mode.clone().or(mapped_mode),
    })
}

/// Nobody can find two identities with one name: the key is of this process.
static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The subject's own name where that says it all, and one with a mark for every other identity.
fn pool_names(grant: &AuthGrant, identity: &Identity, entry: Option<&Entry>) -> Vec<String> {
    let is_plain = grant.server_role.as_deref() == Some(&*grant.user)
        && grant.settings.is_empty()
        && !identity.is_read_only()
        && grant.pool_mode.is_none()
        && !entry.is_some_and(|entry| entry.has_password);
    let marked = format!("{}#{:016x}", grant.user, KEY.hash_one((identity, &grant.pool_mode)));
    is_plain.then(|| grant.user.clone()).into_iter().chain([marked]).collect()
}
