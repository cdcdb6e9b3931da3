//! The names of the settings that a text sets.

use super::functions::SET_CONFIG;
use super::guard::canonical;
use super::parse;
use super::tree::{Tree, Value};

/// The settings that `SET` and `set_config` in a text name, in lower case; `None` when one of them is known only to the
/// server. Parses the text: for the few that set something.
pub(crate) fn settings_named(sql: &[u8]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut known = true;
    for statement in parse(sql).ok()? {
        statement.walk(|node| match node.kind {
            "VariableSetStmt" => names.push(canonical(node.text("name")).into_owned()),
            "FuncCall" if canonical(node.last_name("funcname")) == SET_CONFIG => match first_constant(node) {
                Some(name) => names.push(canonical(name).into_owned()),
                None => known = false,
            },
            "LoadStmt" => known = false,
            _ => {}
        });
    }
    known.then_some(names)
}

/// The name in a text that is one `DEALLOCATE name`.
pub(crate) fn deallocated_name(sql: &[u8]) -> Option<String> {
    match parse(sql).ok()?.as_slice() {
        [statement] if statement.kind == "DeallocateStmt" => Some(statement.text("name").to_owned()),
        _ => None,
    }
}

fn first_constant(call: &Tree) -> Option<&str> {
    call.list("args").first().and_then(Value::node).and_then(Tree::string_constant)
}
