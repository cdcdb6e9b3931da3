//! Secrets, read with the configuration: from it, from a file, from a variable of the environment, or from a program.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::key::SecretKey;
use super::keys::GENERAL;
use super::section::{Env, Section};
use crate::secret::{Command, Secret};

/// Mode bit of a file that everybody on the machine may read.
const READABLE_BY_ALL: u32 = 0o004;

impl Section<'_> {
    /// The secret that a section speaks of. What is wrong with it is reported.
    pub fn secret(&self, key: &SecretKey, env: Env<'_>) -> Option<Secret> {
        let literal = self.given(&key.literal);
        let file = self.given(&key.file);
        let variable = self.given(&key.variable);
        let command = self.given(&key.command);
        let is_given = [literal.is_some(), file.is_some(), variable.is_some(), command.is_some()];
        let mut names = key.names().into_iter().zip(is_given).filter(|(_, is_given)| *is_given).map(|(name, _)| name);
        let name = names.next()?;
        if let Some(other) = names.next() {
            let reason = format!("\"{name}\" and \"{other}\" are two forms of one secret: use one of them");
            self.report.error(self.spot(other), reason);
            return None;
        }
        if let Some(path) = &file {
            self.warn_if_readable(name, path);
        }
        let read = match (literal, file, variable, command) {
            (Some(secret), ..) => Ok(secret),
            (_, Some(path), ..) => Secret::from_file(&path),
            (_, _, Some(variable), _) => Secret::from_variable(&variable, env(&variable)),
            (.., Some(command)) => self.printed_by(name, &command)?,
            _ => return None,
        };
        read.map_err(|reason| self.report.error(self.spot(name), format!("\"{name}\": {reason}"))).ok()
    }

    /// The four keys of which the file, or the environment, has at least one.
    pub fn has_secret(&self, key: &SecretKey) -> bool {
        key.names().into_iter().any(|name| self.is_present_key(name))
    }

    /// Each program runs once in a pass. `None`: it is not for this host, which is reported.
    fn printed_by(&self, name: &'static str, command: &Command) -> Option<Result<Secret, String>> {
        if !self.honours(name) {
            // Of other sections, keys of the file are reported with the others.
            if self.label() == GENERAL.label || !self.is_present_key(name) {
                let (host, label) = (self.report.host.name, self.label());
                self.report.error(self.spot(name), format!("{host} cannot honour \"{name}\" in {label}"));
            }
            return None;
        }
        if let Some(known) = self.report.programs.borrow().get(command) {
            return Some(known.clone());
        }
        let outcome = Secret::from_command(command);
        self.report.programs.borrow_mut().insert(command.clone(), outcome.clone());
        Some(outcome)
    }

    /// Warns of a file with a secret that everybody on the machine may read.
    pub fn warn_if_readable(&self, key: &str, path: &Path) {
        let Ok(metadata) = fs::metadata(path) else { return };
        if metadata.permissions().mode() & READABLE_BY_ALL != 0 {
            let path = path.display();
            let reason =
                format!("\"{key}\": everybody on this machine may read \"{path}\"; take that right away (chmod o-r)");
            self.report.warn(self.spot(key), reason);
        }
    }
}
