//! Users that log in with a token: who a client is, by `pgdog-jwt`, and what keeps it so, by `pgdog-jwt-host`.

use std::env;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use pgdog_jwt::reader::{AuthType as PasswordAuth, Server as Place, Surroundings};
use pgdog_jwt::server::{Mistaken, NoRandom};
use pgdog_jwt::{AuthContext, AuthDecision, AuthGrant, Credential};
use pgdog_jwt_guard::{ParseError, Parser, Tree, printed};
use pgdog_jwt_host::admission::{Admission, Entry, Inadmissible, admit};
use pgdog_jwt_host::audit::{self, Attempt};
use pgdog_jwt_host::config::{Config, PATCHED};
use pgdog_jwt_host::gate::{Gate, Message, Outcome};
use pgdog_jwt_host::identity::Identity;
use pgdog_jwt_host::life::{End, Ending, Generation, Life};
use pgdog_jwt_host::pools::{Pools, Seat};
use pgdog_jwt_host::{credential, names, wire};
use tracing::warn;

use crate::backend::databases::{databases, jwt as pools};
use crate::backend::pool::Error as PoolError;
use crate::backend::{Cluster, ConnectReason, Error as BackendError, Server};
use crate::config::{AuthType, ConfigAndUsers, PoolerMode, Role, User, config};
use crate::frontend::Error;
use crate::net::Stream;
use crate::net::messages::{Authentication, DataRow, ErrorResponse, Message as NetMessage};
use crate::net::parameter::{Parameter, Parameters};
use crate::state::State;
use crate::util::user_database_from_params;

/// A pool's user and database.
pub(crate) type Key = (String, String);

/// What is kept of a pool that tokens brought into being.
#[derive(Clone)]
struct Pool {
    user: User,
    identity: Arc<Identity>,
    /// When a connection was last seen to be who it must be.
    probed: Instant,
    /// Of the configuration that it was made by.
    generation: Generation,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pool(..)")
    }
}

/// How long a login relies on what an earlier one saw of a role.
const PROBE_EVERY: Duration = Duration::from_secs(10);

static CURRENT: ArcSwapOption<Config> = ArcSwapOption::const_empty();
static POOLS: LazyLock<Pools<Key, Pool>> = LazyLock::new(Pools::default);
/// A pool is made, or closed, by one at a time.
static MAKING: [tokio::sync::Mutex<()>; 32] = [const { tokio::sync::Mutex::const_new(()) }; 32];
static CONFIGURING: Mutex<()> = Mutex::new(());

/// PgDog's own parser, for the guard.
struct RawParse;

impl Parser for RawParse {
    fn parse(&self, sql: &str) -> Result<Vec<Tree>, ParseError> {
        let parsed = pg_raw_parse::parse(sql).map_err(|_| ParseError::Syntax)?;
        printed::statements(&&**parsed)
    }
}

/// Takes over a configuration before it is in use, or says why it cannot be.
pub(crate) fn configure(new: &ConfigAndUsers) -> Result<(), crate::config::Error> {
    let refused = |reason: String| Err(crate::config::Error::ParseError(reason));
    let _alone = CONFIGURING.lock();
    let general = &new.config.general;
    let around = Surroundings {
        users: new.users.users.iter().map(|user| user.name.as_str()).collect(),
        servers: new.config.databases.iter().map(place).collect(),
        env: &|name| env::var(name).ok(),
    };
    let name = new.config_path.display().to_string();
    let previous = CURRENT.load_full();
    if previous.is_some() && new.config_text.is_none() {
        return refused(format!("{name}: the file is gone"));
    }
    let text = new.config_text.as_deref().unwrap_or_default();
    let (made, warnings) = match Config::read(PATCHED, &name, text, &around, previous.as_deref()) {
        Ok(read) => read,
        Err(problems) => return refused(problems),
    };
    if made.is_some() != (general.auth_type == AuthType::Jwt) {
        return refused(format!("{name}: \"auth_type\" is \"jwt\" in one place, and not in another"));
    }
    if made.is_some() && general.passthrough_auth() {
        return refused(format!("{name}: \"passthrough_auth\" cannot be used with \"auth_type\" = \"jwt\""));
    }
    if made.is_some() && general.pub_sub_enabled() {
        // Its statements for channels are not quoted, and its connections belong to no session.
        return refused(format!("{name}: \"pub_sub_channel_size\" must be 0 with \"auth_type\" = \"jwt\""));
    }
    warnings.iter().for_each(|warning| warn!("{warning}"));
    let generation = made.as_ref().map(|made| made.generation().clone());
    CURRENT.store(made.map(Arc::new));
    if let Some(previous) = previous
        && generation.as_ref() != Some(previous.generation())
    {
        previous.generation().end();
    }
    Ok(())
}

