//! Tokens that were verified before: their login is cheaper and its decision the same.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::common::{RSA, TestKey, authenticator_for, claims, file, login, now, pem_config, verdict};
use pgdog_jwt::config::UserMatch;
use pgdog_jwt::{AuthContext, Authenticator, Credential, JwtConfig};
use proptest::prelude::*;
use serde_json::{Value, json};

fn counts(authenticator: &Authenticator) -> (u64, u64, usize) {
    let stats = authenticator.cache_stats();
    (stats.hits, stats.misses, stats.size)
}

#[tokio::test]
async fn the_signature_is_checked_at_the_first_login_only() {
    let (p256, p384, ed) = (TestKey::p256("a"), TestKey::p384("b"), TestKey::ed25519("c"));
    let keys = [&*RSA, &p256, &p384, &ed];
    let authenticator = authenticator_for(&keys);
    for (number, key) in keys.iter().enumerate() {
        let token = key.sign(&claims("alice"));
        for _ in 0..3 {
            assert_eq!(login(&authenticator, "alice", &token).await.unwrap().user, "alice");
        }
        let done = number + 1;
        assert_eq!(counts(&authenticator), (2 * done as u64, done as u64, done));
    }
}

#[tokio::test]
async fn the_user_is_compared_at_every_login() {
    let key = TestKey::ed25519("k");
    let authenticator = authenticator_for(&[&key]);
    let token = key.sign(&claims("alice"));
    assert_eq!(verdict(&authenticator, "alice", &token).await, "allowed");
    assert_eq!(verdict(&authenticator, "bob", &token).await, "user_mismatch");
    assert_eq!(verdict(&authenticator, "alice", &token).await, "allowed");
    assert_eq!(counts(&authenticator), (2, 1, 1));
}

#[tokio::test]
async fn only_tokens_that_were_allowed_are_remembered() {
    let (key, stranger) = (TestKey::ed25519("k"), TestKey::ed25519("k"));
    let authenticator = authenticator_for(&[&key]);
    for token in [
        stranger.sign(&claims("alice")),
        key.sign(&claims("bob")),
        key.sign(&json!({"sub": "alice", "exp": now() - 1})),
        key.sign(&json!({"sub": "alice", "exp": now() + 60, "nbf": now() + 30})),
        key.sign(&json!({"sub": "alice"})),
        "password".to_owned(),
    ] {
        for _ in 0..2 {
            assert_ne!(verdict(&authenticator, "alice", &token).await, "allowed");
        }
    }
    assert_eq!(counts(&authenticator), (0, 10, 0), "what is no token is not even a miss");
}

#[tokio::test]
async fn a_token_that_differs_in_one_byte_is_another_token() {
    let key = TestKey::ed25519("k");
    let authenticator = authenticator_for(&[&key]);
    let token = key.sign(&claims("alice"));
    assert_eq!(verdict(&authenticator, "alice", &token).await, "allowed");
    for at in 0..token.len() {
        for byte in [b'A', b'-', b'.', token.as_bytes()[at] ^ 1] {
            let mut other = token.clone().into_bytes();
            other[at] = byte;
            let other = String::from_utf8(other).unwrap();
            if other != token {
                assert_ne!(verdict(&authenticator, "alice", &other).await, "allowed", "byte {at} is {byte}");
            }
        }
    }
    for other in [&token[1..], &token[..token.len() - 1], &format!("{token}="), &format!("{token}\0")] {
        assert_ne!(verdict(&authenticator, "alice", other).await, "allowed");
    }
    assert_eq!((authenticator.cache_stats().hits, authenticator.cache_stats().size), (0, 1));
}

