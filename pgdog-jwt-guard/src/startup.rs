//! The guard over the start-up packet, whose parameters set variables before the first statement.

use super::class::Refusal;
use super::policy::Policy;
use super::{guard, refusal};

impl Policy {
    /// Judges one parameter of a start-up packet (PostgreSQL, 54.2.1), also what is inside `options`.
    ///
    /// Every name besides the five that the protocol itself reads is a variable's.
    pub fn refused_startup_parameter(&self, name: &str, value: &str) -> Option<&'static Refusal> {
        match name {
            "user" | "database" | "replication" => None,
            "options" => options(value, self),
            // The server reads a leading `_pq_.` as an option of the protocol.
            name if name.starts_with("_pq_.") => None,
            name => setting(name, value, self),
        }
    }
}

fn setting(name: &str, value: &str, policy: &Policy) -> Option<&'static Refusal> {
    if policy.dialect.is_startup_parameter(name) {
        return None;
    }
    let refusal = guard::setting(name, Some(value), policy);
    refusal.filter(|refusal| policy.identity || !refusal.is_about_identity())
}

/// `options` are a command line for the server process. Only the two forms that set a variable are let through: others
/// (`-e`, clusters such as `-ec role=x`) are for developers and would need the server's own getopt to be read right.
fn options(value: &str, policy: &Policy) -> Option<&'static Refusal> {
    let Some(assignments) = startup_assignments(value) else { return Some(&refusal::OPTIONS) };
    assignments.iter().find_map(|(name, value)| setting(name, value, policy))
}

/// The names and values inside `options`; `None` when there is anything else in it.
pub fn startup_assignments(options: &str) -> Option<Vec<(String, String)>> {
    let mut assignments = Vec::new();
    let mut words = split(options).into_iter();
    while let Some(word) = words.next() {
        let assignment = match word.strip_prefix("--") {
            Some(long) => Some(long.to_owned()),
            None if word == "-c" => words.next(),
            None => word.strip_prefix("-c").map(str::to_owned),
        };
        // The server turns dashes of such names into underscores (PostgreSQL, 19.1.3).
        let assignment = assignment?;
        let (name, value) = assignment.split_once('=')?;
        assignments.push((name.replace('-', "_"), value.to_owned()));
    }
    Some(assignments)
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
