//! Which claims make which role, and which make none (S13).

use super::*;
use crate::config::{KeySource, Pattern, RoleMapping, Secret, UserMapping, UserTemplate, ValueMatch};
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
    let config = config(|c| c.issuers[0].user_suffix = Some("@example.com".to_owned()));
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
    let grant = granted("a@b", r#"{"email":"a@b","sub":"123"}"#, &config).unwrap();
    assert_eq!((grant.subject.as_str(), grant.token_id), ("123", None));
    assert_eq!(code(granted("a@b", r#"{"email":"a@b","sub":1}"#, &config)), "invalid_claim");
    // RFC 7519 section 4.1.7: what is no string names no token that could be revoked.
    assert_eq!(code(granted("a@b", r#"{"email":"a@b","jti":7}"#, &config)), "invalid_claim");
}

#[test]
fn a_grant_shows_the_claims_that_the_host_asked_for_and_no_others() {
    let config = config(|c| c.kept_claims = vec!["org.id".to_owned(), "missing".to_owned(), "list".to_owned()]);
    let claims = r#"{"sub":"alice","org":{"id":7},"list":["a"],"secret":"x"}"#;
    let grant = granted("alice", claims, &config).unwrap();
    let expected = [("list", serde_json::json!(["a"])), ("org.id", serde_json::json!(7))];
    assert_eq!(grant.kept_claims, expected.map(|(name, value)| (name.to_owned(), value)).into());
}

fn mapping(name: &str, value: Option<&str>) -> RoleMapping {
    RoleMapping {
        name: name.to_owned(),
        claim: None,
        value: value.map(|value| ValueMatch::Exact { values: vec![value.to_owned()], ignore_case: false }),
        databases: None,
        server_user: name.to_owned(),
        server_password: Some(Secret::new("hunter2")),
        role: None,
        read_only: None,
    }
}

fn accounts(rules: Vec<RoleMapping>) -> JwtConfig {
    config(|c| {
        c.mode = IdentityMode::ServiceAccount;
        c.role_mappings = rules.into();
        c.denied_roles = vec!["postgres".to_owned()];
    })
}

fn account(claims: &str, config: &JwtConfig) -> Result<String, &'static str> {
    let grant = granted("ann", &format!("{{\"sub\":\"ann\",{claims}}}"), config);
    grant.map(|grant| grant.server_user.unwrap_or_default()).map_err(|reason| reason.code())
}

#[test]
fn the_first_rule_of_the_file_chooses_the_account() {
    let config = accounts(vec![mapping("rw", Some("writer")), mapping("ro", Some("reader"))]);
    for claims in
        [r#""role":["reader","writer"]"#, r#""role":["writer","reader"]"#, r#""role":"reader","roles":"writer""#]
    {
        assert_eq!(account(claims, &config).as_deref(), Ok("rw"), "{claims}");
    }
    assert_eq!(account(r#""roles":["x","reader"]"#, &config).as_deref(), Ok("ro"));
    for claims in
        [r#""role":"x""#, r#""role":null"#, r#""role":{"reader":1}"#, r#""groups":"reader""#, r#""role":"Reader""#]
    {
        assert_eq!(account(claims, &config), Err("no_role_mapping"), "{claims}");
    }
}

#[test]
fn a_rule_without_a_value_is_for_every_token_that_comes_to_it() {
    let config = accounts(vec![mapping("rw", Some("writer")), mapping("other", None)]);
    assert_eq!(account(r#""role":"writer""#, &config).as_deref(), Ok("rw"));
    assert_eq!(account(r#""x":1"#, &config).as_deref(), Ok("other"));
}

#[test]
fn a_rule_for_another_database_is_none() {
    let elsewhere = RoleMapping { databases: Some(vec!["other".to_owned()]), ..mapping("rw", Some("writer")) };
    let config = accounts(vec![elsewhere, mapping("ro", Some("writer"))]);
    assert_eq!(account(r#""role":"writer""#, &config).as_deref(), Ok("ro"));
}

#[test]
fn the_account_is_all_that_postgresql_hears_of() {
    let rule = RoleMapping { role: Some("team".to_owned()), read_only: Some(true), ..mapping("rw", Some("writer")) };
    let config = accounts(vec![rule]);
    let name = "a".repeat(100);
    let grant = granted(&name, &format!("{{\"sub\":\"{name}\",\"role\":\"writer\"}}"), &config).unwrap();
    assert_eq!((grant.user.as_str(), grant.subject.as_str()), (name.as_str(), name.as_str()));
    assert_eq!((grant.server_user.as_deref(), grant.server_role.as_deref()), (Some("rw"), Some("team")));
    assert!(grant.read_only && grant.mode == IdentityMode::ServiceAccount);
    assert_eq!(grant.server_password.as_ref().map(Secret::expose), Some("hunter2"));
    assert_eq!(grant.account.as_ref().map(|account| account.rule().name.as_str()), Some("rw"));
    assert!(!format!("{grant:?}").contains("hunter2"));
    assert_eq!(code(granted("bob", r#"{"sub":"ann","role":"writer"}"#, &config)), "user_mismatch");
}

#[test]
fn a_session_is_guarded_where_settings_carry_claims_even_if_its_token_has_none() {
    let guarded = |change: &dyn Fn(&mut JwtConfig), role: Option<&str>| {
        let mut config = accounts(vec![RoleMapping { role: role.map(str::to_owned), ..mapping("ro", None) }]);
        change(&mut config);
        let grant = granted("ann", r#"{"sub":"ann"}"#, &config).unwrap();
        assert!(grant.settings.is_empty());
        grant.guarded
    };
    let spread = |config: &mut JwtConfig| {
        let (name, claim) = ("app.meta".to_owned(), "meta".to_owned());
        config.variables = vec![session::Variable::Each { name, claim, lenient: false }];
    };
    assert!(guarded(&spread, None) && guarded(&|_| {}, Some("team")));
    assert!(!guarded(&|_| {}, None), "an account holds its session by itself");
}

#[test]
fn an_account_that_no_token_may_have_is_no_account() {
    const NO_MAPPING: &str = "\"service_account\" needs an account that a token's roles lead to; add \
                              [[jwt.role_mappings]] or \"default_role_mapping\"";
    let problem = |rules: Vec<RoleMapping>| {
        let mut config = accounts(rules);
        config.issuers[0].keys = KeySource::PemFiles(vec!["key.pem".into()]);
        crate::config::findings(&config).first().map(|finding| finding.fault.to_string())
    };
    assert_eq!(problem(vec![mapping("a", Some("b"))]), None);
    assert_eq!(problem(Vec::new()).as_deref(), Some(NO_MAPPING));
    for name in ["postgres", "none", "", &"a".repeat(64)] {
        let rule = RoleMapping { server_user: name.to_owned(), ..mapping("x", Some("dba")) };
        let problem = problem(vec![rule]).unwrap();
        assert!(problem.starts_with("role mapping \"x\": \"server_user\": "), "{problem}");
    }
}

fn rule(issuer: Option<&str>, claim: &str, pattern: &str, user: &str) -> UserMapping {
    let pattern = Pattern::new(pattern, false).unwrap();
    let user = UserTemplate::new(user, &pattern).unwrap();
    UserMapping {
        issuer: issuer.map(str::to_owned),
        claim: Some(claim.to_owned()),
        pattern,
        user,
        lowercase: true,
        mode: None,
    }
}

#[test]
fn the_first_rule_that_matches_makes_the_user() {
    let config = config(|c| {
        c.user_match = UserMatch::Claim;
        c.denied_roles = vec!["postgres".to_owned()];
        c.user_mappings = vec![
            rule(Some("https://a"), "email", "(.*)@x", "a_\\1"),
            rule(None, "email", "(.*)@x", "\\1"),
            rule(None, "nick", ".*", "nick"),
        ];
    });
    let user = |claims: &str| granted("?", claims, &config).map(|grant| grant.user).map_err(|reason| reason.code());
    assert_eq!(user(r#"{"iss":"https://a","email":"Ann@x"}"#).as_deref(), Ok("a_ann"));
    assert_eq!(user(r#"{"iss":"https://b","email":"Ann@x"}"#).as_deref(), Ok("ann"));
    assert_eq!(user(r#"{"email":"Ann@y","nick":"z"}"#).as_deref(), Ok("nick"));
    assert_eq!(user(r#"{"email":"POSTGRES@x"}"#), Err("role_denied"));
    assert_eq!(user(r#"{"email":"@x"}"#), Err("role_invalid"));
    for claims in [r#"{"sub":"ann"}"#, r#"{"email":["ann@x"]}"#, r#"{"email":7}"#, r#"{"email":"ann@x "}"#] {
        assert_eq!(user(claims), Err("no_user_mapping"), "{claims}");
    }
}

#[test]
fn a_subject_that_logs_in_itself_is_the_account() {
    for mode in [IdentityMode::Login, IdentityMode::Passthrough] {
        let config = config(|c| {
            c.mode = mode;
            c.server_user = Some("gateway".to_owned());
            c.server_password = Some(Secret::new("not for subjects"));
            c.denied_roles = vec!["gateway".to_owned()];
        });
        let grant = granted("alice", r#"{"sub":"alice"}"#, &config).unwrap();
        assert_eq!((grant.mode, grant.server_user.as_deref()), (mode, Some("alice")));
        assert_eq!((grant.server_role.as_deref(), grant.server_password), (Some("alice"), None));
        assert_eq!(code(granted("gateway", r#"{"sub":"gateway"}"#, &config)), "role_denied");
        assert_eq!(code(granted("none", r#"{"sub":"none"}"#, &config)), "role_invalid");
    }
}

/// Issuer `a` for users that end in `@a`, issuer `b` for those that end in `@b.a`, and issuer `c` for all others.
fn three_issuers(change: impl FnOnce(&mut JwtConfig)) -> JwtConfig {
    config(|c| {
        let issuer = |name: &str, suffix: Option<&str>| Issuer {
            issuer: Some(name.to_owned()),
            user_suffix: suffix.map(str::to_owned),
            ..c.issuers[0].clone()
        };
        c.issuers = vec![issuer("a", Some("@a")), issuer("b", Some("@b.a")), issuer("c", None)];
        change(c);
    })
}

fn granted_by(issuer: usize, user: &str, config: &JwtConfig) -> Result<AuthGrant, DenyReason> {
    let sub = user.split('@').next().unwrap();
    let claims = parse_object(format!("{{\"sub\":\"{sub}\"}}").as_bytes()).unwrap();
    grant(user, "app", &claims, &config.issuers[issuer], SystemTime::UNIX_EPOCH, config)
}

#[test]
fn users_with_a_suffix_are_those_of_its_issuer_alone() {
    for user_match in [UserMatch::Exact, UserMatch::Claim] {
        let config = three_issuers(|c| c.user_match = user_match);
        for (user, owner) in [("alice@a", 0), ("alice@b.a", 1), ("alice", 2)] {
            assert!(is_token_user(user, &config));
            for issuer in 0..3 {
                let expected = if issuer == owner { "allowed" } else { "user_mismatch" };
                assert_eq!(code(granted_by(issuer, user, &config)), expected, "{user} by issuer {issuer}");
            }
        }
    }
}

#[test]
fn an_issuer_opens_its_databases_and_roles_alone() {
    let only = |list: &[&str]| Some(list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
    let config = three_issuers(|c| {
        (c.issuers[0].databases, c.issuers[0].roles) = (only(&["app_*", "ap"]), None);
        (c.issuers[1].databases, c.issuers[1].roles) = (only(&["ap*"]), only(&["bob", "team_*"]));
        (c.issuers[2].databases, c.issuers[2].read_only) = (None, true);
    });
    assert_eq!(code(granted_by(0, "alice@a", &config)), "database_denied");
    assert_eq!(code(granted_by(1, "alice@b.a", &config)), "role_not_of_issuer");
    assert_eq!(code(granted_by(1, "team_x@b.a", &config)), "allowed");
    assert!(granted_by(2, "alice", &config).unwrap().read_only);
}

#[test]
fn the_mode_is_that_of_the_mapping_or_the_issuer_before_that_of_all() {
    let config = three_issuers(|c| {
        (c.mode, c.server_user) = (IdentityMode::Role, Some("gateway".to_owned()));
        c.issuers[0].mode = Some(IdentityMode::Login);
    });
    let of = |config: &JwtConfig, issuer: usize, user: &str| {
        let grant = granted_by(issuer, user, config).unwrap();
        (grant.mode, grant.server_user.unwrap(), grant.guarded)
    };
    assert_eq!(of(&config, 0, "alice@a"), (IdentityMode::Login, "alice".to_owned(), false));
    assert_eq!(of(&config, 2, "alice"), (IdentityMode::Role, "gateway".to_owned(), true));
    assert!(config.uses(IdentityMode::Login) && config.uses(IdentityMode::Role));
    assert!(!config.uses(IdentityMode::Passthrough) && !config.uses(IdentityMode::ServiceAccount));
    assert!(config.may_be(Some("a"), IdentityMode::Login) && !config.may_be(Some("a"), IdentityMode::Role));
    assert!(!config.may_be(Some("unknown"), IdentityMode::Role), "an issuer that is gone leads nowhere");

    let mapped = JwtConfig {
        user_mappings: vec![
            UserMapping { mode: Some(IdentityMode::Passthrough), ..rule(None, "sub", "(a.*)", "\\1") },
            rule(None, "sub", "(.*)", "\\1"),
        ],
        ..config
    };
    assert_eq!(of(&mapped, 0, "alice@a").0, IdentityMode::Passthrough);
    assert_eq!(of(&mapped, 0, "bob@a").0, IdentityMode::Login);
    assert_eq!(of(&mapped, 2, "bob").0, IdentityMode::Role);
    for mode in [IdentityMode::Passthrough, IdentityMode::Login] {
        assert!(mapped.may_be(Some("a"), mode));
    }
}
