//! Asking an issuer about tokens that only it can read (RFC 7662).
//!
//! - A token is shown to one issuer, its own, over a connection that is private, and by a client that the issuer knows.
//! - One request for one token, however many logins wait; a few for all tokens together, and at once a refusal beyond
//!   them; no wait longer than `timeout`; a pause when the issuer does not answer (S8, S9).
//! - What it said counts for a while that is short, since a revocation must count as well: [`memory`] has it. Nothing that
//!   is older counts, not even while the issuer is down.
//!
//! [`client_auth`] proves who asks, [`answer`] reads what is said, [`pause`] knows when not to ask.

mod answer;
mod client_auth;
mod memory;
mod pause;
mod request;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use reqwest::Client;
use tokio::sync::Semaphore;

use crate::claims::{self, Claims};
use crate::config::{Fault, IntrospectionSource, Issuer, printable};
use crate::decision::Credential;
use crate::deny::DenyReason;
use crate::http::{self, Route};
use crate::status::IntrospectionStatus;
use client_auth::Prover;
use memory::{Fingerprint, Flights, Memory};
use pause::Pause;
use request::{Problem, request};

/// By how much a wait may be longer than a request, so that a request that took too long is written down as such.
const GRACE: Duration = Duration::from_millis(100);
/// How long a failure counts for the token that it was about.
const FAILURE_TTL: Duration = Duration::from_secs(2);
/// Shortest time that an active token is remembered, so that nobody can have the issuer asked at will.
const LEAST_TTL: Duration = Duration::from_secs(1);

/// What an issuer was asked and how it went.
#[derive(Clone)]
enum Outcome {
    Active(Arc<Claims>),
    Inactive,
    /// No answer, and why.
    Failed(Arc<str>),
    /// Nobody was asked, and why: never remembered.
    NotAsked(&'static str),
}

impl Outcome {
    fn verdict(self) -> Result<Arc<Claims>, DenyReason> {
        match self {
            Self::Active(claims) => Ok(claims),
            Self::Inactive => Err(DenyReason::TokenInactive),
            Self::Failed(reason) => Err(DenyReason::IntrospectionUnavailable(reason.as_ref().to_owned())),
            Self::NotAsked(reason) => Err(DenyReason::IntrospectionUnavailable(reason.to_owned())),
        }
    }
}

/// The endpoint of one issuer.
pub(crate) struct Introspection {
    source: IntrospectionSource,
    /// What the issuer is called.
    issuer: Option<String>,
    prover: Prover,
    client: Client,
    /// Outlives a change of files.
    state: Arc<State>,
}

struct State {
    memory: Memory,
    flights: Flights,
    permits: Semaphore,
    pause: Pause,
    requests: AtomicU64,
    failures: AtomicU64,
    last_error: ArcSwapOption<String>,
}

/// The endpoint of an issuer, if it has one. Key files are read again; where nothing else has changed, what is remembered
/// stays.
pub(crate) fn open(issuer: &Issuer, known: &[Option<Introspection>]) -> Result<Option<Introspection>, Fault> {
    let Some(source) = &issuer.introspection else { return Ok(None) };
    let prover = Prover::open(source)?;
    let same = known.iter().flatten().find(|known| known.source == *source && known.issuer == issuer.issuer);
    let state = match same {
        Some(known) => known.state.clone(),
        None => Arc::new(State {
            memory: Memory::new(source)?,
            flights: Flights::default(),
            permits: Semaphore::new(source.max_requests),
            pause: Pause::default(),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            last_error: ArcSwapOption::empty(),
        }),
    };
    let client = client(source)?;
    Ok(Some(Introspection { source: source.clone(), issuer: issuer.issuer.clone(), prover, client, state }))
}

fn client(source: &IntrospectionSource) -> Result<Client, Fault> {
    let read = |path: &PathBuf| {
        let problem = |error| Fault::KeyFile { path: path.clone(), problem: format!("cannot be read: {error}") };
        std::fs::read(path).map_err(problem)
    };
    let authorities = source.ca_file.as_ref().map(read).transpose()?;
    http::client_by(&Route {
        https: !http::is_clear_text(&source.url),
        https_only: !http::is_clear_text(&source.url),
        connect_timeout: source.connect_timeout,
        timeout: source.timeout,
        proxy: &source.proxy,
        authorities: authorities.as_deref(),
    })
}

impl Introspection {
    /// Whether the issuer's JWTs are asked about as well.
    pub(crate) fn is_for_jwts(&self) -> bool {
        self.source.introspect_jwts
    }

