//! From what a token says of its bearer to the name of a user, as `pg_ident.conf` does it: the first rule that matches
//! decides.

use super::{IdentityMode, Pattern};

/// One rule.
#[derive(Debug, Clone, PartialEq)]
pub struct UserMapping {
    /// The `iss` that the rule is for, byte for byte; `None`: any.
    pub issuer: Option<String>,
    /// The claim that is matched: an exact name, or a path with dots. `None`: the one that names the user.
    pub claim: Option<String>,
    /// What the claim must be.
    pub pattern: Pattern,
    /// The user that it makes.
    pub user: UserTemplate,
    /// ASCII letters of the user become lower case, as in a name that PostgreSQL was given without quotes.
    pub lowercase: bool,
    /// Who the sessions of such users are on the server; `None`: as the issuer says.
    pub mode: Option<IdentityMode>,
}

/// The name of a user, with what the groups of a pattern hold in it: `\1` to `\9`, and `\0` for the whole value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserTemplate {
    parts: Vec<Part>,
    text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Group(usize),
}

/// Why a text is no template for a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It would name nobody.
    #[error("must not be empty")]
    Empty,
    /// A backslash before something else than a digit or another backslash.
    #[error("has a backslash that is neither a group (\\1) nor a backslash (\\\\)")]
    Escape,
    /// The pattern has fewer groups.
    #[error("has \\{0}, and the pattern has no such group")]
    NoGroup(usize),
}

impl UserTemplate {
    /// Reads a template for a pattern.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(text: &str, pattern: &Pattern) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            if character != '\\' {
                plain.push(character);
                continue;
            }
            match characters.next() {
                Some('\\') => plain.push('\\'),
                Some(digit) if digit.is_ascii_digit() => {
                    let group = digit.to_digit(10).unwrap_or_default() as usize;
                    if group > pattern.groups() {
                        return Err(TemplateError::NoGroup(group));
                    }
                    parts.extend([Part::Text(std::mem::take(&mut plain)), Part::Group(group)]);
                }
                _ => return Err(TemplateError::Escape),
            }
        }
        parts.push(Part::Text(plain));
        parts.retain(|part| *part != Part::Text(String::new()));
        if parts.is_empty() { Err(TemplateError::Empty) } else { Ok(Self { parts, text: text.to_owned() }) }
    }

    /// Whether it is one and the same user whatever the value is.
    pub fn is_constant(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Text(_)))
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What every user begins with, and what every user ends with.
    pub(super) fn ends(&self) -> (&str, &str) {
        (literal(self.parts.first()), literal(self.parts.last()))
    }

    /// The groups in it.
    pub(super) fn groups(&self) -> impl Iterator<Item = usize> {
        self.parts.iter().filter_map(|part| match part {
            Part::Group(number) => Some(*number),
            Part::Text(_) => None,
        })
    }
}

fn literal(part: Option<&Part>) -> &str {
    match part {
        Some(Part::Text(text)) => text,
        _ => "",
    }
}

impl UserMapping {
    /// The user that a value makes; `None`: the rule is not for this value.
    pub(crate) fn user(&self, value: &str) -> Option<String> {
        let groups = self.pattern.captures(value)?;
        let text = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Group(number) => groups.get(*number).map_or_else(String::new, |group| group.as_str().to_owned()),
        };
        let user: String = self.user.parts.iter().map(text).collect();
        Some(if self.lowercase { user.to_ascii_lowercase() } else { user })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(pattern: &str, user: &str, value: &str) -> Option<String> {
        let pattern = Pattern::new(pattern, false).unwrap();
        let user = UserTemplate::new(user, &pattern).unwrap();
        UserMapping { issuer: None, claim: None, pattern, user, lowercase: false, mode: None }.user(value)
    }

    #[test]
    fn groups_of_the_pattern_go_into_the_user() {
        assert_eq!(mapped("(.*)@example\\.com", "\\1", "alice@example.com").as_deref(), Some("alice"));
        assert_eq!(mapped("(.*)@(.*)", "\\2.\\1-\\\\1", "a@b").as_deref(), Some("b.a-\\1"));
        assert_eq!(mapped("a(b)?c", "x\\1y\\0", "ac").as_deref(), Some("xyac"), "a group that took no part is empty");
        assert_eq!(mapped(".*", "reports", "whoever").as_deref(), Some("reports"));
        assert_eq!(mapped("(.*)@example\\.com", "\\1", "alice@example.com.evil"), None);
    }

    #[test]
    fn a_template_without_groups_is_one_user() {
        let pattern = Pattern::new("(a)", false).unwrap();
        for (text, is_constant) in [("reports", true), ("\\\\1", true), ("\\1", false), ("x\\0", false)] {
            assert_eq!(UserTemplate::new(text, &pattern).unwrap().is_constant(), is_constant, "{text}");
        }
    }

    #[test]
    fn a_value_cannot_bring_groups_of_its_own() {
        assert_eq!(mapped("(.*)@x", "\\1", "\\0\\1@x").as_deref(), Some("\\0\\1"));
    }

    #[test]
    fn templates_that_cannot_work_are_refused() {
        let pattern = Pattern::new("(a)", false).unwrap();
        for (text, error) in [
            ("", TemplateError::Empty),
            ("\\2", TemplateError::NoGroup(2)),
            ("\\", TemplateError::Escape),
            ("a\\n", TemplateError::Escape),
        ] {
            assert_eq!(UserTemplate::new(text, &pattern), Err(error), "{text}");
        }
    }
}
