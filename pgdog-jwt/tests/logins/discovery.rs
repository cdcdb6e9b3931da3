//! Keys from where the issuer's metadata says that they are.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::site::{Response, Site, metadata, ok};
use crate::common::{TestKey, becomes, claims, file, key_set, verdict};
use crate::https::issuer;
use pgdog_jwt::config::{Issuer, JwksSource, KeySource};
use pgdog_jwt::{Authenticator, JwtConfig};

const WELL_KNOWN: &str = "/.well-known/openid-configuration";

/// What a site answers, given its own URL.
type Answer = Box<dyn Fn(&str) -> Response + Send>;

fn config(issuer: &str, change: impl FnOnce(&mut JwksSource)) -> JwtConfig {
    let mut source = JwksSource::new(issuer);
    change(&mut source);
    let mut value = Issuer::new(KeySource::Discovery(source));
    value.issuer = Some(issuer.to_owned());
    JwtConfig::new(vec![value])
}

fn token(key: &TestKey, issuer: &str) -> String {
    let mut claims = claims("alice");
    claims["iss"] = issuer.into();
    key.sign(&claims)
}

#[tokio::test]
async fn the_issuers_metadata_leads_to_its_keys() {
    let key = TestKey::p256("k");
    let site = Site::with_metadata(&key);
    let authenticator = Authenticator::new(config(&site.url, |_| {})).unwrap();
    for _ in 0..3 {
        assert_eq!(verdict(&authenticator, "alice", &token(&key, &site.url)).await, "allowed");
    }
    assert_eq!(site.paths(), [WELL_KNOWN, "/keys"]);
    let status = &authenticator.status()[0];
    assert_eq!((status.kind, status.state.word(), status.source.as_str()), ("discovery", "fresh", site.url.as_str()));
}

#[tokio::test]
async fn metadata_is_believed_only_when_it_is_the_issuers_own() {
    let key = TestKey::p256("k");
    let keys = Site::with_metadata(&key);
    let place = format!("{}/keys", keys.url);
    for (issuer, jwks_uri) in [
        ("https://another.example", place.as_str()),
        ("$/", &place),
        ("", &place),
        ("$", "http://keys.example/set"),
        ("$", "file:///etc/passwd"),
        ("$", "/keys"),
    ] {
        let (issuer, jwks_uri) = (issuer.to_owned(), jwks_uri.to_owned());
        let site = Site::new(move |url, _| metadata(&issuer.replace('$', url), &jwks_uri));
        let authenticator = Authenticator::new(config(&site.url, |_| {})).unwrap();
        assert_eq!(verdict(&authenticator, "alice", &token(&key, &site.url)).await, "keys_unavailable");
        assert!(authenticator.status()[0].last_error.as_ref().is_some_and(|error| error.contains("metadata")));
    }
    assert_eq!(keys.asked().len(), 0);
}

#[tokio::test]
async fn metadata_that_redirects_or_is_a_page_leads_nowhere() {
    let key = TestKey::p256("k");
    let good = Site::with_metadata(&key);
    let elsewhere = format!("{}{WELL_KNOWN}", good.url);
    let answers: [Answer; 4] = [
        Box::new(move |_| Response(302, vec![("Location", elsewhere.clone())], String::new())),
        Box::new(|_| Response(404, Vec::new(), String::new())),
        Box::new(|url| Response(200, vec![("Content-Type", "text/html".to_owned())], metadata(url, url).2)),
        Box::new(|_| ok(&"x".repeat(2_000_000))),
    ];
    for answer in answers {
        let site = Site::new(move |url, _| answer(url));
        let authenticator = Authenticator::new(config(&site.url, |_| {})).unwrap();
        assert_eq!(verdict(&authenticator, "alice", &token(&key, &site.url)).await, "keys_unavailable");
    }
    assert_eq!(good.asked().len(), 0);
}

