//! Requests about the session's token, in simple queries and in the extended protocol. The gateway answers them itself, in
//! their place among the replies. A token goes no further than here: no server, no log, no error and no memory of
//! statements hears of it.
//!
//! They take effect at once, so they have no place in a transaction, whose end might take them back, nor behind other
//! requests of a batch, which is such a transaction.

use pgdog_jwt::config::Secret;
use pgdog_jwt_guard::PgQuery;
use pgdog_jwt_guard::names::deallocated_name;

use super::own_statements::{Portal, Says};
use super::requests::{Next, Step};
use super::{End, Session};
use crate::dialect::own_setting;
use crate::wire::fields::Fields;
use crate::wire::frame::{self, HEADER_SIZE};
use crate::wire::{Header, PgError, ProtocolViolation, message};
use pgdog_jwt_protocol::Batch;

const PARSE_COMPLETE: &[u8] = b"1\0\0\0\x04";
const BIND_COMPLETE: &[u8] = b"2\0\0\0\x04";
const CLOSE_COMPLETE: &[u8] = b"3\0\0\0\x04";
const NO_DATA: &[u8] = b"n\0\0\0\x04";

/// `text` (PostgreSQL documentation, system catalog `pg_type`).
const TEXT: u32 = 25;

impl Session {
    /// Deals with a request that is about the token; `None`: it is not.
    #[inline]
    pub(super) fn own_request(&mut self, header: Header) -> Result<Option<Step>, End> {
        let concerns = match header.tag {
            b'Q' | b'P' => true,
            b'B' | b'D' | b'E' | b'C' | b'S' => self.own.is_some(),
            _ => false,
        };
        if !concerns || header.size > self.rules.max_own_request {
            return Ok(None);
        }
        if !self.whole(header) {
            return Ok(Some(Step::Wait(Next::Input)));
        }
        match header.tag {
            b'Q' => self.own_query(header),
            b'P' => self.own_parse(header),
            b'B' => self.own_bind(header),
            b'S' => {
                self.own.iter_mut().for_each(|own| own.close_portals());
                Ok(None)
            }
            _ => self.own_other(header),
        }
    }

