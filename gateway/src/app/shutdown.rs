//! The end: sessions leave at the next moment at which they lose nothing, the rest when the time is up.

use std::time::Duration;

use tokio::signal::unix::Signal;
use tracing::{info, warn};

use crate::frontend::sessions;

/// How often the sessions that are left are counted.
const LOOK: Duration = Duration::from_millis(20);

/// How long sessions have to say goodbye when they are cut off.
const GOODBYE: Duration = Duration::from_secs(2);

/// Waits until all sessions have left, at most `limit`; a second signal ends the patience.
pub(super) async fn drain(limit: Duration, terminate: &mut Signal, interrupt: &mut Signal) {
    info!(event = "shutdown", sessions = sessions::count(), "shutdown: waiting for sessions to end");
    tokio::select! {
        () = leave(false) => {}
        () = tokio::time::sleep(limit) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    let left = sessions::count();
    if left > 0 {
        warn!(event = "shutdown", sessions = left, "shutdown: sessions are cut off");
        let _ = tokio::time::timeout(GOODBYE, leave(true)).await;
    }
    info!(event = "shutdown", "shutdown complete");
}

/// Asks every session to leave until none is there; again and again, for logins that were under way.
async fn leave(now: bool) {
    while sessions::count() > 0 {
        sessions::end_all(now);
        tokio::time::sleep(LOOK).await;
    }
}
