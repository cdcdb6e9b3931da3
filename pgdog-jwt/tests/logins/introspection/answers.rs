//! What an answer says, who is asked, and what is shown to nobody.

use std::time::Duration;

use crate::common::introspection::{Endpoint, NAME, TOKEN, plain, raw};
use crate::common::{TestKey, claims, file, login, now, verdict};
use pgdog_jwt::config::{ClientAuth, ClientKey, IdentityMode, IntrospectionSource, Issuer, KeySource, Proxy, Secret};
use pgdog_jwt::{Authenticator, JwtConfig};
use serde_json::json;

#[tokio::test]
async fn the_answer_is_the_token() {
    let endpoint = Endpoint::new();
    let until = now() + 120;
    endpoint.issue(TOKEN, &json!({"exp": until, "jti": "t-1", "username": "alice@example.com"}));
    let mut config = JwtConfig::new(vec![endpoint.issuer(plain)]);
    config.mode = IdentityMode::Passthrough;
    let authenticator = Authenticator::new(config.clone()).unwrap();

    let grant = login(&authenticator, "alice", TOKEN).await.unwrap();

    assert_eq!((grant.user.as_str(), grant.issuer.as_deref()), ("alice", Some(NAME)));
    assert_eq!(grant.token_id.as_deref(), Some("t-1"));
    assert_eq!(grant.expires_at, std::time::UNIX_EPOCH + Duration::from_secs(until));
    assert_eq!(grant.token.as_ref().map(Secret::expose), Some(TOKEN));
    config.issuers[0].username_claim = "username".to_owned();
    let by_name = Authenticator::new(config).unwrap();
    assert_eq!(verdict(&by_name, "alice@example.com", TOKEN).await, "allowed");
    assert_eq!(verdict(&by_name, "alice", TOKEN).await, "user_mismatch");
}

#[tokio::test]
async fn answers_are_judged_as_the_claims_of_a_jwt() {
    let cases = [
        (json!({}), "allowed"),
        (json!({"iss": null, "token_type": null}), "allowed"),
        (json!({"aud": ["other", "db"]}), "allowed"),
        (json!({"sub": "bob"}), "user_mismatch"),
        (json!({"sub": null}), "missing_claim"),
        (json!({"iss": "https://other.example"}), "wrong_issuer"),
        (json!({"aud": "other"}), "wrong_audience"),
        (json!({"aud": null}), "missing_claim"),
        (json!({"exp": null}), "missing_claim"),
        (json!({"exp": "soon"}), "invalid_claim"),
        (json!({"exp": now() - 1}), "expired"),
        (json!({"nbf": now() + 600}), "not_yet_valid"),
        (json!({"iat": now() + 600}), "issued_in_future"),
        (json!({"token_type": "DPoP"}), "bound_token"),
        (json!({"token_use": "refresh_token"}), "not_an_access_token"),
        (json!({"cnf": {"x5t#S256": "x"}}), "bound_token"),
        (json!({"active": false}), "token_inactive"),
        (json!({"active": "true"}), "introspection_unavailable"),
        (json!({"active": 1}), "introspection_unavailable"),
        (json!({"active": null}), "introspection_unavailable"),
    ];
    for (change, expected) in cases {
        let endpoint = Endpoint::new();
        endpoint.issue(TOKEN, &change);
        assert_eq!(verdict(&endpoint.authenticator(plain), "alice", TOKEN).await, expected, "{change}");
    }
}

#[tokio::test]
async fn an_answer_without_an_end_counts_as_long_as_was_configured() {
    let endpoint = Endpoint::new();
    endpoint.issue(TOKEN, &json!({"exp": null}));
    let authenticator = endpoint.authenticator(|source| source.max_age = Some(Duration::from_secs(600)));
    let grant = login(&authenticator, "alice", TOKEN).await.unwrap();
    let end = grant.expires_at.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!((now() + 590..=now() + 600).contains(&end), "{end}");
}

