//! `pgdog-jwt setup sync`: what logins do to roles, done or shown for a list of subjects, and the search for roles that
//! nobody uses. The output is SQL with comments.

use std::fs::File;
use std::io::{self, Read, stdin};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use clap::Args;
use pgdog_jwt::config::{ClaimPolicy, IdentityMode, UserMatch};
use pgdog_jwt::{AuthContext, AuthDecision, AuthGrant, Authenticator, Credential, Groups, JwtConfig};

use crate::backend::plan;
use crate::cli::{Failure, Paths, output};
use crate::config::{Config, Database};
use crate::net::tls::ClientTls;
use crate::provisioning::{Plan, Provisioner, Wanted};

/// Most bytes of tokens.
const MAX_INPUT: u64 = 16 * 1024 * 1024;

#[derive(Debug, Args)]
#[command(after_help = "\
Without a subject and a token, only roles that nobody uses are looked for. What would be changed:
  pgdog-jwt setup sync --dry-run --subject alice --group readers
  pgdog-jwt setup sync --dry-run --token-file tokens.txt")]
pub(in crate::cli) struct Sync {
    /// Show the statements and run none
    #[arg(long)]
    dry_run: bool,
    /// Only this database's server [default: the servers of all databases]
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
    /// File with tokens, one a line, that are checked as at a login; "-" is standard input
    #[arg(long, value_name = "FILE")]
    token_file: Vec<PathBuf>,
    /// A subject without a token; may be given several times
    #[arg(long, value_name = "ROLE")]
    subject: Vec<String>,
    /// A group that these subjects are in, as a token would name it; may be given several times
    #[arg(long, value_name = "GROUP", requires = "subject")]
    group: Vec<String>,
}

impl Sync {
    pub(super) fn run(&self, paths: &Paths) -> Result<(), Failure> {
        let loaded = paths.load()?;
        for warning in &loaded.warnings {
            output::note(format_args!("warning: {warning}"));
        }
        let config = Arc::new(loaded.config);
        let tls = Arc::new(ClientTls::from_config(&config.general)?);
        let provisioner = Provisioner::new(&config, &tls, None);
        let provisioner = provisioner.ok_or("roles are not made here: [jwt.provisioning] is not enabled")?;
        let databases = match &self.database {
            Some(name) if config.servers(name).next().is_none() => return Err(format!("no database \"{name}\"").into()),
            Some(name) => vec![name.clone()],
            None => provisioner.servers(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.work(&config, &provisioner, &databases))
    }

    async fn work(&self, config: &Config, provisioner: &Provisioner, databases: &[String]) -> Result<(), Failure> {
        let mut failures = 0;
        for (grant, origin) in self.grants(config, &mut failures).await? {
            for database in databases {
                let outcome = match wanted(config, provisioner, database, &grant, origin) {
                    Some(wanted) if self.dry_run => provisioner.preview(database, &wanted).await,
                    Some(wanted) => provisioner.apply(database, &wanted).await,
                    None => continue,
                };
                match outcome {
                    Ok(plan) => show(database, &grant.user, &plan)?,
                    Err(error) => {
                        output::note(format_args!("error: {database}: {:?}: {error}", grant.user));
                        failures += 1;
                    }
                }
            }
        }
        for database in databases {
            match provisioner.disable_unused(database, self.dry_run).await {
                Ok(roles) => {
                    for (role, outcome) in roles {
                        match outcome {
                            Ok(plan) => show(database, &role, &plan)?,
                            Err(error) => {
                                output::note(format_args!("error: {database}: {error}"));
                                failures += 1;
                            }
                        }
                    }
                }
                Err(error) => {
                    output::note(format_args!("error: {database}: {error}"));
                    failures += 1;
                }
            }
        }
        if failures > 0 { Err(format!("{failures} of them failed").into()) } else { Ok(()) }
    }

    /// What logins of these subjects and with these tokens would be granted. A token that is refused is said so.
    async fn grants(&self, config: &Config, failures: &mut usize) -> Result<Vec<(AuthGrant, Origin)>, Failure> {
        let named = self.subject.iter().map(|name| (self.named(config, name), Origin::Operator));
        let mut grants: Vec<_> = named.collect();
        let Some(jwt) = &config.jwt else { return Ok(grants) };
        if self.token_file.is_empty() {
            return Ok(grants);
        }
        // Nobody types a user name here, nor one database: the token says who it is for.
        let claims = ClaimPolicy { database: None, ..jwt.core.claims.clone() };
        let mut core = JwtConfig { user_match: UserMatch::Claim, claims, ..jwt.core.clone() };
        for issuer in &mut core.issuers {
            (issuer.user_suffix, issuer.databases) = (None, None);
        }
        let authenticator = Authenticator::new(core)?;
        for path in &self.token_file {
            for (at, token) in read(path)?.lines().map(str::trim).enumerate().filter(|(_, token)| !token.is_empty()) {
                match authenticator.authenticate(context(token)).await {
                    AuthDecision::Allow(grant) => grants.push((*grant, Origin::Token)),
                    AuthDecision::Deny(reason) => {
                        output::note(format_args!("error: {}:{}: {reason}", path.display(), at + 1));
                        *failures += 1;
                    }
                    AuthDecision::Skip => {}
                }
            }
        }
        Ok(grants)
    }

    fn named(&self, config: &Config, name: &str) -> AuthGrant {
        let core = config.jwt.as_ref().map(|jwt| &jwt.core);
        let mode = core.map(|core| core.mode).unwrap_or_default();
        let logs_in = matches!(mode, IdentityMode::Login | IdentityMode::Passthrough);
        let account = core.and_then(|core| core.server_user.clone());
        AuthGrant {
            user: name.to_owned(),
            mode,
            account: None,
            server_role: Some(name.to_owned()),
            server_user: if logs_in { Some(name.to_owned()) } else { account },
            server_password: None,
            token: None,
            guarded: true,
            read_only: false,
            provision: true,
            provision_read_only: false,
            pool_mode: None,
            max_connections: None,
            settings: Vec::new(),
            claims: None,
            kept_claims: Default::default(),
            subject: name.to_owned(),
            issuer: None,
            issued_at: None,
            token_id: None,
            expires_at: SystemTime::now(),
            valid_until: SystemTime::now(),
            fingerprint: None,
            groups: Some(Groups { names: self.group.clone(), as_of: Some(SystemTime::now()) }),
        }
    }
}

fn context(token: &str) -> AuthContext<'_> {
    AuthContext {
        user: "",
        database: "",
        credential: Credential::new(token.as_bytes()),
        client_addr: None,
        tls: true,
        tls_identity: None,
    }
}

