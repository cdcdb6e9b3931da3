//! The kinds of values that a key may have, in a file and in the environment.

mod numbers;
mod programs;
mod strings;
mod words;

use serde_json::Value;
use toml_edit::Item;

pub use numbers::{Count, Port, Time, Unit};
pub use programs::Program;
pub use strings::{FilePath, Filled, Hidden, Strings, Text};
pub use words::{Flag, Word};

/// PgDog's "no limit".
pub const NO_LIMIT: i64 = i64::MAX;

/// A kind of values.
pub trait Kind: Copy {
    /// What is read.
    type Value;
    /// A default, as it is declared.
    type Constant: Copy;

    /// What the file must have, as the end of a sentence.
    fn expected(&self) -> String;
    /// Reads a value of a file; `None`: it is of another kind.
    fn of_item(&self, item: &Item) -> Option<Self::Value>;
    /// Reads a variable of the environment.
    fn of_text(&self, text: &str) -> Option<Self::Value>;
    /// The value that a default stands for.
    fn constant(&self, constant: Self::Constant) -> Self::Value;
    /// A default as JSON.
    fn shown(&self, constant: Self::Constant) -> Value;
    /// The values as a JSON Schema.
    fn schema(&self) -> Value;
    /// What a reference calls it.
    fn type_name(&self) -> String;

    /// The value with what it stands for, or why it cannot be: the rest of a sentence about the key.
    ///
    /// # Errors
    /// The value needs what is not there.
    fn resolved(&self, value: Self::Value) -> Result<Self::Value, String> {
        Ok(value)
    }

    /// Whether the value counts as none.
    fn is_absent(&self, _value: &Self::Value) -> bool {
        false
    }

    /// The word of a fixed list that the value is.
    fn word(&self, _value: &Self::Value) -> Option<&'static str> {
        None
    }
}

/// A value of a form of its own, which its section reads itself.
#[derive(Debug, Clone, Copy)]
pub struct Special {
    /// What a reference calls it.
    pub type_name: &'static str,
    /// Its values as a JSON Schema.
    pub schema: fn() -> Value,
}

impl Kind for Special {
    type Value = ();
    type Constant = ();

    fn expected(&self) -> String {
        format!("a {}", self.type_name)
    }

    fn of_item(&self, _item: &Item) -> Option<()> {
        Some(())
    }

    fn of_text(&self, _text: &str) -> Option<()> {
        None
    }

    fn constant(&self, (): ()) {}

    fn shown(&self, (): ()) -> Value {
        Value::Null
    }

    fn schema(&self) -> Value {
        (self.schema)()
    }

    fn type_name(&self) -> String {
        self.type_name.to_owned()
    }
}
