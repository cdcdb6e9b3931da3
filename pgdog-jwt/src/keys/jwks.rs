//! A published key set: when the copy we have is good enough, when to ask again, and who waits (S8).
//!
//! - A key that is known and not older than its time to live is used at once; nobody is asked.
//! - A known key in an older copy, up to `max_stale`, is also used at once, and the set is fetched in the background. So
//!   an issuer that is slow or down delays no login whose key is known. The price: a key that the issuer withdraws works
//!   until the next fetch succeeds. To keep that short, the set is fetched again before it is old even when nobody logs
//!   in, from the first fetch on ([`refresh`]).
//! - Only a login whose key is missing waits, and no longer than `timeout`. All such logins share one fetch, which is a
//!   task of its own: a client that gives up does not cancel it for the others.
//! - Fetches for an unknown `kid` are limited for each address and in all; a login waits for the next one that may be, within
//!   `timeout`. After a failure nobody asks until a pause has passed, so that forged tokens cannot turn us against the issuer.
//!
//! Logins read the copy without a lock; [`Gate`] decides who fetches.

mod refresh;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::ArcSwapOption;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use super::fetch::{Fetcher, Validator};
use super::gate::{Cause, Gate, Pass};
use super::lifetime::Lifetime;
use super::strangers::Source;
use super::{Candidate, KeySet, Verdict, Version};
use crate::authenticator::turn;
use crate::config::{Algorithm, Fault, JwksSource};
use crate::deny::DenyReason;
use crate::status::{IssuerStatus, KeyState};
use crate::token::Token;
use refresh::Fetch;

/// The key set of one issuer.
pub(crate) struct JwksStore {
    fetcher: Fetcher,
    copy: ArcSwapOption<Published>,
    gate: Gate,
    /// Rings when another copy is there.
    changed: Notify,
    /// Whether the background task lives.
    refreshing: AtomicBool,
    /// Fetches that succeeded, those of them that brought nothing new, and those that failed.
    fetches: AtomicU64,
    unchanged: AtomicU64,
    failures: AtomicU64,
    /// What was wrong with the last one.
    last_error: ArcSwapOption<String>,
}

/// What came of a wish for a fetch.
enum Asked {
    /// It runs.
    Running(watch::Receiver<()>),
    /// It may be made at this moment.
    Later(Instant),
}

/// A set as it was fetched.
struct Published {
    keys: Arc<KeySet>,
    skipped: Arc<[String]>,
    validator: Option<Validator>,
    lifetime: Lifetime,
}

/// Whether a key without a name has signed the token, in the turn of a signature check.
async fn has_signed(keys: &KeySet, token: &Token<'_>, algorithm: Algorithm) -> bool {
    let _turn = turn::take().await;
    keys.verify_by_name(token, algorithm) == Verdict::Signed
}

impl JwksStore {
    /// The set behind a URL, or behind the metadata of the issuer of that URL. Asks nobody yet.
    /// Of a store that asked in the same way before, the set is taken over: a reload does not need the issuer.
    pub(crate) fn new(
        source: &JwksSource,
        discovers: bool,
        algorithms: &[Algorithm],
        before: Option<&Self>,
    ) -> Result<Self, Fault> {
        Ok(Self {
            fetcher: Fetcher::new(source, discovers, algorithms, before.map(|before| &before.fetcher))?,
            copy: ArcSwapOption::new(before.and_then(|before| before.copy.load_full())),
            gate: Gate::default(),
            changed: Notify::new(),
            refreshing: AtomicBool::new(false),
            fetches: AtomicU64::new(0),
            unchanged: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            last_error: ArcSwapOption::empty(),
        })
    }

    /// Whether this store gives the answers that another configuration asks for, so that it can live on there.
    pub(crate) fn serves(&self, source: &JwksSource, discovers: bool, algorithms: &[Algorithm]) -> bool {
        self.fetcher.is_for(source, discovers, algorithms)
    }

    /// Whether this store has its set from where another configuration has it, by the same way.
    pub(crate) fn asks_as(&self, source: &JwksSource, discovers: bool, algorithms: &[Algorithm]) -> bool {
        self.fetcher.asks_as(source, discovers, algorithms)
    }

    /// Fills in what is known of the set.
    pub(crate) fn describe(&self, status: &mut IssuerStatus) {
        let now = Instant::now();
        status.state = KeyState::Missing;
        if let Some(copy) = self.copy.load_full() {
            status.state = match (copy.lifetime.is_stale(now), self.is_usable(&copy, now)) {
                (_, false) => KeyState::TooOld,
                (true, true) => KeyState::Stale,
                (false, true) => KeyState::Fresh,
            };
            status.keys = copy.keys.status();
            status.skipped = copy.skipped.to_vec();
            status.age = Some(copy.lifetime.age(now));
            status.ttl = Some(copy.lifetime.ttl());
            status.etag = copy.validator.as_ref().map(|validator| validator.etag().to_owned());
        }
        status.next_refresh = self.refreshing.load(Ordering::Relaxed).then(|| self.until_refresh());
        status.fetches = self.fetches.load(Ordering::Relaxed);
        status.unchanged = self.unchanged.load(Ordering::Relaxed);
        status.failures = self.failures.load(Ordering::Relaxed);
        status.last_error = self.last_error.load_full().map(|error| (*error).clone());
    }

