//! A remembered token is as good as the keys that it was verified by, and no better.

use std::sync::Arc;
use std::time::Duration;

use crate::common::issuer::{Behaviour, TestIssuer};
use crate::common::{TestKey, claims, file, jwks_config, key_set, pem_config, verdict};
use pgdog_jwt::config::JwksSource;
use pgdog_jwt::{Authenticator, JwtConfig};

/// The set is fetched again once a second, the shortest interval there is.
fn often(source: &mut JwksSource) {
    source.cache_ttl = Duration::from_millis(100);
}

fn authenticator(issuer: &TestIssuer, change: impl FnOnce(&mut JwksSource)) -> Authenticator {
    Authenticator::new(jwks_config(&issuer.url, change)).unwrap()
}

fn hits(authenticator: &Authenticator) -> u64 {
    authenticator.cache_stats().hits
}

fn misses(authenticator: &Authenticator) -> u64 {
    authenticator.cache_stats().misses
}

/// Waits until an answer that the issuer gives from now on is in use.
async fn refreshed(issuer: &TestIssuer) {
    // One fetch may be under way, and the last one asked for may not have been taken in.
    issuer.asked(issuer.hits() + 3).await;
}

#[tokio::test]
async fn a_key_that_is_removed_takes_its_remembered_tokens_along() {
    let (kept, removed) = (TestKey::p256("kept"), TestKey::p256("removed"));
    let issuer = TestIssuer::serving(key_set(&[&kept, &removed]));
    let authenticator = authenticator(&issuer, often);
    let (good, bad) = (kept.sign(&claims("alice")), removed.sign(&claims("alice")));
    for token in [&good, &bad, &good, &bad] {
        assert_eq!(verdict(&authenticator, "alice", token).await, "allowed");
    }
    assert_eq!((hits(&authenticator), misses(&authenticator)), (2, 2));

    issuer.now_serving(key_set(&[&kept]));
    refreshed(&issuer).await;

    assert_eq!(verdict(&authenticator, "alice", &bad).await, "unknown_kid", "the first login after the removal");
    assert_eq!(verdict(&authenticator, "alice", &good).await, "allowed", "a set with the same key in it");
    assert_eq!((hits(&authenticator), misses(&authenticator)), (2, 4), "each was verified anew");
    assert_eq!(authenticator.cache_stats().size, 1);
}

#[tokio::test]
async fn another_key_of_the_same_name_takes_remembered_tokens_along() {
    let (before, after) = (TestKey::p256("k"), TestKey::p256("k"));
    let issuer = TestIssuer::serving(key_set(&[&before]));
    let authenticator = authenticator(&issuer, often);
    let token = before.sign(&claims("alice"));
    assert_eq!(verdict(&authenticator, "alice", &token).await, "allowed");

    issuer.now_serving(key_set(&[&after]));
    refreshed(&issuer).await;

    assert_eq!(verdict(&authenticator, "alice", &token).await, "bad_signature");
    assert_eq!((hits(&authenticator), authenticator.cache_stats().size), (0, 0));
}

#[tokio::test]
async fn a_key_that_is_renamed_takes_remembered_tokens_along() {
    let mut key = TestKey::p256("before");
    let issuer = TestIssuer::serving(key_set(&[&key]));
    let authenticator = authenticator(&issuer, often);
    let token = key.sign(&claims("alice"));
    assert_eq!(verdict(&authenticator, "alice", &token).await, "allowed");

    key.kid = "after".to_owned();
    issuer.now_serving(key_set(&[&key]));
    refreshed(&issuer).await;

    assert_eq!(verdict(&authenticator, "alice", &token).await, "unknown_kid");
}

#[tokio::test]
async fn the_same_set_fetched_again_changes_nothing() {
    let key = TestKey::p256("k");
    let issuer = TestIssuer::serving(key_set(&[&key]));
    let authenticator = authenticator(&issuer, often);
    let token = key.sign(&claims("alice"));
    assert_eq!(verdict(&authenticator, "alice", &token).await, "allowed");
    issuer.now_serving(format!("  {}\n", key_set(&[&key])));
    refreshed(&issuer).await;
    assert_eq!(verdict(&authenticator, "alice", &token).await, "allowed");
    assert_eq!((hits(&authenticator), misses(&authenticator)), (1, 1));
}

#[tokio::test]
async fn keys_that_are_too_old_stop_remembered_tokens() {
    let key = TestKey::p256("k");
    let issuer = TestIssuer::serving(key_set(&[&key]));
    let authenticator = authenticator(&issuer, |source| {
        often(source);
        source.max_stale = Duration::from_millis(300);
    });
    let token = key.sign(&claims("alice"));
    for _ in 0..2 {
        assert_eq!(verdict(&authenticator, "alice", &token).await, "allowed");
    }
    assert_eq!(hits(&authenticator), 1);
    issuer.now(Behaviour::Answer(503, String::new()));
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert_eq!(verdict(&authenticator, "alice", &token).await, "keys_unavailable");
    assert_eq!(hits(&authenticator), 1);
    issuer.now_serving(key_set(&[&key]));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(verdict(&authenticator, "alice", &token).await, "allowed");
}

