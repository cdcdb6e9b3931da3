//! Keys that an issuer publishes: rotation, one fetch for all, and sets that are not as they should be.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::common::issuer::{Behaviour, TestIssuer};
use crate::common::{RSA, TestKey, claims, jwks_config, key_set, login, verdict, verdict_from};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm as Jwa, Header};
use pgdog_jwt::config::Algorithm;
use pgdog_jwt::{Authenticator, JwtConfig};
use serde_json::json;

fn authenticator(issuer: &TestIssuer) -> Authenticator {
    Authenticator::new(all_algorithms(jwks_config(&issuer.url, |_| {}))).unwrap()
}

fn all_algorithms(mut config: JwtConfig) -> JwtConfig {
    config.issuers[0].algorithms = Algorithm::ALL.to_vec();
    config
}

#[tokio::test]
async fn the_kid_finds_the_key_and_the_set_is_fetched_once() {
    let keys = [TestKey::p256("a"), TestKey::p384("b"), TestKey::ed25519("c")];
    let issuer = TestIssuer::serving(key_set(&[&keys[0], &keys[1], &keys[2], &RSA]));
    let authenticator = authenticator(&issuer);
    assert_eq!(issuer.hits(), 0, "nobody is asked before the first login");
    for key in keys.iter().chain([&*RSA]) {
        assert_eq!(login(&authenticator, "alice", &key.sign(&claims("alice"))).await.unwrap().user, "alice");
    }
    assert_eq!(issuer.hits(), 1);
}

#[tokio::test]
async fn warming_spares_the_first_login_the_fetch() {
    let key = TestKey::p256("a");
    let issuer = TestIssuer::serving(key_set(&[&key]));
    let authenticator = authenticator(&issuer);
    authenticator.warm().await;
    authenticator.warm().await;
    issuer.now(Behaviour::Hang);
    assert_eq!(verdict(&authenticator, "alice", &key.sign(&claims("alice"))).await, "allowed");
    assert_eq!(issuer.hits(), 1);
}

#[tokio::test]
async fn a_hundred_logins_at_once_share_one_fetch() {
    let key = TestKey::ed25519("a");
    let issuer = TestIssuer::new(Behaviour::Slow(Duration::from_millis(100), key_set(&[&key])));
    let authenticator = Arc::new(authenticator(&issuer));
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
    assert_eq!(issuer.hits(), 1);
}

#[test]
fn runtimes_on_several_threads_share_one_fetch() {
    let key = TestKey::ed25519("a");
    let issuer = TestIssuer::new(Behaviour::Slow(Duration::from_millis(200), key_set(&[&key])));
    let authenticator = authenticator(&issuer);
    let token = key.sign(&claims("alice"));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                assert_eq!(runtime.block_on(verdict(&authenticator, "alice", &token)), "allowed");
            });
        }
    });
    assert_eq!(issuer.hits(), 1);
}

#[tokio::test]
async fn a_login_that_is_given_up_does_not_cancel_the_fetch() {
    let key = TestKey::ed25519("a");
    let issuer = TestIssuer::new(Behaviour::Slow(Duration::from_millis(200), key_set(&[&key])));
    let authenticator = authenticator(&issuer);
    let token = key.sign(&claims("alice"));
    let given_up = tokio::time::timeout(Duration::from_millis(50), verdict(&authenticator, "alice", &token)).await;
    assert!(given_up.is_err());
    assert_eq!(verdict(&authenticator, "alice", &token).await, "allowed");
    assert_eq!(issuer.hits(), 1);
}

#[test]
fn a_fetch_that_dies_with_its_runtime_leaves_nobody_waiting() {
    let key = TestKey::ed25519("a");
    let issuer = TestIssuer::new(Behaviour::Hang);
    let authenticator = authenticator(&issuer);
    let token = key.sign(&claims("alice"));
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let login = verdict(&authenticator, "alice", &token);
    assert!(first.block_on(async { tokio::time::timeout(Duration::from_millis(50), login).await }).is_err());
    drop(first);
    issuer.now_serving(key_set(&[&key]));
    assert_eq!(runtime().block_on(verdict(&authenticator, "alice", &token)), "allowed");
}

