//! All clusters and all pools. Built from a configuration as a whole; a reload builds the next one and takes over what
//! stayed the same, so that connections survive (S12).

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use pgdog_jwt::config::IdentityMode;
use pgdog_jwt::{AuthGrant, JwtConfig};

use super::account;
use super::budget::Budget;
use super::cluster::{Claimed, Cluster, Membership, PoolKey, PoolSet, PoolSetSpec};
use super::connect::ServerAddress;
use super::identity::{Identity, Variables};
use super::node::Node;
use super::plan;
use super::subjects::{Subjects, Unused};
use super::token_key::TokenKey;
use crate::config::{AuthType, Choice, Config, Database, Databases, PoolerMode};
use crate::net::options::TcpOptions;
use crate::net::tls::ClientTls;

/// See the module.
pub(crate) struct Registry {
    config: Arc<Config>,
    clusters: HashMap<String, Arc<Cluster>>,
    /// Pools of users that users.toml names, without tokens.
    named: HashMap<PoolKey, Arc<PoolSet>>,
    /// Pools of token subjects that users.toml names, made at their first login.
    entries: Mutex<HashMap<PoolKey, Arc<PoolSet>>>,
    /// Pools of all other token subjects, made at their first login, limited in number.
    subjects: Mutex<Subjects>,
    unused: Arc<Unused>,
    /// Pools that token subjects share, by whether they are read-only, made at their first login.
    shared: Mutex<HashMap<PoolKey, Arc<PoolSet>>>,
    /// Pools of accounts, by the name of the role mapping, made at the first login that it is for.
    accounts: Mutex<HashMap<PoolKey, Arc<PoolSet>>>,
    /// In which resolvers run, by database.
    resolving: HashMap<String, Arc<PoolSet>>,
    max_subjects: usize,
}

/// Why there is no pool for a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoPool {
    #[error("the database is not configured")]
    UnknownDatabase,
    #[error("the subject has no entry in users.toml and pools are not made for new subjects")]
    NotProvisioned,
    #[error("no role mapping is for this token any more")]
    NoAccount,
    #[error("the limit of pools for token subjects is reached and none of them is idle")]
    TooMany,
    #[error("the user has no entry in users.toml")]
    UnknownUser,
    #[error("the identity mode has changed since the login")]
    ModeChanged,
    #[error("the token that the server wants to see is not at hand")]
    NoToken,
    #[error("tenants or resolvers are configured otherwise than when the session began")]
    OtherScope,
}

