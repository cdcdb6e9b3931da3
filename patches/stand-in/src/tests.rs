//! What our files do with a login, a request, a server and a reload. The state that they keep is the process's, so the tests
//! run one at a time.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use pgdog_jwt_host::life::Ending;
use rcgen::{KeyPair, PKCS_ED25519};
use serde_json::json;
use tokio::sync::{Mutex, MutexGuard};

use crate::backend::databases::{CANCELLED, databases, reload};
use crate::backend::pool::connection::{Connection, binding::Binding};
use crate::backend::{Error as BackendError, Server};
use crate::config::{AuthType, Config, ConfigAndUsers, Database, General, Role, User, Users, config, set};
use crate::frontend::client::query_engine::QueryEngine;
use crate::frontend::client::{Client, TransactionType};
use crate::jwt::{self, Login, Session};
use crate::net::messages::{BackendKeyData, FrontendPid};
use crate::net::parameter::Parameters;
use crate::net::{ProtocolMessage, Stream, Text};
use crate::state::State;

static ALONE: Mutex<()> = Mutex::const_new(());
static KEY: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate_for(&PKCS_ED25519).unwrap());

/// Two shards, each with a primary and a replica, and a user with a password.
fn configured() -> ConfigAndUsers {
    let folder = tempfile::tempdir().unwrap().keep();
    let key = folder.join("key.pem");
    std::fs::write(&key, KEY.public_key_pem()).unwrap();
    let text = format!(
        "[general]\nauth_type = \"jwt\"\njwt_public_key_file = \"{}\"\njwt_audience = \"app\"\njwt_server_user = \"gate\"\n\
         jwt_user_auto_provision = true\n",
        key.display()
    );
    let server =
        |shard, role| Database { name: "db".into(), shard, role, user: Some("owner".into()), ..Default::default() };
    let databases = [(0, Role::Primary), (0, Role::Replica), (1, Role::Primary), (1, Role::Replica)];
    let databases = databases.map(|(shard, role)| server(shard, role)).into();
    let general = General { auth_type: AuthType::Jwt, idle_timeout: 60_000, ..Default::default() };
    let service =
        User { name: "service".into(), database: "db".into(), password: Some("x".into()), ..Default::default() };
    let reader = User { name: "reader".into(), database: "db".into(), read_only: Some(true), ..Default::default() };
    ConfigAndUsers {
        config: Config { general, admin: crate::config::Admin { name: "admin".into() }, databases },
        users: Users { users: vec![service, reader] },
        config_path: "pgdog.toml".into(),
        config_text: Some(text),
    }
}

async fn ready() -> MutexGuard<'static, ()> {
    let alone = ALONE.lock().await;
    set(configured()).unwrap();
    alone
}

fn token(subject: &str, seconds: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed();
    let claims = json!({ "sub": subject, "aud": "app", "exp": now + seconds, "iat": now });
    let key = EncodingKey::from_ed_der(&KEY.serialize_der());
    jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &key).unwrap()
}

fn address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 5))
}

struct Outcome {
    login: Login,
    params: Parameters,
    stream: Stream,
}

async fn login_with(user: &str, password: &str, parameters: &[(&str, &str)]) -> Outcome {
    let mut incoming = vec![b'p'];
    incoming.extend(u32::try_from(password.len() + 5).unwrap().to_be_bytes());
    incoming.extend(password.bytes().chain([0]));
    let mut stream = Stream { incoming, ..Default::default() };
    let names = [("user", user), ("database", "db")].into_iter().chain(parameters.iter().copied());
    let mut params: Parameters = names.map(Into::into).collect::<Vec<_>>().into();
    let login = jwt::login(&mut stream, &mut params, address(), &config()).await.unwrap();
    Outcome { login, params, stream }
}

async fn login(user: &str) -> Box<Session> {
    let Login::In(session) = login_with(user, &token(user, 60), &[]).await.login else { panic!("{user} was refused") };
    session
}

