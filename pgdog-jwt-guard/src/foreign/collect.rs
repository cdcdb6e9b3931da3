//! From a parse tree to the names that decide. What this reader does not know counts as code that may do anything.

use super::super::functions::{is_built_in, leaves, leaves_unseen};
use super::super::tree::{Tree, Value};
use super::Code;
use super::names::{Names, Relation};

/// Statements that run no code but what stands in them, or is found by the names in them.
const READ: [&str; 13] = [
    "SelectStmt",
    "InsertStmt",
    "UpdateStmt",
    "DeleteStmt",
    "MergeStmt",
    "ExplainStmt",
    "CopyStmt",
    "TruncateStmt",
    "PrepareStmt",
    "DeclareCursorStmt",
    "ReturnStmt",
    "LockStmt",
    "RawStmt",
];

/// Statements that run none. Of FETCH, what runs was declared before.
const HARMLESS: [&str; 12] = [
    "TransactionStmt",
    "VariableSetStmt",
    "VariableShowStmt",
    "DeallocateStmt",
    "DiscardStmt",
    "ListenStmt",
    "UnlistenStmt",
    "NotifyStmt",
    "FetchStmt",
    "ClosePortalStmt",
    "ConstraintsSetStmt",
    "CheckPointStmt",
];

/// Operators that constructs use which do not name them.
const COMPARISONS: [&str; 6] = ["=", "<>", "<", ">", "<=", ">="];

/// What one statement may run.
pub(in super::super) fn collect(statements: &[Tree]) -> Code {
    let mut collector = Collector::default();
    let known = statements.iter().all(|statement| collector.visit(statement, false));
    if known { Code::of(collector.names) } else { Code::FOREIGN }
}

#[derive(Default)]
struct Collector<'t> {
    names: Names,
    /// Names of WITH queries that hide relations here.
    hidden: Vec<&'t str>,
}

impl<'t> Collector<'t> {
    /// Takes in a node and all below it; `false`: it may run anything. The grammar's depth is bounded, see [`Tree`].
    fn visit(&mut self, node: &'t Tree, written: bool) -> bool {
        if node.kind.ends_with("Stmt") {
            if HARMLESS.contains(&node.kind) {
                return true;
            }
            if !READ.contains(&node.kind) {
                return false;
            }
        }
        let before = self.hidden.len();
        let known = self.node(node, written);
        self.hidden.truncate(before);
        known
    }

    fn node(&mut self, node: &'t Tree, written: bool) -> bool {
        match node.kind {
            "RangeVar" => return self.relation(node, written),
            "FuncCall" => {
                let name = node.last_name("funcname");
                if !is_built_in(node.first_name("funcname"), name) || leaves_unseen(name) {
                    return false;
                }
                self.names.functions.push(name.into());
                return self.children(node, &["funcname"]);
            }
            "AExpr" => return self.operator(node, "name") && self.children(node, &["name"]),
            "SubLink" => {
                self.compare();
                return self.operator(node, "oper_name") && self.children(node, &["oper_name"]);
            }
            "SortBy" => return self.operator(node, "use_op") && self.children(node, &["use_op"]),
            "CaseExpr" if node.node("arg").is_some() => self.compare(),
            "JoinExpr" | "CteCycleClause" | "CTECycleClause" => self.compare(),
            "TypeName" => {
                let name = node.last_name("names");
                if name.is_empty() || node.flag("pct_type") {
                    return false;
                }
                self.names.types.push(name.into());
                return self.children(node, &["names"]);
            }
            "ColumnRef" => return self.attributes(node, "fields", 1),
            "AIndirection" => return self.attributes(node, "indirection", 0) && self.children(node, &["indirection"]),
            // They only name what FROM has named.
            "LockingClause" => return true,
            // Writes a table, which has a definition.
            "IntoClause" => return false,
            "RangeTableSample" => {
                let is_own = |name: &str| matches!(name, "bernoulli" | "system");
                if node.list("method").len() != 1 || !is_own(node.last_name("method")) {
                    return false;
                }
                return self.children(node, &["method"]);
            }
            "InsertStmt" | "UpdateStmt" | "DeleteStmt" | "MergeStmt" => return self.writing(node, "relation"),
            "TruncateStmt" => return self.writing(node, "relations"),
            "CopyStmt" if node.flag("is_program") => return false,
            "CopyStmt" if node.flag("is_from") => return self.writing(node, "relation"),
            _ => {}
        }
        self.with(node) && self.children(node, &["with_clause"])
    }

    /// A statement that writes what stands in one of its fields.
    fn writing(&mut self, node: &'t Tree, field: &'static str) -> bool {
        // WITH does not hide what is written to.
        let target = node.children().filter(|(name, _)| *name == field);
        let is_known = target.into_iter().all(|(_, child)| self.target(child));
        is_known && self.with(node) && self.children(node, &["with_clause", field])
    }

    fn target(&mut self, node: &'t Tree) -> bool {
        let hidden = std::mem::take(&mut self.hidden);
        let known = self.visit(node, true);
        self.hidden = hidden;
        known
    }

    /// The queries of a WITH clause. From here to the end of the node, their names hide relations.
    fn with(&mut self, node: &'t Tree) -> bool {
        let Some(with) = node.node("with_clause") else { return true };
        let queries = || with.list("ctes").iter().filter_map(Value::node);
        if with.flag("recursive") {
            self.hidden.extend(queries().map(|query| query.text("ctename")));
        }
        for query in queries() {
            if !self.children(query, &[]) {
                return false;
            }
            if query.children().any(|(name, _)| name == "cycle_clause") {
                self.compare();
            }
            self.hidden.push(query.text("ctename"));
        }
        true
    }

    fn children(&mut self, node: &'t Tree, apart: &[&str]) -> bool {
        node.children().filter(|(name, _)| !apart.contains(name)).all(|(_, child)| self.visit(child, false))
    }

    fn relation(&mut self, node: &'t Tree, written: bool) -> bool {
        let name = node.text("relname");
        if node.text("schemaname").is_empty() && self.hidden.contains(&name) {
            return true;
        }
        self.names.relations.push(Relation { name: name.into(), written });
        self.children(node, &["alias"])
    }

    /// An operator by the names in a field; none is none.
    fn operator(&mut self, node: &'t Tree, field: &str) -> bool {
        let (first, name) = (node.first_name(field), node.last_name(field));
        if first != name && first != "pg_catalog" {
            return false;
        }
        if name.contains(|letter: char| letter.is_ascii_alphabetic()) {
            // BETWEEN and its kin.
            self.compare();
        } else if !name.is_empty() {
            self.names.operators.push(name.into());
        }
        true
    }

    fn compare(&mut self) {
        self.names.operators.extend(COMPARISONS.map(Into::into));
    }

    /// What follows a dot, behind the first `apart` names.
    fn attributes(&mut self, node: &'t Tree, field: &str, apart: usize) -> bool {
        for part in node.list(field).iter().skip(apart).filter_map(Value::node) {
            match part.kind {
                // By a cast of somebody's, a row may be what one of PostgreSQL's functions takes.
                "String" if leaves(part.text("sval")) => return false,
                "String" => self.names.attributes.push(part.text("sval").into()),
                _ if !self.visit(part, false) => return false,
                _ => {}
            }
        }
        true
    }
}
