//! What the server answers. Replies are told apart by their header and forwarded as they lie in the buffer; bodies are
//! read only of those that say something about the session.

use super::expect::Expect;
use super::{Barrier, Batch, Session};
use crate::net::buffer::Chunk;
use crate::wire::fields::Fields;
use crate::wire::frame::HEADER_SIZE;
use crate::wire::{Header, PgError};

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
            if body.is_none() && is_read(header) {
                break;
            }
            let fate = match body {
                Some(body) => self.reply(header.tag, body),
                None => {
                    if header.tag == b'E' {
                        // Too long to be read: an error of the statement's own making, never the server's last word.
                        self.record_error(rest.get(HEADER_SIZE..).unwrap_or_default());
                        self.failed();
                    }
                    Fate::Forward
                }
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
        while let Some(reply) = self.expected.pop_reply() {
            self.out_segment(bytes, *from, at);
            self.out.extend_from_slice(reply);
            *from = at;
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
        match tag {
            b'D' | b'd' => Fate::Forward,
            b'C' | b'I' | b's' => {
                if matches!(self.expected.front(), Some(Expect::Execute(_))) {
                    if let Some(Expect::Execute(audit @ Some(_))) = self.expected.pop() {
                        self.record_executed(audit, (tag == b'C').then_some(body));
                    }
                } else if self.audited.is_some() && tag == b'C' {
                    self.record_command(body);
                }
                if tag == b'C' && (self.names.may_be_cleared() || self.sql.is_some()) {
                    self.note_names(body);
                }
                Fate::Forward
            }
            b'Z' => self.ready(body),
            b'2' => {
                if matches!(self.expected.front(), Some(Expect::Bind(..)))
                    && let Some(Expect::Bind(_, audit @ Some(_))) = self.expected.pop()
                {
                    self.record_bound(audit);
                }
                Fate::Forward
            }
            b'T' | b'n' => self.description((tag == b'T').then_some(body)),
            b't' if matches!(self.expected.front(), Some(Expect::Check(_))) => Fate::Drop,
            b'1' | b'3' => match self.expected.pop() {
                Some(Expect::Parse(parse)) if parse.fails.is_some() => {
                    Fate::Lost(Box::new(lost("a statement was replaced by another of the same name")))
                }
                Some(Expect::Parse(parse)) => {
                    self.record_named(parse.audit);
                    self.completed(parse.clears.as_deref(), parse.own)
                }
                Some(Expect::Close(close)) => self.completed(close.clears.as_deref(), close.own.is_some()),
                _ => Fate::Lost(Box::new(lost("a reply that nobody asked for"))),
            },
            b'E' => self.error(body),
            b'S' => self.parameter(body),
            b'G' => {
                self.copy_in = true;
                if matches!(self.expected.front(), Some(Expect::Execute(_))) {
                    self.copy_in = !self.expected.begin_copy();
                    if self.copy_in {
                        self.batch = Batch::Open;
                    }
                }
                Fate::Forward
            }
            _ => Fate::Forward,
        }
    }

    /// What a Describe gives: the body of RowDescription, or none. A simple query gives it unasked.
    fn description(&mut self, row: Option<&[u8]>) -> Fate {
        if !matches!(self.expected.front(), Some(Expect::Describe(_) | Expect::Check(_))) {
            return Fate::Forward;
        }
        match self.expected.pop() {
            Some(Expect::Describe(Some(described))) => {
                self.described(&described.1, row);
            }
            Some(Expect::Check(statement)) => {
                self.changed = if self.described(&statement, row) { 0 } else { statement.id };
                return Fate::Drop;
            }
            _ => {}
        }
        Fate::Forward
    }

    /// A Parse or Close succeeded; the gateway's own are not for the client.
    fn completed(&mut self, clears: Option<&[u8]>, own: bool) -> Fate {
        if let Some(name) = clears {
            self.barrier_names.retain(|known| **known != *name);
        }
        if own { Fate::Drop } else { Fate::Forward }
    }

    fn ready(&mut self, body: &[u8]) -> Fate {
        let done = self.expected.pop();
        if !done.as_ref().is_some_and(Expect::ends_with_ready) {
            return Fate::Lost(Box::new(lost("the server is ready without having been asked")));
        }
        if self.audited.is_some() {
            self.record_ready(done, body.first().copied());
        }
        let told = if self.is_untold { self.told_late(body) } else { None };
        self.copy_in = false;
        self.end_names();
        if let (Some(server), Some(&status)) = (&mut self.server, body.first()) {
            self.registration.meter.ready(status);
            server.set_status(status);
            if self.barrier == Barrier::Sent && self.expected.is_empty() {
                match (status, self.barrier_discards) {
                    (b'I', true) => server.doubt_identity(),
                    (b'I', false) => server.doubt_role(),
                    // It was RESET ALL: DISCARD ALL fails inside a transaction.
                    (b'T', _) => self.variables_reset = true,
                    _ => {}
                }
            }
        }
        told.map_or(Fate::Forward, Fate::Rewrite)
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
        Fate::Forward
    }
}

/// Whether a reply must be whole before it can be dealt with: all but the ones that carry data.
fn is_read(header: Header) -> bool {
    !matches!(header.tag, b'D' | b'd' | b'N' | b'A' | b'V') && header.size <= MAX_READ
}

/// The error for a server that broke the protocol.
fn lost(reason: impl Into<String>) -> PgError {
    PgError::error("08P01", "the connection to the server was lost").detail(reason.into())
}
