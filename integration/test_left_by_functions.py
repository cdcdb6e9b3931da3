"""What functions leave on a server is not there for the next client, as `server_cleaning` promises."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness import eventually, primary_alone
from harness import wire as w
from harness.activity import end_backends
from harness.cluster import DATABASE
from harness.target import Target
from harness.wire import Wire

PLAIN = ("service", "service-secret")
ROOT = ("cleaned_root", "root-secret")
USERS = [{"name": name, "password": password, "database": DATABASE} for name, password in (PLAIN, ROOT)]

# What there is to be left, and how a function does it.
LEAVINGS = {
    "role": "PERFORM set_config('role', 'subjects', false)",
    "variable": "PERFORM set_config('app.tenant', 'acme', false)",
    "setting": "PERFORM set_config('work_mem', '7MB', false)",
    "table": "CREATE TEMP TABLE left_table (a int)",
    "type": "CREATE TYPE pg_temp.left_type AS ENUM ('a')",
    "function": "CREATE FUNCTION pg_temp.left_function() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "lock": "PERFORM pg_advisory_lock(4711)",
    "channel": "LISTEN left_channel",
    "cursor": "DECLARE left_cursor CURSOR WITH HOLD FOR SELECT 1",
    "statement": "PREPARE left_statement AS SELECT 1",
}
OWNER = "PERFORM set_config('role', 'pg_database_owner', false)"
AUTHORIZATION = "PERFORM set_config('session_authorization', 'service', false)"
BRANCHES = " ".join(
    f"WHEN '{name}' THEN {sql};" if sql.startswith("PERFORM") else f"WHEN '{name}' THEN EXECUTE $s${sql}$s$;"
    for name, sql in (LEAVINGS | {"authorization": AUTHORIZATION, "owner": OWNER}).items()
)
# What is left is told by a comment in the client's text.
SCHEMA = f"""
    CREATE SCHEMA left_by;
    GRANT USAGE ON SCHEMA left_by TO PUBLIC;
    CREATE FUNCTION left_by.something(ignored int DEFAULT 1) RETURNS int LANGUAGE plpgsql AS $f$
        BEGIN CASE coalesce(substring(current_query() FROM 'leaves (\\w+)'), '')
            {BRANCHES}
            ELSE NULL; END CASE;
        RETURN ignored; END $f$;
    CREATE FUNCTION left_by.always_the_same(a int) RETURNS int IMMUTABLE LANGUAGE plpgsql
        AS $$ BEGIN RETURN left_by.something(a); END $$;
    CREATE TABLE left_by.plain (a int);
    INSERT INTO left_by.plain VALUES (1);
    CREATE VIEW left_by.view AS SELECT left_by.something(a) FROM left_by.plain;
    CREATE VIEW left_by.view_of_view AS SELECT * FROM left_by.view;
    CREATE FUNCTION left_by.triggered() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN PERFORM left_by.something(); RETURN NULL; END $$;
    CREATE TABLE left_by.triggering (a int);
    CREATE TRIGGER runs AFTER INSERT ON left_by.triggering EXECUTE FUNCTION left_by.triggered();
    CREATE TABLE left_by.deferring (a int);
    CREATE CONSTRAINT TRIGGER runs AFTER INSERT ON left_by.deferring DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION left_by.triggered();
    CREATE TABLE left_by.parent (a int PRIMARY KEY);
    CREATE TABLE left_by.child (a int REFERENCES left_by.parent ON DELETE CASCADE);
    CREATE TRIGGER runs AFTER DELETE ON left_by.child FOR EACH ROW EXECUTE FUNCTION left_by.triggered();
    INSERT INTO left_by.parent SELECT generate_series(1, 1000);
    INSERT INTO left_by.child SELECT generate_series(1, 1000);
    CREATE TABLE left_by.ruled (a int);
    CREATE RULE runs AS ON INSERT TO left_by.ruled DO ALSO SELECT left_by.something();
    CREATE TABLE left_by.defaulting (a int DEFAULT left_by.something(), b int);
    CREATE TABLE left_by.generating (a int, b int GENERATED ALWAYS AS (left_by.always_the_same(a)) STORED);
    CREATE TABLE left_by.checking (a int CHECK (left_by.something(a) > 0));
    CREATE TABLE left_by.indexing (a int);
    CREATE INDEX ON left_by.indexing (left_by.always_the_same(a));
    CREATE TABLE left_by.policed (a int);
    INSERT INTO left_by.policed VALUES (1);
    ALTER TABLE left_by.policed ENABLE ROW LEVEL SECURITY;
    CREATE POLICY runs ON left_by.policed USING (left_by.something(a) = 1);
    CREATE TABLE left_by.parted (a int) PARTITION BY LIST (a);
    CREATE TABLE left_by.part PARTITION OF left_by.parted FOR VALUES IN (1);
    CREATE TRIGGER runs AFTER INSERT ON left_by.part FOR EACH ROW EXECUTE FUNCTION left_by.triggered();
    CREATE DOMAIN left_by.checked AS int CHECK (left_by.something(VALUE) > 0);
    CREATE TABLE left_by.checked_column (a left_by.checked);
    CREATE TYPE left_by.composite AS (a left_by.checked);
    CREATE FUNCTION left_by.joined(a int, b text) RETURNS int LANGUAGE plpgsql
        AS $$ BEGIN RETURN left_by.something(a); END $$;
    CREATE OPERATOR public.+| (leftarg = int, rightarg = text, function = left_by.joined);
    CREATE OPERATOR public.- (leftarg = int, rightarg = text, function = left_by.joined);
    CREATE TYPE left_by.size AS ENUM ('small', 'large');
    CREATE FUNCTION left_by.same(a left_by.size, b left_by.size) RETURNS bool LANGUAGE plpgsql
        AS $$ BEGIN RETURN left_by.something() = 1; END $$;
    CREATE OPERATOR public.= (leftarg = left_by.size, rightarg = left_by.size, function = left_by.same);
    CREATE TABLE left_by.sized (a left_by.size);
    INSERT INTO left_by.sized VALUES ('small');
    CREATE FUNCTION left_by.size_of(a int) RETURNS left_by.size LANGUAGE plpgsql
        AS $$ BEGIN PERFORM left_by.something(); RETURN 'small'; END $$;
    CREATE CAST (int AS left_by.size) WITH FUNCTION left_by.size_of(int);
    CREATE FUNCTION left_by.add(a int, b int) RETURNS int LANGUAGE plpgsql
        AS $$ BEGIN RETURN left_by.something(a + b); END $$;
    CREATE AGGREGATE left_by.total (int) (sfunc = left_by.add, stype = int, initcond = '0');
    CREATE PROCEDURE left_by.proceed() LANGUAGE plpgsql AS $$ BEGIN PERFORM left_by.something(); END $$;
    CREATE FUNCTION public.attributed(a left_by.plain) RETURNS int LANGUAGE plpgsql
        AS $$ BEGIN RETURN left_by.something(); END $$;
    CREATE FUNCTION public.sha256(a int) RETURNS int LANGUAGE plpgsql
        AS $$ BEGIN RETURN left_by.something(); END $$;
    GRANT ALL ON ALL TABLES IN SCHEMA left_by TO PUBLIC;
    CREATE ROLE cleaned_root LOGIN SUPERUSER PASSWORD 'root-secret';
