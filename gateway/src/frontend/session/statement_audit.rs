//! Statements on record: each request that runs one carries what is known of it to its reply. What a name or a portal
//! stands for is decided by the replies as well, because only they say which request came true.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use foldhash::fast::RandomState;

use super::Session;
use super::pending::Pending;
use super::recorded::{Binding, Naming, Parameters, Running, Source, Statements, What, values};
use crate::app::worker;
use crate::audit::{Event, Record, Statement};
use crate::frontend::audit;
use crate::wire::fields::Fields;
use crate::wire::frame::HEADER_SIZE;
use crate::wire::{ErrorFields, Header};

/// Largest Bind whose parameters are recorded, in bytes.
const MAX_BIND: usize = 256 * 1024;

impl Session {
    /// The statement with this text, where statements are recorded.
    fn describe_text(&self, text: &[u8]) -> Option<Statement> {
        let audited = self.audited.as_ref()?;
        let masked = worker::with_classifier(&self.generation, self.rules.watch, |classifier| classifier.masked(text));
        Some(audited.policy.describe(masked))
    }

    /// What a simple query or function call carries.
    #[cold]
    fn carry_statement(&self, statement: Statement) -> Box<Running> {
        Box::new(Running { started: Instant::now(), what: What::Statement(statement), code: None })
    }

    /// For a simple query that is next in the input.
    #[inline]
    pub(super) fn record_query(&self, header: Header) -> Option<Box<Running>> {
        self.audited.as_ref()?;
        let text = self.input.bytes().get(HEADER_SIZE..header.size - 1);
        let statement = text.and_then(|text| self.describe_text(text));
        let statement = statement.or_else(|| self.audited.as_ref().map(|audited| audited.policy.unknown()))?;
        Some(self.carry_statement(statement))
    }

    /// For a statement that the gateway answers or refuses in PostgreSQL's place.
    #[inline]
    pub(super) fn record_answered(&self, header: Header, code: Option<&str>) {
        if let Some(mut running) = self.record_query(header) {
            running.code = code.map(str::to_owned);
            self.record(*running);
        }
    }

    /// For a function call.
    #[inline]
    pub(super) fn record_function(&self, number: u32) -> Option<Box<Running>> {
        self.audited.as_ref()?;
        Some(self.carry_statement(Statement::of_function(number)))
    }

    /// For a Parse, where names are the server's own: `name_size` and `text_size` bytes of the message in the input.
    #[inline]
    pub(super) fn record_parse(&self, name_size: usize, text_size: usize) -> Option<Box<Naming>> {
        self.audited.as_ref()?;
        let body = self.input.bytes().get(HEADER_SIZE..)?;
        let name = body.get(..name_size)?.into();
        let text = body.get(name_size + 1..name_size + 1 + text_size)?;
        Some(Box::new(Naming { name, statement: Arc::new(self.describe_text(text)?) }))
    }

    /// Whether the whole of a Bind has to be read, because its parameters are recorded.
    #[inline]
    pub(super) fn reads_parameters(&self, header: Header) -> bool {
        self.audited.as_ref().is_some_and(|audited| audited.policy.parameters) && header.size <= MAX_BIND
    }

    /// For a Bind that is next in the input. `known` is the statement's text, where names follow the client.
    fn record_bind(&self, header: Header, known: Option<&[u8]>) -> Option<Box<Binding>> {
        let audited = self.audited.as_ref()?;
        let body = self.input.bytes().get(HEADER_SIZE..header.size.min(self.input.len()))?;
        let mut fields = Fields(body);
        let (portal, name) = (fields.cstr()?.into(), fields.cstr()?);
        let source = match known {
            Some(text) => Source::Statement(Arc::new(self.describe_text(text)?)),
            None => Source::Name(name.into()),
        };
        let parameters = match audited.policy.parameters {
            false => Parameters::NotAsked,
            true if header.size > MAX_BIND => Parameters::TooLong,
            true => values(fields).map_or(Parameters::TooLong, Parameters::Values),
        };
        Some(Box::new(Binding { portal, source, parameters }))
    }

    /// The same; `found` is what the name stands for, where it follows the client.
    pub(super) fn record_bind_of(
        &self,
        header: Header,
        name_size: usize,
        found: Option<&crate::backend::statements::Statement>,
    ) -> Option<Box<Binding>> {
        if let Some(statement) = found {
            return self.record_bind(header, Some(statement.text()));
        }
        // One that was too large to be kept is not known.
        let text = if self.rules.follows_statements && name_size == 0 { self.unnamed_text() } else { Vec::new() };
        self.record_bind(header, (!text.is_empty()).then_some(text.as_slice()))
    }

    /// For an Execute that is next in the input.
    #[inline]
    pub(super) fn record_execute(&self, header: Header) -> Option<Box<Running>> {
        self.audited.as_ref()?;
        let body = self.input.bytes().get(HEADER_SIZE..header.size.min(self.input.len()))?;
        let portal = Fields(body).cstr().unwrap_or_default().into();
        Some(Box::new(Running { started: Instant::now(), what: What::Portal(portal), code: None }))
    }

    /// ParseComplete.
    pub(super) fn record_named(&mut self, naming: Option<Box<Naming>>) {
        if let (Some(audited), Some(naming)) = (&mut self.audited, naming) {
            audited.named(*naming);
        }
    }

    /// BindComplete.
    pub(super) fn record_bound(&mut self, binding: Option<Box<Binding>>) {
        if let (Some(audited), Some(binding)) = (&mut self.audited, binding) {
            audited.bound(*binding);
        }
    }

