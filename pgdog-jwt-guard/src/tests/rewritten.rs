//! Texts that are sent otherwise than they were written.

use super::*;

/// What is sent in the place of a text, and how both are judged.
fn sent(sql: &str) -> Option<String> {
    let mut classifier = classifier(GuardMode::Strict);
    let class = classifier.classify(sql.as_bytes());
    let rewritten = classifier.rewritten(sql.as_bytes());
    assert_eq!(classify(GuardMode::Standard, sql).verdict, class.verdict, "{sql}");
    match rewritten {
        Some(Rewritten::Text(text, of_text)) => {
            assert!(matches!(class.verdict, Verdict::Rewrite(_)), "{sql}");
            assert!(class.effects.intersects(Effects::REWRITTEN), "{sql}");
            assert_eq!(of_text, classifier.classify(&text), "{sql}");
            assert_eq!(of_text.verdict, Verdict::Allow, "{sql}");
            Some(String::from_utf8(text).unwrap())
        }
        Some(other) => panic!("{sql}: {other:?}"),
        None => {
            assert!(!matches!(class.verdict, Verdict::Rewrite(_)), "{sql}");
            None
        }
    }
}

#[test]
fn pg_dump_sets_what_was_judged() {
    for (name, condition) in [
        ("name", "name = 'work_mem'"),
        ("NAME", "Name = 'work_mem'"),
        ("\"name\"", "'work_mem' = name"),
        ("name", "name OPERATOR(pg_catalog.=) 'work_mem'"),
        ("name", "name = 'work_mem'::text"),
        ("pg_settings.name", "pg_settings.name = 'work_mem'"),
        ("pg_settings /* , */ . name", "name = 'work_mem' AND setting <> 'x'"),
    ] {
        let text = |name| format!("SELECT set_config({name}, 'a, b', false) FROM pg_settings WHERE {condition}");
        assert_eq!(sent(&text(name)), Some(text("'work_mem'")));
    }
    assert_eq!(
        sent("SELECT 'ü', pg_catalog . set_config(s.name,'x',false), 1 FROM pg_catalog.pg_settings AS s WHERE s.name='work_mem'").unwrap(),
        "SELECT 'ü', pg_catalog . set_config('work_mem','x',false), 1 FROM pg_catalog.pg_settings AS s WHERE s.name='work_mem'"
    );
}

#[test]
fn a_constant_stays_when_its_cast_goes() {
    for name in [
        "'work_mem'::text",
        "'work_mem'::varchar",
        "CAST('work_mem' AS pg_catalog.text)",
        "text 'work_mem'",
        "varchar 'work_mem'",
        "( 'work_mem' )::text",
        "E'work\\x5fmem'::character varying",
    ] {
        let text = |name| format!("SELECT 1, set_config({name}, $1, true); SELECT 2");
        assert_eq!(sent(&text(name)), Some(text("'work_mem'")));
    }
    assert_eq!(
        sent("SELECT set_config('a.b'::text, set_config('c.d'::text, 'x', true), true)").unwrap(),
        "SELECT set_config('a.b', set_config('c.d', 'x', true), true)"
    );
}

#[test]
fn what_it_would_set_is_judged() {
    for name in ["role", "ROLE", "session_authorization", "app.tenant", "jwt.sub", "Jwt.Sub", "pgdog_jwt.token", "a'b"]
    {
        let constant = name.replace('\'', "''");
        for sql in [
            format!("SELECT set_config(name, 'bob', false) FROM pg_settings WHERE name = '{constant}'"),
            format!("SELECT set_config('{constant}'::text, 'bob', false)"),
            format!("SELECT set_config(n, 'bob', false) FROM (VALUES ('work_mem'), ('{constant}')) AS t (n)"),
        ] {
            assert_eq!(sent(&sql), None, "{sql}");
            assert!(refused(classify(GuardMode::Strict, &sql)), "{sql}");
        }
    }
}

#[test]
fn columns_of_constants_are_judged_as_such() {
    for sql in [
        "SELECT set_config(name, value, false) FROM (VALUES ('work_mem', '1MB'), ('app.user', '7')) AS t (name, value)",
        "SELECT set_config(t.name, $1, true), t.value FROM (VALUES (1, 'work_mem')) t (value, name) WHERE value > 0",
    ] {
        assert_eq!(classify(GuardMode::Strict, sql).verdict, Verdict::Allow, "{sql}");
    }
}

