//! Signals that would end the process and must not. Whoever waits for one has taken it from the system: nothing else happens then.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::warn;

/// A file has reached the size that the process may write (`RLIMIT_FSIZE`): the write fails then, and whoever writes says so.
/// The number is that of Linux on x86 and ARM.
const SIGXFSZ: i32 = 25;

/// From here on they end nothing. (A peer that has gone, SIGPIPE, is an error of the socket: Rust's programs ignore the signal.)
pub(super) fn survive() -> std::io::Result<()> {
    drop(signal(SignalKind::from_raw(SIGXFSZ))?);
    // Other programs are told something by these: PgBouncer pauses and resumes.
    for (kind, name) in [(SignalKind::user_defined1(), "SIGUSR1"), (SignalKind::user_defined2(), "SIGUSR2")] {
        tokio::spawn(note(signal(kind)?, name));
    }
    Ok(())
}

/// Says that one has come.
async fn note(mut signal: Signal, name: &'static str) {
    while signal.recv().await.is_some() {
        warn!(event = "signal", name, "a signal that means nothing to pgdog-jwt was ignored");
    }
}
