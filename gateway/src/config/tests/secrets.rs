//! Secrets, each in four forms.

use pgdog_jwt::config::Secret;

use super::*;

const KEY: &str = "0123456789abcdef0123456789abcdef";
const VERIFIER: &str = "md50123456789abcdef0123456789abcdef";
const USER: &str = "[[users]]\nname = \"a\"\nall_databases = true\n";
const ADMIN: &str = "[jwt.provisioning]\nenabled = true\nadmin_user = \"maker\"\nroles = [\"app_user\"]\n{}\n";
const MAPPING: &str = "[[jwt.role_mappings]]\nvalue = \"a\"\nserver_user = \"a\"\n{}\n";

/// A place for a secret: the file around it, its key, a value that it may have, and how it is found.
struct Place {
    file: &'static str,
    text: String,
    key: &'static str,
    value: &'static str,
    found: fn(&Config) -> Option<Secret>,
}

fn places() -> Vec<Place> {
    let tokens = |more: &str| format!("{TOKENS}{more}");
    let general = TOKENS.replace("[[databases]]", "{}\n[[databases]]");
    let pgdog = |text, key, found| Place { file: "pgdog.toml", text, key, value: "s", found };
    let user = |key, value, found| Place { file: "users.toml", text: format!("{USER}{{}}\n"), key, value, found };
    vec![
        pgdog(general, "jwt_server_password", |config| config.jwt.as_ref()?.core.server_password.clone()),
        pgdog(tokens("[jwt.identity]\n{}\n"), "login_password", |config| config.jwt.as_ref()?.login.password.clone()),
        pgdog(tokens(MAPPING), "server_password", |config| {
            config.jwt.as_ref()?.core.role_mappings.first()?.server_password.clone()
        }),
        pgdog(tokens(ADMIN), "admin_password", |config| {
            config.jwt.as_ref()?.provisioning.as_ref()?.admin_password.clone()
        }),
        pgdog(tokens("[resolver_account]\nuser = \"a\"\n{}\n"), "password", |config| {
            config.resolver_account.as_ref()?.password.clone()
        }),
        pgdog(format!("{SERVER}{{}}\n"), "password", |config| config.databases.first()?.password.clone()),
        pgdog(format!("{SERVER}[admin]\n{{}}\n"), "password", |config| config.admin.password.clone()),
        user("password", "s", |config| config.users.first()?.passwords.first().cloned()),
        user("server_password", "s", |config| config.users.first()?.server_password.clone()),
        user("password_hash", VERIFIER, |config| config.users.first()?.password_hash.clone()),
    ]
}

impl Place {
    fn load(&self, lines: &str) -> Result<Loaded, String> {
        let text = self.text.replace("{}", lines);
        let (pgdog, users) = if self.file == "users.toml" { (SERVER, text.as_str()) } else { (text.as_str(), "") };
        let env = [("OF_MINE", self.value), ("EMPTY", "")];
        load_with(pgdog, users, &env).map_err(|error| error.to_string())
    }
}

#[test]
fn every_secret_may_be_given_in_four_forms() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("secret");
    for place in places() {
        let (key, value) = (place.key, place.value);
        std::fs::write(&path, format!("{value}\n")).expect("written");
        for line in [
            format!("{key} = {value:?}"),
            format!("{key}_file = {path:?}"),
            format!("{key}_env = \"OF_MINE\""),
            format!("{key}_command = [\"echo\", {value:?}]"),
            format!("{key}_command = \"echo {value}\""),
            format!("{key}_command = {{ command = [\"echo\", {value:?}], timeout = 60000, interval = 5 }}"),
        ] {
            let loaded = place.load(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
            let found = (place.found)(&loaded.config);
            assert_eq!(found.as_ref().map(Secret::expose), Some(value), "{line} in {}", place.text);
        }
    }
}

