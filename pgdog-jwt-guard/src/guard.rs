//! The guard: which statements could change who a session is, and are refused.
//!
//! It looks at PostgreSQL's own parse tree, so comments, quoting, Unicode escapes and upper case are settled before it
//! looks. Its limit: functions that the database's owner wrote can run SQL of their own; `login` mode has no such limit.

use std::borrow::Cow;

use super::class::Refusal;
use super::functions::{SET_CONFIG, TS_REWRITE, mentions_guarded_name, must_be_called_plainly, runs_sql};
use super::numbers::{VAR_RESET_ALL, VAR_SET_MULTI, VAR_SET_VALUE};
use super::policy::{GuardMode, Policy};
use super::protected::Protected;
use super::refusal;
use super::set_config::{Named, named};
use super::tree::{Tree, Value};

/// Judges the single nodes of a statement; the first refusal stands.
pub(super) fn inspect(node: &Tree, statement: &Tree, policy: &Policy) -> Option<&'static Refusal> {
    // One node names one setting, so nothing else is overlooked where the role is PostgreSQL's to keep.
    refusal(node, statement, policy).filter(|refusal| policy.identity || !refusal.is_about_identity())
}

fn refusal(node: &Tree, statement: &Tree, policy: &Policy) -> Option<&'static Refusal> {
    match node.kind {
        "String" => must_be_called_plainly(&canonical(node.text("sval"))).then_some(&refusal::FUNCTION_NAMED),
        "FuncCall" => call(node, statement, policy),
        "TypeCast" => function_reference(node),
        "VariableSetStmt" => variable(node, policy),
        "TransactionStmt" => read_write(node, &policy.protected),
        "ExecuteStmt" | "PrepareStmt" | "DeallocateStmt" => {
            policy.dialect.reserved.filter(|own| node.text("name").starts_with(own.prefix)).map(|own| own.refusal)
        }
        "AlterSystemStmt" => Some(&refusal::ALTER_SYSTEM),
        "AlterRoleSetStmt" | "AlterDatabaseSetStmt" => resets_all(node, &policy.protected),
        "InsertStmt" | "UpdateStmt" | "DeleteStmt" | "MergeStmt" | "CopyStmt" => {
            let target = node.node("relation")?;
            let reads = node.kind == "CopyStmt" && !node.flag("is_from");
            (is_pg_settings(target) && !reads).then_some(&refusal::PG_SETTINGS)
        }
        // A simple view can be updated, and the update reaches `pg_settings` (CREATE VIEW, Updatable Views). A rule can
        // write to it, and before PostgreSQL 16 a rule can make a table a view.
        "ViewStmt" | "RuleStmt" => mentions_pg_settings(node).then_some(&refusal::PG_SETTINGS),
        _ if policy.guard == GuardMode::Strict => strict(node),
        _ => None,
    }
}

/// What only the strict guard refuses: bringing code into the database whose text nobody here can read.
fn strict(node: &Tree) -> Option<&'static Refusal> {
    match node.kind {
        "DoStmt" => Some(&refusal::DO_BLOCK),
        "CreateFunctionStmt" => Some(&refusal::CREATE_FUNCTION),
        "CreateExtensionStmt"
        | "AlterExtensionStmt"
        | "AlterExtensionContentsStmt"
        | "CreatePLangStmt"
        | "CreateEventTrigStmt"
        | "CreateTransformStmt" => Some(&refusal::CREATE_CODE),
        _ => None,
    }
}

/// `set_config`, and functions that run SQL given as text.
fn call(node: &Tree, statement: &Tree, policy: &Policy) -> Option<&'static Refusal> {
    let name = canonical(node.last_name("funcname"));
    let arguments = node.list("args");
    match &*name {
        SET_CONFIG => set_config(node, statement, policy),
        TS_REWRITE if arguments.len() != 3 || node.flag("func_variadic") => Some(&refusal::RUNS_SQL),
        name if runs_sql(name) => Some(&refusal::RUNS_SQL),
        _ => None,
    }
}

/// The variable's name must be a bare constant, or a column of such: anything else is known only when the server runs it, and even
/// a cast may be one that the client made (`CREATE CAST … AS IMPLICIT`).
fn set_config(call: &Tree, statement: &Tree, policy: &Policy) -> Option<&'static Refusal> {
    let value = call.list("args").get(1).and_then(Value::node).filter(|value| value.kind == "AConst");
    match named(call, statement) {
        Named::Constant(name) => setting(name, value.and_then(Tree::string_constant), policy),
        Named::Listed(names) => names.into_iter().find_map(|name| setting(name, None, policy)),
        Named::Instead(_) | Named::Unknown => Some(&refusal::SET_CONFIG_NAME),
    }
}

