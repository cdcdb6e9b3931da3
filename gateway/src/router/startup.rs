//! The guard over the start-up packet, whose parameters set variables before the first statement.

use super::class::Refusal;
use super::{guard, refusal};

/// Judges one parameter of a start-up packet (PostgreSQL, 54.2.1), also what is inside `options`.
///
/// Every name besides the five that the protocol itself reads is a variable's.
pub(crate) fn refused_startup_parameter(name: &str, value: &str, protected: &[Box<str>]) -> Option<&'static Refusal> {
    match name {
        "user" | "database" | "replication" => None,
        "options" => options(value, protected),
        // The server reads a leading `_pq_.` as an option of the protocol.
        name if name.starts_with("_pq_.") => None,
        name => guard::setting(name, Some(value), protected),
    }
}

/// `options` are a command line for the server process. Only the two forms that set a variable are let through: others
/// (`-e`, clusters such as `-ec role=x`) are for developers and would need the server's own getopt to be read right.
fn options(value: &str, protected: &[Box<str>]) -> Option<&'static Refusal> {
    let mut words = split(value).into_iter();
    while let Some(word) = words.next() {
        let assignment = match word.strip_prefix("--") {
            Some(long) => Some(long.to_owned()),
            None if word == "-c" => words.next(),
            None => word.strip_prefix("-c").map(str::to_owned),
        };
        let Some((name, value)) = assignment.as_deref().and_then(|text| text.split_once('=')) else {
            return Some(&refusal::OPTIONS);
        };
        // The server turns dashes of such names into underscores (PostgreSQL, 19.1.3).
        if let Some(refusal) = guard::setting(&name.replace('-', "_"), Some(value), protected) {
            return Some(refusal);
        }
    }
    None
}

/// Splits at white space; a backslash keeps the next character (PostgreSQL, 34.1.2 on `options`).
fn split(options: &str) -> Vec<String> {
    let is_space = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}');
    let mut words = Vec::new();
    let mut rest = options.chars().peekable();
    loop {
        while rest.next_if(|c| is_space(*c)).is_some() {}
        if rest.peek().is_none() {
            return words;
        }
        let mut word = String::new();
        while let Some(c) = rest.next_if(|c| !is_space(*c)) {
            match c {
                '\\' => word.extend(rest.next()),
                c => word.push(c),
            }
        }
        words.push(word);
    }
}
