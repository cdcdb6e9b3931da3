//! Where several subjects or tenants are one role: what one of them does to the role would be there for the others.

use pgdog_jwt::AuthGrant;
use pgdog_jwt::config::{IdentityMode, JwtConfig, Level};
use pgdog_jwt::reader::{AuthType, Guard, Section, SharedRoles};

use super::model::{Config, Databases, Jwt, User};

/// What of that can be said before anybody logs in. It is worked out once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Shared {
    /// Why a user may be several subjects.
    users: Option<String>,
    /// Roles that are not one subject's, whoever it is.
    roles: Vec<String>,
}

impl Shared {
    /// Of these tokens; `accounts`: roles that the gateway logs in as for other ends.
    pub(super) fn of<'a>(core: &'a JwtConfig, accounts: impl Iterator<Item = &'a str>) -> Self {
        let levels = core.claims.levels.iter().filter_map(|level| match level {
            Level::Role(role) => Some(role.as_str()),
            _ => None,
        });
        let mapped = core.role_mappings.iter().map(|rule| rule.server_user.as_str());
        let roles = levels.chain(mapped).chain(core.server_user.as_deref()).chain(accounts);
        Self { users: core.merges_subjects().map(|why| why.to_string()), roles: roles.map(str::to_owned).collect() }
    }
}

impl Config {
    /// Whether the role of a token's session may be another subject's as well. Of tenants, the session says it.
    pub(crate) fn is_shared(&self, grant: &AuthGrant) -> bool {
        let Some(shared) = self.jwt.as_ref().map(|jwt| &jwt.shared) else { return true };
        let is_listed = |role: &String| shared.roles.iter().any(|known| known == role);
        grant.mode == IdentityMode::ServiceAccount
            || shared.users.is_some()
            || grant.server_role.as_ref().is_none_or(is_listed)
    }

    /// Whether an entry of `users.toml` logs in to PostgreSQL as another one does.
    pub(crate) fn shares_account(&self, name: &str) -> bool {
        let of = |user: &'_ User| self.accounts_of(user);
        let own: Vec<_> = self.users.iter().filter(|user| user.name == name).flat_map(of).collect();
        let mut others = self.users.iter().filter(|user| user.name != name && user.has_password()).flat_map(of);
        others.any(|account| own.contains(&account))
    }

    /// As whom a user with a password logs in, in each of its databases.
    fn accounts_of(&self, user: &User) -> Vec<String> {
        let serves = |name: &str| match &user.databases {
            Databases::All => true,
            Databases::Some(names) => names.iter().any(|known| known == name),
        };
        let servers = self.databases.iter().filter(|server| serves(&server.name));
        let account = |server: Option<&str>| user.server_user.as_deref().or(server).unwrap_or(&user.name).to_owned();
        servers.map(|server| account(server.user.as_deref())).collect()
    }

    /// Where roles are shared, in words, each place once.
    pub(crate) fn shared_roles(&self) -> Vec<String> {
        let mut places = Vec::new();
        if self.tenants.is_some() {
            places.push("[tenants]: all tenants that a user opens are its role".to_owned());
        }
        let with_variables = |user: &&User| {
            let mut names = self.database_names().into_iter();
            user.has_password() && names.any(|name| self.scope(&user.name, name).is_some())
        };
        let several = self.users.iter().filter(with_variables).find(|user| self.shares_account(&user.name));
        if let Some(user) = several.filter(|_| self.tenants.is_none()) {
            places.push(format!("user \"{}\": another user logs in to PostgreSQL with its account", user.name));
        }
        let Some(jwt) = &self.jwt else { return places };
        if jwt.core.uses(IdentityMode::ServiceAccount) {
            let mut accounts: Vec<_> = jwt.core.role_mappings.iter().map(|rule| rule.server_user.as_str()).collect();
            accounts.dedup();
            places.push(format!("mode \"service_account\": {} of everybody whose rule it is", accounts.join(", ")));
        }
        places.extend(jwt.shared.users.clone());
        let levels = jwt.core.claims.levels.iter().filter_map(|level| match level {
            Level::Role(role) => Some(format!("\"permission_levels\": {role} of everybody who has the level")),
            _ => None,
        });
        places.extend(levels);
        places
    }
}

/// Code that a subject brings can do everything that the guard refuses in SQL: where a role is shared, somebody must have
/// said that this is as it should be.
pub(super) fn check(own: &Section<'_>, config: &Config) {
    let Some(jwt) = &config.jwt else { return };
    let is_dangerous = jwt.guard == Guard::Standard && config.general.auth_type == AuthType::Jwt;
    let places = config.shared_roles();
    let Some(first) = places.first() else {
        if own.is_present_key("standard_guard_on_shared_roles") && jwt.shared_roles == SharedRoles::Accept {
            let reason = "\"standard_guard_on_shared_roles\" is not used: no role is shared";
            own.report.warn(own.spot("standard_guard_on_shared_roles"), reason);
        }
        return;
    };
    if is_dangerous && jwt.shared_roles == SharedRoles::Refuse {
        let reason = format!("\"guard\" = \"standard\" lets a subject change a role that others are too ({first})");
        let hint = "use \"strict\", give each subject a role, or set \"standard_guard_on_shared_roles\" = \"accept\"";
        own.report.error(own.spot("guard"), format!("{reason}; {hint}"));
    }
}

/// Roles that the gateway logs in as on its own account.
pub(super) fn set(jwt: &mut Jwt, databases: &[super::model::Database], resolver: Option<&str>) {
    let admin = jwt.provisioning.as_ref().map(|settings| settings.admin_user.clone());
    let accounts = databases.iter().filter_map(|server| server.user.as_deref()).chain(resolver).chain(admin.as_deref());
    let shared = Shared::of(&jwt.core, accounts);
    jwt.shared = shared;
}
