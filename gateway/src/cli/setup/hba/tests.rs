//! Which lines for which mode. That PostgreSQL takes them is for the integration suite.

use clap::Parser;

use super::*;
use crate::config::Text;

const BASE: &str = "[general]\nauth_type = \"jwt\"\njwt_public_key_file = \"p.pem\"\njwt_audience = \"db\"\nGENERAL\n\
                    [jwt]\nissuer = \"https://i\"\n[jwt.identity]\nIDENTITY\n\
                    [[databases]]\nname = \"app\"\nhost = \"HOST\"\n";

#[derive(Parser)]
struct Words {
    #[command(flatten)]
    hba: Hba,
}

fn lines(general: &str, identity: &str, host: &str, words: &[&str]) -> Result<Vec<String>, String> {
    let text = BASE.replace("GENERAL", general).replace("IDENTITY", identity).replace("HOST", host);
    let (pgdog, users) = (Text { name: "pgdog.toml", text: &text }, Text { name: "users.toml", text: "" });
    let config = Config::from_texts(pgdog, users, &|_| None).expect("valid").config;
    let words = Words::parse_from([&["hba"], words].concat());
    let text = words.hba.text(&config).map_err(|failure| failure.to_string())?;
    let is_line = |line: &&str| !line.is_empty() && !line.starts_with('#');
    Ok(text.lines().filter(is_line).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect())
}

#[test]
fn in_mode_role_one_account_logs_in() {
    let account = "jwt_server_user = \"gateway\"";
    let printed = lines(account, "mode = \"role\"", "10.0.0.9", &["--address", "10.0.0.5/32"]);
    assert_eq!(printed.unwrap(), ["host app gateway 10.0.0.5/32 scram-sha-256"]);
    let verified = format!("{account}\ntls_verify = \"verify_full\"");
    assert_eq!(lines(&verified, "", "db1", &[]).unwrap(), ["hostssl app gateway samenet scram-sha-256"]);
    assert_eq!(lines(account, "", "/run/pg", &[]).unwrap(), ["local app gateway scram-sha-256"]);
    assert!(lines("", "", "db1", &[]).unwrap_err().contains("jwt_server_user"));
}

#[test]
fn trust_must_be_told_whom_to_trust() {
    let trust = "mode = \"login\"\nlogin_auth = \"trust\"";
    assert!(lines("", trust, "db1", &[]).unwrap_err().contains("--address"));
    let printed = lines("", trust, "db1", &["--address", "10.0.0.5/32", "--group", "people"]);
    assert_eq!(printed.unwrap(), ["host app +people 10.0.0.5/32 trust"]);
    let printed = lines("", trust, "/run/pg", &["--os-user", "gw"]);
    assert_eq!(printed.unwrap(), ["local app all peer map=pgdog_jwt", "pgdog_jwt gw all"]);
}

#[test]
fn a_password_is_asked_for_like_any_other() {
    let password = "mode = \"login\"\nlogin_auth = \"password\"\nlogin_password = \"hunter2\"";
    let printed = lines("", password, "db1", &["--role", "alice", "--role", "all"]).unwrap();
    assert_eq!(printed, ["host app alice,\"all\" samenet scram-sha-256"]);
}

#[test]
fn a_token_is_for_an_issuer() {
    let mode = "mode = \"passthrough\"";
    let printed = lines("", mode, "127.0.0.1", &["--scope", "db read"]).unwrap();
    assert_eq!(
        printed,
        [
            "host app all samenet oauth issuer=\"https://i\" scope=\"db read\"",
            "oauth_validator_libraries = 'your_validator' # checks the tokens"
        ]
    );
    assert!(lines("", mode, "127.0.0.1", &["--postgres", "17"]).unwrap_err().contains("PostgreSQL 18"));
}

#[test]
fn names_mean_nothing_but_themselves() {
    for (name, expected) in [
        ("alice", "alice"),
        ("all", "\"all\""),
        ("replication", "\"replication\""),
        ("+people", "\"+people\""),
        ("a b", "\"a b\""),
        ("a\"b", "\"a\"\"b\""),
        ("Alice", "\"Alice\""),
        ("a,b", "\"a,b\""),
        ("#a", "\"#a\""),
    ] {
        assert_eq!(quoted(name).unwrap(), expected);
    }
    for name in ["", "/.*", "a\nhost all all all trust"] {
        assert!(quoted(name).is_err(), "{name:?}");
    }
    assert!(quoted_address("10.0.0.0/8 trust #").is_err() && quoted_address("::1/128").is_ok());
}
