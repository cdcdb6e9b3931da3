//! What the server answers. Replies are told apart by their header and forwarded as they lie in the buffer; bodies are
//! read only of those that say something about the session.

use std::mem::ManuallyDrop;

use pgdog_jwt_protocol::{Desync, Received};

use super::Session;
use super::doubt::take_error;
use super::forgetting::Forgets;
use super::pending::{Instead, Pending};
use super::special::Special;
use crate::net::buffer::Chunk;
use crate::stats::events;
use crate::wire::fields::Fields;
use crate::wire::frame::HEADER_SIZE;
use crate::wire::{Header, PgError, message};

/// Replies that are read are gathered whole up to this size; a larger one is forwarded unread.
const MAX_READ: usize = 512 * 1024;

/// What becomes of a reply.
pub(super) enum Fate {
    Forward,
    /// It answers a request of the gateway's own.
    Drop,
    /// The client hears something else in its place.
    Replace(Box<PgError>),
    /// The client hears this message in its place.
    Rewrite(Vec<u8>),
    /// The server is leaving.
    Lost(Box<PgError>),
}

impl Session {
    /// Deals with bytes from the server: what the client is to read ends up in `forward` or `out`. An error means that
    /// the server is lost.
    pub(super) fn replies(&mut self, chunk: Chunk) -> Result<(), Box<PgError>> {
        let bytes = chunk.bytes();
        let mut at = self.replying.min(bytes.len());
        self.replying -= at;
        // Everything before `from` is dealt with; from there to `at` goes to the client.
        let mut from = 0;
        let mut outcome = Ok(());
        if at > 0 && self.replying == 0 {
            self.own_replies(bytes, &mut from, at);
        }
        while let Some(rest) = bytes.get(at..) {
            let header = match Header::parse(rest) {
                Ok(Some(header)) => header,
                Ok(None) => break,
                Err(violation) => {
                    outcome = Err(Box::new(lost(violation.to_string())));
                    break;
                }
            };
            let end = at + header.size;
            let body = rest.get(HEADER_SIZE..header.size);
            if body.is_none() && (is_read(header) || matches!(self.part_of(Fate::Forward), Fate::Drop)) {
                break;
            }
            let fate = match body {
                Some(body) => self.reply(header.tag, body),
                None => self.unread(header.tag, rest.get(HEADER_SIZE..).unwrap_or_default()),
            };
            match fate {
                Fate::Forward => {}
                Fate::Drop => {
                    self.out_segment(bytes, from, at);
                    from = end;
                }
                Fate::Replace(error) => {
                    self.out_segment(bytes, from, at);
                    error.write(&mut self.out);
                    from = end;
                }
                Fate::Rewrite(message) => {
                    self.out_segment(bytes, from, at);
                    self.out.extend_from_slice(&message);
                    from = end;
                }
                Fate::Lost(error) => {
                    self.out_segment(bytes, from, at);
                    return Err(error);
                }
            }
            if end > bytes.len() {
                self.replying = end - bytes.len();
                at = bytes.len();
                break;
            }
            at = end;
            self.own_replies(bytes, &mut from, at);
        }
        if let Some(rest) = bytes.get(at..)
            && outcome.is_ok()
        {
            self.carry.extend_from_slice(rest);
        }
        self.forward_range(chunk, from, at);
        outcome
    }

    /// Gives the replies of the gateway's own whose turn it is, behind what lies before `at`.
    #[inline]
    fn own_replies(&mut self, bytes: &[u8], from: &mut usize, at: usize) {
        if self.conversation.owns_next() {
            self.give_own_replies(bytes, from, at);
        }
    }

    #[inline(never)]
    fn give_own_replies(&mut self, bytes: &[u8], from: &mut usize, at: usize) {
        while let Some(own) = self.conversation.pop_own() {
            if let Pending::Reply(reply, _) = own {
                self.out_segment(bytes, *from, at);
                self.out.extend_from_slice(reply);
                *from = at;
            }
        }
    }

    /// Sends part of the buffer by way of `out`, because something else comes behind it.
    fn out_segment(&mut self, bytes: &[u8], from: usize, to: usize) {
        self.out.extend_from_slice(bytes.get(from..to).unwrap_or_default());
    }

    /// Sends part of the buffer as it lies there.
    fn forward_range(&mut self, mut chunk: Chunk, from: usize, to: usize) {
        if from >= to {
            return;
        }
        chunk.consume(from);
        chunk.truncate(to - from);
        self.forward = chunk;
    }

