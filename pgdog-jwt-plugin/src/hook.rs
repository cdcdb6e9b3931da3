//! The hook's types.

use std::borrow::Cow;
use std::fmt;

/// A login, as PgDog describes it. Everything is PgDog's and valid for the call alone.
#[derive(Clone, Copy)]
pub struct AuthContext<'a> {
    /// `user` of the start-up packet.
    pub user: &'a str,
    /// `database` of the start-up packet.
    pub database: &'a str,
    /// What the client sent as its password.
    pub credential: &'a str,
    /// Where the client is: an address, with or without a port.
    pub client_addr: Option<&'a str>,
    /// Who the client's certificate is made out to.
    pub tls_identity: Option<&'a str>,
    /// The client's connection is encrypted.
    pub tls: bool,
}

impl fmt::Debug for AuthContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthContext")
            .field("user", &self.user)
            .field("database", &self.database)
            .field("client_addr", &self.client_addr)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// The answer.
#[derive(Debug, PartialEq, Eq)]
pub enum AuthDecision {
    /// Not a token user.
    Skip,
    /// As the grant says.
    Allow(AuthGrant),
    /// For PgDog's log: a word of a fixed list. The client hears one text for all of them, which is PgDog's.
    Deny(Cow<'static, str>),
}

impl AuthDecision {
    /// A refusal by this word.
    pub fn deny(reason: &'static str) -> Self {
        Self::Deny(Cow::Borrowed(reason))
    }
}

/// What the hook can carry of a grant.
#[derive(Default, PartialEq, Eq)]
pub struct AuthGrant {
    /// The user whose pool it is. Sessions that differ in anything below have different ones.
    pub derived_user: Option<String>,
    /// The role of the start-up packet of the pool's connections.
    pub server_role: Option<String>,
    /// Who logs in to PostgreSQL.
    pub server_user: Option<String>,
    /// With this password.
    pub server_password: Option<String>,
    /// The session only reads; `None`: as PgDog's own configuration says.
    pub read_only: Option<bool>,
    /// A pool may be made that PgDog's configuration does not name.
    pub provision: bool,
}

impl fmt::Debug for AuthGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthGrant")
            .field("derived_user", &self.derived_user)
            .field("server_role", &self.server_role)
            .field("server_user", &self.server_user)
            .field("read_only", &self.read_only)
            .field("provision", &self.provision)
            .finish_non_exhaustive()
    }
}
