//! Reads and writes, and what a statement does to the transaction.

use super::class::{Access, Transaction};
use super::functions::{is_built_in, needs_primary};
use super::numbers::{
    TRANS_STMT_BEGIN, TRANS_STMT_COMMIT, TRANS_STMT_PREPARE, TRANS_STMT_RELEASE, TRANS_STMT_ROLLBACK,
    TRANS_STMT_ROLLBACK_TO, TRANS_STMT_SAVEPOINT, TRANS_STMT_START, VAR_SET_MULTI,
};
use super::policy::ReadWriteStrategy;
use super::tree::{Tree, Value};

/// Whether a node, wherever it is in a statement, makes the statement one for the primary. What a function of a user
/// does cannot be seen here: the conservative strategy takes it for a write, the aggressive one for a read.
pub(super) fn writes(node: &Tree, strategy: ReadWriteStrategy) -> bool {
    match node.kind {
        "InsertStmt" | "UpdateStmt" | "DeleteStmt" | "MergeStmt" | "IntoClause" => true,
        // Row locks are written to the rows (PostgreSQL, 13.3.2).
        "LockingClause" => true,
        "FuncCall" => {
            let known = || is_built_in(node.first_name("funcname"), node.last_name("funcname"));
            needs_primary(node.last_name("funcname")) || (strategy == ReadWriteStrategy::Conservative && !known())
        }
        _ => false,
    }
}

/// Where one statement may run, given whether anything in it writes.
pub(super) fn of(statement: &Tree, writes: bool) -> Access {
    let read = match statement.kind {
        "SelectStmt" => !writes,
        "VariableShowStmt" => true,
        "ExplainStmt" => !analyzes(statement) || (is_select(statement) && !writes),
        "TransactionStmt" => match control(statement) {
            Control::Begin { side, .. } => side == Some(Access::Read),
            Control::End | Control::Chain => true,
            Control::Inside | Control::Elsewhere => false,
        },
        "VariableSetStmt" => statement.text("name") == "TRANSACTION" && side(statement, "args") == Some(Access::Read),
        _ => false,
    };
    if read { Access::Read } else { Access::Write }
}

/// `ANALYZE` runs what is explained. An explicit `ANALYZE off` counts as on, which costs a trip to the primary.
fn analyzes(explain: &Tree) -> bool {
    explain.list("options").iter().filter_map(Value::node).any(|option| option.text("defname") == "analyze")
}

fn is_select(explain: &Tree) -> bool {
    explain.node("query").is_some_and(|query| query.kind == "SelectStmt")
}

/// What all statements of a text together do to the transaction.
pub(super) fn transaction(statements: &[Tree]) -> Transaction {
    let control = statements.iter().map(|statement| match statement.kind {
        "TransactionStmt" => control(statement),
        _ => Control::Inside,
    });
    match (statements.len(), control.reduce(Control::merge)) {
        (_, None | Some(Control::Inside | Control::Elsewhere)) => Transaction::None,
        (1, Some(Control::Begin { side, start })) => Transaction::Begin { side, start },
        (1, Some(Control::End)) => Transaction::End,
        _ => Transaction::Mixed,
    }
}

/// What one statement does to the transaction.
#[derive(Clone, Copy)]
enum Control {
    Begin {
        side: Option<Access>,
        start: bool,
    },
    End,
    /// Ends one and opens the next.
    Chain,
    /// Savepoints, and everything that is not transaction control.
    Inside,
    /// `COMMIT PREPARED`, `ROLLBACK PREPARED`: another transaction's end, which only the primary knows.
    Elsewhere,
}

impl Control {
    fn merge(self, other: Self) -> Self {
        match (self, other) {
            (Self::Inside | Self::Elsewhere, other) => other,
            (first, Self::Inside | Self::Elsewhere) => first,
            _ => Self::Chain,
        }
    }
}

fn control(statement: &Tree) -> Control {
    match statement.num("kind") {
        kind @ (TRANS_STMT_BEGIN | TRANS_STMT_START) => {
            Control::Begin { side: side(statement, "options"), start: kind == TRANS_STMT_START }
        }
        _ if statement.flag("chain") => Control::Chain,
        TRANS_STMT_COMMIT | TRANS_STMT_ROLLBACK | TRANS_STMT_PREPARE => Control::End,
        TRANS_STMT_SAVEPOINT | TRANS_STMT_RELEASE | TRANS_STMT_ROLLBACK_TO => Control::Inside,
        _ => Control::Elsewhere,
    }
}

/// Whether a statement says how a transaction begins, and does nothing else.
pub(super) fn opens(statement: &Tree) -> bool {
    match statement.kind {
        "TransactionStmt" => matches!(statement.num("kind"), TRANS_STMT_BEGIN | TRANS_STMT_START),
        "VariableSetStmt" => {
            statement.num("kind") == VAR_SET_MULTI && statement.text("name") != "SESSION CHARACTERISTICS"
        }
        _ => false,
    }
}

/// Where a transaction with these modes belongs, as far as they say. Of contradicting ones the server applies each, and
/// a replica refuses those that it cannot apply.
fn side(statement: &Tree, modes: &str) -> Option<Access> {
    let modes = statement.list(modes).iter().filter_map(Value::node).filter_map(|mode| match mode.text("defname") {
        "transaction_read_only" => Some(if is_true(mode) { Access::Read } else { Access::Write }),
        "transaction_isolation" => {
            let level = mode.node("arg").and_then(Tree::string_constant);
            (level == Some("serializable")).then_some(Access::Write)
        }
        _ => None,
    });
    modes.max()
}

pub(super) fn is_true(mode: &Tree) -> bool {
    mode.node("arg").and_then(|arg| arg.node("val")).is_some_and(|value| value.num("ival") != 0)
}
