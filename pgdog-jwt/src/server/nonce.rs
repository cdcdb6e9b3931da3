//! Values that nobody can know before they are sent: what a server repeats in its answer to a question of the host's.

use rand::TryRng;
use rand::rngs::SysRng;

/// 128 random bits, as text.
#[derive(Clone)]
pub struct Nonce([u8; Nonce::SIZE]);

/// The system gives no random numbers, so nothing can be proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system has no random numbers to give")]
pub struct NoRandom;

impl Nonce {
    const SIZE: usize = 32;

    /// A new one, of the system's generator.
    ///
    /// # Errors
    /// The system gives none. Then nothing can be proven.
    pub fn new() -> Result<Self, NoRandom> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut bytes = [0; Self::SIZE / 2];
        SysRng.try_fill_bytes(&mut bytes).map_err(|_| NoRandom)?;
        let mut text = [0; Self::SIZE];
        for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
            pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
        Ok(Self(text))
    }

    /// What is shown to people in place of one.
    pub fn shown() -> Self {
        Self(*b"a new random value for each time")
    }

    /// Digits and letters, which need no quoting.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Whether this is it. It is asked once, so the time that this takes tells nobody anything.
    pub fn is_repeated(&self, answer: &str) -> bool {
        self.0 == answer.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_another_and_only_itself() {
        let (one, other) = (Nonce::new().unwrap(), Nonce::new().unwrap());
        assert_eq!(one.as_str().len(), 32);
        assert!(one.is_repeated(one.as_str()));
        assert!(!one.is_repeated(other.as_str()));
        assert!(!one.is_repeated(""));
    }
}
