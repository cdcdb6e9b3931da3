//! ErrorResponse, both ways: the errors that clients hear from the gateway, and the few fields that it reads of the
//! errors of PostgreSQL.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use super::fields::Fields;
use super::frame;

/// How bad it is for the session. PostgreSQL closes the connection after FATAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    /// Nothing has failed: these are written as a NoticeResponse.
    Notice,
    Warning,
    Error,
    Fatal,
}

impl Severity {
    fn name(self) -> &'static str {
        match self {
            Self::Notice => "NOTICE",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
        }
    }
}

/// The routine behind "cached plan must not change result type".
const CHANGED_RESULT: &str = "RevalidateCachedQuery";

/// An error as a client hears it. Its parts are boxed: whatever may fail waits, and is returned, in as little room as when
/// all goes well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PgError(Box<Parts>);

/// See [`PgError`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) severity: Severity,
    /// Five characters (PostgreSQL documentation, appendix "PostgreSQL Error Codes").
    pub(crate) code: Cow<'static, str>,
    pub(crate) message: Cow<'static, str>,
    pub(crate) detail: Option<Cow<'static, str>>,
    pub(crate) hint: Option<Cow<'static, str>>,
    /// The character of the statement that it is about, counted from 1.
    pub(crate) position: Option<usize>,
    /// The routine of PostgreSQL that would have said it, where drivers look at that.
    pub(crate) routine: Option<&'static str>,
}

impl PgError {
    pub(crate) fn error(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Severity::Error, code, message)
    }

    pub(crate) fn fatal(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Severity::Fatal, code, message)
    }

    pub(crate) fn notice(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Severity::Notice, "00000", message)
    }

    fn new(severity: Severity, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        let (code, message) = (code.into(), message.into());
        Self(Box::new(Parts { severity, code, message, detail: None, hint: None, position: None, routine: None }))
    }

    pub(crate) fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    pub(crate) fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    pub(crate) fn position(mut self, position: Option<usize>) -> Self {
        self.0.position = position;
        self
    }

    /// PostgreSQL's error for a prepared statement that would give other columns than before. Drivers that prepare again
    /// know it by its routine.
    pub(crate) fn changed_result() -> Self {
        let mut error = Self::error("0A000", "cached plan must not change result type");
        error.0.routine = Some(CHANGED_RESULT);
        error
    }

    /// The same error with another severity.
    pub(crate) fn with_severity(mut self, severity: Severity) -> Self {
        self.0.severity = severity;
        self
    }

    /// Appends the ErrorResponse, or the NoticeResponse of a notice or warning.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let has_failed = !matches!(self.severity, Severity::Notice | Severity::Warning);
        let start = frame::begin(out, if has_failed { b'E' } else { b'N' });
        let mut field = |key: u8, value: &str| {
            out.push(key);
            out.extend(value.bytes().filter(|byte| *byte != 0));
            out.push(0);
        };
        field(b'S', self.severity.name());
        field(b'V', self.severity.name());
        field(b'C', &self.code);
        field(b'M', &self.message);
        if let Some(detail) = &self.detail {
            field(b'D', detail);
        }
        if let Some(hint) = &self.hint {
            field(b'H', hint);
        }
        if let Some(position) = self.position {
            field(b'P', &position.to_string());
        }
        if let Some(routine) = self.routine {
            field(b'R', routine);
        }
        out.push(0);
        frame::end(out, start);
    }
}

impl Deref for PgError {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl fmt::Display for PgError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.severity.name(), self.code, self.message)
    }
}

impl std::error::Error for PgError {}

/// What the gateway reads of an ErrorResponse or NoticeResponse of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ErrorFields {
    pub(crate) severity: String,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) detail: Option<String>,
    pub(crate) hint: Option<String>,
}

impl ErrorFields {
    /// Reads the body of the message; fields that are missing stay empty.
    pub(crate) fn parse(body: &[u8]) -> Self {
        let mut fields = Fields(body);
        let mut error = Self::default();
        while let Some(key) = fields.u8().filter(|key| *key != 0) {
            let Some(value) = fields.cstr() else { break };
            let value = String::from_utf8_lossy(value).into_owned();
            match key {
                b'V' => error.severity = value,
                b'S' if error.severity.is_empty() => error.severity = value,
                b'C' => error.code = value,
                b'M' => error.message = value,
                b'D' => error.detail = Some(value),
                b'H' => error.hint = Some(value),
                _ => {}
            }
        }
        error
    }

