//! `set_config($1, …)`: a Parse is let through when its parameters are names of settings byte for byte, and each Bind is judged by
//! them (see [`pgdog_jwt_guard::ByParameter`]). What a portal sets is known from then on, so nothing is left for Execute.
//!
//! Where names follow the client, a Bind goes to the statement that the gateway writes into it. Where they are the server's own, the
//! session keeps a list of such statements ([`super::special`]), and SQL must not reach one: `EXECUTE` has arguments of its
//! own. So a session that has one has no `EXECUTE`, and the other way round. Where other sessions have the server too, only the
//! unnamed statement may be one, and the server is cleaned before another session gets it.

use std::ops::Range;

use pgdog_jwt_guard::{ByParameter, Class, Effects, MAX_PARAMETER_NAME, PgQuery, Refusal, Verdict, canonical};

use super::Session;
use super::access::refused;
use super::requests::{Next, Step};
use super::special::{Named, Special};
use super::unnamed::MAX_KEPT;
use crate::app::worker;
use crate::backend::statements::Statement;
use crate::config::PoolerMode;
use crate::dialect::{RESERVED_NAME, STATEMENT_PREFIX};
use crate::wire::fields::Fields;
use crate::wire::frame::HEADER_SIZE;
use crate::wire::{Header, PgError};

/// `EXECUTE` beside such a statement.
static EXECUTES: Refusal = Refusal {
    sqlstate: "42501",
    message: "permission denied to use EXECUTE beside a prepared statement of set_config with a parameter as a name",
    hint: "Send set_config as the unnamed statement, or bind prepared statements by the protocol alone. DISCARD ALL forgets both.",
};

/// A name of the server's own that other sessions find.
static NAMED: Refusal = Refusal {
    sqlstate: "42501",
    message: "permission denied to prepare set_config with a parameter as a name under a name that other sessions find",
    hint: "Send it as the unnamed statement, or set prepared_statements to \"extended\" or \"full\".",
};

/// Why the names in a Bind are not known.
#[derive(Debug, PartialEq, Eq)]
enum Unread {
    /// So many bytes must be here.
    Lacks(usize),
    /// The message says that it has more than it has.
    Malformed,
}

/// Names in a Bind; `None` is NULL.
type NamesRead<'m> = Vec<Option<&'m [u8]>>;

/// The names in what is here of a Bind's body of `size` bytes, behind the names of portal and statement. A message that has fewer
/// parameters has fewer names: PostgreSQL refuses it.
fn names_in(here: &[u8], size: usize, parameters: ByParameter) -> Result<NamesRead<'_>, Unread> {
    let bytes = |at: usize, count: usize| match at.checked_add(count) {
        Some(end) if end <= size => here.get(at..end).ok_or(Unread::Lacks(end)),
        _ => Err(Unread::Malformed),
    };
    let count = |at| bytes(at, 2).map(|two| Fields(two).u16().unwrap_or_default());
    let mut at = 2 + 2 * usize::from(count(0)?);
    let supplied = count(at)?;
    at += 2;
    let (mut names, mut next) = (Vec::new(), 1);
    for number in parameters.numbers().take_while(|number| *number <= supplied) {
        while next <= number {
            let length = Fields(bytes(at, 4)?).u32().unwrap_or_default();
            at += 4;
            let length = if length == u32::MAX { None } else { Some(length as usize) };
            if next == number {
                // Of a longer one it is enough to know that it is longer.
                names.push(length.map(|length| bytes(at, length.min(MAX_PARAMETER_NAME + 1))).transpose()?);
            }
            at = at.saturating_add(length.unwrap_or(0));
            next += 1;
        }
    }
    Ok(names)
}

impl Session {
    /// The class of a text that is not let through as it is, when another one is sent, or its Binds are judged. `Err`: the error for
    /// the Parse that is next in the input, which is recorded.
    #[cold]
    pub(super) fn class_of_parse(
        &self,
        refusal: &'static Refusal,
        class: Class,
        header: Header,
        name_size: usize,
        text_size: usize,
    ) -> Result<Class, PgError> {
        let offset = name_size + 1;
        let is_rewritten = class.effects.intersects(Effects::REWRITTEN);
        let sent = if is_rewritten { self.class_in_its_place(class, header, offset) } else { Some(class) };
        match sent.map(|sent| (sent, sent.verdict)) {
            Some((sent, Verdict::Allow | Verdict::Barrier)) => Ok(sent),
            Some((sent, Verdict::AtBind(_))) => {
                match self.refused_to_wait(header, name_size, text_size, is_rewritten) {
                    Err(()) => Err(self.refuse_by_guard(refusal, header, offset)),
                    Ok(Some(refusal)) => Err(self.refuse_by_guard(refusal, header, offset)),
                    Ok(None) => Ok(sent),
                }
            }
            _ => Err(self.refuse_by_guard(refusal, header, offset)),
        }
    }

