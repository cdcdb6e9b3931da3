//! `[jwt.provisioning]`: which roles the gateway makes in PostgreSQL for token subjects, and with whose rights.

use std::time::Duration;

use pgdog_jwt::config::{GroupSource, IdentityMode, JwtConfig, Level, Secret, UserMapping, UserinfoSource};
use pgdog_jwt::reader::{Env, Section, check_url};
use pgdog_jwt::{DenyReason, check_role};
use toml_edit::{Item, TableLike, Value};

use super::choices::ValidUntil;
use super::keys::provisioning as keys;
use super::model::{Database, Jwt, User};
use super::resolvers::ResolverAccount;
use crate::provisioning::groups::{Rule, Rules};

/// What `[jwt.provisioning]` says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Provisioning {
    pub(crate) admin_user: String,
    /// A file is read again when it is needed, so that a new password counts at once.
    pub(crate) admin_password: Option<Secret>,
    /// Roles that every subject is in.
    pub(crate) roles: Vec<String>,
    /// Which further roles a token's groups mean.
    pub(crate) groups: Rules,
    pub(crate) valid_until: ValidUntil,
    pub(crate) valid_until_margin: Duration,
    /// Days after which a role that nobody used is disabled.
    pub(crate) disable_after: Option<u32>,
    pub(crate) recheck: Duration,
    pub(crate) timeout: Duration,
}

/// Accounts that the rest of the configuration names: no role that is given to subjects.
pub(super) struct Accounts {
    /// Under which the gateway works for itself.
    own: Vec<String>,
    /// Under which it works for users with a password.
    of_users: Vec<String>,
}

impl Accounts {
    /// Those that the two files name.
    pub(super) fn new(databases: &[Database], users: &[User], resolvers: Option<&ResolverAccount>) -> Self {
        let servers = databases.iter().filter_map(|server| server.user.clone());
        let logs_in = users.iter().filter(|user| user.has_password() || user.server_user.is_some());
        Self {
            own: servers.chain(resolvers.map(|account| account.user.clone())).collect(),
            of_users: logs_in.map(|user| user.server_user.as_ref().unwrap_or(&user.name).clone()).collect(),
        }
    }
}

/// Reads the section, and tells the identity core what it has to know. All keys are checked also while it is off.
pub(super) fn read(section: &Section<'_>, jwt: Option<&mut Jwt>, accounts: &Accounts, env: Env<'_>) {
    let enabled = section.value(&keys::ENABLED);
    let mut provisioning = Provisioning {
        admin_user: section.given(&keys::ADMIN_USER).unwrap_or_default(),
        admin_password: section.secret(&keys::ADMIN_PASSWORD, env),
        roles: section.given(&keys::ROLES).unwrap_or_default(),
        groups: groups(section),
        valid_until: section.value(&keys::VALID_UNTIL),
        valid_until_margin: section.value(&keys::VALID_UNTIL_MARGIN),
        disable_after: section.given(&keys::DISABLE_AFTER).and_then(|days| u32::try_from(days).ok()),
        recheck: section.value(&keys::RECHECK),
        timeout: section.value(&keys::TIMEOUT),
    };
    let source = group_source(section, &provisioning);
    let Some(jwt) = jwt.filter(|_| enabled) else { return };
    let denied = denied(&provisioning, &jwt.core, accounts);
    check(section, &provisioning, jwt, &denied);
    check_shared_roles(section, &provisioning, &jwt.core);
    // Before the names of groups are among those that no token becomes.
    provisioning.groups.deny(denied.into_iter().chain(accounts.of_users.iter().cloned()));
    for name in provisioning.reserved_names() {
        // These are no subjects (S13): whoever became one would have the rights of all that it was granted to.
        if !jwt.core.denied_roles.contains(&name) {
            jwt.core.denied_roles.push(name);
        }
    }
    for issuer in &mut jwt.core.issuers {
        issuer.groups.clone_from(&source);
    }
    jwt.provisioning = Some(provisioning);
}

impl Provisioning {
    /// The administrator, and the roles that are given to subjects: names, and prefixes followed by `*`.
    fn reserved_names(&self) -> Vec<String> {
        let mut names = vec![self.admin_user.clone()];
        names.extend(self.roles.iter().cloned());
        names.extend(self.groups.owned_patterns());
        names
    }
}

/// Where groups come from, when any are given a meaning.
fn group_source(section: &Section<'_>, provisioning: &Provisioning) -> Option<GroupSource> {
    let claim = section.value(&keys::GROUPS_CLAIM);
    let url = section.given(&keys::USERINFO_URL);
    if let Some(Err(reason)) = url.as_deref().map(check_url) {
        section.report.error(section.spot("userinfo_url"), format!("\"userinfo_url\" {reason}"));
    }
    let cache_ttl = section.value(&keys::USERINFO_CACHE_TTL);
    let connect_timeout = section.value(&keys::USERINFO_CONNECT_TIMEOUT);
    let timeout = section.value(&keys::USERINFO_TIMEOUT);
    let max_body_size = section.value(&keys::USERINFO_MAX_BODY_SIZE);
    if provisioning.groups.is_empty() {
        if url.is_some() {
            section.report.warn(section.spot("userinfo_url"), "\"userinfo_url\" is not used without \"groups\"");
        }
        return None;
    }
    let userinfo = url.map(|url| UserinfoSource {
        cache_ttl,
        connect_timeout,
        timeout,
        max_body_size,
        ..UserinfoSource::new(url)
    });
    Some(GroupSource { claim, userinfo })
}

