//! Statements of applications, drivers and tools: let through, and classed.

use super::Access::{Read, Write};
use super::*;

const DEALLOCATE_ALL: Effects = Effects::of(&[Effects::DEALLOCATES, Effects::DEALLOCATES_ALL]);
const E: Effects = Effects::NONE;

#[rustfmt::skip]
const ALLOWED: &[(&str, Access, Effects)] = &[
    // Plain work.
    ("", Read, E), (";", Read, E), ("-- ping", Read, E), ("SELECT 1", Read, E), ("SELECT abalance FROM pgbench_accounts WHERE aid = 12345;", Read, E),
    ("VALUES (1), (2)", Read, E), ("TABLE t", Read, E), ("WITH a AS (SELECT 1) SELECT * FROM a", Read, E), ("SELECT 1; SELECT 2", Read, E), ("SELECT 1; UPDATE t SET a = 1", Write, E),
    ("SHOW search_path", Read, E), ("SHOW ALL", Read, E), ("SHOW role", Read, E), ("SELECT current_setting('role')", Read, E), ("SELECT current_user, session_user", Read, E),
    ("EXPLAIN SELECT 1", Read, E), ("EXPLAIN INSERT INTO t VALUES (1)", Read, E), ("EXPLAIN ANALYZE SELECT 1", Read, E), ("EXPLAIN (ANALYZE) DELETE FROM t", Write, E), ("EXPLAIN ANALYZE SELECT nextval('s')", Write, E),
    ("SELECT * FROM t FOR UPDATE", Write, E), ("SELECT * FROM t FOR SHARE SKIP LOCKED", Write, E), ("SELECT * FROM (SELECT * FROM t FOR UPDATE) x", Write, E), ("SELECT 1 INTO x", Write, E),
    ("WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x", Write, E), ("SELECT nextval('s')", Write, E), ("SELECT pg_catalog.setval('s', 1)", Write, E), ("SELECT currval('s'), lastval()", Write, E),
    ("SELECT txid_current()", Write, E), ("SELECT pg_notify('c', 'x')", Write, E), ("SELECT lo_create(0)", Write, E), ("SELECT pg_sleep(1), now()", Read, E), ("SELECT now(), my_function(1)", Write, E), ("SELECT mine.sum(1)", Write, E), ("SELECT pg_catalog.sum(1)", Read, E), ("SELECT gen_random_uuid()", Read, E),
    ("INSERT INTO t (a, b) VALUES (1, 'x') RETURNING id", Write, E), ("UPDATE t SET role = 'admin' WHERE id = 1", Write, E), ("DELETE FROM t WHERE role = 'x'", Write, E), ("INSERT INTO users (role, session_authorization) VALUES ('a', 'b')", Write, E),
    ("MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN UPDATE SET a = 1", Write, E), ("SELECT 'SET ROLE bob; set_config(''role'')'", Read, E), ("SELECT role, \"role\" AS set_config FROM t", Read, E), ("SELECT set_config FROM t", Read, E),
    ("SELECT * FROM t WHERE name = 'set_config'", Read, E), ("TRUNCATE t", Write, E), ("CREATE TABLE t (id int PRIMARY KEY, role text)", Write, E), ("SELECT ts_rewrite('a & b'::tsquery, 'a'::tsquery, 'c'::tsquery)", Read, E),
    ("SELECT cursor_to_xml('c', 1, true, true, ''), table_to_xml('t', true, true, '')", Read, E), ("SELECT * FROM pg_settings WHERE name = 'role'", Read, E), ("COPY pg_settings TO STDOUT", Write, Effects::COPY),
    // Settings.
    ("SET search_path TO public", Write, Effects::SETTINGS), ("SET search_path = pg_temp, public", Write, Effects(1 | 32)), ("SET LOCAL statement_timeout = 5", Write, E), ("SET statement_timeout TO '5s'", Write, Effects::SETTINGS),
    ("SET TIME ZONE 'UTC'", Write, Effects::SETTINGS), ("SET client_encoding TO 'UTF8'", Write, Effects::SETTINGS), ("SET NAMES 'latin1'", Write, Effects::SETTINGS), ("SET client_encoding = 'SQL_ASCII'", Write, Effects::SETTINGS), ("SET NAMES 'WIN1252'", Write, Effects::SETTINGS),
    ("SET standard_conforming_strings = on", Write, Effects::SETTINGS), ("SET standard_conforming_strings TO true", Write, Effects::SETTINGS), ("RESET client_encoding", Write, Effects::SETTINGS), ("RESET search_path", Write, Effects::SETTINGS), ("SET DateStyle=ISO", Write, Effects::SETTINGS),
    ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", Write, E), ("SET TRANSACTION READ ONLY", Read, E), ("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ", Write, Effects::SETTINGS), ("SET app.other = 'x'", Write, Effects::SETTINGS), ("SET app.tenants = 'x'", Write, Effects::SETTINGS),
    ("SELECT set_config('app.other', 'x', false)", Write, Effects::SETTINGS), ("SELECT set_config('search_path', $1, true), set_config('app.x', $2, true)", Write, E), ("SELECT pg_catalog.set_config('search_path', '', false)", Write, Effects::SETTINGS), ("LOAD 'auto_explain'", Write, Effects::SETTINGS),
    ("CREATE VIEW v AS SELECT set_config('app.other', 'x', true)", Write, E), ("ALTER ROLE alice SET search_path = x", Write, E), ("ALTER DATABASE d RESET work_mem", Write, E), ("SET SCHEMA 'x'", Write, Effects::SETTINGS),
    // Session state.
    ("PREPARE p AS SELECT 1", Write, Effects::PREPARED), ("EXECUTE p", Write, Effects::EXECUTES), ("EXPLAIN EXECUTE p", Read, Effects::EXECUTES), ("ALTER TABLE t ADD COLUMN b int", Write, Effects::SCHEMA), ("CREATE OR REPLACE VIEW v AS SELECT 1", Write, Effects::SCHEMA), ("ALTER TABLE t RENAME a TO b", Write, Effects::SCHEMA), ("DEALLOCATE p", Write, Effects::DEALLOCATES), ("DEALLOCATE ALL", Write, DEALLOCATE_ALL), ("LISTEN c", Write, Effects::LISTEN), ("UNLISTEN *", Write, Effects::UNLISTEN), ("NOTIFY c, 'x'", Write, E),
    ("CREATE TEMP TABLE x (a int)", Write, Effects::TEMP), ("CREATE TEMP TABLE x (a int) ON COMMIT DROP", Write, E), ("CREATE TEMPORARY VIEW v AS SELECT 1", Write, Effects::TEMP), ("CREATE TEMP SEQUENCE s", Write, Effects::TEMP), ("SELECT 1 INTO TEMP x", Write, Effects::TEMP), ("CREATE TABLE pg_temp.x (a int)", Write, Effects::TEMP),
    ("CREATE TEMP TABLE x AS SELECT 1", Write, Effects::TEMP), ("CREATE TEMP TABLE x ON COMMIT DROP AS SELECT 1", Write, E), ("CREATE TYPE pg_temp.x AS (a int)", Write, Effects::TEMP), ("SELECT pg_advisory_lock(1)", Write, Effects::ADVISORY_LOCK), ("SELECT pg_try_advisory_lock_shared(1, 2)", Write, Effects::ADVISORY_LOCK),
    ("SELECT pg_advisory_xact_lock(1)", Write, E), ("SELECT pg_advisory_unlock(1)", Write, Effects::RELEASES), ("DECLARE c CURSOR FOR SELECT 1", Write, E), ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", Write, Effects::HOLD_CURSOR), ("FETCH 10 FROM c", Write, E), ("CLOSE ALL", Write, Effects::RELEASES), ("MOVE ALL c", Write, E),
    ("DISCARD PLANS", Write, Effects::DISCARD_OTHER), ("DISCARD TEMP; DISCARD SEQUENCES", Write, Effects::DISCARD_OTHER), ("COPY t FROM STDIN", Write, Effects::COPY), ("COPY (SELECT 1) TO STDOUT WITH (FORMAT csv)", Write, Effects::COPY), ("CALL p(1)", Write, Effects::UNKNOWN),
    ("LOCK TABLE t", Write, E), ("VACUUM ANALYZE t", Write, E), ("REFRESH MATERIALIZED VIEW v", Write, E), ("GRANT SELECT ON t TO bob", Write, E), ("CREATE INDEX CONCURRENTLY i ON t (a)", Write, E), ("COMMENT ON TABLE t IS 'set_config'", Write, E), ("CREATE ROLE carol", Write, E),
    // psql \d, pg_dump.
    ("SELECT n.nspname as \"Schema\", c.relname as \"Name\", CASE c.relkind WHEN 'r' THEN 'table' WHEN 'v' THEN 'view' END as \"Type\", pg_catalog.pg_get_userbyid(c.relowner) as \"Owner\" FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r','p','v','m','S','f','') AND n.nspname <> 'pg_catalog' AND n.nspname !~ '^pg_toast' AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 1,2;", Read, E),
    ("SELECT c.oid, n.nspname, c.relname FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relname OPERATOR(pg_catalog.~) '^(t)$' COLLATE pg_catalog.default ORDER BY 2, 3;", Read, E),
    ("SELECT p.proname FROM pg_catalog.pg_proc p WHERE p.proname OPERATOR(pg_catalog.~) '^(set_config)$' COLLATE pg_catalog.default", Read, E),
    ("SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid, true) FROM pg_catalog.pg_attrdef d WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.atthasdef), a.attnotnull FROM pg_catalog.pg_attribute a WHERE a.attrelid = '16384' AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum;", Read, E),
    ("BEGIN; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; LOCK TABLE public.t IN ACCESS SHARE MODE", Write, E), ("SELECT pg_catalog.pg_is_in_recovery()", Read, E), ("SET extra_float_digits TO 3", Write, Effects::SETTINGS), ("SELECT 't'::pg_catalog.regclass, 'lower(text)'::regprocedure", Read, E),
    // Drivers and ORMs.
    ("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED; SET application_name = 'x'", Write, Effects::SETTINGS), ("select pg_catalog.version()", Read, E), ("show standard_conforming_strings", Read, E), ("SELECT CAST('test plain returns' AS VARCHAR(60)) AS anon_1", Read, E),
    ("SELECT t.oid, typarray FROM pg_type t JOIN pg_namespace ns ON typnamespace = ns.oid WHERE typname = 'hstore'", Read, E), ("SELECT \"django_migrations\".\"id\", \"django_migrations\".\"app\" FROM \"django_migrations\"", Read, E),
    ("SELECT \"auth_user\".\"id\" FROM \"auth_user\" WHERE (\"auth_user\".\"username\" = 'x' AND UPPER(\"auth_user\".\"email\"::text) LIKE UPPER('%a\\_b%')) ORDER BY \"auth_user\".\"id\" ASC LIMIT 21", Read, E),
    ("INSERT INTO \"django_session\" (\"session_key\", \"expire_date\") VALUES ('x', '2024-01-01T00:00:00+00:00'::timestamptz) ON CONFLICT (\"session_key\") DO UPDATE SET \"expire_date\" = EXCLUDED.\"expire_date\" RETURNING \"django_session\".\"session_key\"", Write, E),
    ("SELECT c.relname, CASE WHEN c.relispartition THEN 'p' WHEN c.relkind IN ('m', 'v') THEN 'v' ELSE 't' END, obj_description(c.oid, 'pg_class') FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('f', 'm', 'p', 'r', 'v') AND n.nspname NOT IN ('pg_catalog', 'pg_toast') AND pg_catalog.pg_table_is_visible(c.oid)", Read, E),
    ("SELECT namespace.nspname as namespace_name FROM pg_namespace AS namespace WHERE namespace.nspname = ANY ( $1 )", Read, E), ("SELECT oid, relname FROM pg_class WHERE nspname NOT LIKE 'pg_temp_%'", Read, E),
    ("SELECT info.table_name, info.column_name, format_type(att.atttypid, att.atttypmod) as formatted_type FROM information_schema.columns info JOIN pg_attribute att ON att.attname = info.column_name AND att.attrelid = ('\"' || info.table_schema || '\".\"' || info.table_name || '\"')::regclass::oid WHERE table_schema = ANY ($1) ORDER BY table_schema", Read, E),
    ("SELECT pg_advisory_xact_lock(72707369)", Write, E), ("SELECT typname, typinput = 'array_in'::regproc FROM pg_type", Read, E), ("SELECT * FROM unnest($1::text[], $2::int[]) AS x(a, b)", Read, E), ("SELECT json_build_object('role', role) FROM t", Read, E), ("select $1::jsonb @> '{\"a\": [1,2]}'", Read, E),
    ("SELECT E'a\\'b', U&'\\0041', B'01', X'1F', $tag$ 'x' $tag$", Read, E), ("SELECT 'π', \"spalte ü\" FROM t /* Straße */", Read, E), ("SELECT 0x1F, 1_000, 1.5e-3, .5, 1.", Read, E), ("SELECT a->>'b', a#>>'{c}', a ? 'd' FROM t", Read, E),
];

