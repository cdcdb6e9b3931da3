//! The kinds of values that a key may have, in the file and in the environment.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use pgdog_jwt::config::Secret;
use toml_edit::{Item, Value};

use super::choices::Choice;
use super::section::Section;

/// PgDog's "no limit".
pub(crate) const NO_LIMIT: i64 = i64::MAX;

impl Section<'_> {
    pub(crate) fn string(&self, key: &'static str) -> Option<String> {
        self.get(key, "a string", |item| item.as_str().map(str::to_owned), |text| Some(text.to_owned()))
    }

    /// A string; an empty one counts as absent.
    pub(crate) fn filled(&self, key: &'static str) -> Option<String> {
        self.string(key).filter(|text| !text.is_empty())
    }

    /// A secret; an empty one counts as absent.
    pub(crate) fn secret(&self, key: &'static str) -> Option<Secret> {
        self.filled(key).map(Secret::new)
    }

    pub(crate) fn path(&self, key: &'static str) -> Option<PathBuf> {
        self.filled(key).map(PathBuf::from)
    }

    pub(crate) fn boolean(&self, key: &'static str) -> Option<bool> {
        self.get(key, "true or false", Item::as_bool, |text| match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" => Some(false),
            _ => None,
        })
    }

    pub(crate) fn integer(&self, key: &'static str, range: RangeInclusive<i64>) -> Option<i64> {
        let expected = match (*range.start(), *range.end()) {
            (0, i64::MAX) => "a whole number that is not negative".to_owned(),
            (least, i64::MAX) => format!("a whole number of at least {least}"),
            (least, most) => format!("a whole number from {least} to {most}"),
        };
        let inside = |number: i64| Some(number).filter(|number| range.contains(number));
        self.get(key, &expected, |item| item.as_integer().and_then(inside), |text| text.parse().ok().and_then(inside))
    }

    /// A count or a size; "no limit" is [`usize::MAX`].
    pub(crate) fn count(&self, key: &'static str, least: i64) -> Option<usize> {
        let number = self.integer(key, least..=i64::MAX)?;
        Some(if number == NO_LIMIT { usize::MAX } else { usize::try_from(number).unwrap_or(usize::MAX) })
    }

    pub(crate) fn port(&self, key: &'static str) -> Option<u16> {
        self.integer(key, 0..=65535).and_then(|number| u16::try_from(number).ok())
    }

    /// The mode of a file, as `chmod` takes it in digits.
    pub(crate) fn permissions(&self, key: &'static str) -> Option<u32> {
        let mode = |text: &str| u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
        self.get(key, "octal digits in quotes, from \"0000\" to \"0777\"", |item| item.as_str().and_then(mode), mode)
    }

    pub(crate) fn millis(&self, key: &'static str) -> Option<Duration> {
        self.integer(key, 0..=i64::MAX).map(|number| duration(number, Duration::from_millis))
    }

    pub(crate) fn seconds(&self, key: &'static str) -> Option<Duration> {
        self.integer(key, 0..=i64::MAX).map(|number| duration(number, Duration::from_secs))
    }

    /// Like [`Section::millis`], for waits that must have a limit.
    pub(crate) fn millis_up_to(&self, key: &'static str, most: i64) -> Option<Duration> {
        self.integer(key, 1..=most).map(|number| duration(number, Duration::from_millis))
    }

    pub(crate) fn millis_within(&self, key: &'static str, range: RangeInclusive<i64>) -> Option<Duration> {
        self.integer(key, range).map(|number| duration(number, Duration::from_millis))
    }

    pub(crate) fn seconds_up_to(&self, key: &'static str, most: i64) -> Option<Duration> {
        self.integer(key, 0..=most).map(|number| duration(number, Duration::from_secs))
    }

    pub(crate) fn seconds_within(&self, key: &'static str, range: RangeInclusive<i64>) -> Option<Duration> {
        self.integer(key, range).map(|number| duration(number, Duration::from_secs))
    }

    pub(crate) fn choice<T: Choice>(&self, key: &'static str) -> Option<T> {
        let words: Vec<_> = T::ALL.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let expected = format!("one of {}", words.join(", "));
        self.get(key, &expected, |item| item.as_str().and_then(T::from_word), T::from_word)
    }

    /// A list of strings, or one string.
    pub(crate) fn strings(&self, key: &'static str) -> Option<Vec<String>> {
        self.get(
            key,
            "a string or a list of strings",
            |item| match item.as_value()? {
                Value::String(text) => Some(vec![text.value().clone()]),
                Value::Array(array) => array.iter().map(|value| value.as_str().map(str::to_owned)).collect(),
                _ => None,
            },
            |text| Some(vec![text.to_owned()]),
        )
    }
}

fn duration(number: i64, unit: impl Fn(u64) -> Duration) -> Duration {
    if number == NO_LIMIT { Duration::MAX } else { unit(number.unsigned_abs()) }
}
