//! The way to an issuer: its own authority, a proxy, a token that must be shown.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::common::site::{Response, Site, metadata, ok};
use crate::common::{TestKey, becomes, claims, file, jwks_config, key_set, verdict};
use crate::https::issuer;
use pgdog_jwt::Authenticator;
use pgdog_jwt::JwtConfig;
use pgdog_jwt::config::{Issuer, JwksSource, KeySource, Proxy, Secret};

/// Set for the child process.
const CHILD: &str = "PGDOG_JWT_TEST_ROUTE";

async fn first_login(url: &str, key: &TestKey, change: impl FnOnce(&mut JwksSource)) -> &'static str {
    let authenticator = Authenticator::new(jwks_config(url, change)).unwrap();
    verdict(&authenticator, "alice", &key.sign(&claims("alice"))).await
}

#[tokio::test]
async fn an_issuers_own_authority_is_trusted_for_its_name_and_nobody_else() {
    let key = TestKey::p256("k");
    let (here, certificate) = issuer(&key, "127.0.0.1");
    let (other, _) = issuer(&key, "127.0.0.1");
    let (misnamed, of_another_name) = issuer(&key, "issuer.example");
    let (ca, ca_of_misnamed) = (file(&certificate), file(&of_another_name));
    let with = |ca: &tempfile::NamedTempFile| {
        let path = ca.path().to_owned();
        move |source: &mut JwksSource| source.ca_file = Some(path)
    };
    assert_eq!(first_login(&here.url, &key, with(&ca)).await, "allowed");
    assert_eq!(first_login(&here.url, &key, |_| {}).await, "keys_unavailable");
    assert_eq!(first_login(&other.url, &key, with(&ca)).await, "keys_unavailable");
    assert_eq!(first_login(&misnamed.url, &key, with(&ca_of_misnamed)).await, "keys_unavailable");
}

#[tokio::test]
async fn an_authority_that_is_replaced_is_read_again() {
    let key = TestKey::p256("k");
    let (old, _) = issuer(&key, "127.0.0.1");
    let (_, of_another) = issuer(&key, "127.0.0.1");
    let (new, certificate) = issuer(&key, "127.0.0.1");
    let ca = file(&of_another);
    let path = ca.path().to_owned();
    let authenticator = Authenticator::new(jwks_config(&new.url, |source| source.ca_file = Some(path))).unwrap();
    let token = key.sign(&claims("alice"));
    assert_eq!(verdict(&authenticator, "alice", &token).await, "keys_unavailable");
    fs::write(ca.path(), certificate).unwrap();
    becomes(&authenticator, &token, "allowed").await;
    drop(old);
}

#[test]
fn an_authority_that_cannot_be_used_is_found_out_at_the_start() {
    let text = file("no certificate");
    for path in [text.path(), "/nonexistent/ca.pem".as_ref(), "/".as_ref()] {
        let config = jwks_config("https://127.0.0.1:1/keys", |source| source.ca_file = Some(path.to_owned()));
        assert!(Authenticator::new(config).is_err(), "{}", path.display());
    }
}

/// A proxy that does as CONNECT says (RFC 9110 section 9.3.6). Gives its address, how often it was asked and the last
/// request.
fn proxy() -> (String, Arc<AtomicUsize>, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (asked, last) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(String::new())));
    let (count, seen) = (Arc::clone(&asked), Arc::clone(&last));
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && client.read_exact(&mut byte).is_ok() {
                head.push(byte[0]);
            }
            count.fetch_add(1, Ordering::SeqCst);
            let head = String::from_utf8(head).unwrap();
            *seen.lock().unwrap() = head.to_lowercase();
            let Some(mut server) = head.split(' ').nth(1).and_then(|to| TcpStream::connect(to).ok()) else { continue };
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
            thread::spawn(move || std::io::copy(&mut server, &mut client));
        }
    });
    (address, asked, last)
}

#[tokio::test]
async fn an_issuer_can_be_reached_through_a_proxy() {
    let key = TestKey::p256("k");
    let (issuer, certificate) = issuer(&key, "127.0.0.1");
    let ca = file(&certificate);
    let (address, asked, last) = proxy();
    let through = |source: &mut JwksSource| {
        source.ca_file = Some(ca.path().to_owned());
        source.proxy = Proxy::Url(Secret::new(format!("http://me:hunter2@{address}")));
    };
    let config = jwks_config(&issuer.url, through);
    assert!(!format!("{config:?}").contains("hunter2"));
    let authenticator = Authenticator::new(config).unwrap();
    assert_eq!(verdict(&authenticator, "alice", &key.sign(&claims("alice"))).await, "allowed");
    assert_eq!((asked.load(Ordering::SeqCst), issuer.hits()), (1, 1));
    assert!(last.lock().unwrap().contains("proxy-authorization: basic"));
}

