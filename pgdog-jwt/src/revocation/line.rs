//! One line of the file: a JSON object. Written by hand, by tools, or by another gateway; the last one may count those before
//! it, by which a file that is whole is known.

use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::entry::{Revocation, Target};
use super::moment::{format_moment, parse_moment};
use crate::claims;
use crate::json::parse_object;

/// The name in the line that ends a file.
const END: &str = "end_of_list";

/// What a line is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// One that revokes or withdraws.
    Entry(Line),
    /// The end of the file, with the number of such lines before it.
    End(usize),
}

/// What an entry says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) revocation: Revocation,
    pub(super) revoked_at: Option<SystemTime>,
    /// It takes back what lines before it say.
    pub(super) withdrawn: bool,
}

/// Reads a line; `None` for one that says nothing: blank, or a comment. What is wrong is said without repeating the line,
/// which may be anything.
pub(super) fn read(text: &[u8]) -> Result<Option<Said>, String> {
    let text = text.trim_ascii();
    if text.is_empty() || text.starts_with(b"#") {
        return Ok(None);
    }
    let mut object = parse_object(text).ok_or("it is not one JSON object, each name once")?;
    if let Some(count) = object.remove(END) {
        let count = count.as_u64().and_then(|count| usize::try_from(count).ok()).filter(|_| object.is_empty());
        return count
            .map(|count| Some(Said::End(count)))
            .ok_or_else(|| format!("\"{END}\" stands alone, with a number"));
    }
    let token = string(&mut object, "token_id")?;
    let subject = string(&mut object, "subject")?;
    let issuer = string(&mut object, "issuer")?;
    let issued_before = moment(&mut object, "issued_before")?;
    let expires_at = moment(&mut object, "expires")?;
    let revoked_at = moment(&mut object, "revoked")?;
    string(&mut object, "note")?;
    let withdrawn = match object.remove("withdrawn") {
        None => false,
        Some(Value::Bool(withdrawn)) => withdrawn,
        Some(_) => return Err("\"withdrawn\" must be true or false".to_owned()),
    };
    if !object.is_empty() {
        let known = "token_id, subject, issuer, issued_before, expires, revoked, note, withdrawn, end_of_list";
        return Err(format!("it has a name that is unknown; there are {known}"));
    }
    let target = match (token, subject) {
        (Some(_), Some(_)) => return Err("it has both \"token_id\" and \"subject\"".to_owned()),
        (Some(id), None) => Target::Token(id),
        (None, Some(name)) => Target::Subject(name),
        (None, None) => Target::All,
    };
    let revocation = Revocation::new(target, issuer, issued_before, expires_at).map_err(|error| error.to_string())?;
    Ok(Some(Said::Entry(Line { revocation, revoked_at, withdrawn })))
}

fn string(object: &mut Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match object.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("\"{name}\" must be a string")),
    }
}

/// A date as text, or as tokens have it.
fn moment(object: &mut Map<String, Value>, name: &str) -> Result<Option<SystemTime>, String> {
    let found = match object.get(name) {
        None => return Ok(None),
        Some(Value::String(text)) => parse_moment(text),
        Some(_) => claims::date(object, name).ok().flatten().and_then(|date| SystemTime::UNIX_EPOCH.checked_add(date)),
    };
    object.remove(name);
    let form = "must be a date such as \"2026-01-31T12:00:00Z\", or seconds since 1970";
    found.map(Some).ok_or_else(|| format!("\"{name}\" {form}"))
}

/// A line, with its end.
pub(super) fn write(revocation: &Revocation, revoked_at: Option<SystemTime>, withdrawn: bool) -> String {
    let mut object = Map::new();
    match revocation.target() {
        Target::Token(id) => object.insert("token_id".to_owned(), json!(id)),
        Target::Subject(name) => object.insert("subject".to_owned(), json!(name)),
        Target::All => None,
    };
    if let Some(issuer) = revocation.issuer() {
        object.insert("issuer".to_owned(), json!(issuer));
    }
    let moments = [
        ("issued_before", revocation.issued_before()),
        ("expires", revocation.expires_at().filter(|_| !withdrawn)),
        ("revoked", revoked_at),
    ];
    for (name, moment) in moments {
        if let Some(moment) = moment {
            object.insert(name.to_owned(), json!(format_moment(moment)));
        }
    }
    if withdrawn {
        object.insert("withdrawn".to_owned(), json!(true));
    }
    format!("{}\n", Value::Object(object))
}
