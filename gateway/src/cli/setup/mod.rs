//! `pgdog-jwt setup`: what PostgreSQL needs for a configuration to work.

mod hba;
mod sync;

use clap::Subcommand;

use super::setup_sql::SetupSql;
use super::{Failure, Paths};

#[derive(Debug, Subcommand)]
pub(super) enum Setup {
    /// Print the lines that PostgreSQL needs in pg_hba.conf and pg_ident.conf to let the gateway in
    Hba(hba::Hba),
    /// Print the SQL functions that verify claims and protect tables
    Sql(SetupSql),
    /// Make the roles of token subjects right, and disable those that nobody uses ([jwt.provisioning])
    Sync(sync::Sync),
}

impl Setup {
    pub(super) fn run(&self, paths: &Paths) -> Result<(), Failure> {
        match self {
            Self::Hba(hba) => hba.run(paths),
            Self::Sql(sql) => sql.run(paths),
            Self::Sync(sync) => sync.run(paths),
        }
    }
}
