use super::super::functions::{HARMLESS_FUNCTIONS, LEAVING_FUNCTIONS, is_own_function};
use super::super::{PgQuery, parse};
use super::*;

/// The names in a text: relations with `!` where they are written, functions with `()`, operators, types with `::`,
/// attributes with `.`.
fn names(sql: &str) -> Option<String> {
    let code = collect(&parse(&PgQuery, sql.as_bytes()).unwrap());
    if code == Code::OWN {
        return Some(String::new());
    }
    code.number()?;
    let names = code.names().unwrap();
    let mut all: Vec<String> = Vec::new();
    all.extend(names.relations.iter().map(|it| format!("{}{}", it.name, if it.written { "!" } else { "" })));
    all.extend(names.functions.iter().map(|name| format!("{name}()")));
    all.extend(names.operators.iter().map(|name| name.to_string()));
    all.extend(names.types.iter().map(|name| format!("::{name}")));
    all.extend(names.attributes.iter().map(|name| format!(".{name}")));
    Some(all.join(" "))
}

#[test]
fn a_text_says_by_which_names_it_runs_code() {
    for (sql, expected) in [
        ("SELECT 1", ""),
        ("BEGIN; SELECT 1; COMMIT", ""),
        ("SET work_mem = '1MB'", ""),
        ("SHOW work_mem", ""),
        ("SELECT abalance FROM pgbench_accounts WHERE aid = 1", "pgbench_accounts ="),
        ("SELECT * FROM app.users", "users"),
        ("SELECT u.name, (u.x).y FROM users u", "users .name .x .y"),
        ("SELECT now()", "now()"),
        ("SELECT pg_catalog.lower(x) FROM t", "t lower()"),
        ("SELECT 'x'::color, CAST('1' AS int)", "::color ::int4"),
        ("SELECT date '2020-01-01'", "::date"),
        ("SELECT 1 OPERATOR(pg_catalog.+) 2", "+"),
        ("SELECT a FROM t WHERE a LIKE 'x'", "t ~~"),
        ("SELECT a FROM t WHERE a BETWEEN 1 AND 2", "t < <= <> = > >="),
        ("SELECT a FROM t WHERE a IN (SELECT b FROM u)", "t u < <= <> = > >="),
        ("SELECT CASE a WHEN 1 THEN 2 END FROM t", "t < <= <> = > >="),
        ("SELECT a FROM t ORDER BY a USING <", "t <"),
        ("INSERT INTO t SELECT * FROM u", "t! u"),
        ("UPDATE t SET a = 1 FROM u WHERE t.b = u.b", "t! u = .b"),
        ("DELETE FROM t USING t u", "t t!"),
        ("MERGE INTO t USING u ON t.a = u.a WHEN MATCHED THEN DELETE", "t! u = .a"),
        ("COPY t FROM STDIN", "t!"),
        ("COPY t TO STDOUT", "t"),
        ("COPY (SELECT * FROM t) TO STDOUT", "t"),
        ("TRUNCATE t, u", "t! u!"),
        ("SELECT * FROM t a FOR UPDATE OF a", "t"),
        ("EXPLAIN ANALYZE SELECT * FROM t", "t"),
        ("PREPARE p AS SELECT * FROM t", "t"),
        ("DECLARE c CURSOR FOR SELECT * FROM t", "t"),
        ("FETCH ALL FROM c", ""),
        ("SELECT * FROM t TABLESAMPLE system (1)", "t"),
        ("SELECT * FROM json_each('{}')", "json_each()"),
        ("SELECT set_config('a.b', '', true)", "set_config()"),
    ] {
        assert_eq!(names(sql).as_deref(), Some(expected), "{sql}");
    }
}

