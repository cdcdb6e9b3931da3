//! A text as it may be written down: keywords, names and operators, and nothing that could be a secret.
//!
//! What remains is decided by PostgreSQL's own lexer and grammar, and whatever they do not name is taken away:
//!
//! - each constant of any form, and each comment;
//! - words that are values: `SET x TO word`, `WITH (option = word)`;
//! - of a statement that PostgreSQL did not accept, words that would be columns: a string in the wrong quotes is one.
//!
//! A text that does not parse is not written down at all, nor one that would not parse without what was taken away.

use std::collections::HashSet;
use std::sync::Arc;

use super::classifier::{Classifier, MAX_CACHED_TEXT};
use super::dialect::Dialect;
use super::parser::{self, Parser, Token, TokenKind};
use super::tree::{Tree, Value};
use super::values;

/// What stands for everything that was taken away.
const MASK: &str = "?";

/// Longer texts without a template are not read, in bytes.
const MAX_READ: usize = 256 * 1024;

/// Variables whose values are names.
const NAMES_ROLES: [&str; 3] = ["role", "session_authorization", "search_path"];

/// Options whose values are names.
const NAMES: [&str; 7] = ["as", "language", "owned_by", "owner", "schema", "tablespace", "template"];

/// What may be written down of a text.
#[derive(Debug, PartialEq, Eq)]
pub struct Masked {
    /// With `?` in place of what was taken away.
    pub text: Box<str>,
    /// The same for a statement that was refused or failed, where that is another text.
    pub of_failed: Option<Box<str>>,
    /// The parser's number, which is the same for texts that differ in constants alone.
    pub fingerprint: u64,
    /// The parameters whose values may be written down, in order: `1` is `$1`.
    pub shown: Box<[usize]>,
}

impl Classifier {
    /// What may be written down of a text, remembered as its class is; `None`: nothing.
    pub fn masked(&mut self, sql: &[u8]) -> Option<Arc<Masked>> {
        // By its template, so that every worker gives the same to the same statement.
        let text = self.scanner.template(sql, None).map_or(sql, |(template, _)| template);
        if text.len() > MAX_CACHED_TEXT {
            return masked(text, &self.policy.dialect, self.parser).map(Arc::new);
        }
        if let Some(known) = self.masked.get(text) {
            return known;
        }
        let masked = masked(text, &self.policy.dialect, self.parser).map(Arc::new);
        if !(self.policy.dialect.may_hold_secret)(text) {
            self.masked.put(text, masked.clone());
        }
        masked
    }
}

fn masked(sql: &[u8], dialect: &Dialect, parser: &dyn Parser) -> Option<Masked> {
    if sql.len() > MAX_READ || (dialect.may_hold_secret)(sql) {
        return None;
    }
    let statements = parser::parse(parser, sql)?;
    let sql = std::str::from_utf8(sql).ok()?;
    let tokens = words(sql, parser::tokens(parser, sql)?)?;
    let special = Words::of(&statements, &tokens);
    let mut written = Written::default();
    for (word, gap) in &tokens {
        written.add(word, *gap, &special);
    }
    let fingerprint = parser::fingerprint(parser, &written.neutral)?;
    let of_failed = (written.of_failed != written.text).then(|| written.of_failed.into());
    let shown = values::shown(&statements).into();
    Some(Masked { text: written.text.into(), of_failed, fingerprint, shown })
}

/// A token that is no comment.
struct Word<'t> {
    start: usize,
    text: &'t str,
    kind: Kind,
}

