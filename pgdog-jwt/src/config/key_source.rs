//! Where an issuer's public keys come from, and the limits of fetching them (S8, S9).

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::{Secret, printable};

/// Most keys of one set unless the configuration says otherwise. Issuers publish two or three.
pub const DEFAULT_MAX_KEYS: usize = 100;

/// Where an issuer's public keys come from.
#[derive(Clone, PartialEq)]
pub enum KeySource {
    /// Files with PEM public keys or certificates, read again when they change.
    PemFiles(Vec<PathBuf>),
    /// A directory of such files, which may come and go. Hidden files and directories in it are passed over, a file that
    /// cannot be used is left out with a warning.
    PemDirectory(PathBuf),
    /// A JSON Web Key Set (RFC 7517) as text.
    JwksInline(String),
    /// A file with a key set, read again when it changes.
    JwksFile(PathBuf),
    /// A key set behind a URL.
    Jwks(JwksSource),
    /// A key set whose URL the issuer says in its metadata (OpenID Connect Discovery 1.0, section 4). The source's URL is
    /// the issuer's own: the issuer must be configured, and have this value byte for byte.
    Discovery(JwksSource),
    /// It has none: its tokens are no JWTs, and it is asked about each (see [`Issuer::introspection`](super::Issuer)).
    None,
}

impl KeySource {
    /// A name of the kind, for those who look after a host.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::PemFiles(_) => "pem_files",
            Self::PemDirectory(_) => "pem_directory",
            Self::JwksInline(_) => "jwks_inline",
            Self::JwksFile(_) => "jwks_file",
            Self::Jwks(_) => "jwks_url",
            Self::Discovery(_) => "discovery",
            Self::None => "none",
        }
    }

    /// Where it is, without what may be secret: paths, or a URL.
    pub fn place(&self) -> String {
        match self {
            Self::PemFiles(files) => files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", "),
            Self::PemDirectory(path) | Self::JwksFile(path) => path.display().to_string(),
            Self::JwksInline(_) => "the configuration".to_owned(),
            Self::None => "none: it is asked about each token".to_owned(),
            Self::Jwks(source) | Self::Discovery(source) => printable(&source.url),
        }
    }

    /// How it is fetched, if it is.
    pub fn fetched(&self) -> Option<&JwksSource> {
        match self {
            Self::Jwks(source) | Self::Discovery(source) => Some(source),
            _ => None,
        }
    }
}

impl fmt::Debug for KeySource {
    /// Without the text of a key set, which somebody may have put a private key into (S5).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PemFiles(files) => f.debug_tuple("PemFiles").field(files).finish(),
            Self::PemDirectory(path) => f.debug_tuple("PemDirectory").field(path).finish(),
            Self::JwksInline(_) => f.write_str("JwksInline(..)"),
            Self::JwksFile(path) => f.debug_tuple("JwksFile").field(path).finish(),
            Self::Jwks(source) => f.debug_tuple("Jwks").field(source).finish(),
            Self::Discovery(source) => f.debug_tuple("Discovery").field(source).finish(),
            Self::None => f.write_str("None"),
        }
    }
}

/// A key set behind a URL, and the limits of fetching it (S8, S9).
#[derive(Clone, PartialEq)]
pub struct JwksSource {
    /// `https://…`, or `http://` to a loopback address.
    pub url: String,
    /// How long a fetched set is used without asking again, where the issuer does not say (`Cache-Control: max-age`, RFC
    /// 9111). It is asked again in the background when four fifths of it have passed.
    pub cache_ttl: Duration,
    /// The shortest time that the issuer may ask for. More than `cache_ttl` means `cache_ttl`.
    pub min_cache_ttl: Duration,
    /// The longest time that the issuer may ask for: so long may a key work that it has withdrawn. Less than `cache_ttl`
    /// means `cache_ttl`.
    pub max_cache_ttl: Duration,
    /// How long known keys keep working while the issuer cannot be reached, counted from the last good fetch. Less
    /// than the time to live means that.
    pub max_stale: Duration,
    /// Least time between two fetches that an unknown `kid` causes.
    pub min_refresh_interval: Duration,
    /// Limit for making the connection.
    pub connect_timeout: Duration,
    /// Limit for the whole fetch, with the metadata where there is discovery.
    pub timeout: Duration,
    /// Largest key set or metadata document accepted, in bytes.
    pub max_body_size: usize,
    /// Most keys of the set that are looked at; the others are left out with a warning.
    pub max_keys: usize,
    /// The way to the issuer. Only `https://` goes through a proxy.
    pub proxy: Proxy,
    /// A file with the certificates of the authorities that the issuer's certificate may be from, in PEM, instead of the
    /// system's. Read at each fetch.
    pub ca_file: Option<PathBuf>,
    /// A file with a token that is sent along (RFC 6750 section 2.1), as Kubernetes wants it. Read at each fetch, and sent
    /// to the scheme, host and port of `url` alone.
    pub bearer_token_file: Option<PathBuf>,
}

/// The way to an issuer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Proxy {
    /// Straight. Variables of the environment are not read.
    #[default]
    None,
    /// As `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` say.
    Environment,
    /// By this proxy: `http://` or `https://`, a port, and a user and password if need be.
    Url(Secret),
}

impl fmt::Debug for JwksSource {
    /// Without what follows a `?` in the URL, which may be an access key (S5).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwksSource")
            .field("url", &printable(&self.url))
            .field("cache_ttl", &self.cache_ttl)
            .field("max_stale", &self.max_stale)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl JwksSource {
    /// The defaults, for this URL.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            cache_ttl: Duration::from_secs(300),
            min_cache_ttl: Duration::from_secs(60),
            max_cache_ttl: Duration::ZERO,
            max_stale: Duration::from_secs(24 * 60 * 60),
            min_refresh_interval: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(10),
            max_body_size: 1024 * 1024,
            max_keys: DEFAULT_MAX_KEYS,
            proxy: Proxy::None,
            ca_file: None,
            bearer_token_file: None,
        }
    }
}
