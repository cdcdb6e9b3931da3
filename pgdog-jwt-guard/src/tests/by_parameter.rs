//! What parameters name: at Parse by their types, at Bind by their values.

use super::*;

fn parameters(sql: &str) -> Option<ByParameter> {
    ByParameter::of_text(&PgQuery, sql.as_bytes())
}

/// The types of a Parse message.
fn types(oids: &[u32]) -> Vec<u8> {
    let mut types = (oids.len() as u16).to_be_bytes().to_vec();
    oids.iter().for_each(|oid| types.extend_from_slice(&oid.to_be_bytes()));
    types
}

#[test]
fn the_parameters_that_name_something_are_known_by_number() {
    let numbers = |sql| parameters(sql).map(|it| it.numbers().collect::<Vec<_>>());
    assert_eq!(numbers("SELECT set_config($1, $2, false)"), Some(vec![1]));
    assert_eq!(
        numbers("SELECT set_config($64, $1, true), set_config($3, $64, true), set_config($3, 'x', $4)"),
        Some(vec![3, 64])
    );
    assert_eq!(numbers("SELECT set_config('work_mem', $1, false)"), None);
    assert_eq!(numbers("SELECT set_config($65, $1, false)"), None);
    assert_eq!(numbers("SELECT 1; SELECT set_config($1, $2, false)"), None);
    assert_eq!(numbers("PREPARE p AS SELECT set_config($1, $2, false)"), None);
}

#[test]
fn a_type_must_be_text_or_left_open() {
    let plain = parameters("SELECT set_config($1, $2, false)").unwrap();
    for oid in [0, 25, 705, 1043] {
        assert!(plain.are_text(&types(&[oid])) && plain.are_text(&types(&[oid, 17])), "{oid}");
    }
    assert!(plain.are_text(&types(&[])) && plain.are_text(b""));
    // "char", name, bytea, int4, regclass, char, cstring, regproc, and one of the client's own.
    for oid in [18, 19, 17, 23, 2205, 1042, 2275, 24, 16_385] {
        assert!(!plain.are_text(&types(&[oid])), "{oid}");
    }
    let second = parameters("SELECT set_config($2, $1, false)").unwrap();
    assert!(second.are_text(&types(&[19])) && !second.are_text(&types(&[25, 19])));
}

/// PostgreSQL takes the type from the place that it reads first.
#[test]
fn a_type_left_open_is_known_only_where_the_parameter_stands_nowhere_else() {
    for sql in [
        "SELECT set_config($1, 'x', false) FROM (SELECT $1::name) t",
        "SELECT set_config($1, 'x', false), $1::regclass",
        "SELECT set_config($1, 'x', false) WHERE $1 = 'x'::bpchar",
        "SELECT set_config($1, 'x', $1)",
        "SELECT set_config($1, $1 || 'x', false)",
    ] {
        let parameters = parameters(sql).unwrap();
        assert!(!parameters.are_text(&types(&[])) && !parameters.are_text(&types(&[705])), "{sql}");
        assert!(parameters.are_text(&types(&[25])), "{sql}");
    }
    let twice = parameters("SELECT set_config($1, $1, false), set_config($1, 'x', false), set_config('a.b', $1, true)");
    assert!(twice.unwrap().are_text(&types(&[])));
}

#[test]
fn names_in_parameters_are_judged_as_constants_are() {
    for guard in [GuardMode::Strict, GuardMode::Standard] {
        let policy = policy(guard);
        let refused = |name: &str| policy.refused_parameter(Some(name.as_bytes())).map(|refusal| refusal.sqlstate);
        for name in
            ["role", "ROLE", "RoLe", "session_authorization", "SESSION_authorization", "app.tenant", "App.TENANT"]
        {
            assert_eq!(refused(name), Some("42501"), "{name}");
        }
        for name in [
            "jwt.sub",
            "JWT.",
            "jwt.x.y",
            "Orochi.x",
            "pgdog_jwt.token",
            "PGDOG_JWT.token",
            "client_encoding",
            "Standard_Conforming_Strings",
        ] {
            assert!(refused(name).is_some(), "{name}");
        }
        for name in ["", " role", "role ", "role\0", "role\0x", "ro\tle", "\"role\"", "app..x", ".role", "ro-le"] {
            assert_eq!(refused(name), Some("42602"), "{name:?}");
        }
        for name in ["rol\u{e9}", "r\u{f6}le", "app.\u{130}d", &"n".repeat(256), &format!("app.{}", "n".repeat(300))] {
            assert_eq!(refused(name), Some("42501"), "{name:?}");
        }
        for name in [
            "work_mem",
            "search_path",
            "SEARCH_PATH",
            "app.other",
            "request.jwt.claims",
            "app.tenants",
            "pgdog.role",
            &"n".repeat(255),
        ] {
            assert_eq!(refused(name), None, "{name:?}");
        }
        assert_eq!(policy.refused_parameter(Some(b"role\xff")).map(|refusal| refusal.sqlstate), Some("42501"));
        assert_eq!(policy.refused_parameter(None).map(|refusal| refusal.sqlstate), Some("22004"));
    }
    assert_eq!(policy(GuardMode::Off).refused_parameter(Some(b"role")), None);
    let login = Policy { identity: false, protected: Protected::default(), ..policy(GuardMode::Strict) };
    assert_eq!(login.refused_parameter(Some(b"role")), None);
    assert!(login.refused_parameter(Some(b"client_encoding")).is_some());
}

#[test]
fn names_of_settings_are_those_of_the_host_and_of_the_text() {
    let sql = b"SELECT set_config('App.X', $1, false), set_config($2, $3, false)";
    assert_eq!(names::settings_named(&PgQuery, sql, true), Some(vec!["app.x".to_owned()]));
    assert_eq!(names::settings_named(&PgQuery, sql, false), None);
}
