//! From the configuration to what pools connect to: which account logs in, which role it takes, how many connections.

use std::sync::Arc;

use pgdog_jwt::AuthGrant;
use pgdog_jwt::config::{IdentityMode, Secret};

use super::cluster::PoolSetSpec;
use super::connect::Proof;
use super::identity::{Identity, Subject};
use super::pool::{PoolLimits, PoolSpec};
use super::proven::Proven;
use super::subject_login;
use crate::config::{Config, Database, Databases, PoolerMode, ResolverAccount, User};

/// Most connections in which resolvers run, for each server.
const RESOLVER_POOL_SIZE: usize = 2;

/// The users.toml entry of `name` for `database`.
pub(crate) fn find_user<'a>(config: &'a Config, name: &str, database: &str) -> Option<&'a User> {
    config.users.iter().find(|user| {
        user.name == name
            && match &user.databases {
                Databases::All => true,
                Databases::Some(names) => names.iter().any(|known| known == database),
            }
    })
}

/// The pools of a user that users.toml names and that did not come with a token.
pub(crate) fn for_user(config: &Config, servers: &[&Database], user: &User) -> PoolSetSpec {
    let read_only = is_read_only(servers, Some(user));
    // Variables come with each session.
    let shared = servers.first().is_some_and(|server| config.scope(&user.name, &server.name).is_some());
    let watched = read_only || shared;
    let identity = Arc::new(Identity { read_only, watched, ..Identity::of_an_account() });
    let pools = servers
        .iter()
        .map(|server| {
            let login = user.server_user.as_deref().or(server.user.as_deref()).unwrap_or(&user.name);
            let password = user.server_password.as_ref().or(server.password.as_ref()).or(user.passwords.first());
            PoolSpec { shared, ..pool(config, server, Some(user), login, password, &identity) }
        })
        .collect();
    PoolSetSpec { shared, ..set(config, servers, Some(user), identity, pools) }
}

/// Who the session of a token's subject is in pools of its own. `user` is its users.toml entry, if it has one.
pub(crate) fn session_of(config: &Config, servers: &[&Database], user: Option<&User>, grant: &AuthGrant) -> Identity {
    if subject_login::proof(config, grant).is_some() {
        return subject_login::session_of(config, servers, user, grant);
    }
    let (login, _) = account_of(config, user, grant);
    identity_of(config, servers, user, grant, login)
}

/// The pools of a token's subject, whose session is [`session_of`] it.
pub(crate) fn for_grant(
    config: &Config,
    servers: &[&Database],
    user: Option<&User>,
    grant: &AuthGrant,
    session: &Identity,
) -> PoolSetSpec {
    // What connections are when they are made. Variables come with each session, and the subject where it may be several.
    let identity = Arc::new(Identity { variables: Arc::default(), proven: None, subject: None, ..session.clone() });
    if let Some(proof) = subject_login::proof(config, grant) {
        return subject_login::pools(config, servers, user, grant, &proof, identity);
    }
    let (login, password) = account_of(config, user, grant);
    let shared = serves_many(config, grant);
    let pool = |server: &&Database| PoolSpec { shared, ..pool(config, server, user, login, password, &identity) };
    let pools = servers.iter().map(pool).collect();
    PoolSetSpec { shared, ..set(config, servers, user, identity, pools) }
}

/// The account that logs in for a token's subject: an entry with credentials of its own says which; otherwise it is the one
/// for token users.
fn account_of<'a>(config: &'a Config, user: Option<&'a User>, grant: &'a AuthGrant) -> (&'a str, Option<&'a Secret>) {
    let account = user.and_then(|user| match (&user.server_user, &user.server_password) {
        (Some(name), password) => Some((name.as_str(), password.as_ref().or(user.passwords.first()))),
        (None, Some(password)) => Some((user.name.as_str(), Some(password))),
        (None, None) => user.passwords.first().map(|password| (user.name.as_str(), Some(password))),
    });
    account.unwrap_or_else(|| token_account(config, grant))
}

