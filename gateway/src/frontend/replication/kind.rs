//! The start-up parameter `replication`.

use crate::config::{Config, Databases};
use crate::wire::PgError;
use crate::wire::startup::Startup;

/// The parameter's name.
const PARAMETER: &str = "replication";

/// What `replication=true` clients of libpq give as their database, which PostgreSQL does not look at.
const NO_DATABASE: &str = "replication";

/// What a client wants to replicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The whole cluster, as bytes: a standby, `pg_receivewal`, `pg_basebackup`.
    Physical,
    /// One database, decoded. Its connection takes SQL as well.
    Logical,
}

impl Kind {
    /// What the packet asks for; `None`: an ordinary connection.
    ///
    /// # Errors
    /// A value that PostgreSQL does not know.
    pub(crate) fn asked(startup: &Startup) -> Result<Option<Self>, PgError> {
        let Some(value) = startup.get(PARAMETER) else { return Ok(None) };
        if value == "database" {
            return Ok(Some(Self::Logical));
        }
        match boolean(value) {
            Some(true) => Ok(Some(Self::Physical)),
            Some(false) => Ok(None),
            None => Err(PgError::fatal("22023", format!("invalid value for parameter \"{PARAMETER}\": \"{value}\""))
                .hint("Valid values are: \"false\", 0, \"true\", 1, \"database\".")),
        }
    }

    /// The value that a server is given.
    pub(crate) fn value(self) -> &'static str {
        match self {
            Self::Physical => "true",
            Self::Logical => "database",
        }
    }
}

/// PostgreSQL's own idea of a boolean: a word in any case, or a beginning of it that is no other's.
fn boolean(value: &str) -> Option<bool> {
    let value = value.to_ascii_lowercase();
    let begins = |word: &str, least: usize| value.len() >= least && word.starts_with(&value);
    if value == "1" || begins("true", 1) || begins("yes", 1) || value == "on" {
        Some(true)
    } else if value == "0" || begins("false", 1) || begins("no", 1) || begins("off", 2) {
        Some(false)
    } else {
        None
    }
}

/// The database whose server is meant. A physical connection names none: where the name that it brings is not configured,
/// it is the one database of the user's entry in `users.toml`.
pub(crate) fn database<'a>(kind: Option<Kind>, config: &'a Config, user: &str, asked: &'a str) -> &'a str {
    let configured = config.servers(asked).next().is_some();
    if kind != Some(Kind::Physical) || configured || (asked != NO_DATABASE && asked != user) {
        return asked;
    }
    let mut entries = config.users.iter().filter(|entry| entry.name == user);
    match (entries.next().map(|entry| &entry.databases), entries.next()) {
        (Some(Databases::Some(names)), None) => match names.as_slice() {
            [only] => only,
            _ => asked,
        },
        (Some(Databases::All), None) => match config.database_names().as_slice() {
            [only] => only,
            _ => asked,
        },
        _ => asked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::startup::Version;

    fn asked(value: &str) -> Result<Option<Kind>, PgError> {
        Kind::asked(&Startup { version: Version::V3_0, parameters: vec![("replication".to_owned(), value.to_owned())] })
    }

    #[test]
    fn values_mean_what_they_mean_to_postgresql() {
        for value in ["true", "TRUE", "t", "on", "1", "yes", "y"] {
            assert_eq!(asked(value).unwrap(), Some(Kind::Physical), "{value}");
        }
        for value in ["false", "f", "off", "OF", "0", "no", "n"] {
            assert_eq!(asked(value).unwrap(), None, "{value}");
        }
        assert_eq!(asked("database").unwrap(), Some(Kind::Logical));
        for value in ["", "o", "Database", "databas", "truee", "2", "maybe", " true"] {
            assert_eq!(asked(value).unwrap_err().code, "22023", "{value}");
        }
    }

    #[test]
    fn the_last_value_counts() {
        let parameters = [("replication", "true"), ("replication", "off")];
        let parameters = parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        assert_eq!(Kind::asked(&Startup { version: Version::V3_0, parameters }).unwrap(), None);
    }
}
