//! Texts of one template have one class, and the scanner never cuts where PostgreSQL does not.

use proptest::prelude::*;

use super::*;

fn template(sql: &str) -> Option<String> {
    crate::template::Scanner::default()
        .template(sql.as_bytes(), None)
        .map(|(text, _)| String::from_utf8(text.to_vec()).unwrap())
}

#[test]
fn constants_become_one_of_a_kind() {
    for (sql, expected) in [
        ("SELECT abalance FROM t WHERE aid = 123", "SELECT abalance FROM t WHERE aid = 1"),
        ("SELECT 'it''s', 1.5", "SELECT '', 1"),
        ("SELECT -1, a1, a$2", "SELECT -1, a1, a$2"),
        ("SELECT E'a\\'b' FROM t", "SELECT '' FROM t"),
        ("a IN (1, 2, 3)", "a IN (1)"),
        ("a IN ('x','y')", "a IN ('')"),
        ("a IN ($1, $2)", "a IN ($1, $2)"),
        ("VALUES (1, 'x'), (2, 'y'),\n(3, 'z')", "VALUES (1, '')"),
        ("VALUES (1,'x'),(2,NULL),(3,NULL)", "VALUES (1,''),(1,NULL)"),
        ("f(1),(2)", "f(1),(1)"),
        ("VALUES (f(1)), (f(2))", "VALUES (f(1)), (f(1))"),
        ("(1, 2*3, 4, 5)", "(1, 1 *1)"),
        ("SELECT 1, 2", "SELECT 1, 1"),
        ("(SELECT 1, 2, 3 FROM t)", "(SELECT 1 , 1 FROM t)"),
        ("(a),f(a)", "(a),f(a)"),
        ("((1),(2))", "((1),(1))"),
        ("SELECT 1 /* a /* b */ 'c */", "SELECT 1  "),
        ("SELECT 1 -- 'x\n, 2", "SELECT 1  \n, 1"),
        ("SELECT 2*/*c*/3", "SELECT 1* 1"),
        ("SELECT \"a'b\"\"c\" , 'ü'", "SELECT \"a'b\"\"c\" , ''"),
        ("a::int4[1]", "a::int4[1]"),
    ] {
        assert_eq!(template(sql).as_deref(), Some(expected), "{sql}");
    }
}

#[test]
fn the_scanner_gives_up_in_doubt() {
    for sql in [
        "SELECT 'a'\n'b'",
        "SELECT 'a' 'b'",
        "SELECT 'a' -- x\n'b'",
        "SELECT 'a' /* */ 'b'",
        "SELECT E'a'\n'b'",
        "SELECT 'a'\nE'b'",
        "U&'x'",
        "u&\"x\"",
        "u&E'x'",
        "U&\"x\" UESCAPE '!'",
        "B'01'",
        "x'1f'",
        "N'x'",
        "date'2020-01-01'",
        "1'x'",
        "$$x$$",
        "$a$x$a$",
        "$1a",
        "$1$2",
        "1a",
        "1_000",
        "0x1F",
        "1e5",
        "1.",
        "1..2",
        ".5",
        "1.5.5",
        "a\\b",
        "'x",
        "E'x\\'",
        "\"x",
        "/* x",
        "/* /* */",
        "a\u{b}b",
        "naïve",
        "a\0b",
        "{x}",
        "`x`",
        "1ü",
        "$1ü",
    ] {
        assert_eq!(template(sql), None, "{sql}");
    }
    assert_eq!(crate::template::Scanner::default().template(b"SELECT '\xff'", None), None);
}

#[test]
fn a_template_is_its_own_template() {
    let sql = "SELECT 1, 'x', f(2, 3) /* c */ FROM \"T\" WHERE a IN (1,2) OR (b, c) = (1, 'y') -- end";
    let once = template(sql).unwrap();
    assert_eq!(template(&once).unwrap(), once);
}

#[test]
fn a_class_that_depends_on_a_constant_is_not_shared() {
    let mut classifier = classifier(GuardMode::Strict);
    for (sql, allowed) in [
        ("SELECT set_config('app.other', 'x', false)", true),
        ("SELECT set_config('role', 'x', false)", false),
        ("SELECT set_config('app.third', 'x', true)", true),
        ("SET search_path = 'a'", true),
        ("SET client_encoding = 'UTF8'", true),
        ("SET client_encoding = 'SJIS'", false),
        ("SELECT 'lower'::regproc", true),
        ("SELECT 'set_config'::regproc", false),
        ("SELECT ts_rewrite('a', 'b', 'c')", true),
        ("SELECT ts_rewrite('a', 'b')", false),
        ("SET standard_conforming_strings = 1", true),
        ("SET standard_conforming_strings = 0", false),
        ("SELECT set_config(('role'), 'x', false)", false),
        ("SELECT set_config(('other'), 'x', false)", true),
    ] {
        assert_eq!(!refused(classifier.classify(sql.as_bytes())), allowed, "{sql}");
    }
}

