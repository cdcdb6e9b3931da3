//! A login, from the first byte to "ready for query": handshake, method, credential, decision, pool, greeting.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use pgdog_jwt::{AuthContext, AuthDecision, Credential};
use tokio::io::AsyncWriteExt;
use tracing::{debug, info};

use super::admin_login;
use super::audit::Attempt;
use super::certificate;
use super::grant::Who;
use super::handshake::{self, HandshakeError, HandshakeOptions};
use super::limits;
use super::methods::{self, Candidates, Method, MethodError, Verdict};
use super::negotiate::negotiate;
use super::parameters::{self, Parameters};
use super::provision;
use super::replication::{self, Kind, Replication};
use super::session::{self, Session};
use super::sessions;
use super::startup_settings::{self, BadParameter};
use super::tenant::{self, Name};
use super::welcome;
use crate::admin::{self, Console};
use crate::app::state::{App, Generation};
use crate::backend::cluster::Membership;
use crate::backend::dedicated::Dedicated;
use crate::config::{AuthType, Config, Jwt, User};
use crate::net::read::read_message;
use crate::net::stream::Stream;
use crate::stats::events;
use crate::wire::startup::Startup;
use crate::wire::{PgError, Severity, message};

/// Why a login ended. The client hears `error`, the audit log `reason`.
pub(super) struct Refused {
    pub(super) reason: &'static str,
    pub(super) detail: Option<String>,
    pub(super) error: Option<PgError>,
}

impl Refused {
    pub(super) fn new(reason: &'static str, error: PgError) -> Self {
        Self { reason, detail: None, error: Some(error.with_severity(Severity::Fatal)) }
    }

    pub(super) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Every refused credential looks the same to the client (S6): `code` says which kind was asked for, no more.
    pub(super) fn credential(reason: &'static str, code: &'static str, user: &str) -> Self {
        Self::new(reason, PgError::fatal(code, format!("authentication failed for user \"{user}\"")))
    }

    /// As for a refused credential: a token whose identity cannot be had.
    pub(super) fn identity(reason: &'static str, user: &str) -> Self {
        Self::credential(reason, "28000", user)
    }
}

/// Serves one client, from its first byte to its last.
pub(crate) async fn serve(app: &'static App, socket: Stream) {
    let generation = app.state();
    let limit = generation.config.general.client_login_timeout;
    let client = socket.peer();
    // Boxed: a login needs much more room than the session that follows, and sessions are many.
    let login = Box::pin(log_in(app, socket, generation));
    match tokio::time::timeout(limit, login).await {
        Ok(Some(Ready::Session { session, greeting })) => session.run(greeting).await,
        Ok(Some(Ready::Replication { session, greeting })) => Box::pin(session.run(greeting)).await,
        // Boxed: it needs more room than a session, and administrators are few.
        Ok(Some(Ready::Admin { console, greeting })) => Box::pin(console.run(greeting)).await,
        Ok(None) => {}
        Err(_) => Attempt::new(Instant::now() - limit.min(std::time::Duration::from_secs(3600)), client).refused(
            "login_timeout",
            None,
            None,
        ),
    }
}

/// A client that is in, and what it still has to be told.
enum Ready {
    Session { session: Box<Session>, greeting: Vec<u8> },
    Replication { session: Box<Replication>, greeting: Vec<u8> },
    Admin { console: Box<Console>, greeting: Vec<u8> },
}

