//! What the object says of logins.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use std::thread;

use pgdog_jwt_plugin::boundary::Field;
use serde_json::json;
use support::loader::{Loaded, Login};
use support::{Folder, GENERAL, JWT, PROVISION, loaded, now, token};

#[test]
fn a_token_lets_its_subject_in() {
    let plugin = loaded(&Folder::new());
    let answer = plugin.login(Login::of("alice", &token("alice", json!({}))));
    assert!(answer.is_allow(), "{answer:?}");
    assert_eq!(answer.text(Field::DerivedUser), Some("alice"));
    assert_eq!(answer.text(Field::ServerRole), Some("alice"));
    assert_eq!(answer.text(Field::ServerUser), Some("gate"));
    assert_eq!(answer.text(Field::ServerPassword), Some("geheim-gate"));
    assert_eq!((answer.flag(Field::ReadOnly), answer.flag(Field::Provision)), (None, Some(true)));
    assert_eq!(plugin.version(), env!("CARGO_PKG_VERSION"));
}

#[test]
fn each_reason_of_a_refusal_has_one_word() {
    let folder = Folder::new();
    folder.configure(&format!("{GENERAL}{PROVISION}{JWT}max_token_size = 2000\ndeny_roles = [\"admin\"]\n"));
    let plugin = loaded(&folder);
    let good = token("alice", json!({}));
    let other = token("bob", json!({}));
    let (body, signature) = (good.rsplit_once('.').unwrap().0, other.rsplit_once('.').unwrap().1);
    let forged = format!("{body}.{signature}");
    let long = "x".repeat(3000);
    for (user, credential, reason) in [
        ("alice", "", "empty_credential"),
        ("alice", "a password", "malformed_token"),
        ("alice", &*forged, "bad_signature"),
        ("alice", &*long, "token_too_large"),
        ("bob", &*good, "user_mismatch"),
        ("alice", &*token("alice", json!({ "exp": now() - 3600 })), "expired"),
        ("alice", &*token("alice", json!({ "nbf": now() + 3600 })), "not_yet_valid"),
        ("alice", &*token("alice", json!({ "aud": "other" })), "wrong_audience"),
        ("alice", &*token("alice", json!({ "exp": null })), "missing_claim"),
        ("admin", &*token("admin", json!({})), "role_denied"),
        ("gate", &*token("gate", json!({})), "role_denied"),
    ] {
        let answer = plugin.login(Login::of(user, credential));
        assert_eq!(answer.reason(), reason);
        assert_eq!(answer, plugin.login(Login::of(user, credential)), "twice the same");
    }
}

#[test]
fn a_token_travels_by_tls_or_within_the_machine() {
    let folder = Folder::new();
    let plugin = loaded(&folder);
    let token = token("alice", json!({}));
    let login = Login::of("alice", &token);
    for client_addr in ["192.0.2.1:5000", "192.0.2.1", "2001:db8::1", "nonsense", ""] {
        assert_eq!(plugin.login(Login { client_addr, ..login }).reason(), "plaintext", "{client_addr:?}");
        assert!(plugin.login(Login { client_addr, tls: true, ..login }).is_allow(), "{client_addr:?}");
    }
    for client_addr in ["127.0.0.1", "[::1]:5000", "::1"] {
        assert!(plugin.login(Login { client_addr, ..login }).is_allow(), "{client_addr:?}");
    }
    folder.configure(&format!("{GENERAL}{PROVISION}{JWT}allow_plaintext = true\n"));
    assert!(plugin.configure(&folder.config()));
    assert!(plugin.login(Login { client_addr: "192.0.2.1", ..login }).is_allow());
}

#[test]
fn who_has_a_password_and_who_has_another_name_is_skipped() {
    let folder = Folder::new();
    folder.write("users.toml", "[[users]]\nname = \"service\"\ndatabase = \"app\"\npassword = \"x\"\n");
    folder.configure(&format!("{GENERAL}{PROVISION}{JWT}[plugin]\nusers = \"users.toml\"\n"));
    let plugin = loaded(&folder);
    let service = token("service", json!({}));
    assert!(plugin.login(Login::of("service", &service)).is_skip());
    assert!(plugin.login(Login::of("service", "x")).is_skip());
    assert_eq!(plugin.login(Login::of("alice", "x")).reason(), "malformed_token");

    folder.configure(&format!("{GENERAL}{PROVISION}jwt_user_suffix = \"@jwt\"\n{JWT}"));
    assert!(plugin.configure(&folder.config()));
    let alice = token("alice", json!({}));
    assert!(plugin.login(Login::of("alice", &alice)).is_skip());
    let answer = plugin.login(Login::of("alice@jwt", &alice));
    assert_eq!(answer.text(Field::ServerRole), Some("alice"), "{answer:?}");
}

#[test]
fn without_auth_type_jwt_everybody_is_skipped() {
    let folder = Folder::new();
    folder.configure("[general]\nauth_type = \"scram\"\n");
    let plugin = loaded(&folder);
    assert!(plugin.login(Login::of("alice", &token("alice", json!({})))).is_skip());
}

