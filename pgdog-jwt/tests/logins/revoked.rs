//! Tokens that were taken back, at the login.

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::common::{TestKey, authenticator_for, claims, context, file, login, now, pem_config, verdict};
use pgdog_jwt::revocation::{Revocation, Target};
use pgdog_jwt::{AuthDecision, Authenticator, Check, DenyReason};
use serde_json::{Value, json};

fn revocation(target: Target, issued_before: Option<u64>) -> Revocation {
    let moment = issued_before.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
    Revocation::new(target, None, moment, None).unwrap()
}

fn full(id: &str, issued: u64) -> Value {
    json!({"sub": "alice", "jti": id, "iss": "https://id.example", "iat": issued, "exp": now() + 60})
}

#[tokio::test]
async fn a_remembered_token_is_refused_as_soon_as_it_is_revoked_and_good_again_when_it_is_not() {
    let key = TestKey::ed25519("k");
    let authenticator = authenticator_for(&[&key]);
    let (one, two) = (key.sign(&full("one", now())), key.sign(&full("two", now())));
    for token in [&one, &two] {
        assert_eq!(verdict(&authenticator, "alice", token).await, "allowed");
    }
    let number = authenticator.revocations().revoke(revocation(Target::Token("one".to_owned()), None)).unwrap();
    assert_eq!(verdict(&authenticator, "alice", &one).await, "revoked");
    assert_eq!(verdict(&authenticator, "alice", &two).await, "allowed");
    assert_eq!(authenticator.cache_stats().misses, 2, "both are known");
    authenticator.revocations().withdraw(number).unwrap();
    assert_eq!(verdict(&authenticator, "alice", &one).await, "allowed");
}

#[tokio::test]
async fn what_is_issued_before_a_moment_is_refused_and_so_is_what_does_not_say_when() {
    let key = TestKey::ed25519("k");
    let authenticator = authenticator_for(&[&key]);
    authenticator.revocations().revoke(revocation(Target::All, Some(now() - 10))).unwrap();
    assert_eq!(verdict(&authenticator, "alice", &key.sign(&full("old", now() - 11))).await, "revoked");
    assert_eq!(verdict(&authenticator, "alice", &key.sign(&claims("alice"))).await, "revoked");
    assert_eq!(verdict(&authenticator, "alice", &key.sign(&full("new", now() - 10))).await, "allowed");
}

#[tokio::test]
async fn a_subject_is_the_one_that_the_grant_names() {
    let key = TestKey::ed25519("k");
    let file = file(&key.pair.public_key_pem());
    let mut config = pem_config(&[&file]);
    config.issuers[0].username_claim = "email".to_owned();
    let authenticator = Authenticator::new(config).unwrap();
    let named = key.sign(&json!({"sub": "1234", "email": "alice", "exp": now() + 60}));
    let nameless = key.sign(&json!({"email": "alice", "exp": now() + 60}));
    assert_eq!(login(&authenticator, "alice", &named).await.unwrap().subject, "1234");
    assert_eq!(login(&authenticator, "alice", &nameless).await.unwrap().subject, "alice");
    authenticator.revocations().revoke(revocation(Target::Subject("1234".to_owned()), None)).unwrap();
    assert_eq!(verdict(&authenticator, "alice", &named).await, "revoked");
    assert_eq!(verdict(&authenticator, "alice", &nameless).await, "allowed");
    authenticator.revocations().revoke(revocation(Target::Subject("alice".to_owned()), None)).unwrap();
    assert_eq!(verdict(&authenticator, "alice", &nameless).await, "revoked");
}

#[tokio::test]
async fn a_token_that_nobody_has_vouched_for_is_not_looked_up() {
    let (key, stranger) = (TestKey::ed25519("k"), TestKey::ed25519("k"));
    let authenticator = authenticator_for(&[&key]);
    authenticator.revocations().revoke(revocation(Target::Token("one".to_owned()), None)).unwrap();
    assert_eq!(verdict(&authenticator, "alice", &stranger.sign(&full("one", now()))).await, "bad_signature");
}

