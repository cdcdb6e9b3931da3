//! The message that a token comes in. Its length is the client's word, so it is bounded before there is room for it.

use pgdog_jwt::DenyReason;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Room for a token of the size that the configuration allows, and for what a client puts around it (bytes).
const SLACK: usize = 256;

/// Why there is no credential. The client hears the same as for a wrong one.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// Another message, or one that is no message.
    #[error("the client sent message {0:?} in place of a password")]
    OtherMessage(char),
    /// Longer than any token that would be taken.
    #[error("the client announced a password message of {0} bytes, more than \"max_token_size\" allows")]
    TooLong(i32),
    /// Shorter than the length itself, or negative.
    #[error("the client announced a password message of {0} bytes")]
    NoLength(i32),
    /// A password ends with a NUL byte and has no other.
    #[error("the client's password message is malformed")]
    Malformed,
    /// The connection is gone.
    #[error("reading the client's password message: {0}")]
    Io(#[from] std::io::Error),
}

impl CredentialError {
    /// The word for it in the log.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong(_) => DenyReason::TooLarge.code(),
            _ => "protocol",
        }
    }
}

/// Reads a PasswordMessage and gives its content without the NUL. The caller sets the time limit.
///
/// # Errors
/// See [`CredentialError`]. What was read of the message is lost: the connection must be closed.
pub async fn read(stream: &mut (impl AsyncRead + Unpin), max_token_size: usize) -> Result<Vec<u8>, CredentialError> {
    let tag = stream.read_u8().await?;
    if tag != b'p' {
        return Err(CredentialError::OtherMessage(tag.into()));
    }
    let announced = stream.read_i32().await?;
    let length = usize::try_from(announced).ok().and_then(|length| length.checked_sub(4));
    let length = length.ok_or(CredentialError::NoLength(announced))?;
    if length > max_token_size.saturating_add(SLACK) {
        return Err(CredentialError::TooLong(announced));
    }
    let mut credential = vec![0; length];
    stream.read_exact(&mut credential).await?;
    if credential.pop() != Some(0) || credential.contains(&0) {
        return Err(CredentialError::Malformed);
    }
    Ok(credential)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_bytes(bytes: &[u8]) -> Result<Vec<u8>, CredentialError> {
        read(&mut &*bytes, 16).await
    }

    #[tokio::test]
    async fn a_password_is_read_without_its_end() {
        assert_eq!(read_bytes(b"p\0\0\0\x07ab\0").await.unwrap(), b"ab");
        assert_eq!(read_bytes(b"p\0\0\0\x05\0").await.unwrap(), b"");
    }

    #[tokio::test]
    async fn a_length_is_judged_before_there_is_room_for_it() {
        assert!(matches!(read_bytes(b"p\x7f\xff\xff\xff").await, Err(CredentialError::TooLong(_))));
        assert!(matches!(read_bytes(b"p\xff\xff\xff\xff").await, Err(CredentialError::NoLength(-1))));
        assert!(matches!(read_bytes(b"p\0\0\0\x03").await, Err(CredentialError::NoLength(3))));
        assert!(matches!(read_bytes(b"p\0\0\x02\0").await, Err(CredentialError::TooLong(512))));
    }

    #[tokio::test]
    async fn a_long_one_is_called_what_a_long_token_is() {
        let error = read_bytes(b"p\0\0\x02\0").await.unwrap_err();
        assert_eq!(error.code(), "token_too_large");
        assert!(error.to_string().contains("\"max_token_size\""), "{error}");
    }

    #[tokio::test]
    async fn anything_else_is_no_password() {
        assert!(matches!(read_bytes(b"Q\0\0\0\x06a\0").await, Err(CredentialError::OtherMessage('Q'))));
        assert!(matches!(read_bytes(b"p\0\0\0\x06ab").await, Err(CredentialError::Malformed)));
        assert!(matches!(read_bytes(b"p\0\0\0\x08a\0b\0").await, Err(CredentialError::Malformed)));
        assert!(matches!(read_bytes(b"p\0\0\0\x04").await, Err(CredentialError::Malformed)));
        assert!(matches!(read_bytes(b"p\0\0\0\x09ab\0").await, Err(CredentialError::Io(_))));
    }
}
