//! A login's decision, and the configuration that it goes by.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use pgdog_jwt::{AuthContext as Question, AuthDecision as Answer, AuthGrant as Grant, Authenticator, Credential};
use pgdog_jwt_host::admission::{Inadmissible, admit};
use pgdog_jwt_host::audit::{self, Attempt};
use tracing::{error, info, warn};

use crate::config::{self, Settings};
use crate::hook::{AuthContext, AuthDecision, AuthGrant};
use crate::runtime::{NoAnswer, Threads};
use crate::stamp::Stamps;

/// How long a login may take: an issuer that does not answer holds no thread of PgDog's for longer.
const DEADLINE: Duration = Duration::from_secs(20);
/// How often a login looks whether the files have changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Longest name of a user or database (bytes). PostgreSQL's own have 63; PgDog's databases may have longer ones.
const MAX_NAME: usize = 1024;

/// What PgDog loads. One for the process.
#[derive(Default)]
pub struct Plugin {
    /// `None` until a configuration was read: then nobody comes in.
    current: ArcSwapOption<State>,
    watch: Mutex<Option<Watch>>,
    threads: Threads,
}

/// A configuration in use.
struct State {
    /// `None`: nobody comes with a token.
    settings: Option<Settings>,
}

/// The files that it was read from.
struct Watch {
    path: PathBuf,
    stamps: Stamps,
    looked: Instant,
}

/// Why a login is refused.
struct Refusal {
    reason: &'static str,
    detail: Option<String>,
    grant: Option<Box<Grant>>,
}

impl Refusal {
    fn new(reason: &'static str) -> Self {
        Self { reason, detail: None, grant: None }
    }
}

impl Plugin {
    /// Reads the configuration, at the start or again. What is wrong with it is in the log; `false`: there was something, and what
    /// was in use before stays so.
    pub fn configure(&self, path: &Path) -> bool {
        let mut watch = self.watch.lock();
        self.read(path, &mut watch)
    }

    /// Decides a login. Blocks, for [`DEADLINE`] at most.
    pub fn authenticate(&self, context: &AuthContext<'_>) -> AuthDecision {
        let started = Instant::now();
        self.look();
        let Some(state) = self.current.load_full() else {
            warn!(event = "login", decision = "refused", reason = "not_configured", "login");
            return AuthDecision::deny("not_configured");
        };
        let Some(settings) = &state.settings else { return AuthDecision::Skip };
        let client = context.client_addr.and_then(address);
        if context.user.len() > MAX_NAME || context.database.len() > MAX_NAME {
            // Not for the log either.
            warn!(event = "login", decision = "refused", reason = "name_too_long", "login");
            return AuthDecision::deny("name_too_long");
        }
        let has_password =
            settings.users.named(context.user, context.database).is_some_and(|own| own.entry.has_password);
        if !settings.config.is_token_user(context.user, has_password) {
            return AuthDecision::Skip;
        }
        let (user, database, tls) = (context.user, context.database, context.tls);
        let attempt = || Attempt { user, database, client, tls, took: started.elapsed() };
        match self.decide(settings, context, client) {
            Ok((grant, allowed)) => {
                audit::accepted(&attempt(), &grant, allowed.derived_user.as_deref().unwrap_or_default());
                AuthDecision::Allow(allowed)
            }
            Err(Refusal { reason, detail, grant }) => {
                audit::refused(&attempt(), reason, detail.as_deref(), grant.as_deref());
                AuthDecision::deny(reason)
            }
        }
    }

    fn decide(
        &self,
        settings: &Settings,
        context: &AuthContext<'_>,
        client: Option<SocketAddr>,
    ) -> Result<(Box<Grant>, AuthGrant), Refusal> {
        let config = &settings.config;
        let is_local = client.is_some_and(|client| client.ip().is_loopback());
        if !context.tls && !is_local && !config.host.allow_plaintext {
            return Err(Refusal::new("plaintext"));
        }
        // Nothing of it is copied before that.
        if context.credential.len() > config.host.max_password_size {
            return Err(Refusal::new("token_too_large"));
        }
        let login = Login::of(context, client);
        let authenticator = config.authenticator.clone();
        let answer = self.threads.answer(DEADLINE, async move { login.ask(&authenticator).await });
        let grant = match answer {
            Ok(Answer::Allow(grant)) => grant,
            Ok(Answer::Deny(reason)) => {
                return Err(Refusal { detail: Some(reason.to_string()), ..Refusal::new(reason.code()) });
            }
            Ok(Answer::Skip) => return Err(Refusal::new("not_a_token_user")),
            Err(NoAnswer::TimedOut) => return Err(Refusal::new("timed_out")),
            Err(NoAnswer::Failed) => return Err(Refusal::new("internal_error")),
        };
        match granted(settings, &grant, context.database) {
            Ok(allowed) => Ok((grant, allowed)),
            Err(refusal) => Err(Refusal { grant: Some(grant), ..refusal }),
        }
    }

