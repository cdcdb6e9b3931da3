//! Which parameters of a text may be written down with their values: those of which the text says that they are data.
//! Everything else may be a secret, such as the argument of a function, a part of a string that is put together, or what
//! belongs to a column of which the name is not known.

use std::collections::HashSet;

use super::numbers::{
    AEXPR_BETWEEN, AEXPR_BETWEEN_SYM, AEXPR_DISTINCT, AEXPR_ILIKE, AEXPR_IN, AEXPR_LIKE, AEXPR_NOT_BETWEEN,
    AEXPR_NOT_BETWEEN_SYM, AEXPR_NOT_DISTINCT, AEXPR_OP, AEXPR_OP_ALL, AEXPR_OP_ANY,
};
use super::tree::{Tree, Value};

/// Columns whose names have one of these in them hold secrets.
const SECRET: [&str; 16] = [
    "pass",
    "pwd",
    "secret",
    "token",
    "key",
    "credential",
    "private",
    "salt",
    "hash",
    "otp",
    "cvv",
    "cookie",
    "session",
    "dsn",
    "conn",
    "jwt",
];

/// Operators that compare, and do nothing else.
const COMPARES: [&str; 6] = ["=", "<>", "<", ">", "<=", ">="];

/// Their numbers, in order.
pub(super) fn shown(statements: &[Tree]) -> Vec<usize> {
    let (mut all, mut data) = (HashSet::new(), HashSet::new());
    for statement in statements {
        statement.walk(|node| match node.kind {
            "ParamRef" => drop(all.insert((node.location, node.num("number")))),
            "AExpr" if compares(node) => add_compared(node, &mut data),
            "InsertStmt" => add_inserted(node, &mut data),
            "UpdateStmt" => node.list("target_list").iter().for_each(|target| add_assigned(target, &mut data)),
            "OnConflictClause" => {
                node.list("target_list").iter().for_each(|target| add_assigned(target, &mut data));
            }
            "MergeWhenClause" => {
                node.list("target_list").iter().for_each(|target| add_assigned(target, &mut data));
            }
            "SelectStmt" => {
                for field in ["limit_count", "limit_offset"] {
                    add(node.node(field), &mut data);
                }
            }
            _ => {}
        });
    }
    let hidden: HashSet<i64> = all.iter().filter(|(at, _)| !data.contains(at)).map(|(_, number)| *number).collect();
    let shown = all.iter().map(|(_, number)| *number).filter(|number| !hidden.contains(number));
    let mut shown: Vec<usize> = shown.filter_map(|number| usize::try_from(number).ok()).collect();
    shown.sort_unstable();
    shown.dedup();
    shown
}

/// The places of parameters that are data.
type Places = HashSet<Option<usize>>;

fn compares(node: &Tree) -> bool {
    match node.num("kind") {
        AEXPR_OP | AEXPR_OP_ANY | AEXPR_OP_ALL | AEXPR_IN | AEXPR_DISTINCT | AEXPR_NOT_DISTINCT => {
            COMPARES.contains(&node.last_name("name"))
        }
        AEXPR_LIKE | AEXPR_ILIKE | AEXPR_BETWEEN | AEXPR_NOT_BETWEEN | AEXPR_BETWEEN_SYM | AEXPR_NOT_BETWEEN_SYM => {
            true
        }
        _ => false,
    }
}

fn add_compared(node: &Tree, data: &mut Places) {
    for (column, value) in [("lexpr", "rexpr"), ("rexpr", "lexpr")] {
        if node.node(column).is_some_and(is_plain_column) {
            add(node.node(value), data);
        }
    }
}

fn is_plain_column(node: &Tree) -> bool {
    node.kind == "ColumnRef" && is_plain(node.last_name("fields"))
}

fn is_plain(name: &str) -> bool {
    let name = name.to_lowercase();
    !name.is_empty() && !SECRET.iter().any(|word| name.contains(word))
}

/// The values of columns that are named.
fn add_inserted(node: &Tree, data: &mut Places) {
    let columns = node.list("cols");
    let rows = node.node("select_stmt").map(|select| select.list("values_lists")).unwrap_or_default();
    for row in rows.iter().filter_map(Value::node) {
        for (column, value) in columns.iter().zip(row.list("items")) {
            if column.node().is_some_and(|column| is_plain(column.text("name"))) {
                add(value.node(), data);
            }
        }
    }
}

fn add_assigned(target: &Value, data: &mut Places) {
    if let Some(target) = target.node().filter(|target| is_plain(target.text("name"))) {
        add(target.node("val"), data);
    }
}

/// The parameter itself, a cast of it, or a list of such.
fn add(value: Option<&Tree>, data: &mut Places) {
    let Some(value) = value else { return };
    match value.kind {
        "ParamRef" => drop(data.insert(value.location)),
        "TypeCast" => add(value.node("arg"), data),
        "List" => value.list("items").iter().for_each(|item| add(item.node(), data)),
        _ => {}
    }
}
