//! A published key set: when the copy we have is good enough, when to ask again, and who waits (S8).
//!
//! - A key that is known and not older than `cache_ttl` is used at once; nobody is asked.
//! - A known key in an older copy, up to `max_stale`, is also used at once, and the set is fetched in the background. So
//!   an issuer that is slow or down delays no login whose key is known. The price: a key that the issuer withdraws works
//!   until the next fetch succeeds. To keep that short, the set is fetched again every `cache_ttl` even when nobody logs
//!   in, from the first fetch on.
//! - Only a login whose key is missing waits, and no longer than `timeout`. All such logins share one fetch, which is a
//!   task of its own: a client that gives up does not cancel it for the others.
//! - Fetches for an unknown `kid` happen at most once per `min_refresh_interval`, and after a failure nobody asks until a
//!   pause has passed, so that forged tokens cannot turn us against the issuer.
//!
//! Logins read the copy without a lock; [`Gate`] decides who fetches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use reqwest::Client;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::fetch;
use super::gate::{Cause, Gate, Outcome, Pass};
use super::jwk::ParsedSet;
use super::{KeySet, Verdict, Version};
use crate::config::{Algorithm, ConfigError, JwksSource, printable};
use crate::deny::DenyReason;
use crate::status::IssuerStatus;
use crate::token::Token;

/// The background fetch never runs more often than this.
const SHORTEST_REFRESH: Duration = Duration::from_secs(1);

/// The key set of one issuer.
pub(crate) struct JwksStore {
    source: JwksSource,
    algorithms: Vec<Algorithm>,
    client: Client,
    copy: ArcSwapOption<Published>,
    gate: Gate,
    /// Whether the background task lives.
    refreshing: AtomicBool,
    /// Fetches that succeeded and that failed, and what was wrong with the last one.
    fetches: AtomicU64,
    failures: AtomicU64,
    last_error: ArcSwapOption<String>,
}

/// A set as it was fetched.
struct Published {
    keys: KeySet,
    skipped: Vec<String>,
    fetched: Instant,
}

impl JwksStore {
    pub(crate) fn new(source: &JwksSource, algorithms: &[Algorithm]) -> Result<Self, ConfigError> {
        Ok(Self {
            client: fetch::client(source)?,
            source: source.clone(),
            algorithms: algorithms.to_vec(),
            copy: ArcSwapOption::empty(),
            gate: Gate::default(),
            refreshing: AtomicBool::new(false),
            fetches: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            last_error: ArcSwapOption::empty(),
        })
    }

    /// Whether this store gives the answers that another configuration asks for, so that it can live on there.
    pub(crate) fn serves(&self, source: &JwksSource, algorithms: &[Algorithm]) -> bool {
        self.source == *source && self.algorithms == algorithms
    }

    /// Fills in what is known of the set.
    pub(crate) fn describe(&self, status: &mut IssuerStatus) {
        status.source = printable(&self.source.url);
        if let Some(copy) = self.copy.load_full() {
            status.keys = copy.keys.status();
            status.skipped.clone_from(&copy.skipped);
            status.age = Some(copy.fetched.elapsed());
        }
        status.fetches = self.fetches.load(Ordering::Relaxed);
        status.failures = self.failures.load(Ordering::Relaxed);
        status.last_error = self.last_error.load_full().map(|error| (*error).clone());
    }

    /// Waits for a missing key, no longer than `timeout`. Tells whether it waited.
    pub(crate) async fn prepare(self: &Arc<Self>, token: &Token<'_>, algorithm: Algorithm) -> Result<bool, DenyReason> {
        let cause = match self.copy_for_login() {
            None => Cause::Age,
            Some(copy) if copy.keys.has_key_for(token, algorithm) => return Ok(false),
            Some(_) => Cause::UnknownKid,
        };
        let running = self.ask(cause)?;
        self.wait(running).await;
        Ok(true)
    }

    /// Whether the issuer signed the token, as far as is known after [`prepare`](Self::prepare).
    pub(crate) fn verify(&self, token: &Token<'_>, algorithm: Algorithm) -> Result<Version, DenyReason> {
        let Some(copy) = self.usable_copy() else {
            return Err(DenyReason::KeysUnavailable);
        };
        match copy.keys.verify_by_name(token, algorithm) {
            Verdict::Signed => Ok(copy.keys.version()),
            Verdict::NoKey if self.gate.is_open() => Err(DenyReason::KeysUnavailable),
            Verdict::NoKey => {
                self.gate.answered_for_unknown_kids(Instant::now());
                Err(DenyReason::UnknownKid)
            }
            Verdict::Ambiguous => Err(DenyReason::AmbiguousKey),
            Verdict::WrongAlgorithm => Err(DenyReason::AlgorithmMismatch),
            Verdict::BadSignature => Err(DenyReason::BadSignature),
        }
    }

    /// The set that logins go by now. Asks the issuer in the background when the copy is getting old, so that logins
    /// that need no signature check keep the set as fresh as the others do.
    pub(crate) fn in_use(self: &Arc<Self>) -> Option<Version> {
        self.copy_for_login().map(|copy| copy.keys.version())
    }

