//! The gate of a database: PAUSE closes it, RESUME opens it. Behind a closed gate no server is given to a client; those
//! that hold one keep it until they give it back. DISABLE refuses new clients at the login, ENABLE lets them in again. A gate
//! belongs to a name, so it stays as it is over a reload.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

/// By database. There is one for each name that was ever configured.
static GATES: LazyLock<Mutex<HashMap<String, Arc<Gate>>>> = LazyLock::new(Mutex::default);

/// See the module.
pub(crate) struct Gate {
    /// What the hot path looks at.
    closed: AtomicBool,
    /// The same, with how long a client waits for it to change.
    state: watch::Sender<Option<Duration>>,
    disabled: AtomicBool,
}

/// The gate of a database.
pub(crate) fn of(database: &str) -> Arc<Gate> {
    let mut gates = GATES.lock();
    if let Some(gate) = gates.get(database) {
        return gate.clone();
    }
    let gate = Arc::new(Gate {
        closed: AtomicBool::new(false),
        state: watch::Sender::new(None),
        disabled: AtomicBool::new(false),
    });
    gates.insert(database.to_owned(), gate.clone());
    gate
}

impl Gate {
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Keeps clients waiting, each for at most `limit`.
    pub(crate) fn close(&self, limit: Duration) {
        self.state.send_replace(Some(limit));
        self.closed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn open(&self) {
        self.closed.store(false, Ordering::Relaxed);
        self.state.send_replace(None);
    }

    /// Whether new clients are refused.
    pub(crate) fn is_disabled(&self) -> bool {
        self.disabled.load(Ordering::Relaxed)
    }

    pub(crate) fn set_disabled(&self, disabled: bool) {
        self.disabled.store(disabled, Ordering::Relaxed);
    }

    /// Waits until the gate is open; the error is the limit that has passed.
    pub(crate) async fn pass(&self) -> Result<(), Duration> {
        let mut state = self.state.subscribe();
        let Some(limit) = *state.borrow_and_update() else { return Ok(()) };
        let opened = state.wait_for(Option::is_none);
        match tokio::time::timeout(limit, opened).await {
            Ok(_) => Ok(()),
            Err(_) => Err(limit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_closed_gate_holds_back_until_it_opens() {
        let gate = of("gate-opens");
        assert!(gate.pass().await.is_ok());
        gate.close(Duration::from_secs(60));
        let waiting = tokio::spawn(async { of("gate-opens").pass().await });
        tokio::task::yield_now().await;
        assert!(gate.is_closed() && !waiting.is_finished());
        gate.open();
        assert_eq!(waiting.await.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn nobody_waits_longer_than_the_limit() {
        let gate = of("gate-limit");
        gate.close(Duration::from_millis(5));
        assert_eq!(gate.pass().await, Err(Duration::from_millis(5)));
    }
}
