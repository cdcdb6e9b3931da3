//! One direction of a replication session: a buffer of bytes, of which the front may be written and the rest is a message
//! that has not been judged.

use std::io;
use std::task::Poll;

use crate::net::buffer::Chunk;
use crate::wire::frame::HEADER_SIZE;
use crate::wire::{Header, ProtocolViolation};

/// See the module.
#[derive(Default)]
pub(super) struct Lane {
    chunk: Chunk,
    /// Bytes at the front that may be written.
    ready: usize,
    /// Bytes of the last message that may be written as they come.
    rest: usize,
    /// Bytes that the next message needs to be judged.
    wanted: usize,
}

/// A message that waits to be judged.
pub(super) struct Frame {
    pub(super) header: Header,
    /// Empty where it was not asked for.
    pub(super) body: Vec<u8>,
}

impl Lane {
    /// Whether bytes wait to be written: until they are, no more are read.
    pub(super) fn is_blocked(&self) -> bool {
        self.ready > 0
    }

    /// Whether the last message that may be written is here to its end.
    pub(super) fn is_whole(&self) -> bool {
        self.rest == 0
    }

    /// Writes what may be written; how much that was.
    pub(super) fn write_with(&mut self, mut write: impl FnMut(&[u8]) -> Poll<io::Result<usize>>) -> io::Result<usize> {
        let mut written = 0;
        while let Some(bytes) = self.chunk.bytes().get(..self.ready).filter(|bytes| !bytes.is_empty()) {
            match write(bytes) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => {
                    self.chunk.consume(count);
                    self.ready -= count;
                    written += count;
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        Ok(written)
    }

    /// Reads once. A lane that nothing comes along holds no buffer.
    pub(super) fn read_with(
        &mut self,
        read: impl FnOnce(&mut Chunk) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if self.chunk.is_empty() {
            self.chunk = Chunk::take();
        } else {
            self.chunk.make_room(self.wanted.max(self.chunk.len() + 1));
        }
        let poll = read(&mut self.chunk);
        if let Poll::Ready(Ok(count)) = poll {
            let known = self.rest.min(count);
            self.rest -= known;
            self.ready += known;
        } else if self.chunk.is_empty() {
            self.chunk = Chunk::default();
        }
        poll
    }

    /// The next message to be judged, as soon as it is here: its header, and all of it where `whole` says so.
    pub(super) fn peek(&mut self, whole: impl FnOnce(Header) -> bool) -> Result<Option<Frame>, ProtocolViolation> {
        let bytes = self.chunk.bytes().get(self.ready..).unwrap_or_default();
        self.wanted = self.ready + HEADER_SIZE;
        let Some(header) = Header::parse(bytes)? else { return Ok(None) };
        if !whole(header) {
            return Ok(Some(Frame { header, body: Vec::new() }));
        }
        self.wanted = self.ready + header.size;
        Ok(bytes.get(HEADER_SIZE..header.size).map(|body| Frame { header, body: body.to_vec() }))
    }

    /// The message that was seen last may be written.
    pub(super) fn accept(&mut self, header: Header) {
        let here = (self.chunk.len() - self.ready).min(header.size);
        self.ready += here;
        self.rest = header.size - here;
    }

    /// Adds a message of the gateway's own behind those that may be written, in place of what has not been judged.
    pub(super) fn append(&mut self, message: &[u8]) {
        self.chunk.truncate(self.ready);
        self.chunk.append(message);
        self.ready = self.chunk.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives the bytes to the lane, at most `step` at a time, and takes what it lets through.
    fn pass(lane: &mut Lane, mut bytes: &[u8], step: usize, whole: bool) -> (Vec<u8>, Vec<Vec<u8>>) {
        let (mut out, mut bodies) = (Vec::new(), Vec::new());
        while !bytes.is_empty() {
            let count = bytes.len().min(step);
            let (part, rest) = bytes.split_at(count);
            bytes = rest;
            let read = lane.read_with(|chunk| {
                let room = chunk.room();
                assert!(room.len() >= count);
                room[..count].copy_from_slice(part);
                chunk.filled(count);
                Poll::Ready(Ok(count))
            });
            assert!(matches!(read, Poll::Ready(Ok(_))));
            while let Some(frame) = lane.peek(|_| whole).unwrap() {
                bodies.push(frame.body);
                lane.accept(frame.header);
            }
            let written = lane.write_with(|bytes| {
                out.extend_from_slice(bytes);
                Poll::Ready(Ok(bytes.len()))
            });
            assert!(written.is_ok() && !lane.is_blocked());
        }
        (out, bodies)
    }

    fn messages() -> Vec<u8> {
        let mut bytes = b"d\0\0\0\x06abQ\0\0\0\x04".to_vec();
        bytes.extend_from_slice(b"d\0\0\x10\x04");
        bytes.resize(bytes.len() + 0x1000, b'x');
        bytes.extend_from_slice(b"c\0\0\0\x04");
        bytes
    }

    #[test]
    fn everything_comes_out_as_it_went_in() {
        for step in [1, 2, 3, 7, 5000] {
            for whole in [false, true] {
                let (out, bodies) = pass(&mut Lane::default(), &messages(), step, whole);
                assert!(out == messages(), "{step} {whole}");
                assert_eq!(bodies.len(), 4);
                assert_eq!(bodies[2].len(), if whole { 0x1000 } else { 0 });
            }
        }
    }

    #[test]
    fn a_message_that_is_not_accepted_does_not_come_out() {
        let mut lane = Lane::default();
        let (out, _) = pass(&mut lane, b"d\0\0\0\x06ab", 100, false);
        assert_eq!(out, b"d\0\0\0\x06ab");
        let _ = lane.read_with(|chunk| {
            chunk.room()[..10].copy_from_slice(b"Q\0\0\0\x09evil\0");
            chunk.filled(10);
            Poll::Ready(Ok(10))
        });
        assert_eq!(lane.peek(|_| true).unwrap().unwrap().body, b"evil\0");
        lane.append(b"E\0\0\0\x04");
        let mut out = Vec::new();
        let _ = lane.write_with(|bytes| {
            out.extend_from_slice(bytes);
            Poll::Ready(Ok(bytes.len()))
        });
        assert_eq!(out, b"E\0\0\0\x04");
    }

    #[test]
    fn a_message_half_through_is_known_to_be() {
        let mut lane = Lane::default();
        pass(&mut lane, b"d\0\0\0\x10half", 100, false);
        assert!(!lane.is_whole());
        pass(&mut lane, b"12345678", 100, false);
        assert!(lane.is_whole());
    }
}
