//! `pgdog-jwt setup sql`: the SQL that a database owner installs, printed for psql or installed.

use std::io::Write;

use clap::Args;

use super::{Failure, Paths, install_sql};

/// In the order in which they must run.
const SCRIPTS: [&str; 5] = [
    include_str!("../../../sql/1_schema.sql"),
    include_str!("../../../sql/2_keys.sql"),
    include_str!("../../../sql/3_claims.sql"),
    include_str!("../../../sql/4_protect.sql"),
    include_str!("../../../sql/5_status.sql"),
];
const PGVPD: &str = include_str!("../../../sql/pgvpd.sql");
/// What `SELECT jwt.version()` says once the scripts are installed.
const VERSION: &str = "1";

#[derive(Debug, Args)]
#[command(after_help = "\
As the role that shall own the functions, in each database that is to verify claims; again after an update:
  pgdog-jwt setup sql | psql -v ON_ERROR_STOP=1 app
  PGPASSWORD=… pgdog-jwt setup sql --install --database app --user postgres

What they do: docs/verified-claims.md")]
pub(super) struct SetupSql {
    /// Add the function names of pgvpd
    #[arg(long)]
    pgvpd: bool,
    /// Print the version of the scripts and nothing else
    #[arg(long, conflicts_with_all = ["pgvpd", "install"])]
    version: bool,
    /// Install them, with the password in PGPASSWORD, on the primary that the configuration names
    #[arg(long, requires = "database")]
    install: bool,
    /// Name of a [[databases]] entry
    #[arg(long, value_name = "NAME", requires = "install")]
    database: Option<String>,
    /// Who installs and then owns them
    #[arg(long, value_name = "ROLE", default_value = "postgres")]
    user: String,
}

impl SetupSql {
    pub(super) fn run(&self, paths: &Paths) -> Result<(), Failure> {
        if let Some(database) = &self.database {
            return install_sql::install(paths, database, &self.user, &script(self.pgvpd));
        }
        let text = if self.version { format!("{VERSION}\n") } else { script(self.pgvpd) };
        // A reader that has seen enough, such as `head`, is no failure of ours to report with a panic.
        std::io::stdout().lock().write_all(text.as_bytes())?;
        Ok(())
    }
}

/// All or nothing: one transaction.
fn script(pgvpd: bool) -> String {
    let mut text = String::from("BEGIN;\n\n");
    for part in SCRIPTS.into_iter().chain(pgvpd.then_some(PGVPD)) {
        text.push_str(part);
        text.push('\n');
    }
    text.push_str("COMMIT;\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scripts_say_the_version_that_they_have() {
        let version = format!("AS $$ SELECT '{VERSION}' $$;");
        assert_eq!(script(true).matches(&version).count(), 1);
        assert!(script(false).contains(&format!("installed::integer > {VERSION} THEN")));
    }

    #[test]
    fn the_names_of_pgvpd_are_optional() {
        assert!(script(true).contains("pgvpd_protect") && !script(false).contains("FUNCTION public."));
        for text in [script(true), script(false)] {
            assert!(text.starts_with("BEGIN;\n") && text.ends_with("COMMIT;\n"));
        }
    }

    #[test]
    fn every_function_that_parses_names_has_a_fixed_search_path() {
        // These name nothing, and must be inlined.
        const CONSTANTS: [&str; 2] = ["jwt.installed()", "jwt.tenant_claim()"];
        for function in script(true).split("CREATE OR REPLACE FUNCTION ").skip(1) {
            let head = function.split("AS $$").next().unwrap_or_default();
            let fixed = head.contains("SET search_path = pg_catalog, pg_temp");
            assert!(fixed || CONSTANTS.iter().any(|name| head.starts_with(name)), "{head}");
        }
    }
}
