//! Where several subjects or tenants are one role: what one of them does to the role would be there for the others.

use pgdog_jwt::AuthGrant;
use pgdog_jwt::config::Shared;
use pgdog_jwt::reader::{Section, check_shared_roles};

use super::model::{Config, Databases, Jwt, User};

impl Config {
    /// Whether the role of a token's session may be another subject's as well. Of tenants, the session says it.
    pub(crate) fn is_shared(&self, grant: &AuthGrant) -> bool {
        self.jwt.as_ref().is_none_or(|jwt| jwt.shared.has(grant))
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
        places.extend(jwt.core.shared_roles());
        places
    }
}

/// Among them those that tenants and users make, which only the gateway has.
pub(super) fn check(own: &Section<'_>, config: &Config) {
    if let Some(jwt) = &config.jwt {
        check_shared_roles(own, &jwt.host, &config.shared_roles());
    }
}

/// Roles that the gateway logs in as on its own account.
pub(super) fn set(jwt: &mut Jwt, databases: &[super::model::Database], resolver: Option<&str>) {
    let admin = jwt.provisioning.as_ref().map(|settings| settings.admin_user.clone());
    let accounts = databases.iter().filter_map(|server| server.user.as_deref()).chain(resolver).chain(admin.as_deref());
    let shared = Shared::of(&jwt.core, accounts);
    jwt.shared = shared;
}