#[tokio::test]
async fn a_rotated_key_works_at_the_first_login_without_a_restart() {
    let (old, new) = (TestKey::p256("2025"), TestKey::p256("2026"));
    let issuer = TestIssuer::serving(key_set(&[&old]));
    let authenticator = authenticator(&issuer);
    assert_eq!(verdict(&authenticator, "alice", &old.sign(&claims("alice"))).await, "allowed");

    issuer.now_serving(key_set(&[&new]));

    assert_eq!(verdict(&authenticator, "alice", &new.sign(&claims("alice"))).await, "allowed");
    assert_eq!(issuer.hits(), 2);
    assert_eq!(verdict(&authenticator, "alice", &old.sign(&claims("alice"))).await, "unknown_kid", "withdrawn");
}

/// Logins with made-up names of keys, all at once, from one address.
async fn flood(authenticator: &Arc<Authenticator>, key: &TestKey, address: Option<IpAddr>) {
    let logins: Vec<_> = (0..50)
        .map(|number| {
            let mut header = Header::new(Jwa::ES256);
            header.kid = Some(format!("forged-{number}"));
            let (authenticator, token) = (Arc::clone(authenticator), key.sign_with(&header, &claims("alice")));
            tokio::spawn(async move { verdict_from(&authenticator, &token, address).await })
        })
        .collect();
    for login in logins {
        assert_eq!(login.await.unwrap(), "unknown_kid");
    }
}

#[tokio::test]
async fn a_flood_of_unknown_kids_costs_a_fetch_and_then_fewer_and_fewer() {
    let known = TestKey::p256("known");
    let issuer = TestIssuer::serving(key_set(&[&known]));
    let authenticator = Arc::new(authenticator(&issuer));
    assert_eq!(verdict(&authenticator, "alice", &known.sign(&claims("alice"))).await, "allowed");
    for fetches in 2..=4 {
        flood(&authenticator, &known, None).await;
        assert_eq!(issuer.hits(), fetches);
    }
    assert_eq!(verdict(&authenticator, "alice", &known.sign(&claims("alice"))).await, "allowed");
}

#[tokio::test]
async fn where_the_interval_is_longer_than_a_login_may_wait_a_flood_costs_one_fetch() {
    let known = TestKey::p256("known");
    let issuer = TestIssuer::serving(key_set(&[&known]));
    let config = jwks_config(&issuer.url, |source| source.timeout = Duration::from_millis(500));
    let authenticator = Arc::new(Authenticator::new(config).unwrap());
    assert_eq!(verdict(&authenticator, "alice", &known.sign(&claims("alice"))).await, "allowed");
    for _ in 0..5 {
        flood(&authenticator, &known, None).await;
    }
    assert_eq!(issuer.hits(), 2);
}

#[tokio::test]
async fn made_up_kids_keep_no_rotated_key_out() {
    let (old, new) = (TestKey::p256("2025"), TestKey::p256("2026"));
    let issuer = TestIssuer::serving(key_set(&[&old]));
    let authenticator = Arc::new(authenticator(&issuer));
    assert_eq!(verdict(&authenticator, "alice", &old.sign(&claims("alice"))).await, "allowed");
    for stranger in ["x", "y"] {
        let token = TestKey::p256(stranger).sign(&claims("alice"));
        assert_eq!(verdict(&authenticator, "alice", &token).await, "unknown_kid");
    }
    issuer.now_serving(key_set(&[&old, &new]));
    let token: Arc<str> = new.sign(&claims("alice")).into();
    let logins: Vec<_> = (0..8)
        .map(|_| {
            let (authenticator, token) = (Arc::clone(&authenticator), Arc::clone(&token));
            tokio::spawn(async move { verdict(&authenticator, "alice", &token).await })
        })
        .collect();
    for login in logins {
        assert_eq!(login.await.unwrap(), "allowed");
    }
}

