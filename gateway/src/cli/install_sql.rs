//! `pgdog-jwt setup sql --install`: runs the scripts on the primary of a configured database, as an administrator, and says
//! what else can reach what they have made.

use std::time::Duration;

use super::{Failure, Paths, output};
use crate::backend::connect::{Proof, ServerAddress, ServerLogin, connect};
use crate::backend::connection::Connection;
use crate::backend::conversation::ConversationError;
use crate::config::{Config, Role};
use crate::net::TcpOptions;
use crate::net::tls::ClientTls;
use crate::wire::ErrorFields;

/// Longest time for all of it.
const LIMIT: Duration = Duration::from_secs(60);
/// What `jwt.status()` has to say of the installation itself: who else could change it, or has the keys.
const FINDINGS: &str = "SELECT pg_catalog.format('%s: %s %s', severity, object, finding) FROM jwt.status() \
                        WHERE kind OPERATOR(pg_catalog.=) 'installation' OR kind OPERATOR(pg_catalog.=) 'key'";
/// As with psql: a password on the command line would be seen by everyone on the machine.
const PASSWORD: &str = "PGPASSWORD";

/// Runs `script` and says what was done.
pub(super) fn install(paths: &Paths, database: &str, user: &str, script: &str) -> Result<(), Failure> {
    let config = paths.load()?.config;
    let password = std::env::var(PASSWORD).ok();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let work = run(&config, database, user, password.as_deref(), script);
    let done = runtime
        .block_on(async { tokio::time::timeout(LIMIT, work).await })
        .map_err(|_| format!("database \"{database}\": not done within {} s", LIMIT.as_secs()))??;
    let (version, findings) = done;
    output::line(format_args!("version {version} is installed in database \"{database}\""))?;
    for finding in findings {
        output::note(format_args!("{finding}"));
    }
    Ok(())
}

async fn run(
    config: &Config,
    database: &str,
    user: &str,
    password: Option<&str>,
    script: &str,
) -> Result<(String, Vec<String>), Failure> {
    let mut servers = config.servers(database).filter(|server| server.role != Role::Replica);
    let server = servers.next().ok_or_else(|| format!("there is no [[databases]] with a primary of \"{database}\""))?;
    let address = ServerAddress { host: server.host.clone(), port: server.port };
    let (proof, database) = (&Proof::Password, server.server_database());
    let login = ServerLogin { user, password, proof, database, parameters: &[] };
    let tls = ClientTls::from_config(&config.general)?;
    let connected = connect(&address, login, &tls, &TcpOptions::from(&config.tcp)).await?;
    let mut connection = Connection::new(connected);
    connection.query(script).await.map_err(explained)?;
    let version = connection.query("SELECT jwt.version()").await.map_err(explained)?.value(0).to_owned();
    let findings = connection.query(FINDINGS).await.map_err(explained)?;
    Ok((version, findings.rows.into_iter().filter_map(|mut row| row.pop().flatten()).collect()))
}

/// With PostgreSQL's hint.
fn explained(error: ConversationError) -> Failure {
    match error {
        ConversationError::Refused(ErrorFields { message, hint: Some(hint), .. }) => {
            format!("{message}. {hint}").into()
        }
        error => error.into(),
    }
}
