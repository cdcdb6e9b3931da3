//! Reads a parse tree from the printed form of its nodes.
//!
//! Not every parser's nodes can be serialized, but where they are structures that print themselves with `Debug`, made by a
//! machine from the grammar's own headers, the printed form holds every field of every node: nothing is walked, so nothing is
//! overlooked. `pg_raw_parse` is such a parser. What is printed is read strictly, and whatever is not expected makes the
//! whole text unreadable.
//!
//! The tree has the names and numbers that pg_query gives, so that each rule is written once.

use std::collections::HashSet;
use std::fmt::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use crate::parser::ParseError;
use crate::tree::{Tree, Value};

/// How many brackets may be open at once; a node opens two or three. It bounds the recursion of the printing and of the reading.
const MAX_DEPTH: usize = 300;

/// How many names of types and fields are kept. PostgreSQL 18 has about 1,300.
const MAX_NAMES: usize = 8_192;

/// The statements of a list of `RawStmt`.
///
/// # Errors
///
/// The text must not be judged by what was read of it.
pub fn statements(printed: &dyn fmt::Debug) -> Result<Vec<Tree>, ParseError> {
    let mut sink = Sink::default();
    // Nodes are cast to the type that a comment in the grammar's headers gives, with a check that panics.
    match catch_unwind(AssertUnwindSafe(|| write!(sink, "{printed:?}"))) {
        Ok(Ok(())) => {}
        Ok(Err(_)) if sink.depth > MAX_DEPTH => return Err(ParseError::TooDeep),
        Ok(Err(_)) | Err(_) => return Err(ParseError::Unread),
    }
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let mut reader = Reader { rest: &sink.text, names: names.get_or_insert_default() };
    let list = reader.value().filter(|_| reader.rest.is_empty()).ok_or(ParseError::Syntax)?;
    let statements = match list {
        Value::List(statements) => statements,
        Value::Empty => Vec::new(),
        _ => return Err(ParseError::Syntax),
    };
    statements.into_iter().map(statement).collect::<Option<_>>().ok_or(ParseError::Syntax)
}

/// The statement in a `RawStmt`.
fn statement(raw: Value) -> Option<Tree> {
    let Value::Node(raw) = raw else { return None };
    if raw.kind == "RawStmt" { raw.into_node("stmt") } else { None }
}

/// Takes the printed form, and stops the printing where it is too deep.
#[derive(Default)]
struct Sink {
    text: String,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Write for Sink {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        for byte in part.bytes() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'(' | b'[' | b'{' => self.depth += 1,
                b')' | b']' | b'}' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
            if self.depth > MAX_DEPTH {
                return Err(fmt::Error);
            }
        }
        self.text.push_str(part);
        Ok(())
    }
}

/// The names of types and fields. They come from the parser's types, never from a statement.
static NAMES: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);

struct Reader<'t> {
    rest: &'t str,
    names: &'t mut HashSet<&'static str>,
}

impl<'t> Reader<'t> {
    fn value(&mut self) -> Option<Value> {
        match self.rest.as_bytes().first()? {
            b'"' => Some(text(self.string()?)),
            b'[' => self.list(),
            b'-' | b'0'..=b'9' => self.number(),
            _ => self.named(),
        }
    }

    /// Takes what must come next.
    fn take(&mut self, expected: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(expected)?;
        Some(())
    }

    /// Takes the longest run of such characters; not none.
    fn run(&mut self, belongs: impl Fn(u8) -> bool) -> Option<&'t str> {
        let end = self.rest.bytes().position(|byte| !belongs(byte)).unwrap_or(self.rest.len());
        let (run, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        (!run.is_empty()).then_some(run)
    }

    fn word(&mut self) -> Option<&'t str> {
        self.run(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    }