impl Registry {
    /// Builds the pools of `config`, taking over those of `previous` that would be the same.
    pub(crate) fn build(config: Arc<Config>, tls: &Arc<ClientTls>, previous: Option<&Self>) -> Self {
        let mut names: Vec<&str> = config.databases.iter().map(|database| database.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let clusters: HashMap<String, Arc<Cluster>> = names
            .into_iter()
            .map(|name| {
                let nodes = servers(&config, name).into_iter().map(|server| node(&config, server, tls, previous));
                let (balancing, split) = (config.general.load_balancing_strategy, config.general.read_write_split);
                (name.to_owned(), Cluster::new(name, nodes.collect(), balancing, split))
            })
            .collect();
        let max_subjects = config.jwt.as_ref().map_or(0, |jwt| jwt.max_pools);
        let mut registry = Self {
            config,
            clusters,
            named: HashMap::new(),
            entries: Mutex::default(),
            subjects: Mutex::default(),
            shared: Mutex::default(),
            accounts: Mutex::default(),
            unused: previous.map(|previous| previous.unused.clone()).unwrap_or_default(),
            resolving: HashMap::new(),
            max_subjects,
        };
        registry.named = registry.name_pools(previous);
        registry.resolving = registry.resolver_pools(previous);
        registry
    }

    fn name_pools(&self, previous: Option<&Self>) -> HashMap<PoolKey, Arc<PoolSet>> {
        let mut named = HashMap::new();
        for (database, cluster) in &self.clusters {
            let servers = servers(&self.config, database);
            for user in &self.config.users {
                let serves = match &user.databases {
                    Databases::All => true,
                    Databases::Some(names) => names.contains(database),
                };
                // Who can only come with a token gets pools then.
                let comes = user.has_password() || password_method(&self.config) == AuthType::Trust;
                if !serves || !comes || named.contains_key(&key(database, &user.name)) {
                    continue;
                }
                let key = key(database, &user.name);
                let spec = plan::for_user(&self.config, &servers, user);
                let same_scope =
                    |old: &&Self| old.config.scope(&user.name, database) == self.config.scope(&user.name, database);
                let known = previous.filter(same_scope).and_then(|old| old.named.get(&key));
                let kept = known.and_then(|old| adopt(old, &spec, cluster));
                let set = kept.unwrap_or_else(|| PoolSet::new(key.clone(), spec, cluster.clone(), None));
                named.insert(key, set);
            }
        }
        named
    }

    fn resolver_pools(&self, previous: Option<&Self>) -> HashMap<String, Arc<PoolSet>> {
        let Some(account) = &self.config.resolver_account else { return HashMap::new() };
        let wanted = |name: &&String| self.config.resolvers.iter().any(|resolver| resolver.serves(name));
        let pools = self.clusters.iter().filter(|(name, _)| wanted(name)).map(|(name, cluster)| {
            let spec = plan::for_resolvers(&self.config, &servers(&self.config, name), account);
            let known = previous.and_then(|old| old.resolving.get(name));
            let kept = known.and_then(|old| adopt(old, &spec, cluster));
            let set = || PoolSet::new(key(name, &account.user), spec, cluster.clone(), None);
            (name.clone(), kept.unwrap_or_else(set))
        });
        pools.collect()
    }

    /// The pools in which the resolvers of a database run.
    pub(crate) fn for_resolvers(&self, database: &str) -> Option<&Arc<PoolSet>> {
        self.resolving.get(database)
    }

    /// The configuration that the pools were built from.
    pub(crate) fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The pools of a user with a password whose sessions have variables of their own.
    pub(crate) fn for_scoped_user(
        &self,
        database: &str,
        user: &str,
        variables: &Variables,
        allow_privileged: bool,
    ) -> Result<Membership, NoPool> {
        let set = self.for_user(database, user)?;
        // Elsewhere, nothing would take the variables away from the next session.
        if !set.spec.shared || !set.spec.identity.watched {
            return Err(NoPool::OtherScope);
        }
        let base = (*set.spec.identity).clone();
        Ok(Membership::of(set, Identity { allow_privileged, variables: variables.clone(), ..base }))
    }

    /// The pools of a user with a password.
    pub(crate) fn for_user(&self, database: &str, user: &str) -> Result<Arc<PoolSet>, NoPool> {
        if !self.clusters.contains_key(database) {
            return Err(NoPool::UnknownDatabase);
        }
        self.named.get(&key(database, user)).cloned().ok_or(NoPool::UnknownUser)
    }

    /// The pools of a token's subject: those there are, or new ones where the configuration allows it. They stay while
    /// the membership lasts.
    pub(crate) fn for_grant(&self, database: &str, grant: &AuthGrant) -> Result<Membership, NoPool> {
        let cluster = self.clusters.get(database).ok_or(NoPool::UnknownDatabase)?;
        // What the session may do was decided for the mode of its login.
        let has_account = grant.mode == IdentityMode::ServiceAccount;
        let same = |core: &JwtConfig| {
            let guarded = core.is_guarded(grant.mode);
            // An account that takes a role is guarded in any case.
            let is_as_guarded = grant.guarded == guarded || (has_account && grant.guarded);
            is_as_guarded && core.may_be(grant.issuer.as_deref(), grant.mode)
        };
        if !self.config.jwt.as_ref().is_some_and(|jwt| same(&jwt.core)) {
            return Err(NoPool::ModeChanged);
        }
        if has_account {
            return self.for_account(database, cluster, grant);
        }
        let user = plan::find_user(&self.config, &grant.user, database);
        // The grant may be older than this configuration: a session lives on through a reload.
        let provision = grant.provision && self.config.jwt.as_ref().is_some_and(|jwt| jwt.core.auto_provision);
        if user.is_none() && !provision {
            return Err(NoPool::NotProvisioned);
        }
        let servers = servers(&self.config, database);
        let mode = grant.pool_mode.as_deref().and_then(PoolerMode::from_word);
        if let Some(identity) = plan::shared_identity(&self.config, &servers, user, grant) {
            let (login, _) = plan::token_account(&self.config, grant);
            let claimed = Claimed { role: None, read_only: identity.read_only, mode: grant.mode };
            let key = PoolKey { claimed, ..key(database, login) };
            let mut sets = self.shared.lock();
            let make = || {
                let spec = plan::for_sharing(&self.config, &servers, grant, database, identity.read_only);
                PoolSet::new(key.clone(), spec, cluster.clone(), None)
            };
            let set = sets.entry(key.clone()).or_insert_with(make).clone();
            return Ok(Membership::of(set, identity).in_mode(mode));
        }
        let identity = plan::session_of(&self.config, &servers, user, grant);
        let named = self.named.get(&key(database, &grant.user));
        let role = grant.server_role.clone().filter(|role| *role != grant.user);
        let claimed = Claimed { role, read_only: identity.read_only, mode: grant.mode };
        let key = PoolKey { claimed, token: TokenKey::of(grant)?, ..key(database, &grant.user) };
        // Pools of one token end with it, whoever it is for.
        let lasts = user.is_some() && key.token.is_none();
        let mut sets = if lasts { self.entries.lock() } else { self.subjects.lock() };
        if let Some(set) = sets.get(&key) {
            return Ok(Membership::of(set.clone(), identity).in_mode(mode));
        }
        let spec = plan::for_grant(&self.config, &servers, user, grant, &identity);
        // The pools of an entry in users.toml serve its token logins too, when nothing differs but the way in.
        if let Some(named) = named.filter(|named| named.spec.serves(&spec)) {
            return Ok(Membership::of(named.clone(), identity).in_mode(mode));
        }
        if !lasts && sets.len() >= self.max_subjects {
            self.unused.evict(&mut sets).ok_or(NoPool::TooMany)?.close();
        }
        let unused = (!lasts).then(|| self.unused.clone());
        let set = PoolSet::new(key.clone(), spec, cluster.clone(), unused);
        sets.insert(key, set.clone());
        Ok(Membership::of(set, identity).in_mode(mode))
    }

    fn for_account(&self, database: &str, cluster: &Arc<Cluster>, grant: &AuthGrant) -> Result<Membership, NoPool> {
        let mapping = account::mapping(&self.config, database, grant).ok_or(NoPool::NoAccount)?;
        let servers = servers(&self.config, database);
        let identity = account::identity(&self.config, &servers, mapping, grant);
        let claimed = Claimed { role: None, read_only: identity.read_only, mode: grant.mode };
        let key = PoolKey { claimed, ..key(database, &mapping.name) };
        let make = || {
            let spec = account::pools(&self.config, &servers, mapping, grant);
            PoolSet::new(key.clone(), spec, cluster.clone(), None)
        };
        let set = self.accounts.lock().entry(key.clone()).or_insert_with(make).clone();
        let mode = grant.pool_mode.as_deref().and_then(PoolerMode::from_word);
        Ok(Membership::of(set, identity).in_mode(mode))
    }

    /// Takes over the subjects' pools of `previous` that would be the same, then closes what is left of it. What the
    /// budgets are now holds from here on.
    pub(crate) fn replace(&self, previous: &Self) {
        let stays = |set: &PoolSet| {
            let cluster = self.clusters.get(&set.key.database);
            previous.config == self.config && cluster.is_some_and(|cluster| same_nodes(cluster, &set.cluster))
        };
        take_over(&self.entries, &previous.entries, stays);
        take_over(&self.subjects, &previous.subjects, stays);
        take_over(&self.shared, &previous.shared, stays);
        take_over(&self.accounts, &previous.accounts, stays);
        for (key, set) in &previous.named {
            if !self.named.get(key).is_some_and(|kept| Arc::ptr_eq(kept, set)) {
                set.close();
            }
        }
        for (name, set) in &previous.resolving {
            if !self.resolving.get(name).is_some_and(|kept| Arc::ptr_eq(kept, set)) {
                set.close();
            }
        }
        for (name, cluster) in &self.clusters {
            for (node, server) in cluster.nodes.iter().zip(servers(&self.config, name)) {
                node.budget.set_limit(self.config.server_budget(server));
            }
        }
    }

    /// The cluster of a database.
    pub(crate) fn cluster(&self, database: &str) -> Option<&Arc<Cluster>> {
        self.clusters.get(database)
    }

    /// Pools that were made for token subjects.
    pub(crate) fn subjects(&self) -> usize {
        self.subjects.lock().len()
    }

    /// All sets of pools.
    pub(crate) fn sets(&self) -> Vec<Arc<PoolSet>> {
        let mut sets = self.lasting_sets();
        sets.extend(self.subjects.lock().values().cloned());
        sets
    }

    /// The sets that may keep connections ahead of need.
    pub(crate) fn standing_sets(&self) -> Vec<Arc<PoolSet>> {
        let mut sets = self.lasting_sets();
        let keeps_some = |set: &&Arc<PoolSet>| set.spec.pools.iter().any(|pool| pool.min_size > 0);
        sets.extend(self.subjects.lock().values().filter(keeps_some).cloned());
        sets
    }

    /// The sets of users that users.toml names, and shared ones.
    fn lasting_sets(&self) -> Vec<Arc<PoolSet>> {
        let mut sets: Vec<_> = self.named.values().cloned().collect();
        sets.extend(self.entries.lock().values().cloned());
        sets.extend(self.shared.lock().values().cloned());
        sets.extend(self.accounts.lock().values().cloned());
        sets.extend(self.resolving.values().cloned());
        sets
    }

    /// All clusters.
    pub(crate) fn clusters(&self) -> impl Iterator<Item = (&str, &Arc<Cluster>)> {
        self.clusters.iter().map(|(name, cluster)| (name.as_str(), cluster))
    }

    /// Forgets subjects that have no session and no server connection.
    pub(crate) fn forget_idle_subjects(&self) {
        // What a server has refused is remembered, so that it is not asked again at every login.
        self.unused.forget(&mut self.subjects.lock(), |set| set.size() == 0 && !set.is_refused());
    }
}

/// Takes over the sets that stay, and closes the others. What was made anew in the meantime stays as it is.
fn take_over(
    new: &Mutex<HashMap<PoolKey, Arc<PoolSet>>>,
    old: &Mutex<HashMap<PoolKey, Arc<PoolSet>>>,
    stays: impl Fn(&PoolSet) -> bool,
) {
    let mut new = new.lock();
    for (key, set) in old.lock().drain() {
        if stays(&set) && !new.contains_key(&key) {
            new.insert(key, set);
        } else {
            set.close();
        }
    }
}

/// How users with passwords log in.
fn password_method(config: &Config) -> AuthType {
    config.jwt.as_ref().map_or(config.general.auth_type, |jwt| jwt.password_auth_type)
}

fn key(database: &str, user: &str) -> PoolKey {
    PoolKey { database: database.to_owned(), user: user.to_owned(), claimed: Claimed::default(), token: None }
}

fn servers<'a>(config: &'a Config, name: &str) -> Vec<&'a Database> {
    config.databases.iter().filter(|database| database.name == name).collect()
}

