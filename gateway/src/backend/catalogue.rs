//! Which names of a database lead to code that is not PostgreSQL's own, as far as a look at its catalogue shows. Until it was
//! looked at, and while schemas change, every name may.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use pgdog_jwt::config::Secret;
use pgdog_jwt_guard::Code;
use tracing::{debug, warn};

use super::cluster::PoolSet;
use super::connect::{self, ConnectError, ServerLogin};
use super::connection::Connection;
use super::conversation::ConversationError;
use super::held;
use super::known_names::Known;
use super::pool::Pool;
use super::verdicts::{Verdict, Verdicts};

/// Between two looks: so long a change that did not go through the gateway may stay unseen.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A look that takes long is not repeated before this many times as long.
const REST: u32 = 100;

/// The same after a change that did go through it: until then every name may lead to other code.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const SHORT_REST: u32 = 10;

/// After a look that failed.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// Of one look.
const LIMIT: Duration = Duration::from_secs(30);

/// How often a look, at any database, has found that a name leads further than the look before had said.
static SURPRISES: AtomicU32 = AtomicU32::new(0);

/// The same: what ran in between may have been other code than it seemed to be.
#[inline]
pub(super) fn surprises() -> u32 {
    SURPRISES.load(Ordering::Relaxed)
}

/// See the module. One for each database.
#[derive(Default)]
pub(crate) struct Catalogue {
    /// The number of the last look, and what it has seen.
    known: ArcSwapOption<(u32, Known)>,
    verdicts: Verdicts,
    /// Sessions have asked since the last look.
    is_used: AtomicBool,
    next: Mutex<Next>,
}

#[derive(Default)]
struct Next {
    is_looking: bool,
    /// When the next one is due.
    at: Option<Instant>,
    /// When it may be where schemas have changed.
    soon: Option<Instant>,
    /// The changes of schemas at the last look.
    schemas: Option<u32>,
    /// With whose account the servers are asked.
    asker: Weak<PoolSet>,
}

/// Why a look has failed.
#[derive(Debug, thiserror::Error)]
enum NoLook {
    #[error("there is no server")]
    NoServer,
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Conversation(#[from] ConversationError),
    #[error("the answer did not come in time")]
    Late,
}

impl Catalogue {
    /// Whether a text runs nothing but PostgreSQL's own code.
    #[inline]
    pub(crate) fn verdict(&self, code: Code) -> Verdict {
        let Some(set) = code.number() else { return Verdict::Foreign };
        let look = self.verdicts.look(held::schemas());
        if look == 0 {
            return Verdict::Unknown;
        }
        if !self.is_used.load(Ordering::Relaxed) {
            self.is_used.store(true, Ordering::Relaxed);
        }
        match self.verdicts.get(look, set) {
            Some(false) => Verdict::Plain,
            Some(true) => Verdict::Foreign,
            None => self.judge(code, look, set),
        }
    }

    #[cold]
    fn judge(&self, code: Code, look: u32, set: u32) -> Verdict {
        let Some(names) = code.names() else { return Verdict::Forgotten };
        let known = self.known.load();
        let Some((_, known)) = known.as_deref().filter(|(at, _)| *at == look) else { return Verdict::Unknown };
        let is_plain = known.is_plain(&names);
        self.verdicts.put(look, set, !is_plain);
        if is_plain { Verdict::Plain } else { Verdict::Foreign }
    }

    /// Nobody has looked yet, or schemas have changed since: a look with the account of these pools.
    pub(crate) fn want(self: &Arc<Self>, set: &Arc<PoolSet>) {
        let mut next = self.next.lock();
        let is_new = next.schemas != Some(held::schemas());
        let is_due = if is_new { next.soon } else { next.at }.is_none_or(|at| at <= Instant::now());
        if next.is_looking || !is_due || set.cluster.gate.is_closed() {
            return;
        }
        next.is_looking = true;
        next.asker = Arc::downgrade(set);
        drop(next);
        tokio::spawn(self.clone().look(set.clone()));
    }

