//! What tests have in common, and what they say of several modules together.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use pgdog_jwt::config::IdentityMode;
use pgdog_jwt::reader::Surroundings;
use pgdog_jwt::server::Mistaken;
use pgdog_jwt::{AuthGrant, Authenticator};
use pgdog_jwt_guard::Account;

use crate::admission::{Entry, Inadmissible, admit};
use crate::config::{Config, PATCHED};
use crate::identity::Identity;
use crate::life::{End, Generation, Life, OnExpiry};

/// A subject that is to be the role of its name.
pub(crate) fn grant(user: &str) -> AuthGrant {
    let now = SystemTime::now();
    AuthGrant {
        user: user.to_owned(),
        mode: IdentityMode::Role,
        account: None,
        server_role: Some(user.to_owned()),
        server_user: Some("gate".to_owned()),
        server_password: None,
        token: None,
        guarded: true,
        read_only: false,
        provision_read_only: false,
        pool_mode: None,
        max_connections: None,
        provision: true,
        settings: Vec::new(),
        kept_claims: Default::default(),
        claims: None,
        subject: user.to_owned(),
        issuer: None,
        token_id: None,
        issued_at: Some(now),
        expires_at: now + Duration::from_secs(60),
        valid_until: now + Duration::from_secs(60),
        fingerprint: None,
        groups: None,
    }
}

const CLIENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5);
const KEY: &str = include_str!("test_key.pem");

fn read(text: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key.pem");
    std::fs::write(&key, KEY).unwrap();
    let text = text.replace("KEY", &key.display().to_string());
    let around = Surroundings { users: vec!["service"], servers: Vec::new(), env: &|_| None };
    Config::read(PATCHED, "pgdog.toml", &text, &around, None).map(|(config, _)| config.unwrap())
}

const GENERAL: &str = "[general]\nauth_type = \"jwt\"\njwt_public_key_file = \"KEY\"\njwt_audience = \"app\"\n\
                       jwt_server_user = \"gate\"\njwt_user_auto_provision = true\n";

#[test]
fn a_key_that_cannot_be_honoured_is_an_error() {
    assert!(read(GENERAL).is_ok());
    for (key, said) in [
        ("shared_pool = true", "shared_pool"),
        ("mode = \"login\"", "login"),
        ("mode = \"passthrough\"", "passthrough"),
        ("on_expiry = \"refuse_new_transactions\"", "refuse_new_transactions"),
        ("max_sessions_per_subject = 3", "max_sessions_per_subject"),
        ("nonsense = 1", "nonsense"),
    ] {
        let section = if key.starts_with("mode") { "[jwt.identity]" } else { "[jwt]" };
        let error = read(&format!("{GENERAL}{section}\n{key}\n")).err().expect(key);
        assert!(error.contains(said) && error.starts_with("pgdog.toml:"), "{error}");
    }
}

#[test]
fn a_user_with_a_password_is_no_token_user_unless_its_name_says_so() {
    let config = read(GENERAL).unwrap();
    assert!(config.is_token_user("alice", false) && !config.is_token_user("service", true));
    let config = read(&GENERAL.replace("jwt_audience", "jwt_user_suffix = \"@jwt\"\njwt_audience")).unwrap();
    assert!(config.is_token_user("alice@jwt", true) && !config.is_token_user("alice", false));
}

