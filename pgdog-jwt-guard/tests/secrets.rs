//! No secret is in what may be written down: one is planted in every place of many statements.
#![cfg(feature = "pg_query")]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that fails shall stop")]

use std::sync::Arc;

use pgdog_jwt_guard::vectors::{SECRET, Secrets, secrets};
use pgdog_jwt_guard::{
    Account, Classifier, Dialect, GuardMode, Masked, Parser, PgQuery, Policy, Protected, ReadWriteStrategy, Token,
};

fn masked(sql: &str) -> Option<Arc<Masked>> {
    let policy = Policy {
        guard: GuardMode::Off,
        identity: false,
        account: Account::Named,
        strategy: ReadWriteStrategy::Conservative,
        protected: Protected::default(),
        cache_limit: 1,
        max_words: 1_000,
        dialect: Dialect {
            may_hold_secret: |text| text.to_ascii_lowercase().windows(9).any(|word| word == b"pgdog_jwt"),
            ..Dialect::NONE
        },
    };
    Classifier::new(policy, &PgQuery).masked(sql.as_bytes())
}

/// Nothing of the secret is in what may be written down; whether that is anything.
fn hides(sql: &str) -> bool {
    let masked = masked(sql);
    for form in masked.iter().flat_map(|masked| [Some(&masked.text), masked.of_failed.as_ref()]).flatten() {
        assert!(!form.to_lowercase().contains(SECRET), "{sql}\n{form}");
    }
    masked.is_some()
}

#[test]
fn a_secret_is_hidden_in_every_place_and_every_form() {
    let Secrets { places, strings, settings, slips, forms, .. } = secrets().unwrap();
    let mut written = 0;
    for place in places.iter().chain(&strings).chain(&settings) {
        for form in &forms {
            written += usize::from(hides(&place.replace("{}", form)));
        }
        assert!(hides(&place.replace("{}", "'swordfish'")), "is written down, without its secret: {place}");
    }
    assert!(written > 700, "{written}");
    for slip in &slips {
        for form in &forms {
            assert!(!hides(&slip.replace("{}", form)), "{slip}");
        }
    }
}

#[test]
fn words_that_are_values_are_hidden() {
    for place in secrets().unwrap().settings {
        for form in ["swordfish", "\"swordfish\"", "\"Swordfish\"", "Swordfish"] {
            hides(&place.replace("{}", form));
        }
    }
}

#[test]
fn what_may_be_a_string_in_the_wrong_quotes_is_hidden_where_the_statement_failed() {
    for place in secrets().unwrap().meant {
        for form in ["swordfish", "\"swordfish\"", "\"host=h password=swordfish\""] {
            let sql = place.replace("{}", form);
            let masked = masked(&sql).unwrap_or_else(|| panic!("{sql}"));
            let text = masked.of_failed.as_deref().unwrap_or_else(|| panic!("{sql}"));
            assert!(!text.contains(SECRET), "{text}");
        }
    }
}

/// At each token of each statement: in front of it, and in its place.
#[test]
fn a_secret_is_hidden_wherever_it_is_put() {
    let Secrets { places, strings, settings, slips, mut forms, .. } = secrets().unwrap();
    forms.extend(["/* swordfish */", "-- swordfish\n", "/* a /* swordfish */ ' */"].map(Into::into));
    let mut written = 0;
    for place in places.iter().chain(&strings).chain(&settings).chain(&slips).filter(|place| !place.contains(SECRET)) {
        let sql = place.replace("{}", "'a'");
        for Token { range, .. } in PgQuery.tokens(&sql).unwrap_or_default() {
            let (start, end) = (range.start, range.end);
            for form in &forms {
                for behind in [start, end] {
                    written += usize::from(hides(&format!("{} {form} {}", &sql[..start], &sql[behind..])));
                }
            }
        }
    }
    assert!(written > 5_000, "{written}");
}

/// Whether something is hidden must not tell what a secret is.
#[test]
fn a_secret_that_is_also_a_name_is_hidden_and_the_name_is_not() {
    for (sql, text) in [
        ("ALTER ROLE a PASSWORD $$a$$", "ALTER ROLE a PASSWORD ?"),
        ("CREATE ROLE b PASSWORD $$a$$ IN ROLE a", "CREATE ROLE b PASSWORD ? IN ROLE a"),
        ("CREATE USER MAPPING FOR a SERVER s OPTIONS (a $$a$$)", "CREATE USER MAPPING FOR a SERVER s OPTIONS (a ?)"),
        ("COPY a FROM STDIN (FORMAT a)", "COPY a FROM STDIN (FORMAT ?)"),
        ("NOTIFY a, $$a$$", "NOTIFY a, ?"),
        ("SELECT N'a', N$$a$$", "SELECT N?, N$$a$$"),
    ] {
        assert_eq!(masked(sql).map(|masked| masked.text.to_string()).as_deref(), Some(text), "{sql}");
    }
}

#[test]
fn numbers_are_hidden_too() {
    for sql in [
        "SELECT 4711",
        "SELECT 4711.5, 47114711471147114711, 0x4711, -4711e3",
        "INSERT INTO t (pin) VALUES (4711), (1)",
    ] {
        assert!(!masked(sql).unwrap().text.contains('4'), "{sql}");
    }
}

