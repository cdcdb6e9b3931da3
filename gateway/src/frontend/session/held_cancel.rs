//! A cancel request that comes before the request that it is meant for: clients send one right behind a query when they give up
//! early, over another connection, and it may overtake the query. It is kept until that request has reached its server, for a
//! moment at most. A client that has sent nothing has nothing to cancel: then it is dropped.

use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Sleep, sleep};

use super::Session;
use crate::frontend::sessions::Askers;

/// How long it may take a request to reach its server.
const PATIENCE: Duration = Duration::from_secs(1);

/// The same for one that has gone with a take-over: the answer to that may come only with the answer to the request.
const PATIENCE_FOR_PROOF: Duration = Duration::from_millis(50);

/// See the module.
pub(super) struct HeldCancel {
    /// What it is meant for was sent to a server, at least in part.
    pub(super) is_owed: bool,
    askers: Askers,
    patience: Pin<Box<Sleep>>,
    /// The same, since all was sent to a server that has not said yet who it is.
    proof: Option<Pin<Box<Sleep>>>,
    /// Until the worker has looked once at what the client has sent.
    look: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Session {
    /// Cancels what runs, or what is on its way to a server.
    pub(super) fn cancel_in_time(&mut self, askers: Askers) {
        if self.has_reached_server() {
            self.cancel_for(askers);
        } else if let Some(held) = &mut self.held_cancel {
            held.askers.extend(askers);
        } else {
            self.held_cancel = Some(Box::new(HeldCancel {
                is_owed: !self.conversation.is_empty(),
                askers,
                patience: Box::pin(sleep(PATIENCE)),
                proof: None,
                look: None,
            }));
        }
    }

    /// Whether something runs, as far as anybody can know who has sent it.
    fn has_reached_server(&self) -> bool {
        self.is_sent() && self.server.as_ref().is_some_and(|server| !server.is_unproven())
    }

    /// Whether something is owed, and all of it was sent; of a COPY, the data may still be on their way.
    fn is_sent(&self) -> bool {
        let is_sent = self.requests.is_empty() && (self.passing == 0 || self.passing_to_nobody);
        !self.conversation.is_empty() && (is_sent || self.conversation.is_copying_in())
    }

    /// Passes on the cancel request that is held, when it is its time.
    #[cold]
    pub(super) fn poll_held_cancel(&mut self, cx: &mut Context<'_>) {
        let Some(mut held) = self.held_cancel.take() else { return };
        let is_late = held.patience.as_mut().poll(cx).is_ready();
        if is_late || self.has_reached_server() {
            return self.cancel_for(held.askers);
        }
        if self.is_sent() {
            let proof = held.proof.get_or_insert_with(|| Box::pin(sleep(PATIENCE_FOR_PROOF)));
            if proof.as_mut().poll(cx).is_ready() {
                return self.cancel_for(held.askers);
            }
        } else if self.conversation.is_empty() && self.input.is_empty() {
            // What was sent in front of the cancel request is here when the worker has looked.
            let look = held.look.get_or_insert_with(|| Box::pin(yield_now()));
            if look.as_mut().poll(cx).is_ready() {
                return;
            }
        }
        self.held_cancel = Some(held);
    }

    /// The server owes nothing: what a cancel request was meant for may be done.
    #[inline]
    pub(super) fn forget_held_cancel(&mut self) {
        self.held_cancel.take_if(|held| held.is_owed);
    }
}
