//! Log lines go to standard error, so that standard output stays free for what a command prints.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{General, LogFormat};

/// Starts logging for the life of the process. `RUST_LOG` goes before `log_level`.
pub(crate) fn start(general: &General) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(&general.log_level));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match general.log_format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().try_init(),
        LogFormat::JsonFlattened => builder.json().flatten_event(true).try_init(),
    };
    if let Err(error) = started {
        eprintln!("pgdog-jwt: logging is already set up: {error}");
    }
}