/// Which of the shared pools a token's subject uses, and as whom; `None` when it has pools of its own.
pub(crate) fn shared_identity(
    config: &Config,
    servers: &[&Database],
    user: Option<&User>,
    grant: &AuthGrant,
) -> Option<Identity> {
    let shares = config.jwt.as_ref().is_some_and(|jwt| jwt.shared_pool && jwt.core.server_user.is_some());
    if !shares || grant.mode != IdentityMode::Role || user.is_some_and(User::has_pool_of_its_own) {
        return None;
    }
    let (login, _) = token_account(config, grant);
    Some(identity_of(config, servers, user, grant, login))
}

/// The pools that token subjects share. Sizes are those of the users.toml entry of the account that logs in, if there is
/// one.
pub(crate) fn for_sharing(
    config: &Config,
    servers: &[&Database],
    grant: &AuthGrant,
    database: &str,
    read_only: bool,
) -> PoolSetSpec {
    let (login, password) = token_account(config, grant);
    let user = find_user(config, login, database);
    // Every client's own identity is verified besides, with what it may be.
    let identity = Arc::new(Identity { read_only, watched: true, ..Identity::of_an_account() });
    let pool = |server: &&Database| PoolSpec { shared: true, ..pool(config, server, user, login, password, &identity) };
    let pools = servers.iter().map(pool).collect();
    PoolSetSpec { shared: true, ..set(config, servers, user, identity, pools) }
}

/// The account for token users: from the configuration before the grant, which may be older, for a reload changes
/// passwords under live sessions.
pub(crate) fn token_account<'a>(config: &'a Config, grant: &'a AuthGrant) -> (&'a str, Option<&'a Secret>) {
    let core = config.jwt.as_ref().map(|jwt| &jwt.core);
    match core.and_then(|core| core.server_user.as_deref().map(|name| (name, core))) {
        Some((name, core)) => (name, core.server_password.as_ref()),
        None => (grant.server_user.as_deref().unwrap_or(&grant.user), grant.server_password.as_ref()),
    }
}

/// Whether the connections of a subject's pools are one session's after the other: each has variables of its own, or is
/// another subject's.
pub(super) fn serves_many(config: &Config, grant: &AuthGrant) -> bool {
    config.is_shared(grant) || config.jwt.as_ref().is_some_and(|jwt| jwt.core.carries_claims())
}

/// Who a token's subject is on connections that log in as `login`.
fn identity_of(
    config: &Config,
    servers: &[&Database],
    user: Option<&User>,
    grant: &AuthGrant,
    login: &str,
) -> Identity {
    Identity {
        role: grant.server_role.clone().filter(|role| role != login),
        allow_privileged: config.jwt.as_ref().is_some_and(|jwt| jwt.allow_privileged_roles),
        read_only: reads_only(config, servers, user, grant),
        watched: true,
        variables: grant.settings.as_slice().into(),
        proven: proven(config, servers, grant),
        subject: config.is_shared(grant).then(|| Subject::of(grant)),
        ..Identity::default()
    }
}

/// The pools in which resolvers run: small, and apart from those of clients.
pub(crate) fn for_resolvers(config: &Config, servers: &[&Database], account: &ResolverAccount) -> PoolSetSpec {
    let identity = Arc::new(Identity::of_an_account());
    let pools = servers.iter().map(|server| {
        let spec = pool(config, server, None, &account.user, account.password.as_ref(), &identity);
        let mut parameters = spec.parameters;
        // A query that nobody waits for any more ends.
        parameters.retain(|(name, _)| name != "statement_timeout");
        parameters.push(("statement_timeout".to_owned(), config.general.connect_timeout.as_millis().to_string()));
        PoolSpec { size: RESOLVER_POOL_SIZE, parameters, ..spec }
    });
    let pools = pools.collect();
    PoolSetSpec { mode: PoolerMode::Transaction, ..set(config, servers, None, identity, pools) }
}

