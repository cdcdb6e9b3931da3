//! Reads statements: where they may run, what they leave behind, and whether they may run at all.
//!
//! One [`Classifier`] belongs to one worker thread and takes no lock. A text is parsed with PostgreSQL's own grammar once;
//! after that its class is found by the text, or by its template when no constant in it matters (see [`template`]).
//!
//! Assumes that the server reads plain strings without escapes: the host must not guard a session on a server that
//! reports `standard_conforming_strings = off`.

mod access;
mod cache;
mod class;
mod effects;
mod functions;
mod guard;
mod names;
mod own_setting;
mod refusal;
mod secrets;
mod startup;
mod template;
#[cfg(test)]
mod tests;
mod tree;
mod wish;

use std::panic::{AssertUnwindSafe, catch_unwind};

use cache::Memory;
pub(crate) use class::{Access, Class, Effects, GuardMode, Policy, ReadWriteStrategy, Refusal, Transaction, Verdict};
pub(crate) use functions::allowed_function_call;
pub(crate) use guard::{keeps_quotes_visible, setting as refused_setting};
pub(crate) use names::{SqlStatement, deallocated_name, own_name, resets_settings, settings_named, sql_statement};
pub(crate) use own_setting::{CLIENT_FLOW, OwnSetting, is_for_gateway, mentions_own_setting, own_setting};
use pg_query::protobuf::{DiscardMode, VariableSetKind};
pub(crate) use secrets::without_constants;
pub(crate) use startup::{refused_startup_parameter, startup_assignments};
use tree::Tree;
pub(crate) use wish::{ROLE_SETTING, side};

/// Longer texts are judged each time (bytes), unless they have a short template.
const MAX_CACHED_TEXT: usize = 16 * 1024;

/// Finds the class of texts under one policy, and remembers it.
pub(crate) struct Classifier {
    policy: Policy,
    scanner: template::Scanner,
    /// `None`: the constants in texts of this template matter.
    templates: Memory<Option<Class>>,
    texts: Memory<Class>,
    fingerprints: Memory<Option<u64>>,
}

impl Classifier {
    /// Knows nothing yet.
    pub(crate) fn new(policy: Policy) -> Self {
        let (templates, texts) = (Memory::new(policy.cache_limit), Memory::new(policy.cache_limit));
        let fingerprints = Memory::new(policy.cache_limit);
        Self { policy, scanner: template::Scanner::default(), templates, texts, fingerprints }
    }

    /// The class of a text: one query message, or the text of one Parse message, without the closing NUL.
    pub(crate) fn classify(&mut self, sql: &[u8]) -> Class {
        if let Some((template, wish)) = self.scanner.template(sql) {
            let known = match self.templates.get(template) {
                Some(known) => known,
                // It may hold a token, in a place where no constant can be.
                None if mentions_own_setting(template) => None,
                None => {
                    let judged = judge(template, &self.policy);
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
        let judge = |sql, policy| {
            let class = judge(sql, policy).class;
            Class { wish: wish::of_comments(sql).or(class.wish), ..class }
        };
        if sql.len() > MAX_CACHED_TEXT {
            return judge(sql, &self.policy);
        }
        if let Some(class) = self.texts.get(sql) {
            return class;
        }
        if mentions_own_setting(sql) {
            // It may hold a token: never remembered.
            return judge(sql, &self.policy);
        }
        let class = judge(sql, &self.policy);
        self.texts.put(sql, class);
        class
    }
}

/// A class, and whether it would be the same with any other constants.
struct Judged {
    class: Class,
    any_constants: bool,
}

/// Reads a text without any memory of others.
fn judge(sql: &[u8], policy: &Policy) -> Judged {
    match parse(sql) {
        Ok(statements) => judge_statements(&statements, policy),
        Err(refusal) => {
            let allowed = policy.guard == GuardMode::Off || refusal.is_none();
            let verdict = refusal.filter(|_| !allowed).map_or(Verdict::Allow, Verdict::Refuse);
            Judged { class: Class { verdict, ..Class::UNKNOWN }, any_constants: false }
        }
    }
}

/// The statements, or why the guard refuses a text that cannot be read (`None`: it may pass all the same).
fn parse(sql: &[u8]) -> Result<Vec<Tree>, Option<&'static Refusal>> {
    let sql = std::str::from_utf8(sql).map_err(|_| &refusal::NOT_UTF8)?;
    // A defect in the parser's bindings must not take the worker's other clients with it.
    let parsed = catch_unwind(AssertUnwindSafe(|| pg_query::parse(sql, 0))).map_err(|_| &refusal::UNPARSABLE)?;
    let parsed = parsed.map_err(|error| match error {
        pg_query::Error::Decode(_) => guard::too_deep(sql),
        _ => Some(&refusal::UNPARSABLE),
    })?;
    let statements = parsed.protobuf.stmts.iter().map(|raw| raw.stmt.as_deref().and_then(Tree::of));
    Ok(statements.collect::<Option<_>>().ok_or(&refusal::UNPARSABLE)?)
}

fn judge_statements(statements: &[Tree], policy: &Policy) -> Judged {
    let mut access = Access::Read;
    let mut effects = Effects::NONE;
    let mut verdict = Verdict::Allow;
    let mut any_constants = true;
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
            effects |= effects::nested(node) | secrets::nested(node);
            any_constants &= !looks_at_constants(node);
            if !(names_itself && node.kind == "VariableSetStmt") {
                refused = refused.or_else(|| guard::inspect(node, policy));
            }
        });
        effects |= effects::of(statement);
        if access::of(statement, writes) == Access::Write {
            access = Access::Write;
        }
        if !matches!(verdict, Verdict::Refuse(_)) {
            verdict = match refused {
                Some(refusal) => Verdict::Refuse(refusal),
                None if !forgets_identity(statement, policy) => verdict,
                None if statements.len() == 1 => Verdict::Barrier,
                None => Verdict::Refuse(&refusal::NOT_ALONE),
            };
        }
    }
    if policy.guard == GuardMode::Off {
        verdict = Verdict::Allow;
    }
    let (transaction, wish) = (access::transaction(statements), wish::of_setting(statements));
    Judged { class: Class { access, verdict, effects, transaction, wish }, any_constants }
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
        "DiscardStmt" => statement.num("target") == DiscardMode::DiscardAll as i64,
        "VariableSetStmt" => {
            statement.num("kind") == VariableSetKind::VarResetAll as i64 && !policy.protected.is_empty()
        }
        _ => false,
    }
}
