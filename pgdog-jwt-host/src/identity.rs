//! Who the server connections of a pool must be: what their start-up packet says, and the question that proves it.
//!
//! A role in the start-up packet is what `RESET ROLE`, `RESET ALL`, `DISCARD ALL` and `SET SESSION AUTHORIZATION DEFAULT` return
//! to (PostgreSQL, 19.1.3 and SET ROLE), so no cleaning of a pooler's takes it away. A role that does not exist, or that the
//! account may not take on, is FATAL there: there is no connection that is somebody else.

use std::fmt;
use std::hash::{Hash, Hasher};

use pgdog_jwt::AuthGrant;
use pgdog_jwt::server::{Mistaken, NoRandom, PoolKey, Question};

/// Settings without which the server would read a text otherwise than the guard, or give it to others so.
const READING: [(&str, &str); 2] = [("standard_conforming_strings", "on"), ("client_encoding", "UTF8")];

/// What all connections of a pool are. Pools with different identities never exchange connections.
#[derive(Clone)]
pub struct Identity {
    key: PoolKey,
    /// Without the token, and with the settings that the guard relies on.
    grant: Box<AuthGrant>,
    /// The account that logs in.
    login: String,
    /// The account is the subject's, by a mapping, and no more privileged than its role may be.
    is_mapped: bool,
    read_only: bool,
    allow_privileged: bool,
}

impl Identity {
    /// The connections of this grant that log in as `login`.
    pub fn new(grant: &AuthGrant, login: &str, read_only: bool, allow_privileged: bool) -> Self {
        let reading = READING.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let settings = grant.settings.iter().cloned().chain(reading).collect();
        let is_mapped = grant.account.is_some();
        let server_user = Some(login.to_owned());
        let grant = AuthGrant { settings, server_user, server_password: None, token: None, ..grant.clone() };
        let key = grant.pool_key();
        Self { key, grant: Box::new(grant), login: login.to_owned(), is_mapped, read_only, allow_privileged }
    }

    /// The server must be a standby.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// The role, for messages.
    pub fn role(&self) -> &str {
        self.grant.server_role.as_deref().unwrap_or(&self.login)
    }

    /// Names and values for the start-up packet of a server connection.
    pub fn startup_parameters(&self) -> Vec<(&str, &str)> {
        self.grant.startup_parameters()
    }

    /// Whether a start-up parameter of a client would meet one of these.
    pub fn has_parameter(&self, name: &str) -> bool {
        let given = self.grant.settings.iter().filter(|(own, _)| own != "client_encoding");
        let mut own = given.map(|(name, _)| name.as_str()).chain(["role", "session_authorization"]);
        own.any(|own| name.eq_ignore_ascii_case(own))
    }

    /// Statements that lead a connection back to its start-up packet, each to be sent by itself, for one that its own session's
    /// code has made somebody else. It must be asked again afterwards.
    pub fn restore(&self) -> Vec<String> {
        let names = self.grant.settings.iter().map(|(name, _)| format!("RESET \"{}\"", name.replace('"', "\"\"")));
        ["RESET SESSION AUTHORIZATION", "RESET ROLE"].map(str::to_owned).into_iter().chain(names).collect()
    }

    /// A question for one use.
    ///
    /// # Errors
    /// The system gives no random bytes. Then nobody may use the connection.
    pub fn question(&self) -> Result<Question<'_>, NoRandom> {
        let question = self.grant.question()?;
        let question = if self.is_mapped { question.of_a_mapped_account() } else { question };
        let question = if self.read_only { question.on_a_replica() } else { question };
        Ok(if self.allow_privileged { question.of_any_privilege() } else { question })
    }

    /// Compares the answer to [`question`](Self::question): the columns of its row, none where there was no row.
    ///
    /// # Errors
    /// The connection must be closed.
    pub fn check(question: Question<'_>, row: &[Option<String>]) -> Result<(), Mistaken> {
        let row: Vec<Option<&str>> = row.iter().map(Option::as_deref).collect();
        question.confirm(&row).map(|_| ())
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        let own = |identity: &Self| (identity.is_mapped, identity.read_only, identity.allow_privileged);
        self.key == other.key && self.login == other.login && own(self) == own(other)
    }
}

impl Eq for Identity {}

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.key, &self.login, self.is_mapped, self.read_only, self.allow_privileged).hash(state);
    }
}

impl fmt::Debug for Identity {
    /// The values of settings are claims.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("role", &self.role())
            .field("read_only", &self.read_only)
            .finish_non_exhaustive()
    }
}
