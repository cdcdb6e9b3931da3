//! The explanation of a login is that of its decision: the last step says what `authenticate` said.

use crate::common::{RSA, TestKey, claims, file, now, pem_config};
use std::time::Duration;

use jsonwebtoken::{Algorithm as Jwa, EncodingKey, Header};
use pgdog_jwt::config::{
    Algorithm, ClaimPolicy, IdentityMode, Level, Pattern, RequiredClaim, RoleMapping, UserMapping, UserMatch,
    UserTemplate, ValueMatch, Wanted,
};
use pgdog_jwt::session::{OneVariable, Template, Variable};
use pgdog_jwt::{AuthContext, AuthDecision, Authenticator, Check, Credential, Explanation, JwtConfig};
use serde_json::{Value, json};

/// Good claims, and some that each check stumbles over.
fn all_claims() -> Vec<Value> {
    let changes = [
        json!({}),
        json!({"exp": now() - 5}),
        json!({"exp": null}),
        json!({"nbf": now() + 3600}),
        json!({"iat": now() + 3600}),
        json!({"aud": "elsewhere"}),
        json!({"aud": 7}),
        json!({"iss": "https://other.example"}),
        json!({"iss": 7}),
        json!({"sub": "bob"}),
        json!({"sub": 7}),
        json!({"sub": ""}),
        json!({"sub": "none", "email": "none"}),
        json!({"sub": "postgres", "email": "postgres"}),
        json!({"sub": "x".repeat(64), "email": "x".repeat(64)}),
        json!({"sub": "a\0b", "email": "a\0b"}),
        json!({"email": "bob"}),
        json!({"level": 0}),
        json!({"level": "2"}),
        json!({"level": 3}),
        json!({"db": "other"}),
        json!({"db": ["app"]}),
        json!({"tenant": "x".repeat(50)}),
        json!({"tenant": ""}),
        json!({"roles": ["reader"]}),
        json!({"roles": ["stranger"]}),
        json!({"groups": "one"}),
        json!({"groups": [7]}),
        json!({"jti": 7}),
        json!({"jti": null}),
        json!({"azp": "elsewhere"}),
        json!({"scope": "other"}),
        json!({"verified": "yes"}),
        json!({"iat": now() - 5000}),
    ];
    let good = json!({
        "sub": "alice", "email": "alice", "exp": now() + 60, "iss": "https://id.example", "aud": "db",
        "level": 2, "tenant": "acme", "roles": "reader", "azp": "tool", "scope": "db", "verified": true,
        "iat": now(),
    });
    let merge = |change: Value| {
        let mut all = good.clone();
        for (name, value) in change.as_object().unwrap() {
            all[name.as_str()] = value.clone();
        }
        all
    };
    let without = ["exp", "aud", "iss", "sub", "email", "level", "tenant", "roles", "azp", "scope", "verified", "iat"]
        .map(|name| {
            let mut all = good.clone();
            all.as_object_mut().unwrap().remove(name);
            all
        });
    changes.into_iter().map(merge).chain(without).collect()
}

