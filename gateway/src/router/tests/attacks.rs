//! Every text here would change who the session is, or hide something that does; all are refused.

use super::*;

/// Refused by both guards.
#[rustfmt::skip]
const ALWAYS: &[&str] = &[
    // The role, in every spelling.
    "SET ROLE bob", "set role none", "SET SESSION ROLE bob", "SET LOCAL ROLE bob", "SET ROLE 'bob'", "SET ROLE \"bob\"",
    "SET role TO bob", "SET role = bob", "SET role = DEFAULT", "SET \"role\" TO bob", "SET \"ROLE\" TO bob", "SET RoLe TO 'bob'",
    "SET LOCAL role TO bob", "SET SESSION role TO bob", "SET U&\"\\0072ole\" TO bob", "SET U&\"!0072ole\" UESCAPE '!' TO bob",
    "RESET ROLE", "RESET role", "RESET \"Role\"", "SET/**/ROLE/**/bob", "SET -- x\nROLE bob", "/* /* */ SET x = 1 */ SET ROLE bob",
    // Session authorization.
    "SET SESSION AUTHORIZATION bob", "SET SESSION AUTHORIZATION DEFAULT", "SET LOCAL SESSION AUTHORIZATION 'bob'",
    "RESET SESSION AUTHORIZATION", "SET session_authorization TO bob", "SET \"SESSION_authorization\" = bob", "RESET session_authorization",
    "SET session_author\u{130}zation TO bob",
    // Protected variables.
    "SET app.tenant = 'x'", "SET APP.TENANT TO 'x'", "SET \"App\".\"Tenant\" TO 'x'", "SET LOCAL app.tenant = 'x'", "RESET app.tenant",
    "SET \"app.tenant\" = 'x'", "SET jwt.claims = '{}'", "RESET jwt.subject", "SET orochi.user_id = 1", "SET SESSION orochi.x TO 1",
    "SET default_transaction_read_only = off", "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
    "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ WRITE",
    // In company, and inside other statements.
    "SELECT 1; SET ROLE bob", "BEGIN; SET LOCAL ROLE bob; SELECT 1; COMMIT", "SELECT 1;;;RESET ROLE;", "SELECT 1; DISCARD ALL",
    "RESET ALL; SELECT 1", "DISCARD ALL; SELECT 1", "SELECT ';' ; SET ROLE bob -- '",
    "SELECT $$ $$; SET ROLE bob; SELECT $x$ $x$", "SELECT '\\'; SET ROLE bob; --'", "SELECT E'\\''; SET ROLE bob; --'",
    // set_config.
    "SELECT set_config('role', 'bob', false)", "SELECT pg_catalog.set_config('role', 'bob', true)",
    "SELECT \"pg_catalog\".\"set_config\"('role','bob',false)", "select SET_CONFIG('ROLE','bob',false)",
    "SELECT set_config(U&'\\0072ole', 'bob', false)", "SELECT set_config(E'\\x72ole', 'bob', false)", "SELECT set_config($$role$$, 'bob', false)",
    "SELECT U&\"set\\005fconfig\"('role','bob',false)", "SELECT set_config('ro'\n'le', 'bob', false)", "SELECT set_config('role'::text, 'bob', false)",
    "SELECT set_config('role'::name, 'bob', false)", "SELECT set_config(CAST('rolex' AS varchar(4)), 'bob', false)", "SELECT set_config('ro'||'le', 'bob', false)",
    "SELECT set_config($1, $2, false)", "SELECT set_config(n, 'bob', false) FROM (VALUES ('role')) t(n)", "SELECT set_config((SELECT 'role'), 'bob', false)",
    "SELECT set_config(setting_name => 'role', new_value => 'bob', is_local => false)", "SELECT set_config(new_value := 'bob', is_local := true, setting_name := 'role')",
    "SELECT set_config('app.tenant', 'x', true)", "SELECT set_config('Jwt.Sub', 'x', true)", "SELECT set_config(VARIADIC ARRAY['role','bob'])",
    "SELECT set_config('session_authorization','bob',false)", "SELECT set_config(text 'role', 'bob', false)", "SELECT set_conf\u{130}g('role', 'bob', false)",
    "SELECT * FROM set_config('role','bob',false)", "SELECT * FROM ROWS FROM (set_config('role','bob',false))", "SELECT * FROM t, LATERAL set_config('role', t.x, false)",
    "WITH x AS (SELECT set_config('role','bob',false)) SELECT 1", "WITH RECURSIVE x AS (SELECT 1 UNION SELECT length(set_config('role','bob',false))) TABLE x",
    "SELECT 1 ORDER BY set_config('role','bob',false)", "SELECT 1 LIMIT length(set_config('role','bob',false))", "SELECT 1 OFFSET length(set_config('role','bob',false))",
    "SELECT count(*) FILTER (WHERE set_config('role','bob',false) = 'x') FROM t", "SELECT sum(1) OVER (PARTITION BY set_config('role','bob',false)) FROM t",
    "SELECT 1 GROUP BY GROUPING SETS ((set_config('role','bob',false)))", "SELECT 1 WINDOW w AS (ORDER BY set_config('role','bob',false))",
    "SELECT CASE WHEN true THEN set_config('role','bob',false) END", "SELECT ARRAY[set_config('role','bob',false)]", "SELECT ROW(set_config('role','bob',false))",
    "SELECT COALESCE(set_config('role','bob',false))", "SELECT (ARRAY[1])[length(set_config('role','bob',false))]", "SELECT xmlelement(name x, set_config('role','bob',false))",
    "SELECT json_object('a': set_config('role','bob',false))", "SELECT json_arrayagg(set_config('role','bob',false))",
    "SELECT * FROM json_table(set_config('role','bob',false)::jsonb, '$' COLUMNS (a int PATH '$'))",
    "SELECT * FROM xmltable('/x' PASSING (set_config('role','bob',false)::xml) COLUMNS a int DEFAULT length(set_config('role','bob',false)))",
    "SELECT * FROM a JOIN b ON set_config('role','bob',false) IS NULL", "SELECT * FROM t TABLESAMPLE system (length(set_config('role','bob',false)))",
    "VALUES (1), (length(set_config('role','bob',false)))", "SELECT 1 WHERE EXISTS (SELECT set_config('role','bob',false))", "SELECT 1 = ANY (SELECT length(set_config('role','bob',false)))",
    "SELECT DISTINCT ON (set_config('role','bob',false)) 1", "SELECT set_config('role','bob',false) COLLATE \"C\"", "SELECT 'x' LIKE set_config('role','bob',false)",
    "INSERT INTO t VALUES (set_config('role','bob',false))", "INSERT INTO t SELECT 1 ON CONFLICT (a) DO UPDATE SET b = set_config('role','bob',false)",
    "INSERT INTO t VALUES (1) RETURNING set_config('role','bob',false)", "UPDATE t SET a = set_config('role','bob',false)", "UPDATE t SET (a,b) = (SELECT 1, set_config('role','bob',false))",
    "DELETE FROM t USING set_config('role','bob',false)", "MERGE INTO t USING s ON t.a = s.a WHEN MATCHED AND set_config('role','bob',false) = 'x' THEN DELETE",
    "MERGE INTO t USING s ON true WHEN NOT MATCHED THEN INSERT VALUES (set_config('role','bob',false))", "TRUNCATE t; SELECT set_config('role','bob',false)",
    // Other statements around it.
    "PREPARE p AS SELECT set_config('role','bob',false)", "PREPARE p(text) AS SELECT set_config($1,'bob',false)", "EXECUTE p(set_config('role','bob',false))",
    "EXPLAIN ANALYZE SELECT set_config('role','bob',false)", "EXPLAIN (ANALYZE, FORMAT json) SELECT set_config('role','bob',false)",
    "DECLARE c CURSOR WITH HOLD FOR SELECT set_config('role','bob',false)", "COPY (SELECT set_config('role','bob',false)) TO STDOUT", "COPY t FROM STDIN WHERE set_config('role','bob',false) = 'x'",
    "CREATE TABLE x AS SELECT set_config('role','bob',false)", "CREATE MATERIALIZED VIEW x AS SELECT set_config('role','bob',false)", "SELECT set_config('role','bob',false) INTO x",
    "CREATE VIEW x AS SELECT set_config('role','bob',false)", "CREATE TABLE x (a text DEFAULT set_config('role','bob',false))", "CREATE TABLE x (a text CHECK (set_config('role','bob',false) IS NULL))",
    "CREATE TABLE x (a text GENERATED ALWAYS AS (set_config('role','bob',false)) STORED)", "ALTER TABLE x ALTER a SET DEFAULT set_config('role','bob',false)",
    "ALTER TABLE x ALTER a TYPE text USING set_config('role','bob',false)", "ALTER TABLE x ADD CHECK (set_config('role','bob',false) IS NULL)", "ALTER TABLE x ADD b text DEFAULT set_config('role','bob',false)",
    "CREATE INDEX ON x (set_config('role', a, false))", "CREATE INDEX ON x (a) WHERE set_config('role', a, false) = ''", "CREATE STATISTICS s ON (set_config('role', a, false)), b FROM x",
    "CREATE RULE r AS ON INSERT TO x DO ALSO SELECT set_config('role','bob',false)", "CREATE RULE r AS ON INSERT TO x WHERE set_config('role','bob',false) = '' DO INSTEAD NOTHING",
    "CREATE TRIGGER r BEFORE INSERT ON x FOR EACH ROW WHEN (set_config('role','bob',false) = '') EXECUTE FUNCTION f()", "CREATE POLICY p ON x USING (set_config('role','bob',false) = '')",
    "ALTER POLICY p ON x WITH CHECK (set_config('role','bob',false) = '')", "CREATE DOMAIN d AS text DEFAULT set_config('role','bob',false)", "CREATE DOMAIN d AS text CHECK (set_config('role',VALUE,false) = '')",
    "ALTER DOMAIN d SET DEFAULT set_config('role','bob',false)", "CREATE TABLE x PARTITION OF y FOR VALUES IN (set_config('role','bob',false))", "CREATE TABLE x (a int) PARTITION BY RANGE (set_config('role','bob',false))",
    "CREATE SCHEMA s CREATE VIEW x AS SELECT set_config('role','bob',false)", "CREATE PUBLICATION p FOR TABLE x WHERE (set_config('role',a,false) = '')", "CALL set_config('role','bob',false)",
    "ALTER TABLE x ADD EXCLUDE USING gist (a WITH =) WHERE (set_config('role','bob',false) = '')", "EXPLAIN CREATE TABLE x AS SELECT set_config('role','bob',false)", "SELECT 1 FETCH FIRST (length(set_config('role','bob',false))) ROWS ONLY",
    "CREATE FOREIGN TABLE x (a text DEFAULT set_config('role','bob',false)) SERVER s", "REFRESH MATERIALIZED VIEW x; RESET ROLE",
    // Names of it other than calls.
    "CREATE AGGREGATE a (text, bool) (sfunc = set_config, stype = text)", "CREATE AGGREGATE a (text, bool) (sfunc = pg_catalog.set_config, stype = text)", "CREATE AGGREGATE a (text, bool) (sfunc = \"set_config\", stype = text)",
    "CREATE OPERATOR === (leftarg = text, rightarg = text, function = set_config)", "CREATE OPERATOR === (leftarg = text, procedure = 'ts_stat')", "CREATE CAST (text AS x) WITH FUNCTION ts_stat(text)",
    "CREATE CONVERSION c FOR 'UTF8' TO 'LATIN1' FROM set_config", "CREATE OPERATOR CLASS o FOR TYPE text USING btree AS FUNCTION 1 set_config(text,text,bool)", "CREATE TYPE x (input = set_config, output = f)",
    "ALTER FUNCTION set_config(text,text,bool) RENAME TO harmless", "ALTER FUNCTION set_config SET SCHEMA s", "SELECT 'set_config'::regproc", "SELECT CAST('pg_catalog.set_config(text,text,bool)' AS regprocedure)", "SELECT regproc 'SET_CONFIG'",
    "SELECT t.ts_stat FROM t", "SELECT (t.x).ts_stat FROM t", "CREATE TRIGGER r BEFORE INSERT ON x EXECUTE FUNCTION set_config()",
    // The settings view.
    "UPDATE pg_settings SET setting = 'bob' WHERE name = 'role'", "UPDATE pg_catalog.pg_settings SET setting = 'x'", "UPDATE ONLY \"pg_settings\" AS s SET setting = 'x'", "WITH x AS (UPDATE pg_settings SET setting = 'x' RETURNING 1) SELECT 1",
    "INSERT INTO pg_settings DEFAULT VALUES", "DELETE FROM pg_settings", "MERGE INTO pg_settings USING t ON true WHEN MATCHED THEN DELETE", "PREPARE p AS UPDATE pg_settings SET setting = $1", "COPY pg_settings FROM STDIN",
    "CREATE RULE r AS ON INSERT TO x DO ALSO UPDATE pg_settings SET setting = 'x'", "CREATE RULE r AS ON UPDATE TO pg_settings DO INSTEAD NOTHING", "CREATE VIEW v AS SELECT * FROM pg_settings", "CREATE TEMP VIEW v AS TABLE pg_catalog.pg_settings",
    // SQL in text.
    "SELECT query_to_xml('set role bob', true, true, '')", "SELECT pg_catalog.query_to_xmlschema($1, true, true, '')", "SELECT query_to_xml_and_xmlschema('x', true, true, '')", "SELECT * FROM ts_stat('select set_config(''role'',''bob'',false)')",
    "SELECT * FROM ts_stat('x', 'a')", "SELECT ts_rewrite('a'::tsquery, 'select set_config(''role'',''bob'',false)')", "SELECT ts_rewrite(query => 'a', x => 'select 1')", "SELECT ts_rewrite(VARIADIC ARRAY['a','b','c'])",
    "SELECT dblink_exec('host=x', 'select 1')", "SELECT * FROM dblink('x','y') AS t(a int)", "SELECT public.dblink_connect_u('x')", "SELECT * FROM crosstab('select 1') AS c(a int)", "SELECT * FROM crosstab3('x')", "SELECT * FROM crosstabN('x')",
    "SELECT * FROM connectby('t','a','b','1',0) AS t(a int)", "SELECT * FROM xpath_table('a','b','c','d','e') AS t(a int)", "SELECT run_command_on_workers('x')",
    "SELECT min(word) FROM TREAT('select 1' AS ts_stat)", "SELECT demo.pg_catalog.ts_stat('select 1')", "SELECT * FROM pgr_dijkstra('select 1', 1, 2)", "SELECT pgivm.create_immv('x', 'select 1')",
    "SELECT * FROM aws_s3.query_export_to_s3('select 1', aws_commons.create_s3_uri('b', 'f', 'r'))", "SELECT worker_apply_shard_ddl_command(1, 'x')", "SELECT spock.replicate_ddl('x')",
    "CREATE TRIGGER r BEFORE INSERT ON x FOR EACH ROW EXECUTE FUNCTION check_primary_key('a', '(select 1) x', 'a')", "CREATE TRIGGER r AFTER DELETE ON x FOR EACH ROW EXECUTE PROCEDURE public.\"check_foreign_key\"('1', 'restrict', 'a', 'y', 'a')",
    "CREATE CONSTRAINT TRIGGER r AFTER UPDATE ON x FOR EACH ROW EXECUTE FUNCTION U&\"check\\005fforeign_key\"('1', 'restrict', 'a', 'y', 'a')",
    // Settings kept elsewhere.
    "ALTER ROLE alice SET role = bob", "ALTER USER alice IN DATABASE d SET role TO bob", "ALTER ROLE ALL SET session_authorization = bob", "ALTER ROLE alice RESET role", "ALTER ROLE alice SET app.tenant = 'x'",
    "ALTER ROLE alice SET standard_conforming_strings = off", "ALTER ROLE alice RESET ALL", "ALTER DATABASE d SET role = bob", "ALTER DATABASE d SET role FROM CURRENT", "ALTER DATABASE d RESET ALL", "ALTER SYSTEM SET work_mem = '1MB'", "ALTER SYSTEM RESET ALL",
    "ALTER FUNCTION f() SET role = bob", "ALTER FUNCTION f() SET role FROM CURRENT", "ALTER PROCEDURE f() SET \"Role\" TO bob", "ALTER ROUTINE f() RESET role", "CREATE FUNCTION f() RETURNS int LANGUAGE sql SET role = bob AS 'select 1'",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql SET role FROM CURRENT AS 'select 1'", "CREATE FUNCTION f() RETURNS text BEGIN ATOMIC SELECT set_config('role','bob',false); END", "CREATE FUNCTION f(a text DEFAULT set_config('role','bob',false)) RETURNS int LANGUAGE sql AS ''",
    // Reading the same bytes differently.
    "SET standard_conforming_strings = off", "SET standard_conforming_strings TO 'off'", "SET LOCAL standard_conforming_strings = false", "SET standard_conforming_strings = 0", "SELECT set_config('standard_conforming_strings', 'off', false)",
    "SELECT set_config('standard_conforming_strings', $1, false)", "SET client_encoding = 'SJIS'", "SET NAMES 'BIG5'", "SET NAMES 'gb18030'", "SET client_encoding TO gbk", "SET CLIENT_ENCODING TO 'Shift_JIS_2004'", "SET NAMES 'win932'", "SET NAMES 'UHC'", "SET NAMES 'johab'",
    "SELECT set_config('client_encoding', 'SJIS', false)", "SELECT set_config('client_encoding', x, false) FROM t", "SET client_encoding TO 'ms936'",
    // Not PostgreSQL's grammar.
    "SELECT FROM WHERE", "SET ROLE", "SELEC 1", "SELECT 'x", "SELECT 1 /* x", "SELECT \"x", "SELECT U&'\\zzzz'", "SELECT 1\0; SET ROLE bob",
];

