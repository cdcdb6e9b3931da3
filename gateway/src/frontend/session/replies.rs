//! What the server answers. Replies are told apart by their header and forwarded as they lie in the buffer; bodies are
//! read only of those that say something about the session.

use super::expect::{Expect, Parse, Undo};
use super::{Barrier, Batch, Session};
use crate::net::buffer::Chunk;
use crate::wire::fields::Fields;
use crate::wire::frame::HEADER_SIZE;
use crate::wire::{ErrorFields, Header, PgError, Severity};

/// Replies that are read are gathered whole up to this size; a larger one is forwarded unread.
const MAX_READ: usize = 256 * 1024;

/// What becomes of a reply.
enum Fate {
    Forward,
    /// It answers a request of the gateway's own.
    Drop,
    /// The client hears something else in its place.
    Replace(Box<PgError>),
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
                if matches!(self.expected.front(), Some(Expect::Execute)) {
                    self.expected.pop();
                }
                Fate::Forward
            }
            b'Z' => self.ready(body),
            b'2' => {
                if matches!(self.expected.front(), Some(Expect::Bind)) {
                    self.expected.pop();
                }
                Fate::Forward
            }
            b'T' | b'n' => {
                if matches!(self.expected.front(), Some(Expect::Describe)) {
                    self.expected.pop();
                }
                Fate::Forward
            }
            b'1' | b'3' => match self.expected.pop() {
                Some(Expect::Parse(parse)) => self.completed(parse.clears.as_deref(), parse.own),
                Some(Expect::Close(close)) => self.completed(close.clears.as_deref(), close.evicted.is_some()),
                _ => Fate::Lost(Box::new(lost("a reply that nobody asked for"))),
            },
            b'E' => self.error(body),
            b'S' => self.parameter(body),
            b'G' => {
                self.copy_in = true;
                if matches!(self.expected.front(), Some(Expect::Execute)) {
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

    /// A Parse or Close succeeded; the gateway's own are not for the client.
    fn completed(&mut self, clears: Option<&[u8]>, own: bool) -> Fate {
        if let Some(name) = clears {
            self.barrier_names.retain(|known| **known != *name);
        }
        if own { Fate::Drop } else { Fate::Forward }
    }

    fn ready(&mut self, body: &[u8]) -> Fate {
        let Some(true) = self.expected.pop().map(|expect| expect.ends_with_ready()) else {
            return Fate::Lost(Box::new(lost("the server is ready without having been asked")));
        };
        self.copy_in = false;
        if let (Some(server), Some(&status)) = (&mut self.server, body.first()) {
            self.registration.meter.ready(status);
            server.set_status(status);
            // Inside a transaction DISCARD ALL has failed and changed nothing.
            if self.barrier == Barrier::Sent && self.expected.is_empty() && status == b'I' {
                if self.barrier_discards {
                    server.doubt_identity();
                } else {
                    server.doubt_role();
                }
            }
        }
        Fate::Forward
    }

    fn error(&mut self, body: &[u8]) -> Fate {
        let is_last_word = ErrorFields::severity(body).is_some_and(|name| name == b"FATAL" || name == b"PANIC");
        if is_last_word {
            return Fate::Lost(Box::new(ErrorFields::parse(body).into_error(Severity::Error)));
        }
        self.registration.meter.server_error(body);
        self.failed()
    }

    /// What an error does to the replies that are expected.
    fn failed(&mut self) -> Fate {
        self.copy_in = false;
        match self.expected.front_mut() {
            Some(Expect::Query { refusal }) => refusal.take().map_or(Fate::Forward, Fate::Replace),
            Some(Expect::FunctionCall | Expect::Sync) | None => Fate::Forward,
            Some(_) => self.fail_batch(),
        }
    }

    /// PostgreSQL discards the rest of the batch: its replies will not come.
    fn fail_batch(&mut self) -> Fate {
        let mut refusal = None;
        let mut first = true;
        let mut undo = Vec::new();
        while let Some(expect) = self.expected.front() {
            // Also a simple query or a function call: PostgreSQL discards everything up to Sync.
            if matches!(expect, Expect::Sync) {
                break;
            }
            match self.expected.pop() {
                Some(Expect::Reply(_, step)) => undo.push(*step),
                Some(Expect::Parse(mut parse)) => {
                    undo.extend(parse.name.take().map(Undo::Forget));
                    let failed = self.failed_parse(*parse);
                    refusal = refusal.or(failed.filter(|_| first));
                }
                Some(Expect::Close(close)) => {
                    // The statement that was to make room is still there.
                    if let (Some(evicted), Some(server)) = (close.evicted, &mut self.server) {
                        server.held().add(evicted);
                    }
                }
                _ => {}
            }
            first = false;
        }
        for step in undo.into_iter().rev() {
            match step {
                Undo::Forget(name) => drop(self.statements.remove(&name)),
                Undo::Restore(name, statement) => drop(self.statements.insert(name, statement)),
                Undo::Nothing => {}
            }
        }
        if self.expected.is_empty() {
            self.batch = Batch::Failed;
        }
        refusal.map_or(Fate::Forward, Fate::Replace)
    }

    /// A statement that was to be prepared is not: forget that it was.
    fn failed_parse(&mut self, parse: Parse) -> Option<Box<PgError>> {
        if let (Some(statement), Some(server)) = (&parse.statement, &mut self.server) {
            server.held().remove(statement.id);
        }
        if parse.unnamed != 0 {
            // An unnamed statement, unless a later one has taken its place already.
            if let Some(server) = &mut self.server
                && *server.unnamed() == parse.unnamed
            {
                *server.unnamed() = 0;
            }
            if self.unnamed_tag == parse.unnamed && !parse.own {
                self.unnamed_tag = 0;
            }
        }
        parse.refusal
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
    !matches!(header.tag, b'D' | b'd' | b'N' | b'A' | b'V' | b't') && header.size <= MAX_READ
}

/// The error for a server that broke the protocol.
fn lost(reason: impl Into<String>) -> PgError {
    PgError::error("08P01", "the connection to the server was lost").detail(reason.into())
}
