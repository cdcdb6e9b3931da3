//! The servers of one database, and the pools of one user on them. Where a statement may run is decided here: a
//! read-only identity has pools on replicas and no others (S10), so that no mistake further up can send it elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use rand::RngExt;

use super::gate::{self, Gate};
use super::greeting::Greetings;
use super::identity::{Identity, Unconfirmed};
use super::node::Node;
use super::pool::{CheckoutError, Pool, PoolSpec};
use crate::config::{LoadBalancingStrategy, PoolerMode, ReadWriteSplit};
use crate::router::Access;

/// A database: one primary and any number of replicas.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Arc<Node>>,
    pub(crate) balancing: LoadBalancingStrategy,
    pub(crate) split: ReadWriteSplit,
    pub(crate) gate: Arc<Gate>,
    turn: AtomicUsize,
}

impl Cluster {
    pub(crate) fn new(
        name: &str,
        nodes: Vec<Arc<Node>>,
        balancing: LoadBalancingStrategy,
        split: ReadWriteSplit,
    ) -> Arc<Self> {
        Arc::new(Self { nodes, balancing, split, gate: gate::of(name), turn: AtomicUsize::new(0) })
    }
}

/// Which pools: a database and a user of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PoolKey {
    pub(crate) database: String,
    pub(crate) user: String,
}

/// All that two sets of pools must have in common to be the same across a reload.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PoolSetSpec {
    /// One entry for each server of the cluster.
    pub(crate) pools: Vec<PoolSpec>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) mode: PoolerMode,
    pub(crate) read_only: bool,
}

/// The pools of one user of a database, one for each server that the user may reach.
pub(crate) struct PoolSet {
    pub(crate) key: PoolKey,
    pub(crate) spec: PoolSetSpec,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) pools: Vec<Arc<Pool>>,
    pub(crate) greetings: Mutex<Greetings>,
    sessions: AtomicUsize,
    last_used: AtomicU64,
}

/// No server of the cluster may run the statement, or none could be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoServer {
    #[error("no replica is configured and the user is read-only")]
    NoReplica,
    #[error("no replica can be reached and the user is read-only: {0}")]
    ReplicaDown(CheckoutError),
    #[error("the database has no primary")]
    NoPrimary,
    #[error("the database was paused for more than {0:?}")]
    Paused(std::time::Duration),
    #[error(transparent)]
    Checkout(CheckoutError),
}

impl PoolSet {
    pub(crate) fn new(key: PoolKey, spec: PoolSetSpec, cluster: Arc<Cluster>) -> Arc<Self> {
        let pools = cluster
            .nodes
            .iter()
            .zip(&spec.pools)
            .filter(|(node, _)| !spec.read_only || node.is_replica())
            .map(|(node, pool)| Pool::new(pool.clone(), node.clone()))
            .collect();
        let set = Self {
            key,
            spec,
            cluster,
            pools,
            greetings: Mutex::default(),
            sessions: AtomicUsize::new(0),
            last_used: AtomicU64::new(0),
        };
        set.touch();
        Arc::new(set)
    }

    /// Whether statements have to be told apart to know where they run.
    pub(crate) fn routes(&self) -> bool {
        !self.spec.read_only && self.pools.len() > 1
    }

    /// Whether `pool` may run statements of this kind.
    pub(crate) fn allows(&self, pool: &Pool, access: Access) -> bool {
        match access {
            Access::Read => true,
            Access::Write => self.spec.read_only || !pool.node.is_replica(),
        }
    }

    /// A connection that is free now on the server that comes first.
    #[inline]
    pub(crate) fn try_check_out(&self, access: Access) -> Option<Unconfirmed> {
        if self.cluster.gate.is_closed() {
            return None;
        }
        match self.pools.as_slice() {
            [only] if self.allows(only, access) => only.try_check_out(),
            [_] => None,
            _ => self.candidates(access).first()?.try_check_out(),
        }
    }