async fn log_in(app: &'static App, socket: Stream, generation: Arc<Generation>) -> Option<Ready> {
    let config = &generation.config;
    let mut attempt = Attempt::new(Instant::now(), socket.peer());
    let options = HandshakeOptions { tls: generation.tls.clone(), tls_required: config.general.tls_client_required };
    let (mut stream, startup) = match handshake::handshake(socket, &options).await {
        Ok(handshake::Opening::Startup { stream, startup }) => (stream, startup),
        Ok(handshake::Opening::Cancel { process, key }) => {
            let found = sessions::cancel(process, &key);
            debug!(client = attempt.client(), found, "cancel request");
            return None;
        }
        Err(HandshakeError::Closed) => {
            debug!(client = attempt.client(), "closed before the first byte");
            return None;
        }
        Err(error) => {
            attempt.refused("handshake", Some(&error.to_string()), None);
            return None;
        }
    };
    let typed = startup.get("user").unwrap_or_default().to_owned();
    let name = tenant::split(config, &typed);
    let user = name.user.to_owned();
    let kind = Kind::asked(&startup);
    let database = startup.get("database").filter(|name| !name.is_empty()).unwrap_or(&user);
    let database = replication::database(kind.as_ref().ok().copied().flatten(), config, &user, database).to_owned();
    attempt.identify(stream.is_tls(), certificate::identity(&stream), &typed, &database);
    let is_admin = admin::is_meant(config, &database);
    let kind = match kind {
        Ok(Some(_)) if is_admin => Err(PgError::fatal("0A000", "the admin database has nothing to replicate")),
        other => other,
    };
    let kind = match kind {
        Ok(kind) => kind,
        Err(error) => {
            turn_away(&mut stream, &attempt, Refused::new("replication", error), None).await;
            return None;
        }
    };
    if is_admin {
        return match admin_login::admit(&mut stream, &startup, &typed, &generation, attempt.address()).await {
            Ok((registration, greeting)) => {
                events::login(None);
                attempt.accepted(None, None, None);
                let console = Box::new(Console::new(app, stream, registration));
                Some(Ready::Admin { console, greeting })
            }
            Err(refused) => {
                turn_away(&mut stream, &attempt, refused, None).await;
                None
            }
        };
    }
    match admit(&mut stream, &startup, kind, name, &database, &generation, attempt.address()).await {
        Ok(admitted) => {
            events::login(None);
            if config.general.log_connections || admitted.who.grant().is_some() {
                let role = admitted.pools.identity().subject();
                attempt.accepted(admitted.who.grant(), role, admitted.who.tenant());
            }
            let Admitted { who, pools, settings, attached, told, registration, greeting, dedicated } = admitted;
            let opening =
                session::Opening { client: stream, who, pools, settings, attached, told, registration, generation };
            Some(match dedicated {
                None => Ready::Session { session: Box::new(Session::new(app, opening)), greeting },
                Some(server) => {
                    Ready::Replication { session: Box::new(Replication::new(app, opening, server)), greeting }
                }
            })
        }
        Err((refused, who)) => {
            turn_away(&mut stream, &attempt, refused, who.as_ref().and_then(|who| who.grant())).await;
            None
        }
    }
}

/// Notes a refused login and tells the client.
async fn turn_away(stream: &mut Stream, attempt: &Attempt, refused: Refused, grant: Option<&pgdog_jwt::AuthGrant>) {
    if refused.reason == "left" {
        // psql asks whether a password is needed by trying without one.
        debug!(client = attempt.client(), "left when asked for its password");
    } else {
        attempt.refused(refused.reason, refused.detail.as_deref(), grant);
    }
    if let Some(error) = refused.error {
        let mut out = Vec::new();
        error.write(&mut out);
        let _ = stream.write_all(&out).await;
        let _ = stream.shutdown().await;
    }
}

struct Admitted {
    who: Who,
    pools: Membership,
    settings: Arc<crate::backend::settings::Settings>,
    attached: crate::backend::settings::Settings,
    told: Arc<[u8]>,
    registration: sessions::Registration,
    greeting: Vec<u8>,
    /// Of a replication connection.
    dedicated: Option<Dedicated>,
}

