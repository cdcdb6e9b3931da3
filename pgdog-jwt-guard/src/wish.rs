//! What a text itself asks for: a side, named in a comment or by a setting, see [`Hints`].

use memchr::memmem;

use super::class::Access;
use super::dialect::Hints;
use super::guard::canonical;
use super::parser::{self, Parser, TokenKind};
use super::tree::{Tree, Value};

/// The side that a word names; `None` for any other word.
pub fn side(word: &str) -> Option<Access> {
    match word {
        "primary" => Some(Access::Write),
        "replica" => Some(Access::Replica),
        _ => None,
    }
}

/// The side that one comment names.
pub(super) fn of_comment(comment: &[u8], hints: Hints) -> Option<Access> {
    let key = hints.comment.as_bytes();
    let at = memmem::find(comment, key)? + key.len();
    let value = comment.get(at..)?.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
    let end = value.iter().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(value.len());
    side(std::str::from_utf8(value.get(..end)?).ok()?)
}

/// The side that the first comment in a text to name one does, by the parser's lexer: what looks like a comment inside a string
/// is none.
pub(crate) fn of_comments(sql: &[u8], hints: Option<Hints>, parser: &dyn Parser) -> Option<Access> {
    let hints = hints?;
    memmem::find(sql, hints.comment.as_bytes())?;
    let sql = std::str::from_utf8(sql).ok()?;
    let tokens = parser::tokens(parser, sql)?;
    let mut comments = tokens.into_iter().filter(|token| token.kind == TokenKind::Comment);
    comments.find_map(|token| of_comment(sql.as_bytes().get(token.range)?, hints))
}

/// The side that a statement sets that setting to, so that it may decide where its transaction runs.
pub(super) fn of_setting(statements: &[Tree], hints: Option<Hints>) -> Option<Access> {
    let hints = hints?;
    let [set] = statements else { return None };
    if set.kind != "VariableSetStmt" || canonical(set.text("name")) != hints.setting {
        return None;
    }
    set.list("args").first().and_then(Value::node).and_then(Tree::string_constant).and_then(side)
}
