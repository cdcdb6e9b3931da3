//! Who a verified token is, and whether PostgreSQL may be told so. A role name is used byte for byte (S13): it is never
//! folded, trimmed or shortened into somebody else's.

use std::time::SystemTime;

use crate::claims::{self, Claims};
use crate::config::{Issuer, JwtConfig, Secret, UserMatch};
use crate::decision::AuthGrant;
use crate::deny::DenyReason;

/// PostgreSQL's `NAMEDATALEN` less the terminating NUL. The server would cut a longer name, and the cut name may be
/// another role.
const MAX_ROLE_BYTES: usize = 63;

/// Whether a start-up user logs in by token. Without a suffix every user does.
pub(crate) fn is_token_user(user: &str, config: &JwtConfig) -> bool {
    config.user_suffix.as_deref().is_none_or(|suffix| user.ends_with(suffix))
}

/// Turns verified claims into a grant.
pub(crate) fn grant(
    user: &str,
    claims: &Claims,
    issuer: &Issuer,
    expires_at: SystemTime,
    config: &JwtConfig,
) -> Result<AuthGrant, DenyReason> {
    let identity = claims::required_string(claims, &issuer.username_claim)?;
    check_user(user, identity, config)?;
    check_role(identity, &config.denied_roles)?;
    let subject = claims::optional_string(claims, "sub")?.filter(|subject| !subject.is_empty());
    Ok(AuthGrant {
        user: identity.to_owned(),
        server_role: Some(identity.to_owned()),
        server_user: config.server_user.clone(),
        server_password: config.server_password.as_ref().map(Secret::expose).map(str::to_owned),
        read_only: config.auto_provision_read_only,
        provision: config.auto_provision,
        settings: Vec::new(),
        subject: subject.unwrap_or(identity).to_owned(),
        issuer: claims::optional_string(claims, "iss")?.map(str::to_owned),
        token_id: claims.get("jti").and_then(|id| id.as_str()).map(str::to_owned),
        expires_at,
    })
}

/// With a suffix, the identity may be the start-up user as it is or without the suffix: some issuers put
/// `alice@example.com` in the claim, others `alice`.
fn check_user(user: &str, identity: &str, config: &JwtConfig) -> Result<(), DenyReason> {
    let same = match config.user_match {
        UserMatch::Claim => true,
        UserMatch::Exact => {
            let bare = config.user_suffix.as_deref().and_then(|suffix| user.strip_suffix(suffix));
            identity == user || bare == Some(identity)
        }
    };
    if same { Ok(()) } else { Err(DenyReason::UserMismatch { identity: identity.to_owned() }) }
}

/// PostgreSQL takes the value `none` of the setting `role` for "no role" (`check_role` in `variable.c`, compared with
/// `strcmp`), and the statement `SET ROLE none` in any case. No spelling of it is worth the risk.
fn check_role(role: &str, denied: &[String]) -> Result<(), DenyReason> {
    if role.is_empty() {
        return Err(DenyReason::RoleInvalid("is empty"));
    }
    if role.len() > MAX_ROLE_BYTES {
        return Err(DenyReason::RoleInvalid("is longer than 63 bytes"));
    }
    if role.contains('\0') {
        return Err(DenyReason::RoleInvalid("has a NUL in it"));
    }
    if role.eq_ignore_ascii_case("none") {
        return Err(DenyReason::RoleInvalid("means no role at all to PostgreSQL"));
    }
    if denied.iter().any(|pattern| matches(pattern, role)) {
        return Err(DenyReason::RoleDenied { role: role.to_owned() });
    }
    Ok(())
}

/// `name` is that name; `name*` is every name that begins so.
fn matches(pattern: &str, role: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => role.starts_with(prefix),
        None => role == pattern,
    }
}

#[cfg(test)]
mod tests {
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
        grant(user, &claims, &config.issuers[0], SystemTime::UNIX_EPOCH, config)
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
        for role in ["Алиса", "名前", "a b", "\"quoted\"", "it's", "a;b", "nonesuch", "none ", "Ａlice", "e\u{301}", "\t"] {
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
}