    /// Looks again when it is time to, and somebody needs it. Called every second.
    pub(crate) fn tend(self: &Arc<Self>) {
        let mut next = self.next.lock();
        if next.is_looking || next.at.is_none_or(|at| at > Instant::now()) || !self.is_used.load(Ordering::Relaxed) {
            return;
        }
        let Some(set) = next.asker.upgrade() else {
            // The next session that needs it looks with its own.
            self.verdicts.end();
            next.at = None;
            return;
        };
        if set.cluster.gate.is_closed() {
            return;
        }
        next.is_looking = true;
        drop(next);
        tokio::spawn(self.clone().look(set));
    }

    async fn look(self: Arc<Self>, set: Arc<PoolSet>) {
        // A change that comes while it is looked is not known to be seen.
        let schemas = held::schemas();
        self.is_used.store(false, Ordering::Relaxed);
        let asked = tokio::time::timeout(LIMIT, ask(&set));
        let mut taken = Duration::ZERO;
        let outcome = asked.await.unwrap_or(Err(NoLook::Late));
        let pause = match outcome {
            Ok((known, time)) => {
                taken = time;
                if known.is_too_large {
                    warn!(event = "catalogue", database = set.key.database, "too many names in a database");
                }
                debug!(event = "catalogue", database = set.key.database, names = known.len(), "looked at a database");
                let before = self.known.load_full();
                if before.as_deref().is_some_and(|(_, before)| !known.is_as_plain_as(before)) {
                    SURPRISES.fetch_add(1, Ordering::Relaxed);
                }
                let look = before.map_or(0, |before| before.0) % (u32::MAX >> 1) + 1;
                self.known.store(Some(Arc::new((look, known))));
                self.verdicts.begin(look, schemas);
                LOOK_EVERY.max(taken.saturating_mul(REST))
            }
            Err(error) => {
                debug!(event = "catalogue", database = set.key.database, %error, "could not look at a database");
                self.verdicts.end();
                TRY_AGAIN
            }
        };
        let mut next = self.next.lock();
        next.is_looking = false;
        next.schemas = Some(schemas);
        let now = Instant::now();
        next.at = now.checked_add(pause);
        next.soon = now.checked_add(LOOK_AGAIN.max(taken.saturating_mul(SHORT_REST)));
    }
}

/// Asks a server, the one for writes first. Also how long it took.
async fn ask(set: &PoolSet) -> Result<(Known, Duration), NoLook> {
    let writer = set.cluster.writer().and_then(|at| set.cluster.nodes.get(at));
    let is_writer = |pool: &&Arc<Pool>| writer.is_some_and(|writer| Arc::ptr_eq(writer, &pool.node));
    let mut outcome = Err(NoLook::NoServer);
    for pool in set.pools.iter().filter(is_writer).chain(set.pools.iter().filter(|pool| !is_writer(pool))) {
        outcome = ask_one(pool).await;
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// On a connection of its own, as monitors do: those of the pool are the clients'.
async fn ask_one(pool: &Pool) -> Result<(Known, Duration), NoLook> {
    let password = pool.spec.password.as_ref().map(Secret::latest);
    let login = ServerLogin {
        user: &pool.spec.user,
        password: password.as_ref().map(Secret::expose),
        proof: &pool.spec.proof,
        database: &pool.spec.database,
        parameters: &[("application_name", "pgdog-jwt monitor"), ("client_encoding", "UTF8")],
    };
    let tls = pool.node.tls.load_full();
    let mut connection =
        connect::connect(&pool.node.address, login, &tls, &pool.node.tcp).await.map(Connection::new)?;
    let started = Instant::now();
    let known = Known::ask(&mut connection).await?;
    connection.farewell();
    Ok((known, started.elapsed()))
}