impl Word<'_> {
    /// What a name stands for, in lower case.
    fn name(&self) -> String {
        let quoted = self.text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        quoted.map_or_else(|| self.text.to_lowercase(), |text| text.replace("\"\"", "\"").to_lowercase())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A keyword, an operator, a parameter, a sign.
    Known,
    Name,
    /// A constant, with one that takes its place where the text is parsed.
    Constant(&'static str),
}

/// The tokens of a text but for comments, each with whether there is a gap in front of it. `None`: something in it is not known.
fn words(sql: &str, tokens: Vec<Token>) -> Option<Vec<(Word<'_>, bool)>> {
    let mut words = Vec::with_capacity(tokens.len());
    let (mut end, mut gap) = (0, false);
    for Token { kind, range } in tokens {
        let between = sql.get(end..range.start)?;
        // All that PostgreSQL takes for space (scan.l); a vertical tab is, too.
        if !between.bytes().all(|byte| byte.is_ascii_whitespace() || byte == 0x0b) {
            return None;
        }
        gap |= !between.is_empty();
        end = range.end;
        let (start, text) = (range.start, sql.get(range)?);
        let kind = match kind {
            TokenKind::Comment => {
                gap = true;
                continue;
            }
            TokenKind::Name => Kind::Name,
            TokenKind::String => Kind::Constant("''"),
            TokenKind::Bits => Kind::Constant("b''"),
            TokenKind::HexBits => Kind::Constant("x''"),
            TokenKind::Number => Kind::Constant("1"),
            TokenKind::Fixed => Kind::Known,
            TokenKind::Other => return None,
        };
        words.push((Word { start, text, kind }, gap));
        gap = false;
    }
    // Behind the last one, as in front of the first.
    let rest = sql.get(end..)?;
    rest.bytes().all(|byte| byte.is_ascii_whitespace() || byte == 0x0b).then_some(words)
}

/// Words that are more, or less, than names, by where they begin.
#[derive(Default)]
struct Words {
    /// Constants, whatever they look like.
    values: HashSet<usize>,
    /// Columns that stand alone.
    columns: HashSet<usize>,
}

impl Words {
    fn of(statements: &[Tree], tokens: &[(Word<'_>, bool)]) -> Self {
        let (mut words, mut names) = (Self::default(), HashSet::new());
        for statement in statements {
            statement.walk(|node| match node.kind {
                "AConst" => words.values.extend(node.location),
                "ColumnRef" if node.list("fields").len() == 1 => words.columns.extend(node.location),
                "VariableSetStmt" if NAMES_ROLES.contains(&&*node.text("name").to_ascii_lowercase()) => {
                    names.extend(node.list("args").iter().filter_map(|value| value.node()?.location));
                }
                "DefElem" if !NAMES.contains(&node.text("defname")) => words.add_option(node, tokens),
                _ => {}
            });
        }
        words.values.retain(|at| !names.contains(at));
        words
    }

    /// The grammar keeps no place of an option's value: it is looked for behind the option's name.
    fn add_option(&mut self, option: &Tree, tokens: &[(Word<'_>, bool)]) {
        let Some(value) = option.node("arg") else { return };
        let mut texts = Vec::new();
        add_texts(value, &mut texts);
        if texts.is_empty() {
            return;
        }
        let begin = tokens.iter().position(|(word, _)| Some(word.start) == option.location);
        // `name` or `namespace.name`.
        let name = if option.text("defnamespace").is_empty() { 1 } else { 3 };
        for (word, _) in tokens.iter().skip(begin.map_or(0, |at| at + name)) {
            let ends = matches!(word.text, ")" | ";") || (value.kind != "List" && word.text == ",");
            if begin.is_some() && (ends || matches!(word.kind, Kind::Constant(_))) {
                return;
            }
            if word.kind == Kind::Name && texts.contains(&word.name()) {
                self.values.insert(word.start);
            }
        }
    }
}

fn add_texts(value: &Tree, texts: &mut Vec<String>) {
    match value.kind {
        "String" => texts.push(value.text("sval").to_lowercase()),
        "TypeName" => value.list("names").iter().filter_map(Value::node).for_each(|name| add_texts(name, texts)),
        "List" => value.list("items").iter().filter_map(Value::node).for_each(|item| add_texts(item, texts)),
        _ => {}
    }
}

/// The text in its forms.
#[derive(Default)]
struct Written {
    text: String,
    of_failed: String,
    /// What is parsed again.
    neutral: String,
}

impl Written {
    fn add(&mut self, word: &Word<'_>, gap: bool, words: &Words) {
        let [text, of_failed, neutral] = match word.kind {
            Kind::Known => [word.text; 3],
            Kind::Constant(other) => [MASK, MASK, other],
            Kind::Name if words.values.contains(&word.start) => [MASK, MASK, "''"],
            Kind::Name if words.columns.contains(&word.start) => [word.text, MASK, word.text],
            Kind::Name => [word.text; 3],
        };
        for (out, part) in [(&mut self.text, text), (&mut self.of_failed, of_failed), (&mut self.neutral, neutral)] {
            if gap && !out.is_empty() {
                out.push(' ');
            }
            out.push_str(part);
        }
    }
}
