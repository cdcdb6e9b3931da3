//! One PostgreSQL of a cluster, as all pools see it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::connect::ServerAddress;
use crate::config::Role;
use crate::net::options::TcpOptions;
use crate::net::tls::ClientTls;

/// How long a server that could not be reached is passed over while there is another.
const DOWN_FOR: Duration = Duration::from_secs(2);

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// See the module.
pub(crate) struct Node {
    pub(crate) address: ServerAddress,
    pub(crate) role: Role,
    pub(crate) weight: u8,
    /// Replaced on reload: certificates are renewed in place.
    pub(crate) tls: ArcSwap<ClientTls>,
    pub(crate) tcp: TcpOptions,
    /// Milliseconds since the process started; 0: not down.
    down_until: AtomicU64,
    /// Connections that were made and that failed, and when the last one was made (milliseconds, as above).
    pub(crate) connects: AtomicU64,
    pub(crate) failures: AtomicU64,
    reached: AtomicU64,
}

impl Node {
    pub(crate) fn new(
        address: ServerAddress,
        role: Role,
        weight: u8,
        tls: Arc<ClientTls>,
        tcp: TcpOptions,
    ) -> Arc<Self> {
        Arc::new(Self {
            address,
            role,
            weight,
            tls: ArcSwap::new(tls),
            tcp,
            down_until: AtomicU64::new(0),
            connects: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            reached: AtomicU64::new(0),
        })
    }

    /// Whether this is the same server, described in the same way.
    pub(crate) fn is(&self, address: &ServerAddress, role: Role, weight: u8, tcp: &TcpOptions) -> bool {
        self.address == *address && self.role == role && self.weight == weight && self.tcp == *tcp
    }

    pub(crate) fn is_replica(&self) -> bool {
        self.role == Role::Replica
    }

    pub(crate) fn mark_down(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let until = EPOCH.elapsed() + DOWN_FOR;
        if self.down_until.swap(until.as_millis() as u64, Ordering::Relaxed) == 0 {
            tracing::warn!(address = %self.address, "server cannot be reached");
        }
    }

    pub(crate) fn mark_up(&self) {
        self.connects.fetch_add(1, Ordering::Relaxed);
        self.note_reached();
        if self.down_until.load(Ordering::Relaxed) != 0 && self.down_until.swap(0, Ordering::Relaxed) != 0 {
            tracing::info!(address = %self.address, "server is reached again");
        }
    }

    /// The server answered.
    pub(crate) fn note_reached(&self) {
        self.reached.store((EPOCH.elapsed().as_millis() as u64).max(1), Ordering::Relaxed);
    }

    /// How long ago the server answered; `None`: never.
    pub(crate) fn last_reached(&self) -> Option<Duration> {
        let reached = self.reached.load(Ordering::Relaxed);
        (reached != 0).then(|| EPOCH.elapsed().saturating_sub(Duration::from_millis(reached)))
    }

    pub(crate) fn is_down(&self) -> bool {
        let until = self.down_until.load(Ordering::Relaxed);
        until != 0 && (EPOCH.elapsed().as_millis() as u64) < until
    }
}
