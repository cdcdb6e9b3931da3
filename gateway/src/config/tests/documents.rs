//! The example and the reference keep up with the code.

use pgdog_jwt::config::Algorithm;

use super::*;

const EXAMPLE: &str = include_str!("../../../../example.pgdog.toml");
const USERS: &str = include_str!("../../../../users.toml");
const REFERENCE: &str = include_str!("../../../../docs/configuration.md");

/// Section and key of everything that the loader asks for.
fn honoured() -> Vec<(String, &'static str)> {
    let report = Report::default();
    let pgdog = Text { name: "pgdog.toml", text: EXAMPLE };
    let users = Text { name: "users.toml", text: "[[users]]\nname = \"a\"\nall_databases = true\n" };
    read(pgdog, users, &|_| None, &report);
    report.honoured.into_inner().into_iter().collect()
}

#[test]
fn the_example_loads_without_a_warning() {
    let loaded = load(EXAMPLE, USERS);
    assert_eq!(warnings(&loaded), [""; 0]);
}

#[test]
fn the_example_shows_every_key_of_pgdog_toml_with_its_default() {
    for (section, key) in honoured().iter().filter(|(section, _)| section != "[[users]]") {
        let lines = section_lines(EXAMPLE, section);
        let shows = |line: &str| line.trim_start_matches("# ").starts_with(&format!("{key} = "));
        assert!(lines.iter().any(|line| shows(line)), "{key} of {section} is not in example.pgdog.toml");
    }
    let example = load(EXAMPLE, USERS).config;
    let default = load(SERVER, "").config;
    let jwt = load(TOKENS, "").config.jwt;
    let set = General { auth_type: AuthType::Jwt, ..default.general };
    assert_eq!((example.general, example.tcp, example.admin), (set, default.tcp, default.admin));
    assert_eq!(example.audit, default.audit);
    let (Some(example), Some(mut jwt)) = (example.jwt, jwt) else { panic!("no token users") };
    jwt.core = example.core.clone();
    assert_eq!(example, jwt);
    assert_eq!(example.core.issuers[0].algorithms, Algorithm::DEFAULT);
}

fn section_lines<'a>(text: &'a str, label: &str) -> Vec<&'a str> {
    let inside = text.lines().skip_while(|line| *line != label).skip(1);
    inside.take_while(|line| !line.starts_with('[')).collect()
}

#[test]
fn the_reference_explains_every_key() {
    for (section, key) in honoured() {
        let mut parts = REFERENCE.split("\n## ").filter(|part| part.starts_with(&format!("`{section}`")));
        let found = parts.any(|part| part.contains(&format!("\n| `{key}` |")));
        assert!(found, "{key} of {section} is not in docs/configuration.md");
    }
}

#[test]
fn show_config_shows_every_key() {
    // Where keys come from is shown by SHOW KEYS: a URL may hold an access key.
    const ELSEWHERE: [&str; 3] = ["jwt_public_key_file", "jwt_jwks_url", "key_files"];
    let tokens = TOKENS.replace("jwt_public_key_file = \"public.pem\"", "jwt_jwks_url = \"https://a.example/jwks\"");
    let shown = crate::admin::config_names(&load(&tokens, "").config);
    for (section, key) in honoured().iter().filter(|(section, _)| !section.starts_with("[[")) {
        let name = section.trim_matches(['[', ']']);
        let found = shown.iter().any(|(in_section, of)| (*in_section, *of) == (name, *key));
        assert!(found || ELSEWHERE.contains(key), "{key} of {section} is not in SHOW CONFIG");
    }
}
