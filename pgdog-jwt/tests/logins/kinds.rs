//! Tokens of another kind than access tokens, and tokens that are bound to a key: signed by the issuer, and no good here.

use crate::common::introspection::{Endpoint, NAME, TOKEN, plain};
use crate::common::{TestKey, authenticator_for, claims, context, key_set, now, text_config, verdict};
use pgdog_jwt::config::{Issuer, KeySource};
use pgdog_jwt::{AuthDecision, Authenticator, JwtConfig};
use serde_json::{Value, json};

/// A token with this `typ` in its header; `null`: none.
fn typed(key: &TestKey, typ: &Value) -> String {
    let mut header = json!({"alg": "ES256", "kid": key.kid, "typ": typ});
    if typ.is_null() {
        header.as_object_mut().unwrap().remove("typ");
    }
    key.sign_raw(&header.to_string(), &claims("alice").to_string())
}

fn with(change: &Value) -> Value {
    let mut claims = claims("alice");
    claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    claims
}

/// What says in `typ` that it is another kind of token (RFC 8725 section 3.11).
#[tokio::test]
async fn the_header_of_another_kind_of_token_is_refused() {
    let key = TestKey::p256("k");
    let authenticator = authenticator_for(&[&key]);
    for typ in [Value::Null, json!("JWT"), json!("jwt"), json!("JOSE"), json!("at+jwt"), json!("Application/AT+JWT")] {
        assert_eq!(verdict(&authenticator, "alice", &typed(&key, &typ)).await, "allowed", "{typ}");
    }
    for kind in [
        "dpop+jwt",
        "logout+jwt",
        "secevent+jwt",
        "token-introspection+jwt",
        "oauth-authz-req+jwt",
        "client-authentication+jwt",
        "entity-statement+jwt",
        "kb+jwt",
        "vc+sd-jwt",
        "id_token",
        "rt+jwt",
        "whatever",
        "",
    ] {
        for typ in [kind.to_owned(), kind.to_uppercase(), format!("application/{kind}"), format!("APPLICATION/{kind}")]
        {
            let token = typed(&key, &json!(typ));
            assert_eq!(verdict(&authenticator, "alice", &token).await, "token_type_denied", "{typ}");
        }
    }
    for odd in ["at+jwt ", "text/at+jwt", "application/application/at+jwt", "at+jwt;x=y", "at+jwt,dpop+jwt"] {
        assert_eq!(verdict(&authenticator, "alice", &typed(&key, &json!(odd))).await, "token_type_denied", "{odd}");
    }
}

#[tokio::test]
async fn a_claim_of_another_kind_of_token_is_refused() {
    let key = TestKey::p256("k");
    let authenticator = authenticator_for(&[&key]);
    for good in [
        json!({}),
        json!({"typ": "Bearer"}),
        json!({"typ": "at+jwt"}),
        json!({"token_use": "access"}),
        json!({"token_type": "bearer"}),
        json!({"token_type": "access_token"}),
        json!({"token_type": "urn:ietf:params:oauth:token-type:access_token"}),
        // Not the claims that say it, and an ID token that does not say it.
        json!({"event_id": "x", "type": "person", "nonce": "n", "at_hash": "h"}),
    ] {
        assert_eq!(verdict(&authenticator, "alice", &key.sign(&with(&good))).await, "allowed", "{good}");
    }
    for word in [
        json!("ID"),
        json!("id"),
        json!("id_token"),
        json!("Refresh"),
        json!("Offline"),
        json!("Logout"),
        json!("refresh_token"),
        json!("N_A"),
        json!("urn:ietf:params:oauth:token-type:id_token"),
        json!("Bearer "),
        json!(""),
        json!(null),
        json!(7),
        json!(["Bearer"]),
        json!({"Bearer": true}),
    ] {
        for name in ["typ", "token_use", "token_type"] {
            let token = key.sign(&with(&json!({name: word})));
            assert_eq!(verdict(&authenticator, "alice", &token).await, "not_an_access_token", "{name} {word}");
        }
    }
    for events in [json!({"http://schemas.openid.net/event/backchannel-logout": {}}), json!({}), json!([]), json!(null)]
    {
        let token = key.sign(&with(&json!({"events": events})));
        assert_eq!(verdict(&authenticator, "alice", &token).await, "not_an_access_token", "{events}");
    }
}

#[tokio::test]
async fn a_token_that_is_bound_to_a_key_is_refused_where_no_key_is_shown() {
    let key = TestKey::p256("k");
    let authenticator = authenticator_for(&[&key]);
    for bound in [
        json!({"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}),
        json!({"cnf": {"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}}),
        json!({"cnf": {}}),
        json!({"cnf": null}),
        json!({"cnf": false}),
        json!({"cnf": ""}),
        json!({"token_type": "DPoP"}),
        json!({"typ": "dpop"}),
        json!({"token_type": "pop"}),
    ] {
        let token = key.sign(&with(&bound));
        for _ in 0..2 {
            assert_eq!(verdict(&authenticator, "alice", &token).await, "bound_token", "{bound}");
        }
    }
}

/// Whoever says of a token that it is good says it of its kind too.
#[tokio::test]
async fn the_issuers_answer_about_a_jwt_is_judged_in_the_same_way() {
    for (change, expected) in [
        (json!({}), "allowed"),
        (json!({"cnf": {"jkt": "x"}}), "bound_token"),
        (json!({"token_type": "DPoP"}), "bound_token"),
        (json!({"token_use": "id"}), "not_an_access_token"),
        (json!({"events": {}}), "not_an_access_token"),
    ] {
        let key = TestKey::p256("k");
        let endpoint = Endpoint::new();
        let mut issuer: Issuer = endpoint.issuer(|source| source.introspect_jwts = true);
        issuer.keys = KeySource::JwksInline(key_set(&[&key]));
        let mut said = with(&json!({"iss": NAME, "aud": "db"}));
        said["exp"] = json!(now() + 60);
        let jwt = key.sign(&said);
        endpoint.issue(&jwt, &change);
        let authenticator = Authenticator::new(JwtConfig::new(vec![issuer])).unwrap();
        assert_eq!(verdict(&authenticator, "alice", &jwt).await, expected, "jwt {change}");

        endpoint.issue(TOKEN, &change);
        assert_eq!(verdict(&endpoint.authenticator(plain), "alice", TOKEN).await, expected, "opaque {change}");
    }
}

/// The tools that explain a login say what the login says.
#[tokio::test]
async fn the_explanation_and_the_examination_name_the_kind() {
    let key = TestKey::p256("k");
    let authenticator = Authenticator::new(text_config(&[&key])).unwrap();
    for (change, code) in [
        (json!({"cnf": null}), "bound_token"),
        (json!({"token_use": "id"}), "not_an_access_token"),
        (json!({"events": {}, "exp": now() - 5}), "not_an_access_token"),
    ] {
        let token = key.sign(&with(&change));
        let explained = authenticator.explain(context(&token)).await;
        let failed = explained.steps.last().and_then(|step| step.outcome.as_ref().err());
        assert_eq!(failed.map(pgdog_jwt::DenyReason::code), Some(code), "{change}");
        assert!(matches!(&explained.decision, AuthDecision::Deny(reason) if Some(reason) == failed), "{change}");
        let examined = authenticator.examine(context(&token)).await;
        let codes: Vec<_> =
            examined.steps.iter().filter_map(|step| Some(step.outcome.as_ref().err()?.code())).collect();
        assert!(codes.contains(&code), "{change}: {codes:?}");
    }
}