fn node(config: &Config, server: &Database, tls: &Arc<ClientTls>, previous: Option<&Registry>) -> Arc<Node> {
    let address = ServerAddress { host: server.host.clone(), port: server.port };
    let tcp = TcpOptions::from(&config.tcp);
    let nodes = previous.and_then(|previous| previous.clusters.get(&server.name)).map(|cluster| &cluster.nodes);
    let mut nodes = nodes.into_iter().flatten();
    if let Some(node) = nodes.clone().find(|node| node.is(&address, server.role, server.lb_weight, &tcp)) {
        node.tls.store(tls.clone());
        return node.clone();
    }
    // The connections of before still count, until they are gone.
    let budget = match nodes.find(|node| node.address == address) {
        Some(node) => node.budget.clone(),
        None => Budget::new(config.server_budget(server)),
    };
    Node::new(address, server.role, server.lb_weight, tls.clone(), tcp, budget)
}

/// The set of before, when the new configuration would build the same.
fn adopt(old: &Arc<PoolSet>, spec: &PoolSetSpec, cluster: &Arc<Cluster>) -> Option<Arc<PoolSet>> {
    let same = old.spec == *spec
        && same_nodes(&old.cluster, cluster)
        && old.cluster.balancer.strategy() == cluster.balancer.strategy()
        && old.cluster.split == cluster.split;
    same.then(|| old.clone())
}

fn same_nodes(one: &Cluster, other: &Cluster) -> bool {
    one.nodes.len() == other.nodes.len() && one.nodes.iter().zip(&other.nodes).all(|(a, b)| Arc::ptr_eq(a, b))
}
