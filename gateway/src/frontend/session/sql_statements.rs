//! `prepared_statements = "full"`: statements of SQL `PREPARE` follow the client as well. They keep the client's names,
//! so before a statement names one, the server is made to have just what the session has under that name: its own, or
//! none. Only statements that stand alone are followed; others hold the session to its server, as without "full".

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use pgdog_jwt_guard::names::{SqlStatement, sql_statement};
use pgdog_jwt_guard::{Class, Effects, PgQuery};

use super::requests::{Next, Step};
use super::{End, Session};
use crate::backend::conversation::ConversationError;
use crate::wire::frame::HEADER_SIZE;
use crate::wire::{Header, PgError, Severity, message};
use pgdog_jwt_protocol::Batch;

/// Statements of SQL `PREPARE` that one client may keep.
const MAX_STATEMENTS: usize = 1000;

/// Bytes of all of them.
const MAX_SIZE: usize = 16 << 20;

/// Effects that statements have because they prepare, execute or deallocate, not because of what they prepare.
const OF_NAMES: Effects =
    Effects::of(&[Effects::PREPARED, Effects::EXECUTES, Effects::DEALLOCATES, Effects::DEALLOCATES_ALL]);

/// The tag of `DEALLOCATE ALL`, which takes the statements of the protocol too (PostgreSQL documentation, DEALLOCATE).
const DEALLOCATED_ALL: &[u8] = b"DEALLOCATE ALL\0";

/// What the session has prepared with SQL.
#[derive(Debug, Default)]
pub(super) struct SqlStatements {
    by_name: HashMap<Box<str>, Prepared, RandomState>,
    size: usize,
    /// What the statement that runs now does to them when it succeeds.
    change: Option<Change>,
    /// Names that the server must agree on before the next request.
    due: Vec<String>,
}

#[derive(Debug)]
struct Prepared {
    /// The whole `PREPARE`.
    text: Arc<str>,
    /// What each execution leaves behind.
    effects: Effects,
}

#[derive(Debug)]
enum Change {
    Prepare(String, Prepared),
    Deallocate(String),
}

impl SqlStatements {
    fn insert(&mut self, name: String, prepared: Prepared) {
        self.size += prepared.text.len();
        self.by_name.insert(name.into(), prepared);
    }

