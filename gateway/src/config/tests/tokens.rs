//! `[jwt]` and the `jwt_` keys of `[general]`.

use std::time::Duration;

use pgdog_jwt::config::{Algorithm, KeySource, UserMatch};

use super::*;

#[test]
fn the_two_forms_of_the_token_settings_build_one_value() {
    let text =
        TOKENS.replace("[[databases]]", "jwt_username_claim = \"email\"\njwt_user_suffix = \"@jwt\"\n[[databases]]");
    let own = "[jwt]\nissuer = \"https://i\"\nalgorithms = [\"ES256\", \"RS256\", \"ES256\"]\nleeway = 5\n\
               max_token_size = 1000\ntoken_cache_size = 7\nuser_match = \"claim\"\nallow_plaintext = true\npassword_auth_type = \"md5\"\n\
               max_pools = 7\nshared_pool = true\nrole_settings_ttl = 8\nguard = \"standard\"\nkey_files = [\"other.pem\"]\nallow_privileged_roles = true\n";
    let jwt = load(&format!("{text}{own}"), "").config.jwt.expect("token users");
    let issuer = &jwt.core.issuers[0];
    assert_eq!(issuer.issuer.as_deref(), Some("https://i"));
    assert_eq!(issuer.algorithms, [Algorithm::ES256, Algorithm::RS256]);
    assert_eq!((issuer.leeway, issuer.username_claim.as_str()), (Duration::from_secs(5), "email"));
    assert_eq!(issuer.keys, KeySource::PemFiles(vec!["public.pem".into(), "other.pem".into()]));
    assert_eq!((jwt.core.user_match, issuer.user_suffix.as_deref()), (UserMatch::Claim, Some("@jwt")));
    assert_eq!((jwt.core.max_token_size, jwt.max_password_size), (1000, 1256));
    assert_eq!(jwt.core.token_cache_size, 7);
    let default = load(TOKENS, "").config.jwt.expect("token users");
    assert_eq!(default.core.token_cache_size, 10_000);
    assert_eq!(default.role_settings_ttl, Duration::from_secs(30));
    assert_eq!(jwt.role_settings_ttl, Duration::from_secs(8));
    assert_eq!((jwt.password_auth_type, jwt.guard, jwt.max_pools), (AuthType::Md5, Guard::Standard, 7));
    assert!(jwt.allow_plaintext && jwt.allow_privileged_roles && jwt.shared_pool && !jwt.core.auto_provision);
}

#[test]
fn a_key_file_goes_before_a_key_url() {
    let text = TOKENS.replace("[[", "jwt_jwks_url = \"https://i/keys\"\n[[");
    let loaded = load(&text, "");
    assert_eq!(warnings(&loaded), ["pgdog.toml:6: \"jwt_jwks_url\" is not used beside a key file"]);
    let issuers = loaded.config.jwt.expect("token users").core.issuers;
    assert!(matches!(issuers[0].keys, KeySource::PemFiles(_)));

    let text = text.replace("jwt_public_key_file = \"public.pem\"\n", "jwt_jwks_cache_ttl = 60\n");
    let issuers = load(&text, "").config.jwt.expect("token users").core.issuers;
    let KeySource::Jwks(source) = &issuers[0].keys else { panic!("not a key set") };
    assert_eq!((source.url.as_str(), source.cache_ttl), ("https://i/keys", Duration::from_secs(60)));
    assert_eq!((source.max_stale, source.max_body_size), (Duration::from_secs(86_400), 1_048_576));
}

#[test]
fn the_server_user_is_denied_unless_users_toml_names_it() {
    let denied = |users: &str| load(TOKENS, users).config.jwt.expect("token users").core.denied_roles;
    assert_eq!(denied(""), ["postgres", "pg_*", "gateway"]);
    assert_eq!(denied("[[users]]\nname = \"gateway\"\ndatabase = \"app\"\n"), ["postgres", "pg_*"]);
}

#[test]
fn token_settings_that_cannot_work_are_refused() {
    for (from, to, expected) in [
        ("jwt_public_key_file = \"public.pem\"\n", "", "pgdog.toml:2: \"auth_type\" = \"jwt\" needs a key"),
        (
            "jwt_public_key_file = \"public.pem\"",
            "jwt_jwks_url = \"http://example.com/keys\"",
            "pgdog.toml:3: \"jwt_jwks_url\" must use https://",
        ),
        (
            "jwt_server_user = \"gateway\"",
            "jwt_user_auto_provision = true",
            "pgdog.toml:5: \"jwt_user_auto_provision\" needs an account",
        ),
        (
            "[[databases]]",
            "[jwt]\nalgorithms = [\"HS256\"]\n[[databases]]",
            "pgdog.toml:7: unknown algorithm \"HS256\"",
        ),
        ("[[databases]]", "[jwt]\nalgorithms = []\n[[databases]]", "pgdog.toml:7: \"algorithms\" must name"),
        ("[[databases]]", "[jwt]\ndeny_roles = [\"*a\"]\n[[databases]]", "pgdog.toml:7: \"*a\" in \"deny_roles\""),
        ("[[databases]]", "[jwt]\npassword_auth_type = \"jwt\"\n[[databases]]", "pgdog.toml:7: \"password_auth_type\""),
    ] {
        let message = error(&TOKENS.replace(from, to), "");
        assert!(message.starts_with(expected), "{message}");
    }
}

#[test]
fn token_settings_that_weaken_or_do_nothing_are_warned_about() {
    let loaded = load(&TOKENS.replace("jwt_audience = \"db\"\n", ""), "");
    assert!(warnings(&loaded)[0].contains("another service"), "{loaded:?}");
    let loaded = load(&TOKENS.replace("\"jwt\"", "\"scram\""), "");
    assert!(warnings(&loaded)[0].contains("not used while \"auth_type\" is \"scram\""), "{loaded:?}");
    assert_eq!(loaded.config.jwt, None);
    let read_only = "jwt_user_auto_provision = true\njwt_user_auto_provision_read_only = true\n[[databases]]";
    let loaded = load(&TOKENS.replace("[[databases]]", read_only), "");
    assert!(warnings(&loaded)[0].contains("\"app\" has no replica"), "{loaded:?}");
}

#[test]
fn no_wait_for_an_issuer_and_no_cache_is_without_a_limit() {
    for line in [
        "jwks_timeout = 9223372036854775807",
        "jwks_timeout = 0",
        "jwks_max_stale = 9223372036854775807",
        "leeway = 3601",
        "role_settings_ttl = 86401",
        "token_cache_size = 10000001",
    ] {
        let message = error(&format!("{TOKENS}[jwt]\n{line}\n"), "");
        assert!(message.contains("must be a whole number from"), "{message}");
    }
    let text = TOKENS.replace(
        "jwt_public_key_file = \"public.pem\"",
        "jwt_jwks_url = \"https://i/keys\"\njwt_jwks_cache_ttl = 9223372036854775807",
    );
    let issuers = load(&text, "").config.jwt.expect("token users").core.issuers;
    let KeySource::Jwks(source) = &issuers[0].keys else { panic!("not a key set") };
    assert_eq!(source.cache_ttl, Duration::from_secs(365 * 86_400));
}
