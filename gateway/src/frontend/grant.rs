//! Who a client turned out to be.

use pgdog_jwt::AuthGrant;

use crate::backend::cluster::Membership;
use crate::backend::registry::{NoPool, Registry};

/// The outcome of a login.
#[derive(Debug)]
pub(crate) enum Who {
    /// The subject of a token.
    Token(Box<AuthGrant>),
    /// A user of users.toml.
    User(String),
}

impl Who {
    pub(crate) fn user(&self) -> &str {
        match self {
            Self::Token(grant) => &grant.user,
            Self::User(name) => name,
        }
    }

    pub(crate) fn grant(&self) -> Option<&AuthGrant> {
        match self {
            Self::Token(grant) => Some(grant),
            Self::User(_) => None,
        }
    }

    /// Whether the guard watches over the session (S3): where SQL could change who it is.
    pub(crate) fn is_guarded(&self) -> bool {
        matches!(self, Self::Token(_))
    }

    pub(crate) fn pools(&self, registry: &Registry, database: &str) -> Result<Membership, NoPool> {
        match self {
            Self::Token(grant) => registry.for_grant(database, grant),
            Self::User(name) => registry.for_user(database, name).map(Membership::new),
        }
    }
}
