//! Errors of the server, and the loss of it: what does not come any more, and what the client hears instead.

use tracing::warn;

use pgdog_jwt_protocol::{Batch, Failed, Received};

use super::assertion::changed_role;
use super::forgetting::Forgetting;
use super::pending::{Instead, Pending, Undo};
use super::replies::{Fate, desynchronized, lost};
use super::{End, Session};
use crate::backend::statements;
use crate::config::PoolerMode;
use crate::wire::frame::{self, HEADER_SIZE};
use crate::wire::{ErrorFields, Header, PgError, Severity, message};

impl Session {
    /// An error of the server: what the client hears, and what does not come any more.
    pub(super) fn error(&mut self, body: &[u8]) -> Fate {
        let is_last_word = ErrorFields::severity(body).is_some_and(|name| name == b"FATAL" || name == b"PANIC");
        if is_last_word {
            return Fate::Lost(Box::new(ErrorFields::parse(body).into_error(Severity::Error)));
        }
        self.registration.meter.server_error(body);
        let renamed = self.with_own_names(body);
        let renamed = self.without_other_text(renamed.as_deref().unwrap_or(body)).or(renamed);
        self.note_changed_result(body);
        self.record_error(body);
        match (self.failed(renamed.as_deref().unwrap_or(body)), renamed) {
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
        let id = match self.conversation.front() {
            Some(Pending::Bind(Some((_, id)), _)) => *id,
            Some(Pending::Describe(Some(described))) => described.1.id,
            _ => return,
        };
        if ErrorFields::is_changed_result(body) {
            statements::retire(id);
            if let Some(server) = &mut self.server {
                server.held().doubt(id);
            }
        }
    }

    /// What an error does to the requests that wait for their replies.
    pub(super) fn failed(&mut self, body: &[u8]) -> Fate {
        match self.conversation.received(b'E') {
            Ok(Received::Failing) => {
                self.forgetting.undo();
                match self.conversation.front_mut() {
                    Some(Pending::Query { instead, .. }) => match instead.take().map(|instead| *instead) {
                        Some(Instead::Refusal(refusal)) => Fate::Replace(Box::new(refusal)),
                        _ => Fate::Forward,
                    },
                    Some(Pending::OwnSync { .. }) => self.fail_own_sync(body),
                    _ => Fate::Forward,
                }
            }
            Ok(Received::Failed(Failed { failed, skipped })) => self.fail_batch(failed, skipped),
            Ok(Received::BatchFailed) => {
                self.forgetting.undo();
                self.forgetting.is_sent = false;
                Fate::Forward
            }
            Ok(Received::Doubtful) => {
                self.forgetting.undo();
                self.doubt(body)
            }
            Ok(_) => Fate::Lost(Box::new(lost("an error that is none"))),
            Err(desync) => desynchronized(desync),
        }
    }

    /// The transaction of a batch could not be committed. For the client that is an error in the middle of its batch, or of the
    /// simple request that ends it, which waits.
    fn fail_own_sync(&mut self, body: &[u8]) -> Fate {
        match (self.simple_request(), self.conversation.front_mut()) {
            (Some(next), Some(Pending::OwnSync { fails_next })) => {
                *fails_next = true;
                self.record_answered(next, Some(&ErrorFields::parse(body).code));
            }
            _ => self.refused = true,
        }
        Fate::Forward
    }

    /// PostgreSQL discards the rest of the batch: its replies will not come.
    fn fail_batch(&mut self, mut failed: Pending, skipped: Vec<Pending>) -> Fate {
        self.forgetting.undo();
        if self.conversation.open() <= 1 {
            self.forgetting.is_sent = false;
        }
        if matches!(self.conversation.front(), Some(Pending::OwnSync { .. })) {
            // For the client the batch goes on to a Sync of its own.
            self.refused = true;
        }
        for pending in skipped.into_iter().rev() {
            self.skipped(pending);
        }
        let replacement = match &mut failed {
            Pending::Parse(parse) => {
                if let Some(change) = parse.unnamed.take() {
                    self.failed_unnamed(&change, parse.own);
                }
                parse.refusal.take()
            }
            // In a transaction that had failed before, PostgreSQL answers nothing.
            Pending::Assertion if self.server.as_ref().is_none_or(|server| server.status() != b'E') => {
                Some(Box::new(changed_role()))
            }
            _ => None,
        };
        match &mut failed {
            Pending::Parse(parse) => {
                if let Some(mark) = parse.marks.take() {
                    self.unmark_name(mark, true);
                }
            }
            // A portal that has failed cannot be run again.
            Pending::Execute(_, _, portal) => *portal = None,
            _ => {}
        }
        self.skipped(failed);
        replacement.map_or(Fate::Forward, Fate::Replace)
    }

    /// A request has not been carried out: what the gateway did ahead of the answer is undone.
    pub(super) fn skipped(&mut self, mut expect: Pending) {
        let marks = match &mut expect {
            Pending::Parse(parse) => parse.marks.take(),
            Pending::Close(close) => close.marks.take(),
            _ => None,
        };
        if let Some(mark) = marks {
            self.unmark_name(mark, false);
        }
        let portal = match &mut expect {
            Pending::Bind(_, Some(bound)) => bound.portal.take(),
            Pending::Execute(_, _, portal) => portal.take().map(|portal| *portal),
            _ => None,
        };
        if let Some(mark) = portal {
            self.unmark_portal(mark);
        }
        let (undo, unnamed, held) = match expect {
            Pending::Reply(_, undo) => (undo.map(|undo| *undo), None, 0),
            Pending::Parse(parse) => (parse.undo, parse.unnamed, parse.statement),
            Pending::Close(close) => (None, close.unnamed, close.own.unwrap_or(0)),
            Pending::Query { unnamed, .. } => (None, unnamed, 0),
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
        let status = server.status();
        self.registration.meter.lost();
        drop(server);
        if std::mem::take(&mut self.is_ready_due) {
            // Its request was carried out: only what the gateway would have done next was not.
            self.flush_forward_into_out();
            message::ready_for_query(&mut self.out, status);
        }
        warn!(
            event = "server_lost",
            user = self.who.user(),
            database = self.pools.key.database,
            reason = %error.message,
            "server lost"
        );
        self.answer_owed(error, status != b'I')
    }

    /// Answers everything that a server owed with an error.
    pub(super) fn answer_owed(&mut self, error: PgError, in_transaction: bool) -> Result<(), End> {
        self.requests.clear();
        self.requests_at = 0;
        self.carry.clear();
        self.asked_at = None;
        self.transaction_since = None;
        self.forgetting = Forgetting::default();
        self.special_names.clear_portals();
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
        self.held_cancel = None;
        self.provided.clear();
        self.ran_in_batch = false;
        self.unasserted = None;
        if self.conversation.is_idle() {
            if in_transaction {
                self.lost = Some(Box::new(error));
            }
            return Ok(());
        }
        let batch = self.conversation.batch();
        let owed = self.conversation.lost();
        let mut told = batch == Batch::Skipping && owed.is_empty();
        self.record_lost(owed.iter().map(|(pending, _)| pending), &error.code);
        let own_sync = owed.iter().find_map(|(pending, _)| match pending {
            Pending::OwnSync { fails_next } => Some(*fails_next),
            _ => None,
        });
        let mut readies = Vec::with_capacity(owed.len());
        for (pending, ready) in owed.into_iter().rev() {
            if !matches!(pending, Pending::OwnSync { .. }) {
                readies.push(ready);
            }
            self.skipped(pending);
        }
        for ready in readies.into_iter().rev() {
            if !std::mem::replace(&mut told, true) {
                self.say(&error);
            }
            if ready {
                message::ready_for_query(&mut self.out, b'I');
                told = false;
            }
        }
        if own_sync.is_some() || batch != Batch::None {
            if !told && own_sync != Some(true) {
                self.say(&error);
            }
            // A simple request that waits for the gateway's own Sync ends the batch that has failed.
            match self.simple_request().filter(|_| own_sync.is_some()) {
                Some(next) => {
                    message::ready_for_query(&mut self.out, b'I');
                    self.forget_unnamed();
                    self.discard(next.size);
                }
                None => self.refused = true,
            }
        }
        Ok(())
    }

    /// The simple request that is next in the input.
    fn simple_request(&self) -> Option<Header> {
        Header::parse(self.input.bytes()).ok().flatten().filter(|next| matches!(next.tag, b'Q' | b'F'))
    }
}
