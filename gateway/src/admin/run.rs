//! Doing what a command says.

use tracing::info;

use super::command::{Command, Topic};
use super::control;
use super::kill;
use super::revoke;
use super::show;
use super::table::Table;
use crate::app::state::App;
use crate::frontend::sessions::Registration;
use crate::wire::PgError;

/// What came of a command.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) notices: Vec<String>,
    pub(super) table: Option<Table>,
    pub(super) tag: String,
}

impl Outcome {
    pub(super) fn tag(tag: &str) -> Self {
        Self { tag: tag.to_owned(), ..Self::default() }
    }

    fn table(tag: &str, table: Table) -> Self {
        let tag = if tag == "SELECT" { format!("SELECT {}", table.rows.len()) } else { tag.to_owned() };
        Self { tag, table: Some(table), ..Self::default() }
    }
}

/// The columns that a command would give, without doing it; `None` when it gives no rows.
pub(super) fn columns(app: &'static App, registration: &Registration, command: &Command) -> Option<Table> {
    match command {
        Command::Show(topic, database) => Some(show::show(app, registration, *topic, database.as_deref())),
        Command::Answer(table) => Some(table.clone()),
        _ => None,
    }
}

/// Runs one command.
pub(super) async fn run(app: &'static App, registration: &Registration, command: &Command) -> Result<Outcome, PgError> {
    if let Some(word) = audited(command) {
        let about = &registration.meter.card().about;
        let client = about.client();
        info!(event = "admin", command = word, user = about.user, client, "admin command");
    }
    match command {
        Command::Show(topic, database) => {
            let table = show::show(app, registration, *topic, database.as_deref());
            let tag = if *topic == Topic::Help { "SHOW HELP" } else { "SHOW" };
            let mut outcome = Outcome::table(tag, table);
            if *topic == Topic::Revocations {
                outcome.notices.extend(app.revocations().and_then(|list| revoke::in_memory(&list)));
            }
            Ok(outcome)
        }
        Command::Answer(table) => Ok(Outcome::table("SELECT", table.clone())),
        Command::Accept(tag) => Ok(Outcome::tag(tag)),
        Command::Empty => Ok(Outcome::default()),
        Command::Reload => control::reload(app).await,
        Command::FlushResolvers => {
            let count = app.state().resolved.flush();
            let notices = vec![format!("{count} results forgotten")];
            Ok(Outcome { notices, ..Outcome::tag("FLUSH") })
        }
        Command::Reconnect(database) => control::reconnect(app, database.as_deref()),
        Command::Pause(database) => control::pause(app, database.as_deref()).await,
        Command::Resume(database) => control::resume(app, database.as_deref()),
        Command::Ban(whom) => control::ban(app, whom.as_deref(), true),
        Command::Unban(whom) => control::ban(app, whom.as_deref(), false),
        Command::WaitClose(database) => control::wait_close(app, database.as_deref()).await,
        Command::Disable(database) => control::set_disabled(app, database, true),
        Command::Enable(database) => control::set_disabled(app, database, false),
        Command::Kill(whom) => kill::kill(app, registration, whom),
        Command::Revoke(whom) => revoke::revoke(app, registration, whom).await,
        Command::Unrevoke(which) => revoke::unrevoke(app, registration, which).await,
        Command::Shutdown(leave) => {
            app.end(*leave);
            Ok(Outcome::tag("SHUTDOWN"))
        }
        Command::Suspend => Err(PgError::error("0A000", "SUSPEND is not supported")
            .hint("PAUSE closes the connections to PostgreSQL. To replace the process without losing clients, see docs/operations.md.")),
    }
}

/// The word for the log, of commands that change something.
fn audited(command: &Command) -> Option<&'static str> {
    match command {
        Command::Reload => Some("RELOAD"),
        Command::FlushResolvers => Some("FLUSH RESOLVERS"),
        Command::Reconnect(_) => Some("RECONNECT"),
        Command::Pause(_) => Some("PAUSE"),
        Command::Resume(_) => Some("RESUME"),
        Command::Ban(_) => Some("BAN"),
        Command::Unban(_) => Some("UNBAN"),
        Command::Kill(_) => Some("KILL"),
        Command::Disable(_) => Some("DISABLE"),
        Command::Enable(_) => Some("ENABLE"),
        Command::Revoke(_) => Some("REVOKE"),
        Command::Unrevoke(_) => Some("UNREVOKE"),
        Command::Shutdown(_) => Some("SHUTDOWN"),
        Command::Show(..)
        | Command::WaitClose(_)
        | Command::Suspend
        | Command::Empty
        | Command::Answer(_)
        | Command::Accept(_) => None,
    }
}
