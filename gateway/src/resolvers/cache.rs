//! Results of resolvers, for a while. The key is a hash over everything that a result depends on, in full, so that no two
//! questions share an answer; whoever asks the same at the same time waits for one answer.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context, SHA256};
use lru::LruCache;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::{COUNTS, count};

/// Most results that are kept (S9).
const MAX_ENTRIES: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();
/// Largest result that is kept, in bytes.
const MAX_SIZE: usize = 16 * 1024;

/// The values of one row.
pub(super) type Row = Arc<[Option<String>]>;

type Entry = Arc<OnceCell<(Instant, Row)>>;

/// See the module.
pub(crate) struct Cache(Mutex<LruCache<Key, Entry>>);

/// What was asked, of whom, for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; 32]);

impl Key {
    /// Of all parts, each with its length, so that none can reach into the next.
    pub(super) fn of<'a>(parts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut context = Context::new(&SHA256);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut key = [0; 32];
        key.copy_from_slice(context.finish().as_ref());
        Self(key)
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(MAX_ENTRIES)))
    }
}

impl Cache {
    /// The result that is known, or else the one that `ask` gives. Only a row is kept: who has none may have one soon.
    pub(super) async fn get<E>(
        &self,
        key: Key,
        ttl: Duration,
        ask: impl Future<Output = Result<Row, E>>,
    ) -> Result<Row, E> {
        let entry = self.entry(key, ttl);
        let mut asked = false;
        let known = entry.get_or_try_init(|| async {
            asked = true;
            count(&COUNTS.misses);
            ask.await.map(|row| (Instant::now(), row))
        });
        let outcome = known.await.map(|(_, row)| row.clone());
        if !asked {
            count(&COUNTS.hits);
        }
        let is_kept = outcome.as_ref().is_ok_and(|row| size(row) <= MAX_SIZE);
        if !is_kept {
            self.forget(key, &entry);
        }
        outcome
    }

    fn entry(&self, key: Key, ttl: Duration) -> Entry {
        let mut entries = self.0.lock();
        let is_fresh = |entry: &Entry| entry.get().is_none_or(|(since, _)| since.elapsed() < ttl);
        if let Some(entry) = entries.get(&key).filter(|entry| is_fresh(entry)) {
            return entry.clone();
        }
        let entry = Entry::default();
        entries.put(key, entry.clone());
        entry
    }

    /// Takes out an entry, if it is still this one and nobody else waits for it.
    fn forget(&self, key: Key, entry: &Entry) {
        let mut entries = self.0.lock();
        let is_same = entries.peek(&key).is_some_and(|known| Arc::ptr_eq(known, entry));
        // The list's own, and the caller's.
        if is_same && Arc::strong_count(entry) <= 2 {
            entries.pop(&key);
        }
    }

    /// Forgets everything; how many results there were.
    pub(crate) fn flush(&self) -> usize {
        let mut entries = self.0.lock();
        let count = entries.len();
        entries.clear();
        count
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().len()
    }
}

fn size(row: &Row) -> usize {
    row.iter().flatten().map(String::len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const LONG: Duration = Duration::from_secs(60);

    fn row(text: &str) -> Row {
        Arc::from([Some(text.to_owned())])
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(Key::of(["ab", "c"]), Key::of(["a", "bc"]));
        assert_ne!(Key::of(["a", ""]), Key::of(["a"]));
        assert_eq!(Key::of(["a", "b"]), Key::of(["a", "b"]));
    }

    #[tokio::test]
    async fn the_same_question_is_asked_once_until_its_answer_is_old() {
        let (cache, asked) = (Cache::default(), AtomicUsize::new(0));
        let ask = |ttl| {
            cache.get(Key::of(["q"]), ttl, async {
                asked.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                Ok::<_, ()>(row("x"))
            })
        };
        let (one, other) = tokio::join!(ask(LONG), ask(LONG));
        assert_eq!((one, other), (Ok(row("x")), Ok(row("x"))));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        let _ = ask(Duration::ZERO).await;
        assert_eq!(asked.load(Ordering::Relaxed), 2, "an old answer is none");
        assert_eq!(cache.flush(), 1);
        let _ = ask(LONG).await;
        assert_eq!(asked.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn failures_and_large_results_are_not_kept() {
        let cache = Cache::default();
        let failed = cache.get(Key::of(["q"]), LONG, async { Err::<Row, _>("no") }).await;
        assert_eq!((failed, cache.len()), (Err("no"), 0));
        let large = cache.get(Key::of(["q"]), LONG, async { Ok::<_, ()>(row(&"x".repeat(MAX_SIZE + 1))) }).await;
        assert!(large.is_ok() && cache.len() == 0);
    }
}