    fn number(&mut self) -> Option<Value> {
        let number = self.run(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'e' | b'+'))?;
        // Costs and row counts, which the planner fills.
        let of_float = || number.parse::<f64>().ok().map(|value| value as i64);
        // Of 64 bits without a sign.
        let of_unsigned = || number.parse::<u64>().ok().map(u64::cast_signed);
        number.parse().ok().or_else(of_unsigned).or_else(of_float).map(Value::Num)
    }

    fn list(&mut self) -> Option<Value> {
        self.take("[")?;
        let mut items = Vec::new();
        while self.take("]").is_none() {
            if !items.is_empty() {
                self.take(", ")?;
            }
            items.push(self.value()?);
        }
        Some(if items.is_empty() { Value::Empty } else { Value::List(items) })
    }

    /// A string as `str` prints it.
    fn string(&mut self) -> Option<String> {
        self.take("\"")?;
        let mut string = String::new();
        loop {
            let plain = self.rest.find(['"', '\\'])?;
            let (part, rest) = self.rest.split_at_checked(plain)?;
            string.push_str(part);
            self.rest = rest;
            if self.take("\"").is_some() {
                return Some(string);
            }
            string.push(self.escape()?);
        }
    }

    fn escape(&mut self) -> Option<char> {
        self.take("\\")?;
        let letter = self.rest.chars().next()?;
        self.rest = self.rest.get(letter.len_utf8()..)?;
        match letter {
            't' => Some('\t'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            '0' => Some('\0'),
            '"' | '\'' | '\\' => Some(letter),
            'u' => {
                self.take("{")?;
                let digits = self.run(|byte| byte.is_ascii_hexdigit())?;
                self.take("}")?;
                char::from_u32(u32::from_str_radix(digits, 16).ok()?)
            }
            _ => None,
        }
    }

    /// Whatever begins with a name.
    fn named(&mut self) -> Option<Value> {
        let name = self.word()?;
        match name {
            "true" => return Some(Value::Num(1)),
            "false" => return Some(Value::Num(0)),
            "None" => return Some(Value::Empty),
            _ => {}
        }
        if self.take(" { ").is_some() {
            return self.structure(name);
        }
        self.take("(")?;
        let inner = self.value()?;
        self.take(")")?;
        match (name, inner) {
            ("Some", inner) => Some(inner),
            // Nested lists are a node of their own there.
            ("NodeList", items) => Some(self.made("List", "items", items)),
            ("String", inner @ (Value::Text(_) | Value::Empty)) => Some(self.made("String", "sval", inner)),
            ("Float", inner @ (Value::Text(_) | Value::Empty)) => Some(self.made("Float", "fval", inner)),
            ("BitString", inner @ (Value::Text(_) | Value::Empty)) => Some(self.made("BitString", "bsval", inner)),
            ("Integer", inner @ Value::Num(_)) => Some(self.made("Integer", "ival", inner)),
            ("Boolean", inner @ Value::Num(_)) => Some(self.made("Boolean", "boolval", inner)),
            // A node says its name twice: as one of all nodes, and as itself.
            (name, Value::Node(node)) => (node.kind == camel(name)).then_some(Value::Node(node)),
            _ => None,
        }
    }

    fn made(&self, kind: &'static str, field: &'static str, value: Value) -> Value {
        let mut tree = Tree::new(kind, None);
        push(&mut tree, field, value);
        Value::Node(tree)
    }

    fn structure(&mut self, name: &str) -> Option<Value> {
        let kind = self.known(&camel(name))?;
        let mut tree = Tree::new(kind, None);
        while self.take(".. }").is_none() {
            // A name that Rust has as a word of its own ends with `_`.
            let word = self.word()?.trim_end_matches('_');
            let field = self.known(word)?;
            self.take(": ")?;
            let value = self.value()?;
            push(&mut tree, field, value);
            self.take(", ")?;
        }
        Some(Value::Node(tree))
    }

    /// The name, to be kept for as long as the program runs.
    fn known(&mut self, name: &str) -> Option<&'static str> {
        if let Some(known) = self.names.get(name) {
            return Some(known);
        }
        if self.names.len() >= MAX_NAMES {
            return None;
        }
        let name: &'static str = Box::leak(name.into());
        self.names.insert(name);
        Some(name)
    }
}

fn text(string: String) -> Value {
    if string.is_empty() { Value::Empty } else { Value::Text(string.into()) }
}

