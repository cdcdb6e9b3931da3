//! Verdicts on sets of names, remembered for as long as the look at the database counts that they were made by. Asked for each
//! statement, so nothing here waits.

use std::sync::atomic::{AtomicU64, Ordering};

/// Verdicts that are remembered.
const MOST: usize = 4096;

/// What becomes of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing but PostgreSQL's own code.
    Plain,
    Foreign,
    /// Nobody has looked.
    Unknown,
    /// The text must be read again.
    Forgotten,
}

/// See the module.
pub(super) struct Verdicts {
    /// The number of the look, and behind it the changes of schemas that it has seen; 0: there is none.
    look: AtomicU64,
    /// At the number of a set: the look's, the set's, and whether it is foreign.
    entries: Box<[AtomicU64; MOST]>,
}

impl Default for Verdicts {
    fn default() -> Self {
        Self { look: AtomicU64::new(0), entries: Box::new([const { AtomicU64::new(0) }; MOST]) }
    }
}

impl Verdicts {
    /// The look that counts while schemas have changed so often; 0: none does.
    #[inline]
    pub(super) fn look(&self, schemas: u32) -> u32 {
        let look = self.look.load(Ordering::Acquire);
        if look as u32 == schemas { (look >> 32) as u32 } else { 0 }
    }

    /// Whether a set is foreign, by this look; `None`: nobody has judged it.
    #[inline]
    pub(super) fn get(&self, look: u32, set: u32) -> Option<bool> {
        let entry = self.entries[set as usize % MOST].load(Ordering::Relaxed);
        (entry >> 1 == (u64::from(look) << 32 | u64::from(set)) & (u64::MAX >> 1)).then_some(entry & 1 != 0)
    }

    pub(super) fn put(&self, look: u32, set: u32, is_foreign: bool) {
        let entry = (u64::from(look) << 32 | u64::from(set)) << 1 | u64::from(is_foreign);
        self.entries[set as usize % MOST].store(entry, Ordering::Relaxed);
    }

    /// Another look counts from now on.
    pub(super) fn begin(&self, look: u32, schemas: u32) {
        self.look.store(u64::from(look) << 32 | u64::from(schemas), Ordering::Release);
    }

    /// None counts.
    pub(super) fn end(&self) {
        self.look.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_counts_for_its_look_and_its_set_alone() {
        let verdicts = Verdicts::default();
        assert_eq!(verdicts.look(0), 0);
        verdicts.begin(7, 3);
        assert_eq!((verdicts.look(3), verdicts.look(4)), (7, 0));
        verdicts.put(7, 5, false);
        verdicts.put(7, 6, true);
        assert_eq!((verdicts.get(7, 5), verdicts.get(7, 6)), (Some(false), Some(true)));
        assert_eq!((verdicts.get(8, 5), verdicts.get(7, 5 + MOST as u32)), (None, None));
        verdicts.end();
        assert_eq!(verdicts.look(3), 0);
    }
}
