//! A parser whose nodes print themselves: a few statements, in the printed form of the one that PgDog has.

use std::fmt;
use std::ops::Deref;

/// Not SQL.
#[derive(Debug)]
pub struct Error;

/// Statements, two steps away from the list that prints them.
pub struct ParseResult(Owned);
pub struct Owned(List);
pub struct List(String);

impl Deref for ParseResult {
    type Target = Owned;
    fn deref(&self) -> &Owned {
        &self.0
    }
}

impl Deref for Owned {
    type Target = List;
    fn deref(&self) -> &List {
        &self.0
    }
}

impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Knows `SET name TO 'value'`, `SELECT number`, `SELECT name()`, `COMMIT` and `ROLLBACK`.
pub fn parse(sql: &str) -> Result<ParseResult, Error> {
    let statements: Vec<String> =
        sql.split(';').map(str::trim).filter(|text| !text.is_empty()).map(statement).collect::<Result<_, _>>()?;
    Ok(ParseResult(Owned(List(format!("[{}]", statements.join(", "))))))
}

fn statement(sql: &str) -> Result<String, Error> {
    let words: Vec<&str> = sql.split_whitespace().collect();
    let node = match words[..] {
        ["SET", name, "TO", value] => format!(
            "VariableSetStmt(VariableSetStmt {{ kind: 0, name: Some({name:?}), args: [A_Const(A_Const {{ val: Some(String({:?})), isnull: false, location: 9, .. }})], is_local: false, location: -1, .. }})",
            value.trim_matches('\'')
        ),
        ["SELECT", value] => {
            let value = match value.strip_suffix("()") {
                Some(name) => format!(
                    "FuncCall(FuncCall {{ funcname: [String(String {{ sval: Some({name:?}), .. }})], args: [], location: 7, .. }})"
                ),
                None => format!(
                    "A_Const(A_Const {{ val: Some(Integer({})), isnull: false, location: 7, .. }})",
                    value.parse::<i32>().map_err(|_| Error)?
                ),
            };
            format!(
                "SelectStmt(SelectStmt {{ target_list: [ResTarget {{ name: None, indirection: [], val: {value}, location: 7, .. }}], op: 0, all: false, .. }})"
            )
        }
        ["COMMIT"] => {
            "TransactionStmt(TransactionStmt { kind: 2, options: [], chain: false, location: -1, .. })".to_owned()
        }
        ["ROLLBACK"] => {
            "TransactionStmt(TransactionStmt { kind: 3, options: [], chain: false, location: -1, .. })".to_owned()
        }
        _ => return Err(Error),
    };
    Ok(format!("RawStmt {{ stmt: {node}, stmt_location: 0, stmt_len: 0, .. }}"))
}