/// Enumerations, which count from one in a tree: those that PostgreSQL 18 makes a number of, by the kind of node.
const ENUMERATIONS: &[(&str, &[&str])] = &[
    ("AExpr", &["kind"]),
    ("AlterDomainStmt", &["behavior"]),
    ("AlterExtensionContentsStmt", &["objtype"]),
    ("AlterFunctionStmt", &["objtype"]),
    ("AlterObjectSchemaStmt", &["object_type"]),
    ("AlterOwnerStmt", &["object_type"]),
    ("AlterPublicationStmt", &["action"]),
    ("AlterSubscriptionStmt", &["kind"]),
    ("AlterTableCmd", &["behavior", "subtype"]),
    ("AlterTableMoveAllStmt", &["objtype"]),
    ("AlterTableStmt", &["objtype"]),
    ("AlterTsConfigurationStmt", &["kind", "override"]),
    ("BoolExpr", &["boolop"]),
    ("BooleanTest", &["booltesttype"]),
    ("CommentStmt", &["objtype"]),
    ("CommonTableExpr", &["ctematerialized"]),
    ("Constraint", &["contype"]),
    ("CreateCastStmt", &["context"]),
    ("CreateRoleStmt", &["stmt_type"]),
    ("CreateStmt", &["oncommit"]),
    ("CreateTableAsStmt", &["objtype"]),
    ("DefElem", &["defaction"]),
    ("DefineStmt", &["kind"]),
    ("DiscardStmt", &["target"]),
    ("DropOwnedStmt", &["behavior"]),
    ("DropStmt", &["behavior", "remove_type"]),
    ("DropSubscriptionStmt", &["behavior"]),
    ("FetchStmt", &["direction"]),
    ("FuncCall", &["funcformat"]),
    ("GrantRoleStmt", &["behavior"]),
    ("GrantStmt", &["behavior", "objtype", "targtype"]),
    ("GroupingSet", &["kind"]),
    ("ImportForeignSchemaStmt", &["list_type"]),
    ("IndexElem", &["nulls_ordering", "ordering"]),
    ("InsertStmt", &["override"]),
    ("IntoClause", &["on_commit"]),
    ("JoinExpr", &["jointype"]),
    ("JsonBehavior", &["btype"]),
    ("JsonFormat", &["encoding", "format_type"]),
    ("JsonFuncExpr", &["op", "quotes", "wrapper"]),
    ("JsonIsPredicate", &["item_type"]),
    ("JsonTableColumn", &["coltype", "quotes", "wrapper"]),
    ("LockingClause", &["strength", "wait_policy"]),
    ("MergeWhenClause", &["command_type", "match_kind", "override"]),
    ("MinMaxExpr", &["op"]),
    ("NullTest", &["nulltesttype"]),
    ("OnConflictClause", &["action"]),
    ("PublicationObjSpec", &["pubobjtype"]),
    ("ReindexStmt", &["kind"]),
    ("RenameStmt", &["behavior", "relation_type", "rename_type"]),
    ("ReturningOption", &["option"]),
    ("RoleSpec", &["roletype"]),
    ("RowExpr", &["row_format"]),
    ("RuleStmt", &["event"]),
    ("SecLabelStmt", &["objtype"]),
    ("SelectStmt", &["limit_option", "op"]),
    ("SortBy", &["sortby_dir", "sortby_nulls"]),
    ("SqlValueFunction", &["op"]),
    ("SubLink", &["sub_link_type"]),
    ("TransactionStmt", &["kind"]),
    ("TruncateStmt", &["behavior"]),
    ("VariableSetStmt", &["kind"]),
    ("ViewStmt", &["with_check_option"]),
    ("XmlExpr", &["op", "xmloption"]),
    ("XmlSerialize", &["xmloption"]),
];

/// Single letters, which are numbers in C and texts in a tree.
const LETTERS: &[(&str, &[&str])] = &[
    ("AlterDomainStmt", &["subtype"]),
    ("AlterEventTrigStmt", &["tgenabled"]),
    ("Constraint", &["fk_del_action", "fk_matchtype", "fk_upd_action", "generated_kind", "generated_when"]),
    ("CreateAmStmt", &["amtype"]),
    ("PartitionBoundSpec", &["strategy"]),
    ("RangeVar", &["relpersistence"]),
    ("ReplicaIdentityStmt", &["identity_type"]),
];

/// Adds a field under the name and as the value that a tree has it.
fn push(tree: &mut Tree, field: &'static str, value: Value) {
    let is_listed =
        |list: &[(&str, &[&str])]| list.iter().any(|(kind, fields)| *kind == tree.kind && fields.contains(&field));
    let value = match value {
        Value::Num(number) if field == "location" => {
            tree.location = usize::try_from(number).ok();
            return;
        }
        Value::Num(number) if is_listed(ENUMERATIONS) => Value::Num(number + 1),
        Value::Num(number) if number != 0 && is_listed(LETTERS) => match u8::try_from(number) {
            Ok(letter) => text(char::from(letter).into()),
            Err(_) => Value::Num(number),
        },
        value => value,
    };
    tree.push(field, value);
}

