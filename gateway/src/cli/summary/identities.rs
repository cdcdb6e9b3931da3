//! The part of the page about who a token's bearer is, and who PostgreSQL sees.

use pgdog_jwt::config::{IdentityMode, RoleMapping, UserMapping, ValueMatch};

use super::page::{Page, Section};
use crate::config::{AccountPool, Choice, Jwt};

/// Rules that make a user of a claim.
pub(super) fn users(section: &mut Section, jwt: &Jwt) {
    let rules: Vec<String> = jwt.core.user_mappings.iter().map(user).collect();
    for rule in &rules {
        section.say(format!("user: {rule}"));
    }
    if !rules.is_empty() {
        section.say("user: else refused");
    }
    section.fact("user_mappings", rules);
}

fn user(rule: &UserMapping) -> String {
    let claim = rule.claim.as_deref().map_or_else(|| "the identity".to_owned(), |claim| format!("claim \"{claim}\""));
    let from = rule.issuer.as_deref().map_or_else(String::new, |issuer| format!(" of {issuer}"));
    let lower = if rule.lowercase { ", in lower case" } else { "" };
    let mode = rule.mode.map_or_else(String::new, |mode| format!(", mode {}", mode.word()));
    format!("\"{}\" for {claim}{from} like /{}/{lower}{mode}", rule.user.as_str(), rule.pattern.as_str())
}

/// The accounts that a token's roles lead to.
pub(super) fn servers(page: &mut Page, jwt: &Jwt) {
    if !jwt.core.uses(IdentityMode::ServiceAccount) {
        return;
    }
    let has_default = jwt.core.role_mappings.iter().any(|rule| rule.value.is_none());
    for rule in jwt.core.role_mappings.iter() {
        let pool = jwt.account_pools.iter().find(|pool| pool.name == rule.name);
        let section = page.one_of("account", "accounts").say(account(rule, pool));
        section.fact("name", rule.name.as_str()).fact("server_user", rule.server_user.as_str());
        section.fact("role", rule.role.clone()).fact("has_password", rule.server_password.is_some());
    }
    if !has_default {
        let section = page.one_of("account", "accounts").say("none for other tokens: they are refused");
        section.fact("name", None::<String>);
    }
}

fn account(rule: &RoleMapping, pool: Option<&AccountPool>) -> String {
    let claim = rule.claim.as_deref().unwrap_or("role, roles");
    let ignores_case = match &rule.value {
        Some(ValueMatch::Exact { ignore_case, .. }) => *ignore_case,
        Some(ValueMatch::Pattern(pattern)) => pattern.ignores_case(),
        None => false,
    };
    let case = if ignores_case { ", in any case" } else { "" };
    let value = match &rule.value {
        Some(ValueMatch::Exact { values, .. }) => format!("\"{}\" in {claim}{case}", values.join("\", \"")),
        Some(ValueMatch::Pattern(pattern)) => format!("/{}/ in {claim}{case}", pattern.as_str()),
        None => "other tokens".to_owned(),
    };
    let databases = rule.databases.as_ref().map_or_else(|| "all databases".to_owned(), |names| names.join(", "));
    let name = if rule.name == rule.server_user { String::new() } else { format!(" ({})", rule.name) };
    let mut line = format!("{}{name} for {value}, on {databases}", rule.server_user);
    if let Some(role) = &rule.role {
        line += &format!(", as role {role}");
    }
    line += if rule.read_only == Some(true) { ", read-only" } else { "" };
    line += if rule.server_password.is_some() { ", with a password" } else { ", without a password" };
    if let Some(size) = pool.and_then(|pool| pool.pool_size) {
        line += &format!(", up to {size} connections");
    }
    if let Some(mode) = pool.and_then(|pool| pool.pooler_mode) {
        line += &format!(", {} mode", mode.word());
    }
    line
}