#[test]
fn ordinary_statements_pass_and_are_classed() {
    for guard in [GuardMode::Strict, GuardMode::Standard, GuardMode::Off] {
        let mut classifier = Classifier::new(policy(guard));
        for (sql, access, effects) in ALLOWED {
            for _ in 0..2 {
                let class = classifier.classify(sql.as_bytes());
                assert_eq!(
                    (class.verdict, class.access, class.effects),
                    (Verdict::Allow, *access, *effects),
                    "{guard:?}: {sql}"
                );
            }
        }
    }
}

#[test]
fn transactions_are_seen() {
    use Transaction::{Begin, End, Mixed, None};
    let begin = |side| Begin { side, start: false };
    let cases = [
        ("BEGIN", begin(Option::None), Write),
        ("begin isolation level repeatable read", begin(Option::None), Write),
        ("START TRANSACTION READ ONLY", Begin { side: Some(Read), start: true }, Read),
        ("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY", begin(Some(Read)), Read),
        ("begin isolation level serializable, read only, deferrable", begin(Some(Write)), Write),
        ("BEGIN READ ONLY, READ WRITE", begin(Some(Write)), Write),
        ("BEGIN READ WRITE, READ ONLY", begin(Some(Write)), Write),
        ("SET TRANSACTION READ ONLY", None, Read),
        ("SET TRANSACTION READ WRITE", None, Write),
        ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY", None, Write),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", None, Write),
        ("COMMIT", End, Read),
        ("end", End, Read),
        ("ROLLBACK", End, Read),
        ("ABORT", End, Read),
        ("PREPARE TRANSACTION 'x'", End, Read),
        ("COMMIT AND CHAIN", Mixed, Read),
        ("COMMIT PREPARED 'x'", None, Write),
        ("SAVEPOINT a", None, Write),
        ("ROLLBACK TO a", None, Write),
        ("RELEASE a", None, Write),
        ("BEGIN; SELECT 1", Mixed, Write),
        ("BEGIN; COMMIT", Mixed, Write),
        ("BEGIN READ ONLY; SELECT 1; COMMIT", Mixed, Read),
        ("COMMIT; BEGIN", Mixed, Write),
        ("SELECT 1; SAVEPOINT x", None, Write),
        ("SELECT 1", None, Read),
    ];
    for (sql, transaction, access) in cases {
        let class = classify(GuardMode::Strict, sql);
        assert_eq!((class.transaction, class.access), (transaction, access), "{sql}");
    }
}

#[test]
fn what_cannot_be_read_is_a_write_of_unknown_effect() {
    let class = classify(GuardMode::Off, "this is not SQL");
    assert_eq!((class.access, class.effects, class.verdict), (Write, Effects::UNKNOWN, Verdict::Allow));
}

#[test]
fn forgetting_statements_say_so() {
    assert_eq!(classify(GuardMode::Off, "DISCARD ALL").effects, Effects::DISCARD_ALL);
    assert_eq!(classify(GuardMode::Off, "RESET ALL").effects, Effects::RESETS_ALL);
    assert_eq!(classify(GuardMode::Standard, "DO 'begin end'").effects, Effects::UNKNOWN);
}
