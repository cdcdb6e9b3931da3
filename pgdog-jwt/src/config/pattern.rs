//! Regular expressions of the configuration: compiled once, matched against a whole value, in time linear in its length.

use std::fmt;

use regex::{Captures, Regex, RegexBuilder};

/// Largest compiled pattern, in bytes.
const MAX_COMPILED_SIZE: usize = 1 << 20;
/// Deepest nesting of groups.
const MAX_NESTING: u32 = 50;
/// The characters outside of ASCII that count as an ASCII letter when case is ignored (`ſ` and the Kelvin sign). A value
/// with one of them would be somebody else's in disguise.
const DISGUISES: [char; 2] = ['\u{17f}', '\u{212a}'];

/// A regular expression that a whole value must match, however it is written: `a|b` does not match `ab`.
#[derive(Clone)]
pub struct Pattern {
    text: String,
    ignore_case: bool,
    regex: Regex,
}

/// Why a text is no usable pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// What the parser says.
    #[error("is not a regular expression: {0}")]
    Syntax(String),
    /// Compiled, it would take too much room.
    #[error("is too large a regular expression")]
    TooLarge,
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub fn new(text: &str, ignore_case: bool) -> Result<Self, PatternError> {
        // By itself first: `a)|(b` must not get around the anchors.
        compile(text, ignore_case)?;
        let regex = compile(&format!(r"\A(?:{text})\z"), ignore_case)?;
        Ok(Self { text: text.to_owned(), ignore_case, regex })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether letters match in either case.
    pub fn ignores_case(&self) -> bool {
        self.ignore_case
    }

    /// Whether the whole value matches.
    pub fn is_match(&self, value: &str) -> bool {
        !self.is_disguised(value) && self.regex.is_match(value)
    }

    /// What the groups of a whole match hold.
    pub(crate) fn captures<'a>(&self, value: &'a str) -> Option<Captures<'a>> {
        if self.is_disguised(value) { None } else { self.regex.captures(value) }
    }

    /// How many groups it has.
    pub(super) fn groups(&self) -> usize {
        self.regex.captures_len() - 1
    }

    fn is_disguised(&self, value: &str) -> bool {
        self.ignore_case && value.contains(DISGUISES)
    }
}

fn compile(text: &str, ignore_case: bool) -> Result<Regex, PatternError> {
    let mut builder = RegexBuilder::new(text);
    builder.case_insensitive(ignore_case).size_limit(MAX_COMPILED_SIZE).nest_limit(MAX_NESTING);
    builder.build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => PatternError::TooLarge,
        error => {
            // The parser draws the place in several lines; the last one says what it is.
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            PatternError::Syntax(last.trim_start_matches("error: ").to_owned())
        }
    })
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.ignore_case == other.ignore_case
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, value: &str) -> bool {
        Pattern::new(pattern, false).unwrap().is_match(value)
    }

    #[test]
    fn a_whole_value_must_match() {
        assert!(matches("adm.*", "admin"));
        assert!(matches("a|ab", "ab"));
        for (pattern, value) in [
            ("admin", "administrator"),
            ("admin", "not admin"),
            ("admin", "admin\n"),
            ("admin", "x\nadmin"),
            ("a|b", "ab"),
        ] {
            assert!(!matches(pattern, value), "{pattern} {value:?}");
        }
        assert!(!matches("(?m)^admin$", "x\nadmin\ny"), "lines are not values");
    }

    #[test]
    fn what_is_no_pattern_says_why_in_one_line() {
        for pattern in ["(", "a)|(b", "[z-a]", "(?x) a # b", &"(".repeat(100)] {
            let error = Pattern::new(pattern, false).unwrap_err().to_string();
            assert!(error.starts_with("is not a regular expression: ") && !error.contains('\n'), "{error}");
        }
        assert_eq!(Pattern::new(r"\w{1000}{1000}", false), Err(PatternError::TooLarge));
    }

    #[test]
    fn a_pattern_that_backtracks_elsewhere_takes_no_time_here() {
        assert!(!matches("(a*)*b", &"a".repeat(16 * 1024)));
    }

    #[test]
    fn a_letter_of_another_script_is_no_ascii_letter() {
        let pattern = Pattern::new("desk", true).unwrap();
        assert!(pattern.is_match("DESK") && pattern.is_match("desk"));
        for value in ["de\u{17f}k", "des\u{212a}"] {
            assert!(!pattern.is_match(value) && pattern.captures(value).is_none(), "{value}");
        }
    }
}
