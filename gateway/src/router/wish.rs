//! What a text itself asks for: a side, named in a comment (`/* pgdog_role: replica */`) or by setting `pgdog.role`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use memchr::memmem;
use pg_query::protobuf::Token;

use super::class::Access;
use super::guard::canonical;
use super::tree::{Tree, Value};

/// The setting that chooses the side for a session or a transaction. The server keeps it like any other variable of an
/// application; it means something to the gateway alone.
pub(crate) const ROLE_SETTING: &str = "pgdog.role";

/// The word in a comment.
const COMMENT_KEY: &[u8] = b"pgdog_role";

/// The side that a word names; `None` for any other word.
pub(crate) fn side(word: &str) -> Option<Access> {
    match word {
        "primary" => Some(Access::Write),
        "replica" => Some(Access::Replica),
        _ => None,
    }
}

/// The side that one comment names.
pub(super) fn of_comment(comment: &[u8]) -> Option<Access> {
    let at = memmem::find(comment, COMMENT_KEY)? + COMMENT_KEY.len();
    let value = comment.get(at..)?.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
    let end = value.iter().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(value.len());
    side(std::str::from_utf8(value.get(..end)?).ok()?)
}

/// The side that the first comment in a text to name one does, by PostgreSQL's own lexer: what looks like a comment
/// inside a string is none.
pub(super) fn of_comments(sql: &[u8]) -> Option<Access> {
    memmem::find(sql, COMMENT_KEY)?;
    let sql = std::str::from_utf8(sql).ok()?;
    // As for the parser: a defect in the bindings must not take the worker's other clients with it.
    let scanned = catch_unwind(AssertUnwindSafe(|| pg_query::scan(sql))).ok()?.ok()?;
    let is_comment = |token: i32| token == Token::CComment as i32 || token == Token::SqlComment as i32;
    scanned.tokens.iter().filter(|token| is_comment(token.token)).find_map(|token| {
        let range = usize::try_from(token.start).ok()?..usize::try_from(token.end).ok()?;
        of_comment(sql.as_bytes().get(range)?)
    })
}

/// The side that a statement sets `pgdog.role` to, so that it may decide where its transaction runs.
pub(super) fn of_setting(statements: &[Tree]) -> Option<Access> {
    let [set] = statements else { return None };
    if set.kind != "VariableSetStmt" || canonical(set.text("name")) != ROLE_SETTING {
        return None;
    }
    set.list("args").first().and_then(Value::node).and_then(Tree::string_constant).and_then(side)
}