#[tokio::test]
async fn the_grant_of_a_session_tells_whether_it_is_revoked_later() {
    let key = TestKey::ed25519("k");
    let authenticator = authenticator_for(&[&key]);
    let grant = login(&authenticator, "alice", &key.sign(&full("one", now()))).await.unwrap();
    assert!(authenticator.revocations().check(&grant.token_identity()).is_ok());
    let later = Revocation::new(Target::All, Some("https://id.example".to_owned()), Some(SystemTime::now()), None);
    authenticator.revocations().revoke(later.unwrap()).unwrap();
    let refused = authenticator.revocations().check(&grant.token_identity());
    assert_eq!(refused, Err(DenyReason::Revoked("by its issuer")));
}

#[tokio::test]
async fn a_file_is_watched_and_a_reload_forgets_nothing() {
    let key = TestKey::ed25519("k");
    let (keys, mut list) = (file(&key.pair.public_key_pem()), file(""));
    let mut config = pem_config(&[&keys]);
    let in_memory = Authenticator::new(config.clone()).unwrap();
    in_memory.revocations().revoke(revocation(Target::Token("one".to_owned()), None)).unwrap();
    config.revocation_file = Some(list.path().to_owned());
    let authenticator = in_memory.reconfigured(config.clone()).unwrap();
    assert_eq!(verdict(&authenticator, "alice", &key.sign(&full("one", now()))).await, "revoked");
    let two = key.sign(&full("two", now()));
    assert_eq!(verdict(&authenticator, "alice", &two).await, "allowed");
    list.write_all(b"{\"token_id\":\"two\"}\n").unwrap();
    for _ in 0..500 {
        if verdict(&authenticator, "alice", &two).await == "revoked" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(verdict(&authenticator, "alice", &two).await, "revoked");
    list.write_all(b"nonsense\n").unwrap();
    assert!(authenticator.reconfigured(config.clone()).is_err(), "a broken file is no configuration");
    assert_eq!(verdict(&authenticator, "alice", &two).await, "revoked");
    assert!(Authenticator::new(config).is_err());
}

#[tokio::test]
async fn the_explanation_has_a_step_for_it() {
    let key = TestKey::ed25519("k");
    let authenticator = authenticator_for(&[&key]);
    let token = key.sign(&full("one", now()));
    let found =
        authenticator.explain(context(&token)).await.steps.into_iter().find(|step| step.check == Check::Revocation);
    assert_eq!(found.unwrap().outcome.unwrap(), "nothing is revoked");
    authenticator.revocations().revoke(revocation(Target::Subject("alice".to_owned()), None)).unwrap();
    let explanation = authenticator.explain(context(&token)).await;
    let last = explanation.steps.last().unwrap();
    assert_eq!((last.check, &last.outcome), (Check::Revocation, &Err(DenyReason::Revoked("by its subject"))));
    assert!(matches!(explanation.decision, AuthDecision::Deny(DenyReason::Revoked(_))));
}

#[tokio::test]
async fn how_long_a_token_may_still_be_good_is_known_where_its_age_is_limited() {
    let key = TestKey::ed25519("k");
    let file = file(&key.pair.public_key_pem());
    let mut config = pem_config(&[&file]);
    let entry = |name: &str, age: Option<u64>| {
        let mut issuer = config.issuers[0].clone();
        issuer.issuer = Some(name.to_owned());
        issuer.max_token_age = age.map(Duration::from_secs);
        issuer.leeway = Duration::from_secs(5);
        issuer
    };
    let (short, long, open) = (entry("short", Some(60)), entry("long", Some(600)), entry("open", None));
    let life = |authenticator: &Authenticator, issuer| authenticator.longest_life(issuer).map(|life| life.as_secs());
    config.issuers = vec![short.clone(), long.clone()];
    let limited = Authenticator::new(config.clone()).unwrap();
    assert_eq!(life(&limited, Some("short")), Some(70));
    assert_eq!(life(&limited, Some("nobody")), None);
    assert_eq!(life(&limited, None), Some(610));
    config.issuers = vec![short, long, open];
    let unlimited = Authenticator::new(config).unwrap();
    assert_eq!((life(&unlimited, Some("short")), life(&unlimited, Some("open"))), (Some(70), None));
    assert_eq!(life(&unlimited, None), None);
}

#[tokio::test]
async fn the_steps_say_what_the_decision_says_while_something_is_revoked() {
    let key = TestKey::ed25519("k");
    let file = file(&key.pair.public_key_pem());
    let mut config = pem_config(&[&file]);
    config.issuers[0].username_claim = "email".to_owned();
    let authenticator = Authenticator::new(config).unwrap();
    for target in [Target::Token("bad".to_owned()), Target::Subject("mallory".to_owned())] {
        authenticator.revocations().revoke(revocation(target, None)).unwrap();
    }
    let mut seen = std::collections::BTreeSet::new();
    for change in [
        json!({}),
        json!({"jti": "bad"}),
        json!({"jti": 7}),
        json!({"sub": "mallory"}),
        json!({"sub": 7}),
        json!({"sub": "", "email": "mallory"}),
        json!({"sub": "", "email": 7}),
        json!({"sub": null}),
        json!({"exp": now() - 5, "jti": "bad"}),
        json!({"email": "bob"}),
        json!({"iat": "yesterday"}),
    ] {
        let mut claims = json!({"sub": "1234", "email": "alice", "iat": now(), "exp": now() + 60});
        claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let token = key.sign(&claims);
        let explanation = authenticator.explain(context(&token)).await;
        let failed = explanation.steps.last().and_then(|step| step.outcome.as_ref().err());
        match &explanation.decision {
            AuthDecision::Deny(reason) => {
                seen.insert(reason.code());
                assert_eq!(failed, Some(reason), "{change}");
            }
            _ => assert_eq!(failed, None, "{change}"),
        }
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["expired", "invalid_claim", "revoked", "user_mismatch"]);
}

/// "Until its `exp`" is what an administrator says of a token, and with a leeway the token is good for longer than that.
#[tokio::test]
async fn a_revocation_lasts_as_long_as_the_leeway_lets_its_token_in() {
    let key = TestKey::ed25519("k");
    let file = file(&key.pair.public_key_pem());
    let mut config = pem_config(&[&file]);
    config.issuers[0].leeway = Duration::from_secs(600);
    let authenticator = Authenticator::new(config).unwrap();
    let ended = now() - 5;
    let mut claims = full("one", now() - 60);
    claims["exp"] = json!(f64::from(u32::try_from(ended).unwrap()) + 0.5);
    let token = key.sign(&claims);
    assert_eq!(verdict(&authenticator, "alice", &token).await, "allowed", "within the leeway");

    let until = Some(UNIX_EPOCH + Duration::from_secs(ended));
    let one = Revocation::new(Target::Token("one".to_owned()), None, None, until).unwrap();
    let number = authenticator.revocations().revoke(one).unwrap();

    assert_eq!(verdict(&authenticator, "alice", &token).await, "revoked");
    assert_eq!(authenticator.revocations().list().iter().map(|listed| listed.number).collect::<Vec<_>>(), [number]);
    // Another entry does not push it out.
    authenticator.revocations().revoke(revocation(Target::Subject("bob".to_owned()), None)).unwrap();
    assert_eq!(verdict(&authenticator, "alice", &token).await, "revoked");
}

/// A reload that lets tokens live longer lets their revocations live longer as well.
#[tokio::test]
async fn a_leeway_that_grows_brings_the_revocations_of_the_file_with_it() {
    let key = TestKey::ed25519("k");
    let line = json!({"token_id": "one", "expires": now() - 5});
    let (keys, list) = (file(&key.pair.public_key_pem()), file(&format!("{line}\n")));
    let mut config = pem_config(&[&keys]);
    config.revocation_file = Some(list.path().to_owned());
    let mut claims = full("one", now() - 60);
    claims["exp"] = json!(now() - 5);
    let token = key.sign(&claims);
    let strict = Authenticator::new(config.clone()).unwrap();
    assert_eq!(verdict(&strict, "alice", &token).await, "expired");

    config.issuers[0].leeway = Duration::from_secs(600);
    let generous = strict.reconfigured(config).unwrap();

    assert_eq!(verdict(&generous, "alice", &token).await, "revoked");
}
