//! The extended protocol: Parse, Bind, Describe, Execute, Close. Where servers are shared, the client's statement names
//! are its own: each stands for a statement that every server knows under another name, and that is prepared on a server
//! when it is needed there.

use super::access::refused;
use super::expect::{Close, Expect, Parse, Undo};
use super::names::{Found, Name};
use super::requests::{Next, Step};
use super::unnamed::no_unnamed;
use super::{Barrier, End, Session};
use crate::router::{Access, Class};
use crate::wire::fields::Fields;
use crate::wire::frame::HEADER_SIZE;
use crate::wire::{Header, PgError, ProtocolViolation};

const CLOSE_COMPLETE: &[u8] = b"3\0\0\0\x04";

/// Longest names of a portal and a statement together, in bytes. PostgreSQL uses 63 of each.
const MAX_NAMES: usize = 8 * 1024;

/// `S` (statement) or `P` (portal), and its name.
type Target = (u8, Box<[u8]>);

impl Session {
    pub(super) fn parse(&mut self, header: Header) -> Result<Step, End> {
        let follows = self.rules.follows_statements;
        if !follows && !self.rules.reads_sql {
            // Nothing depends on the text: it may be of any size.
            if let Some(step) = self.open_batch(Access::Write) {
                return Ok(step);
            }
            self.forward_request(header);
            self.expected.push(Expect::Parse(Box::default()));
            return Ok(Step::Done);
        }
        let guarded = self.rules.guarded;
        if header.size > self.rules.max_statement && (guarded || follows) {
            let error = PgError::error("54000", "statement is longer than the gateway reads")
                .hint("Send data with COPY or as parameters, or raise max_statement_size in [jwt].");
            return Ok(self.refuse(header, error));
        }
        if !self.whole(header) {
            return Ok(Step::Wait(Next::Input));
        }
        let malformed = || ProtocolViolation::Malformed('P');
        let body = self.input.bytes().get(HEADER_SIZE..header.size).ok_or_else(malformed)?;
        let mut fields = Fields(body);
        let name_size = fields.cstr().ok_or_else(malformed)?.len();
        let text = fields.cstr().ok_or_else(malformed)?;
        let text_size = text.len();
        let class = if self.rules.reads_sql { self.classify(text) } else { Class::UNKNOWN };

        if let Some(refusal) = self.refusal(class) {
            self.audit_refusal(refusal, header, name_size + 1, class);
            return Ok(self.refuse(header, refused(refusal)));
        }
        if self.sql.is_some() {
            let text = self.text_of_parse(header, name_size, text_size);
            if let Some(step) = self.settle_names_of_batch(class, &text) {
                return Ok(step);
            }
        }
        let access = self.opening_access();
        if let Some(step) = self.open_batch(access) {
            return Ok(step);
        }
        let renamed = self.parse_with_name(class, header, name_size, text_size);
        if !follows {
            // The statement may be executed at any time from now on, under a name that is the server's own.
            let text = |session: &Self| session.text_of_parse(header, name_size, text_size);
            if let Some(error) = self.take_effects(class, text) {
                return Ok(self.refuse(header, error));
            }
            let Some(clears) = self.note_barrier_name(class, name_size) else {
                let error = PgError::error("53400", "too many prepared statements that discard the session");
                return Ok(self.refuse(header, error));
            };
            let audit = self.record_parse(name_size, text_size, class);
            match &renamed {
                Some(renamed) => self.forward_renamed_parse(header, name_size, renamed),
                None => self.forward_request(header),
            }
            self.expected.push(Expect::Parse(Box::new(Parse { clears, audit, ..Parse::default() })));
        } else if name_size == 0 {
            self.parse_unnamed(header, class, renamed.as_ref());
        } else if let wait @ Step::Wait(_) = self.parse_named(header, name_size, text_size, class, renamed.as_ref()) {
            return Ok(wait);
        }
        self.asked();
        Ok(Step::Done)
    }