/// Refused by the strict guard, let through by the standard one.
#[rustfmt::skip]
const STRICT_ONLY: &[&str] = &[
    "DO $$ BEGIN SET ROLE bob; END $$", "DO LANGUAGE plpgsql 'begin end'", "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'select 1'", "CREATE OR REPLACE PROCEDURE f() LANGUAGE plpgsql AS $$begin end$$",
    "CREATE FUNCTION pg_temp.f() RETURNS void LANGUAGE plpgsql AS 'begin end'", "CREATE EXTENSION dblink", "ALTER EXTENSION x UPDATE", "CREATE LANGUAGE plperl", "CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION f()",
    "CREATE TRANSFORM FOR int LANGUAGE sql (FROM SQL WITH FUNCTION f(internal))", "SELECT 1; DO 'begin end'",
];

#[test]
fn what_could_change_the_identity_is_refused() {
    for guard in [GuardMode::Standard, GuardMode::Strict] {
        let mut classifier = Classifier::new(policy(guard));
        for sql in ALWAYS {
            // Twice: the memory must say the same.
            for _ in 0..2 {
                assert!(refused(classifier.classify(sql.as_bytes())), "{guard:?} let through: {sql}");
            }
        }
    }
}

#[test]
fn the_strict_guard_lets_no_code_in() {
    for sql in STRICT_ONLY {
        assert!(refused(classify(GuardMode::Strict, sql)), "let through: {sql}");
        assert!(!refused(classify(GuardMode::Standard, sql)), "refused: {sql}");
    }
}

