//! Words: one of a fixed list, and `true` or `false`.

use std::marker::PhantomData;

use serde_json::{Value, json};
use toml_edit::Item;

use super::Kind;
use crate::reader::Choice;

/// `true` or `false`; in the environment also the words that PgDog takes.
#[derive(Debug, Clone, Copy)]
pub struct Flag;

impl Kind for Flag {
    type Value = bool;
    type Constant = bool;

    fn expected(&self) -> String {
        "true or false".to_owned()
    }

    fn of_item(&self, item: &Item) -> Option<bool> {
        item.as_bool()
    }

    fn of_text(&self, text: &str) -> Option<bool> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" => Some(false),
            _ => None,
        }
    }

    fn constant(&self, constant: bool) -> bool {
        constant
    }

    fn shown(&self, constant: bool) -> Value {
        json!(constant)
    }

    fn schema(&self) -> Value {
        json!({ "type": "boolean" })
    }

    fn type_name(&self) -> String {
        "boolean".to_owned()
    }
}

/// One word of a fixed list.
#[derive(Debug, Clone, Copy)]
pub struct Word<T>(PhantomData<fn() -> T>);

impl<T> Word<T> {
    /// Any of them.
    pub const ANY: Self = Self(PhantomData);
}

impl<T: Choice> Kind for Word<T> {
    type Value = T;
    type Constant = T;

    fn expected(&self) -> String {
        let words: Vec<_> = T::ALL.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        format!("one of {}", words.join(", "))
    }

    fn of_item(&self, item: &Item) -> Option<T> {
        item.as_str().and_then(T::from_word)
    }

    fn of_text(&self, text: &str) -> Option<T> {
        T::from_word(text)
    }

    fn constant(&self, constant: T) -> T {
        constant
    }

    fn shown(&self, constant: T) -> Value {
        json!(constant.word())
    }

    fn schema(&self) -> Value {
        json!({ "enum": T::ALL.iter().map(|(word, _)| *word).collect::<Vec<_>>() })
    }

    fn type_name(&self) -> String {
        T::ALL.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(", ")
    }

    fn word(&self, value: &T) -> Option<&'static str> {
        Some(value.word())
    }
}