    pub(super) fn bind(&mut self, header: Header) -> Result<Step, End> {
        // Only the two names at the front are read; the parameters are passed on.
        let here = self.input.len().min(header.size);
        let body = self.input.bytes().get(HEADER_SIZE..here).unwrap_or_default();
        let mut fields = Fields(body);
        let names = fields.cstr().and_then(|portal| fields.cstr().map(|name| (portal.len(), name.len())));
        let Some((portal_size, name_size)) = names else {
            if here == header.size || here > MAX_NAMES {
                return Err(ProtocolViolation::Malformed('B').into());
            }
            self.input.make_room(MAX_NAMES);
            return Ok(Step::Wait(Next::Input));
        };
        if self.reads_parameters(header) && !self.whole(header) {
            return Ok(Step::Wait(Next::Input));
        }
        let name_at = HEADER_SIZE + portal_size + 1;
        let name = self.input.bytes().get(name_at..name_at + name_size).unwrap_or_default();
        let named = self.rules.follows_statements && name_size > 0;
        let found = match self.find(name) {
            _ if !named => None,
            Found::Unsettled => return Ok(Step::Wait(Next::Answers)),
            Found::Clearing => return Ok(self.await_answers()),
            Found::Statement(name, statement) => Some((name, statement)),
            Found::Nothing => None,
        };
        if !named && !self.is_unnamed_settled() {
            return Ok(Step::Wait(Next::Answers));
        }
        if self.barrier == Barrier::None
            && let Some(discards) = self.barrier_of(name, found.as_ref().map(|(_, statement)| &**statement))
        {
            self.barrier = Barrier::Bound;
            self.barrier_discards = discards;
        }
        let class = found.as_ref().map_or_else(|| self.unnamed_class(), |(_, statement)| statement.class);
        if let Some((_, statement)) = &found
            && let Some(step) = self.settle_names_of_batch(class, statement.text())
        {
            return Ok(step);
        }
        let access = self.opening_access();
        if let Some(step) = self.open_batch(access) {
            return Ok(step);
        }
        let audit = match &self.audited {
            None => None,
            Some(_) => self.record_bind_of(header, name_size, found.as_ref().map(|(_, statement)| &**statement)),
        };
        match &found {
            Some((_, statement)) => {
                if let Some(step) = self.provide(header, statement) {
                    return Ok(step);
                }
                if let Some(error) = self.take_effects(class, |_| statement.text().to_vec()) {
                    return Ok(self.refuse(header, error));
                }
                self.note_name(class, |_| statement.text().to_vec());
                self.forward_renamed(header, name_at, name_size, statement.server_name().as_bytes());
            }
            None if named => {
                let name = self.input.bytes().get(name_at..name_at + name_size).unwrap_or_default().to_vec();
                self.forward_missing(header, name_at, &name);
            }
            None => {
                if name_size == 0 {
                    if !self.restore_unnamed() {
                        return Ok(self.refuse(header, no_unnamed()));
                    }
                    if let Some(error) = self.take_effects(class, Self::unnamed_text) {
                        return Ok(self.refuse(header, error));
                    }
                    self.note_name(class, Self::unnamed_text);
                }
                self.forward_request(header);
            }
        }
        self.expected.push(Expect::Bind(found.map(|(name, statement)| (name, statement.id)), audit));
        self.asked();
        Ok(Step::Done)
    }

    /// Forwards a message with another name in place of the one at `at`, the rest as it comes.
    pub(super) fn forward_renamed(&mut self, header: Header, at: usize, size: usize, name: &[u8]) {
        let here = self.input.len().min(header.size);
        let bytes = self.input.bytes().get(..here).unwrap_or_default();
        let front = bytes.get(HEADER_SIZE..at).unwrap_or_default();
        let rest = bytes.get(at + size..).unwrap_or_default();
        let length = (header.size - 1 - size + name.len()) as u32;
        self.requests.reserve(here + name.len());
        self.requests.push(header.tag);
        self.requests.extend_from_slice(&length.to_be_bytes());
        self.requests.extend_from_slice(front);
        self.requests.extend_from_slice(name);
        self.requests.extend_from_slice(rest);
        self.input.consume(here);
        self.passing = header.size - here;
        self.passing_to_nobody = false;
    }

    /// The text of the Parse message that is next in the input.
    fn text_of_parse(&self, header: Header, name_size: usize, text_size: usize) -> Vec<u8> {
        let body = self.input.bytes().get(HEADER_SIZE..header.size).unwrap_or_default();
        body.get(name_size + 1..name_size + 1 + text_size).unwrap_or_default().to_vec()
    }

