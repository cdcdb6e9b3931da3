//! Which line of the configuration is to blame for a file that cannot be used: the one that names it.

use std::env;
use std::ops::Range;

use pgdog_jwt::reader::{File, Report};
use toml_edit::{Item, TableLike, Value};

use crate::config::{Problem, Spot, Text};

/// The problem with the place of the setting that names its file, if there is one: a line, or a variable of the environment.
pub(super) fn placed(config: Text<'_>, problem: Problem) -> Problem {
    let named = &problem.spot.file;
    if named.is_empty() || problem.spot.position.is_some() {
        return problem;
    }
    let Some((key, spot)) = in_file(config, named).or_else(|| in_environment(named)) else { return problem };
    Problem { spot, reason: format!("\"{key}\": {named}: {}", problem.reason) }
}

/// Where a key of one of the tables stands; the file as a whole, if it does not.
pub(super) fn key(config: Text<'_>, key: &str) -> Spot {
    let found = File::parse(config.name, config.text, &Report::default()).and_then(|file| {
        let tables = file.root().iter().filter_map(|(_, item)| item.as_table_like());
        let mut spans = tables.filter_map(|table| table.get_key_value(key).and_then(|(key, _)| key.span()));
        let span = spans.next()?;
        Some(file.spot(Some(span)))
    });
    found.unwrap_or_else(|| Spot::whole(config.name))
}

fn in_file(config: Text<'_>, named: &str) -> Option<(String, Spot)> {
    let file = File::parse(config.name, config.text, &Report::default())?;
    let (key, span) = in_table(file.root(), named)?;
    Some((key, file.spot(span)))
}

fn in_environment(named: &str) -> Option<(String, Spot)> {
    let (name, _) = env::vars().find(|(name, value)| value == named && name.starts_with("PGDOG_"))?;
    let key = name.trim_start_matches("PGDOG_").to_ascii_lowercase();
    Some((key, Spot::whole(name)))
}

/// The first key whose value is this text, or a list with it.
fn in_table(table: &dyn TableLike, named: &str) -> Option<(String, Option<Range<usize>>)> {
    table.iter().find_map(|(key, item)| match item {
        Item::Value(Value::InlineTable(table)) => in_table(table, named),
        Item::Value(value) if is_or_has(value, named) => Some((key.to_owned(), value.span())),
        Item::Value(Value::Array(values)) => {
            values.iter().filter_map(Value::as_inline_table).find_map(|table| in_table(table, named))
        }
        Item::Table(table) => in_table(table, named),
        Item::ArrayOfTables(tables) => tables.iter().find_map(|table| in_table(table, named)),
        Item::Value(_) | Item::None => None,
    })
}

fn is_or_has(value: &Value, named: &str) -> bool {
    match value {
        Value::String(text) => text.value() == named,
        Value::Array(values) => values.iter().any(|value| value.as_str() == Some(named)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_the_one_that_names_the_file() {
        let text = "[general]\nport = 1\ntls_certificate = \"a.pem\"\n[[jwt.issuers]]\nissuer = \"x\"\n\
                    public_key_files = [\n  \"b.pem\",\n  \"c.pem\",\n]\n";
        let config = Text { name: "pgdog.toml", text };
        let problem = |file: &str| Problem { spot: Spot::whole(file), reason: "is bad".to_owned() };
        let shown = |file| placed(config, problem(file)).to_string();
        assert_eq!(shown("a.pem"), "pgdog.toml:3: \"tls_certificate\": a.pem: is bad");
        assert_eq!(shown("c.pem"), "pgdog.toml:6: \"public_key_files\": c.pem: is bad");
        assert_eq!(shown("d.pem"), "d.pem: is bad");
    }
}