/// What a token's subject proves to the database of these servers.
pub(super) fn proven(config: &Config, servers: &[&Database], grant: &AuthGrant) -> Option<Proven> {
    servers.first().and_then(|server| Proven::of(config, &server.name, grant))
}

/// Whether a token's subject is kept from primaries.
pub(super) fn reads_only(config: &Config, servers: &[&Database], user: Option<&User>, grant: &AuthGrant) -> bool {
    let configured = match user {
        Some(user) => is_read_only(servers, Some(user)),
        None => {
            let config_says = config.jwt.as_ref().is_some_and(|jwt| jwt.core.auto_provision_read_only);
            config_says || grant.provision_read_only || is_read_only(servers, None)
        }
    };
    configured || grant.read_only
}

pub(super) fn is_read_only(servers: &[&Database], user: Option<&User>) -> bool {
    user.and_then(|user| user.read_only).unwrap_or_else(|| servers.iter().any(|server| server.read_only == Some(true)))
}

pub(super) fn set(
    config: &Config,
    servers: &[&Database],
    user: Option<&User>,
    identity: Arc<Identity>,
    pools: Vec<PoolSpec>,
) -> PoolSetSpec {
    let mode = user
        .and_then(|user| user.pooler_mode)
        .or_else(|| servers.iter().find_map(|server| server.pooler_mode))
        .unwrap_or(config.general.pooler_mode);
    PoolSetSpec { pools, read_only: identity.read_only, identity, shared: false, mode }
}

pub(super) fn pool(
    config: &Config,
    server: &Database,
    user: Option<&User>,
    login: &str,
    password: Option<&Secret>,
    identity: &Arc<Identity>,
) -> PoolSpec {
    let general = &config.general;
    let mut parameters = Vec::new();
    let statement_timeout = user.and_then(|user| user.statement_timeout).or(server.statement_timeout);
    let lock_timeout = user.and_then(|user| user.lock_timeout).or(server.lock_timeout);
    for (name, limit) in [("statement_timeout", statement_timeout), ("lock_timeout", lock_timeout)] {
        if let Some(limit) = limit {
            parameters.push((name.to_owned(), limit.as_millis().to_string()));
        }
    }
    if config.jwt.is_some() || identity.watched {
        // The guard reads strings as the standard does, so the server must as well, whatever its owner has set.
        parameters.push(("standard_conforming_strings".to_owned(), "on".to_owned()));
    }
    let size = user.and_then(|user| user.pool_size).or(server.pool_size).unwrap_or(general.default_pool_size);
    // A subject that is not named gets connections when it uses them.
    let min_size = match user {
        Some(user) => user.min_pool_size.or(server.min_pool_size).unwrap_or(general.min_pool_size),
        None => 0,
    };
    PoolSpec {
        user: login.to_owned(),
        password: password.cloned(),
        proof: Proof::Password,
        database: server.database_name.clone().unwrap_or_else(|| server.name.clone()),
        identity: identity.clone(),
        shared: false,
        makes_roles: config.jwt.as_ref().is_some_and(|jwt| jwt.provisioning.is_some()),
        parameters,
        size,
        min_size: min_size.min(size),
        limits: PoolLimits {
            connect_timeout: general.connect_timeout,
            connect_attempts: general.connect_attempts.max(1) as u32,
            checkout_timeout: general.checkout_timeout,
            connect_attempt_delay: general.connect_attempt_delay,
            idle_timeout: server.idle_timeout.unwrap_or(general.idle_timeout),
            server_lifetime: server.server_lifetime.unwrap_or(general.server_lifetime),
            server_lifetime_jitter: server.server_lifetime_jitter.unwrap_or(general.server_lifetime_jitter),
            healthcheck_interval: general.healthcheck_interval,
            healthcheck_timeout: general.healthcheck_timeout,
            ban_timeout: general.ban_timeout,
            prepared_statements: general.prepared_statements_limit,
            cleaning: general.server_cleaning,
        },
    }
}
