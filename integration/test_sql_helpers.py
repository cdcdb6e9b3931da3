"""Row-level security helpers: the rows that a session sees and writes, in every kind of table; the status."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from harness import Workspace
from harness.external import is_external
from harness.proof import ClaimsServer, Session, oldest_and_newest, script

INSTALLATIONS = [] if is_external() else oldest_and_newest()
pytestmark = pytest.mark.skipif(not INSTALLATIONS, reason="starts servers of its own")
A, B = "0f8fad5b-d9cb-469f-a165-70867728950e", "7c9e6679-7425-40de-944b-e07fc1f90ae7"


@pytest.fixture(scope="module", params=INSTALLATIONS, ids=lambda one: f"PostgreSQL {one.version}")
def server(request: pytest.FixtureRequest, workspace: Workspace) -> Iterator[ClaimsServer]:
    server = ClaimsServer(workspace, request.param, pgvpd=True)
    server.execute(
        "CREATE ROLE owner LOGIN PASSWORD 'gateway-secret'; CREATE ROLE app_user; GRANT app_user TO gateway"
    )
    yield server
    server.server.stop()


@pytest.fixture
def database(server: ClaimsServer) -> Iterator[ClaimsServer]:
    """Schema `t` is empty and belongs to `owner`."""
    server.execute("DROP SCHEMA IF EXISTS t CASCADE; CREATE SCHEMA t AUTHORIZATION owner")
    server.execute("GRANT USAGE ON SCHEMA t TO PUBLIC")
    yield server
    server.close_sessions()


@pytest.fixture
def owner(database: ClaimsServer) -> Session:
    """Makes tables that everyone may use."""
    owner = database.session(user="owner")
    owner.run("SET search_path = t, public")
    owner.run("ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO PUBLIC")
    return owner


def orders(
    owner: Session, column: str = "tenant_id text", values: tuple[str, str] = ("acme", "umbrella")
) -> None:
    """Table `t.orders`: two rows of the first value, one of the second, one of none."""
    owner.run(f"CREATE TABLE t.orders (n int, {column})")
    for n, value in enumerate((values[0], values[0], values[1], None)):
        owner.run("INSERT INTO t.orders VALUES (%s, %s)", n, value)


def seen(session: Session, table: str = "t.orders") -> list[int]:
    return [row[0] for row in session.run(f"SELECT n FROM {table} ORDER BY n")]


def tenant(database: ClaimsServer, name: Any = "acme", **claims: Any) -> Session:
    return database.subject("alice", {"sub": "alice", "tenant_id": name, **claims})


# --- protect


def test_a_session_sees_the_rows_of_its_tenant(database: ClaimsServer, owner: Session) -> None:
    orders(owner)
    owner.run("SELECT jwt.protect('orders')")

    assert seen(tenant(database, "acme")) == [0, 1]
    assert seen(tenant(database, "umbrella")) == [2]
    assert seen(tenant(database, "other")) == []
    assert seen(tenant(database, "")) == []
    assert seen(tenant(database, None)) == []


def test_without_a_proof_there_is_nothing(database: ClaimsServer, owner: Session) -> None:
    orders(owner)
    owner.run("SELECT jwt.protect('orders')")
    alice = tenant(database)
    stolen = alice.value("SELECT current_setting('jwt.proof')")
    without = database.session(role="bob")

    for value in ("", "x", stolen, stolen[:-1], stolen + "A"):
        without.show(value)
        assert seen(without) == []
    assert seen(owner) == [], "row-level security is not forced"
    alice.run("SET jwt.proof = 'x'")
    assert seen(alice) == []


def test_a_session_writes_the_rows_of_its_tenant_only(database: ClaimsServer, owner: Session) -> None:
    orders(owner)
    owner.run("SELECT jwt.protect('orders')")
    alice = tenant(database)

    for statement in (
        "INSERT INTO t.orders VALUES (9, 'umbrella')",
        "INSERT INTO t.orders VALUES (9, NULL)",
        "UPDATE t.orders SET tenant_id = 'umbrella'",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            alice.run(statement)
    alice.run("INSERT INTO t.orders VALUES (9, 'acme')")
    alice.run("UPDATE t.orders SET n = n + 100")
    alice.run("DELETE FROM t.orders WHERE n > 105 OR tenant_id = 'umbrella'")

    rows = database.execute("SELECT n, tenant_id FROM t.orders ORDER BY n")
    assert rows == [(2, "umbrella"), (3, None), (100, "acme"), (101, "acme")]


@pytest.mark.parametrize(
    ("column", "values", "claims"),
    [
        ("tenant_id uuid", (A, B), (A, B.upper())),
        ("tenant_id int", ("1", "2"), (1, "2")),
        ("tenant_id bigint", ("1", "9007199254740993"), (1, 9007199254740993)),
        ("tenant_id smallint", ("1", "2"), (1, 2)),
        ("tenant_id numeric(6,2)", ("1.5", "2"), (1.5, 2)),
        ("tenant_id varchar(8)", ("acme", "umbrella"), ("acme", "umbrella")),
        ("tenant_id char(8)", ("acme", "umbrella"), ("acme", "umbrella")),
        ("tenant_id name", ("acme", "umbrella"), ("acme", "umbrella")),
        ('tenant_id "char"', ("a", "b"), ("a", "b")),
        ("tenant_id boolean", ("true", "false"), (True, False)),
        ("tenant_id date", ("2026-01-01", "2026-01-02"), ("2026-01-01", "2026-01-02")),
        ("tenant_id inet", ("10.0.0.1", "10.0.0.2"), ("10.0.0.1", "10.0.0.2")),
        ("tenant_id t.tenants", ("acme", "umbrella"), ("acme", "umbrella")),
        ("tenant_id t.short", ("acme", "beta"), ("acme", "beta")),
        ("tenant_id t.colour", ("red", "green"), ("red", "green")),
        ("tenant_id text[]", ("{x,acme}", "{umbrella}"), ("acme", "umbrella")),
        ("tenant_id uuid[]", (f"{{{A},{A}}}", f"{{{B}}}"), (A, B)),
        ("tenant_id varchar(4)[]", ("{x,acme}", "{beta}"), ("acme", "beta")),
        ("tenant_id name[]", ("{x,acme}", "{beta}"), ("acme", "beta")),
        ("tenant_id t.many", ("{x,acme}", "{beta}"), ("acme", "beta")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_columns_of_any_type(
    database: ClaimsServer, owner: Session, column: str, values: tuple[str, str], claims: tuple[Any, Any]
) -> None:
    owner.run("CREATE DOMAIN t.tenants AS text CHECK (value <> ''); CREATE DOMAIN t.short AS varchar(4)")
    owner.run("CREATE TYPE t.colour AS ENUM ('red', 'green'); CREATE DOMAIN t.many AS text[]")
    orders(owner, column, values)

    owner.run("SELECT jwt.protect('orders')")

    assert seen(tenant(database, claims[0])) == [0, 1]
    assert seen(tenant(database, claims[1])) == [2]
    assert seen(database.session(role="bob")) == []


@pytest.mark.parametrize(
    "column", ["varchar(4)", "char(4)", "name", '"char"', "t.short", "t.shorter", "varchar(4)[]", "name[]"]
)
def test_a_longer_tenant_is_not_cut_to_another(database: ClaimsServer, owner: Session, column: str) -> None:
    """An explicit cast to varchar(4) cuts without an error: acme-corp would read the rows of acme."""
    owner.run("CREATE DOMAIN t.short AS varchar(4); CREATE DOMAIN t.shorter AS t.short")
    length = {'"char"': 1, "name": 63, "name[]": 63}.get(column, 4)
    name = "x" * length
    value = f"{{{name}}}" if column.endswith("[]") else name
    orders(owner, f"tenant_id {column}", (value, value))
    owner.run("SELECT jwt.protect('orders')")

    assert seen(tenant(database, name)) == [0, 1, 2]
    for longer in (name + "-corp", name + "x" * 100):
        assert seen(tenant(database, longer)) == []


def test_a_tenant_that_the_type_does_not_have_is_an_error_and_no_row(
    database: ClaimsServer, owner: Session
) -> None:
    orders(owner, "tenant_id uuid", (A, B))
    owner.run("SELECT jwt.protect('orders')")

    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        seen(tenant(database, "acme"))


def test_types_of_extensions_are_compared_as_they_say(database: ClaimsServer, owner: Session) -> None:
    if not database.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'citext'"):
        pytest.skip("citext is not installed")
    database.execute("CREATE EXTENSION IF NOT EXISTS citext SCHEMA public")
    orders(owner, "tenant_id citext", ("Acme", "Umbrella"))
    owner.run("SELECT jwt.protect('orders')")
    assert seen(tenant(database, "ACME")) == [0, 1]


def test_names_that_need_quotes(database: ClaimsServer, owner: Session) -> None:
    schema, table, column = '"o\'dd ""schema"', '"Ta\'ble ""%I"', '"co\'l ""%s; --"'
    claim = "it's \\ a.\"claim"
    database.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema} AUTHORIZATION owner")
    owner.run(
        f"GRANT USAGE ON SCHEMA {schema} TO PUBLIC; CREATE TABLE {schema}.{table} (n int, {column} text)"
    )
    owner.run(f"INSERT INTO {schema}.{table} VALUES (0, 'acme'), (1, 'x')")

    owner.run("SELECT jwt.protect(%s, %s, claim => %s)", f"{schema}.{table}", "co'l \"%s; --", claim)

    assert seen(database.subject("alice", {claim: "acme"}), f"{schema}.{table}") == [0]
    owner.run("SELECT jwt.unprotect(%s)", f"{schema}.{table}")
    assert seen(database.session(role="bob"), f"{schema}.{table}") == [0, 1]


def test_by_another_claim_or_a_variable(database: ClaimsServer, owner: Session) -> None:
    orders(owner)
    owner.run("SELECT jwt.protect('orders', 'tenant_id', claim => 'org.id')")
    assert seen(tenant(database, "umbrella", org={"id": "acme"})) == [0, 1]

    owner.run("SELECT jwt.protect('orders', 'tenant_id', variable => 'app.tenant')")
    session = database.session(role="bob")
    assert seen(session) == []
    session.run("SET app.tenant = 'umbrella'")
    assert seen(session) == [2]
    session.run("SET app.tenant = ''")
    assert seen(session) == []


def test_what_cannot_be_protected_is_said(database: ClaimsServer, owner: Session) -> None:
    orders(owner)
    owner.run("CREATE VIEW t.v AS SELECT * FROM t.orders")
    for call, error in (
        ("jwt.protect('orders', 'tenant')", 'column "tenant" of relation "t.orders" does not exist'),
        ("jwt.protect('orders', 'ctid')", "does not exist"),
        ("jwt.protect('missing')", "does not exist"),
        ("jwt.protect('v')", "is not a table"),
        ("jwt.protect('orders', 'tenant_id', 'a', 'b')", "cannot both be the source"),
        ("jwt.protect('jwt.keys', 'id')", "permission denied|must be owner"),
    ):
        with pytest.raises(psycopg.Error, match=error):
            owner.run(f"SELECT {call}")
    alice = tenant(database)
    for call in ("jwt.protect('t.orders')", "jwt.protect_acl('t.orders', '[{\"column\":\"n\"}]')"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            alice.run(f"SELECT {call}")
    owner.run("SELECT jwt.protect('orders')")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        alice.run("SELECT jwt.unprotect('t.orders')")


def test_protecting_again_changes_nothing_else(database: ClaimsServer, owner: Session) -> None:
    orders(owner)
    for _ in range(3):
        owner.run("SELECT jwt.protect('orders')")
    policies = owner.run(
        "SELECT policyname, permissive FROM pg_policies WHERE tablename = 'orders' ORDER BY 1"
    )
    assert policies == [("jwt_allow", "PERMISSIVE"), ("jwt_protect", "RESTRICTIVE")]


def test_other_policies_never_open_more(database: ClaimsServer, owner: Session) -> None:
    orders(owner)
    owner.run("CREATE POLICY everything ON orders USING (true)")
    owner.run("SELECT jwt.protect('orders')")
    owner.run("CREATE POLICY more ON orders USING (true)")
    assert seen(tenant(database)) == [0, 1]
    assert seen(database.session(role="bob")) == []


def test_other_policies_may_close_more(database: ClaimsServer, owner: Session) -> None:
    orders(owner)
    owner.run("ALTER TABLE orders ENABLE ROW LEVEL SECURITY; CREATE POLICY mine ON orders USING (n = 1)")
    owner.run("SELECT jwt.protect('orders')")
    assert seen(tenant(database)) == [1]


def test_partitions_and_children_are_protected_as_well(database: ClaimsServer, owner: Session) -> None:
    owner.run("CREATE TABLE t.orders (n int, tenant_id text) PARTITION BY RANGE (n)")
    owner.run("CREATE TABLE t.low PARTITION OF t.orders FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (n)")
    owner.run("CREATE TABLE t.lowest PARTITION OF t.low FOR VALUES FROM (0) TO (5)")
    owner.run("INSERT INTO t.orders VALUES (0, 'acme'), (1, 'umbrella')")
    owner.run("SELECT jwt.protect('orders')")
    alice = tenant(database)

    for table in ("t.orders", "t.low", "t.lowest"):
        assert seen(alice, table) == [0]
    owner.run("SELECT jwt.unprotect('orders')")
    assert seen(database.session(role="bob"), "t.lowest") == [0, 1]


def test_unprotect_opens_the_table_again(database: ClaimsServer, owner: Session) -> None:
    orders(owner)
    owner.run("SELECT jwt.protect('orders'), jwt.protect_acl('orders', '[{\"column\": \"tenant_id\"}]')")
    owner.run("SELECT jwt.unprotect('orders'), jwt.unprotect('orders')")
    assert seen(database.session(role="bob")) == [0, 1, 2, 3]
    assert owner.run(
        "SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE oid = 'orders'::regclass"
    ) == [(False, False)]


def test_unprotect_leaves_what_it_did_not_make(database: ClaimsServer, owner: Session) -> None:
    orders(owner)
    owner.run("CREATE POLICY mine ON orders USING (n = 2)")
    owner.run("SELECT jwt.protect('orders'), jwt.unprotect('orders')")
    assert seen(database.session(role="bob")) == [2]


def test_dropping_the_schema_closes_tables(database: ClaimsServer, owner: Session) -> None:
    orders(owner)
    owner.run("CREATE TABLE t.others AS TABLE t.orders")
    owner.run("SELECT jwt.protect('orders'), jwt.protect('others', 'tenant_id', variable => 'app.tenant')")
    alice = tenant(database)
    alice.run("SET app.tenant = 'acme'")
    assert (seen(alice), seen(alice, "t.others")) == ([0, 1], [0, 1])
    keys = database.execute("TABLE jwt.keys")

    database.execute("DROP SCHEMA jwt CASCADE")
    try:
        assert (seen(alice), seen(alice, "t.others")) == ([], [])
    finally:
        database.execute(script(pgvpd=True))
        for key in keys:
            database.execute("INSERT INTO jwt.keys VALUES (%s, %s, %s, %s, %s)", *key)


def test_the_index_is_used(database: ClaimsServer, owner: Session) -> None:
    owner.run(
        "CREATE TABLE t.orders AS SELECT n, (n % 1000)::text AS tenant_id FROM generate_series(1, 20000) n"
    )
    owner.run("CREATE INDEX ON t.orders (tenant_id); ANALYZE t.orders; SELECT jwt.protect('orders')")
    alice = tenant(database, "7")
    plan = "\n".join(row[0] for row in alice.run("EXPLAIN SELECT * FROM t.orders"))
    assert "Index Cond" in plan
    assert "InitPlan" in plan
    assert "installed" not in plan
    assert len(seen(alice)) == 20


# --- security definer views and functions


def test_views_and_functions_of_the_owner_do_not_open_the_table(
    database: ClaimsServer, owner: Session
) -> None:
    orders(owner)
    owner.run("SELECT jwt.protect('orders')")
    owner.run("CREATE VIEW t.all_orders AS SELECT * FROM t.orders; GRANT SELECT ON t.all_orders TO PUBLIC")
    owner.run(
        "CREATE FUNCTION t.every_order() RETURNS SETOF int LANGUAGE sql SECURITY DEFINER "
        "AS 'SELECT n FROM t.orders'"
    )
    alice, bob = tenant(database), database.session(role="bob")

    assert (seen(alice, "t.all_orders"), seen(bob, "t.all_orders")) == ([0, 1], [])
    assert alice.run("SELECT t.every_order()") == [(0,), (1,)]
    assert bob.run("SELECT t.every_order()") == []


def test_a_leaky_function_does_not_see_other_rows(database: ClaimsServer, owner: Session) -> None:
    orders(owner)
    owner.run("SELECT jwt.protect('orders')")
    alice = tenant(database)
    alice.run(
        """CREATE OR REPLACE FUNCTION pg_temp.leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001
           AS $$ BEGIN RAISE NOTICE 'leaked %', $1; RETURN true; END $$"""
    )
    alice.run("SELECT * FROM t.orders WHERE pg_temp.leak(tenant_id)")
    assert not any("umbrella" in message for message in alice.messages)
    assert any("leaked acme" in message for message in alice.messages)
    with pytest.raises(psycopg.Error) as caught:
        alice.run("SELECT * FROM t.orders WHERE tenant_id::int > 0")
    assert "umbrella" not in str(caught.value)


def test_row_security_off_is_an_error(database: ClaimsServer, owner: Session) -> None:
    orders(owner)
    owner.run("SELECT jwt.protect('orders')")
    alice = tenant(database)
    alice.run("SET row_security = off")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        seen(alice)


# --- protect_acl

WAYS = [
    {"column": "owner", "claim": "sub"},
    {"column": "team_id", "claim": "teams", "any": True},
    {"column": "org_id", "claim": "org", "when": {"claim": "roles", "contains": "org-admin"}},
    {"column": "readers", "claim": "sub"},
    {"column": "readers", "claim": "groups", "any": True},
    {"when": {"claim": "support", "equals": "true"}},
]
DOCUMENTS = f"""
CREATE TABLE t.documents (n int, owner text, team_id uuid, org_id int, readers text[]);
INSERT INTO t.documents VALUES (0, 'alice', NULL, NULL, NULL), (1, 'bob', '{A}', 1, NULL),
    (2, 'carol', '{B}', 2, NULL), (3, 'carol', NULL, 1, '{{dave,alice}}'), (4, 'carol', NULL, 2, '{{staff}}'),
    (5, NULL, NULL, NULL, NULL);
