//! The rules beside `[jwt.identity]`: which user, and which account, a token's claims lead to.

use std::sync::Arc;

use pgdog_jwt::config::{IdentityMode, JwtConfig, Level, RoleMapping, UserMapping};

use super::model::{AccountPool, Database};
use super::role_mappings::{self, Mapping};
use super::role_mappings_env;
use super::section::{Env, Section};
use super::user_mappings;

/// What the sections say.
pub(super) struct Rules {
    pub(super) from_env: bool,
    pub(super) user_mappings: Vec<UserMapping>,
    mappings: Vec<Mapping>,
}

/// Reads all of them.
pub(super) fn read(own: &Section<'_>, identity: &Section<'_>, databases: &[Database], env: Env<'_>) -> Rules {
    let from_env = identity.boolean("role_mappings_from_env").unwrap_or(false);
    let mappings = mappings(own, databases, env, from_env);
    Rules { from_env, user_mappings: user_mappings::user_mappings(own), mappings }
}

/// The file's rules, then those of the environment; last, what holds for every token.
fn mappings(own: &Section<'_>, databases: &[Database], env: Env<'_>, from_env: bool) -> Vec<Mapping> {
    let mut mappings = role_mappings::role_mappings(own, databases, env);
    let mut default = None;
    if from_env {
        let (more, by_env) = role_mappings_env::from_env(std::env::vars_os(), own.report);
        mappings.extend(more);
        default = by_env;
    }
    let in_file = role_mappings::default_mapping(own, &mappings, databases, env);
    let is_named = in_file.as_ref().is_some_and(|one| mappings.iter().any(|other| other.place == one.place));
    let names: Vec<_> = mappings.iter().chain(in_file.iter().filter(|_| !is_named)).collect();
    for (at, mapping) in names.iter().enumerate() {
        if names.iter().take(at).any(|other| other.rule.name == mapping.rule.name) {
            let reason = format!("another role mapping is called \"{}\" too", mapping.rule.name);
            let hint = "give one of them a \"name\" of its own, or one \"value\" a list";
            own.report.error(mapping.place.clone(), format!("{reason}; {hint}"));
        }
    }
    mappings.extend(in_file.or(default));
    mappings
}

impl Rules {
    /// The rules in the order in which they are tried.
    pub(super) fn role_mappings(&self) -> Arc<[RoleMapping]> {
        self.mappings.iter().map(|mapping| mapping.rule.clone()).collect()
    }

    /// What the rules say of their pools.
    pub(super) fn account_pools(&self) -> Vec<AccountPool> {
        self.mappings.iter().map(|mapping| mapping.pool.clone()).collect()
    }

    /// What the rest of `[jwt]` makes impossible or useless.
    pub(super) fn check(&self, general: &Section<'_>, own: &Section<'_>, core: &JwtConfig) {
        let report = own.report;
        if !core.uses(IdentityMode::ServiceAccount) {
            if !self.mappings.is_empty() {
                let reason = "role mappings are not used unless a \"mode\" is \"service_account\"";
                report.warn(own.spot("role_mappings"), reason);
            }
            return;
        }
        if self.mappings.is_empty() {
            let hint = "add [[jwt.role_mappings]] or \"default_role_mapping\"";
            report.error(
                own.place(),
                format!("\"service_account\" needs an account that a token's roles lead to; {hint}"),
            );
        }
        for mapping in &self.mappings {
            if let Some(problem) = mapping.rule.problem(&core.denied_roles) {
                report.error(mapping.place.clone(), problem);
            }
        }
        if core.claims.levels.iter().any(|level| matches!(level, Level::Role(_))) {
            let reason = "a role in \"permission_levels\" has no place where the token's roles lead to accounts";
            report.error(own.spot("claims"), reason);
        }
        let unused = [
            (general, "jwt_server_user"),
            (general, "jwt_user_auto_provision"),
            (own, "shared_pool"),
            (own, "max_pools"),
        ];
        let others = [IdentityMode::Role, IdentityMode::Login, IdentityMode::Passthrough];
        let is_only_one = !others.into_iter().any(|mode| core.uses(mode));
        for (section, key) in unused.into_iter().filter(|_| is_only_one) {
            if section.is_present_key(key) {
                let reason = format!("\"{key}\" is not used while \"mode\" in [jwt.identity] is \"service_account\"");
                report.warn(section.spot(key), reason);
            }
        }
    }
}
