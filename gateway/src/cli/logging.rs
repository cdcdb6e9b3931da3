//! Log lines go to standard error, so that standard output stays free for what a command prints.

mod batch;
mod clock;
mod json;
#[cfg(test)]
mod tests;
mod text;

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::{EnvFilter, reload};

use crate::config::{General, LogFormat};
use batch::Lines;
use json::JsonLines;
use text::TextLines;

pub(crate) use batch::{gather, write_all, write_gathered};

/// The target of records that libraries made with the `log` crate: what they are about is in their fields.
const FOREIGN: &str = "log";

/// Takes another filter in place of the one that holds. There is one once logging has started.
static REPLACE: OnceLock<Box<dyn Fn(EnvFilter) + Send + Sync>> = OnceLock::new();

/// Starts logging for the life of the process. `RUST_LOG` goes before `log_level`.
pub(crate) fn start(general: &General) {
    let builder = tracing_subscriber::fmt().with_env_filter(filter(general)).with_writer(Lines);
    let started = match general.log_format {
        LogFormat::Text => {
            let builder = builder.with_ansi(std::io::stderr().is_terminal());
            let builder = builder.map_event_format(|others| TextLines { others }).with_filter_reloading();
            remember(builder.reload_handle());
            builder.try_init()
        }
        LogFormat::Json => {
            let builder = builder.json().map_event_format(|others| JsonLines { others, flat: false });
            let builder = builder.with_filter_reloading();
            remember(builder.reload_handle());
            builder.try_init()
        }
        LogFormat::JsonFlattened => {
            let builder = builder.json().flatten_event(true);
            let builder = builder.map_event_format(|others| JsonLines { others, flat: true }).with_filter_reloading();
            remember(builder.reload_handle());
            builder.try_init()
        }
    };
    if let Err(error) = started {
        super::output::note(format_args!("pgdog-jwt: logging is already set up: {error}"));
    }
}

/// From now on `log_level` is that of another configuration.
pub(crate) fn change_level(general: &General) {
    if let Some(replace) = REPLACE.get() {
        replace(filter(general));
    }
}

/// What is logged by this configuration: a level, or a list as `RUST_LOG` has it.
pub(crate) fn level(general: &General) -> String {
    let from_environment = EnvFilter::try_from_default_env().is_ok();
    let named = std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|_| from_environment);
    named.unwrap_or_else(|| general.log_level.clone())
}

fn filter(general: &General) -> EnvFilter {
    EnvFilter::new(level(general))
}

fn remember<S: 'static>(handle: reload::Handle<EnvFilter, S>) {
    let _ = REPLACE.set(Box::new(move |filter| {
        // It fails when nobody logs any more.
        let _ = handle.reload(filter);
    }));
}
