//! What the client sends: each message is checked, routed, counted, and copied to the server's requests. Large messages
//! are passed on as they come; only texts of SQL and names of statements are read.

use std::num::NonZeroU64;

use super::access::refused;
use super::expect::Expect;
use super::{Barrier, Batch, End, Session};
use crate::frontend::audit;
use crate::router::{Access, Effects, allowed_function_call};
use crate::stats::clock;
use crate::wire::fields::Fields;
use crate::wire::frame::HEADER_SIZE;
use crate::wire::{Header, PgError, ProtocolViolation, message};

/// Requests that wait for the server before more of the client's are read, in bytes.
const HIGH_WATER: usize = 64 * 1024;

/// Requests that may wait for their replies before more of the client's are read. A server keeps at most 8 KiB of replies
/// to itself, so there is no waiting for each other.
pub(super) const MAX_EXPECTED: usize = 16 * 1024;

/// Sent to PostgreSQL in place of a refused statement. It is no SQL, so it fails before anything else can: the batch
/// ends and an open transaction fails exactly as for an error of PostgreSQL's own. The client hears the refusal instead.
pub(super) const REFUSED_SQL: &[u8] = b"statement refused by pgdog-jwt";

/// What the session needs before it can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// More from the client.
    Input,
    /// Room in the requests to the server.
    Room,
    /// Fewer replies to be owed.
    Replies,
    /// The batches that were sent whole to be answered.
    Answers,
    /// No reply to be owed, in the middle of a batch.
    Silence,
    /// No reply to be owed, or a COPY to ask for its data.
    Rest,
    /// The server to be done with what it was asked.
    Quiet,
    /// The server to have the statements of SQL `PREPARE` that the next request names.
    Names,
    /// A server for this kind of statement.
    Server(Access),
    /// The transaction to begin on the server that is held.
    Begin,
    /// The session to have the token that the next request brings.
    Renewal,
    /// Nothing: the client has said goodbye.
    Terminate,
}

/// What became of one message.
pub(super) enum Step {
    /// It is dealt with: go on with the next.
    Done,
    /// Not yet: the same message again, later.
    Wait(Next),
}

impl Session {
    /// Deals with what the client has sent, as far as possible.
    pub(super) fn pump(&mut self) -> Result<Next, End> {
        loop {
            if self.passing > 0 && !self.pass() {
                return Ok(Next::Input);
            }
            if self.has_expired()
                && let Some(next) = self.end_with_token()?
            {
                return Ok(next);
            }
            if self.requests.len() - self.requests_at > HIGH_WATER {
                return Ok(Next::Room);
            }
            if self.expected.len() >= MAX_EXPECTED {
                // Without it a server may keep replies back until the Sync that has not been read yet.
                if self.batch == Batch::Open {
                    message::flush(&mut self.requests);
                }
                return Ok(Next::Replies);
            }
            let Some(header) = Header::parse(self.input.bytes())? else { return Ok(Next::Input) };
            if header.tag == b'X' {
                return Ok(Next::Terminate);
            }
            match self.request(header)? {
                Step::Done => {}
                Step::Wait(next) => return Ok(next),
            }
        }
    }

    /// Passes on the body of a message that is not looked at; `true` when it is complete.
    fn pass(&mut self) -> bool {
        let count = self.passing.min(self.input.len());
        if !self.passing_to_nobody
            && let Some(bytes) = self.input.bytes().get(..count)
        {
            self.requests.extend_from_slice(bytes);
        }
        self.input.consume(count);
        self.passing -= count;
        self.passing == 0
    }

    fn request(&mut self, header: Header) -> Result<Step, End> {
        // After an error in a batch everything up to Sync is discarded, also simple queries (PostgreSQL documentation,
        // section "Extended Query").
        if matches!(self.batch, Batch::Failed | Batch::Refused) && header.tag != b'S' {
            return Ok(self.drop_request(header));
        }
        if self.begun.is_some()
            && let Some(step) = self.choose_for_transaction(header)?
        {
            return Ok(step);
        }
        if let Some(step) = self.own_request(header)? {
            return Ok(step);
        }
        if self.has_expired()
            && let Some(step) = self.refuse_expired(header)
        {
            return Ok(step);
        }
        match header.tag {
            b'Q' => self.query(header),
            b'P' => self.parse(header),
            b'B' => self.bind(header),
            b'D' => self.describe(header),
            b'E' => self.execute(header),
            b'C' => self.close(header),
            b'S' => self.sync(header),
            b'H' => Ok(self.flush(header)),
            b'd' | b'c' | b'f' => Ok(self.copy(header)),
            b'F' => self.function_call(header),
            tag => Err(ProtocolViolation::Unexpected(char::from(tag)).into()),
        }
    }

