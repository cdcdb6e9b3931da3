//! Turns a text into its template: the same text with every number and string replaced by one of a kind.
//!
//! Applications send one statement with thousands of different constants; by template they share one class. That is
//! only sound when this scanner cuts a text exactly where PostgreSQL's lexer (`scan.l`; PostgreSQL, 4.1) does, so it knows
//! the easy part of the lexical rules and gives up on everything else. A template is itself SQL of the same shape.
//!
//! Comments become a space, whatever they say. Constants in a row inside parentheses (`IN (1, 2, 3)`) and equal rows of `VALUES (1, 'x'),
//! (2, 'y')` become one, so that a long list costs a short template.

use memchr::{memchr, memchr2};

use super::class::Access;
use super::dialect::Hints;
use super::wish;

/// Longer templates are given up (bytes).
const MAX_TEMPLATE: usize = 16 * 1024;

/// What stands for every string, and for every number.
const STRING: &[u8] = b"''";
const NUMBER: &[u8] = b"1";

/// A scanner and the room for its result.
#[derive(Default)]
pub(super) struct Scanner {
    out: Vec<u8>,
    /// How many parentheses and brackets are open.
    depth: usize,
    /// The last constant and where it ends.
    constant: Option<(&'static [u8], usize)>,
    /// A constant left out because it continues a row; it comes back unless the row's next element or end follows.
    left_out: Option<&'static [u8]>,
    /// The last word was `VALUES`.
    values: bool,
    /// Where the innermost parenthesis opened, if it may be one of the rows of `VALUES`.
    open: Option<usize>,
    /// The last row of `VALUES`.
    row: Option<(usize, usize)>,
    /// The side that a comment asks for.
    wish: Option<Access>,
}

impl Scanner {
    /// The template and the side that a comment of the text asks for, or `None` when only the exact text will do.
    pub(super) fn template(&mut self, sql: &[u8], hints: Option<Hints>) -> Option<(&[u8], Option<Access>)> {
        *self = Self { out: std::mem::take(&mut self.out), ..Self::default() };
        self.out.clear();
        // Bytes beyond ASCII are passed over inside quotes and comments; there must be whole characters.
        if self.scan(sql, hints)? && std::str::from_utf8(sql).is_err() {
            return None;
        }
        Some((&self.out, self.wish))
    }

    /// Fills `out`; says whether bytes beyond ASCII were passed over.
    fn scan(&mut self, sql: &[u8], hints: Option<Hints>) -> Option<bool> {
        let mut beyond_ascii = false;
        let mut after_string = false;
        let mut at = 0;
        while let Some(&byte) = sql.get(at) {
            if self.out.len() > MAX_TEMPLATE {
                return None;
            }
            let next = sql.get(at + 1).copied().unwrap_or(0);
            let start = at;
            let mut string = false;
            let kind = CLASS[usize::from(byte)];
            if kind == Kind::Space {
                self.out.push(byte);
                at += 1;
                continue;
            }
            if (byte == b'-' && next == b'-') || (byte == b'/' && next == b'*') {
                at = if byte == b'-' { end_of_line(sql, at) } else { end_of_comment(sql, at)? };
                self.out.push(b' ');
                beyond_ascii |= !sql[start..at].is_ascii();
                self.wish = self.wish.or_else(|| wish::of_comment(&sql[start..at], hints?));
                continue;
            }
            if let Some(constant) = self.left_out.take()
                && !matches!(byte, b',' | b')' | b']')
            {
                self.out.extend_from_slice(b", ");
                self.out.extend_from_slice(constant);
                self.out.push(b' ');
            }
            let after_values = std::mem::take(&mut self.values);
            match kind {
                Kind::Word => {
                    at = end_of(sql, at, is_word);
                    let word = &sql[start..at];
                    if sql.get(at) == Some(&b'\'') {
                        // E'…' has its own rule below; B, N, X and types in front of a string are left alone.
                        let after_ampersand = start > 0 && sql[start - 1] == b'&';
                        if !word.eq_ignore_ascii_case(b"e") || after_string || after_ampersand {
                            return None;
                        }
                        at = end_of_escape_string(sql, at)?;
                        self.constant(STRING);
                        string = true;
                    } else if word.eq_ignore_ascii_case(b"uescape") {
                        return None;
                    } else {
                        self.values = word.eq_ignore_ascii_case(b"values");
                        self.out.extend_from_slice(word);
                    }
                }
                Kind::Digit => {
                    at = end_of_number(sql, at)?;
                    self.constant(NUMBER);
                }
                Kind::Quote => {
                    // After a string and white space it may be the same string, continued; after `&`, U&'…'.
                    if after_string || (at > 0 && sql[at - 1] == b'&') {
                        return None;
                    }
                    at = end_of_quoted(sql, at, b'\'')?;
                    self.constant(STRING);
                    string = true;
                }
                Kind::Identifier => {
                    if at > 0 && sql[at - 1] == b'&' {
                        return None;
                    }
                    at = end_of_quoted(sql, at, b'"')?;
                    self.out.extend_from_slice(&sql[start..at]);
                }
                Kind::Dollar => {
                    // A parameter, or the begin of a dollar-quoted string.
                    at = end_of(sql, at + 1, |b| b.is_ascii_digit());
                    if at == start + 1 || sql.get(at).is_some_and(|b| is_word(*b) || *b >= 0x80) {
                        return None;
                    }
                    self.out.extend_from_slice(&sql[start..at]);
                }
                Kind::Mark if byte == b'.' && next.is_ascii_digit() => return None,
                Kind::Mark => {
                    self.mark(byte, after_values);
                    at += 1;
                }
                Kind::Space | Kind::Other => return None,
            }
            beyond_ascii |= at - start > 1 && !sql[start..at].is_ascii();
            after_string = string;
        }
        Some(beyond_ascii)
    }