#[tokio::test]
async fn what_cannot_be_a_bearer_token_is_shown_to_nobody() {
    let endpoint = Endpoint::new();
    let authenticator = endpoint.authenticator(plain);
    let jwt = TestKey::p256("k").sign(&claims("alice"));
    let long = "x".repeat(20_000);
    for (credential, reason) in [
        ("hunter2", "malformed_token"),
        ("correct horse battery staple", "malformed_token"),
        ("=======================", "malformed_token"),
        ("abcdefghijklmnopqrst=uvwx", "malformed_token"),
        ("abcdefghijklmnopqrstuvwxé", "malformed_token"),
        ("abcdefghijklmnopqrstuvwx\r\nX: y", "malformed_token"),
        ("abcdefghijkl.abcdefghijkl.abcdefghijkl", "malformed_token"),
        (jwt.as_str(), "wrong_issuer"),
        (long.as_str(), "token_too_large"),
        ("", "empty_credential"),
    ] {
        assert_eq!(verdict(&authenticator, "alice", credential).await, reason, "{credential}");
    }
    assert_eq!(endpoint.hits(), 0);
}

#[tokio::test]
async fn a_user_without_the_suffix_is_not_asked_about() {
    let endpoint = Endpoint::new();
    endpoint.issue(TOKEN, &json!({}));
    let mut config = JwtConfig::new(vec![endpoint.issuer(plain)]);
    config.issuers[0].user_suffix = Some("@jwt".to_owned());
    let authenticator = Authenticator::new(config).unwrap();
    assert_eq!(verdict(&authenticator, "alice", TOKEN).await, "skip");
    assert_eq!(endpoint.hits(), 0);
    assert_eq!(verdict(&authenticator, "alice@jwt", TOKEN).await, "allowed");
}

#[tokio::test]
async fn a_token_is_shown_to_the_issuer_of_the_users_suffix_alone() {
    let (plain_one, of_suffix, longer) = (Endpoint::new(), Endpoint::new(), Endpoint::new());
    let named = |endpoint: &Endpoint, name: &str, suffix: Option<&str>| Issuer {
        issuer: Some(name.to_owned()),
        user_suffix: suffix.map(str::to_owned),
        ..endpoint.issuer(plain)
    };
    let keys = file(&TestKey::p256("k").pair.public_key_pem());
    let mut signing = Issuer::new(KeySource::PemFiles(vec![keys.path().to_owned()]));
    signing.issuer = Some("https://signing.example".to_owned());
    signing.user_suffix = Some("@keys".to_owned());
    let issuers = vec![
        signing,
        named(&longer, "https://c.example", Some("@x.b")),
        named(&plain_one, "https://a.example", None),
        named(&of_suffix, "https://b.example", Some(".b")),
    ];
    let authenticator = Authenticator::new(JwtConfig::new(issuers)).unwrap();
    let hits = || [plain_one.hits(), of_suffix.hits(), longer.hits()];
    for (number, (user, expected)) in
        [("alice", [1, 0, 0]), ("alice.b", [1, 1, 0]), ("alice@x.b", [1, 1, 1]), ("alice@keys", [1, 1, 1])]
            .into_iter()
            .enumerate()
    {
        let token = format!("some-token-{number:020}");
        assert_ne!(verdict(&authenticator, user, &token).await, "allowed");
        assert_eq!(hits(), expected, "{user}");
    }
}

