//! Prepared statements that follow the client: what its names stand for, and how a server comes to hold them.

use std::sync::Arc;

use super::Session;
use super::forgetting::Forgets;
use super::name::Renamed;
use super::names::{Found, Name};
use super::pending::{Bound, Close, Parse, Pending, Undo};
use super::requests::{Next, Step};
use crate::backend::held::Holds;
use crate::backend::statements::{self, Statement};
use crate::dialect::STATEMENT_PREFIX;
use crate::wire::frame::HEADER_SIZE;
use crate::wire::{Header, PgError, message};
use pgdog_jwt_guard::names::deallocated_name;
use pgdog_jwt_guard::{Class, PgQuery};
use pgdog_jwt_protocol::{Batch, Request};

const PARSE_COMPLETE: &[u8] = b"1\0\0\0\x04";

/// What a statement's name becomes on the way to the server when the client has prepared nothing under it. There is no
/// such statement, and PostgreSQL says so.
pub(super) const MISSING: &str = "__pgdog_jwt_missing_";

/// So often an error's text says the name of a statement, at most.
const MOST_NAMED: usize = 4;

/// The name under which PostgreSQL is asked whether it would prepare a statement.
const PROBE: &str = "__pgdog_jwt_0";

/// A name that is taken on the server for a moment.
const TAKEN: &str = "__pgdog_jwt_00";

impl Session {
    pub(super) fn parse_named(
        &mut self,
        header: Header,
        name_size: usize,
        text_size: usize,
        class: Class,
        renamed: Option<&Renamed>,
    ) -> Step {
        let body = self.input.bytes().get(HEADER_SIZE..header.size).unwrap_or_default();
        let (name, rest) = body.split_at_checked(name_size + 1).unwrap_or_default();
        let name: Name = name.strip_suffix(&[0]).unwrap_or(name).into();
        let (rest, text_size) = renamed.map_or((rest, text_size), |renamed| (&renamed.body[..], renamed.text_size));
        match self.find(&name) {
            Found::Unsettled => return Step::Wait(Next::Answers),
            Found::Clearing => return self.await_answers(),
            Found::Statement(name, _) => return self.parse_in_vain(header, name, name_size),
            Found::Nothing => {}
        }
        let general = &self.generation.config.general;
        let (most, size) = (general.client_statements_limit, general.client_statements_size);
        if self.names.len() >= most || self.names.size().saturating_add(rest.len()) > size {
            let error = PgError::error("53400", "too many prepared statements in one session").hint(
                "Close statements that are no longer used, or raise client_statements_limit or client_statements_size.",
            );
            return self.refuse(header, error);
        }
        let owner = self.owner();
        let intern = |session: &Self| {
            let path = session.forgets(class).map(Forgets::path);
            let path = path.or_else(|| session.settings.get("search_path")).unwrap_or_default();
            statements::intern(rest, text_size, path, &owner, class)
        };
        let mut statement = intern(self);
        if !self.is_provided(&statement) {
            return Step::Wait(Next::Answers);
        }
        let mut holds = self.server.as_mut().map_or(Holds::No, |server| server.held().touch_anew(statement.id));
        if holds != Holds::Yes && statement.is_described() {
            // Others know the columns of its result: if they are not the same any more, it is another statement.
            if std::mem::take(&mut self.changed) != statement.id {
                return self.check(&statement);
            }
            statement.retire();
            statement = intern(self);
            holds = Holds::No;
        }
        if holds == Holds::Yes {
            if self.conversation.open() > 0 {
                // Whether the transaction has failed by now, or the statement was prepared at all, is not known yet.
                return Step::Wait(Next::Answers);
            }
            let failed = self.server.as_ref().is_some_and(|server| server.status() == b'E');
            self.input.consume(header.size);
            let before = self.names.set(&name, Some(statement.clone()));
            self.registration.meter.client_parse();
            let undo = Undo { name, before };
            if failed {
                self.probe(&statement, undo);
            } else {
                self.expect_reply(PARSE_COMPLETE, Some(undo));
            }
        } else {
            self.input.consume(header.size);
            let before = self.names.set(&name, Some(statement.clone()));
            self.registration.meter.client_parse();
            self.prepare(&statement, Some(Undo { name, before }));
        }
        Step::Done
    }

    /// Whose statements the session prepares: those of one database, account, role, subject and tenant.
    fn owner(&self) -> Vec<u8> {
        let (key, identity, grant) = (&self.pools.key, self.pools.identity(), self.who.grant());
        let parts = [
            key.database.as_str(),
            &key.user,
            self.who.user(),
            self.who.tenant().unwrap_or_default(),
            identity.role.as_deref().unwrap_or_default(),
            identity.login.as_deref().unwrap_or_default(),
            grant.and_then(|grant| grant.issuer.as_deref()).unwrap_or_default(),
            grant.map_or("", |grant| &grant.subject),
        ];
        let mut owner = Vec::with_capacity(parts.iter().map(|part| size_of::<u32>() + part.len()).sum());
        for part in parts {
            owner.extend_from_slice(&(part.len() as u32).to_be_bytes());
            owner.extend_from_slice(part.as_bytes());
        }
        owner
    }

