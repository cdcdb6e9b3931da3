//! Looking after a running gateway: the admin database, which any PostgreSQL client can open, and the HTTP endpoints for
//! metrics and health. All of it reads what the rest of the gateway publishes, and nothing of it is on a client's way.
//!
//! In the admin database: `console` talks with the client, `command` reads what it typed, `run` does it, `show` makes the
//! tables, `drivers` answers what drivers ask of their own accord.

pub(crate) mod averages;
mod command;
mod console;
mod control;
mod drivers;
mod extended;
mod health;
pub(crate) mod http;
mod http_host;
mod kill;
mod metrics;
mod process;
mod revoke;
mod run;
mod show;
mod table;

pub(crate) use console::Console;
pub(crate) use show::{Waiting, waiting};
#[cfg(test)]
pub(crate) use show::{config_entries, config_names};

use crate::config::Config;
use crate::frontend::sessions::Registration;
use crate::wire::message;

/// What the gateway is.
const VERSION: &str = concat!("pgdog-jwt ", env!("CARGO_PKG_VERSION"));

/// What drivers are told that they talk to. Old enough that no psql warns of a server that is newer than itself.
const SERVER_VERSION: &str = concat!("14.0 (pgdog-jwt ", env!("CARGO_PKG_VERSION"), ")");

/// Whether a client that asks for this database means the admin database. A configured database of the same name goes
/// first while there is no password that would open the other one.
pub(crate) fn is_meant(config: &Config, database: &str) -> bool {
    let admin = &config.admin;
    database == admin.name && (admin.password.is_some() || config.servers(database).next().is_none())
}

/// The parameters that a client is told at login.
fn parameters(user: &str, application_name: &str) -> [(&'static str, String); 13] {
    let text = str::to_owned;
    [
        ("application_name", text(application_name)),
        ("client_encoding", text("UTF8")),
        ("DateStyle", text("ISO, MDY")),
        ("default_transaction_read_only", text("off")),
        ("in_hot_standby", text("off")),
        ("integer_datetimes", text("on")),
        ("IntervalStyle", text("postgres")),
        ("is_superuser", text("off")),
        ("server_encoding", text("UTF8")),
        ("server_version", text(SERVER_VERSION)),
        ("session_authorization", text(user)),
        ("standard_conforming_strings", text("on")),
        ("TimeZone", text("UTC")),
    ]
}

/// All that the administrator's client is told once it is in.
pub(crate) fn greeting(user: &str, application_name: &str, registration: &Registration) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    message::authentication_ok(&mut out);
    for (name, value) in parameters(user, application_name) {
        message::parameter_status(&mut out, name, &value);
    }
    message::backend_key_data(&mut out, registration.process(), registration.key());
    message::ready_for_query(&mut out, b'I');
    out
}
