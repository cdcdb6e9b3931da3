//! Only a token that the issuer's key signed, with an algorithm that the key is for, gets in (S7).

use crate::common::{RSA, TestKey, authenticator_for, claims, login, now, pem_config, verdict};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm as Jwa, EncodingKey, Header};
use pgdog_jwt::config::Algorithm;
use pgdog_jwt::{Authenticator, JwtConfig};
use proptest::prelude::*;
use serde_json::json;

#[tokio::test]
async fn every_supported_algorithm_is_accepted_with_its_key() {
    let (p256, p384, ed) = (TestKey::p256("a"), TestKey::p384("b"), TestKey::ed25519("c"));
    let cases: [(&TestKey, Jwa); 9] = [
        (&RSA, Jwa::RS256),
        (&RSA, Jwa::RS384),
        (&RSA, Jwa::RS512),
        (&RSA, Jwa::PS256),
        (&RSA, Jwa::PS384),
        (&RSA, Jwa::PS512),
        (&p256, Jwa::ES256),
        (&p384, Jwa::ES384),
        (&ed, Jwa::EdDSA),
    ];
    let authenticator = authenticator_for(&[&RSA, &p256, &p384, &ed]);
    for (key, algorithm) in cases {
        let token = key.sign_with(&Header::new(algorithm), &claims("alice"));
        let grant = login(&authenticator, "alice", &token).await.unwrap_or_else(|code| panic!("{algorithm:?}: {code}"));
        assert_eq!(grant.user, "alice");
    }
}

#[tokio::test]
async fn a_grant_says_all_that_the_token_and_the_configuration_say() {
    let key = TestKey::p256("k");
    let file = crate::common::file(&key.pair.public_key_pem());
    let config = JwtConfig {
        server_user: Some("gateway".to_owned()),
        server_password: Some(pgdog_jwt::config::Secret::new("hunter2")),
        auto_provision: true,
        auto_provision_read_only: true,
        ..pem_config(&[&file])
    };
    let authenticator = Authenticator::new(config).unwrap();
    let exp = now() + 60;
    let token = key.sign(&json!({"sub": "alice", "exp": exp, "iss": "https://id.example", "jti": "42"}));
    let grant = login(&authenticator, "alice", &token).await.unwrap();
    assert_eq!(grant.server_role.as_deref(), Some("alice"));
    assert_eq!(grant.server_user.as_deref(), Some("gateway"));
    assert_eq!(grant.server_password.as_ref().map(|secret| secret.expose()), Some("hunter2"));
    assert!(!grant.read_only && grant.provision_read_only && grant.provision && grant.settings.is_empty());
    assert_eq!(grant.issuer.as_deref(), Some("https://id.example"));
    assert_eq!(grant.token_id.as_deref(), Some("42"));
    assert_eq!(grant.expires_at, std::time::UNIX_EPOCH + std::time::Duration::from_secs(exp));
}

#[tokio::test]
async fn an_algorithm_that_is_not_configured_is_refused() {
    let key = TestKey::p256("k");
    let file = crate::common::file(&(key.pair.public_key_pem() + &RSA.pair.public_key_pem()));
    let mut config = pem_config(&[&file]);
    config.issuers[0].algorithms = vec![Algorithm::ES256];
    let authenticator = Authenticator::new(config).unwrap();
    assert_eq!(verdict(&authenticator, "alice", &key.sign(&claims("alice"))).await, "allowed");
    assert_eq!(verdict(&authenticator, "alice", &RSA.sign(&claims("alice"))).await, "algorithm_not_allowed");
}

#[tokio::test]
async fn the_algorithm_none_cannot_be_expressed() {
    let key = TestKey::p256("k");
    let authenticator = authenticator_for(&[&key]);
    let signed = key.sign(&claims("alice"));
    let signature = signed.rsplit_once('.').unwrap().1;
    let payload = URL_SAFE_NO_PAD.encode(claims("alice").to_string());
    for name in ["none", "None", "NONE", "nOnE", "", "es256", "ES256 ", "ES256K", "ES512", "HS256"] {
        let header = URL_SAFE_NO_PAD.encode(json!({ "alg": name }).to_string());
        let code = verdict(&authenticator, "alice", &format!("{header}.{payload}.{signature}")).await;
        assert_eq!(code, "algorithm_not_allowed", "{name}");
        let code = verdict(&authenticator, "alice", &format!("{header}.{payload}.")).await;
        assert_eq!(code, "malformed_token", "{name}");
    }
}

#[tokio::test]
async fn a_public_key_is_not_a_shared_secret() {
    let authenticator = authenticator_for(&[&RSA]);
    let pem = RSA.pair.public_key_pem();
    for secret in [pem.as_bytes(), pem.trim_end().as_bytes(), RSA.pair.public_key_raw(), b""] {
        for algorithm in [Jwa::HS256, Jwa::HS384, Jwa::HS512] {
            let forged =
                jsonwebtoken::encode(&Header::new(algorithm), &claims("alice"), &EncodingKey::from_secret(secret));
            assert_eq!(verdict(&authenticator, "alice", &forged.unwrap()).await, "algorithm_not_allowed");
        }
    }
}

