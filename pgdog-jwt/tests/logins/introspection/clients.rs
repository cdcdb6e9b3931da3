//! How the client that asks proves itself.

use crate::common::introspection::{Asked, Endpoint, TOKEN};
use crate::common::{TestKey, file, now, verdict};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm as Jwa, DecodingKey, Validation};
use pgdog_jwt::config::{ClientAuth, ClientKey, Secret};
use pgdog_jwt::{Authenticator, JwtConfig};
use serde_json::{Value, json};

#[tokio::test]
async fn a_client_proves_itself_by_basic() {
    let endpoint = Endpoint::new();
    endpoint.issue(TOKEN, &json!({}));
    let authenticator = endpoint.authenticator(|source| {
        source.client_id = "gate:way ü".to_owned();
        source.client_auth = ClientAuth::Basic(Secret::new("s:e%c&r et"));
    });
    assert_eq!(verdict(&authenticator, "alice", TOKEN).await, "allowed");

    let asked = &endpoint.asked()[0];
    let pair = STANDARD.encode("gate%3Away+%C3%BC:s%3Ae%25c%26r+et");
    assert_eq!(asked.headers["authorization"], format!("Basic {pair}"));
    assert_eq!(asked.line, "POST /introspect?tenant=one HTTP/1.1");
    assert_eq!(asked.headers["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(asked.headers["accept"], "application/json");
    assert_eq!(asked.form["token"], TOKEN);
    assert_eq!(asked.form["token_type_hint"], "access_token");
    assert_eq!(asked.form.len(), 2);
}

#[tokio::test]
async fn a_client_proves_itself_by_post() {
    let endpoint = Endpoint::new();
    endpoint.issue(TOKEN, &json!({}));
    let authenticator =
        endpoint.authenticator(|source| source.client_auth = ClientAuth::Post(Secret::new("s:e%c&r et")));
    assert_eq!(verdict(&authenticator, "alice", TOKEN).await, "allowed");

    let asked = &endpoint.asked()[0];
    assert_eq!((asked.form["client_id"].as_str(), asked.form["client_secret"].as_str()), ("gateway", "s:e%c&r et"));
    assert!(!asked.headers.contains_key("authorization"));
}

#[tokio::test]
async fn a_client_proves_itself_by_a_signed_assertion() {
    let ec = TestKey::p256("k");
    let rsa = &*crate::common::RSA;
    for (key, algorithm, audience) in [(&ec, Jwa::ES256, None), (rsa, Jwa::RS256, Some("https://opaque.example"))] {
        let endpoint = Endpoint::new();
        for number in 0..2 {
            endpoint.issue(&format!("{TOKEN}{number}").replace('=', ""), &json!({}));
        }
        let pem = file(&key.pair.serialize_pem());
        let authenticator = endpoint.authenticator(|source| {
            let key = ClientKey {
                file: pem.path().to_owned(),
                kid: audience.map(|_| "the-kid".to_owned()),
                audience: audience.map(str::to_owned),
            };
            source.client_auth = ClientAuth::PrivateKey(key);
        });
        for number in 0..2 {
            let token = format!("{TOKEN}{number}").replace('=', "");
            assert_eq!(verdict(&authenticator, "alice", &token).await, "allowed");
        }

        let assertions: Vec<_> = endpoint.asked().iter().map(|asked| read_assertion(asked, key, algorithm)).collect();
        for (kid, claims) in &assertions {
            assert_eq!(kid.as_deref(), audience.map(|_| "the-kid"));
            assert_eq!((&claims["iss"], &claims["sub"]), (&json!("gateway"), &json!("gateway")));
            assert_eq!(claims["aud"], audience.unwrap_or(&endpoint.url));
            let (from, to) = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
            assert!(from <= now() && to > now() && to - from <= 60);
        }
        assert_ne!(assertions[0].1["jti"], assertions[1].1["jti"]);
        assert!(assertions[0].1["jti"].as_str().unwrap().len() >= 20);
    }
}

fn read_assertion(asked: &Asked, key: &TestKey, algorithm: Jwa) -> (Option<String>, Value) {
    assert_eq!(asked.form["client_assertion_type"], "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    assert!(!asked.headers.contains_key("authorization") && !asked.form.contains_key("client_secret"));
    let pem = key.pair.public_key_pem();
    let decoding = match algorithm {
        Jwa::ES256 => DecodingKey::from_ec_pem(pem.as_bytes()),
        _ => DecodingKey::from_rsa_pem(pem.as_bytes()),
    };
    let mut validation = Validation::new(algorithm);
    validation.validate_aud = false;
    let decoded = jsonwebtoken::decode::<Value>(&asked.form["client_assertion"], &decoding.unwrap(), &validation);
    let decoded = decoded.unwrap();
    (decoded.header.kid, decoded.claims)
}

#[tokio::test]
async fn a_key_file_is_read_again_and_what_is_known_stays() {
    let endpoint = Endpoint::new();
    endpoint.issue(TOKEN, &json!({}));
    endpoint.issue(&"x".repeat(40), &json!({}));
    let (old, new) = (TestKey::p256("old"), TestKey::p256("new"));
    let pem = file(&old.pair.serialize_pem());
    let key = ClientKey { file: pem.path().to_owned(), kid: None, audience: None };
    let issuer = endpoint.issuer(|source| source.client_auth = ClientAuth::PrivateKey(key));
    let config = JwtConfig::new(vec![issuer]);
    let authenticator = Authenticator::new(config.clone()).unwrap();
    assert_eq!(verdict(&authenticator, "alice", TOKEN).await, "allowed");

    std::fs::write(pem.path(), new.pair.serialize_pem()).unwrap();
    let authenticator = authenticator.reconfigured(config.clone()).unwrap();

    assert_eq!(verdict(&authenticator, "alice", TOKEN).await, "allowed");
    assert_eq!(endpoint.hits(), 1);
    assert_eq!(verdict(&authenticator, "alice", &"x".repeat(40)).await, "allowed");
    read_assertion(&endpoint.asked()[1], &new, Jwa::ES256);
    std::fs::write(pem.path(), old.pair.public_key_pem()).unwrap();
    let error = authenticator.reconfigured(config).unwrap_err().to_string();
    assert!(error.contains("PKCS #8") && !error.contains("BEGIN PUBLIC"), "{error}");
}
