//! The rules beside `[jwt.identity]`: which user, and which account, a token's claims lead to.

use std::sync::Arc;

use super::keys;
use super::model::AccountPool;
use super::role_mappings::{self, Mapping};
use super::role_mappings_env;
use super::section::Section;
use super::surroundings::Surroundings;
use super::user_mappings;
use crate::config::{IdentityMode, JwtConfig, RoleMapping, Spot, UserMapping};

/// What the sections say.
pub(super) struct Rules {
    pub(super) from_env: bool,
    pub(super) user_mappings: Vec<UserMapping>,
    mappings: Vec<Mapping>,
}

/// Reads all of them.
pub(super) fn read(own: &Section<'_>, identity: &Section<'_>, around: &Surroundings<'_>) -> Rules {
    let from_env = identity.value(&keys::identity::ROLE_MAPPINGS_FROM_ENV);
    let mappings = mappings(own, around, from_env);
    Rules { from_env, user_mappings: user_mappings::user_mappings(own), mappings }
}

/// The file's rules, then those of the environment; last, what holds for every token.
fn mappings(own: &Section<'_>, around: &Surroundings<'_>, from_env: bool) -> Vec<Mapping> {
    let mut mappings = role_mappings::role_mappings(own, around);
    let mut default = None;
    if from_env {
        let (more, by_env) = role_mappings_env::from_env(std::env::vars_os(), own.report);
        mappings.extend(more);
        default = by_env;
    }
    let in_file = role_mappings::default_mapping(own, &mappings, around);
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

    /// Where a rule stands.
    pub(super) fn place(&self, number: usize) -> Option<Spot> {
        self.mappings.get(number).map(|mapping| mapping.place.clone())
    }

    /// What the rest of `[jwt]` makes useless.
    pub(super) fn check(&self, general: &Section<'_>, own: &Section<'_>, core: &JwtConfig) {
        let report = own.report;
        if !core.uses(IdentityMode::ServiceAccount) {
            if !self.mappings.is_empty() {
                let reason = "role mappings are not used unless a \"mode\" is \"service_account\"";
                report.warn(own.spot("role_mappings"), reason);
            }
            return;
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
