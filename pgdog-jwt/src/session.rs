//! Claims that a session carries as settings of PostgreSQL (`app.tenant_id`), for row-level security to read. Each login
//! gives every configured variable a value, the empty one where the token says nothing, so that no session can inherit
//! one.

mod kind;
mod presets;
mod template;

use std::collections::BTreeMap;

use serde_json::Value;

pub use kind::Kind;
pub use presets::{PRESETS, preset};
pub use template::Template;

use crate::claims::{self, Claims};
use crate::deny::DenyReason;

/// Longest value unless the configuration says otherwise, in bytes.
pub const DEFAULT_MAX_LENGTH: usize = 8 * 1024;

/// Most variables that one claim may spread into.
const MAX_SPREAD: usize = 64;

/// Longest name, in bytes: PostgreSQL's `NAMEDATALEN` less one for each part of it would allow more.
const MAX_NAME: usize = 63;

/// One variable, or a family of them.
#[derive(Debug, Clone, PartialEq)]
pub enum Variable {
    /// One variable, from a template.
    One(Box<OneVariable>),
    /// One for each entry of an object: `name` and a dot and the entry's key.
    Each {
        /// What the names begin with.
        name: String,
        /// The claim that holds the object: a path; empty: all claims.
        claim: String,
        /// Whether entries that cannot be a variable are left out. Otherwise they end the login.
        lenient: bool,
    },
}

/// A variable of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct OneVariable {
    /// `app.tenant_id`: parts of letters, digits and `_`, with a dot.
    pub name: String,
    /// Where its value comes from.
    pub value: Template,
    /// Without a value, the login ends.
    pub required: bool,
    /// The value where the token has none.
    pub default: String,
    /// Longest value, in bytes.
    pub max_length: usize,
    /// What the value must be.
    pub kind: Kind,
}

impl OneVariable {
    /// An optional text.
    pub fn new(name: impl Into<String>, value: Template) -> Self {
        let (required, max_length, kind) = (false, DEFAULT_MAX_LENGTH, Kind::Text);
        Self { name: name.into(), value, required, default: String::new(), max_length, kind }
    }
}

impl Variable {
    /// What a guard must protect: the name, or the beginning of the names and `*`.
    pub fn pattern(&self) -> String {
        match self {
            Self::One(variable) => variable.name.clone(),
            Self::Each { name, .. } => format!("{name}.*"),
        }
    }
}

/// Whether a name can be that of a variable: PostgreSQL's rule for placeholders (`valid_custom_variable_name`), in lower
/// case, because names of settings are compared without case.
pub fn is_name(name: &str) -> bool {
    name.len() <= MAX_NAME && name.contains('.') && name.split('.').all(is_part)
}

fn is_part(part: &str) -> bool {
    let mut characters = part.bytes();
    characters.next().is_some_and(|first| first.is_ascii_lowercase() || first == b'_')
        && characters.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// The variables of a session, by name. One that is named on its own goes before one of a family.
pub(crate) fn evaluate(variables: &[Variable], claims: &Claims) -> Result<Vec<(String, String)>, DenyReason> {
    let mut values = BTreeMap::new();
    for variable in variables {
        if let Variable::Each { name, claim, lenient } = variable {
            spread(name, claim, *lenient, claims, &mut values)?;
        }
    }
    for variable in variables {
        if let Variable::One(one) = variable {
            values.insert(one.name.clone(), value_of(one, claims)?);
        }
    }
    Ok(values.into_iter().collect())
}

fn value_of(variable: &OneVariable, claims: &Claims) -> Result<String, DenyReason> {
    let invalid = || DenyReason::InvalidVariable(variable.name.clone());
    let value = match variable.value.fill(claims)? {
        Some(value) if !(value.is_empty() && variable.required) => value,
        _ if variable.required => return Err(DenyReason::MissingVariable(variable.name.clone())),
        _ => return Ok(variable.default.clone()),
    };
    if value.len() > variable.max_length || value.contains('\0') || !variable.kind.admits(&value) {
        return Err(invalid());
    }
    Ok(value)
}

fn spread(
    name: &str,
    claim: &str,
    lenient: bool,
    claims: &Claims,
    values: &mut BTreeMap<String, String>,
) -> Result<(), DenyReason> {
    let invalid = |why| DenyReason::InvalidClaim(claim.to_owned(), why);
    let entries = match claim {
        "" => claims,
        path => match claims::find(claims, path) {
            None | Some(Value::Null) => return Ok(()),
            Some(Value::Object(entries)) => entries,
            Some(_) => return Err(invalid("it must be an object")),
        },
    };
    let mut count = 0;
    for (key, value) in entries {
        let full = format!("{name}.{key}");
        let value = template::scalar(value)
            .filter(|value| is_name(&full) && value.len() <= DEFAULT_MAX_LENGTH && !value.contains('\0'));
        match value {
            Some(value) if count < MAX_SPREAD => {
                count += 1;
                values.insert(full, value);
            }
            _ if lenient => {}
            _ => return Err(invalid("an entry of it cannot be a setting")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
