//! `[[jwt.role_mappings]]` and `default_role_mapping`: which account of PostgreSQL a token's roles lead to.

use super::keys::role_mappings as keys;
use super::model::AccountPool;
use super::nearest::nearest;
use super::section::Section;
use super::surroundings::Surroundings;
use crate::config::{Pattern, RoleMapping, Spot, ValueMatch};

/// One rule, what it says of its pool, and where it stands.
pub(super) struct Mapping {
    pub(super) rule: RoleMapping,
    pub(super) pool: AccountPool,
    pub(super) place: Spot,
}

impl Mapping {
    /// The same account, for every token.
    pub(super) fn for_every_token(&self) -> Self {
        let rule = RoleMapping { value: None, claim: None, ..self.rule.clone() };
        Self { rule, pool: self.pool.clone(), place: self.place.clone() }
    }
}

/// The rules, in the order of the file.
pub(super) fn role_mappings(own: &Section<'_>, around: &Surroundings<'_>) -> Vec<Mapping> {
    let mut mappings: Vec<Mapping> = Vec::new();
    for section in own.tables("role_mappings", "[[jwt.role_mappings]]") {
        let value = value(&section);
        let claim = section.given(&keys::CLAIM);
        if let Some(mut mapping) = account(&section, around) {
            mapping.rule.value = value;
            mapping.rule.claim = claim;
            mappings.push(mapping);
        }
        section.finish(&[]);
    }
    mappings
}

/// What holds for a token that no rule is for: a rule's name, or an account of its own.
pub(super) fn default_mapping(own: &Section<'_>, mappings: &[Mapping], around: &Surroundings<'_>) -> Option<Mapping> {
    const KEY: &str = "default_role_mapping";
    // An empty name stands for a table.
    let name = own.get(
        KEY,
        "the name of a role mapping, or a table with an account",
        |item| if item.is_table_like() { Some(String::new()) } else { item.as_str().map(str::to_owned) },
        |text| Some(text.to_owned()),
    )?;
    if !name.is_empty() {
        let found = mappings.iter().find(|mapping| mapping.rule.name == name);
        if found.is_none() {
            let hint = nearest(&name, mappings.iter().map(|mapping| mapping.rule.name.as_str()));
            own.report.error(own.spot(KEY), format!("there is no role mapping \"{name}\"{hint}"));
        }
        return found.map(Mapping::for_every_token);
    }
    let section = own.table(KEY, keys::DEFAULT);
    let mapping = account(&section, around);
    section.finish(&[]);
    mapping
}

/// An account that rules lead to.
fn account(section: &Section<'_>, around: &Surroundings<'_>) -> Option<Mapping> {
    let server_user = section.given(&keys::SERVER_USER);
    if server_user.is_none() {
        let reason = "a role mapping needs a \"server_user\": the account that logs in to PostgreSQL";
        section.report.error(section.spot("server_user"), reason);
    }
    let name = section.given(&keys::NAME).or_else(|| server_user.clone());
    let rule = RoleMapping {
        name: name.clone().unwrap_or_default(),
        claim: None,
        value: None,
        databases: served(section, around),
        server_user: server_user.clone().unwrap_or_default(),
        server_password: section.secret(&keys::SERVER_PASSWORD, around.env),
        role: section.given(&keys::ROLE),
        read_only: section.given(&keys::READ_ONLY),
    };
    let pool = AccountPool {
        name: name.unwrap_or_default(),
        pool_size: section.given(&keys::POOL_SIZE),
        pooler_mode: section.given(&keys::POOLER_MODE),
    };
    warn_without_replica(section, around, &rule);
    server_user.map(|_| Mapping { rule, pool, place: section.place() })
}

/// Exactly one of `value` and `pattern`.
fn value(section: &Section<'_>) -> Option<ValueMatch> {
    let values = section.given(&keys::VALUE);
    let pattern = section.given(&keys::PATTERN);
    let ignore_case = section.value(&keys::IGNORE_CASE);
    match (values, pattern) {
        (Some(values), None) if values.is_empty() || values.iter().any(String::is_empty) => {
            section.report.error(section.spot("value"), "\"value\" must not be empty");
            None
        }
        (Some(values), None) => Some(ValueMatch::Exact { values, ignore_case }),
        (None, Some(text)) => match Pattern::new(&text, ignore_case) {
            Ok(pattern) => Some(ValueMatch::Pattern(pattern)),
            Err(error) => {
                section.report.error(section.spot("pattern"), format!("\"pattern\" {error}"));
                None
            }
        },
        (Some(_), Some(_)) => {
            section.report.error(section.spot("pattern"), "a role mapping has a \"value\" or a \"pattern\", not both");
            None
        }
        (None, None) => {
            let hint = "for a token that no rule is for, set \"default_role_mapping\" in [jwt]";
            section.report.error(section.place(), format!("a role mapping needs a \"value\" or a \"pattern\"; {hint}"));
            None
        }
    }
}

fn served(section: &Section<'_>, around: &Surroundings<'_>) -> Option<Vec<String>> {
    let names = section.given(&keys::DATABASES)?;
    for name in names.iter().filter(|name| !around.databases().any(|known| known == **name)) {
        let hint = nearest(name, around.databases());
        section.report.error(section.spot("databases"), format!("unknown database \"{name}\"{hint}"));
    }
    if names.is_empty() {
        section.report.error(section.spot("databases"), "\"databases\" must name a database; leave it out for all");
    }
    Some(names)
}

/// A read-only account is never sent to a primary (S10), so a database without a replica has no place for it.
fn warn_without_replica(section: &Section<'_>, around: &Surroundings<'_>, rule: &RoleMapping) {
    if rule.read_only != Some(true) {
        return;
    }
    for name in around.without_replica().into_iter().filter(|name| rule.serves(name)) {
        let reason = format!("database \"{name}\" has no replica: this read-only account will be refused there");
        section.report.warn(section.spot("read_only"), reason);
    }
}
