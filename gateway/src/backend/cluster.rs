//! The servers of one database, and the pools of one user on them. A read-only identity has no pool on a server that is
//! configured as the primary (S10), so that no mistake further up can send it there; `choose` does the rest.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use pgdog_jwt::AuthGrant;
use pgdog_jwt::config::IdentityMode;

use super::balance::Balancer;
use super::catalogue::Catalogue;
use super::checkout_error::CheckoutError;
use super::cleaning::new_session;
use super::gate::{self, Gate};
use super::greeting::Greetings;
use super::identities::Identities;
use super::identity::Identity;
use super::latest::Latest;
use super::node::Node;
use super::pool::{Pool, PoolSpec, Wish};
use super::role_settings::Remembered;
use super::subjects::Unused;
use super::token_key::TokenKey;
use crate::config::{LoadBalancingStrategy, PoolerMode, ReadWriteSplit};
use crate::stats::Account;

/// A database: one primary and any number of replicas.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Arc<Node>>,
    pub(crate) balancer: Balancer,
    pub(crate) split: ReadWriteSplit,
    /// The position that a primary was last seen to have written up to (see [`super::health`]).
    pub(super) written: AtomicU64,
    /// Closed while the administrator has paused the database.
    pub(crate) gate: Arc<Gate>,
    pub(crate) catalogue: Arc<Catalogue>,
}

impl Cluster {
    pub(crate) fn new(
        name: &str,
        nodes: Vec<Arc<Node>>,
        balancing: LoadBalancingStrategy,
        split: ReadWriteSplit,
    ) -> Arc<Self> {
        let balancer = Balancer::new(balancing, nodes.len());
        let (written, gate, catalogue) = (AtomicU64::new(0), gate::of(name), Arc::default());
        Arc::new(Self { nodes, balancer, split, written, gate, catalogue })
    }

    /// Whether roles are not configured but asked of the servers.
    pub(crate) fn follows_roles(&self) -> bool {
        self.nodes.iter().any(|node| node.is_auto())
    }

    /// The number of the server that takes writes: the configured primary, or the `auto` server that is one. Of several
    /// the one on the highest timeline, which was promoted last: the others are what failover left behind.
    pub(crate) fn writer(&self) -> Option<usize> {
        let configured = self.nodes.iter().position(|node| node.is_configured_primary());
        configured.or_else(|| {
            let primaries =
                self.nodes.iter().enumerate().filter(|(_, node)| node.is_auto() && node.observed.is_primary());
            let newest =
                primaries.max_by_key(|(at, node)| (node.observed.timeline(), !node.bans.is_banned(), Reverse(*at)));
            newest.map(|(at, _)| at)
        })
    }
}

/// Which pools: a database and a user of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PoolKey {
    pub(crate) database: String,
    pub(crate) user: String,
    /// Of sessions with one and the same token, where connections are made with it.
    pub(crate) token: Option<TokenKey>,
    /// Of token subjects: what their claims make of them.
    pub(crate) claimed: Claimed,
}

/// What claims may make of a subject, apart from other sessions of the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Claimed {
    /// The role in place of its own.
    pub(crate) role: Option<String>,
    pub(crate) read_only: bool,
    /// Of another issuer, the same name may be another kind of session.
    pub(crate) mode: IdentityMode,
}

/// All that two sets of pools must have in common to be the same across a reload.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PoolSetSpec {
    /// One entry for each server of the cluster.
    pub(crate) pools: Vec<PoolSpec>,
    pub(crate) identity: Arc<Identity>,
    /// Identities follow the clients.
    pub(crate) shared: bool,
    pub(crate) mode: PoolerMode,
    pub(crate) read_only: bool,
}

impl PoolSetSpec {
    /// Whether pools of this kind are as good for a token's subject as pools of its own would be.
    pub(crate) fn serves(&self, token: &Self) -> bool {
        let same =
            |(a, b): (&PoolSpec, &PoolSpec)| a.user == b.user && a.proof == b.proof && a.parameters == b.parameters;
        self.mode == token.mode
            && self.shared == token.shared
            && self.read_only == token.read_only
            && self.identity.role == token.identity.role
            && self.identity.login == token.identity.login
            && self.identity.watched == token.identity.watched
            && self.pools.iter().zip(&token.pools).all(same)
    }
}

