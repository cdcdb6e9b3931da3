//! `pgdog-jwt explain`: what would become of a login with a token, and why.

mod page;

use std::fs::File;
use std::io::{Read, stdin};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use pgdog_jwt::token::inspect;
use pgdog_jwt::{Authenticator, Credential};

use super::{Failure, Paths, output};
use crate::config::Config;
use crate::frontend::rehearsal::rehearse;

/// More than any token; keeps a wrong file from filling memory.
const MAX_INPUT: u64 = 1024 * 1024;

#[derive(Debug, Args)]
#[command(after_help = "\
Asks the issuer for its keys, as a login would, and resolvers for their variables, but opens no session in PostgreSQL,
which has the last word. The exit status is 0 when the login would get as far as that.

  pgdog-jwt explain --token-file token.txt --database app
  pgdog-jwt explain --token - --user alice < token.txt")]
pub(super) struct Explain {
    #[command(flatten)]
    token: TokenSource,
    /// The user name that the client types [default: the one that the token is for]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The database [default: the only one]
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct TokenSource {
    /// The token; "-" reads it from standard input, which keeps it out of the shell's history
    #[arg(long, allow_hyphen_values = true)]
    token: Option<String>,
    /// File with the token; "-" is standard input
    #[arg(long, value_name = "FILE")]
    token_file: Option<String>,
}

/// Without the token (S5).
impl std::fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenSource(..)")
    }
}

impl TokenSource {
    fn read(&self) -> Result<String, Failure> {
        let mut text = String::new();
        match (&self.token, self.token_file.as_deref()) {
            (Some(token), _) if token != "-" => text.clone_from(token),
            (_, None | Some("-")) => {
                stdin().lock().take(MAX_INPUT).read_to_string(&mut text)?;
            }
            (_, Some(path)) => {
                let file = File::open(Path::new(path)).and_then(|file| file.take(MAX_INPUT).read_to_string(&mut text));
                file.map_err(|error| format!("{path}: {error}"))?;
            }
        }
        Ok(text.trim().to_owned())
    }
}

impl Explain {
    pub(super) fn run(&self, paths: &Paths) -> Result<ExitCode, Failure> {
        let loaded = paths.load()?;
        for warning in &loaded.warnings {
            output::note(format_args!("warning: {warning}"));
        }
        let database = self.database(&loaded.config)?;
        let token = self.token.read()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (page, is_in) = runtime.block_on(async {
            let generation = Arc::new(paths.build(loaded.config, None)?);
            let authenticator = generation.authenticator.as_deref().ok_or("tokens are not accepted: see auth_type")?;
            let user = self.user(&token, &generation.config, authenticator)?;
            let rehearsal = rehearse(&user, &database, &token, &generation, authenticator).await;
            let page = page::page(&generation.config, &user, &database, &token, &rehearsal);
            Ok::<_, Failure>((page, rehearsal.outcome.is_ok()))
        })?;
        output::print(&page)?;
        Ok(if is_in { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn database(&self, config: &Config) -> Result<String, Failure> {
        match (&self.database, config.database_names().as_slice()) {
            (Some(name), _) => Ok(name.clone()),
            (None, [only]) => Ok((*only).to_owned()),
            (None, names) => Err(format!("name one with --database: {}", names.join(", ")).into()),
        }
    }

    /// A JWT that names nobody is refused before the name matters. Who else is asked depends on the name.
    fn user(&self, token: &str, config: &Config, authenticator: &Authenticator) -> Result<String, Failure> {
        let is_asked = !authenticator.introspection_status().is_empty() && inspect(token).is_err();
        if self.user.is_none() && is_asked {
            return Err("name the user with --user: it decides which issuer is asked about the token".into());
        }
        let claimed = || authenticator.claimed_user(Credential::new(token.as_bytes()));
        let issuers = || config.jwt.iter().flat_map(|jwt| &jwt.core.issuers);
        let nobody = || issuers().find_map(|issuer| issuer.user_suffix.clone()).unwrap_or_default();
        Ok(self.user.clone().or_else(claimed).unwrap_or_else(nobody))
    }
}