/// `SET` and `RESET` wherever they are: on their own, in `ALTER ROLE`/`DATABASE`, as an option of a function.
fn variable(node: &Tree, policy: &Policy) -> Option<&'static Refusal> {
    let kind = node.num("kind");
    if kind == VAR_RESET_ALL {
        return None; // Judged by the statement that it stands in.
    }
    if kind == VAR_SET_MULTI && node.text("name") == "TRANSACTION SNAPSHOT" {
        return None; // What a transaction sees, which it may see anyway.
    }
    if kind == VAR_SET_MULTI {
        // `SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY` sets `default_transaction_read_only`, and so on.
        let prefix = if node.text("name") == "SESSION CHARACTERISTICS" { "default_" } else { "" };
        let modes = node.list("args").iter().filter_map(Value::node);
        // Choosing what is in force anyway is harmless: the drivers of read-only clients do.
        let chosen =
            modes.filter(|mode| mode.text("defname") != "transaction_read_only" || !super::access::is_true(mode));
        return chosen
            .map(|mode| format!("{prefix}{}", mode.text("defname")))
            .find_map(|name| forbidden_name(&name, policy));
    }
    if kind == VAR_SET_VALUE {
        let values = node.list("args");
        let value = if let [value] = values { value.node().and_then(value_text) } else { None };
        return setting(node.text("name"), value.as_deref(), policy);
    }
    // To the default or to what is in force: both are the server's or passed this guard before.
    forbidden_name(&canonical(node.text("name")), policy)
}

/// `BEGIN READ WRITE`, where the mode of transactions is not the session's to choose.
fn read_write(node: &Tree, protected: &Protected) -> Option<&'static Refusal> {
    let modes = node.list("options").iter().filter_map(Value::node);
    let chosen = modes.filter(|mode| mode.text("defname") == "transaction_read_only");
    let writes = chosen.filter(|mode| !super::access::is_true(mode)).count() > 0;
    (writes && protected.has("transaction_read_only")).then_some(&refusal::READ_ONLY)
}

fn value_text(node: &Tree) -> Option<Cow<'_, str>> {
    if let Some(text) = node.string_constant() {
        return Some(text.into());
    }
    let value = node.node("val")?;
    Some(value.num(if value.kind == "Boolean" { "boolval" } else { "ival" }).to_string().into())
}

/// Whether a variable may be set to a value; a value that is not known yet is the worst one.
pub(super) fn setting(name: &str, value: Option<&str>, policy: &Policy) -> Option<&'static Refusal> {
    let name = canonical(name);
    if let Some(refusal) = forbidden_name(&name, policy) {
        return Some(refusal);
    }
    match &*name {
        // Off, `'\'` ends elsewhere for the server than for this parser (PostgreSQL, 4.1.2.2).
        "standard_conforming_strings" if !value.is_some_and(is_on) => Some(&refusal::PLAIN_STRINGS),
        "client_encoding" if !value.is_some_and(keeps_quotes_visible) => Some(&refusal::ENCODING),
        _ => None,
    }
}

fn forbidden_name(canonical: &str, policy: &Policy) -> Option<&'static Refusal> {
    match canonical {
        name if !is_setting_name(name) => Some(&refusal::SETTING_NAME),
        "role" | "session_authorization" => Some(&refusal::IDENTITY),
        "transaction_read_only" | "default_transaction_read_only" if policy.protected.has(canonical) => {
            Some(&refusal::READ_ONLY)
        }
        name if policy.dialect.settings.is_some_and(|prefix| name.starts_with(prefix)) => Some(&refusal::PROTECTED),
        name if policy.protected.has(name) => Some(&refusal::PROTECTED),
        _ => None,
    }
}

/// Whether PostgreSQL takes a name for a setting's: letters, digits, `_` and `$`, in parts joined by dots
/// (`valid_custom_variable_name`). A host that keeps settings may write them into SQL of its own.
pub fn is_setting_name(name: &str) -> bool {
    let begins = |c: char| c.is_ascii_alphabetic() || c == '_' || !c.is_ascii();
    let goes_on = |c: char| begins(c) || c.is_ascii_digit() || c == '$';
    name.split('.').all(|part| part.starts_with(begins) && part.chars().all(goes_on))
}

