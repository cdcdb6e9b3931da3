//! Which of its pools a session gets a connection from: by what the statement needs, by what the servers are at this
//! moment, by `read_write_split`, by bans, and among equals by the balancer. Nothing here allocates.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use pgdog_jwt_guard::Access;

use super::balance::Candidate;
use super::checkout_error::CheckoutError;
use super::cluster::{NoServer, PoolSet};
use super::identity::Unconfirmed;
use super::pool::{Pool, Wish};
use crate::config::{LoadBalancingStrategy, ReadWriteSplit};

/// Servers of a cluster that are looked at.
const MOST_SERVERS: usize = 128;

/// Between two looks for a primary, while there is none.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Added up to the rank of a pool: the lowest is best.
const SECOND_CHOICE: u8 = 1;
const WEIGHTLESS: u8 = 2;
const UNKNOWN: u8 = 4;
const BANNED: u8 = 8;

/// Between two looks for a replica that has caught up.
const CATCHES_UP_EVERY: Duration = Duration::from_millis(2);

/// What a session wants of a server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    pub(crate) access: Access,
    /// A replica must have replayed up to here; 0: anything will do.
    pub(crate) position: u64,
    /// How long to wait for such a replica before the primary takes its place.
    pub(crate) patience: Duration,
    /// It may become the session's identity with the session's request.
    pub(crate) may_pipeline: bool,
}

impl From<Access> for Need {
    fn from(access: Access) -> Self {
        Self { access, position: 0, patience: Duration::ZERO, may_pipeline: false }
    }
}

/// What is the same for all pools of one choice.
#[derive(Clone, Copy)]
struct View {
    access: Access,
    position: u64,
    /// The server for writes.
    writer: Option<usize>,
    has_replica: bool,
    replica_banned: bool,
    tried: Tried,
}

/// Pools that were tried before, one bit each.
#[derive(Clone, Copy, Default)]
struct Tried {
    all: u128,
    /// Those that have a connection, to a server that is not what it was taken for.
    unfit: u128,
}

impl PoolSet {
    /// Whether `pool` may run statements of this kind, as its server is now.
    pub(crate) fn allows(&self, pool: &Pool, access: Access) -> bool {
        if self.spec.read_only {
            return pool.node.may_serve_read_only();
        }
        let is_writer = || {
            let writer = self.cluster.writer().and_then(|at| self.cluster.nodes.get(at));
            writer.is_some_and(|writer| Arc::ptr_eq(writer, &pool.node))
        };
        match access {
            Access::Read | Access::Replica => pool.node.is_replica() || is_writer(),
            Access::Write => is_writer(),
        }
    }

    /// The same, and a replica shows the session what it wrote.
    fn suits(&self, pool: &Pool, need: Need) -> bool {
        self.allows(pool, need.access)
            && (need.position == 0 || !pool.node.is_replica() || pool.node.replay.has_reached(need.position))
    }

    /// A connection that is free now on the server that comes first.
    #[inline]
    pub(crate) fn try_check_out(&self, need: Need, wish: &Wish, now: Instant) -> Option<Box<Unconfirmed>> {
        if self.cluster.gate.is_closed() {
            return None;
        }
        if let [only] = self.pools.as_slice() {
            return if self.allows(only, need.access) {
                only.try_check_out(wish, need.may_pipeline, now)
            } else {
                None
            };
        }
        if !need.patience.is_zero() && self.may_catch_up(need) {
            return None;
        }
        let view = self.view(need, Tried::default());
        let at = self.pick(view)?;
        let pool = self.pools.get(at)?;
        if !self.suits(pool, need) {
            return None;
        }
        let server = pool.try_check_out(wish, need.may_pipeline, now)?;
        self.took(at, view);
        Some(server)
    }

