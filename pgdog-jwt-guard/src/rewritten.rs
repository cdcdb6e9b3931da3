//! Texts that are sent otherwise than they were written: statements that tools send, of which the text alone does not show that
//! they change nothing.
//!
//! `SELECT set_config(name, '…', false) FROM pg_settings WHERE name = 'work_mem'` sets `work_mem`, if `pg_settings` is
//! PostgreSQL's view, and `=` its operator: both depend on the `search_path`. With the constant in the place of the column it
//! sets `work_mem` whatever they are. So that text is judged, as any other, and sent.

use std::ops::Range;

use crate::class::{Class, Effects, Refusal, Verdict};
use crate::classifier::{Classifier, Judged, judge_statements};
use crate::parser::{self, Parser, Token, TokenKind};
use crate::policy::Policy;
use crate::refusal;
use crate::set_config::{self, Named};
use crate::tree::Tree;

/// What to send in the place of a text whose verdict is [`Verdict::Rewrite`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rewritten {
    /// This text, which has this class.
    Text(Vec<u8>, Class),
}

impl Classifier {
    /// What to send in the place of such a text. `None`: its verdict is another.
    pub fn rewritten(&self, sql: &[u8]) -> Option<Rewritten> {
        let statements = parser::read(self.parser, sql, self.policy.max_words).ok()?;
        match judge_statements(&statements, &self.policy).class.verdict {
            Verdict::Refuse(refusal) => rewrite(sql, &statements, refusal, &self.policy, self.parser),
            _ => None,
        }
    }
}

/// The class of a text that the guard would refuse as it is.
pub(crate) fn judge(
    judged: Judged,
    refusal: &'static Refusal,
    sql: &[u8],
    statements: &[Tree],
    policy: &Policy,
    parser: &dyn Parser,
) -> Judged {
    match rewrite(sql, statements, refusal, policy, parser) {
        Some(Rewritten::Text(_, class)) => {
            let effects = class.effects | Effects::REWRITTEN;
            Judged { class: Class { verdict: Verdict::Rewrite(refusal), effects, ..class }, any_constants: false }
        }
        None => judged,
    }
}

fn rewrite(
    sql: &[u8],
    statements: &[Tree],
    refusal: &'static Refusal,
    policy: &Policy,
    parser: &dyn Parser,
) -> Option<Rewritten> {
    if !std::ptr::eq(refusal, &raw const refusal::SET_CONFIG_NAME) {
        return None;
    }
    let text = with_constants(std::str::from_utf8(sql).ok()?, statements, parser)?;
    let statements = parser::read(parser, text.as_bytes(), policy.max_words).ok()?;
    let class = judge_statements(&statements, policy).class;
    (class.verdict == Verdict::Allow).then(|| Rewritten::Text(text.into_bytes(), class))
}

/// The text with constants as the first arguments of `set_config` where they can stand there.
fn with_constants(sql: &str, statements: &[Tree], parser: &dyn Parser) -> Option<String> {
    let mut calls = Vec::new();
    for statement in statements {
        statement.walk(|node| {
            if set_config::is_call(node)
                && let Named::Instead(constant) = set_config::named(node, statement)
            {
                calls.push((node, constant));
            }
        });
    }
    let tokens: Vec<Token> =
        parser::tokens(parser, sql)?.into_iter().filter(|token| token.kind != TokenKind::Comment).collect();
    calls.sort_by_key(|(call, _)| std::cmp::Reverse(call.location));
    let mut text = sql.to_owned();
    for (call, constant) in calls {
        // Nothing in it has a meaning in any encoding, or in a string.
        if !constant.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.')) {
            return None;
        }
        text.replace_range(first_argument(sql, &tokens, call)?, &format!("'{constant}'"));
    }
    Some(text)
}

/// Where the first argument of a call stands in the text.
fn first_argument(sql: &str, tokens: &[Token], call: &Tree) -> Option<Range<usize>> {
    let word = |token: &Token| sql.get(token.range.clone()).unwrap_or_default();
    let begin = tokens.iter().position(|token| Some(token.range.start) == call.location)?;
    // Names with dots in between.
    let bracket = begin + (2 * call.list("funcname").len()).checked_sub(1)?;
    tokens.get(bracket).filter(|token| word(token) == "(")?;
    let behind = tokens.get(bracket + 1..)?;
    let mut depth = 0_usize;
    let end = behind.iter().position(|token| {
        match word(token) {
            "(" | "[" => depth += 1,
            ")" | "]" if depth > 0 => depth -= 1,
            "," | ")" if depth == 0 => return true,
            _ => {}
        }
        false
    })?;
    Some(behind.first()?.range.start..behind.get(end.checked_sub(1)?)?.range.end)
}
