//! How far a replica has replayed the write-ahead log, for sessions that must see what they wrote. Known from the
//! server's monitor, which looks at once when somebody asks; in doubt nothing is known, and the primary serves.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// Of one server. A position is a `pg_lsn` as a number.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    /// 0: not known.
    position: AtomicU64,
    wanted: Notify,
}

impl Replay {
    /// Notes what the replica said.
    pub(super) fn note(&self, position: u64) {
        self.position.store(position, Ordering::Release);
    }

    /// The server may have been restarted, or replaced by an older copy.
    pub(super) fn forget(&self) {
        self.position.store(0, Ordering::Release);
    }

    /// Whether the replica shows everything up to `position`. If not, the monitor is asked to look again.
    pub(crate) fn has_reached(&self, position: u64) -> bool {
        let reached = self.position.load(Ordering::Acquire) >= position;
        if !reached {
            self.wanted.notify_one();
        }
        reached
    }

    /// Waits until somebody wants to know.
    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_assumed_of_a_server_that_may_be_another() {
        let replay = Replay::default();
        assert!(replay.has_reached(0) && !replay.has_reached(1));
        replay.note(100);
        assert!(replay.has_reached(100) && !replay.has_reached(101));
        replay.forget();
        assert!(!replay.has_reached(1));
    }
}