/// Logs in over and over until past `end`, and checks each answer that is certain.
async fn is_allowed_until(authenticator: &Authenticator, token: &str, end: Duration) {
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    loop {
        let before = clock();
        let verdict = verdict(authenticator, "alice", token).await;
        if clock() < end {
            assert_eq!(verdict, "allowed", "{:?} before the end", end - before);
        } else if before >= end {
            assert_eq!(verdict, "expired", "{:?} after the end", before - end);
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_remembered_token_is_refused_from_the_second_of_its_expiry() {
    let key = TestKey::ed25519("k");
    let authenticator = authenticator_for(&[&key]);
    let expiry = now() + 2;
    let token = key.sign(&json!({"sub": "alice", "exp": expiry}));
    is_allowed_until(&authenticator, &token, Duration::from_secs(expiry)).await;
    assert_eq!((authenticator.cache_stats().misses, authenticator.cache_stats().size), (1, 0), "and it is forgotten");
    assert_eq!(verdict(&authenticator, "alice", &token).await, "expired");
    assert_eq!(counts(&authenticator).1, 2, "verified like any other");
}

#[tokio::test]
async fn a_remembered_token_has_the_leeway_that_every_token_has() {
    let key = TestKey::ed25519("k");
    let file = file(&key.pair.public_key_pem());
    let mut config = pem_config(&[&file]);
    config.issuers[0].leeway = Duration::from_secs(10);
    let authenticator = Authenticator::new(config).unwrap();
    let end = now() + 2;
    let token = key.sign(&json!({"sub": "alice", "exp": end - 10, "nbf": now() + 9}));
    is_allowed_until(&authenticator, &token, Duration::from_secs(end)).await;
    assert_eq!(counts(&authenticator).1, 1);
}

#[tokio::test]
async fn the_number_of_remembered_tokens_is_bounded() {
    let key = TestKey::ed25519("k");
    let file = file(&key.pair.public_key_pem());
    let config = JwtConfig { token_cache_size: 20, ..pem_config(&[&file]) };
    let authenticator = Authenticator::new(config).unwrap();
    for id in 0..200 {
        let token = key.sign(&json!({"sub": "alice", "exp": now() + 60, "jti": id.to_string()}));
        assert_eq!(login(&authenticator, "alice", &token).await.unwrap().token_id, Some(id.to_string()));
    }
    assert_eq!(counts(&authenticator), (0, 200, 20));
}

#[tokio::test]
async fn without_a_cache_every_login_is_verified() {
    let key = TestKey::ed25519("k");
    let file = file(&key.pair.public_key_pem());
    let config = JwtConfig { token_cache_size: 0, ..pem_config(&[&file]) };
    let authenticator = Authenticator::new(config).unwrap();
    let token = key.sign(&claims("alice"));
    for _ in 0..3 {
        assert_eq!(verdict(&authenticator, "alice", &token).await, "allowed");
    }
    assert_eq!(counts(&authenticator), (0, 0, 0));
}

#[tokio::test]
async fn nothing_shows_a_remembered_token() {
    let key = TestKey::ed25519("k");
    let authenticator = authenticator_for(&[&key]);
    let token = key.sign(&json!({"sub": "a-secret-name", "exp": now() + 60}));
    assert_eq!(verdict(&authenticator, "a-secret-name", &token).await, "allowed");
    let shown = format!("{authenticator:?} {authenticator:#?} {:?}", authenticator.cache_stats());
    assert!(shown.contains("size: 1"), "{shown}");
    for secret in token.split('.').chain(["a-secret-name"]) {
        assert!(!shown.contains(secret), "{secret} is in {shown}");
    }
}

fn a_claim() -> impl Strategy<Value = (String, Value)> {
    let name = prop::sample::select(vec!["sub", "aud", "exp", "nbf", "iat", "iss", "jti", "extra"]);
    let time = (-2i64..3).prop_map(|hours| json!(now() as i64 + hours * 3600));
    let text = prop::sample::select(vec!["alice", "bob", "none", "postgres", "db", "https://i", ""]);
    let odd = prop::sample::select(vec![json!(null), json!(1), json!(["db"]), json!(["db", 1]), json!({"db": "db"})]);
    (name, prop_oneof![time, text.prop_map(|text| json!(text)), odd]).prop_map(|(name, value)| (name.to_owned(), value))
}

fn shown(runtime: &tokio::runtime::Runtime, authenticator: &Authenticator, user: &str, token: &str) -> String {
    let context = AuthContext {
        user,
        database: "app",
        credential: Credential::new(token.as_bytes()),
        client_addr: None,
        tls: true,
        tls_identity: None,
    };
    format!("{:?}", runtime.block_on(authenticator.authenticate(context)))
}

#[test]
fn a_remembered_token_is_decided_like_a_new_one() {
    let key = TestKey::ed25519("k");
    let file = file(&key.pair.public_key_pem());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let changes: [fn(&mut JwtConfig); 4] = [
        |_| {},
        |config| config.issuers[0].audiences = vec!["db".to_owned()],
        |config| {
            config.user_match = UserMatch::Claim;
            config.denied_roles = vec!["post*".to_owned()];
        },
        |config| {
            config.issuers[0].issuer = Some("https://i".to_owned());
            config.issuers[0].leeway = Duration::from_secs(5000);
            config.issuers[0].user_suffix = Some("@sso".to_owned());
        },
    ];
    let pairs = changes.map(|change| {
        let mut config = pem_config(&[&file]);
        change(&mut config);
        let without = Authenticator::new(JwtConfig { token_cache_size: 0, ..config.clone() }).unwrap();
        (Authenticator::new(config).unwrap(), without)
    });
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let users = prop::sample::select(vec!["alice", "bob", "alice@sso", "bob@sso", "postgres", "none@sso"]);
    let logins = (prop::collection::vec(a_claim(), 0..5), prop::collection::vec(users, 4));
    runner
        .run(&logins, |(changed, users)| {
            let mut claims = json!({"sub": "alice", "exp": now() + 3600, "aud": "db", "iss": "https://i"});
            claims.as_object_mut().unwrap().extend(changed);
            let token = key.sign(&claims);
            for (with, without) in &pairs {
                for user in &users {
                    let expected = shown(&runtime, without, user, &token);
                    prop_assert_eq!(&shown(&runtime, with, user, &token), &expected);
                    prop_assert_eq!(&shown(&runtime, with, user, &token), &expected, "the second time");
                }
            }
            Ok(())
        })
        .unwrap();
    for (with, _) in &pairs {
        let stats = with.cache_stats();
        assert!(stats.hits > 100 && stats.misses > 100, "{stats:?}");
    }
}
