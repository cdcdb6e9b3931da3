//! Taking a connection over in one write with the client's first requests, so that a change of identity costs no round trip
//! of its own.
//!
//! The take-over goes in front, as messages of the extended protocol without Sync. PostgreSQL reads nothing behind a message
//! that failed before the next Sync (PostgreSQL documentation, section "Extended Query"), and the last statement fails unless
//! the connection is the identity. So nothing of the client's is run but as the identity (S1), as long as no Sync ends the
//! skipping: the first of the client's is the last message that is sent before the proof. The replies to the take-over come
//! first; until all of them are there and right, nothing that the server says is the client's.
//!
//! It is two transactions, both committed before the client's first message is read, so nothing that the client does can undo
//! it, and there is no transaction or snapshot that the client has not asked for. The second looks at what the first has left:
//! by the mark that this take-over alone has set, it knows that all of it is committed. With one there would be a doubt: COMMIT
//! of a transaction that has failed is a ROLLBACK and no error, and PostgreSQL promises to skip behind an error of a message,
//! not behind one that it met while it waited for the next.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pgdog_jwt::server::Who;

use super::connection::Connection;
use super::conversation::ConversationError;
use super::held::Held;
use super::identity::{Identity, IdentityError, Unconfirmed, is_same};
use super::identity_sql::{Layout, MAX_SETTINGS, write_role_again, write_take_over};
use super::nonce::Nonce;
use super::server::Server;
use super::settings::Settings;
use crate::net::buffer::Chunk;
use crate::wire::fields::Fields;
use crate::wire::frame::HEADER_SIZE;
use crate::wire::{ErrorFields, Header, ProtocolViolation, message};

/// Largest take-over that goes this way, in bytes; and the most of the client's requests that go with it, which are kept
/// until the proof is there.
const MAX_SIZE: usize = 16 * 1024;

/// ParseComplete and BindComplete.
const PREPARED: &[u8] = b"1\0\0\0\x042\0\0\0\x04";

/// See the module.
pub(super) struct Pipelined {
    identity: Arc<Identity>,
    settings: Arc<Settings>,
    /// See [`Unconfirmed::epoch`].
    epoch: u32,
    /// The take-over, then the client's requests.
    bytes: Vec<u8>,
    /// Where the requests begin.
    requests_at: usize,
    written: usize,
    /// How much of the client's is in `bytes`; `None`: it was not asked to send anything yet.
    taken: Option<usize>,
    /// Whether all is written.
    is_sent: bool,
    /// Marks this take-over.
    nonce: Nonce,
    /// Its statements.
    layout: Layout,
    /// The requests count on what the connection holds.
    holds_statements: bool,
    /// Statements of the take-over that are done.
    done: usize,
    /// How far the next one is.
    step: Step,
    is_proven: bool,
    /// The start of a reply that has not arrived whole.
    carry: Vec<u8>,
    failure: Option<Failure>,
}

/// What PostgreSQL says next of a statement of the take-over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Parsed,
    Bound,
    Run,
    /// The last one is done.
    Committed,
    /// And none of them is there any more.
    Closed,
}

/// Why there is no proof.
enum Failure {
    /// PostgreSQL refused the take-over, and has run nothing behind it.
    Refused { is_fatal: bool, is_canceled: bool },
    /// It says that it is another; what it may have run is not known.
    Mismatch(Box<IdentityError>),
}

/// Requests that were not carried out, because the take-over in front of them was not.
pub(crate) struct Unsent {
    pub(crate) requests: Vec<u8>,
    /// The statements that a server holds once it was sent these, of those that held none before.
    pub(super) held: Held,
    pub(super) unnamed: u64,
    /// They may leave something behind.
    pub(super) dirty: bool,
    /// They may run code that is not PostgreSQL's own.
    pub(super) foreign: bool,
    /// It was a matter of time, or the end of the connection: the next take-over may well succeed.
    pub(crate) may_repeat: bool,
}

