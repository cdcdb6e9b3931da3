//! Reading one message at a time, for logins. The header is judged before the body is used, and memory grows with what
//! arrives, so that a length field alone costs nothing.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, BufReader};

use super::stream::Stream;
use crate::wire::frame::HEADER_SIZE;
use crate::wire::{Header, ProtocolViolation};

/// Bytes of room that are made at a time.
const STEP: usize = 4096;

/// Bytes that a login reads at a time: a start-up packet or a token of the usual size in one piece.
const AHEAD: usize = 2048;

/// A client's connection while it logs in. What is read beyond the message that was asked for stays in the buffer, for the
/// next one or for the session.
pub(crate) type Incoming = BufReader<Stream>;

/// Nothing is read yet.
pub(crate) fn incoming(stream: Stream) -> Incoming {
    BufReader::with_capacity(AHEAD, stream)
}

/// Why a message could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The other side left between two messages.
    #[error("the connection was closed")]
    Closed,
    #[error("the connection was closed inside a message")]
    Truncated,
    #[error("message of type {tag:?} has {size} bytes, more than the limit of {limit}")]
    TooLarge { tag: char, size: usize, limit: usize },
    #[error(transparent)]
    Protocol(#[from] ProtocolViolation),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads one message: its tag is returned, its body replaces what was in `body`. A body of more than `limit` bytes is
/// an error, and is not read. Nothing behind the message is read.
///
/// Not cancel-safe: after a time limit struck, the connection must be closed.
pub(crate) async fn read_message<S: AsyncRead + Unpin>(
    stream: &mut S,
    limit: usize,
    body: &mut Vec<u8>,
) -> Result<u8, ReadError> {
    body.clear();
    let header = read_head::<_, HEADER_SIZE>(stream).await?;
    let Some(header) = Header::parse(&header)? else {
        return Err(ReadError::Truncated);
    };
    let size = header.body_size();
    if size > limit {
        return Err(ReadError::TooLarge { tag: char::from(header.tag), size, limit });
    }
    read_body(stream, size, body).await?;
    Ok(header.tag)
}

/// Reads the bytes that say how long the rest is. A peer that resets the connection before the first of them has left,
/// like one that closes it: what it does then depends on whether it had read all that it was sent.
pub(crate) async fn read_head<S: AsyncRead + Unpin, const SIZE: usize>(
    stream: &mut S,
) -> Result<[u8; SIZE], ReadError> {
    let mut head = [0; SIZE];
    let mut filled = 0;
    while filled < SIZE {
        match stream.read(&mut head[filled..]).await {
            Ok(0) if filled == 0 => return Err(ReadError::Closed),
            Ok(0) => return Err(ReadError::Truncated),
            Ok(count) => filled += count,
            Err(error) if filled == 0 && error.kind() == io::ErrorKind::ConnectionReset => {
                return Err(ReadError::Closed);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(head)
}

/// Appends exactly `size` bytes to `into`.
pub(crate) async fn read_body<S: AsyncRead + Unpin>(
    stream: &mut S,
    size: usize,
    into: &mut Vec<u8>,
) -> Result<(), ReadError> {
    let end = into.len() + size;
    while into.len() < end {
        let missing = end - into.len();
        into.reserve(missing.min(STEP));
        let mut part = (&mut *stream).take(missing as u64);
        if part.read_buf(into).await? == 0 {
            return Err(ReadError::Truncated);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(mut bytes: &[u8], limit: usize) -> (Result<u8, ReadError>, Vec<u8>, usize) {
        let mut body = b"old".to_vec();
        let tag = read_message(&mut bytes, limit, &mut body).await;
        (tag, body, bytes.len())
    }

    #[tokio::test]
    async fn a_message_is_read_and_nothing_behind_it() {
        let (tag, body, left) = read(b"p\0\0\0\x08wordS", 100).await;
        assert_eq!(tag.unwrap(), b'p');
        assert_eq!(body, b"word");
        assert_eq!(left, 1);
    }

    #[tokio::test]
    async fn the_limit_is_exact_and_asked_before_the_body() {
        assert!(read(b"p\0\0\0\x08word", 4).await.0.is_ok());
        let (error, body, left) = read(b"p\0\0\0\x08word", 3).await;
        assert!(matches!(error, Err(ReadError::TooLarge { tag: 'p', size: 4, limit: 3 })));
        assert!(body.is_empty());
        assert_eq!(left, 4);
    }

    #[tokio::test]
    async fn a_long_length_field_reserves_nothing() {
        let (error, body, _) = read(b"p\x3f\xff\xff\xffhalf", usize::MAX).await;
        assert!(matches!(error, Err(ReadError::Truncated)));
        assert!(body.capacity() <= 2 * STEP);
    }

    #[tokio::test]
    async fn leaving_between_messages_is_told_from_leaving_inside_one() {
        assert!(matches!(read(b"", 10).await.0, Err(ReadError::Closed)));
        assert!(matches!(read(b"p\0", 10).await.0, Err(ReadError::Truncated)));
        assert!(matches!(read(b"p\0\0\0\x08w", 10).await.0, Err(ReadError::Truncated)));
        assert!(matches!(read(b"p\0\0\0\x03", 10).await.0, Err(ReadError::Protocol(_))));
    }
}
