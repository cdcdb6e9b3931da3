//! What all tasks share: one configuration with everything built from it. A reload builds the next generation whole and
//! puts it in place in one step (S12).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::{Mutex, MutexGuard};
use pgdog_jwt::Authenticator;
use pgdog_jwt::config::Secret;
use pgdog_jwt_guard::{Account, GuardMode, Policies, Policy, ReadWriteStrategy};
use tokio::sync::Notify;

use super::Leave;
use crate::admin::{self, Waiting};
use crate::audit;
use crate::backend::registry::Registry;
use crate::cli::{Paths, logging};
use crate::config::{Config, ConfigError, Guard, Problem, Spot};
use crate::dialect::DIALECT;
use crate::frontend::passwords::Passwords;
use crate::frontend::person;
use crate::frontend::unauthenticated::Bounds;
use crate::net::options::TcpOptions;
use crate::net::tls::{self, ClientTls};
use crate::provisioning::Provisioner;
use crate::resolvers::cache::Cache;

/// Everything that one configuration means.
pub(crate) struct Generation {
    pub(crate) number: u64,
    pub(crate) config: Arc<Config>,
    pub(crate) registry: Registry,
    /// Present exactly when tokens are taken.
    pub(crate) authenticator: Option<Arc<Authenticator>>,
    /// Made again when a program prints another one.
    pub(crate) passwords: ArcSwap<Passwords>,
    /// Of clients that have not logged in.
    pub(crate) bounds: Bounds,
    /// Present when roles are made for subjects.
    pub(crate) provisioner: Option<Arc<Provisioner>>,
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    pub(crate) tcp: TcpOptions,
    /// What the guard keeps.
    pub(crate) policies: Policies,
    /// Results of resolvers. A reload forgets them.
    pub(crate) resolved: Cache,
    /// Whether sessions have to watch the clock at all.
    pub(crate) has_client_limits: bool,
    pub(crate) limits_requests: bool,
}

/// The process.
pub(crate) struct App {
    generation: ArcSwap<Generation>,
    /// What the process began with: some of it holds to its end.
    pub(crate) started: Arc<Config>,
    pub(crate) paths: Paths,
    /// One reload at a time.
    reloading: Mutex<()>,
    /// Sessions are asked to leave; new clients are not accepted.
    draining: AtomicBool,
    /// The administrator asked the process to end.
    pub(super) shutdown: Notify,
    leave: Mutex<Leave>,
}

/// Tokens are not accepted.
#[derive(Debug)]
pub(crate) struct NoTokens;

static NUMBERS: AtomicU64 = AtomicU64::new(1);

impl Generation {
    /// From a configuration that reads well, and the files that it names: for a start, a reload and `check` alike.
    ///
    /// # Errors
    /// Everything that keeps it from being used. The place is the file that is to blame.
    pub(crate) fn build(config: Config, previous: Option<&Self>) -> Result<Self, ConfigError> {
        let config = Arc::new(config);
        let general = &config.general;
        let mut problems = Vec::new();
        let tls = match (&general.tls_certificate, &general.tls_private_key) {
            (Some(certificate), Some(key)) => {
                tls::server_config(certificate, key, general.tls_client_ca_certificate.as_deref()).map(Some)
            }
            _ => Ok(None),
        };
        let tls = tls.unwrap_or_else(|error| {
            problems.push(error.into());
            None
        });
        let client_tls = Arc::new(ClientTls::from_config(general).unwrap_or_else(|error| {
            problems.push(error.into());
            ClientTls::disabled()
        }));
        let authenticator = config.jwt.as_ref().and_then(|jwt| {
            let core = jwt.core.clone();
            // Known keys stay known, so that a reload does not need the issuer.
            let built = match previous.and_then(|previous| previous.authenticator.as_ref()) {
                Some(authenticator) => authenticator.reconfigured(core),
                None => Authenticator::new(core),
            };
            built.map(Arc::new).map_err(|error| problems.extend(error.problems)).ok()
        });
        let known = previous.and_then(|previous| previous.provisioner.as_deref());
        let provisioner = Provisioner::new(&config, &client_tls, known);
        let tcp = TcpOptions::from(&config.tcp);
        // Of all options, the kernel only looks this one up.
        if let Some(name) = &tcp.congestion_control
            && let Err(error) = tcp.check()
        {
            let spot = Spot::whole(name.clone());
            problems.push(Problem { spot, reason: format!("the kernel refuses it: {error}") });
        }
        if !problems.is_empty() {
            return Err(ConfigError { problems });
        }
        let registry = Registry::build(config.clone(), &client_tls, previous.map(|previous| &previous.registry));
        Ok(Self {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            registry,
            authenticator,
            passwords: ArcSwap::from_pointee(Passwords::new(&config)),
            bounds: Bounds::of(&config),
            provisioner,
            tls,
            tcp,
            policies: Policies::new(policy(&config)),
            has_client_limits: general.client_idle_timeout != Duration::MAX
                || general.client_idle_in_transaction_timeout != Duration::MAX,
            resolved: Cache::default(),
            limits_requests: general.query_timeout != Duration::MAX
                || general.transaction_timeout != Duration::MAX
                || config.tenants.as_ref().is_some_and(|tenants| tenants.query_timeout != Duration::MAX),
            config,
        })
    }
}

