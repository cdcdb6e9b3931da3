//! What the core must be told. A host builds this value from its own configuration files; two spellings of the same
//! policy build the same value.

mod check;
mod error;
mod fault;
mod groups;
mod introspection;
mod issuer;
mod key_source;
mod one_to_one;
mod pattern;
mod role_mapping;
mod shared;
mod url;
mod user_mapping;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use check::Finding;
#[cfg(feature = "reader")]
pub(crate) use check::Part;
pub(crate) use check::findings;
pub use error::{ConfigError, Problem, Spot};
pub(crate) use fault::Fault;
pub use groups::{GroupSource, UserinfoSource};
pub use introspection::{ClientAuth, ClientKey, IntrospectionSource};
pub use issuer::{BoundTokens, Issuer, RequiredClaim, Wanted};
pub use key_source::{DEFAULT_MAX_KEYS, JwksSource, KeySource, Proxy};
pub use one_to_one::Merged;
pub use pattern::{Pattern, PatternError};
pub use role_mapping::{ChosenMapping, RoleMapping, ValueMatch};
pub use shared::Shared;
pub use url::check as check_url;
pub(crate) use url::printable;
pub use user_mapping::{TemplateError, UserMapping, UserTemplate};

pub use crate::revocation::DEFAULT_MAX_REVOCATIONS;
pub use crate::secret::Secret;
use crate::session::Variable;

/// Largest token accepted unless the configuration says otherwise, in bytes.
pub const DEFAULT_MAX_TOKEN_SIZE: usize = 16 * 1024;

/// How far in the future `nbf` and `iat` may be unless the configuration says otherwise: issuers round up, have clocks that are
/// ahead, and write fractions (RFC 7519 section 4.1.5 allows for that at `nbf`, and asks nothing of `iat`).
pub const DEFAULT_EARLY_LEEWAY: Duration = Duration::from_secs(5);

/// Most verified tokens that are remembered unless the configuration says otherwise.
pub const DEFAULT_TOKEN_CACHE_SIZE: usize = 10_000;

/// The policy of one gateway: whose tokens are taken and what they become.
#[derive(Debug, Clone, PartialEq)]
pub struct JwtConfig {
    /// Issuers, in the order of the file. A token is checked against exactly one of them.
    pub issuers: Vec<Issuer>,
    /// Largest token accepted, in bytes, checked before anything is parsed.
    pub max_token_size: usize,
    /// Most verified tokens that are remembered, so that their next login needs no signature check; 0: none.
    pub token_cache_size: usize,
    /// How the start-up user and the token's identity relate.
    pub user_match: UserMatch,
    /// Who a session is on the server, where neither the issuer nor the user mapping says so.
    pub mode: IdentityMode,
    /// From claims to the user, in order; none: the username claim is the user.
    pub user_mappings: Vec<UserMapping>,
    /// From claims to the account, in order, in [`IdentityMode::ServiceAccount`].
    pub role_mappings: Arc<[RoleMapping]>,
    /// Roles that no token may become: exact names, or a prefix followed by `*` (S13).
    pub denied_roles: Vec<String>,
    /// The account that logs in to PostgreSQL for token users.
    pub server_user: Option<String>,
    /// Its password.
    pub server_password: Option<Secret>,
    /// Whether a subject that the configuration does not name gets a pool of its own.
    pub auto_provision: bool,
    /// Whether such a subject is read-only. The grant says so of every subject; a host that finds the subject in its own
    /// configuration goes by that instead.
    pub auto_provision_read_only: bool,
    /// Settings of PostgreSQL that carry claims.
    pub variables: Vec<Variable>,
    /// Claims that say what a session may do.
    pub claims: ClaimPolicy,
    /// Claims that the host wants to see in the grant, by name or path.
    pub kept_claims: Vec<String>,
    /// Whether the host gives sessions settings of its own that say who they are.
    pub host_variables: bool,
    /// Whether the host proves claims to databases, so that a grant has them.
    pub proves_claims: bool,
    /// Where revocations are kept; `None`: in memory, until the process ends. The file must be there.
    pub revocation_file: Option<PathBuf>,
    /// Most revocations that may hold at a time.
    pub max_revocations: usize,
}

/// Which claims say what a session may do; what is not named is not looked at. Names are paths, as that of the user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClaimPolicy {
    /// `true`: the session only reads.
    pub read_only: Option<String>,
    /// A database, or a list of them: the only ones that the token opens.
    pub database: Option<String>,
    /// A number from 0 on; a token without it has 0.
    pub permission_level: Option<String>,
    /// What each level means; a level beyond the last one admits nobody.
    pub levels: Vec<Level>,
    /// How the session holds its server connections, in the host's words.
    pub pool_mode: Option<String>,
    /// The words that a token may use for it.
    pub pool_modes: Vec<String>,
    /// Most sessions of the subject at a time.
    pub max_connections: Option<String>,
    /// Most of them whatever the token says.
    pub max_connections_ceiling: Option<usize>,
}

/// What a permission level means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Level {
    /// No login.
    Refuse,
    /// A session that only reads.
    ReadOnly,
    /// A session.
    ReadWrite,
    /// A session with this role in place of the subject's own.
    Role(String),
}

/// As files have it.
impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refuse => f.write_str("refuse"),
            Self::ReadOnly => f.write_str("read_only"),
            Self::ReadWrite => f.write_str("read_write"),
            Self::Role(role) => write!(f, "role:{role}"),
        }
    }
}

impl Level {
    /// The role that it leads to.
    pub fn role(&self) -> Option<&str> {
        match self {
            Self::Role(role) => Some(role),
            Self::Refuse | Self::ReadOnly | Self::ReadWrite => None,
        }
    }
}

