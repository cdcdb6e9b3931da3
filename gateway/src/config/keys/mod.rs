//! The declarations of the gateway's own sections. `docs/configuration.md` says more about each key.

use pgdog_jwt::reader::{self, SectionKeys};
use serde_json::{Value, json};

pub(super) mod admin;
pub(super) mod audit;
pub(super) mod databases;
pub(super) mod general;
pub(super) mod proof;
pub(super) mod provisioning;
pub(super) mod resolver_account;
pub(super) mod resolvers;
pub(super) mod tcp;
pub(super) mod tenants;
pub(super) mod users;

/// All sections of `pgdog.toml`.
pub(crate) fn pgdog() -> Vec<&'static SectionKeys> {
    let tokens = reader::SECTIONS.iter().copied();
    let before = [&general::GENERAL, reader::GENERAL].into_iter().chain(tokens);
    let of_jwt = [&proof::PROOF, &provisioning::PROVISIONING];
    let tenants = [&tenants::TENANTS, &resolver_account::RESOLVER_ACCOUNT, &resolvers::RESOLVERS];
    let rest = [&databases::DATABASES, &admin::ADMIN, &audit::AUDIT, &tcp::TCP];
    before.chain(of_jwt).chain(tenants).chain(rest).collect()
}

/// All sections of `users.toml`.
pub(crate) fn users() -> Vec<&'static SectionKeys> {
    vec![&users::USERS, &admin::ADMIN]
}

/// Sections that may hold keys of PgDog's that have no meaning here.
pub(crate) const WITH_UNUSED: [&str; 3] = ["[general]", "[[databases]]", "[[users]]"];

/// `[tenants.allow]`: lists of values by variable.
fn lists() -> Value {
    json!({ "type": "object", "additionalProperties": { "type": "array", "items": { "type": "string" } } })
}

/// `[resolvers.inject]`: columns by variable.
fn columns() -> Value {
    json!({ "type": "object", "additionalProperties": { "type": "string" } })
}

/// `groups`: names, or one role or several by group.
fn groups() -> Value {
    let names = json!({ "type": "array", "items": { "type": "string" } });
    json!({ "oneOf": [names, { "type": "object", "additionalProperties": { "oneOf": [{ "type": "string" }, names] } }] })
}
