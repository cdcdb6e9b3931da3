//! Texts that go on as others. `SET application_name`, where a template makes the name: the statement goes on with the name that
//! is made, so that at no moment PostgreSQL sees another.

use pgdog_jwt_guard::names::own_name;
use pgdog_jwt_guard::{Class, Effects, PgQuery};

use super::Session;
use crate::backend::settings::quote_literal;
use crate::wire::Header;
use crate::wire::frame::{self, HEADER_SIZE};

/// A Parse message with another text: what comes behind the statement's name.
pub(super) struct Renamed {
    pub(super) body: Vec<u8>,
    pub(super) text_size: usize,
}

impl Renamed {
    pub(super) fn text(&self) -> &[u8] {
        self.body.get(..self.text_size).unwrap_or_default()
    }
}

impl Session {
    /// The text to send in place of the one that begins `offset` bytes into the body of the message; `None` for all but a few.
    #[inline]
    pub(super) fn other_text(&mut self, class: Class, header: Header, offset: usize) -> Option<Vec<u8>> {
        const OTHER: Effects = Effects::of(&[Effects::OWN_NAME, Effects::REWRITTEN]);
        if !class.effects.intersects(OTHER) {
            return None;
        }
        if class.effects.intersects(Effects::REWRITTEN) {
            return Some(self.text_in_its_place(header, offset));
        }
        self.with_name(header, offset)
    }

    #[cold]
    fn with_name(&mut self, header: Header, offset: usize) -> Option<Vec<u8>> {
        self.person.as_ref()?;
        let body = self.input.bytes().get(HEADER_SIZE + offset..header.size)?;
        let text = body.split(|byte| *byte == 0).next().unwrap_or_default();
        let (own, is_local) = own_name(&PgQuery, text)?;
        let person = self.person.as_mut()?;
        let name = person.name(&own);
        let scope = if is_local { "LOCAL" } else { "SESSION" };
        let text = format!("SET {scope} application_name TO {}", quote_literal(&name));
        person.sends(name);
        Some(text.into_bytes())
    }

    /// The same for a Parse whose statement has a name of `name_size` and a text of `text_size` bytes.
    pub(super) fn parse_with_other_text(
        &mut self,
        class: Class,
        header: Header,
        name_size: usize,
        text_size: usize,
    ) -> Option<Renamed> {
        let text = self.other_text(class, header, name_size + 1)?;
        Some(self.parse_with_text(&text, header, name_size, text_size))
    }

    /// The same Parse with another text, of which the types of the parameters stay.
    pub(super) fn parse_with_text(&self, text: &[u8], header: Header, name_size: usize, text_size: usize) -> Renamed {
        let types = self.input.bytes().get(HEADER_SIZE + name_size + 1 + text_size..header.size);
        Renamed { body: [text, types.unwrap_or_default()].concat(), text_size: text.len() }
    }

    /// Sends a Parse with another text.
    pub(super) fn forward_renamed_parse(&mut self, header: Header, name_size: usize, renamed: &Renamed) {
        let start = frame::begin(&mut self.requests, b'P');
        let name = self.input.bytes().get(HEADER_SIZE..HEADER_SIZE + name_size + 1);
        self.requests.extend_from_slice(name.unwrap_or_default());
        self.requests.extend_from_slice(&renamed.body);
        frame::end(&mut self.requests, start);
        self.discard(header.size);
    }

    /// A statement that was prepared with a name that is made is about to run.
    #[inline]
    pub(super) fn note_name(&mut self, class: Class, text: impl FnOnce(&Self) -> Vec<u8>) {
        if self.person.is_none() || !class.effects.intersects(Effects::OWN_NAME) {
            return;
        }
        let made = own_name(&PgQuery, &text(self)).map(|(name, _)| name);
        if let (Some(person), Some(name)) = (&mut self.person, made) {
            person.sends(name);
        }
    }
}