fn place(database: &crate::config::Database) -> Place<'_> {
    let is_primary = database.role != Role::Replica;
    Place { database: &database.name, is_primary, account: database.user.as_deref() }
}

/// How users with a password prove it.
pub(crate) fn password_auth_type(general: &AuthType) -> AuthType {
    let current = CURRENT.load();
    match current.as_ref().map(|current| current.host.password_auth_type) {
        _ if *general != AuthType::Jwt => general.clone(),
        Some(PasswordAuth::Md5) => AuthType::Md5,
        Some(PasswordAuth::Plain) => AuthType::Plain,
        Some(PasswordAuth::Trust) => AuthType::Trust,
        _ => AuthType::Scram,
    }
}

/// How a login goes on.
pub(crate) enum Login {
    /// Not a token user.
    Other,
    /// The start-up parameters now name the pool of the token's subject.
    In(Box<Session>),
    /// The client has been told.
    Refused,
}

/// A client that came with a token.
pub(crate) struct Session {
    gate: Gate,
    life: Life,
    _seat: Seat<Key, Pool>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("gate", &self.gate).finish_non_exhaustive()
    }
}

impl Session {
    /// The guard's word on a request.
    pub(crate) fn judge<'m>(&mut self, request: impl Iterator<Item = Message<'m>>, has_failed: bool) -> Outcome {
        self.gate.judge(request, has_failed)
    }

    /// See [`Gate::take_doubt`].
    pub(crate) fn take_doubt(&mut self) -> bool {
        self.gate.take_doubt()
    }

    /// The last word to a session that ends.
    pub(crate) fn farewell(end: End) -> NetMessage {
        error("FATAL", end.sqlstate(), end.message(), "Log in again with a new token.")
    }

    /// What the end of a session is waited for with.
    pub(crate) fn ending(session: &Option<Box<Session>>) -> Ending {
        session.as_ref().map_or_else(Ending::never, |session| session.life.ending())
    }
}

/// An error as a message. PgDog's own has no hint.
pub(crate) fn error(severity: &str, sqlstate: &str, message: &str, hint: &str) -> NetMessage {
    NetMessage::new(wire::error(severity, sqlstate, message, hint).into())
}

/// Why a token user stays outside. The client hears the same for all of them, but for what an owner of a good token has to know.
struct Refusal {
    reason: &'static str,
    told: Option<NetMessage>,
    detail: Option<String>,
    grant: Option<Box<AuthGrant>>,
}

impl Refusal {
    fn new(reason: &'static str, detail: impl ToString) -> Self {
        Self { reason, told: None, detail: Some(detail.to_string()), grant: None }
    }
}

/// Asks a token user for the token, before anything else of the client is believed.
pub(crate) async fn login(
    stream: &mut Stream,
    params: &mut Parameters,
    client: SocketAddr,
    config: &ConfigAndUsers,
) -> Result<Login, Error> {
    let Some(current) = CURRENT.load_full() else { return Ok(Login::Other) };
    let started = Instant::now();
    let (user, database) = user_database_from_params(params);
    let (typed_user, typed_database) = (user.to_owned(), database.to_owned());
    let refuse = ErrorResponse::auth(&typed_user, &typed_database);
    if typed_database == config.config.admin.name {
        return Ok(Login::Other);
    }
    let (Some(user), Some(database)) = (names::decoded(&typed_user), names::decoded(&typed_database)) else {
        stream.fatal(refuse).await?;
        return Ok(Login::Refused);
    };
    if !is_token_user(&current, config, &user, &database) {
        // Their pools have passwords that nobody knows; nobody is to guess.
        if POOLS.get(&(typed_user.clone(), typed_database.clone())).is_none() {
            return Ok(Login::Other);
        }
        stream.fatal(refuse).await?;
        return Ok(Login::Refused);
    }
    let tls = stream.is_tls();
    let attempt = || Attempt { user: &user, database: &database, client: Some(client), tls, took: started.elapsed() };
    if !tls && !client.ip().is_loopback() && !current.host.allow_plaintext {
        audit::refused(&attempt(), "plaintext", None, None);
        let message = "a token is not accepted over an unencrypted connection";
        stream.send_flush(&error("FATAL", "28000", message, "Connect with TLS (sslmode=require or stronger).")).await?;
        return Ok(Login::Refused);
    }
    stream.send_flush(&Authentication::ClearTextPassword).await?;
    match decide(stream, params, client, config, &current, (&user, &database)).await {
        Ok((session, grant, pool)) => {
            audit::accepted(&attempt(), &grant, &pool);
            Ok(Login::In(session))
        }
        Err(Refusal { reason, told, detail, grant }) => {
            audit::refused(&attempt(), reason, detail.as_deref(), grant.as_deref());
            let message = format!("authentication failed for user \"{user}\"");
            let told = told.unwrap_or_else(|| error("FATAL", "28000", &message, ""));
            stream.send_flush(&told).await?;
            Ok(Login::Refused)
        }
    }
}

