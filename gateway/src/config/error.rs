//! What is wrong with a configuration, and where: one readable line per problem, never a value that may be a secret.

use std::fmt;

/// A place in a configuration file, or an environment variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spot {
    /// The file as the user named it, or the name of the variable.
    pub(crate) file: String,
    /// Line and column, from 1; absent when the problem is the whole file.
    pub(crate) position: Option<(usize, usize)>,
}

impl Spot {
    /// A file as a whole, or an environment variable.
    pub(crate) fn whole(file: impl Into<String>) -> Self {
        Self { file: file.into(), position: None }
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some((line, _)) => write!(f, "{}:{line}", self.file),
            None => f.write_str(&self.file),
        }
    }
}

/// One error or warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Where it is.
    pub(crate) spot: Spot,
    /// What it is, and what to do about it.
    pub(crate) reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.spot, self.reason)
    }
}

/// Why a configuration is refused: everything that one pass found, in the order of the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConfigError {
    /// Never empty.
    pub(crate) problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// `; did you mean "…"?` when a known name is close enough to be what was meant.
pub(crate) fn nearest<'k>(key: &str, known: impl Iterator<Item = &'k str>) -> String {
    known
        .map(|name| (strsim::damerau_levenshtein(key, name), name))
        .min()
        .filter(|(distance, name)| *distance <= 2.max(name.len() / 3))
        .map_or_else(String::new, |(_, name)| format!("; did you mean \"{name}\"?"))
}
