//! The extended protocol: Parse, Bind, Describe, Execute, Close. Where servers are shared, the client's statement names
//! are its own: each stands for a statement that every server knows under another name, and that is prepared on a server
//! when it is needed there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::expect::{Close, Expect, Parse, Undo};
use super::requests::{Next, REFUSED_SQL, Step, refused};
use super::{Barrier, Batch, End, Session};
use crate::backend::statements::{self, Statement};
use crate::router::{Access, Class, Effects, deallocated_name};
use crate::wire::fields::Fields;
use crate::wire::frame::{self, HEADER_SIZE};
use crate::wire::{Header, PgError, ProtocolViolation, message};

const PARSE_COMPLETE: &[u8] = b"1\0\0\0\x04";
const CLOSE_COMPLETE: &[u8] = b"3\0\0\0\x04";

/// Longest names of a portal and a statement together, in bytes. PostgreSQL uses 63 of each.
const MAX_NAMES: usize = 8 * 1024;

/// Largest unnamed statement that is kept for a Bind in a later batch, in bytes.
const MAX_KEPT: usize = 64 * 1024;

/// Prepared statements that one client may keep.
const MAX_STATEMENTS: usize = 10_000;

/// Names for DISCARD ALL that one client may keep where names are the server's own.
const MAX_BARRIER_NAMES: usize = 16;