fn is_token_user(current: &Config, config: &ConfigAndUsers, user: &str, database: &str) -> bool {
    let has_password = entry(config, user, database).is_some_and(|user| !user.passwords().is_empty());
    current.is_token_user(user, has_password)
}

/// The users.toml entry of a user for a database.
fn entry<'c>(config: &'c ConfigAndUsers, name: &str, database: &str) -> Option<&'c User> {
    config.users.users.iter().find(|user| {
        let databases = &user.databases;
        let is_for = user.all_databases || databases.iter().any(|own| own == database);
        user.name == name && (is_for || (databases.is_empty() && user.database == database))
    })
}

async fn decide(
    stream: &mut Stream,
    params: &mut Parameters,
    client: SocketAddr,
    config: &ConfigAndUsers,
    current: &Arc<Config>,
    (user, database): (&str, &str),
) -> Result<(Box<Session>, Box<AuthGrant>, String), Refusal> {
    let credential = credential::read(stream, current.host.max_password_size).await;
    let credential = credential.map_err(|error| Refusal::new(error.code(), error))?;
    let context = AuthContext {
        user,
        database,
        credential: Credential::new(&credential),
        client_addr: Some(client.ip()),
        tls: stream.is_tls(),
        tls_identity: stream.tls_identity(),
    };
    let grant = match current.authenticator.authenticate(context).await {
        AuthDecision::Allow(grant) => grant,
        AuthDecision::Deny(reason) => return Err(Refusal::new(reason.code(), reason)),
        AuthDecision::Skip => return Err(Refusal::new("not_a_token_user", "")),
    };
    match enter(&grant, database, params, client, config, current).await {
        Ok((session, pool)) => Ok((session, grant, pool)),
        Err(refusal) => Err(Refusal { grant: Some(grant), ..refusal }),
    }
}

/// Finds or makes the pool of a grant, and makes it the one that the rest of the login looks for.
async fn enter(
    grant: &AuthGrant,
    database: &str,
    params: &mut Parameters,
    client: SocketAddr,
    config: &ConfigAndUsers,
    current: &Arc<Config>,
) -> Result<(Box<Session>, String), Refusal> {
    let named = entry(config, &grant.user, database);
    let own = named.map(|user| Entry {
        server_user: user.server_user.clone(),
        server_password: user.server_password.clone().map(pgdog_jwt::config::Secret::new),
        has_password: !user.passwords().is_empty(),
        read_only: user.read_only,
    });
    let servers = || config.config.databases.iter().filter(|server| server.name == database);
    let reads = servers().any(|server| server.read_only == Some(true));
    let is_replica = |shard| servers().any(|server| server.shard == shard && server.role == Role::Replica);
    let has_replicas = servers().all(|server| is_replica(server.shard));
    let admission = admit(current, grant, own.as_ref(), reads, has_replicas).map_err(inadmissible)?;
    let policy = current.policy(grant, admission.identity.is_read_only());
    let given: Vec<Parameter> = (&*params).into();
    let given: Vec<_> = given.into_iter().filter(|own| own.name != "user" && own.name != "database").collect();
    let checked = given.iter().map(|own| (own.name.as_str(), own.value.as_str().unwrap_or_default()));
    names::check_parameters(checked, &admission.identity, policy).map_err(|error| Refusal::new("parameter", error))?;
    let revocations = current.authenticator.revocations().clone();
    let life = Life::begin(grant, revocations, current.on_expiry(), current.generation(), client);
    let seat = seat(&grant.user, database, &admission, named, current).await?;
    if life.has_ended() {
        return Err(Refusal::new("revoked", "the token was revoked while its login went on"));
    }
    let gate = Gate::new(policy.clone(), &RawParse, current.host.max_statement_size);
    let pool = seat.key().0.clone();
    let names = [("user", pool.as_str()), ("database", database)].map(Parameter::from);
    *params = given.into_iter().chain(names).collect::<Vec<_>>().into();
    let session = Session { gate, life, _seat: seat };
    Ok((Box::new(session), pool))
}