    /// What the issuer says of an active token. Waits for it no longer than `timeout`.
    pub(crate) async fn ask(&self, token: Credential<'_>) -> Result<Arc<Claims>, DenyReason> {
        let unavailable = |reason: &str| DenyReason::IntrospectionUnavailable(reason.to_owned());
        let State { memory, flights, .. } = &*self.state;
        let place = memory.fingerprint(token).ok_or_else(|| unavailable("no keyed hash"))?;
        if let Some(known) = memory.find(&place) {
            return known.verdict();
        }
        let flight = flights.join(place);
        let outcome = flight.outcome.get_or_init(|| self.find_out(place, token));
        // Whoever asks first may give up, and then the next one begins anew.
        match tokio::time::timeout(self.source.timeout.saturating_add(GRACE), outcome).await {
            Ok(outcome) => outcome.clone().verdict(),
            Err(_) => Err(unavailable("the issuer did not answer in time")),
        }
    }

    async fn find_out(&self, place: Fingerprint, token: Credential<'_>) -> Outcome {
        let state = &*self.state;
        // The last flight may have ended between the look into the memory and this one.
        if let Some(known) = state.memory.find(&place) {
            return known;
        }
        if state.pause.is_on(Instant::now()) {
            return Outcome::NotAsked("the issuer has not answered of late and is left alone for a moment");
        }
        let Ok(_permit) = state.permits.try_acquire() else {
            return Outcome::NotAsked("too many requests to the issuer are on their way");
        };
        state.requests.fetch_add(1, Ordering::Relaxed);
        let answer = request(&self.client, &self.source, &self.prover, token).await;
        let now = SystemTime::now();
        let (outcome, how_long) = match answer {
            Ok(Some(said)) => {
                let claims = answer::complete(said, self.issuer.as_deref(), self.source.max_age, now);
                let how_long = self.source.cache_ttl.min(left(&claims, now)).max(LEAST_TTL);
                (Outcome::Active(Arc::new(claims)), how_long)
            }
            Ok(None) => (Outcome::Inactive, self.source.negative_ttl),
            Err(problem) => (self.failed(&problem), FAILURE_TTL),
        };
        if !matches!(outcome, Outcome::Failed(_)) {
            state.pause.end();
            state.last_error.store(None);
        }
        state.memory.keep(place, &outcome, how_long);
        outcome
    }

    fn failed(&self, problem: &Problem) -> Outcome {
        let reason = problem.to_string();
        tracing::warn!(url = printable(&self.source.url), reason, "the issuer did not say whether a token is active");
        self.state.failures.fetch_add(1, Ordering::Relaxed);
        self.state.last_error.store(Some(Arc::new(reason.clone())));
        match problem.is_of_the_token() {
            true => self.state.pause.end(),
            false => self.state.pause.count_failure(Instant::now()),
        }
        Outcome::Failed(reason.into())
    }

    /// How it does.
    pub(crate) fn status(&self) -> IntrospectionStatus {
        let state = &*self.state;
        let (active, inactive) = state.memory.sizes();
        IntrospectionStatus {
            issuer: self.issuer.clone(),
            url: printable(&self.source.url),
            client_auth: self.source.client_auth.name(),
            active,
            inactive,
            running: self.source.max_requests.saturating_sub(state.permits.available_permits()),
            requests: state.requests.load(Ordering::Relaxed),
            failures: state.failures.load(Ordering::Relaxed),
            is_paused: state.pause.is_on(Instant::now()),
            last_error: state.last_error.load().as_deref().cloned(),
        }
    }
}

/// How long the claims are good for.
fn left(claims: &Claims, now: SystemTime) -> Duration {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    claims::date(claims, "exp").ok().flatten().map_or(Duration::MAX, |end| end.saturating_sub(now))
}
