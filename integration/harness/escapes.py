"""Ways in which a plain role could change who a session is: texts for the tests of the guard.

Expressions that set a variable, statements around an expression, and statements of their own kind. An escape
of several steps is several texts, sent one after another.
"""

from __future__ import annotations

from collections.abc import Iterator

Escape = tuple[str, ...]

# What some of them need, made by a superuser.
SCHEMA = """
    CREATE SCHEMA hideout;
    GRANT USAGE, CREATE ON SCHEMA hideout TO subjects;
    CREATE TABLE hideout.escape_later (b int);
    CREATE TABLE hideout.escape_keys (a text);
    CREATE TABLE hideout.escape_parts (a text) PARTITION BY LIST (a);
    CREATE TABLE hideout.escape_copy AS SELECT * FROM pg_settings LIMIT 0;
    INSERT INTO hideout.escape_later VALUES (1);
    INSERT INTO hideout.escape_keys SELECT 'a' FROM generate_series(1, 20);
    ALTER TABLE hideout.escape_later OWNER TO alice;
    ALTER TABLE hideout.escape_keys OWNER TO alice;
    ALTER TABLE hideout.escape_parts OWNER TO alice;
    ALTER TABLE hideout.escape_copy OWNER TO alice;
"""
CLEANING = """
    DROP SCHEMA IF EXISTS hideout CASCADE;
    ALTER ROLE alice RESET ALL;
    ALTER ROLE alice IN DATABASE demo RESET ALL;
"""
EXTENSIONS = ["tablefunc", "xml2", "refint", "dblink"]

