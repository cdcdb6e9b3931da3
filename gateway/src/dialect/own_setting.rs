//! Statements about the gateway's own settings, `pgdog_jwt.*`. Such a text may hold a token: it is read here, and neither
//! remembered, nor repeated in an error, nor sent to a server.

use pgdog_jwt::config::Secret;
use pgdog_jwt_guard::functions::SET_CONFIG;
use pgdog_jwt_guard::{PgQuery, Refusal, Tree, VAR_RESET, VAR_SET_DEFAULT, VAR_SET_VALUE, Value, canonical, parse};

/// Of all names that are the gateway's own.
pub(super) const PREFIX: &str = "pgdog_jwt.";

/// What every name begins with, in lower case.
const WORD: &[u8] = b"pgdog_jwt";

/// The setting by which a session is given a new token.
const TOKEN: &str = "pgdog_jwt.token";

/// How a client asks to show its token over SASL.
pub(crate) const CLIENT_FLOW: &str = "pgdog_jwt.client_flow";

/// Whether a start-up parameter is for the gateway alone: it is no setting, and no server hears of it.
pub(crate) fn is_for_gateway(name: &str) -> bool {
    name.eq_ignore_ascii_case(CLIENT_FLOW)
}

/// A statement about one of them.
#[derive(Debug)]
pub(crate) enum OwnSetting {
    /// `SET pgdog_jwt.token TO '…'`.
    Set(Secret),
    /// `SELECT set_config('pgdog_jwt.token', '…', false)`; without the token where that is the parameter `$1`.
    SetConfig(Option<Secret>),
    /// `RESET pgdog_jwt.token`, `SET … TO DEFAULT`.
    Reset { set: bool },
    /// `SHOW pgdog_jwt.token`.
    Show,
    /// Not possible.
    Refused(&'static Refusal),
}

static UNREADABLE: Refusal = Refusal {
    sqlstate: "42601",
    message: "syntax error in a statement that names \"pgdog_jwt\"",
    hint: "To renew the session's token, send SET \"pgdog_jwt.token\" = '…' as a statement of its own.",
};

static UNSUPPORTED: Refusal = Refusal {
    sqlstate: "0A000",
    message: "\"pgdog_jwt.token\" can only be set by a plain SET or set_config, for the session",
    hint: "Send SET \"pgdog_jwt.token\" = '…' as a statement of its own.",
};

static UNKNOWN: Refusal = Refusal {
    sqlstate: "42704",
    message: "unrecognized setting of the gateway",
    hint: "\"pgdog_jwt.token\" is the only one that a session may set.",
};

/// Whether a text may be about one of them: it has the word in it. Costs little for texts that have not.
#[inline]
pub(super) fn mentions_own_setting(text: &[u8]) -> bool {
    // After its first letters: `j` is rare.
    const BEFORE: usize = 6;
    memchr::memchr2_iter(b'j', b'J', text).any(|at| {
        at.checked_sub(BEFORE)
            .and_then(|start| text.get(start..start + WORD.len()))
            .is_some_and(|word| word.eq_ignore_ascii_case(WORD))
    })
}

/// What a text says of them; `None`: nothing.
pub(crate) fn own_setting(text: &[u8]) -> Option<OwnSetting> {
    if !mentions_own_setting(text) {
        return None;
    }
    let Some(statements) = parse(&PgQuery, text) else { return Some(OwnSetting::Refused(&UNREADABLE)) };
    let mut named = Vec::new();
    for statement in &statements {
        statement.walk(|node| named.extend(name_of(node).filter(|name| canonical(name).starts_with(PREFIX))));
    }
    let name = named.first()?;
    if canonical(name) != TOKEN {
        return Some(OwnSetting::Refused(&UNKNOWN));
    }
    let plain = match statements.as_slice() {
        [statement] => plain(statement),
        _ => None,
    };
    Some(plain.unwrap_or(OwnSetting::Refused(&UNSUPPORTED)))
}

/// The setting that a part of a statement sets or shows.
fn name_of(node: &Tree) -> Option<&str> {
    match node.kind {
        "VariableSetStmt" | "VariableShowStmt" => Some(node.text("name")),
        "FuncCall" if canonical(node.last_name("funcname")) == SET_CONFIG => argument(node, 0)?.string_constant(),
        _ => None,
    }
}

fn argument(call: &Tree, position: usize) -> Option<&Tree> {
    call.list("args").get(position).and_then(Value::node)
}

/// A statement that does nothing else.
fn plain(statement: &Tree) -> Option<OwnSetting> {
    match statement.kind {
        "VariableShowStmt" => Some(OwnSetting::Show),
        "VariableSetStmt" if statement.flag("is_local") => None,
        "VariableSetStmt" => set(statement),
        "SelectStmt" => select(statement),
        _ => None,
    }
}

fn set(statement: &Tree) -> Option<OwnSetting> {
    match (statement.num("kind"), statement.list("args")) {
        (kind @ (VAR_RESET | VAR_SET_DEFAULT), _) => Some(OwnSetting::Reset { set: kind == VAR_SET_DEFAULT }),
        (VAR_SET_VALUE, [value]) => secret(value.node()?).map(OwnSetting::Set),
        _ => None,
    }
}

fn select(statement: &Tree) -> Option<OwnSetting> {
    const MORE: [&str; 9] = [
        "from_clause",
        "where_clause",
        "with_clause",
        "into_clause",
        "group_clause",
        "having_clause",
        "values_lists",
        "limit_count",
        "distinct_clause",
    ];
    let [target] = statement.list("target_list") else { return None };
    let call = target.node()?.node("val").filter(|call| call.kind == "FuncCall")?;
    let alone = MORE.iter().all(|field| statement.node(field).is_none() && statement.list(field).is_empty());
    let named = name_of(call).is_some_and(|name| canonical(name) == TOKEN);
    if !alone || !named || call.list("args").len() != 3 {
        return None;
    }
    let local = argument(call, 2)?.node("val").filter(|value| value.kind == "Boolean")?;
    if local.flag("boolval") {
        return None;
    }
    let token = argument(call, 1)?;
    match token.kind {
        "ParamRef" if token.num("number") == 1 => Some(OwnSetting::SetConfig(None)),
        _ => secret(token).map(|token| OwnSetting::SetConfig(Some(token))),
    }
}

fn secret(node: &Tree) -> Option<Secret> {
    let constant = if node.kind == "TypeCast" { node.node("arg")? } else { node };
    constant.string_constant().map(Secret::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(sql: &str) -> String {
        match own_setting(sql.as_bytes()) {
            None => "nothing".to_owned(),
            Some(OwnSetting::Set(token)) => format!("set {}", token.expose()),
            Some(OwnSetting::SetConfig(Some(token))) => format!("set_config {}", token.expose()),
            Some(OwnSetting::SetConfig(None)) => "set_config $1".to_owned(),
            Some(OwnSetting::Reset { set }) => format!("reset {set}"),
            Some(OwnSetting::Show) => "show".to_owned(),
            Some(OwnSetting::Refused(refusal)) => refusal.sqlstate.to_owned(),
        }
    }

    #[test]
    fn every_way_to_write_it_is_understood() {
        for sql in [
            "SET \"pgdog_jwt.token\" = 'a.b.c'",
            "set pgdog_jwt.token to 'a.b.c'",
            "SET SESSION pgdog_jwt.token TO 'a.b.c';",
            "/* who */ SET PGDOG_JWT.TOKEN = $$a.b.c$$ -- done",
            "SET \"PgDog_JWT.Token\" TO E'a.b\\x2ec'",
        ] {
            assert_eq!(said(sql), "set a.b.c", "{sql}");
        }
        for sql in [
            "SELECT set_config('pgdog_jwt.token', 'a.b.c', false)",
            "select pg_catalog.set_config('PGDOG_JWT.token', 'a.b.c'::text, FALSE) AS done",
        ] {
            assert_eq!(said(sql), "set_config a.b.c", "{sql}");
        }
        assert_eq!(said("SELECT set_config('pgdog_jwt.token', $1, false)"), "set_config $1");
        assert_eq!(said("RESET pgdog_jwt.token"), "reset false");
        assert_eq!(said("SET pgdog_jwt.token TO DEFAULT"), "reset true");
        assert_eq!(said("SHOW \"pgdog_jwt.token\""), "show");
    }

    #[test]
    fn whatever_else_names_it_is_refused() {
        for sql in [
            "SET LOCAL pgdog_jwt.token = 'a.b.c'",
            "SET pgdog_jwt.token = 'a', 'b'",
            "SET pgdog_jwt.token = 7",
            "SELECT 1; SET pgdog_jwt.token = 'a.b.c'",
            "SELECT set_config('pgdog_jwt.token', 'a.b.c', true)",
            "SELECT set_config('pgdog_jwt.token', 'a.b.c', $1)",
            "SELECT set_config('pgdog_jwt.token', $2, false)",
            "SELECT set_config('pgdog_jwt.token', 'a.b.c', false), 1",
            "SELECT set_config('pgdog_jwt.token', body, false) FROM notes",
            "SELECT set_config('pgdog_jwt.token', 'a', false) UNION SELECT 'b'",
            "SELECT 1 WHERE set_config('pgdog_jwt.token', 'a.b.c', false) = ''",
            "ALTER ROLE alice SET pgdog_jwt.token = 'a.b.c'",
            "PREPARE p AS SELECT set_config('pgdog_jwt.token', 'a.b.c', false)",
        ] {
            assert_eq!(said(sql), "0A000", "{sql}");
        }
        assert_eq!(said("SET pgdog_jwt.other = 'x'"), "42704");
        assert_eq!(said("SET pgdog_jwt.token 'a.b.c'"), "42601");
        assert_eq!(said("SET \"pgdog_jwt.token\" = 'a.b.c"), "42601");
    }

    #[test]
    fn other_texts_are_not_concerned() {
        for sql in [
            "SELECT 1",
            "SET work_mem = '1MB'",
            "SELECT 'pgdog_jwt.token'",
            "SELECT * FROM pgdog_jwt",
            "SELECT current_setting('pgdog_jwt.token', true)",
            "SELECT jj, j FROM pgdog_j",
            "",
        ] {
            assert_eq!(said(sql), "nothing", "{sql}");
        }
    }
}
