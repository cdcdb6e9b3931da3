//! Where several subjects are one role: what one of them does to the role would be there for the others.

use super::{IdentityMode, JwtConfig, Level};
use crate::decision::AuthGrant;

/// What of that can be said before anybody logs in. It is worked out once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shared {
    /// A user may be several subjects.
    users: bool,
    /// Roles that are not one subject's, whoever it is.
    roles: Vec<String>,
}

impl Shared {
    /// Of these tokens; `accounts`: roles that the host logs in as for other ends.
    pub fn of<'a>(core: &'a JwtConfig, accounts: impl Iterator<Item = &'a str>) -> Self {
        let levels = core.claims.levels.iter().filter_map(Level::role);
        let mapped = core.role_mappings.iter().map(|rule| rule.server_user.as_str());
        let roles = levels.chain(mapped).chain(core.server_user.as_deref()).chain(accounts);
        Self { users: core.merges_subjects().is_some(), roles: roles.map(str::to_owned).collect() }
    }

    /// Whether the role of a session may be another subject's as well.
    pub fn has(&self, grant: &AuthGrant) -> bool {
        let is_listed = |role: &String| self.roles.iter().any(|known| known == role);
        grant.mode == IdentityMode::ServiceAccount || self.users || grant.server_role.as_ref().is_none_or(is_listed)
    }
}

impl JwtConfig {
    /// Where tokens lead several subjects to one role, in words, each place once.
    pub fn shared_roles(&self) -> Vec<String> {
        let mut places = Vec::new();
        if self.uses(IdentityMode::ServiceAccount) {
            let mut accounts: Vec<_> = self.role_mappings.iter().map(|rule| rule.server_user.as_str()).collect();
            accounts.dedup();
            places.push(format!("mode \"service_account\": {} of everybody whose rule it is", accounts.join(", ")));
        }
        places.extend(self.merges_subjects().map(|why| why.to_string()));
        let levels = self.claims.levels.iter().filter_map(Level::role);
        places.extend(levels.map(|role| format!("\"permission_levels\": {role} of everybody who has the level")));
        places
    }
}
