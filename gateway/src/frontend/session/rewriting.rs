//! Statements that are sent otherwise than they were written: see [`pgdog_jwt_guard::Rewritten`]. Only the text that the guard
//! would refuse costs anything here.
//!
//! An error that PostgreSQL has for the other text says no position, because the client has another one.

use pgdog_jwt_guard::{Class, Effects, Rewritten};

use super::Session;
use super::pending::{Instead, Pending};
use super::requests::REFUSED_SQL;
use crate::app::worker;
use crate::wire::frame::HEADER_SIZE;
use crate::wire::{ErrorFields, Header};

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
        match rewritten? {
            Rewritten::Text(text, class) => Some((text, class)),
        }
    }

    /// What the client hears of a simple query that was sent otherwise.
    #[inline]
    pub(super) fn instead_of(&mut self, class: Class) -> Option<Box<Instead>> {
        class.effects.intersects(Effects::REWRITTEN).then(|| Box::new(Instead::Rewritten))
    }

    /// The Parse that was sent last had another text.
    #[cold]
    pub(super) fn parsed_otherwise(&mut self) {
        self.has_rewritten = true;
        if let Some(Pending::Parse(parse)) = self.conversation.iter_mut().next_back() {
            parse.is_rewritten = true;
        }
    }

    /// The body of an error without the position, where that is one in a text that the client has not sent.
    pub(super) fn without_position(&self, body: &[u8]) -> Option<Vec<u8>> {
        let elsewhere = match self.conversation.front()? {
            Pending::Query { instead, .. } => matches!(instead.as_deref(), Some(Instead::Rewritten)),
            Pending::Parse(parse) => parse.is_rewritten,
            // PostgreSQL looks at a statement anew where a table has changed.
            Pending::Bind(..) | Pending::Describe(_) | Pending::Execute(..) => self.has_rewritten,
            _ => false,
        };
        if elsewhere { ErrorFields::without_position(body) } else { None }
    }
}
