//! `[[jwt.issuers]]`: several issuers, and what one that says little has from the short form.

use std::time::Duration;

use pgdog_jwt::config::{Algorithm, BoundTokens, IdentityMode, Issuer, KeySource, RequiredClaim, Wanted};
use serde_json::json;

use super::*;

/// Token users without the keys of the short form.
const GENERAL: &str = "[general]\nauth_type = \"jwt\"\njwt_server_user = \"gateway\"\n[[databases]]\nname = \"app\"\n\
                       host = \"127.0.0.1\"\n";

fn issuers(text: &str) -> Vec<Issuer> {
    load(text, "").config.jwt.expect("token users").core.issuers
}

fn with(lines: &str) -> String {
    format!("{GENERAL}[[jwt.issuers]]\nissuer = \"https://a\"\naudiences = [\"db\"]\nkey_files = [\"a.pem\"]\n{lines}")
}

#[test]
fn one_table_is_the_same_issuer_as_the_short_form() {
    let short =
        "[jwt]\nissuer = \"https://a\"\nalgorithms = \"ES256\"\nleeway = 3\nclients = \"x\"\nmax_token_age = 60\n";
    let long = TOKENS.replace("jwt_public_key_file = \"public.pem\"\njwt_audience = \"db\"\n", "")
        + "[[jwt.issuers]]\nissuer = \"https://a\"\nkey_files = \"public.pem\"\naudiences = \"db\"\nalgorithms = \"ES256\"\n\
           leeway = 3\nclients = \"x\"\nmax_token_age = 60\n";
    assert_eq!(issuers(&format!("{TOKENS}{short}")), issuers(&long));
}

#[test]
fn an_issuer_has_what_it_does_not_say_from_the_short_form() {
    let text = GENERAL.replace(
        "[[databases]]",
        "jwt_audience = \"db\"\njwt_username_claim = \"email\"\njwt_jwks_cache_ttl = 60\n[[databases]]",
    ) + "[jwt]\nalgorithms = [\"ES256\"]\nleeway = 5\njwks_timeout = 700\nrequired_scopes = \"db\"\n\
         [[jwt.issuers]]\nissuer = \"https://a\"\njwks_url = \"https://a/keys\"\n\
         [[jwt.issuers]]\nissuer = \"https://b\"\njwks_url = \"https://b/keys\"\naudiences = [\"other\"]\nleeway = 1\n\
         algorithms = [\"RS256\"]\nusername_claim = \"sub\"\njwks_cache_ttl = 7\njwks_timeout = 800\nrequired_scopes = []\n";
    let [a, b] = issuers(&text).try_into().expect("two issuers");
    assert_eq!((a.audiences.as_slice(), a.username_claim.as_str()), (["db".to_owned()].as_slice(), "email"));
    assert_eq!((a.algorithms, a.leeway), (vec![Algorithm::ES256], Duration::from_secs(5)));
    assert_eq!((b.algorithms, b.leeway), (vec![Algorithm::RS256], Duration::from_secs(1)));
    assert_eq!((b.audiences.as_slice(), b.username_claim.as_str()), (["other".to_owned()].as_slice(), "sub"));
    assert_eq!((a.required_scopes.len(), b.required_scopes.len()), (1, 0));
    let source = |keys: KeySource| match keys {
        KeySource::Jwks(source) => (source.url, source.cache_ttl.as_secs(), source.timeout.as_millis()),
        _ => panic!("not a key set"),
    };
    assert_eq!(source(a.keys), ("https://a/keys".to_owned(), 60, 700));
    assert_eq!(source(b.keys), ("https://b/keys".to_owned(), 7, 800));
}

#[test]
fn tokens_that_are_bound_to_a_key_are_taken_only_where_that_is_written_and_said_aloud() {
    let bound = |text: &str| issuers(text).iter().map(|issuer| issuer.bound_tokens).collect::<Vec<_>>();
    assert_eq!(bound(&with("")), [BoundTokens::Refuse]);
    assert_eq!(bound(&with("bound_tokens = \"as_bearer\"\n")), [BoundTokens::AsBearer]);
    let both = format!("{}[jwt]\nbound_tokens = \"as_bearer\"\n", with(""))
        + "[[jwt.issuers]]\nissuer = \"https://b\"\n\
         audiences = [\"db\"]\nkey_files = [\"b.pem\"]\nbound_tokens = \"refuse\"\n";
    assert_eq!(bound(&both), [BoundTokens::AsBearer, BoundTokens::Refuse]);
    let loaded = load(&with("bound_tokens = \"as_bearer\"\n"), "");
    assert!(warnings(&loaded).iter().any(|text| text.contains("whoever steals a token")), "{:?}", warnings(&loaded));
    assert!(error(&with("bound_tokens = \"certificate\"\n"), "").contains("must be one of"));
}

