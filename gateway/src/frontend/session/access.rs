//! What a statement is to the gateway: whether the guard lets it pass, and on which server it may run.

use pgdog_jwt_guard::{
    Access, Class, PgQuery, Refusal, SyntaxError, TOO_LONG, Transaction, Verdict, side, syntax_error,
};

use super::requests::{Next, Step};
use super::{End, Session};
use crate::app::worker;
use crate::config::PoolerMode;
use crate::dialect::ROLE_SETTING;
use crate::wire::fields::Fields;
use crate::wire::frame::HEADER_SIZE;
use crate::wire::{Header, PgError, ProtocolViolation};

impl Session {
    /// Classifies the text that starts `offset` bytes into the body of a message. The inner error is a reason to wait.
    pub(super) fn class_of_message(&mut self, header: Header, offset: usize) -> Result<Result<Class, Step>, End> {
        if !self.rules.reads_sql {
            return Ok(Ok(Class::UNKNOWN));
        }
        if header.size > self.rules.max_statement {
            if self.rules.guarded {
                return Ok(Ok(Class { verdict: Verdict::Refuse(&TOO_LONG), ..Class::UNKNOWN }));
            }
            return Ok(Ok(Class::UNKNOWN));
        }
        if !self.whole(header) {
            return Ok(Err(Step::Wait(Next::Input)));
        }
        let body = self.input.bytes().get(HEADER_SIZE + offset..header.size).unwrap_or_default();
        let text = Fields(body).cstr().ok_or(ProtocolViolation::Malformed(char::from(header.tag)))?;
        Ok(Ok(self.classify(text)))
    }

    #[inline]
    pub(super) fn classify(&self, text: &[u8]) -> Class {
        worker::with_classifier(&self.generation, self.rules.watch, |classifier| classifier.classify(text))
    }

    /// Why a text is refused, at least as it is.
    #[inline]
    pub(super) fn refusal(&self, class: Class) -> Option<&'static Refusal> {
        match class.verdict {
            Verdict::Refuse(refusal) | Verdict::Rewrite(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Where a statement that starts a transaction, or is one, may run.
    pub(super) fn access(&self, class: Class) -> Access {
        self.side(class).unwrap_or(Access::Write)
    }

    /// The same; `None` for what leaves the choice to the statements that come with it.
    pub(super) fn side(&self, class: Class) -> Option<Access> {
        if self.rules.mode == PoolerMode::Session {
            return Some(Access::Write);
        }
        let chosen = class.wish.or_else(|| self.settings.get(ROLE_SETTING).and_then(side));
        chosen.or(match class.transaction {
            Transaction::None => Some(self.as_isolated(class.access)),
            Transaction::Begin { side: Some(side), .. } => Some(self.as_isolated(side)),
            Transaction::Begin { .. } if self.rules.first_statement_decides => None,
            Transaction::End => None,
            _ => Some(Access::Write),
        })
    }

    /// Replicas do not know the level that a session may have made its default (PostgreSQL documentation, section "Caveats"
    /// of "Concurrency Control").
    fn as_isolated(&self, access: Access) -> Access {
        let level = self.settings.get("default_transaction_isolation");
        match access {
            Access::Read if level.is_some_and(|level| level.eq_ignore_ascii_case("serializable")) => Access::Write,
            access => access,
        }
    }

    /// The error for the message that is next in the input, which the guard refuses; its text begins `offset` bytes into the
    /// body. It is recorded, unless PostgreSQL would not take it either.
    pub(super) fn refuse_by_guard(&self, refusal: &Refusal, header: Header, offset: usize) -> PgError {
        let here = header.size.min(self.input.len());
        let body = self.input.bytes().get(HEADER_SIZE + offset..here);
        let text = body.map(|body| Fields(body).cstr().unwrap_or(body));
        if let Some(error) = text.filter(|_| refusal.is_about_syntax()).and_then(mistake) {
            self.record_mistake(text, &error.code);
            return error;
        }
        let error = refused(refusal);
        self.record_refused(text, &error.code, refusal.message);
        error
    }
}

/// What PostgreSQL says of a text that is not its grammar, where that is known: a mistake of the client's, and no refusal.
fn mistake(text: &[u8]) -> Option<PgError> {
    let SyntaxError { sqlstate, message, position } = syntax_error(&PgQuery, text)?;
    Some(PgError::error(sqlstate, message).position(position))
}

/// The error that a client hears for a refused statement.
pub(super) fn refused(refusal: &Refusal) -> PgError {
    PgError::error(refusal.sqlstate, refusal.message).hint(refusal.hint)
}