#[test]
fn without_a_guard_nothing_is_refused() {
    for sql in ALWAYS.iter().chain(STRICT_ONLY) {
        assert_eq!(classify(GuardMode::Off, sql).verdict, Verdict::Allow, "{sql}");
    }
}

/// The statements above are attacks only if the parser reads them; a typing error would hide a gap.
#[test]
fn the_attacks_are_refused_for_what_they_do() {
    let unreadable =
        ALWAYS.iter().filter(|sql| classify(GuardMode::Strict, sql).verdict == Verdict::Refuse(&refusal::UNPARSABLE));
    let meant = [
        "SELECT FROM WHERE",
        "SET ROLE",
        "SELEC 1",
        "SELECT 'x",
        "SELECT 1 /* x",
        "SELECT \"x",
        "SELECT U&'\\zzzz'",
        "SELECT 1\0; SET ROLE bob",
    ];
    let unreadable: Vec<_> = unreadable.filter(|sql| !meant.contains(sql)).collect();
    assert_eq!(unreadable, Vec::<&&str>::new());
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let mut classifier = Classifier::new(policy(GuardMode::Standard));
    for sql in [&b"SELECT '\xff'"[..], b"SELECT '\xc3'; SET ROLE bob --'", b"SELECT \"\xe9\"", b"/* \xff */ SELECT 1"] {
        assert_eq!(classifier.classify(sql).verdict, Verdict::Refuse(&refusal::NOT_UTF8));
    }
}

