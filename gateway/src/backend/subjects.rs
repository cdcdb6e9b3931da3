//! Sets of pools that nobody uses, in the order in which their last session left: the first of them makes room when
//! there are too many, and those without connections are forgotten. Neither costs more when there are more of them.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::Mutex;

use super::cluster::{PoolKey, PoolSet};

/// Sets that one tick of the janitor looks at.
const LOOK_AT: usize = 512;

/// The sets of token subjects that users.toml does not name.
pub(super) type Subjects = HashMap<PoolKey, Arc<PoolSet>>;

/// See the module. A set may be listed that is used again; it is then not the one that was marked, or has sessions.
#[derive(Debug, Default)]
pub(crate) struct Unused(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    by_mark: BTreeMap<u64, PoolKey>,
    last_mark: u64,
    /// Where the janitor stopped.
    looked_at: u64,
}

impl Unused {
    /// The last session of the set has left.
    pub(super) fn note(&self, set: &PoolSet) {
        let mut inner = self.0.lock();
        inner.last_mark += 1;
        let mark = inner.last_mark;
        let old = set.replace_mark(mark);
        inner.by_mark.remove(&old);
        inner.by_mark.insert(mark, set.key.clone());
    }

    /// Takes out the set that was left first and that nobody uses.
    pub(super) fn evict(&self, subjects: &mut Subjects) -> Option<Arc<PoolSet>> {
        let mut inner = self.0.lock();
        loop {
            let (mark, key) = inner.by_mark.pop_first()?;
            if is_unused(subjects, mark, &key).is_some() {
                return subjects.remove(&key);
            }
        }
    }

    /// Takes out sets that are unused and that `is_empty` allows to forget: one stretch of the list, the next at the next
    /// call.
    pub(super) fn forget(&self, subjects: &mut Subjects, is_empty: impl Fn(&PoolSet) -> bool) {
        let mut inner = self.0.lock();
        let start = (Bound::Excluded(inner.looked_at), Bound::Unbounded);
        let stretch: Vec<_> =
            inner.by_mark.range(start).take(LOOK_AT).map(|(mark, key)| (*mark, key.clone())).collect();
        inner.looked_at = if stretch.len() < LOOK_AT { 0 } else { stretch.last().map_or(0, |(mark, _)| *mark) };
        for (mark, key) in stretch {
            match is_unused(subjects, mark, &key) {
                Some(set) if !is_empty(set) => {}
                Some(_) => {
                    subjects.remove(&key);
                    inner.by_mark.remove(&mark);
                }
                None => {
                    inner.by_mark.remove(&mark);
                }
            }
        }
    }
}

/// The set that was marked, when it is the same still and nobody uses it. One in use is marked again when it is left.
fn is_unused<'a>(subjects: &'a Subjects, mark: u64, key: &PoolKey) -> Option<&'a PoolSet> {
    subjects.get(key).map(Arc::as_ref).filter(|set| set.mark() == mark && set.sessions() == 0)
}
