//! Where a subject's groups come from, for hosts that act on them.

use std::fmt;
use std::time::Duration;

use super::printable;

/// Where an issuer says which groups a subject is in.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupSource {
    /// The claim with the groups, a string or a list of strings: an exact name, or a path with dots.
    pub claim: String,
    /// Who is asked when the token does not have that claim. Without it, such a subject is in no group.
    pub userinfo: Option<UserinfoSource>,
}

impl GroupSource {
    /// This claim, and nobody else to ask.
    pub fn new(claim: impl Into<String>) -> Self {
        Self { claim: claim.into(), userinfo: None }
    }
}

/// An issuer's userinfo endpoint (OpenID Connect Core 1.0, section 5.3), and the limits of asking it (S8, S9). The token
/// goes there, so it must be the issuer's own.
#[derive(Clone, PartialEq)]
pub struct UserinfoSource {
    /// `https://…`, or `http://` to a loopback address.
    pub url: String,
    /// How long an answer counts for the token that it was given for.
    pub cache_ttl: Duration,
    /// Most tokens whose answers are remembered.
    pub cache_size: usize,
    /// Limit for making the connection.
    pub connect_timeout: Duration,
    /// Limit for the whole of it, waiting for others included.
    pub timeout: Duration,
    /// Largest answer accepted, in bytes.
    pub max_body_size: usize,
}

impl fmt::Debug for UserinfoSource {
    /// Without what follows a `?` in the URL, which may be an access key (S5).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserinfoSource")
            .field("url", &printable(&self.url))
            .field("cache_ttl", &self.cache_ttl)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl UserinfoSource {
    /// The defaults, for this URL.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            cache_ttl: Duration::from_secs(300),
            cache_size: 10_000,
            connect_timeout: Duration::from_secs(2),
            timeout: Duration::from_secs(5),
            max_body_size: 64 * 1024,
        }
    }
}
