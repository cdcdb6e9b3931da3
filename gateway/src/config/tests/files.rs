//! Errors, warnings and the environment.

use std::path::PathBuf;

use pgdog_jwt::config::KeySource;

use super::*;

#[test]
fn an_unknown_key_is_an_error_that_names_the_nearest_one() {
    let text = format!("[general]\njwt_audiense = \"db\"\n{SERVER}");
    let expected = "pgdog.toml:2: unknown key \"jwt_audiense\" in [general]; did you mean \"jwt_audience\"?";
    assert_eq!(error(&text, ""), expected);
    let error = load_with(&text, "", &[]).expect_err("a refused configuration");
    assert_eq!(error.problems[0].spot.position, Some((2, 1)));
    assert_eq!(
        self::error(SERVER, "[[user]]\nname = \"a\"\n"),
        "users.toml:1: unknown section [[user]]; did you mean \"users\"?"
    );
    assert_eq!(
        self::error(&format!("port = 1\n{SERVER}"), ""),
        "pgdog.toml:1: unknown key outside of a section: [port]"
    );
}

#[test]
fn one_pass_reports_all_errors_in_the_order_of_the_files() {
    let pgdog = "[general]\nport = 70000\npooler_mode = \"session\"\nworkers = -1\n[[databases]]\nname = \"app\"\n";
    let found = errors(pgdog, "[[users]]\npassword = 5\nname = \"a\"\nall_databases = true\n");
    let places: Vec<_> = found.iter().filter_map(|line| line.split(": ").next()).collect();
    assert_eq!(places, ["pgdog.toml:2", "pgdog.toml:4", "pgdog.toml:5", "users.toml:2"]);
    assert_eq!(found[0], "pgdog.toml:2: \"port\" in [general] must be a whole number from 0 to 65535");
}

#[test]
fn what_only_pgdog_uses_is_accepted_with_one_warning() {
    let text = format!(
        "[general]\nquery_log = \"x\"\n{SERVER}[[sharded_tables]]\ncolumn = 1\n[[sharded_tables]]\n[rewrite]\n"
    );
    let loaded = load(&text, "[[users]]\nname = \"a\"\nall_databases = true\nschema_admin = true\n");
    assert_eq!(
        warnings(&loaded),
        [
            "pgdog.toml:2: \"query_log\" in [general] is not used here",
            "pgdog.toml:6: [[sharded_tables]] is not used here",
            "pgdog.toml:9: [rewrite] is not used here",
            "users.toml:4: \"schema_admin\" in [[users]] is not used here",
        ]
    );
}

#[test]
fn a_syntax_error_has_a_line_and_does_not_repeat_it() {
    let text = format!("{SERVER}password = \"hunter2\n");
    let message = error(&text, "");
    assert!(message.starts_with("pgdog.toml:4: "), "{message}");
    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn a_value_of_the_wrong_kind_is_not_repeated() {
    let message = error(SERVER, "[[users]]\nname = \"a\"\nall_databases = true\npassword_hash = \"hunter2\"\n");
    assert!(message.starts_with("users.toml:4: \"password_hash\" is not a verifier"), "{message}");
    assert!(!message.contains("hunter2"), "{message}");
}

#[test]
fn the_environment_gives_defaults_and_the_file_goes_first() {
    let env = [("PGDOG_PORT", "7000"), ("PGDOG_HOST", "::1"), ("PGDOG_AUTH_TYPE", "JWT")];
    let jwt = [("PGDOG_JWT_PUBLIC_KEY_FILE", "p.pem"), ("PGDOG_JWT_AUDIENCE", "db"), ("PGDOG_JWT_JWKS_CACHE_TTL", "9")];
    let env: Vec<_> = env.into_iter().chain(jwt).collect();
    let config = load_with(&format!("[general]\nport = 5000\n{SERVER}"), "", &env).expect("valid").config;
    assert_eq!((config.general.port, config.general.host.as_str()), (5000, "::1"));
    let issuer = &config.jwt.expect("token users").core.issuers[0];
    assert_eq!(issuer.keys, KeySource::PemFiles(vec![PathBuf::from("p.pem")]));
    assert_eq!(issuer.audiences, ["db"]);
}

#[test]
fn a_bad_variable_is_an_error_but_that_of_kubernetes_is_not() {
    let refused = load_with(SERVER, "", &[("PGDOG_WORKERS", "many")]).expect_err("refused");
    assert_eq!(refused.to_string(), "PGDOG_WORKERS: \"workers\" must be a whole number that is not negative");
    let config = load_with(SERVER, "", &[("PGDOG_PORT", "tcp://10.0.0.1:6432")]).expect("valid").config;
    assert_eq!(config.general.port, 6432);
}

#[test]
fn files_that_are_missing_or_not_text_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let (pgdog, users) = (folder.path().join("pgdog.toml"), folder.path().join("users.toml"));
    let load = |required| Config::load(&pgdog, &users, required, &|_| None);
    assert!(load(false).expect_err("refused").to_string().ends_with("pgdog.toml: there is no such file"));
    std::fs::write(&pgdog, SERVER).expect("written");
    assert_eq!(load(false).expect("valid").config.users, []);
    assert!(load(true).expect_err("refused").to_string().ends_with("users.toml: there is no such file"));
    std::fs::write(&users, [0xff, 0xfe]).expect("written");
    assert!(load(false).expect_err("refused").to_string().ends_with("users.toml: the file is not UTF-8 text"));
}
