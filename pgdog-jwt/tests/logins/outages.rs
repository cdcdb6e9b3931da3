//! An issuer that is slow, down or hostile delays only logins that need its missing key, and never for long (S8).

use std::time::Duration;

use crate::common::issuer::{Behaviour, TestIssuer};
use crate::common::{TestKey, claims, jwks_config, key_set, verdict};
use pgdog_jwt::Authenticator;
use pgdog_jwt::config::JwksSource;

fn short(source: &mut JwksSource) {
    source.cache_ttl = Duration::from_millis(100);
    source.max_stale = Duration::from_secs(60);
    source.connect_timeout = Duration::from_millis(300);
    source.timeout = Duration::from_millis(300);
    source.max_body_size = 64 * 1024;
}

/// Longer than `cache_ttl` above.
const OUTDATED: Duration = Duration::from_millis(150);

#[tokio::test]
async fn a_hanging_issuer_does_not_delay_known_keys() {
    let (known, unknown) = (TestKey::p256("known"), TestKey::p256("unknown"));
    let issuer = TestIssuer::serving(key_set(&[&known]));
    let config = jwks_config(&issuer.url, |source| {
        short(source);
        source.timeout = Duration::from_secs(600);
    });
    let authenticator = std::sync::Arc::new(Authenticator::new(config).unwrap());
    let token = known.sign(&claims("alice"));
    assert_eq!(verdict(&authenticator, "alice", &token).await, "allowed");
    issuer.now(Behaviour::Hang);
    tokio::time::sleep(OUTDATED).await;

    let waiting = {
        let (authenticator, token) = (std::sync::Arc::clone(&authenticator), unknown.sign(&claims("alice")));
        tokio::spawn(async move { verdict(&authenticator, "alice", &token).await })
    };
    issuer.asked(2).await;
    for _ in 0..20 {
        assert_eq!(verdict(&authenticator, "alice", &token).await, "allowed");
    }
    assert!(!waiting.is_finished());
    waiting.abort();
}

#[tokio::test]
async fn a_login_that_needs_a_missing_key_waits_no_longer_than_the_limit() {
    let key = TestKey::p256("k");
    for behaviour in [Behaviour::Hang, Behaviour::Bytes(Vec::new()), Behaviour::Bytes(b"\x15\x03\x01".to_vec())] {
        let issuer = TestIssuer::new(behaviour);
        let authenticator = Authenticator::new(jwks_config(&issuer.url, short)).unwrap();
        assert_eq!(verdict(&authenticator, "alice", &key.sign(&claims("alice"))).await, "keys_unavailable");
    }
}

#[tokio::test]
async fn an_issuer_that_is_down_is_not_asked_by_every_login() {
    let key = TestKey::p256("k");
    let issuer = TestIssuer::new(Behaviour::Answer(500, "busy".to_owned()));
    let authenticator = Authenticator::new(jwks_config(&issuer.url, short)).unwrap();
    let token = key.sign(&claims("alice"));
    for _ in 0..20 {
        assert_eq!(verdict(&authenticator, "alice", &token).await, "keys_unavailable");
    }
    assert_eq!(issuer.hits(), 1);
    issuer.now_serving(key_set(&[&key]));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(verdict(&authenticator, "alice", &token).await, "allowed");
}

#[tokio::test]
async fn answers_that_are_not_a_key_set_change_nothing() {
    let key = TestKey::p256("k");
    let huge = format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(70_000));
    let elsewhere = TestIssuer::serving(key_set(&[&key]));
    let huge_without_length = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{huge}");
    for behaviour in [
        Behaviour::Answer(200, huge),
        Behaviour::Bytes(huge_without_length.into_bytes()),
        Behaviour::Endless,
        Behaviour::Redirect(elsewhere.url.clone()),
        Behaviour::Redirect("file:///etc/passwd".to_owned()),
        Behaviour::Answer(404, key_set(&[&key])),
        Behaviour::Answer(201, key_set(&[&key])),
        Behaviour::Answer(200, String::new()),
        Behaviour::Answer(200, "<html>".to_owned()),
        Behaviour::Answer(200, "[]".to_owned()),
        Behaviour::Answer(200, "{}".to_owned()),
        Behaviour::Answer(200, "{\"keys\":{}}".to_owned()),
        Behaviour::Answer(200, format!("{{\"keys\":{}{}}}", "[".repeat(9000), "]".repeat(9000))),
        Behaviour::Answer(200, key_set(&[&key]) + "x"),
    ] {
        let issuer = TestIssuer::new(behaviour);
        let authenticator = Authenticator::new(jwks_config(&issuer.url, short)).unwrap();
        assert_eq!(verdict(&authenticator, "alice", &key.sign(&claims("alice"))).await, "keys_unavailable");
        assert_eq!(issuer.hits(), 1);
    }
    assert_eq!(elsewhere.hits(), 0, "a redirect is not followed");
}

