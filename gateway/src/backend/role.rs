//! What a server is at this moment: primary or standby, as PostgreSQL itself says. Kept for every server, also for those
//! whose role is configured: a replica that was promoted must not serve read-only identities any more (S10).

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

const UNKNOWN: u8 = 0;
const PRIMARY: u8 = 1;
const STANDBY: u8 = 2;

/// What was seen last.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    state: AtomicU8,
    /// Of a primary; 0: not known. The server that was promoted last has the highest.
    timeline: AtomicU32,
    /// Grows with every change of the state.
    epoch: AtomicU32,
}

impl Observed {
    /// Notes an answer of `pg_is_in_recovery()`; `true` when it is news.
    pub(crate) fn note(&self, in_recovery: bool) -> bool {
        let state = if in_recovery { STANDBY } else { PRIMARY };
        // A look first: the line stays shared between the workers while nothing changes.
        let news = self.state.load(Ordering::Acquire) != state && self.state.swap(state, Ordering::AcqRel) != state;
        if news {
            self.epoch.fetch_add(1, Ordering::AcqRel);
        }
        news
    }

    pub(crate) fn note_timeline(&self, timeline: u32) {
        self.timeline.store(timeline, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn is_primary(&self) -> bool {
        self.state.load(Ordering::Acquire) == PRIMARY
    }

    #[inline]
    pub(crate) fn is_standby(&self) -> bool {
        self.state.load(Ordering::Acquire) == STANDBY
    }

    pub(crate) fn is_unknown(&self) -> bool {
        self.state.load(Ordering::Acquire) == UNKNOWN
    }

    pub(crate) fn timeline(&self) -> u32 {
        self.timeline.load(Ordering::Relaxed)
    }

    /// What was verified in an earlier epoch has to be verified again.
    #[inline]
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Acquire)
    }
}