impl JwtConfig {
    /// The defaults, for these issuers. No role is denied: the host knows its own accounts.
    pub fn new(issuers: Vec<Issuer>) -> Self {
        Self {
            issuers,
            max_token_size: DEFAULT_MAX_TOKEN_SIZE,
            token_cache_size: DEFAULT_TOKEN_CACHE_SIZE,
            user_match: UserMatch::default(),
            mode: IdentityMode::default(),
            user_mappings: Vec::new(),
            role_mappings: Arc::default(),
            denied_roles: Vec::new(),
            server_user: None,
            server_password: None,
            auto_provision: false,
            auto_provision_read_only: false,
            variables: Vec::new(),
            claims: ClaimPolicy::default(),
            kept_claims: Vec::new(),
            host_variables: false,
            proves_claims: false,
            revocation_file: None,
            max_revocations: DEFAULT_MAX_REVOCATIONS,
        }
    }

    /// The issuer that vouches for tokens with this `iss`: the one of that name, else the one without a name.
    pub fn issuer_named(&self, iss: Option<&str>) -> Option<usize> {
        let find = |name: Option<&str>| self.issuers.iter().position(|issuer| issuer.issuer.as_deref() == name);
        iss.and_then(|name| find(Some(name))).or_else(|| find(None))
    }

    /// Who a session is on the server: the user mapping decides before the issuer, and that before what holds for all.
    pub(crate) fn mode_of(&self, issuer: &Issuer, mapping: Option<usize>) -> IdentityMode {
        let mapping = mapping.and_then(|number| self.user_mappings.get(number));
        mapping.and_then(|mapping| mapping.mode).or(issuer.mode).unwrap_or(self.mode)
    }

    /// Whether a token with this `iss` may lead to sessions of this mode.
    pub fn may_be(&self, iss: Option<&str>, mode: IdentityMode) -> bool {
        let Some(issuer) = self.issuer_named(iss).map(|number| &self.issuers[number]) else {
            return false;
        };
        let is_for = |mapping: &&UserMapping| mapping.issuer.is_none() || mapping.issuer.as_deref() == iss;
        let mut mapped = self.user_mappings.iter().filter(is_for).map(|mapping| mapping.mode.or(issuer.mode));
        match self.user_mappings.is_empty() {
            true => issuer.mode.unwrap_or(self.mode) == mode,
            false => mapped.any(|own| own.unwrap_or(self.mode) == mode),
        }
    }

    /// Whether any token leads to sessions of this mode.
    pub fn uses(&self, mode: IdentityMode) -> bool {
        self.issuers.iter().any(|issuer| match issuer.issuer.as_deref() {
            None => {
                self.user_mappings.iter().any(|mapping| mapping.mode.or(issuer.mode).unwrap_or(self.mode) == mode)
                    || self.may_be(None, mode)
            }
            named => self.may_be(named, mode),
        })
    }

    /// Whether a start-up user's name says that it comes with a token.
    pub fn has_suffix(&self, user: &str) -> bool {
        self.suffix_of(user).is_some()
    }

    /// Whether names do not say who comes with a token: there is an issuer whose users need no suffix.
    pub fn takes_any_user(&self) -> bool {
        self.issuers.iter().any(|issuer| issuer.user_suffix.is_none())
    }

    /// The longest suffix that a start-up user's name has: the users with it are those of its issuers alone.
    pub fn suffix_of(&self, user: &str) -> Option<&str> {
        let suffixes = self.issuers.iter().filter_map(|issuer| issuer.user_suffix.as_deref());
        suffixes.filter(|suffix| user.ends_with(suffix)).max_by_key(|suffix| suffix.len())
    }

    /// Whether SQL could change who a session of this mode is. The role is kept by a server on which nobody else has logged
    /// in; settings that carry claims are kept by nobody but the host.
    pub fn is_guarded(&self, mode: IdentityMode) -> bool {
        !mode.is_kept_by_server() || self.carries_claims()
    }

    /// Whether sessions have settings that say who they are.
    pub fn carries_claims(&self) -> bool {
        !self.variables.is_empty() || self.proves_claims || self.host_variables
    }
}

/// How the user of the start-up packet relates to the identity in the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UserMatch {
    /// They must be equal.
    #[default]
    Exact,
    /// The token decides, whatever the client typed (PgDog pull request 1084).
    Claim,
}

/// How a session becomes its subject on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum IdentityMode {
    /// An account that all subjects have in common logs in, and takes the subject's role (PgDog pull request 1084).
    #[default]
    Role,
    /// The subject logs in itself. PostgreSQL is told to take the host's word for it.
    Login,
    /// An account that the token's roles are mapped to logs in.
    ServiceAccount,
    /// The subject logs in itself, with its own token, which PostgreSQL checks once more.
    Passthrough,
}

impl IdentityMode {
    /// Whether PostgreSQL itself keeps the session from becoming anybody else, because nobody else has logged in.
    pub fn is_kept_by_server(self) -> bool {
        self != Self::Role
    }
}

/// Signature algorithms (RFC 7518 section 3.1, RFC 8037 section 3.1). `none` and HMAC cannot be expressed (S7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl Algorithm {
    /// All algorithms, in the order of RFC 7518.
    pub const ALL: [Algorithm; 9] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
    ];

    /// What is accepted when the configuration does not say.
    pub const DEFAULT: [Algorithm; 3] = [Self::RS256, Self::ES256, Self::EdDSA];

    /// The name that `alg` carries.
    pub fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }

    /// The algorithm with this exact name. `Ed25519` (RFC 9864 section 2.2) is what `EdDSA` means here, where there is no other
    /// curve for it.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = if name == "Ed25519" { "EdDSA" } else { name };
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}
