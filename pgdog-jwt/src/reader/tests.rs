//! What a host gets that reads the rest of its configuration itself.

use super::*;
use crate::Authenticator;
use crate::config::{IdentityMode, KeySource, Secret, UserMatch};

const TOKENS: &str = "[general]\nport = 6432\nauth_type = \"jwt\"\njwt_jwks_url = \"https://issuer.example/jwks\"\n\
                      jwt_audience = \"db\"\njwt_server_user = \"gate\"\n";

/// A host such as PgDog: pools of its own, a strict guard, and nothing else of `[jwt]`.
const HOST: Host = Host {
    name: "PgDog",
    honours: Some(&[("[jwt]", "max_pools"), ("[jwt]", "guard")]),
    refuses: &[("guard", "standard"), ("mode", "passthrough")],
};

fn around<'a>(env: Env<'a>) -> Surroundings<'a> {
    let server = |database, is_primary| Server { database, is_primary, account: Some("owner") };
    Surroundings { users: vec!["reports"], servers: vec![server("app", true), server("logs", false)], env }
}

fn from_text(text: &str) -> Result<Reading, String> {
    let report = Report::of(HOST);
    let file = File::parse("pgdog.toml", text, &report);
    read(file.as_ref(), &around(&|_| None), report).map_err(|error| error.to_string())
}

/// The same without the text, as a host has it that has parsed it itself.
fn from_value(text: &str, env: &[(&str, &str)]) -> Result<Reading, String> {
    let report = Report::of(HOST);
    let table: toml::Table = toml::from_str(text).unwrap();
    let file = File::of_value("pgdog.toml", &table, &report);
    let env = |name: &str| env.iter().find(|(of, _)| *of == name).map(|(_, value)| (*value).to_owned());
    read(file.as_ref(), &around(&env), report).map_err(|error| error.to_string())
}

#[test]
fn a_text_and_a_value_say_the_same() {
    let text = format!(
        "{TOKENS}[jwt]\nmax_pools = 5\nuser_match = \"claim\"\n[jwt.session.variables]\n\"app.a\" = \"{{a}}\"\n"
    );
    let (text, value) = (from_text(&text).unwrap(), from_value(&text, &[]).unwrap());
    assert_eq!(text, value);
    let jwt = value.jwt.unwrap();
    assert_eq!((jwt.core.user_match, jwt.core.server_user.as_deref()), (UserMatch::Claim, Some("gate")));
    assert_eq!((jwt.host.max_pools, jwt.core.variables.len()), (5, 1));
    assert_eq!(jwt.core.denied_roles, ["postgres", "pg_*", "gate"]);
    assert!(Authenticator::new(jwt.core).is_ok());
}

#[test]
fn problems_have_a_line_where_the_text_is_there() {
    let wrong = format!("{TOKENS}[jwt]\nmax_pools = \"many\"\nleway = 5\n");
    let (of_text, of_value) = (from_text(&wrong).unwrap_err(), from_value(&wrong, &[]).unwrap_err());
    let reasons = [
        "\"max_pools\" in [jwt] must be a whole number of at least 1",
        "unknown key \"leway\" in [jwt]; did you mean \"leeway\"?",
    ];
    assert_eq!(of_text, format!("pgdog.toml:8: {}\npgdog.toml:9: {}", reasons[0], reasons[1]));
    assert_eq!(of_value, format!("pgdog.toml: {}\npgdog.toml: {}", reasons[0], reasons[1]));
}

#[test]
fn the_environment_gives_defaults() {
    let env = [("PGDOG_JWT_USERNAME_CLAIM", "email"), ("PGDOG_JWT_SERVER_USER", "other"), ("PGDOG_AUTH_TYPE", "scram")];
    let jwt = from_value(TOKENS, &env).unwrap().jwt.unwrap();
    assert_eq!(jwt.core.issuers[0].username_claim, "email");
    assert_eq!(jwt.core.server_user.as_deref(), Some("gate"), "the file goes before it");
    let all = [("PGDOG_AUTH_TYPE", "jwt"), ("PGDOG_JWT_PUBLIC_KEY_FILE", "key.pem")];
    let jwt = from_value("", &all).unwrap().jwt.unwrap();
    assert_eq!(jwt.core.issuers[0].keys, KeySource::PemFiles(vec!["key.pem".into()]));
}

#[test]
fn a_key_that_the_host_cannot_honour_is_never_silent() {
    for (more, expected) in [
        ("[jwt]\nshared_pool = true\n", "pgdog.toml:8: PgDog cannot honour \"shared_pool\" in [jwt]"),
        ("[jwt]\nallow_plaintext = false\n", "pgdog.toml:8: PgDog cannot honour \"allow_plaintext\" in [jwt]"),
        ("[jwt.provisioning]\nenabled = true\n", "pgdog.toml:7: PgDog cannot honour \"provisioning\" in [jwt]"),
        ("[[jwt.proof]]\nkey = \"k\"\n", "pgdog.toml:7: PgDog cannot honour \"proof\" in [jwt]"),
        ("[jwt]\nproof = []\n", "pgdog.toml:8: PgDog cannot honour \"proof\" in [jwt]"),
        ("[jwt.claims]\npool_mode = \"mode\"\n", "pgdog.toml:8: PgDog cannot honour \"pool_mode\" in [jwt.claims]"),
        ("[jwt]\nguard = \"standard\"\n", "pgdog.toml:8: PgDog cannot honour \"guard\" = \"standard\""),
        ("[jwt.identity]\nmode = \"passthrough\"\n", "pgdog.toml:8: PgDog cannot honour \"mode\" = \"passthrough\""),
        (
            "[[jwt.issuers]]\nissuer = \"https://a\"\njwks_url = \"https://a/keys\"\naudiences = [\"a\"]\n\
             mode = \"passthrough\"\n[jwt]\nissuer = \"b\"\n",
            "pgdog.toml:11: PgDog cannot honour \"mode\" = \"passthrough\"",
        ),
    ] {
        let error = from_text(&format!("{TOKENS}{more}")).unwrap_err();
        assert!(error.lines().any(|line| line == expected), "{expected}: {error}");
    }
    assert!(from_text(&format!("{TOKENS}[jwt]\nguard = \"strict\"\n")).is_ok());
}