/// Tags of unnamed statements, across all sessions.
static UNNAMED: AtomicU64 = AtomicU64::new(1);

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
            self.audit_refusal(refusal);
            return Ok(self.refuse(header, refused(refusal)));
        }
        let access = if self.batch == Batch::None { self.batch_access() } else { Access::Read };
        if let Some(step) = self.open_batch(access) {
            return Ok(step);
        }
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
            self.forward_request(header);
            self.expected.push(Expect::Parse(Box::new(Parse { clears, ..Parse::default() })));
        } else if name_size == 0 {
            self.parse_unnamed(header, class);
        } else {
            self.parse_named(header, name_size, text_size, class);
        }
        self.asked();
        Ok(Step::Done)
    }

    /// The unnamed statement goes to the server as it is, and is kept: a client may bind it again in a later batch, by
    /// which time another client may have replaced it on the server.
    fn parse_unnamed(&mut self, header: Header, class: Class) {
        self.unnamed.clear();
        self.unnamed_tag = UNNAMED.fetch_add(1, Ordering::Relaxed);
        self.unnamed_class = class;
        self.unnamed_kept = header.size <= MAX_KEPT;
        if self.unnamed_kept
            && let Some(body) = self.input.bytes().get(HEADER_SIZE + 1..header.size)
        {
            self.unnamed.extend_from_slice(body);
        }
        if let Some(server) = &mut self.server {
            *server.unnamed() = self.unnamed_tag;
        }
        self.forward_request(header);
        self.expected.push(Expect::Parse(Box::new(Parse { unnamed: self.unnamed_tag, ..Parse::default() })));
    }

    fn parse_named(&mut self, header: Header, name_size: usize, text_size: usize, class: Class) {
        let body = self.input.bytes().get(HEADER_SIZE..header.size).unwrap_or_default();
        let (name, rest) = body.split_at_checked(name_size + 1).unwrap_or_default();
        let name: Box<[u8]> = name.strip_suffix(&[0]).unwrap_or(name).into();
        if self.statements.contains_key(&name) {
            let text = format!("prepared statement \"{}\" already exists", String::from_utf8_lossy(&name));
            self.refuse(header, PgError::error("42P05", text));
            return;
        }
        if self.statements.len() >= MAX_STATEMENTS {
            let error = PgError::error("53400", "too many prepared statements in one session")
                .hint("Close statements that are no longer used.");
            self.refuse(header, error);
            return;
        }
        let statement = statements::intern(rest, text_size, class);
        self.input.consume(header.size);
        self.statements.insert(name.clone(), statement.clone());
        match self.on_server(&statement) {
            true => self.expect_reply(PARSE_COMPLETE, Undo::Forget(name)),
            false => self.prepare(&statement, Some(name)),
        }
    }

    /// Whether the server holds the statement (and marks it as used).
    fn on_server(&mut self, statement: &Statement) -> bool {
        self.server.as_mut().is_some_and(|server| server.held().touch(statement.id))
    }

    /// Prepares a statement on the server: for the client when `name` is given, otherwise on the quiet.
    fn prepare(&mut self, statement: &Arc<Statement>, name: Option<Box<[u8]>>) {
        let Some(server) = &mut self.server else { return };
        server.held().add(statement.id);
        while let Some(evicted) = server.held().evict() {
            message::close_statement(&mut self.requests, Statement::name_on_server(evicted).as_bytes());
            self.expected.push(Expect::Close(Box::new(Close { evicted: Some(evicted), clears: None })));
        }
        message::parse(&mut self.requests, statement.server_name().as_bytes(), statement.text(), statement.types());
        let parse = Parse { own: name.is_none(), statement: Some(statement.clone()), name, ..Parse::default() };
        self.expected.push(Expect::Parse(Box::new(parse)));
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
        let name_at = HEADER_SIZE + portal_size + 1;
        let name = self.input.bytes().get(name_at..name_at + name_size).unwrap_or_default();
        let found = match self.rules.follows_statements && !name.is_empty() {
            true => Some(self.statements.get(name).cloned()),
            false => None,
        };
        if self.is_barrier(name, found.as_ref().and_then(Option::as_ref)) && self.barrier == Barrier::None {
            let class =
                found.as_ref().map_or(self.unnamed_class, |found| found.as_ref().map_or(Class::NONE, |s| s.class));
            self.barrier = Barrier::Bound;
            self.barrier_discards = !self.rules.follows_statements || class.effects.intersects(Effects::DISCARD_ALL);
        }
        let missing = matches!(found, Some(None))
            .then(|| format!("prepared statement \"{}\" does not exist", String::from_utf8_lossy(name)));
        let access = self.opening_access();
        if let Some(step) = self.open_batch(access) {
            return Ok(step);
        }
        if let Some(text) = missing {
            return Ok(self.refuse(header, PgError::error("26000", text)));
        }
        match found.flatten() {
            Some(statement) => {
                if let Some(error) = self.take_effects(statement.class, |_| statement.text().to_vec()) {
                    return Ok(self.refuse(header, error));
                }
                if !self.on_server(&statement) {
                    self.prepare(&statement, None);
                }
                self.forward_renamed(header, name_at, name_size, statement.server_name());
            }
            None => {
                if name_size == 0 {
                    let class = self.unnamed_class;
                    if let Some(error) = self.take_effects(class, Self::unnamed_text) {
                        return Ok(self.refuse(header, error));
                    }
                    if !self.restore_unnamed() {
                        return Ok(self.refuse(header, no_unnamed()));
                    }
                }
                self.forward_request(header);
            }
        }
        self.expected.push(Expect::Bind);
        self.asked();
        Ok(Step::Done)
    }

    /// Forwards a message with another name in place of the one at `at`, the rest as it comes.
    fn forward_renamed(&mut self, header: Header, at: usize, size: usize, name: &str) {
        let here = self.input.len().min(header.size);
        let bytes = self.input.bytes().get(..here).unwrap_or_default();
        let front = bytes.get(HEADER_SIZE..at).unwrap_or_default();
        let rest = bytes.get(at + size..).unwrap_or_default();
        let length = (header.size - 1 - size + name.len()) as u32;
        self.requests.reserve(here + name.len());
        self.requests.push(header.tag);
        self.requests.extend_from_slice(&length.to_be_bytes());
        self.requests.extend_from_slice(front);
        self.requests.extend_from_slice(name.as_bytes());
        self.requests.extend_from_slice(rest);
        self.input.consume(here);
        self.passing = header.size - here;
        self.passing_to_nobody = false;
    }

    fn unnamed_text(&self) -> Vec<u8> {
        Fields(&self.unnamed).cstr().unwrap_or_default().to_vec()
    }

    /// The text of the Parse message that is next in the input.
    fn text_of_parse(&self, header: Header, name_size: usize, text_size: usize) -> Vec<u8> {
        let body = self.input.bytes().get(HEADER_SIZE..header.size).unwrap_or_default();
        body.get(name_size + 1..name_size + 1 + text_size).unwrap_or_default().to_vec()
    }

    /// Makes sure that the server's unnamed statement is the client's own, by preparing it again where another client
    /// has replaced it. `false`: the client has none, or it was too large to keep.
    fn restore_unnamed(&mut self) -> bool {
        if !self.rules.follows_statements {
            return true;
        }
        let Some(server) = &mut self.server else { return false };
        if self.unnamed_tag == 0 {
            return false;
        }
        if *server.unnamed() == self.unnamed_tag {
            return true;
        }
        if !self.unnamed_kept {
            return false;
        }
        *server.unnamed() = self.unnamed_tag;
        let start = frame::begin(&mut self.requests, b'P');
        self.requests.push(0);
        self.requests.extend_from_slice(&self.unnamed);
        frame::end(&mut self.requests, start);
        let parse = Parse { own: true, unnamed: self.unnamed_tag, ..Parse::default() };
        self.expected.push(Expect::Parse(Box::new(parse)));
        true
    }

    pub(super) fn describe(&mut self, header: Header) -> Result<Step, End> {
        let (kind, name) = match self.kind_and_name(header)? {
            Some(found) => found,
            None => return Ok(Step::Wait(Next::Input)),
        };
        let access = self.opening_access();
        if let Some(step) = self.open_batch(access) {
            return Ok(step);
        }
        if kind == b'S' && self.rules.follows_statements {
            if name.is_empty() {
                if !self.restore_unnamed() {
                    return Ok(self.refuse(header, no_unnamed()));
                }
            } else {
                let Some(statement) = self.statements.get(&name).cloned() else {
                    let text = format!("prepared statement \"{}\" does not exist", String::from_utf8_lossy(&name));
                    return Ok(self.refuse(header, PgError::error("26000", text)));
                };
                if !self.on_server(&statement) {
                    self.prepare(&statement, None);
                }
                self.forward_renamed(header, HEADER_SIZE + 1, name.len(), statement.server_name());
                self.expected.push(Expect::Describe);
                self.asked();
                return Ok(Step::Done);
            }
        }
        self.forward_request(header);
        self.expected.push(Expect::Describe);
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
        self.forward_request(header);
        self.registration.meter.query();
        self.expected.push(Expect::Execute);
        self.asked();
        Ok(Step::Done)
    }

    pub(super) fn close(&mut self, header: Header) -> Result<Step, End> {
        let (kind, name) = match self.kind_and_name(header)? {
            Some(found) => found,
            None => return Ok(Step::Wait(Next::Input)),
        };
        if kind == b'S' && self.rules.follows_statements && !name.is_empty() {
            // Servers keep it: another client may use it.
            let undo = match self.statements.remove(&name) {
                Some(statement) => Undo::Restore(name, statement),
                None => Undo::Nothing,
            };
            self.expect_reply(CLOSE_COMPLETE, undo);
            return Ok(self.drop_request(header));
        }
        if kind == b'S' && name.is_empty() {
            self.unnamed_tag = 0;
        }
        let access = self.opening_access();
        if let Some(step) = self.open_batch(access) {
            return Ok(step);
        }
        if let (b'S', true, Some(server)) = (kind, name.is_empty(), &mut self.server) {
            *server.unnamed() = 0;
        }
        self.forward_request(header);
        let clears = (kind == b'S' && self.barrier_names.contains(&name)).then_some(name);
        self.expected.push(Expect::Close(Box::new(Close { evicted: None, clears })));
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

    /// A reply of the gateway's own: now, or when those before it have come.
    fn expect_reply(&mut self, reply: &'static [u8], undo: Undo) {
        // Not into the middle of a message that is on its way.
        if self.expected.is_empty() && self.replying == 0 && self.carry.is_empty() {
            self.flush_forward_into_out();
            self.out.extend_from_slice(reply);
        } else {
            self.expected.push(Expect::Reply(reply, Box::new(undo)));
        }
    }

    /// Makes sure of a server for the batch that this message belongs to.
    fn open_batch(&mut self, access: Access) -> Option<Step> {
        if self.barrier == Barrier::Sent && self.batch == Batch::Open {
            // DISCARD ALL was executed in this batch: who the connection is will be known again after its Sync.
            let error = PgError::error("25001", "DISCARD ALL must be the last statement before Sync");
            let header = Header::parse(self.input.bytes()).ok().flatten()?;
            return Some(self.refuse(header, error));
        }
        if let Some(lost) = self.lost.take() {
            self.say(&lost);
            self.batch = Batch::Refused;
            let header = Header::parse(self.input.bytes()).ok().flatten()?;
            return Some(self.drop_request(header));
        }
        if let Some(wait) = self.server_for(access) {
            return Some(Step::Wait(wait));
        }
        self.batch = Batch::Open;
        None
    }

    /// Refuses one request: in place, so that PostgreSQL itself discards the rest of the batch and fails an open
    /// transaction; or without a server when none is held.
    fn refuse(&mut self, header: Header, error: PgError) -> Step {
        if self.server.is_none() {
            self.say(&error);
            self.batch = Batch::Refused;
            return self.drop_request(header);
        }
        self.batch = Batch::Open;
        message::parse(&mut self.requests, b"", REFUSED_SQL, &[0, 0]);
        if let Some(server) = &mut self.server {
            *server.unnamed() = 0;
        }
        let parse = Parse { refusal: Some(Box::new(error)), ..Parse::default() };
        self.expected.push(Expect::Parse(Box::new(parse)));
        self.asked();
        self.drop_request(header)
    }

    /// What the first message of a batch needs; later ones go where the batch is.
    fn opening_access(&self) -> Access {
        if self.batch == Batch::None { self.batch_access() } else { Access::Read }
    }

    /// What the whole batch needs, as far as its messages have arrived: a batch runs on one server, so one statement
    /// that writes decides for all. A batch whose end is not in sight goes to the primary.
    fn batch_access(&self) -> Access {
        if !self.pools.routes() {
            return Access::Write;
        }
        let mut rest = self.input.bytes();
        while let Ok(Some(header)) = Header::parse(rest) {
            let Some((frame, behind)) = rest.split_at_checked(header.size) else { return Access::Write };
            let mut fields = Fields(frame.get(HEADER_SIZE..).unwrap_or_default());
            let class = match header.tag {
                b'P' => fields.cstr().and_then(|_| fields.cstr()).map(|text| self.classify(text)),
                b'B' => fields.cstr().and_then(|_| fields.cstr()).and_then(|name| self.class_of_name(name)),
                b'D' if fields.u8() == Some(b'S') => fields.cstr().and_then(|name| self.class_of_name(name)),
                b'D' | b'E' | b'C' => None,
                b'S' | b'H' => return Access::Read,
                _ => return Access::Write,
            };
            if class.is_some_and(|class| self.access(class) == Access::Write) {
                return Access::Write;
            }
            rest = behind;
        }
        Access::Write
    }

    /// The class of a statement that the client prepared before; of an unnamed one from its text.
    fn class_of_name(&self, name: &[u8]) -> Option<Class> {
        if !name.is_empty() {
            return Some(self.statements.get(name).map_or(Class::UNKNOWN, |statement| statement.class));
        }
        let text = Fields(&self.unnamed).cstr()?;
        Some(self.classify(text))
    }

    /// Whether the identity must be confirmed after the statement.
    fn is_barrier(&self, name: &[u8], statement: Option<&Arc<Statement>>) -> bool {
        match statement {
            Some(statement) => self.is_barrier_class(statement.class),
            None if self.rules.follows_statements => name.is_empty() && self.is_barrier_class(self.unnamed_class),
            None => self.barrier_names.iter().any(|known| **known == *name),
        }
    }

    /// Where names are the server's own: remembers which of them are DISCARD ALL. Gives the name that is none any more
    /// when the Parse succeeds; `None` when there are too many.
    fn note_barrier_name(&mut self, class: Class, name_size: usize) -> Option<Option<Box<[u8]>>> {
        let name = self.input.bytes().get(HEADER_SIZE..HEADER_SIZE + name_size).unwrap_or_default();
        let is_known = self.barrier_names.iter().any(|known| **known == *name);
        let name: Box<[u8]> = if is_known || self.is_barrier_class(class) { name.into() } else { return Some(None) };
        match (self.is_barrier_class(class), is_known) {
            (true, false) if self.barrier_names.len() >= MAX_BARRIER_NAMES => None,
            (true, false) => {
                self.barrier_names.push(name);
                Some(None)
            }
            (true, true) => Some(None),
            (false, _) => Some(Some(name)),
        }
    }

    /// `DEALLOCATE name` for a name of the protocol: the statement is the gateway's to forget. `None`: it is not, or the
    /// transaction has failed, and PostgreSQL says what is to be said.
    pub(super) fn deallocate(&mut self, header: Header) -> Option<Step> {
        if !self.rules.follows_statements || self.lost.is_some() {
            return None;
        }
        let text = self.input.bytes().get(HEADER_SIZE..header.size - 1)?;
        let name = deallocated_name(text)?;
        if !self.statements.contains_key(name.as_bytes()) {
            return None;
        }
        if !self.is_quiet() || self.is_moving() {
            return Some(Step::Wait(Next::Quiet));
        }
        let status = self.server.as_ref().map_or(b'I', |server| server.status());
        if status == b'E' {
            return None;
        }
        self.statements.remove(name.as_bytes());
        self.flush_forward_into_out();
        message::command_complete(&mut self.out, "DEALLOCATE");
        message::ready_for_query(&mut self.out, status);
        Some(self.drop_request(header))
    }
}

fn no_unnamed() -> PgError {
    PgError::error("26000", "unnamed prepared statement does not exist")
}