    /// Writes a constant, unless it only continues a row of its kind inside parentheses or brackets.
    fn constant(&mut self, constant: &'static [u8]) {
        if let Some((last, end)) = self.constant
            && last == constant
            && self.depth > 0
            && matches!(self.out.get(end..), Some(b"," | b", "))
        {
            self.out.truncate(end);
            self.left_out = Some(constant);
            return;
        }
        self.out.extend_from_slice(constant);
        self.constant = Some((constant, self.out.len()));
    }

    /// Writes a mark; a closing parenthesis may end a row that only repeats the one before it.
    fn mark(&mut self, byte: u8, after_values: bool) {
        match byte {
            b'(' => {
                let next_row = self.row.is_some_and(|(_, end)| is_comma(&self.out[end..]));
                self.open = (after_values || next_row).then_some(self.out.len());
                self.depth += 1;
            }
            b'[' => self.depth += 1,
            b')' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.out.push(byte);
        if byte == b')'
            && let Some(start) = self.open.take()
        {
            if let Some((first, end)) = self.row
                && self.out[first..end] == self.out[start..]
                && is_comma(&self.out[end..start])
            {
                self.out.truncate(end);
                self.constant = None;
            } else {
                self.row = Some((start, self.out.len()));
            }
        }
    }
}

/// Whether text is one comma and white space.
fn is_comma(text: &[u8]) -> bool {
    text.split_first().is_some_and(|(first, rest)| *first == b',' && rest.iter().all(u8::is_ascii_whitespace))
}

/// What a byte can begin.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Space,
    Word,
    Digit,
    Quote,
    Identifier,
    Dollar,
    Mark,
    /// Nothing that this scanner understands: control characters (a vertical tab is white space only since
    /// PostgreSQL 16), backslashes, letters beyond ASCII.
    Other,
}

static CLASS: [Kind; 256] = {
    let mut table = [Kind::Other; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = match byte as u8 {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0c => Kind::Space,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => Kind::Word,
            b'0'..=b'9' => Kind::Digit,
            b'\'' => Kind::Quote,
            b'"' => Kind::Identifier,
            b'$' => Kind::Dollar,
            b'(' | b')' | b'[' | b']' | b',' | b';' | b':' | b'.' | b'+' | b'-' | b'*' | b'/' | b'<' | b'>' | b'='
            | b'~' | b'!' | b'@' | b'#' | b'%' | b'^' | b'&' | b'|' | b'?' => Kind::Mark,
            _ => Kind::Other,
        };
        byte += 1;
    }
    table
};

fn is_word(byte: u8) -> bool {
    matches!(CLASS[usize::from(byte)], Kind::Word | Kind::Digit | Kind::Dollar)
}

fn end_of(sql: &[u8], from: usize, belongs: impl Fn(u8) -> bool) -> usize {
    sql[from..].iter().position(|byte| !belongs(*byte)).map_or(sql.len(), |length| from + length)
}

/// `12` and `12.5` with nothing attached. `1.`, `1..2`, `1e5`, `0x1F`, `1_000` and `1a` differ between versions or are
/// worth no rule.
fn end_of_number(sql: &[u8], start: usize) -> Option<usize> {
    let digit = |byte: u8| byte.is_ascii_digit();
    let mut end = end_of(sql, start, digit);
    if sql.get(end) == Some(&b'.') && sql.get(end + 1).is_some_and(|byte| digit(*byte)) {
        end = end_of(sql, end + 1, digit);
    }
    let attached = |byte: &u8| is_word(*byte) || matches!(byte, b'.' | b'\'' | b'"') || *byte >= 0x80;
    (!sql.get(end).is_some_and(attached)).then_some(end)
}

/// Past the closing quote; a doubled quote does not close.
fn end_of_quoted(sql: &[u8], start: usize, quote: u8) -> Option<usize> {
    let mut at = start + 1;
    loop {
        at += memchr(quote, sql.get(at..)?)? + 1;
        if sql.get(at) != Some(&quote) {
            return Some(at);
        }
        at += 1;
    }
}

/// As above, where a backslash takes the next byte with it (PostgreSQL, 4.1.2.2).
fn end_of_escape_string(sql: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        at += memchr2(b'\'', b'\\', sql.get(at..)?)? + 1;
        if sql[at - 1] == b'\'' && sql.get(at) != Some(&b'\'') {
            return Some(at);
        }
        at += 1;
    }
}

fn end_of_line(sql: &[u8], start: usize) -> usize {
    memchr2(b'\n', b'\r', &sql[start..]).map_or(sql.len(), |length| start + length)
}

/// Comments nest (PostgreSQL, 4.1.5).
fn end_of_comment(sql: &[u8], start: usize) -> Option<usize> {
    let mut depth = 1;
    let mut at = start + 2;
    while depth > 0 {
        at += memchr2(b'*', b'/', sql.get(at..)?)?;
        match (sql[at], sql.get(at + 1)?) {
            (b'/', b'*') => (depth, at) = (depth + 1, at + 2),
            (b'*', b'/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    Some(at)
}