    /// CommandComplete, in the middle of a simple query.
    pub(super) fn record_command(&mut self, body: &[u8]) {
        if let Some(Pending::Query { audit: Some(running), .. }) = self.conversation.front_mut()
            && let (What::Statement(statement), Some(tag)) = (&mut running.what, tag(body))
        {
            statement.completed(&tag);
        }
    }

    /// The reply that ends an Execute.
    pub(super) fn record_executed(&self, running: Option<Box<Running>>, body: Option<&[u8]>) {
        if let (Some(audited), Some(mut running)) = (&self.audited, running) {
            let mut statement = self.resolve(audited, &running.what);
            if let Some(tag) = body.and_then(tag) {
                statement.completed(&tag);
            }
            running.what = What::Statement(statement);
            self.record(*running);
        }
    }

    /// An error came: of the request whose turn it is.
    pub(super) fn record_error(&mut self, body: &[u8]) {
        if self.audited.is_none() {
            return;
        }
        let code = ErrorFields::code(body).map(|code| String::from_utf8_lossy(code).into_owned());
        match self.conversation.front_mut() {
            Some(Pending::Query { audit: Some(running), .. } | Pending::FunctionCall { audit: Some(running), .. }) => {
                running.code = code;
            }
            Some(Pending::Query { .. } | Pending::FunctionCall { .. } | Pending::Sync | Pending::OwnSync { .. })
            | None => {}
            Some(_) => self.record_failed_batch(code),
        }
    }

    /// Of a batch that fails, the first statement that would have run is on record with the error; those behind it were
    /// never begun.
    fn record_failed_batch(&mut self, code: Option<String>) {
        let Some(audited) = &self.audited else { return };
        let (mut namings, mut portals) = (Vec::new(), HashMap::<_, _, RandomState>::default());
        let mut running = None;
        for pending in
            self.conversation.iter().take_while(|pending| !matches!(pending, Pending::Sync | Pending::OwnSync { .. }))
        {
            match pending {
                Pending::Parse(parse) => namings.extend(parse.audit.as_deref()),
                Pending::Bind(_, Some(bound)) => {
                    if let Some(binding) = &bound.audit {
                        portals.insert(&binding.portal, audited.bind(binding, &namings));
                    }
                }
                Pending::Execute(Some(first), ..) => {
                    let statement = match &first.what {
                        What::Portal(portal) => portals.get(portal).map(|statement| (**statement).clone()),
                        What::Statement(_) => None,
                    };
                    let statement = statement.unwrap_or_else(|| self.resolve(audited, &first.what));
                    let (started, what) = (first.started, What::Statement(statement));
                    running = Some(Running { started, what, code });
                    break;
                }
                _ => {}
            }
        }
        if let Some(running) = running {
            self.record(running);
        }
    }

    /// ReadyForQuery: the simple query or function call has ended, and portals end with their transaction.
    pub(super) fn record_ready(&mut self, done: &mut Pending, status: u8) {
        if let Pending::Query { audit, .. } | Pending::FunctionCall { audit, .. } = done
            && let Some(running) = audit.take()
        {
            self.record(*running);
        }
        if let Some(audited) = self.audited.as_mut().filter(|_| status == b'I') {
            audited.portals.clear();
        }
    }

    /// No reply will come any more: what became of these is not known.
    pub(super) fn record_lost<'a>(&self, owed: impl Iterator<Item = &'a Pending>, code: &str) {
        let Some(audited) = &self.audited else { return };
        for pending in owed {
            let (Pending::Query { audit: Some(running), .. }
            | Pending::FunctionCall { audit: Some(running), .. }
            | Pending::Execute(Some(running), ..)) = pending
            else {
                continue;
            };
            let what = What::Statement(self.resolve(audited, &running.what));
            self.record(Running { started: running.started, what, code: Some(code.to_owned()) });
        }
    }

    /// A refused statement: what is said of it beside the guard's reason.
    pub(super) fn record_refused(&self, text: Option<&[u8]>, code: &str, why: &str) {
        let mut statement = text.and_then(|text| self.describe_text(text));
        if let (Some(audited), Some(statement)) = (&self.audited, &mut statement) {
            audited.policy.failed(statement);
        }
        audit::statement_refused(&self.registration, code, why, statement.as_ref());
    }

    /// A statement that is not PostgreSQL's grammar: where statements are recorded, as one that PostgreSQL itself has answered
    /// with an error.
    pub(super) fn record_mistake(&self, text: Option<&[u8]>, code: &str) {
        if let Some(statement) = text.and_then(|text| self.describe_text(text)) {
            let what = What::Statement(statement);
            self.record(Running { started: Instant::now(), what, code: Some(code.to_owned()) });
        }
    }

    fn resolve(&self, audited: &Statements, what: &What) -> Statement {
        match what {
            What::Statement(statement) => statement.clone(),
            What::Portal(portal) => audited.of_portal(portal),
        }
    }

    fn record(&self, running: Running) {
        let Running { started, what: What::Statement(mut statement), code } = running else { return };
        if let (Some(audited), Some(_)) = (&self.audited, &code) {
            audited.policy.failed(&mut statement);
        }
        let record = Record::of_session(Event::Statement, self.registration.process(), self.registration.meter.card());
        record.statement(Some(&statement)).sqlstate(code.as_deref()).took(started.elapsed()).send();
    }
}

/// The tag of a CommandComplete.
fn tag(body: &[u8]) -> Option<String> {
    Fields(body).cstr().map(|tag| String::from_utf8_lossy(tag).into_owned())
}