"""
CLEAN = """
    DROP FUNCTION public.attributed; DROP FUNCTION public.sha256(int);
    DROP OPERATOR public.+| (int, text); DROP OPERATOR public.- (int, text);
    DROP SCHEMA left_by CASCADE; DROP ROLE cleaned_root;
"""

# How a function is reached.
WAYS = {
    "call": "SELECT left_by.something()",
    "call in FROM": "SELECT * FROM left_by.something()",
    "call in WITH": "WITH x AS (SELECT left_by.something()) SELECT * FROM x",
    "overload of a function of PostgreSQL's": "SELECT sha256(1)",
    "attribute": "SELECT p.attributed FROM left_by.plain p",
    "view": "SELECT * FROM left_by.view",
    "view of a view": "SELECT * FROM left_by.view_of_view",
    "trigger": "INSERT INTO left_by.triggering VALUES (1)",
    "deferred trigger": "INSERT INTO left_by.deferring VALUES (1)",
    "trigger of a child": "DELETE FROM left_by.parent WHERE a = (SELECT max(a) FROM left_by.parent)",
    "trigger of a partition": "INSERT INTO left_by.parted VALUES (1)",
    "rule": "INSERT INTO left_by.ruled VALUES (1)",
    "default": "INSERT INTO left_by.defaulting (b) VALUES (1)",
    "generated column": "INSERT INTO left_by.generating (a) VALUES (1)",
    "check": "INSERT INTO left_by.checking VALUES (1)",
    "index": "INSERT INTO left_by.indexing VALUES (1)",
    "policy": "SELECT * FROM left_by.policed",
    "domain": "SELECT 1::left_by.checked",
    "column of a domain": "INSERT INTO left_by.checked_column VALUES (1)",
    "composite of a domain": "SELECT '(1)'::left_by.composite",
    "operator": "SELECT 1 +| 'x'::text",
    "overload of an operator": "SELECT 1 - 'x'::text",
    "operator of a type": "SELECT a = a FROM left_by.sized",
    "cast": "SELECT 1::left_by.size",
    "aggregate": "SELECT left_by.total(a) FROM left_by.plain",
    "window": "SELECT left_by.total(a) OVER () FROM left_by.plain",
    "CALL": "CALL left_by.proceed()",
    "DO": "DO $$ BEGIN PERFORM left_by.something(); END $$",
    "COPY to": "COPY (SELECT * FROM left_by.view) TO STDOUT",
    "EXPLAIN ANALYZE": "EXPLAIN ANALYZE SELECT * FROM left_by.view",
    "cursor": "BEGIN; DECLARE c CURSOR FOR SELECT * FROM left_by.view; FETCH ALL FROM c; COMMIT",
    "PREPARE": "PREPARE p AS SELECT * FROM left_by.view; EXECUTE p; DEALLOCATE p",
}
STATE = """SELECT current_user, session_user, coalesce(current_setting('app.tenant', true), ''),
    current_setting('work_mem'),
    (SELECT count(*) FROM pg_depend WHERE refobjid = pg_my_temp_schema() AND pg_my_temp_schema() <> 0),
    (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
    (SELECT count(*) FROM pg_listening_channels()), (SELECT count(*) FROM pg_cursors WHERE is_holdable),
    (SELECT count(*) FROM pg_prepared_statements WHERE from_sql)"""
PID = "SELECT pg_backend_pid()"


@pytest.fixture(scope="module")
def leaving(cluster: Any) -> Iterator[Any]:
    """The cluster with functions that leave something, and all ways to them."""
    with cluster.admin() as admin:
        admin.execute(SCHEMA)
    yield cluster
    with cluster.admin() as admin:
        end_backends(admin, "usename = 'cleaned_root'")
        admin.execute(CLEAN)


@pytest.fixture(scope="module")
def gateway_of(make_module_gateway: Any, leaving: Any) -> Callable[[str], Target]:
    """For each value a gateway with one server connection for each user. One value is the default."""

    @functools.cache
    def started(value: str) -> Target:
        general = {} if value == "when_needed" else {"server_cleaning": value}
        return make_module_gateway(
            general={"default_pool_size": 1} | general, databases=[primary_alone(leaving)], users=USERS
        )

    return started


@pytest.fixture(params=["always", "when_needed"])
def cleaning(request: pytest.FixtureRequest, gateway_of: Callable[[str], Target]) -> Target:
    return gateway_of(request.param)


def leaves(sql: str, what: str) -> str:
    """The statement, told what to leave."""
    return f"{sql} /* leaves {what} */"


def state(wire: Wire) -> tuple[Any, ...]:
    return wire.rows(STATE)[0]


def usual(target: Target, user: tuple[str, str] = PLAIN) -> tuple[Any, ...]:
    """What a client finds where nothing was left."""
    with target.wire(*user) as first:
        first.query("DO $$ BEGIN END $$")
    with target.wire(*user) as wire:
        found = state(wire)
    assert found == (user[0], user[0], "", found[3], "0", "0", "0", "0", "0")
    return found


@pytest.mark.parametrize("leaver", ["stays", "leaves"])
@pytest.mark.parametrize("what", LEAVINGS)
@pytest.mark.parametrize("way", ["call", "view", "trigger"])
def test_the_next_client_finds_nothing(cleaning: Target, way: str, what: str, leaver: str) -> None:
    before = usual(cleaning)
    with cleaning.wire(*PLAIN) as one:
        pid = one.value(PID)
        one.query(leaves(WAYS[way], what))
        if leaver == "leaves":
            one.close()
        with cleaning.wire(*PLAIN) as other:
            assert state(other) == before
            assert other.value(PID) == pid


@pytest.mark.parametrize("what", ["role", "variable"])
@pytest.mark.parametrize("way", WAYS)
def test_it_does_not_matter_how_the_function_was_reached(cleaning: Target, way: str, what: str) -> None:
    before = usual(cleaning)
    with cleaning.wire(*PLAIN) as one, cleaning.wire(*PLAIN) as other:
        one.query(leaves(WAYS[way], what))
        assert state(other) == before


@pytest.mark.parametrize("way", ["call", "view", "trigger", "policy", "operator of a type"])
def test_it_does_not_matter_in_which_protocol(cleaning: Target, way: str) -> None:
    before = usual(cleaning)
    with cleaning.wire(*PLAIN) as one, cleaning.wire(*PLAIN) as other:
        for name in ("", "named"):
            one.send(w.parse(leaves(WAYS[way], "role"), name), w.SYNC)
            one.until_ready()
            assert state(other) == before
            one.send(w.bind((), name), w.execute(), w.SYNC)
            one.until_ready()
            assert state(other) == before


def test_a_parameter_of_a_domain_runs_its_check(cleaning: Target, leaving: Any) -> None:
    with leaving.admin() as admin:
        number = admin.execute("SELECT 'left_by.checked'::regtype::oid::int").fetchone()[0]
    before = usual(cleaning)
    with cleaning.wire(*PLAIN) as one, cleaning.wire(*PLAIN) as other:
        one.send(w.parse(leaves("SELECT $1", "role"), types=(number,)), w.bind((b"1",)), w.execute(), w.SYNC)
        one.until_ready()
        assert state(other) == before


# PostgreSQL looks at constants, and runs what checks them, when it prepares a statement.
AT_PARSE = {
    "composite of a domain": "SELECT '(1)'::left_by.composite",
    "array of a domain": "SELECT '{1}'::left_by.checked[]",
}


@pytest.mark.parametrize("what", ["role", "variable", "setting", "lock", "table"])
@pytest.mark.parametrize("how", ["unnamed", "named", "described", "on another server"])
@pytest.mark.parametrize("way", AT_PARSE)
def test_a_statement_that_was_only_prepared(
    make_gateway: Callable[..., Target], leaving: Any, way: str, how: str, what: str
) -> None:
    target = make_gateway(
        general={"default_pool_size": 2 if how == "on another server" else 1},
        databases=[primary_alone(leaving)],
        users=USERS,
    )
    before = usual(target)
    sql = leaves(AT_PARSE[way], what)
    name = "" if how == "unnamed" else "named"
    with target.wire(*PLAIN) as one, target.wire(*PLAIN) as other:
        one.send(w.parse(sql, name), *([w.describe("S", name)] if how == "described" else []), w.SYNC)
        one.until_ready()
        if how == "on another server":
            other.query("BEGIN")
            one.send(w.describe("S", name), w.SYNC)
            one.until_ready()
            other.query("COMMIT")
            with target.wire(*PLAIN) as third:
                other.query("BEGIN")
                assert [state(other), state(third)] == [before, before]
        else:
            assert state(other) == before


@pytest.mark.parametrize("leaver", ["stays", "leaves"])
def test_session_authorization_is_put_right(cleaning: Target, leaver: str) -> None:
    before = usual(cleaning, ROOT)
    with cleaning.wire(*ROOT) as one:
        one.query(leaves(WAYS["view"], "authorization"))
        if leaver == "leaves":
            one.close()
        with cleaning.wire(*ROOT) as other:
            assert state(other) == before


def test_transactions_that_fail_leave_nothing_either(cleaning: Target) -> None:
    before = usual(cleaning)
    with cleaning.wire(*PLAIN) as one, cleaning.wire(*PLAIN) as other:
        one.query("BEGIN")
        one.query(leaves(WAYS["view"], "lock"))
        one.send(w.query("SELECT 1/0"))
        one.until_ready()
        one.query("ROLLBACK")
        assert state(other) == before


def test_settings_of_the_next_client_are_its_own(cleaning: Target) -> None:
    with cleaning.wire(*PLAIN) as one, cleaning.wire(*PLAIN) as other:
        other.query("SET work_mem = '9MB'")
        other.query("SET app.tenant = 'umbrella'")
        one.query(leaves(WAYS["call"], "variable"))
        assert state(other)[2:4] == ("umbrella", "9MB")
        one.query(leaves(WAYS["call"], "role"))
        assert state(other)[:4] == ("service", "service", "umbrella", "9MB")


def test_statements_that_are_prepared_survive_the_cleaning(cleaning: Target) -> None:
    with cleaning.wire(*PLAIN) as one, cleaning.wire(*PLAIN) as other:
        other.send(w.parse("SELECT 42", "p"), w.SYNC)
        other.until_ready()
        for _ in range(3):
            one.query(leaves(WAYS["call"], "role"))
            other.send(w.bind((), "p"), w.execute(), w.SYNC)
            assert any(b"42" in message.body for message in other.until_ready())


def test_the_same_subject_on_pools_of_its_own(cleaning: Target) -> None:
    with cleaning.wire("alice") as one, cleaning.wire("alice") as other:
        before = state(other)
        assert before[:3] == ("alice", "gateway", "")
        for what in ("variable", "setting", "table", "lock", "channel"):
            one.query(leaves(WAYS["view"], what))
            assert state(other) == before


@pytest.fixture
def late_trigger(leaving: Any) -> Iterator[Callable[[], None]]:
    """Makes a table that was plain run code, past the gateway."""
    with leaving.admin() as admin:
        yield lambda: admin.execute(
            "CREATE TRIGGER late AFTER INSERT ON left_by.plain EXECUTE FUNCTION left_by.triggered()"
        )
        admin.execute("DROP TRIGGER IF EXISTS late ON left_by.plain")


def until_plain(wire: Wire) -> None:
    """Until the gateway knows that writing to the table runs no other code."""

    def survives() -> bool:
        wire.query("INSERT INTO left_by.plain VALUES (1)")
        wire.send(w.parse("SELECT 42", "p"), w.SYNC, w.close("S", "p"), w.SYNC)
        wire.until_ready(), wire.until_ready()
        return prepared(wire) > 0

    eventually(survives, "look at the catalogue")


def test_a_role_is_put_right_whatever_is_known_of_the_code(
    cleaning: Target, late_trigger: Callable[[], None]
) -> None:
    before = usual(cleaning)
    with cleaning.wire(*PLAIN) as one, cleaning.wire(*PLAIN) as other:
        until_plain(one)
        late_trigger()
        one.query(leaves("INSERT INTO left_by.plain VALUES (1)", "role"))
        assert state(other) == before


def test_the_owner_of_a_database_is_a_member_without_being_listed(
    make_gateway: Callable[..., Target], leaving: Any, late_trigger: Callable[[], None]
) -> None:
    owner = ("left_owner", "owner-secret")
    with leaving.admin() as admin:
        if admin.info.server_version < 140_000:
            pytest.skip("PostgreSQL 13 has no pg_database_owner")
        admin.execute(f"CREATE ROLE {owner[0]} LOGIN PASSWORD '{owner[1]}'")
        before = admin.execute(
            "SELECT datdba::regrole FROM pg_database WHERE datname = current_database()"
        ).fetchone()[0]
        admin.execute(
            f"ALTER DATABASE {DATABASE} OWNER TO {owner[0]}; GRANT CREATE ON SCHEMA left_by TO {owner[0]}"
        )
    users = [{"name": owner[0], "password": owner[1], "database": DATABASE}]
    target = make_gateway(general={"default_pool_size": 1}, databases=[primary_alone(leaving)], users=users)
    try:
        with target.wire(*owner) as one, target.wire(*owner) as other:
            until_plain(one)
            late_trigger()
            one.query("INSERT INTO left_by.plain VALUES (1) /* leaves owner */")
            assert state(other)[0] == owner[0]
    finally:
        target.gateway.stop()
        with leaving.admin() as admin:
            admin.execute(
                f"ALTER DATABASE {DATABASE} OWNER TO {before}; DROP OWNED BY {owner[0]}; DROP ROLE {owner[0]}"
            )


def test_a_role_of_the_clients_own_follows_it(cleaning: Target) -> None:
    with cleaning.wire(*PLAIN) as one, cleaning.wire(*PLAIN) as other:
        one.query("SET ROLE subjects")
        one.send(w.parse("SELECT current_user", "who"), w.SYNC)
        one.until_ready()
        for _ in range(3):
            one.send(w.bind((), "who"), w.execute(), w.SYNC)
            assert [each.row for each in one.until_ready() if each.type == "D"] == [("subjects",)]
            other.send(w.extended("SELECT current_user"))
            assert [each.row for each in other.until_ready() if each.type == "D"] == [("service",)]


def test_a_short_time_limit_does_not_stop_the_next_client(cleaning: Target) -> None:
    with cleaning.wire(*PLAIN) as one, cleaning.wire(*PLAIN) as other:
        one.query("SET statement_timeout = '1s'")
        for _ in range(3):
            assert one.value("SELECT current_user") == "service"
            assert other.value("SHOW statement_timeout") == "0"


def prepared(wire: Wire) -> int:
    """Statements that the server holds: cleaning takes them."""
    return int(wire.value("SELECT count(*) FROM pg_prepared_statements WHERE NOT from_sql") or 0)


def test_where_it_is_not_needed_nothing_is_cleaned(gateway_of: Callable[[str], Target]) -> None:
    target = gateway_of("when_needed")
    with target.wire(*PLAIN) as one, target.wire(*PLAIN) as other:

        def survives() -> bool:
            one.send(w.parse("SELECT 'survives'", "p"), w.bind((), "p"), w.execute(), w.SYNC)
            one.until_ready()
            one.query("INSERT INTO left_by.plain SELECT 2 WHERE false")
            one.query("SELECT count(*), now(), lower('x') FROM left_by.plain p WHERE p.a = 1")
            kept = prepared(other) > 0
            one.send(w.close("S", "p"), w.SYNC)
            one.until_ready()
            return kept

        eventually(survives, "a look at the database")
        one.query(leaves(WAYS["view"], "nothing"))
        assert prepared(other) == 0


def test_a_change_that_goes_through_the_gateway_is_seen_at_once(gateway_of: Callable[[str], Target]) -> None:
    target = gateway_of("when_needed")
    with target.wire(*ROOT) as root:
        root.query("CREATE TABLE left_by.changing (a int); GRANT ALL ON left_by.changing TO PUBLIC")
        before = usual(target)
        with target.wire(*PLAIN) as one, target.wire(*PLAIN) as other:

            def is_plain() -> bool:
                one.send(w.parse("SELECT 'plain'", "q"), w.bind((), "q"), w.execute(), w.SYNC)
                one.until_ready()
                one.query("INSERT INTO left_by.changing VALUES (1)")
                kept = prepared(other) > 0
                one.send(w.close("S", "q"), w.SYNC)
                one.until_ready()
                return kept

            eventually(is_plain, "a look at the new table", 20)
            root.query(
                "CREATE TRIGGER t AFTER INSERT ON left_by.changing EXECUTE FUNCTION left_by.triggered()"
            )
            one.query(leaves("INSERT INTO left_by.changing VALUES (1)", "role"))
            assert state(other) == before
        root.query("DROP TABLE left_by.changing")


def test_a_session_may_find_what_its_own_functions_left(gateway_of: Callable[[str], Target]) -> None:
    target = gateway_of("when_needed")
    usual(target)
    with target.wire(*PLAIN) as one:
        one.query(leaves(WAYS["call"], "variable"))
        assert state(one)[2] == "acme"


def test_never_promises_nothing(gateway_of: Callable[[str], Target]) -> None:
    target = gateway_of("never")
    usual(target)
    with target.wire(*PLAIN) as one, target.wire(*PLAIN) as other:
        one.query(leaves(WAYS["call"], "variable"))
        assert state(other)[2] == "acme"
