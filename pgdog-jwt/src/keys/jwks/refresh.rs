//! The fetch of a key set as a task, and the task that sees to it that there is one in time.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::{Asked, JwksStore, Published};
use crate::config::printable;
use crate::keys::changes;
use crate::keys::fetch::Fetched;
use crate::keys::gate::{Cause, Outcome};
use crate::keys::jitter;
use crate::keys::lifetime::Lifetime;

/// The background fetch never runs more often than this.
const SHORTEST_REFRESH: Duration = Duration::from_secs(1);

impl JwksStore {
    /// Takes what came; whether it is another set. What has not changed stays the same version, by which tokens are remembered.
    fn accept(&self, fetched: Fetched) -> bool {
        let known = self.copy.load_full();
        let before = known.as_ref().map(|known| known.keys.version());
        let lifetime = Lifetime::new(self.source(), fetched.asked_for, Instant::now(), jitter::fraction());
        let place = &self.source().url;
        let copy = match (fetched.set, known) {
            (Some((set, validator)), known) => {
                let before = known.as_deref();
                changes::warn_of_skipped(place, before.map_or(&[], |before| &before.skipped), &set.skipped);
                changes::log(place, before.map(|before| &*before.keys), &set.keys);
                let keys = match before {
                    Some(before) => set.keys.after(&before.keys),
                    None => set.keys,
                };
                Published { keys: Arc::new(keys), skipped: set.skipped.into(), validator, lifetime }
            }
            (None, Some(known)) => {
                self.unchanged.fetch_add(1, Ordering::Relaxed);
                let (keys, skipped) = (Arc::clone(&known.keys), Arc::clone(&known.skipped));
                Published { keys, skipped, validator: known.validator.clone(), lifetime }
            }
            // "Nothing has changed" is believed only of a set that is here.
            (None, None) => return false,
        };
        let is_another = before.is_some_and(|before| before != copy.keys.version());
        self.copy.store(Some(Arc::new(copy)));
        self.changed.notify_waiters();
        is_another
    }

    /// Starts the task that fetches the set before it is old, and one that could not be fetched after a pause, unless it
    /// lives already. It ends with the store, or with the runtime that it was started on; then the next fetch starts it
    /// again.
    fn keep_fresh(self: &Arc<Self>) {
        if self.refreshing.swap(true, Ordering::AcqRel) {
            return;
        }
        let living = Living(Arc::downgrade(self));
        tokio::spawn(async move {
            loop {
                let pause = match living.0.upgrade() {
                    Some(store) => store.until_refresh().max(SHORTEST_REFRESH),
                    None => return,
                };
                tokio::time::sleep(pause).await;
                let asked = match living.0.upgrade() {
                    // Somebody else may have asked while this task slept.
                    Some(store) if store.until_refresh().is_zero() => store.ask(Cause::Age),
                    Some(_) => continue,
                    None => return,
                };
                if let Ok(Asked::Running(mut running)) = asked {
                    let _ = running.changed().await;
                }
            }
        });
    }

    /// How long until the set is fetched again.
    pub(super) fn until_refresh(&self) -> Duration {
        let now = Instant::now();
        let due = self.copy.load().as_ref().map_or(Duration::ZERO, |copy| copy.lifetime.until_refresh(now));
        due.max(self.gate.pause_left(now))
    }
}

/// Marks the background task as gone, however it goes.
struct Living(Weak<JwksStore>);

impl Drop for Living {
    fn drop(&mut self) {
        if let Some(store) = self.0.upgrade() {
            store.refreshing.store(false, Ordering::Release);
        }
    }
}

/// One running fetch. Its end is recorded in `Drop`, so that a runtime that shuts down under it leaves no login waiting.
pub(super) struct Fetch {
    store: Arc<JwksStore>,
    outcome: Outcome,
    /// Dropped last, after the gate is open again: waiters wake and find it so.
    _ended: watch::Sender<()>,
}

impl Fetch {
    pub(super) fn new(store: &Arc<JwksStore>, ended: watch::Sender<()>) -> Self {
        Self { store: Arc::clone(store), outcome: Outcome::Abandoned, _ended: ended }
    }

    pub(super) async fn run(mut self) {
        let store = Arc::clone(&self.store);
        let known = store.copy.load().as_ref().and_then(|copy| copy.validator.clone());
        match store.fetcher.fetch(known, store.gate.has_failed()).await {
            Ok(fetched) => {
                let is_another = store.accept(fetched);
                store.fetches.fetch_add(1, Ordering::Relaxed);
                store.last_error.store(None);
                self.outcome = if is_another { Outcome::Changed } else { Outcome::Fetched };
            }
            Err(error) => {
                let url = printable(&store.source().url);
                tracing::warn!(url, %error, "the issuer's keys could not be fetched");
                store.failures.fetch_add(1, Ordering::Relaxed);
                store.last_error.store(Some(Arc::new(error.to_string())));
                self.outcome = Outcome::Failed;
            }
        }
        store.keep_fresh();
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.store.gate.end(self.outcome, Instant::now());
    }
}
