//! One PostgreSQL of a cluster, as all pools see it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;
use tracing::warn;

use super::bans::{BanReason, Bans};
use super::budget::Budget;
use super::connect::{self, ServerAddress};
use super::replay::Replay;
use super::role::Observed;
use crate::app::seldom::Seldom;
use crate::config::{Choice, Role};
use crate::net::options::TcpOptions;
use crate::net::tls::ClientTls;
use crate::stats;

/// Connections to one server that may be on their way at the same time. A login costs the server a process and, with
/// SCRAM, some milliseconds of work: more at once make none of them faster.
const MAX_CONNECTING: usize = 8;

/// Limit for passing a cancel request on.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a server may be away before clients no longer wait for it.
const RESTART: Duration = Duration::from_secs(30);

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// See the module.
pub(crate) struct Node {
    /// Its number in the admin database.
    pub(crate) number: u64,
    pub(crate) address: ServerAddress,
    /// As configured; see [`Self::is_replica`] for what it is now.
    role: Role,
    pub(crate) weight: u8,
    /// Replaced on reload: certificates are renewed in place.
    pub(crate) tls: ArcSwap<ClientTls>,
    pub(crate) tcp: TcpOptions,
    pub(crate) observed: Observed,
    pub(crate) bans: Bans,
    /// Connections that all pools of it may have together.
    pub(crate) budget: Arc<Budget>,
    pub(crate) replay: Replay,
    /// Right to make a connection.
    pub(crate) connecting: Semaphore,
    /// Grows each time that the server is reached again: pools then forget that they failed.
    returns: AtomicU64,
    /// A monitor looks after it.
    pub(super) monitored: AtomicBool,
    /// Connections of pools that were made, and that failed because nobody answered.
    pub(crate) connects: AtomicU64,
    pub(crate) failures: AtomicU64,
    /// Those that failed because who logs in was not let in.
    pub(crate) refusals: AtomicU64,
    pub(super) refusals_told: Seldom,
    /// When it answered last, by [`stats::clock`]; 0: never.
    answered: AtomicU64,
    /// Since when it does not answer; 0: it did when it was asked last.
    absent: AtomicU64,
}

/// What became of a cancel request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CancelOutcome {
    /// It has done what it will do, or has never reached its server.
    Over,
    /// It may still cancel what the server runs later.
    InDoubt,
}

impl Node {
    pub(crate) fn new(
        address: ServerAddress,
        role: Role,
        weight: u8,
        tls: Arc<ClientTls>,
        tcp: TcpOptions,
        budget: Arc<Budget>,
    ) -> Arc<Self> {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        Arc::new(Self {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            address,
            role,
            weight,
            tls: ArcSwap::new(tls),
            tcp,
            observed: Observed::default(),
            bans: Bans::default(),
            budget,
            replay: Replay::default(),
            connecting: Semaphore::new(MAX_CONNECTING),
            returns: AtomicU64::new(0),
            monitored: AtomicBool::new(false),
            connects: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
            refusals_told: Seldom::new(),
            answered: AtomicU64::new(0),
            absent: AtomicU64::new(0),
        })
    }

    /// Whether this is the same server, described in the same way.
    pub(crate) fn is(&self, address: &ServerAddress, role: Role, weight: u8, tcp: &TcpOptions) -> bool {
        self.address == *address && self.role == role && self.weight == weight && self.tcp == *tcp
    }

    pub(crate) fn is_configured_primary(&self) -> bool {
        self.role == Role::Primary
    }

    pub(crate) fn is_auto(&self) -> bool {
        self.role == Role::Auto
    }

    /// An `auto` server that nobody has seen yet.
    pub(crate) fn is_unknown(&self) -> bool {
        self.is_auto() && self.observed.is_unknown()
    }

    /// Whether reads may take it for a replica.
    #[inline]
    pub(crate) fn is_replica(&self) -> bool {
        match self.role {
            Role::Primary => false,
            Role::Replica => true,
            Role::Auto => self.observed.is_standby(),
        }
    }

    /// Whether a read-only identity may be sent there (S10): never to a configured primary, nor to one that was seen to
    /// be none but a primary. That it is a standby is verified on each connection besides.
    #[inline]
    pub(crate) fn may_serve_read_only(&self) -> bool {
        match self.role {
            Role::Primary => false,
            Role::Replica => !self.observed.is_primary(),
            Role::Auto => self.observed.is_standby(),
        }
    }

