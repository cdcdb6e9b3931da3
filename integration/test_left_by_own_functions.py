"""What PostgreSQL's own functions leave on a server, reached through what a database stores, is not there for
the next client, as the default `server_cleaning = "when_needed"` promises."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from harness import eventually, primary_alone
from harness import wire as w
from harness.cluster import DATABASE
from harness.target import Target
from harness.wire import Wire

USER = ("service", "service-secret")
LEAVES = "set_config('app.tenant', 'acme', false)"
LOCKS = "pg_advisory_lock(4711)"

SCHEMA = f"""
    CREATE SCHEMA own_code;
    GRANT USAGE ON SCHEMA own_code TO PUBLIC;
    CREATE FUNCTION own_code.leak() RETURNS text LANGUAGE plpgsql
        AS $$ BEGIN PERFORM set_config('role', 'subjects', false); RETURN 'x'; END $$;
    CREATE TABLE own_code.plain (
        id serial, a int DEFAULT 1 + 1, b text DEFAULT lower('X'), c timestamptz DEFAULT now());
    INSERT INTO own_code.plain DEFAULT VALUES;
    CREATE VIEW own_code.plain_view AS
        SELECT a + 1 AS a, upper(b) AS b FROM own_code.plain WHERE c <= clock_timestamp();
    CREATE VIEW own_code.setting AS SELECT {LEAVES} AS x;
    CREATE VIEW own_code.setting_below AS SELECT a FROM own_code.plain
        WHERE a > 0 AND coalesce((SELECT max(x) FROM (SELECT {LEAVES} AS x) y), '') <> '';
    CREATE VIEW own_code.view_of_view AS SELECT * FROM own_code.setting;
    CREATE VIEW own_code.named AS
        SELECT 'funcid 1 '::text AS " :funcid 1 ", {LEAVES} AS "x:funcid", a AS "funcid "
        FROM own_code.plain "a:funcid";
    CREATE VIEW own_code.role AS SELECT set_config('role', 'subjects', false) AS x;
    CREATE VIEW own_code.locking AS SELECT {LOCKS}::text AS x;
    CREATE VIEW own_code.trying AS SELECT pg_try_advisory_lock_shared(4711) AS x;
    CREATE VIEW own_code.running AS
        SELECT ndoc FROM ts_stat('SELECT set_config(''role'', ''subjects'', false)::tsvector');
    CREATE VIEW own_code.leaking AS SELECT own_code.leak()::tsvector AS x;
    CREATE TABLE own_code.defaulting (a int, b text DEFAULT {LEAVES});
    CREATE DOMAIN own_code.defaulted AS text DEFAULT {LEAVES};
    CREATE TABLE own_code.defaulting_type (a int, b own_code.defaulted);
    CREATE TABLE own_code.checking (a int CHECK ({LEAVES} IS NOT NULL));
    CREATE DOMAIN own_code.checked AS text CHECK ({LEAVES} IS NOT NULL);
    CREATE TABLE own_code.checked_column (a own_code.checked);
    CREATE TYPE own_code.composite AS (a own_code.checked);
    CREATE TABLE own_code.reading (a int);
    INSERT INTO own_code.reading VALUES (1);
    ALTER TABLE own_code.reading ENABLE ROW LEVEL SECURITY;
    CREATE POLICY runs ON own_code.reading USING ({LEAVES} IS NOT NULL);
    CREATE TABLE own_code.writing (a int);
    ALTER TABLE own_code.writing ENABLE ROW LEVEL SECURITY;
    CREATE POLICY runs ON own_code.writing WITH CHECK ({LEAVES} IS NOT NULL);
    CREATE TABLE own_code.ruled (a int);
    CREATE RULE runs AS ON INSERT TO own_code.ruled DO ALSO SELECT {LEAVES};
    CREATE TABLE own_code.ruled_where (a int);
    CREATE RULE runs AS ON INSERT TO own_code.ruled_where WHERE {LEAVES} IS NULL DO INSTEAD NOTHING;
    CREATE TABLE own_code.triggering (a int);
    INSERT INTO own_code.triggering VALUES (1);
    CREATE TRIGGER runs BEFORE UPDATE ON own_code.triggering FOR EACH ROW
        WHEN ({LEAVES} IS NOT NULL) EXECUTE FUNCTION suppress_redundant_updates_trigger();
    CREATE TABLE own_code.parted (a int) PARTITION BY LIST (a);
    CREATE TABLE own_code.part PARTITION OF own_code.parted FOR VALUES IN (1);
    ALTER TABLE own_code.part ADD CHECK ({LEAVES} IS NOT NULL);
    CREATE OPERATOR public.|| (leftarg = int, rightarg = int, function = pg_advisory_lock);
    CREATE OPERATOR public.@#@ (rightarg = bigint, function = pg_advisory_lock);
    CREATE VIEW own_code.operating AS SELECT (a OPERATOR(public.||) 4711)::text AS x FROM own_code.plain;
    CREATE VIEW own_code.settings AS SELECT name, setting FROM pg_settings;
    CREATE DOMAIN own_code.plain_domain AS own_code.plain;
    CREATE FUNCTION public.attributed_domain(a own_code.plain_domain) RETURNS text LANGUAGE sql VOLATILE
        AS $$ SELECT {LEAVES} $$;
    CREATE TABLE own_code.texts (a text);
    INSERT INTO own_code.texts VALUES ('table/**/own_code.leaking');
    CREATE CAST (own_code.texts AS text) WITH INOUT AS IMPLICIT;
    CREATE FUNCTION public.attributed_text(a text) RETURNS text LANGUAGE sql VOLATILE
        AS $$ SELECT {LEAVES} $$;
    GRANT ALL ON ALL TABLES IN SCHEMA own_code TO PUBLIC;
    GRANT ALL ON ALL SEQUENCES IN SCHEMA own_code TO PUBLIC;
