//! The running gateway: listeners, workers, signals.

mod listener;
mod shutdown;
pub(crate) mod state;
pub(crate) mod worker;

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

use crate::admin::{averages, http};
use crate::backend::janitor;
use crate::cli::Paths;
use crate::config::Loaded;
use crate::stats::{self, events};
use state::{App, Generation};
use worker::Workers;

/// Serves clients until the process is told to stop.
pub(crate) fn run(loaded: Loaded, paths: Paths) -> ExitCode {
    for warning in &loaded.warnings {
        warn!(event = "configuration", "{warning}");
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    match runtime.block_on(serve(loaded, paths)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(error.as_ref()),
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    error!(event = "start", %error, "pgdog-jwt cannot run");
    ExitCode::FAILURE
}

async fn serve(loaded: Loaded, paths: Paths) -> Result<(), Box<dyn std::error::Error>> {
    stats::started_at();
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let generation = Generation::build(loaded.config, None)?;
    let workers = Workers::start(generation.config.general.workers)?;
    let listeners = listener::bind(&generation.config.general).await?;
    let endpoints = http::bind(&generation.config.general).await?;
    // Lives as long as the process: tasks borrow it without counting.
    let app: &'static App = Box::leak(Box::new(App::new(generation, paths)));
    tokio::spawn(janitor::run(app));
    tokio::spawn(averages::run());
    tokio::spawn(http::serve(app, endpoints));
    for listener in &listeners {
        info!(event = "listening", address = %listener.address(), tls = app.state().tls.is_some(), "listening");
    }
    let workers: &'static Workers = Box::leak(Box::new(workers));
    let accepting = tokio::spawn(listener::accept_all(app, listeners, workers));
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                let _ = reload(app);
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = app.shutdown.notified() => break,
        }
    }
    app.drain();
    // Dropping the listeners: new clients are refused by the operating system from here on.
    accepting.abort();
    let _ = accepting.await;
    shutdown::drain(app.state().config.general.shutdown_timeout, &mut terminate, &mut interrupt).await;
    Ok(())
}

/// Reads the configuration again and says so in the log; what came of it is given back.
pub(crate) fn reload(app: &App) -> Result<Vec<String>, String> {
    let outcome = app.reload();
    events::reload(outcome.is_ok());
    match &outcome {
        Ok(warnings) => {
            for warning in warnings {
                warn!(event = "configuration", "{warning}");
            }
            info!(event = "reload", decision = "accepted", "reload");
        }
        Err(reason) => {
            error!(event = "reload", decision = "refused", reason, "reload refused: the old configuration stays");
        }
    }
    outcome
}