impl Outcome {
    #[track_caller]
    fn is_refused_with(&self, text: &str) {
        assert!(matches!(self.login, Login::Refused));
        let last = self.stream.sent.last().unwrap();
        assert!(String::from_utf8_lossy(last).contains(text), "{last:?}");
    }
}

#[tokio::test]
async fn a_subject_gets_the_pool_of_its_identity() {
    let _alone = ready().await;
    let outcome = login_with("alice", &token("alice", 60), &[("application_name", "test")]).await;
    assert!(matches!(outcome.login, Login::In(_)));
    assert_eq!(outcome.params.text("user"), Some("alice"));
    assert_eq!(outcome.params.text("application_name"), Some("test"));
    let cluster = databases().cluster(("alice", "db")).unwrap();
    assert_eq!(cluster.shards().len(), 2);
    for pool in cluster.shards().iter().flat_map(|shard| shard.pools()) {
        let identity = pool.identity.unwrap();
        assert_eq!(identity.role(), "alice");
        assert!(pool.online.load(std::sync::atomic::Ordering::Relaxed));
        let parameters = jwt::startup_parameters(&Some(identity));
        assert!(parameters.iter().any(|own| own.name == "role" && own.value.as_str() == Some("alice")));
    }
}

#[tokio::test]
async fn whoever_is_not_who_the_token_says_stays_outside() {
    let _alone = ready().await;
    let refused = "28000\0Mauthentication failed for user \"bob\"";
    login_with("bob", &token("alice", 60), &[]).await.is_refused_with(refused);
    login_with("bob", &token("bob", -3600), &[]).await.is_refused_with(refused);
    login_with("bob", "no token", &[]).await.is_refused_with(refused);
    login_with("bob", &token("bob", 60), &[("role", "alice")]).await.is_refused_with(refused);
    login_with("bob", &token("bob", 60), &[("x\" TO 1; RESET ROLE; --", "1")]).await.is_refused_with(refused);
    login_with("bob", &"x".repeat(100_000), &[]).await.is_refused_with(refused);
    assert!(databases().cluster(("bob", "db")).is_err());
}

#[tokio::test]
async fn a_role_that_does_not_exist_ends_the_login_and_leaves_no_pool() {
    let _alone = ready().await;
    login_with("nobody", &token("nobody", 60), &[]).await.is_refused_with("28000");
    assert!(databases().cluster(("nobody", "db")).is_err());
}

#[tokio::test]
async fn users_with_passwords_are_left_alone() {
    let _alone = ready().await;
    assert!(matches!(login_with("service", "x", &[]).await.login, Login::Other));
    assert_eq!(jwt::password_auth_type(&AuthType::Jwt), AuthType::Scram);
    assert_eq!(jwt::password_auth_type(&AuthType::Md5), AuthType::Md5);
}

#[tokio::test]
async fn nothing_of_a_read_only_pool_is_a_primary() {
    let _alone = ready().await;
    let _session = login("reader").await;
    let all = databases();
    let reader = all.databases.iter().find(|(user, _)| user.user.starts_with("reader#")).unwrap();
    for shard in reader.1.shards() {
        assert!(!shard.pools().is_empty() && shard.pools().iter().all(|pool| pool.is_replica));
    }
    login_with("reader", &token("reader", 60), &[("pgdog.role", "primary")]).await.is_refused_with("28000");
}