#[test]
fn each_identity_has_a_pool_of_its_own() {
    let config = read(GENERAL).unwrap();
    let admitted = |grant: &AuthGrant| admit(&config, grant, None, false, true).unwrap();
    let alice = admitted(&grant("alice"));
    assert_eq!(alice.pools.first().map(String::as_str), Some("alice"));
    assert_eq!(alice.login, "gate");
    let settings = vec![("app.tenant".to_owned(), "1".to_owned())];
    for other in [
        AuthGrant { settings, ..grant("alice") },
        AuthGrant { read_only: true, ..grant("alice") },
        AuthGrant { server_role: Some("bob".to_owned()), ..grant("alice") },
        AuthGrant { subject: "other".to_owned(), ..grant("alice") },
        AuthGrant { server_user: Some("elsewhere".to_owned()), ..grant("alice") },
    ] {
        let other = admitted(&other);
        assert_ne!(other.identity, alice.identity);
        assert_ne!(other.pools.last(), alice.pools.last());
    }
    let later = AuthGrant { token_id: Some("2".to_owned()), issued_at: None, ..grant("alice") };
    assert_eq!(admitted(&later).identity, alice.identity);
}

#[test]
fn a_user_that_is_not_named_needs_leave_to_have_a_pool() {
    let config = read(GENERAL).unwrap();
    let without = AuthGrant { provision: false, ..grant("alice") };
    assert_eq!(admit(&config, &without, None, false, true).err(), Some(Inadmissible::NotProvided));
    assert!(admit(&config, &without, Some(&Entry::default()), false, true).is_ok());
    let reader = Entry { read_only: Some(true), server_user: Some("own".to_owned()), ..Entry::default() };
    let reader = admit(&config, &without, Some(&reader), false, true).unwrap();
    assert!(reader.identity.is_read_only() && reader.login == "own");
    let entry = Entry { server_user: Some("own".to_owned()), ..Entry::default() };
    let mapped = AuthGrant { mode: IdentityMode::ServiceAccount, server_role: None, ..grant("alice") };
    assert_eq!(admit(&config, &mapped, Some(&entry), false, true).unwrap().login, "gate");
    let read_only = AuthGrant { read_only: true, ..grant("alice") };
    assert_eq!(admit(&config, &read_only, None, false, false).err(), Some(Inadmissible::NoReplica));
    let nobody = AuthGrant { server_user: None, ..grant("alice") };
    assert_eq!(admit(&config, &nobody, None, false, true).err(), Some(Inadmissible::NoAccount));
}

#[test]
fn a_connection_answers_for_all_that_it_must_be() {
    let settings = vec![("app.tenant".to_owned(), "1".to_owned())];
    let identity = Identity::new(&AuthGrant { settings, ..grant("alice") }, "gate", true, false);
    assert_eq!(
        identity.startup_parameters(),
        [("role", "alice"), ("app.tenant", "1"), ("standard_conforming_strings", "on"), ("client_encoding", "UTF8")]
    );
    assert!(identity.has_parameter("APP.Tenant") && identity.has_parameter("Role"));
    assert!(!identity.has_parameter("client_encoding"));
    let answer = |role: &str, recovery: &str, reading: &str| {
        let question = identity.question().unwrap();
        let nonce = question.parameters()[0].to_owned();
        let row = [role, "gate", "f", recovery, "1", &nonce, "1", reading, "UTF8"].map(|value| Some(value.to_owned()));
        Identity::check(question, &row)
    };
    assert_eq!(answer("alice", "t", "on"), Ok(()));
    assert!(matches!(answer("bob", "t", "on"), Err(Mistaken::Other { .. })));
    assert_eq!(answer("alice", "f", "on"), Err(Mistaken::NotReplica));
    assert!(matches!(answer("alice", "t", "off"), Err(Mistaken::Setting(_))));
    assert!(Identity::check(identity.question().unwrap(), &[]).is_err());
}

