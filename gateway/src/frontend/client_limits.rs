//! How many clients may be logged in: in all, on a database, and as one user. Nobody is counted before having proven who it
//! is, and the admin database counts nobody: it must be open when everything else is full.

use super::limits::{self, Key, Limits, Seat};
use super::refused::Refused;
use crate::config::Config;
use crate::wire::PgError;

/// Takes the places of a new session, as PostgreSQL would refuse them.
pub(super) fn take(config: &Config, database: &str, user: &str) -> Result<Vec<Seat>, Box<Refused>> {
    let mut seats = Vec::new();
    let all = config.general.max_client_conn;
    for (most, key) in [
        (all, Key::Clients),
        (config.client_limit_of(database), Key::ClientsOn { database: database.into() }),
        (config.client_limit_as(user, database), Key::ClientsAs { user: user.into() }),
    ] {
        let Some(most) = most else { continue };
        let limits = Limits { sessions: Some(most), ..Limits::default() };
        seats.push(limits::take(key.clone(), limits).map_err(|_| Box::new(refusal(&key)))?);
    }
    Ok(seats)
}

fn refusal(key: &Key) -> Refused {
    let text = match key {
        Key::ClientsOn { database } => format!("too many connections for database \"{database}\""),
        Key::ClientsAs { user } => format!("too many connections for role \"{user}\""),
        _ => "sorry, too many clients already".to_owned(),
    };
    Refused::new("too_many_clients", PgError::fatal("53300", text))
}
