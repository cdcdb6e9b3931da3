//! The extended protocol: Parse, Bind, Describe, Execute, Close. Where servers are shared, the client's statement names
//! are its own: each stands for a statement that every server knows under another name, and that is prepared on a server
//! when it is needed there.

use super::assertion::Runs;
use super::forgetting::{Forgets, STAND_IN};
use super::names::{Found, Name};
use super::pending::{Bound, Close, Parse, Pending, Undo};
use super::requests::{Next, Step};
use super::special::{Named, Special, may_copy, too_many_special};
use super::unnamed::no_unnamed;
use super::{End, Session};
use crate::config::PoolerMode;
use crate::wire::fields::Fields;
use crate::wire::frame::HEADER_SIZE;
use crate::wire::{Header, PgError, ProtocolViolation, message};
use pgdog_jwt_guard::{Access, Class, Effects};
use pgdog_jwt_protocol::Request;

const CLOSE_COMPLETE: &[u8] = b"3\0\0\0\x04";

/// Longest Describe, Execute or Close, in bytes, as in PostgreSQL (`PQ_SMALL_MESSAGE_LIMIT`, which does not count the type): what
/// a client cannot describe, run or close is not a name that it uses. PostgreSQL itself looks at 63 bytes of one.
const MAX_SMALL: usize = 10_000 + 1;

/// Longest names of a portal and a statement together, in bytes.
const MAX_NAMES: usize = 2 * MAX_SMALL;

/// `S` (statement) or `P` (portal), and its name.
type Target = (u8, Box<[u8]>);

impl Session {
    pub(super) fn parse(&mut self, header: Header) -> Result<Step, End> {
        let follows = self.rules.follows_statements;
        let guarded = self.rules.guarded;
        let is_huge = header.size > self.rules.max_statement && self.rules.mode == PoolerMode::Session;
        if !follows && (!self.rules.reads_sql || (is_huge && !guarded)) {
            // Of the text only one thing matters, so it may be of any size.
            return self.parse_unread(header);
        }
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
        let mut class = if self.rules.reads_sql { self.classify(text) } else { Class::UNKNOWN };
        if let Some(refusal) = self.refusal(class) {
            let Some(other) = self.class_in_its_place(class, header, name_size + 1) else {
                let error = self.refuse_by_guard(refusal, header, name_size + 1);
                return Ok(self.refuse(header, error));
            };
            class = other;
        }
        let class = Class { code: class.code.with_parameters(fields.0), ..class };

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
        if !follows && let Some(step) = self.awaits_special(self.special(class).is_some()) {
            return Ok(step);
        }
        self.assert_identity_if_ran();
        let name = || self.input.bytes().get(HEADER_SIZE..HEADER_SIZE + name_size).unwrap_or_default().to_vec();
        let parsed = self.rules.verifies.then(name);
        let renamed = match self.forgets(class) {
            None => self.parse_with_other_text(class, header, name_size, text_size),
            Some(_) => Some(self.parse_with_text(STAND_IN, header, name_size, text_size)),
        };
        if !follows {
            // The statement may be executed at any time from now on, under a name that is the server's own.
            let text = |session: &Self| match &renamed {
                Some(renamed) => renamed.text().to_vec(),
                None => session.text_of_parse(header, name_size, text_size),
            };
            if let Some(error) = self.take_effects(class, text) {
                return Ok(self.refuse(header, error));
            }
            let name = self.input.bytes().get(HEADER_SIZE..HEADER_SIZE + name_size).unwrap_or_default().to_vec();
            let Some(marks) = self.mark_name(&name, self.special(class)) else {
                return Ok(self.refuse(header, too_many_special()));
            };
            let audit = self.record_parse(name_size, text_size);
            match &renamed {
                Some(renamed) => self.forward_renamed_parse(header, name_size, renamed),
                None => self.forward_request(header),
            }
            self.owe(Request::Parse, Pending::Parse(Box::new(Parse { marks, audit, ..Parse::default() })));
        } else if name_size == 0 {
            self.parse_unnamed(header, class, renamed.as_ref());
        } else if let wait @ Step::Wait(_) = self.parse_named(header, name_size, text_size, class, renamed.as_ref()) {
            return Ok(wait);
        }
        if class.effects.intersects(Effects::REWRITTEN) {
            self.parsed_otherwise();
        }
        if let Some(name) = parsed {
            self.has_parsed(&name);
        }
        self.asked();
        Ok(Step::Done)
    }