"""
CLEAN = """
    DROP SCHEMA own_code CASCADE; DROP FUNCTION public.attributed_text;
    DROP OPERATOR public.|| (int, int); DROP OPERATOR public.@#@ (NONE, bigint);
"""
# With XML, which not every server is built with.
XML = """
    CREATE VIEW own_code.xml AS SELECT query_to_xml('SELECT own_code.leak()', true, true, '')::text AS x;
    CREATE VIEW own_code.xml_of_table AS
        SELECT table_to_xml(('own_code.' || 'role')::regclass, true, true, '')::text AS x;
    GRANT SELECT ON own_code.xml, own_code.xml_of_table TO PUBLIC;
"""

WAYS = {
    "view": "SELECT * FROM own_code.setting",
    "query below": "SELECT * FROM own_code.setting_below",
    "view of a view": "SELECT * FROM own_code.view_of_view",
    "names that look like the tree of an expression": "SELECT * FROM own_code.named",
    "role": "SELECT * FROM own_code.role",
    "lock": "SELECT * FROM own_code.locking",
    "lock that is tried": "SELECT * FROM own_code.trying",
    "text that is run": "SELECT * FROM own_code.running",
    "default": "INSERT INTO own_code.defaulting (a) VALUES (1)",
    "default of a domain": "INSERT INTO own_code.defaulting_type (a) VALUES (1)",
    "check": "INSERT INTO own_code.checking VALUES (1)",
    "domain": "SELECT 'x'::own_code.checked",
    "column of a domain": "INSERT INTO own_code.checked_column VALUES ('x')",
    "composite of a domain": "SELECT '(x)'::own_code.composite",
    "policy that reads": "SELECT * FROM own_code.reading",
    "policy that writes": "INSERT INTO own_code.writing VALUES (1)",
    "rule": "INSERT INTO own_code.ruled VALUES (1)",
    "rule's condition": "INSERT INTO own_code.ruled_where VALUES (1)",
    "trigger's condition": "UPDATE own_code.triggering SET a = 2",
    "check of a partition": "INSERT INTO own_code.parted VALUES (1)",
    "operator": "SELECT 4711 || 4711",
    "operator before": "SELECT @#@ 4711::bigint",
    "operator in a view": "SELECT * FROM own_code.operating",
    "attribute by a domain": "SELECT p.attributed_domain FROM own_code.plain p",
    "attribute by a cast": "SELECT t.attributed_text FROM own_code.texts t",
    "attribute that is PostgreSQL's own": "SELECT t.ts_stat FROM own_code.texts t",
    "settings": "UPDATE pg_settings SET setting = '7MB' WHERE name = 'work_mem'",
    "settings explained": "EXPLAIN ANALYZE UPDATE pg_settings SET setting = '7MB' WHERE name = 'work_mem'",
    "settings by a view": "UPDATE own_code.settings SET setting = '7MB' WHERE name = 'work_mem'",
    "COPY": "COPY (SELECT * FROM own_code.setting) TO STDOUT",
}
PLAIN = [
    "SELECT * FROM own_code.plain_view",
    "INSERT INTO own_code.plain (a) VALUES (2)",
    "SELECT count(*) FROM pg_stat_activity",
    "SELECT count(*) FROM pg_settings",
    "SELECT count(*) FROM pg_locks",
    "SELECT name FROM own_code.settings",
    "SELECT count(*) FROM own_code.ruled",
    "SELECT gen_random_uuid(), random(), statement_timestamp()",
]
STATE = """SELECT current_user, coalesce(current_setting('app.tenant', true), ''),
    current_setting('work_mem'),
    (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())"""


@pytest.fixture(scope="module")
def has_xml(cluster: Any) -> bool:
    with cluster.admin() as admin:
        built = admin.execute("SELECT setting FROM pg_config() WHERE name = 'CONFIGURE'").fetchone()
    return "with-libxml" in built[0]


@pytest.fixture(scope="module")
def target(make_module_gateway: Any, cluster: Any, has_xml: bool) -> Iterator[Target]:
    """One server connection for the user, and a gateway that has looked at the database."""
    with cluster.admin() as admin:
        admin.execute(SCHEMA)
        if has_xml:
            admin.execute(XML)
    users = [{"name": USER[0], "password": USER[1], "database": DATABASE}]
    target = make_module_gateway(
        general={"default_pool_size": 1}, databases=[primary_alone(cluster)], users=users
    )
    await_look(target)
    yield target
    with cluster.admin() as admin:
        admin.execute(CLEAN)


def state(wire: Wire) -> tuple[Any, ...]:
    return wire.rows(STATE)[0]


def is_kept(target: Target, sql: str) -> bool:
    """Whether what a client has prepared survives a statement and a change of client: nothing is cleaned."""
    with target.wire(*USER) as one, target.wire(*USER) as other:
        one.send(w.parse("SELECT 'kept'", "p"), w.bind((), "p"), w.execute(), w.SYNC)
        one.until_ready()
        one.query(sql)
        return other.value("SELECT count(*) FROM pg_prepared_statements WHERE NOT from_sql") != "0"


def await_look(target: Target) -> None:
    eventually(lambda: is_kept(target, "SELECT a FROM own_code.plain"), "a look at the database", 30)


def check(target: Target, sql: str) -> None:
    """After one client's statement, another one finds what it would have found without."""
    with target.wire(*USER) as one, target.wire(*USER) as other:
        one.query("DO $$ BEGIN END $$")
        before = state(other)
        assert (before[0], before[1], before[3]) == (USER[0], "", "0")
        for message in one.query(sql):
            assert message.type != "E", message
        assert state(other) == before