/// Hits alone keep the set fresh, also where the background fetch died with the runtime that it ran on.
#[test]
fn a_remembered_token_asks_for_keys_that_are_getting_old() {
    let key = TestKey::p256("k");
    let issuer = TestIssuer::serving(key_set(&[&key]));
    let authenticator = authenticator(&issuer, often);
    let token = key.sign(&claims("alice"));
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert_eq!(runtime().block_on(verdict(&authenticator, "alice", &token)), "allowed");
    std::thread::sleep(Duration::from_millis(150));
    runtime().block_on(async {
        assert_eq!(verdict(&authenticator, "alice", &token).await, "allowed");
        assert_eq!((hits(&authenticator), misses(&authenticator)), (1, 1));
        issuer.asked(2).await;
    });
}

#[tokio::test]
async fn a_changed_key_file_takes_remembered_tokens_along() {
    let (old, new) = (TestKey::ed25519("k"), TestKey::ed25519("k"));
    let (old_pem, new_pem) = (old.pair.public_key_pem(), new.pair.public_key_pem());
    let file = file(&old_pem);
    let authenticator = Authenticator::new(pem_config(&[&file])).unwrap();
    let (token, probe) = (old.sign(&claims("alice")), new.sign(&claims("alice")));
    assert_eq!(verdict(&authenticator, "alice", &token).await, "allowed");
    for (content, expected) in [(format!("{old_pem}{new_pem}"), "allowed"), (format!("\n{new_pem}"), "bad_signature")] {
        std::fs::write(file.path(), content).unwrap();
        let mut looks = 0;
        while verdict(&authenticator, "alice", &token).await != expected
            || verdict(&authenticator, "alice", &probe).await != "allowed"
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
            looks += 1;
            assert!(looks < 100, "the file is not read again");
        }
    }
    assert_eq!(verdict(&authenticator, "alice", &token).await, "bad_signature");
}

#[tokio::test]
async fn a_key_file_with_the_same_keys_changes_nothing() {
    let key = TestKey::ed25519("k");
    let pem = key.pair.public_key_pem();
    let file = file(&pem);
    let authenticator = Authenticator::new(pem_config(&[&file])).unwrap();
    let token = key.sign(&claims("alice"));
    assert_eq!(verdict(&authenticator, "alice", &token).await, "allowed");
    std::fs::write(file.path(), format!("A comment\n{pem}")).unwrap();
    tokio::time::sleep(Duration::from_millis(1300)).await;
    assert_eq!(verdict(&authenticator, "alice", &token).await, "allowed");
    assert_eq!((hits(&authenticator), misses(&authenticator)), (1, 1));
}

#[tokio::test]
async fn a_new_configuration_remembers_no_token() {
    let key = TestKey::p256("k");
    let issuer = TestIssuer::serving(key_set(&[&key]));
    let config = jwks_config(&issuer.url, |_| {});
    let before = Authenticator::new(config.clone()).unwrap();
    let token = key.sign(&claims("alice"));
    assert_eq!(verdict(&before, "alice", &token).await, "allowed");
    let same = before.reconfigured(config.clone()).unwrap();
    assert_eq!(same.cache_stats().size, 0);
    assert_eq!(verdict(&same, "alice", &token).await, "allowed");
    assert_eq!((hits(&same), misses(&same)), (0, 1));
    let stricter = same.reconfigured(JwtConfig { denied_roles: vec!["alice".to_owned()], ..config.clone() }).unwrap();
    assert_eq!(verdict(&stricter, "alice", &token).await, "role_denied");
    let mut elsewhere = config;
    elsewhere.issuers[0].audiences = vec!["db".to_owned()];
    let elsewhere = stricter.reconfigured(elsewhere).unwrap();
    assert_eq!(verdict(&elsewhere, "alice", &token).await, "missing_claim");
    assert_eq!(issuer.hits(), 1, "keys stay known");
}

#[tokio::test]
async fn logins_at_once_with_one_new_token_verify_it_once() {
    let key = TestKey::p256("k");
    let issuer = TestIssuer::new(Behaviour::Slow(Duration::from_millis(100), key_set(&[&key])));
    let authenticator = Arc::new(authenticator(&issuer, |_| {}));
    let token: Arc<str> = key.sign(&claims("alice")).into();
    let logins: Vec<_> = (0..100)
        .map(|_| {
            let (authenticator, token) = (Arc::clone(&authenticator), Arc::clone(&token));
            tokio::spawn(async move { verdict(&authenticator, "alice", &token).await })
        })
        .collect();
    for login in logins {
        assert_eq!(login.await.unwrap(), "allowed");
    }
    assert_eq!((hits(&authenticator), misses(&authenticator)), (99, 1));
}

#[test]
fn workers_that_log_in_at_once_verify_a_new_token_at_most_once_each() {
    let key = TestKey::p256("k");
    let file = file(&key.pair.public_key_pem());
    let authenticator = Authenticator::new(pem_config(&[&file])).unwrap();
    let token = key.sign(&claims("alice"));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                for _ in 0..50 {
                    assert_eq!(runtime.block_on(verdict(&authenticator, "alice", &token)), "allowed");
                }
            });
        }
    });
    assert!(misses(&authenticator) <= 4, "{:?}", authenticator.cache_stats());
    assert_eq!(hits(&authenticator) + misses(&authenticator), 200);
}