#[tokio::test]
async fn the_guard_stands_in_front_of_every_message() {
    let _alone = ready().await;
    let mut client = Client { jwt: Some(login("alice").await), ..Default::default() };
    let mut engine = QueryEngine::default();
    let text = |name: &str, query: &str| Text { name: name.into(), query: query.into() };
    let good = || ProtocolMessage::Parse(text("", "SELECT 1"));
    assert!(client.request(&mut engine, vec![ProtocolMessage::Query(text("", "SELECT 1"))]).await.unwrap());
    for bad in [
        ProtocolMessage::Query(text("", "SET role TO bob")),
        ProtocolMessage::Query(text("", "SET \"x\"\"y\" TO bob")),
        ProtocolMessage::Parse(text("", "SELECT 1; SET role TO bob")),
        ProtocolMessage::Parse(text("", "not SQL")),
        ProtocolMessage::Bind(text("__pgdog_1", "")),
        ProtocolMessage::Describe(text("__pgdog_1", "")),
        ProtocolMessage::Close(text("__pgdog_1", "")),
        ProtocolMessage::Fastpath(()),
        ProtocolMessage::Other('F'),
    ] {
        let sent = client.stream.sent.len();
        assert!(!client.request(&mut engine, vec![good(), bad, ProtocolMessage::Sync(())]).await.unwrap());
        let said: Vec<u8> = client.stream.sent[sent..].iter().map(|message| message[0]).collect();
        assert_eq!(said, *b"EZ");
        assert_eq!(client.stream.flushed, client.stream.sent.len());
    }
    assert!(client.request(&mut engine, vec![good(), ProtocolMessage::Sync(())]).await.unwrap());
}

#[tokio::test]
async fn a_refusal_fails_the_transaction_on_its_server() {
    let _alone = ready().await;
    let session = login("alice").await;
    let bad = || vec![ProtocolMessage::Query(Text { name: String::new(), query: "SET role TO bob".into() })];
    let mut client = Client { jwt: Some(session), transaction: Some(TransactionType::ReadWrite), ..Default::default() };
    let mut engine = QueryEngine { backend: Connection(Binding::Direct(Box::new(Server::new(None, false)), 0)) };
    assert!(!client.request(&mut engine, bad()).await.unwrap());
    assert_eq!(client.transaction, Some(TransactionType::ErrorReadWrite));
    assert_eq!(client.stream.sent.last().unwrap()[5], b'E');
    let Binding::Direct(server, _) = &*engine.backend else { panic!("the server is gone") };
    assert!(server.executed[0].starts_with("ROLLBACK TO SAVEPOINT"));
}

#[tokio::test]
async fn a_server_that_code_made_somebody_else_is_led_back_or_closed() {
    let _alone = ready().await;
    let _session = login("alice").await;
    let pool = databases().cluster(("alice", "db")).unwrap().shards()[0].pools()[0].clone();
    let mut server = Server::new(pool.identity.clone(), false);
    jwt::verify(&mut server).await.unwrap();
    server.role = "bob".into();
    jwt::verify(&mut server).await.unwrap();
    assert_eq!((server.role.as_str(), server.stats.0), ("alice", State::Idle));
    (server.role, server.deaf) = ("bob".into(), true);
    assert!(matches!(jwt::verify(&mut server).await, Err(BackendError::NotInSync)));
    assert_eq!(server.stats.0, State::ForceClose);
    jwt::verify(&mut Server::new(None, false)).await.unwrap();
}

#[tokio::test]
async fn a_session_that_keeps_its_server_asks_again_where_code_has_run() {
    let _alone = ready().await;
    let session = login("alice").await;
    let pool = databases().cluster(("alice", "db")).unwrap().shards()[0].pools()[0].clone();
    let mut client = Client { jwt: Some(session), ..Default::default() };
    let server = Server::new(pool.identity, false);
    let mut engine = QueryEngine { backend: Connection(Binding::Direct(Box::new(server), 0)) };
    let query = |sql: &str| vec![ProtocolMessage::Query(Text { name: String::new(), query: sql.into() })];
    assert!(client.request(&mut engine, query("SELECT own()")).await.unwrap());
    if let Binding::Direct(server, _) = &mut *engine.backend {
        (server.role, server.deaf) = ("bob".into(), true);
    }
    assert!(client.request(&mut engine, query("SELECT 1")).await.is_err());
    assert!(!engine.backend.connected());
}