@pytest.mark.parametrize("way", WAYS)
def test_the_next_client_finds_nothing(target: Target, way: str) -> None:
    check(target, WAYS[way])


@pytest.mark.parametrize("view", ["xml", "xml_of_table"])
def test_nor_what_an_export_to_xml_has_run(target: Target, has_xml: bool, view: str) -> None:
    if not has_xml:
        pytest.skip("this PostgreSQL is built without XML")
    check(target, f"SELECT * FROM own_code.{view}")


def test_a_parameter_of_a_domain_runs_its_check(target: Target) -> None:
    with target.wire(*USER) as one, target.wire(*USER) as other:
        before = state(other)
        one.send(
            w.parse("INSERT INTO own_code.checked_column VALUES ($1)"), w.bind((b"x",)), w.execute(), w.SYNC
        )
        one.until_ready()
        assert state(other) == before


@pytest.mark.parametrize("sql", PLAIN)
def test_what_leaves_nothing_is_not_cleaned_after(target: Target, sql: str) -> None:
    assert is_kept(target, sql)


# What one of these makes of PostgreSQL's own names, no name shows: everything counts.
EVERYWHERE = {
    "cast between types of PostgreSQL's": (
        "CREATE CAST (bigint AS bool) WITH FUNCTION pg_try_advisory_lock(bigint)",
        "DROP CAST (bigint AS bool)",
        "SELECT 4711::bigint::bool",
    ),
    "modifier of a type": (
        f"""CREATE FUNCTION own_code.modify(a cstring[]) RETURNS int IMMUTABLE LANGUAGE plpgsql
            AS $$ BEGIN PERFORM {LEAVES}; RETURN 3; END $$;
        CREATE TYPE own_code.modified;
        CREATE FUNCTION own_code.read(cstring) RETURNS own_code.modified
            LANGUAGE internal IMMUTABLE AS 'textin';
        CREATE FUNCTION own_code.show(own_code.modified) RETURNS cstring
            LANGUAGE internal IMMUTABLE AS 'textout';
        CREATE TYPE own_code.modified (
            input = own_code.read, output = own_code.show, typmod_in = own_code.modify, like = text)""",
        "DROP TYPE own_code.modified CASCADE; DROP FUNCTION own_code.modify",
        "SELECT 'own_code.modified(3)'::regtype",
    ),
    "function of PostgreSQL's that was written anew": (
        f"""CREATE OR REPLACE FUNCTION pg_catalog.pg_sleep_for(interval) RETURNS void LANGUAGE plpgsql
            AS $$ BEGIN PERFORM {LEAVES}; END $$""",
        """CREATE OR REPLACE FUNCTION pg_catalog.pg_sleep_for(interval) RETURNS void
            LANGUAGE sql PARALLEL SAFE STRICT COST 1 AS 'SELECT pg_sleep(
            extract(epoch FROM clock_timestamp() + $1) - extract(epoch FROM clock_timestamp()))'""",
        "SELECT pg_sleep_for('0')",
    ),
    "catalogue that may not be read": (
        "REVOKE SELECT ON pg_policy FROM PUBLIC",
        "GRANT SELECT ON pg_policy TO PUBLIC",
        "SELECT * FROM own_code.reading",
    ),
}


@contextmanager
def in_catalogue(cluster: Any, target: Target, make: str, undo: str) -> Iterator[None]:
    """Something that is made past the gateway, which the next look at the database finds."""
    with cluster.admin() as admin:
        admin.execute(make)
        try:
            eventually(lambda: not is_kept(target, "SELECT a FROM own_code.plain"), "the next look", 30)
            yield
        finally:
            admin.execute(undo)
    # A change through the gateway: it looks again sooner.
    with target.wire(*USER) as wire:
        wire.query("DROP TABLE IF EXISTS own_code.nothing")
    await_look(target)


@pytest.mark.parametrize("what", EVERYWHERE)
def test_what_may_be_anywhere_is_cleaned_after(cluster: Any, target: Target, what: str) -> None:
    make, undo, sql = EVERYWHERE[what]
    with in_catalogue(cluster, target, make, undo):
        check(target, sql)
