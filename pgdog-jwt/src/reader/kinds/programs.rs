//! Programs that print a secret.

use std::time::Duration;

use serde_json::{Value, json};
use toml_edit::{Item, TableLike};

use super::Kind;
use crate::secret::Command;

/// How long a program may take, unless the file says otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time that it may be given, in milliseconds (S9).
const LONGEST: i64 = 600_000;
/// How soon it is run again, unless the file says otherwise.
const INTERVAL: Duration = Duration::from_secs(300);
/// Longest interval, in seconds.
const YEAR: i64 = 365 * 24 * 3_600;

/// A program with its arguments: a list of strings, a string that is split at white space, or a table of either with a time limit
/// and an interval.
#[derive(Debug, Clone, Copy)]
pub struct Program;

impl Kind for Program {
    type Value = Command;
    type Constant = &'static str;

    fn expected(&self) -> String {
        "a program with its arguments: a list of strings; a string, which is split at white space, without quotes and other signs \
         that only a shell would understand; or a table of \"command\", \"timeout\" (milliseconds) and \"interval\" (seconds)"
            .to_owned()
    }

    fn of_item(&self, item: &Item) -> Option<Command> {
        match item.as_table_like() {
            Some(table) => of_table(table),
            None => Some(command(words(item)?)),
        }
    }

    fn of_text(&self, text: &str) -> Option<Command> {
        split(text).map(command)
    }

    fn constant(&self, text: &'static str) -> Command {
        command(split(text).unwrap_or_default())
    }

    fn shown(&self, text: &'static str) -> Value {
        json!(text)
    }

    fn schema(&self) -> Value {
        let words = json!({ "type": "array", "items": { "type": "string" }, "minItems": 1 });
        let table = json!({
            "type": "object",
            "properties": {
                "command": { "oneOf": [{ "type": "string" }, words] },
                "timeout": { "type": "integer", "minimum": 1, "maximum": LONGEST, "default": TIMEOUT.as_millis() as i64 },
                "interval": { "type": "integer", "minimum": 0, "maximum": YEAR, "default": INTERVAL.as_secs() },
            },
            "required": ["command"],
            "additionalProperties": false,
        });
        json!({ "oneOf": [{ "type": "string" }, words, table] })
    }

    fn type_name(&self) -> String {
        "program".to_owned()
    }
}

fn command(words: Vec<String>) -> Command {
    Command { words, timeout: TIMEOUT, interval: Some(INTERVAL) }
}

fn of_table(table: &dyn TableLike) -> Option<Command> {
    let mut command = command(words(table.get("command")?)?);
    for (key, item) in table.iter() {
        match key {
            "command" => {}
            "timeout" => command.timeout = Duration::from_millis(number(item, 1, LONGEST)?),
            "interval" => {
                command.interval = Some(number(item, 0, YEAR)?).filter(|time| *time > 0).map(Duration::from_secs)
            }
            _ => return None,
        }
    }
    Some(command)
}

fn number(item: &Item, least: i64, most: i64) -> Option<u64> {
    let number = item.as_integer().filter(|number| (least..=most).contains(number))?;
    u64::try_from(number).ok()
}

fn words(item: &Item) -> Option<Vec<String>> {
    if let Some(text) = item.as_str() {
        return split(text);
    }
    let words: Option<Vec<String>> = item.as_array()?.iter().map(|word| word.as_str().map(str::to_owned)).collect();
    words.filter(|words| words.first().is_some_and(|program| !program.is_empty()))
}

/// Whoever writes for a shell must hear that there is none.
fn split(text: &str) -> Option<Vec<String>> {
    let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    (!words.is_empty() && !text.contains(['\'', '"', '`', '$', '\\', '|', ';', '<', '>'])).then_some(words)
}

#[cfg(test)]
mod tests {
    use toml_edit::DocumentMut;

    use super::*;

    fn read(value: &str) -> Option<(Vec<String>, u64, Option<u64>)> {
        let document: DocumentMut = format!("key = {value}").parse().unwrap();
        let command = Program.of_item(&document["key"])?;
        Some((command.words, command.timeout.as_millis() as u64, command.interval.map(|time| time.as_secs())))
    }

    #[test]
    fn a_program_is_a_list_a_text_or_a_table() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let plain = Some((words(&["a", "b"]), 10_000, Some(300)));
        assert_eq!(read("[\"a\", \"b\"]"), plain);
        assert_eq!(read("\" a  b \""), plain);
        assert_eq!(read("{ command = \"a b\" }"), plain);
        assert_eq!(read("[\"a\", \"'b' | $c\"]"), Some((words(&["a", "'b' | $c"]), 10_000, Some(300))));
        assert_eq!(read("{ command = [\"a\"], timeout = 500, interval = 60 }"), Some((words(&["a"]), 500, Some(60))));
        assert_eq!(read("{ command = \"a\", interval = 0 }"), Some((words(&["a"]), 10_000, None)));
    }

    #[test]
    fn nothing_else_is_one() {
        for value in [
            "\"\"",
            "\" \"",
            "[]",
            "[\"\"]",
            "[1]",
            "1",
            "true",
            "{}",
            "{ command = [] }",
            "\"a 'b c'\"",
            "\"a | b\"",
            "\"a $B\"",
            "{ command = \"a\", timeout = 0 }",
            "{ command = \"a\", timeout = 600001 }",
            "{ command = \"a\", interval = -1 }",
            "{ command = \"a\", every = 5 }",
            "{ timeout = 5 }",
        ] {
            assert_eq!(read(value), None, "{value}");
        }
    }
}
