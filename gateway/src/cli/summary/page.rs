//! A page of sections, each with sentences for people and facts for programs.

use std::fmt::Write;

use serde_json::{Map, Value};

/// The page.
#[derive(Debug, Default)]
pub(super) struct Page {
    sections: Vec<Section>,
}

/// One part of the page.
#[derive(Debug)]
pub(super) struct Section {
    label: &'static str,
    /// The name for programs, and whether there may be several of that name.
    name: &'static str,
    is_one_of_many: bool,
    sentences: Vec<String>,
    facts: Map<String, Value>,
}

/// Behind the label, and before the sentences that follow.
const WIDTH: usize = 11;

impl Page {
    fn add(&mut self, label: &'static str, name: &'static str, is_one_of_many: bool) -> &mut Section {
        let (sentences, facts) = Default::default();
        self.sections.push(Section { label, name, is_one_of_many, sentences, facts });
        let last = self.sections.len() - 1;
        &mut self.sections[last]
    }

    /// A section that is there once.
    pub(super) fn section(&mut self, label: &'static str) -> &mut Section {
        self.add(label, label, false)
    }

    /// One of several: for programs, `name` is a list.
    pub(super) fn one_of(&mut self, label: &'static str, name: &'static str) -> &mut Section {
        self.add(label, name, true)
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for section in &self.sections {
            for (at, sentence) in section.sentences.iter().enumerate() {
                let label = if at == 0 { section.label } else { "" };
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{label:WIDTH$}{sentence}");
            }
        }
        text
    }

    /// For programs.
    pub(super) fn value(&self) -> Value {
        let mut all = Map::new();
        for section in &self.sections {
            let facts = Value::Object(section.facts.clone());
            if !section.is_one_of_many {
                all.insert(section.name.to_lowercase(), facts);
                continue;
            }
            let list = all.entry(section.name).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(list) = list {
                list.push(facts);
            }
        }
        Value::Object(all)
    }
}

impl Section {
    /// A line for people.
    pub(super) fn say(&mut self, sentence: impl Into<String>) -> &mut Self {
        self.sentences.push(sentence.into());
        self
    }

    /// A value for programs.
    pub(super) fn fact(&mut self, name: &str, value: impl Into<Value>) -> &mut Self {
        self.facts.insert(name.to_owned(), value.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn people_and_programs_read_the_same_sections() {
        let mut page = Page::default();
        page.section("TLS").say("none").say("of any kind").fact("required", false);
        page.one_of("user", "users").say("anna").fact("name", "anna");
        page.one_of("user", "users").say("ben").fact("name", "ben");
        assert_eq!(page.text(), "TLS        none\n           of any kind\nuser       anna\nuser       ben\n");
        let users = json!([{ "name": "anna" }, { "name": "ben" }]);
        assert_eq!(page.value(), json!({ "tls": { "required": false }, "users": users }));
    }
}
