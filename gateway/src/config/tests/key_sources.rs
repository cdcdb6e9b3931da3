//! Where an issuer's keys come from, and how they are fetched.

use std::path::PathBuf;
use std::time::Duration;

use pgdog_jwt::config::{JwksSource, KeySource, Proxy, Secret};

use super::*;

/// Token users, `[jwt]` with these lines, and an issuer with those.
fn text(own: &str, issuer: &str) -> String {
    format!(
        "[general]\nauth_type = \"jwt\"\njwt_server_user = \"gateway\"\n[[databases]]\nname = \"app\"\nhost = \"h\"\n\
         [jwt]\n{own}[[jwt.issuers]]\nissuer = \"https://a\"\naudiences = \"db\"\n{issuer}"
    )
}

fn keys(own: &str, issuer: &str) -> KeySource {
    load(&text(own, issuer), "").config.jwt.expect("token users").core.issuers.remove(0).keys
}

fn fetched(own: &str, issuer: &str) -> JwksSource {
    keys(own, issuer).fetched().expect("a key set to fetch").clone()
}

#[test]
fn keys_come_from_the_place_that_is_named() {
    let path = || PathBuf::from("p");
    // RFC 8037, appendix A.2.
    let set = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let inline = format!("jwks = '{set}'");
    for (line, expected) in [
        ("key_files = [\"p\"]", KeySource::PemFiles(vec![path()])),
        ("key_directory = \"p\"", KeySource::PemDirectory(path())),
        ("jwks_file = \"p\"", KeySource::JwksFile(path())),
        (inline.as_str(), KeySource::JwksInline(set.to_owned())),
        ("discovery = false\nkey_directory = \"p\"", KeySource::PemDirectory(path())),
    ] {
        assert_eq!(keys("", line), expected, "{line}");
    }
    let KeySource::Discovery(source) = keys("", "discovery = true") else { panic!("no discovery") };
    assert_eq!(source.url, "https://a");
}

#[test]
fn an_issuer_is_fetched_as_it_says_or_as_all_are() {
    let own = "jwks_min_cache_ttl = 1\njwks_max_cache_ttl = 2\njwks_max_keys = 3\njwks_proxy = \"http://me:pw@p:1\"\n";
    let source = fetched(own, "jwks_url = \"https://a/keys\"");
    let seconds = Duration::from_secs;
    assert_eq!((source.min_cache_ttl, source.max_cache_ttl, source.max_keys), (seconds(1), seconds(2), 3));
    assert_eq!(source.proxy, Proxy::Url(Secret::new("http://me:pw@p:1")));
    let said = "discovery = true\njwks_min_cache_ttl = 4\njwks_max_cache_ttl = 5\njwks_max_keys = 6\njwks_cache_ttl = 7\n\
                jwks_proxy = \"none\"\njwks_ca_file = \"ca\"\njwks_bearer_token_file = \"token\"";
    let source = fetched(own, said);
    assert_eq!((source.min_cache_ttl, source.max_cache_ttl, source.cache_ttl), (seconds(4), seconds(5), seconds(7)));
    assert_eq!((source.max_keys, source.proxy), (6, Proxy::None));
    assert_eq!((source.ca_file, source.bearer_token_file), (Some("ca".into()), Some("token".into())));
    assert_eq!(fetched("", "discovery = true\njwks_proxy = \"environment\"").proxy, Proxy::Environment);
}

#[test]
fn no_issuer_sees_the_token_that_another_wants() {
    let own = "jwks_ca_file = \"ca\"\njwks_bearer_token_file = \"token\"\nissuer = \"https://b\"\n";
    let text = text(own, "discovery = true");
    let text = text.replace("[[databases]]", "jwt_jwks_url = \"https://b/keys\"\njwt_audience = \"db\"\n[[databases]]");
    let issuers = load(&text, "").config.jwt.expect("token users").core.issuers;
    let files: Vec<_> = issuers
        .iter()
        .filter_map(|issuer| issuer.keys.fetched())
        .map(|source| (source.ca_file.is_some(), source.bearer_token_file.is_some()))
        .collect();
    assert_eq!(files, [(true, true), (false, false)]);
}

#[test]
fn sources_that_cannot_work_are_refused_where_they_stand() {
    for (issuer, expected) in [
        ("", "pgdog.toml:8: [[jwt.issuers]] needs keys to check tokens with; set one of \"discovery\", \"jwks_url\""),
        ("discovery = false", "pgdog.toml:8: [[jwt.issuers]] needs keys"),
        ("key_files = []", "pgdog.toml:8: [[jwt.issuers]] needs keys"),
        (
            "discovery = true\njwks_file = \"p\"",
            "pgdog.toml:11: keys come from one place; set only one of \"discovery\", \"jwks",
        ),
        ("jwks = \"{}\"\nkey_directory = \"p\"", "pgdog.toml:11: keys come from one place"),
        ("discovery = true\njwks_max_keys = 0", "pgdog.toml:12: \"jwks_max_keys\""),
        ("discovery = true\njwks_max_cache_ttl = 31536001", "pgdog.toml:12: \"jwks_max_cache_ttl\""),
        (
            "discovery = true\njwks_proxy = \"socks5://hunter2\"",
            "pgdog.toml:12: \"jwks_proxy\" is \"none\", \"environment\"",
        ),
        ("discovery = true\njwks_proxy = \"http://p:1/hunter2\"", "pgdog.toml:12: \"jwks_proxy\" is"),
    ] {
        let message = error(&text("", issuer), "");
        assert!(message.starts_with(expected) && !message.contains("hunter2"), "{message}");
    }
    for issuer in ["http://a.example", "an issuer", "https://a?b", "https://a#b"] {
        let text = text("", "discovery = true").replace("https://a", issuer);
        let message = error(&text, "");
        assert!(message.starts_with("pgdog.toml:11: with \"discovery\", \"issuer\" must"), "{message}");
    }
}

#[test]
fn a_proxys_password_is_not_shown() {
    let loaded = load(&text("jwks_proxy = \"http://me:hunter2@p:1\"\n", "discovery = true"), "");
    assert!(!format!("{:?}", loaded.config).contains("hunter2"));
}
