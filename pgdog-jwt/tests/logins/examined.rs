//! An examination names all that is wrong with a token. What it says first, and the decision, are those of the login.

use crate::common::{TestKey, claims, context, now, text_config};
use pgdog_jwt::config::Algorithm;
use pgdog_jwt::session::{OneVariable, Template, Variable};
use pgdog_jwt::{AuthDecision, Authenticator, Check, Explanation, JwtConfig};
use serde_json::json;

fn strict(key: &TestKey) -> JwtConfig {
    let mut config = text_config(&[key]);
    config.issuers[0].issuer = Some("https://id.example".to_owned());
    config.issuers[0].audiences = vec!["db".to_owned()];
    config.issuers[0].algorithms = vec![Algorithm::ES256];
    let variable = |name: &str, claim: &str| OneVariable {
        required: true,
        ..OneVariable::new(name, Template::parse(&format!("{{{claim}}}")).unwrap())
    };
    config.variables = vec![
        Variable::One(Box::new(variable("app.tenant", "tenant"))),
        Variable::One(Box::new(variable("app.level", "level"))),
    ];
    config
}

async fn examine(authenticator: &Authenticator, token: &str) -> Explanation {
    authenticator.examine(context(token)).await
}

fn failed(explanation: &Explanation) -> Vec<(Check, &'static str)> {
    let failure = |step: &pgdog_jwt::Step| Some((step.check, step.outcome.as_ref().err()?.code()));
    explanation.steps.iter().filter_map(failure).collect()
}

#[tokio::test]
async fn all_that_is_wrong_is_named() {
    let (key, stranger) = (TestKey::p256("k"), TestKey::p256("k"));
    let authenticator = Authenticator::new(strict(&key)).unwrap();
    let claims = json!({
        "iss": "https://evil.example", "aud": "elsewhere", "sub": "postgres\0", "exp": now() - 5, "nbf": now() + 900,
        "iat": now() + 900,
    });
    let explanation = examine(&authenticator, &stranger.sign(&claims)).await;
    let expected = [
        (Check::Issuer, "wrong_issuer"),
        (Check::Signature, "bad_signature"),
        (Check::Audience, "wrong_audience"),
        (Check::Times, "expired"),
        (Check::Times, "not_yet_valid"),
        (Check::Times, "issued_in_future"),
        (Check::UserName, "user_mismatch"),
        (Check::Role, "role_invalid"),
        (Check::Variable, "missing_variable"),
        (Check::Variable, "missing_variable"),
    ];
    assert_eq!(failed(&explanation), expected);
    assert!(matches!(explanation.decision, AuthDecision::Deny(reason) if reason.code() == "wrong_issuer"));
}

#[tokio::test]
async fn what_says_no_first_is_the_reason_of_the_decision() {
    let key = TestKey::p256("k");
    let authenticator = Authenticator::new(strict(&key)).unwrap();
    let good =
        json!({"iss": "https://id.example", "aud": "db", "sub": "alice", "exp": now() + 60, "tenant": "a", "level": 1});
    let mut tokens = vec![key.sign(&good), String::new(), "x.y.z".to_owned(), key.sign(&claims("alice"))];
    for (name, value) in [
        ("iss", json!(7)),
        ("aud", json!(7)),
        ("aud", json!("x")),
        ("exp", json!(1)),
        ("exp", json!(null)),
        ("sub", json!("bob")),
        ("sub", json!(null)),
        ("sub", json!("none")),
        ("tenant", json!(null)),
    ] {
        let mut claims = good.clone();
        claims[name] = value;
        tokens.push(key.sign(&claims));
        tokens.push(TestKey::p256("k").sign(&claims));
    }
    tokens.push(key.sign_raw(r#"{"alg":"HS256"}"#, &good.to_string()));
    for token in &tokens {
        let explanation = examine(&authenticator, token).await;
        let first = failed(&explanation).first().map(|(_, code)| *code);
        match &explanation.decision {
            AuthDecision::Allow(_) => assert_eq!(first, None),
            AuthDecision::Deny(reason) => assert_eq!(first, Some(reason.code()), "{token}"),
            AuthDecision::Skip => panic!("{token}"),
        }
    }
}

#[tokio::test]
async fn of_several_issuers_no_key_is_tried_for_a_token_of_another() {
    let (a, b) = (TestKey::p256("k"), TestKey::p256("k"));
    let mut config = strict(&a);
    config.issuers.push(strict(&b).issuers.remove(0));
    config.issuers[1].issuer = Some("https://b.example".to_owned());
    let authenticator = Authenticator::new(config).unwrap();
    let claims = json!({"iss": "https://c.example", "aud": "x", "sub": "alice", "exp": now() + 60});
    assert_eq!(failed(&examine(&authenticator, &a.sign(&claims)).await), [(Check::Issuer, "wrong_issuer")]);
}
