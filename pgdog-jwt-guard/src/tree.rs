//! A parse tree in which every node looks alike. The grammar has some 270 kinds of nodes with close to a thousand fields, and a
//! guard may not overlook a corner.

/// One node of a parse tree: its kind, and those of its fields that hold something.
///
/// Kinds and fields have the names of PostgreSQL's raw parse tree in the crate `pg_query`, version 18: the kind `SelectStmt` with
/// the field `target_list`, `AConst` with `val`. Whoever makes a tree puts *all* into it that the grammar found: what is not
/// there is not judged. Nodes that only wrap one other (`Node`, `RawStmt`) are left out. An enumeration is a number, one more
/// than PostgreSQL 18 gives it, so that nothing of it is zero. Parsers bound how deeply a tree is nested; walking is iterative.
#[derive(Debug)]
pub struct Tree {
    /// For example `SelectStmt`.
    pub kind: &'static str,
    /// Where it begins in the text, in bytes, as far as the grammar says so.
    pub location: Option<usize>,
    fields: Vec<(&'static str, Value)>,
}

/// What a field holds.
#[derive(Debug)]
pub enum Value {
    /// Absent, or its type's zero.
    Empty,
    /// Numbers, booleans and enumerations.
    Num(i64),
    /// Names and constants.
    Text(Box<str>),
    /// One node.
    Node(Tree),
    /// Nodes in order; an absent one stays as `Empty`.
    List(Vec<Value>),
}

impl Value {
    /// The node, when it is one.
    pub fn node(&self) -> Option<&Tree> {
        match self {
            Self::Node(tree) => Some(tree),
            _ => None,
        }
    }
}

impl Tree {
    /// A node without fields.
    pub fn new(kind: &'static str, location: Option<usize>) -> Self {
        Self { kind, location, fields: Vec::new() }
    }

    /// Adds a field, if it holds something. No judgement may depend on a location: it is no field.
    pub fn push(&mut self, field: &'static str, value: Value) {
        match value {
            Value::Empty | Value::Num(0) => {}
            Value::Text(text) if text.is_empty() => {}
            Value::List(items) if items.is_empty() => {}
            value => self.fields.push((field, value)),
        }
    }

    /// What its last field holds.
    #[cfg(feature = "pg_query")]
    pub(crate) fn into_last_field(mut self) -> Value {
        self.fields.pop().map_or(Value::Empty, |(_, value)| value)
    }

    /// The node in a field.
    pub(crate) fn into_node(self, name: &str) -> Option<Self> {
        let (_, value) = self.fields.into_iter().find(|(field, _)| *field == name)?;
        if let Value::Node(tree) = value { Some(tree) } else { None }
    }

    fn field(&self, name: &str) -> &Value {
        self.fields.iter().find(|(field, _)| *field == name).map_or(&Value::Empty, |(_, value)| value)
    }

    /// A number, a boolean (0 or 1) or an enumeration's value.
    pub fn num(&self, name: &str) -> i64 {
        if let Value::Num(number) = self.field(name) { *number } else { 0 }
    }

    /// A boolean field.
    pub fn flag(&self, name: &str) -> bool {
        self.num(name) != 0
    }

    /// A text, empty when absent.
    pub fn text(&self, name: &str) -> &str {
        if let Value::Text(text) = self.field(name) { text } else { "" }
    }

    /// A single node.
    pub fn node(&self, name: &str) -> Option<&Self> {
        self.field(name).node()
    }

    /// A list, empty when absent.
    pub fn list(&self, name: &str) -> &[Value] {
        if let Value::List(items) = self.field(name) { items } else { &[] }
    }

    /// The text of a string constant (`'x'`, without a cast), or of a bare string node.
    pub fn string_constant(&self) -> Option<&str> {
        match self.kind {
            "String" => Some(self.text("sval")),
            "AConst" => self.node("val").filter(|value| value.kind == "String").map(|value| value.text("sval")),
            _ => None,
        }
    }

    /// The last part of a list of names, which is the object's own: `f` of `pg_catalog.f`.
    pub fn last_name(&self, field: &str) -> &str {
        self.list(field).last().and_then(Value::node).map_or("", |name| name.text("sval"))
    }

    /// The first part of a list of names: the schema, where there is one.
    pub(crate) fn first_name(&self, field: &str) -> &str {
        self.list(field).first().and_then(Value::node).map_or("", |name| name.text("sval"))
    }

    /// The nodes right below this one, each with the field that it is in.
    pub(crate) fn children(&self) -> impl Iterator<Item = (&'static str, &Self)> {
        self.fields.iter().flat_map(|(name, value)| {
            let mut found = Vec::new();
            match value {
                Value::Node(child) => found.push(child),
                Value::List(children) => push_all(&mut found, children),
                _ => {}
            }
            found.into_iter().map(|child| (*name, child))
        })
    }

    /// Visits this node and everything below it.
    ///
    /// A string node is visited where it names something. It is left out where it belongs to its parent, which has
    /// rules of its own: a call's function name, a constant's value, and an unqualified column.
    pub fn walk<'t>(&'t self, mut visit: impl FnMut(&'t Self)) {
        let mut waiting = vec![self];
        while let Some(tree) = waiting.pop() {
            visit(tree);
            for (name, value) in &tree.fields {
                let own = match tree.kind {
                    "FuncCall" => *name == "funcname",
                    "AConst" => true,
                    "ColumnRef" => matches!(value, Value::List(parts) if parts.len() == 1),
                    _ => false,
                };
                match value {
                    Value::Node(child) if !own => waiting.push(child),
                    Value::List(children) if !own => push_all(&mut waiting, children),
                    _ => {}
                }
            }
        }
    }
}

fn push_all<'t>(waiting: &mut Vec<&'t Tree>, children: &'t [Value]) {
    for child in children {
        match child {
            Value::Node(tree) => waiting.push(tree),
            // pg_query wraps nested lists into a node of their own; this is for a reader that one day does not.
            Value::List(nested) => push_all(waiting, nested),
            _ => {}
        }
    }
}