/// The same claims, in every way that a credential can be wrong.
fn credentials(key: &TestKey) -> Vec<String> {
    let good = key.sign(&claims("alice"));
    let (input, signature) = good.rsplit_once('.').unwrap();
    let other = TestKey::p256("k").sign(&claims("alice"));
    let header = Header { kid: Some("k".to_owned()), ..Header::new(Jwa::HS256) };
    vec![
        String::new(),
        "hunter2".to_owned(),
        "a.b.c".to_owned(),
        "x".repeat(100_000),
        format!("{input}."),
        format!("{input}.{}", signature.chars().rev().collect::<String>()),
        other,
        RSA.sign(&claims("alice")),
        key.sign_raw(r#"{"alg":"ES256","crit":["x"]}"#, "{}"),
        key.sign_raw(r#"{"alg":"ES256"}"#, "[]"),
        key.sign_raw(r#"{"alg":"none"}"#, "{}"),
        jsonwebtoken::encode(&header, &claims("alice"), &EncodingKey::from_secret(b"x")).unwrap(),
    ]
}

fn configs(pem: &str) -> Vec<JwtConfig> {
    let files = [file(pem)];
    let plain = || {
        let mut config = pem_config(&[&files[0]]);
        config.denied_roles = vec!["postgres".to_owned()];
        config
    };
    let strict = || {
        let mut config = plain();
        config.issuers[0].issuer = Some("https://id.example".to_owned());
        config.issuers[0].audiences = vec!["db".to_owned()];
        config.issuers[0].algorithms = vec![Algorithm::ES256];
        config.issuers[0].groups = Some(pgdog_jwt::config::GroupSource { claim: "groups".to_owned(), userinfo: None });
        config
    };
    let with = |change: &dyn Fn(&mut JwtConfig)| {
        let mut config = strict();
        change(&mut config);
        config
    };
    let policy = ClaimPolicy {
        permission_level: Some("level".to_owned()),
        levels: vec![Level::Refuse, Level::ReadOnly, Level::ReadWrite, Level::Role("postgres".to_owned())],
        database: Some("db".to_owned()),
        ..ClaimPolicy::default()
    };
    let tenant = OneVariable {
        required: true,
        max_length: 20,
        ..OneVariable::new("app.tenant", Template::parse("{tenant}").unwrap())
    };
    let pattern = Pattern::new("^(a.*)$", false).unwrap();
    let mapping = UserMapping {
        issuer: None,
        claim: Some("email".to_owned()),
        user: UserTemplate::new("\\1", &pattern).unwrap(),
        pattern,
        lowercase: false,
        mode: None,
    };
    let account = RoleMapping {
        name: "readers".to_owned(),
        claim: None,
        value: Some(ValueMatch::Exact { values: vec!["reader".to_owned()], ignore_case: false }),
        databases: None,
        server_user: "acct".to_owned(),
        server_password: None,
        role: None,
        read_only: None,
    };
    vec![
        plain(),
        strict(),
        with(&|config| config.user_match = UserMatch::Claim),
        with(&|config| config.claims = policy.clone()),
        with(&|config| config.variables = vec![Variable::One(Box::new(tenant.clone()))]),
        with(&|config| config.user_mappings = vec![mapping.clone()]),
        with(&|config| {
            config.mode = IdentityMode::ServiceAccount;
            config.role_mappings = vec![account.clone()].into();
        }),
        with(&|config| {
            let issuer = &mut config.issuers[0];
            issuer.clients = vec!["tool".to_owned()];
            issuer.required_scopes = vec!["db".to_owned()];
            let wanted = Wanted::OneOf(vec![json!(true)]);
            issuer.required_claims = vec![RequiredClaim { claim: "verified".to_owned(), wanted }];
            issuer.max_token_age = Some(Duration::from_secs(60));
        }),
        with(&|config| config.issuers[0].token_types = vec!["at+jwt".to_owned()]),
        with(&|config| config.issuers[0].databases = Some(vec!["other".to_owned()])),
        with(&|config| config.issuers[0].roles = Some(vec!["b*".to_owned()])),
        with(&|config| config.issuers[0].user_suffix = Some("@example.com".to_owned())),
    ]
}

async fn explained(authenticator: &Authenticator, user: &str, token: &str) -> Explanation {
    let context = AuthContext {
        user,
        database: "app",
        credential: Credential::new(token.as_bytes()),
        client_addr: None,
        tls: true,
        tls_identity: None,
    };
    authenticator.explain(context).await
}

#[tokio::test]
async fn the_steps_say_what_the_decision_says() {
    let key = TestKey::p256("k");
    let tokens: Vec<String> = all_claims().iter().map(|claims| key.sign(claims)).chain(credentials(&key)).collect();
    let mut seen = std::collections::BTreeSet::new();
    for (number, config) in configs(&key.pair.public_key_pem()).into_iter().enumerate() {
        // With and without a memory of tokens.
        for token_cache_size in [0, config.token_cache_size] {
            let file = file(&key.pair.public_key_pem());
            let mut config = config.clone();
            config.token_cache_size = token_cache_size;
            config.issuers[0].keys = pgdog_jwt::config::KeySource::PemFiles(vec![file.path().to_owned()]);
            let authenticator = Authenticator::new(config).unwrap();
            for (at, token) in tokens.iter().enumerate() {
                for user in ["alice", "bob", "alice@example.com", ""] {
                    let Explanation { steps, decision } = explained(&authenticator, user, token).await;
                    let failed = steps.last().and_then(|step| step.outcome.as_ref().err());
                    let place = format!("configuration {number}, token {at}, user {user:?}");
                    match decision {
                        AuthDecision::Skip => assert!(steps.is_empty(), "{place}"),
                        AuthDecision::Allow(_) => assert!(failed.is_none() && !steps.is_empty(), "{place}: {failed:?}"),
                        AuthDecision::Deny(reason) => {
                            seen.insert(reason.code());
                            assert_eq!(failed, Some(&reason), "{place}");
                        }
                    }
                    let failures = steps.iter().filter(|step| step.outcome.is_err()).count();
                    assert!(failures <= 1, "{place}");
                }
            }
        }
    }
    let all = [
        "algorithm_mismatch",
        "algorithm_not_allowed",
        "bad_signature",
        "claim_mismatch",
        "client_denied",
        "database_denied",
        "empty_credential",
        "expired",
        "invalid_claim",
        "invalid_variable",
        "issued_in_future",
        "malformed_token",
        "missing_claim",
        "missing_scope",
        "missing_variable",
        "no_role_mapping",
        "no_user_mapping",
        "not_yet_valid",
        "permission_denied",
        "role_denied",
        "role_invalid",
        "role_not_of_issuer",
        "token_too_large",
        "token_too_old",
        "token_type_denied",
        "unsupported_header",
        "user_mismatch",
        "wrong_audience",
        "wrong_issuer",
    ];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), all);
}

#[tokio::test]
async fn a_step_names_what_decided() {
    let key = TestKey::p256("k");
    let authenticator = crate::common::authenticator_for(&[&key]);
    let steps = explained(&authenticator, "alice", &key.sign(&claims("alice"))).await.steps;
    let found = |check: Check| steps.iter().find(|step| step.check == check).unwrap().outcome.clone().unwrap();
    assert_eq!(found(Check::Algorithm), "ES256");
    assert_eq!(found(Check::Key), "k");
    assert_eq!(found(Check::User), "alice, by claim \"sub\"");
}

#[tokio::test]
async fn a_token_says_who_would_come_with_it() {
    let key = TestKey::p256("k");
    let token = key.sign(&claims("alice"));
    let named =
        |authenticator: &Authenticator, token: &str| authenticator.claimed_user(Credential::new(token.as_bytes()));
    let file = file(&key.pair.public_key_pem());
    let plain = Authenticator::new(pem_config(&[&file])).unwrap();
    assert_eq!(named(&plain, &token).as_deref(), Some("alice"));
    assert_eq!(named(&plain, "hunter2"), None);
    let mut suffix = pem_config(&[&file]);
    suffix.issuers[0].user_suffix = Some("@example.com".to_owned());
    assert_eq!(named(&Authenticator::new(suffix).unwrap(), &token).as_deref(), Some("alice@example.com"));
}
