//! Everything in the configuration that decides which variables a session has beyond those of its token: by this, a live
//! session is known to be what it would be today.

use super::model::Config;
use super::resolvers::{Param, Resolver, ResolverAccount};
use super::tenants::Tenants;

/// See the module. Equal scopes give a session the same rights.
#[derive(Debug, PartialEq)]
pub(crate) struct Scope<'a> {
    /// `None` for users that open no tenant.
    pub(crate) tenants: Option<&'a Tenants>,
    /// The tenants that the user's entry in `users.toml` lists.
    pub(crate) listed: Option<&'a [String]>,
    pub(crate) resolvers: Vec<&'a Resolver>,
    account: Option<&'a ResolverAccount>,
}

impl Config {
    /// The scope of a user's sessions on a database; `None`: they have no variables of this kind.
    pub(crate) fn scope(&self, user: &str, database: &str) -> Option<Scope<'_>> {
        if self.is_bypass_user(user) {
            return None;
        }
        let resolvers: Vec<_> = self.resolvers.iter().filter(|resolver| resolver.serves(database)).collect();
        if self.tenants.is_none() && resolvers.is_empty() {
            return None;
        }
        let listed = self.user(user, database).and_then(|entry| entry.tenants.as_deref());
        Some(Scope { tenants: self.tenants.as_ref(), listed, resolvers, account: self.resolver_account.as_ref() })
    }

    /// Whether the user opens no tenant.
    pub(crate) fn is_bypass_user(&self, user: &str) -> bool {
        self.tenants.as_ref().is_some_and(|tenants| tenants.bypass_users.iter().any(|name| name == user))
    }

    /// The variables that tenants and resolvers give.
    pub(crate) fn scope_variables(&self) -> impl Iterator<Item = &str> {
        let tenants = self.tenants.iter().flat_map(|tenants| &tenants.variables);
        let injected = self.resolvers.iter().flat_map(|resolver| resolver.inject.iter().map(|(name, _)| name));
        tenants.chain(injected).map(String::as_str)
    }
}

/// The claims that tenants and resolvers look at.
pub(super) fn claims(tenants: Option<&Tenants>, resolvers: &[Resolver]) -> Vec<String> {
    let params = resolvers.iter().flat_map(|resolver| &resolver.params).filter_map(|param| match param {
        Param::Claim(path) => Some(path),
        _ => None,
    });
    let mut claims: Vec<String> = tenants.iter().flat_map(|tenants| &tenants.claims).chain(params).cloned().collect();
    claims.sort_unstable();
    claims.dedup();
    claims
}
