//! The question that proves that a connection is a grant's: who it is, with which settings, on which kind of server.

use std::fmt::Write;

use super::nonce::{NoRandom, Nonce};
use super::who::{COLUMNS, Mistaken, WHO, Who};
use crate::AuthGrant;

/// A question for one server connection, to be asked once.
///
/// Its answer repeats a random value that nobody can know before the question is sent. So nothing that was written on the
/// connection before, by a client or by a statement of one, can be taken for it. It must be sent when the connection owes
/// no other answer.
pub struct Question<'a> {
    nonce: Nonce,
    role: Option<&'a str>,
    login: Option<&'a str>,
    settings: &'a [(String, String)],
    allow_privileged: bool,
    judges_account: bool,
    read_only: bool,
}

/// Whether the account that logged in is above all rules, whatever role it has taken on.
const ACCOUNT: &str = ", (SELECT a.rolsuper OR a.rolbypassrls FROM pg_catalog.pg_roles a \
                       WHERE a.rolname OPERATOR(pg_catalog.=) session_user)";

impl AuthGrant {
    /// Asks whether a connection is what the grant says: its role, its account, its settings; no role with SUPERUSER or
    /// BYPASSRLS; and a standby where the grant only reads. [`AuthGrant::provision_read_only`] is left to the host: see
    /// [`Question::on_a_replica`].
    ///
    /// # Errors
    /// The system gives no random numbers. Then nobody may use the connection.
    pub fn question(&self) -> Result<Question<'_>, NoRandom> {
        Ok(Question {
            nonce: Nonce::new()?,
            role: self.server_role.as_deref(),
            login: self.server_user.as_deref(),
            settings: &self.settings,
            allow_privileged: false,
            judges_account: false,
            read_only: self.read_only,
        })
    }
}

impl<'a> Question<'a> {
    /// For a connection that logs in with an account of the host's choice.
    #[must_use]
    pub fn logged_in_as(mut self, account: &'a str) -> Self {
        self.login = Some(account);
        self
    }

    /// For a subject that never reaches a primary (S10), also where the grant does not say so.
    #[must_use]
    pub fn on_a_replica(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// For an account that a mapping gives to subjects: behind a role it may be no more privileged than as itself.
    #[must_use]
    pub fn of_a_mapped_account(mut self) -> Self {
        self.judges_account = true;
        self
    }

    /// For a host whose owner lets tokens become privileged roles (`allow_privileged_roles`, S13).
    #[must_use]
    pub fn of_any_privilege(mut self) -> Self {
        self.allow_privileged = true;
        self
    }

    /// A statement with parameters. What is somebody's is in none of it, because others of the account may read the texts of
    /// statements (`pg_stat_activity`).
    pub fn sql(&self) -> String {
        let mut sql = format!("{}$1::pg_catalog.text", WHO[0]);
        for number in 0..self.settings.len() {
            let _ = write!(sql, ", pg_catalog.current_setting(${}, true)", number + 2);
        }
        self.end(sql)
    }

    /// The parameters of [`sql`](Self::sql), as text.
    pub fn parameters(&self) -> Vec<&str> {
        let names = self.settings.iter().map(|(name, _)| name.as_str());
        std::iter::once(self.nonce.as_str()).chain(names).collect()
    }

    /// The same as one text, for a connection that takes simple queries alone. It has the names of settings in it, no value.
    pub fn text(&self) -> String {
        let mut sql = format!("{}'{}'", WHO[0], self.nonce.as_str());
        for (name, _) in self.settings {
            let _ = write!(sql, ", pg_catalog.current_setting({}, true)", constant(name));
        }
        self.end(sql)
    }

    fn end(&self, columns: String) -> String {
        columns + if self.judges_account { ACCOUNT } else { "" } + WHO[1]
    }

    /// Compares the answer: the columns of its row, none where there was no row. An error means that no byte of a client may
    /// reach the connection; it is best closed.
    ///
    /// # Errors
    /// The row does not answer this question, or the connection is not what it must be.
    pub fn confirm<'r>(self, row: &[Option<&'r str>]) -> Result<Who<'r>, Mistaken> {
        let who = Who::of(row, &self.nonce)?;
        who.must_be(self.role, self.login)?;
        who.must_be_allowed(self.allow_privileged, self.read_only)?;
        let account = row.get(COLUMNS + self.settings.len()).copied().flatten();
        if self.judges_account && !self.allow_privileged && account != Some("f") {
            return Err(Mistaken::Privileged(who.login.to_owned()));
        }
        for (number, (name, value)) in self.settings.iter().enumerate() {
            if row.get(COLUMNS + number).copied().flatten() != Some(value) {
                return Err(Mistaken::Setting(name.clone()));
            }
        }
        Ok(who)
    }
}

/// A string constant that reads the same whatever `standard_conforming_strings` is (PostgreSQL documentation, "String
/// Constants with C-Style Escapes").
fn constant(text: &str) -> String {
    let mut quoted = String::from("E'");
    for character in text.chars().filter(|character| *character != '\0') {
        if matches!(character, '\'' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('\'');
    quoted
}