# `{name}` and `{value}`: the variable and what it would become.
EXPRESSIONS = [
    "set_config('{name}', '{value}', false)",
    "set_config('{name}', '{value}', true)",
    "pg_catalog.set_config('{name}', '{value}', false)",
    "demo.pg_catalog.set_config('{name}', '{value}', false)",
    "\"pg_catalog\".\"set_config\"('{name}', '{value}', false)",
    "SET_CONFIG('{NAME}', '{value}', false)",
    "Set_Config('{Name}', '{value}', false)",
    "set_config(E'{name}', '{value}', false)",
    "set_config(E'\\x{hex}{rest}', '{value}', false)",
    "set_config(E'\\{octal}{rest}', '{value}', false)",
    "set_config(E'\\u{unicode}{rest}', '{value}', false)",
    "set_config(U&'\\{unicode}{rest}', '{value}', false)",
    "set_config(U&'!{unicode}{rest}' UESCAPE '!', '{value}', false)",
    "U&\"set\\005fconfig\"('{name}', '{value}', false)",
    "U&\"set!005fconfig\" UESCAPE '!' ('{name}', '{value}', false)",
    "set_config($${name}$$, $a${value}$a$, false)",
    "set_config('{first}'\n'{rest}', '{value}', false)",
    "set_config('{first}' -- '\n'{rest}', '{value}', false)",
    "set_config/* /* ' */ ' */('{name}', '{value}', false)",
    "set_config--\n('{name}', '{value}', false)",
    "set_config(N'{name}', '{value}', false)",
    "set_config('{first}' || '{rest}', '{value}', false)",
    "set_config(concat('{first}', '{rest}'), '{value}', false)",
    "set_config(format('%s%s', '{first}', '{rest}'), '{value}', false)",
    "set_config(convert_from('\\x{hexname}', 'UTF8'), '{value}', false)",
    "set_config(reverse('{reversed}'), '{value}', false)",
    "set_config(lower('{NAME}'), '{value}', false)",
    "set_config(left('{name}xx', {length}), '{value}', false)",
    "set_config('{name}'::text, '{value}', false)",
    "set_config('{name}'::name::text, '{value}', false)",
    "set_config(CAST('{name}' AS text), '{value}', false)",
    "set_config(text '{name}', '{value}', false)",
    "set_config(('{name}'), '{value}', false)",
    "set_config('{name}' COLLATE \"C\", '{value}', false)",
    "set_config((SELECT '{name}'), '{value}', false)",
    "set_config((SELECT '{name}'::text), '{value}', false)",
    "set_config(CASE WHEN true THEN '{name}' END, '{value}', false)",
    "set_config(COALESCE(NULL, '{name}'), '{value}', false)",
    "set_config((ARRAY['{name}'])[1], '{value}', false)",
    "set_config((SELECT a FROM (VALUES ('{name}')) AS x (a)), '{value}', false)",
    "set_config(('{{\"a\":\"{name}\"}}'::json)->>'a', '{value}', false)",
    "set_config((SELECT name FROM pg_settings WHERE name = '{name}'), '{value}', false)",
    "set_config(current_setting('no.such', true) || '{name}', '{value}', false)",
    "set_config(setting_name => '{name}', new_value => '{value}', is_local => false)",
    "set_config(is_local => false, new_value => '{value}', setting_name => '{name}')",
    "set_config(new_value := '{value}', setting_name := '{name}', is_local := false)",
    "set_config('{name}', is_local => false, new_value => '{value}')",
    "set_config('{name}', (SELECT '{value}'), false)",
    "set_config('{name}', '{value}', NOT true)",
    "set_config('{name}', '{value}', 'f')",
    # SQL in a text.
    "query_to_xml('SELECT set_config(''{name}'', ''{value}'', false)', true, true, '')::text",
    "query_to_xml($q$SELECT set_config('{name}', '{value}', false)$q$, nulls => true, tableforest => true,"
    " targetns => '')::text",
    "pg_catalog.query_to_xmlschema("
    "'SELECT set_config(''{name}'', ''{value}'', false)', true, true, '')::text",
    "query_to_xml_and_xmlschema('SELECT set_config(''{name}'', ''{value}'', false)', true, true, '')::text",
    "U&\"query\\005fto_xml\"('SELECT set_config(''{name}'', ''{value}'', false)', true, true, '')::text",
    "ts_rewrite('a'::tsquery,"
    " 'SELECT ''a''::tsquery, set_config(''{name}'', ''{value}'', false)::tsquery')::text",
    "(SELECT count(*)::text FROM ts_stat('SELECT set_config(''{name}'', ''{value}'', false)::tsvector'))",
    "(SELECT min(word) FROM pg_catalog.ts_stat("
    "'SELECT set_config(''{name}'', ''{value}'', false)::tsvector', 'a'))",
    "(SELECT min(word) FROM TREAT('SELECT set_config(''{name}'', ''{value}'', false)::tsvector' AS ts_stat))",
    "(SELECT min(x) FROM crosstab('SELECT ''a'', ''b'', set_config(''{name}'', ''{value}'', false)')"
    " AS c (x text, y text))",
    "(SELECT min(x) FROM crosstab2('SELECT ''a'', ''b'', set_config(''{name}'', ''{value}'', false)')"
    " AS c (x, y, z))",
    "(SELECT min(a) FROM connectby('(SELECT ''a'' a, set_config(''{name}'', ''{value}'', false) b) x',"
    " 'a', 'b', 'a', 0) AS c (a text, b text, l int))",
    "(SELECT min(a) FROM xpath_table('a', 'b',"
    " '(SELECT 1 a, set_config(''{name}'', ''{value}'', false) b) x',"
    " '/', 'true') AS c (a int, b text))",
    "(SELECT x FROM dblink('host=localhost', 'SET ROLE bob') AS c (x text))",
]