/// `role` or nothing, whether it is local, a call, or a RESET.
fn role(sql: &str) -> Option<(Option<String>, bool, bool, bool)> {
    let classifier = &mut classifier(GuardMode::Strict);
    let class = classifier.classify(sql.as_bytes());
    match classifier.rewritten(sql.as_bytes()) {
        Some(rewritten @ Rewritten::Role(_)) => {
            assert!(matches!(class.verdict, Verdict::Rewrite(refusal) if refusal.sqlstate == "42501"), "{sql}");
            let sent = rewritten.class(class);
            assert_eq!((sent.verdict, sent.code), (Verdict::Allow, Code::OWN), "{sql}");
            let Rewritten::Role(Role { role, is_local, is_call, is_reset }) = rewritten else { return None };
            assert_eq!(sent.effects.intersects(Effects::AS_RESET), is_reset, "{sql}");
            Some((role, is_local, is_call, is_reset))
        }
        Some(other) => panic!("{sql}: {other:?}"),
        None => {
            assert!(refused(class), "{sql}");
            None
        }
    }
}

#[test]
fn a_role_is_for_the_host_to_compare() {
    let named = |name: &str| Some(name.to_owned());
    for (sql, expected) in [
        ("SET ROLE x", (named("x"), false, false, false)),
        ("SET ROLE 'X'", (named("X"), false, false, false)),
        ("SET LOCAL ROLE X", (named("x"), true, false, false)),
        ("SET ROLE NONE", (None, false, false, false)),
        ("SET \"Role\" TO DEFAULT", (None, false, false, false)),
        ("RESET ROLE", (None, false, false, true)),
        ("RESET SESSION AUTHORIZATION;", (None, false, false, true)),
        ("SET LOCAL SESSION AUTHORIZATION DEFAULT", (None, true, false, false)),
        ("SET SESSION AUTHORIZATION none", (named("none"), false, false, false)),
        ("SELECT set_config('Role', 'x', true)", (named("x"), true, true, false)),
    ] {
        assert_eq!(role(sql), Some(expected), "{sql}");
    }
    for sql in [
        "SET ROLE x; SELECT 1",
        "ALTER ROLE x SET role = x",
        "SELECT set_config('role', 'x', false) AS a",
        "SELECT set_config('role', 'x', false) FROM t",
        "SELECT set_config('role', $1, false)",
        "SELECT set_config('role', 'x', false), 1",
        "SELECT set_config('role', 'x', false) LIMIT 1",
        "SELECT set_config('role', 'x', false) UNION SELECT ''",
        "SELECT set_config('role', 'x', false) FILTER (WHERE true)",
        "SELECT set_config('role', 'x', false)::text",
        "SELECT set_config('role', 'x', 'f')",
        "SET role FROM CURRENT",
    ] {
        assert_eq!(role(sql), None, "{sql}");
    }
}

#[test]
fn an_extension_is_for_the_host_to_look_for() {
    let rewritten = |guard, sql: &str| classifier(guard).rewritten(sql.as_bytes());
    for (sql, name) in [
        ("CREATE EXTENSION IF NOT EXISTS pgcrypto", "pgcrypto"),
        ("CREATE EXTENSION IF NOT EXISTS \"uuid-ossp\" WITH SCHEMA x VERSION '1' CASCADE;", "uuid-ossp"),
    ] {
        assert_eq!(rewritten(GuardMode::Strict, sql), Some(Rewritten::Extension(name.into())));
        assert_eq!(rewritten(GuardMode::Standard, sql), None);
    }
    for sql in [
        "CREATE EXTENSION pgcrypto",
        "CREATE EXTENSION IF NOT EXISTS \"a'b\"",
        "CREATE EXTENSION IF NOT EXISTS \"$pgdog_jwt$\"",
        "CREATE EXTENSION IF NOT EXISTS \"ü\"",
        "CREATE EXTENSION IF NOT EXISTS a; SELECT 1",
        "DO $$ BEGIN END $$",
    ] {
        assert_eq!(rewritten(GuardMode::Strict, sql), None, "{sql}");
        assert!(refused(classify(GuardMode::Strict, sql)), "{sql}");
    }
}