    /// The whole frame is in the buffer, or more must be read for it.
    pub(super) fn whole(&mut self, header: Header) -> bool {
        let here = self.input.len() >= header.size;
        if !here {
            self.input.make_room(header.size);
        }
        here
    }

    fn query(&mut self, header: Header) -> Result<Step, End> {
        let class = match self.class_of_message(header, 0)? {
            Ok(class) => class,
            Err(step) => return Ok(step),
        };
        if let Some(lost) = self.lost.take() {
            return Ok(self.answer_query(header, &lost));
        }
        if class.effects == Effects::DEALLOCATES
            && let Some(step) = self.deallocate(header)
        {
            return Ok(step);
        }
        let refusal = self.refusal(class);
        if let (Some(refusal), None) = (&refusal, &self.server) {
            self.audit_refusal(refusal, header, 0, class);
            return Ok(self.answer_query(header, &refused(refusal)));
        }
        if self.barrier == Barrier::Sent && self.batch == Batch::Open {
            // The Sync that would end the batch of DISCARD ALL is missing: there is nothing to wait for.
            return Err(ProtocolViolation::Unexpected('Q').into());
        }
        if self.is_held_back(class) {
            return Ok(self.hold_back(header, class));
        }
        if let Some(wait) = self.server_for(self.access(class)) {
            return Ok(Step::Wait(wait));
        }
        let class = match refusal {
            Some(_) => class,
            None => match self.follow_sql(header, class) {
                Ok(class) => class,
                Err(step) => return Ok(step),
            },
        };
        self.registration.meter.query();
        // A simple query ends an extended batch that has no Sync yet, and the unnamed statement (PostgreSQL documentation,
        // section "Extended Query").
        let unnamed = if self.expected.is_empty() {
            self.forget_unnamed();
            None
        } else {
            // An error that is still to come may make PostgreSQL skip it.
            Some(self.end_unnamed())
        };
        self.batch = Batch::None;
        match refusal {
            Some(refusal) => {
                self.audit_refusal(refusal, header, 0, class);
                self.refuse_query(header, refused(refusal));
            }
            None => {
                let text = |session: &Self| session.input.bytes().get(HEADER_SIZE..header.size - 1).map(<[u8]>::to_vec);
                if let Some(error) = self.take_effects(class, |session| text(session).unwrap_or_default()) {
                    self.record_answered(header, class, Some(&error.code));
                    self.refuse_query(header, error);
                    self.names.end_batch();
                    return Ok(Step::Done);
                }
                if self.is_barrier_class(class) {
                    self.barrier = Barrier::Sent;
                    self.barrier_discards = class.effects.intersects(Effects::DISCARD_ALL);
                }
                let audit = self.record_query(header, class);
                match self.with_name(class, header, 0) {
                    Some(text) => {
                        message::query(&mut self.requests, &text);
                        self.discard(header.size);
                    }
                    None => self.forward_request(header),
                }
                self.expected.push(Expect::Query { refusal: None, unnamed, audit });
            }
        }
        self.names.end_batch();
        self.asked();
        Ok(Step::Done)
    }

    /// Refuses a request in its place in the order of things.
    pub(super) fn refuse_query(&mut self, header: Header, error: PgError) {
        message::query(&mut self.requests, REFUSED_SQL);
        self.discard(header.size);
        self.expected.push(Expect::Query { refusal: Some(Box::new(error)), unnamed: None, audit: None });
        self.asked();
    }

    /// Answers a request that begins something with an error, while the server owes nothing: of a batch, everything up to
    /// its Sync is dropped.
    pub(super) fn answer(&mut self, header: Header, error: &PgError) -> Step {
        if matches!(header.tag, b'Q' | b'F') {
            return self.answer_query(header, error);
        }
        self.say(error);
        self.batch = Batch::Refused;
        self.drop_request(header)
    }

    /// An error and ReadyForQuery, without a server.
    fn answer_query(&mut self, header: Header, error: &PgError) -> Step {
        self.say(error);
        message::ready_for_query(&mut self.out, b'I');
        self.drop_request(header)
    }

