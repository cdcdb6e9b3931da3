//! `pgdog-jwt schema`: the JSON Schema of the configuration files, for editors and for checks before a file is put in place.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use pgdog_jwt::reader;

use super::{Failure, output};
use crate::config::keys;

#[derive(Debug, Args)]
pub(super) struct Schema {
    /// Which file
    #[arg(value_enum, default_value = "pgdog")]
    file: File,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum File {
    /// pgdog.toml
    Pgdog,
    /// users.toml
    Users,
}

impl Schema {
    pub(super) fn run(&self) -> Result<ExitCode, Failure> {
        let (title, sections) = match self.file {
            File::Pgdog => ("pgdog.toml of pgdog-jwt", keys::pgdog()),
            File::Users => ("users.toml of pgdog-jwt", keys::users()),
        };
        let schema = reader::schema(title, &sections, &keys::WITH_UNUSED);
        output::line(format_args!("{schema:#}"))?;
        Ok(ExitCode::SUCCESS)
    }
}