#[tokio::test]
async fn a_header_cannot_borrow_another_keys_algorithm() {
    let (p256, p384, ed) = (TestKey::p256("a"), TestKey::p384("b"), TestKey::ed25519("c"));
    let keys: [&TestKey; 4] = [&RSA, &p256, &p384, &ed];
    let own = [&["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"][..], &["ES256"], &["ES384"], &["EdDSA"]];
    for (key, own) in keys.iter().zip(own) {
        let authenticator = authenticator_for(&[key]);
        for algorithm in Algorithm::ALL {
            let token = key.sign_raw(&json!({"alg": algorithm.name()}).to_string(), &claims("alice").to_string());
            let expected = match own.iter().position(|name| *name == algorithm.name()) {
                Some(0) => "allowed",
                Some(_) => "bad_signature",
                None => "algorithm_mismatch",
            };
            assert_eq!(verdict(&authenticator, "alice", &token).await, expected, "{}", algorithm.name());
        }
    }
}

#[tokio::test]
async fn another_key_of_the_same_kind_is_refused() {
    let (known, stranger) = (TestKey::p256("k"), TestKey::p256("k"));
    let authenticator = authenticator_for(&[&known]);
    assert_eq!(verdict(&authenticator, "alice", &stranger.sign(&claims("alice"))).await, "bad_signature");
}

#[tokio::test]
async fn an_ecdsa_signature_has_one_form_and_is_never_zero() {
    let key = TestKey::p256("k");
    let authenticator = authenticator_for(&[&key]);
    let good = key.sign(&claims("alice"));
    let (input, signature) = good.rsplit_once('.').unwrap();
    let raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let der = [&[0x30, 0x44, 0x02, 0x20][..], &raw[..32], &[0x02, 0x20], &raw[32..]].concat();
    for bytes in [der, vec![0; 64], raw[..63].to_vec(), [&raw[..], &[0]].concat(), vec![0]] {
        let token = format!("{input}.{}", URL_SAFE_NO_PAD.encode(bytes));
        assert_eq!(verdict(&authenticator, "alice", &token).await, "bad_signature");
    }
}

#[tokio::test]
async fn a_key_inside_a_token_is_never_used() {
    let (known, evil) = (TestKey::p256("k"), TestKey::p256("evil"));
    let authenticator = authenticator_for(&[&known]);
    for parameter in ["jwk", "jku", "x5u", "x5c"] {
        let mut header = json!({"alg": "ES256", "kid": "k"});
        header[parameter] = if parameter == "jwk" { evil.jwk() } else { json!("http://127.0.0.1:1/") };
        let token = evil.sign_raw(&header.to_string(), &claims("alice").to_string());
        assert_eq!(verdict(&authenticator, "alice", &token).await, "bad_signature", "{parameter}");
    }
}

