//! What PgDog's `users.toml` says of the users that tokens lead to. PgDog reads it as well, and judges it.

use std::path::Path;

use pgdog_jwt::config::Secret;
use pgdog_jwt_host::admission::Entry;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// The users that PgDog knows by name.
#[derive(Default)]
pub(crate) struct Users(Vec<User>);

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    users: Vec<User>,
}

#[derive(Deserialize)]
struct User {
    name: String,
    #[serde(default)]
    database: String,
    #[serde(default)]
    databases: Vec<String>,
    #[serde(default)]
    all_databases: bool,
    password: Option<IgnoredAny>,
    password_hash: Option<IgnoredAny>,
    #[serde(default)]
    passwords: Vec<IgnoredAny>,
    server_user: Option<String>,
    server_password: Option<String>,
    server_role: Option<String>,
    read_only: Option<bool>,
}

impl User {
    fn has_password(&self) -> bool {
        self.password.is_some() || self.password_hash.is_some() || !self.passwords.is_empty()
    }

    fn is_for(&self, name: &str, database: &str) -> bool {
        let is_listed = self.databases.iter().any(|own| own == database);
        let is_the_one = self.databases.is_empty() && self.database == database;
        self.name == name && (self.all_databases || is_listed || is_the_one)
    }
}

/// What it says of one user in one database.
pub(crate) struct Named {
    pub(crate) entry: Entry,
    /// Its role on the server, which PgDog puts above a grant's.
    pub(crate) server_role: Option<String>,
}

impl Users {
    /// # Errors
    /// It cannot be read. No line of the file is quoted: it holds passwords.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let name = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
        let file: File = toml::from_str(&text).map_err(|error| {
            let line = error.span().map(|span| text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1);
            let place = line.map_or_else(|| name.to_string(), |line| format!("{name}:{line}"));
            format!("{place}: this is not what PgDog's list of users looks like")
        })?;
        Ok(Self(file.users))
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.0.iter().map(|user| user.name.as_str()).collect()
    }

    pub(crate) fn named(&self, name: &str, database: &str) -> Option<Named> {
        let user = self.0.iter().find(|user| user.is_for(name, database))?;
        let entry = Entry {
            server_user: user.server_user.clone(),
            server_password: user.server_password.clone().map(Secret::new),
            has_password: user.has_password(),
            read_only: user.read_only,
        };
        Some(Named { entry, server_role: user.server_role.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Users, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        std::fs::write(&path, text).unwrap();
        Users::read(&path)
    }

    #[test]
    fn a_user_is_found_by_name_and_database() {
        let users = read(
            "[admin]\npassword = \"x\"\n[[users]]\nname = \"alice\"\ndatabase = \"app\"\nread_only = true\npool_size = 3\n\
             [[users]]\nname = \"bob\"\ndatabases = [\"a\", \"b\"]\npasswords = [\"x\"]\nserver_role = \"other\"\n\
             [[users]]\nname = \"carol\"\nall_databases = true\npassword_hash = \"x\"\nserver_user = \"own\"\n",
        )
        .unwrap();
        let alice = users.named("alice", "app").unwrap();
        assert!(alice.entry.read_only == Some(true) && !alice.entry.has_password && alice.server_role.is_none());
        assert!(users.named("alice", "other").is_none() && users.named("", "app").is_none());
        let bob = users.named("bob", "b").unwrap();
        assert!(bob.entry.has_password && bob.server_role.as_deref() == Some("other"));
        let carol = users.named("carol", "anything").unwrap();
        assert!(carol.entry.has_password && carol.entry.server_user.as_deref() == Some("own"));
        assert_eq!(users.names(), ["alice", "bob", "carol"]);
    }

    #[test]
    fn a_broken_file_is_an_error_that_quotes_nothing() {
        for text in
            ["[[users]]\nname = \"a\"\npassword = \"geheim\n", "[[users]]\nname = \"a\"\nread_only = \"geheim\"\n"]
        {
            let error = read(text).err().unwrap();
            assert!(error.contains("users.toml:3:") && !error.contains("geheim"), "{error}");
        }
        assert!(Users::read(Path::new("/nonexistent/users.toml")).is_err());
    }
}
