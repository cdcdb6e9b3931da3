//! Which claims make which role, and which make none (S13).

use super::*;
use crate::config::KeySource;
use crate::json::parse_object;

fn config(change: impl FnOnce(&mut JwtConfig)) -> JwtConfig {
    let mut config = JwtConfig::new(vec![Issuer::new(KeySource::PemFiles(Vec::new()))]);
    change(&mut config);
    config
}

fn granted(user: &str, claims: &str, config: &JwtConfig) -> Result<AuthGrant, DenyReason> {
    let claims = parse_object(claims.as_bytes()).unwrap();
    grant(user, "app", &claims, &config.issuers[0], SystemTime::UNIX_EPOCH, config)
}

fn code(result: Result<AuthGrant, DenyReason>) -> &'static str {
    result.map_or_else(|reason| reason.code(), |_| "allowed")
}

#[test]
fn the_start_up_user_must_be_the_identity() {
    let exact = config(|_| {});
    let alice = r#"{"sub":"alice"}"#;
    assert_eq!(granted("alice", alice, &exact).unwrap().user, "alice");
    for user in ["bob", "Alice", "alice ", "", "postgres"] {
        assert_eq!(code(granted(user, alice, &exact)), "user_mismatch", "{user}");
    }
}

#[test]
fn by_claim_the_token_wins_over_the_start_up_user() {
    let claim = config(|c| c.user_match = UserMatch::Claim);
    let grant = granted("postgres", r#"{"sub":"alice"}"#, &claim).unwrap();
    assert_eq!((grant.user.as_str(), grant.server_role.as_deref()), ("alice", Some("alice")));
}

#[test]
fn a_suffix_selects_token_users_and_may_be_missing_in_the_token() {
    let config = config(|c| c.user_suffix = Some("@example.com".to_owned()));
    assert!(is_token_user("alice@example.com", &config));
    assert!(!is_token_user("alice", &config) && !is_token_user("alice@EXAMPLE.COM", &config));
    assert_eq!(granted("alice@example.com", r#"{"sub":"alice"}"#, &config).unwrap().user, "alice");
    let full = granted("alice@example.com", r#"{"sub":"alice@example.com"}"#, &config).unwrap();
    assert_eq!(full.user, "alice@example.com");
    for sub in ["bob", "alice@", "alice@example.com@example.com", "@example.com"] {
        let claims = format!("{{\"sub\":\"{sub}\"}}");
        assert_eq!(code(granted("alice@example.com", &claims, &config)), "user_mismatch", "{sub}");
    }
}

#[test]
fn role_names_are_used_byte_for_byte() {
    let config = config(|_| {});
    for role in ["Алиса", "名前", "a b", "\"quoted\"", "it's", "a;b", "nonesuch", "none ", "Ａlice", "e\u{301}", "\t"]
    {
        let claims = serde_json::json!({ "sub": role }).to_string();
        assert_eq!(granted(role, &claims, &config).unwrap().server_role.as_deref(), Some(role));
    }
    assert_eq!(code(granted("\u{e9}", "{\"sub\":\"e\u{301}\"}", &config)), "user_mismatch");
    let longest = "é".repeat(31) + "x";
    assert_eq!(code(granted(&longest, &format!("{{\"sub\":\"{longest}\"}}"), &config)), "allowed");
}

#[test]
fn names_that_postgresql_would_take_for_another_role_are_refused() {
    let config = config(|c| c.user_match = UserMatch::Claim);
    let too_long = "é".repeat(32);
    for role in ["none", "NONE", "None", "nOnE", "a\0b", "\0", &"a".repeat(64), &too_long] {
        let claims = serde_json::json!({ "sub": role }).to_string();
        assert_eq!(code(granted("x", &claims, &config)), "role_invalid", "{role:?}");
    }
}

#[test]
fn denied_roles_are_names_or_beginnings() {
    let config = config(|c| {
        c.user_match = UserMatch::Claim;
        c.denied_roles = vec!["postgres".to_owned(), "pg_*".to_owned()];
    });
    for (role, expected) in [
        ("postgres", "role_denied"),
        ("pg_", "role_denied"),
        ("pg_monitor", "role_denied"),
        ("postgres2", "allowed"),
        ("Postgres", "allowed"),
        ("pg", "allowed"),
    ] {
        assert_eq!(code(granted("x", &format!("{{\"sub\":\"{role}\"}}"), &config)), expected, "{role}");
    }
}

#[test]
fn a_token_without_sub_has_the_user_as_subject() {
    let mut config = config(|c| c.server_user = Some("gateway".to_owned()));
    config.issuers[0].username_claim = "email".to_owned();
    let claims = r#"{"email":"a@b","jti":"7","iss":"i"}"#;
    let grant = granted("a@b", claims, &config).unwrap();
    assert_eq!((grant.user.as_str(), grant.subject.as_str()), ("a@b", "a@b"));
    assert_eq!((grant.token_id.as_deref(), grant.issuer.as_deref()), (Some("7"), Some("i")));
    assert_eq!(grant.server_user.as_deref(), Some("gateway"));
    let grant = granted("a@b", r#"{"email":"a@b","sub":"123","jti":7}"#, &config).unwrap();
    assert_eq!((grant.subject.as_str(), grant.token_id), ("123", None));
    assert_eq!(code(granted("a@b", r#"{"email":"a@b","sub":1}"#, &config)), "invalid_claim");
}
