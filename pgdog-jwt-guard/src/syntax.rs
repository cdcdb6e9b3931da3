//! What is wrong with a text that is not PostgreSQL's grammar, as PostgreSQL itself says it: message, SQLSTATE and position.

use crate::parser::{self, Parser};

/// Of longer texts the position is not looked for where a word may be one of several (bytes): it takes the parser again.
const MAX_SEARCHED: usize = 64 * 1024;

/// What PostgreSQL's parser says of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// `syntax_error`, but for a few (PostgreSQL documentation, appendix "PostgreSQL Error Codes").
    pub sqlstate: &'static str,
    /// In English.
    pub message: String,
    /// The first character that is wrong, counted from 1. `None`: it is not known.
    pub position: Option<usize>,
}

/// What is wrong with a text; `None`: nothing, or the parser does not say.
pub fn syntax_error(parser: &dyn Parser, sql: &[u8]) -> Option<SyntaxError> {
    let sql = std::str::from_utf8(sql).ok()?;
    let message = parser::complaint(parser, sql)?;
    let position = place(parser, sql, &message).and_then(|at| Some(sql.get(..at)?.chars().count() + 1));
    let sqlstate = match &*message {
        _ if message.ends_with("is not yet implemented") => "0A000",
        _ if message.ends_with("is reserved") => "42939",
        _ => "42601",
    };
    Some(SyntaxError { sqlstate, message, position })
}

/// Where the parser stopped, in bytes.
fn place(parser: &dyn Parser, sql: &str, message: &str) -> Option<usize> {
    if message.ends_with("at end of input") {
        return Some(sql.len());
    }
    let (_, word) = message.strip_suffix('"')?.split_once(" at or near \"")?;
    let mut places = sql.match_indices(word).map(|(at, _)| at);
    let first = places.next()?;
    if places.next().is_none() {
        return Some(first);
    }
    if sql.len() > MAX_SEARCHED {
        return None;
    }
    let Some(tokens) = parser::tokens(parser, sql) else {
        // Not even words: what was not ended goes to the end of the text.
        return sql.ends_with(word).then(|| sql.len() - word.len());
    };
    let is_word = |range: &std::ops::Range<usize>| sql.get(range.clone()) == Some(word);
    let candidates: Vec<_> = tokens.into_iter().map(|token| token.range).filter(is_word).collect();
    // What comes before the wrong word only lacks its end, with the word it is wrong.
    let is_wrong = |range: &std::ops::Range<usize>| {
        let complaint = sql.get(..range.end).and_then(|text| parser::complaint(parser, text));
        complaint.is_some_and(|complaint| complaint == message)
    };
    let at = candidates.partition_point(|range| !is_wrong(range));
    candidates.get(at).map(|range| range.start)
}

#[cfg(all(test, feature = "pg_query"))]
#[allow(clippy::unwrap_used, reason = "a test that fails shall stop")]
mod tests {
    use super::*;
    use crate::PgQuery;

    fn said(sql: &str) -> (String, Option<usize>) {
        let error = syntax_error(&PgQuery, sql.as_bytes()).unwrap();
        assert_eq!(error.sqlstate, "42601", "{sql}");
        (error.message, error.position)
    }

    #[test]
    fn the_first_wrong_word_is_found() {
        let near = |word: &str| format!("syntax error at or near \"{word}\"");
        for (sql, word, position) in [
            ("selec 1", "selec", 1),
            ("SELECT 1 FROM FROM t", "FROM", 15),
            ("SELECT 'FROM' FROM t FROM", "FROM", 22),
            ("SELECT 'ü', \"ü\" FROM FROM t", "FROM", 22),
            ("SELECT 1; SELECT 2;\nSELECT 3 4", "4", 30),
            ("SELECT (1))", ")", 11),
            ("SELECT 1 /* ) */ )", ")", 18),
            ("INSERT INTO t VALUES (1,,2)", ",", 25),
            ("CREATE TABLE t (a int,)", ")", 23),
        ] {
            assert_eq!(said(sql), (near(word), Some(position)), "{sql}");
        }
    }

    #[test]
    fn what_is_not_ended() {
        assert_eq!(said("SELECT (1"), ("syntax error at end of input".to_owned(), Some(10)));
        assert_eq!(said("SELECT 'a', 'a"), ("unterminated quoted string at or near \"'a\"".to_owned(), Some(13)));
    }

    #[test]
    fn what_is_right_is_no_error() {
        assert_eq!(syntax_error(&PgQuery, b"SELECT 1"), None);
        assert_eq!(syntax_error(&PgQuery, b"SELECT '\xff' 1 2"), None);
    }
}