#[tokio::test]
async fn what_is_in_clear_text_does_not_leave_the_machine_by_a_proxy() {
    let key = TestKey::p256("k");
    let site = Site::with_metadata(&key);
    let (address, asked, _) = proxy();
    let through = |source: &mut JwksSource| source.proxy = Proxy::Url(Secret::new(format!("http://{address}")));
    assert_eq!(first_login(&format!("{}/keys", site.url), &key, through).await, "allowed");
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_proxy_that_is_down_is_no_way_round() {
    let key = TestKey::p256("k");
    let (issuer, certificate) = issuer(&key, "127.0.0.1");
    let ca = file(&certificate);
    let through = |source: &mut JwksSource| {
        source.ca_file = Some(ca.path().to_owned());
        source.proxy = Proxy::Url(Secret::new("http://me:hunter2@127.0.0.1:1"));
    };
    let authenticator = Authenticator::new(jwks_config(&issuer.url, through)).unwrap();
    assert_eq!(verdict(&authenticator, "alice", &key.sign(&claims("alice"))).await, "keys_unavailable");
    let error = authenticator.status().remove(0).last_error.unwrap();
    assert!(issuer.hits() == 0 && !error.contains("hunter2"), "{error}");
}

/// What the environment says, only a new process can have differently.
#[test]
fn the_environments_proxy_is_asked_when_the_configuration_says_so_and_not_else() {
    let key = TestKey::p256("k");
    let (issuer, certificate) = issuer(&key, "127.0.0.1");
    let ca = file(&certificate);
    let (address, asked, _) = proxy();
    for (word, no_proxy, through) in [("environment", "", 1), ("environment", "127.0.0.1", 0), ("none", "", 0)] {
        let before = asked.load(Ordering::SeqCst);
        let told = format!("{word} {} {} {}", issuer.url, ca.path().display(), key.sign(&claims("alice")));
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "routes::log_in_as_told", "--include-ignored"])
            .env("HTTPS_PROXY", format!("http://{address}"))
            .env("NO_PROXY", no_proxy)
            .env(CHILD, told)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        assert_eq!(asked.load(Ordering::SeqCst) - before, through, "{word} {no_proxy}");
    }
}

#[tokio::test]
#[ignore = "run by the test above, in a process of its own"]
async fn log_in_as_told() {
    let Ok(told) = std::env::var(CHILD) else {
        return;
    };
    let told: Vec<_> = told.split(' ').collect();
    let config = jwks_config(told[1], |source| {
        source.proxy = if told[0] == "none" { Proxy::None } else { Proxy::Environment };
        source.ca_file = Some(told[2].into());
    });
    assert_eq!(verdict(&Authenticator::new(config).unwrap(), "alice", told[3]).await, "allowed");
}

/// Answers only to who shows the token.
fn guarded(key: &TestKey, token: &'static str) -> Site {
    let set = key_set(&[key]);
    Site::new(move |_, request| match request.header("authorization") == Some(&format!("bearer {token}")) {
        true => ok(&set),
        false => Response(401, Vec::new(), String::new()),
    })
}

#[tokio::test]
async fn a_bearer_token_is_read_from_its_file_at_each_fetch() {
    let key = TestKey::p256("k");
    let site = guarded(&key, "second-token");
    let token = file("first-token\n");
    let path = token.path().to_owned();
    let config = jwks_config(&site.url, |source| {
        source.bearer_token_file = Some(path);
        source.cache_ttl = Duration::from_millis(100);
    });
    let authenticator = Authenticator::new(config).unwrap();
    let login = key.sign(&claims("alice"));
    assert_eq!(verdict(&authenticator, "alice", &login).await, "keys_unavailable");
    fs::write(token.path(), "second-token\n").unwrap();
    becomes(&authenticator, &login, "allowed").await;

    fs::remove_file(token.path()).unwrap();
    for _ in 0..100 {
        if let Some(error) = authenticator.status().remove(0).last_error {
            assert!(error.contains("bearer token") && !error.contains("second-token"), "{error}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("a missing token is not noticed");
}

#[tokio::test]
async fn metadata_cannot_send_the_bearer_token_elsewhere() {
    let key = TestKey::p256("k");
    let set = key_set(&[&key]);
    let elsewhere = Site::new(move |_, _| ok(&set));
    let there = format!("{}/keys", elsewhere.url);
    let site = Site::new(move |url, _| metadata(url, &there));
    let token = file("secret-token");
    let mut source = JwksSource::new(&site.url);
    source.bearer_token_file = Some(token.path().to_owned());
    let mut issuer = Issuer::new(KeySource::Discovery(source));
    issuer.issuer = Some(site.url.clone());
    let authenticator = Authenticator::new(JwtConfig::new(vec![issuer])).unwrap();
    authenticator.warm().await;
    assert_eq!(site.asked()[0].header("authorization"), Some("bearer secret-token"));
    assert_eq!(elsewhere.asked()[0].header("authorization"), None);
}