    /// A connection to a server that may run the statement: the next one when the first cannot be reached.
    pub(crate) async fn check_out(&self, access: Access) -> Result<Unconfirmed, NoServer> {
        self.cluster.gate.pass().await.map_err(NoServer::Paused)?;
        let candidates = self.candidates(access);
        let mut last = None;
        for pool in candidates {
            match pool.check_out().await {
                Ok(server) => return Ok(server),
                Err(error) if error.is_unreachable() => last = Some(error),
                Err(error) => return Err(NoServer::Checkout(error)),
            }
        }
        Err(match (last, self.spec.read_only) {
            (Some(error), true) => NoServer::ReplicaDown(error),
            (Some(error), false) => NoServer::Checkout(error),
            (None, true) => NoServer::NoReplica,
            (None, false) => NoServer::NoPrimary,
        })
    }

    /// The pools that may run a statement, best first; those whose server is down come last.
    fn candidates(&self, access: Access) -> Vec<&Arc<Pool>> {
        let mut pools: Vec<&Arc<Pool>> = self.pools.iter().filter(|pool| self.allows(pool, access)).collect();
        if access == Access::Read && !self.spec.read_only {
            self.split(&mut pools);
        }
        if pools.len() > 1 {
            self.balance(&mut pools);
            if self.cluster.split == ReadWriteSplit::IncludePrimaryIfReplicaBanned && access == Access::Read {
                pools.sort_by_key(|pool| !pool.node.is_replica());
            }
            pools.sort_by_key(|pool| pool.node.is_down());
        }
        pools
    }

    /// What `read_write_split` says about reads and the primary.
    fn split(&self, pools: &mut Vec<&Arc<Pool>>) {
        let has_replica = pools.iter().any(|pool| pool.node.is_replica());
        let has_primary = pools.iter().any(|pool| !pool.node.is_replica());
        match self.cluster.split {
            ReadWriteSplit::ExcludePrimary if has_replica => pools.retain(|pool| pool.node.is_replica()),
            ReadWriteSplit::PreferPrimary if has_primary => pools.retain(|pool| !pool.node.is_replica()),
            _ => {}
        }
    }

    fn balance(&self, pools: &mut [&Arc<Pool>]) {
        match self.cluster.balancing {
            LoadBalancingStrategy::LeastActiveConnections => pools.sort_by_key(|pool| pool.active()),
            LoadBalancingStrategy::RoundRobin => {
                let turn = self.cluster.turn.fetch_add(1, Ordering::Relaxed);
                pools.rotate_left(turn % pools.len());
            }
            LoadBalancingStrategy::Random | LoadBalancingStrategy::WeightedRoundRobin => {
                let total: u32 = pools.iter().map(|pool| u32::from(pool.node.weight)).sum();
                if total == 0 {
                    return;
                }
                let mut point = rand::rng().random_range(0..total);
                let first = pools.iter().position(|pool| {
                    let weight = u32::from(pool.node.weight);
                    let here = point < weight;
                    point = point.saturating_sub(weight);
                    here
                });
                if let Some(first) = first {
                    pools.rotate_left(first);
                }
            }
        }
    }

    fn touch(&self) {
        self.last_used.store(super::uptime().as_secs(), Ordering::Relaxed);
    }

    pub(crate) fn last_used(&self) -> u64 {
        self.last_used.load(Ordering::Relaxed)
    }

    pub(crate) fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    /// Server connections that exist.
    pub(crate) fn size(&self) -> usize {
        self.pools.iter().map(|pool| pool.size()).sum()
    }

    pub(crate) fn close(&self) {
        self.pools.iter().for_each(|pool| pool.close());
    }
}

/// A session's hold on its pools: they are not evicted while it lasts.
pub(crate) struct Membership(Arc<PoolSet>);

impl Membership {
    pub(crate) fn new(set: Arc<PoolSet>) -> Self {
        set.sessions.fetch_add(1, Ordering::Relaxed);
        Self(set)
    }
}

impl std::ops::Deref for Membership {
    type Target = Arc<PoolSet>;

    fn deref(&self) -> &Arc<PoolSet> {
        &self.0
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.0.touch();
        self.0.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}

impl CheckoutError {
    /// Whether another server may still do: this one did not answer at all.
    pub(crate) fn is_unreachable(&self) -> bool {
        match self {
            Self::Connect(error) => error.is_unreachable(),
            Self::ConnectTimeout(_) => true,
            _ => false,
        }
    }
}
