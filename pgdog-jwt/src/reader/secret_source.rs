//! Where a secret is: in the file, in a variable of the environment, or in a file of its own.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::key::Key;
use super::kinds::{FilePath, Filled, Hidden};
use super::section::{Env, Section};
use crate::config::Secret;

/// Largest file that may hold a secret, in bytes.
const MAX_FILE: u64 = 16 * 1024;

/// Where a secret comes from. It does not print.
#[derive(Debug, Clone, PartialEq)]
pub enum SecretSource {
    /// Nowhere: there is none.
    None,
    /// In the configuration itself.
    Literal(Secret),
    /// In this variable of the environment.
    Variable(String),
    /// In this file.
    File(PathBuf),
}

/// The three keys that say where it is.
#[derive(Debug, Clone, Copy)]
pub struct Keys {
    /// The secret itself.
    pub literal: &'static Key<Hidden>,
    /// A variable of the environment.
    pub variable: &'static Key<Filled>,
    /// A file.
    pub file: &'static Key<FilePath>,
}

impl Keys {
    /// Their names, in this order.
    pub fn names(&self) -> [&'static str; 3] {
        [self.literal.name, self.variable.name, self.file.name]
    }
}

impl SecretSource {
    /// What the section says; of several, the one that is furthest from the file, and an error.
    pub fn of(section: &Section<'_>, keys: Keys) -> Self {
        let literal = section.given(keys.literal).map(Self::Literal);
        let variable = section.given(keys.variable).map(Self::Variable);
        let file = section.given(keys.file).map(Self::File);
        if [&literal, &variable, &file].into_iter().flatten().count() > 1 {
            let [literal, variable, file] = keys.names();
            let reason = format!(
                "\"{literal}\", \"{variable}\" and \"{file}\" are three ways to say one thing: use one of them"
            );
            section.report.error(section.place(), reason);
        }
        variable.or(file).or(literal).unwrap_or(Self::None)
    }

    /// The secret as it is now, without the line end that a file may have.
    ///
    /// # Errors
    ///
    /// A variable or file that is missing, empty or too large. The text does not repeat what is in it.
    pub fn read(&self, env: Env<'_>) -> Result<Option<Secret>, String> {
        let text = match self {
            Self::None => return Ok(None),
            Self::Literal(secret) => return Ok(Some(secret.clone())),
            Self::Variable(name) => from_variable(name, env)?,
            Self::File(path) => from_file(path).map_err(|reason| format!("\"{}\" {reason}", path.display()))?,
        };
        Ok(Some(Secret::new(text)))
    }

    /// As [`Self::read`], with the variables of this process.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_now(&self) -> Result<Option<Secret>, String> {
        self.read(&|name| std::env::var(name).ok())
    }
}

/// The secret that a section speaks of, read with the configuration. What is wrong with it is reported.
pub fn secret(section: &Section<'_>, keys: Keys, env: Env<'_>) -> Option<Secret> {
    let source = SecretSource::of(section, keys);
    source.read(env).unwrap_or_else(|reason| {
        let [literal, variable, file] = keys.names();
        let key = match source {
            SecretSource::Variable(_) => variable,
            SecretSource::File(_) => file,
            SecretSource::None | SecretSource::Literal(_) => literal,
        };
        section.report.error(section.spot(key), format!("\"{key}\": {reason}"));
        None
    })
}

fn from_variable(name: &str, env: Env<'_>) -> Result<String, String> {
    match env(name) {
        Some(text) if !text.is_empty() => Ok(text),
        Some(_) => Err(format!("the environment variable \"{name}\" is empty")),
        None => Err(format!("the environment variable \"{name}\" is not set")),
    }
}

/// All of the file but the ends of its last line, which editors add.
fn from_file(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let mut text = String::new();
    let read = file.take(MAX_FILE + 1).read_to_string(&mut text);
    read.map_err(|error| format!("cannot be read: {error}"))?;
    if text.len() as u64 > MAX_FILE {
        return Err(format!("has more than {MAX_FILE} bytes"));
    }
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() { Err("is empty".to_owned()) } else { Ok(secret.to_owned()) }
}
