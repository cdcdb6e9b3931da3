//! What is recorded of statements. No secret ever is (S5): of a text only what the guard says may be written down, and
//! of parameters only those that it says are data.

use std::sync::Arc;

use pgdog_jwt_guard::Masked;
use serde::Serialize;

use crate::config::{Audit, StatementAudit};
use crate::stats::About;

/// A variable, also a renewed token, that only the gateway knows.
const OWN_PREFIX: &[u8] = b"pgdog_jwt";

/// A value with one of these in it may hold a secret, such as a connection string.
const SUSPICIOUS: [&[u8]; 7] = [b"password", b"passwd", b"secret", b"bearer", b"private key", b"://", OWN_PREFIX];

/// The text was longer than what is recorded.
const CUT: &str = "cut";
/// Values of parameters were taken away, because they may be secrets.
const MASKED: &str = "masked";
/// What stands for each of them.
const MASK: &str = "[masked]";
/// The text is left out, because it may hold a secret where nobody would look for one.
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
    /// What the text is from, and what may be said of its parameters.
    #[serde(skip)]
    pub(super) masked: Option<Arc<Masked>>,
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

    /// A statement, by what may be written down of its text.
    pub(crate) fn describe(&self, masked: Option<Arc<Masked>>) -> Statement {
        let fingerprint = masked.as_ref().map(|masked| format!("{:016x}", masked.fingerprint));
        if self.kind != StatementAudit::Text {
            return Statement { fingerprint, ..Statement::default() };
        }
        let (statement, incomplete) = match &masked {
            Some(masked) => self.cut(&masked.text),
            None => (None, Some(HIDDEN)),
        };
        Statement { statement, fingerprint, incomplete, masked, ..Statement::default() }
    }

    /// One whose text is not known.
    pub(crate) fn unknown(&self) -> Statement {
        Statement { incomplete: Some(UNKNOWN), ..Statement::default() }
    }

    /// PostgreSQL did not say that it is a good statement.
    pub(crate) fn failed(&self, statement: &mut Statement) {
        let of_failed = statement.masked.as_ref().and_then(|masked| masked.of_failed.as_deref());
        if let Some(text) = of_failed {
            statement.statement = self.cut(text).0;
        }
    }

    fn cut(&self, text: &str) -> (Option<String>, Option<&'static str>) {
        let text = without_tokens(text);
        let end = text.floor_char_boundary(self.max_length);
        (text.get(..end).map(str::to_owned), (end < text.len()).then_some(CUT))
    }

    /// Adds the values of parameters: for each whether it is binary, and its bytes; `None` is NULL.
    pub(crate) fn add_parameters(&self, statement: &mut Statement, values: &[(bool, Option<&[u8]>)]) {
        let Some(masked) = statement.masked.clone() else { return };
        let mut left = self.max_length;
        let mut shown = Vec::with_capacity(values.len());
        for (number, (binary, value)) in (1..).zip(values) {
            let is_data = masked.shown.binary_search(&number).is_ok();
            let text = value.map(|bytes| {
                if !is_data || SUSPICIOUS.iter().any(|word| contains(bytes, word)) {
                    statement.incomplete = statement.incomplete.or(Some(MASKED));
                    return MASK.to_owned();
                }
                // Never more than fits, whatever the size of the value.
                let part = bytes.get(..left).unwrap_or(bytes);
                let text = if *binary { hexadecimal(part) } else { String::from_utf8_lossy(bytes).into_owned() };
                let text = without_tokens(&text);
                let end = text.floor_char_boundary(left);
                left -= end;
                if end < text.len() || part.len() < bytes.len() {
                    statement.incomplete = Some(CUT);
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
    /// One that has no text.
    pub(crate) fn of_function(number: u32) -> Self {
        Self { command: Some(format!("FUNCTION {number}")), ..Self::default() }
    }

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