#[tokio::test]
async fn an_issuer_without_a_name_does_not_speak_for_another() {
    let endpoint = Endpoint::new();
    let mut nameless = endpoint.issuer(plain);
    nameless.issuer = None;
    let named = {
        let keys = file(&TestKey::p256("k").pair.public_key_pem());
        let mut issuer = Issuer::new(KeySource::PemFiles(vec![keys.path().to_owned()]));
        issuer.issuer = Some(NAME.to_owned());
        (issuer, keys)
    };
    let authenticator = Authenticator::new(JwtConfig::new(vec![named.0, nameless])).unwrap();
    endpoint.issue(TOKEN, &json!({}));
    assert_eq!(verdict(&authenticator, "alice", TOKEN).await, "wrong_issuer");
    endpoint.issue(&"y".repeat(40), &json!({"iss": null}));
    assert_eq!(verdict(&authenticator, "alice", &"y".repeat(40)).await, "allowed");
}

#[tokio::test]
async fn nothing_shows_the_token_or_the_secret() {
    let endpoint = Endpoint::new();
    endpoint.issue(TOKEN, &json!({}));
    let config = JwtConfig::new(vec![endpoint.issuer(plain)]);
    let authenticator = Authenticator::new(config.clone()).unwrap();
    let grant = login(&authenticator, "alice", TOKEN).await.unwrap();
    endpoint.now(raw(200, TOKEN));
    let other = login(&authenticator, "alice", "another-token-0123456789").await;
    let status = authenticator.introspection_status();
    let shown = format!("{config:?} {config:#?} {authenticator:?} {grant:?} {other:?} {status:?}");
    for secret in [TOKEN, "the-client-secret", "another-token", "tenant=one"] {
        assert!(!shown.contains(secret), "{secret} is in {shown}");
    }
}

#[test]
fn configurations_that_cannot_work_are_refused() {
    let endpoint = Endpoint::new();
    let broken = |change: &dyn Fn(&mut Issuer, &mut IntrospectionSource)| {
        let mut issuer = endpoint.issuer(plain);
        let mut source = endpoint.source();
        change(&mut issuer, &mut source);
        issuer.introspection = Some(source);
        let error = Authenticator::new(JwtConfig::new(vec![issuer])).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("secret-text"), "{shown}");
        error.to_string()
    };
    for url in ["http://issuer.example/i", "ftp://127.0.0.1/", "", "https://a:secret-text@i.example/?x=secret-text"] {
        assert!(broken(&|_, source| source.url = url.to_owned()).contains("introspection URL"), "{url}");
    }
    assert!(broken(&|_, source| source.client_id.clear()).contains("client_auth"));
    assert!(broken(&|_, source| source.client_auth = ClientAuth::Basic(Secret::new(""))).contains("client_auth"));
    assert!(broken(&|_, source| source.timeout = Duration::ZERO).contains("timeout"));
    assert!(broken(&|_, source| source.max_requests = 0).contains("max_requests"));
    assert!(broken(&|_, source| source.max_requests = usize::MAX).contains("max_requests"));
    assert!(broken(&|_, source| source.ca_file = Some("/nowhere/ca.pem".into())).contains("/nowhere/ca.pem"));
    assert!(broken(&|_, source| source.proxy = Proxy::Url(Secret::new("secret-text"))).contains("proxy"));
    assert!(
        broken(&|_, source| {
            let key = ClientKey { file: "/nowhere/key.pem".into(), kid: None, audience: None };
            source.client_auth = ClientAuth::PrivateKey(key);
        })
        .contains("/nowhere/key.pem")
    );
    let none = Authenticator::new(JwtConfig::new(vec![Issuer::new(KeySource::None)]));
    assert!(none.unwrap_err().to_string().contains("introspection"));
    for suffix in [None, Some("@jwt".to_owned())] {
        let one = Issuer { user_suffix: suffix.clone(), ..endpoint.issuer(plain) };
        let two = Issuer { issuer: None, ..one.clone() };
        let error = Authenticator::new(JwtConfig::new(vec![one.clone(), two.clone()])).unwrap_err();
        assert!(error.to_string().contains("two issuers are asked"), "{error}");
        let two = Issuer { user_suffix: Some("@other".to_owned()), ..two };
        assert!(Authenticator::new(JwtConfig::new(vec![one, two])).is_ok());
    }
}
