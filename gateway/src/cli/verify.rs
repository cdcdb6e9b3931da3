//! `pgdog-jwt token verify`: whether a token would be let in, as JSON for programs.

mod keys;
mod verdict;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, stdin};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use pgdog_jwt::config::Algorithm;
use pgdog_jwt::{AuthContext, Authenticator, Credential};

use super::{Failure, Paths, output};
use crate::app::state::Generation;
use crate::config::Config;
use crate::frontend::rehearsal::rehearse;
use verdict::Verdict;

/// More than any token; keeps a wrong file from filling memory.
const MAX_INPUT: u64 = 1024 * 1024;

#[derive(Args)]
#[command(after_help = "\
Without --jwks or --pem, the configuration says which issuers, keys and rules count, and the whole login is gone through as by
`explain`. A token on the command line can be seen in the system's list of processes: prefer \"-\" or --token-file.

It prints one JSON object:
  signature  \"valid\"; \"invalid\" where no known key vouches for it; \"unsupported\" where the algorithm or the form is not taken
  claims     \"accepted\", or the reason code of each check that failed
  details    the same for people
  decision   \"allow\" or \"deny\"; then \"reason\" is the code that the audit log would have
The exit status is 0 only when the login would be allowed.

  pgdog-jwt token verify --jwks keys/jwks.json --audience postgres - < token.txt
  pgdog-jwt token verify --config pgdog.toml --user alice --database app --token-file token.txt")]
pub(super) struct Verify {
    /// The token; "-" reads it from standard input
    #[arg(default_value = "-", conflicts_with = "token_file")]
    token: String,
    /// File with the token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A token on each line of the input; prints a line for each
    #[arg(long)]
    lines: bool,
    /// Check with the keys of this JSON Web Key Set
    #[arg(long, value_name = "FILE", group = "keys")]
    jwks: Option<PathBuf>,
    /// Check with the public keys or certificates of this file
    #[arg(long, value_name = "FILE", group = "keys")]
    pem: Option<PathBuf>,
    /// With --jwks or --pem: what "aud" must hold; may be given more than once [default: anything]
    #[arg(long, requires = "keys")]
    audience: Vec<String>,
    /// With --jwks or --pem: what "iss" must be [default: anything]
    #[arg(long, requires = "keys")]
    issuer: Option<String>,
    /// With --jwks or --pem: an algorithm that is taken; may be given more than once [default: all that there are]
    #[arg(long, requires = "keys", value_parser = algorithm)]
    alg: Vec<Algorithm>,
    /// With --jwks or --pem: the claim that names the user
    #[arg(long, requires = "keys", value_name = "NAME", default_value = "sub")]
    username_claim: String,
    /// The user name that the client types [default: the one that the token is for]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The database [default: the only one]
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
}

/// Without the token (S5).
impl std::fmt::Debug for Verify {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verify(..)")
    }
}

fn algorithm(name: &str) -> Result<Algorithm, String> {
    let names = || Algorithm::ALL.map(Algorithm::name).join(", ");
    Algorithm::from_name(name).ok_or_else(|| format!("there are {}", names()))
}

impl Verify {
    pub(super) fn run(&self, paths: &Paths) -> Result<ExitCode, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let judge = self.judge(paths)?;
            let mut input = self.input()?;
            let mut all_allowed = true;
            while let Some(token) = self.next(&mut input)? {
                let verdict = judge.verdict(&token).await;
                all_allowed &= verdict.is_allowed();
                output::line(verdict.json())?;
                if !self.lines {
                    break;
                }
            }
            Ok(if all_allowed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        })
    }

    fn judge(&self, paths: &Paths) -> Result<Judge, Failure> {
        let (user, database) = (self.user.clone(), self.database.clone());
        if let Some(authenticator) = keys::authenticator(self)? {
            return Ok(Judge { user, database: database.unwrap_or_default(), authenticator, generation: None });
        }
        let loaded = paths.load()?;
        for warning in &loaded.warnings {
            output::note(format_args!("warning: {warning}"));
        }
        let database = database_of(&loaded.config, database)?;
        let generation = Arc::new(paths.build(loaded.config, None)?);
        let authenticator = generation.authenticator.clone().ok_or("tokens are not accepted: see auth_type")?;
        Ok(Judge { user, database, authenticator, generation: Some(generation) })
    }

    fn input(&self) -> Result<Box<dyn BufRead>, Failure> {
        Ok(match &self.token_file {
            Some(path) if path != Path::new("-") => {
                let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
                Box::new(BufReader::new(file))
            }
            None if self.token != "-" => Box::new(std::io::Cursor::new(self.token.clone().into_bytes())),
            _ => Box::new(stdin().lock()),
        })
    }

    /// One token. A line is taken as it is; white space around a single token is nobody's.
    fn next(&self, input: &mut dyn BufRead) -> Result<Option<Vec<u8>>, Failure> {
        let mut token = Vec::new();
        if !self.lines {
            input.take(MAX_INPUT).read_to_end(&mut token)?;
            return Ok(Some(token.trim_ascii().to_vec()));
        }
        if input.take(MAX_INPUT).read_until(b'\n', &mut token)? == 0 {
            return Ok(None);
        }
        match token.pop_if(|last| *last == b'\n') {
            None if token.len() as u64 == MAX_INPUT => Err("a line is longer than 1 MiB".into()),
            _ => Ok(Some(token)),
        }
    }
}

fn database_of(config: &Config, asked: Option<String>) -> Result<String, Failure> {
    match (asked, config.database_names().as_slice()) {
        (Some(name), _) => Ok(name),
        (None, [only]) => Ok((*only).to_owned()),
        (None, names) => Err(format!("name one with --database: {}", names.join(", ")).into()),
    }
}

/// What tokens are judged by.
struct Judge {
    user: Option<String>,
    database: String,
    authenticator: Arc<Authenticator>,
    /// The whole configuration, where there is one.
    generation: Option<Arc<Generation>>,
}

impl Judge {
    async fn verdict(&self, token: &[u8]) -> Verdict {
        let credential = Credential::new(token);
        let claimed = || self.authenticator.claimed_user(credential);
        // A token that names nobody is refused before the name matters.
        let suffix = || {
            let issuers = &self.generation.as_ref()?.config.jwt.as_ref()?.core.issuers;
            issuers.iter().find_map(|issuer| issuer.user_suffix.clone())
        };
        let user = self.user.clone().or_else(claimed).or_else(suffix).unwrap_or_default();
        let context = AuthContext {
            user: &user,
            database: &self.database,
            credential,
            client_addr: None,
            tls: true,
            tls_identity: None,
        };
        let examined = self.authenticator.examine(context).await;
        match &self.generation {
            None => Verdict::of_token(examined),
            Some(generation) => {
                // Bytes that are no text are no token either way.
                let text = String::from_utf8_lossy(token);
                let rehearsal = rehearse(&user, &self.database, &text, generation, &self.authenticator).await;
                Verdict::of_login(&examined.steps, rehearsal.outcome)
            }
        }
    }
}
