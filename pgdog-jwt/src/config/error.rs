//! What is wrong with a configuration, and where: one readable line per problem, never a value that may be a secret.

use std::fmt;

use super::fault::Fault;

/// A place in a configuration file, or an environment variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// The file as the user named it, or the name of the variable; empty where there is none.
    pub file: String,
    /// Line and column, from 1; absent when the problem is the whole file.
    pub position: Option<(usize, usize)>,
}

impl Spot {
    /// Nothing that the host could point at: a problem of the settings as the core has them.
    pub fn none() -> Self {
        Self::whole("")
    }

    /// A file as a whole, or an environment variable.
    pub fn whole(file: impl Into<String>) -> Self {
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
pub struct Problem {
    /// Where it is.
    pub spot: Spot,
    /// What it is, and what to do about it.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.spot.file.is_empty() {
            true => f.write_str(&self.reason),
            false => write!(f, "{}: {}", self.spot, self.reason),
        }
    }
}

/// Why a configuration is refused: everything that one pass found, in the order of the files. It names settings, files and URLs,
/// and shows no key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Never empty.
    pub problems: Vec<Problem>,
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

impl From<Fault> for Problem {
    /// What is wrong with a file has that file as its place: the host knows which of its settings names it.
    fn from(fault: Fault) -> Self {
        match &fault {
            Fault::KeyFile { path, problem } => {
                Self { spot: Spot::whole(path.display().to_string()), reason: format!("the key file {problem}") }
            }
            Fault::RevocationFile { path, problem } => Self {
                spot: Spot::whole(path.display().to_string()),
                reason: format!("the revocation file: {problem}"),
            },
            _ => Self { spot: Spot::none(), reason: fault.to_string() },
        }
    }
}

impl From<Fault> for ConfigError {
    fn from(fault: Fault) -> Self {
        Self { problems: vec![fault.into()] }
    }
}