    /// Reads the files again when they have changed. One thread looks; the others go by what there is.
    fn look(&self) {
        let Some(mut watch) = self.watch.try_lock() else { return };
        let Some(known) = &mut *watch else { return };
        if known.looked.elapsed() < LOOK_EVERY {
            return;
        }
        known.looked = Instant::now();
        if known.stamps == known.stamps.again() {
            return;
        }
        let path = known.path.clone();
        self.read(&path, &mut watch);
    }

    fn read(&self, path: &Path, watch: &mut Option<Watch>) -> bool {
        if let Err(problem) = self.threads.start() {
            error!(event = "configuration", decision = "refused", detail = %problem, "threads cannot be started");
            return false;
        }
        let previous = self.current.load_full();
        let previous = previous.as_ref().and_then(|state| state.settings.as_ref());
        let (stamps, read) = config::read(path, previous);
        *watch = Some(Watch { path: path.to_owned(), stamps, looked: Instant::now() });
        let read = match read {
            Ok(read) => read,
            Err(problems) => {
                for problem in problems.lines() {
                    error!(event = "configuration", decision = "refused", detail = problem, "configuration");
                }
                return false;
            }
        };
        for warning in &read.warnings {
            warn!(event = "configuration", detail = warning, "configuration");
        }
        info!(event = "configuration", decision = "accepted", file = %path.display(), "configuration");
        self.current.store(Some(Arc::new(State { settings: read.settings })));
        true
    }
}

/// A login of its own, for a thread that outlives the call.
struct Login {
    user: String,
    database: String,
    credential: Vec<u8>,
    client_addr: Option<IpAddr>,
    tls: bool,
    tls_identity: Option<String>,
}

impl Login {
    fn of(context: &AuthContext<'_>, client: Option<SocketAddr>) -> Self {
        Self {
            user: context.user.to_owned(),
            database: context.database.to_owned(),
            credential: context.credential.as_bytes().to_vec(),
            client_addr: client.map(|client| client.ip()),
            tls: context.tls,
            tls_identity: context.tls_identity.map(str::to_owned),
        }
    }

    async fn ask(&self, authenticator: &Authenticator) -> Answer {
        let question = Question {
            user: &self.user,
            database: &self.database,
            credential: Credential::new(&self.credential),
            client_addr: self.client_addr,
            tls: self.tls,
            tls_identity: self.tls_identity.as_deref(),
        };
        authenticator.authenticate(question).await
    }
}

/// What the hook can say of a grant. The pool's name stands for all of it: PgDog keeps one pool for a derived user, and two
/// identities may not meet in it.
fn granted(settings: &Settings, grant: &Grant, database: &str) -> Result<AuthGrant, Refusal> {
    let named = settings.users.named(&grant.user, database);
    let entry = named.as_ref().map(|named| &named.entry);
    // Whether there is a replica, and whether the database only reads, is PgDog's to know.
    let admission = admit(&settings.config, grant, entry, false, true);
    let admission =
        admission.map_err(|why: Inadmissible| Refusal { detail: Some(why.to_string()), ..Refusal::new("no_pool") })?;
    let derived_user = admission.pools.first().cloned().ok_or_else(|| Refusal::new("no_pool"))?;
    let own_role = named.as_ref().and_then(|named| named.server_role.as_deref());
    let is_own_name = derived_user == grant.user;
    if is_own_name && own_role.is_some_and(|own| Some(own) != grant.server_role.as_deref()) {
        return Err(Refusal::new("server_role_of_entry"));
    }
    Ok(AuthGrant {
        server_role: grant.server_role.clone(),
        server_user: Some(admission.login),
        server_password: admission.password.map(|password| password.expose().to_owned()),
        read_only: admission.identity.is_read_only().then_some(true),
        provision: grant.provision || !is_own_name,
        derived_user: Some(derived_user),
    })
}

/// An address, with or without a port.
fn address(text: &str) -> Option<SocketAddr> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 0)))
}
