//! What the client believes of the server's parameters. It is told each by ParameterStatus, at login and when one changes;
//! but where servers are shared, the report of a change goes to whoever has the server at that moment, or into an answer to
//! the gateway itself. So it is remembered what the client was told last, and compared when it gets a server.

use std::sync::Arc;

use super::Session;
use super::replies::{Fate, rewritten};
use crate::backend::greeting::{self, OWN_NAME};
use crate::frontend::person::APPLICATION_NAME;
use crate::wire::fields::Fields;
use crate::wire::{frame, message};

impl Session {
    /// The client has heard everything that its server has reported.
    #[inline]
    pub(super) fn note_parameters(&mut self) {
        if let Some(server) = &self.server {
            let reported = &server.connection().reported;
            if !Arc::ptr_eq(reported, &self.told) {
                self.told = reported.clone();
            }
        }
    }

    /// Tells the client what its server reports otherwise than the client was told. Between two messages only.
    #[inline]
    pub(super) fn tell_parameters(&mut self) {
        if let Some(server) = &self.server {
            let reported = &server.connection().reported;
            if !Arc::ptr_eq(reported, &self.told) && *reported != self.told {
                let reported = reported.clone();
                self.tell_changes(reported);
            }
        }
    }

    /// The same in front of a ReadyForQuery: PostgreSQL reports then what a take-over has changed that came with the request.
    /// `None`: there is nothing to tell.
    #[inline(never)]
    pub(super) fn told_late(&mut self, ready: &[u8]) -> Option<Vec<u8>> {
        self.is_untold = false;
        let reported = self.server.as_ref()?.connection().reported.clone();
        if Arc::ptr_eq(&reported, &self.told) || reported == self.told {
            return None;
        }
        let mut out = Vec::new();
        greeting::write_changes(&self.told, &reported, &mut out);
        self.told = reported;
        self.pools.greetings.lock().clear();
        frame::push(&mut out, b'Z', ready);
        Some(out)
    }

    /// RESET has given the server connection its own name back: the client hears the one that it has from the start, which
    /// the connection is given before anything else can run on it.
    #[cold]
    pub(super) fn reset_name(&self, body: &[u8]) -> Fate {
        let mut fields = Fields(body);
        let is_own = fields.cstr() == Some(APPLICATION_NAME.as_bytes()) && fields.cstr() == Some(OWN_NAME.as_bytes());
        match (self.startup.get(APPLICATION_NAME).filter(|_| is_own), &self.server) {
            (Some(name), Some(server)) => {
                let name = greeting::shown_application_name(name, server.connection().major_version());
                rewritten(|out| message::parameter_status(out, APPLICATION_NAME, &name))
            }
            _ => Fate::Forward,
        }
    }

    #[cold]
    fn tell_changes(&mut self, reported: Arc<[u8]>) {
        self.flush_forward_into_out();
        greeting::write_changes(&self.told, &reported, &mut self.out);
        self.told = reported;
        // What is remembered for the next login may be what has changed.
        self.pools.greetings.lock().clear();
    }
}
