//! Strings: texts, paths, secrets, and lists of them.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use toml_edit::Item;

use super::Kind;
use crate::config::Secret;

/// The methods of a kind that is a string.
macro_rules! string_kind {
    ($value:ty, $make:expr, $is_absent:expr, $name:literal) => {
        type Value = $value;
        type Constant = &'static str;

        fn expected(&self) -> String {
            "a string".to_owned()
        }

        fn of_item(&self, item: &Item) -> Option<$value> {
            item.as_str().map(|text| ($make)(text))
        }

        fn of_text(&self, text: &str) -> Option<$value> {
            Some(($make)(text))
        }

        fn constant(&self, constant: &'static str) -> $value {
            ($make)(constant)
        }

        fn shown(&self, constant: &'static str) -> Value {
            json!(constant)
        }

        fn schema(&self) -> Value {
            json!({ "type": "string" })
        }

        fn type_name(&self) -> String {
            $name.to_owned()
        }

        fn is_absent(&self, value: &$value) -> bool {
            ($is_absent)(value)
        }
    };
}

/// A string, which may be empty.
#[derive(Debug, Clone, Copy)]
pub struct Text;

impl Kind for Text {
    string_kind!(String, str::to_owned, |_: &String| false, "string");
}

/// A string; an empty one counts as absent.
#[derive(Debug, Clone, Copy)]
pub struct Filled;

impl Kind for Filled {
    string_kind!(String, str::to_owned, |value: &String| value.is_empty(), "string");
}

/// A secret; an empty one counts as absent.
#[derive(Debug, Clone, Copy)]
pub struct Hidden;

impl Kind for Hidden {
    string_kind!(Secret, |text: &str| Secret::new(text), |value: &Secret| value.expose().is_empty(), "string");
}

/// What a path begins with that is in the folder of a systemd service's credentials (systemd.exec(5), "Credentials").
const CREDENTIALS: &str = "${CREDENTIALS_DIRECTORY}/";

/// The path of a file or a folder; an empty one counts as absent. It may begin with `${CREDENTIALS_DIRECTORY}/`.
#[derive(Debug, Clone, Copy)]
pub struct FilePath;

impl Kind for FilePath {
    string_kind!(PathBuf, PathBuf::from, |value: &PathBuf| value.as_os_str().is_empty(), "path");

    fn resolved(&self, value: PathBuf) -> Result<PathBuf, String> {
        let Some(name) = value.to_str().and_then(|path| path.strip_prefix(CREDENTIALS)) else { return Ok(value) };
        match std::env::var_os("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty()) {
            Some(folder) => Ok(Path::new(&folder).join(name)),
            None => Err(
                "the environment variable CREDENTIALS_DIRECTORY is not set: systemd sets it for a service that has \
                         LoadCredential= or the like"
                    .to_owned(),
            ),
        }
    }
}

/// A list of strings, or one string.
#[derive(Debug, Clone, Copy)]
pub struct Strings;

impl Kind for Strings {
    type Value = Vec<String>;
    type Constant = &'static [&'static str];

    fn expected(&self) -> String {
        "a string or a list of strings".to_owned()
    }

    fn of_item(&self, item: &Item) -> Option<Vec<String>> {
        match item.as_value()? {
            toml_edit::Value::String(text) => Some(vec![text.value().clone()]),
            toml_edit::Value::Array(array) => array.iter().map(|value| value.as_str().map(str::to_owned)).collect(),
            _ => None,
        }
    }

    fn of_text(&self, text: &str) -> Option<Vec<String>> {
        Some(vec![text.to_owned()])
    }

    fn constant(&self, constant: &'static [&'static str]) -> Vec<String> {
        constant.iter().map(|text| (*text).to_owned()).collect()
    }

    fn shown(&self, constant: &'static [&'static str]) -> Value {
        json!(constant)
    }

    fn schema(&self) -> Value {
        json!({ "oneOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
    }

    fn type_name(&self) -> String {
        "list".to_owned()
    }
}