    /// Where nothing else depends on the text, which may be of any size.
    fn parse_unread(&mut self, header: Header) -> Result<Step, End> {
        let here = self.input.len().min(header.size);
        let mut fields = Fields(self.input.bytes().get(HEADER_SIZE..here).unwrap_or_default());
        let Some(name) = fields.cstr().map(<[u8]>::to_vec) else {
            if here == header.size || here > MAX_NAMES {
                return Err(ProtocolViolation::Malformed('P').into());
            }
            self.input.make_room(MAX_NAMES);
            return Ok(Step::Wait(Next::Input));
        };
        // Of a text that is not here as a whole nobody knows.
        let copies = here < header.size || may_copy(fields.0);
        if let Some(step) = self.open_batch(Access::Write) {
            return Ok(step);
        }
        if let Some(step) = self.awaits_special(copies) {
            return Ok(step);
        }
        let Some(marks) = self.mark_name(&name, copies.then_some(Special::Copies)) else {
            return Ok(self.refuse(header, too_many_special()));
        };
        self.has_parsed(&name);
        self.forward_request(header);
        self.owe(Request::Parse, Pending::Parse(Box::new(Parse { marks, ..Parse::default() })));
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
        let is_special = self.special(class).is_some();
        if let Some(step) = self.awaits_special(is_special) {
            return Ok(step);
        }
        let is_noted = is_special || !self.special_names.is_empty() || self.rules.verifies;
        let (portal, special) = match is_noted {
            false => (None, None),
            true => match self.portal_of_bind(portal_size, name_size, class, named && found.is_none()) {
                Some((portal, special)) => (Some(portal), special),
                None => return Ok(self.refuse(header, too_many_special())),
            },
        };
        if self.rules.verifies {
            let name = self.input.bytes().get(name_at..name_at + name_size).unwrap_or_default().to_vec();
            self.assert_identity(Runs::Bind(&name));
        }
        let audit = match &self.audited {
            None => None,
            Some(_) => self.record_bind_of(header, name_size, found.as_ref().map(|(_, statement)| &**statement)),
        };
        match &found {
            Some((name, statement)) => {
                if self.changed == statement.id && header.size <= self.input.len() {
                    self.bind_in_vain(header, (name_at, name_size), name, statement);
                    return Ok(Step::Done);
                }
                if let Some(step) = self.provide(header, statement) {
                    return Ok(step);
                }
                if let Some(error) = self.take_effects(class, |_| statement.text().to_vec()) {
                    return Ok(self.refuse(header, error));
                }
                self.note_name(class, |_| statement.text().to_vec());
                self.registration.meter.bind();
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
                self.note_unseen_statement();
                self.forward_request(header);
            }
        }
        let portal = match portal {
            None => None,
            Some(portal) => {
                self.has_bound(&portal);
                self.note_portal(portal, special)
            }
        };
        let bound = (audit.is_some() || portal.is_some()).then(|| Box::new(Bound { audit, portal, in_vain: false }));
        self.owe(Request::Bind, Pending::Bind(found.map(|(name, statement)| (name, statement.id)), bound));
        self.asked();
        Ok(Step::Done)
    }

