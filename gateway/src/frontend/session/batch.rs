//! Batches of the extended protocol: what a Sync ends. A batch runs on one server; after an error in it everything up to
//! its Sync is discarded.

use super::Session;
use super::pending::{Parse, Pending, Undo};
use super::requests::{REFUSED_SQL, Step};
use crate::wire::fields::Fields;
use crate::wire::frame::HEADER_SIZE;
use crate::wire::{Header, PgError, message};
use pgdog_jwt_guard::{Access, Class, Transaction};
use pgdog_jwt_protocol::{Batch, Request};

impl Session {
    /// A reply of the gateway's own: now, or when those before it have come.
    pub(super) fn expect_reply(&mut self, reply: &'static [u8], undo: Option<Undo>) {
        // Not into the middle of a message that is on its way.
        if self.conversation.is_empty() && self.replying == 0 && self.carry.is_empty() {
            self.flush_forward_into_out();
            self.out.extend_from_slice(reply);
        } else {
            self.conversation.answers_itself(Pending::Reply(reply, undo.map(Box::new)));
        }
    }

    /// Makes sure of a server for the batch that this message belongs to.
    pub(super) fn open_batch(&mut self, access: Access) -> Option<Step> {
        if self.forgetting.is_pending() {
            let header = Header::parse(self.input.bytes()).ok().flatten()?;
            return Some(self.forget_before(header));
        }
        if let Some(lost) = self.lost.take() {
            self.say(&lost);
            self.refused = true;
            let header = Header::parse(self.input.bytes()).ok().flatten()?;
            return Some(self.drop_request(header));
        }
        if let Some(wait) = self.server_for(access) {
            return Some(Step::Wait(wait));
        }
        None
    }

    /// Refuses one request: in place, so that PostgreSQL itself discards the rest of the batch and fails an open
    /// transaction; or without a server when none is held.
    pub(super) fn refuse(&mut self, header: Header, error: PgError) -> Step {
        if self.server.is_none() {
            self.say(&error);
            self.refused = true;
            return self.drop_request(header);
        }
        self.fail_batch_with(error);
        self.drop_request(header)
    }

    /// The next answer of the server is this error, and PostgreSQL discards the rest of the batch.
    pub(super) fn fail_batch_with(&mut self, error: PgError) {
        message::parse(&mut self.requests, b"", REFUSED_SQL, &[0, 0]);
        let unnamed = Some(self.overwrite_unnamed());
        let parse = Parse { unnamed, own: true, refusal: Some(Box::new(error)), ..Parse::default() };
        self.owe(Request::Parse, Pending::Parse(Box::new(parse)));
        self.asked();
    }

    /// What the first message of a batch needs; later ones go where the batch is.
    pub(super) fn opening_access(&self) -> Access {
        if self.conversation.batch() == Batch::None { self.batch_access() } else { Access::Read }
    }

    /// What the whole batch needs, as far as its messages have arrived: a batch runs on one server, so one statement
    /// that writes decides for all. A batch whose end is not in sight goes to the primary.
    pub(super) fn batch_access(&self) -> Access {
        if !self.pools.routes() {
            return Access::Write;
        }
        let (mut needed, mut begins, mut runs, mut parsed) = (None, false, false, None);
        let mut rest = self.input.bytes();
        while let Ok(Some(header)) = Header::parse(rest) {
            let Some((frame, behind)) = rest.split_at_checked(header.size) else { return Access::Write };
            let mut fields = Fields(frame.get(HEADER_SIZE..).unwrap_or_default());
            let class = match header.tag {
                b'P' => {
                    parsed = fields.cstr();
                    fields.cstr().map(|text| self.classify(text))
                }
                b'B' => fields.cstr().and_then(|_| fields.cstr()).and_then(|name| self.class_of_name(name, parsed)),
                b'D' if fields.u8() == Some(b'S') => fields.cstr().and_then(|name| self.class_of_name(name, parsed)),
                b'E' => {
                    runs = true;
                    None
                }
                b'D' | b'C' => None,
                // It has run something and goes on, nobody knows with what.
                b'H' if runs => return Access::Write,
                // Of a batch that only begins a transaction nothing is known, of one that runs nothing it does not matter.
                b'S' | b'H' if begins => return needed.unwrap_or(Access::Write),
                b'S' | b'H' => return needed.unwrap_or(Access::Read),
                _ => return Access::Write,
            };
            begins |= class.is_some_and(|class| matches!(class.transaction, Transaction::Begin { .. }));
            needed = needed.max(class.and_then(|class| self.side(class)));
            if needed == Some(Access::Write) {
                return Access::Write;
            }
            rest = behind;
        }
        Access::Write
    }

    /// The class of a statement that the client prepared before; of an unnamed one from its text. `None` for the one that
    /// was parsed last in the same batch: that was looked at already.
    fn class_of_name(&self, name: &[u8], parsed: Option<&[u8]>) -> Option<Class> {
        if parsed == Some(name) {
            return None;
        }
        if !name.is_empty() {
            return Some(self.names.get(name).map_or(Class::UNKNOWN, |statement| statement.class));
        }
        self.unnamed.is_some().then(|| self.unnamed_class())
    }
}
