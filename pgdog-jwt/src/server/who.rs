//! Who PostgreSQL takes a connection for, as it answers to a question with a nonce.

use super::nonce::Nonce;

/// The question, in front of the expression that repeats the nonce, and behind it. Every name is qualified: the subject
/// chooses its `search_path`. There is one row, and none for a role that does not exist any more.
pub const WHO: [&str; 2] = [
    "SELECT current_user, session_user, r.rolsuper OR r.rolbypassrls, pg_catalog.pg_is_in_recovery(), \
     pg_catalog.pg_backend_pid(), ",
    " FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) current_user",
];

/// The columns of the answer.
const ROLE: usize = 0;
const LOGIN: usize = 1;
const IS_PRIVILEGED: usize = 2;
const IN_RECOVERY: usize = 3;
const PROCESS: usize = 4;
const NONCE: usize = 5;
/// How many there are.
pub(super) const COLUMNS: usize = 6;

/// What PostgreSQL says of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Who<'a> {
    /// `current_user`; empty where that role does not exist any more.
    pub role: &'a str,
    /// `session_user`.
    pub login: &'a str,
    /// Whether the role has SUPERUSER or BYPASSRLS.
    pub is_privileged: bool,
    /// Whether the server is a standby; `None`: it does not say.
    pub in_recovery: Option<bool>,
    /// The server process that answered.
    pub process: Option<u32>,
}

/// Why a connection is not what it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mistaken {
    /// The answer does not repeat the nonce: it was not given to this question.
    #[error("the server's answer was not given to this question")]
    Stale,
    /// Another role, or another account.
    #[error("the server connection is {actual:?}, not {wanted:?}")]
    Other {
        /// Who it must be.
        wanted: String,
        /// Who it is.
        actual: String,
    },
    /// A role that is above all rules (S13).
    #[error("role {0:?} is a superuser or bypasses row-level security")]
    Privileged(String),
    /// A primary, or a server that does not say what it is, in place of a standby (S10).
    #[error("the server of a read-only identity is not a replica")]
    NotReplica,
    /// A setting that says who the session is has another value. It is named without the values.
    #[error("the setting {0:?} of the server connection is not that of the session")]
    Setting(String),
}

impl<'a> Who<'a> {
    /// What a row says that answers to [`WHO`] with this nonce; no columns where there was no row.
    ///
    /// # Errors
    /// The row does not repeat the nonce.
    pub fn of(row: &[Option<&'a str>], nonce: &Nonce) -> Result<Self, Mistaken> {
        let value = |column: usize| row.get(column).copied().flatten().unwrap_or_default();
        if !row.is_empty() && !nonce.is_repeated(value(NONCE)) {
            return Err(Mistaken::Stale);
        }
        Ok(Self {
            role: value(ROLE),
            login: value(LOGIN),
            is_privileged: value(IS_PRIVILEGED) != "f",
            in_recovery: Some(value(IN_RECOVERY)).filter(|word| !word.is_empty()).map(|word| word == "t"),
            process: value(PROCESS).parse().ok(),
        })
    }

    /// Compares the names. `role`: `None` for whoever logged in; `login`: `None` where any account may have.
    ///
    /// # Errors
    /// It is somebody else.
    pub fn must_be(&self, role: Option<&str>, login: Option<&str>) -> Result<(), Mistaken> {
        let other =
            |wanted: &str, actual: &str| Mistaken::Other { wanted: wanted.to_owned(), actual: actual.to_owned() };
        let wanted = role.unwrap_or(self.login);
        if self.role != wanted || self.role.is_empty() {
            return Err(other(wanted, self.role));
        }
        match login {
            Some(wanted) if wanted != self.login => Err(other(wanted, self.login)),
            _ => Ok(()),
        }
    }

    /// Compares what it may do with what the identity may.
    ///
    /// # Errors
    /// The role is a privileged one that it must not be, or the server no standby.
    pub fn must_be_allowed(&self, allow_privileged: bool, read_only: bool) -> Result<(), Mistaken> {
        if self.is_privileged && !allow_privileged {
            return Err(Mistaken::Privileged(self.role.to_owned()));
        }
        if read_only && self.in_recovery != Some(true) {
            return Err(Mistaken::NotReplica);
        }
        Ok(())
    }
}