    /// The portal that is to be bound, and what is special about its statement; `None` when there are too many of those.
    #[cold]
    fn portal_of_bind(
        &self,
        portal_size: usize,
        name_size: usize,
        class: Class,
        is_missing: bool,
    ) -> Option<(Box<[u8]>, Option<Special>)> {
        let names = self.input.bytes().get(HEADER_SIZE..HEADER_SIZE + portal_size + 1 + name_size).unwrap_or_default();
        let (portal, name) = (names.get(..portal_size)?, names.get(portal_size + 1..)?);
        let special = match self.rules.follows_statements {
            _ if is_missing => None,
            true => self.special(class),
            false => self.special_names.get(Named::Statement, name),
        };
        let fits = special.is_none()
            || self.special_names.has_room(Named::Portal)
            || self.special_names.get(Named::Portal, portal).is_some();
        fits.then(|| (portal.into(), special))
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
                // PostgreSQL looks at it anew where a table has changed.
                self.note_code(statement.class.code, &|_: &Self| statement.text().to_vec());
                self.forward_renamed(header, HEADER_SIZE + 1, name.len(), statement.server_name().as_bytes());
            }
            None if follows && name.is_empty() => {
                if !self.restore_unnamed() {
                    return Ok(self.refuse(header, no_unnamed()));
                }
                self.note_code(self.unnamed_class().code, &Self::unnamed_text);
                self.forward_request(header);
            }
            None if follows => self.forward_missing(header, HEADER_SIZE + 1, &name),
            None => {
                if kind == b'S' {
                    self.note_unseen_statement();
                }
                self.forward_request(header);
            }
        }
        if kind == b'S' {
            self.has_parsed(&name);
        }
        let request = if kind == b'S' { Request::DescribeStatement } else { Request::DescribePortal };
        self.owe(request, Pending::Describe(found));
        self.asked();
        Ok(Step::Done)
    }

    pub(super) fn execute(&mut self, header: Header) -> Result<Step, End> {
        if header.size > MAX_SMALL {
            return Err(ProtocolViolation::Malformed('E').into());
        }
        let access = self.opening_access();
        if let Some(step) = self.open_batch(access) {
            return Ok(step);
        }
        if let Some(step) = self.awaits_special(false) {
            return Ok(step);
        }
        let is_noted = !self.special_names.is_empty() || self.rules.verifies;
        if (is_noted || self.audited.is_some()) && !self.whole(header) {
            return Ok(Step::Wait(Next::Input));
        }
        let (portal, special) = match is_noted {
            false => (None, None),
            true => self.portal_of_execute(header),
        };
        if special == Some(Special::Forgets(Forgets::Everything)) {
            match self.refuses_to_discard() {
                Ok(None) => {}
                Ok(Some(error)) => return Ok(self.refuse(header, error)),
                Err(wait) => return Ok(wait),
            }
        }
        self.assert_identity(portal.as_deref().map_or(Runs::Other, Runs::Execute));
        let forgets = match special {
            Some(Special::Forgets(forgets)) => Some(forgets),
            Some(Special::Copies | Special::Completes(_)) | None => None,
        };
        if forgets.is_some() {
            self.forgetting.is_sent = true;
            self.forgetting.is_behind = self.ran_in_batch && self.is_outside_transaction();
        }
        if let (Some(portal), Some(_)) = (&portal, special) {
            // It runs only once.
            self.special_names.remove(Named::Portal, portal);
        }
        let mark = portal.filter(|_| special.is_some()).map(|portal| Box::new((portal, special)));
        self.names.executed();
        let audit = self.record_execute(header);
        self.forward_request(header);
        self.registration.meter.query();
        let may_copy = special == Some(Special::Copies);
        self.owe(Request::Execute { may_copy }, Pending::Execute(audit, special, mark));
        if may_copy {
            // PostgreSQL may keep the answer back otherwise, and nothing else is sent before it is there.
            message::flush(&mut self.requests);
        }
        self.has_run();
        self.asked();
        Ok(Step::Done)
    }

    /// The portal that is to be executed, and what is special about it.
    fn portal_of_execute(&self, header: Header) -> (Option<Box<[u8]>>, Option<Special>) {
        let body = self.input.bytes().get(HEADER_SIZE..header.size).unwrap_or_default();
        let portal = Fields(body).cstr().unwrap_or_default();
        (Some(portal.into()), self.special_names.get(Named::Portal, portal))
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
        if let Some(step) = self.awaits_special(false) {
            return Ok(step);
        }
        let unnamed = (kind == b'S' && name.is_empty()).then(|| self.end_unnamed());
        self.forward_request(header);
        let marks = if kind == b'S' { self.mark_name(&name, None).flatten() } else { None };
        self.owe(Request::Close, Pending::Close(Box::new(Close { own: None, marks, unnamed })));
        self.asked();
        Ok(Step::Done)
    }

    /// What a Describe or Close is about; `None` when the message is not whole.
    fn kind_and_name(&mut self, header: Header) -> Result<Option<Target>, End> {
        let malformed = ProtocolViolation::Malformed(char::from(header.tag));
        if header.size > MAX_SMALL {
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