#[test]
fn what_tokens_must_say_is_read_with_its_type() {
    let text = with(
        "token_types = [\"at+jwt\"]\nclients = \"tool\"\nrequired_scopes = [\"db\"]\nmax_token_age = 60\n\
         databases = [\"app\", \"team_*\"]\nroles = [\"*\"]\nuser_suffix = \"@a\"\nread_only = true\nmode = \"login\"\n\
         [jwt.identity]\nlogin_auth = \"trust\"\n",
    );
    let claims = "required_claims = { email_verified = true, \"a.b\" = [1, \"x\"], g = { contains = \"db\" }, \
                  hd = { present = true } }\n[jwt.identity]";
    let issuer = issuers(&text.replace("[jwt.identity]", claims)).remove(0);
    assert_eq!(issuer.token_types, ["at+jwt"]);
    assert_eq!((issuer.clients, issuer.required_scopes), (vec!["tool".to_owned()], vec!["db".to_owned()]));
    assert_eq!(issuer.databases.unwrap_or_default(), ["app", "team_*"]);
    assert_eq!((issuer.roles.unwrap_or_default(), issuer.read_only), (vec!["*".to_owned()], true));
    assert_eq!((issuer.user_suffix.as_deref(), issuer.mode), (Some("@a"), Some(IdentityMode::Login)));
    let required = |claim: &str, wanted| RequiredClaim { claim: claim.to_owned(), wanted };
    let expected = [
        required("email_verified", Wanted::OneOf(vec![json!(true)])),
        required("a.b", Wanted::OneOf(vec![json!(1), json!("x")])),
        required("g", Wanted::Contains(vec![json!("db")])),
        required("hd", Wanted::Present),
    ];
    assert_eq!(issuer.required_claims, expected);
}

#[test]
fn issuers_that_cannot_work_are_refused() {
    let second = |lines: &str| with(&format!("[[jwt.issuers]]\n{lines}"));
    for (text, expected) in [
        (second("key_files = \"b.pem\"\n"), "pgdog.toml:11: [[jwt.issuers]] needs an \"issuer\""),
        (second("issuer = \"https://b\"\n"), "pgdog.toml:11: [[jwt.issuers]] needs keys"),
        (
            second("issuer = \"https://a\"\nkey_files = \"b.pem\"\n"),
            "pgdog.toml:12: another issuer has the same \"issuer\"",
        ),
        (
            second("issuer = \"https://b\"\nkey_files = \"b.pem\"\njwks_url = \"https://b/keys\"\n"),
            "pgdog.toml:14: keys come from one place; set only one of \"jwks_url\", \"key_files\"",
        ),
        (with("jwks_url = \"http://a.example/keys\"\n").replace("key_files = [\"a.pem\"]\n", ""), "pgdog.toml:10:"),
        (with("roles = [\"a*b\"]\n"), "pgdog.toml:11: \"a*b\" in \"roles\" must be a name"),
        (with("databases = [\"\"]\n"), "pgdog.toml:11: \"\" in \"databases\" must be a name"),
        (with("required_claims = { a = {} }\n"), "pgdog.toml:11: \"a\" in required_claims must be a value"),
        (with("required_claims = { a = [] }\n"), "pgdog.toml:11: \"a\" in required_claims must be a value"),
        (with("required_claims = { a = { present = false } }\n"), "pgdog.toml:11: \"a\" in required_claims"),
        (with("required_claims = { a = 1.5 }\n"), "pgdog.toml:11: \"a\" in required_claims must be a value"),
        (with("required_claims = \"a\"\n"), "pgdog.toml:11: required_claims must be a table"),
        (with("mode = \"superuser\"\n"), "pgdog.toml:11: \"mode\" in [[jwt.issuers]] must be one of"),
        (with("audience = \"db\"\n"), "pgdog.toml:11: unknown key \"audience\" in [[jwt.issuers]]; did you mean"),
        (with("max_token_age = 0\n"), "pgdog.toml:11: \"max_token_age\""),
        (
            TOKENS.to_owned() + "[[jwt.issuers]]\nissuer = \"https://b\"\nkey_files = \"b.pem\"\n",
            "pgdog.toml:9: the issuer of the \"jwt_\" keys must have a name beside [[jwt.issuers]]",
        ),
    ] {
        let message = error(&text, "");
        assert!(message.starts_with(expected), "{message}\n{text}");
    }
}

#[test]
fn each_mode_that_an_issuer_has_is_checked_for_what_it_needs() {
    let message = error(&with("mode = \"login\"\n"), "");
    assert!(message.contains("\"login_auth\" = \"certificate\" needs"), "{message}");
    let message = error(&with("mode = \"service_account\"\n"), "");
    assert!(message.contains("\"service_account\" needs an account"), "{message}");
    let mapping = "[[jwt.user_mappings]]\npattern = \".*\"\nuser = \"x\"\nmode = \"login\"\n";
    let message = error(&with(mapping), "");
    assert!(message.contains("\"login_auth\" = \"certificate\" needs"), "{message}");
}

#[test]
fn an_issuer_without_an_audience_is_worth_a_warning() {
    let loaded = load(&with("").replace("audiences = [\"db\"]\n", ""), "");
    assert_eq!(warnings(&loaded).len(), 1);
    assert!(warnings(&loaded)[0].starts_with("pgdog.toml:7: no \"audiences\""), "{:?}", warnings(&loaded));
}