fn inadmissible(why: Inadmissible) -> Refusal {
    let message = "cannot serve this read-only user: no replica is configured";
    let told = (why == Inadmissible::NoReplica).then(|| error("FATAL", "25006", message, ""));
    Refusal { told, ..Refusal::new("no_pool", why) }
}

/// A seat in the pool of the admission, which is in use and whose connections are who they must be.
async fn seat(
    user: &str,
    database: &str,
    admission: &Admission,
    named: Option<&User>,
    current: &Config,
) -> Result<Seat<Key, Pool>, Refusal> {
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one((user, database));
    let _alone = MAKING[(hash % 32) as usize].lock().await;
    let keys = admission.pools.iter().map(|pool| (pool.clone(), database.to_owned()));
    // A pool is never one identity's and then another's.
    let mut own = keys.filter(|key| POOLS.get(key).is_none_or(|pool| *pool.identity == admission.identity));
    let key = own.next().ok_or_else(|| Refusal::new("no_pool", "all names of the pool are taken"))?;
    let user = user_of(&key, admission, named);
    if let Some((seat, pool)) = POOLS.enter(&key)
        && let Ok(cluster) = databases().cluster((key.0.as_str(), database))
        && same_account(&pool.user, &user)
        && pool.generation == *current.generation()
        && cluster.shards().iter().all(|shard| shard.pools().iter().all(|pool| pool.state().online))
    {
        if pool.probed.elapsed() > PROBE_EVERY {
            probe(&cluster, &pool.identity).await?;
            POOLS.update(&key, |pool| pool.probed = Instant::now());
        }
        return Ok(seat);
    }
    let identity = Arc::new(admission.identity.clone());
    let generation = current.generation().clone();
    let pool = Pool { user: user.clone(), identity: identity.clone(), probed: Instant::now(), generation };
    let added = POOLS.add(key.clone(), pool, current.host.max_pools);
    let (seat, gone) = added.map_err(|error| Refusal::new("too_many_pools", error))?;
    gone.into_iter().for_each(|(key, _)| pools::withdraw(&key));
    let made = match pools::make(&user) {
        Some(made) => probe(&made.1, &identity).await.map(|()| made),
        None => Err(Refusal::new("no_pool", "no such database, or none of its servers may serve the user")),
    };
    match made {
        Ok(made) => pools::publish(made),
        Err(refusal) => {
            drop(seat);
            if POOLS.take_unused(&key) {
                pools::withdraw(&key);
            }
            return Err(refusal);
        }
    }
    evict_idle();
    Ok(seat)
}

fn same_account(one: &User, other: &User) -> bool {
    one.server_user == other.server_user && one.server_password == other.server_password
}

/// What PgDog makes a pool of.
fn user_of(key: &Key, admission: &Admission, named: Option<&User>) -> User {
    let mode = match admission.pool_mode.as_deref() {
        Some("session") => Some(PoolerMode::Session),
        Some("statement") => Some(PoolerMode::Statement),
        Some(_) => Some(PoolerMode::Transaction),
        None => None,
    };
    let base = named.cloned().unwrap_or_default();
    User {
        name: key.0.clone(),
        database: key.1.clone(),
        databases: Vec::new(),
        all_databases: false,
        // Launches the pool; nobody knows it.
        password: Some(format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>())),
        passwords: Vec::new(),
        password_hash: None,
        identity: None,
        server_user: Some(admission.login.clone()),
        // Never the one above.
        server_password: Some(admission.password.as_ref().map(|secret| secret.expose().to_owned()).unwrap_or_default()),
        read_only: Some(admission.identity.is_read_only()),
        min_pool_size: if named.is_some() { base.min_pool_size } else { Some(0) },
        pool_size: admission.pool_size.or(base.pool_size),
        pooler_mode: mode.or(base.pooler_mode),
        schema_admin: false,
        replication_mode: false,
        ..base
    }
}

