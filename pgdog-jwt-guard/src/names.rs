//! Names in a text: of the settings that it sets, and of statements of SQL `PREPARE`. Each function parses the text, for the few
//! that have such names.

use super::guard::canonical;
use super::numbers::{VAR_RESET, VAR_RESET_ALL, VAR_SET_DEFAULT, VAR_SET_VALUE};
use super::parser::{Parser, parse};
use super::set_config::{Named, is_call, named};
use super::tree::Tree;

/// The settings that `SET` and `set_config` in a text name, in lower case; `None` when one of them is known only to the
/// server. Parses the text: for the few that set something.
pub fn settings_named(parser: &dyn Parser, sql: &[u8]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut known = true;
    for statement in parse(parser, sql)? {
        statement.walk(|node| match node.kind {
            "VariableSetStmt" => names.push(canonical(node.text("name")).into_owned()),
            "FuncCall" if is_call(node) => match named(node, &statement) {
                Named::Constant(name) => names.push(canonical(name).into_owned()),
                Named::Listed(listed) => names.extend(listed.into_iter().map(|name| canonical(name).into_owned())),
                Named::Instead(_) | Named::Unknown => known = false,
            },
            "LoadStmt" => known = false,
            _ => {}
        });
    }
    known.then_some(names)
}

/// Whether a text leads a setting back to its default.
pub fn resets_settings(parser: &dyn Parser, sql: &[u8]) -> bool {
    let resets = |statement: &Tree| {
        statement.kind == "VariableSetStmt"
            && matches!(statement.num("kind"), VAR_RESET | VAR_RESET_ALL | VAR_SET_DEFAULT)
    };
    parse(parser, sql).is_some_and(|statements| statements.iter().any(resets))
}

/// A text that is one statement about statements of SQL `PREPARE`.
#[derive(Debug, PartialEq, Eq)]
pub enum SqlStatement {
    /// `PREPARE name AS …`.
    Prepare(String),
    /// `EXECUTE name`, also below `EXPLAIN` and `CREATE TABLE AS`.
    Execute(Vec<String>),
    /// `DEALLOCATE name`.
    Deallocate(String),
    /// `DEALLOCATE ALL`.
    DeallocateAll,
}

impl SqlStatement {
    /// The names in it.
    pub fn names(&self) -> Vec<&str> {
        match self {
            Self::Prepare(name) | Self::Deallocate(name) => vec![name],
            Self::Execute(names) => names.iter().map(String::as_str).collect(),
            Self::DeallocateAll => Vec::new(),
        }
    }
}

/// What a text does with statements of SQL `PREPARE`; `None` when it is something else or more than one statement.
pub fn sql_statement(parser: &dyn Parser, sql: &[u8]) -> Option<SqlStatement> {
    let statements = parse(parser, sql)?;
    let [statement] = statements.as_slice() else { return None };
    let name = statement.text("name");
    match statement.kind {
        "PrepareStmt" => Some(SqlStatement::Prepare(name.to_owned())),
        "DeallocateStmt" if name.is_empty() => Some(SqlStatement::DeallocateAll),
        "DeallocateStmt" => Some(SqlStatement::Deallocate(name.to_owned())),
        _ => {
            let mut names = Vec::new();
            statement.walk(|node| {
                if node.kind == "ExecuteStmt" {
                    names.push(node.text("name").to_owned());
                }
            });
            (!names.is_empty()).then_some(SqlStatement::Execute(names))
        }
    }
}

/// The name in a text that is one `DEALLOCATE name`.
pub fn deallocated_name(parser: &dyn Parser, sql: &[u8]) -> Option<String> {
    match parse(parser, sql)?.as_slice() {
        [statement] if statement.kind == "DeallocateStmt" => Some(statement.text("name").to_owned()),
        _ => None,
    }
}

/// Whether a statement is `SET application_name` with a constant that is text or a whole number, or leads it back to its
/// default.
pub(super) fn names_itself(statement: &Tree) -> bool {
    if statement.kind != "VariableSetStmt" || canonical(statement.text("name")) != "application_name" {
        return false;
    }
    match statement.num("kind") {
        VAR_RESET | VAR_SET_DEFAULT => true,
        VAR_SET_VALUE => constant(statement).is_some(),
        _ => false,
    }
}

/// The name in a text that is one `SET application_name`, and whether it is `SET LOCAL`; `None` for a text that leads it
/// back to its default.
pub fn own_name(parser: &dyn Parser, sql: &[u8]) -> Option<(String, bool)> {
    let statements = parse(parser, sql)?;
    let [statement] = statements.as_slice() else { return None };
    let name = if names_itself(statement) { constant(statement) } else { None };
    name.map(|name| (name, statement.flag("is_local")))
}

fn constant(set: &Tree) -> Option<String> {
    let [value] = set.list("args") else { return None };
    let node = value.node()?;
    if let Some(text) = node.string_constant() {
        return Some(text.to_owned());
    }
    let number = node.node("val").filter(|value| value.kind == "Integer")?;
    Some(number.num("ival").to_string())
}