async fn admit(
    stream: &mut Stream,
    startup: &Startup,
    replication: Option<Kind>,
    name: Name<'_>,
    database: &str,
    generation: &Arc<Generation>,
    address: Option<SocketAddr>,
) -> Result<Admitted, (Refused, Option<Who>)> {
    let user = name.user;
    let negotiated = prepare(stream, startup, user).await.map_err(|refused| (refused, None))?;
    let entry = generation.config.user(user, database);
    certificate::require(stream, &generation.config.general, entry)
        .map_err(|error| (Refused::new("no_certificate", error), None))?;
    let who = identify(stream, name, database, generation).await.map_err(|refused| (refused, None))?;
    let opened = tenant::open(who, name, database, generation).await;
    let (who, tenant_seat) = opened.map_err(|(refused, who)| (refused, Some(who)))?;
    let pools = match who.pools(&generation.registry, database) {
        Ok(pools) => pools,
        Err(error) => return Err((welcome::no_pool(error, user, database), Some(who))),
    };
    let seat = match who.grant().and_then(|grant| grant.max_connections) {
        None => None,
        Some(most) => match limits::take(database, who.user(), most) {
            Some(seat) => Some(seat),
            None => return Err((welcome::too_many_sessions(who.user()), Some(who))),
        },
    };
    let policy = if pools.spec.read_only { &generation.read_only_policy } else { &generation.policy };
    let guarded = pools.spec.read_only || who.is_guarded();
    let settings = match startup_settings::read(startup, guarded, &policy.protected) {
        Ok(settings) => settings,
        Err(BadParameter::Refused(refusal)) => {
            return Err((Refused::identity("startup_parameter", user).detail(refusal.message), Some(who)));
        }
        Err(BadParameter::Malformed(text)) => {
            return Err((Refused::new("startup_parameter", PgError::fatal("22023", text)), Some(who)));
        }
    };
    let provisioner = generation.provisioner.as_deref();
    if let Err(refused) = provision::provision(provisioner, &pools, &who, user).await {
        return Err((refused, Some(who)));
    }
    let greeted = match replication {
        None => parameters::learn(&pools, &settings, generation, &who, user).await.map(|told| (told, None)),
        Some(kind) => {
            let dedicated = replication::admit(kind, &pools, &settings, &who, user, generation).await;
            dedicated.map(|server| (Parameters::of_server(&server.connection, settings.clone()), Some(server)))
        }
    };
    let (parameters, dedicated) = match greeted {
        Ok(greeted) => greeted,
        Err(refused) => {
            provision::note_refusal(provisioner, &pools, &who, &refused);
            return Err((refused, Some(who)));
        }
    };
    let about = welcome::about(stream, address, &who, &pools, &parameters.settings);
    let registration = match sessions::register(negotiated, about) {
        Ok(registration) => registration.seated(seat, tenant_seat),
        Err(_) => {
            let error = PgError::fatal("58000", "no random numbers are to be had");
            return Err((Refused::new("internal", error), Some(who)));
        }
    };
    let greeting = welcome::greeting(&parameters, &registration);
    let attached = parameters.settings.without(&settings);
    let (settings, told) = (Arc::new(parameters.settings), parameters.greeting.followed);
    Ok(Admitted { who, pools, settings, attached, told, registration, greeting, dedicated })
}

/// Checks the start-up packet and agrees on the protocol.
pub(super) async fn prepare(
    stream: &mut Stream,
    startup: &Startup,
    user: &str,
) -> Result<crate::wire::startup::Version, Refused> {
    if user.is_empty() {
        let error = PgError::fatal("28000", "no PostgreSQL user name specified in startup packet");
        return Err(Refused::new("no_user", error));
    }
    let negotiated = negotiate(startup);
    if let Some(message) = &negotiated.message {
        stream.write_all(message).await.map_err(left)?;
    }
    Ok(negotiated.version)
}

/// Finds out who the client is, by the method that is the user's.
async fn identify(
    stream: &mut Stream,
    name: Name<'_>,
    database: &str,
    generation: &Generation,
) -> Result<Who, Refused> {
    let user = name.user;
    let config = &generation.config;
    let entry = config.user(user, database);
    match (&config.jwt, &generation.authenticator) {
        (Some(jwt), Some(authenticator)) if is_token_user(jwt, user, entry) => {
            by_token(stream, user, database, jwt, authenticator).await
        }
        (Some(jwt), _) => by_password(stream, name, entry, jwt.password_auth_type, generation).await,
        (None, _) => by_password(stream, name, entry, config.general.auth_type, generation).await,
    }
}