    /// Waits for a missing key, no longer than `timeout`. Tells whether it waited.
    pub(crate) async fn prepare(
        self: &Arc<Self>,
        token: &Token<'_>,
        algorithm: Algorithm,
        source: Source,
    ) -> Result<bool, DenyReason> {
        let (mut has_waited, deadline) = (false, Instant::now() + self.source().timeout);
        let mut waiting = None;
        loop {
            let Some(cause) = self.missing(token, algorithm, source).await else { return Ok(has_waited) };
            // Before it is asked: a set that comes meanwhile is not overlooked.
            let changed = self.changed.notified();
            match self.ask(cause)? {
                Asked::Running(running) => {
                    Box::pin(self.wait(running)).await;
                    return Ok(true);
                }
                Asked::Later(moment) if moment > deadline => return Err(DenyReason::UnknownKid),
                Asked::Later(moment) => {
                    if waiting.is_none() {
                        waiting = Some(self.gate.wait(source).ok_or(DenyReason::UnknownKid)?);
                    }
                    has_waited = true;
                    let _ = Box::pin(tokio::time::timeout_at(moment.into(), changed)).await;
                }
            }
        }
    }

    /// Why the set must be fetched before the token can be verified; `None`: it need not.
    async fn missing(self: &Arc<Self>, token: &Token<'_>, algorithm: Algorithm, source: Source) -> Option<Cause> {
        match self.copy_for_login() {
            None => Some(Cause::Age),
            Some(copy) => match copy.keys.has_key_for(token, algorithm) {
                Candidate::Named => None,
                Candidate::Unnamed if has_signed(&copy.keys, token, algorithm).await => None,
                Candidate::Unnamed | Candidate::None => Some(Cause::UnknownKid(source)),
            },
        }
    }

    /// Whether the issuer signed the token, as far as is known after [`prepare`](Self::prepare).
    pub(crate) fn verify(&self, token: &Token<'_>, algorithm: Algorithm) -> Result<Version, DenyReason> {
        let Some(copy) = self.usable_copy() else {
            return Err(DenyReason::KeysUnavailable);
        };
        match copy.keys.verify_by_name(token, algorithm) {
            Verdict::NoKey if self.gate.is_open() => Err(DenyReason::KeysUnavailable),
            verdict => {
                if verdict == Verdict::NoKey {
                    self.gate.answered_for_unknown_kids(Instant::now());
                }
                verdict.of(&copy.keys)
            }
        }
    }

    /// The set that logins go by now. Asks the issuer in the background when the copy is getting old, so that logins
    /// that need no signature check keep the set as fresh as the others do.
    pub(crate) fn in_use(self: &Arc<Self>) -> Option<Version> {
        self.copy_for_login().map(|copy| copy.keys.version())
    }

    /// Fetches the set if nobody does so already, so that the first login need not wait and the set stays fresh.
    pub(crate) async fn warm(self: &Arc<Self>) {
        if !self.refreshing.load(Ordering::Acquire)
            && let Ok(Asked::Running(running)) = self.ask(Cause::Age)
        {
            self.wait(running).await;
        }
    }

    fn copy_for_login(self: &Arc<Self>) -> Option<Arc<Published>> {
        let copy = self.usable_copy()?;
        if copy.lifetime.is_stale(Instant::now()) {
            let _in_the_background = self.ask(Cause::Age);
        }
        Some(copy)
    }

    fn usable_copy(&self) -> Option<Arc<Published>> {
        self.copy.load_full().filter(|copy| self.is_usable(copy, Instant::now()))
    }

    fn is_usable(&self, copy: &Published, now: Instant) -> bool {
        copy.lifetime.is_usable(self.source().max_stale, now)
    }

    fn source(&self) -> &JwksSource {
        self.fetcher.source()
    }

    async fn wait(&self, mut running: watch::Receiver<()>) {
        // An error is the normal end: the fetch drops its sender.
        let _ = tokio::time::timeout(self.source().timeout, running.changed()).await;
    }

    /// Joins the running fetch or starts one. If neither may be, says what that means for a login.
    fn ask(self: &Arc<Self>, cause: Cause) -> Result<Asked, DenyReason> {
        let runtime = Handle::try_current().map_err(|_| DenyReason::KeysUnavailable)?;
        let now = Instant::now();
        match self.gate.ask(cause, self.source().min_refresh_interval, now) {
            Pass::Running(running) => Ok(Asked::Running(running)),
            Pass::Start(ended, running) => {
                runtime.spawn(Fetch::new(self, ended).run());
                Ok(Asked::Running(running))
            }
            Pass::Pausing => Err(DenyReason::KeysUnavailable),
            Pass::Later(wait) => Ok(Asked::Later(now + wait)),
        }
    }
}