    fn function_call(&mut self, header: Header) -> Result<Step, End> {
        if self.input.len() < (HEADER_SIZE + 4).min(header.size) {
            self.input.make_room(HEADER_SIZE + 4);
            return Ok(Step::Wait(Next::Input));
        }
        let oid = Fields(self.input.bytes().get(HEADER_SIZE..).unwrap_or_default()).u32().unwrap_or(0);
        let allowed = !self.rules.guarded || allowed_function_call(oid);
        let refused = PgError::error("42501", "this function may not be called by number")
            .hint("Call it in a SELECT, where the gateway can read what it does.");
        if !allowed {
            audit::statement_refused(&self.registration, &refused.code, &refused.message, None);
        }
        match (allowed, &self.server) {
            (false, None) => return Ok(self.answer_query(header, &refused)),
            (false, Some(_)) => self.refuse_query(header, refused),
            (true, _) => {
                if let Some(wait) = self.server_for(Access::Write) {
                    return Ok(Step::Wait(wait));
                }
                if let Some(server) = &mut self.server {
                    server.mark_dirty();
                }
                self.forward_request(header);
                self.registration.meter.query();
                self.expected.push(Expect::FunctionCall(self.record_function(oid)));
            }
        }
        self.names.end_batch();
        self.asked();
        Ok(Step::Done)
    }

    /// Data of a COPY. PostgreSQL ignores it when no COPY runs: it may have failed while the data was on its way.
    fn copy(&mut self, header: Header) -> Step {
        if self.server.is_none() {
            return self.drop_request(header);
        }
        if header.tag != b'd' {
            self.copy_in = false;
            if !self.expected.is_empty() {
                self.expected.push(Expect::CopyEnd);
            }
        }
        self.forward_request(header);
        Step::Done
    }

    fn flush(&mut self, header: Header) -> Step {
        if self.server.is_none() || self.copy_in {
            return self.drop_request(header);
        }
        // What comes behind it in the batch was not looked at when the batch got its server.
        self.own_writes.note(Access::Write);
        self.forward_request(header);
        Step::Done
    }

    fn sync(&mut self, header: Header) -> Result<Step, End> {
        if self.batch == Batch::Refused || self.server.is_none() {
            if !self.is_quiet() {
                return Ok(Step::Wait(Next::Quiet));
            }
            self.batch = Batch::None;
            if let Some(lost) = self.lost.take() {
                self.say(&lost);
            }
            self.flush_forward_into_out();
            message::ready_for_query(&mut self.out, b'I');
            return Ok(self.drop_request(header));
        }
        if self.copy_in {
            return Ok(self.drop_request(header));
        }
        self.batch = Batch::None;
        self.forward_request(header);
        self.expected.push(Expect::Sync);
        self.names.end_batch();
        self.asked();
        Ok(Step::Done)
    }

    /// Makes sure that a server is held that may run the next request; what to wait for, if not.
    #[inline]
    pub(super) fn server_for(&mut self, access: Access) -> Option<Next> {
        if self.barrier == Barrier::Sent || self.awaits_reset() {
            return Some(Next::Quiet);
        }
        self.own_writes.note(access);
        if self.server.is_none() && !self.try_acquire(access) {
            return Some(Next::Server(access));
        }
        if self.begun.is_some() {
            return Some(Next::Begin);
        }
        let server = self.server.as_ref()?;
        if self.batch == Batch::None
            && !self.expected.is_empty()
            && !self.pools.allows(server.pool(), access)
            && server.status() == b'I'
        {
            // Whether it stays on this server depends on what is still to be answered.
            return Some(Next::Quiet);
        }
        None
    }

    /// Copies a whole message to the server's requests, or what there is of it, the rest as it comes.
    pub(super) fn forward_request(&mut self, header: Header) {
        let count = header.size.min(self.input.len());
        if let Some(bytes) = self.input.bytes().get(..count) {
            self.requests.extend_from_slice(bytes);
        }
        self.input.consume(count);
        self.passing = header.size - count;
        self.passing_to_nobody = false;
    }

    pub(super) fn drop_request(&mut self, header: Header) -> Step {
        self.discard(header.size);
        Step::Done
    }

    /// Drops a message of `size` bytes, also the part that has not arrived.
    pub(super) fn discard(&mut self, size: usize) {
        let count = size.min(self.input.len());
        self.input.consume(count);
        self.passing = size - count;
        self.passing_to_nobody = true;
    }

    /// The server was asked something: the clock of `query_timeout` runs.
    #[inline]
    pub(super) fn asked(&mut self) {
        self.registration.meter.asked();
        self.ran = true;
        if self.asked_at.is_none() && self.generation.has_query_timeout {
            self.asked_at = NonZeroU64::new(clock());
        }
    }
}