    /// Fetches the set if there is none yet, so that the first login need not wait.
    pub(crate) async fn warm(self: &Arc<Self>) {
        if self.usable_copy().is_none()
            && let Ok(running) = self.ask(Cause::Age)
        {
            self.wait(running).await;
        }
    }

    fn copy_for_login(self: &Arc<Self>) -> Option<Arc<Published>> {
        let copy = self.usable_copy()?;
        if copy.fetched.elapsed() >= self.source.cache_ttl {
            let _in_the_background = self.ask(Cause::Age);
        }
        Some(copy)
    }

    fn usable_copy(&self) -> Option<Arc<Published>> {
        let limit = self.source.max_stale.max(self.source.cache_ttl);
        self.copy.load_full().filter(|copy| copy.fetched.elapsed() < limit)
    }

    async fn wait(&self, mut running: watch::Receiver<()>) {
        // An error is the normal end: the fetch drops its sender.
        let _ = tokio::time::timeout(self.source.timeout, running.changed()).await;
    }

    /// Joins the running fetch or starts one. If neither may be, says what that means for a login.
    fn ask(self: &Arc<Self>, cause: Cause) -> Result<watch::Receiver<()>, DenyReason> {
        let runtime = Handle::try_current().map_err(|_| DenyReason::KeysUnavailable)?;
        match self.gate.ask(cause, self.source.min_refresh_interval, Instant::now()) {
            Pass::Running(running) => Ok(running),
            Pass::Start(ended, running) => {
                let fetch = Fetch { store: Arc::clone(self), outcome: Outcome::Abandoned, _ended: ended };
                runtime.spawn(fetch.run());
                Ok(running)
            }
            Pass::Pausing => Err(DenyReason::KeysUnavailable),
            Pass::AskedAlready => Err(DenyReason::UnknownKid),
        }
    }

    fn accept(self: &Arc<Self>, set: ParsedSet) {
        let known = self.copy.load();
        for skipped in &set.skipped {
            if !known.as_ref().is_some_and(|copy| copy.skipped.contains(skipped)) {
                tracing::warn!(url = printable(&self.source.url), skipped, "a key of the issuer cannot be used");
            }
        }
        tracing::debug!(url = printable(&self.source.url), keys = set.keys.len(), "key set fetched");
        let keys = match known.as_ref() {
            Some(known) => set.keys.after(&known.keys),
            None => set.keys,
        };
        let copy = Published { keys, skipped: set.skipped, fetched: Instant::now() };
        self.copy.store(Some(Arc::new(copy)));
        self.keep_fresh();
    }

    /// Starts the task that fetches every `cache_ttl`, unless it lives already. It ends with the store, or with the
    /// runtime that it was started on; then the next fetch starts it again.
    fn keep_fresh(self: &Arc<Self>) {
        if self.refreshing.swap(true, Ordering::AcqRel) {
            return;
        }
        let living = Living(Arc::downgrade(self));
        tokio::spawn(async move {
            loop {
                let pause = match living.0.upgrade() {
                    Some(store) => store.until_refresh(),
                    None => return,
                };
                tokio::time::sleep(pause).await;
                let asked = match living.0.upgrade() {
                    Some(store) => store.ask(Cause::Age),
                    None => return,
                };
                if let Ok(mut running) = asked {
                    let _ = running.changed().await;
                }
            }
        });
    }

    fn until_refresh(&self) -> Duration {
        let age = self.copy.load().as_ref().map_or(Duration::MAX, |copy| copy.fetched.elapsed());
        let pause = self.gate.pause_left(Instant::now());
        self.source.cache_ttl.saturating_sub(age).max(pause).max(SHORTEST_REFRESH)
    }
}

/// Marks the background task as gone, however it goes.
struct Living(std::sync::Weak<JwksStore>);

impl Drop for Living {
    fn drop(&mut self) {
        if let Some(store) = self.0.upgrade() {
            store.refreshing.store(false, Ordering::Release);
        }
    }
}

/// One running fetch. Its end is recorded in `Drop`, so that a runtime that shuts down under it leaves no login waiting.
struct Fetch {
    store: Arc<JwksStore>,
    outcome: Outcome,
    /// Dropped last, after the gate is open again: waiters wake and find it so.
    _ended: watch::Sender<()>,
}

impl Fetch {
    async fn run(mut self) {
        let store = Arc::clone(&self.store);
        match fetch::fetch(&store.client, &store.source, &store.algorithms).await {
            Ok(set) => {
                store.accept(set);
                store.fetches.fetch_add(1, Ordering::Relaxed);
                store.last_error.store(None);
                self.outcome = Outcome::Fetched;
            }
            Err(error) => {
                let url = printable(&store.source.url);
                tracing::warn!(url, %error, "the issuer's keys could not be fetched");
                store.failures.fetch_add(1, Ordering::Relaxed);
                store.last_error.store(Some(Arc::new(error.to_string())));
                self.outcome = Outcome::Failed;
            }
        }
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.store.gate.end(self.outcome, Instant::now());
    }
}