#[test]
fn what_is_left_can_be_read() {
    for (sql, text) in [
        ("SELECT a /* why */ FROM  t\nWHERE b = 'x' AND c > 3", "SELECT a FROM t WHERE b = ? AND c > ?"),
        ("SELECT $1::int + 1", "SELECT $1::int + ?"),
        ("insert into \"T\" (a) values ('x', 1), ('y', 2)", "insert into \"T\" (a) values (?, ?)"),
        ("ALTER ROLE a PASSWORD 'x'", "ALTER ROLE a PASSWORD ?"),
        ("SET search_path TO a, \"b\"", "SET search_path TO a, \"b\""),
        ("SET ROLE postgres", "SET ROLE postgres"),
        ("SET app.a = b", "SET app.a = ?"),
        ("SET application_name = off", "SET application_name = off"),
        ("BEGIN ISOLATION LEVEL READ COMMITTED", "BEGIN ISOLATION LEVEL READ COMMITTED"),
        ("SELECT extract(year FROM a), extract(epoch FROM a)", "SELECT extract(year FROM a), extract(? FROM a)"),
        ("DO $x$BEGIN END$x$", "DO ?"),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'x'", "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS ?"),
        ("ALTER SEQUENCE s OWNED BY a.b", "ALTER SEQUENCE s OWNED BY a.b"),
        ("COPY t FROM STDIN (FORMAT csv, HEADER true)", "COPY t FROM STDIN (FORMAT csv, HEADER true)"),
        ("EXPLAIN (FORMAT json) SELECT 1", "EXPLAIN (FORMAT json) SELECT ?"),
        ("SELECT a ->> 'x', a::varchar(3) FROM \"Ü\"", "SELECT a ->> ?, a::varchar(?) FROM \"Ü\""),
    ] {
        assert_eq!(masked(sql).map(|masked| masked.text.to_string()).as_deref(), Some(text), "{sql}");
    }
    let failed = |sql| masked(sql).and_then(|masked| masked.of_failed.as_deref().map(str::to_owned));
    assert_eq!(failed("SELECT t.a, b FROM t").as_deref(), Some("SELECT t.a, ? FROM t"));
    assert_eq!(failed("SELECT t.a, 1 FROM t"), None, "the same text");
}

#[test]
fn what_names_a_variable_of_the_host_is_not_written_down() {
    for sql in ["SET \"pgdog_jwt.token\" = 'x'", "SHOW \"PgDog_JWT.token x\"", "SELECT 'pgdog_jwt.token'"] {
        let written = masked(sql).map(|masked| masked.text.to_lowercase());
        assert!(!written.is_some_and(|text| text.contains("pgdog_jwt")), "{sql}");
    }
}

#[test]
fn constants_do_not_change_a_fingerprint() {
    let number = |sql: &str| masked(sql).map(|masked| masked.fingerprint);
    for (one, other) in [
        ("SELECT a FROM t WHERE b = 1", "SELECT a FROM t WHERE b = 'x'"),
        ("SELECT a FROM t WHERE b IN (1, 2, 3)", "SELECT a FROM t WHERE b IN (1, 2)"),
        ("INSERT INTO t VALUES (1, 'x'), (2, 'y')", "INSERT INTO t VALUES (1, 'x'), (2, 'y'), (3, 'z')"),
    ] {
        assert!(number(one).is_some());
        assert_eq!(number(one), number(other), "{one}");
        let known = pg_query::fingerprint(one, 0, pg_query::FingerprintOptions::FULL_RELNAME).unwrap();
        assert_eq!(number(one), Some(known.value), "as pg_query says: {one}");
    }
    assert_ne!(number("SELECT a FROM t"), number("SELECT b FROM t"));
    assert_eq!(number("SELECT FROM WHERE"), None);
}

/// A number could be tried out.
#[test]
fn no_secret_changes_a_fingerprint() {
    let number = |sql: &str| masked(sql).map(|masked| masked.fingerprint);
    let Secrets { places, strings, settings, .. } = secrets().unwrap();
    for place in places.iter().chain(&strings).chain(&settings) {
        let with = |form| number(&place.replace("{}", form));
        assert!(with("'a'").is_some(), "{place}");
        assert_eq!(with("'a'"), with("'swordfish'"), "{place}");
        assert_eq!(with("$$a$$"), with("$$swordfish$$"), "{place}");
    }
    for place in &settings {
        assert_eq!(number(&place.replace("{}", "a")), number(&place.replace("{}", "swordfish")), "{place}");
    }
}

#[test]
fn only_parameters_that_are_data_may_be_shown() {
    let shown = |sql: &str| masked(sql).unwrap_or_else(|| panic!("{sql}")).shown.to_vec();
    assert_eq!(shown("SELECT a FROM t WHERE b = $1 AND $2::int < c AND d IN ($3, $4) LIMIT $5"), [1, 2, 3, 4, 5]);
    assert_eq!(shown("SELECT a FROM t WHERE b = ANY($1) AND c BETWEEN $2 AND $3 AND d LIKE $4"), [1, 2, 3, 4]);
    assert_eq!(shown("INSERT INTO t (a, password, b) VALUES ($1, $2, $3::text)"), [1, 3]);
    assert_eq!(shown("INSERT INTO t (a) VALUES ($1) ON CONFLICT (a) DO UPDATE SET b = $2, api_key = $3"), [1, 2]);
    assert_eq!(shown("UPDATE t SET a = $1, pwd = $2 WHERE b = $3"), [1, 3]);
    for sql in [
        "SELECT $1",
        "SELECT $1 || $2",
        "SELECT a FROM t WHERE b = $1 || $2",
        "SELECT a FROM t WHERE b = crypt($1, b)",
        "SELECT a FROM t WHERE token = $1",
        "SELECT a FROM t WHERE b -> $1 = c",
        "SELECT set_config($1, $2, false)",
        "SELECT dblink($1, $2)",
        "INSERT INTO t VALUES ($1)",
        "SELECT a FROM t WHERE b = $1 AND f($1)",
        "UPDATE t SET (a, b) = ($1, $2)",
        "SELECT a FROM t WHERE $1 = $2",
    ] {
        assert!(shown(sql).is_empty(), "{sql}");
    }
}
