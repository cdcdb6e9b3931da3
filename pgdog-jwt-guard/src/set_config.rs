//! Calls of `set_config`, and where the name of the variable in them comes from.

use crate::functions::SET_CONFIG;
use crate::guard::canonical;
use crate::numbers::{AEXPR_OP, AND_EXPR, SETOP_NONE};
use crate::tree::{Tree, Value};

/// What is known of the variable that a call sets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Named<'t> {
    /// Its name is a bare constant.
    Constant(&'t str),
    /// Its name is a column of nothing but constants.
    Listed(Vec<&'t str>),
    /// This constant could stand in the place of the first argument, and nothing else would change but for who planned that it
    /// should: see [`crate::rewritten`].
    Instead(&'t str),
    /// The server alone knows.
    Unknown,
}

/// Whether a node is such a call.
pub(crate) fn is_call(node: &Tree) -> bool {
    node.kind == "FuncCall" && canonical(node.last_name("funcname")) == SET_CONFIG
}

/// What a call in a statement sets.
pub(crate) fn named<'t>(call: &'t Tree, statement: &'t Tree) -> Named<'t> {
    let Some(name) = call.list("args").first().and_then(Value::node).filter(|_| !call.flag("func_variadic")) else {
        return Named::Unknown;
    };
    match name.kind {
        "AConst" => name.string_constant().map_or(Named::Unknown, Named::Constant),
        "TypeCast" => cast(name).map_or(Named::Unknown, Named::Instead),
        "ColumnRef" => column(name, call, statement),
        _ => Named::Unknown,
    }
}

/// The constant in a cast to `text`, or to `varchar` without a length: other casts cut or trim it. A type of the client's own can
/// have the name `text`, so it is the constant that counts, and not the cast.
fn cast(cast: &Tree) -> Option<&str> {
    let target = cast.node("type_name")?;
    let plain = target.children().all(|(field, _)| field == "names") && !target.flag("setof");
    let [.., name] = target.list("names") else { return None };
    let is_text = matches!(name.node()?.text("sval"), "text" | "varchar");
    let schema = target.first_name("names");
    let is_own = target.list("names").len() == 1 || (target.list("names").len() == 2 && schema == "pg_catalog");
    let constant = cast.node("arg").filter(|constant| constant.kind == "AConst")?;
    constant.string_constant().filter(|_| plain && is_text && is_own)
}

/// A column of the one table of a SELECT, where the call is a column of its result.
fn column<'t>(column: &'t Tree, call: &Tree, select: &'t Tree) -> Named<'t> {
    let is_result = |target: &Tree| target.node("val").is_some_and(|value| std::ptr::eq(value, call));
    let calls = select.kind == "SelectStmt"
        && select.num("op") == SETOP_NONE
        && select.list("target_list").iter().filter_map(Value::node).any(is_result);
    let ([from], true) = (select.list("from_clause"), calls) else { return Named::Unknown };
    let found = match from.node() {
        Some(values) if values.kind == "RangeSubselect" => listed(values, column).map(Named::Listed),
        Some(table) if table.kind == "RangeVar" => of_settings(table, column, select).map(Named::Instead),
        _ => None,
    };
    found.unwrap_or(Named::Unknown)
}

/// The column's name, where it is one of the table that is called so.
fn of_table<'t>(column: &'t Tree, table: &str) -> Option<&'t str> {
    let parts: Option<Vec<&str>> = column
        .list("fields")
        .iter()
        .map(|part| part.node().filter(|part| part.kind == "String"))
        .map(|part| Some(part?.text("sval")))
        .collect();
    match *parts? {
        [name] => Some(name),
        [of, name] if of == table => Some(name),
        _ => None,
    }
}

/// `FROM (VALUES ('a', …), ('b', …)) AS t (name, …)`: all that the column can be. Constants without a cast are text, whatever else
/// the statement does.
fn listed<'t>(values: &'t Tree, column: &Tree) -> Option<Vec<&'t str>> {
    let alias = values.node("alias")?;
    let name = of_table(column, alias.text("aliasname"))?;
    let names: Vec<&str> =
        alias.list("colnames").iter().filter_map(Value::node).map(|column| column.text("sval")).collect();
    let at = names.iter().position(|one| *one == name)?;
    let rows = values.node("subquery").filter(|rows| rows.children().all(|(field, _)| field == "values_lists"))?;
    let constant = |row: &'t Value| {
        let constant = row.node()?.list("items").get(at)?.node().filter(|constant| constant.kind == "AConst")?;
        constant.string_constant()
    };
    rows.list("values_lists").iter().map(constant).collect()
}

/// `FROM pg_settings WHERE name = 'constant'`, as pg_dump writes it: in what rows there are the column is that constant. That holds
/// for PostgreSQL's view and its operator, and both may be others here.
fn of_settings<'t>(table: &Tree, column: &Tree, select: &'t Tree) -> Option<&'t str> {
    let alias = table.node("alias");
    let plain = alias.is_none_or(|alias| alias.list("colnames").is_empty())
        && table.text("relname") == "pg_settings"
        && matches!(table.text("schemaname"), "" | "pg_catalog")
        && table.text("catalogname").is_empty()
        && select.node("with_clause").is_none();
    let known_as = alias.map_or("pg_settings", |alias| alias.text("aliasname"));
    let is_name = |node: &Tree| node.kind == "ColumnRef" && of_table(node, known_as) == Some("name");
    if !plain || !is_name(column) {
        return None;
    }
    let condition = select.node("where_clause")?;
    let conditions: Vec<&'t Tree> = match condition.kind {
        "BoolExpr" if condition.num("boolop") == AND_EXPR => {
            condition.list("args").iter().filter_map(Value::node).collect()
        }
        _ => vec![condition],
    };
    let mut equal = conditions.into_iter().filter_map(|condition| equals(condition, is_name));
    let constant = equal.next()?;
    // Of two, nobody knows which is meant.
    equal.next().is_none().then_some(constant)
}

/// The constant that a condition compares the name with.
fn equals(condition: &Tree, is_name: impl Fn(&Tree) -> bool) -> Option<&str> {
    let plain = condition.kind == "AExpr"
        && condition.num("kind") == AEXPR_OP
        && condition.last_name("name") == "="
        && matches!(condition.first_name("name"), "=" | "pg_catalog");
    let sides = (condition.node("lexpr").filter(|_| plain)?, condition.node("rexpr")?);
    let constant = match sides {
        (name, constant) if is_name(name) => constant,
        (constant, name) if is_name(name) => constant,
        _ => return None,
    };
    if constant.kind == "TypeCast" { cast(constant) } else { constant.string_constant() }
}
