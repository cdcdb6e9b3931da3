//! The parameters that a client is told at login: from a server that is the client's already, or from the memory of one.

use std::sync::Arc;
use std::time::Duration;

use super::grant::Who;
use super::refused::Refused;
use super::role_settings::{self, Terms};
use super::welcome::refused;
use crate::app::state::Generation;
use crate::backend::checkout_error::CheckoutError;
use crate::backend::cluster::{Membership, NoServer};
use crate::backend::connection::Connection;
use crate::backend::greeting::{self, Greeting};
use crate::backend::identity::{IdentityError, Unconfirmed};
use crate::backend::role_settings::{Known, RoleSettings};
use crate::backend::server::Server;
use crate::backend::settings::Settings;

/// How long a login waits for a connection only to hear whether what is known of its role still holds.
const PATIENCE: Duration = Duration::from_millis(250);

/// What a client is told, and what it starts with.
pub(super) struct Parameters {
    pub(super) greeting: Greeting,
    /// Its own settings, and those of its role.
    pub(super) settings: Settings,
    /// What PostgreSQL warns of at a login, ready to send.
    pub(super) warnings: Vec<u8>,
}

impl Parameters {
    /// Of a connection that logged in with the settings.
    pub(super) fn of_server(connection: &Connection, settings: Settings) -> Self {
        Self { greeting: greeting::build(connection), settings, warnings: Vec::new() }
    }
}

/// The parameters of a server with the client's settings, over those of its role: remembered, or asked of a server now.
pub(super) async fn learn(
    pools: &Membership,
    own: &Settings,
    generation: &Generation,
    who: &Who,
    user: &str,
) -> Result<Parameters, Refused> {
    let terms = Terms::new(pools, generation, who);
    let (role, is_due) = match terms.as_ref().map(Terms::known) {
        None => (Some(Arc::default()), false),
        Some(Known::Fresh(role)) => (Some(role), false),
        Some(Known::Due(role)) => (Some(role), true),
        Some(Known::Nothing) => (None, false),
    };
    let client = Client { pools, own, terms };
    let outcome = match role.as_ref().and_then(|role| client.remembered(role)) {
        Some(parameters) if !is_due => return Ok(parameters),
        Some(parameters) => match Box::pin(client.ask(None, Some(PATIENCE))).await {
            Err(error) if !matches!(error, NoServer::Checkout(CheckoutError::Identity(_))) => return Ok(parameters),
            outcome => outcome,
        },
        None => Box::pin(client.ask(role.filter(|_| !is_due), None)).await,
    };
    outcome.map_err(|error| refused(&error, who, user))
}

/// A client that asks for settings.
struct Client<'a> {
    pools: &'a Membership,
    own: &'a Settings,
    terms: Option<Terms<'a>>,
}

impl Client<'_> {
    /// What others with the same settings were told.
    fn remembered(&self, role: &RoleSettings) -> Option<Parameters> {
        let pools = self.pools;
        // A read-only user is let in by a replica, not by the memory of one: it may have been promoted since (S10).
        // Nor by what other identities heard in its pools: PostgreSQL has to take each of them once (S2). Subjects that share
        // an account are one role to it.
        let identity = pools.identity();
        let is_one_of_many = identity.subject.is_some() && identity.variables.is_empty() && identity.proven.is_none();
        let is_stranger = pools.spec.shared && !is_one_of_many && !pools.identities.is_confirmed(identity);
        if pools.spec.read_only || is_stranger {
            return None;
        }
        let settings = self.settings(role);
        let greeting = pools.greetings.lock().get(&key(&settings))?;
        Some(self.parameters(greeting, settings, role))
    }

    /// Asks a server of any kind: the primary where there is one. `role` is what is known of it; without, that is asked
    /// too.
    async fn ask(&self, role: Option<Arc<RoleSettings>>, patience: Option<Duration>) -> Result<Parameters, NoServer> {
        let is_known = role.as_ref().is_some_and(|role| !role.settings.is_empty());
        match self.ask_once(role, patience).await {
            // What PostgreSQL took a while ago it may not take any more, nor take back from the connection that has it.
            Err(NoServer::Checkout(CheckoutError::Identity(IdentityError::Setting(fields))))
                if is_known || fields.code == "42501" =>
            {
                self.terms.as_ref().inspect(|terms| terms.forget());
                self.ask_once(None, patience).await
            }
            outcome => outcome,
        }
    }

    async fn ask_once(
        &self,
        role: Option<Arc<RoleSettings>>,
        patience: Option<Duration>,
    ) -> Result<Parameters, NoServer> {
        let pools = self.pools;
        let checkout = pools.check_out_any(&pools.wish);
        let server = match patience {
            None => checkout.await?,
            Some(limit) => match tokio::time::timeout(limit, checkout).await {
                Ok(server) => server?,
                Err(_) => return Err(NoServer::Checkout(CheckoutError::Timeout(limit))),
            },
        };
        let limit = server.slot.pool().spec.limits.connect_timeout;
        match tokio::time::timeout(limit, self.meet(server, role)).await {
            Ok(Ok((server, settings, role))) => {
                let greeting = greeting::build(server.connection());
                server.check_in();
                pools.identities.note_confirmed(pools.identity());
                pools.greetings.lock().put(key(&settings), greeting.clone());
                Ok(self.parameters(greeting, settings, &role))
            }
            Ok(Err(error)) => Err(NoServer::Checkout(error.into())),
            Err(_) => Err(NoServer::Checkout(CheckoutError::ConnectTimeout(limit))),
        }
    }

    /// Makes the server the client's, with all of its settings.
    async fn meet(
        &self,
        server: Box<Unconfirmed>,
        role: Option<Arc<RoleSettings>>,
    ) -> Result<(Server, Settings, Arc<RoleSettings>), IdentityError> {
        let identity = self.pools.identity();
        if let (None, Some(terms)) = (&role, &self.terms) {
            // What the role has is read in the gateway's own encoding.
            let mut plain = self.own.clone();
            plain.remove("client_encoding");
            let mut server = server.confirm(identity, &Arc::new(plain)).await?;
            let role = terms.ask(&mut server).await?;
            let settings = self.settings(&role);
            return Ok((server.confirm_again(identity, &Arc::new(settings.clone())).await?, settings, role));
        }
        let role = role.unwrap_or_default();
        let settings = self.settings(&role);
        Ok((server.confirm(identity, &Arc::new(settings.clone())).await?, settings, role))
    }

    fn settings(&self, role: &RoleSettings) -> Settings {
        self.terms.as_ref().map_or_else(|| self.own.clone(), |terms| terms.settings(self.own, role))
    }

    fn parameters(&self, greeting: Greeting, settings: Settings, role: &RoleSettings) -> Parameters {
        let mut warnings = Vec::new();
        role_settings::write_warnings(role, self.own, &mut warnings);
        Parameters { greeting, settings, warnings }
    }
}

/// PostgreSQL takes any `application_name`, so that needs no server.
fn key(settings: &Settings) -> Settings {
    let mut key = settings.clone();
    key.remove("application_name");
    key
}
