//! Values that nobody can know before they are sent, in the gateway's own conversations with servers.

use pgdog_jwt::server;

use super::conversation::{Answer, ConversationError};
use super::sql::Sql;

/// 128 random bits, as text.
#[derive(Clone)]
pub(crate) struct Nonce(server::Nonce);

impl Nonce {
    /// A new one, of the system's generator.
    ///
    /// # Errors
    /// The system gives none. Then nothing can be proven.
    pub(super) fn new() -> Result<Self, ConversationError> {
        server::Nonce::new().map(Self).map_err(|server::NoRandom| ConversationError::NoRandom)
    }

    /// What is shown to people in place of one.
    pub(crate) fn shown() -> Self {
        Self(server::Nonce::shown())
    }

    pub(super) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// For the core, which reads answers with it.
    pub(super) fn of_the_core(&self) -> &server::Nonce {
        &self.0
    }

    /// SQL that repeats it, and nothing else.
    pub(super) fn question(&self) -> Sql<'_> {
        let mut sql = Sql::new("SELECT ");
        sql.value(self.as_str()).push("::pg_catalog.text");
        sql
    }

    /// Whether this is it.
    pub(super) fn is_repeated(&self, answer: &str) -> bool {
        self.0.is_repeated(answer)
    }

    /// The answer in front of the one to [`Self::question`], which must be the last.
    ///
    /// # Errors
    /// What came last is not the nonce.
    pub(super) fn check(&self, mut answers: Vec<Answer>) -> Result<Answer, ConversationError> {
        match answers.pop() {
            Some(repeated) if self.is_repeated(repeated.value(0)) => Ok(answers.pop().unwrap_or_default()),
            _ => Err(ConversationError::Stale),
        }
    }
}
