//! `[jwt.identity]`, role mappings and user mappings.

use pgdog_jwt::config::{IdentityMode, RoleMapping, Secret, ValueMatch};

use super::*;

const MODE: &str = "[jwt]\n[jwt.identity]\nmode = \"service_account\"\n";
const RULE: &str = "[[jwt.role_mappings]]\nvalue = \"reader\"\nserver_user = \"app_ro\"\n";

/// Token users and a database, without an account for all of them.
fn tokens() -> String {
    TOKENS.replace("jwt_server_user = \"gateway\"\n", "")
}

fn jwt(more: &str) -> Jwt {
    load(&(tokens() + MODE + more), "").config.jwt.expect("token users")
}

fn rules(more: &str) -> Vec<RoleMapping> {
    jwt(more).core.role_mappings.to_vec()
}

#[test]
fn a_role_mapping_says_all_of_its_account() {
    let jwt = jwt("[[jwt.role_mappings]]\nname = \"readers\"\nclaim = \"https://example.com/roles\"\n\
                   value = [\"reader\", \"auditor\"]\nignore_case = true\nserver_user = \"app_ro\"\n\
                   server_password = \"hunter2\"\nrole = \"team\"\nread_only = false\ndatabases = [\"app\"]\n\
                   pool_size = 3\npooler_mode = \"session\"\n\
                   [[jwt.role_mappings]]\npattern = \"db-.*\"\nserver_user = \"app_rw\"\n");
    assert_eq!(jwt.core.mode, IdentityMode::ServiceAccount);
    let values = ["reader", "auditor"].map(str::to_owned).to_vec();
    let first = RoleMapping {
        name: "readers".to_owned(),
        claim: Some("https://example.com/roles".to_owned()),
        value: Some(ValueMatch::Exact { values, ignore_case: true }),
        databases: Some(vec!["app".to_owned()]),
        server_user: "app_ro".to_owned(),
        server_password: Some(Secret::new("hunter2")),
        role: Some("team".to_owned()),
        read_only: Some(false),
    };
    assert_eq!(jwt.core.role_mappings[0], first);
    let pool = AccountPool { name: "readers".to_owned(), pool_size: Some(3), pooler_mode: Some(PoolerMode::Session) };
    assert_eq!(jwt.account_pools[0], pool);
    let second = &jwt.core.role_mappings[1];
    assert_eq!((second.name.as_str(), second.claim.as_deref(), second.read_only), ("app_rw", None, None));
    assert!(matches!(&second.value, Some(ValueMatch::Pattern(pattern)) if pattern.as_str() == "db-.*"));
    assert!(second.server_password.is_none());
}

#[test]
fn the_default_comes_last_and_is_for_every_token() {
    let named =
        tokens() + "[jwt]\ndefault_role_mapping = \"app_ro\"\n[jwt.identity]\nmode = \"service_account\"\n" + RULE;
    let named = load(&named, "").config.jwt.expect("token users").core.role_mappings;
    assert_eq!((named.len(), named[1].value.as_ref(), named[1].server_user.as_str()), (2, None, "app_ro"));

    let table = rules(&format!("{RULE}[jwt.default_role_mapping]\nserver_user = \"guest\"\nread_only = true\n"));
    assert_eq!((table.len(), table[1].server_user.as_str(), table[1].read_only), (2, "guest", Some(true)));
    assert_eq!(rules("[jwt.default_role_mapping]\nserver_user = \"guest\"\n").len(), 1);
}

#[test]
fn passwords_come_from_the_file_the_environment_or_another_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("password");
    let load = |key: &str, value: &str, text: &str| {
        std::fs::write(&path, text).expect("a file");
        let file = tokens() + MODE + RULE + &format!("{key} = {value:?}\n");
        let env = [("APP_PASSWORD", "p@ss/#%:word"), ("EMPTY", "")];
        let loaded = load_with(&file, "", &env).map_err(|error| error.to_string());
        loaded.map(|loaded| loaded.config.jwt.expect("token users").core.role_mappings[0].server_password.clone())
    };
    let name = path.display().to_string();
    let secret = |text: &str| Ok(Some(Secret::new(text)));
    assert_eq!(load("server_password", "p@ss/#%:word", ""), secret("p@ss/#%:word"));
    assert_eq!(load("server_password_env", "APP_PASSWORD", ""), secret("p@ss/#%:word"));
    for text in [" two words ", " two words \n", " two words \r\n"] {
        assert_eq!(load("server_password_file", &name, text), secret(" two words "));
    }
    assert_eq!(load("server_password_file", &name, "first\nsecond\n"), secret("first\nsecond"));
    for (key, value, text, expected) in [
        ("server_password_env", "NOWHERE", "", "\"NOWHERE\" is not set"),
        ("server_password_env", "EMPTY", "", "\"EMPTY\" is empty"),
        ("server_password_file", "/nowhere/at/all", "", "cannot be read"),
        ("server_password_file", &name, "\n", "is empty"),
        ("server_password_file", &name, &"x".repeat(20_000), "has more than 16384 bytes"),
    ] {
        let error = load(key, value, text).expect_err("a refused configuration");
        assert!(error.starts_with("pgdog.toml:14: ") && error.contains(expected), "{error}");
        assert!(!error.contains("xxx"), "{error}");
    }
}

