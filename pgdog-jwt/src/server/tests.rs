//! Grants as server connections: what is sent, what is believed.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::*;
use crate::AuthGrant;
use crate::config::{IdentityMode, Secret};

fn grant() -> AuthGrant {
    AuthGrant {
        user: "alice".to_owned(),
        mode: IdentityMode::Role,
        account: None,
        server_role: Some("alice".to_owned()),
        server_user: Some("gate".to_owned()),
        server_password: Some(Secret::new("hunter2")),
        token: None,
        guarded: true,
        read_only: false,
        provision_read_only: false,
        pool_mode: None,
        max_connections: None,
        provision: true,
        settings: vec![pair("app.tenant", "acme"), pair("app.user", "")],
        kept_claims: Default::default(),
        claims: None,
        subject: "auth0|5".to_owned(),
        issuer: Some("https://issuer.example".to_owned()),
        token_id: Some("t1".to_owned()),
        issued_at: None,
        expires_at: SystemTime::UNIX_EPOCH,
        valid_until: SystemTime::UNIX_EPOCH,
        fingerprint: None,
        groups: None,
    }
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// What the answer to a question has to repeat.
fn nonce(question: &Question<'_>) -> &'static str {
    question.parameters()[0].to_owned().leak()
}

/// What PostgreSQL says of a connection that is all that the grant wants.
fn answer(nonce: &'static str) -> Vec<Option<&'static str>> {
    vec![Some("alice"), Some("gate"), Some("f"), Some("f"), Some("77"), Some(nonce), Some("acme"), Some("")]
}

fn confirmed(grant: &AuthGrant, change: impl Fn(&mut Vec<Option<&'static str>>)) -> Result<(), Mistaken> {
    let question = grant.question().unwrap();
    let mut row = answer(nonce(&question));
    change(&mut row);
    question.confirm(&row).map(|who| assert_eq!(who.process, Some(77)))
}

#[test]
fn the_answer_to_this_question_is_believed() {
    assert_eq!(confirmed(&grant(), |_| {}), Ok(()));
}

#[test]
fn an_answer_that_a_client_could_have_written_is_not_believed() {
    let grant = grant();
    let earlier = nonce(&grant.question().unwrap());
    for guess in [Some(earlier), Some(""), None, Some("$1"), Some("a new random value for each time")] {
        assert_eq!(confirmed(&grant, |row| row[5] = guess), Err(Mistaken::Stale), "{guess:?}");
    }
    assert_eq!(confirmed(&grant, |row| row.truncate(5)), Err(Mistaken::Stale));
    // The right nonce somewhere else.
    let moved = confirmed(&grant, |row| row.insert(0, None));
    assert_eq!(moved, Err(Mistaken::Stale));
}

#[test]
fn another_role_account_or_setting_is_found() {
    let grant = grant();
    let other =
        |wanted: &str, actual: &str| Err(Mistaken::Other { wanted: wanted.to_owned(), actual: actual.to_owned() });
    assert_eq!(confirmed(&grant, |row| row[0] = Some("bob")), other("alice", "bob"));
    assert_eq!(confirmed(&grant, |row| row[0] = Some("Alice")), other("alice", "Alice"));
    assert_eq!(confirmed(&grant, |row| row[0] = None), other("alice", ""));
    assert_eq!(confirmed(&grant, |row| row[1] = Some("postgres")), other("gate", "postgres"));
    assert_eq!(confirmed(&grant, Vec::clear), other("alice", ""), "the role is gone");
    for privileged in [Some("t"), None, Some("")] {
        let found = confirmed(&grant, |row| row[2] = privileged);
        assert_eq!(found, Err(Mistaken::Privileged("alice".to_owned())), "{privileged:?}");
    }
    let setting = |name: &str| Err(Mistaken::Setting(name.to_owned()));
    assert_eq!(confirmed(&grant, |row| row[6] = Some("other")), setting("app.tenant"));
    assert_eq!(confirmed(&grant, |row| row[6] = None), setting("app.tenant"));
    assert_eq!(confirmed(&grant, |row| row.truncate(7)), setting("app.user"), "an empty value is not none");
}

#[test]
fn a_read_only_subject_is_on_a_replica() {
    let reads = AuthGrant { read_only: true, ..grant() };
    for word in [Some("f"), None, Some("")] {
        assert_eq!(confirmed(&reads, |row| row[3] = word), Err(Mistaken::NotReplica), "{word:?}");
    }
    assert_eq!(confirmed(&reads, |row| row[3] = Some("t")), Ok(()));
    let grant = grant();
    let question = grant.question().unwrap().on_a_replica();
    let row = answer(nonce(&question));
    assert_eq!(question.confirm(&row), Err(Mistaken::NotReplica));
}

#[test]
fn a_host_says_which_account_and_which_privilege() {
    let grant = grant();
    let question = grant.question().unwrap().logged_in_as("other").of_any_privilege();
    let mut row = answer(nonce(&question));
    (row[1], row[2]) = (Some("other"), Some("t"));
    assert!(question.confirm(&row).is_ok());
}

#[test]
fn a_mapped_account_is_judged_behind_its_role() {
    let grant = grant();
    let asked = || grant.question().unwrap().of_a_mapped_account();
    let privileged = Err(Mistaken::Privileged("gate".to_owned()));
    for (account, expected) in [(None, privileged.clone()), (Some("t"), privileged), (Some("f"), Ok(()))] {
        let question = asked();
        let mut row = answer(nonce(&question));
        row.push(account);
        assert_eq!(question.confirm(&row).map(|_| ()), expected, "{account:?}");
    }
    let question = asked().of_any_privilege();
    let mut row = answer(nonce(&question));
    row.push(Some("t"));
    assert!(question.confirm(&row).is_ok());
    assert!(asked().text().contains("session_user)") && asked().sql().contains("session_user)"));
}

#[test]
fn without_a_role_the_account_is_the_identity() {
    let account = AuthGrant { server_role: None, ..grant() };
    let found = confirmed(&account, |row| row[0] = Some("gate"));
    assert_eq!(found, Ok(()));
    assert!(confirmed(&account, |_| {}).is_err());
}

#[test]
fn what_is_somebodys_is_in_no_text() {
    let grant = grant();
    let question = grant.question().unwrap();
    let (sql, text) = (question.sql(), question.text());
    for private in ["alice", "acme", "gate", "auth0"] {
        assert!(!sql.contains(private) && !text.contains(private), "{private}: {sql} {text}");
    }
    assert_eq!(question.parameters()[1..], ["app.tenant", "app.user"]);
    assert!(sql.contains("$3, true)") && !sql.contains("app."), "{sql}");
    assert!(text.contains("pg_catalog.current_setting(E'app.tenant', true)"), "{text}");
}

#[test]
fn the_role_and_the_settings_come_with_the_start_up_packet() {
    let grant = grant();
    let own = [("role", "alice"), ("app.tenant", "acme"), ("app.user", "")];
    assert_eq!(grant.startup_parameters(), own);
    assert_eq!(grant.startup_options().as_deref(), Ok("-c role=alice -c app.tenant=acme -c app.user="));
    let itself = AuthGrant { server_user: Some("alice".to_owned()), ..grant };
    assert_eq!(itself.startup_parameters(), own[1..], "the account is the role already");
}

#[test]
fn a_value_cannot_leave_its_option() {
    let hostile = AuthGrant { settings: vec![pair("app.a", "x -c role=postgres\\ '\t\n-c")], ..grant() };
    let options = hostile.startup_options().unwrap();
    assert_eq!(options, "-c role=alice -c app.a=x\\ \\-c\\ role=postgres\\\\\\ \\'\\\t\\\n\\-c");
    // A server may take one byte of the character for white space.
    let disguised = AuthGrant { settings: vec![pair("app.a", "x\u{a0}-crole=postgres")], ..grant() };
    assert_eq!(disguised.startup_options(), Err(NotAscii("app.a".to_owned())));
    let role = AuthGrant { server_role: Some("é".to_owned()), ..grant() };
    assert!(role.startup_options().is_err() && role.startup_parameters()[0] == ("role", "é"));
}

#[test]
fn what_says_who_the_session_is_is_not_the_clients() {
    let grant = grant();
    for name in ["role", "ROLE", "Session_Authorization", "app.tenant", "APP.Tenant"] {
        assert!(grant.reserves(name), "{name}");
    }
    assert!(!grant.reserves("search_path") && !grant.reserves("app.tenants"));
}

#[test]
fn equal_grants_have_equal_keys() {
    let hash = |key: &PoolKey| {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        hasher.finish()
    };
    let (one, mut later) = (grant().pool_key(), grant());
    later.token_id = Some("t2".to_owned());
    later.expires_at += Duration::from_secs(60);
    later.valid_until += Duration::from_secs(60);
    later.settings.reverse();
    later.token = Some(Secret::new("another"));
    let later = later.pool_key();
    assert!(one == later && hash(&one) == hash(&later));
}

#[test]
#[allow(clippy::mutable_key_type, reason = "a secret is equal to itself whatever its program has printed since")]
fn grants_that_differ_in_what_a_connection_is_have_different_keys() {
    let changes: [fn(&mut AuthGrant); 15] = [
        |_| {},
        |grant| grant.user = "bob".to_owned(),
        |grant| grant.issuer = None,
        |grant| grant.subject = "auth0|6".to_owned(),
        |grant| grant.mode = IdentityMode::Login,
        |grant| grant.server_user = None,
        |grant| grant.server_password = Some(Secret::new("hunter3")),
        |grant| grant.server_role = None,
        |grant| grant.settings[0].1 = "acme2".to_owned(),
        |grant| grant.settings = vec![pair("app.tenant", "acme")],
        |grant| grant.settings = vec![pair("app.tenant", ""), pair("app.user", "acme")],
        |grant| grant.read_only = true,
        |grant| grant.provision_read_only = true,
        |grant| grant.guarded = false,
        |grant| grant.claims = Some(Arc::default()),
    ];
    let key = |change: &fn(&mut AuthGrant)| {
        let mut grant = grant();
        change(&mut grant);
        grant.pool_key()
    };
    let keys: HashSet<PoolKey> = changes.iter().map(key).collect();
    assert_eq!(keys.len(), changes.len());
}

#[test]
fn secrets_are_not_printed() {
    let shown = format!("{:?}", grant().pool_key());
    assert!(shown.contains("alice") && !shown.contains("hunter2") && !shown.contains("acme"), "{shown}");
}
