//! What a session may not do to the account that it has on the server, and to other sessions of it.
//!
//! A subject that has a role to itself may change it, but for what would let somebody in when the token is worth nothing any
//! more. Where several subjects or tenants are one role, what one of them attached to it would be there for the next: see
//! the table in `docs/identity.md`. Names of roles are not looked at: a text does not say who the session is.

use super::class::Refusal;
use super::functions::{OWN_PROCESS, reaches_others, signals};
use super::guard::canonical;
use super::numbers::{
    OBJECT_DATABASE, OBJECT_ROLE, OBJECT_SCHEMA, TRANS_STMT_COMMIT_PREPARED, TRANS_STMT_PREPARE,
    TRANS_STMT_ROLLBACK_PREPARED,
};
use super::policy::Account;
use super::refusal;
use super::tree::{Tree, Value};

/// Judges the single nodes of a statement.
pub(super) fn inspect(node: &Tree, account: Account) -> Option<&'static Refusal> {
    match account {
        Account::Named => None,
        Account::Own => lets_somebody_in(node).then_some(&refusal::PASSWORD),
        Account::Shared if lets_somebody_in(node) => Some(&refusal::PASSWORD),
        Account::Shared => shared(node),
    }
}

/// `ALTER ROLE … PASSWORD` and `VALID UNTIL`.
fn lets_somebody_in(node: &Tree) -> bool {
    let options = || node.list("options").iter().filter_map(Value::node);
    node.kind == "AlterRoleStmt" && options().any(|option| matches!(option.text("defname"), "password" | "validUntil"))
}

fn shared(node: &Tree) -> Option<&'static Refusal> {
    match node.kind {
        // `pg_authid`, `pg_auth_members`, `pg_db_role_setting`; a new role can be given the account's rights, or theirs to it.
        "CreateRoleStmt" | "AlterRoleStmt" | "AlterRoleSetStmt" | "DropRoleStmt" | "GrantRoleStmt" => {
            Some(&refusal::SHARED_ROLE)
        }
        "AlterDatabaseStmt" | "AlterDatabaseSetStmt" | "AlterDatabaseRefreshCollStmt" | "DropdbStmt" => {
            Some(&refusal::SHARED_ROLE)
        }
        // All that the account owns in a database, and what is to become of things that it does not own yet.
        "DropOwnedStmt" | "ReassignOwnedStmt" | "AlterDefaultPrivilegesStmt" => Some(&refusal::SHARED_ROLE),
        // With whose password foreign servers are reached.
        "CreateUserMappingStmt" | "AlterUserMappingStmt" | "DropUserMappingStmt" => Some(&refusal::SHARED_ROLE),
        "CommentStmt" | "SecLabelStmt" => is_of_account(node, "objtype").then_some(&refusal::SHARED_ROLE),
        "AlterOwnerStmt" => is_of_account(node, "object_type").then_some(&refusal::SHARED_ROLE),
        "RenameStmt" if is_of_account(node, "rename_type") => Some(&refusal::SHARED_ROLE),
        "RenameStmt" if node.num("rename_type") == OBJECT_SCHEMA => Some(&refusal::SHARED_NAMES),
        // What is called so must be PostgreSQL's.
        "RenameStmt" if canonical(node.text("newname")) == OWN_PROCESS => Some(&refusal::SHARED_SESSIONS),
        "CreateSchemaStmt" => Some(&refusal::SHARED_NAMES),
        "TransactionStmt" => {
            let kinds = [TRANS_STMT_PREPARE, TRANS_STMT_COMMIT_PREPARED, TRANS_STMT_ROLLBACK_PREPARED];
            kinds.contains(&node.num("kind")).then_some(&refusal::SHARED_TRANSACTION)
        }
        "FuncCall" => call(node),
        // Named by a cast, an operator, an aggregate, or as a column of a function's row.
        "String" => reaches_others(&canonical(node.text("sval"))).then_some(&refusal::SHARED_SESSIONS),
        _ => None,
    }
}

fn is_of_account(node: &Tree, field: &str) -> bool {
    [OBJECT_ROLE, OBJECT_DATABASE].contains(&node.num(field))
}

/// A session may signal itself, where it can be seen that it does.
fn call(node: &Tree) -> Option<&'static Refusal> {
    let name = canonical(node.last_name("funcname"));
    let is_own = signals(&name) && node.list("args").first().and_then(Value::node).is_some_and(is_own_process);
    (reaches_others(&name) && !is_own).then_some(&refusal::SHARED_SESSIONS)
}

fn is_own_process(argument: &Tree) -> bool {
    let schema = argument.first_name("funcname");
    argument.kind == "FuncCall"
        && argument.last_name("funcname") == OWN_PROCESS
        && matches!(schema, OWN_PROCESS | "pg_catalog")
        && argument.list("args").is_empty()
}
