//! `pgdog-jwt setup sql`: the SQL that a database owner installs, printed for psql or installed.

use clap::Args;

use super::{Failure, Paths, install_sql, output};

/// In the order in which they must run.
const SCRIPTS: [&str; 6] = [
    include_str!("../../../sql/1_schema.sql"),
    include_str!("../../../sql/2_keys.sql"),
    include_str!("../../../sql/3_claims.sql"),
    include_str!("../../../sql/4_protect.sql"),
    include_str!("../../../sql/5_findings.sql"),
    include_str!("../../../sql/6_status.sql"),
];
const PGVPD: &str = include_str!("../../../sql/pgvpd.sql");
/// Independent of the others.
const SHARED_ROLES: &str = include_str!("../../../sql/shared_roles.sql");
/// What `SELECT jwt.version()` says once the scripts are installed.
const VERSION: &str = "2";

#[derive(Debug, Args)]
#[command(after_help = "\
As the role that shall own the functions, in each database that is to verify claims; again after an update:
  pgdog-jwt setup sql | psql -v ON_ERROR_STOP=1 app
  PGPASSWORD=… pgdog-jwt setup sql --install --database app --user postgres
What they do: docs/verified-claims.md

As a superuser, in each database that a role of several subjects may connect to (docs/identity.md, shared roles):
  pgdog-jwt setup sql --shared-roles | psql -v ON_ERROR_STOP=1 app")]
pub(super) struct SetupSql {
    /// Add the function names of pgvpd
    #[arg(long)]
    pgvpd: bool,
    /// In place of all that, print what keeps subjects that are one role from each other's sessions
    #[arg(long, conflicts_with_all = ["pgvpd", "version", "install"])]
    shared_roles: bool,
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
        let text = match (self.version, self.shared_roles) {
            (true, _) => format!("{VERSION}\n"),
            (_, true) => SHARED_ROLES.to_owned(),
            _ => script(self.pgvpd),
        };
        // A reader that has seen enough, such as `head`, is no failure of ours to report with a panic.
        output::print(&text)?;
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
        let script = script(true);
        for function in script.split("CREATE OR REPLACE FUNCTION ").skip(1) {
            let head = function.split("AS $$").next().unwrap_or_default();
            let fixed = head.contains("SET search_path = pg_catalog, pg_temp");
            let is_alias = head.starts_with("public.");
            assert!(fixed || is_alias || CONSTANTS.iter().any(|name| head.starts_with(name)), "{head}");
        }
    }

    #[test]
    fn an_alias_is_one_call_of_a_function_by_its_full_name() {
        let script = script(true);
        let aliases: Vec<&str> = script.split("CREATE OR REPLACE FUNCTION public.").skip(1).collect();
        assert_eq!(aliases.len(), 9);
        for alias in aliases {
            let body = alias.split("$$").nth(1).unwrap_or_default().trim();
            let call = body.strip_prefix("SELECT ").map(|call| call.trim_start_matches("* FROM ")).unwrap_or_default();
            let (name, arguments) = call.split_once('(').unwrap_or_default();
            assert!(name.starts_with("jwt.pgvpd_"), "{body}");
            let is_plain = |c: char| c.is_ascii_lowercase() || "_.', ".contains(c);
            assert!(arguments.strip_suffix(')').is_some_and(|list| list.chars().all(is_plain)), "{body}");
            // What the alias is found by, and what jwt.foreign_aliases knows.
            let signature = alias.split(") RETURNS").next().unwrap_or_default();
            let name = signature.split('(').next().unwrap_or_default();
            assert!(script.contains(&format!("('{name}(")), "{name} is not in jwt.foreign_aliases");
        }
    }
}