fn authenticator() -> std::sync::Arc<Authenticator> {
    read(GENERAL).unwrap().authenticator
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_when_nothing_runs_or_when_the_grace_is_over() {
    let expired = AuthGrant { valid_until: SystemTime::now(), ..grant("alice") };
    let rule = OnExpiry::Disconnect { grace: Duration::from_secs(10) };
    let life = Life::begin(&expired, authenticator().revocations().clone(), rule, &Generation::default(), CLIENT);
    let begun = tokio::time::Instant::now();
    assert_eq!(life.ending().due(true).await, End::Expired);
    assert!(begun.elapsed() < Duration::from_secs(1) && life.has_ended());
    assert_eq!(life.ending().due(false).await, End::Expired);
    assert!(begun.elapsed() >= Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_session_may_outlive_its_token_where_the_configuration_says_so() {
    let expired = AuthGrant { valid_until: SystemTime::now(), ..grant("alice") };
    let life =
        Life::begin(&expired, authenticator().revocations().clone(), OnExpiry::Ignore, &Generation::default(), CLIENT);
    let due = tokio::time::timeout(Duration::from_secs(3600), async { life.ending().due(true).await });
    assert!(due.await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_with_the_configuration_that_let_it_in() {
    let generation = Generation::default();
    let life =
        Life::begin(&grant("alice"), authenticator().revocations().clone(), OnExpiry::Ignore, &generation, CLIENT);
    generation.end();
    assert_eq!(life.ending().due(true).await, End::Superseded);
}

#[test]
fn a_configuration_that_says_the_same_keeps_its_sessions() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key.pem");
    std::fs::write(&key, KEY).unwrap();
    let text = GENERAL.replace("KEY", &key.display().to_string());
    let around = Surroundings { users: Vec::new(), servers: Vec::new(), env: &|_| None };
    let read = |text: &str, previous| Config::read(PATCHED, "pgdog.toml", text, &around, previous).unwrap().0.unwrap();
    let first = read(&text, None);
    assert!(first.generation() == read(&format!("{text}port = 7\n"), Some(&first)).generation());
    let changed = format!("{text}jwt_user_auto_provision_read_only = true\n");
    assert!(first.generation() != read(&changed, Some(&first)).generation());
}

const LEVELS: &str = "[jwt.claims]\npermission_level = \"level\"\npermission_levels = [\"refuse\", \"role:owner\"]\n";
const ACCOUNTS: &str =
    "[jwt.identity]\nmode = \"service_account\"\n[[jwt.role_mappings]]\nvalue = \"rw\"\nserver_user = \"app_rw\"\n";
const MAPPING: &str = "[[jwt.user_mappings]]\npattern = \".*\"\nuser = \"reports\"\n";

#[test]
fn the_standard_guard_on_a_shared_role_is_an_error_unless_it_is_accepted() {
    for shares in [LEVELS, ACCOUNTS, MAPPING] {
        let standard = format!("{GENERAL}[jwt]\nguard = \"standard\"\n");
        let error = read(&format!("{standard}{shares}")).err().expect(shares);
        assert!(error.starts_with("pgdog.toml:8: \"guard\" = \"standard\" lets a subject change a role"), "{error}");
        let accepted = format!("{standard}standard_guard_on_shared_roles = \"accept\"\n{shares}");
        assert!(read(&accepted).is_ok(), "{accepted}");
        assert!(read(&format!("{GENERAL}{shares}")).is_ok(), "{shares}");
    }
    assert!(read(&format!("{GENERAL}[jwt]\nguard = \"standard\"\n")).is_ok());
}

#[test]
fn what_belongs_to_a_role_of_several_subjects_is_guarded() {
    let account = |text: &str, grant: &AuthGrant| read(text).unwrap().policy(grant, false).account;
    let owner = AuthGrant { server_role: Some("owner".to_owned()), ..grant("alice") };
    let levels = format!("{GENERAL}{LEVELS}");
    assert_eq!((account(&levels, &owner), account(&levels, &grant("alice"))), (Account::Shared, Account::Own));
    assert_eq!(account(&format!("{GENERAL}{MAPPING}"), &grant("reports")), Account::Shared);
    assert_eq!(account(GENERAL, &AuthGrant { server_role: None, ..grant("alice") }), Account::Shared);
    // The account of everybody's connections, should a token ever lead to it.
    assert_eq!(account(GENERAL, &grant("gate")), Account::Shared);
}