#[test]
fn mappings_that_cannot_work_are_refused_where_they_stand() {
    for (rules, expected) in [
        ("", "pgdog.toml:8: \"service_account\" needs an account"),
        ("[[jwt.role_mappings]]\nvalue = \"a\"\n", "pgdog.toml:11: a role mapping needs a \"server_user\""),
        ("[[jwt.role_mappings]]\nserver_user = \"a\"\n", "pgdog.toml:11: a role mapping needs a \"value\""),
        (&format!("{RULE}pattern = \"a\"\n"), "pgdog.toml:14: a role mapping has a \"value\" or a \"pattern\""),
        ("[[jwt.role_mappings]]\nvalue = []\nserver_user = \"a\"\n", "pgdog.toml:12: \"value\" must not be empty"),
        (
            "[[jwt.role_mappings]]\npattern = \"a)|(b\"\nserver_user = \"a\"\n",
            "pgdog.toml:12: \"pattern\" is not a regular",
        ),
        (&format!("{RULE}databases = [\"ap\"]\n"), "pgdog.toml:14: unknown database \"ap\"; did you mean \"app\"?"),
        (&format!("{RULE}databases = []\n"), "pgdog.toml:14: \"databases\" must name a database"),
        (&format!("{RULE}server_passwort = \"x\"\n"), "pgdog.toml:14: unknown key \"server_passwort\""),
        (
            &format!("{RULE}server_password = \"x\"\nserver_password_env = \"PATH\"\n"),
            "pgdog.toml:15: \"server_password\" and \"server_password_env\"",
        ),
        (&format!("{RULE}{RULE}"), "pgdog.toml:14: another role mapping is called \"app_ro\" too"),
        (
            "[[jwt.role_mappings]]\nvalue = \"a\"\nserver_user = \"postgres\"\n",
            "pgdog.toml:11: \"server_user\": no token may become the role \"postgres\"",
        ),
        (&format!("{RULE}role = \"NONE\"\n"), "pgdog.toml:11: \"role\": the identity cannot be a role"),
        (
            &format!("{RULE}[[jwt.user_mappings]]\npattern = \"(a)\"\nuser = \"\\\\2\"\n"),
            "pgdog.toml:16: \"user\" has \\2, and the pattern has no such group",
        ),
        (
            "role_mappings_from_envv = true\n",
            "pgdog.toml:11: unknown key \"role_mappings_from_envv\" in [jwt.identity]",
        ),
    ] {
        let problems =
            load_with(&(tokens() + MODE + rules), "", &[("PATH", "y")]).expect_err("a refused configuration");
        let found = problems.problems.iter().any(|problem| problem.to_string().starts_with(expected));
        assert!(found, "{expected}: {problems}");
    }
    let unknown =
        tokens() + "[jwt]\ndefault_role_mapping = \"app_rw\"\n[jwt.identity]\nmode = \"service_account\"\n" + RULE;
    assert!(
        error(&unknown, "").starts_with("pgdog.toml:9: there is no role mapping \"app_rw\"; did you mean \"app_ro\"?")
    );
}

#[test]
fn a_mode_is_one_of_those_that_there_are() {
    let mode = |mode: &str| error(&format!("{TOKENS}[jwt.identity]\nmode = \"{mode}\"\n"), "");
    assert!(mode("sometimes").starts_with("pgdog.toml:10: \"mode\" in [jwt.identity] must be one of \"role\""));
    assert_eq!(load(TOKENS, "").config.jwt.map(|jwt| jwt.core.mode), Some(IdentityMode::Role));
}

#[test]
fn what_is_not_used_is_said() {
    let loaded = load(&format!("{TOKENS}[jwt]\n{RULE}"), "");
    assert!(warnings(&loaded)[0].contains("role mappings are not used unless"), "{loaded:?}");
    let loaded = load(&format!("{TOKENS}{MODE}{RULE}"), "");
    assert!(warnings(&loaded)[0].starts_with("pgdog.toml:5: \"jwt_server_user\" is not used"), "{loaded:?}");
    let loaded = load(&(tokens() + MODE + RULE + "read_only = true\n"), "");
    assert!(warnings(&loaded)[0].contains("\"app\" has no replica"), "{loaded:?}");
}

#[test]
fn user_mappings_are_read_in_order() {
    let text = "[[jwt.user_mappings]]\nissuer = \"https://a\"\nclaim = \"email\"\npattern = \"(.*)@x\"\nuser = \"\\\\1\"\n\
                lowercase = true\n[[jwt.user_mappings]]\npattern = \".*\"\nuser = \"guest\"\n";
    let rules = load(&format!("{TOKENS}{text}"), "").config.jwt.expect("token users").core.user_mappings;
    assert_eq!((rules[0].issuer.as_deref(), rules[0].claim.as_deref()), (Some("https://a"), Some("email")));
    assert_eq!((rules[0].pattern.as_str(), rules[0].user.as_str(), rules[0].lowercase), ("(.*)@x", "\\1", true));
    assert_eq!((rules[1].claim.as_deref(), rules[1].user.as_str(), rules[1].lowercase), (None, "guest", false));
}
