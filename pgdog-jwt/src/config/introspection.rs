//! Issuers that are asked about tokens (RFC 7662), and how the host proves who asks.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::{Proxy, Secret, printable};

/// An issuer's introspection endpoint, and the limits of asking it (S8, S9). The token goes there, so it must be the
/// issuer's own.
#[derive(Clone, PartialEq)]
pub struct IntrospectionSource {
    /// `https://…`, or `http://` to a loopback address.
    pub url: String,
    /// What the issuer calls the host.
    pub client_id: String,
    /// How the host proves that it is this client.
    pub client_auth: ClientAuth,
    /// Whether the issuer's JWTs are asked about as well, after their signature was found good.
    pub introspect_jwts: bool,
    /// How long an answer counts without `exp`, from when it was given; `None`: it does not count at all.
    pub max_age: Option<Duration>,
    /// How long the word that a token is active counts, and never beyond the token's `exp`. A revocation takes effect as
    /// late as this.
    pub cache_ttl: Duration,
    /// Most active tokens that are remembered.
    pub cache_size: usize,
    /// How long the word that a token is not active counts.
    pub negative_ttl: Duration,
    /// Most tokens that are remembered as not active. They have their own room.
    pub negative_cache_size: usize,
    /// Most requests at a time; a login that would need one more is refused at once.
    pub max_requests: usize,
    /// Limit for making the connection.
    pub connect_timeout: Duration,
    /// Limit for the whole of it.
    pub timeout: Duration,
    /// Largest answer accepted, in bytes.
    pub max_body_size: usize,
    /// The way to the issuer. Only `https://` goes through a proxy.
    pub proxy: Proxy,
    /// A file with the certificates of the authorities that the issuer's certificate may be from, in PEM, instead of the
    /// system's. Read when the configuration is.
    pub ca_file: Option<PathBuf>,
}

impl fmt::Debug for IntrospectionSource {
    /// Without what follows a `?` in the URL, which may be an access key (S5).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntrospectionSource")
            .field("url", &printable(&self.url))
            .field("client_id", &self.client_id)
            .field("client_auth", &self.client_auth)
            .field("introspect_jwts", &self.introspect_jwts)
            .field("max_age", &self.max_age)
            .field("cache_ttl", &self.cache_ttl)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl IntrospectionSource {
    /// The defaults, for this endpoint and client.
    pub fn new(url: impl Into<String>, client_id: impl Into<String>, client_auth: ClientAuth) -> Self {
        Self {
            url: url.into(),
            client_id: client_id.into(),
            client_auth,
            introspect_jwts: false,
            max_age: None,
            cache_ttl: Duration::from_secs(60),
            cache_size: 10_000,
            negative_ttl: Duration::from_secs(10),
            negative_cache_size: 10_000,
            max_requests: 64,
            connect_timeout: Duration::from_secs(2),
            timeout: Duration::from_secs(5),
            max_body_size: 64 * 1024,
            proxy: Proxy::None,
            ca_file: None,
        }
    }
}

/// How a client proves itself to an issuer. The names are those of the OAuth registry of token endpoint authentication
/// methods (RFC 7591 section 2).
#[derive(Debug, Clone, PartialEq)]
pub enum ClientAuth {
    /// `client_secret_basic`: by HTTP Basic (RFC 6749 section 2.3.1).
    Basic(Secret),
    /// `client_secret_post`: in the form.
    Post(Secret),
    /// `private_key_jwt`: by a signed assertion (RFC 7523 section 2.2).
    PrivateKey(ClientKey),
}

impl ClientAuth {
    /// The method's registered name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Basic(_) => "client_secret_basic",
            Self::Post(_) => "client_secret_post",
            Self::PrivateKey(_) => "private_key_jwt",
        }
    }
}

/// The key that signs a client's assertions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientKey {
    /// A PEM file with one PKCS #8 private key, EC P-256 (signs with ES256) or RSA (RS256).
    pub file: PathBuf,
    /// `kid` of the assertion; `None`: the issuer finds the key without.
    pub kid: Option<String>,
    /// `aud` of the assertion; `None`: the introspection endpoint's URL. Many issuers want their own name.
    pub audience: Option<String>,
}