    /// What a name stands for.
    #[inline]
    pub(super) fn find(&self, name: &[u8]) -> Found {
        self.names.find(name, self.conversation.open(), self.conversation.is_empty())
    }

    /// Lets the server answer what it was sent of the open batch.
    pub(super) fn await_answers(&mut self) -> Step {
        message::flush(&mut self.requests);
        self.asked();
        Step::Wait(Next::Silence)
    }

    /// A failed transaction admits only statements that end it: PostgreSQL says whether this is one, though it holds it
    /// already.
    fn probe(&mut self, statement: &Statement, undo: Undo) {
        message::parse(&mut self.requests, PROBE.as_bytes(), statement.text(), statement.types());
        self.owe(Request::Parse, Pending::Parse(Box::new(Parse { undo: Some(undo), ..Parse::default() })));
        message::close_statement(&mut self.requests, PROBE.as_bytes());
        self.owe(Request::Close, Pending::Close(Box::new(Close { own: Some(0), ..Close::default() })));
    }

    /// Lets PostgreSQL say what is wrong with a Parse of a name that is taken: for that reason, or for one that comes
    /// first. Whatever the client's name stands for may not be possible to prepare any more, so another taken name has to
    /// do.
    fn parse_in_vain(&mut self, header: Header, name: Name, name_size: usize) -> Step {
        message::close_statement(&mut self.requests, TAKEN.as_bytes());
        self.owe(Request::Close, Pending::Close(Box::new(Close { own: Some(0), ..Close::default() })));
        message::parse(&mut self.requests, TAKEN.as_bytes(), b"", &[0, 0]);
        self.owe(Request::Parse, Pending::Parse(Box::new(Parse { own: true, ..Parse::default() })));
        self.forward_renamed(header, HEADER_SIZE, name_size, TAKEN.as_bytes());
        self.owe(Request::Parse, Pending::Parse(Box::new(Parse { fails: Some(name), ..Parse::default() })));
        Step::Done
    }

    /// Whether the server holds the statement; marks it as used.
    fn holds(&mut self, statement: &Statement) -> Holds {
        self.server.as_mut().map_or(Holds::No, |server| server.held().touch(statement.id))
    }

    /// Whether it is certain that the server has what it was sent: after an error in an earlier batch it may have skipped
    /// it.
    fn is_provided(&self, statement: &Statement) -> bool {
        let open = self.conversation.open();
        open == 0 || self.provided.iter().all(|(id, batch)| *id != statement.id || self.names.is_settled(*batch, open))
    }

    /// Prepares a statement on the server: for the client when there is a name to undo, otherwise on the quiet.
    fn prepare(&mut self, statement: &Arc<Statement>, undo: Option<Undo>) {
        self.note_code(statement.class.code, &|_: &Self| statement.text().to_vec());
        let Some(server) = &mut self.server else { return };
        let mut stale = (server.held().touch(statement.id) == Holds::Perhaps).then_some(statement.id);
        server.held().add(statement.id);
        let mut provided = |id| {
            let entry = (id, self.names.batch());
            if !self.provided.contains(&entry) {
                self.provided.push(entry);
            }
        };
        provided(statement.id);
        while let Some(id) = stale.take().or_else(|| server.held().evict()) {
            provided(id);
            message::close_statement(&mut self.requests, Statement::name_on_server(id).as_bytes());
            let close = Close { own: Some(id), ..Close::default() };
            self.conversation.sent(Request::Close, Pending::Close(Box::new(close)));
        }
        self.registration.meter.server_parse();
        message::parse(&mut self.requests, statement.server_name().as_bytes(), statement.text(), statement.types());
        let parse = Parse { own: undo.is_none(), statement: statement.id, undo, ..Parse::default() };
        self.owe(Request::Parse, Pending::Parse(Box::new(parse)));
    }

    /// Makes sure that the server holds a statement that the client is about to use. Where clients know the columns of
    /// its result, the server is asked first whether they are still the same, as PostgreSQL asks itself before it uses a
    /// plan again. Gives what to do instead of using it.
    pub(super) fn provide(&mut self, header: Header, statement: &Arc<Statement>) -> Option<Step> {
        if !self.is_provided(statement) {
            return Some(Step::Wait(Next::Answers));
        }
        if self.holds(statement) == Holds::Yes {
            return None;
        }
        if std::mem::take(&mut self.changed) == statement.id {
            statement.retire();
            return Some(self.refuse(header, PgError::changed_result()));
        }
        if statement.is_described() && header.tag != b'D' {
            return Some(self.check(statement));
        }
        self.prepare(statement, None);
        None
    }