impl Unconfirmed {
    /// Whether this connection may be taken over in one write with a request: by an identity that proves nothing, which
    /// takes a round trip, and where the server itself is at the other end. What stands in between may have another idea of
    /// what is skipped.
    #[inline]
    pub(super) fn may_pipeline(&self, identity: &Identity) -> bool {
        self.is_direct
            && (self.may_be_taken_over() && !is_same(self.holder.as_ref(), identity) || self.role_is_due)
            && self.connection.status == b'I'
            && identity.proven.is_none()
            && self.connection.parameter("client_encoding") == Some("UTF8")
    }

    /// As [`Self::confirm`], but what it takes is sent in front of the client's first request. Gives the connection back when
    /// that cannot be.
    pub(crate) fn confirm_with_request(
        mut self: Box<Self>,
        identity: &Arc<Identity>,
        settings: &Arc<Settings>,
    ) -> Result<Server, Box<Self>> {
        // Where the server reads what comes behind them otherwise, or as another.
        const APART: [&str; 4] = ["client_encoding", "role", "session_authorization", "standard_conforming_strings"];
        if !self.may_pipeline(identity)
            || self.fits(identity).is_err()
            || identity.variables.len() + settings.len() > MAX_SETTINGS
            || APART.iter().any(|name| settings.get(name).is_some())
        {
            return Err(self);
        }
        // A session's limit could cut it short, and is lifted in a round trip of its own.
        let of_role = self.role_is_due && is_same(self.holder.as_ref(), identity);
        if of_role && (*self.applied != **settings || settings.get("statement_timeout").is_some()) {
            return Err(self);
        }
        let Ok(nonce) = Nonce::new() else { return Err(self) };
        let mut bytes = Vec::new();
        match of_role {
            true => write_role_again(identity, &self.login, &nonce, &mut bytes),
            false => write_take_over(identity, &self.login, settings, &nonce, &mut bytes),
        }
        if bytes.len() > MAX_SIZE {
            return Err(self);
        }
        self.known = None;
        self.unnamed = 0;
        if !of_role {
            self.held.clear();
            // Should it fail, the connection is nobody's.
            self.traces.clear();
        }
        let pipelined = Pipelined {
            identity: identity.clone(),
            settings: settings.clone(),
            epoch: self.slot.pool().node.observed.epoch(),
            requests_at: bytes.len(),
            bytes,
            written: 0,
            taken: None,
            is_sent: false,
            nonce,
            layout: if of_role { Layout::OF_ROLE } else { Layout::WHOLE },
            holds_statements: of_role,
            done: 0,
            step: Step::Parsed,
            is_proven: false,
            carry: Vec::new(),
            failure: None,
        };
        Ok(Server::unproven(self, Box::new(pipelined)))
    }
}

