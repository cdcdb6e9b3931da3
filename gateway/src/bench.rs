//! A way in for `benches/` and `tests/`, which measure what the gateway alone may call. Nothing of it is for other programs,
//! and nothing of the gateway uses it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use pgdog_jwt::{AuthContext, AuthDecision, Credential};
use pgdog_jwt_guard::{Access, Classifier, PgQuery, Verdict};
use tokio::net::UnixStream;

use crate::app::state::{App, Generation};
use crate::backend::cluster::Membership;
use crate::backend::server::Server;
use crate::backend::settings;
use crate::cli::Paths;
use crate::config::{Config, Text};
use crate::frontend::grant::Who;
use crate::frontend::{login, unauthenticated};

pub use crate::frontend::session::bench::{Conversation, Replies};

/// Why something cannot be measured, for people.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A gateway that listens nowhere. It lasts as long as the process.
#[derive(Clone, Copy)]
pub struct Gateway {
    pub(crate) app: &'static App,
}

impl Gateway {
    /// A gateway with the configuration in the texts of both files.
    ///
    /// # Errors
    /// Whatever is wrong with the configuration.
    pub fn new(pgdog: &str, users: &str) -> Result<Self, Failure> {
        let pgdog = Text { name: "pgdog.toml", text: pgdog };
        let users = Text { name: "users.toml", text: users };
        let loaded = Config::from_texts(pgdog, users, &|_| None).map_err(|error| error.to_string())?;
        let generation = Generation::build(loaded.config, None)?;
        let paths = Paths { config: PathBuf::new(), users: PathBuf::new(), users_required: false };
        Ok(Self { app: Box::leak(Box::new(App::new(generation, paths))) })
    }

    /// Serves a client from its first byte to its last.
    pub async fn serve(self, socket: UnixStream) {
        let place = unauthenticated::enter(&self.app.state().bounds, None, 0);
        if let Ok(place) = place
            && let Some(session) = login::let_in(self.app, socket.into(), None, place).await
        {
            session.run().await;
        }
    }

    /// The subject of a token.
    ///
    /// # Errors
    /// The token is refused.
    pub async fn identify(self, user: &str, database: &str, token: &str) -> Result<Subject, Failure> {
        let generation = self.app.state();
        let context = AuthContext {
            user,
            database,
            credential: Credential::new(token.as_bytes()),
            client_addr: None,
            tls: true,
            tls_identity: None,
        };
        match generation.authenticator.as_ref().ok_or("no tokens are taken")?.authenticate(context).await {
            AuthDecision::Allow(grant) => Ok(Subject { who: Who::Token(grant.into()), database: database.to_owned() }),
            AuthDecision::Deny(reason) => Err(reason.to_string().into()),
            AuthDecision::Skip => Err("it is no token".into()),
        }
    }

    /// The pools of a subject, found or made.
    ///
    /// # Errors
    /// The configuration has none for it.
    pub fn pools(self, subject: &Subject) -> Result<Pools, Failure> {
        let membership = subject.who.pools(&self.app.state().registry, &subject.database)?;
        Ok(Pools { membership, settings: Arc::default() })
    }
}

/// Who a token says that a client is, and the database that it opens.
pub struct Subject {
    pub(crate) who: Who,
    database: String,
}

/// A subject's hold on its pools.
pub struct Pools {
    pub(crate) membership: Membership,
    settings: Arc<settings::Settings>,
}

impl Pools {
    /// A free server that is the subject already, without waiting.
    pub fn try_check_out(&self) -> Option<CheckedOut> {
        let server = self.membership.try_check_out(Access::Write.into(), &self.membership.wish, Instant::now())?;
        server.confirm_now(self.membership.identity(), &self.settings).ok().map(CheckedOut)
    }

    /// A server that becomes the subject, and is made where none is free.
    ///
    /// # Errors
    /// None can be had, or the identity is refused.
    pub async fn check_out(&self) -> Result<CheckedOut, Failure> {
        let server = self.membership.check_out(Access::Write.into(), &self.membership.wish).await?;
        Ok(CheckedOut(server.confirm(self.membership.identity(), &self.settings).await?))
    }
}

/// A server that a subject holds.
pub struct CheckedOut(Server);

impl CheckedOut {
    /// Gives it back.
    pub fn check_in(self) {
        self.0.check_in();
    }
}

/// Classes of statements, as one worker remembers them for guarded sessions.
pub struct Statements(Classifier);

impl Statements {
    /// Knows no text yet.
    pub fn new(gateway: Gateway) -> Self {
        Self(Classifier::new(gateway.app.state().policies.base(false).clone(), &PgQuery))
    }

    /// Whether the guard lets a statement pass.
    pub fn allow(&mut self, text: &[u8]) -> bool {
        self.0.classify(text).verdict == Verdict::Allow
    }
}

/// Settings of a session, or those that a server has.
#[derive(PartialEq, Eq)]
pub struct Settings(settings::Settings);

impl<'a> FromIterator<(&'a str, &'a str)> for Settings {
    fn from_iter<T: IntoIterator<Item = (&'a str, &'a str)>>(pairs: T) -> Self {
        let mut settings = settings::Settings::default();
        pairs.into_iter().for_each(|(name, value)| settings.set(name, value));
        Self(settings)
    }
}

impl Settings {
    /// Makes the SQL that makes `wanted` of these, and says how long its texts are together, in bytes.
    pub fn difference(&self, wanted: &Self) -> usize {
        self.0.difference(&wanted.0).iter().map(|sql| sql.text().len()).sum()
    }
}
