//! Log lines go to standard error, so that standard output stays free for what a command prints.

mod batch;
mod clock;
mod json;
#[cfg(test)]
mod tests;
mod text;

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{General, LogFormat};
use batch::Lines;
use json::JsonLines;
use text::TextLines;

pub(crate) use batch::{gather, write_all, write_gathered};

/// The target of records that libraries made with the `log` crate: what they are about is in their fields.
const FOREIGN: &str = "log";

/// Starts logging for the life of the process. `RUST_LOG` goes before `log_level`.
pub(crate) fn start(general: &General) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(&general.log_level));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Lines);
    let started = match general.log_format {
        LogFormat::Text => {
            let builder = builder.with_ansi(std::io::stderr().is_terminal());
            builder.map_event_format(|others| TextLines { others }).try_init()
        }
        LogFormat::Json => builder.json().map_event_format(|others| JsonLines { others, flat: false }).try_init(),
        LogFormat::JsonFlattened => {
            let builder = builder.json().flatten_event(true);
            builder.map_event_format(|others| JsonLines { others, flat: true }).try_init()
        }
    };
    if let Err(error) = started {
        eprintln!("pgdog-jwt: logging is already set up: {error}");
    }
}