#[test]
fn names_of_with_queries_hide_relations_where_they_are_in_scope() {
    for (sql, expected) in [
        ("WITH x AS (SELECT * FROM t) SELECT * FROM x", "t"),
        ("WITH x AS (SELECT * FROM x) SELECT * FROM x", "x"),
        ("WITH x AS (SELECT * FROM y), y AS (SELECT * FROM x) SELECT * FROM x, y", "y"),
        ("WITH RECURSIVE x AS (SELECT * FROM t UNION SELECT * FROM x) SELECT * FROM x", "t"),
        ("SELECT * FROM (WITH x AS (SELECT 1) SELECT * FROM x) s, x", "x"),
        ("WITH x AS (SELECT 1) SELECT * FROM s.x", "x"),
        ("WITH x AS (SELECT 1) INSERT INTO x SELECT * FROM x", "x!"),
        ("WITH x AS (DELETE FROM t RETURNING 1) SELECT * FROM x", "t!"),
        ("WITH x AS (SELECT 1) SELECT 1; SELECT * FROM x", "x"),
    ] {
        assert_eq!(names(sql).as_deref(), Some(expected), "{sql}");
    }
}

#[test]
fn what_may_run_anything_is_told_by_the_text_alone() {
    for sql in [
        "SELECT f()",
        "SELECT * FROM f()",
        "SELECT app.lower('x')",
        "SELECT sum(f(x)) FROM t",
        "SELECT 1 OPERATOR(app.+) 2",
        "DO $$ BEGIN END $$",
        "CALL p()",
        "EXECUTE p",
        "EXPLAIN EXECUTE p",
        "SELECT * INTO x FROM t",
        "CREATE TABLE t (a int)",
        "CREATE TABLE t AS SELECT 1",
        "ALTER TABLE t ADD a int",
        "REFRESH MATERIALIZED VIEW v",
        "VACUUM t",
        "ANALYZE",
        "COPY t FROM PROGRAM 'x'",
        "SELECT query_to_xml('SELECT f()', true, true, '')",
        "SELECT table_to_xml('v', true, true, '')",
        "SELECT pg_input_is_valid('x', 'd')",
        "SELECT domain_in('x', 1, 1)",
        "SELECT * FROM ts_stat('SELECT f()')",
        "SELECT pg_replication_origin_session_setup('x')",
        "SELECT pg_create_physical_replication_slot('x', false, true)",
        "SELECT t.ts_stat FROM t",
        "SELECT (t).pg_advisory_lock FROM t",
        "SELECT * FROM t TABLESAMPLE mine (1)",
        "SELECT 1; SELECT f()",
        "IMPORT FOREIGN SCHEMA s FROM SERVER r INTO x",
    ] {
        assert_eq!(names(sql), None, "{sql}");
    }
}

#[test]
fn functions_of_postgresqls_are_judged_once_and_by_names_that_need_no_quoting() {
    let is_plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    for name in LEAVING_FUNCTIONS.lines() {
        assert!(is_own_function(name) && is_plain(name), "{name}");
        assert!(!HARMLESS_FUNCTIONS.lines().any(|other| other == name), "{name}");
    }
    assert!(HARMLESS_FUNCTIONS.lines().all(is_plain));
}

#[test]
fn parameters_of_types_that_are_not_postgresqls_run_their_code() {
    assert_eq!(Code::OWN.with_parameters(&[0, 0]), Code::OWN);
    assert_eq!(Code::OWN.with_parameters(&[0, 1, 0, 0, 0, 23]), Code::OWN);
    assert_eq!(Code::OWN.with_parameters(&[0, 2, 0, 0, 0, 23, 0, 0, 0x40, 0]), Code::FOREIGN);
}

#[test]
fn one_set_of_names_has_one_number() {
    let code = |sql: &str| collect(&parse(&PgQuery, sql.as_bytes()).unwrap());
    assert_eq!(code("SELECT a FROM once WHERE a = 1"), code("SELECT b FROM app.once WHERE 2 = b"));
    assert_ne!(code("SELECT a FROM once"), code("DELETE FROM once"));
    assert!(code("SELECT a FROM once").names().is_some());
}