    /// Why a statement may not wait for its Binds to be judged. `Err`: its parameters say too little.
    fn refused_to_wait(
        &self,
        header: Header,
        name_size: usize,
        text_size: usize,
        is_rewritten: bool,
    ) -> Result<Option<&'static Refusal>, ()> {
        let text = match is_rewritten {
            true => self.text_in_its_place(header, name_size + 1),
            false => self.text_of_parse(header, name_size, text_size),
        };
        let body = self.input.bytes().get(HEADER_SIZE..header.size).unwrap_or_default();
        let types = body.get(name_size + 1 + text_size + 1..).unwrap_or_default();
        let is_text = || ByParameter::of_text(&PgQuery, &text).is_some_and(|parameters| parameters.are_text(types));
        // A longer one is not kept, where it is the unnamed statement.
        if header.size > MAX_KEPT || !is_text() {
            return Err(());
        }
        let is_servers = !self.rules.follows_statements && name_size > 0;
        Ok(match self.rules.mode {
            PoolerMode::Session if is_servers && self.special_names.executes() => Some(&EXECUTES),
            PoolerMode::Transaction | PoolerMode::Statement if is_servers => Some(&NAMED),
            _ => None,
        })
    }

    /// A statement is prepared under a name of the server's own. Gives what is special about it; `None` when there is too much that is.
    #[cold]
    pub(super) fn special_by_parameter(&mut self, class: Class, name: &[u8], text: &[u8]) -> Option<Option<Special>> {
        if !self.rules.judges_parameters {
            return Some(self.special(class));
        }
        if class.effects.intersects(Effects::EXECUTES) {
            self.special_names.note_execute();
        }
        if !class.effects.intersects(Effects::BY_PARAMETER) {
            return Some(self.special(class));
        }
        if let Some(server) = &mut self.server {
            // Nobody else knows what lies there.
            server.mark_dirty();
        }
        self.special_names.note_parameters(ByParameter::of_text(&PgQuery, text)?, !name.is_empty()).map(Some)
    }

    /// The settings that the Bind which is next in the input names by its parameters, as PostgreSQL compares them: they are
    /// judged. `name`: where the name of its statement stands in the message, which is of this class; `found` that statement, if
    /// it has a name that follows the client. `Err`: what to do instead of sending it.
    #[inline]
    pub(super) fn settings_of_bind(
        &mut self,
        header: Header,
        name: Range<usize>,
        class: Class,
        found: Option<&Statement>,
    ) -> Result<Vec<String>, Step> {
        let may_name = match self.rules.follows_statements {
            true => class.effects.intersects(Effects::BY_PARAMETER) && (found.is_some() || name.is_empty()),
            false => {
                let name = self.input.bytes().get(name.clone()).unwrap_or_default();
                !self.special_names.is_empty() || name.starts_with(STATEMENT_PREFIX.as_bytes())
            }
        };
        if may_name && self.rules.judges_parameters {
            return self.judge_bind(header, name, found);
        }
        Ok(Vec::new())
    }

    /// Why a text with `EXECUTE` may not be sent.
    #[inline]
    pub(super) fn refused_execute(&self, class: Class) -> Option<&'static Refusal> {
        let executes = class.effects.intersects(Effects::EXECUTES);
        (executes && self.special_names.can_be_executed()).then_some(&EXECUTES)
    }

    #[cold]
    fn judge_bind(
        &mut self,
        header: Header,
        name: Range<usize>,
        found: Option<&Statement>,
    ) -> Result<Vec<String>, Step> {
        let at = name.end + 1;
        let text = match found {
            Some(statement) => Some(statement.text().to_vec()),
            None => self.rules.follows_statements.then(|| self.unnamed_text()),
        };
        let name = self.input.bytes().get(name).unwrap_or_default();
        let parameters = match &text {
            Some(text) => ByParameter::of_text(&PgQuery, text),
            None if name.starts_with(STATEMENT_PREFIX.as_bytes()) => {
                return Err(self.refuse_bind(header, &RESERVED_NAME, None));
            }
            None => match self.special_names.get(Named::Statement, name) {
                Some(Special::ByParameter(place)) => self.special_names.parameters(place),
                _ => return Ok(Vec::new()),
            },
        };
        let Some(parameters) = parameters else {
            let refusal = self.refusal(self.classify(text.as_deref().unwrap_or_default())).unwrap_or(&RESERVED_NAME);
            return Err(self.refuse_bind(header, refusal, text.as_deref()));
        };
        let here = self.input.bytes().get(at..header.size.min(self.input.len())).unwrap_or_default();
        let names = match names_in(here, header.size.saturating_sub(at), parameters) {
            Ok(names) => names,
            Err(Unread::Malformed) => {
                return Err(self.refuse(header, PgError::error("08P01", "insufficient data left in message")));
            }
            Err(Unread::Lacks(count)) if at + count > self.rules.max_statement => {
                let text = "parameters in front of the name of a setting are longer than the gateway reads";
                let error = PgError::error("54000", text)
                    .hint("Give set_config its names as the first parameters, or raise max_statement_size in [jwt].");
                return Err(self.refuse(header, error));
            }
            Err(Unread::Lacks(count)) => {
                self.input.make_room(at + count);
                return Err(Step::Wait(Next::Input));
            }
        };
        let judge = |name: &Option<&[u8]>| {
            worker::with_classifier(&self.generation, self.rules.watch, |classifier| {
                classifier.refused_parameter(*name)
            })
        };
        if let Some(refusal) = names.iter().find_map(judge) {
            return Err(self.refuse_bind(header, refusal, text.as_deref()));
        }
        let text = |name| std::str::from_utf8(name).map(|name| canonical(name).into_owned());
        Ok(names.into_iter().flatten().filter_map(|name| text(name).ok()).collect())
    }

    fn refuse_bind(&mut self, header: Header, refusal: &Refusal, text: Option<&[u8]>) -> Step {
        self.record_refused(text, refusal.sqlstate, refusal.message);
        self.refuse(header, refused(refusal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `set_config($2, …), set_config($4, …)`.
    fn parameters() -> ByParameter {
        ByParameter::of_text(&PgQuery, b"SELECT set_config($2, $1, true), set_config($4, $3, true)").unwrap()
    }

    fn body(formats: &[u16], values: &[Option<&[u8]>]) -> Vec<u8> {
        let mut body = (formats.len() as u16).to_be_bytes().to_vec();
        formats.iter().for_each(|format| body.extend_from_slice(&format.to_be_bytes()));
        body.extend_from_slice(&(values.len() as u16).to_be_bytes());
        for value in values {
            let length = value.map_or(u32::MAX, |value| value.len() as u32);
            body.extend_from_slice(&length.to_be_bytes());
            body.extend_from_slice(value.unwrap_or_default());
        }
        body.extend_from_slice(&[0, 0]);
        body
    }

    #[test]
    fn names_are_read_whatever_the_number_of_formats() {
        let values: [Option<&[u8]>; 4] = [Some(b"x"), Some(b"role"), None, Some(b"")];
        for formats in [&[][..], &[1], &[0, 1, 0, 1]] {
            let body = body(formats, &values);
            assert_eq!(names_in(&body, body.len(), parameters()), Ok(vec![Some(&b"role"[..]), Some(b"")]));
        }
    }

    #[test]
    fn a_null_is_no_name_and_what_is_missing_is_postgresqls_to_refuse() {
        let short = body(&[], &[Some(b"x"), None]);
        assert_eq!(names_in(&short, short.len(), parameters()), Ok(vec![None]));
        let none = body(&[], &[]);
        assert_eq!(names_in(&none, none.len(), parameters()), Ok(vec![]));
    }

    #[test]
    fn only_what_is_in_front_of_the_last_name_must_be_here() {
        let whole = body(&[0], &[Some(&[b'v'; 70]), Some(b"a"), Some(&[b'w'; 1000]), Some(b"b"), Some(&[0; 5000])]);
        let end = 4 + 2 + (4 + 70) + (4 + 1) + (4 + 1000) + (4 + 1);
        for here in 0..whole.len() {
            let read = names_in(&whole[..here], whole.len(), parameters());
            match read {
                Ok(names) => assert!(here >= end && names == [Some(&b"a"[..]), Some(b"b")], "{here}"),
                Err(Unread::Lacks(count)) => assert!(here < end && count > here && count <= end, "{here}: {count}"),
                Err(Unread::Malformed) => panic!("{here}"),
            }
        }
    }

    #[test]
    fn of_a_long_name_only_so_much_is_looked_at() {
        let whole = body(&[], &[Some(b"x"), Some(&[b'n'; 1 << 20])]);
        let enough = 4 + 5 + 4 + MAX_PARAMETER_NAME + 1;
        let names = names_in(&whole[..enough], whole.len(), parameters()).unwrap();
        assert_eq!(names, [Some(&[b'n'; MAX_PARAMETER_NAME + 1][..])]);
    }

    #[test]
    fn lengths_beyond_the_message_are_malformed() {
        let mut whole = body(&[], &[Some(b"x"), Some(b"role"), Some(b"y"), Some(b"z")]);
        whole[4..8].copy_from_slice(&0x7fff_ffff_u32.to_be_bytes());
        assert_eq!(names_in(&whole, whole.len(), parameters()), Err(Unread::Malformed));
        whole[4..8].copy_from_slice(&0xffff_fffe_u32.to_be_bytes());
        assert_eq!(names_in(&whole, whole.len(), parameters()), Err(Unread::Malformed));
        assert_eq!(names_in(b"\0", 1, parameters()), Err(Unread::Malformed));
    }
}
