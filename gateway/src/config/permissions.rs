//! The mode of a file, as `chmod` takes it in digits.

use pgdog_jwt::reader::Kind;
use serde_json::{Value, json};
use toml_edit::Item;

/// Octal digits in quotes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Permissions;

fn mode(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777)
}

impl Kind for Permissions {
    type Value = u32;
    type Constant = &'static str;

    fn expected(&self) -> String {
        "octal digits in quotes, from \"0000\" to \"0777\"".to_owned()
    }

    fn of_item(&self, item: &Item) -> Option<u32> {
        item.as_str().and_then(mode)
    }

    fn of_text(&self, text: &str) -> Option<u32> {
        mode(text)
    }

    fn constant(&self, constant: &'static str) -> u32 {
        // Nothing for everybody else is the least that it can mean.
        mode(constant).unwrap_or(0o700)
    }

    fn shown(&self, constant: &'static str) -> Value {
        json!(constant)
    }

    fn schema(&self) -> Value {
        json!({ "type": "string", "pattern": "^0*[0-7]{1,3}$" })
    }

    fn type_name(&self) -> String {
        "string".to_owned()
    }
}
