//! Sessions that are held to their server by state that cannot follow them, counted for each set of pools.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::backend::cluster::PoolSet;

/// Whether this session is held, and where it is counted. Dropping it takes it out of the count.
#[derive(Default)]
pub(super) struct Pin(Option<Arc<PoolSet>>);

impl Pin {
    #[inline]
    pub(super) fn is_pinned(&self) -> bool {
        self.0.is_some()
    }

    /// Counts the session as held. One connection of the pool stays free for the others, where there are any: `false` when this
    /// would take the last.
    pub(super) fn pin(&mut self, pools: &Arc<PoolSet>) -> bool {
        if self.0.is_some() {
            return true;
        }
        let size = pools.pools.iter().map(|pool| pool.spec.size).max().unwrap_or(0);
        let limit = if pools.sessions() > 1 { size.saturating_sub(1) } else { size };
        if pools.pinned.fetch_add(1, Ordering::Relaxed) >= limit {
            pools.pinned.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        self.0 = Some(pools.clone());
        true
    }

    pub(super) fn unpin(&mut self) {
        if let Some(pools) = self.0.take() {
            pools.pinned.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.unpin();
    }
}
