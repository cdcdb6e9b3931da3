//! A login, from the first byte to "ready for query": handshake, method, credential, decision, pool, greeting.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tracing::debug;

use super::admin_login;
use super::audit::{Attempt, client_name};
use super::cancel;
use super::certificate;
use super::client_flow;
use super::client_limits;
use super::grant::Who;
use super::handshake::{self, HandshakeError, HandshakeOptions};
use super::identify::identify;
use super::negotiate::negotiate;
use super::parameters::{self, Parameters};
use super::person::{APPLICATION_NAME, Person};
use super::provision;
use super::refusal_delay;
use super::refused::{Refused, left, note, tell, turn_away};
use super::replication::{self, Kind, Replication};
use super::session::{self, Session};
use super::sessions;
use super::startup_settings::{self, BadParameter};
use super::tenant::{self, Name};
use super::token_limits;
use super::unauthenticated::{self, Place};
use super::welcome;
use crate::admin::{self, Console};
use crate::app::state::{App, Generation};
use crate::backend::cluster::Membership;
use crate::backend::dedicated::Dedicated;
use crate::config::Config;
use crate::net::buffer::Chunk;
use crate::net::read::Incoming;
use crate::net::stream::Stream;
use crate::wire::PgError;
use crate::wire::startup::Startup;

/// Lets a client in, and gives its session. `None`: it was turned away, or was here for something else and has left.
/// `address`: where it is; `None`: at the Unix socket. `place`: among those that have not logged in.
pub(crate) async fn let_in(
    app: &'static App,
    socket: Stream,
    address: Option<SocketAddr>,
    place: Place,
) -> Option<Box<Session>> {
    let generation = app.state();
    let limit = generation.config.general.client_login_timeout;
    // What few logins need has a box of its own further down: a future is copied when it is boxed, with all the room that it
    // may ever need.
    let login = Box::pin(refusal_delay::timed(log_in(app, socket, address, generation)));
    let login = async move {
        match tokio::time::timeout(limit, login).await {
            Ok(Some(Ready::Refused(rest))) => {
                rest.await;
                None
            }
            Ok(ready) => ready,
            Err(_) => {
                let started = Instant::now() - limit.min(Duration::from_secs(3600));
                Attempt::new(started, address).refused("login_timeout", None, None);
                None
            }
        }
    };
    match unauthenticated::hold(place, login).await {
        Some(Some(Ready::Session(session))) => return Some(session),
        Some(Some(Ready::Other(rest))) => rest.await,
        Some(Some(Ready::Refused(_)) | None) => {}
        None => debug!(client = client_name(address), "closed to make room for another client"),
    }
    None
}

/// How long the connection of a cancel request stays open at most.
const CANCEL_PATIENCE: Duration = Duration::from_secs(10);

type Rest = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A client that is in or is not, and what it still has to be told.
enum Ready {
    Session(Box<Session>),
    /// In, for what few clients are there for.
    Other(Rest),
    /// Never in: it is told why, or it has brought a cancel request.
    Refused(Rest),
}

impl Ready {
    /// The login is decided and noted: this is only how the client hears of it, with a time of its own.
    fn refused(mut stream: Incoming, refused: Refused, limit: Duration) -> Self {
        Self::Refused(Box::pin(async move {
            let _ = tokio::time::timeout(limit, tell(&mut stream, refused)).await;
        }))
    }
}

