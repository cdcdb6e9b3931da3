//! `[jwt.session]` and `[jwt.claims]`.

use pgdog_jwt::config::Level;
use pgdog_jwt::session::{Kind, Variable};

use super::*;

fn jwt(text: &str) -> Jwt {
    load(&format!("{TOKENS}\n{text}"), "").config.jwt.expect("token users")
}

fn error(text: &str) -> String {
    let pgdog = format!("{TOKENS}\n{text}");
    errors(&pgdog, "").join("\n")
}

#[test]
fn variables_are_templates_or_tables() {
    let jwt = jwt("[jwt.session.variables]\n\"app.a\" = \"{a}\"\n\
                   \"app.b\" = { value = \"{b|csv}\", type = \"csv\", required = true, max_length = 7 }\n");
    let [Variable::One(a), Variable::One(b)] = jwt.core.variables.as_slice() else { panic!("two variables") };
    assert_eq!((a.name.as_str(), a.required, a.kind), ("app.a", false, Kind::Text));
    assert_eq!((b.name.as_str(), b.required, b.kind, b.max_length), ("app.b", true, Kind::Csv, 7));
}

#[test]
fn the_files_variables_go_before_those_of_a_preset() {
    let jwt = jwt("[jwt.session]\npreset = \"app\"\nvariables = { \"app.tenant_id\" = \"{org}\" }\n");
    let names: Vec<_> = jwt.core.variables.iter().map(Variable::pattern).collect();
    assert_eq!(names, ["app.user_id", "app.user_email", "app.roles", "app.tenant_id"]);
}

#[test]
fn what_cannot_work_is_an_error_with_its_line() {
    for (text, reason) in [
        ("[jwt.session.variables]\nrole = \"{a}\"", "must be a name such as"),
        ("[jwt.session.variables]\n\"App.a\" = \"{a}\"", "must be a name such as"),
        ("[jwt.session.variables]\n\"app.a\" = \"{a\"", "without its \"}\""),
        ("[jwt.session.variables]\n\"app.a\" = 7", "must be a template"),
        ("[jwt.session.variables]\n\"app.a\" = { type = \"int\" }", "must have a \"value\""),
        ("[jwt.session.variables]\n\"app.a\" = { value = \"{a}\", typ = \"int\" }", "unknown key \"typ\""),
        ("[jwt.session.variables]\n\"app.a\" = { value = \"{a}\", type = \"integer\" }", "unknown type \"integer\""),
        ("[jwt.session.variables]\n\"app.a\" = { value = \"{a}\", max_length = 0 }", "\"max_length\""),
        ("[jwt.session.variables]\n\"app.a\" = { value = \"{a}\", required = true, default = \"x\" }", "never used"),
        ("[jwt.session]\npreset = \"orchi\"", "unknown preset \"orchi\""),
        ("[jwt.session]\npresets = \"app\"", "unknown key \"presets\""),
        ("[jwt.claims]\npermission_levels = [\"write\"]", "\"permission_levels\" must hold"),
        ("[jwt.claims]\npool_modes = [\"any\"]", "unknown mode \"any\""),
        ("[jwt.claims]\nreadonly = \"x\"", "unknown key \"readonly\""),
    ] {
        let said = error(text);
        assert!(said.contains(reason), "{text}: {said}");
        assert!(said.contains("pgdog.toml:"), "{text}: {said}");
    }
}

#[test]
fn levels_are_words() {
    let jwt = jwt("[jwt.claims]\npermission_level = \"level\"\npermission_levels = [\"refuse\", \"role:owner\"]\n");
    assert_eq!(jwt.core.claims.levels, [Level::Refuse, Level::Role("owner".to_owned())]);
    assert_eq!(jwt.core.claims.pool_modes, ["transaction", "session", "statement"]);
}