#[tokio::test]
async fn a_flood_from_one_address_uses_up_no_others_turn() {
    let (old, new) = (TestKey::p256("2025"), TestKey::p256("2026"));
    let issuer = TestIssuer::serving(key_set(&[&old]));
    let authenticator = Arc::new(authenticator(&issuer));
    assert_eq!(verdict(&authenticator, "alice", &old.sign(&claims("alice"))).await, "allowed");
    for _ in 0..4 {
        flood(&authenticator, &old, Some(IpAddr::from([192, 0, 2, 1]))).await;
    }
    issuer.now_serving(key_set(&[&old, &new]));
    let fresh = new.sign(&claims("alice"));
    assert_eq!(verdict_from(&authenticator, &fresh, Some(IpAddr::from([192, 0, 2, 2]))).await, "allowed");
}

#[tokio::test]
async fn a_strange_kid_is_only_a_name() {
    let known = TestKey::p256("known");
    let issuer = TestIssuer::serving(key_set(&[&known]));
    let authenticator = authenticator(&issuer);
    for kid in ["", "known\0", "KNOWN", "../../etc/passwd", "' OR 1=1 --", "http://127.0.0.1:1/jwks", &"k".repeat(5000)]
    {
        let mut header = Header::new(Jwa::ES256);
        header.kid = Some(kid.to_owned());
        let token = known.sign_with(&header, &claims("alice"));
        assert_eq!(verdict(&authenticator, "alice", &token).await, "unknown_kid", "{kid:?}");
    }
}

#[tokio::test]
async fn without_a_kid_a_token_is_taken_only_when_one_key_fits() {
    let (a, b, ed) = (TestKey::p256("a"), TestKey::p256("b"), TestKey::ed25519("ed"));
    let issuer = TestIssuer::serving(key_set(&[&a, &b, &ed]));
    let authenticator = authenticator(&issuer);
    let anonymous = |key: &TestKey, algorithm| key.sign_with(&Header::new(algorithm), &claims("alice"));
    assert_eq!(verdict(&authenticator, "alice", &anonymous(&ed, Jwa::EdDSA)).await, "allowed");
    assert_eq!(verdict(&authenticator, "alice", &anonymous(&a, Jwa::ES256)).await, "ambiguous_key");
    assert_eq!(verdict(&authenticator, "alice", &anonymous(&RSA, Jwa::RS256)).await, "unknown_kid");
}

#[tokio::test]
async fn a_key_without_a_name_is_tried_when_it_is_the_only_one() {
    let (named, unnamed, other) = (TestKey::p256("named"), TestKey::p256("x"), TestKey::p256("y"));
    let bare = |key: &TestKey| {
        let mut jwk = key.jwk();
        jwk.as_object_mut().unwrap().remove("kid");
        jwk
    };
    let set = |keys: &[serde_json::Value]| json!({ "keys": keys }).to_string();
    let issuer = TestIssuer::serving(set(&[named.jwk(), bare(&unnamed)]));
    let authenticator = authenticator(&issuer);
    let stranger = TestKey::p256("z");
    assert_eq!(verdict(&authenticator, "alice", &unnamed.sign(&claims("alice"))).await, "allowed");
    assert_eq!(verdict(&authenticator, "alice", &named.sign(&claims("alice"))).await, "allowed");
    assert_eq!(issuer.hits(), 1);
    // Its place may have been taken by another key without a name, or the token's key be a new one.
    issuer.now_serving(set(&[named.jwk(), bare(&other)]));
    assert_eq!(verdict(&authenticator, "alice", &other.sign(&claims("alice"))).await, "allowed");
    assert_eq!(issuer.hits(), 2);
    assert_eq!(verdict(&authenticator, "alice", &unnamed.sign(&claims("alice"))).await, "unknown_kid");
    assert_eq!(verdict(&authenticator, "alice", &stranger.sign(&claims("alice"))).await, "unknown_kid");

    let several = TestIssuer::serving(set(&[bare(&unnamed), bare(&other)]));
    let authenticator = self::authenticator(&several);
    assert_eq!(verdict(&authenticator, "alice", &unnamed.sign(&claims("alice"))).await, "unknown_kid");
}

