//! The side that a text asks for by itself.

use super::Access::{Replica, Write};
use super::*;

fn wish(sql: &str) -> Option<Access> {
    classify(GuardMode::Strict, sql).wish
}

#[test]
fn a_comment_chooses_the_side() {
    for (sql, expected) in [
        ("/* pgdog_role: primary */ SELECT 1", Some(Write)),
        ("/*pgdog_role:replica*/ SELECT 1", Some(Replica)),
        ("  /* a note */ /* pgdog_role: replica */ DELETE FROM t", Some(Replica)),
        ("-- pgdog_role: primary\nSELECT 1", Some(Write)),
        ("SELECT 1 /* app:shop,pgdog_role: replica */", Some(Replica)),
        ("/* pgdog_role: replica */ SELECT 1 /* pgdog_role: primary */", Some(Replica)),
        ("/* pgdog_role: replica */ BEGIN", Some(Replica)),
        // Texts that the scanner leaves to the parser.
        ("/* pgdog_role: replica */ SELECT $$x$$", Some(Replica)),
        ("SELECT 1e5 -- pgdog_role: primary", Some(Write)),
        ("/* pgdog_role: replica */ this is not SQL", Some(Replica)),
        ("SET /* pgdog_role: primary */ search_path = 'a'", Some(Write)),
        // What is no such comment.
        ("/* pgdog_role: auto */ SELECT 1", None),
        ("/* pgdog_role: primaryish */ SELECT 1", None),
        ("/* pgdog_role primary */ SELECT 1", None),
        ("/* pgdog_shard: 1 */ SELECT 1", None),
        ("SELECT '/* pgdog_role: replica */'", None),
        ("SELECT $$/* pgdog_role: replica */$$", None),
        ("SELECT \"/* pgdog_role: replica */\"", None),
    ] {
        assert_eq!(wish(sql), expected, "{sql}");
    }
}

#[test]
fn setting_the_role_chooses_the_side() {
    for (sql, expected) in [
        ("SET pgdog.role TO 'replica'", Some(Replica)),
        ("SET LOCAL pgdog.role = \"primary\"", Some(Write)),
        ("set PGDOG.Role to replica", Some(Replica)),
        ("SET pgdog.role TO 'elsewhere'", None),
        ("RESET pgdog.role", None),
        ("SET pgdog.role TO DEFAULT", None),
        ("SET application_name TO 'replica'", None),
        ("SET pgdog.role TO 'replica'; SELECT 1", None),
    ] {
        assert_eq!(wish(sql), expected, "{sql}");
    }
}

/// Comments are no part of a template, so what they ask for may not be remembered with it.
#[test]
fn texts_that_differ_in_the_comment_alone_are_not_mixed_up() {
    for body in
        ["SELECT 1", "UPDATE t SET a = 'x'", "SELECT $$x$$", "SELECT set_config('app.other', 'x', true)", "BEGIN"]
    {
        let mut classifier = classifier(GuardMode::Strict);
        let mut of = |comment: &str| classifier.classify(format!("{comment}{body}").as_bytes());
        let plain = of("");
        for _ in 0..2 {
            assert_eq!(of("/* pgdog_role: replica */ ").wish, Some(Replica), "{body}");
            assert_eq!(of("/* pgdog_role: primary */ ").wish, Some(Write), "{body}");
            assert_eq!(of("/* something else */ ").wish, None, "{body}");
            assert_eq!(of(""), plain, "{body}");
        }
    }
}

#[test]
fn a_comment_changes_nothing_but_the_side() {
    for sql in ["SET ROLE bob", "SELECT set_config('role', 'bob', false)", "DISCARD ALL", "DELETE FROM t"] {
        let plain = classify(GuardMode::Strict, sql);
        let marked = classify(GuardMode::Strict, &format!("/* pgdog_role: primary */ {sql}"));
        assert_eq!(Class { wish: None, ..marked }, plain, "{sql}");
    }
}