/// A C type's name as pg_query has it: words begin with an upper-case letter, the rest is in lower case, without `_`.
fn camel(name: &str) -> String {
    let bytes = name.as_bytes();
    let mut camel = String::with_capacity(name.len());
    for (at, &byte) in bytes.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| bytes[at]);
        let after = bytes.get(at + 1);
        let begins = match before {
            None | Some(b'_') => true,
            Some(before) => !before.is_ascii_uppercase() || after.is_some_and(u8::is_ascii_lowercase),
        };
        match byte {
            b'_' => {}
            _ if byte.is_ascii_uppercase() && !begins => camel.push(char::from(byte.to_ascii_lowercase())),
            _ if matches!(before, Some(b'_')) => camel.push(char::from(byte.to_ascii_uppercase())),
            _ => camel.push(char::from(byte)),
        }
    }
    camel
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails shall stop")]
mod tests {
    use super::*;

    struct Shown(String);

    impl fmt::Debug for Shown {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(&self.0)
        }
    }

    fn read(node: &str) -> Result<Vec<Tree>, ParseError> {
        statements(&Shown(format!("[RawStmt {{ stmt: {node}, stmt_location: 0, stmt_len: 0, .. }}]")))
    }

    #[test]
    fn a_node_has_the_names_and_numbers_of_a_tree() {
        let node = r#"VariableSetStmt(VariableSetStmt { kind: 0, name: Some("role"), args: [A_Const(A_Const { val: Some(String("x\"\\\u{301}'\n")), isnull: false, location: 15, .. })], is_local: true, location: 7, .. })"#;
        let tree = &read(node).unwrap()[0];
        assert_eq!((tree.kind, tree.location, tree.num("kind")), ("VariableSetStmt", Some(7), 1));
        assert!(tree.flag("is_local"));
        let value = tree.list("args")[0].node().unwrap();
        assert_eq!((value.kind, value.string_constant()), ("AConst", Some("x\"\\\u{301}'\n")));
    }

    #[test]
    fn lists_letters_and_constants_are_read() {
        let node = r#"CreateStmt(CreateStmt { relation: Some(RangeVar { relname: Some("t"), relpersistence: 116, .. }), oncommit: 3, options: [DefElem { arg: NodeList([Integer(Integer { ival: -7, .. }), None]), .. }], constraints: [], .. })"#;
        let tree = &read(node).unwrap()[0];
        let relation = tree.node("relation").unwrap();
        assert_eq!((relation.text("relname"), relation.text("relpersistence")), ("t", "t"));
        assert_eq!((tree.num("oncommit"), tree.list("constraints").len()), (4, 0));
        let list = tree.list("options")[0].node().unwrap().node("arg").unwrap();
        assert_eq!((list.kind, list.list("items").len()), ("List", 2));
        assert_eq!(list.list("items")[0].node().unwrap().num("ival"), -7);
    }

    #[test]
    fn kinds_are_spelled_as_in_a_tree() {
        for (printed, kind) in [
            ("SelectStmt", "SelectStmt"),
            ("A_Expr", "AExpr"),
            ("SQLValueFunction", "SqlValueFunction"),
            ("CTECycleClause", "CteCycleClause"),
            ("CreatePLangStmt", "CreatePLangStmt"),
            ("AlterTSConfigurationStmt", "AlterTsConfigurationStmt"),
        ] {
            assert_eq!(camel(printed), kind);
        }
    }

    #[test]
    fn whatever_is_not_expected_is_not_read() {
        for node in [
            "Invalid(Node { type_: 173 })",
            "SelectStmt(InsertStmt { .. })",
            "SelectStmt(SelectStmt { op: 0 })",
            "SelectStmt(SelectStmt { op: 0x1, .. })",
            "SelectStmt(SelectStmt { op: \"a, .. })",
            "SelectStmt(SelectStmt { op: 0, .. }) more",
            "A_Const { val: Some(Unrecognized(7)), .. }",
            "None",
        ] {
            assert_eq!(read(node).err(), Some(ParseError::Syntax), "{node}");
        }
        assert_eq!(statements(&Shown("[SelectStmt { .. }]".into())).err(), Some(ParseError::Syntax));
        assert!(statements(&Shown("[]".into())).unwrap().is_empty());
    }

    #[test]
    fn depth_ends_the_printing_and_a_panic_ends_the_reading() {
        struct Deep(usize);
        impl fmt::Debug for Deep {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_list().entry(&Deep(self.0 + 1)).finish()
            }
        }
        struct Broken;
        impl fmt::Debug for Broken {
            #[allow(clippy::panic, reason = "as a parser's own check does")]
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                panic!("expected another node")
            }
        }
        assert_eq!(statements(&Deep(0)).err(), Some(ParseError::TooDeep));
        assert_eq!(statements(&Broken).err(), Some(ParseError::Unread));
    }
}