#[tokio::test]
async fn ed25519_is_eddsa_by_another_name() {
    let key = TestKey::ed25519("a");
    for said in [json!("EdDSA"), json!("Ed25519"), json!(null)] {
        let mut jwk = key.jwk();
        jwk["alg"] = said.clone();
        let issuer = TestIssuer::serving(json!({ "keys": [jwk] }).to_string());
        let authenticator = authenticator(&issuer);
        for alg in ["EdDSA", "Ed25519"] {
            let header = json!({ "alg": alg, "kid": "a" }).to_string();
            let token = key.sign_raw(&header, &claims("alice").to_string());
            assert_eq!(verdict(&authenticator, "alice", &token).await, "allowed", "{said} {alg}");
        }
        for alg in ["ed25519", "Ed448", "ESP256"] {
            let header = json!({ "alg": alg, "kid": "a" }).to_string();
            let token = key.sign_raw(&header, &claims("alice").to_string());
            assert_eq!(verdict(&authenticator, "alice", &token).await, "algorithm_not_allowed", "{alg}");
        }
    }
}

/// One key in 128 has a coordinate that begins with a zero byte.
#[tokio::test]
async fn coordinates_are_numbers() {
    let decode = |text: &serde_json::Value| URL_SAFE_NO_PAD.decode(text.as_str().unwrap()).unwrap();
    // Without the second byte it is another number.
    let is_short = |x: &[u8]| x[0] == 0 && x[1] != 0;
    let key = (0..10_000).map(|_| TestKey::p256("a")).find(|key| is_short(&decode(&key.jwk()["x"]))).unwrap();
    let whole = decode(&key.jwk()["x"]);
    let longer = [&[0], &whole[..]].concat();
    for (x, expected) in
        [(&whole[1..], "allowed"), (&longer[..], "allowed"), (&whole[2..], "unknown_kid"), (&[][..], "unknown_kid")]
    {
        let mut jwk = key.jwk();
        jwk["x"] = json!(URL_SAFE_NO_PAD.encode(x));
        let issuer = TestIssuer::serving(json!({ "keys": [jwk] }).to_string());
        let verdict = verdict(&authenticator(&issuer), "alice", &key.sign(&claims("alice"))).await;
        assert_eq!(verdict, expected, "{} bytes", x.len());
    }
}

#[tokio::test]
async fn a_byte_order_mark_in_front_of_the_set_is_no_part_of_it() {
    let key = TestKey::p256("a");
    let issuer = TestIssuer::serving(format!("\u{feff}{}", key_set(&[&key])));
    assert_eq!(verdict(&authenticator(&issuer), "alice", &key.sign(&claims("alice"))).await, "allowed");
}

#[tokio::test]
async fn keys_that_share_a_kid_are_tried_in_turn() {
    let keys = [TestKey::p256("same"), TestKey::p256("same"), TestKey::ed25519("same")];
    let issuer = TestIssuer::serving(key_set(&[&keys[0], &keys[1], &keys[2]]));
    let authenticator = authenticator(&issuer);
    for key in &keys {
        assert_eq!(verdict(&authenticator, "alice", &key.sign(&claims("alice"))).await, "allowed");
    }
    let stranger = TestKey::p256("same").sign(&claims("alice"));
    assert_eq!(verdict(&authenticator, "alice", &stranger).await, "bad_signature");
}

