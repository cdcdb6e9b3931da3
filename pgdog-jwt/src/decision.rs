//! What a host asks and what it is told.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Map, Value};

use crate::config::{ChosenMapping, IdentityMode, Secret};
use crate::deny::DenyReason;
use crate::revocation::TokenIdentity;

/// The bytes that a client sent where a password would go. Never printed (S5).
#[derive(Clone, Copy)]
pub struct Credential<'a>(&'a [u8]);

impl<'a> Credential<'a> {
    /// Wraps the bytes of a `PasswordMessage`, without its terminating NUL.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The bytes themselves. Callers keep them out of logs and errors.
    pub fn expose(&self) -> &'a [u8] {
        self.0
    }
}

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(..)")
    }
}

/// One login attempt, as the host sees it.
#[derive(Debug, Clone, Copy)]
pub struct AuthContext<'a> {
    /// `user` of the start-up packet, byte for byte.
    pub user: &'a str,
    /// `database` of the start-up packet (PostgreSQL's default applied: the user's name).
    pub database: &'a str,
    /// What the client sent as its password.
    pub credential: Credential<'a>,
    /// Where the client connects from; `None` for a Unix socket.
    pub client_addr: Option<IpAddr>,
    /// Whether the client's connection is encrypted.
    pub tls: bool,
    /// Who the client's certificate is made out to, when it showed one that was verified: its common name, or else the
    /// first URI, host name or e-mail address in it.
    pub tls_identity: Option<&'a str>,
}

/// The answer to a login attempt.
#[derive(Debug)]
pub enum AuthDecision {
    /// Not a token user: the host applies its own method.
    Skip,
    /// Let the client in, as the grant says and not otherwise.
    Allow(Box<AuthGrant>),
    /// Refuse. The client hears one text for every reason (S6); the reason goes to the audit log.
    Deny(DenyReason),
}

/// Who the session is and what it may do. The host enforces every field.
#[derive(Clone, PartialEq)]
pub struct AuthGrant {
    /// The mapped identity: the pool's user, and the role unless `server_role` says otherwise.
    pub user: String,
    /// Who the session is on the server.
    pub mode: IdentityMode,
    /// The rule that chose `server_user`, in [`IdentityMode::ServiceAccount`]; the account's pool is everybody's whom the
    /// rule is for.
    pub account: Option<ChosenMapping>,
    /// The role every server connection of this session must have (S13: byte for byte).
    pub server_role: Option<String>,
    /// The account that logs in to PostgreSQL, when the grant decides it.
    pub server_user: Option<String>,
    /// Its password.
    pub server_password: Option<Secret>,
    /// The token itself, to be shown to the server: only in mode [`IdentityMode::Passthrough`].
    pub token: Option<Secret>,
    /// SQL could change who the session is: the host must watch over its statements.
    pub guarded: bool,
    /// A claim says that the session only reads: it never reaches a primary (S10).
    pub read_only: bool,
    /// The same for a subject that the host's own configuration does not name.
    pub provision_read_only: bool,
    /// How the session is to hold its server connections; `None`: as the host says.
    pub pool_mode: Option<String>,
    /// Most sessions of the user at a time; `None`: as the host says.
    pub max_connections: Option<usize>,
    /// Whether a pool may be made for a subject that the configuration does not name.
    pub provision: bool,
    /// Session settings that every server connection of this session must have, in order.
    pub settings: Vec<(String, String)>,
    /// Claims that the host asked for, by the name it asked with; what the token does not have is missing.
    pub kept_claims: BTreeMap<String, Value>,
    /// All claims, where the host proves them to databases.
    pub claims: Option<Arc<Map<String, Value>>>,
    /// `sub`, or the username claim where there is none.
    pub subject: String,
    /// `iss`.
    pub issuer: Option<String>,
    /// `jti`.
    pub token_id: Option<String>,
    /// `iat`.
    pub issued_at: Option<SystemTime>,
    /// `exp`.
    pub expires_at: SystemTime,
    /// `exp` and the issuer's leeway: until then the token would let somebody in.
    pub valid_until: SystemTime,
    /// SHA-256 of a token without `jti`, which tells it from others. `None` where there is a `jti`.
    pub fingerprint: Option<[u8; 32]>,
    /// The groups that the subject is in. `None` exactly when the configuration does not ask for them.
    pub groups: Option<Groups>,
}

/// What an issuer says of a subject's groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    /// Their names, as the issuer spells them.
    pub names: Vec<String>,
    /// When the issuer said so; `None`: it did not say when.
    pub as_of: Option<SystemTime>,
}

impl AuthGrant {
    /// What revocations are compared with.
    pub fn token_identity(&self) -> TokenIdentity<'_> {
        TokenIdentity {
            issuer: self.issuer.as_deref(),
            subject: &self.subject,
            token_id: self.token_id.as_deref(),
            issued_at: self.issued_at,
        }
    }
}

impl fmt::Debug for AuthGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthGrant")
            .field("user", &self.user)
            .field("mode", &self.mode)
            .field("server_role", &self.server_role)
            .field("server_user", &self.server_user)
            .field("read_only", &self.read_only)
            .field("provision_read_only", &self.provision_read_only)
            .field("provision", &self.provision)
            .field("subject", &self.subject)
            .field("issuer", &self.issuer)
            .field("token_id", &self.token_id)
            .field("expires_at", &self.expires_at)
            .field("groups", &self.groups)
            .finish_non_exhaustive()
    }
}
