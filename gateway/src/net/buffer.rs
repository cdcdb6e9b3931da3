//! Read buffers. A socket that is idle owns none: a buffer is taken from the worker's own stock when bytes have arrived
//! and goes back when they are used up, so that ten thousand idle clients cost no buffer at all.

use std::cell::RefCell;

/// Size of a buffer in stock: large enough that a bulk read costs one system call, small enough to stay in the cache.
pub(crate) const BUFFER_SIZE: usize = 32 * 1024;

/// Buffers that a worker keeps for reuse (2 MiB).
const STOCK: usize = 64;

/// Bytes that are kept in memory of their own while their session waits.
const FEW: usize = 2 * 1024;

thread_local! {
    static BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes that were read and not yet used: `start..end` of a buffer that is always initialised.
#[derive(Default)]
pub(crate) struct Chunk {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Chunk {
    /// An empty chunk with room for [`BUFFER_SIZE`] bytes.
    pub(crate) fn take() -> Self {
        let buffer = BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; BUFFER_SIZE]);
        Self { buffer, start: 0, end: 0 }
    }

    /// A chunk of these bytes; of none, it has no room either.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut chunk = Self::default();
        if !bytes.is_empty() {
            chunk = Self::take();
            chunk.append(bytes);
        }
        chunk
    }

    /// The unused bytes.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    /// Marks `count` bytes as used.
    #[inline]
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    /// Drops all but the first `count` of the unused bytes.
    #[inline]
    pub(crate) fn truncate(&mut self, count: usize) {
        self.end = self.end.min(self.start + count);
    }

    /// The room behind the bytes. What is written there counts after [`Self::filled`].
    #[inline]
    pub(crate) fn room(&mut self) -> &mut [u8] {
        self.buffer.get_mut(self.end..).unwrap_or_default()
    }

    /// Counts `count` bytes that were written into the room.
    #[inline]
    pub(crate) fn filled(&mut self, count: usize) {
        self.end = (self.end + count).min(self.buffer.len());
    }

    /// Makes room, so that a message of `wanted` bytes can be gathered whole. Grows by what has arrived, not by what was
    /// announced: an announced gigabyte costs nothing until it comes.
    pub(crate) fn make_room(&mut self, wanted: usize) {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() && self.buffer.len() < wanted.max(BUFFER_SIZE) {
            let size = (self.buffer.len() * 2).max(BUFFER_SIZE).min(wanted.max(BUFFER_SIZE));
            self.buffer.resize(size, 0);
        }
    }

    /// For a wait: few bytes go to memory of their own, and the buffer back to the stock.
    pub(crate) fn make_small(&mut self) {
        if self.buffer.len() == BUFFER_SIZE && self.len() <= FEW {
            let buffer = self.bytes().to_vec();
            let end = buffer.len();
            *self = Self { buffer, start: 0, end };
        }
    }

    /// Appends a few bytes, as if they had been read.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        self.make_room(self.len() + bytes.len());
        if self.room().len() < bytes.len() {
            self.buffer.resize(self.end + bytes.len(), 0);
        }
        if let Some(room) = self.buffer.get_mut(self.end..self.end + bytes.len()) {
            room.copy_from_slice(bytes);
        }
        self.end += bytes.len();
    }
}

impl Drop for Chunk {
    // Most have nothing to give back.
    #[inline]
    fn drop(&mut self) {
        if self.buffer.len() == BUFFER_SIZE {
            give_back(std::mem::take(&mut self.buffer));
        }
    }
}

#[inline(never)]
fn give_back(buffer: Vec<u8>) {
    BUFFERS.with_borrow_mut(|stock| {
        if stock.len() < STOCK {
            stock.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_order() {
        let mut chunk = Chunk::take();
        chunk.append(b"hello world");
        chunk.consume(6);
        chunk.append(b"!");
        assert_eq!(chunk.bytes(), b"world!");
        chunk.truncate(5);
        assert_eq!(chunk.bytes(), b"world");
    }

    #[test]
    fn a_large_message_grows_the_buffer_only_as_it_arrives() {
        let mut chunk = Chunk::take();
        chunk.make_room(1 << 30);
        assert_eq!(chunk.buffer.len(), BUFFER_SIZE);
        chunk.filled(BUFFER_SIZE);
        chunk.make_room(1 << 30);
        assert_eq!(chunk.buffer.len(), 2 * BUFFER_SIZE);
        assert_eq!(chunk.len(), BUFFER_SIZE);
    }

    #[test]
    fn few_bytes_wait_without_a_buffer() {
        let mut chunk = Chunk::take();
        chunk.append(b"hello world");
        chunk.consume(6);
        let address = chunk.buffer.as_ptr();

        chunk.make_small();

        assert_eq!((chunk.bytes(), chunk.buffer.len()), (&b"world"[..], 5));
        assert_eq!(Chunk::take().buffer.as_ptr(), address);
        assert!(chunk.room().is_empty());
        chunk.make_room(chunk.len() + 1);
        assert_eq!(chunk.bytes(), b"world");
        assert_eq!(chunk.room().len(), BUFFER_SIZE - 5);
    }

    #[test]
    fn many_bytes_wait_where_they_are() {
        let mut chunk = Chunk::take();
        chunk.append(&[1; FEW + 1]);
        chunk.make_small();
        assert_eq!((chunk.len(), chunk.buffer.len()), (FEW + 1, BUFFER_SIZE));
    }

    #[test]
    fn a_buffer_is_used_again() {
        let mut chunk = Chunk::take();
        chunk.append(b"x");
        drop(chunk);
        assert!(Chunk::take().is_empty());
    }
}