#[tokio::test]
async fn an_issuer_that_cannot_be_reached_does_not_keep_the_gateway_from_starting() {
    let key = TestKey::p256("k");
    let authenticator = Authenticator::new(jwks_config("http://127.0.0.1:1/jwks", short)).unwrap();
    assert_eq!(verdict(&authenticator, "alice", &key.sign(&claims("alice"))).await, "keys_unavailable");
}

#[tokio::test]
async fn known_keys_work_while_the_issuer_is_down_and_unknown_ones_are_worth_a_retry() {
    let (known, unknown) = (TestKey::p256("known"), TestKey::p256("unknown"));
    let issuer = TestIssuer::serving(key_set(&[&known]));
    let authenticator = Authenticator::new(jwks_config(&issuer.url, short)).unwrap();
    let token = known.sign(&claims("alice"));
    assert_eq!(verdict(&authenticator, "alice", &token).await, "allowed");
    issuer.now(Behaviour::Answer(503, String::new()));
    tokio::time::sleep(OUTDATED).await;
    assert_eq!(verdict(&authenticator, "alice", &token).await, "allowed");
    issuer.asked(2).await;
    assert_eq!(verdict(&authenticator, "alice", &token).await, "allowed");
    assert_eq!(verdict(&authenticator, "alice", &unknown.sign(&claims("alice"))).await, "keys_unavailable");
}

#[tokio::test]
async fn beyond_the_greatest_age_known_keys_stop() {
    let key = TestKey::p256("k");
    let issuer = TestIssuer::serving(key_set(&[&key]));
    let config = jwks_config(&issuer.url, |source| {
        short(source);
        source.max_stale = Duration::from_millis(300);
    });
    let authenticator = Authenticator::new(config).unwrap();
    let token = key.sign(&claims("alice"));
    assert_eq!(verdict(&authenticator, "alice", &token).await, "allowed");
    issuer.now(Behaviour::Answer(503, String::new()));
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert_eq!(verdict(&authenticator, "alice", &token).await, "keys_unavailable");
    issuer.now_serving(key_set(&[&key]));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(verdict(&authenticator, "alice", &token).await, "allowed");
}

#[tokio::test]
async fn a_withdrawn_key_stops_after_the_next_fetch() {
    let (kept, withdrawn) = (TestKey::p256("kept"), TestKey::p256("withdrawn"));
    let issuer = TestIssuer::serving(key_set(&[&kept, &withdrawn]));
    let authenticator = Authenticator::new(jwks_config(&issuer.url, short)).unwrap();
    let token = withdrawn.sign(&claims("alice"));
    assert_eq!(verdict(&authenticator, "alice", &token).await, "allowed");
    issuer.now_serving(key_set(&[&kept]));
    tokio::time::sleep(OUTDATED).await;
    assert_eq!(verdict(&authenticator, "alice", &token).await, "allowed", "used at once, fetched in the background");
    issuer.asked(2).await;
    for _ in 0..100 {
        if verdict(&authenticator, "alice", &token).await == "unknown_kid" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the withdrawn key still works");
}

#[tokio::test]
async fn a_withdrawn_key_stops_although_nobody_logs_in() {
    let key = TestKey::p256("k");
    let issuer = TestIssuer::serving(key_set(&[&key]));
    let authenticator = Authenticator::new(jwks_config(&issuer.url, short)).unwrap();
    let token = key.sign(&claims("alice"));
    assert_eq!(verdict(&authenticator, "alice", &token).await, "allowed");
    issuer.now_serving(key_set(&[]));
    // The third fetch begins only after the second has been taken to heart.
    issuer.asked(3).await;
    assert_eq!(verdict(&authenticator, "alice", &token).await, "unknown_kid", "the first login after the withdrawal");
    drop(authenticator);
    let asked = issuer.hits();
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert!(issuer.hits() <= asked + 1, "a dropped authenticator asks nobody");
}