#[test]
fn statements_that_forget_identity_stand_alone() {
    for sql in ["DISCARD ALL", "discard all;", "RESET ALL", "/* x */ RESET ALL"] {
        assert_eq!(classify(GuardMode::Strict, sql).verdict, Verdict::Barrier, "{sql}");
    }
    let only_role = Policy { protected: [].into(), ..policy(GuardMode::Strict) };
    assert_eq!(Classifier::new(only_role).classify(b"RESET ALL").verdict, Verdict::Allow);
}

#[test]
fn hostile_nesting_neither_overflows_nor_hides_anything() {
    let deep =
        |open: &str, inner: &str, close: &str, n: usize| format!("SELECT {}{inner}{}", open.repeat(n), close.repeat(n));
    let call = "set_config('role','bob',false)";
    let texts = vec![
        deep("f(", call, ")", 200),
        deep("f(", "U&\"set\\005fconfig\"('role','x',true)", ")", 200),
        deep("", call, "||'x'", 1_000),
        deep("", "query_to_xml($1,true,true,'')", " UNION SELECT NULL", 200),
        deep("f(", "1", ")", 200) + "; SET ROLE bob",
        format!("PREPARE p AS {}", deep("f(", "1", ")", 200)),
        deep("(", "1", ")", 20_000),
        deep("f(", "1", ")", 20_000),
        deep("array[", "1", "]", 20_000),
        deep("(select ", "1", ")", 20_000),
        deep("", "1", "+1", 100_000),
        deep("", "1", "::int", 100_000),
        deep("not ", "1", "", 20_000),
        deep("", "1", " union select 1", 100_000),
    ];
    let work = move || {
        for sql in texts {
            assert!(refused(classify(GuardMode::Strict, &sql)), "let through: {:.60}", sql);
        }
    };
    std::thread::Builder::new().stack_size(8 << 20).spawn(work).unwrap().join().unwrap();
}

#[test]
fn long_but_harmless_chains_pass() {
    let chain = |start: &str, link: &str| start.to_owned() + &link.repeat(300);
    for sql in [
        chain("SELECT 'x'", " || a"),
        chain("select 1", " UNION ALL SELECT 1"),
        chain("\nWITH x AS (TABLE t) SELECT 1", "+1") + ";\n",
        chain("UPDATE t SET a = 1", "+1"),
        chain("SELECT 1 WHERE true", " OR a = 1"),
    ] {
        assert_eq!(classify(GuardMode::Strict, &sql).verdict, Verdict::Allow, "{:.60}", sql);
    }
}
