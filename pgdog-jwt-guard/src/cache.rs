//! Classes of texts seen before, within bounds of number and of memory.

use foldhash::quality::RandomState;
use lru::LruCache;

/// Memory for the keys of one memory, whatever the number of entries (bytes).
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// Classes by the whole text; the least recently used goes first. Hashes only find an entry, the text decides.
pub(super) struct Memory<V> {
    entries: LruCache<Box<[u8]>, V, RandomState>,
    limit: usize,
    bytes: usize,
}

impl<V: Clone> Memory<V> {
    /// Holds up to `limit` entries.
    pub(super) fn new(limit: usize) -> Self {
        Self { entries: LruCache::unbounded_with_hasher(RandomState::default()), limit, bytes: 0 }
    }

    /// What is known of a text.
    pub(super) fn get(&mut self, text: &[u8]) -> Option<V> {
        self.entries.get(text).cloned()
    }

    /// Remembers a text that is not known yet.
    pub(super) fn put(&mut self, text: &[u8], value: V) {
        if self.entries.put(text.into(), value).is_none() {
            self.bytes += text.len();
        }
        while self.entries.len() > self.limit || self.bytes > MAX_BYTES {
            let Some((text, _)) = self.entries.pop_lru() else { return };
            self.bytes -= text.len();
        }
    }
}

#[cfg(all(test, feature = "pg_query"))]
impl<V> Memory<V> {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_text_is_forgotten_first() {
        let mut memory = Memory::new(2);
        memory.put(b"a", 1);
        memory.put(b"b", 2);
        assert_eq!(memory.get(b"a"), Some(1));
        memory.put(b"c", 3);
        assert_eq!((memory.get(b"a"), memory.get(b"b"), memory.get(b"c")), (Some(1), None, Some(3)));
    }

    #[test]
    fn memory_is_bounded_by_bytes_too() {
        let mut memory = Memory::new(usize::MAX);
        for n in 0..2000_u32 {
            let mut text = vec![b'x'; 16 * 1024];
            text.extend_from_slice(&n.to_le_bytes());
            memory.put(&text, n);
        }
        assert!(memory.bytes <= MAX_BYTES && memory.entries.len() < 600);
    }
}
