//! What is declared, for others: a JSON Schema for editors, and the check that a reference and an example keep up.

use serde_json::{Map, Value, json};

use super::key::{Absent, Declared, SectionKeys, Shape};
use super::kinds::NO_LIMIT;

/// The JSON Schema (draft 2020-12) of a file with these sections. Those named in `open` may hold keys that are not declared.
pub fn schema(title: &str, sections: &[&SectionKeys], open: &[&str]) -> Value {
    let mut root = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "type": "object",
        "properties": {},
    });
    for section in sections {
        let mut at = &mut root;
        let path: Vec<_> = section.path().collect();
        let (last, above) = path.split_last().unwrap_or((&"", &[]));
        for name in above {
            at = &mut at["properties"][*name];
        }
        let place = &mut at["properties"][*last];
        let mut own = table(section, !open.contains(&section.label));
        // Sections inside of it, or others of its name, may have come first.
        let known = place.get("properties").or_else(|| place.get("items")?.get("properties"));
        if let (Some(Value::Object(known)), Value::Object(properties)) = (known, &mut own["properties"]) {
            known.iter().for_each(|(name, value)| drop(properties.insert(name.clone(), value.clone())));
        }
        let list = json!({ "type": "array", "description": section.about.trim_start(), "items": &own });
        *place = match section.shape {
            Shape::Table => own,
            Shape::List => list,
            Shape::Either => json!({ "oneOf": [own, list] }),
        };
    }
    root
}

/// The JSON Schema of one table.
pub fn table(section: &SectionKeys, is_closed: bool) -> Value {
    let properties: Map<String, Value> = section.keys().map(|key| (key.name().to_owned(), key.schema())).collect();
    let mut table = json!({ "type": "object", "description": section.about.trim_start(), "properties": properties });
    if is_closed {
        table["additionalProperties"] = json!(false);
    }
    table
}

/// What a reference in Markdown lacks of a section: it must have a heading `` ## `[section]` `` (or several, in which the label
/// comes first), and below it a row `| key | type | default | … |` for each key, with the default as it is declared. A secret has
/// one row for its four keys, which says so by its type.
pub fn undocumented(reference: &str, section: &SectionKeys) -> Vec<String> {
    let heading = format!("`{}`", section.label);
    let parts: Vec<&str> = reference.split("\n## ").filter(|part| part.starts_with(&heading)).collect();
    let lack = |key: &&'static dyn Declared| {
        let begins = format!("| `{}` |", key.name());
        let row = parts.iter().flat_map(|part| part.lines()).find(|line| line.starts_with(&begins));
        let Some(row) = row else { return Some(format!("{} of {} is not there", key.name(), section.label)) };
        let wanted = match key.absent() {
            Absent::Is(value) if value == NO_LIMIT => "no limit".to_owned(),
            Absent::Is(value) => format!("`{}`", Absent::Is(value).text()),
            Absent::Otherwise(words) => words.to_owned(),
        };
        let is_secret = key.forms().len() > 1;
        if is_secret && row.split(" | ").nth(1) != Some(&*key.type_name()) {
            return Some(format!("{} of {} is no {}", key.name(), section.label, key.type_name()));
        }
        let written = row.split(" | ").nth(2).unwrap_or_default();
        (written != wanted).then(|| format!("{} of {}: {written} is not {wanted}", key.name(), section.label))
    };
    section.declared.iter().filter_map(lack).collect()
}

/// What an example in TOML lacks of a section: below the section's own line, a line `key = …` for each key, which may be behind
/// `# `, or a table of its own. Where the key has a default, that must be it. A secret is there once.
pub fn not_shown(example: &str, section: &SectionKeys) -> Vec<String> {
    let begins = |line: &&str| line.trim_start_matches("# ") == section.label;
    let lines: Vec<&str> = example
        .lines()
        .skip_while(|line| !begins(line))
        .skip(1)
        .map(|line| line.trim_start_matches("# "))
        .take_while(|line| !line.starts_with('['))
        .collect();
    let lack = |key: &&'static dyn Declared| {
        let begins = format!("{} = ", key.name());
        let value = lines.iter().find_map(|line| line.strip_prefix(&begins));
        let table = format!("[{}.{}]", section.path().collect::<Vec<_>>().join("."), key.name());
        let Some(value) = value else {
            let is_table =
                example.lines().any(|line| line.trim_start_matches("# ").split("  ").next() == Some(table.as_str()));
            return (!is_table).then(|| format!("{} of {} is not there", key.name(), section.label));
        };
        let Absent::Is(default) = key.absent() else { return None };
        let default = Absent::Is(default).text();
        let is_it = value.strip_prefix(&default).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
        (!is_it).then(|| format!("{} of {}: {value} is not {default}", key.name(), section.label))
    };
    section.declared.iter().filter_map(lack).collect()
}
