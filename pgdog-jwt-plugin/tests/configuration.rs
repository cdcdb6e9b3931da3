//! What the object makes of its configuration file.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use std::time::{Duration, Instant};

use pgdog_jwt_plugin::boundary::Field;
use serde_json::json;
use support::loader::{Answer, Loaded, Login};
use support::{Folder, GENERAL, JWT, PROVISION, loaded, token};

fn alice(plugin: &Loaded) -> Answer {
    plugin.login(Login::of("alice", &token("alice", json!({}))))
}

#[test]
fn nobody_comes_in_before_there_is_a_configuration() {
    let plugin = Loaded::new();
    assert_eq!(alice(&plugin).reason(), "not_configured");
    assert!(!plugin.configure_with_nothing());
    assert!(!plugin.configure(&Folder::new().path("elsewhere.toml")));
    assert_eq!(alice(&plugin).reason(), "not_configured");
}

#[test]
fn what_the_hook_cannot_carry_is_an_error() {
    let folder = Folder::new();
    let plugin = Loaded::new();
    let base = format!("{GENERAL}{PROVISION}");
    for text in [
        base.clone(),
        format!("{base}[jwt]\non_expiry = \"disconnect\"\n"),
        format!("{base}[jwt]\non_expiry = \"refuse_new_transactions\"\n"),
        format!("{base}{JWT}[jwt.session.variables]\n\"app.tenant\" = \"{{tenant}}\"\n"),
        format!("{base}{JWT}guard = \"strict\"\n"),
        format!("{base}{JWT}max_pools = 3\n"),
        format!("{base}{JWT}shared_pool = true\n"),
        format!("{base}{JWT}allow_privileged_roles = true\n"),
        format!("{base}{JWT}password_auth_type = \"md5\"\n"),
        format!("{base}{JWT}max_sessions_per_subject = 1\n"),
        format!("{base}{JWT}[jwt.identity]\nmode = \"login\"\n"),
        format!("{base}{JWT}[jwt.identity]\nmode = \"passthrough\"\n"),
        format!("{base}{JWT}[jwt.claims]\npool_mode = \"mode\"\n"),
        format!("{base}{JWT}[plugin]\nuser = \"users.toml\"\n"),
        format!("{base}{JWT}[plugin]\nusers = \"missing.toml\"\n"),
        format!("{base}{JWT}nonsense = 1\n"),
        format!("{base}jwt_audienc = \"app\"\n{JWT}"),
        format!("{base}{JWT}[[databases]]\nname = \"app\"\n"),
        "[general\n".to_owned(),
    ] {
        folder.configure(&text);
        assert!(!plugin.configure(&folder.config()), "{text}");
        assert_eq!(alice(&plugin).reason(), "not_configured");
    }
    folder.configure(&format!("{base}{JWT}"));
    assert!(plugin.configure(&folder.config()));
}

#[test]
fn a_configuration_that_is_no_good_leaves_the_one_before() {
    let folder = Folder::new();
    let plugin = loaded(&folder);
    folder.configure("nonsense");
    assert!(!plugin.configure(&folder.config()));
    assert!(alice(&plugin).is_allow());
    folder.configure(&format!("{}{PROVISION}{JWT}", GENERAL.replace("\"app\"", "\"other\"")));
    assert!(plugin.configure(&folder.config()));
    assert_eq!(alice(&plugin).reason(), "wrong_audience");
}

/// Waits for logins to have another answer. The time is for a test that fails.
fn await_answer(plugin: &Loaded, is_it: impl Fn(&Answer) -> bool) {
    let begun = Instant::now();
    while !is_it(&alice(plugin)) {
        assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", alice(plugin));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn files_that_change_are_read_again() {
    let folder = Folder::new();
    folder.write("users.toml", "");
    let with_users = format!("{GENERAL}{PROVISION}{JWT}[plugin]\nusers = \"users.toml\"\n");
    folder.configure(&with_users);
    let plugin = loaded(&folder);
    assert!(alice(&plugin).is_allow());

    folder.write("users.toml", "[[users]]\nname = \"alice\"\ndatabase = \"app\"\npassword = \"x\"\n");
    await_answer(&plugin, Answer::is_skip);
    folder.configure(&with_users.replace("\"gate\"", "\"door\"").replace("[plugin]\nusers = \"users.toml\"\n", ""));
    await_answer(&plugin, |answer| answer.text(Field::ServerUser) == Some("door"));
}

#[test]
fn a_key_that_has_changed_is_read_again() {
    let folder = Folder::new();
    let plugin = loaded(&folder);
    assert!(alice(&plugin).is_allow());
    let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    folder.write("key.pem", &other.public_key_pem());
    await_answer(&plugin, |answer| !answer.is_allow() && answer.reason() == "bad_signature");
}
