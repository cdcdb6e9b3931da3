//! Statements of the gateway's own that say something of somebody. The text of a statement can be read by others of the same
//! account (`pg_stat_activity`), so it is the same for everybody: what is somebody's (roles, claims, proofs, settings, nonces)
//! goes as parameters.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use super::connection::Connection;
use super::settings::quote_literal;

/// Until the end of the transaction the server reads and writes UTF-8, whatever the session has chosen. Outside of a
/// transaction block `SET LOCAL` would do the same, with a warning.
pub(super) const READABLE: &str = "SELECT pg_catalog.set_config('client_encoding','UTF8',true)";

impl Connection {
    /// Whether the server would read other characters in one of these, in the encoding that the session has chosen.
    pub(crate) fn misreads(&self, statements: &[Sql<'_>]) -> bool {
        !self.is_utf8() && !statements.iter().all(Sql::is_ascii)
    }

    /// Whether text is UTF-8 on this connection.
    pub(super) fn is_utf8(&self) -> bool {
        self.parameter("client_encoding").is_none_or(|encoding| encoding == "UTF8")
    }

    /// A statement that ends what [`READABLE`] has begun in a transaction that goes on.
    pub(crate) fn encoding_again(&self) -> Sql<'static> {
        let encoding = self.parameter("client_encoding").unwrap_or("UTF8");
        Sql::of(format!("SELECT pg_catalog.set_config('client_encoding',{},true)", quote_literal(encoding)))
    }
}

/// One statement and the values of its parameters, which may be secrets.
pub(crate) struct Sql<'a> {
    text: Cow<'static, str>,
    values: Vec<Cow<'a, str>>,
}

impl<'a> Sql<'a> {
    /// A statement that begins with this text.
    pub(super) fn new(text: &str) -> Self {
        let mut whole = String::with_capacity(text.len() + 256);
        whole.push_str(text);
        Self { text: whole.into(), values: Vec::with_capacity(16) }
    }

    /// One that is this text, which is nobody's.
    pub(super) fn of(text: impl Into<Cow<'static, str>>) -> Self {
        Self { text: text.into(), values: Vec::new() }
    }

    /// More of the text, which is nobody's.
    pub(super) fn push(&mut self, text: &str) -> &mut Self {
        self.text.to_mut().push_str(text);
        self
    }

    /// A parameter in its place in the text.
    pub(super) fn value(&mut self, value: impl Into<Cow<'a, str>>) -> &mut Self {
        self.values.push(value.into());
        let text = self.text.to_mut();
        text.push('$');
        push_number(text, self.values.len());
        self
    }

    /// The same, which the server reads as it is in whatever encoding the session has by then.
    pub(super) fn value_in_any_encoding(&mut self, value: &'a str) -> &mut Self {
        if value.is_ascii() {
            return self.value(value);
        }
        let mut digits = String::with_capacity(2 * value.len());
        value.bytes().for_each(|byte| _ = write!(digits, "{byte:02x}"));
        self.push("pg_catalog.convert_from(pg_catalog.decode(").value(digits).push(",'hex'),'UTF8')")
    }

    /// Sets a setting for the session, as one of the expressions of a SELECT.
    pub(super) fn set(&mut self, name: &'a str, value: &'a str) -> &mut Self {
        self.push("pg_catalog.set_config(").value(name).push(",").value(value).push(",false)")
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn values(&self) -> Vec<&str> {
        self.values.iter().map(|value| &**value).collect()
    }

    /// Whether a server reads it the same in every encoding.
    pub(super) fn is_ascii(&self) -> bool {
        self.text.is_ascii() && self.values.iter().all(|value| value.is_ascii())
    }
}

fn push_number(text: &mut String, number: usize) {
    if number >= 10 {
        push_number(text, number / 10);
    }
    text.push(char::from(b'0' + (number % 10) as u8));
}

/// For people: with the values in their places, as SQL would have them.
impl fmt::Display for Sql<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = self.text.split('$');
        f.write_str(parts.next().unwrap_or_default())?;
        for part in parts {
            let digits = part.bytes().take_while(u8::is_ascii_digit).count();
            let (number, rest) = part.split_at(digits);
            let value = number.parse().ok().and_then(|number: usize| self.values.get(number.checked_sub(1)?));
            write!(f, "{}{rest}", quote_literal(value.map_or("", |value| value)))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_be_read_in_any_encoding() {
        let mut sql = Sql::new("SELECT ");
        sql.value_in_any_encoding("Zoe").push(",").value_in_any_encoding("Zoë");
        assert_eq!(sql.text(), "SELECT $1,pg_catalog.convert_from(pg_catalog.decode($2,'hex'),'UTF8')");
        assert_eq!(sql.values(), ["Zoe", "5a6fc3ab"]);
    }

    #[test]
    fn values_are_numbered_and_not_in_the_text() {
        let mut sql = Sql::new("SELECT ");
        sql.set("app.tenant", "acme").push(",").set("a", "b");
        assert_eq!(sql.text(), "SELECT pg_catalog.set_config($1,$2,false),pg_catalog.set_config($3,$4,false)");
        assert_eq!(sql.values(), ["app.tenant", "acme", "a", "b"]);
        assert_eq!(
            sql.to_string(),
            "SELECT pg_catalog.set_config('app.tenant','acme',false),pg_catalog.set_config('a','b',false)"
        );
        assert!(sql.is_ascii() && !Sql::new("").value("é").is_ascii());
    }
}