# `{e}`: an expression that gives a text.
PLACES: list[Escape] = [
    ("SELECT {e}",),
    ("SELECT {e} AS a, 'b' b; ",),
    ("VALUES ({e})",),
    ("TABLE notes UNION SELECT 1, 'a', {e}",),
    ("(SELECT 'a') INTERSECT ALL (SELECT {e})",),
    ("WITH x AS MATERIALIZED (SELECT {e}) SELECT * FROM x",),
    ("WITH RECURSIVE x (a) AS (SELECT {e} UNION SELECT a FROM x) TABLE x",),
    ("WITH x AS (INSERT INTO notes (body) VALUES ({e}) RETURNING body) TABLE x",),
    ("SELECT (SELECT {e})",),
    ("SELECT 1 WHERE {e} IS NOT NULL",),
    ("SELECT 1 WHERE EXISTS (SELECT 1 OFFSET length({e}))",),
    ("SELECT 1 ORDER BY {e}",),
    ("SELECT 1 LIMIT length({e})",),
    ("SELECT 1 OFFSET length({e})",),
    ("SELECT 1 FETCH FIRST (length({e})) ROWS ONLY",),
    ("SELECT DISTINCT ON ({e}) 1",),
    ("SELECT count(*) GROUP BY GROUPING SETS (({e}), ())",),
    ("SELECT count(*) HAVING {e} IS NOT NULL",),
    ("SELECT count(*) FILTER (WHERE {e} IS NOT NULL)",),
    ("SELECT sum(1) OVER (PARTITION BY {e})",),
    ("SELECT sum(1) OVER w WINDOW w AS (ORDER BY {e})",),
    ("SELECT string_agg({e}, ',' ORDER BY 1)",),
    ("SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY {e})",),
    ("SELECT CASE WHEN {e} = 'x' THEN 1 END",),
    ("SELECT CASE {e} WHEN 'x' THEN 1 END",),
    ("SELECT COALESCE(NULL, {e}), NULLIF({e}, 'x'), GREATEST({e}, 'x')",),
    ("SELECT ARRAY[{e}], ROW({e}), ARRAY(SELECT {e})",),
    ("SELECT (ARRAY[1])[length({e})], (ARRAY[1])[1:length({e})]",),
    ('SELECT {e} COLLATE "C", {e}::varchar, CAST({e} AS text)',),
    ("SELECT 'x' = ANY (ARRAY[{e}]), 'x' IN ({e}), 'x' LIKE {e}, 'x' SIMILAR TO {e}",),
    ("SELECT {e} IS DISTINCT FROM 'x', {e} IS NULL",),
    ("SELECT 'x' BETWEEN {e} AND 'z'",),
    ("SELECT overlay('abc' PLACING {e} FROM 1), position({e} IN 'x'), trim(BOTH {e} FROM 'x')",),
    ("SELECT xmlelement(NAME a, xmlattributes({e} AS b), {e})",),
    ("SELECT xmlforest({e} AS a), xmlconcat(xmlelement(NAME a, {e})), xmlpi(NAME a, {e})",),
    ("SELECT xmlserialize(CONTENT xmlparse(CONTENT {e}) AS text)",),
    ("SELECT json_build_object('a', {e}), to_json({e}), row_to_json(ROW({e}))",),
    ("SELECT json_object('a': {e}), json_array({e}), json_arrayagg({e})",),
    ("SELECT json_value(to_jsonb({e}), '$'), json_scalar({e}), json({e})",),
    (
        "SELECT * FROM json_table('[1]'::jsonb, '$' PASSING {e} AS a"
        " COLUMNS (b text PATH '$' DEFAULT {e} ON EMPTY))",
    ),
    ("SELECT * FROM xmltable('/a' PASSING xmlelement(NAME a) COLUMNS b text PATH 'c' DEFAULT {e})",),
    ("SELECT * FROM xmltable(({e}) PASSING xmlelement(NAME a) COLUMNS b text PATH '.')",),
    ("SELECT * FROM unnest(ARRAY[{e}]) AS f",),
    ("SELECT * FROM ROWS FROM (unnest(ARRAY[{e}]), generate_series(1, 2)) WITH ORDINALITY",),
    ("SELECT * FROM notes, LATERAL (SELECT {e}) AS x",),
    ("SELECT * FROM (SELECT 1) a JOIN (SELECT 1) b ON {e} IS NOT NULL",),
    ("SELECT * FROM notes TABLESAMPLE bernoulli (length({e}))",),
    ("SELECT * FROM notes WHERE body = {e} FOR UPDATE",),
    ("SELECT {e} INTO TEMP TABLE escape_into",),
    ("CREATE TEMP TABLE escape_as AS SELECT {e}",),
    ("CREATE TABLE hideout.escape_as AS SELECT {e}", "DROP TABLE hideout.escape_as"),
    ("EXPLAIN ANALYZE SELECT {e}",),
    ("EXPLAIN (ANALYZE, VERBOSE, FORMAT json) SELECT {e}",),
    ("EXPLAIN ANALYZE CREATE TEMP TABLE escape_explained AS SELECT {e}",),
    ("COPY (SELECT {e}) TO STDOUT",),
    ("COPY (INSERT INTO notes (body) VALUES ({e}) RETURNING body) TO STDOUT",),
    ("PREPARE escape_prepared AS SELECT {e}", "EXECUTE escape_prepared", "DEALLOCATE escape_prepared"),
    ("PREPARE escape_prepared AS SELECT {e}", "EXPLAIN ANALYZE EXECUTE escape_prepared", "DEALLOCATE ALL"),
    (
        "PREPARE escape_prepared AS SELECT {e}",
        "CREATE TEMP TABLE escape_executed AS EXECUTE escape_prepared",
        "DEALLOCATE escape_prepared",
    ),
    ("PREPARE escape_given (text) AS SELECT $1", "EXECUTE escape_given ({e})", "DEALLOCATE escape_given"),
    ("BEGIN", "DECLARE escape_cursor CURSOR FOR SELECT {e}", "FETCH ALL FROM escape_cursor", "COMMIT"),
    ("DECLARE escape_cursor CURSOR WITH HOLD FOR SELECT {e}", "FETCH escape_cursor", "CLOSE escape_cursor"),
    ("INSERT INTO notes (body) VALUES ({e})",),
    ("INSERT INTO notes (body) SELECT {e}",),
    ("INSERT INTO notes (body) VALUES ('x') RETURNING {e}",),
    ("INSERT INTO notes (body) VALUES ('x') ON CONFLICT (id) DO UPDATE SET body = {e}",),
    ("UPDATE notes SET body = {e}",),
    ("UPDATE notes SET (body) = (SELECT {e}) RETURNING {e}",),
    ("UPDATE notes SET body = 'x' FROM (SELECT {e} AS a) AS x WHERE x.a = body",),
    ("DELETE FROM notes WHERE body = {e}",),
    ("DELETE FROM notes USING (SELECT {e} AS a) x WHERE x.a = body",),
    ("MERGE INTO notes n USING (SELECT {e} AS a) x ON n.body = x.a WHEN MATCHED THEN DO NOTHING",),
    ("MERGE INTO notes n USING (SELECT 1) x ON true WHEN MATCHED AND {e} = 'x' THEN DELETE",),
    ("MERGE INTO notes n USING (SELECT 1) x ON false WHEN NOT MATCHED THEN INSERT (body) VALUES ({e})",),
    ("CREATE TEMP VIEW escape_view AS SELECT {e}", "TABLE escape_view"),
    ("CREATE OR REPLACE RECURSIVE VIEW hideout.escape_view (a) AS SELECT {e}", "TABLE hideout.escape_view"),
    (
        "CREATE MATERIALIZED VIEW hideout.escape_view AS SELECT {e}",
        "DROP MATERIALIZED VIEW hideout.escape_view",
    ),
    ("CREATE TEMP TABLE escape_default (a text DEFAULT {e})", "INSERT INTO escape_default DEFAULT VALUES"),
    (
        "CREATE TEMP TABLE escape_check (a text CHECK ({e} IS NOT NULL))",
        "INSERT INTO escape_check VALUES ('')",
    ),
    (
        "CREATE TEMP TABLE escape_made (b int, a text GENERATED ALWAYS AS ({e}) STORED)",
        "INSERT INTO escape_made VALUES (1)",
    ),
    ("CREATE TEMP TABLE escape_made (b int, a text GENERATED ALWAYS AS ({e}) VIRTUAL)", "TABLE escape_made"),
    ("ALTER TABLE hideout.escape_later ADD a text DEFAULT {e}",),
    ("ALTER TABLE hideout.escape_later ALTER b TYPE text USING {e}",),
    (
        "ALTER TABLE hideout.escape_later ALTER b SET DEFAULT {e}",
        "INSERT INTO hideout.escape_later DEFAULT VALUES",
    ),
    ("ALTER TABLE hideout.escape_later ADD CONSTRAINT c CHECK ({e} IS NOT NULL)",),
    ("CREATE INDEX ON hideout.escape_later (({e}))",),
    ("CREATE INDEX ON hideout.escape_later (b) WHERE {e} IS NOT NULL",),
    ("CREATE STATISTICS escape_statistics ON ({e}), b FROM hideout.escape_later",),
    ("CREATE TEMP TABLE escape_parts (a text) PARTITION BY LIST (({e}))",),
    ("CREATE TABLE hideout.escape_part PARTITION OF hideout.escape_parts FOR VALUES IN ({e})",),
    (
        "CREATE RULE escape_rule AS ON INSERT TO hideout.escape_later DO ALSO SELECT {e}",
        "INSERT INTO hideout.escape_later DEFAULT VALUES",
    ),
    ("CREATE RULE escape_rule AS ON UPDATE TO hideout.escape_later WHERE {e} IS NULL DO INSTEAD NOTHING",),
    (
        "CREATE TRIGGER escape_trigger BEFORE INSERT ON hideout.escape_later FOR EACH ROW WHEN ({e} IS NULL)"
        " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    ),
    ("CREATE POLICY escape_policy ON hideout.escape_later USING ({e} IS NOT NULL)",),
    ("CREATE DOMAIN pg_temp.escape_domain AS text DEFAULT {e}",),
    (
        "CREATE DOMAIN pg_temp.escape_checked AS text CHECK ({e} IS NOT NULL)",
        "SELECT 'x'::pg_temp.escape_checked",
    ),
    ("CREATE SCHEMA hideout_escape CREATE VIEW escape_view AS SELECT {e}",),
    ("CREATE PUBLICATION escape_publication FOR TABLE notes WHERE ({e} = 'x')",),
    ("SELECT 1; SELECT {e}; SELECT 2",),
    ("SELECT ';--'; SELECT {e} --';",),
    ("SELECT $a$ ' $a$, $_$ $a$ $_$; SELECT {e}",),
    ("SELECT E'\\'', '\\'; SELECT {e}; --'",),
    ("SELECT '\\'; SELECT {e}; SELECT '\\'",),
    ("/* /* */ SELECT 1; */ SELECT {e}",),
    ("\ufeffSELECT {e}",),
    ("\x0bSELECT {e}",),
    ("SELECT\u00a0{e}",),
    ("SELECT 1\x00; SELECT {e}",),
]

# Statements that set a variable by its own means. `{ident}`: the name as an identifier.
STATEMENTS: list[Escape] = [
    ("SET {ident} TO '{value}'",),
    ("SET {ident} = {value}",),
    ("SET SESSION {ident} = '{value}'",),
    ("SET LOCAL {ident} = '{value}'",),
    ("set {IDENT} to '{value}'",),
    ("SET \"{name}\" TO '{value}'",),
    ("SET \"{NAME}\" TO '{value}'",),
    ("SET U&\"\\{unicode}{rest}\" TO '{value}'",),
    ("SET U&\"!{unicode}{rest}\" UESCAPE '!' TO '{value}'",),
    ("SET/**/{ident}/*--*/TO--\n'{value}'",),
    ("SET {ident} TO $${value}$$",),
    ("SET {ident} TO U&'{value}'",),
    ("SET {ident} TO E'{value}'",),
    ("SET {ident} TO '{value}', 'x'",),
    ("SET {ident} TO DEFAULT",),
    ("SET {ident} FROM CURRENT",),
    ("RESET {ident}",),
    ('RESET "{NAME}"',),
    ("BEGIN", "SET LOCAL {ident} = '{value}'", "SELECT 1", "COMMIT"),
    ("BEGIN", "SAVEPOINT s", "SET {ident} = '{value}'", "RELEASE s", "COMMIT"),
    (
        "BEGIN",
        "SAVEPOINT s",
        "SET LOCAL {ident} = '{value}'",
        "ROLLBACK TO s",
        "COMMIT AND CHAIN",
        "ROLLBACK",
    ),
    ("BEGIN; SET {ident} = '{value}'; COMMIT",),
    ("SELECT 1; SET {ident} = '{value}'",),
    (";;SET {ident} = '{value}';;",),
    ("RESET ALL; SET {ident} = '{value}'",),
    ("UPDATE pg_settings SET setting = '{value}' WHERE name = '{name}'",),
    ("UPDATE ONLY pg_catalog.pg_settings AS s SET setting = '{value}' WHERE s.name = '{name}'",),
    ("UPDATE \"pg_settings\" SET setting = '{value}' FROM notes WHERE name = '{name}'",),
    ("UPDATE U&\"pg\\005fsettings\" SET setting = '{value}' WHERE name = '{name}'",),
    ("UPDATE pg_settings SET (setting) = ROW('{value}') WHERE name = '{name}' RETURNING name",),
    ("WITH x AS (UPDATE pg_settings SET setting = '{value}' WHERE name = '{name}' RETURNING name) TABLE x",),
    ("EXPLAIN ANALYZE UPDATE pg_settings SET setting = '{value}' WHERE name = '{name}'",),
    ("COPY (UPDATE pg_settings SET setting = '{value}' WHERE name = '{name}' RETURNING name) TO STDOUT",),
    (
        "PREPARE escape_update AS UPDATE pg_settings SET setting = '{value}' WHERE name = '{name}'",
        "EXECUTE escape_update",
        "DEALLOCATE escape_update",
    ),
    (
        "MERGE INTO pg_settings s USING (SELECT 1) x ON s.name = '{name}' WHEN MATCHED THEN"
        " UPDATE SET setting = '{value}'",
    ),
    (
        "CREATE TEMP VIEW escape_settings AS SELECT * FROM pg_settings",
        "UPDATE escape_settings SET setting = '{value}' WHERE name = '{name}'",
    ),
    (
        "CREATE TEMP VIEW escape_settings AS TABLE pg_catalog.pg_settings",
        "UPDATE escape_settings SET setting = '{value}' WHERE name = '{name}'",
    ),
    (
        "CREATE RULE escape_rule AS ON INSERT TO hideout.escape_copy DO ALSO"
        " UPDATE pg_settings SET setting = '{value}'"
        " WHERE name = '{name}'",
        "INSERT INTO hideout.escape_copy (name) VALUES ('x')",
    ),
    ('CREATE RULE "_RETURN" AS ON SELECT TO hideout.escape_copy DO INSTEAD SELECT * FROM pg_settings',),
    ("ALTER ROLE alice SET {ident} = '{value}'",),
    ("ALTER USER alice IN DATABASE demo SET {ident} TO '{value}'",),
    ("ALTER ROLE CURRENT_USER SET {ident} = '{value}'",),
    ("ALTER ROLE ALL IN DATABASE demo SET {ident} = '{value}'",),
    ("ALTER ROLE alice SET {ident} FROM CURRENT",),
    ("ALTER DATABASE demo SET {ident} = '{value}'",),
    ("ALTER SYSTEM SET {ident} = '{value}'",),
    ("ALTER FUNCTION served_by() SET {ident} = '{value}'",),
    # Functions under another name, or called by something else.
    (
        "CREATE AGGREGATE hideout.escape_set (text, boolean)"
        " (sfunc = set_config, stype = text, initcond = '{name}')",
        "SELECT hideout.escape_set('{value}', false)",
    ),
    (
        "CREATE AGGREGATE hideout.escape_set (text, boolean)"
        ' (SFUNC = "pg_catalog"."set_config", STYPE = text, INITCOND = \'{name}\')',
        "SELECT hideout.escape_set('{value}', false)",
    ),
    (
        "CREATE AGGREGATE hideout.escape_set (text, boolean)"
        " (sfunc = U&\"set\\005fconfig\", stype = text, initcond = '{name}')",
        "SELECT hideout.escape_set('{value}', false)",
    ),
    (
        "CREATE AGGREGATE hideout.escape_set (text, boolean) (sfunc = 'set_config', stype = text,"
        " initcond = '{name}')",
        "SELECT hideout.escape_set('{value}', false)",
    ),
    (
        "CREATE AGGREGATE hideout.escape_set (basetype = text, sfunc = set_config, stype = text)",
        "SELECT hideout.escape_set('{value}')",
    ),
    (
        "CREATE AGGREGATE hideout.escape_set (text, boolean) (sfunc = set_config, stype = text,"
        " mstype = text, msfunc = set_config, minvfunc = set_config, initcond = '{name}')",
        "SELECT hideout.escape_set('{value}', false) OVER ()",
    ),
    (
        "CREATE OPERATOR hideout.=== (leftarg = tsquery, rightarg = text, function = ts_rewrite)",
        "SELECT 'a'::tsquery OPERATOR(hideout.===) 'SELECT ''a''::tsquery,"
        " set_config(''{name}'', ''{value}'', false)::tsquery'",
    ),
    (
        "CREATE OPERATOR hideout.=== (rightarg = text, procedure = pg_catalog.ts_stat)",
        "SELECT OPERATOR(hideout.===) 'SELECT set_config(''{name}'', ''{value}'', false)::tsvector'",
    ),
    ("CREATE CAST (text AS tsvector) WITH FUNCTION ts_stat(text) AS IMPLICIT",),
    ("ALTER FUNCTION pg_catalog.set_config(text, text, boolean) RENAME TO harmless",),
    ("SELECT 'set_config'::regproc, 'set_config(text,text,boolean)'::regprocedure",),
    (
        "CREATE TRIGGER escape_key BEFORE INSERT ON hideout.escape_keys FOR EACH ROW EXECUTE FUNCTION"
        " check_primary_key('a', '(SELECT set_config(''{name}'', ''{value}'', false) AS a) AS x', 'a')",
        "INSERT INTO hideout.escape_keys VALUES ('{value}')",
        "DROP TRIGGER escape_key ON hideout.escape_keys",
    ),
    (
        "CREATE TRIGGER escape_key_too BEFORE DELETE ON hideout.escape_keys FOR EACH ROW EXECUTE PROCEDURE"
        " public.\"check_foreign_key\"('1', 'restrict', 'a',"
        " '(SELECT set_config(''{name}'', ''{value}'', false) AS a) AS x', 'a')",
        "DELETE FROM hideout.escape_keys WHERE a = 'a'",
        "DROP TRIGGER escape_key_too ON hideout.escape_keys",
    ),
    ("COPY notes (body) FROM PROGRAM 'echo x'",),
    ("COPY notes TO PROGRAM 'cat'",),
    ("LOAD '$libdir/dblink'",),
    ("CREATE EXTENSION dblink",),
    ("CREATE SERVER escape_server FOREIGN DATA WRAPPER postgres_fdw",),
    ("CREATE SUBSCRIPTION escape_subscription CONNECTION 'host=localhost' PUBLICATION p",),
    ("CREATE EVENT TRIGGER escape_event ON ddl_command_start EXECUTE FUNCTION served_by()",),
    ("SELECT lo_import('/etc/hostname')",),
    ("GRANT SET ON PARAMETER {ident} TO alice",),
    ("GRANT bob TO alice WITH ADMIN OPTION",),
    ("BEGIN", "SET LOCAL {ident} = '{value}'", "PREPARE TRANSACTION 'escape'", "ROLLBACK"),
    ("SET search_path = hideout, pg_catalog",),
    ("SET search_path TO DEFAULT",),
    ("DISCARD ALL",),
    ("DISCARD ALL; SELECT 1",),
    ("SELECT 1; DISCARD ALL",),
    ("RESET ALL",),
    ("BEGIN", "DISCARD ALL", "ROLLBACK"),
    ("PREPARE escape_discard AS DISCARD ALL",),
]

# Of `role` and `session_authorization` alone: statements that PostgreSQL has for them.
OF_THE_IDENTITY: list[Escape] = [
    ("SET ROLE bob",),
    ("SET ROLE 'bob'",),
    ('SET ROLE "bob"',),
    ('SET ROLE U&"\\0062ob"',),
    ("SET SESSION ROLE bob",),
    ("SET LOCAL ROLE bob",),
    ("SET ROLE NONE",),
    ("SET ROLE none; SELECT 1",),
    ("SET ROLE DEFAULT",),
    ("RESET ROLE",),
    ("sEt/**/rOlE--\nbob",),
    ("BEGIN", "SET LOCAL ROLE bob", "SELECT current_user", "COMMIT"),
    ("BEGIN; SET LOCAL ROLE NONE; SAVEPOINT s; ROLLBACK TO s; COMMIT",),
    ("SET SESSION AUTHORIZATION bob",),
    ("SET SESSION AUTHORIZATION 'gateway'",),
    ("SET SESSION AUTHORIZATION DEFAULT",),
    ("SET LOCAL SESSION AUTHORIZATION DEFAULT",),
    ("SET SESSION SESSION AUTHORIZATION DEFAULT",),
    ("RESET SESSION AUTHORIZATION",),
    ("BEGIN", "SET LOCAL SESSION AUTHORIZATION DEFAULT", "SELECT 1", "COMMIT"),
    ("CREATE SCHEMA AUTHORIZATION bob",),
    ("REASSIGN OWNED BY bob TO alice",),
    ("ALTER ROLE alice RENAME TO bob",),
    ("ALTER ROLE alice RESET ALL",),
    ("ALTER TABLE notes OWNER TO alice",),
    ("SET default_transaction_read_only = off",),
]

# Statements that choose how texts are read, by their own words.
OF_THE_READING: list[Escape] = [
    ("SET NAMES 'SJIS'",),
    ("SET NAMES 'big5'",),
    ("SET NAMES 'GB18030'",),
    ("SET client_encoding TO 'Shift_JIS_2004'",),
    ("SET client_encoding TO johab",),
    ("SET CLIENT_ENCODING = 'uhc'",),
    ("SELECT set_config('client_encoding', 'gbk', false)",),
    ("SET standard_conforming_strings TO false",),
    ("SET standard_conforming_strings = 0",),
    ("SET standard_conforming_strings TO 'no'",),
    ("SET backslash_quote = on", "SELECT '\\'; SET ROLE bob; --'", "RESET backslash_quote"),
    ("SET escape_string_warning = off", "SELECT '\\'; RESET ROLE; --'", "RESET escape_string_warning"),
]

# Of those that only read.
OF_THE_TRANSACTION: list[Escape] = [
    ("BEGIN READ WRITE", "ROLLBACK"),
    ("BEGIN ISOLATION LEVEL REPEATABLE READ, READ WRITE", "ROLLBACK"),
    ("START TRANSACTION READ WRITE", "ROLLBACK"),
    ("BEGIN", "SET TRANSACTION READ WRITE", "ROLLBACK"),
    ("SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",),
    ("SET SESSION CHARACTERISTICS AS TRANSACTION NOT DEFERRABLE, READ WRITE",),
    ("BEGIN", "COMMIT AND CHAIN", "SET LOCAL transaction_read_only = off", "ROLLBACK"),
    ("SET transaction_read_only = off",),
    ("SELECT set_config('transaction_read_only', 'off', false)",),
    ("INSERT INTO notes (body) VALUES ('written')",),
    ("WITH x AS (DELETE FROM notes RETURNING 1) TABLE x",),
    ("SELECT add_note('written')",),
    ("CREATE TEMP TABLE written ()",),
    ("SELECT nextval('notes_id_seq')",),
    ("/* pgdog_role: primary */ INSERT INTO notes (body) VALUES ('written')",),
    ("SET pgdog.role = 'primary'", "DELETE FROM notes", "RESET pgdog.role"),
]

# Code of the client's own: refused by the strict guard alone.
CODE: list[Escape] = [
    ("DO $$ BEGIN SET ROLE bob; END $$",),
    ("DO $$ BEGIN PERFORM set_config('{name}', '{value}', false); END $$",),
    ("DO LANGUAGE plpgsql 'BEGIN EXECUTE ''SET RO'' || ''LE bob''; END'",),
    ("DO $$ BEGIN SET SESSION AUTHORIZATION DEFAULT; END $$",),
    ("DO $$ BEGIN RESET ROLE; END $$",),
    ("DO $$ BEGIN SET {ident} = '{value}'; END $$",),
    ("BEGIN", "DO $$ BEGIN SET LOCAL ROLE bob; END $$", "COMMIT"),
    ("BEGIN", "DO $$ BEGIN SET ROLE bob; END $$", "ROLLBACK"),
    (
        "CREATE OR REPLACE FUNCTION hideout.escape_code() RETURNS void LANGUAGE plpgsql AS"
        " $$ BEGIN SET ROLE bob; END $$",
        "SELECT hideout.escape_code()",
    ),
    (
        "CREATE OR REPLACE PROCEDURE hideout.escape_call() LANGUAGE plpgsql AS $$ BEGIN SET ROLE bob; COMMIT;"
        " END $$",
        "CALL hideout.escape_call()",
    ),
    (
        "CREATE FUNCTION pg_temp.escape_code() RETURNS text LANGUAGE sql AS"
        " 'SELECT set_config(''{name}'', ''{value}'', false)'",
        "SELECT pg_temp.escape_code()",
        "DISCARD TEMP",
    ),
]


def _filled(text: str, name: str, value: str) -> str:
    parts = {
        "name": name,
        "NAME": name.upper(),
        "Name": name.title(),
        "ident": name,
        "IDENT": name.upper(),
        "value": value,
        "first": name[:1],
        "rest": name[1:],
        "hex": f"{ord(name[0]):02x}",
        "octal": f"{ord(name[0]):03o}",
        "unicode": f"{ord(name[0]):04x}",
        "hexname": name.encode().hex(),
        "reversed": name[::-1],
        "length": str(len(name)),
    }
    for key, part in parts.items():
        text = text.replace("{" + key + "}", part)
    return text.replace("{{", "{").replace("}}", "}")


def escapes(name: str, value: str, *, everywhere: bool) -> Iterator[Escape]:
    """Attempts to give a variable a value. `everywhere`: in every spelling and every place."""
    plain = EXPRESSIONS[0]
    texts = [(place, plain) for place in PLACES] if everywhere else []
    texts += [(("SELECT {e}",), expression) for expression in EXPRESSIONS[: None if everywhere else 12]]
    for place, expression in texts:
        yield tuple(_filled(text.replace("{e}", expression), name, value) for text in place)
    for statement in STATEMENTS:
        filled = tuple(_filled(text, name, value) for text in statement)
        if everywhere or filled != statement:
            yield filled


def code(name: str, value: str) -> Iterator[Escape]:
    """The same by code of the client's own."""
    for attempt in CODE:
        yield tuple(_filled(text, name, value) for text in attempt)
