//! The end: sessions leave at the next moment at which they lose nothing, the rest when the time is up. Where another
//! process serves new clients already, those of this one may first stay until they leave by themselves.

use std::time::Duration;

use tokio::signal::unix::Signal;
use tracing::{info, warn};

use super::state::App;
use super::worker::Workers;
use crate::config::General;
use crate::frontend::sessions;

/// How often the sessions that are left are counted.
const LOOK: Duration = Duration::from_millis(20);

/// How long sessions have to say goodbye when they are cut off, beside the time in which their servers stop.
const GOODBYE: Duration = Duration::from_secs(2);

/// When sessions leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Leave {
    /// When they lose nothing, within `shutdown_timeout`.
    #[default]
    InTime,
    /// When they lose nothing.
    WhenIdle,
    /// When their clients leave. An administrator is nobody's client.
    ByThemselves,
}

/// Waits until all sessions have left; a second signal ends the patience. Where another process shares the port (`shared`),
/// nobody is asked to leave during the first half of `shutdown_timeout`: their next connection goes to the other process. Whoever
/// is cut off is waited for until the servers have stopped what they were asked, at most the `rollback_timeout`.
pub(super) async fn drain(
    app: &'static App,
    general: &General,
    shared: Option<&'static Workers>,
    terminate: &mut Signal,
    interrupt: &mut Signal,
) {
    info!(event = "shutdown", sessions = sessions::count(), "shutdown: waiting for sessions to end");
    loop {
        tokio::select! {
            () = wait(app, general, shared) => {}
            // The administrator has thought of something else.
            () = app.shutdown.notified() => continue,
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        break;
    }
    let left = sessions::count();
    if left > 0 {
        warn!(event = "shutdown", sessions = left, "shutdown: sessions are cut off");
        let _ = tokio::time::timeout(GOODBYE.saturating_add(general.rollback_timeout), leave(true)).await;
    }
    info!(event = "shutdown", "shutdown complete");
}

async fn wait(app: &'static App, general: &General, shared: Option<&'static Workers>) {
    match app.leave() {
        Leave::InTime => {
            let limit = general.shutdown_timeout;
            let leaving = async {
                if let Some(workers) = shared {
                    let _ = tokio::time::timeout(limit / 2, empty(workers)).await;
                }
                leave(false).await;
            };
            let _ = tokio::time::timeout(limit, leaving).await;
        }
        Leave::WhenIdle => leave(false).await,
        Leave::ByThemselves => {
            let administrators = app.state().config.admin.name.clone();
            while sessions::any(|card| card.about.database != administrators) {
                tokio::time::sleep(LOOK).await;
            }
        }
    }
}

/// Waits until the last client has gone, those that are logging in included.
async fn empty(workers: &Workers) {
    while workers.clients() > 0 {
        tokio::time::sleep(LOOK).await;
    }
}

/// Asks every session to leave until none is there; again and again, for logins that were under way.
async fn leave(now: bool) {
    while sessions::count() > 0 {
        sessions::end_all(now);
        tokio::time::sleep(LOOK).await;
    }
}
