//! The extended protocol in the admin database, as much of it as drivers use: statements and portals by name, results in
//! text or binary, everything up to Sync discarded after an error. Commands take no parameters.

use std::collections::HashMap;

use super::command::{self, Command};
use super::console::{Console, Left};
use super::run;
use super::table::Formats;
use crate::wire::fields::Fields;
use crate::wire::{PgError, frame, message};

/// Statements and portals that one client may keep.
const MAX_KEPT: usize = 256;

/// What a client has prepared.
#[derive(Default)]
pub(super) struct Statements {
    statements: HashMap<Vec<u8>, Command>,
    portals: HashMap<Vec<u8>, (Command, Formats)>,
    /// An error came; messages up to Sync are discarded.
    skipping: bool,
}

impl Statements {
    pub(super) fn is_skipping(&self) -> bool {
        self.skipping
    }
}

impl Console {
    pub(super) async fn extended(&mut self, tag: u8, body: &[u8]) -> Result<(), Left> {
        if tag == b'S' {
            self.prepared.skipping = false;
            if self.status == b'I' {
                self.prepared.portals.clear();
            }
            message::ready_for_query(&mut self.out, self.status);
            return Ok(());
        }
        if self.prepared.skipping {
            return Ok(());
        }
        let malformed = || PgError::fatal("08P01", "malformed message");
        let mut fields = Fields(body);
        let done = match tag {
            b'P' => self.prepare(&mut fields).unwrap_or_else(|| Err(malformed())),
            b'B' => self.bind(&mut fields).unwrap_or_else(|| Err(malformed())),
            b'D' => self.describe(&mut fields),
            b'E' => self.execute_portal(&mut fields).await,
            b'C' => self.close(&mut fields),
            _ => Ok(()),
        };
        if let Err(error) = done {
            self.prepared.skipping = true;
            self.fail(&error);
            if error.severity == crate::wire::Severity::Fatal {
                return Err(Left);
            }
        }
        Ok(())
    }

    fn prepare(&mut self, fields: &mut Fields<'_>) -> Option<Result<(), PgError>> {
        let name = fields.cstr()?.to_vec();
        let text = String::from_utf8_lossy(fields.cstr()?).into_owned();
        let mut statements = command::statements(&text);
        statements.retain(|words| !words.is_empty());
        let command = match statements.as_slice() {
            [] => Ok(Command::Empty),
            [words] => self.parse(words),
            _ => Err(PgError::error("42601", "cannot insert multiple commands into a prepared statement")),
        };
        Some(command.and_then(|command| {
            let kept = &mut self.prepared.statements;
            if !name.is_empty() && kept.len() >= MAX_KEPT && !kept.contains_key(&name) {
                return Err(PgError::error("53400", "too many prepared statements"));
            }
            kept.insert(name, command);
            frame::push(&mut self.out, b'1', &[]);
            Ok(())
        }))
    }

    fn bind(&mut self, fields: &mut Fields<'_>) -> Option<Result<(), PgError>> {
        let portal = fields.cstr()?.to_vec();
        let statement = fields.cstr()?;
        let parameter_formats = fields.u16()?;
        fields.take(usize::from(parameter_formats) * 2)?;
        if fields.u16()? != 0 {
            return Some(Err(PgError::error("08P01", "commands of the admin database take no parameters")));
        }
        let formats = (0..fields.u16()?).map(|_| fields.u16()).collect::<Option<Vec<u16>>>()?;
        let Some(command) = self.prepared.statements.get(statement).cloned() else {
            return Some(Err(PgError::error("26000", "prepared statement does not exist")));
        };
        if self.prepared.portals.len() >= MAX_KEPT {
            return Some(Err(PgError::error("53400", "too many portals")));
        }
        self.prepared.portals.insert(portal, (command, Formats(formats)));
        frame::push(&mut self.out, b'2', &[]);
        Some(Ok(()))
    }

    fn describe(&mut self, fields: &mut Fields<'_>) -> Result<(), PgError> {
        let kind = fields.u8().unwrap_or_default();
        let name = fields.cstr().unwrap_or_default();
        let (command, formats) = match kind {
            b'S' => (self.prepared.statements.get(name).cloned(), Formats::default()),
            _ => self.prepared.portals.get(name).cloned().map_or((None, Formats::default()), |(c, f)| (Some(c), f)),
        };
        let command = command.ok_or_else(|| missing(kind))?;
        if kind == b'S' {
            // No parameters.
            frame::push(&mut self.out, b't', &[0, 0]);
        }
        match run::columns(self.app, &self.registration, &command) {
            Some(table) => table.describe(&formats, &mut self.out),
            None => frame::push(&mut self.out, b'n', &[]),
        }
        Ok(())
    }

    async fn execute_portal(&mut self, fields: &mut Fields<'_>) -> Result<(), PgError> {
        let name = fields.cstr().unwrap_or_default();
        let (command, formats) = self.prepared.portals.get(name).cloned().ok_or_else(|| missing(b'P'))?;
        if command == Command::Empty {
            frame::push(&mut self.out, b'I', &[]);
            return Ok(());
        }
        let outcome = self.execute(&command).await?;
        self.finish(&outcome, &formats);
        Ok(())
    }

    fn close(&mut self, fields: &mut Fields<'_>) -> Result<(), PgError> {
        let kind = fields.u8().unwrap_or_default();
        let name = fields.cstr().unwrap_or_default();
        match kind {
            b'S' => drop(self.prepared.statements.remove(name)),
            _ => drop(self.prepared.portals.remove(name)),
        }
        frame::push(&mut self.out, b'3', &[]);
        Ok(())
    }
}

fn missing(kind: u8) -> PgError {
    match kind {
        b'S' => PgError::error("26000", "prepared statement does not exist"),
        _ => PgError::error("34000", "portal does not exist"),
    }
}
