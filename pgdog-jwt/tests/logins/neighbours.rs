//! An issuer that misbehaves, and the logins of another one meanwhile (S8). Nothing is timed: the good logins are made
//! while a login of the bad issuer is known to be waiting.

use std::sync::Arc;
use std::time::Duration;

use crate::common::issuer::{Behaviour, TestIssuer};
use crate::common::{TestKey, claims, key_set, verdict};
use pgdog_jwt::config::{Issuer, JwksSource, KeySource};
use pgdog_jwt::{Authenticator, JwtConfig};

const GOOD: &str = "https://good.example";
const BAD: &str = "https://bad.example";
/// Longer than any of these tests runs.
const NEVER: Duration = Duration::from_secs(600);

fn issuer(name: &str, url: &str, timeout: Duration) -> Issuer {
    let mut source = JwksSource::new(url);
    (source.timeout, source.connect_timeout, source.max_body_size) = (timeout, timeout, 64 * 1024);
    source.cache_ttl = Duration::from_millis(50);
    let mut issuer = Issuer::new(KeySource::Jwks(source));
    issuer.issuer = Some(name.to_owned());
    issuer
}

fn token(key: &TestKey, issuer: &str) -> String {
    let mut claims = claims("alice");
    claims["iss"] = issuer.into();
    key.sign(&claims)
}

#[tokio::test]
async fn logins_go_on_while_another_issuers_login_waits() {
    let key = TestKey::p256("k");
    let headers_only = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n".to_vec();
    let half_a_body = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"keys\":[".to_vec();
    for behaviour in [
        Behaviour::Hang,
        Behaviour::Slow(NEVER, key_set(&[&key])),
        Behaviour::Stall(headers_only),
        Behaviour::Stall(half_a_body),
    ] {
        let (good, bad) = (TestIssuer::serving(key_set(&[&key])), TestIssuer::new(behaviour));
        let issuers = vec![issuer(GOOD, &good.url, NEVER), issuer(BAD, &bad.url, NEVER)];
        let authenticator = Arc::new(Authenticator::new(JwtConfig::new(issuers)).unwrap());
        let waiting: Vec<_> = (0..50)
            .map(|_| {
                let (authenticator, token) = (Arc::clone(&authenticator), token(&key, BAD));
                tokio::spawn(async move { verdict(&authenticator, "alice", &token).await })
            })
            .collect();
        bad.asked(1).await;

        for _ in 0..200 {
            assert_eq!(verdict(&authenticator, "alice", &token(&key, GOOD)).await, "allowed");
        }

        assert!(waiting.iter().all(|login| !login.is_finished()), "they wait for nothing but their own issuer");
        assert_eq!(bad.hits(), 1, "all of them share one fetch");
        waiting.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

#[tokio::test]
async fn logins_go_on_whatever_another_issuer_answers() {
    let (key, stranger) = (TestKey::p256("k"), TestKey::p256("k"));
    let garbage = "x".repeat(100_000);
    for behaviour in [
        Behaviour::Answer(500, String::new()),
        Behaviour::Answer(200, "<html>".to_owned()),
        Behaviour::Answer(200, garbage),
        Behaviour::Endless,
        Behaviour::Redirect("https://elsewhere.example/".to_owned()),
        Behaviour::Bytes(b"\0\0\0".to_vec()),
    ] {
        let (good, bad) = (TestIssuer::serving(key_set(&[&key])), TestIssuer::new(behaviour));
        let timeout = Duration::from_secs(5);
        let issuers = vec![issuer(GOOD, &good.url, timeout), issuer(BAD, &bad.url, timeout)];
        let authenticator = Authenticator::new(JwtConfig::new(issuers)).unwrap();
        for _ in 0..20 {
            assert_eq!(verdict(&authenticator, "alice", &token(&key, GOOD)).await, "allowed");
            assert_eq!(verdict(&authenticator, "alice", &token(&key, BAD)).await, "keys_unavailable");
            assert_eq!(verdict(&authenticator, "alice", &token(&stranger, GOOD)).await, "bad_signature");
        }
        assert!(bad.hits() < 5, "{} fetches for 20 logins", bad.hits());
    }
}

#[tokio::test]
async fn warming_waits_for_all_issuers_at_once() {
    let key = TestKey::p256("k");
    let (bad, good) = (TestIssuer::new(Behaviour::Hang), TestIssuer::serving(key_set(&[&key])));
    let issuers = vec![issuer(BAD, &bad.url, NEVER), issuer(GOOD, &good.url, NEVER)];
    let authenticator = Arc::new(Authenticator::new(JwtConfig::new(issuers)).unwrap());
    let warming = tokio::spawn({
        let authenticator = Arc::clone(&authenticator);
        async move { authenticator.warm().await }
    });
    good.asked(1).await;
    assert!(!warming.is_finished());
    warming.abort();
}

#[tokio::test]
async fn equal_kids_of_two_issuers_are_two_keys() {
    let (ours, theirs) = (TestKey::p256("k"), TestKey::p256("k"));
    let (one, two) = (TestIssuer::serving(key_set(&[&ours])), TestIssuer::serving(key_set(&[&theirs])));
    let issuers = vec![issuer(GOOD, &one.url, NEVER), issuer(BAD, &two.url, NEVER)];
    let authenticator = Authenticator::new(JwtConfig::new(issuers)).unwrap();
    for _ in 0..2 {
        assert_eq!(verdict(&authenticator, "alice", &token(&ours, GOOD)).await, "allowed");
        assert_eq!(verdict(&authenticator, "alice", &token(&theirs, BAD)).await, "allowed");
        assert_eq!(verdict(&authenticator, "alice", &token(&theirs, GOOD)).await, "bad_signature");
        assert_eq!(verdict(&authenticator, "alice", &token(&ours, BAD)).await, "bad_signature");
    }
}

#[tokio::test]
async fn a_set_with_one_key_twice_and_two_keys_of_one_name_works() {
    let (a, b) = (TestKey::p256("k"), TestKey::p256("k"));
    let site = TestIssuer::serving(key_set(&[&a, &b, &a]));
    let authenticator = Authenticator::new(JwtConfig::new(vec![issuer(GOOD, &site.url, NEVER)])).unwrap();
    for key in [&a, &b] {
        assert_eq!(verdict(&authenticator, "alice", &token(key, GOOD)).await, "allowed");
    }
    let status = authenticator.status().remove(0);
    assert_eq!((status.keys.len(), status.skipped.len()), (2, 1));
    assert!(status.skipped[0].contains("already"), "{:?}", status.skipped);
}
