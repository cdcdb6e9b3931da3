//! Names as pg_hba.conf and pg_ident.conf want them (PostgreSQL documentation, section "The pg_hba.conf File").

use super::Failure;

/// A name that means nothing but itself: in double quotes, words such as `all` and signs such as `+` lose their meaning.
pub(super) fn quoted(name: &str) -> Result<String, Failure> {
    // A slash begins a regular expression, quotes or not; a line ends a rule.
    if name.is_empty() || name.starts_with('/') || name.chars().any(char::is_control) {
        return Err(format!("{name:?} cannot be written in pg_hba.conf").into());
    }
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    const WORDS: [&str; 7] = ["all", "sameuser", "samerole", "samegroup", "replication", "samehost", "samenet"];
    if name.bytes().all(is_plain) && !WORDS.contains(&name) {
        return Ok(name.to_owned());
    }
    Ok(format!("\"{}\"", name.replace('"', "\"\"")))
}

/// The subjects, as far as PostgreSQL is told of them.
pub(super) struct Roles {
    /// The column of pg_hba.conf.
    pub(super) users: String,
    /// By name, one by one; empty: by their group, or all.
    pub(super) list: Vec<String>,
}

impl Roles {
    pub(super) fn new(names: &[String], group: Option<&str>) -> Result<Self, Failure> {
        let list: Vec<String> = names.iter().map(|name| quoted(name)).collect::<Result<_, _>>()?;
        let users = match group {
            // The plus sign stands before the quotes.
            Some(group) => format!("+{}", quoted(group)?),
            None if list.is_empty() => "all".to_owned(),
            None => list.join(","),
        };
        Ok(Self { users, list })
    }

    pub(super) fn is_everybody(&self) -> bool {
        self.users == "all"
    }

    /// The roles of a map.
    pub(super) fn mapped(&self) -> impl Iterator<Item = &str> {
        let all = self.list.is_empty().then_some(self.users.as_str());
        self.list.iter().map(String::as_str).chain(all)
    }
}