    /// A connection to a server that may run the statement. While an `auto` database has no primary that answers, writes
    /// wait for the next one, as long as they would for a free connection. So does every statement while the servers that
    /// it could run on are away for a moment.
    pub(crate) async fn check_out(&self, need: Need, wish: &Wish) -> Result<Box<Unconfirmed>, NoServer> {
        let started = Instant::now();
        while started.elapsed() < need.patience && self.may_catch_up(need) {
            tokio::time::sleep(CATCHES_UP_EVERY).await;
        }
        let patience = self.pools.first().map_or(Duration::ZERO, |pool| pool.spec.limits.checkout_timeout);
        let waits = need.access == Access::Write && !self.spec.read_only && self.cluster.follows_roles();
        loop {
            match self.check_out_now(need, wish).await {
                Err(error)
                    if (waits && error.is_about_primary() || self.may_return(&error))
                        && started.elapsed() < patience =>
                {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                other => return other,
            }
        }
    }

    /// Whether no server answered, and one did a short while ago.
    fn may_return(&self, error: &NoServer) -> bool {
        error.is_about_absence() && self.pools.iter().any(|pool| pool.node.was_here_lately())
    }

    /// A connection to any server that the user may reach: the primary where there is one.
    pub(crate) async fn check_out_any(&self, wish: &Wish) -> Result<Box<Unconfirmed>, NoServer> {
        match self.check_out_now(Access::Write.into(), wish).await {
            Err(error) if error.is_about_primary() && self.routes() => {
                self.check_out_now(Access::Read.into(), wish).await
            }
            other => other,
        }
    }

    /// One pool after the other, until one has a server that answers.
    async fn check_out_now(&self, need: Need, wish: &Wish) -> Result<Box<Unconfirmed>, NoServer> {
        self.cluster.gate.pass().await.map_err(NoServer::Paused)?;
        let mut tried = Tried::default();
        let mut last = None;
        loop {
            let view = self.view(need, tried);
            let Some((at, pool)) = self.pick(view).and_then(|at| Some((at, self.pools.get(at)?))) else { break };
            tried.all |= 1 << at;
            self.took(at, view);
            match pool.check_out(wish).await {
                Ok(server) if self.suits(pool, need) => return Ok(server),
                // Now its role is known, and it is another than was hoped for; or the server is not where it was.
                Ok(server) => {
                    tried.unfit |= 1 << at;
                    Pool::check_in(server);
                }
                Err(error) if error.is_unreachable() => last = Some(error),
                Err(error) => return Err(NoServer::Checkout(error)),
            }
        }
        Err(self.nothing(last))
    }

    fn nothing(&self, last: Option<CheckoutError>) -> NoServer {
        match (last, self.spec.read_only) {
            (Some(error), true) => NoServer::ReplicaDown(error),
            (Some(error), false) => NoServer::Checkout(error),
            (None, true) if self.pools.is_empty() => NoServer::NoReplica,
            (None, true) => NoServer::NoStandby,
            (None, false) => NoServer::NoPrimary,
        }
    }

    /// Whether a read would go to the primary only because no replica shows yet what the session wrote.
    fn may_catch_up(&self, need: Need) -> bool {
        let Need { access, position, .. } = need;
        let wants_replica = match self.split(access) {
            ReadWriteSplit::ExcludePrimary | ReadWriteSplit::IncludePrimaryIfReplicaBanned => access != Access::Write,
            ReadWriteSplit::IncludePrimary | ReadWriteSplit::PreferPrimary => false,
        };
        if position == 0 || !wants_replica || self.spec.read_only {
            return false;
        }
        let mut replicas = self.pools.iter().map(|pool| &pool.node).filter(|node| node.is_replica());
        let mut well = replicas.clone().filter(|node| !node.bans.keeps_reads_away()).peekable();
        // None is well: whoever takes over for them does so at once.
        well.peek().is_some() && !replicas.any(|node| node.replay.has_reached(position))
    }

    fn view(&self, need: Need, tried: Tried) -> View {
        let Need { access, position, .. } = need;
        let writer = self.cluster.writer();
        let mut view = View { access, position, writer, has_replica: false, replica_banned: false, tried };
        if access != Access::Write && !self.spec.read_only {
            for (at, pool) in self.pools.iter().enumerate().filter(|(_, pool)| pool.node.is_replica()) {
                let stale = position != 0 && !pool.node.replay.has_reached(position);
                let unfit = at < MOST_SERVERS && tried.unfit & (1 << at) != 0;
                view.has_replica |= !stale && !unfit;
                view.replica_banned |= pool.node.bans.keeps_reads_away();
            }
        }
        view
    }

    /// The pool that comes next.
    fn pick(&self, view: View) -> Option<usize> {
        let best = (0..self.pools.len()).filter_map(|at| self.rank(at, view)).min()?;
        let node = self.cluster.balancer.next(self.equals(view, best))?;
        self.numbers.iter().position(|number| *number == node)
    }

    /// Pool `at` was picked and used.
    fn took(&self, at: usize, view: View) {
        if let (Some(rank), Some(node)) = (self.rank(at, view), self.numbers.get(at)) {
            self.cluster.balancer.took(*node, self.equals(view, rank));
        }
    }

    fn equals(&self, view: View, rank: u8) -> impl Iterator<Item = Candidate> + Clone {
        let counts = self.cluster.balancer.strategy() == LoadBalancingStrategy::LeastActiveConnections;
        let pools = self.pools.iter().zip(&self.numbers).enumerate();
        pools.filter(move |(at, _)| self.rank(*at, view) == Some(rank)).map(move |(_, (pool, node))| Candidate {
            node: *node,
            weight: pool.node.weight,
            active: if counts { pool.active() } else { 0 },
        })
    }

    /// How willingly a pool is taken; `None`: not at all.
    fn rank(&self, at: usize, view: View) -> Option<u8> {
        if at >= MOST_SERVERS || view.tried.all & (1 << at) != 0 {
            return None;
        }
        let node = &self.pools.get(at)?.node;
        if node.is_unknown() {
            // Its role shows when a connection is made, before any client's byte goes there.
            let wanted = self.spec.read_only || view.access != Access::Write || view.writer.is_none();
            return wanted.then_some(UNKNOWN + if node.bans.is_banned() { BANNED } else { 0 });
        }
        let is_writer = view.writer.is_some() && self.numbers.get(at).copied() == view.writer;
        if self.spec.read_only {
            if !node.may_serve_read_only() {
                return None;
            }
        } else if view.access == Access::Write {
            // There is no other: bans do not matter.
            return is_writer.then_some(0);
        } else if !is_writer && (!node.is_replica() || !node.replay.has_reached(view.position)) {
            return None;
        }
        let mut rank = if self.spec.read_only { 0 } else { self.choice(is_writer, view)? };
        if self.cluster.balancer.weighs() && node.weight == 0 {
            rank += WEIGHTLESS;
        }
        if node.bans.keeps_reads_away() {
            rank += BANNED;
        }
        Some(rank)
    }

    /// How the primary takes part in reads. Who asks for a replica gets the primary only in place of one.
    fn split(&self, access: Access) -> ReadWriteSplit {
        match (access, self.cluster.split) {
            (Access::Replica, ReadWriteSplit::IncludePrimary | ReadWriteSplit::PreferPrimary) => {
                ReadWriteSplit::ExcludePrimary
            }
            (_, split) => split,
        }
    }

    /// What `read_write_split` says about reads.
    fn choice(&self, is_writer: bool, view: View) -> Option<u8> {
        match self.split(view.access) {
            ReadWriteSplit::IncludePrimary => Some(0),
            ReadWriteSplit::ExcludePrimary => (!is_writer || !view.has_replica).then_some(0),
            ReadWriteSplit::IncludePrimaryIfReplicaBanned if is_writer && !view.replica_banned => Some(SECOND_CHOICE),
            ReadWriteSplit::IncludePrimaryIfReplicaBanned => Some(0),
            ReadWriteSplit::PreferPrimary => Some(if is_writer { 0 } else { SECOND_CHOICE }),
        }
    }
}

impl NoServer {
    /// Whether there was no answer.
    fn is_about_absence(&self) -> bool {
        match self {
            Self::Checkout(CheckoutError::Connect(error)) | Self::ReplicaDown(CheckoutError::Connect(error)) => {
                error.is_unreachable()
            }
            Self::Checkout(error) | Self::ReplicaDown(error) => error.is_unreachable(),
            Self::NoPrimary | Self::NoReplica | Self::NoStandby | Self::Paused(_) => false,
        }
    }

    /// Whether another server, or another moment, may do.
    fn is_about_primary(&self) -> bool {
        match self {
            Self::NoPrimary => true,
            Self::Checkout(error) => error.is_unreachable(),
            Self::NoReplica | Self::NoStandby | Self::ReplicaDown(_) | Self::Paused(_) => false,
        }
    }
}
