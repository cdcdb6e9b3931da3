//! Which accounts the gateway will log in to which servers with, and which roles they have to take there.

use pgdog_jwt::config::{IdentityMode, Level, Secret};

use crate::backend::connect::ServerAddress;
use crate::config::{Config, Database, Role, User};

/// One account on one server.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) address: ServerAddress,
    /// As clients call it, and as the server does.
    pub(super) database: String,
    pub(super) server_database: String,
    pub(super) role: Role,
    /// Who logs in; `None`: it is only looked whether the server is there.
    pub(super) login: Option<Login>,
}

/// Who logs in.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: Option<Secret>,
    /// The key that the password belongs into.
    pub(super) key: &'static str,
    /// What it must be able to become.
    pub(super) roles: Vec<String>,
    /// It carries claims in parameters of its statements.
    pub(super) carries_claims: bool,
    /// Who will not be served without it.
    pub(super) whom: &'static str,
}

/// All of them, each once.
pub(super) fn accounts(config: &Config) -> Vec<Account> {
    let mut all: Vec<Account> = Vec::new();
    let admin = admin(config);
    for server in &config.databases {
        let mut logins = logins(config, server);
        // Roles are made on primaries.
        logins.extend(admin.clone().filter(|_| server.role != Role::Replica));
        let mut known: Vec<Option<Login>> = Vec::new();
        for login in logins {
            match known.iter_mut().flatten().find(|one| one.user == login.user && one.password == login.password) {
                Some(one) => {
                    one.roles.extend(login.roles);
                    one.carries_claims |= login.carries_claims;
                }
                None => known.push(Some(login)),
            }
        }
        if known.is_empty() {
            known.push(None);
        }
        all.extend(known.into_iter().map(|login| Account {
            address: ServerAddress { host: server.host.clone(), port: server.port },
            database: server.name.clone(),
            server_database: server.server_database().to_owned(),
            role: server.role,
            login,
        }));
    }
    all
}

fn logins(config: &Config, server: &Database) -> Vec<Login> {
    let mut logins = Vec::new();
    let login = |user: &str, password: Option<&Secret>, key, whom| Login {
        user: user.to_owned(),
        password: password.cloned(),
        key,
        roles: Vec::new(),
        carries_claims: false,
        whom,
    };
    if let Some(jwt) = &config.jwt {
        let core = &jwt.core;
        let carries_claims = core.carries_claims();
        if let Some(user) = core.server_user.as_deref().filter(|_| core.uses(IdentityMode::Role)) {
            let account = login(user, core.server_password.as_ref(), "jwt_server_password", "token users");
            logins.push(Login { roles: roles(config, server), carries_claims, ..account });
        }
        let is_used = core.uses(IdentityMode::ServiceAccount);
        for rule in core.role_mappings.iter().filter(|rule| is_used && rule.serves(&server.name)) {
            let account = login(&rule.server_user, rule.server_password.as_ref(), "server_password", "token users");
            logins.push(Login { roles: rule.role.iter().cloned().collect(), carries_claims, ..account });
        }
    }
    for user in config.users.iter().filter(|user| user.has_password() && user.databases.contains(&server.name)) {
        let name = user.server_user.as_deref().or(server.user.as_deref()).unwrap_or(&user.name);
        let password = user.server_password.as_ref().or(server.password.as_ref()).or(user.passwords.first());
        let carries_claims = config.scope(&user.name, &server.name).is_some();
        let account = login(name, password, "server_password", "users with a password");
        logins.push(Login { carries_claims, ..account });
    }
    let resolves = config.resolvers.iter().any(|resolver| resolver.serves(&server.name));
    if let Some(account) = config.resolver_account.as_ref().filter(|_| resolves) {
        // What a resolver asks about is a parameter.
        let login = login(&account.user, account.password.as_ref(), "password", "resolvers");
        logins.push(Login { carries_claims: true, ..login });
    }
    logins
}

/// Roles that are known before anybody logs in. Those that the gateway makes are not there yet.
fn roles(config: &Config, server: &Database) -> Vec<String> {
    let Some(jwt) = &config.jwt else { return Vec::new() };
    let levels = jwt.core.claims.levels.iter().filter_map(|level| match level {
        Level::Role(role) => Some(role.clone()),
        _ => None,
    });
    let comes_by_token = |user: &&User| !user.has_password() && user.databases.contains(&server.name);
    let named = config.users.iter().filter(comes_by_token).filter(|_| jwt.provisioning.is_none());
    let named = named.map(|user| {
        let suffix = jwt.core.suffix_of(&user.name).unwrap_or_default();
        user.name.strip_suffix(suffix).unwrap_or(&user.name).to_owned()
    });
    levels.chain(named).collect()
}

/// Who makes roles.
fn admin(config: &Config) -> Option<Login> {
    let settings = config.jwt.as_ref().and_then(|jwt| jwt.provisioning.as_ref())?;
    Some(Login {
        user: settings.admin_user.clone(),
        password: settings.admin_password.clone(),
        key: "admin_password",
        roles: Vec::new(),
        carries_claims: false,
        whom: "the making of roles",
    })
}