#[test]
fn a_file_without_tokens_has_none() {
    let reading = from_text("[general]\nport = 1\n[anything]\nelse = true\n").unwrap();
    assert_eq!((reading.jwt, reading.warnings.len()), (None, 0));
    let reading = from_text("[jwt]\nleeway = 5\n").unwrap();
    assert!(reading.jwt.is_none() && reading.warnings[0].to_string().contains("are not used while"), "{reading:?}");
    assert!(from_text("[jwt\n").unwrap_err().starts_with("pgdog.toml:1: "));
}

#[test]
fn accounts_of_the_host_are_no_subjects_where_those_log_in() {
    let login = from_text(&format!("{TOKENS}[jwt.identity]\nmode = \"login\"\n")).unwrap().jwt.unwrap();
    assert_eq!(login.core.mode, IdentityMode::Login);
    assert!(login.core.denied_roles.iter().any(|role| role == "owner"), "{:?}", login.core.denied_roles);
}

#[test]
fn read_only_subjects_need_a_replica() {
    let text = TOKENS.to_owned() + "jwt_user_auto_provision = true\njwt_user_auto_provision_read_only = true\n";
    let warnings = from_text(&text).unwrap().warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].to_string().starts_with("pgdog.toml:8: database \"app\" has no replica"), "{warnings:?}");
}

#[test]
fn secrets_are_in_no_message() {
    let text = format!("{TOKENS}[jwt]\njwks_proxy = \"http://me:hunter2@proxy/path\"\n");
    let error = from_text(&text).unwrap_err();
    assert!(!error.contains("hunter2"), "{error}");
    let value: std::collections::HashMap<u8, &str> = [(1, "hunter2")].into();
    let report = Report::of(HOST);
    let _ = File::of_value("pgdog.toml", &vec![value], &report);
    assert!(!format!("{report:?}").contains("hunter2"), "{report:?}");
}

#[test]
fn the_core_s_own_findings_have_a_line() {
    for (more, expected) in [
        ("jwt_jwks_cache_ttl = 0\n", "pgdog.toml:7: \"jwt_jwks_cache_ttl\" must be more than 0"),
        ("[jwt]\nalgorithms = []\n", "pgdog.toml:8: \"algorithms\" must name at least one algorithm"),
        (
            "[jwt]\n[jwt.identity]\nmode = \"service_account\"\n",
            "pgdog.toml:7: \"service_account\" needs an account that a token's roles lead to; add \
             [[jwt.role_mappings]] or \"default_role_mapping\"",
        ),
        (
            "[jwt]\nissuer = \"https://a\"\n[[jwt.issuers]]\nissuer = \"https://a\"\naudiences = [\"a\"]\n\
             discovery = true\n",
            "pgdog.toml:10: another issuer has the same \"issuer\"",
        ),
    ] {
        assert_eq!(from_text(&format!("{TOKENS}{more}")).unwrap_err(), expected);
    }
    let asked = |name: &str| {
        format!(
            "[[jwt.issuers]]\nissuer = \"https://{name}\"\naudiences = [\"a\"]\nintrospection_url = \"https://{name}/i\"\n\
             introspection_client_id = \"a\"\nintrospection_client_secret = \"hunter2\"\n"
        )
    };
    let twice = format!("[general]\nauth_type = \"jwt\"\n[jwt]\n{}{}", asked("a"), asked("b"));
    let error = from_text(&twice).unwrap_err();
    assert_eq!(error, "pgdog.toml:13: two issuers are asked about the tokens of users without a suffix");
}

#[test]
fn a_program_runs_only_for_a_host_that_renews_what_it_prints() {
    let folder = tempfile::tempdir().unwrap();
    let ran = folder.path().join("ran");
    let command = format!("_command = [\"touch\", {ran:?}]\n");
    for (text, key) in [
        (format!("{TOKENS}jwt_server_password{command}"), "\"jwt_server_password_command\" in [general]"),
        (
            format!("{TOKENS}[[jwt.role_mappings]]\nvalue = \"a\"\nserver_user = \"a\"\nserver_password{command}"),
            "\"server_password_command\" in [[jwt.role_mappings]]",
        ),
    ] {
        let error = from_text(&text).unwrap_err();
        assert!(error.contains(&format!("cannot honour {key}")), "{error}");
    }
    let touch = format!("touch {}", ran.display());
    let env = |name: &str| (name == "PGDOG_JWT_SERVER_PASSWORD_COMMAND").then(|| touch.clone());
    let report = Report::of(HOST);
    let file = File::parse("pgdog.toml", TOKENS, &report);
    let around = Surroundings { users: vec![], servers: vec![], env: &env };
    let error = read(file.as_ref(), &around, report).unwrap_err().to_string();
    assert!(error.starts_with("PGDOG_JWT_SERVER_PASSWORD_COMMAND: ") && error.contains("cannot honour"), "{error}");
    assert!(!ran.exists());
}

#[test]
fn a_host_reads_secrets_from_files_and_variables() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "of a file\n").unwrap();
    let text = format!("{TOKENS}jwt_server_password_file = {:?}\n", file.path());
    let jwt = from_text(&text).unwrap().jwt.unwrap();
    assert_eq!(jwt.core.server_password.as_ref().map(Secret::expose), Some("of a file"));
}