#[test]
fn what_is_wrong_with_a_secret_is_said_with_its_place_and_without_it() {
    for place in places() {
        let key = place.key;
        for (lines, expected) in [
            (
                format!("{key}_file = \"/nowhere/at/all\""),
                format!("\"{key}_file\": \"/nowhere/at/all\" cannot be read"),
            ),
            (
                format!("{key}_env = \"NOWHERE\""),
                format!("\"{key}_env\": the environment variable \"NOWHERE\" is not set"),
            ),
            (format!("{key}_env = \"EMPTY\""), format!("\"{key}_env\": the environment variable \"EMPTY\" is empty")),
            (
                format!("{key}_command = [\"sh\", \"-c\", \"echo hunter2; echo hunter2 >&2; exit 3\"]"),
                format!("\"{key}_command\": the program \"sh\" failed (exit status: 3)"),
            ),
            (
                format!("{key}_command = {{ command = [\"sh\", \"-c\", \"echo hunter2; sleep 600\"], timeout = 100 }}"),
                format!("\"{key}_command\": the program \"sh\" did not end within 100ms"),
            ),
            (
                format!("{key}_command = \"/nowhere/at/all hunter2\""),
                format!("\"{key}_command\": the program \"/nowhere/at/all\" cannot be started"),
            ),
            (format!("{key}_command = \"echo 'hunter2'\""), format!("\"{key}_command\" in ")),
            (format!("{key}_command = [\"hunter2\", 7]"), "must be a program with its arguments".to_owned()),
            (
                format!("{key} = \"hunter2\"\n{key}_file = \"/hunter3\""),
                format!("\"{key}\" and \"{key}_file\" are two forms of one secret: use one of them"),
            ),
            (
                format!("{key}_env = \"OF_MINE\"\n{key}_command = \"echo hunter2\""),
                format!("\"{key}_env\" and \"{key}_command\" are two forms of one secret: use one of them"),
            ),
        ] {
            let error = place.load(&lines).expect_err(&lines);
            assert!(error.contains(&expected) && error.starts_with(place.file), "{lines}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}

#[test]
fn the_variables_of_general_have_four_forms_as_well() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("secret");
    std::fs::write(&path, "of a file").expect("written");
    let path = path.display().to_string();
    let load = |more: &str, env: &[(&str, &str)]| {
        let text = TOKENS.replace("[[databases]]", &format!("{more}\n[[databases]]"));
        let loaded = load_with(&text, "", env).map_err(|error| error.to_string())?;
        let secret = loaded.config.jwt.expect("token users").core.server_password;
        Ok::<_, String>(secret.map(|secret| secret.expose().to_owned()))
    };
    for (env, expected) in [
        ([("PGDOG_JWT_SERVER_PASSWORD", "plain"), ("X", "")], "plain"),
        ([("PGDOG_JWT_SERVER_PASSWORD_FILE", path.as_str()), ("X", "")], "of a file"),
        ([("PGDOG_JWT_SERVER_PASSWORD_ENV", "X"), ("X", "of another")], "of another"),
        ([("PGDOG_JWT_SERVER_PASSWORD_COMMAND", "echo printed"), ("X", "")], "printed"),
    ] {
        assert_eq!(load("", &env), Ok(Some(expected.to_owned())));
    }
    let both = load("jwt_server_password_file = \"/x\"", &[("PGDOG_JWT_SERVER_PASSWORD", "hunter2")]).unwrap_err();
    let expected =
        "\"jwt_server_password\" and \"jwt_server_password_file\" are two forms of one secret: use one of them";
    assert!(both.starts_with("pgdog.toml:") && both.contains(expected) && !both.contains("hunter2"), "{both}");
}

#[test]
fn a_file_that_everybody_may_read_is_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "s").expect("written");
    let text = format!("{SERVER}password_file = {:?}\n", file.path());
    let at = |mode: u32| {
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).expect("permitted");
        warnings(&load(&text, ""))
    };
    assert_eq!(at(0o640), [""; 0]);
    let warned = at(0o644);
    assert!(warned.len() == 1 && warned[0].starts_with("pgdog.toml:4: \"password_file\": everybody"), "{warned:?}");
}

#[test]
fn secrets_are_taken_as_they_are() {
    for text in ["two  words ", "'quo\"ted'\\", "$HOME`id`;|&", "\u{fc}\u{df}\u{1f511}", "a\nb"] {
        let place = &places()[0];
        let list = format!("jwt_server_password_command = [\"printf\", \"%s\", {}]", toml_edit::Value::from(text));
        let loaded = place.load(&list).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((place.found)(&loaded.config).as_ref().map(Secret::expose), Some(text));
    }
}

#[test]
fn a_proof_key_may_be_printed() {
    let proofs = |line: &str| {
        let loaded = load(&format!("{TOKENS}[jwt.proof]\n{line}\n"), "");
        loaded.config.jwt.expect("token users").proofs
    };
    assert_eq!(proofs(&format!("key_command = \"echo {KEY}\"")), proofs(&format!("key = {KEY:?}")));
}

#[test]
fn nothing_shows_a_secret() {
    for place in places() {
        let secret = if place.value == "s" { "hunter2" } else { place.value };
        for line in [format!("{} = {secret:?}", place.key), format!("{}_command = [\"echo\", {secret:?}]", place.key)] {
            let config = place.load(&line).unwrap_or_else(|error| panic!("{error}")).config;
            let shown = format!("{config:?} {:?}", crate::admin::config_entries(&config));
            assert!(!shown.contains(secret), "{line}");
        }
    }
}