    /// Whether it was the last word on the connection.
    pub(crate) fn is_fatal(&self) -> bool {
        matches!(self.severity.as_str(), "FATAL" | "PANIC")
    }

    /// The severity alone, without reading the rest.
    pub(crate) fn severity(body: &[u8]) -> Option<&[u8]> {
        let mut fields = Fields(body);
        let mut localized = None;
        while let Some(key) = fields.u8().filter(|key| *key != 0) {
            let value = fields.cstr()?;
            match key {
                b'V' => return Some(value),
                b'S' => localized = Some(value),
                _ => {}
            }
        }
        localized
    }

    /// Whether it says that a prepared statement would give other columns than before. The code alone says more than
    /// that; the routine's name is not translated.
    pub(crate) fn is_changed_result(body: &[u8]) -> bool {
        Self::code(body) == Some(b"0A000") && Self::field(body, b'R') == Some(CHANGED_RESULT.as_bytes())
    }

    /// The body without the position; `None` when it says none.
    pub(crate) fn without_position(body: &[u8]) -> Option<Vec<u8>> {
        let mut without = Vec::with_capacity(body.len());
        let mut fields = Fields(body);
        while let Some(key) = fields.u8().filter(|key| *key != 0) {
            let value = fields.cstr()?;
            if key != b'P' {
                without.push(key);
                without.extend_from_slice(value);
                without.push(0);
            }
        }
        without.push(0);
        (without.len() < body.len()).then_some(without)
    }

    fn field(body: &[u8], wanted: u8) -> Option<&[u8]> {
        let mut fields = Fields(body);
        while let Some(key) = fields.u8().filter(|key| *key != 0) {
            let value = fields.cstr()?;
            if key == wanted {
                return Some(value);
            }
        }
        None
    }

    /// The SQLSTATE alone, without reading the rest.
    pub(crate) fn code(body: &[u8]) -> Option<&[u8]> {
        let mut fields = Fields(body);
        while let Some(key) = fields.u8().filter(|key| *key != 0) {
            let value = fields.cstr()?;
            if key == b'C' {
                return Some(value);
            }
        }
        None
    }

    /// The same error as the gateway's own, to pass it on at another moment.
    pub(crate) fn into_error(self, severity: Severity) -> PgError {
        PgError(Box::new(Parts {
            severity,
            code: if self.code.len() == 5 { self.code.into() } else { "XX000".into() },
            message: self.message.into(),
            detail: self.detail.map(Cow::Owned),
            hint: self.hint.map(Cow::Owned),
            position: None,
            routine: None,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_back() {
        let mut out = Vec::new();
        PgError::error("42501", "no").hint("ask").detail("why").write(&mut out);
        let read = ErrorFields::parse(&out[5..]);
        assert_eq!(read.code, "42501");
        assert_eq!(read.severity, "ERROR");
        assert_eq!(read.message, "no");
        assert_eq!(read.hint.as_deref(), Some("ask"));
        assert_eq!(read.detail.as_deref(), Some("why"));
    }

    #[test]
    fn a_position_is_taken_away() {
        let (mut with, mut without) = (Vec::new(), Vec::new());
        PgError::error("42703", "no").hint("ask").position(Some(12)).write(&mut with);
        PgError::error("42703", "no").hint("ask").write(&mut without);
        assert_eq!(ErrorFields::without_position(&with[5..]).as_deref(), Some(&without[5..]));
        assert_eq!(ErrorFields::without_position(&without[5..]), None);
    }

    #[test]
    fn a_nul_cannot_cut_a_message_short() {
        let mut out = Vec::new();
        PgError::error("42501", "a\0Mb").write(&mut out);
        assert_eq!(ErrorFields::parse(&out[5..]).message, "aMb");
    }

    #[test]
    fn half_an_error_is_read_as_far_as_it_goes() {
        assert_eq!(ErrorFields::parse(b"C42501\0Mhalf"), ErrorFields { code: "42501".into(), ..Default::default() });
    }
}
