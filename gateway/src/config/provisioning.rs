//! `[jwt.provisioning]`: which roles the gateway makes in PostgreSQL for token subjects, and with whose rights.

use std::time::Duration;

use pgdog_jwt::check_role;
use pgdog_jwt::config::{GroupSource, UserinfoSource};
use toml_edit::{Item, TableLike, Value};

use super::choices::ValidUntil;
use super::jwks_url;
use super::model::Jwt;
use super::secret_source::{self, SecretSource};
use super::section::Section;
use crate::provisioning::groups::{Rule, Rules};

const GROUPS_CLAIM: &str = "groups";
/// Where the administrator's password is. Files and variables are read when it is needed, so that a new one counts at once.
const PASSWORD: secret_source::Keys = ["admin_password", "admin_password_env", "admin_password_file"];
/// How long what PostgreSQL said of a role counts.
const RECHECK: Duration = Duration::from_secs(60);
const VALID_UNTIL_MARGIN: Duration = Duration::from_secs(3_600);
/// Limit for all that one login needs of PostgreSQL.
const TIMEOUT: Duration = Duration::from_secs(5);
const USERINFO_TTL: Duration = Duration::from_secs(300);
const USERINFO_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const USERINFO_TIMEOUT: Duration = Duration::from_secs(5);
const USERINFO_MAX_BODY_SIZE: usize = 64 * 1024;
/// Longest waits and lives that may be configured (S9).
const LONGEST_WAIT: i64 = 600_000;
const DAY: i64 = 86_400;
const MOST_DAYS: i64 = 36_500;

/// What `[jwt.provisioning]` says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Provisioning {
    pub(crate) admin_user: String,
    pub(crate) admin_password: SecretSource,
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

/// Reads the section, and tells the identity core what it has to know. All keys are checked also while it is off.
pub(super) fn read(section: &Section<'_>, jwt: Option<&mut Jwt>) {
    let enabled = section.boolean("enabled").unwrap_or(false);
    let provisioning = Provisioning {
        admin_user: section.filled("admin_user").unwrap_or_default(),
        admin_password: SecretSource::of(section, PASSWORD),
        roles: section.strings("roles").unwrap_or_default(),
        groups: groups(section),
        valid_until: section.choice("valid_until").unwrap_or_default(),
        valid_until_margin: section.seconds_up_to("valid_until_margin", 365 * DAY).unwrap_or(VALID_UNTIL_MARGIN),
        disable_after: section.integer("disable_after", 1..=MOST_DAYS).and_then(|days| u32::try_from(days).ok()),
        recheck: section.seconds_up_to("recheck", DAY).unwrap_or(RECHECK),
        timeout: section.millis_up_to("timeout", LONGEST_WAIT).unwrap_or(TIMEOUT),
    };
    let source = group_source(section, &provisioning);
    let Some(jwt) = jwt.filter(|_| enabled) else { return };
    check(section, &provisioning, jwt);
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
    let claim = section.filled("groups_claim").unwrap_or_else(|| GROUPS_CLAIM.to_owned());
    let url = section.filled("userinfo_url");
    if let Some(Err(reason)) = url.as_deref().map(jwks_url::check) {
        section.report.error(section.spot("userinfo_url"), format!("\"userinfo_url\" {reason}"));
    }
    let cache_ttl = section.seconds_up_to("userinfo_cache_ttl", DAY).unwrap_or(USERINFO_TTL);
    let connect_timeout =
        section.millis_up_to("userinfo_connect_timeout", LONGEST_WAIT).unwrap_or(USERINFO_CONNECT_TIMEOUT);
    let timeout = section.millis_up_to("userinfo_timeout", LONGEST_WAIT).unwrap_or(USERINFO_TIMEOUT);
    let max_body_size = section.count("userinfo_max_body_size", 1).unwrap_or(USERINFO_MAX_BODY_SIZE);
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

fn check(section: &Section<'_>, provisioning: &Provisioning, jwt: &Jwt) {
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
    let denied = ["pg_*".to_owned(), provisioning.admin_user.clone()];
    let is_gateway = |role: &str| server_user == Some(role) || role == "public";
    if let Some(role) = provisioning.roles.iter().find(|role| check_role(role, &denied).is_err() || is_gateway(role)) {
        report.error(section.spot("roles"), format!("\"{role}\" in \"roles\" cannot be given to subjects"));
    }
    let mut named = provisioning.groups.owned_patterns();
    if let Some(role) = named.find(|role| check_role(role, &denied).is_err() || is_gateway(role)) {
        report.error(section.spot("groups"), format!("\"{role}\" in \"groups\" cannot be given to subjects"));
    }
}