#[test]
fn a_claim_makes_a_session_read_only_in_a_pool_of_its_own() {
    let folder = Folder::new();
    folder.configure(&format!("{GENERAL}{PROVISION}{JWT}[jwt.claims]\nread_only = \"ro\"\n"));
    let plugin = loaded(&folder);
    let answer = |claims| plugin.login(Login::of("alice", &token("alice", claims)));
    let (writes, reads) = (answer(json!({})), answer(json!({ "ro": true })));
    assert_eq!((writes.flag(Field::ReadOnly), reads.flag(Field::ReadOnly)), (None, Some(true)));
    assert_eq!(reads.text(Field::ServerRole), Some("alice"));
    assert_eq!(writes.text(Field::DerivedUser), Some("alice"));
    let own = reads.text(Field::DerivedUser).unwrap();
    assert!(own.starts_with("alice#"), "{own}");
    assert_eq!(answer(json!({ "ro": true })).text(Field::DerivedUser), Some(own));
}

#[test]
fn roles_of_a_token_lead_to_an_account() {
    let folder = Folder::new();
    folder.configure(&format!(
        "{GENERAL}{JWT}[jwt.identity]\nmode = \"service_account\"\n[[jwt.role_mappings]]\nclaim = \"roles\"\nvalue = \"rw\"\n\
         server_user = \"app_rw\"\nserver_password = \"geheim-rw\"\n[[jwt.role_mappings]]\nclaim = \"roles\"\nvalue = \"ro\"\n\
         server_user = \"app_ro\"\nserver_password = \"geheim-ro\"\n"
    ));
    let plugin = loaded(&folder);
    let answer = |roles| plugin.login(Login::of("alice", &token("alice", json!({ "roles": [roles] }))));
    let (writer, reader) = (answer("rw"), answer("ro"));
    for (answer, account, password) in [(&writer, "app_rw", "geheim-rw"), (&reader, "app_ro", "geheim-ro")] {
        assert!(answer.is_allow(), "{answer:?}");
        assert_eq!(answer.text(Field::ServerUser), Some(account));
        assert_eq!(answer.text(Field::ServerPassword), Some(password));
        assert_eq!((answer.text(Field::ServerRole), answer.flag(Field::Provision)), (None, Some(true)));
    }
    assert_ne!(writer.text(Field::DerivedUser), reader.text(Field::DerivedUser), "one user, two accounts");
    assert_eq!(answer("nothing").reason(), "no_role_mapping");
}

#[test]
fn a_level_leads_to_another_role_in_a_pool_of_its_own() {
    let folder = Folder::new();
    let levels = "[jwt.claims]\npermission_level = \"level\"\npermission_levels = [\"refuse\", \"read_write\", \"role:owner\"]\n";
    folder.configure(&format!("{GENERAL}{PROVISION}{JWT}{levels}"));
    let plugin = loaded(&folder);
    let answer = |level| plugin.login(Login::of("alice", &token("alice", json!({ "level": level }))));
    let owner = answer(2);
    assert_eq!(owner.text(Field::ServerRole), Some("owner"));
    assert_ne!(owner.text(Field::DerivedUser), answer(1).text(Field::DerivedUser));
    assert_eq!(answer(0).reason(), "permission_denied");
}

#[test]
fn users_without_a_pool_need_an_entry() {
    let folder = Folder::new();
    let users = "[[users]]\nname = \"alice\"\ndatabase = \"app\"\nserver_user = \"own\"\nserver_password = \"geheim-own\"\n\
                 [[users]]\nname = \"bob\"\ndatabase = \"app\"\nserver_role = \"other\"\n\
                 [[users]]\nname = \"carol\"\ndatabase = \"app\"\nread_only = true\n";
    folder.write("users.toml", users);
    folder.configure(&format!("{GENERAL}{JWT}[plugin]\nusers = \"users.toml\"\n"));
    let plugin = loaded(&folder);
    let answer = |user: &str| plugin.login(Login::of(user, &token(user, json!({}))));
    let alice = answer("alice");
    assert_eq!((alice.text(Field::ServerUser), alice.flag(Field::Provision)), (Some("own"), Some(false)));
    assert_eq!(alice.text(Field::ServerPassword), Some("geheim-own"));
    assert_eq!(answer("bob").reason(), "server_role_of_entry", "PgDog puts an entry's role above the token's");
    assert_eq!(answer("carol").flag(Field::ReadOnly), Some(true));
    assert_eq!(answer("dave").reason(), "no_pool");
}

#[test]
fn many_threads_log_in_at_once() {
    let plugin: &Loaded = &loaded(&Folder::new());
    let users: Vec<String> = (0..8).map(|number| format!("user{number}")).collect();
    thread::scope(|scope| {
        for user in &users {
            for _ in 0..4 {
                scope.spawn(move || {
                    let own = token(user, json!({}));
                    for _ in 0..20 {
                        let answer = plugin.login(Login::of(user, &own));
                        assert_eq!(answer.text(Field::ServerRole), Some(&**user), "{answer:?}");
                        assert_eq!(plugin.login(Login::of("alice", &own)).reason(), "user_mismatch");
                    }
                });
            }
        }
    });
}