/// The pools of one user of a database, one for each server that the user may reach.
pub(crate) struct PoolSet {
    pub(crate) key: PoolKey,
    pub(crate) spec: PoolSetSpec,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) pools: Vec<Arc<Pool>>,
    /// For each pool, the number of its server in the cluster.
    pub(super) numbers: Vec<usize>,
    pub(crate) greetings: Mutex<Greetings>,
    pub(crate) role_settings: Remembered,
    /// Of the clients, where they share the pools.
    pub(crate) identities: Identities,
    /// Of the login before, which the next one may be equal to.
    pub(crate) grant: Latest<AuthGrant>,
    pub(crate) account: Latest<Account>,
    sessions: AtomicUsize,
    /// Sessions that are held to a server.
    pub(crate) pinned: AtomicUsize,
    /// Where it is listed while it has no sessions, if it may make room for others then.
    unused: Option<Arc<Unused>>,
    /// Its place there.
    mark: AtomicU64,
}

/// No server of the cluster may run the statement, or none could be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoServer {
    #[error("no replica is configured and the user is read-only")]
    NoReplica,
    #[error("no replica can be reached and the user is read-only: {0}")]
    ReplicaDown(CheckoutError),
    #[error("no server is a replica at this moment and the user is read-only")]
    NoStandby,
    #[error("the database has no primary")]
    NoPrimary,
    #[error("the database was paused for more than {0:?}")]
    Paused(std::time::Duration),
    #[error(transparent)]
    Checkout(CheckoutError),
}

impl PoolSet {
    pub(crate) fn new(
        key: PoolKey,
        spec: PoolSetSpec,
        cluster: Arc<Cluster>,
        unused: Option<Arc<Unused>>,
    ) -> Arc<Self> {
        let (numbers, pools) = cluster
            .nodes
            .iter()
            .zip(&spec.pools)
            .enumerate()
            .filter(|(_, (node, _))| !spec.read_only || !node.is_configured_primary())
            .map(|(number, (node, pool))| (number, Pool::new(pool.clone(), node.clone())))
            .unzip();
        Arc::new(Self {
            key,
            spec,
            cluster,
            pools,
            numbers,
            greetings: Mutex::default(),
            role_settings: Remembered::default(),
            identities: Identities::default(),
            grant: Latest::default(),
            account: Latest::default(),
            sessions: AtomicUsize::new(0),
            pinned: AtomicUsize::new(0),
            unused,
            mark: AtomicU64::new(0),
        })
    }

    /// Whether statements have to be told apart to know where they run.
    pub(crate) fn routes(&self) -> bool {
        !self.spec.read_only && self.pools.len() > 1
    }

    pub(super) fn mark(&self) -> u64 {
        self.mark.load(Ordering::Relaxed)
    }

    /// The mark that it had before.
    pub(super) fn replace_mark(&self, mark: u64) -> u64 {
        self.mark.swap(mark, Ordering::Relaxed)
    }

    pub(crate) fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    /// Server connections that exist.
    pub(crate) fn size(&self) -> usize {
        self.pools.iter().map(|pool| pool.size()).sum()
    }

    /// Whether a server has refused the login of a pool a short while ago.
    pub(crate) fn is_refused(&self) -> bool {
        self.pools.iter().any(|pool| pool.is_refused())
    }

    pub(crate) fn close(&self) {
        self.pools.iter().for_each(|pool| pool.close());
    }
}

/// A session's hold on its pools, and who it is there: they are not evicted while it lasts.
pub(crate) struct Membership {
    set: Arc<PoolSet>,
    pub(crate) wish: Wish,
    /// How the session holds its servers.
    pub(crate) mode: PoolerMode,
}

impl Membership {
    /// Of pools that are the session's identity.
    pub(crate) fn new(set: Arc<PoolSet>) -> Self {
        let identity = set.spec.identity.clone();
        Self::with(set, identity)
    }

    /// Of pools that sessions of other identities may use as well.
    pub(super) fn of(set: Arc<PoolSet>, identity: Identity) -> Self {
        if identity == *set.spec.identity {
            return Self::new(set);
        }
        let identity = set.identities.intern(identity);
        Self::with(set, identity)
    }

    /// The same, for a session that holds its servers in its own way.
    pub(super) fn in_mode(mut self, mode: Option<PoolerMode>) -> Self {
        self.mode = mode.unwrap_or(self.mode);
        self
    }

    fn with(set: Arc<PoolSet>, identity: Arc<Identity>) -> Self {
        set.sessions.fetch_add(1, Ordering::Relaxed);
        let mode = set.spec.mode;
        Self { set, wish: Wish { identity, last: 0, session: new_session() }, mode }
    }

    /// Who every server connection of the session must be.
    #[inline]
    pub(crate) fn identity(&self) -> &Arc<Identity> {
        &self.wish.identity
    }
}

impl std::ops::Deref for Membership {
    type Target = Arc<PoolSet>;

    fn deref(&self) -> &Arc<PoolSet> {
        &self.set
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let was_last = self.set.sessions.fetch_sub(1, Ordering::Relaxed) == 1;
        if let (true, Some(unused)) = (was_last, &self.set.unused) {
            unused.note(&self.set);
        }
    }
}
