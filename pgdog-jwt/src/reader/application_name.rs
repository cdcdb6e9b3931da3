//! `[jwt] application_name`: the name under which PostgreSQL sees a session, in `pg_stat_activity` and in its own log, so
//! that both tell who is behind a shared account.

/// Longest name that PostgreSQL keeps, in bytes (PostgreSQL documentation, "application_name").
const MAX_LENGTH: usize = 63;

/// A template, such as `%u: %a`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameTemplate {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    User,
    Subject,
    /// The client's own name.
    Own,
    Database,
    Address,
}

/// What a template is filled with.
#[derive(Debug, Clone, Copy)]
pub struct NameParts<'a> {
    /// The user of the session.
    pub user: &'a str,
    /// `sub` of its token.
    pub subject: &'a str,
    /// The database that the client asked for.
    pub database: &'a str,
    /// Where the client connects from.
    pub address: &'a str,
}

impl NameTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text.chars();
        while let Some(character) = rest.next() {
            let part = match character {
                '%' => match rest.next() {
                    Some('u') => Part::User,
                    Some('i') => Part::Subject,
                    Some('a') => Part::Own,
                    Some('d') => Part::Database,
                    Some('r') => Part::Address,
                    Some('%') => {
                        plain.push('%');
                        continue;
                    }
                    _ => return Err("may hold %u, %i, %a, %d, %r and %%, and no other \"%\"".to_owned()),
                },
                other => {
                    plain.push(other);
                    continue;
                }
            };
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(part);
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The name of a session whose client calls itself `own`. That is cut before anything else, so that no name pushes out
    /// who the session is.
    pub fn fill(&self, own: &str, with: NameParts<'_>) -> String {
        let own = visible(own);
        let text = |part: &Part| match part {
            Part::Text(text) => visible(text),
            Part::User => visible(with.user),
            Part::Subject => visible(with.subject),
            Part::Own => String::new(),
            Part::Database => visible(with.database),
            Part::Address => visible(with.address),
        };
        let others: usize = self.parts.iter().map(|part| text(part).len()).sum();
        let own = own.get(..MAX_LENGTH.saturating_sub(others).min(own.len())).unwrap_or_default();
        let mut name = String::with_capacity(MAX_LENGTH);
        for part in &self.parts {
            match part {
                Part::Own => name.push_str(own),
                other => name.push_str(&text(other)),
            }
        }
        name.truncate(MAX_LENGTH);
        name
    }
}

/// PostgreSQL keeps printable ASCII alone, and writes the rest differently from version to version: each other character
/// is a question mark.
fn visible(text: &str) -> String {
    text.chars().map(|character| if matches!(character, ' '..='~') { character } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITH: NameParts<'_> = NameParts { user: "alice", subject: "auth0|5", database: "app", address: "192.0.2.7" };

    fn fill(template: &str, own: &str) -> String {
        NameTemplate::parse(template).unwrap().fill(own, WITH)
    }

    #[test]
    fn every_part_is_filled_in() {
        assert_eq!(fill("%a [%u] %i@%d %r 100%%", "psql"), "psql [alice] auth0|5@app 192.0.2.7 100%");
        assert_eq!(fill("plain", "psql"), "plain");
        assert_eq!(fill("%a", ""), "");
    }

    #[test]
    fn a_long_name_of_the_client_leaves_room_for_the_person() {
        let name = fill("%a [%u]", &"x".repeat(200));
        assert_eq!((name.len(), name.ends_with("x [alice]")), (63, true));
        let twice = fill("%a%a%u", &"x".repeat(200));
        assert_eq!(twice.len(), 63);
        assert_eq!(fill(&"y".repeat(100), "psql").len(), 63);
    }

    #[test]
    fn only_printable_ascii_is_left() {
        assert_eq!(fill("%a [%u]", "a\n\u{7f}\u{202e}ü\0"), "a????? [alice]");
    }

    #[test]
    fn other_percent_signs_are_mistakes() {
        for template in ["%x", "%", "100%"] {
            assert!(NameTemplate::parse(template).is_err(), "{template}");
        }
    }
}