fn is_on(value: &str) -> bool {
    ["on", "true", "yes", "1"].iter().any(|on| value.eq_ignore_ascii_case(on))
}

/// Whether in a client encoding every byte below 0x80 is the ASCII character that it looks like.
///
/// Not so in SJIS, BIG5, GBK, GB18030, UHC and JOHAB, where a character's second byte may be a quote's or a backslash's
/// (PostgreSQL, 23.3.1). Names are compared as the server does: letters and digits only, in lower case.
pub fn keeps_quotes_visible(value: &str) -> bool {
    const EXACT: [&str; 6] = ["utf8", "unicode", "sqlascii", "abc", "alt", "vscii"];
    const FAMILIES: [&str; 8] = ["latin", "iso8859", "euc", "koi8", "win125", "windows125", "tcvn", "muleinternal"];
    const CODE_PAGES: [&str; 7] = ["win", "win866", "win874", "win1250", "windows866", "windows874", "win1258"];
    let name: String = value.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    EXACT.contains(&&*name) || CODE_PAGES.contains(&&*name) || FAMILIES.iter().any(|family| name.starts_with(family))
}

/// `'set_config'::regproc` and its like give nothing that can be called, yet nobody needs them.
fn function_reference(node: &Tree) -> Option<&'static Refusal> {
    let constant = node.node("arg").and_then(Tree::string_constant)?;
    (names_function_type(node) && canonical(constant).contains(SET_CONFIG)).then_some(&refusal::FUNCTION_NAMED)
}

/// Whether a cast's result names a function.
pub(super) fn names_function_type(cast: &Tree) -> bool {
    cast.node("type_name").is_some_and(|name| matches!(name.last_name("names"), "regproc" | "regprocedure"))
}

/// `ALTER ROLE … RESET ALL` also forgets protected variables that the owner attached to the role.
fn resets_all(node: &Tree, protected: &Protected) -> Option<&'static Refusal> {
    let all = node.node("setstmt").is_some_and(|set| set.num("kind") == VAR_RESET_ALL);
    (all && !protected.is_empty()).then_some(&refusal::PROTECTED)
}

fn is_pg_settings(relation: &Tree) -> bool {
    canonical(relation.text("relname")) == "pg_settings"
}

fn mentions_pg_settings(statement: &Tree) -> bool {
    let mut found = false;
    statement.walk(|node| found |= node.kind == "RangeVar" && is_pg_settings(node));
    found
}

/// Longer texts that are nested too deeply are refused (bytes): they could be nested without any measure.
const MAX_DEEP_TEXT: usize = 128 * 1024;

/// Judges a text that is correct but nested too deeply to be walked (a hundred `||` or `UNION` in a row).
///
/// A single statement that reads or writes rows changes identity only by the functions and the view that the guard
/// knows by name. When none of these names is anywhere in the text, not even in a string, it may pass.
pub(super) fn too_deep(text: &str) -> Option<&'static Refusal> {
    const ROWS: [&str; 7] = ["select", "insert", "update", "delete", "with", "values", "("];
    if text.len() > MAX_DEEP_TEXT {
        return Some(&refusal::TOO_DEEP);
    }
    let text = canonical(text.trim_matches([' ', '\t', '\n', '\r', ';']));
    // `U&"…"` may spell a name in escapes.
    let plain = ROWS.iter().any(|word| text.starts_with(word)) && !text.contains(';') && !text.contains("u&");
    (!plain || mentions_guarded_name(&text)).then_some(&refusal::TOO_DEEP)
}

/// Judges a text that is correct and that the parser cannot show whole.
///
/// `GRANT` and `REVOKE` hold names and nothing that runs.
pub(super) fn unread(text: &str) -> Option<&'static Refusal> {
    let text = canonical(text.trim_matches([' ', '\t', '\n', '\r', ';']));
    let plain = ["grant ", "revoke "].iter().any(|word| text.starts_with(word)) && !text.contains([';', '&']);
    (!plain || mentions_guarded_name(&text)).then_some(&refusal::UNPARSABLE)
}

/// A name as the server compares it: variables ignore ASCII case (PostgreSQL, 19.1.1).
///
/// A server with a Turkish single-byte locale folds `İ` in unquoted identifiers to `i`, so that is done here too.
pub fn canonical(name: &str) -> Cow<'_, str> {
    if name.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase()) {
        return Cow::Borrowed(name);
    }
    Cow::Owned(name.chars().map(|c| if c == '\u{130}' { 'i' } else { c.to_ascii_lowercase() }).collect())
}