#[tokio::test]
async fn a_signed_token_must_still_be_well_formed() {
    let key = TestKey::p256("k");
    let authenticator = authenticator_for(&[&key]);
    let good = claims("alice").to_string();
    let deep = format!("{{\"sub\":\"alice\",\"a\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
    for (header, claims, expected) in [
        (r#"{"alg":"ES256"}"#, good.as_str(), "allowed"),
        (r#"{"alg":"ES256","typ":"at+jwt","x":[1]}"#, &good, "allowed"),
        (r#"{"alg":"ES256","crit":["exp"],"exp":1}"#, &good, "unsupported_header"),
        (r#"{"alg":"ES256","crit":[]}"#, &good, "unsupported_header"),
        (r#"{"alg":"ES256","b64":true}"#, &good, "unsupported_header"),
        (r#"{"alg":"none","alg":"ES256"}"#, &good, "malformed_token"),
        (r#"{"alg":"ES256"}"#, &deep, "malformed_token"),
        (r#"{"alg":"ES256"}"#, r#"{"sub":"alice","sub":"alice","exp":99999999999}"#, "malformed_token"),
        (r#"{"alg":"ES256"}"#, r#"{"sub":"alice","exp":1e999}"#, "malformed_token"),
        (r#"{"alg":"ES256"}"#, r#"{"sub":"alice","exp":1e308}"#, "invalid_claim"),
        (r#"{"alg":"ES256"}"#, r#"{"sub":"alice","exp":-1}"#, "invalid_claim"),
        (r#"{"alg":"ES256"}"#, r#"{"sub":"alice","exp":999999999999999999999999999999}"#, "invalid_claim"),
        (r#"{"alg":"ES256"}"#, r#"{"sub":"alice"}"#, "missing_claim"),
        (r#"{"alg":"ES256"}"#, r#"{"sub":"alice","exp":1}"#, "expired"),
    ] {
        assert_eq!(
            verdict(&authenticator, "alice", &key.sign_raw(header, claims)).await,
            expected,
            "{header} {claims}"
        );
    }
}

#[tokio::test]
async fn whatever_is_not_a_token_is_refused() {
    let authenticator = authenticator_for(&[&TestKey::p256("k")]);
    assert_eq!(verdict(&authenticator, "alice", "").await, "empty_credential");
    assert_eq!(verdict(&authenticator, "alice", "secret").await, "malformed_token");
    assert_eq!(verdict(&authenticator, "alice", "..").await, "malformed_token");
    assert_eq!(verdict(&authenticator, "alice", &"x".repeat(16_385)).await, "token_too_large");
    assert_eq!(verdict(&authenticator, "alice", "пароль.x.y").await, "malformed_token");
}

#[tokio::test]
async fn a_role_of_any_script_logs_in_as_itself() {
    let key = TestKey::ed25519("k");
    let authenticator = authenticator_for(&[&key]);
    for role in ["Ålice", "アリス", "a\"; DROP ROLE bob; --"] {
        let grant = login(&authenticator, role, &key.sign(&claims(role))).await.unwrap();
        assert_eq!(grant.server_role.as_deref(), Some(role));
    }
    assert_eq!(verdict(&authenticator, "none", &key.sign(&claims("none"))).await, "role_invalid");
}

#[tokio::test]
async fn users_without_the_suffix_are_not_token_users() {
    let key = TestKey::ed25519("k");
    let file = crate::common::file(&key.pair.public_key_pem());
    let mut config = pem_config(&[&file]);
    config.issuers[0].user_suffix = Some("@sso".to_owned());
    let authenticator = Authenticator::new(config).unwrap();
    assert_eq!(verdict(&authenticator, "alice", "password").await, "skip");
    assert_eq!(verdict(&authenticator, "alice@sso", "password").await, "malformed_token");
    assert_eq!(login(&authenticator, "alice@sso", &key.sign(&claims("alice"))).await.unwrap().user, "alice");
}

#[tokio::test]
async fn a_token_is_checked_with_the_keys_of_its_own_issuer_only() {
    let (a, b) = (TestKey::p256("k"), TestKey::p256("k"));
    let (file_a, file_b) =
        (crate::common::file(&a.pair.public_key_pem()), crate::common::file(&b.pair.public_key_pem()));
    let mut config = pem_config(&[&file_a]);
    config.issuers[0].issuer = Some("https://a.example".to_owned());
    config.issuers.extend(pem_config(&[&file_b]).issuers);
    config.issuers[1].issuer = Some("https://b.example".to_owned());
    let authenticator = Authenticator::new(config).unwrap();
    let with_iss = |iss: &str| json!({"sub": "alice", "exp": now() + 60, "iss": iss});
    assert_eq!(verdict(&authenticator, "alice", &a.sign(&with_iss("https://a.example"))).await, "allowed");
    assert_eq!(verdict(&authenticator, "alice", &b.sign(&with_iss("https://b.example"))).await, "allowed");
    assert_eq!(verdict(&authenticator, "alice", &b.sign(&with_iss("https://a.example"))).await, "bad_signature");
    assert_eq!(verdict(&authenticator, "alice", &a.sign(&with_iss("https://c.example"))).await, "wrong_issuer");
    assert_eq!(verdict(&authenticator, "alice", &a.sign(&claims("alice"))).await, "wrong_issuer");
}

/// One token and who may check it, made once for all cases of a property.
fn sample() -> &'static (Authenticator, String) {
    static SAMPLE: std::sync::LazyLock<(Authenticator, String)> = std::sync::LazyLock::new(|| {
        let key = TestKey::ed25519("k");
        (authenticator_for(&[&key]), key.sign(&claims("alice")))
    });
    &SAMPLE
}

fn verdict_of(bytes: &[u8]) -> String {
    let context = pgdog_jwt::AuthContext {
        user: "alice",
        database: "app",
        credential: pgdog_jwt::Credential::new(bytes),
        client_addr: None,
        tls: false,
        tls_identity: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    match runtime.block_on(sample().0.authenticate(context)) {
        pgdog_jwt::AuthDecision::Deny(reason) => reason.code().to_owned(),
        other => format!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_changed_byte_goes_unnoticed(position in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let good = sample().1.as_bytes();
        let mut changed = good.to_vec();
        let position = position.index(changed.len());
        prop_assume!(changed[position] != byte);
        changed[position] = byte;
        let verdict = verdict_of(&changed);
        let of_form = ["malformed_token", "unsupported_header", "token_type_denied"];
        let of_signature = ["bad_signature", "algorithm_not_allowed"];
        prop_assert!(of_form.iter().chain(&of_signature).any(|reason| *reason == verdict), "{verdict}");
    }

    #[test]
    fn no_bytes_cause_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(!verdict_of(&bytes).starts_with("Allow"));
    }

    #[test]
    fn cutting_or_adding_bytes_is_noticed(cut in any::<prop::sample::Index>(), tail in "[A-Za-z0-9_.-]{1,4}") {
        let good = sample().1.as_bytes();
        prop_assert!(!verdict_of(&good[..cut.index(good.len())]).starts_with("Allow"));
        prop_assert!(!verdict_of(&[good, tail.as_bytes()].concat()).starts_with("Allow"));
    }
}