/// The configuration, with another file.
fn with_text(change: impl FnOnce(String) -> String) -> ConfigAndUsers {
    ConfigAndUsers { config_text: config().config_text.clone().map(change), ..(*config()).clone() }
}

/// With a request of its own, for as long as the session lasts.
async fn outlives(client: &mut Client, engine: &mut QueryEngine, ending: &mut Ending, sql: &str) -> bool {
    let request = vec![ProtocolMessage::Query(Text { name: String::new(), query: sql.into() })];
    client.outlived(engine, ending, request).await.unwrap()
}

#[tokio::test]
async fn what_runs_ends_with_its_session() {
    let _alone = ready().await;
    set(with_text(|text| text + "[jwt]\nexpiry_grace = 0\n")).unwrap();
    let session = Some(login("alice").await);
    let mut ending = Session::ending(&session);
    let pid = FrontendPid(4711);
    let mut client = Client { jwt: session, key: BackendKeyData(pid.0), ..Default::default() };
    let mut engine = QueryEngine::default();
    assert!(!outlives(&mut client, &mut engine, &mut ending, "SELECT 1").await);
    assert!(client.client_request.messages.is_empty(), "a request that has run runs once");
    assert!(!outlives(&mut client, &mut engine, &mut ending, "SET role TO bob").await, "the guard has it first");
    assert_eq!(client.stream.sent.last().unwrap()[0], b'Z');

    let server = Server::new(None, false);
    engine.backend = Connection(Binding::Direct(Box::new(server), 0));
    let superseded = async { set(with_text(|text| text.replace("\"app\"", "\"other\""))).unwrap() };
    let (is_over, ()) = tokio::join!(outlives(&mut client, &mut engine, &mut ending, "SELECT forever()"), superseded);
    assert!(is_over);
    assert!(!engine.backend.connected() && CANCELLED.lock().contains(&pid));
    assert!(String::from_utf8_lossy(client.stream.sent.last().unwrap()).contains("57P01"));

    let mut other = Client::default();
    let request = vec![ProtocolMessage::Sync(())];
    assert!(!other.outlived(&mut engine, &mut ending, request).await.unwrap(), "users with passwords are PgDog's");
    assert_eq!(other.client_request.messages.len(), 1);
}

#[tokio::test]
async fn a_reload_keeps_the_pools_of_a_configuration_that_says_the_same() {
    let _alone = ready().await;
    let session = Some(login("alice").await);
    let mut ending = Session::ending(&session);
    let same = with_text(|text| text + "port = 7\n");
    set(same.clone()).unwrap();
    reload(&same);
    assert!(databases().cluster(("alice", "db")).is_ok());
    let changed = with_text(|text| text.replace("\"app\"", "\"other\""));
    set(changed.clone()).unwrap();
    reload(&changed);
    assert!(databases().cluster(("alice", "db")).is_err());
    let end = ending.due(true).await;
    assert!(String::from_utf8_lossy(&Session::farewell(end).0).contains("57P01"));
}

#[tokio::test]
async fn a_configuration_that_cannot_be_kept_is_refused_whole() {
    let _alone = ready().await;
    let before = config();
    let refused = |change: fn(&mut ConfigAndUsers)| {
        let mut changed = (*before).clone();
        change(&mut changed);
        set(changed).unwrap_err().to_string()
    };
    assert!(refused(|new| new.config.general.passthrough = true).contains("passthrough_auth"));
    assert!(refused(|new| new.config.general.pub_sub = true).contains("pub_sub_channel_size"));
    assert!(refused(|new| new.config.general.auth_type = AuthType::Scram).contains("auth_type"));
    assert!(
        refused(|new| new.config_text = Some("[general]\nauth_type = \"jwt\"\n".into()))
            .contains("jwt_public_key_file")
    );
    assert!(matches!(login_with("alice", &token("alice", 60), &[]).await.login, Login::In(_)));
}