    /// A Bind, which is here as a whole, of a statement whose result has changed, as the server has just said. PostgreSQL says so
    /// when it has looked at the parameters, of which it may say something else.
    #[cold]
    pub(super) fn bind_in_vain(&mut self, header: Header, name_at: (usize, usize), name: &Name, statement: &Statement) {
        self.changed = 0;
        statement.retire();
        let (at, size) = name_at;
        self.forward_renamed(header, at, size, statement.server_name().as_bytes());
        let bound = Box::new(Bound { audit: None, portal: None, in_vain: true });
        self.owe(Request::Bind, Pending::Bind(Some((name.clone(), statement.id)), Some(bound)));
        self.fail_batch_with(PgError::changed_result());
    }

    /// Prepares a statement and asks the server what it gives.
    fn check(&mut self, statement: &Arc<Statement>) -> Step {
        self.prepare(statement, None);
        message::describe_statement(&mut self.requests, statement.server_name().as_bytes());
        message::flush(&mut self.requests);
        self.owe(Request::DescribeStatement, Pending::Check(statement.clone()));
        self.asked();
        Step::Wait(Next::Silence)
    }

    /// The server has described a statement, with the body of a RowDescription or without one. Gives whether it is what
    /// clients know.
    pub(super) fn described(&mut self, statement: &Statement, row: Option<&[u8]>) -> bool {
        if statement.describe(row) {
            return true;
        }
        // The server holds what other clients do not expect.
        statement.retire();
        if let Some(server) = &mut self.server {
            server.held().doubt(statement.id);
        }
        false
    }

    /// A Bind or Describe of a statement that the client has not prepared.
    pub(super) fn forward_missing(&mut self, header: Header, at: usize, name: &[u8]) {
        let missing = [MISSING.as_bytes(), name].concat();
        self.forward_renamed(header, at, name.len(), &missing);
    }

    /// The body of an error with the client's names of statements in place of the gateway's; `None` when there are none.
    /// PostgreSQL says a name once or twice.
    pub(super) fn with_own_names(&self, body: &[u8]) -> Option<Vec<u8>> {
        let finder = memchr::memmem::Finder::new(STATEMENT_PREFIX);
        let mut at = finder.find(body)?;
        let mut renamed = Vec::with_capacity(body.len());
        let mut rest = body;
        // A client's own text may say it as often as it likes.
        for _ in 0..MOST_NAMED {
            let (before, found) = rest.split_at_checked(at)?;
            renamed.extend_from_slice(before);
            rest = match found.strip_prefix(MISSING.as_bytes()) {
                Some(behind) => behind,
                None => {
                    let behind = found.get(STATEMENT_PREFIX.len()..)?;
                    let digits = behind.iter().take_while(|byte| byte.is_ascii_digit()).count();
                    renamed.extend_from_slice(self.name_in_question());
                    behind.get(digits..)?
                }
            };
            let Some(next) = finder.find(rest) else { break };
            at = next;
        }
        renamed.extend_from_slice(rest);
        Some(renamed)
    }

    /// The client's name for the statement that the request which fails now is about.
    fn name_in_question(&self) -> &[u8] {
        let name = match self.conversation.front() {
            Some(Pending::Bind(Some((name, _)), _)) => Some(name),
            Some(Pending::Describe(Some(described))) => Some(&described.0),
            Some(Pending::Parse(parse)) => parse.fails.as_ref().or(parse.undo.as_ref().map(|undo| &undo.name)),
            _ => None,
        };
        name.map_or(b"?", |name| name)
    }

    /// `DEALLOCATE name` for a name of the protocol: the statement is the gateway's to forget. `None`: it is not, or the
    /// transaction has failed, and PostgreSQL says what is to be said.
    pub(super) fn deallocate(&mut self, header: Header) -> Option<Step> {
        if !self.rules.follows_statements || self.lost.is_some() {
            return None;
        }
        let text = self.input.bytes().get(HEADER_SIZE..header.size - 1)?;
        let name = deallocated_name(&PgQuery, text)?;
        self.names.get(name.as_bytes())?;
        if self.conversation.batch() == Batch::Open {
            // It ends the batch, as every simple query does.
            self.end_transaction_of_batch();
            self.end_batch();
        }
        if !self.is_quiet() || self.is_moving() {
            return Some(Step::Wait(Next::Quiet));
        }
        let status = self.server.as_ref().map_or(b'I', |server| server.status());
        if status == b'E' {
            return None;
        }
        self.record_answered(header, None);
        self.names.set(&name.as_bytes().into(), None);
        self.flush_forward_into_out();
        message::command_complete(&mut self.out, "DEALLOCATE");
        message::ready_for_query(&mut self.out, status);
        Some(self.drop_request(header))
    }
}
