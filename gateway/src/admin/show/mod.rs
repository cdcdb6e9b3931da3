//! The tables of SHOW. Columns are named as PgDog names them, else as PgBouncer does, where either has them.

mod clients;
mod config;
mod introspection;
mod keys;
mod lists;
mod pools;
mod provisioning;
mod secrets;
mod servers;
mod stats;

use super::command::{ACTIONS, TOPICS, Topic};
use super::revoke;
use super::table::{Kind, Table, Value};
use crate::app::state::App;
use crate::frontend::sessions::Registration;

pub(crate) use config::{Waiting, waiting};
#[cfg(test)]
pub(crate) use config::{entries as config_entries, names as config_names};

/// The table, limited to a database where that is asked for.
pub(super) fn show(app: &'static App, registration: &Registration, topic: Topic, database: Option<&str>) -> Table {
    let state = app.state();
    match topic {
        Topic::Clients => clients::clients(database, registration.process()),
        Topic::Subjects => clients::subjects(&state.registry, database),
        Topic::Servers => servers::servers(&state.registry, database),
        Topic::Pools => pools::pools(&state.registry, database),
        Topic::Stats => stats::stats(database),
        Topic::StatsTotals => stats::totals(database),
        Topic::StatsAverages => stats::averages(database),
        Topic::Totals => stats::summed(),
        Topic::State => lists::state(&state.config),
        Topic::Databases => lists::databases(&state),
        Topic::Users => lists::users(&state.config),
        Topic::Lists => lists::lists(&state),
        Topic::Prepared => lists::prepared(),
        Topic::Bans => servers::bans(&state.registry),
        Topic::Config => config::config(&app.started, &state.config),
        Topic::Revocations => revoke::show(app),
        Topic::Keys => keys::keys(state.authenticator.as_deref()),
        Topic::Introspection => introspection::introspection(state.authenticator.as_deref()),
        Topic::Version => Table::one("version", Kind::Text, Value::text(super::VERSION)),
        Topic::Help => help(),
    }
}

fn help() -> Table {
    let mut table = Table::new(&[("command", Kind::Text), ("what it does", Kind::Text)]);
    for (word, topic, what) in TOPICS {
        let command = format!("SHOW {word}{}", if topic.takes_database() { " [db]" } else { "" });
        table.push(vec![Value::text(command), Value::text(what)]);
    }
    for (command, what) in ACTIONS {
        table.push(vec![Value::text(command), Value::text(what)]);
    }
    table
}