    /// Deals with one whole reply.
    #[inline]
    fn reply(&mut self, tag: u8, body: &[u8]) -> Fate {
        if tag == b'E' {
            return self.error(body);
        }
        // Of a part there is nothing to drop, and most replies are one.
        let received = ManuallyDrop::new(self.conversation.received(tag));
        if matches!(&*received, Ok(Received::Part)) {
            return self.part(tag, body);
        }
        match ManuallyDrop::into_inner(received) {
            Ok(Received::Part) => self.part(tag, body),
            Ok(Received::Ready(done)) => self.ready(done, body),
            Ok(Received::Completed(done)) => self.completed(done, tag, body),
            Ok(Received::Unasked) => self.unasked(tag, body),
            Ok(Received::CopyIn) => Fate::Forward,
            Ok(Received::Probed) => Fate::Drop,
            Ok(Received::Skipped(pending)) => self.skipped_in_doubt(pending, body),
            // These are what an error means.
            Ok(Received::Failing | Received::Failed(_) | Received::BatchFailed | Received::Doubtful) => {
                Fate::Lost(Box::new(lost("an error that is none")))
            }
            Err(desync) => desynchronized(desync),
        }
    }

    /// Deals with a reply that is too long to be read, of which this is the start.
    fn unread(&mut self, tag: u8, start: &[u8]) -> Fate {
        if tag == b'E' {
            // An error of the statement's own making, never the server's last word.
            self.record_error(start);
            return match self.failed(&[]) {
                fate @ (Fate::Forward | Fate::Lost(_)) => fate,
                _ => Fate::Lost(Box::new(lost("an error that is longer than it can be"))),
            };
        }
        match self.conversation.received(tag) {
            Ok(Received::Part) => self.part_of(Fate::Forward),
            Ok(Received::Unasked) => Fate::Forward,
            Ok(_) => Fate::Lost(Box::new(lost("a reply that is longer than it can be"))),
            Err(desync) => desynchronized(desync),
        }
    }

    /// A part of an answer that goes on.
    #[inline]
    fn part(&mut self, tag: u8, body: &[u8]) -> Fate {
        if tag == b'C' {
            if self.audited.is_some() {
                self.record_command(body);
            }
            return self.command(body);
        }
        self.part_of(Fate::Forward)
    }

    /// The client hears nothing of what answers a question of the gateway's own.
    #[inline]
    fn part_of(&self, fate: Fate) -> Fate {
        match self.conversation.front() {
            Some(Pending::Check(_) | Pending::Assertion) => Fate::Drop,
            _ => fate,
        }
    }

    /// A statement has completed, with this tag.
    #[inline]
    fn command(&mut self, tag: &[u8]) -> Fate {
        if self.names.may_be_cleared() || self.reads_tags { self.note_tag(tag) } else { Fate::Forward }
    }

    #[inline(never)]
    fn note_tag(&mut self, tag: &[u8]) -> Fate {
        self.note_names(tag);
        match self.conversation.front() {
            Some(Pending::Query { instead: Some(instead), .. }) => match **instead {
                Instead::Rewritten(Some(completes)) => rewritten(|out| message::command_complete(out, completes.tag())),
                _ => Fate::Forward,
            },
            _ => Fate::Forward,
        }
    }

    /// A request is answered.
    #[inline]
    fn completed(&mut self, done: Pending, tag: u8, body: &[u8]) -> Fate {
        match done {
            Pending::Execute(audit, special, _) => {
                let is_done = tag == b'C';
                if audit.is_some() {
                    self.record_executed(audit, is_done.then_some(body));
                }
                if is_done {
                    let _ = self.command(body);
                }
                match special.filter(|_| is_done) {
                    Some(Special::Forgets(forgets)) => self.has_forgotten(forgets),
                    Some(Special::Completes(completes)) => {
                        rewritten(|out| message::command_complete(out, completes.tag()))
                    }
                    Some(Special::Copies) | None => Fate::Forward,
                }
            }
            Pending::Bind(_, bound) => {
                let Some(bound) = bound else { return Fate::Forward };
                self.record_bound(bound.audit);
                if bound.in_vain { Fate::Drop } else { Fate::Forward }
            }
            Pending::Describe(described) => {
                if let Some(described) = described {
                    self.described(&described.1, (tag == b'T').then_some(body));
                }
                Fate::Forward
            }
            Pending::Check(statement) => {
                let is_same = self.described(&statement, (tag == b'T').then_some(body));
                self.changed = if is_same { 0 } else { statement.id };
                Fate::Drop
            }
            Pending::Parse(parse) if parse.fails.is_some() => {
                Fate::Lost(Box::new(lost("a statement was replaced by another of the same name")))
            }
            Pending::Parse(parse) => {
                self.record_named(parse.audit);
                if parse.own { Fate::Drop } else { Fate::Forward }
            }
            Pending::Close(close) => {
                if close.own.is_some() {
                    Fate::Drop
                } else {
                    Fate::Forward
                }
            }
            Pending::Assertion => Fate::Drop,
            Pending::Query { .. }
            | Pending::FunctionCall { .. }
            | Pending::Sync
            | Pending::OwnSync { .. }
            | Pending::Reply(..) => Fate::Forward,
        }
    }