    fn remove(&mut self, name: &str) {
        if let Some(gone) = self.by_name.remove(name) {
            self.size -= gone.text.len();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// DISCARD ALL has run.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// What executions of these names leave behind.
    fn effects(&self, names: &[String]) -> Effects {
        let known = names.iter().filter_map(|name| self.by_name.get(name.as_str()));
        known.fold(Effects::NONE, |all, prepared| all | prepared.effects)
    }
}

impl Session {
    /// Sees to the names in a simple query. `Ok`: the class to go on with. `Err`: what to do first.
    pub(super) fn follow_sql(&mut self, header: Header, class: Class) -> Result<Class, Step> {
        if self.sql.is_none() || !class.effects.intersects(OF_NAMES) {
            return Ok(class);
        }
        let text = self.input.bytes().get(HEADER_SIZE..header.size - 1).unwrap_or_default();
        let text: Arc<str> = match std::str::from_utf8(text) {
            Ok(text) if text.is_ascii() => text.into(),
            // What its bytes mean depends on the client's encoding at that moment.
            _ => return Ok(class),
        };
        let Some(statement) = sql_statement(&PgQuery, text.as_bytes()) else { return Ok(class) };
        if let Some(step) = self.settle_names(class, &statement) {
            return Err(step);
        }
        let failed = self.server.as_ref().is_none_or(|server| server.status() == b'E');
        let pinned = self.pins.is_pinned();
        let Some(sql) = self.sql.as_mut().filter(|_| !failed) else { return Ok(class) };
        let effects = class.effects.without(OF_NAMES);
        let is_full = sql.by_name.len() >= MAX_STATEMENTS || sql.size + text.len() > MAX_SIZE;
        let (change, effects) = match statement {
            SqlStatement::Prepare(_) if is_full => {
                let error = PgError::error("53400", "too many prepared statements in one session")
                    .hint("DEALLOCATE those that are no longer used.");
                self.refuse_query(header, error);
                return Err(Step::Done);
            }
            SqlStatement::Prepare(name) => (Some(Change::Prepare(name, Prepared { text, effects })), Effects::NONE),
            // Perhaps of one that holds the session to its server.
            SqlStatement::Deallocate(name) if !sql.by_name.contains_key(name.as_str()) => return Ok(class),
            SqlStatement::DeallocateAll if pinned => return Ok(class),
            SqlStatement::Deallocate(name) => (Some(Change::Deallocate(name)), effects),
            SqlStatement::DeallocateAll => {
                self.names.may_clear();
                if let Some(server) = &mut self.server {
                    server.held().doubt_all();
                }
                (None, effects)
            }
            SqlStatement::Execute(names) => (None, effects | sql.effects(&names)),
        };
        sql.change = change;
        Ok(Class { effects, ..class })
    }

    /// Sees to the names that a batch executes, before it begins.
    pub(super) fn settle_names_of_batch(&mut self, class: Class, text: &[u8]) -> Option<Step> {
        if self.sql.is_none()
            || self.conversation.batch() != Batch::None
            || !class.effects.intersects(Effects::EXECUTES)
        {
            return None;
        }
        let statement = sql_statement(&PgQuery, text)?;
        self.settle_names(class, &statement)
    }

    /// What to do before the server can be sent a statement with such names.
    fn settle_names(&mut self, class: Class, statement: &SqlStatement) -> Option<Step> {
        if let Some(wait) = self.server_for(self.access(class)) {
            return Some(Step::Wait(wait));
        }
        if self.conversation.batch() == Batch::Open {
            // A simple query that ends the batch, in place of its Sync.
            if statement.names().is_empty() {
                return None;
            }
            if !self.conversation.is_empty() {
                return Some(self.await_answers());
            }
        } else if !self.is_quiet() || self.is_moving() {
            return Some(Step::Wait(Next::Quiet));
        }
        let (Some(server), Some(sql)) = (&mut self.server, &mut self.sql) else { return None };
        let failed = server.status() == b'E';
        let held = server.held().sql();
        let agrees = |name: &&str| {
            let wanted = sql.by_name.get(*name).map(|prepared| &prepared.text);
            held.is_some_and(|held| held.get(*name) == wanted)
        };
        if failed || statement.names().iter().all(agrees) {
            return None;
        }
        sql.due = statement.names().iter().map(|&name| name.to_owned()).collect();
        Some(Step::Wait(Next::Names))
    }

    /// Makes the server agree with the session on the names that are due. An error is the answer to the next request.
    pub(super) async fn agree_on_names(&mut self) -> Result<(), End> {
        let (Some(mut server), Some(sql)) = (self.server.take(), &mut self.sql) else { return Ok(()) };
        let wanted = |name: String| {
            let text = sql.by_name.get(name.as_str()).map(|prepared| prepared.text.clone());
            (name, text)
        };
        let due: Vec<_> = std::mem::take(&mut sql.due).into_iter().map(wanted).collect();
        let limit = server.pool().spec.limits.connect_timeout;
        let agree = Box::pin(async {
            let outcome = tokio::time::timeout(limit, server.agree_on_names(&due)).await;
            (server, outcome)
        });
        let (mut server, outcome) = self.while_waiting(agree).await?;
        self.tell_asides(&mut server);
        let status = server.status();
        match outcome {
            Ok(Ok(())) => self.server = Some(server),
            Ok(Err(ConversationError::Refused(fields))) => {
                self.server = Some(server);
                let Some(header) = Header::parse(self.input.bytes())? else { return Ok(()) };
                self.say(&fields.into_error(Severity::Error));
                if header.tag == b'Q' {
                    message::ready_for_query(&mut self.out, status);
                } else {
                    self.refused = true;
                }
                self.discard(header.size);
            }
            Ok(Err(error)) => return Err(self.inquiry_failed(&error)),
            Err(late) => return Err(self.inquiry_failed(&late)),
        }
        Ok(())
    }

    /// A statement has completed, with this tag.
    pub(super) fn note_names(&mut self, tag: &[u8]) {
        let Some(server) = &mut self.server else { return };
        if tag == DEALLOCATED_ALL {
            self.names.cleared();
            // Also what it was sent between the Bind and the Execute.
            server.held().doubt_all();
            server.held().clear_sql();
        }
        let Some(sql) = &mut self.sql else { return };
        match (sql.change.take(), tag) {
            (Some(Change::Prepare(name, prepared)), b"PREPARE\0") => {
                server.held().add_sql(&name, prepared.text.clone());
                sql.insert(name, prepared);
            }
            (Some(Change::Deallocate(name)), b"DEALLOCATE\0") => {
                server.held().remove_sql(&name);
                sql.remove(&name);
            }
            (_, DEALLOCATED_ALL) => sql.clear(),
            _ => {}
        }
    }

    /// The statement is over: it did not succeed unless that was said.
    #[inline]
    pub(super) fn end_names(&mut self) {
        if let Some(sql) = &mut self.sql {
            sql.change = None;
        }
    }
}
