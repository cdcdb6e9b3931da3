//! What the client sends: each message is checked, routed, counted, and copied to the server's requests. Large messages
//! are passed on as they come; only texts of SQL and names of statements are read.

use pgdog_jwt_guard::functions::refused_call;
use pgdog_jwt_guard::{Access, Class, Effects};
use pgdog_jwt_protocol::{Admit, Batch, Request, Silent};

use super::access::refused;
use super::pending::{Instead, Pending};
use super::special;
use super::{End, Session};
use crate::frontend::audit;
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
    /// It to be known whether a request becomes a COPY, which reads what comes behind it as data.
    Copy,
    /// The session to forget what the next request says.
    Forget,
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
            if self.requests.len() - self.requests_at as usize > HIGH_WATER {
                return Ok(Next::Room);
            }
            if self.conversation.len() >= MAX_EXPECTED {
                // Without it a server may keep replies back until the Sync that has not been read yet.
                if self.conversation.batch() == Batch::Open {
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

    /// What becomes of a message now, as far as the conversation with the server decides that.
    fn admit(&self, tag: u8) -> Admit {
        if self.refused && tag != b'S' {
            // The batch was refused: everything up to its Sync is dropped, also simple queries (PostgreSQL documentation,
            // section "Extended Query").
            return Admit::Discard;
        }
        match tag {
            b'S' => self.conversation.admit(Request::Sync),
            b'H' => self.conversation.admit_silent(Silent::Flush),
            b'd' => self.conversation.admit_silent(Silent::CopyData),
            b'c' | b'f' => self.conversation.admit_silent(Silent::CopyEnd),
            // Whichever it is.
            _ => self.conversation.admit(Request::Parse),
        }
    }

    /// A message that the conversation with the server does not let through just so; `None`: it may be sent.
    #[inline(never)]
    fn held_up(&mut self, header: Header) -> Result<Option<Step>, End> {
        match self.admit(header.tag) {
            Admit::Send => Ok(None),
            Admit::Hold => Ok(Some(Step::Wait(Next::Copy))),
            Admit::Discard => Ok(Some(self.drop_request(header))),
            Admit::EndCopy => {
                // PostgreSQL's own words, and what becomes of such a session there. The server forgets its COPY when it is closed.
                let text = format!("unexpected message type 0x{:02X} during COPY from stdin", header.tag);
                self.say(&PgError::error("08P01", text));
                let text = "terminating connection because protocol synchronization was lost";
                Err(End::Fatal(PgError::fatal("08P01", text)))
            }
        }
    }

    #[inline]
    fn request(&mut self, header: Header) -> Result<Step, End> {
        let may_be_sent = !self.refused && self.conversation.admits_all() && !matches!(header.tag, b'd' | b'c' | b'f');
        if !may_be_sent && let Some(step) = self.held_up(header)? {
            return Ok(step);
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
            // PostgreSQL would answer it with an error that no request has.
            b'S' | b'H' if header.size != HEADER_SIZE => {
                Err(ProtocolViolation::Malformed(char::from(header.tag)).into())
            }
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
        let mut class = match self.class_of_message(header, 0)? {
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
        let mut refusal = self.refusal(class);
        if refusal.is_some()
            && let Some(other) = self.class_in_its_place(class, header, 0)
        {
            (class, refusal) = (other, None);
        }
        if let (Some(refusal), None) = (&refusal, &self.server) {
            let error = self.refuse_by_guard(refusal, header, 0);
            self.forget_unnamed();
            return Ok(self.answer_query(header, &error));
        }
        if self.forgetting.is_pending() {
            return Ok(self.forget_before(header));
        }
        if self.is_held_back(class) {
            return Ok(self.hold_back(header, class));
        }
        let forgets = self.forgets(class).filter(|_| refusal.is_none());
        if forgets.is_some() && self.server.is_none() && self.begun.is_none() {
            // It goes to no server, so none can become the session's with it.
            return Ok(Step::Wait(Next::Forget));
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
        if let Some(forgets) = forgets {
            return Ok(self.forget_by_query(header, forgets));
        }
        if let Some(step) = self.confirm_before_query() {
            return Ok(step);
        }
        self.registration.meter.query();
        self.ends_batch_without_sync();
        if let Some(refusal) = refusal {
            let error = self.refuse_by_guard(refusal, header, 0);
            self.refuse_query(header, error);
            return Ok(Step::Done);
        }
        if let Some(error) = self.take_effects(class, |session| session.text_of_query(class, header)) {
            self.record_answered(header, Some(&error.code));
            self.refuse_query(header, error);
            return Ok(Step::Done);
        }
        // A simple query ends an extended batch that has no Sync yet, and the unnamed statement (PostgreSQL documentation,
        // section "Extended Query").
        let unnamed = if self.conversation.is_empty() {
            self.forget_unnamed();
            None
        } else {
            // An error that is still to come may make PostgreSQL skip it.
            Some(self.end_unnamed())
        };
        let may_copy = self.query_may_copy(header, class);
        let audit = self.record_query(header);
        match self.other_text(class, header, 0) {
            Some(text) => {
                message::query(&mut self.requests, &text);
                self.discard(header.size);
                let instead = self.instead_of(class);
                self.owe(Request::Query { may_copy }, Pending::Query { instead, unnamed, audit });
            }
            None => {
                self.forward_request(header);
                self.owe_query(may_copy, unnamed, audit);
            }
        }
        self.end_batch();
        self.asked();
        Ok(Step::Done)
    }

    /// The text of a simple query, or what is sent in its place.
    fn text_of_query(&self, class: Class, header: Header) -> Vec<u8> {
        if class.effects.intersects(Effects::REWRITTEN) {
            return self.text_in_its_place(header, 0);
        }
        self.input.bytes().get(HEADER_SIZE..header.size - 1).unwrap_or_default().to_vec()
    }

    /// Whether a simple query may become a COPY. Where its text is not read otherwise, and is not here as a whole, it may.
    #[inline]
    fn query_may_copy(&self, header: Header, class: Class) -> bool {
        if self.rules.reads_sql {
            return class.effects.intersects(Effects::COPY_IN | Effects::EXECUTES);
        }
        self.input.bytes().get(HEADER_SIZE..header.size).is_none_or(special::may_copy)
    }

    /// A batch was sent whole, or a simple request.
    #[inline]
    pub(super) fn end_batch(&mut self) {
        self.names.end_batch();
        self.ran_in_batch = false;
        // What comes behind the batch waits until the identity is confirmed.
        self.unasserted = None;
    }

    /// A simple request ends a batch that has no Sync. PostgreSQL 18 may be left by that in a state in which the next
    /// statement fails, whoever sends it: the server is cleaned, or closed when it cannot be.
    #[inline]
    fn ends_batch_without_sync(&mut self) {
        if self.conversation.batch() == Batch::Open
            && let Some(server) = &mut self.server
            && server.connection().major_version().is_none_or(|version| version >= 17)
        {
            server.mark_dirty();
        }
    }

    /// Refuses a simple query or a function call in its place in the order of things, which ends the batch.
    pub(super) fn refuse_query(&mut self, header: Header, error: PgError) {
        // What is sent in its place ends the server's unnamed statement; a function call would not end the client's.
        let unnamed = if header.tag == b'F' { self.overwrite_unnamed() } else { self.end_unnamed() };
        message::query(&mut self.requests, REFUSED_SQL);
        self.discard(header.size);
        let (instead, unnamed) = (Some(Box::new(Instead::Refusal(error))), Some(unnamed));
        let pending = Pending::Query { instead, unnamed, audit: None };
        self.owe(Request::Query { may_copy: false }, pending);
        self.end_batch();
        self.asked();
    }

    /// Answers a request that begins something with an error, while the server owes nothing: of a batch, everything up to
    /// its Sync is dropped.
    pub(super) fn answer(&mut self, header: Header, error: &PgError) -> Step {
        if matches!(header.tag, b'Q' | b'F') {
            return self.answer_query(header, error);
        }
        self.say(error);
        self.refused = true;
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
        if let Some(lost) = self.lost.take() {
            return Ok(self.answer_query(header, &lost));
        }
        let oid = Fields(self.input.bytes().get(HEADER_SIZE..).unwrap_or_default()).u32().unwrap_or(0);
        let refusal = refused_call(oid).filter(|_| self.rules.guarded);
        if let Some(refusal) = refusal {
            audit::statement_refused(&self.registration, refusal.sqlstate, refusal.message, None);
        }
        match (refusal, &self.server) {
            (Some(refusal), None) => return Ok(self.answer_query(header, &refused(refusal))),
            (Some(refusal), Some(_)) => {
                self.refuse_query(header, refused(refusal));
                return Ok(Step::Done);
            }
            (None, _) => {
                if self.forgetting.is_pending() {
                    return Ok(self.forget_before(header));
                }
                if let Some(wait) = self.server_for(Access::Write) {
                    return Ok(Step::Wait(wait));
                }
                if let Some(step) = self.confirm_before_query() {
                    return Ok(step);
                }
                if let Some(server) = &mut self.server {
                    server.mark_dirty();
                }
                self.only_opens = false;
                self.forward_request(header);
                self.registration.meter.query();
                let audit = self.record_function(oid);
                self.owe(Request::FunctionCall, Pending::FunctionCall { audit, instead: None });
            }
        }
        self.end_batch();
        self.asked();
        Ok(Step::Done)
    }

    /// Data of a COPY, or its end.
    fn copy(&mut self, header: Header) -> Step {
        self.conversation.sent_silently(if header.tag == b'd' { Silent::CopyData } else { Silent::CopyEnd });
        self.forward_request(header);
        Step::Done
    }

    fn flush(&mut self, header: Header) -> Step {
        if self.server.is_none() {
            return self.drop_request(header);
        }
        // What comes behind it in the batch was not looked at when the batch got its server.
        self.own_writes.note(Access::Write);
        self.conversation.sent_silently(Silent::Flush);
        self.forward_request(header);
        Step::Done
    }

    fn sync(&mut self, header: Header) -> Result<Step, End> {
        if self.server.is_none() {
            if !self.is_quiet() {
                return Ok(Step::Wait(Next::Quiet));
            }
            self.refused = false;
            if let Some(lost) = self.lost.take() {
                self.say(&lost);
            }
            self.flush_forward_into_out();
            message::ready_for_query(&mut self.out, b'I');
            return Ok(self.drop_request(header));
        }
        self.refused = false;
        self.forward_request(header);
        self.owe(Request::Sync, Pending::Sync);
        self.end_batch();
        self.asked();
        Ok(Step::Done)
    }

    /// Makes sure that a server is held that may run the next request; what to wait for, if not.
    #[inline]
    pub(super) fn server_for(&mut self, access: Access) -> Option<Next> {
        // It would be a batch of its own, behind requests that are not answered, or not dealt with because a part of a message
        // has come behind their answers.
        let is_behind = self.conversation.batch() == Batch::None
            && (!self.conversation.is_empty() || !self.carry.is_empty() || self.replying > 0);
        if self.forgetting.is_pending() || (is_behind && (self.awaits_reset() || self.awaits_confirmation())) {
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
        if is_behind && !self.pools.allows(server.pool(), access) && server.status() == b'I' {
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

    /// The server was asked something: the clocks of `query_timeout` and `transaction_timeout` run.
    #[inline]
    pub(super) fn asked(&mut self) {
        self.registration.meter.asked();
        self.ran = true;
        if let Some(held) = &mut self.held_cancel {
            held.is_owed = true;
        }
        if self.asked_at.is_none() && self.generation.limits_requests {
            self.start_clocks();
        }
    }
}
