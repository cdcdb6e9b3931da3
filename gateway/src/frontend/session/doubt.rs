//! An error in the place of an answer to a simple request that ends a batch without Sync. A batch may fail by itself, between
//! two messages, when its time is up; then PostgreSQL skips that request, and says nothing more before a Sync. Otherwise the
//! error is the request's own, and ReadyForQuery follows. Nobody can know which by waiting, so PostgreSQL is asked: Sync, Close,
//! Sync. Until then the client hears nothing.

use super::Session;
use super::pending::{Instead, Pending};
use super::replies::{Fate, lost};
use crate::wire::{frame, message};

/// No statement has it.
const NAME: &[u8] = b"__pgdog_jwt_doubt";

impl Session {
    /// Keeps the error, and asks.
    #[cold]
    pub(super) fn doubt(&mut self, body: &[u8]) -> Fate {
        if self.passing > 0 && !self.passing_to_nobody {
            // What is sent now would be read as a part of the request, and its end as messages that nobody has looked at.
            return Fate::Lost(Box::new(lost("an error in front of a request that has not been sent whole")));
        }
        let (Some(Pending::Query { instead, .. }) | Some(Pending::FunctionCall { instead, .. })) =
            self.conversation.front_mut()
        else {
            return Fate::Lost(Box::new(lost("an error of a request that has none")));
        };
        let mut whole = Vec::with_capacity(body.len() + frame::HEADER_SIZE);
        match instead.as_deref() {
            Some(Instead::Refusal(refusal)) => refusal.write(&mut whole),
            _ => frame::push(&mut whole, b'E', body),
        }
        *instead = Some(Box::new(Instead::Error(whole)));
        message::sync(&mut self.requests);
        message::close_statement(&mut self.requests, NAME);
        message::sync(&mut self.requests);
        Fate::Drop
    }

    /// The request was skipped: what the client hears is the error of its batch, of which it must send the Sync.
    #[cold]
    pub(super) fn skipped_in_doubt(&mut self, mut pending: Pending, body: &[u8]) -> Fate {
        if let (Some(server), Some(status)) = (&mut self.server, body.first()) {
            server.set_status(*status);
        }
        self.refused = true;
        let error = match &mut pending {
            Pending::Query { instead, .. } | Pending::FunctionCall { instead, .. } => instead.take(),
            _ => None,
        };
        self.skipped(pending);
        match error.map(|error| *error) {
            Some(Instead::Error(error)) => Fate::Rewrite(error),
            _ => Fate::Drop,
        }
    }
}

/// The error that was kept.
pub(super) fn take_error(pending: Pending) -> Option<Vec<u8>> {
    match pending {
        Pending::Query { instead, .. } | Pending::FunctionCall { instead, .. } => match *instead? {
            Instead::Error(error) => Some(error),
            Instead::Refusal(_) | Instead::Rewritten(_) => None,
        },
        _ => None,
    }
}
