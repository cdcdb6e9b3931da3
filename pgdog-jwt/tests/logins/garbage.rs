//! What is obviously no token of ours costs next to nothing: no fetch of keys, and no signature check.

use crate::common::issuer::TestIssuer;
use crate::common::{TestKey, claims, jwks_config, key_set, now, verdict};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pgdog_jwt::Authenticator;
use pgdog_jwt::config::Algorithm;
use serde_json::json;

#[tokio::test]
async fn garbage_costs_neither_a_fetch_nor_a_signature_check() {
    let key = TestKey::ed25519("k");
    let issuer = TestIssuer::serving(key_set(&[&key]));
    let mut config = jwks_config(&issuer.url, |_| ());
    config.issuers[0].issuer = Some("https://id.example".to_owned());
    config.issuers[0].algorithms = vec![Algorithm::EdDSA];
    let authenticator = Authenticator::new(config).unwrap();
    let ours = json!({"sub": "alice", "iss": "https://id.example", "exp": now() + 60});
    let good = key.sign(&ours);
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let with_header = |header: &str| format!("{}.{}.{}", part(header), part(&ours.to_string()), part("signature"));
    for credential in [
        String::new(),
        "correct horse battery staple".to_owned(),
        "x".repeat(100_000),
        format!("{good}{}", "x".repeat(100_000)),
        "...".to_owned(),
        good.rsplit_once('.').unwrap().0.to_owned(),
        with_header("[]"),
        with_header("{}"),
        with_header(r#"{"alg":"EdDSA","crit":["b64"]}"#),
        with_header(r#"{"alg":"none","kid":"k"}"#),
        with_header(r#"{"alg":"HS256","kid":"k"}"#),
        with_header(r#"{"alg":"RS256","kid":"k"}"#),
        key.sign(&claims("alice")),
        key.sign(&json!({"sub": "alice", "iss": "https://other.example", "exp": now() + 60})),
        key.sign(&json!({"sub": "alice", "iss": 7, "exp": now() + 60})),
    ] {
        let said = verdict(&authenticator, "alice", &credential).await;
        assert_ne!(said, "allowed");
        assert_eq!((issuer.hits(), authenticator.cache_stats().misses), (0, 0), "{said}");
    }
    assert_eq!(verdict(&authenticator, "alice", &good).await, "allowed");
    assert_eq!((issuer.hits(), authenticator.cache_stats().misses), (1, 1));
}
