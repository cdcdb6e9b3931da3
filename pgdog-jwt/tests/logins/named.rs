//! What tells one token from another, and when it ends.

use std::time::Duration;

use crate::common::{TestKey, authenticator_for, claims, file, login, now, pem_config};
use pgdog_jwt::{AuthGrant, Authenticator};
use serde_json::json;

#[tokio::test]
async fn a_token_without_a_name_is_known_by_its_hash() {
    let key = TestKey::ed25519("k");
    let authenticator = authenticator_for(&[&key]);
    let grant = async |more: serde_json::Value| -> AuthGrant {
        let mut claims = claims("alice");
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let token = key.sign(&claims);
        let (first, again) = (
            login(&authenticator, "alice", &token).await.unwrap(),
            login(&authenticator, "alice", &token).await.unwrap(),
        );
        assert_eq!(first.fingerprint, again.fingerprint, "also of one that is remembered");
        first
    };
    let (one, other) = (grant(json!({"n": 1})).await, grant(json!({"n": 2})).await);
    assert!(one.fingerprint.is_some() && one.fingerprint != other.fingerprint);
    assert!(grant(json!({"jti": ""})).await.fingerprint.is_some());
    let named = grant(json!({"jti": "a-1"})).await;
    assert_eq!((named.fingerprint, named.token_id.as_deref()), (None, Some("a-1")));
}

#[tokio::test]
async fn a_token_is_valid_as_long_as_the_leeway_lasts() {
    let key = TestKey::ed25519("k");
    let pem = file(&key.pair.public_key_pem());
    let mut config = pem_config(&[&pem]);
    config.issuers[0].leeway = Duration::from_secs(30);
    let authenticator = Authenticator::new(config).unwrap();
    let token = key.sign(&json!({"sub": "alice", "exp": now() + 60}));
    let grant = login(&authenticator, "alice", &token).await.unwrap();
    assert_eq!(grant.valid_until, grant.expires_at + Duration::from_secs(30));
}
