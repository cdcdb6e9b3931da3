//! What a statement may leave on its server connection after its transaction.

use super::class::Effects;
use super::dialect::Dialect;
use super::functions::{SET_CONFIG, holds_advisory_lock, leaves_unknown_state};
use super::numbers::{DISCARD_ALL, ONCOMMIT_DROP, VAR_RESET_ALL, VAR_SET_MULTI};
use super::tree::{Tree, Value};

/// `CURSOR_OPT_HOLD` of PostgreSQL's `parsenodes.h`.
const CURSOR_WITH_HOLD: i64 = 0x20;

/// What the statement itself leaves.
pub(super) fn of(statement: &Tree) -> Effects {
    match statement.kind {
        "VariableSetStmt" => variable(statement),
        "LoadStmt" => Effects::SETTINGS,
        "PrepareStmt" => Effects::PREPARED,
        "DeallocateStmt" if statement.text("name").is_empty() => Effects::DEALLOCATES | Effects::DEALLOCATES_ALL,
        "DeallocateStmt" => Effects::DEALLOCATES,
        "ClosePortalStmt" => Effects::RELEASES,
        "DropStmt" => Effects::RELEASES | Effects::SCHEMA,
        "AlterTableStmt" | "RenameStmt" | "AlterObjectSchemaStmt" => Effects::SCHEMA,
        "CreateFunctionStmt" | "AlterFunctionStmt" => Effects::SCHEMA,
        "CreateTrigStmt" | "RuleStmt" | "CreatePolicyStmt" | "AlterPolicyStmt" => Effects::SCHEMA,
        "DefineStmt" | "CreateCastStmt" | "CreateOpClassStmt" | "AlterOperatorStmt" => Effects::SCHEMA,
        "AlterDomainStmt" | "AlterTypeStmt" | "IndexStmt" | "CreateStatsStmt" => Effects::SCHEMA,
        "ListenStmt" => Effects::LISTEN,
        "UnlistenStmt" => Effects::UNLISTEN,
        "CopyStmt"
            if statement.flag("is_from") && !statement.flag("is_program") && statement.text("filename").is_empty() =>
        {
            Effects::COPY_IN
        }
        // An update of this view sets what it shows (PostgreSQL, 54.24).
        "UpdateStmt" | "MergeStmt"
            if statement.node("relation").is_some_and(|name| name.text("relname") == "pg_settings") =>
        {
            Effects::SETTINGS
        }
        "DiscardStmt" if statement.num("target") == DISCARD_ALL => Effects::DISCARD_ALL,
        "DiscardStmt" => Effects::DISCARD_OTHER,
        "DeclareCursorStmt" if statement.num("options") & CURSOR_WITH_HOLD != 0 => Effects::HOLD_CURSOR,
        // Code and scripts that this text does not show.
        "DoStmt" | "CallStmt" => Effects::UNKNOWN,
        "CreateExtensionStmt" | "AlterExtensionStmt" => Effects::UNKNOWN | Effects::SCHEMA,
        "CreateStmt" if dropped_on_commit(statement, "oncommit") => Effects::NONE,
        "CreateStmt" => temporary(statement, "relation"),
        "ViewStmt" if statement.flag("replace") => temporary(statement, "view") | Effects::SCHEMA,
        "ViewStmt" => temporary(statement, "view"),
        "CreateSeqStmt" => temporary(statement, "sequence"),
        _ => Effects::NONE,
    }
}

/// What a node leaves wherever it stands in a statement.
pub(super) fn nested(node: &Tree, dialect: &Dialect) -> Effects {
    match node.kind {
        "FuncCall" => call(node),
        // What that leaves, its own text says, which is not here.
        "ExecuteStmt" | "DeallocateStmt" if dialect.is_reserved(node.text("name")) => {
            Effects::EXECUTES | Effects::UNKNOWN
        }
        "ExecuteStmt" => Effects::EXECUTES,
        "IntoClause" if !dropped_on_commit(node, "on_commit") => temporary(node, "rel"),
        // `pg_temp` is this session's schema of temporary objects, of any kind (PostgreSQL, 19.11.1).
        "RangeVar" if is_temporary_schema(node.text("schemaname")) => Effects::TEMP,
        "String" if is_temporary_schema(node.text("sval")) => Effects::TEMP,
        _ => Effects::NONE,
    }
}

fn variable(set: &Tree) -> Effects {
    let kind = set.num("kind");
    if kind == VAR_RESET_ALL {
        return Effects::RESETS_ALL;
    }
    // `SET TRANSACTION` and `SET LOCAL` end with the transaction.
    if set.flag("is_local") || (kind == VAR_SET_MULTI && set.text("name") != "SESSION CHARACTERISTICS") {
        return Effects::NONE;
    }
    // With `pg_temp` first in the search path, plain CREATE makes temporary objects.
    let makes_temporary =
        set.list("args").iter().filter_map(|value| value.node()?.string_constant()).any(mentions_temporary);
    if makes_temporary { Effects::SETTINGS | Effects::TEMP } else { Effects::SETTINGS }
}

fn call(node: &Tree) -> Effects {
    let name = node.last_name("funcname");
    if name == SET_CONFIG {
        let arguments = node.list("args");
        let temporary =
            arguments.get(1).and_then(|value| value.node()?.string_constant()).is_some_and(mentions_temporary);
        let local = arguments.get(2).and_then(Value::node).is_some_and(is_true);
        return if local {
            Effects::NONE
        } else if temporary {
            Effects::SETTINGS | Effects::TEMP
        } else {
            Effects::SETTINGS
        };
    }
    if holds_advisory_lock(name) {
        Effects::ADVISORY_LOCK
    } else if name.starts_with("pg_advisory_unlock") {
        Effects::RELEASES
    } else if leaves_unknown_state(name) {
        Effects::UNKNOWN
    } else {
        Effects::NONE
    }
}

/// The constant `true`; the grammar may write it as a cast to `bool`.
fn is_true(node: &Tree) -> bool {
    match node.kind {
        "AConst" => node.node("val").is_some_and(|value| value.kind == "Boolean" && value.flag("boolval")),
        _ => false,
    }
}

fn temporary(node: &Tree, relation: &str) -> Effects {
    let persistence = node.node(relation).map_or("", |relation| relation.text("relpersistence"));
    if persistence == "t" { Effects::TEMP } else { Effects::NONE }
}

fn dropped_on_commit(node: &Tree, field: &str) -> bool {
    node.num(field) == ONCOMMIT_DROP
}

fn is_temporary_schema(name: &str) -> bool {
    name.starts_with("pg_temp")
}

fn mentions_temporary(value: &str) -> bool {
    value.to_ascii_lowercase().contains("pg_temp")
}