/// One connection to each shard: the server lets the subject in, as who it must be.
async fn probe(cluster: &Cluster, identity: &Identity) -> Result<(), Refusal> {
    for shard in cluster.shards() {
        let pools = shard.pools();
        let pool = pools.first().ok_or_else(|| Refusal::new("no_pool", "a shard has no server for the user"))?;
        let opened = pool.standalone(ConnectReason::Probe).await;
        let mut server = opened.map_err(|error| Refusal::new("role", error))?;
        ask(&mut server, identity).await.map_err(|problem| Refusal::new(problem.reason(), problem))?;
    }
    Ok(())
}

/// The columns of a row, as text.
struct Row(Vec<Option<String>>);

impl From<DataRow> for Row {
    fn from(row: DataRow) -> Self {
        Self((0..row.len()).map(|column| row.get_text(column)).collect())
    }
}

/// Why a connection is not known to be who it must be.
#[derive(Debug, thiserror::Error)]
enum Unproven {
    #[error(transparent)]
    Mistaken(#[from] Mistaken),
    #[error(transparent)]
    NoRandom(#[from] NoRandom),
    #[error(transparent)]
    Lost(#[from] BackendError),
}

impl Unproven {
    /// A word for the log.
    fn reason(&self) -> &'static str {
        if matches!(self, Self::Mistaken(Mistaken::Privileged(_))) { "role_privileged" } else { "role" }
    }
}

async fn ask(server: &mut Server, identity: &Identity) -> Result<(), Unproven> {
    let question = identity.question()?;
    let rows = server.fetch_all::<Row>(question.text()).await?;
    let row = rows.into_iter().next().map(|row| row.0).unwrap_or_default();
    Ok(Identity::check(question, &row)?)
}

/// A server connection is who its pool is: asked in one round trip. One that code of the same subject has changed is led back to
/// its start-up packet and asked again; one that is somebody else even so is closed.
pub(crate) async fn verify(server: &mut Server) -> Result<(), BackendError> {
    let Some(identity) = server.addr().jwt.clone() else { return Ok(()) };
    let mut asked = ask(server, &identity).await;
    if let Err(Unproven::Mistaken(Mistaken::Other { .. } | Mistaken::Setting(_) | Mistaken::Privileged(_))) = asked {
        for statement in identity.restore() {
            server.execute(statement).await?;
        }
        asked = ask(server, &identity).await;
    }
    let Err(problem) = asked else { return Ok(()) };
    audit::mismatch(identity.role(), &problem.to_string());
    server.stats_mut().state(State::ForceClose);
    match problem {
        // An error, and the client may try again.
        Unproven::Mistaken(Mistaken::NotReplica) => Err(BackendError::Pool(PoolError::AllReplicasDown)),
        _ => Err(BackendError::NotInSync),
    }
}

/// Closes pools that nobody has used for as long as an idle connection may live.
fn evict_idle() {
    let idle = Duration::from_millis(config().config.general.idle_timeout);
    POOLS.take_idle(idle).into_iter().for_each(|(key, _)| pools::withdraw(&key));
}

/// What the connections of a pool are; `None`: it is no pool of a token user's.
pub(crate) fn identity_of(user: &User) -> Option<Arc<Identity>> {
    POOLS.get(&(user.name.clone(), user.database.clone())).map(|pool| pool.identity)
}

/// What a server's start-up packet says of it.
pub(crate) fn startup_parameters(identity: &Option<Arc<Identity>>) -> Vec<Parameter> {
    let parameters = identity.iter().flat_map(|identity| identity.startup_parameters());
    parameters.map(|(name, value)| Parameter { name: name.into(), value: value.into() }).collect()
}

/// The pools that tokens brought into being, for a configuration that was read again.
pub(crate) fn users(config: &ConfigAndUsers) -> Vec<User> {
    if config.config.general.auth_type != AuthType::Jwt {
        return Vec::new();
    }
    let current = CURRENT.load_full();
    let is_current = |pool: &Pool| current.as_ref().is_some_and(|current| pool.generation == *current.generation());
    POOLS.all().into_iter().map(|(_, pool)| pool).filter(is_current).map(|pool| pool.user).collect()
}

/// Whether a pool is in use, or about to be.
pub(crate) fn is_known(key: &Key) -> bool {
    POOLS.get(key).is_some()
}
