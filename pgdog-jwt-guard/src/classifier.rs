//! Classes of texts, found by template or text, or by a look at the trees.

use std::sync::Arc;

use crate::access;
use crate::account;
use crate::cache::Memory;
use crate::class::{Access, Class, Effects, Verdict};
use crate::dialect::Dialect;
use crate::effects;
use crate::foreign::{self, Code};
use crate::functions;
use crate::guard;
use crate::masked::Masked;
use crate::names;
use crate::numbers::{DISCARD_ALL, VAR_RESET_ALL};
use crate::parser::{self, Parser};
use crate::policy::{GuardMode, Policy};
use crate::refusal;
use crate::rewritten;
use crate::template::Scanner;
use crate::tree::Tree;
use crate::wish;

/// Longer texts are judged each time (bytes), unless they have a short template.
pub(crate) const MAX_CACHED_TEXT: usize = 16 * 1024;

/// Finds the class of texts under one policy, and remembers it.
///
/// One belongs to one thread and takes no lock. A text is parsed once; after that its class is found by the text, or by its
/// template, which is the text without constants, when none of them matters to a rule.
pub struct Classifier {
    pub(crate) policy: Policy,
    pub(crate) parser: &'static dyn Parser,
    pub(crate) scanner: Scanner,
    /// `None`: the constants in texts of this template matter.
    pub(crate) templates: Memory<Option<Class>>,
    pub(crate) texts: Memory<Class>,
    pub(crate) masked: Memory<Option<Arc<Masked>>>,
}

impl Classifier {
    /// Knows nothing yet.
    pub fn new(policy: Policy, parser: &'static dyn Parser) -> Self {
        let (templates, texts) = (Memory::new(policy.cache_limit), Memory::new(policy.cache_limit));
        let masked = Memory::new(policy.cache_limit);
        Self { policy, parser, scanner: Scanner::default(), templates, texts, masked }
    }

    /// The class of a text: one query message, or the text of one Parse message, without the closing NUL.
    pub fn classify(&mut self, sql: &[u8]) -> Class {
        let Dialect { hints, may_hold_secret, .. } = self.policy.dialect;
        if let Some((template, wish)) = self.scanner.template(sql, hints) {
            let known = match self.templates.get(template) {
                Some(known) => known,
                // In a place where no constant can be.
                None if may_hold_secret(template) => None,
                None => {
                    let judged = judge(template, &self.policy, self.parser);
                    let class = judged.any_constants.then_some(judged.class);
                    self.templates.put(template, class);
                    class
                }
            };
            if let Some(class) = known {
                // A template has no comments, so what they say is no part of what is remembered of it.
                return Class { wish: wish.or(class.wish), ..class };
            }
        }
        if sql.len() > MAX_CACHED_TEXT {
            return self.judge_whole(sql);
        }
        if let Some(class) = self.texts.get(sql) {
            return class;
        }
        let class = self.judge_whole(sql);
        if !may_hold_secret(sql) {
            self.texts.put(sql, class);
        }
        class
    }

    fn judge_whole(&self, sql: &[u8]) -> Class {
        let class = judge(sql, &self.policy, self.parser).class;
        Class { wish: wish::of_comments(sql, self.policy.dialect.hints, self.parser).or(class.wish), ..class }
    }

    /// What code a text may run, where what was known of that is forgotten.
    pub fn code_anew(&mut self, sql: &[u8]) -> Code {
        let Judged { class, .. } = judge(sql, &self.policy, self.parser);
        let code = class.code;
        if let Some((template, _)) = self.scanner.template(sql, None)
            && let Some(Some(known)) = self.templates.get(template)
        {
            self.templates.put(template, Some(Class { code, ..known }));
        } else if let Some(known) = self.texts.get(sql) {
            self.texts.put(sql, Class { code, ..known });
        }
        code
    }
}

/// A class, and whether it would be the same with any other constants.
pub(crate) struct Judged {
    pub(crate) class: Class,
    pub(crate) any_constants: bool,
}

