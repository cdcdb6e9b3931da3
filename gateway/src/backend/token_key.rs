//! Which token a set of pools belongs to, where server connections are made with the token: a connection that one token
//! has opened serves nobody who has not shown that same token.

use std::fmt;
use std::sync::LazyLock;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use pgdog_jwt::AuthGrant;
use pgdog_jwt::config::{IdentityMode, Secret};

use super::registry::NoPool;

/// Of this process alone, so that a fingerprint says nothing about the token to anybody.
static KEY: LazyLock<Option<hmac::Key>> =
    LazyLock::new(|| hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok());

/// HMAC-SHA-256 of a token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TokenKey([u8; 32]);

impl TokenKey {
    /// The key of a grant's pools; `None` where they are of all the subject's tokens.
    pub(super) fn of(grant: &AuthGrant) -> Result<Option<Self>, NoPool> {
        if grant.mode != IdentityMode::Passthrough {
            return Ok(None);
        }
        let token = grant.token.as_ref().ok_or(NoPool::NoToken)?;
        Self::new(token).map(Some).ok_or(NoPool::NoToken)
    }

    /// `None`: there are no random numbers, or the fingerprint has another length than it must have.
    fn new(token: &Secret) -> Option<Self> {
        let tag = hmac::sign(KEY.as_ref()?, token.expose().as_bytes());
        tag.as_ref().try_into().ok().map(Self)
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_keys_of_their_own_which_are_not_shown() {
        let key = |token: &str| TokenKey::new(&Secret::new(token)).expect("random numbers");
        assert_eq!(key("a"), key("a"));
        assert_ne!(key("a"), key("b"));
        assert_eq!(format!("{:?}", key("a")), "TokenKey(..)");
    }
}
