//! Frames: one tag byte, a length that counts itself, a body. Everything is forwarded by header alone; bodies are read
//! only where a decision depends on them.

/// Tag and length of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) tag: u8,
    /// Whole length in bytes, with the tag and the length field.
    pub(crate) size: usize,
}

/// Tag byte and length field.
pub(crate) const HEADER_SIZE: usize = 5;

/// The largest message that PostgreSQL itself accepts (`PQ_LARGE_MESSAGE_LIMIT`, 1 GiB less one byte) and its tag.
const MAX_FRAME_SIZE: usize = 0x3fff_ffff + 1;

/// The peer sent something that no frame can be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProtocolViolation {
    #[error("message length {0} is out of range")]
    Length(u32),
    #[error("message of type {0:?} is malformed")]
    Malformed(char),
    #[error("unexpected message of type {0:?}")]
    Unexpected(char),
}

impl Header {
    /// Reads the header at the start of `bytes`: `None` when it is not complete yet.
    #[inline]
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Self>, ProtocolViolation> {
        let Some(&[tag, a, b, c, d]) = bytes.first_chunk::<HEADER_SIZE>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([a, b, c, d]);
        let size = length as usize + 1;
        if length < 4 || size > MAX_FRAME_SIZE {
            return Err(ProtocolViolation::Length(length));
        }
        Ok(Some(Self { tag, size }))
    }

    /// Length of the body in bytes.
    #[inline]
    pub(crate) fn body_size(self) -> usize {
        self.size - HEADER_SIZE
    }
}

/// Starts a frame in `out` and returns where it starts; [`end`] fills in its length.
#[inline]
pub(crate) fn begin(out: &mut Vec<u8>, tag: u8) -> usize {
    let start = out.len();
    out.extend_from_slice(&[tag, 0, 0, 0, 0]);
    start
}

/// Ends the frame that began at `start`.
#[inline]
pub(crate) fn end(out: &mut [u8], start: usize) {
    let length = (out.len() - start - 1) as u32;
    if let Some(field) = out.get_mut(start + 1..start + HEADER_SIZE) {
        field.copy_from_slice(&length.to_be_bytes());
    }
}

/// Appends a whole frame whose body is at hand.
#[inline]
pub(crate) fn push(out: &mut Vec<u8>, tag: u8, body: &[u8]) {
    let start = begin(out, tag);
    out.extend_from_slice(body);
    end(out, start);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_only_when_whole() {
        assert_eq!(Header::parse(b"Q\0\0\0"), Ok(None));
        assert_eq!(Header::parse(b"Q\0\0\0\x04"), Ok(Some(Header { tag: b'Q', size: 5 })));
    }

    #[test]
    fn impossible_lengths_are_refused() {
        assert_eq!(Header::parse(b"Q\0\0\0\x03"), Err(ProtocolViolation::Length(3)));
        assert_eq!(Header::parse(b"Q\xff\xff\xff\xff"), Err(ProtocolViolation::Length(u32::MAX)));
        assert_eq!(Header::parse(b"Q\x40\0\0\0"), Err(ProtocolViolation::Length(0x4000_0000)));
        assert!(Header::parse(b"Q\x3f\xff\xff\xff").is_ok());
    }

    #[test]
    fn built_frames_read_back() {
        let mut out = b"before".to_vec();
        let start = begin(&mut out, b'S');
        out.extend_from_slice(b"body");
        end(&mut out, start);
        assert_eq!(Header::parse(&out[6..]), Ok(Some(Header { tag: b'S', size: 9 })));
        assert_eq!(&out[11..], b"body");
    }
}
