//! How long sessions last, and how many there may be.

use std::time::Duration;

use super::*;

fn life(keys: &str) -> Life {
    load(&format!("{TOKENS}[jwt]\n{keys}"), "").config.jwt.expect("token users").life
}

#[test]
fn sessions_end_with_their_token_unless_the_file_says_otherwise() {
    let default = life("");
    assert_eq!((default.on_expiry, default.expiry_grace), (OnExpiry::Disconnect, Duration::from_secs(10)));
    assert_eq!((default.max_sessions_per_subject, default.max_sessions_per_token), (None, None));
    assert_eq!(default.replay, Replay::Anywhere);
    let set = life(
        "on_expiry = \"refuse_new_transactions\"\nexpiry_grace = 0\nmax_sessions_per_subject = 3\n\
         max_sessions_per_token = 1\nreplay = \"address\"\n",
    );
    assert_eq!((set.on_expiry, set.expiry_grace), (OnExpiry::RefuseNewTransactions, Duration::ZERO));
    assert_eq!((set.max_sessions_per_subject, set.max_sessions_per_token), (Some(3), Some(1)));
    assert_eq!(set.replay, Replay::SameAddress);
    assert_eq!(life("on_expiry = \"ignore\"\nmax_sessions_per_subject = 0\n").on_expiry, OnExpiry::Ignore);
}

#[test]
fn a_grace_without_end_is_refused() {
    let text = |line: &str| format!("{TOKENS}[jwt]\n{line}\n");
    assert!(error(&text("expiry_grace = 86400001"), "").contains("expiry_grace"));
    assert!(error(&text("on_expiry = \"kill\""), "").contains("on_expiry"));
    assert!(error(&text("max_sessions_per_token = -1"), "").contains("max_sessions_per_token"));
    assert!(error(&text("replay = \"yes\""), "").contains("replay"));
}
