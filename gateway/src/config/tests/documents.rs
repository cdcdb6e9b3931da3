//! The example and the reference keep up with the code.

use pgdog_jwt::config::Algorithm;
use pgdog_jwt::reader::{self, SectionKeys};

use super::*;

const EXAMPLE: &str = include_str!("../../../../example.pgdog.toml");
const USERS: &str = include_str!("../../../../users.toml");
const REFERENCE: &str = include_str!("../../../../docs/configuration.md");

/// Section and key of everything that the loader asks for.
fn honoured(more: &str) -> Vec<(String, &'static str)> {
    let report = Report::default();
    let text = format!("{EXAMPLE}{more}");
    let pgdog = Text { name: "pgdog.toml", text: &text };
    let users = Text { name: "users.toml", text: "[[users]]\nname = \"a\"\nall_databases = true\n" };
    read(pgdog, users, &|_| None, &report);
    report.honoured.into_inner().into_iter().collect()
}

/// All sections of both files.
fn declared() -> Vec<&'static SectionKeys> {
    keys::pgdog().into_iter().chain([&keys::users::USERS]).collect()
}

#[test]
fn the_example_loads_without_a_warning() {
    let loaded = load(EXAMPLE, USERS);
    assert_eq!(warnings(&loaded), [""; 0]);
}

#[test]
fn what_is_read_is_declared_and_what_is_declared_is_read() {
    // Sections that are no part of the example, and keys that hold tables.
    const LISTS: &str = "[[jwt.issuers]]\nissuer = \"a\"\n[[jwt.user_mappings]]\npattern = \"a\"\nuser = \"a\"\n\
                         [[jwt.role_mappings]]\nvalue = \"a\"\nserver_user = \"a\"\n\
                         [[resolvers]]\nname = \"a\"\nquery = \"a\"\n";
    const TABLES: [&str; 5] = ["allow", "deny", "inject", "required_claims", "variables"];
    let honoured = honoured(LISTS);
    let is_read = |label: &str, key: &str| honoured.iter().any(|(section, read)| section == label && *read == key);
    for section in declared() {
        for key in section.keys().filter(|key| !TABLES.contains(&key.name())) {
            assert!(is_read(section.label, key.name()), "{} of {} is not read", key.name(), section.label);
        }
    }
    for (label, key) in &honoured {
        let mut sections = declared().into_iter().filter(|section| section.label == label);
        assert!(sections.any(|section| section.find(key).is_some()), "{key} of {label} is not declared");
    }
}

#[test]
fn the_example_shows_every_key_of_pgdog_toml_with_its_default() {
    let lacks = keys::pgdog().into_iter().flat_map(|section| reader::not_shown(EXAMPLE, section));
    // The example is about tokens.
    let lacks: Vec<_> = lacks.filter(|lack| !lack.starts_with("auth_type of [general]: \"jwt\"")).collect();
    assert_eq!(lacks, [""; 0]);
}

#[test]
fn the_example_says_what_holds_without_it() {
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

#[test]
fn the_reference_explains_every_key_with_its_default() {
    let lacks: Vec<_> = declared().into_iter().flat_map(|section| reader::undocumented(REFERENCE, section)).collect();
    assert_eq!(lacks, [""; 0]);
}

#[test]
fn the_schema_has_every_key() {
    let schema = reader::schema("", &keys::pgdog(), &keys::WITH_UNUSED);
    for section in keys::pgdog() {
        let mut at = &schema;
        for name in section.path() {
            at = &at["properties"][name];
        }
        let at = at.get("items").or_else(|| at["oneOf"].get(0)).unwrap_or(at);
        for key in section.keys() {
            let found = at["properties"][key.name()]["description"].as_str();
            assert_eq!(found, Some(key.about()), "{} of {}", key.name(), section.label);
        }
    }
    let jwt = &schema["properties"]["jwt"];
    assert_eq!(
        (&jwt["additionalProperties"], &schema["properties"]["general"]["additionalProperties"]),
        (&false.into(), &serde_json::Value::Null)
    );
    assert_eq!(jwt["properties"]["leeway"]["maximum"], 3_600);
    assert_eq!(jwt["properties"]["guard"]["enum"], serde_json::json!(["strict", "standard"]));
    assert_eq!(schema["properties"]["general"]["properties"]["query_timeout"]["default"], i64::MAX);
}

#[test]
fn show_config_shows_every_key() {
    // Where keys come from is shown by SHOW KEYS: a URL may hold an access key.
    const ELSEWHERE: [&str; 3] = ["jwt_public_key_file", "jwt_jwks_url", "key_files"];
    let tokens = TOKENS.replace("jwt_public_key_file = \"public.pem\"", "jwt_jwks_url = \"https://a.example/jwks\"");
    let shown = crate::admin::config_names(&load(&tokens, "").config);
    for (section, key) in honoured("").iter().filter(|(section, _)| !section.starts_with("[[")) {
        let name = section.trim_matches(['[', ']']);
        let found = shown.iter().any(|(in_section, of)| (*in_section, *of) == (name, *key));
        assert!(found || ELSEWHERE.contains(key), "{key} of {section} is not in SHOW CONFIG");
    }
}
