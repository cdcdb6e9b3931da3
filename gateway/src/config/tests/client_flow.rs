//! `client_flow`, and what goes with it.

use super::*;
use pgdog_jwt::reader::{Discovery, Oauth};

const ISSUER: &str = "issuer = \"https://login.example.com/realm\"\n";

fn with(own: &str) -> String {
    format!("{TOKENS}[jwt]\n{own}")
}

fn oauth(own: &str) -> Oauth {
    let loaded = load(&with(own), "");
    assert_eq!(warnings(&loaded), [""; 0]);
    loaded.config.jwt.expect("token users").host.oauth
}

fn urls(oauth: &Oauth) -> Vec<Option<String>> {
    oauth.discoveries.iter().map(Discovery::url).collect()
}

#[test]
fn tokens_come_as_passwords_unless_the_file_says_otherwise() {
    let default = oauth("");
    assert_eq!((default.client_flow, default.discoveries[0].scope.as_str()), (ClientFlow::Password, "openid"));
    assert_eq!(urls(&default), [None]);
    for (word, flow) in [("both", ClientFlow::Both), ("oauthbearer", ClientFlow::OauthBearer)] {
        assert_eq!(oauth(&format!("{ISSUER}client_flow = \"{word}\"\n")).client_flow, flow);
    }
}

#[test]
fn clients_are_sent_where_postgresql_would_send_them() {
    let url = |issuer: &str| {
        let own = format!("{ISSUER}client_flow = \"both\"\n{issuer}");
        oauth(&own).discoveries[0].url().expect("an address")
    };
    assert_eq!(url(""), "https://login.example.com/realm/.well-known/openid-configuration");
    assert_eq!(url("oauth_issuer = \"https://i\"\n"), "https://i/.well-known/openid-configuration");
    assert_eq!(url("oauth_issuer = \"https://i/\"\n"), "https://i//.well-known/openid-configuration");
    let whole = "https://i/.well-known/oauth-authorization-server/realm";
    assert_eq!(url(&format!("oauth_issuer = \"{whole}\"\n")), whole);
    let scope = |lines: &str| oauth(&format!("{ISSUER}client_flow = \"both\"\n{lines}")).discoveries[0].scope.clone();
    assert_eq!(scope("oauth_scope = \"openid db:read\"\nrequired_scopes = [\"db\"]\n"), "openid db:read");
    assert_eq!(scope("required_scopes = [\"openid\", \"db\"]\n"), "openid db");
}

#[test]
fn what_no_client_could_follow_is_refused() {
    let flow = "client_flow = \"oauthbearer\"\n";
    for (issuer, reason) in [
        ("http://login.example.com", "must use https:// (http:// is for loopback addresses only)"),
        ("login", "must be an https:// address"),
        ("https://i/?tenant=1", "must not have a query or a fragment"),
        ("https://i/#x", "must not have a query or a fragment"),
    ] {
        let text = with(&format!("{flow}oauth_issuer = \"{issuer}\"\n"));
        assert_eq!(error(&text, ""), format!("pgdog.toml:11: \"oauth_issuer\" {reason}"));
    }
    for scope in [" openid", "a  b", "a\\\"b", "ä", "a\\tb"] {
        let text = with(&format!("{flow}{ISSUER}oauth_scope = \"{scope}\"\n"));
        assert!(error(&text, "").starts_with("pgdog.toml:12: \"oauth_scope\" must be scopes"), "{scope}");
    }
}

#[test]
fn keys_without_effect_are_named() {
    let loaded = load(&with("oauth_issuer = \"https://i\"\noauth_scope = \"openid\"\n"), "");
    assert_eq!(
        warnings(&loaded),
        [
            "pgdog.toml:10: \"oauth_issuer\" is not used while \"client_flow\" is \"password\"",
            "pgdog.toml:11: \"oauth_scope\" is not used while \"client_flow\" is \"password\"",
        ]
    );
}

#[test]
fn an_issuer_without_an_address_sends_nobody_anywhere() {
    for issuer in ["", "issuer = \"kubernetes/serviceaccount\"\n"] {
        let loaded = load(&with(&format!("client_flow = \"oauthbearer\"\n{issuer}")), "");
        assert_eq!(
            warnings(&loaded),
            ["pgdog.toml:10: clients without a token are not told where to get one; set \"oauth_issuer\""]
        );
        assert_eq!(urls(&loaded.config.jwt.expect("token users").oauth), [None]);
    }
}

#[test]
fn each_issuer_has_a_place_of_its_own() {
    let more =
        |name: &str, lines: &str| format!("[[jwt.issuers]]\nissuer = \"{name}\"\nkey_files = [\"a.pem\"]\n{lines}");
    let own = format!("{ISSUER}client_flow = \"both\"\noauth_scope = \"openid db\"\n")
        + &more("https://b", "oauth_scope = \"b\"\n")
        + &more("c", "oauth_issuer = \"https://c/\"\n")
        + &more("d", "");
    let oauth = oauth(&own);
    let there = |name: &str| Some(format!("{name}/.well-known/openid-configuration"));
    assert_eq!(urls(&oauth), [there("https://login.example.com/realm"), there("https://b"), there("https://c/"), None]);
    let scopes: Vec<_> = oauth.discoveries.iter().map(|discovery| discovery.scope.as_str()).collect();
    assert_eq!(scopes, ["openid db", "b", "openid db", "openid db"]);
    let alone = TOKENS.replace("jwt_public_key_file = \"public.pem\"\n", "") + "[jwt]\nclient_flow = \"both\"\n";
    let jwt = load(&format!("{alone}{}", more("https://b", "")), "").config.jwt.expect("token users");
    assert_eq!(urls(&jwt.oauth), [there("https://b")]);
}
