//! Statements that are sent otherwise than they were written: see [`pgdog_jwt_guard::Rewritten`]. Only the text that the guard
//! would refuse costs anything here.
//!
//! An error that PostgreSQL has for the other text says no position, because the client has another one.

use std::fmt::Write;

use pgdog_jwt_guard::{Class, Effects, Refusal, Rewritten, Role, Verdict};

use super::Session;
use super::pending::{Instead, Pending};
use super::requests::REFUSED_SQL;
use super::special::Special;
use crate::app::worker;
use crate::backend::settings::quote_literal;
use crate::wire::frame::HEADER_SIZE;
use crate::wire::{ErrorFields, Header, Severity};

/// How a statement completes that was sent otherwise, where PostgreSQL says something else of the other text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Completes {
    Reset,
    Extension,
}

impl Completes {
    pub(super) fn of(class: Class) -> Option<Self> {
        if class.effects.intersects(Effects::AS_EXTENSION) {
            return Some(Self::Extension);
        }
        class.effects.intersects(Effects::AS_RESET).then_some(Self::Reset)
    }

    /// Of CommandComplete.
    pub(super) fn tag(self) -> &'static str {
        match self {
            Self::Reset => "RESET",
            Self::Extension => "CREATE EXTENSION",
        }
    }
}

/// A constant that a server reads in whatever encoding.
fn literal(value: &str) -> String {
    if value.is_ascii() {
        return quote_literal(value);
    }
    let mut literal = String::from("U&'");
    for character in value.chars() {
        match character {
            '\'' | '\\' => literal.extend([character, character]),
            ' '..='~' => literal.push(character),
            other => _ = write!(literal, "\\+{:06x}", u32::from(other)),
        }
    }
    literal + "'"
}

/// PostgreSQL's notice, where the extension exists; otherwise the guard's refusal. The block holds nothing of the client's but a name.
fn notice_of_extension(name: &str, refusal: &Refusal) -> String {
    let (message, hint) = (quote_literal(refusal.message), quote_literal(refusal.hint));
    format!(
        "DO $pgdog_jwt$BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_extension e WHERE e.extname OPERATOR(pg_catalog.=) '{name}') \
         THEN RAISE NOTICE USING ERRCODE = '42710', MESSAGE = 'extension \"{name}\" already exists, skipping'; \
         ELSE RAISE EXCEPTION USING ERRCODE = '{}', MESSAGE = {message}, HINT = {hint}; END IF; END$pgdog_jwt$",
        refusal.sqlstate
    )
}

impl Session {
    /// The class of what is sent in the place of a text that would be refused. `None`: it is refused.
    #[cold]
    pub(super) fn class_in_its_place(&self, class: Class, header: Header, offset: usize) -> Option<Class> {
        if !class.effects.intersects(Effects::REWRITTEN) {
            return None;
        }
        let (_, class) = self.in_its_place(header, offset)?;
        Some(Class { effects: class.effects | Effects::REWRITTEN, ..class })
    }

    /// The text that is sent in the place of the one that begins `offset` bytes into the body of the message.
    #[cold]
    pub(super) fn text_in_its_place(&self, header: Header, offset: usize) -> Vec<u8> {
        // It was there when the class was asked for.
        self.in_its_place(header, offset).map_or_else(|| REFUSED_SQL.to_vec(), |(text, _)| text)
    }

    fn in_its_place(&self, header: Header, offset: usize) -> Option<(Vec<u8>, Class)> {
        let body = self.input.bytes().get(HEADER_SIZE + offset..header.size)?;
        let text = body.split(|byte| *byte == 0).next()?;
        let rewritten =
            worker::with_classifier(&self.generation, self.rules.watch, |classifier| classifier.rewritten(text));
        let rewritten = rewritten?;
        let class = rewritten.class(self.classify(text));
        match rewritten {
            Rewritten::Text(text, class) => Some((text, class)),
            Rewritten::Role(role) => Some((self.own_role(&role)?.into_bytes(), class)),
            Rewritten::Extension(name) => {
                Some((notice_of_extension(&name, self.refusal_of(text)?).into_bytes(), class))
            }
        }
    }

    fn refusal_of(&self, text: &[u8]) -> Option<&'static Refusal> {
        match self.classify(text).verdict {
            Verdict::Refuse(refusal) | Verdict::Rewrite(refusal) => Some(refusal),
            Verdict::Allow | Verdict::Barrier => None,
        }
    }

    /// What is sent for a statement that makes the session a role, where that is its own. Never what the client wrote: in a
    /// shared pool that may lead to the account which has logged in.
    fn own_role(&self, statement: &Role) -> Option<String> {
        let own = self.pools.identity().role.as_ref()?;
        if statement.role.as_ref().is_some_and(|role| role != own) {
            return None;
        }
        let role = literal(own);
        Some(match statement {
            Role { is_call: true, is_local, .. } => format!("SELECT pg_catalog.set_config('role', {role}, {is_local})"),
            Role { is_local: true, .. } => format!("SET LOCAL ROLE {role}"),
            // Another text, as it completes otherwise: texts stand for statements.
            Role { is_reset: true, .. } => format!("SET SESSION ROLE {role}"),
            _ => format!("SET ROLE {role}"),
        })
    }

    /// What the client hears of a simple query that was sent otherwise.
    #[cold]
    pub(super) fn instead_of(&mut self, class: Class) -> Option<Box<Instead>> {
        if !class.effects.intersects(Effects::REWRITTEN) {
            return None;
        }
        let completes = Completes::of(class);
        self.reads_tags |= completes.is_some();
        Some(Box::new(Instead::Rewritten(completes)))
    }

    /// The Parse that was sent last had another text.
    #[cold]
    pub(super) fn parsed_otherwise(&mut self) {
        self.has_rewritten = true;
        if let Some(Pending::Parse(parse)) = self.conversation.iter_mut().next_back() {
            parse.is_rewritten = true;
        }
    }

    /// The body of an error without what it says of a text that the client has not sent: its position, its context.
    pub(super) fn without_other_text(&self, body: &[u8]) -> Option<Vec<u8>> {
        let front = self.conversation.front()?;
        let completes = match front {
            Pending::Query { instead: Some(instead), .. } => match **instead {
                Instead::Rewritten(completes) => completes,
                _ => None,
            },
            Pending::Execute(_, Some(Special::Completes(completes)), _) => Some(*completes),
            _ => None,
        };
        if completes == Some(Completes::Extension) {
            let mut whole = Vec::with_capacity(body.len());
            ErrorFields::parse(body).into_error(Severity::Error).write(&mut whole);
            return Some(whole.split_off(HEADER_SIZE));
        }
        let elsewhere = match front {
            Pending::Query { instead, .. } => matches!(instead.as_deref(), Some(Instead::Rewritten(_))),
            Pending::Parse(parse) => parse.is_rewritten,
            // PostgreSQL looks at a statement anew where a table has changed.
            Pending::Bind(..) | Pending::Describe(_) | Pending::Execute(..) => self.has_rewritten,
            _ => false,
        };
        if elsewhere { ErrorFields::without_position(body) } else { None }
    }
}
