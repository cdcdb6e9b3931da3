//! A parse tree in which every node looks alike.
//!
//! pg_query hands out some 270 node types with close to a thousand fields, and its own iterator says that it does not
//! visit all of them. A guard may not overlook a corner, so the tree is read through its `serde::Serialize` instead:
//! whatever the grammar puts into it, today or in the next PostgreSQL, arrives here as a kind, fields and values.
//! pg_query refuses trees nested deeper than about 100 messages, which bounds the recursion; walking is iterative.

use std::fmt;

use serde::ser::{Impossible, Serialize, SerializeSeq, SerializeStruct, Serializer};

/// One node: its type's name in pg_query and those of its fields that hold something.
#[derive(Debug)]
pub(super) struct Tree {
    /// For example `SelectStmt`.
    pub(super) kind: &'static str,
    fields: Vec<(&'static str, Value)>,
}

/// What a field holds.
#[derive(Debug)]
pub(super) enum Value {
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
    pub(super) fn node(&self) -> Option<&Tree> {
        match self {
            Self::Node(tree) => Some(tree),
            _ => None,
        }
    }
}

impl Tree {
    /// Reads one statement of a parse result; `None` when it holds something that this reader does not know.
    pub(super) fn of(statement: &pg_query::Node) -> Option<Self> {
        match statement.serialize(Reflect) {
            Ok(Value::Node(tree)) => Some(tree),
            _ => None,
        }
    }

    fn field(&self, name: &str) -> &Value {
        self.fields.iter().find(|(field, _)| *field == name).map_or(&Value::Empty, |(_, value)| value)
    }

    /// A number, a boolean (0 or 1) or an enumeration's value.
    pub(super) fn num(&self, name: &str) -> i64 {
        if let Value::Num(number) = self.field(name) { *number } else { 0 }
    }

    /// A boolean field.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.num(name) != 0
    }

    /// A text, empty when absent.
    pub(super) fn text(&self, name: &str) -> &str {
        if let Value::Text(text) = self.field(name) { text } else { "" }
    }

    /// A single node.
    pub(super) fn node(&self, name: &str) -> Option<&Self> {
        self.field(name).node()
    }

    /// A list, empty when absent.
    pub(super) fn list(&self, name: &str) -> &[Value] {
        if let Value::List(items) = self.field(name) { items } else { &[] }
    }

    /// The text of a string constant (`'x'`, without a cast), or of a bare string node.
    pub(super) fn string_constant(&self) -> Option<&str> {
        match self.kind {
            "String" => Some(self.text("sval")),
            "AConst" => self.node("val").filter(|value| value.kind == "String").map(|value| value.text("sval")),
            _ => None,
        }
    }

    /// The last part of a list of names, which is the object's own: `f` of `pg_catalog.f`.
    pub(super) fn last_name(&self, field: &str) -> &str {
        self.list(field).last().and_then(Value::node).map_or("", |name| name.text("sval"))
    }

    /// The first part of a list of names: the schema, where there is one.
    pub(super) fn first_name(&self, field: &str) -> &str {
        self.list(field).first().and_then(Value::node).map_or("", |name| name.text("sval"))
    }

    /// Visits this node and everything below it.
    ///
    /// A string node is visited where it names something. It is left out where it belongs to its parent, which has
    /// rules of its own: a call's function name, a constant's value, and an unqualified column.
    pub(super) fn walk<'t>(&'t self, mut visit: impl FnMut(&'t Self)) {
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

/// The serializer that builds a [`Value`] of whatever it is given.
struct Reflect;

/// Something that a parse tree does not consist of.
#[derive(Debug)]
pub(super) struct Unknown;

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a parse tree")
    }
}

impl std::error::Error for Unknown {}

impl serde::ser::Error for Unknown {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

type Out = Result<Value, Unknown>;

macro_rules! numbers {
    ($($method:ident: $type:ty),*) => { $(fn $method(self, value: $type) -> Out { Ok(Value::Num(value as i64)) })* };
}

impl Serializer for Reflect {
    type Ok = Value;
    type Error = Unknown;
    type SerializeSeq = Items;
    type SerializeStruct = Tree;
    type SerializeTuple = Impossible<Value, Unknown>;
    type SerializeTupleStruct = Impossible<Value, Unknown>;
    type SerializeTupleVariant = Impossible<Value, Unknown>;
    type SerializeMap = Impossible<Value, Unknown>;
    type SerializeStructVariant = Impossible<Value, Unknown>;

    numbers!(serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64);
    numbers!(serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64);
    numbers!(serialize_f32: f32, serialize_f64: f64, serialize_char: char);

    fn serialize_str(self, value: &str) -> Out {
        Ok(if value.is_empty() { Value::Empty } else { Value::Text(value.into()) })
    }
    fn serialize_bytes(self, _: &[u8]) -> Out {
        Err(Unknown)
    }
    fn serialize_none(self) -> Out {
        Ok(Value::Empty)
    }
    fn serialize_some<T: ?Sized + Serialize>(self, value: &T) -> Out {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Out {
        Ok(Value::Empty)
    }
    fn serialize_unit_struct(self, _: &'static str) -> Out {
        Ok(Value::Empty)
    }
    fn serialize_unit_variant(self, _: &'static str, index: u32, _: &'static str) -> Out {
        Ok(Value::Num(i64::from(index)))
    }
    fn serialize_newtype_struct<T: ?Sized + Serialize>(self, _: &'static str, value: &T) -> Out {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Out {
        value.serialize(self)
    }
    fn serialize_seq(self, len: Option<usize>) -> Result<Items, Unknown> {
        Ok(Items(Vec::with_capacity(len.unwrap_or(0))))
    }
    fn serialize_struct(self, kind: &'static str, _: usize) -> Result<Tree, Unknown> {
        Ok(Tree { kind, fields: Vec::new() })
    }
    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Unknown> {
        Err(Unknown)
    }
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, Unknown> {
        Err(Unknown)
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Unknown> {
        Err(Unknown)
    }
    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Unknown> {
        Err(Unknown)
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Unknown> {
        Err(Unknown)
    }
}

/// A list under construction.
struct Items(Vec<Value>);

impl SerializeSeq for Items {
    type Ok = Value;
    type Error = Unknown;

    fn serialize_element<T: ?Sized + Serialize>(&mut self, value: &T) -> Result<(), Unknown> {
        self.0.push(value.serialize(Reflect)?);
        Ok(())
    }
    fn end(self) -> Out {
        Ok(if self.0.is_empty() { Value::Empty } else { Value::List(self.0) })
    }
}

impl SerializeStruct for Tree {
    type Ok = Value;
    type Error = Unknown;

    fn serialize_field<T: ?Sized + Serialize>(&mut self, key: &'static str, value: &T) -> Result<(), Unknown> {
        // Positions in the text never matter here.
        if key != "location" {
            match value.serialize(Reflect)? {
                Value::Empty | Value::Num(0) => {}
                value => self.fields.push((key, value)),
            }
        }
        Ok(())
    }
    fn end(mut self) -> Out {
        // `Node` only wraps the one that matters.
        if self.kind == "Node" {
            return Ok(self.fields.pop().map_or(Value::Empty, |(_, value)| value));
        }
        Ok(Value::Node(self))
    }
}