/// Reads a text without any memory of others.
pub(crate) fn judge(sql: &[u8], policy: &Policy, parser: &dyn Parser) -> Judged {
    match parser::read(parser, sql, policy.max_words) {
        Ok(statements) => {
            let judged = judge_statements(&statements, policy);
            match judged.class.verdict {
                Verdict::Refuse(refusal) => rewritten::judge(judged, refusal, sql, &statements, policy, parser),
                _ => judged,
            }
        }
        Err(refusal) => {
            let allowed = policy.guard == GuardMode::Off || refusal.is_none();
            let verdict = refusal.filter(|_| !allowed).map_or(Verdict::Allow, Verdict::Refuse);
            Judged { class: Class { verdict, ..Class::UNKNOWN }, any_constants: false }
        }
    }
}

pub(crate) fn judge_statements(statements: &[Tree], policy: &Policy) -> Judged {
    let mut access = Access::Read;
    let mut effects = Effects::NONE;
    let mut verdict = Verdict::Allow;
    let mut any_constants = true;
    let is_guarded = policy.guard != GuardMode::Off;
    for statement in statements {
        any_constants &= is_data_statement(statement);
        let mut writes = false;
        let mut refused = None;
        let names_itself = statements.len() == 1 && names::names_itself(statement);
        if names_itself {
            effects |= Effects::OWN_NAME;
        }
        statement.walk(|node| {
            writes |= access::writes(node, policy.strategy);
            effects |= effects::nested(node, &policy.dialect);
            any_constants &= !looks_at_constants(node);
            refused = refused.or_else(|| account::inspect(node, policy.account));
            if is_guarded && !(names_itself && node.kind == "VariableSetStmt") {
                refused = refused.or_else(|| guard::inspect(node, statement, policy));
            }
        });
        effects |= effects::of(statement);
        if access::of(statement, writes) == Access::Write {
            access = Access::Write;
        }
        if !matches!(verdict, Verdict::Refuse(_)) {
            verdict = match refused {
                Some(refusal) => Verdict::Refuse(refusal),
                None if !is_guarded || !forgets_identity(statement, policy) => verdict,
                None if statements.len() == 1 => Verdict::Barrier,
                None if statement.kind == "DiscardStmt" => Verdict::Refuse(&refusal::DISCARD_IN_BLOCK),
                None => Verdict::Refuse(&refusal::NOT_ALONE),
            };
        }
    }
    if statements.len() == 1 && effects.intersects(Effects::DISCARD_ALL | Effects::RESETS_ALL) {
        effects |= Effects::FORGETS;
    }
    if let [statement] = statements
        && access::opens(statement)
    {
        effects |= Effects::OPENS;
    }
    let (transaction, wish) = (access::transaction(statements), wish::of_setting(statements, policy.dialect.hints));
    let code = foreign::collect(statements);
    Judged { class: Class { access, verdict, effects, code, transaction, wish }, any_constants }
}

/// Statements that name no object by a string and set nothing: the ones worth a template.
fn is_data_statement(statement: &Tree) -> bool {
    matches!(statement.kind, "SelectStmt" | "InsertStmt" | "UpdateStmt" | "DeleteStmt" | "MergeStmt")
}

/// Whether a rule may look at a constant (or at the number of constants) below this node.
fn looks_at_constants(node: &Tree) -> bool {
    match node.kind {
        "FuncCall" => {
            matches!(&*guard::canonical(node.last_name("funcname")), functions::SET_CONFIG | functions::TS_REWRITE)
        }
        "TypeCast" => guard::names_function_type(node),
        _ => false,
    }
}

/// `DISCARD ALL` ends with `RESET SESSION AUTHORIZATION`, which also leaves the role. `RESET ALL` keeps both (they are
/// marked `GUC_NO_RESET_ALL`), yet not other protected variables.
fn forgets_identity(statement: &Tree, policy: &Policy) -> bool {
    match statement.kind {
        _ if !policy.identity => false,
        "DiscardStmt" => statement.num("target") == DISCARD_ALL,
        "VariableSetStmt" => statement.num("kind") == VAR_RESET_ALL && !policy.protected.is_empty(),
        _ => false,
    }
}
