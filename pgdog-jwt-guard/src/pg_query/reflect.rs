//! From pg_query's types to a [`Tree`].
//!
//! pg_query hands out some 270 node types with close to a thousand fields, and its own iterator says that it does not visit all
//! of them. So they are read through their `serde::Serialize` instead: whatever the grammar puts into them, today or in the next
//! PostgreSQL, arrives here as a kind, fields and values. pg_query refuses trees nested deeper than about 100 messages, which
//! bounds the recursion.

use std::fmt;

use serde::ser::{Impossible, Serialize, SerializeSeq, SerializeStruct, Serializer};

use crate::tree::{Tree, Value};

/// Reads one statement of a parse result; `None` when it holds something that this reader does not know.
pub(super) fn tree(statement: &::pg_query::Node) -> Option<Tree> {
    match statement.serialize(Reflect) {
        Ok(Value::Node(tree)) => Some(tree),
        _ => None,
    }
}

/// The serializer that builds a [`Value`] of whatever it is given.
struct Reflect;

/// Something that a parse tree does not consist of.
#[derive(Debug)]
struct Unknown;

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
    type SerializeStruct = Node;
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
    fn serialize_struct(self, kind: &'static str, _: usize) -> Result<Node, Unknown> {
        Ok(Node(Tree::new(kind, None)))
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

/// A node under construction.
struct Node(Tree);

impl SerializeStruct for Node {
    type Ok = Value;
    type Error = Unknown;

    fn serialize_field<T: ?Sized + Serialize>(&mut self, key: &'static str, value: &T) -> Result<(), Unknown> {
        match (key, value.serialize(Reflect)?) {
            ("location", Value::Num(at)) => self.0.location = usize::try_from(at).ok(),
            (_, value) => self.0.push(key, value),
        }
        Ok(())
    }
    fn end(self) -> Out {
        // `Node` only wraps the one that matters.
        if self.0.kind == "Node" {
            return Ok(self.0.into_last_field());
        }
        Ok(Value::Node(self.0))
    }
}
