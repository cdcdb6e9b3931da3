//! The declarations of the token settings. `docs/configuration.md` says more about each.

use serde_json::{Value, json};

use super::key::SectionKeys;
use super::schema::table;

pub(super) mod claims;
pub(super) mod general;
pub(super) mod identity;
pub(super) mod introspection;
pub(super) mod issuers;
pub(super) mod jwt;
pub(super) mod role_mappings;
pub(super) mod session;
pub(super) mod user_mappings;

/// In seconds.
const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;
/// Longest fetch that may be configured, in milliseconds (S9).
const LONGEST_FETCH: i64 = 600_000;
/// Most keys of a set that may be configured (S9).
const MOST_KEYS: i64 = 10_000;

/// The keys of `[general]` that are about tokens (PgDog pull request 1084).
pub static GENERAL: &SectionKeys = &general::GENERAL;

/// The sections of `[jwt]`.
pub static SECTIONS: &[&SectionKeys] = &[
    &jwt::JWT,
    &issuers::ISSUERS,
    &introspection::INTROSPECTION,
    &identity::IDENTITY,
    &role_mappings::ROLE_MAPPINGS,
    &user_mappings::USER_MAPPINGS,
    &session::SESSION,
    &claims::CLAIMS,
];

/// Sections of `[jwt]` that only a host can read.
const HOST_SECTIONS: [&str; 2] = ["proof", "provisioning"];

/// Whether only a host can honour a key.
pub(super) fn is_by_host(label: &str, name: &str) -> bool {
    let of_a_mapping =
        |section: &&&SectionKeys| label == role_mappings::DEFAULT && section.label == "[[jwt.role_mappings]]";
    let all = SECTIONS.iter().chain([&GENERAL]);
    let mut sections = all.filter(|section| section.label == label || of_a_mapping(section));
    (label == "[jwt]" && HOST_SECTIONS.contains(&name))
        || sections.any(|section| section.find(name).is_some_and(|key| key.is_by_host()))
}

/// `required_claims`.
fn claims_schema() -> Value {
    let one = json!({ "type": ["string", "integer", "boolean"] });
    let some = json!({ "oneOf": [one, { "type": "array", "items": one, "minItems": 1 }] });
    let table = |name: &str, value: &Value| json!({ "type": "object", "properties": { name: value }, "required": [name], "additionalProperties": false });
    let present = table("present", &json!({ "const": true }));
    json!({ "type": "object", "additionalProperties": { "anyOf": [some, table("contains", &some), present] } })
}

/// `default_role_mapping`: the name of a mapping, or the keys of one.
fn default_mapping_schema() -> Value {
    json!({ "oneOf": [{ "type": "string" }, table(&role_mappings::ROLE_MAPPINGS, true)] })
}

/// `[jwt.session.variables]`.
fn variables_schema() -> Value {
    let words: Vec<&str> = super::session::TYPES.iter().map(|(word, _)| *word).collect();
    let table = json!({
        "type": "object",
        "properties": {
            "value": { "type": "string" },
            "default": { "type": "string" },
            "type": { "enum": words },
            "required": { "type": "boolean" },
            "max_length": { "type": "integer", "minimum": 1, "maximum": super::session::MAX_LENGTH },
        },
        "required": ["value"],
        "additionalProperties": false,
    });
    json!({ "type": "object", "additionalProperties": { "oneOf": [{ "type": "string" }, table] } })
}
