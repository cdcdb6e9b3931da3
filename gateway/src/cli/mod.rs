//! The command line. Flags and defaults are PgDog's.

mod blame;
mod check;
mod explain;
mod inspect;
mod install_sql;
mod keys;
pub(crate) mod logging;
mod mint;
mod output;
mod prove;
mod schema;
mod setup;
mod setup_sql;
mod summary;
pub(crate) mod time;
mod verify;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::app;
use crate::app::state::Generation;
use crate::config::{Config, ConfigError, Loaded, Problem, Text, environment};

/// Why a command failed, for people.
type Failure = Box<dyn std::error::Error>;

/// A PostgreSQL pooler whose clients log in with a token instead of a password.
#[derive(Debug, Parser)]
#[command(
    name = "pgdog-jwt",
    version,
    about,
    after_help = "\
Try it:
  pgdog-jwt check                     say what the files in this folder mean
  pgdog-jwt                           run with them
  pgdog-jwt token mint --new-key keys --sub alice --aud postgres
                                      make a development key pair and a token for it

Every setting: docs/configuration.md"
)]
struct Cli {
    #[command(flatten)]
    files: Files,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Args)]
struct Files {
    /// Configuration file
    #[arg(short, long, global = true, value_name = "FILE", default_value = "pgdog.toml")]
    config: PathBuf,
    /// Users file; may be missing unless it is named here [default: users.toml]
    #[arg(short, long, global = true, value_name = "FILE")]
    users: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway (what happens without a command, too)
    Run,
    /// Check both files and say what they mean; fail with file, line and reason when they are wrong
    #[command(alias = "configcheck")]
    Check(check::Check),
    /// Say what would become of a login with a token, and why
    Explain(explain::Explain),
    /// Make and read tokens, for development
    #[command(subcommand)]
    Token(Token),
    /// Print the JSON Schema of a configuration file
    Schema(schema::Schema),
    /// Say what PostgreSQL has to be told
    #[command(subcommand)]
    Setup(setup::Setup),
}

#[derive(Debug, Subcommand)]
enum Token {
    /// Sign a token with a private key and print it
    Mint(mint::Mint),
    /// Decode a token without checking it
    Inspect(inspect::Inspect),
    /// Check a token as a login would, and print what came of it as JSON
    Verify(verify::Verify),
    /// Print a proof of claims that SQL functions verify
    Prove(prove::Prove),
}

/// The files that the configuration comes from, first and at every reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Paths {
    pub(crate) config: PathBuf,
    pub(crate) users: PathBuf,
    /// Whether the users file was named, so that it must be there.
    pub(crate) users_required: bool,
}

impl Paths {
    /// Reads the configuration from these files and the environment.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(crate) fn load(&self) -> Result<Loaded, ConfigError> {
        let read = RefCell::new(BTreeSet::new());
        let env = |name: &str| {
            read.borrow_mut().insert(name.to_owned());
            std::env::var(name).ok()
        };
        let mut loaded = Config::load(&self.config, &self.users, self.users_required, &env)?;
        let read = read.into_inner();
        let variables =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        loaded.warnings.extend(environment::problems(variables, &read));
        Ok(loaded)
    }
}

impl Paths {
    /// Builds everything that a configuration from these files means.
    ///
    /// # Errors
    /// Everything that keeps it from being used, with the line that names the file that is to blame.
    pub(crate) fn build(&self, config: Config, previous: Option<&Generation>) -> Result<Generation, ConfigError> {
        let placed = |problem| self.placed(problem);
        Generation::build(config, previous)
            .map_err(|error| ConfigError { problems: error.problems.into_iter().map(placed).collect() })
    }

    /// A problem with a file, at the line that names it.
    pub(crate) fn placed(&self, problem: Problem) -> Problem {
        self.with_text(|text| blame::placed(text, problem))
    }

    /// A problem with a key.
    pub(crate) fn placed_key(&self, key: &str, reason: String) -> Problem {
        let spot = self.with_text(|text| blame::key(text, key));
        Problem { spot, reason: format!("\"{key}\": {reason}") }
    }

    fn with_text<T>(&self, work: impl FnOnce(Text<'_>) -> T) -> T {
        let text = std::fs::read_to_string(&self.config).unwrap_or_default();
        work(Text { name: &self.config.display().to_string(), text: &text })
    }
}

impl From<Files> for Paths {
    fn from(files: Files) -> Self {
        let users_required = files.users.is_some();
        let users = files.users.unwrap_or_else(|| PathBuf::from("users.toml"));
        Self { config: files.config, users, users_required }
    }
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let paths = Paths::from(cli.files);
    let outcome = match cli.command {
        None | Some(Command::Run) => return run(paths),
        Some(Command::Check(check)) => check.run(&paths),
        Some(Command::Explain(explain)) => explain.run(&paths),
        Some(Command::Token(Token::Mint(mint))) => done(mint.run()),
        Some(Command::Token(Token::Inspect(inspect))) => done(inspect.run()),
        Some(Command::Token(Token::Verify(verify))) => verify.run(&paths),
        Some(Command::Token(Token::Prove(prove))) => done(prove.run()),
        Some(Command::Schema(schema)) => schema.run(),
        Some(Command::Setup(setup)) => done(setup.run(&paths)),
    };
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            output::note(format_args!("pgdog-jwt: {failure}"));
            ExitCode::FAILURE
        }
    }
}

/// For a command that has done its work when it did not fail.
fn done(outcome: Result<(), Failure>) -> Result<ExitCode, Failure> {
    outcome.map(|()| ExitCode::SUCCESS)
}

fn run(paths: Paths) -> ExitCode {
    match paths.load() {
        Ok(loaded) => {
            logging::start(&loaded.config.general);
            app::run(loaded, paths)
        }
        Err(error) => {
            output::note(format_args!("{error}"));
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn paths(arguments: &[&str]) -> Paths {
        Cli::try_parse_from(arguments).map(|cli| Paths::from(cli.files)).expect("valid arguments")
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_and_defaults_are_those_of_pgdog() {
        let default = paths(&["pgdog-jwt"]);
        assert_eq!(default.config, PathBuf::from("pgdog.toml"));
        assert_eq!((default.users, default.users_required), (PathBuf::from("users.toml"), false));

        let named = paths(&["pgdog-jwt", "--config", "a.toml", "--users=b.toml", "run"]);
        assert_eq!(named.config, PathBuf::from("a.toml"));
        assert_eq!((named.users, named.users_required), (PathBuf::from("b.toml"), true));
        assert_eq!(paths(&["pgdog-jwt", "check", "-c", "a.toml", "-u", "b.toml"]).config, PathBuf::from("a.toml"));
    }
}