/// Of a text that is read where there are no tokens: see `max_statement_words`.
const MAX_WORDS: usize = 100_000;

fn policy(config: &Config) -> Policy {
    Policy {
        guard: match config.jwt.as_ref().map(|jwt| jwt.guard) {
            Some(Guard::Standard) => GuardMode::Standard,
            _ => GuardMode::Strict,
        },
        identity: true,
        account: Account::Own,
        strategy: match config.general.read_write_strategy {
            crate::config::ReadWriteStrategy::Aggressive => ReadWriteStrategy::Aggressive,
            crate::config::ReadWriteStrategy::Conservative => ReadWriteStrategy::Conservative,
        },
        protected: protected(config).collect(),
        cache_limit: config.general.query_cache_limit,
        max_words: config.jwt.as_ref().map_or(MAX_WORDS, |jwt| jwt.max_statement_words),
        dialect: DIALECT,
    }
}

/// Names of settings that say who a session is.
fn protected(config: &Config) -> impl Iterator<Item = Box<str>> {
    let variables = config.jwt.iter().flat_map(|jwt| &jwt.core.variables);
    let proves = config.jwt.as_ref().is_some_and(|jwt| jwt.core.proves_claims);
    let proof = proves.then(|| Box::from(pgdog_jwt::proof::SETTING));
    let scoped = config.scope_variables().map(Into::into);
    let is_named = config.jwt.as_ref().is_some_and(|jwt| jwt.application_name.is_some());
    let name = is_named.then(|| Box::from(person::APPLICATION_NAME));
    variables.map(|variable| variable.pattern().into()).chain(proof).chain(scoped).chain(name)
}

impl App {
    pub(crate) fn new(generation: Generation, paths: Paths) -> Self {
        Self {
            started: generation.config.clone(),
            generation: ArcSwap::from_pointee(generation),
            paths,
            reloading: Mutex::default(),
            draining: AtomicBool::new(false),
            shutdown: Notify::new(),
            leave: Mutex::default(),
        }
    }

    /// Ends the process. Said again, it replaces what was said before.
    pub(crate) fn end(&self, leave: Leave) {
        *self.leave.lock() = leave;
        self.shutdown.notify_one();
    }

    /// When sessions leave, at the end.
    pub(super) fn leave(&self) -> Leave {
        *self.leave.lock()
    }

    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// The configuration that holds now.
    pub(crate) fn state(&self) -> Arc<Generation> {
        self.generation.load_full()
    }

    /// No reload begins or ends while this is held.
    pub(super) fn alone(&self) -> MutexGuard<'_, ()> {
        self.reloading.lock()
    }

    /// As [`alone`](Self::alone), if it can be had at once.
    pub(super) fn try_alone(&self) -> Option<MutexGuard<'_, ()>> {
        self.reloading.try_lock()
    }

    /// What the files say and only the next start will heed.
    fn waiting(&self, config: &Config) -> Vec<String> {
        let waits = |change: Waiting| {
            let or_none = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
            let (then, now) = (or_none(change.then), or_none(change.now));
            self.paths
                .placed_key(change.key, format!("{then} holds from the next start on, {now} until then"))
                .to_string()
        };
        admin::waiting(&self.started, config).into_iter().map(waits).collect()
    }

    /// Derives the passwords of clients again, some of which programs have printed anew.
    pub(super) fn renew_passwords(&self) {
        // A reload in this moment could have derived them from what was printed before.
        let _alone = self.alone();
        let state = self.state();
        let is_renewable = |secret: &Secret| secret.is_renewable();
        let users = &state.config.users;
        let mut secrets = users.iter().flat_map(|user| user.passwords.iter().chain(&user.password_hash));
        if state.config.admin.password.as_ref().is_some_and(is_renewable) || secrets.any(is_renewable) {
            state.passwords.store(Arc::new(Passwords::new(&state.config)));
        }
    }

    /// Reads the files again. On any error the old configuration stays as it is.
    pub(crate) fn reload(&self) -> Result<Vec<String>, String> {
        let _alone = self.alone();
        let loaded = self.paths.load().map_err(|error| error.to_string())?;
        let previous = self.state();
        let mut warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
        let next = self.paths.build(loaded.config, Some(&previous)).map_err(|error| error.to_string())?;
        audit::install(audit::prepare(&next.config.audit)?).map_err(|error| error.to_string())?;
        logging::change_level(&next.config.general);
        warnings.extend(self.waiting(&next.config));
        let next = Arc::new(next);
        self.generation.store(next.clone());
        next.registry.replace(&previous.registry);
        next.registry.sets().iter().for_each(|set| set.role_settings.forget());
        Ok(warnings)
    }
}
