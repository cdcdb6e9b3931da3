//! JWTs whose issuer is asked as well.

use std::time::Duration;

use crate::common::introspection::{Endpoint, NAME, TOKEN, plain};
use crate::common::issuer::TestIssuer;
use crate::common::{TestKey, claims, key_set, login, now, verdict};
use pgdog_jwt::config::{IntrospectionSource, JwksSource, KeySource};
use pgdog_jwt::{AuthContext, AuthDecision, Authenticator, Check, Credential, JwtConfig};
use serde_json::{Value, json};

/// One issuer whose JWTs are asked about as well.
fn with_jwts(keys: &TestIssuer, endpoint: &Endpoint, change: impl FnOnce(&mut IntrospectionSource)) -> Authenticator {
    let mut issuer = endpoint.issuer(|source| {
        source.introspect_jwts = true;
        change(source);
    });
    issuer.keys = KeySource::Jwks(JwksSource::new(&keys.url));
    Authenticator::new(JwtConfig::new(vec![issuer])).unwrap()
}

#[tokio::test]
async fn a_jwt_counts_while_its_issuer_stands_by_it() {
    let key = TestKey::p256("k");
    let (keys, endpoint) = (TestIssuer::serving(key_set(&[&key])), Endpoint::new());
    let authenticator = with_jwts(&keys, &endpoint, |source| source.cache_ttl = Duration::from_secs(1));
    let token = |change: Value| {
        let mut all = json!({"iss": NAME, "aud": "db", "sub": "alice", "exp": now() + 600, "jti": change.to_string()});
        for (name, value) in change.as_object().unwrap() {
            all[name.as_str()] = value.clone();
        }
        key.sign(&all)
    };
    let good = token(json!({}));
    endpoint.issue(&good, &json!({"exp": now() + 30}));
    let grant = login(&authenticator, "alice", &good).await.unwrap();
    assert!(grant.expires_at <= std::time::SystemTime::now() + Duration::from_secs(30));
    // Only what the issuer has signed is shown to it.
    assert_eq!(verdict(&authenticator, "alice", &token(json!({"iss": "https://x.example"}))).await, "wrong_issuer");
    assert_eq!(verdict(&authenticator, "alice", &TestKey::p256("k").sign(&claims("alice"))).await, "wrong_issuer");
    assert_eq!(verdict(&authenticator, "bob", &token(json!({"n": 1}))).await, "user_mismatch");
    assert_eq!(endpoint.hits(), 1);

    let bare = token(json!({"n": 2}));
    endpoint.issue(&bare, &json!({"iss": null, "aud": null, "sub": null, "exp": null}));
    assert_eq!(verdict(&authenticator, "alice", &bare).await, "allowed");
    let other = token(json!({"n": 3}));
    endpoint.issue(&other, &json!({"sub": "bob"}));
    assert_eq!(verdict(&authenticator, "alice", &other).await, "introspection_mismatch");
    let unknown = token(json!({"n": 4}));
    assert_eq!(verdict(&authenticator, "alice", &unknown).await, "token_inactive");

    endpoint.revoke(&good);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(verdict(&authenticator, "alice", &good).await, "token_inactive");
}

#[tokio::test]
async fn an_issuer_that_is_not_asked_about_jwts_sees_none() {
    let key = TestKey::p256("k");
    let (keys, endpoint) = (TestIssuer::serving(key_set(&[&key])), Endpoint::new());
    let authenticator = with_jwts(&keys, &endpoint, |source| source.introspect_jwts = false);
    let token = key.sign(&json!({"iss": NAME, "aud": "db", "sub": "alice", "exp": now() + 600}));
    assert_eq!(verdict(&authenticator, "alice", &token).await, "allowed");
    endpoint.issue(TOKEN, &json!({}));
    assert_eq!(verdict(&authenticator, "alice", TOKEN).await, "allowed");
    assert_eq!(endpoint.hits(), 1);
}

#[tokio::test]
async fn an_explanation_says_what_the_issuer_said() {
    let key = TestKey::p256("k");
    let (keys, endpoint) = (TestIssuer::serving(key_set(&[&key])), Endpoint::new());
    let authenticator = with_jwts(&keys, &endpoint, plain);
    let mut tokens = vec!["short".to_owned(), "x".repeat(20_000), String::new(), "unknown-token-0123456789".to_owned()];
    let changes = [
        json!({}),
        json!({"sub": "bob"}),
        json!({"aud": "x"}),
        json!({"iss": "x"}),
        json!({"exp": null}),
        json!({"active": "true"}),
        json!({"token_type": "DPoP"}),
        json!({"iss": 7}),
    ];
    for (number, change) in changes.iter().enumerate() {
        let mut claims = json!({"iss": NAME, "aud": "db", "sub": "alice", "exp": now() + 60, "n": number});
        tokens.push(key.sign(&claims));
        tokens.push(format!("opaque-token-{number:020}"));
        claims["sub"] = json!("carol");
        tokens.push(key.sign(&claims));
        for token in &tokens[tokens.len() - 3..] {
            endpoint.issue(token, change);
        }
    }
    for token in &tokens {
        let credential = Credential::new(token.as_bytes());
        let context = AuthContext {
            user: "alice",
            database: "app",
            credential,
            client_addr: None,
            tls: true,
            tls_identity: None,
        };
        let explanation = authenticator.explain(context).await;
        let failed = explanation.steps.last().and_then(|step| step.outcome.as_ref().err());
        match &explanation.decision {
            AuthDecision::Deny(reason) => assert_eq!(failed, Some(reason), "{token}"),
            _ => assert_eq!(failed, None, "{token}"),
        }
        let asked = explanation.steps.iter().any(|step| step.check == Check::Introspection);
        let is_in = matches!(explanation.decision, AuthDecision::Allow(_));
        assert!(asked || !is_in, "{token}");
    }
}
