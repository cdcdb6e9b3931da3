//! `required_claims`: what a token must say besides who it is for.

use serde_json::Value;
use toml_edit::Item;

use super::section::Section;
use crate::config::{RequiredClaim, Wanted};

const EXPECTED: &str = "must be a value, a list of values, { contains = … } or { present = true }";

/// The claims of the table, in the order of the file; `None`: there is no such table.
pub(super) fn required_claims(section: &Section<'_>) -> Option<Vec<RequiredClaim>> {
    section.is_present_key("required_claims").then(|| {
        let table = section.table("required_claims", "required_claims");
        let mut required = Vec::new();
        for (claim, item, spot) in table.entries() {
            match wanted(item) {
                Some(wanted) => required.push(RequiredClaim { claim: claim.to_owned(), wanted }),
                None => table.report.error(spot, format!("\"{claim}\" in required_claims {EXPECTED}")),
            }
        }
        required
    })
}

fn wanted(item: &Item) -> Option<Wanted> {
    let Some(table) = item.as_table_like() else {
        return values(item).map(Wanted::OneOf);
    };
    let mut entries = table.iter();
    match (entries.next()?, entries.next()) {
        (("present", item), None) => (item.as_bool() == Some(true)).then_some(Wanted::Present),
        (("contains", item), None) => values(item).map(Wanted::Contains),
        _ => None,
    }
}

/// One value, or a list of at least one.
fn values(item: &Item) -> Option<Vec<Value>> {
    match item.as_value()? {
        toml_edit::Value::Array(array) if array.is_empty() => None,
        toml_edit::Value::Array(array) => array.iter().map(value).collect(),
        one => value(one).map(|value| vec![value]),
    }
}

/// TOML's and JSON's types that mean the same. Fractions are not compared.
fn value(value: &toml_edit::Value) -> Option<Value> {
    match value {
        toml_edit::Value::String(text) => Some(Value::from(text.value().as_str())),
        toml_edit::Value::Integer(number) => Some(Value::from(*number.value())),
        toml_edit::Value::Boolean(flag) => Some(Value::from(*flag.value())),
        _ => None,
    }
}