/// Pieces whose combinations reach all rules of the scanner, most of them not SQL.
fn piece() -> impl Strategy<Value = String> {
    let fixed = prop::sample::select(vec![
        "SELECT ",
        "INSERT INTO t VALUES ",
        "UPDATE t SET a = ",
        "DELETE FROM t WHERE a = ",
        " FROM t",
        " WHERE ",
        "f(",
        "set_config(",
        "ts_rewrite(",
        "pg_advisory_lock(",
        "nextval(",
        ")",
        "(",
        ", ",
        ",",
        " = ",
        " AND ",
        ";",
        "; SET ROLE bob",
        "; ",
        "RESET ALL",
        " FOR UPDATE",
        "::regproc",
        "::text",
        "-",
        "- -",
        "--",
        "/*",
        "*/",
        "'",
        "''",
        "E'",
        "\\",
        "\\'",
        "U&'",
        "$$",
        "$1",
        "$",
        "\"",
        "\"a\"",
        "\n",
        " ",
        "a",
        "e",
        "1",
        "12.5",
        "1.",
        ".5",
        "0x1F",
        "&",
        "|",
        "'role'",
        "'app.other'",
        "'x'",
        "NULL",
        "true",
        "ü",
        "BEGIN; ",
        "IN (1, 2)",
        "VALUES (1,'a'),(2,'b')",
        "::int",
    ]);
    prop_oneof![4 => fixed.prop_map(str::to_owned), 1 => "[0-9]{1,4}", 1 => "'[a-z]{0,4}'"]
}

fn with_other_constants(sql: &str, number: &str, string: &str) -> Option<String> {
    // The template's own constants, replaced: a text that must have the same template.
    let template = template(sql)?;
    let text = template.replace("''", string);
    Some(if number == "1" { text } else { text.replace(" 1", &format!(" {number}")) })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn remembered_classes_are_those_of_a_fresh_look(pieces in prop::collection::vec(piece(), 1..14), number in "[1-9][0-9]{0,3}", string in "'[a-z]{0,6}'") {
        let sql = pieces.concat();
        let policy = policy(GuardMode::Strict);
        let mut classifier = Classifier::new(policy.clone(), &PgQuery);
        let direct = judge(sql.as_bytes(), &policy, &PgQuery);
        // A verdict may differ only for text that PostgreSQL refuses anyway: a template's numbers fit everywhere.
        let same = |class: Class, fresh: &crate::classifier::Judged| class == fresh.class || fresh.class.verdict == Verdict::Refuse(&refusal::UNPARSABLE);
        prop_assert!(same(classifier.classify(sql.as_bytes()), &direct), "{sql}");
        prop_assert_eq!(classifier.classify(sql.as_bytes()), classifier.classify(sql.as_bytes()));
        if let Some(other) = with_other_constants(&sql, &number, &string) {
            let fresh = judge(other.as_bytes(), &policy, &PgQuery);
            prop_assert!(same(classifier.classify(other.as_bytes()), &fresh), "{sql} then {other}");
        }
    }

    #[test]
    fn any_bytes_are_answered(sql in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = classifier(GuardMode::Strict).classify(&sql);
    }
}

/// Operands and what stands between them: mostly SQL, and hard on a lexer.
fn expression() -> impl Strategy<Value = String> {
    #[rustfmt::skip]
    let operand = prop::sample::select(vec![
        "1", "1.5", "12", "'a'", "''", "'it''s'", "'\\'", "E'\\''", "e'a\\\\'", "E''''", "a", "e", "u", "\"x\"", "\"x'y\"", "\"x\"\"y\"", "t.a", "$1", "$2", "f(1)", "f('a', 1)", "f(1,2),(3)", "(1)", "(1), (2)", "('a',1),('b',2)", "(a)", "-1", "- 1", "+1", "@1", "a1", "a$1", "_1",
        "ARRAY[1,2]", "a[1]", "a[1:2]", "a::numeric(10,2)", "interval '1 day'", "NULL", "1::int", "'x'::text", "a IN (1,2,3)", "a IN ('x', 'y')", "(SELECT 1)", "(SELECT 'x', 2)", "/* '1' */ 1", "/* /* ' */ \" */ 'a'", "CASE WHEN 1=1 THEN 'a' ELSE 'b' END", "'ü'", "\"ü\"", "'\n'", "'--'", "'/*'",
    ]);
    #[rustfmt::skip]
    let joiner = prop::sample::select(vec![
        ", ", ",", " ,\n", "+", "-", " - ", "--\n", "-- '\n,", "--x\r+", "/**/,", ",/*'*/", "*/* ' */", "||", " || ", "<", "=", " = ", ">=", "->>", "@>", "&", " & ", "<>", "~", "!~", "/", "%", " AND ", " FROM t, ", " WHERE ", "; SELECT ", " UNION SELECT ", "\n", " ", "#", "?|", "^", "::", ".", ":", "",
    ]);
    let start = prop::sample::select(vec!["SELECT ", "VALUES (1), ", "SELECT/**/"]);
    let joined = |(start, pairs, last): (&str, Vec<(&str, &str)>, String)| {
        pairs.iter().fold(start.to_owned(), |sql, (operand, joiner)| sql + operand + joiner) + &last
    };
    (start, prop::collection::vec((operand, joiner), 1..5), "[1-9]").prop_map(joined)
}

/// pg_query's fingerprint is the parse tree without constants: a template must not change it.
fn shape(sql: &str) -> Option<u64> {
    ::pg_query::fingerprint(sql, 0, ::pg_query::FingerprintOptions::DEFAULT).ok().map(|fingerprint| fingerprint.value)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20000))]

    #[test]
    fn a_template_parses_as_its_text_does(sql in expression()) {
        if let (Some(template), Some(own)) = (template(&sql), shape(&sql)) {
            prop_assert_eq!(shape(&template), Some(own), "{:?} became {:?}", sql, template);
        }
    }
}
