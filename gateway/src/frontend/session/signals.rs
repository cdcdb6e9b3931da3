//! What others ask of a session: to cancel its statement, to end.

use super::{End, Session};
use crate::backend::node::CancelOutcome;
use crate::frontend::cancelling::Cancelling;
use crate::frontend::sessions::{Askers, Signal, shutting_down};

impl Session {
    /// Does what another task asked of this session.
    pub(super) fn signal(&mut self, signal: Signal) -> Result<(), End> {
        if signal.terminate {
            return Err(End::Fatal(signal.last_words()));
        }
        if signal.cancel {
            let askers = self.registration.take_cancel();
            self.cancel_in_time(askers);
        }
        if signal.drain {
            self.registration.drain();
        }
        if self.registration.is_draining() && self.may_leave() {
            return Err(End::Fatal(shutting_down()));
        }
        Ok(())
    }

    /// Whether the client would lose nothing by being cut off.
    pub(super) fn may_leave(&self) -> bool {
        let in_transaction = self.server.as_ref().is_some_and(|server| server.status() != b'I');
        self.is_quiet() && !in_transaction && self.input.is_empty()
    }

    /// Cancels what runs, for reasons of the gateway's own.
    pub(super) fn cancel(&mut self) {
        self.cancel_for(Askers::new());
    }

    /// Passes a cancel request on, if something of this session runs (S11).
    pub(super) fn cancel_for(&mut self, mut askers: Askers) {
        let Some(server) = self.server.as_ref().filter(|_| !self.conversation.is_empty()) else { return };
        let mut before = CancelOutcome::Over;
        if let Some(cancelling) = &self.cancelling {
            match cancelling.again(askers) {
                Ok(()) => return,
                Err(late) => (askers, before) = (late, cancelling.outcome()),
            }
        }
        let connection = server.connection();
        let (process, key) = (connection.process, connection.key.clone());
        let node = server.pool().node.clone();
        self.cancelling = Some(Box::new(Cancelling::begin(askers, before, move || {
            let (node, key) = (node.clone(), key.clone());
            async move { node.cancel(process, &key).await }
        })));
    }
}
