//! Errors of the server, and the loss of it: what does not come any more, and what the client hears instead.

use tracing::warn;

use super::expect::{Expect, Undo};
use super::replies::Fate;
use super::{Barrier, Batch, End, Session};
use crate::backend::statements;
use crate::config::PoolerMode;
use crate::wire::frame::{self, HEADER_SIZE};
use crate::wire::{ErrorFields, PgError, Severity, message};

impl Session {
    /// An error of the server: what the client hears, and what does not come any more.
    pub(super) fn error(&mut self, body: &[u8]) -> Fate {
        let is_last_word = ErrorFields::severity(body).is_some_and(|name| name == b"FATAL" || name == b"PANIC");
        if is_last_word {
            return Fate::Lost(Box::new(ErrorFields::parse(body).into_error(Severity::Error)));
        }
        self.registration.meter.server_error(body);
        let renamed = self.with_own_names(body);
        self.note_changed_result(body);
        self.record_error(body);
        match (self.failed(), renamed) {
            (Fate::Forward, Some(body)) => {
                let mut frame = Vec::with_capacity(body.len() + HEADER_SIZE);
                frame::push(&mut frame, b'E', &body);
                Fate::Rewrite(frame)
            }
            (fate, _) => fate,
        }
    }

    /// "cached plan must not change result type": what the server holds is of no use any more, nor is the statement to
    /// anyone who prepares it from now on.
    fn note_changed_result(&mut self, body: &[u8]) {
        let id = match self.expected.front() {
            Some(Expect::Bind(Some((_, id)), _)) => *id,
            Some(Expect::Describe(Some(described))) => described.1.id,
            _ => return,
        };
        if ErrorFields::is_changed_result(body) {
            statements::retire(id);
            if let Some(server) = &mut self.server {
                server.held().doubt(id);
            }
        }
    }

    /// What an error does to the replies that are expected.
    pub(super) fn failed(&mut self) -> Fate {
        self.copy_in = false;
        if matches!(self.expected.front(), Some(Expect::Query { .. })) && self.expected.len() == 1 {
            // If this was DISCARD ALL, it has taken nothing with it.
            self.barrier_discards = false;
        }
        match self.expected.front_mut() {
            Some(Expect::Query { refusal, .. }) => refusal.take().map_or(Fate::Forward, Fate::Replace),
            Some(Expect::FunctionCall(_) | Expect::Sync) | None => Fate::Forward,
            Some(_) => self.fail_batch(),
        }
    }

    /// PostgreSQL discards the rest of the batch: its replies will not come.
    fn fail_batch(&mut self) -> Fate {
        let mut failed = self.expected.pop();
        let mut skipped = Vec::new();
        // Also a simple query or a function call: PostgreSQL discards everything up to Sync.
        while !matches!(self.expected.front(), Some(Expect::Sync) | None) {
            skipped.extend(self.expected.pop());
        }
        if self.expected.is_empty() {
            self.batch = Batch::Failed;
        }
        let last = failed.iter().chain(&skipped).any(|expect| matches!(expect, Expect::Execute(_)));
        if last && self.expected.len() <= 1 {
            // DISCARD ALL is executed last in its batch: it has failed, or was skipped.
            self.barrier = Barrier::None;
        }
        for expect in skipped.into_iter().rev() {
            self.skipped(expect);
        }
        let Some(Expect::Parse(parse)) = &mut failed else {
            self.skipped_some(failed);
            return Fate::Forward;
        };
        if let Some(change) = parse.unnamed.take() {
            self.failed_unnamed(&change, parse.own);
        }
        let refusal = parse.refusal.take();
        self.skipped_some(failed);
        refusal.map_or(Fate::Forward, Fate::Replace)
    }

    fn skipped_some(&mut self, expect: Option<Expect>) {
        if let Some(expect) = expect {
            self.skipped(expect);
        }
    }

    /// A request has not been carried out: what the gateway did ahead of the answer is undone.
    fn skipped(&mut self, expect: Expect) {
        let (undo, unnamed, held) = match expect {
            Expect::Reply(_, undo) => (undo.map(|undo| *undo), None, 0),
            Expect::Parse(parse) => (parse.undo, parse.unnamed, parse.statement),
            Expect::Close(close) => (None, close.unnamed, close.own.unwrap_or(0)),
            Expect::Query { unnamed, .. } => (None, unnamed, 0),
            _ => return,
        };
        if let Some(Undo { name, before }) = undo {
            self.names.restore(&name, before);
        }
        if let Some(change) = unnamed {
            self.skipped_unnamed(*change);
        }
        if let Some(server) = self.server.as_mut().filter(|_| held != 0) {
            server.held().doubt(held);
        }
    }

    /// The server is gone. What it still owed is answered with the error; the session goes on where nothing of it was
    /// lost with the server.
    pub(super) fn server_lost(&mut self, error: PgError) -> Result<(), End> {
        self.note_parameters();
        let Some(server) = self.server.take() else { return Ok(()) };
        let in_transaction = server.status() != b'I';
        self.registration.meter.lost();
        drop(server);
        warn!(
            event = "server_lost",
            user = self.who.user(),
            database = self.pools.key.database,
            reason = %error.message,
            "server lost"
        );
        self.answer_owed(error, in_transaction)
    }

    /// Answers everything that a server owed with an error.
    pub(super) fn answer_owed(&mut self, error: PgError, in_transaction: bool) -> Result<(), End> {
        self.requests.clear();
        self.requests_at = 0;
        self.carry.clear();
        self.copy_in = false;
        self.asked_at = None;
        self.barrier = Barrier::None;
        if self.passing > 0 {
            self.passing_to_nobody = true;
        }
        if std::mem::take(&mut self.replying) > 0 {
            return Err(End::Broken(error));
        }
        if self.rules.mode == PoolerMode::Session || self.pins.is_pinned() {
            return Err(End::Fatal(error.with_severity(Severity::Fatal)));
        }
        // A cancel request that is on its way concerns nothing that is still the session's.
        self.cancelling = None;
        self.provided.clear();
        if self.expected.is_empty() && self.batch == Batch::None {
            if in_transaction {
                self.lost = Some(Box::new(error));
            }
            return Ok(());
        }
        let mut told = self.batch == Batch::Failed && self.expected.is_empty();
        let owed = self.expected.take();
        self.record_lost(&owed, &error.code);
        let replies = owed.iter().filter(|expect| !matches!(expect, Expect::CopyEnd));
        let replies: Vec<_> = replies.map(Expect::ends_with_ready).collect();
        for expect in owed.into_iter().rev() {
            self.skipped(expect);
        }
        for ready in replies {
            if !std::mem::replace(&mut told, true) {
                self.say(&error);
            }
            if ready {
                message::ready_for_query(&mut self.out, b'I');
                told = false;
            }
        }
        if matches!(self.batch, Batch::Open | Batch::Failed) {
            if !told {
                self.say(&error);
            }
            self.batch = Batch::Refused;
        }
        Ok(())
    }
}
