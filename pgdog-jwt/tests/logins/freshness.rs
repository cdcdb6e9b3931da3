//! How long a fetched set counts, and what it costs to ask whether it has changed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::issuer::{Behaviour, TestIssuer};
use crate::common::site::{Response, Site};
use crate::common::{TestKey, becomes, claims, jwks_config, key_set, verdict};
use pgdog_jwt::config::{JwksSource, Proxy};
use pgdog_jwt::{Authenticator, KeyState};

/// A set with a version of its own; who has it already is told so.
fn versioned(set: &Arc<Mutex<(String, &'static str)>>) -> Site {
    let set = Arc::clone(set);
    Site::new(move |_, request| {
        let (body, etag) = set.lock().unwrap().clone();
        let headers = vec![("ETag", etag.to_owned())];
        match request.header("if-none-match") == Some(etag) {
            true => Response(304, headers, String::new()),
            false => Response(200, headers, body),
        }
    })
}

fn often(source: &mut JwksSource) {
    source.cache_ttl = Duration::from_millis(100);
}

#[tokio::test]
async fn a_set_that_has_not_changed_is_not_sent_again() {
    let (old, new) = (TestKey::p256("old"), TestKey::p256("new"));
    let set = Arc::new(Mutex::new((key_set(&[&old]), "\"one\"")));
    let site = versioned(&set);
    let authenticator = Authenticator::new(jwks_config(&site.url, often)).unwrap();
    let token = old.sign(&claims("alice"));
    assert_eq!(verdict(&authenticator, "alice", &token).await, "allowed");
    // The third question comes after the second answer was taken to heart.
    site.was_asked(3).await;
    assert_eq!(verdict(&authenticator, "alice", &token).await, "allowed");
    let status = &authenticator.status()[0];
    assert_eq!((status.etag.as_deref(), status.keys.len(), status.failures), (Some("\"one\""), 1, 0));
    assert!(status.unchanged >= 1 && status.unchanged < status.fetches, "{status:?}");
    let asked = site.asked();
    let named: Vec<_> = asked.iter().map(|request| request.header("if-none-match")).collect();
    assert_eq!(named[..2], [None, Some("\"one\"")]);

    *set.lock().unwrap() = (key_set(&[&new]), "\"two\"");

    becomes(&authenticator, &token, "unknown_kid").await;
    assert_eq!(verdict(&authenticator, "alice", &new.sign(&claims("alice"))).await, "allowed");
}

#[tokio::test]
async fn nothing_has_changed_is_no_answer_to_who_knows_nothing() {
    let key = TestKey::p256("k");
    let site = Site::new(|_, _| Response(304, vec![("ETag", "\"one\"".to_owned())], String::new()));
    let authenticator = Authenticator::new(jwks_config(&site.url, |_| {})).unwrap();
    assert_eq!(verdict(&authenticator, "alice", &key.sign(&claims("alice"))).await, "keys_unavailable");
    assert_eq!(authenticator.status()[0].state, KeyState::Missing);
}

#[tokio::test]
async fn the_issuer_says_how_long_within_bounds() {
    let key = TestKey::p256("k");
    for (asked, expected) in
        [("max-age=90", 90), ("max-age=5", 60), ("no-store", 60), ("max-age=86400", 600), ("", 300)]
    {
        let set = key_set(&[&key]);
        let site = Site::new(move |_, _| Response(200, vec![("Cache-Control", asked.to_owned())], set.clone()));
        let config = jwks_config(&site.url, |source| source.max_cache_ttl = Duration::from_secs(600));
        let authenticator = Authenticator::new(config).unwrap();
        authenticator.warm().await;
        let status = &authenticator.status()[0];
        let ttl = Duration::from_secs(expected);
        assert_eq!(status.ttl, Some(ttl), "{asked}");
        let next = status.next_refresh.unwrap();
        assert!(next > ttl.mul_f64(0.7) && next < ttl.mul_f64(0.9), "{next:?} of {ttl:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_json_by_type_or_has_endless_headers_is_no_key_set() {
    let key = TestKey::p256("k");
    let set = key_set(&[&key]);
    for (header, value) in [
        ("Content-Type", "text/html; charset=utf-8".to_owned()),
        ("Content-Type", "image/png".to_owned()),
        ("X-Padding", "x".repeat(100_000)),
        ("X-Padding", "x".repeat(1_000_000)),
    ] {
        let set = set.clone();
        let site = Site::new(move |_, _| Response(200, vec![(header, value.clone())], set.clone()));
        let authenticator = Authenticator::new(jwks_config(&site.url, |_| {})).unwrap();
        assert_eq!(verdict(&authenticator, "alice", &key.sign(&claims("alice"))).await, "keys_unavailable");
    }
}

#[tokio::test]
async fn a_reload_that_changes_limits_keeps_the_keys_and_one_that_changes_the_way_does_not() {
    let key = TestKey::p256("k");
    let site = TestIssuer::serving(key_set(&[&key]));
    let config = |change: &dyn Fn(&mut JwksSource)| jwks_config(&site.url, change);
    let first = Authenticator::new(config(&|_| {})).unwrap();
    let token = key.sign(&claims("alice"));
    assert_eq!(verdict(&first, "alice", &token).await, "allowed");
    site.now(Behaviour::Answer(503, String::new()));

    let limits =
        config(&|source| (source.timeout, source.cache_ttl) = (Duration::from_secs(3), Duration::from_secs(60)));
    let second = first.reconfigured(limits).unwrap();
    assert_eq!(verdict(&second, "alice", &token).await, "allowed");
    assert_eq!(site.hits(), 1);
    second.warm().await;
    assert_eq!(site.hits(), 2, "the new limits count from now on");
    assert_eq!(verdict(&second, "alice", &token).await, "allowed");

    let way = config(&|source| source.proxy = Proxy::Environment);
    assert_eq!(verdict(&second.reconfigured(way).unwrap(), "alice", &token).await, "keys_unavailable");
}

#[tokio::test]
async fn an_issuer_that_was_down_at_the_start_is_found_without_a_login() {
    let key = TestKey::p256("k");
    let up = Arc::new(Mutex::new(None));
    let answer = Arc::clone(&up);
    let site = Site::new(move |_, _| match answer.lock().unwrap().clone() {
        Some(set) => Response(200, Vec::new(), set),
        None => Response(503, Vec::new(), String::new()),
    });
    let authenticator = Authenticator::new(jwks_config(&site.url, |_| {})).unwrap();
    authenticator.warm().await;
    assert_eq!(authenticator.status()[0].state, KeyState::Missing);

    *up.lock().unwrap() = Some(key_set(&[&key]));

    for _ in 0..500 {
        if authenticator.status()[0].state == KeyState::Fresh {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("nobody asked again");
}
