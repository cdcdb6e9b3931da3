//! `guard = "standard"`: a statement may run code that nobody has read, and that code may take another role. So behind each
//! statement of a batch goes a question of the gateway's own before anything else may run: it fails unless the connection
//! still is who it was, and then PostgreSQL skips the rest of the batch. What comes behind the batch waits until the identity
//! is confirmed, see [`super::settle`].

use pgdog_jwt_protocol::{Batch, Request};

use super::Session;
use super::pending::Pending;
use super::requests::{Next, Step};
use crate::wire::{PgError, message};

const NAME: &[u8] = b"__pgdog_jwt_assertion";

/// What may have changed the identity since it was confirmed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unasserted {
    /// A statement was prepared or described, for which PostgreSQL may have run a function (one that checks a constant of a
    /// domain, say). It may itself be bound.
    Parsed(Box<[u8]>),
    /// A portal was bound, for which PostgreSQL may have run a function to plan it. It may itself be run.
    Bound(Box<[u8]>),
    /// A portal was run.
    Ran,
}

/// What a request is about to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Runs<'a> {
    /// What it takes to bind this statement.
    Bind(&'a [u8]),
    /// This portal.
    Execute(&'a [u8]),
    Other,
}

impl Session {
    /// Before a request that may run something: asks, where something else has run.
    #[inline]
    pub(super) fn assert_identity(&mut self, runs: Runs<'_>) {
        if self.rules.verifies {
            self.assert_identity_now(runs);
        }
    }

    fn assert_identity_now(&mut self, runs: Runs<'_>) {
        let is_due = match self.unasserted.as_deref() {
            None => false,
            Some(Unasserted::Parsed(parsed)) => runs != Runs::Bind(parsed),
            Some(Unasserted::Bound(bound)) => runs != Runs::Execute(bound),
            Some(Unasserted::Ran) => true,
        };
        if !is_due {
            return;
        }
        self.unasserted = None;
        let Some(server) = &self.server else { return };
        let sql = server.assertion(self.pools.identity());
        // Of one that was skipped, or a client's.
        message::close_statement(&mut self.requests, NAME);
        message::close_portal(&mut self.requests, NAME);
        message::parse(&mut self.requests, NAME, sql.text().as_bytes(), &[0, 0]);
        message::run(&mut self.requests, NAME, &sql.values());
        message::close_statement(&mut self.requests, NAME);
        let execute = Request::Execute { may_copy: false };
        let run = [Request::Parse, Request::Bind, execute];
        let close = [Request::Close; 2];
        for request in close.into_iter().chain(run).chain(close) {
            self.conversation.sent(request, Pending::Assertion);
        }
    }

    /// The same before a Parse.
    #[inline]
    pub(super) fn assert_identity_if_ran(&mut self) {
        if self.rules.verifies && self.unasserted.as_deref() == Some(&Unasserted::Ran) {
            self.assert_identity_now(Runs::Other);
        }
    }

    /// A statement was prepared or described. What has run before may have changed the identity for it, also where that was
    /// another statement of the same name.
    #[inline]
    pub(super) fn has_parsed(&mut self, name: &[u8]) {
        if self.rules.verifies {
            self.only_opens = false;
            let parsed = if self.unasserted.is_none() { Unasserted::Parsed(name.into()) } else { Unasserted::Ran };
            self.unasserted = Some(Box::new(parsed));
        }
    }

    /// A portal was bound.
    #[inline]
    pub(super) fn has_bound(&mut self, portal: &[u8]) {
        if self.rules.verifies {
            self.only_opens = false;
            self.unasserted = Some(Box::new(Unasserted::Bound(portal.into())));
        }
    }

    /// Before a simple request that ends a batch: what was run there may have changed the identity.
    #[inline]
    pub(super) fn confirm_before_query(&mut self) -> Option<Step> {
        if !self.rules.verifies || self.conversation.batch() != Batch::Open {
            return None;
        }
        self.end_transaction_of_batch();
        self.end_batch();
        Some(Step::Wait(Next::Quiet))
    }

    /// Whether the next batch has to wait until the identity is confirmed: what was run may have changed it, also when its
    /// transaction ends.
    #[inline]
    pub(super) fn awaits_confirmation(&self) -> bool {
        self.rules.verifies && self.ran
    }

    /// A portal was run.
    #[inline]
    pub(super) fn has_run(&mut self) {
        self.ran_in_batch = true;
        if self.rules.verifies {
            self.only_opens = false;
            self.unasserted = Some(Box::new(Unasserted::Ran));
        }
    }
}

/// What the client hears when the connection is somebody else.
pub(super) fn changed_role() -> PgError {
    PgError::error("42501", "a statement in front of this one has changed the identity of the session").hint(
        "Code that takes another role must give it back before it ends. What is behind it in the batch was not run.",
    )
}
