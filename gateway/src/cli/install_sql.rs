//! `pgdog-jwt setup sql --install`: runs the scripts on the primary of a configured database, as an administrator.

use std::time::Duration;

use super::{Failure, Paths};
use crate::backend::connect::{Proof, ServerAddress, ServerLogin, connect};
use crate::backend::connection::Connection;
use crate::backend::conversation::ConversationError;
use crate::config::{Config, Role};
use crate::net::TcpOptions;
use crate::net::tls::ClientTls;
use crate::wire::ErrorFields;

/// Longest time for all of it.
const LIMIT: Duration = Duration::from_secs(60);
/// As with psql: a password on the command line would be seen by everyone on the machine.
const PASSWORD: &str = "PGPASSWORD";

/// Runs `script` and says what was done.
pub(super) fn install(paths: &Paths, database: &str, user: &str, script: &str) -> Result<(), Failure> {
    let config = paths.load()?.config;
    let password = std::env::var(PASSWORD).ok();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let work = run(&config, database, user, password.as_deref(), script);
    let version = runtime
        .block_on(async { tokio::time::timeout(LIMIT, work).await })
        .map_err(|_| format!("database \"{database}\": not done within {} s", LIMIT.as_secs()))??;
    println!("version {version} is installed in database \"{database}\"");
    Ok(())
}

async fn run(
    config: &Config,
    database: &str,
    user: &str,
    password: Option<&str>,
    script: &str,
) -> Result<String, Failure> {
    let mut servers = config.servers(database).filter(|server| server.role != Role::Replica);
    let server = servers.next().ok_or_else(|| format!("there is no [[databases]] with a primary of \"{database}\""))?;
    let address = ServerAddress { host: server.host.clone(), port: server.port };
    let (proof, database) = (&Proof::Password, server.server_database());
    let login = ServerLogin { user, password, proof, database, parameters: &[] };
    let tls = ClientTls::from_config(&config.general)?;
    let connected = connect(&address, login, &tls, &TcpOptions::from(&config.tcp)).await?;
    let mut connection = Connection::new(connected);
    connection.query(script).await.map_err(explained)?;
    Ok(connection.query("SELECT jwt.version()").await.map_err(explained)?.value(0).to_owned())
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
