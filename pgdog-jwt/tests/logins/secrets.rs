//! No token, password or key is in any text that the crate makes (S5).

use crate::common::issuer::TestIssuer;
use crate::common::{TestKey, claims, context, file, jwks_config, key_set, pem_config};
use pgdog_jwt::config::{IdentityMode, Secret};
use pgdog_jwt::{AuthDecision, Authenticator, DenyReason, JwtConfig};

#[tokio::test]
async fn nothing_shows_a_token_a_password_or_a_key() {
    let key = TestKey::p256("the-kid");
    let file = file(&key.pair.public_key_pem());
    let config = JwtConfig {
        server_user: Some("gateway".to_owned()),
        server_password: Some(Secret::new("hunter2-password")),
        ..pem_config(&[&file])
    };
    let authenticator = Authenticator::new(config.clone()).unwrap();
    let token = key.sign(&claims("alice"));
    let context = context(&token);
    let decision = authenticator.authenticate(context).await;
    assert!(matches!(&decision, AuthDecision::Allow(grant) if grant.server_password.is_some()));

    let inspection = pgdog_jwt::token::inspect(&token).unwrap();
    let shown =
        format!("{config:?} {authenticator:?} {context:?} {decision:?} {inspection:?} {config:#?} {decision:#?}");
    let pem = key.pair.public_key_pem();
    let secrets = token.split('.').chain(["hunter2-password"]).chain(pem.lines().filter(|line| !line.contains("---")));
    for secret in secrets {
        assert!(!shown.contains(secret), "{secret} is in {shown}");
    }
}

#[tokio::test]
async fn a_token_that_is_passed_on_is_in_its_grant_and_not_shown() {
    let key = TestKey::p256("the-kid");
    let file = file(&key.pair.public_key_pem());
    let token = key.sign(&claims("alice"));
    for (mode, passed_on) in [(IdentityMode::Passthrough, true), (IdentityMode::Login, false)] {
        let authenticator = Authenticator::new(JwtConfig { mode, ..pem_config(&[&file]) }).unwrap();
        for _ in ["verified", "remembered"] {
            let AuthDecision::Allow(grant) = authenticator.authenticate(context(&token)).await else {
                panic!("refused");
            };
            assert_eq!(grant.token.as_ref().map(Secret::expose), passed_on.then_some(token.as_str()));
            assert!(token.split('.').all(|part| !format!("{grant:?}").contains(part)));
        }
    }
}

#[test]
fn the_query_of_a_url_is_not_shown() {
    let config = jwks_config("https://issuer.example/jwks?api_key=hunter2", |_| {});
    let shown = format!("{config:?}");
    assert!(shown.contains("https://issuer.example/jwks") && !shown.contains("hunter2"));
}

#[tokio::test]
async fn no_refusal_repeats_what_an_unverified_token_says() {
    let (known, stranger) = (TestKey::p256("known"), TestKey::p256("secret-kid"));
    let issuer = TestIssuer::serving(key_set(&[&known]));
    let authenticator = Authenticator::new(jwks_config(&issuer.url, |_| {})).unwrap();
    let unknown = stranger.sign(&claims("secret-name"));
    let garbled = unknown.replace('.', "!");
    let odd = known.sign_raw(r#"{"alg":"secret-algorithm","kid":"known"}"#, r#"{"sub":"secret-name"}"#);
    for token in [unknown.as_str(), &garbled, &odd, "secret-password", "secret.secret.secret"] {
        let AuthDecision::Deny(reason) = authenticator.authenticate(context(token)).await else {
            panic!("accepted");
        };
        let shown = format!("{reason} {reason:?} {}", reason.code());
        assert!(!shown.contains("secret") && !shown.contains(token), "{shown}");
    }
}

#[test]
fn every_reason_has_a_code_of_its_own_in_snake_case() {
    let reasons = [
        DenyReason::Empty,
        DenyReason::TooLarge,
        DenyReason::Malformed("x"),
        DenyReason::UnsupportedHeader("crit"),
        DenyReason::AlgorithmNotAllowed,
        DenyReason::WrongIssuer,
        DenyReason::UnknownKid,
        DenyReason::AmbiguousKey,
        DenyReason::AlgorithmMismatch,
        DenyReason::KeysUnavailable,
        DenyReason::BadSignature,
        DenyReason::MissingClaim("exp".to_owned()),
        DenyReason::InvalidClaim("exp".to_owned(), "x"),
        DenyReason::WrongAudience { has: "a".to_owned(), wanted: "b".to_owned() },
        DenyReason::Expired,
        DenyReason::NotYetValid,
        DenyReason::IssuedInFuture,
        DenyReason::UserMismatch { identity: "alice".to_owned() },
        DenyReason::RoleInvalid("is empty"),
        DenyReason::RoleDenied { role: "postgres".to_owned() },
    ];
    let codes: std::collections::HashSet<_> = reasons.iter().map(DenyReason::code).collect();
    assert_eq!(codes.len(), reasons.len());
    assert!(codes.iter().all(|code| { code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') }));
}

#[test]
fn an_authenticator_can_be_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Authenticator>();
}