/// What was asked for over HTTPS does not lead to what anybody on this machine could answer, nor into this machine.
#[tokio::test]
async fn the_metadata_of_an_https_issuer_does_not_lead_to_clear_text() {
    let key = TestKey::p256("k");
    let keys = Site::new({
        let set = key_set(&[&key]);
        move |_, _| ok(&set)
    });
    let (issuer, certificate) = issuer(&key, "127.0.0.1");
    let ca = file(&certificate);
    let metadata = serde_json::json!({"issuer": issuer.url, "jwks_uri": format!("{}/keys", keys.url)});
    issuer.now_serving(metadata.to_string());
    let trusted = |source: &mut JwksSource| source.ca_file = Some(ca.path().to_owned());
    let authenticator = Authenticator::new(config(&issuer.url, trusted)).unwrap();

    assert_eq!(verdict(&authenticator, "alice", &token(&key, &issuer.url)).await, "keys_unavailable");

    assert!(issuer.hits() > 0);
    assert_eq!(keys.asked().len(), 0);
    let error = authenticator.status().remove(0).last_error.unwrap();
    assert!(error.contains("jwks_uri") && error.contains("https"), "{error}");
}

#[tokio::test]
async fn keys_that_move_are_found_again() {
    let (old, new) = (TestKey::p256("old"), TestKey::p256("new"));
    let (old_set, new_set) = (key_set(&[&old]), key_set(&[&new]));
    let moved = Arc::new(AtomicUsize::new(0));
    let has_moved = Arc::clone(&moved);
    let site = Site::new(move |url, request| match (request.path(), has_moved.load(Ordering::SeqCst)) {
        (WELL_KNOWN, at) => metadata(url, &format!("{url}/{at}")),
        ("/0", 0) => ok(&old_set),
        ("/1", 1) => ok(&new_set),
        _ => Response(404, Vec::new(), String::new()),
    });
    let often = |source: &mut JwksSource| source.cache_ttl = Duration::from_millis(100);
    let authenticator = Authenticator::new(config(&site.url, often)).unwrap();
    assert_eq!(verdict(&authenticator, "alice", &token(&old, &site.url)).await, "allowed");

    moved.store(1, Ordering::SeqCst);

    becomes(&authenticator, &token(&new, &site.url), "allowed").await;
    assert_eq!(verdict(&authenticator, "alice", &token(&old, &site.url)).await, "unknown_kid");
}

#[tokio::test]
async fn metadata_that_is_gone_leaves_the_keys_where_they_were() {
    let (old, new) = (TestKey::p256("old"), TestKey::p256("new"));
    let answer = Arc::new(Mutex::new((true, 200, key_set(&[&old]))));
    let current = Arc::clone(&answer);
    let site = Site::new(move |url, request| {
        let (has_metadata, status, set) = current.lock().unwrap().clone();
        match request.path() {
            WELL_KNOWN if has_metadata => metadata(url, &format!("{url}/keys")),
            "/keys" => Response(status, Vec::new(), set),
            _ => Response(500, Vec::new(), String::new()),
        }
    });
    let often = |source: &mut JwksSource| source.cache_ttl = Duration::from_millis(100);
    let authenticator = Authenticator::new(config(&site.url, often)).unwrap();
    assert_eq!(verdict(&authenticator, "alice", &token(&old, &site.url)).await, "allowed");

    // A fetch that fails makes the next one ask for the metadata as well.
    *answer.lock().unwrap() = (false, 500, String::new());
    site.was_asked(3).await;
    *answer.lock().unwrap() = (false, 200, key_set(&[&new]));

    becomes(&authenticator, &token(&new, &site.url), "allowed").await;
    assert_eq!(site.paths().iter().rev().nth(1).map(String::as_str), Some(WELL_KNOWN));
}

#[test]
fn discovery_needs_to_know_whose_metadata_it_wants() {
    let mut unnamed = config("https://issuer.example", |_| {});
    unnamed.issuers[0].issuer = None;
    assert!(Authenticator::new(unnamed).unwrap_err().to_string().contains("issuer"));
}