    pub(super) fn own_body(&self, header: Header) -> Fields<'_> {
        Fields(self.input.bytes().get(HEADER_SIZE..header.size).unwrap_or_default())
    }

    fn own_query(&mut self, header: Header) -> Result<Option<Step>, End> {
        let text = self.own_body(header).cstr().ok_or(ProtocolViolation::Malformed('Q'))?;
        let Some(setting) = own_setting(text) else {
            return Ok(if self.own.is_some() { self.own_deallocate(header) } else { None });
        };
        if let Some(step) = self.not_now(header) {
            return Ok(Some(step));
        }
        let step = match Says::of(setting) {
            Err(error) => self.answer(header, &error),
            Ok((Says::SetConfig { parameter: true }, _)) => {
                self.answer(header, &PgError::error("42P02", "there is no parameter $1"))
            }
            Ok((says, _)) if says.renews() => Step::Wait(Next::Renewal),
            Ok((says, _)) => {
                self.own_result(says, true);
                self.drop_request(header)
            }
        };
        Ok(Some(step))
    }

    /// `DEALLOCATE` of such a statement; a simple query ends the unnamed one and all portals.
    fn own_deallocate(&mut self, header: Header) -> Option<Step> {
        const WORD: &[u8] = b"deallocate";
        let text = self.own_body(header).cstr()?.trim_ascii_start();
        let named = text.get(..WORD.len()).is_some_and(|word| word.eq_ignore_ascii_case(WORD));
        let name = if named { deallocated_name(&PgQuery, text) } else { None };
        let own = self.own.as_mut()?;
        own.close_portals();
        own.forget(b"");
        let is_own = name.as_ref().is_some_and(|name| own.says(name.as_bytes()).is_some());
        let name = name.filter(|_| is_own)?;
        if let Some(step) = self.not_now(header) {
            return Some(step);
        }
        self.own.as_mut()?.forget(name.as_bytes());
        self.flush_forward_into_out();
        message::command_complete(&mut self.out, "DEALLOCATE");
        message::ready_for_query(&mut self.out, b'I');
        Some(self.drop_request(header))
    }

    fn own_parse(&mut self, header: Header) -> Result<Option<Step>, End> {
        let mut body = self.own_body(header);
        let malformed = || ProtocolViolation::Malformed('P');
        let (name, text) = (body.cstr().ok_or_else(malformed)?, body.cstr().ok_or_else(malformed)?);
        let setting = own_setting(text);
        if setting.is_none() && self.own.is_none() {
            return Ok(None);
        }
        let name: Box<[u8]> = name.into();
        let Some(setting) = setting else {
            if let Some(own) = &mut self.own {
                own.forget(&name);
            }
            return Ok(None);
        };
        if let Some(step) = self.not_now(header) {
            return Ok(Some(step));
        }
        let (says, token) = match Says::of(setting) {
            Ok(said) => said,
            Err(error) => return Ok(Some(self.answer(header, &error))),
        };
        if !name.is_empty() && self.names.get(&name).is_some() {
            let text = format!("prepared statement \"{}\" already exists", String::from_utf8_lossy(&name));
            return Ok(Some(self.answer(header, &PgError::error("42P05", text))));
        }
        if name.is_empty() {
            self.forget_unnamed();
        }
        self.own.get_or_insert_default().prepare(&name, says, token);
        self.own_reply(PARSE_COMPLETE);
        Ok(Some(self.drop_request(header)))
    }

    fn own_bind(&mut self, header: Header) -> Result<Option<Step>, End> {
        let mut body = self.own_body(header);
        let malformed = || ProtocolViolation::Malformed('B');
        let portal: Box<[u8]> = body.cstr().ok_or_else(malformed)?.into();
        let name: Box<[u8]> = body.cstr().ok_or_else(malformed)?.into();
        let value = only_value(&mut body);
        let Some(own) = &mut self.own else { return Ok(None) };
        let Some(says) = own.says(&name) else {
            own.close_portal(&portal);
            return Ok(None);
        };
        if let Some(step) = self.not_now(header) {
            return Ok(Some(step));
        }
        let Some(own) = &mut self.own else { return Ok(None) };
        let token = match (says, value) {
            (Says::SetConfig { parameter: true }, Some(Some(value))) => Ok(Some(value)),
            (Says::SetConfig { parameter: true }, _) | (_, Some(Some(_)) | None) => {
                Err(PgError::error("08P01", "bind message supplies other parameters than the statement has"))
            }
            (says, _) if says.renews() => match own.take_token(&name) {
                Some(token) => Ok(Some(token)),
                None => Err(PgError::error("26000", "the token was presented already: prepare the statement again")),
            },
            _ => Ok(None),
        };
        Ok(Some(match token {
            Ok(token) => {
                own.bind(Portal { name: portal, says, token });
                self.own_reply(BIND_COMPLETE);
                self.drop_request(header)
            }
            Err(error) => self.answer(header, &error),
        }))
    }

    /// Describe, Execute, Close.
    fn own_other(&mut self, header: Header) -> Result<Option<Step>, End> {
        let mut body = self.own_body(header);
        let kind = if header.tag == b'E' { Some(b'P') } else { body.u8() };
        let (Some(kind), Some(name)) = (kind, body.cstr()) else {
            return Err(ProtocolViolation::Malformed(char::from(header.tag)).into());
        };
        let name: Box<[u8]> = name.into();
        let of_statement = kind == b'S';
        let Some(own) = &mut self.own else { return Ok(None) };
        let says = if of_statement { own.says(&name) } else { own.portal(&name).map(|portal| portal.says) };
        let Some(says) = says else { return Ok(None) };
        if let Some(step) = self.not_now(header) {
            return Ok(Some(step));
        }
        match header.tag {
            b'E' if says.renews() => return Ok(Some(Step::Wait(Next::Renewal))),
            b'E' => self.own_result(says, false),
            b'D' => self.own_description(says, of_statement),
            _ => {
                match &mut self.own {
                    Some(own) if of_statement => _ = own.forget(&name),
                    Some(own) => own.close_portal(&name),
                    None => {}
                }
                self.own = self.own.take().filter(|own| !own.is_empty());
                self.own_reply(CLOSE_COMPLETE);
            }
        }
        Ok(Some(self.drop_request(header)))
    }

    fn own_description(&mut self, says: Says, of_statement: bool) {
        self.flush_forward_into_out();
        if of_statement {
            let types: &[u32] = if says == (Says::SetConfig { parameter: true }) { &[TEXT] } else { &[] };
            let start = frame::begin(&mut self.out, b't');
            self.out.extend_from_slice(&(types.len() as u16).to_be_bytes());
            types.iter().for_each(|oid| self.out.extend_from_slice(&oid.to_be_bytes()));
            frame::end(&mut self.out, start);
        }
        match says.column() {
            Some(column) => row_description(&mut self.out, column),
            None => self.out.extend_from_slice(NO_DATA),
        }
    }

    /// The result of a statement, which never shows a token. `simple`: of a simple query.
    pub(super) fn own_result(&mut self, says: Says, simple: bool) {
        self.flush_forward_into_out();
        if let Some(column) = says.column() {
            if simple {
                row_description(&mut self.out, column);
            }
            // One column, empty.
            frame::push(&mut self.out, b'D', &[0, 1, 0, 0, 0, 0]);
        }
        message::command_complete(&mut self.out, says.tag());
        if simple {
            self.forget_unnamed();
            message::ready_for_query(&mut self.out, b'I');
        }
    }

    fn own_reply(&mut self, reply: &[u8]) {
        self.flush_forward_into_out();
        self.out.extend_from_slice(reply);
    }

    /// What to do with such a request before it is its turn, or in a place where it may not be.
    fn not_now(&mut self, header: Header) -> Option<Step> {
        let error = || {
            PgError::error(
                "25001",
                "\"pgdog_jwt.token\" cannot be used in a transaction block or behind other statements",
            )
            .hint("Renew the token between two transactions.")
        };
        if self.conversation.batch() == Batch::Open {
            return Some(self.refuse_in_place(header, error()));
        }
        if !self.is_quiet() || self.is_moving() {
            return Some(Step::Wait(Next::Quiet));
        }
        if let Some(lost) = self.lost.take() {
            return Some(self.answer(header, &lost));
        }
        self.in_transaction().then(|| self.refuse_in_place(header, error()))
    }

    /// Refuses a request where it stands, so that it fails the transaction as an error of PostgreSQL's own would.
    fn refuse_in_place(&mut self, header: Header, error: PgError) -> Step {
        if header.tag != b'Q' {
            return self.refuse(header, error);
        }
        if self.server.is_none() {
            return self.answer(header, &error);
        }
        self.refuse_query(header, error);
        Step::Done
    }
}

/// The values of a Bind, behind the names: none, or one text. `None`: anything else.
fn only_value(body: &mut Fields<'_>) -> Option<Option<Secret>> {
    let formats = body.u16()?;
    body.take(usize::from(formats) * 2)?;
    match body.u16()? {
        0 => Some(None),
        1 => {
            // A null is the length -1, which no message has room for.
            let size = usize::try_from(body.u32()?).ok()?;
            // Of a text, both formats are the same bytes.
            let value = std::str::from_utf8(body.take(size)?).ok()?;
            Some(Some(Secret::new(value)))
        }
        _ => None,
    }
}

/// One column of text.
fn row_description(out: &mut Vec<u8>, column: &str) {
    let start = frame::begin(out, b'T');
    out.extend_from_slice(&1u16.to_be_bytes());
    out.extend_from_slice(column.as_bytes());
    out.push(0);
    // No table, no column of it; the type, its size and modifier; text.
    out.extend_from_slice(&[0; 6]);
    out.extend_from_slice(&TEXT.to_be_bytes());
    out.extend_from_slice(&(-1i16).to_be_bytes());
    out.extend_from_slice(&(-1i32).to_be_bytes());
    out.extend_from_slice(&[0; 2]);
    frame::end(out, start);
}