"""


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({}, []),
        ({"sub": "alice"}, [0, 3]),
        ({"sub": "bob"}, [1]),
        ({"teams": [A, B]}, [1, 2]),
        ({"teams": A}, [1]),
        ({"teams": []}, []),
        ({"org": 1}, []),
        ({"org": 1, "roles": "org-admin"}, [1, 3]),
        ({"org": 1, "roles": ["x", "org-admin"]}, [1, 3]),
        ({"org": 1, "roles": ["x", "org-admins"]}, []),
        ({"groups": ["staff", "x"]}, [4]),
        ({"sub": "bob", "groups": ["staff"], "teams": [B]}, [1, 2, 4]),
        ({"support": True}, [0, 1, 2, 3, 4, 5]),
        ({"support": "yes"}, []),
    ],
)  # fmt: skip
def test_each_way_opens_its_rows(
    database: ClaimsServer, owner: Session, claims: dict[str, Any], expected: list[int]
) -> None:
    owner.run(DOCUMENTS)
    owner.run("SELECT jwt.protect_acl('documents', %s)", json.dumps(WAYS))
    assert seen(database.subject("alice", claims), "t.documents") == expected
    assert seen(database.session(role="bob"), "t.documents") == []


def test_ways_by_variables(database: ClaimsServer, owner: Session) -> None:
    owner.run(DOCUMENTS)
    ways = [
        {"column": "team_id", "variable": "app.teams", "any": True},
        {"column": "org_id", "variable": "app.org", "when": {"variable": "app.roles", "contains": "admin"}},
        {"when": {"variable": "app.support", "equals": "o'n"}},
    ]
    owner.run("SELECT jwt.protect_acl('documents', %s)", json.dumps(ways))
    session = database.session(role="bob")
    for setting, expected in (
        ("", []),
        (f"SET app.teams = '{A},{B}'", [1, 2]),
        ("SET app.teams = ''; SET app.org = 1", []),
        ("SET app.roles = 'x,admin'", [1, 3]),
        ("SET app.org = ''", []),
        ("SET app.support = 'o''n'", [0, 1, 2, 3, 4, 5]),
    ):
        session.run(setting or "SELECT 1")
        assert seen(session, "t.documents") == expected, setting


def test_tenant_and_ways_must_both_hold(database: ClaimsServer, owner: Session) -> None:
    owner.run(DOCUMENTS)
    owner.run('SELECT jwt.protect_acl(\'documents\', \'[{"column": "owner", "claim": "sub"}]\')')
    owner.run("SELECT jwt.protect('documents', 'org_id')")
    for subject, org, expected in (("carol", 1, [3]), ("carol", 2, [2, 4]), ("alice", 1, [])):
        assert seen(database.subject("alice", {"sub": subject, "tenant_id": org}), "t.documents") == expected


@pytest.mark.parametrize(
    "ways",
    [
        "[]", "{}", "null", '"x"', "[1]", "[{}]", '[{"claim": "sub"}]', '[{"column": "missing"}]',
        '[{"column": "owner", "sql": "true"}]', '[{"column": "owner", "claim": "a", "variable": "b"}]',
        '[{"column": "owner", "any": "x"}]', '[{"when": "true"}]', '[{"when": {}}]',
        '[{"when": {"equals": "a", "contains": "b"}}]',
        '[{"when": {"claim": "a", "equals": "b", "or": "c"}}]',
        '[{"column": "owner", "when": {"claim": "a"}}]',
        '[{"any": true, "when": {"claim": "a", "equals": "b"}}]',
    ],
)  # fmt: skip
def test_ways_that_make_no_sense_are_refused(database: ClaimsServer, owner: Session, ways: str) -> None:
    owner.run(DOCUMENTS)
    with pytest.raises(psycopg.Error):
        owner.run("SELECT jwt.protect_acl('documents', %s)", ways)
    assert owner.run("SELECT relrowsecurity FROM pg_class WHERE oid = 'documents'::regclass") == [(False,)]


def test_no_word_of_a_way_is_sql(database: ClaimsServer, owner: Session) -> None:
    owner.run(DOCUMENTS)
    for evil in ("x') OR true --", "x'); DROP TABLE t.documents; --", "\\' OR true --", '" OR true --'):
        for ways in (
            [{"column": "owner", "claim": evil}],
            [{"column": "owner", "variable": "a." + evil}],
            [{"when": {"claim": evil, "equals": evil}}],
            [{"when": {"claim": evil, "contains": evil}}],
        ):
            for quoting in ("on", "off"):
                owner.run(f"SET standard_conforming_strings = {quoting}")
                owner.run("SELECT jwt.protect_acl('documents', %s)", json.dumps(ways))
                assert seen(tenant(database), "t.documents") == []
        with pytest.raises(psycopg.errors.UndefinedColumn):
            owner.run("SELECT jwt.protect_acl('documents', %s)", json.dumps([{"column": evil}]))


# --- status


def findings(session: Session, name: str) -> list[tuple[Any, ...]]:
    return session.run("SELECT severity, kind, finding FROM jwt.status() WHERE object = %s", name)


def test_the_status_shows_doors(database: ClaimsServer, owner: Session) -> None:
    orders(owner)
    session = database.session(user="owner")
    assert findings(session, "t.orders") == [("warning", "table", "has no row-level security")]

    owner.run("SELECT jwt.protect('orders')")
    assert findings(session, "t.orders") == []

    owner.run("ALTER TABLE orders NO FORCE ROW LEVEL SECURITY; GRANT TRUNCATE ON orders TO bob, PUBLIC")
    assert [finding for _, _, finding in findings(session, "t.orders")] == [
        "can be emptied by PUBLIC, bob: TRUNCATE is above row-level security",
        "is open to its owner owner: row-level security is not forced",
    ]
    owner.run("DROP POLICY jwt_protect ON orders")
    assert findings(session, "t.orders")[0] == (
        "danger",
        "table",
        "is open to everyone: policy jwt_allow is alone",
    )
    owner.run("DROP POLICY jwt_allow ON orders")
    assert ("note", "table", "is closed: it has no permissive policy") in findings(session, "t.orders")


def test_the_status_shows_who_is_above_policies(database: ClaimsServer, owner: Session) -> None:
    database.execute("DROP ROLE IF EXISTS snoop; CREATE ROLE snoop BYPASSRLS")
    orders(owner)
    owner.run("SELECT jwt.protect('orders')")
    assert findings(owner, "snoop") == [("warning", "role", "has BYPASSRLS")]
    assert findings(owner, "postgres") == [("warning", "role", "is a superuser")]
    database.execute("ALTER TABLE t.orders OWNER TO postgres")
    assert findings(owner, "t.orders") == [
        ("warning", "table", "is open to its owner postgres, who is above row-level security")
    ]
    database.execute("DROP ROLE snoop")


def test_the_status_shows_views_that_run_as_their_owner(database: ClaimsServer, owner: Session) -> None:
    orders(owner)
    owner.run("CREATE TABLE t.open (n int)")
    owner.run("SELECT jwt.protect('orders')")
    owner.run(
        "CREATE VIEW t.harmless AS SELECT * FROM t.open; CREATE VIEW t.direct AS SELECT * FROM t.orders"
    )
    owner.run("CREATE VIEW t.indirect AS SELECT * FROM t.direct")
    owner.run("CREATE MATERIALIZED VIEW t.copy AS SELECT * FROM t.indirect")
    database.execute("CREATE VIEW t.by_admin AS SELECT * FROM t.orders")

    assert findings(owner, "t.harmless") == []
    for view in ("t.direct", "t.indirect"):
        assert findings(owner, view) == [("note", "view", "reads protected tables as its owner owner")]
    assert [severity for severity, _, _ in findings(owner, "t.copy")] == ["danger"]
    assert findings(owner, "t.by_admin") == [
        ("danger", "view", "reads protected tables as its owner postgres, who is above row-level security")
    ]
    if database.major >= 15:
        database.execute("ALTER VIEW t.by_admin SET (security_invoker = on)")
        assert findings(owner, "t.by_admin") == []


def test_the_status_shows_functions_that_run_as_their_owner(database: ClaimsServer, owner: Session) -> None:
    owner.run("CREATE FUNCTION t.f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'")
    database.execute("CREATE FUNCTION t.g() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'")
    assert findings(owner, "t.f()") == [("note", "function", "runs as its owner owner")]
    assert findings(owner, "t.g()") == [
        ("danger", "function", "runs as its owner postgres, who is above row-level security")
    ]


def test_the_status_shows_keys_that_others_can_read(database: ClaimsServer, owner: Session) -> None:
    assert findings(owner, "jwt.keys") == []
    database.execute("GRANT SELECT ON jwt.keys TO bob")
    assert findings(owner, "jwt.keys") == [("danger", "key", "is readable by bob")]
    database.execute(script())
    assert findings(owner, "jwt.keys") == []


# --- the names of pgvpd


def test_pgvpd_a_tenant_sees_its_rows(database: ClaimsServer, owner: Session) -> None:
    orders(owner)
    owner.run("SELECT pgvpd_protect('orders')")
    session = database.session(role="app_user")

    assert seen(session) == []
    assert session.value("SELECT current_tenant_id()") is None
    session.run("SET app.current_tenant_id = 'acme'")
    assert session.value("SELECT current_tenant_id()") == "acme"
    assert seen(session) == [0, 1]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        session.run("INSERT INTO t.orders VALUES (9, 'umbrella')")
    session.run("SET app.current_tenant_id = ''")
    assert (seen(session), session.value("SELECT current_tenant_id()")) == ([], None)


def test_pgvpd_context_functions(database: ClaimsServer) -> None:
    session = database.session(role="app_user")
    session.run(f"SET app.ids = '{A},{B}'; SET app.braces = '{{{A},{B}}}'; SET app.no = ''")
    session.run("SET app.org = 'o1'; SET app.list = 'a,b'")
    for call, expected in (
        ("pgvpd_context('app.org')", "o1"),
        ("pgvpd_context('app.missing')", None),
        ("pgvpd_context('app.no')", None),
        ("pgvpd_context_array('app.list')", ["a", "b"]),
        ("pgvpd_context_array('app.missing')", None),
        ("pgvpd_context_array('app.no')", None),
        ("pgvpd_context_uuid_array('app.ids')::text[]", [A, B]),
        ("pgvpd_context_uuid_array('app.braces')::text[]", [A, B]),
    ):
        assert session.value(f"SELECT {call}") == expected, call
    assert session.run(
        """SELECT pgvpd_context_contains('app.ids', %s), pgvpd_context_contains('app.missing', %s),
                  pgvpd_context_text_contains('app.list', 'b'), pgvpd_context_text_contains('app.list', 'c'),
                  pgvpd_context_text_contains('app.missing', 'c')""",
        B, B,
    ) == [(True, False, True, False, False)]  # fmt: skip


def test_pgvpd_access_by_several_paths(database: ClaimsServer, owner: Session) -> None:
    owner.run(DOCUMENTS)
    paths = [
        {"column": "owner", "var": "app.uid", "type": "text"},
        {"column": "team_id", "var": "app.granted", "type": "uuid_array"},
        {
            "column": "org_id",
            "var": "app.org",
            "type": "text",
            "when": {"var": "app.role", "equals": "admin"},
        },
    ]
    owner.run("SELECT pgvpd_protect_acl('documents', %s)", json.dumps(paths))
    for settings, expected in (
        ("SET app.uid = 'carol'", [2, 3, 4]),
        (f"SET app.granted = '{A},{B}'", [1, 2]),
        ("SET app.org = '1'", []),
        ("SET app.org = '1'; SET app.role = 'admin'", [1, 3]),
    ):
        session = database.session(role="bob")
        session.run(settings)
        assert seen(session, "t.documents") == expected, settings
    for bad in (
        "[]",
        "{}",
        '[{"column": "owner", "var": "a.b", "type": "json"}]',
        '[{"column": "owner", "var": "a.b", "when": "true"}]',
    ):
        with pytest.raises(psycopg.Error):
            owner.run("SELECT pgvpd_protect_acl('documents', %s)", bad)


def test_pgvpd_status(database: ClaimsServer) -> None:
    database.execute("CREATE TABLE public.p (tenant_id text); CREATE TABLE public.q ()")
    database.execute("SELECT pgvpd_protect('public.p')")
    rows = database.execute("SELECT * FROM pgvpd_status() WHERE table_name IN ('p', 'q')")
    assert rows == [("p", True, True, 2), ("q", False, False, 0)]
    database.execute("DROP TABLE public.p, public.q")