/// Who says what a subject's role is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Token,
    /// Names a role and no subject of an issuer: for whom the role is stays open, or as it is.
    Operator,
}

/// The role that a login would get, by the same rules.
fn wanted(
    config: &Config,
    provisioner: &Provisioner,
    database: &str,
    grant: &AuthGrant,
    origin: Origin,
) -> Option<Wanted> {
    let servers: Vec<&Database> = config.servers(database).collect();
    let user = config.user(&grant.user, database);
    let identity = plan::session_of(config, &servers, user, grant);
    let spec = plan::for_grant(config, &servers, user, grant, &identity);
    let wanted = provisioner.wanted(spec.pools.first()?, identity.role.as_deref(), grant)?;
    Some(Wanted { subject: wanted.subject.filter(|_| origin == Origin::Token), ..wanted })
}

fn read(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let place = |error: std::io::Error| format!("{}: {error}", path.display());
    match path.to_str() {
        Some("-") => stdin().lock().take(MAX_INPUT).read_to_string(&mut text)?,
        _ => File::open(path).and_then(|file| file.take(MAX_INPUT).read_to_string(&mut text)).map_err(place)?,
    };
    Ok(text)
}

/// SQL, with what is no SQL as comments. `Debug` keeps a name with a new line in it on its own line.
fn show(database: &str, role: &str, plan: &Plan) -> io::Result<()> {
    let state = match (plan.is_foreign, plan.changes.is_empty()) {
        (true, _) => ": not made by pgdog-jwt, left alone",
        (false, true) => ": nothing to do",
        (false, false) => "",
    };
    output::line(format_args!("-- {database}: {role:?}{state}"))?;
    for notice in &plan.notices {
        output::line(format_args!("-- {notice}"))?;
    }
    for change in &plan.changes {
        output::line(format_args!("{};", change.sql(role)))?;
    }
    Ok(())
}