/// The users that have an issuer's suffix; where an issuer has none, also all but those that users.toml gives a password.
pub(super) fn is_token_user(jwt: &Jwt, user: &str, entry: Option<&User>) -> bool {
    jwt.core.has_suffix(user) || (jwt.core.takes_any_user() && !entry.is_some_and(User::has_password))
}

async fn by_token(
    stream: &mut Stream,
    user: &str,
    database: &str,
    jwt: &Jwt,
    authenticator: &pgdog_jwt::Authenticator,
) -> Result<Who, Refused> {
    if !stream.is_tls() && !stream.is_local() && !jwt.allow_plaintext {
        // Said before the token is asked for, so that it is never sent.
        let error = PgError::fatal("28000", "a token is not accepted over an unencrypted connection")
            .hint("Connect with TLS (sslmode=require or stronger).");
        return Err(Refused::new("plaintext", error));
    }
    let mut ask = Vec::new();
    message::authentication_cleartext(&mut ask);
    stream.write_all(&ask).await.map_err(left)?;
    let mut body = Vec::new();
    match read_message(stream, jwt.max_password_size, &mut body).await {
        Ok(b'p') => {}
        Ok(b'X') | Err(crate::net::read::ReadError::Closed) => return Err(gone()),
        Ok(_) => return Err(Refused::new("protocol", PgError::fatal("08P01", "expected a password message"))),
        Err(error) => {
            return Err(Refused::credential("unreadable_credential", "28000", user).detail(error.to_string()));
        }
    }
    let tls_identity = certificate::identity(stream);
    let credential = body.strip_suffix(&[0]).unwrap_or(&body);
    let context = AuthContext {
        user,
        database,
        credential: Credential::new(credential),
        client_addr: stream.peer().map(|peer| peer.ip()),
        tls: stream.is_tls(),
        tls_identity: tls_identity.as_deref(),
    };
    match authenticator.authenticate(context).await {
        AuthDecision::Allow(grant) => Ok(Who::Token(grant)),
        AuthDecision::Deny(reason) => Err(Refused::credential(reason.code(), "28000", user).detail(reason.to_string())),
        // The suffix was checked before; should the two ever differ, nobody gets in.
        AuthDecision::Skip => Err(Refused::credential("not_a_token_user", "28000", user)),
    }
}

async fn by_password(
    stream: &mut Stream,
    name: Name<'_>,
    entry: Option<&User>,
    auth_type: AuthType,
    generation: &Generation,
) -> Result<Who, Refused> {
    let user = name.user;
    let method = match auth_type {
        AuthType::Trust if entry.is_some() => return Ok(Who::User(user.to_owned())),
        AuthType::Trust => return Err(Refused::credential("unknown_user", "28P01", user)),
        AuthType::Md5 => Method::Md5,
        AuthType::Plain => Method::Plain,
        AuthType::Scram | AuthType::Jwt => Method::Scram,
    };
    let none = Candidates::none();
    let config: &Config = &generation.config;
    let candidates = entry.and_then(|entry| generation.passwords.of(config, entry)).unwrap_or(&none);
    // The client's MD5 answer is made with the name that it typed.
    let salted = if method == Method::Md5 && !candidates.only_scram() { name.typed } else { user };
    match methods::authenticate(stream, method, salted, candidates).await {
        Ok(Verdict::Accepted) if entry.is_some() => Ok(Who::User(user.to_owned())),
        Ok(_) => {
            let reason = if entry.is_some() { "wrong_password" } else { "unknown_user" };
            Err(Refused::credential(reason, "28P01", user))
        }
        Err(MethodError::Closed) => Err(gone()),
        Err(error) => {
            info!(user, %error, "a password could not be read");
            Err(Refused { reason: "protocol", detail: Some(error.to_string()), error: error.client_error() })
        }
    }
}

pub(super) fn gone() -> Refused {
    Refused { reason: "left", detail: None, error: None }
}

fn left(_: std::io::Error) -> Refused {
    gone()
}
