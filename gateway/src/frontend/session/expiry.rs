//! The end of a session's token, where its server connections were made with the token and may not outlive it. What was
//! sent to the server before that moment may finish; nothing is sent afterwards but the data of a COPY that runs.

use std::time::{Duration, SystemTime};

use super::requests::Next;
use super::{Batch, End, Session};
use crate::wire::{PgError, message};

impl Session {
    /// Before the next request of the client: what to wait for when the token has ended, and the end when nothing is owed.
    pub(super) fn end_with_token(&mut self) -> Result<Option<Next>, End> {
        if self.copy_in || self.token_left() != Some(Duration::ZERO) {
            return Ok(None);
        }
        if self.expected.is_empty() && self.carry.is_empty() && self.replying == 0 {
            return Err(End::Fatal(token_expired()));
        }
        if self.batch == Batch::Open {
            // Without it the server may keep its answers back until a Sync that will not be read.
            message::flush(&mut self.requests);
        }
        Ok(Some(Next::Silence))
    }

    /// How long the session may wait for the next request; `None` in the middle of one, and where tokens end no sessions.
    #[inline]
    pub(super) fn wait_left(&self) -> Option<Duration> {
        self.token_left().filter(|_| self.passing == 0 && !self.copy_in)
    }

    #[inline]
    fn token_left(&self) -> Option<Duration> {
        Some(self.ends_at?.duration_since(SystemTime::now()).unwrap_or_default())
    }
}

pub(super) fn token_expired() -> PgError {
    PgError::fatal("28000", "the token of this session has expired").hint("Log in again with a new token.")
}