    /// A portal has run that makes the session forget: that has its effect when nothing is owed.
    #[cold]
    fn has_forgotten(&mut self, forgets: Forgets) -> Fate {
        self.forgetting.due = self.forgetting.due.max(Some(forgets));
        rewritten(|out| message::command_complete(out, forgets.tag()))
    }

    #[inline]
    fn ready(&mut self, mut done: Pending, body: &[u8]) -> Fate {
        let &[status @ (b'I' | b'T' | b'E')] = body else {
            return Fate::Lost(Box::new(lost("the server is in a state that there is not")));
        };
        if self.audited.is_some() {
            self.record_ready(&mut done, status);
        }
        self.end_names();
        if let Some(server) = &mut self.server {
            self.registration.meter.ready(status);
            server.set_status(status);
            if status == b'I' && self.transaction_since.is_some() {
                self.restart_transaction_clock();
            }
        }
        if status == b'I' && !self.special_names.is_empty() && self.conversation.is_empty() {
            // Portals end with their transaction.
            self.special_names.clear_portals();
            self.special_names.settle();
        }
        match done {
            Pending::Sync | Pending::Query { instead: None, .. } if !self.is_untold && !self.awaits_reset() => {
                Fate::Forward
            }
            done => self.ready_for_more(done, body),
        }
    }

    /// ReadyForQuery is for the gateway alone, or something goes in front of it.
    #[cold]
    fn ready_for_more(&mut self, done: Pending, body: &[u8]) -> Fate {
        let error = match done {
            Pending::OwnSync { fails_next: false } => return Fate::Drop,
            Pending::OwnSync { fails_next: true } => {
                if let Ok(Some(next)) = Header::parse(self.input.bytes()) {
                    self.forget_unnamed();
                    self.discard(next.size);
                }
                None
            }
            done => take_error(done),
        };
        let told = if self.is_untold { self.told_late(body) } else { None };
        if self.awaits_reset() && self.conversation.is_empty() && body != b"E" {
            // The client must not send anything before it knows in which encoding.
            self.is_ready_due = true;
            let mut front = error.unwrap_or_default();
            if let Some(told) = told {
                let ready = HEADER_SIZE + body.len();
                front.extend_from_slice(told.get(..told.len().saturating_sub(ready)).unwrap_or_default());
            }
            return if front.is_empty() { Fate::Drop } else { Fate::Rewrite(front) };
        }
        match (error, told) {
            (None, told) => told.map_or(Fate::Forward, Fate::Rewrite),
            (Some(mut error), told) => {
                match (told, body) {
                    (Some(told), _) => error.extend_from_slice(&told),
                    (None, body) => message::ready_for_query(&mut error, body.first().copied().unwrap_or(b'E')),
                }
                Fate::Rewrite(error)
            }
        }
    }

    /// What may come at any time.
    fn unasked(&mut self, tag: u8, body: &[u8]) -> Fate {
        match tag {
            b'S' => self.parameter(body),
            b'A' => self.notification(body),
            _ => Fate::Forward,
        }
    }

    fn parameter(&mut self, body: &[u8]) -> Fate {
        let mut fields = Fields(body);
        let promoted =
            self.pools.spec.read_only && fields.cstr() == Some(b"in_hot_standby") && fields.cstr() == Some(b"off");
        if promoted {
            let text = "the replica has become a primary, where a read-only user may not be";
            return Fate::Lost(Box::new(PgError::error("25006", text)));
        }
        if let Some(server) = &mut self.server {
            server.note_parameter(body);
            if self.rules.guarded && server.connection().hides_quotes() {
                let text = "the server no longer reads strings as the gateway does";
                return Fate::Lost(Box::new(PgError::error("42501", text)));
            }
        }
        if self.awaits_reset() { self.reset_name(body) } else { Fate::Forward }
    }
}

/// Whether a reply must be whole before it can be dealt with: all but the ones that carry data.
fn is_read(header: Header) -> bool {
    !matches!(header.tag, b'D' | b'd' | b'N' | b'V') && header.size <= MAX_READ
}

/// The client hears this message in place of the reply.
pub(super) fn rewritten(write: impl FnOnce(&mut Vec<u8>)) -> Fate {
    let mut out = Vec::new();
    write(&mut out);
    Fate::Rewrite(out)
}

/// A reply that PostgreSQL does not give here: nothing that the server says is believed any more (S4).
#[cold]
pub(super) fn desynchronized(desync: Desync) -> Fate {
    events::desync();
    Fate::Lost(Box::new(lost(desync.to_string())))
}

/// The error for a server that broke the protocol.
pub(super) fn lost(reason: impl Into<String>) -> PgError {
    PgError::error("08P01", "the connection to the server was lost").detail(reason.into())
}