    pub(super) fn describe(&mut self, header: Header) -> Result<Step, End> {
        let (kind, name) = match self.kind_and_name(header)? {
            Some(found) => found,
            None => return Ok(Step::Wait(Next::Input)),
        };
        let follows = kind == b'S' && self.rules.follows_statements;
        let found = match self.find(&name) {
            _ if !follows || name.is_empty() => None,
            Found::Unsettled => return Ok(Step::Wait(Next::Answers)),
            Found::Clearing => return Ok(self.await_answers()),
            Found::Statement(name, statement) => Some(Box::new((name, statement))),
            Found::Nothing => None,
        };
        if follows && name.is_empty() && !self.is_unnamed_settled() {
            return Ok(Step::Wait(Next::Answers));
        }
        let access = self.opening_access();
        if let Some(step) = self.open_batch(access) {
            return Ok(step);
        }
        match &found {
            Some(described) => {
                let statement = &described.1;
                if let Some(step) = self.provide(header, statement) {
                    return Ok(step);
                }
                self.forward_renamed(header, HEADER_SIZE + 1, name.len(), statement.server_name().as_bytes());
            }
            None if follows && name.is_empty() => {
                if !self.restore_unnamed() {
                    return Ok(self.refuse(header, no_unnamed()));
                }
                self.forward_request(header);
            }
            None if follows => self.forward_missing(header, HEADER_SIZE + 1, &name),
            None => self.forward_request(header),
        }
        self.expected.push(Expect::Describe(found));
        self.asked();
        Ok(Step::Done)
    }

    pub(super) fn execute(&mut self, header: Header) -> Result<Step, End> {
        let access = self.opening_access();
        if let Some(step) = self.open_batch(access) {
            return Ok(step);
        }
        if self.barrier == Barrier::Bound {
            self.barrier = Barrier::Sent;
        }
        self.names.executed();
        let audit = match self.audited.is_some() {
            false => None,
            true if !self.whole(header) => return Ok(Step::Wait(Next::Input)),
            true => self.record_execute(header),
        };
        self.forward_request(header);
        self.registration.meter.query();
        self.expected.push(Expect::Execute(audit));
        self.asked();
        Ok(Step::Done)
    }

    pub(super) fn close(&mut self, header: Header) -> Result<Step, End> {
        let (kind, name) = match self.kind_and_name(header)? {
            Some(found) => found,
            None => return Ok(Step::Wait(Next::Input)),
        };
        if kind == b'S' && self.rules.follows_statements {
            match self.find(&name) {
                _ if name.is_empty() => {
                    if !self.is_unnamed_settled() {
                        return Ok(Step::Wait(Next::Answers));
                    }
                }
                Found::Unsettled => return Ok(Step::Wait(Next::Answers)),
                Found::Clearing => return Ok(self.await_answers()),
                Found::Statement(..) | Found::Nothing => {}
            }
        }
        if kind == b'S' && self.rules.follows_statements && !name.is_empty() {
            // Servers keep it: another client may use it.
            let undo = self.names.get(&name).is_some().then(|| {
                let name = Name::from(name);
                let before = self.names.set(&name, None);
                Undo { name, before }
            });
            self.expect_reply(CLOSE_COMPLETE, undo);
            return Ok(self.drop_request(header));
        }
        let access = self.opening_access();
        if let Some(step) = self.open_batch(access) {
            return Ok(step);
        }
        let unnamed = (kind == b'S' && name.is_empty()).then(|| self.end_unnamed());
        self.forward_request(header);
        let clears = (kind == b'S' && self.barrier_names.contains(&name)).then_some(name);
        self.expected.push(Expect::Close(Box::new(Close { own: None, clears, unnamed })));
        self.asked();
        Ok(Step::Done)
    }

    /// What a Describe or Close is about; `None` when the message is not whole.
    fn kind_and_name(&mut self, header: Header) -> Result<Option<Target>, End> {
        let malformed = ProtocolViolation::Malformed(char::from(header.tag));
        if header.size > MAX_NAMES {
            return Err(malformed.into());
        }
        if !self.whole(header) {
            return Ok(None);
        }
        let mut fields = Fields(self.input.bytes().get(HEADER_SIZE..header.size).unwrap_or_default());
        match (fields.u8(), fields.cstr()) {
            (Some(kind), Some(name)) => Ok(Some((kind, name.into()))),
            _ => Err(malformed.into()),
        }
    }
}
