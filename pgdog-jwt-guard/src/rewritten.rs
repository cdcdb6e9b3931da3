//! Texts that are sent otherwise than they were written: statements that tools send, of which the text alone does not show that
//! they change nothing.
//!
//! `SELECT set_config(name, '…', false) FROM pg_settings WHERE name = 'work_mem'` sets `work_mem`, if `pg_settings` is
//! PostgreSQL's view, and `=` its operator: both depend on the `search_path`. With the constant in the place of the column it
//! sets `work_mem` whatever they are. So that text is judged, as any other, and sent.
//!
//! Other statements do nothing where the session is who they name, or has what they make: `SET ROLE alice` of alice,
//! `CREATE EXTENSION IF NOT EXISTS`. Whether that is so, the host knows; and it sends none of them as it is.

use std::ops::Range;

use crate::class::{Class, Effects, Refusal, Verdict};
use crate::classifier::{Classifier, Judged, judge_statements};
use crate::foreign::Code;
use crate::guard::canonical;
use crate::numbers::{VAR_RESET, VAR_SET_DEFAULT, VAR_SET_VALUE};
use crate::parser::{self, Parser, Token, TokenKind};
use crate::policy::Policy;
use crate::refusal;
use crate::set_config::{self, Named};
use crate::tree::{Tree, Value};

/// What to send in the place of a text whose verdict is [`Verdict::Rewrite`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rewritten {
    /// This text, which has this class.
    Text(Vec<u8>, Class),
    /// Where the role is the session's own: the same by a statement that leads nowhere else.
    Role(Role),
    /// `CREATE EXTENSION IF NOT EXISTS` of this name, which is an identifier of ASCII: PostgreSQL's notice, where it exists.
    Extension(String),
}

/// A statement that makes a session a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Which; `None`: the one that it had when it came.
    pub role: Option<String>,
    /// It is for the transaction alone.
    pub is_local: bool,
    /// It is `SELECT set_config(…)`.
    pub is_call: bool,
    /// It is `RESET`.
    pub is_reset: bool,
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
        Some(rewritten) => {
            let class = rewritten.class(judged.class);
            let effects = class.effects | Effects::REWRITTEN;
            Judged { class: Class { verdict: Verdict::Rewrite(refusal), effects, ..class }, any_constants: false }
        }
        None => judged,
    }
}

impl Rewritten {
    /// The class of what is sent for a text of this class.
    pub fn class(&self, of_text: Class) -> Class {
        let of_own = |effects| Class { verdict: Verdict::Allow, effects, code: Code::OWN, ..of_text };
        match self {
            Self::Text(_, class) => *class,
            Self::Role(role) => of_own(if role.is_reset { Effects::AS_RESET } else { Effects::NONE }),
            Self::Extension(_) => of_own(Effects::AS_EXTENSION),
        }
    }
}

fn rewrite(
    sql: &[u8],
    statements: &[Tree],
    refusal: &'static Refusal,
    policy: &Policy,
    parser: &dyn Parser,
) -> Option<Rewritten> {
    if let [statement] = statements
        && refusal.is_for_the_host()
    {
        return role(statement).map(Rewritten::Role).or_else(|| extension(statement).map(Rewritten::Extension));
    }
    if !std::ptr::eq(refusal, &raw const refusal::SET_CONFIG_NAME) {
        return None;
    }
    let text = with_constants(std::str::from_utf8(sql).ok()?, statements, parser)?;
    let statements = parser::read(parser, text.as_bytes(), policy.max_words).ok()?;
    let class = judge_statements(&statements, policy).class;
    (class.verdict == Verdict::Allow).then(|| Rewritten::Text(text.into_bytes(), class))
}

/// What a statement that does nothing else makes of the role.
fn role(statement: &Tree) -> Option<Role> {
    if statement.kind == "SelectStmt" {
        return called_role(statement);
    }
    let name = canonical(statement.text("name"));
    if statement.kind != "VariableSetStmt" || !matches!(&*name, "role" | "session_authorization") {
        return None;
    }
    let is_reset = statement.num("kind") == VAR_RESET;
    let role = match (statement.num("kind"), statement.list("args")) {
        (VAR_RESET | VAR_SET_DEFAULT, []) => None,
        (VAR_SET_VALUE, [value]) => {
            let value = value.node().filter(|value| value.kind == "AConst")?.string_constant()?;
            (value != "none" || name != "role").then(|| value.to_owned())
        }
        _ => return None,
    };
    Some(Role { role, is_local: statement.flag("is_local"), is_call: false, is_reset })
}

/// `SELECT set_config('role', 'constant', false)`.
fn called_role(select: &Tree) -> Option<Role> {
    let [target] = select.list("target_list") else { return None };
    let target = target.node().filter(|target| target.text("name").is_empty())?;
    let call = target.node("val").filter(|call| set_config::is_call(call))?;
    let alone =
        select.children().count() == 1 && call.children().all(|(field, _)| matches!(field, "funcname" | "args"));
    let [name, role, local] = call.list("args") else { return None };
    let constant =
        |value: &'_ Value| value.node().filter(|value| value.kind == "AConst")?.string_constant().map(str::to_owned);
    let is_role = canonical(&constant(name)?) == "role";
    let is_local = local.node()?.node("val").filter(|value| value.kind == "Boolean")?.flag("boolval");
    let role = Some(constant(role)?);
    (alone && is_role).then_some(Role { role, is_local, is_call: true, is_reset: false })
}

/// The name in `CREATE EXTENSION IF NOT EXISTS`.
fn extension(statement: &Tree) -> Option<String> {
    let name = statement.text("extname");
    let plain =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    (statement.kind == "CreateExtensionStmt" && statement.flag("if_not_exists") && plain).then(|| name.to_owned())
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
