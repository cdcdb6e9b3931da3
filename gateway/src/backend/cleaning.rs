//! What is known of the traces that code has left on a connection, and when they are taken away: in front of the next
//! session's first request, by the take-over that changes identities (see [`super::pipelined`], [`Unconfirmed::confirm`]).
//!
//! Nothing proves a connection clean but cleaning it: PostgreSQL does not list variables of applications. Its role alone can be
//! put right for less; that is done for accounts that can take another one, at every change of client.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::catalogue;
use super::identity::Unconfirmed;
use crate::config::ServerCleaning;

/// The traces on one connection.
#[derive(Debug)]
pub(super) struct Traces {
    /// The session that was served last; 0: none since the connection was made or cleaned.
    session: u64,
    /// It may have run code that is not PostgreSQL's own since the connection was made or cleaned.
    pub(super) foreign: bool,
    /// See [`catalogue::surprises`], at that moment.
    surprises: u32,
}

impl Default for Traces {
    fn default() -> Self {
        Self { session: 0, foreign: false, surprises: catalogue::surprises() }
    }
}

/// A number for one more session.
pub(crate) fn new_session() -> u64 {
    static SESSIONS: AtomicU64 = AtomicU64::new(1);
    SESSIONS.fetch_add(1, Ordering::Relaxed)
}

impl Traces {
    /// Code may run that is not PostgreSQL's own.
    #[inline]
    pub(super) fn note_foreign(&mut self) {
        self.foreign = true;
    }

    /// There are none: the connection was cleaned.
    pub(super) fn clear(&mut self) {
        *self = Self { session: self.session, ..Self::default() };
    }
}

impl Unconfirmed {
    /// Hands the connection to a session. What another has left on it is cleaned before this one's first request, where
    /// that is wanted.
    #[inline]
    pub(super) fn hand_to(&mut self, session: u64) {
        if self.traces.session != session {
            self.change_hands(session);
        }
    }

    fn change_hands(&mut self, session: u64) {
        let was_used = std::mem::replace(&mut self.traces.session, session) != 0;
        match self.slot.pool().spec.limits.cleaning {
            ServerCleaning::Always if was_used => self.leave_unclean(),
            ServerCleaning::WhenNeeded if self.may_be_unclean() => self.leave_unclean(),
            ServerCleaning::WhenNeeded if was_used && self.takes_roles => self.doubt_role_of_account(),
            _ => {}
        }
    }

    /// Code that a look at the catalogue has not seen may have taken another role: who is an account, and has none, is made
    /// that again before the next client's first request. Nothing else changes.
    fn doubt_role_of_account(&mut self) {
        let Some(identity) = self.known.take_if(|identity| identity.role.is_none()) else { return };
        self.holder = Some(identity);
        self.role_is_due = true;
        if self.applied.get("role").is_some() {
            // It will have to be taken again.
            let mut applied = (*self.applied).clone();
            applied.remove("role");
            self.applied = Arc::new(applied);
        }
    }

    fn may_be_unclean(&self) -> bool {
        // A change of the catalogue that nobody saw coming, or of the session authorization.
        self.traces.foreign || self.traces.surprises != catalogue::surprises() || self.connection.is_another()
    }
}