async fn log_in(
    app: &'static App,
    socket: Stream,
    address: Option<SocketAddr>,
    generation: Arc<Generation>,
) -> Option<Ready> {
    let config = &generation.config;
    let limit = config.general.client_login_timeout;
    let mut attempt = Attempt::new(Instant::now(), address);
    let options = HandshakeOptions { tls: generation.tls.clone(), tls_required: config.general.tls_client_required };
    let (mut stream, startup) = match unauthenticated::message(handshake::handshake(socket, &options)).await {
        Ok(handshake::Opening::Startup { stream, startup }) => (stream, startup),
        Ok(handshake::Opening::Cancel { mut stream, process, key }) => {
            let done = cancel::take(&config.general, address, process, &key)?;
            return Some(Ready::Refused(Box::pin(async move {
                let mut unasked = [0; 1];
                let held = async {
                    tokio::select! {
                        _ = done => {}
                        // The client does not wait.
                        _ = stream.read(&mut unasked) => {}
                    }
                };
                // Whoever has nothing more to say makes room for others.
                let _ = tokio::time::timeout(CANCEL_PATIENCE, unauthenticated::message(held)).await;
            })));
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
    let database = default_database(config, &typed, &user, database);
    attempt.identify(stream.get_ref(), &typed, &database, startup.get("application_name"));
    let is_admin = admin::is_meant(config, &database);
    let kind = match kind {
        Ok(Some(_)) if is_admin => Err(PgError::fatal("0A000", "the admin database has nothing to replicate")),
        other => other,
    };
    let kind = match kind {
        Ok(kind) => kind,
        Err(error) => {
            Box::pin(turn_away(&mut stream, &attempt, Refused::told("replication", error), config)).await;
            return None;
        }
    };
    if is_admin {
        return Box::pin(admit_administrator(app, stream, startup, attempt, &generation)).await;
    }
    let admitted = admit(&mut stream, &startup, kind, name, &database, &generation, attempt.address()).await;
    let revoked = admitted.as_ref().ok().and_then(|admitted| revoked(app, &admitted.who, &user));
    let admitted = match (admitted, revoked) {
        (Ok(admitted), Some(refused)) => Err((refused, Some(admitted.who))),
        (admitted, _) => admitted,
    };
    match admitted {
        Ok(admitted) => {
            let is_recorded = config.general.log_connections || admitted.who.grant().is_some();
            if is_recorded && let Err(mut refused) = attempt.accepted(&admitted.registration).await {
                note(&attempt, &mut refused, admitted.who.grant(), config);
                return Some(Ready::refused(stream, refused, limit));
            }
            admitted.registration.meter.logged_in();
            let Admitted { who, pools, settings, attached, told, person, registration, greeting, dedicated } = admitted;
            let ahead = Chunk::of(stream.buffer());
            let opening = session::Opening {
                client: stream.into_inner(),
                ahead,
                typed: typed.into(),
                who,
                pools,
                settings,
                attached,
                told,
                person,
                registration,
                generation,
            };
            Some(match dedicated {
                None => Ready::Session(Box::new(Session::new(app, opening, greeting))),
                Some(server) => Ready::Other(Box::pin(Replication::new(app, opening, server).run(greeting))),
            })
        }
        Err((refused, who)) => {
            let grant = who.as_ref().and_then(|who| who.grant());
            let mut refused = match (grant, &config.jwt) {
                (Some(_), Some(jwt)) => refused.challenged(client_flow::challenge(jwt, &startup, &user)),
                _ => refused,
            };
            note(&attempt, &mut refused, grant, config);
            Some(Ready::refused(stream, refused, limit))
        }
    }
}

/// The database of a client: the one that it names. A client that names none is given the name of its user by its driver, and tools
/// that want any database (`psql -l`, `createuser`) ask for `postgres`: where there is no such database, `default_database` is meant.
fn default_database(config: &Config, typed: &str, user: &str, asked: String) -> String {
    let means_any = [typed, user, "postgres"].contains(&asked.as_str());
    let is_there = admin::is_meant(config, &asked) || config.servers(&asked).next().is_some();
    match &config.general.default_database {
        Some(default) if means_any && !is_there => default.clone(),
        _ => asked,
    }
}

async fn admit_administrator(
    app: &'static App,
    mut stream: Incoming,
    startup: Startup,
    attempt: Attempt,
    generation: &Generation,
) -> Option<Ready> {
    let admitted = admin_login::admit(&mut stream, &startup, attempt.user(), generation, attempt.address()).await;
    let outcome = match admitted {
        Ok((registration, greeting)) => attempt.accepted(&registration).await.map(|()| (registration, greeting)),
        Err(refused) => Err(refused),
    };
    match outcome {
        Ok((registration, greeting)) => {
            registration.meter.logged_in();
            let console = Console::new(app, stream, registration);
            Some(Ready::Other(Box::pin(console.run(greeting))))
        }
        Err(refused) => {
            turn_away(&mut stream, &attempt, refused, &generation.config).await;
            None
        }
    }
}

/// A token may have been revoked while its login went on: now that the session is listed, none can be overlooked.
pub(super) fn revoked(app: &App, who: &Who, user: &str) -> Option<Refused> {
    let reason = app.revocations()?.check(&who.grant()?.token_identity()).err()?;
    Some(Refused::identity(reason.code(), user).detail(reason.to_string()))
}

struct Admitted {
    who: Who,
    pools: Membership,
    settings: Arc<crate::backend::settings::Settings>,
    attached: Option<Box<crate::backend::settings::Settings>>,
    told: Arc<[u8]>,
    person: Option<Box<Person>>,
    registration: sessions::Registration,
    greeting: Vec<u8>,
    /// Of a replication connection.
    dedicated: Option<Dedicated>,
}

async fn admit(
    stream: &mut Incoming,
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
    certificate::require(stream.get_ref(), &generation.config.general, entry)
        .map_err(|error| (Refused::new("no_certificate", error), None))?;
    let who =
        identify(stream, startup, name, database, generation, address).await.map_err(|refused| (refused, None))?;
    let counted = client_limits::take(&generation.config, database, who.user());
    let client_seats = match counted {
        Ok(seats) => seats,
        Err(refused) => return Err((*refused, Some(who))),
    };
    let opened = tenant::open(who, name, database, generation).await;
    let (mut who, tenant_seat) = opened.map_err(|(refused, who)| (refused, Some(who)))?;
    let pools = match who.pools(&generation.registry, database) {
        Ok(pools) => pools,
        Err(error) => return Err((welcome::no_pool(error, user, database), Some(who))),
    };
    if pools.cluster.gate.is_disabled() {
        return Err((welcome::disabled(database), Some(who)));
    }
    who.share(&pools);
    let mut seats = match token_limits::take(&generation.config, database, &who, user, address.map(|peer| peer.ip())) {
        Ok(seats) => seats,
        Err(refused) => return Err((*refused, Some(who))),
    };
    seats.extend(tenant_seat.into_iter().chain(client_seats));
    let watch = who.watch(&generation.config, pools.spec.read_only);
    // What a standby is called may decide which transactions wait for it.
    let person = match replication {
        None => Person::new(&generation.config, &who, database, address),
        Some(_) => None,
    };
    // The name is not taken as it is, so it may be asked for.
    let guard = watch.is_guarded().then(|| generation.policies.of(watch).without(APPLICATION_NAME));
    let mut settings = match startup_settings::read(startup, guard.as_ref()) {
        Ok(settings) => settings,
        Err(BadParameter::Refused(refusal)) => {
            return Err((Refused::identity("startup_parameter", user).detail(refusal.message), Some(who)));
        }
        Err(BadParameter::Mistake(error)) => {
            let detail = error.message.clone();
            return Err((Refused::new("startup_parameter", error).detail(detail), Some(who)));
        }
    };
    let own_name = person.as_ref().map(|person| person.name_in(&mut settings));
    let provisioner = generation.provisioner.as_deref();
    if let Err(refused) = provision::provision(provisioner, &pools, &who, user).await {
        return Err((refused, Some(who)));
    }
    let greeted = match replication {
        None => parameters::learn(&pools, &settings, generation, &who, user).await.map(|told| (told, None)),
        Some(kind) => {
            let dedicated = Box::pin(replication::admit(kind, &pools, &settings, &who, user, generation)).await;
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
    let mut about = welcome::about(stream.get_ref(), address, &who, &pools, &parameters.settings);
    if let Some(own_name) = own_name {
        about.application_name = own_name.into();
    }
    let registration = match sessions::register(negotiated, about) {
        Ok(registration) => registration.seated(seats),
        Err(_) => {
            let error = PgError::fatal("58000", "no random numbers are to be had");
            return Err((Refused::new("internal", error), Some(who)));
        }
    };
    let greeting = welcome::greeting(&parameters, &registration);
    let attached = Some(parameters.settings.without(&settings)).filter(|attached| !attached.is_empty()).map(Box::new);
    let (settings, told) = (Arc::new(parameters.settings), parameters.greeting.followed);
    Ok(Admitted { who, pools, settings, attached, told, person, registration, greeting, dedicated })
}

/// Checks the start-up packet and agrees on the protocol.
pub(super) async fn prepare(
    stream: &mut Incoming,
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
