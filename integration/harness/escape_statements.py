"""Statements that change who a session is by their own words. `escapes` fills in names and values."""

from __future__ import annotations

Escape = tuple[str, ...]

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
