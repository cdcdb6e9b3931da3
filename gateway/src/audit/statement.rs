//! What is recorded of statements. Passwords and tokens never are (S5): of a text that may hold one, only what is left
//! when its constants are taken away; nothing where that cannot be told.

use serde::Serialize;

use crate::config::{Audit, StatementAudit};
use crate::router::{self, Class, Effects};
use crate::stats::About;

/// A variable, also a renewed token, that only the gateway knows.
const OWN_PREFIX: &[u8] = b"pgdog_jwt";

/// These give away that a constant of a text may be a secret.
const SUSPICIOUS: [&[u8]; 3] = [b"password", b"passwd", b"secret"];

/// What is looked at of a text, in bytes: more than is ever recorded.
const MAX_EXAMINED: usize = 256 * 1024;

/// The text was longer than what is recorded.
const CUT: &str = "cut";
/// Constants were taken away, because one of them may be a secret.
const MASKED: &str = "masked";
/// The text is left out, because it may hold a secret.
const HIDDEN: &str = "hidden";
/// The text is not known: the statement was made by other means, or too long to be kept.
const UNKNOWN: &str = "unknown";

/// What is recorded of a session's statements.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StatementPolicy {
    kind: StatementAudit,
    /// In bytes.
    max_length: usize,
    pub(crate) parameters: bool,
}

/// A statement, and what came of it.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Statement {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) statement: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fingerprint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parameters: Option<Vec<Option<String>>>,
    /// Why text or parameters are not all there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) incomplete: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) command: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rows: Option<u64>,
}

impl StatementPolicy {
    /// `None`: nothing is recorded of this session's statements.
    pub(crate) fn new(audit: &Audit, about: &About) -> Option<Self> {
        let token = about.token.as_ref();
        let of_token = token.into_iter().flat_map(|token| {
            [Some(token.subject.as_str()), token.role.as_deref(), token.account.as_deref()].into_iter().flatten()
        });
        let names = std::iter::once(about.user.as_str()).chain(of_token);
        audit.records_statements_of(names).then_some(Self {
            kind: audit.statements,
            max_length: audit.statement_max_length,
            parameters: audit.statement_parameters && audit.statements == StatementAudit::Text,
        })
    }

    /// A statement with this text. `fingerprint` gives the one of the text.
    pub(crate) fn describe(&self, text: &[u8], class: Class, fingerprint: Option<u64>) -> Statement {
        let fingerprint = fingerprint.map(|number| format!("{number:016x}"));
        if self.kind != StatementAudit::Text {
            return Statement { fingerprint, ..Statement::default() };
        }
        let (statement, incomplete) = self.recorded(text, class);
        Statement { statement, fingerprint, incomplete, ..Statement::default() }
    }

    /// One whose text is not known.
    pub(crate) fn unknown(&self) -> Statement {
        Statement { incomplete: Some(UNKNOWN), ..Statement::default() }
    }

    fn recorded(&self, text: &[u8], class: Class) -> (Option<String>, Option<&'static str>) {
        let is_whole = text.len() <= MAX_EXAMINED;
        let text = text.get(..MAX_EXAMINED).unwrap_or(text);
        let Ok(text) = std::str::from_utf8(text) else {
            // In another encoding. Secrets are looked for in what ASCII shows.
            if hides(class, text) {
                return (None, Some(HIDDEN));
            }
            return self.cut(&String::from_utf8_lossy(text), None);
        };
        if contains(text.as_bytes(), OWN_PREFIX) {
            return (None, Some(HIDDEN));
        }
        if !hides(class, text.as_bytes()) {
            return self.cut(text, None);
        }
        // Half a text cannot be parsed.
        match router::without_constants(text).filter(|_| is_whole) {
            Some(masked) => self.cut(&masked, Some(MASKED)),
            None => (None, Some(HIDDEN)),
        }
    }

    fn cut(&self, text: &str, incomplete: Option<&'static str>) -> (Option<String>, Option<&'static str>) {
        let text = without_tokens(text);
        let end = text.floor_char_boundary(self.max_length);
        let incomplete = incomplete.or((end < text.len()).then_some(CUT));
        (text.get(..end).map(str::to_owned), incomplete)
    }

    /// Adds the values of parameters: for each whether it is binary, and its bytes; `None` is NULL.
    pub(crate) fn add_parameters(&self, statement: &mut Statement, values: &[(bool, Option<&[u8]>)]) {
        let names_own = values.iter().any(|(_, value)| value.is_some_and(|value| contains(value, OWN_PREFIX)));
        if names_own || matches!(statement.incomplete, Some(MASKED | HIDDEN)) {
            statement.incomplete = statement.incomplete.filter(|_| !names_own).or(Some(HIDDEN));
            return;
        }
        let mut left = self.max_length;
        let mut shown = Vec::with_capacity(values.len());
        for (binary, value) in values {
            let text = value.map(|bytes| {
                // Never more than fits, whatever the size of the value.
                let part = bytes.get(..left).unwrap_or(bytes);
                let text = if *binary { hexadecimal(part) } else { String::from_utf8_lossy(bytes).into_owned() };
                let text = without_tokens(&text);
                let end = text.floor_char_boundary(left);
                left -= end;
                if end < text.len() || part.len() < bytes.len() {
                    statement.incomplete = statement.incomplete.or(Some(CUT));
                }
                text.get(..end).unwrap_or_default().to_owned()
            });
            shown.push(text);
        }
        statement.parameters = Some(shown);
    }

    /// Parameters were not looked at.
    pub(crate) fn skip_parameters(&self, statement: &mut Statement) {
        statement.incomplete = statement.incomplete.or(Some(CUT));
    }
}

impl Statement {
    /// Adds what a CommandComplete says: `INSERT 0 5`, `SELECT 3`, `CREATE TABLE`.
    pub(crate) fn completed(&mut self, tag: &str) {
        let is_number = |word: &&str| word.bytes().all(|byte| byte.is_ascii_digit());
        let words: Vec<&str> = tag.split_ascii_whitespace().collect();
        let command: Vec<&str> = words.iter().copied().take_while(|word| !is_number(word)).collect();
        self.command = Some(command.join(" "));
        if let Some(rows) = words.last().filter(|word| is_number(word)).and_then(|word| word.parse::<u64>().ok()) {
            self.rows = Some(self.rows.unwrap_or(0).saturating_add(rows));
        }
    }

    /// For the log, whose fields are text.
    pub(super) fn parameters_as_json(&self) -> Option<String> {
        self.parameters.as_ref().and_then(|values| serde_json::to_string(values).ok())
    }
}

/// Whether a text may hold a secret.
fn hides(class: Class, text: &[u8]) -> bool {
    class.effects.intersects(Effects::SECRET)
        || contains(text, OWN_PREFIX)
        || SUSPICIOUS.iter().any(|word| contains(text, word))
}

/// Whether the word is somewhere in the text, in upper or lower case.
fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word))
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(2 + 2 * bytes.len());
    text.push_str("\\x");
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The text with `[token]` in place of everything that looks like a compact JWS: base64url of `{"`, and two dots.
fn without_tokens(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("eyJ") {
        let (before, found) = rest.split_at(at);
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '=');
        let end = found.find(|c| !is_part(c)).unwrap_or(found.len());
        let (token, behind) = found.split_at(end);
        clean.push_str(before);
        clean.push_str(if token.matches('.').count() >= 2 { "[token]" } else { token });
        rest = behind;
    }
    clean.push_str(rest);
    clean
}