impl Pipelined {
    /// Sends the take-over and as much of the requests as may go with it; says how much that is. The rest waits for the proof.
    pub(super) fn poll_write(
        &mut self,
        connection: &mut Connection,
        cx: &mut Context<'_>,
        requests: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_sent {
            // Whoever reads the proof writes again.
            return Poll::Pending;
        }
        let taken = match self.taken {
            Some(taken) => taken,
            None => self.take(requests),
        };
        while let Some(rest) = self.bytes.get(self.written..).filter(|rest| !rest.is_empty()) {
            match ready!(connection.poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
        self.is_sent = true;
        Poll::Ready(Ok(taken))
    }

    /// Takes whole messages, up to and with the first Sync: behind it PostgreSQL would run what it reads also when the
    /// take-over has failed.
    fn take(&mut self, requests: &[u8]) -> usize {
        let (mut size, mut last) = (0, 0);
        while let Some(rest) = requests.get(size..)
            && let Ok(Some(header)) = Header::parse(rest)
            && header.size <= rest.len()
            && size + header.size <= MAX_SIZE
        {
            (size, last) = (size + header.size, header.tag);
            if last == b'S' {
                break;
            }
        }
        self.bytes.extend_from_slice(requests.get(..size).unwrap_or_default());
        if !matches!(last, b'Q' | b'S' | b'F' | b'H') {
            // PostgreSQL would keep the proof to itself.
            message::flush(&mut self.bytes);
        }
        self.taken = Some(size);
        size
    }

    /// Reads the replies to the take-over off the front of what has arrived. `true`: they are all there, and what is left is
    /// the client's.
    pub(super) fn read(&mut self, server: &mut Unconfirmed, chunk: &mut Chunk) -> io::Result<bool> {
        if !self.carry.is_empty() {
            let mut joined = Chunk::take();
            joined.append(&std::mem::take(&mut self.carry));
            joined.append(chunk.bytes());
            *chunk = joined;
        }
        loop {
            if self.step == Step::Parsed && chunk.bytes().starts_with(PREPARED) {
                chunk.consume(PREPARED.len());
                self.step = Step::Run;
            }
            let Some(header) = Header::parse(chunk.bytes()).map_err(io::Error::other)? else { break };
            let Some(frame) = chunk.bytes().get(..header.size) else { break };
            let body = frame.get(HEADER_SIZE..).unwrap_or_default();
            let outcome = self.reply(server, header.tag, body);
            chunk.consume(header.size);
            if let Err(failure) = outcome {
                if matches!(failure, Failure::Refused { .. }) {
                    self.carry = chunk.bytes().to_vec();
                }
                self.failure = Some(failure);
                return Err(io::Error::other("a take-over failed"));
            }
            if self.step == Step::Closed {
                return Ok(true);
            }
        }
        if chunk.len() > 2 * MAX_SIZE {
            return Err(io::Error::other("a take-over has a larger answer than it can have"));
        }
        self.carry = chunk.bytes().to_vec();
        chunk.truncate(0);
        Ok(false)
    }

    fn reply(&mut self, server: &mut Unconfirmed, tag: u8, body: &[u8]) -> Result<(), Failure> {
        let unexpected = || {
            let violation = ProtocolViolation::Unexpected(char::from(tag));
            Failure::Mismatch(Box::new(IdentityError::Lost(violation.into())))
        };
        match (tag, self.step) {
            (b'N', _) => {}
            // A notification for the last identity.
            (b'A', _) => {}
            (b'1', Step::Parsed) => self.step = Step::Bound,
            (b'2', Step::Bound) => self.step = Step::Run,
            (b'S', _) => {
                let body = body.to_vec();
                server.connection.note_parameter(&body);
            }
            (b'D', Step::Run) if self.layout.setting.contains(&self.done) => {}
            (b'D', Step::Run) if self.done == self.layout.question && !self.is_proven => {
                let who = who(body, &self.nonce).ok_or_else(unexpected)?;
                let outcome = server.confirm_answer(&self.identity, &who);
                outcome.map_err(|error| Failure::Mismatch(Box::new(error)))?;
                self.is_proven = true;
            }
            (b'C', Step::Run) => {
                self.done += 1;
                self.step = if self.done == self.layout.steps { Step::Committed } else { Step::Parsed };
                // A transaction that has failed ends with another word.
                if self.done == self.layout.steps && !(self.is_proven && body == b"COMMIT\0") {
                    return Err(unexpected());
                }
            }
            (b'3', Step::Committed) => self.step = Step::Closed,
            (b'E', _) => {
                let fields = ErrorFields::parse(body);
                if self.holds_statements {
                    // Another server would lack them.
                    let error = IdentityError::from(ConversationError::Refused(fields));
                    return Err(Failure::Mismatch(Box::new(error)));
                }
                let (is_fatal, is_canceled) = (fields.is_fatal(), fields.code == "57014");
                tracing::debug!(error = fields.message, "a take-over was refused");
                return Err(Failure::Refused { is_fatal, is_canceled });
            }
            _ => return Err(unexpected()),
        }
        Ok(())
    }

    /// Makes the connection what PostgreSQL has said that it is.
    pub(super) fn settle(self, server: &mut Unconfirmed) {
        server.role_is_due = false;
        server.holder = Some(self.identity.clone());
        server.known = Some(self.identity);
        server.applied = self.settings;
        server.epoch = self.epoch;
        drop(server.connection.take_asides());
    }

    /// Whether the connection has ended with its refusal.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.failure, Some(Failure::Refused { is_fatal: true, .. }))
    }

    /// Whether PostgreSQL refused the take-over, so that it has run nothing.
    pub(super) fn is_refused(&self) -> bool {
        matches!(self.failure, Some(Failure::Refused { .. }))
    }

    /// Why the server is not what it must be, where it said so itself.
    pub(super) fn mismatch(&mut self) -> Option<IdentityError> {
        match self.failure.take() {
            Some(Failure::Mismatch(error)) => Some(*error),
            other => {
                self.failure = other;
                None
            }
        }
    }

    /// The requests that were taken and not carried out.
    pub(super) fn unsent(&mut self, server: &mut Unconfirmed) -> Unsent {
        let requests = match self.is_sent {
            true => self.bytes.get(self.requests_at..self.requests_at + self.taken.unwrap_or(0)).unwrap_or_default(),
            // Nobody was told that they were taken.
            false => &[],
        };
        let requests = requests.to_vec();
        let may_repeat = self.has_ended() || matches!(self.failure, Some(Failure::Refused { is_canceled: true, .. }));
        let (unnamed, dirty) = (std::mem::take(&mut server.unnamed), std::mem::take(&mut server.dirty));
        let foreign = server.traces.foreign;
        Unsent { requests, held: server.held.take(), unnamed, dirty, foreign, may_repeat }
    }

    /// Ends the skipping behind a refused take-over. An error says that PostgreSQL may have run something nevertheless: see the
    /// module for how that can be.
    pub(super) async fn end(mut self, connection: &mut Connection) -> Result<(), ConversationError> {
        message::sync(&mut self.bytes);
        // Its answer comes behind all that the client's requests could be answered with.
        message::close_statement(&mut self.bytes, b"__pgdog_jwt_end");
        message::sync(&mut self.bytes);
        connection.send(self.bytes.get(self.written..).unwrap_or_default()).await?;
        let mut chunk = Chunk::take();
        chunk.append(&self.carry);
        let (mut is_last, mut status) = (false, None);
        while status.is_none() {
            while let Some(header) = Header::parse(chunk.bytes())? {
                let Some(frame) = chunk.bytes().get(..header.size) else {
                    chunk.make_room(header.size);
                    break;
                };
                match header.tag {
                    b'S' => {
                        let body = frame.get(HEADER_SIZE..).unwrap_or_default().to_vec();
                        connection.note_parameter(&body);
                    }
                    b'E' | b'N' | b'A' => {}
                    b'3' if !is_last => is_last = true,
                    b'Z' => status = frame.last().copied().filter(|_| is_last),
                    tag => return Err(ProtocolViolation::Unexpected(char::from(tag)).into()),
                }
                chunk.consume(header.size);
            }
            if status.is_none() {
                let room = chunk.len() + 1;
                chunk.make_room(room);
                if poll_fn(|cx| connection.poll_read(cx, &mut chunk)).await? == 0 {
                    return Err(ConversationError::Closed);
                }
            }
        }
        connection.status = status.unwrap_or(b'E');
        if connection.status != b'I' {
            connection.query_fresh("ROLLBACK").await?;
        }
        if connection.status == b'I' && chunk.is_empty() { Ok(()) } else { Err(ConversationError::Closed) }
    }
}

/// The answer to the question: one row, which repeats the nonce.
fn who<'a>(body: &'a [u8], nonce: &Nonce) -> Option<Who<'a>> {
    let mut fields = Fields(body);
    fields.u16()?;
    let mut value = || {
        let size = fields.u32().filter(|size| *size != u32::MAX)?;
        std::str::from_utf8(fields.take(size as usize)?).ok()
    };
    let (role, login, in_recovery) = (value()?, value()?, value()?);
    // The statement before has failed where the role is a privileged one that it must not be.
    let in_recovery = Some(in_recovery == "t");
    let is_answer = value()? == "1" && nonce.is_repeated(value()?);
    is_answer.then_some(Who { role, login, is_privileged: false, in_recovery, process: None })
}