/// `groups`: a list of names that are roles as well, or a table from a group to one role or several.
fn groups(section: &Section<'_>) -> Rules {
    let expected = "a list of names, or a table of names with the role or the roles that each stands for";
    let rules = section.get("groups", expected, group_rules, |_| None).unwrap_or_default();
    for rule in &rules {
        if let Err(reason) = rule.check() {
            section.report.error(section.spot("groups"), format!("\"{}\" in \"groups\" {reason}", rule.group()));
        }
    }
    Rules::new(rules)
}

fn group_rules(item: &Item) -> Option<Vec<Rule>> {
    if let Some(table) = item.as_table_like() {
        return rules_of_table(table);
    }
    let names = item.as_array()?.iter().map(|value| value.as_str());
    names.map(|name| name.map(|name| Rule::new(name, vec![name.to_owned()]))).collect()
}

fn rules_of_table(table: &dyn TableLike) -> Option<Vec<Rule>> {
    let rule = |(group, item): (&str, &Item)| {
        let roles = match item.as_value()? {
            Value::String(role) => vec![role.value().clone()],
            Value::Array(roles) => roles.iter().map(|role| role.as_str().map(str::to_owned)).collect::<Option<_>>()?,
            _ => return None,
        };
        Some(Rule::new(group, roles))
    };
    table.iter().map(rule).collect()
}

/// What must never be given to a subject: what no token may become, and whom the gateway itself logs in as.
fn denied(provisioning: &Provisioning, core: &JwtConfig, accounts: &Accounts) -> Vec<String> {
    let mut denied = vec!["pg_*".to_owned(), "public".to_owned(), provisioning.admin_user.clone()];
    denied.extend(core.server_user.clone());
    denied.extend(core.denied_roles.iter().cloned());
    denied.extend(core.role_mappings.iter().map(|rule| rule.server_user.clone()));
    denied.extend(accounts.own.iter().cloned());
    denied
}

/// Groups are one subject's. Where the configuration itself leads many to one role, all but the first would be refused.
fn check_shared_roles(section: &Section<'_>, provisioning: &Provisioning, core: &JwtConfig) {
    if provisioning.groups.is_empty() {
        return;
    }
    let is_role = |mode: IdentityMode| mode != IdentityMode::ServiceAccount;
    let leads_to_role = |rule: &&UserMapping| {
        let modes = core.issuers.iter().map(|issuer| rule.mode.or(issuer.mode).unwrap_or(core.mode));
        modes.into_iter().any(is_role)
    };
    let constant = core.user_mappings.iter().filter(leads_to_role).find(|rule| rule.user.is_constant());
    let by_mapping = constant.map(|rule| format!("[[jwt.user_mappings]] lead to user \"{}\"", rule.user.as_str()));
    let levels = core.claims.permission_level.iter().flat_map(|_| &core.claims.levels);
    let by_level = levels.into_iter().find_map(Level::role);
    let by_level = by_level.map(|role| format!("\"permission_levels\" lead to role \"{role}\""));
    for way in by_mapping.into_iter().chain(by_level) {
        let reason = format!("\"groups\" needs a role for each subject, and {way} whoever the token is about");
        let hint = "give each subject a role of its own, or name the groups of that role by hand in PostgreSQL";
        section.report.error(section.spot("groups"), format!("{reason}; {hint}"));
    }
}

fn check(section: &Section<'_>, provisioning: &Provisioning, jwt: &Jwt, denied: &[String]) {
    let report = section.report;
    if provisioning.admin_user.is_empty() {
        let hint = "set \"admin_user\" to an account that may make roles";
        report.error(section.spot("enabled"), format!("[jwt.provisioning] needs an account; {hint}"));
    }
    let server_user = jwt.core.server_user.as_deref();
    if server_user == Some(provisioning.admin_user.as_str()) {
        let reason =
            "\"admin_user\" must be another account than \"jwt_server_user\", which clients' statements run under";
        report.error(section.spot("admin_user"), reason);
    }
    let roles = provisioning.roles.iter().cloned();
    let found = [("roles", refused(roles, denied)), ("groups", refused(provisioning.groups.owned_patterns(), denied))];
    for (key, (role, reason)) in found.into_iter().filter_map(|(key, found)| Some((key, found?))) {
        report.error(section.spot(key), format!("\"{role}\" in \"{key}\" cannot be given to subjects: {reason}"));
    }
}

/// The first role that must not be given, with the reason.
fn refused(mut roles: impl Iterator<Item = String>, denied: &[String]) -> Option<(String, String)> {
    roles.find_map(|role| {
        let reason = match check_role(&role, denied).err()? {
            DenyReason::RoleDenied { .. } => {
                "it is in \"deny_roles\", or an account of the gateway. Roles that are given need not be in \"deny_roles\": \
                 no token becomes one of them"
                    .to_owned()
            }
            reason => reason.to_string(),
        };
        Some((role, reason))
    })
}
