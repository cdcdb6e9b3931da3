//! The seam to the parser of SQL: whatever gives trees of PostgreSQL's grammar will do.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::class::Refusal;
use crate::tree::Tree;
use crate::{guard, refusal, words};

/// Reads SQL as PostgreSQL does.
///
/// All that the guard promises rests on it: a text must be cut into statements, words and strings exactly where a server with
/// `standard_conforming_strings = on` cuts it, and nothing that the server would run may be missing in a [`Tree`]. A panic is
/// caught and counts as a text that cannot be read.
pub trait Parser: Send + Sync {
    /// The statements of a text, in order.
    ///
    /// # Errors
    /// The text is not PostgreSQL's grammar, or cannot be read whole.
    fn parse(&self, sql: &str) -> Result<Vec<Tree>, ParseError>;

    /// What PostgreSQL says of a text that is not its grammar. `None`: there is nothing to say, or it is not known.
    fn complaint(&self, sql: &str) -> Option<String> {
        let _ = sql;
        None
    }

    /// The tokens of a text, in order, comments among them. `None`: it is not known where they are. Then no text is masked, and
    /// of a text without a template no comment chooses a side.
    fn tokens(&self, sql: &str) -> Option<Vec<Token>> {
        let _ = sql;
        None
    }

    /// A number that is the same for texts that differ in constants alone. `None`: there is none, and no text is masked.
    fn fingerprint(&self, sql: &str) -> Option<u64> {
        let _ = sql;
        None
    }
}

/// Why a text has no trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// It is not PostgreSQL's grammar, or holds something that has no place in a [`Tree`]. The guard refuses it.
    Syntax,
    /// It is correct, and nested too deeply to be read. The guard lets it pass only if it reads or writes rows and names nothing,
    /// not even in a string, that the guard would look at.
    TooDeep,
    /// It is correct, and the parser cannot show all of it. The guard lets it pass only if it grants or revokes privileges, and
    /// names nothing that the guard would look at.
    Unread,
}

/// A word, a constant, a sign or a comment of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Where it is, in bytes.
    pub range: Range<usize>,
}

/// What a [`Token`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// In either form.
    Comment,
    /// An identifier, quoted or not.
    Name,
    /// A string, also with escapes or in dollars.
    String,
    /// `B'01'`.
    Bits,
    /// `X'1F'`.
    HexBits,
    /// A number of any form.
    Number,
    /// A keyword, an operator, a parameter, a sign: what holds nothing that somebody made up.
    Fixed,
    /// Anything else. Its text is not masked.
    Other,
}

/// The statements of a text; `None`: it cannot be read.
pub fn parse(parser: &dyn Parser, sql: &[u8]) -> Option<Vec<Tree>> {
    read(parser, sql, usize::MAX).ok()
}

/// The statements, or why the guard refuses a text that cannot be read (`None`: it may pass all the same).
pub(crate) fn read(parser: &dyn Parser, sql: &[u8], max_words: usize) -> Result<Vec<Tree>, Option<&'static Refusal>> {
    // A text has no more words than bytes.
    if sql.len() > max_words && words::count(sql) > max_words {
        return Err(Some(&refusal::TOO_MANY_WORDS));
    }
    let sql = std::str::from_utf8(sql).map_err(|_| &refusal::NOT_UTF8)?;
    // A defect in the parser must not take the other clients of its thread with it.
    let parsed = guarded(|| parser.parse(sql)).ok_or(&refusal::UNPARSABLE)?;
    parsed.map_err(|error| match error {
        ParseError::TooDeep => guard::too_deep(sql),
        ParseError::Unread => guard::unread(sql),
        ParseError::Syntax => Some(&refusal::UNPARSABLE),
    })
}

pub(crate) fn complaint(parser: &dyn Parser, sql: &str) -> Option<String> {
    guarded(|| parser.complaint(sql))?
}

pub(crate) fn tokens(parser: &dyn Parser, sql: &str) -> Option<Vec<Token>> {
    guarded(|| parser.tokens(sql))?
}

pub(crate) fn fingerprint(parser: &dyn Parser, sql: &str) -> Option<u64> {
    guarded(|| parser.fingerprint(sql))?
}

fn guarded<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}
