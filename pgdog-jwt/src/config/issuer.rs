//! One source of tokens: whose they are, and what they must say before anybody gets in.

use std::time::Duration;

use serde_json::Value;

use super::{Algorithm, DEFAULT_EARLY_LEEWAY, GroupSource, IdentityMode, IntrospectionSource, KeySource};

/// One source of tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Issuer {
    /// The value that `iss` must have, compared byte for byte; `None` takes any that no other issuer has.
    pub issuer: Option<String>,
    /// Where its keys come from.
    pub keys: KeySource,
    /// `aud` must hold one of these; empty: not checked.
    pub audiences: Vec<String>,
    /// Algorithms that its keys may be used with.
    pub algorithms: Vec<Algorithm>,
    /// Values that the header parameter `typ` may have, without `application/` (RFC 7515 section 4.1.9, RFC 8725 section
    /// 3.11); empty: those of access tokens, `JWT`, `JOSE`, `at+jwt` and none at all.
    pub token_types: Vec<String>,
    /// What becomes of its tokens that are bound to a key.
    pub bound_tokens: BoundTokens,
    /// Clients that tokens may have been issued to: `azp` (OpenID Connect Core section 2) and `client_id` (RFC 8693 section
    /// 4.3); empty: not checked.
    pub clients: Vec<String>,
    /// Scopes that a token must all have, in `scope` (RFC 8693 section 4.2) or `scp`.
    pub required_scopes: Vec<String>,
    /// Further claims that a token must have.
    pub required_claims: Vec<RequiredClaim>,
    /// The claim that names the user: an exact name, or a path with dots.
    pub username_claim: String,
    /// How far the clocks may differ when `exp`, `nbf` and `iat` are compared.
    pub leeway: Duration,
    /// How far in the future `nbf` and `iat` may be, where that is more than the leeway.
    pub early_leeway: Duration,
    /// The longest time since `iat`, which must then be there.
    pub max_token_age: Option<Duration>,
    /// Only start-up users that end in this suffix come with its tokens, and nobody else does; `None`: those who have no
    /// issuer's suffix.
    pub user_suffix: Option<String>,
    /// Databases that its tokens open: exact names, or a prefix followed by `*`; `None`: all.
    pub databases: Option<Vec<String>>,
    /// Roles and accounts that its tokens lead to, written likewise; `None`: all that are not denied.
    pub roles: Option<Vec<String>>,
    /// Its subjects only read (S10), whatever the claims say.
    pub read_only: bool,
    /// Who its sessions are on the server, where that differs from the host's other issuers.
    pub mode: Option<IdentityMode>,
    /// Where it says which groups a subject is in; `None`: nobody wants to know.
    pub groups: Option<GroupSource>,
    /// Where it is asked about tokens that are no JWTs; `None`: such tokens are not taken.
    pub introspection: Option<IntrospectionSource>,
}

/// What becomes of a token that its bearer may use only together with a key (`cnf`, RFC 7800): of one that is bound to a
/// client certificate (RFC 8705), or by DPoP (RFC 9449).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BoundTokens {
    /// It is refused: a login has no place to show the key.
    #[default]
    Refuse,
    /// It is taken from whoever bears it. Whoever has stolen it logs in without the key.
    AsBearer,
}

/// A claim that a token must have.
#[derive(Debug, Clone, PartialEq)]
pub struct RequiredClaim {
    /// Its name, or a path with dots.
    pub claim: String,
    /// What it must be.
    pub wanted: Wanted,
}

/// What a claim must be.
#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
    /// There, and not null.
    Present,
    /// One of these values, of the same JSON type.
    OneOf(Vec<Value>),
    /// A list that holds one of these values.
    Contains(Vec<Value>),
}

impl Issuer {
    /// How far in the future `nbf` and `iat` may be.
    pub(crate) fn earliness(&self) -> Duration {
        self.early_leeway.max(self.leeway)
    }

    /// The defaults, for these keys: any `iss`, any audience, `sub` names the user, no leeway but that for `nbf` and `iat`.
    pub fn new(keys: KeySource) -> Self {
        Self {
            issuer: None,
            keys,
            audiences: Vec::new(),
            algorithms: Algorithm::DEFAULT.to_vec(),
            token_types: Vec::new(),
            bound_tokens: BoundTokens::default(),
            clients: Vec::new(),
            required_scopes: Vec::new(),
            required_claims: Vec::new(),
            username_claim: "sub".to_owned(),
            leeway: Duration::ZERO,
            early_leeway: DEFAULT_EARLY_LEEWAY,
            max_token_age: None,
            user_suffix: None,
            databases: None,
            roles: None,
            read_only: false,
            mode: None,
            groups: None,
            introspection: None,
        }
    }
}
