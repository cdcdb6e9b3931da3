//! How much work a text is for a parser: the number of its words. A parser takes some two kilobytes for each.

use memchr::{memchr, memmem};

/// The words, constants and signs of a text, no fewer than PostgreSQL's lexer finds (PostgreSQL, 4.1), which takes several signs
/// for one operator. What is in strings and comments does not count.
pub(crate) fn count(sql: &[u8]) -> usize {
    let mut words = 0;
    let mut at = 0;
    while let Some(&byte) = sql.get(at) {
        let rest = &sql[at..];
        if byte.is_ascii_whitespace() {
            at += 1;
            continue;
        }
        if rest.starts_with(b"--") {
            at += rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len());
            continue;
        }
        if rest.starts_with(b"/*") {
            at += comment(rest);
            continue;
        }
        words += 1;
        at += match byte {
            b'\'' | b'"' => quoted(rest, byte),
            b'$' => dollar_quoted(rest).unwrap_or(1),
            _ if is_word(byte) => {
                let size = rest.iter().position(|byte| !is_word(*byte) && *byte != b'$').unwrap_or(rest.len());
                let is_escaped = rest[..size].eq_ignore_ascii_case(b"e") && rest.get(size) == Some(&b'\'');
                size + if is_escaped { escaped(&rest[size..]) } else { 0 }
            }
            _ => 1,
        };
    }
    words
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// The size of a comment, which may hold others.
fn comment(text: &[u8]) -> usize {
    let (mut at, mut depth) = (2, 1);
    while depth > 0 {
        match text.get(at..at + 2) {
            Some(b"/*") => (at, depth) = (at + 2, depth + 1),
            Some(b"*/") => (at, depth) = (at + 2, depth - 1),
            Some(_) => at += 1,
            None => return text.len(),
        }
    }
    at
}

/// The size of a string or name up to its closing quote; a double one only begins another piece.
fn quoted(text: &[u8], quote: u8) -> usize {
    text.get(1..).and_then(|rest| memchr(quote, rest)).map_or(text.len(), |at| at + 2)
}

/// The same for a string with escapes.
fn escaped(text: &[u8]) -> usize {
    let mut at = 1;
    loop {
        match text.get(at) {
            Some(b'\\') => at += 2,
            Some(b'\'') => return at + 1,
            Some(_) => at += 1,
            None => return text.len(),
        }
    }
}

/// The size of a string in dollars, if it is one.
fn dollar_quoted(text: &[u8]) -> Option<usize> {
    let tag = text.get(1..)?.iter().position(|byte| *byte == b'$')? + 2;
    let name = &text[1..tag - 1];
    let is_tag = name.iter().all(|byte| is_word(*byte)) && !name.first().is_some_and(u8::is_ascii_digit);
    let end = memmem::find(text.get(tag..)?, &text[..tag]).map_or(text.len(), |at| tag + at + tag);
    is_tag.then_some(end)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails shall stop")]
mod tests {
    use super::*;

    #[test]
    fn words_constants_and_signs_count() {
        for (sql, words) in [
            ("", 0),
            ("SELECT 1", 2),
            ("select a.b,c FROM t -- d e f\nWHERE x=$1", 13),
            ("SELECT 'a, b, c' /* d, /* e */ f */ , \"g, h\"", 4),
            ("SELECT E'a\\', b', 'c'", 4),
            ("SELECT $$ a, b $$, $x$ c, $$ d $x$, $1", 7),
            ("DO $body$ a b c d e f $body$", 2),
        ] {
            assert_eq!(count(sql.as_bytes()), words, "{sql}");
        }
    }

    #[test]
    fn what_is_not_ended_ends_with_the_text() {
        for sql in ["'a b", "\"a b", "E'a b", "E'a\\", "$a$ b", "/* a b", "-- a b", "$", "/*"] {
            assert!(count(sql.as_bytes()) <= 1, "{sql}");
        }
    }

    #[cfg(feature = "pg_query")]
    #[test]
    fn there_are_no_fewer_than_the_lexer_finds() {
        use crate::PgQuery;
        use crate::parser::{Parser, TokenKind};
        for sql in [
            "SELECT U&'d\\0061t', U&\"d\\0061t\" UESCAPE '!', B'01', X'1F', N'a', 1.5e3, .5, 1_000, 0xFF",
            "SELECT a->>'b', c::int[], $1, e'\\'' 'x'\n'y', \"a\"\"b\", 'c''d', f$1, g$h$ FROM t WHERE a<>b AND c!=d",
        ] {
            let tokens = PgQuery.tokens(sql).unwrap();
            let found = tokens.iter().filter(|token| token.kind != TokenKind::Comment).count();
            assert!(count(sql.as_bytes()) >= found, "{sql}");
        }
    }
}