#[tokio::test]
async fn what_a_jwk_says_of_its_purpose_is_obeyed() {
    let cases = [
        (json!({"alg": "RS256"}), Jwa::RS256, "allowed"),
        (json!({"alg": "RS256"}), Jwa::RS512, "algorithm_mismatch"),
        (json!({"alg": "RS256"}), Jwa::PS256, "algorithm_mismatch"),
        (json!({"alg": "RSA-OAEP"}), Jwa::RS256, "unknown_kid"),
        (json!({"alg": "HS256"}), Jwa::RS256, "unknown_kid"),
        (json!({"use": "enc"}), Jwa::RS256, "unknown_kid"),
        (json!({"use": null}), Jwa::RS256, "allowed"),
        (json!({"key_ops": ["verify"]}), Jwa::RS256, "allowed"),
        (json!({"key_ops": ["encrypt"]}), Jwa::RS256, "unknown_kid"),
        (json!({"key_ops": "verify"}), Jwa::RS256, "unknown_kid"),
        (json!({"d": "AQAB"}), Jwa::RS256, "unknown_kid"),
        (json!({"kty": "EC", "crv": "P-256"}), Jwa::RS256, "unknown_kid"),
    ];
    for (changes, algorithm, expected) in cases {
        let mut jwk = RSA.jwk();
        jwk.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let issuer = TestIssuer::serving(json!({"keys": [jwk]}).to_string());
        let mut header = Header::new(algorithm);
        header.kid = Some("rsa".to_owned());
        let token = RSA.sign_with(&header, &claims("alice"));
        assert_eq!(verdict(&authenticator(&issuer), "alice", &token).await, expected, "{changes} {algorithm:?}");
    }
}

#[tokio::test]
async fn one_unusable_key_never_spoils_the_set() {
    let good = TestKey::p256("good");
    let mut off_curve = TestKey::p256("off-curve").jwk();
    off_curve["y"] = off_curve["x"].clone();
    let mut short = TestKey::p256("short").jwk();
    short["x"] = json!("AAAA");
    let keys = json!([
        off_curve, short, 7, null, {}, {"kty": "EC"}, {"kty": 1}, {"kty": "oct", "k": "c2VjcmV0", "kid": "good"},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "tiny"}, {"kty": "OKP", "crv": "Ed448", "x": "AAAA"},
        {"kty": "EC", "crv": "secp256k1", "x": "AAAA", "y": "AAAA"}, {"kty": "ML-DSA"}, good.jwk(),
    ]);
    let issuer = TestIssuer::serving(json!({"keys": keys, "extra": 1}).to_string());
    assert_eq!(verdict(&authenticator(&issuer), "alice", &good.sign(&claims("alice"))).await, "allowed");
}

#[tokio::test]
async fn an_oversized_set_is_cut_and_not_refused() {
    let good = TestKey::ed25519("good");
    let mut keys = vec![good.jwk()];
    keys.extend((0..200).map(|_| TestKey::ed25519("filler").jwk()));
    let issuer = TestIssuer::serving(json!({ "keys": keys }).to_string());
    assert_eq!(verdict(&authenticator(&issuer), "alice", &good.sign(&claims("alice"))).await, "allowed");
}

#[tokio::test]
async fn a_reload_keeps_the_keys_of_an_unchanged_issuer() {
    let key = TestKey::p256("a");
    let issuer = TestIssuer::serving(key_set(&[&key]));
    let config = jwks_config(&issuer.url, |_| {});
    let first = Authenticator::new(config.clone()).unwrap();
    let token = key.sign(&claims("alice"));
    assert_eq!(verdict(&first, "alice", &token).await, "allowed");

    let changed = JwtConfig { denied_roles: vec!["bob".to_owned()], ..config.clone() };
    let second = first.reconfigured(changed).unwrap();
    assert_eq!(verdict(&second, "alice", &token).await, "allowed");
    assert_eq!(verdict(&second, "bob", &key.sign(&claims("bob"))).await, "role_denied");
    assert_eq!(issuer.hits(), 1);

    let third = second.reconfigured(all_algorithms(config)).unwrap();
    assert_eq!(verdict(&third, "alice", &token).await, "allowed");
    assert_eq!(issuer.hits(), 2, "other algorithms need the set again");
}
