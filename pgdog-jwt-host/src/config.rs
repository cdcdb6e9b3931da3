//! The token settings of a host's configuration file, ready for use.

use std::sync::Arc;

use pgdog_jwt::config::{IdentityMode, Shared};
use pgdog_jwt::reader::{self, File, Guard, Host, HostSettings, OnExpiry, Report, Surroundings};
use pgdog_jwt::{AuthGrant, Authenticator, JwtConfig};
use pgdog_jwt_guard::{Account, Dialect, GuardMode, Policies, Policy, ReadWriteStrategy, Refusal, Reserved};

use crate::life;

/// How many texts, and how many templates, a thread remembers for one policy.
const REMEMBERED: usize = 1_000;

/// A PgDog that has this crate's barriers around its sessions.
///
/// What words of honoured keys mean nothing there: sessions are the subject's by role or by account alone, and there is no
/// renewal.
pub const PATCHED: Host = Host { name: "PgDog", honours: Some(HONOURED), refuses: REFUSED };

/// Those of the keys for hosts that are honoured with this crate. All others are an error.
const HONOURED: &[(&str, &str)] = &[
    ("[jwt]", "allow_plaintext"),
    ("[jwt]", "allow_privileged_roles"),
    ("[jwt]", "expiry_grace"),
    ("[jwt]", "guard"),
    ("[jwt]", "max_pools"),
    ("[jwt]", "max_statement_size"),
    ("[jwt]", "max_statement_words"),
    ("[jwt]", "on_expiry"),
    ("[jwt]", "password_auth_type"),
    ("[jwt]", "standard_guard_on_shared_roles"),
    ("[jwt.claims]", "pool_mode"),
    ("[jwt.claims]", "pool_modes"),
    ("[jwt.default_role_mapping]", "pool_size"),
    ("[jwt.default_role_mapping]", "pooler_mode"),
    ("[[jwt.role_mappings]]", "pool_size"),
    ("[[jwt.role_mappings]]", "pooler_mode"),
];

const REFUSED: &[(&str, &str)] =
    &[("mode", "login"), ("mode", "passthrough"), ("on_expiry", "refuse_new_transactions")];

/// What a client hears that names a prepared statement as its server does.
static RESERVED_NAME: Refusal = Refusal {
    sqlstate: "42501",
    message: "permission denied to use a prepared statement whose name begins with \"__pgdog_\"",
    hint: "These names are PgDog's own. Use the name that the statement was prepared under.",
};

/// PgDog's names of prepared statements, which lead to whatever anybody has prepared.
const DIALECT: Dialect =
    Dialect { reserved: Some(Reserved { prefix: "__pgdog_", refusal: &RESERVED_NAME }), ..Dialect::NONE };

/// What a file says of token users.
pub struct Config {
    /// Who comes in.
    pub authenticator: Arc<Authenticator>,
    /// What is to be enforced.
    pub host: HostSettings,
    core: JwtConfig,
    shared: Shared,
    generation: life::Generation,
    /// Of sessions that write or only read, with an account of their own or a shared one.
    policies: [[Arc<Policy>; 2]; 2],
}

impl Config {
    /// Reads the text of a configuration file for a host. `None`: it has no token users. `previous` is what was in use before, whose
    /// keys and revocations are kept. The second value is what the owner should know.
    ///
    /// # Errors
    /// Every problem, one a line, with file and line.
    pub fn read(
        host: Host,
        name: &str,
        text: &str,
        around: &Surroundings<'_>,
        previous: Option<&Self>,
    ) -> Result<(Option<Self>, Vec<String>), String> {
        let report = Report::of(host);
        let file = File::parse(name, text, &report);
        let reading = reader::read(file.as_ref(), around, report).map_err(|error| error.to_string())?;
        let warnings = reading.warnings.iter().map(ToString::to_string).collect();
        let Some(jwt) = reading.jwt else { return Ok((None, warnings)) };
        for mode in [IdentityMode::Login, IdentityMode::Passthrough] {
            if jwt.core.uses(mode) {
                let host = host.name;
                return Err(format!("{name}: {host} cannot log in as the subjects of tokens; use mode \"role\""));
            }
        }
        let protected: Vec<String> = jwt.core.variables.iter().map(|variable| variable.pattern()).collect();
        let mode = match jwt.host.guard {
            Guard::Strict => GuardMode::Strict,
            Guard::Standard => GuardMode::Standard,
        };
        let made = match previous {
            Some(previous) => previous.authenticator.reconfigured(jwt.core.clone()),
            None => Authenticator::new(jwt.core.clone()),
        };
        let authenticator = Arc::new(made.map_err(|error| format!("{name}: {error}"))?);
        let same = previous.filter(|previous| previous.core == jwt.core && previous.host == jwt.host);
        let generation = same.map(|same| same.generation.clone()).unwrap_or_default();
        let policies = [false, true].map(|read_only| {
            [Account::Own, Account::Shared].map(|account| {
                let policy = policy(mode, account, &protected, read_only);
                Arc::new(Policy { max_words: jwt.host.max_statement_words, ..policy })
            })
        });
        let accounts = around.servers.iter().filter_map(|server| server.account);
        let shared = Shared::of(&jwt.core, accounts);
        let config = Self { authenticator, host: jwt.host, core: jwt.core, shared, generation, policies };
        Ok((Some(config), warnings))
    }

    /// Whether a start-up user comes with a token: one with a password of its own does not, unless its name says so.
    pub fn is_token_user(&self, user: &str, has_password: bool) -> bool {
        self.core.has_suffix(user) || (self.core.takes_any_user() && !has_password)
    }

    /// Whether subjects that the configuration does not name only read.
    pub fn provisions_read_only(&self) -> bool {
        self.core.auto_provision_read_only
    }

    /// Whether sessions have settings that claims decide.
    pub fn has_variables(&self) -> bool {
        !self.core.variables.is_empty()
    }

    /// What its sessions have in common with those of a configuration that says the same of tokens.
    pub fn generation(&self) -> &life::Generation {
        &self.generation
    }

    /// What the guard looks for in a session.
    pub fn policy(&self, grant: &AuthGrant, read_only: bool) -> &Arc<Policy> {
        let [own, shared] = &self.policies[usize::from(read_only)];
        if self.shared.has(grant) { shared } else { own }
    }

    /// What becomes of sessions whose token expires.
    pub fn on_expiry(&self) -> life::OnExpiry {
        let life = &self.host.life;
        match life.on_expiry {
            OnExpiry::Ignore => life::OnExpiry::Ignore,
            OnExpiry::Disconnect | OnExpiry::RefuseNewTransactions => {
                life::OnExpiry::Disconnect { grace: life.expiry_grace }
            }
        }
    }
}

pub(crate) fn policy(guard: GuardMode, account: Account, protected: &[String], read_only: bool) -> Policy {
    let all = Policy {
        guard,
        identity: true,
        account,
        strategy: ReadWriteStrategy::Conservative,
        protected: protected.iter().collect(),
        cache_limit: REMEMBERED,
        max_words: usize::MAX,
        dialect: DIALECT,
    };
    Policies::new(all).base(read_only).clone()
}
