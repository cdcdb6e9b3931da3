//! The running gateway: listeners, workers, signals.

mod accepted;
pub(crate) mod descriptors;
mod listener;
mod memory;
mod notify;
mod revocations;
mod secrets;
pub(crate) mod seldom;
mod shutdown;
mod signals;
pub(crate) mod state;
pub(crate) mod trial;
mod unix_socket;
pub(crate) mod worker;

use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::admin::{averages, http};
use crate::audit;
use crate::backend::janitor;
use crate::cli::{Paths, logging};
use crate::config::Loaded;
use crate::provisioning::upkeep;
use crate::resolvers;
use crate::stats::{self, events};
use notify::{News, notify};
pub(crate) use shutdown::Leave;
use state::{App, Generation};
use worker::Workers;

/// Serves clients until the process is told to stop.
pub(crate) fn run(loaded: Loaded, paths: Paths) -> ExitCode {
    for warning in &loaded.warnings {
        warn!(event = "configuration", "{warning}");
    }
    use_small_pages();
    descriptors::raise();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let outcome = runtime.block_on(serve(loaded, paths));
    // The system may look for an issuer's name for long, on a thread that cannot be stopped: nothing waits for that.
    runtime.shutdown_background();
    logging::write_all();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(error.as_ref()),
    }
}

/// Where the kernel backs memory with huge pages (2 MiB) on its own, a process of many small sessions holds far more
/// than it uses. The allocator was told the same for where they must be asked for (its feature `no_thp`).
fn use_small_pages() {
    #[cfg(target_os = "linux")]
    if let Err(error) = nix::sys::prctl::set_thp_disable(true) {
        tracing::debug!(%error, "memory may come in huge pages");
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
    signals::survive()?;
    let inherited = listener::inherited()?;
    let generation = paths.build(loaded.config, None)?;
    audit::install(audit::prepare(&generation.config.audit)?)?;
    let workers = Workers::start(generation.config.general.workers)?;
    report_descriptors(&generation);
    let listeners = match inherited {
        none if none.is_empty() => listener::bind(&generation.config.general).await?,
        inherited => inherited,
    };
    // What the file says later does not change sockets that are open.
    let shared = generation.config.general.reuse_port;
    let endpoints = http::bind(&generation.config.general).await?;
    // Lives as long as the process: tasks borrow it without counting.
    let app: &'static App = Box::leak(Box::new(App::new(generation, paths)));
    tokio::spawn(janitor::run(app));
    tokio::spawn(upkeep::run(app));
    tokio::spawn(averages::run());
    tokio::spawn(memory::run());
    tokio::spawn(secrets::run(app));
    tokio::spawn(revocations::run(app));
    tokio::spawn(resolvers::verify(app.state()));
    tokio::spawn(fetch_keys(app.state()));
    let http = tokio::spawn(http::serve(app, endpoints));
    for listener in &listeners {
        info!(event = "listening", address = %listener.address(), tls = app.state().tls.is_some(), "listening");
    }
    let workers: &'static Workers = Box::leak(Box::new(workers));
    let (stop, stopped) = watch::channel(false);
    let listeners = workers.spawn_on_first(async move { listener::move_here(listeners) }).await??;
    let accepting = workers.spawn_on_first(listener::accept_all(app, listeners, workers, stopped));
    notify(News::Ready);
    loop {
        tokio::select! {
            // The programs that print secrets may take a while.
            _ = hangup.recv() => drop(tokio::spawn(reload(app))),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = app.shutdown.notified() => break,
        }
    }
    notify(News::Stopping);
    app.drain();
    if shared {
        // The other process answers for both: a load balancer must not hear that this one ends.
        http.abort();
    }
    // The listeners are closed: new clients are refused by the operating system from here on, or go to the other process.
    stop.send_replace(true);
    let _ = accepting.await;
    let generation = app.state();
    let general = &generation.config.general;
    shutdown::drain(app, general, shared.then_some(workers), &mut terminate, &mut interrupt).await;
    audit::flush().await;
    Ok(())
}

/// Says what was made of the limit of descriptors.
fn report_descriptors(generation: &Generation) {
    let bounds = &generation.bounds;
    let limit = descriptors::limit();
    info!(
        event = "descriptors",
        limit,
        reserved = limit.saturating_sub(bounds.descriptors),
        max_unauthenticated_clients = bounds.total,
        max_unauthenticated_clients_per_address = bounds.per_address,
        "file descriptors"
    );
    if let Some(reason) = bounds.shortage(&generation.config) {
        warn!(event = "descriptors", reason, "fewer clients fit than max_client_conn lets in");
    }
}

/// Asks issuers for their keys, so that no login has to wait for what could have been known. Nothing waits for this: an
/// issuer that is down keeps no gateway from starting.
async fn fetch_keys(generation: Arc<Generation>) {
    if let Some(authenticator) = &generation.authenticator {
        authenticator.warm().await;
    }
}

/// Whoever has moved the audit file away waits for a new one, also when the configuration has a mistake.
fn reopen_audit(app: &App) {
    let reopened = audit::prepare(&app.state().config.audit);
    match reopened.and_then(|prepared| audit::install(prepared).map_err(|error| error.to_string())) {
        Ok(()) => {}
        Err(reason) => error!(event = "audit", reason, "the audit file stays as it is"),
    }
}

/// Reads the configuration again and says so in the log; what came of it is given back.
pub(crate) async fn reload(app: &'static App) -> Result<Vec<String>, String> {
    notify(News::Reloading);
    let outcome = tokio::task::spawn_blocking(|| app.reload()).await;
    let outcome = outcome.unwrap_or_else(|_| Err("the gateway is ending".to_owned()));
    notify(News::Ready);
    events::reload(outcome.is_ok());
    match &outcome {
        Ok(warnings) => {
            for warning in warnings {
                warn!(event = "configuration", "{warning}");
            }
            info!(event = "reload", decision = "accepted", "reload");
            tokio::spawn(resolvers::verify(app.state()));
            tokio::spawn(fetch_keys(app.state()));
        }
        Err(reason) => {
            error!(event = "reload", decision = "refused", reason, "reload refused: the old configuration stays");
            reopen_audit(app);
        }
    }
    outcome
}
