//! The `introspect` keys of `[[jwt.issuers]]`.

use std::time::Duration;

use pgdog_jwt::config::{ClientAuth, ClientKey, IntrospectionSource, KeySource, Proxy, Secret};

use super::*;

const GENERAL: &str = "[general]\nauth_type = \"jwt\"\njwt_server_user = \"gateway\"\n[[databases]]\nname = \"app\"\n\
                       host = \"127.0.0.1\"\n[[jwt.issuers]]\nissuer = \"https://a\"\naudiences = [\"db\"]\n";
const URL: &str = "introspection_url = \"https://a/introspect\"\nintrospection_client_id = \"me\"\n";
const SECRET: &str = "introspection_client_secret = \"the-secret\"\n";

fn source(lines: &str, env: &[(&str, &str)]) -> IntrospectionSource {
    let loaded = load_with(&format!("{GENERAL}{URL}{lines}"), "", env).unwrap_or_else(|error| panic!("{error}"));
    let issuer = &loaded.config.jwt.expect("token users").core.issuers[0];
    assert_eq!(issuer.keys, KeySource::None);
    issuer.introspection.clone().expect("an endpoint")
}

#[test]
fn the_defaults_are_those_of_the_core() {
    let auth = ClientAuth::Basic(Secret::new("the-secret"));
    assert_eq!(source(SECRET, &[]), IntrospectionSource::new("https://a/introspect", "me", auth));
}

#[test]
fn every_limit_can_be_set() {
    let found = source(
        &format!(
            "{SECRET}introspect_jwts = true\nintrospection_max_age = 1\nintrospection_cache_ttl = 2\n\
             introspection_cache_size = 3\nintrospection_negative_ttl = 4\nintrospection_negative_cache_size = 5\n\
             introspection_max_requests = 6\nintrospection_connect_timeout = 7\nintrospection_timeout = 8\n\
             introspection_max_body_size = 9\nintrospection_client_auth = \"client_secret_post\"\n"
        ),
        &[],
    );
    let auth = ClientAuth::Post(Secret::new("the-secret"));
    let expected = IntrospectionSource {
        introspect_jwts: true,
        max_age: Some(Duration::from_secs(1)),
        cache_ttl: Duration::from_secs(2),
        cache_size: 3,
        negative_ttl: Duration::from_secs(4),
        negative_cache_size: 5,
        max_requests: 6,
        connect_timeout: Duration::from_millis(7),
        timeout: Duration::from_millis(8),
        max_body_size: 9,
        ..IntrospectionSource::new("https://a/introspect", "me", auth)
    };
    assert_eq!(found, expected);
}

#[test]
fn an_issuer_is_asked_on_the_way_that_its_keys_come() {
    let way = source(&format!("{SECRET}jwks_proxy = \"http://proxy:3128\"\njwks_ca_file = \"ca.pem\"\n"), &[]);
    assert_eq!((way.proxy, way.ca_file), (Proxy::Url(Secret::new("http://proxy:3128")), Some("ca.pem".into())));
}

#[test]
fn the_client_proves_itself_by_what_is_set() {
    let from_env = source("introspection_client_secret_env = \"S\"\n", &[("S", "from env")]);
    assert_eq!(from_env.client_auth, ClientAuth::Basic(Secret::new("from env")));
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "from file\n").expect("written");
    let from_file = source(&format!("introspection_client_secret_file = {:?}\n", file.path()), &[]);
    assert_eq!(from_file.client_auth, ClientAuth::Basic(Secret::new("from file")));
    let key = "introspection_client_key_file = \"client.pem\"\nintrospection_client_key_id = \"k\"\n\
               introspection_client_audience = \"https://a\"\n";
    let expected =
        ClientKey { file: "client.pem".into(), kid: Some("k".to_owned()), audience: Some("https://a".to_owned()) };
    assert_eq!(source(key, &[]).client_auth, ClientAuth::PrivateKey(expected));
}

#[test]
fn what_does_not_fit_is_named_and_no_secret_is_shown() {
    for (lines, part) in [
        (SECRET.to_owned(), "needs an \"introspection_url\""),
        ("introspect_jwts = true\nkey_files = \"a.pem\"\n".to_owned(), "needs an \"introspection_url\""),
        (URL.to_owned(), "needs a client to ask as"),
        (format!("introspection_url = \"https://a\"\n{SECRET}"), "needs a client to ask as"),
        (format!("{URL}{SECRET}introspection_client_key_file = \"k.pem\"\n"), "two ways to prove one thing"),
        (format!("{URL}{SECRET}introspection_client_auth = \"private_key_jwt\"\n"), "does not fit"),
        (
            format!("{URL}introspection_client_key_file = \"k\"\nintrospection_client_auth = \"client_secret_post\"\n"),
            "does not fit",
        ),
        (format!("{URL}{SECRET}introspection_client_key_id = \"k\"\n"), "are for"),
        (format!("{URL}{SECRET}introspection_client_auth = \"tls_client_auth\"\n"), "must be one of"),
        (format!("{URL}introspection_client_secret_env = \"NO\"\n"), "\"NO\" is not set"),
        (format!("{URL}introspection_client_secret_file = \"/nowhere\"\n"), "cannot be read"),
        (format!("{URL}{SECRET}introspection_cache_ttl = 0\n"), "introspection_cache_ttl"),
        (format!("{URL}{SECRET}introspection_max_requests = 0\n"), "introspection_max_requests"),
        (format!("{}{SECRET}", URL.replace("https://a/", "http://a/")), "must use https://"),
    ] {
        let found = errors(&format!("{GENERAL}{lines}"), "").join("\n");
        assert!(found.contains(part), "{lines}: {found}");
        assert!(!found.contains("the-secret"), "{found}");
    }
}