    /// Notes what the server said of itself.
    pub(crate) fn observe(&self, in_recovery: bool) {
        if self.observed.note(in_recovery) {
            let role = if in_recovery { "replica" } else { "primary" };
            tracing::info!(event = "role", address = %self.address, role, "server role");
            if self.role == Role::Replica && !in_recovery {
                tracing::warn!(event = "role", address = %self.address, "a configured replica is not in recovery: \
                    read-only users get nothing from it");
            }
        }
    }

    /// What a pool saw at a login. It may be older than what the monitor has seen since, and a server that is not in
    /// recovery stays so until it restarts: only that, and what nobody knew, is believed.
    pub(crate) fn observe_at_login(&self, in_recovery: bool) {
        // A login may be the first to a server that was started again.
        self.replay.forget();
        if !in_recovery || self.observed.is_unknown() {
            self.observe(in_recovery);
        }
    }

    pub(crate) fn ban(&self, reason: BanReason, duration: Duration) {
        if self.bans.ban(reason, duration) {
            tracing::warn!(event = "ban", address = %self.address, %reason, "server banned");
        }
    }

    /// The administrator bans the server, or ends whatever ban there is.
    pub(crate) fn set_banned(&self, banned: bool) {
        if self.bans.set_manual(banned) {
            let event = if banned { "ban" } else { "unban" };
            tracing::warn!(event, address = %self.address, reason = %BanReason::Manual, "server banned by hand");
        }
        if !banned && self.bans.lift() {
            self.returns.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The server did not answer.
    pub(crate) fn missed(&self, reason: BanReason, ban_timeout: Duration) {
        let _ = self.absent.compare_exchange(0, stats::clock(), Ordering::Relaxed, Ordering::Relaxed);
        self.ban(reason, ban_timeout);
    }

    /// Whether it answers, or did a short while ago: it may be starting again.
    pub(crate) fn was_here_lately(&self) -> bool {
        let absent = self.absent.load(Ordering::Relaxed);
        let absence = Duration::from_nanos(stats::clock().saturating_sub(absent));
        self.answered.load(Ordering::Relaxed) != 0 && (absent == 0 || absence < RESTART)
    }

    /// The server answered.
    pub(crate) fn reached(&self) {
        self.answered.store(stats::clock(), Ordering::Relaxed);
        self.absent.store(0, Ordering::Relaxed);
        if self.bans.lift() {
            self.returns.fetch_add(1, Ordering::Relaxed);
            tracing::info!(event = "unban", address = %self.address, "server is reached again");
        }
    }

    /// How long ago the server answered; `None`: never.
    pub(crate) fn last_reached(&self) -> Option<Duration> {
        let answered = self.answered.load(Ordering::Relaxed);
        (answered != 0).then(|| Duration::from_nanos(stats::clock().saturating_sub(answered)))
    }

    /// Asks the server to cancel what `process` runs. Whoever must know that the request is over waits for the end of this.
    pub(crate) async fn cancel(&self, process: u32, key: &[u8]) -> CancelOutcome {
        let tls = self.tls.load_full();
        let is_sent = AtomicBool::new(false);
        let cancel = connect::cancel(&self.address, &tls, process, key, &is_sent);
        match tokio::time::timeout(CANCEL_TIMEOUT, cancel).await {
            Ok(Ok(())) => return CancelOutcome::Over,
            Ok(Err(error)) => warn!(%error, "a cancel request could not be passed on"),
            Err(_) => warn!("a cancel request took too long"),
        }
        if is_sent.into_inner() { CancelOutcome::InDoubt } else { CancelOutcome::Over }
    }

    /// What it is now, as far as that is known.
    pub(crate) fn role_name(&self) -> &'static str {
        match self.role {
            Role::Auto if self.observed.is_primary() => Role::Primary.word(),
            Role::Auto if self.observed.is_standby() => Role::Replica.word(),
            role => role.word(),
        }
    }

    pub(crate) fn returns(&self) -> u64 {
        self.returns.load(Ordering::Relaxed)
    }
}
