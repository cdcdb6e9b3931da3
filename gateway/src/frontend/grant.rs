//! Who a client turned out to be.

use std::sync::Arc;

use pgdog_jwt::AuthGrant;
use pgdog_jwt_guard::{Account, Watch};

use crate::backend::cluster::{Membership, PoolSet};
use crate::backend::identity::Variables;
use crate::backend::registry::{NoPool, Registry};
use crate::config::Config;

/// The outcome of a login.
#[derive(Debug)]
pub(crate) enum Who {
    /// The subject of a token.
    Token(Arc<AuthGrant>),
    /// A user of users.toml.
    User(String),
    /// One of them, with variables that tenants and resolvers gave.
    Scoped(Box<Scoped>),
}

/// See [`Who::Scoped`].
#[derive(Debug)]
pub(crate) struct Scoped {
    /// [`Who::Token`], whose settings hold the variables as well, or [`Who::User`].
    pub(crate) who: Who,
    pub(crate) variables: Variables,
    pub(crate) tenant: Option<String>,
    /// What it was decided by.
    pub(crate) config: Arc<Config>,
}

impl Who {
    pub(crate) fn user(&self) -> &str {
        match self {
            Self::Token(grant) => &grant.user,
            Self::User(name) => name,
            Self::Scoped(scoped) => scoped.who.user(),
        }
    }

    pub(crate) fn grant(&self) -> Option<&AuthGrant> {
        match self {
            Self::Token(grant) => Some(grant),
            Self::User(_) => None,
            Self::Scoped(scoped) => scoped.who.grant(),
        }
    }

    /// Keeps no copy of what another session of the same pools has already.
    pub(super) fn share(&mut self, pools: &PoolSet) {
        match self {
            Self::Token(grant) => *grant = pools.grant.share(grant.clone()),
            Self::Scoped(scoped) => scoped.who.share(pools),
            Self::User(_) => {}
        }
    }

    /// The tenant that the session is for.
    pub(crate) fn tenant(&self) -> Option<&str> {
        match self {
            Self::Scoped(scoped) => scoped.tenant.as_deref(),
            Self::Token(_) | Self::User(_) => None,
        }
    }

    /// Whether the guard watches over the session (S3): where SQL could change who it is.
    pub(crate) fn is_guarded(&self) -> bool {
        matches!(self, Self::Scoped(_)) || self.grant().is_some_and(|grant| grant.guarded)
    }

    /// What is watched for in the statements of a session, which only reads or not.
    pub(crate) fn watch(&self, config: &Config, read_only: bool) -> Watch {
        Watch { identity: self.is_guarded(), read_only, account: self.account(config) }
    }

    /// Whose account the session has.
    pub(crate) fn account(&self, config: &Config) -> Account {
        match self {
            // Other tenants of the user are the same role.
            Self::Scoped(scoped) if scoped.tenant.is_some() => Account::Shared,
            Self::Scoped(scoped) => match &scoped.who {
                Self::User(name) if config.shares_account(name) => Account::Shared,
                Self::User(_) => Account::Own,
                who => who.account(config),
            },
            Self::Token(grant) if config.is_shared(grant) => Account::Shared,
            Self::Token(_) => Account::Own,
            Self::User(_) => Account::Named,
        }
    }

    /// The session's pools, if it is today what its login made of it: a reload may have changed what that depends on.
    pub(crate) fn pools(&self, registry: &Registry, database: &str) -> Result<Membership, NoPool> {
        let now = registry.config();
        let (scoped, who) = match self {
            Self::Scoped(scoped) => (Some(scoped), &scoped.who),
            who => (None, who),
        };
        let is_same = match scoped {
            Some(scoped) if Arc::ptr_eq(&scoped.config, now) => true,
            Some(scoped) => scoped.config.scope(who.user(), database) == now.scope(who.user(), database),
            None => now.scope(who.user(), database).is_none(),
        };
        if !is_same {
            return Err(NoPool::OtherScope);
        }
        match (who, scoped) {
            (Self::Token(grant), _) => registry.for_grant(database, grant),
            (Self::User(name), None) => registry.for_user(database, name).map(Membership::new),
            (Self::User(name), Some(scoped)) => {
                // Row-level security, which the tenant is for, would not hold a privileged role.
                let is_free = scoped.tenant.is_none();
                let allow_privileged = is_free || now.jwt.as_ref().is_some_and(|jwt| jwt.allow_privileged_roles);
                registry.for_scoped_user(database, name, &scoped.variables, allow_privileged)
            }
            (Self::Scoped(_), _) => Err(NoPool::OtherScope),
        }
    }
}
