//! The settings of a session, and how a server connection is brought from one session's settings to another's.

use super::sql::Sql;

/// Settings that a session has of its own, by lower-case name, in the order of their names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Settings(Vec<(String, String)>);

impl Settings {
    /// Sets `name`, which replaces an earlier value.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        let name = name.to_ascii_lowercase();
        match self.0.binary_search_by(|(key, _)| key.as_str().cmp(&name)) {
            Ok(at) => self.0[at].1 = value.to_owned(),
            Err(at) => self.0.insert(at, (name, value.to_owned())),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .binary_search_by(|(key, _)| key.as_str().cmp(name))
            .ok()
            .and_then(|at| self.0.get(at))
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<String> {
        let at = self.0.binary_search_by(|(key, _)| key.as_str().cmp(name)).ok()?;
        Some(self.0.remove(at).1)
    }

    /// These settings, and those of `below` that have no value here.
    pub(crate) fn over(&self, below: &Self) -> Self {
        let mut all = below.clone();
        self.iter().for_each(|(name, value)| all.set(name, value));
        all
    }

    /// These settings without those of `others`, where the value is the same.
    pub(crate) fn without(&self, others: &Self) -> Self {
        Self(self.0.iter().filter(|(name, value)| others.get(name) != Some(value)).cloned().collect())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The statements that turn a session with these settings into one with `wanted`; none when they are equal. Values go
    /// through `set_config`, which takes lists (`search_path`) as the start-up packet does.
    pub(crate) fn difference<'a>(&self, wanted: &'a Self) -> Vec<Sql<'a>> {
        let mut statements = Vec::new();
        for (name, _) in self.iter() {
            // What `ISO` means for the order of day and month depends on the value before: that must be the server's own.
            let builds_on_itself = name == "datestyle" && wanted.get(name) != self.get(name);
            if wanted.get(name).is_none() || builds_on_itself {
                statements.push(Sql::of(format!("RESET {}", quote_name(name))));
            }
        }
        let mut changed = wanted.iter().filter(|(name, value)| self.get(name) != Some(*value));
        if let Some((name, value)) = changed.next() {
            let mut sql = Sql::new("SELECT ");
            sql.set(name, value);
            changed.for_each(|(name, value)| _ = sql.push(",").set(name, value));
            statements.push(sql);
        }
        statements
    }
}

/// Quotes a role or table name: `"` doubled. PostgreSQL takes every byte but NUL in it.
pub(crate) fn quote_identifier(name: &str) -> String {
    let mut quoted = String::with_capacity(name.len() + 2);
    quoted.push('"');
    for character in name.chars().filter(|character| *character != '\0') {
        if character == '"' {
            quoted.push('"');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}

/// Quotes the name of a setting, whose parts are joined by dots (`app.tenant`).
fn quote_name(name: &str) -> String {
    name.split('.').map(quote_identifier).collect::<Vec<_>>().join(".")
}

/// Quotes a string constant so that it reads the same whatever `standard_conforming_strings` is: with a backslash in it,
/// as an escape string (PostgreSQL documentation, section "String Constants with C-Style Escapes").
pub(crate) fn quote_literal(value: &str) -> String {
    let mut quoted = String::with_capacity(value.len() + 3);
    push_literal(&mut quoted, value);
    quoted
}

/// Appends the same.
pub(super) fn push_literal(quoted: &mut String, value: &str) {
    if memchr::memchr3(b'\'', b'\\', 0, value.as_bytes()).is_none() {
        quoted.push('\'');
        quoted.push_str(value);
        quoted.push('\'');
        return;
    }
    quoted.push_str(if value.contains('\\') { " E'" } else { "'" });
    for character in value.chars().filter(|character| *character != '\0') {
        if matches!(character, '\'' | '\\') {
            quoted.push(character);
        }
        quoted.push(character);
    }
    quoted.push('\'');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(list: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::default();
        for (name, value) in list {
            settings.set(name, value);
        }
        settings
    }

    fn difference(from: &Settings, to: &Settings) -> String {
        from.difference(to).iter().map(|sql| format!("{sql};")).collect()
    }

    #[test]
    fn equal_settings_need_no_sql() {
        let one = settings(&[("TimeZone", "UTC"), ("application_name", "x")]);
        assert_eq!(difference(&one, &settings(&[("application_name", "x"), ("timezone", "UTC")])), "");
    }

    #[test]
    fn only_the_difference_is_sent() {
        let from = settings(&[("a.b", "1"), ("timezone", "UTC")]);
        let to = settings(&[("timezone", "UTC"), ("search_path", "x, y")]);
        assert_eq!(
            difference(&from, &to),
            "RESET \"a\".\"b\";SELECT pg_catalog.set_config('search_path','x, y',false);"
        );
    }

    #[test]
    fn a_date_style_does_not_build_on_that_of_another_session() {
        let german = settings(&[("datestyle", "German")]);
        assert_eq!(
            difference(&german, &settings(&[("datestyle", "ISO")])),
            "RESET \"datestyle\";SELECT pg_catalog.set_config('datestyle','ISO',false);"
        );
        assert_eq!(difference(&german, &german), "");
    }

    #[test]
    fn settings_go_over_others() {
        let all = settings(&[("a", "1"), ("b", "2")]).over(&settings(&[("b", "3"), ("c", "4")]));
        assert_eq!(all, settings(&[("a", "1"), ("b", "2"), ("c", "4")]));
    }

    #[test]
    fn all_new_values_go_in_one_statement() {
        assert_eq!(
            difference(&Settings::default(), &settings(&[("a.b", "1"), ("timezone", "UTC")])),
            "SELECT pg_catalog.set_config('a.b','1',false),pg_catalog.set_config('timezone','UTC',false);"
        );
    }

    #[test]
    fn constants_and_names_cannot_be_left() {
        assert_eq!(quote_literal("a'b"), "'a''b'");
        assert_eq!(quote_literal("a\\'b"), " E'a\\\\''b'");
        assert_eq!(quote_literal("a\0b"), "'ab'");
        assert_eq!(quote_identifier("we\"ird"), "\"we\"\"ird\"");
    }
}
