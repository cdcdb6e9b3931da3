//! Why logins are refused, once for everybody. The client hears one text whatever the reason (S6); the operator's view
//! (a stable code, a sentence, whether trying again can help) is derived from this enum and holds no secret (S5).

/// Why a login was refused. For the audit log, not for the client.
///
/// Variants before [`BadSignature`](Self::BadSignature) are about a token that nobody has vouched for; none of its
/// content is repeated. Later ones name what a verified token said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DenyReason {
    /// The password message was empty.
    #[error("no credential was sent")]
    Empty,
    /// The credential is longer than `max_token_size`. It was not looked at.
    #[error("the credential is longer than \"max_token_size\" allows")]
    TooLarge,
    /// Not a compact JWS (RFC 7515 section 3.1), for instance an ordinary password.
    #[error("the credential is not a token: {0}")]
    Malformed(&'static str),
    /// The header asks for something that is not supported and must not be ignored (RFC 7515 section 4.1.11).
    #[error("the token's header has {0:?}, which is not supported")]
    UnsupportedHeader(&'static str),
    /// `alg` is not one of the algorithms that this issuer may use.
    #[error("the token's algorithm is not allowed")]
    AlgorithmNotAllowed,
    /// `typ` of the header is not one that this issuer's access tokens have.
    #[error("the token is of another type")]
    TokenTypeDenied,
    /// No configured issuer has the token's `iss`.
    #[error("the token is not from a known issuer")]
    WrongIssuer,
    /// The issuer has no key with the token's `kid`, or none at all that fits a token without one.
    #[error("the issuer has no such key")]
    UnknownKid,
    /// The token has no `kid` and more than one key fits.
    #[error("the token does not say which of several keys signed it")]
    AmbiguousKey,
    /// The key that the token names is not for the token's algorithm (S7).
    #[error("the token's algorithm does not fit its key")]
    AlgorithmMismatch,
    /// The issuer's keys could not be fetched, or are too old to be trusted.
    #[error("the issuer's keys are not available")]
    KeysUnavailable,
    /// The signature is not by the key.
    #[error("the token's signature is wrong")]
    BadSignature,
    /// A claim that must be there is not.
    #[error("the token has no claim {0:?}")]
    MissingClaim(String),
    /// A claim has another type than it must have, or a value that makes no sense: which, and why.
    #[error("the token's claim {0:?} is not usable: {1}")]
    InvalidClaim(String, &'static str),
    /// The issuer says that the token is not active (RFC 7662 section 2.2): expired, revoked, or not one of its own.
    #[error("the issuer says that the token is not active")]
    TokenInactive,
    /// The issuer did not say whether the token is active.
    #[error("the issuer cannot be asked about the token: {0}")]
    IntrospectionUnavailable(String),
    /// What the issuer says of the token is not what the token says of itself.
    #[error("the issuer's answer is about another token: {0:?} differs")]
    IntrospectionMismatch(&'static str),
    /// A claim says that it is another kind of token: an ID, refresh or logout token, an event.
    #[error("the token's claim {0:?} is not that of an access token")]
    NotAccessToken(&'static str),
    /// The token is good only together with a key (RFC 7800), and a login has no place to show one.
    #[error("the token is bound to a key that no login shows")]
    BoundToken,
    /// `aud` does not name this service: what it names, and what is configured.
    #[error("the token is for another audience: it is for {has}, and must be for {wanted}")]
    WrongAudience {
        /// The audiences of the verified token, shortened and escaped.
        has: String,
        /// Those that are accepted.
        wanted: String,
    },
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` is in the future.
    #[error("the token is not valid yet: its \"nbf\" is further in the future than \"early_leeway\" allows")]
    NotYetValid,
    /// `iat` is in the future.
    #[error("the token was issued in the future: its \"iat\" is further ahead than \"early_leeway\" allows")]
    IssuedInFuture,
    /// The token, its subject, its issuer, or everything that was issued as early, has been revoked.
    #[error("the token is revoked {0}")]
    Revoked(&'static str),
    /// `iat` is longer ago than tokens of this issuer may be used.
    #[error("the token is too old")]
    TooOld,
    /// The token was issued to another client than those of this issuer's entry.
    #[error("the token was issued to another client")]
    ClientDenied,
    /// A scope that must be there is not.
    #[error("the token does not have the scope {0:?}")]
    MissingScope(String),
    /// A claim that this issuer's entry wants is not what it must be.
    #[error("the token's claim {0:?} is not what it must be")]
    ClaimMismatch(String),
    /// The start-up user is somebody else than the token's subject.
    #[error("the token is for {identity:?}, not for the start-up user")]
    UserMismatch {
        /// Who the verified token is for.
        identity: String,
    },
    /// A session variable must have a value and the token gives none.
    #[error("the token gives no value for {0:?}")]
    MissingVariable(String),
    /// The value for a session variable is not of its kind, or too long.
    #[error("the token's value for {0:?} is not usable")]
    InvalidVariable(String),
    /// The token is for other databases only.
    #[error("the token is not for this database")]
    DatabaseDenied,
    /// The token's permission level admits nobody.
    #[error("the token's permission level gives no access")]
    PermissionDenied,
    /// No rule makes a user of what the token says.
    #[error("no user mapping is for this token")]
    NoUserMapping,
    /// No rule has an account for the token's roles.
    #[error("no role mapping is for this token and database")]
    NoRoleMapping,
    /// The identity cannot be a PostgreSQL role name (S13).
    #[error("the identity cannot be a role: it {0}")]
    RoleInvalid(&'static str),
    /// The issuer's userinfo endpoint, which the token leaves its groups to, did not give them.
    #[error("the subject's groups are not available: {0}")]
    GroupsUnavailable(String),
    /// The issuer's tokens lead to other roles only.
    #[error("tokens of this issuer may not become the role {role:?}")]
    RoleNotOfIssuer {
        /// The role, or the account, that the verified token asked for.
        role: String,
    },
    /// The identity is on the list of denied roles (S13).
    #[error("no token may become the role {role:?}")]
    RoleDenied {
        /// The role that the verified token asked for.
        role: String,
    },
}

impl DenyReason {
    /// A name for logs and metrics that never changes.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "empty_credential",
            Self::TooLarge => "token_too_large",
            Self::Malformed(_) => "malformed_token",
            Self::UnsupportedHeader(_) => "unsupported_header",
            Self::AlgorithmNotAllowed => "algorithm_not_allowed",
            Self::TokenTypeDenied => "token_type_denied",
            Self::WrongIssuer => "wrong_issuer",
            Self::UnknownKid => "unknown_kid",
            Self::AmbiguousKey => "ambiguous_key",
            Self::AlgorithmMismatch => "algorithm_mismatch",
            Self::KeysUnavailable => "keys_unavailable",
            Self::BadSignature => "bad_signature",
            Self::MissingClaim(_) => "missing_claim",
            Self::InvalidClaim(..) => "invalid_claim",
            Self::TokenInactive => "token_inactive",
            Self::IntrospectionUnavailable(_) => "introspection_unavailable",
            Self::IntrospectionMismatch(_) => "introspection_mismatch",
            Self::NotAccessToken(_) => "not_an_access_token",
            Self::BoundToken => "bound_token",
            Self::WrongAudience { .. } => "wrong_audience",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::IssuedInFuture => "issued_in_future",
            Self::Revoked(_) => "revoked",
            Self::TooOld => "token_too_old",
            Self::ClientDenied => "client_denied",
            Self::MissingScope(_) => "missing_scope",
            Self::ClaimMismatch(_) => "claim_mismatch",
            Self::UserMismatch { .. } => "user_mismatch",
            Self::MissingVariable(_) => "missing_variable",
            Self::InvalidVariable(_) => "invalid_variable",
            Self::DatabaseDenied => "database_denied",
            Self::PermissionDenied => "permission_denied",
            Self::NoUserMapping => "no_user_mapping",
            Self::NoRoleMapping => "no_role_mapping",
            Self::RoleInvalid(_) => "role_invalid",
            Self::GroupsUnavailable(_) => "groups_unavailable",
            Self::RoleNotOfIssuer { .. } => "role_not_of_issuer",
            Self::RoleDenied { .. } => "role_denied",
        }
    }

    /// Whether the same token may be accepted later without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::KeysUnavailable | Self::GroupsUnavailable(_) | Self::IntrospectionUnavailable(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_missing_keys_are_worth_a_retry() {
        assert!(DenyReason::KeysUnavailable.is_retryable());
        assert!(!DenyReason::Expired.is_retryable());
        assert!(!DenyReason::UnknownKid.is_retryable());
    }

    #[test]
    fn a_name_from_a_token_cannot_break_a_log_line() {
        let reason = DenyReason::UserMismatch { identity: "eve\n2026 login accepted".to_owned() };
        assert!(!reason.to_string().contains('\n'));
    }
}
