//! `[jwt.session]`: claims that sessions carry as settings of PostgreSQL; `[jwt.claims]`: claims that say what a session
//! may do.

use std::collections::HashSet;

use toml_edit::{Item, TableLike};

use super::choices::{Choice, PoolerMode};
use super::keys;
use super::nearest::nearest;
use super::section::Section;
use crate::config::{ClaimPolicy, Level, Spot};
use crate::session::{DEFAULT_MAX_LENGTH, Kind, OneVariable, PRESETS, Template, Variable, is_name, preset};

/// Most variables of a session (S9).
const MAX_VARIABLES: usize = 64;
/// Largest value that may be configured, in bytes.
pub(super) const MAX_LENGTH: i64 = 1 << 20;
/// The words for what a value must be.
pub(super) const TYPES: &[(&str, Kind)] = Kind::ALL;

impl Choice for Kind {
    const ALL: &'static [(&'static str, Self)] = &[
        ("text", Self::Text),
        ("int", Self::Int),
        ("bool", Self::Bool),
        ("uuid", Self::Uuid),
        ("json", Self::Json),
        ("csv", Self::Csv),
    ];
}

/// The variables: those of the presets, then those of the file, which go before.
pub(super) fn variables(jwt: &Section<'_>) -> Vec<Variable> {
    let session = jwt.table("session", "[jwt.session]");
    let mut variables = presets(&session);
    let own = session.table("variables", "[jwt.session.variables]");
    for (name, item, spot) in own.entries() {
        match variable(name, item) {
            Ok(variable) => variables.push(Variable::One(Box::new(variable))),
            Err(reason) => own.report.error(spot, format!("\"{name}\" in [jwt.session.variables] {reason}")),
        }
    }
    let mut seen = HashSet::new();
    // The last one of a name counts.
    variables.reverse();
    variables.retain(|variable| seen.insert(variable.pattern()));
    variables.reverse();
    if variables.len() > MAX_VARIABLES {
        session.report.error(session.place(), format!("[jwt.session] has more than {MAX_VARIABLES} variables"));
    }
    session.finish(&[]);
    variables
}

fn presets(session: &Section<'_>) -> Vec<Variable> {
    let mut variables = Vec::new();
    for name in session.given(&keys::session::PRESET).unwrap_or_default() {
        match preset(&name) {
            Some(some) => variables.extend(some),
            None => {
                let hint = nearest(&name, PRESETS.into_iter());
                let reason = format!("unknown preset \"{name}\"{hint}; there are {}", PRESETS.join(", "));
                session.report.error(session.spot("preset"), reason);
            }
        }
    }
    variables
}

/// A template, or a table with more about it.
fn variable(name: &str, item: &Item) -> Result<OneVariable, String> {
    if !is_name(name) {
        return Err("must be a name such as \"app.tenant_id\": lower case, with a dot, at most 63 bytes".to_owned());
    }
    let template = |text: &str| Template::parse(text).map_err(|problem| format!("{problem}: {text:?}"));
    if let Some(text) = item.as_str() {
        return Ok(OneVariable::new(name, template(text)?));
    }
    let table = item.as_table_like().ok_or("must be a template such as \"{tenant_id}\", or a table")?;
    let mut variable = None;
    let text = |key: &str| -> Result<Option<&str>, String> {
        table.get(key).map(|item| item.as_str().ok_or(format!("must have a string as its \"{key}\""))).transpose()
    };
    if let Some(value) = text("value")? {
        variable = Some(OneVariable::new(name, template(value)?));
    }
    let mut variable = variable.ok_or("must have a \"value\"")?;
    variable.default = text("default")?.unwrap_or_default().to_owned();
    if let Some(word) = text("type")? {
        variable.kind = Kind::from_word(word).ok_or_else(|| {
            let words: Vec<_> = Kind::ALL.iter().map(|(word, _)| *word).collect();
            format!("has an unknown type \"{word}\"; there are {}", words.join(", "))
        })?;
    }
    variable.required = flag(table, "required")?;
    variable.max_length = match table.get("max_length") {
        None => DEFAULT_MAX_LENGTH,
        Some(item) => item
            .as_integer()
            .filter(|length| (1..=MAX_LENGTH).contains(length))
            .and_then(|length| usize::try_from(length).ok())
            .ok_or(format!("must have a \"max_length\" from 1 to {MAX_LENGTH}"))?,
    };
    let known = ["value", "default", "type", "required", "max_length"];
    if let Some((key, _)) = table.iter().find(|(key, _)| !known.contains(key)) {
        return Err(format!("has an unknown key \"{key}\"{}", nearest(key, known.into_iter())));
    }
    if variable.required && !variable.default.is_empty() {
        return Err("is required, so its default is never used".to_owned());
    }
    Ok(variable)
}

fn flag(table: &dyn TableLike, key: &str) -> Result<bool, String> {
    table.get(key).map_or(Ok(false), |item| item.as_bool().ok_or(format!("must have true or false as its \"{key}\"")))
}

/// What claims say about the session.
pub(super) fn claims(jwt: &Section<'_>) -> ClaimPolicy {
    let claims = jwt.table("claims", "[jwt.claims]");
    let policy = ClaimPolicy {
        read_only: claims.given(&keys::claims::READ_ONLY),
        database: claims.given(&keys::claims::DATABASE),
        permission_level: claims.given(&keys::claims::PERMISSION_LEVEL),
        levels: levels(&claims),
        pool_mode: claims.given(&keys::claims::POOL_MODE),
        pool_modes: pool_modes(&claims),
        max_connections: claims.given(&keys::claims::MAX_CONNECTIONS),
        max_connections_ceiling: claims
            .given(&keys::claims::MAX_CONNECTIONS_CEILING)
            .filter(|most| *most != usize::MAX),
    };
    claims.finish(&[]);
    policy
}

fn levels(claims: &Section<'_>) -> Vec<Level> {
    let words = claims.value(&keys::claims::PERMISSION_LEVELS);
    let level = |word: &String| match (word.as_str(), word.strip_prefix("role:")) {
        ("refuse", _) => Some(Level::Refuse),
        ("read_only", _) => Some(Level::ReadOnly),
        ("read_write", _) => Some(Level::ReadWrite),
        (_, Some(role)) if !role.is_empty() => Some(Level::Role(role.to_owned())),
        _ => None,
    };
    let known = "\"refuse\", \"read_only\", \"read_write\" or \"role:\" and a role";
    let unknown = words.iter().find(|word| level(word).is_none());
    if let Some(word) = unknown {
        wrong(claims, "permission_levels", format!("must hold {known}, not {word:?}"));
    }
    words.iter().filter_map(level).collect()
}

/// The modes that a token may choose.
fn pool_modes(claims: &Section<'_>) -> Vec<String> {
    let all = PoolerMode::ALL.iter().map(|(word, _)| (*word).to_owned());
    let Some(words) = claims.given(&keys::claims::POOL_MODES) else { return all.collect() };
    if let Some(word) = words.iter().find(|word| PoolerMode::from_word(word).is_none()) {
        wrong(
            claims,
            "pool_modes",
            format!("has an unknown mode {word:?}; there are {}", all.collect::<Vec<_>>().join(", ")),
        );
    }
    words
}

fn wrong(section: &Section<'_>, key: &'static str, problem: String) {
    let spot: Spot = section.spot(key);
    section.report.error(spot, format!("\"{key}\" {problem}"));
}
