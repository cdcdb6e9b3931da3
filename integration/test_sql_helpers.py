"""Row-level security helpers: the rows that a session sees and writes, in every kind of table."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from harness.proof import ClaimsServer, Session, script
from harness.protected import A, B, orders, seen, tenant


def test_a_session_sees_the_rows_of_its_tenant(protector: ClaimsServer, owner: Session) -> None:
    orders(owner)
    owner.run("SELECT jwt.protect('orders')")

    assert seen(tenant(protector, "acme")) == [0, 1]
    assert seen(tenant(protector, "umbrella")) == [2]
    assert seen(tenant(protector, "other")) == []
    assert seen(tenant(protector, "")) == []
    assert seen(tenant(protector, None)) == []


def test_without_a_proof_there_is_nothing(protector: ClaimsServer, owner: Session) -> None:
    orders(owner)
    owner.run("SELECT jwt.protect('orders')")
    alice = tenant(protector)
    stolen = alice.value("SELECT current_setting('jwt.proof')")
    without = protector.session(role="bob")

    for value in ("", "x", stolen, stolen[:-1], stolen + "A"):
        without.show(value)
        assert seen(without) == []
    assert seen(owner) == [], "row-level security is not forced"
    alice.run("SET jwt.proof = 'x'")
    assert seen(alice) == []


def test_a_session_writes_the_rows_of_its_tenant_only(protector: ClaimsServer, owner: Session) -> None:
    orders(owner)
    owner.run("SELECT jwt.protect('orders')")
    alice = tenant(protector)

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

    rows = protector.execute("SELECT n, tenant_id FROM t.orders ORDER BY n")
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
    protector: ClaimsServer, owner: Session, column: str, values: tuple[str, str], claims: tuple[Any, Any]
) -> None:
    owner.run("CREATE DOMAIN t.tenants AS text CHECK (value <> ''); CREATE DOMAIN t.short AS varchar(4)")
    owner.run("CREATE TYPE t.colour AS ENUM ('red', 'green'); CREATE DOMAIN t.many AS text[]")
    orders(owner, column, values)

    owner.run("SELECT jwt.protect('orders')")

    assert seen(tenant(protector, claims[0])) == [0, 1]
    assert seen(tenant(protector, claims[1])) == [2]
    assert seen(protector.session(role="bob")) == []


@pytest.mark.parametrize(
    "column", ["varchar(4)", "char(4)", "name", '"char"', "t.short", "t.shorter", "varchar(4)[]", "name[]"]
)
def test_a_longer_tenant_is_not_cut_to_another(protector: ClaimsServer, owner: Session, column: str) -> None:
    """An explicit cast to varchar(4) cuts without an error: acme-corp would read the rows of acme."""
    owner.run("CREATE DOMAIN t.short AS varchar(4); CREATE DOMAIN t.shorter AS t.short")
    length = {'"char"': 1, "name": 63, "name[]": 63}.get(column, 4)
    name = "x" * length
    value = f"{{{name}}}" if column.endswith("[]") else name
    orders(owner, f"tenant_id {column}", (value, value))
    owner.run("SELECT jwt.protect('orders')")

    assert seen(tenant(protector, name)) == [0, 1, 2]
    for longer in (name + "-corp", name + "x" * 100):
        assert seen(tenant(protector, longer)) == []


def test_a_tenant_that_the_type_does_not_have_is_an_error_and_no_row(
    protector: ClaimsServer, owner: Session
) -> None:
    orders(owner, "tenant_id uuid", (A, B))
    owner.run("SELECT jwt.protect('orders')")

    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        seen(tenant(protector, "acme"))


def test_types_of_extensions_are_compared_as_they_say(protector: ClaimsServer, owner: Session) -> None:
    if not protector.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'citext'"):
        pytest.skip("citext is not installed")
    protector.execute("CREATE EXTENSION IF NOT EXISTS citext SCHEMA public")
    orders(owner, "tenant_id citext", ("Acme", "Umbrella"))
    owner.run("SELECT jwt.protect('orders')")
    assert seen(tenant(protector, "ACME")) == [0, 1]


def test_names_that_need_quotes(protector: ClaimsServer, owner: Session) -> None:
    schema, table, column = '"o\'dd ""schema"', '"Ta\'ble ""%I"', '"co\'l ""%s; --"'
    claim = "it's \\ a.\"claim"
    protector.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema} AUTHORIZATION owner")
    owner.run(
        f"GRANT USAGE ON SCHEMA {schema} TO PUBLIC; CREATE TABLE {schema}.{table} (n int, {column} text)"
    )
    owner.run(f"INSERT INTO {schema}.{table} VALUES (0, 'acme'), (1, 'x')")

    owner.run("SELECT jwt.protect(%s, %s, claim => %s)", f"{schema}.{table}", "co'l \"%s; --", claim)

    assert seen(protector.subject("alice", {claim: "acme"}), f"{schema}.{table}") == [0]
    owner.run("SELECT jwt.unprotect(%s)", f"{schema}.{table}")
    assert seen(protector.session(role="bob"), f"{schema}.{table}") == [0, 1]


def test_by_another_claim_or_a_variable(protector: ClaimsServer, owner: Session) -> None:
    orders(owner)
    owner.run("SELECT jwt.protect('orders', 'tenant_id', claim => 'org.id')")
    assert seen(tenant(protector, "umbrella", org={"id": "acme"})) == [0, 1]

    owner.run("SELECT jwt.protect('orders', 'tenant_id', variable => 'app.tenant')")
    session = protector.session(role="bob")
    assert seen(session) == []
    session.run("SET app.tenant = 'umbrella'")
    assert seen(session) == [2]
    session.run("SET app.tenant = ''")
    assert seen(session) == []


def test_what_cannot_be_protected_is_said(protector: ClaimsServer, owner: Session) -> None:
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
    alice = tenant(protector)
    for call in ("jwt.protect('t.orders')", "jwt.protect_acl('t.orders', '[{\"column\":\"n\"}]')"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            alice.run(f"SELECT {call}")
    owner.run("SELECT jwt.protect('orders')")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        alice.run("SELECT jwt.unprotect('t.orders')")


def test_protecting_again_changes_nothing_else(protector: ClaimsServer, owner: Session) -> None:
    orders(owner)
    for _ in range(3):
        owner.run("SELECT jwt.protect('orders')")
    policies = owner.run(
        "SELECT policyname, permissive FROM pg_policies WHERE tablename = 'orders' ORDER BY 1"
    )
    assert policies == [("jwt_allow", "PERMISSIVE"), ("jwt_protect", "RESTRICTIVE")]


def test_other_policies_never_open_more(protector: ClaimsServer, owner: Session) -> None:
    orders(owner)
    owner.run("CREATE POLICY everything ON orders USING (true)")
    owner.run("SELECT jwt.protect('orders')")
    owner.run("CREATE POLICY more ON orders USING (true)")
    assert seen(tenant(protector)) == [0, 1]
    assert seen(protector.session(role="bob")) == []


def test_other_policies_may_close_more(protector: ClaimsServer, owner: Session) -> None:
    orders(owner)
    owner.run("ALTER TABLE orders ENABLE ROW LEVEL SECURITY; CREATE POLICY mine ON orders USING (n = 1)")
    owner.run("SELECT jwt.protect('orders')")
    assert seen(tenant(protector)) == [1]


def test_partitions_and_children_are_protected_as_well(protector: ClaimsServer, owner: Session) -> None:
    owner.run("CREATE TABLE t.orders (n int, tenant_id text) PARTITION BY RANGE (n)")
    owner.run("CREATE TABLE t.low PARTITION OF t.orders FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (n)")
    owner.run("CREATE TABLE t.lowest PARTITION OF t.low FOR VALUES FROM (0) TO (5)")
    owner.run("INSERT INTO t.orders VALUES (0, 'acme'), (1, 'umbrella')")
    owner.run("SELECT jwt.protect('orders')")
    alice = tenant(protector)

    for table in ("t.orders", "t.low", "t.lowest"):
        assert seen(alice, table) == [0]
    owner.run("SELECT jwt.unprotect('orders')")
    assert seen(protector.session(role="bob"), "t.lowest") == [0, 1]


def test_unprotect_opens_the_table_again(protector: ClaimsServer, owner: Session) -> None:
    orders(owner)
    owner.run("SELECT jwt.protect('orders'), jwt.protect_acl('orders', '[{\"column\": \"tenant_id\"}]')")
    owner.run("SELECT jwt.unprotect('orders'), jwt.unprotect('orders')")
    assert seen(protector.session(role="bob")) == [0, 1, 2, 3]
    assert owner.run(
        "SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE oid = 'orders'::regclass"
    ) == [(False, False)]


def test_unprotect_leaves_what_it_did_not_make(protector: ClaimsServer, owner: Session) -> None:
    orders(owner)
    owner.run("CREATE POLICY mine ON orders USING (n = 2)")
    owner.run("SELECT jwt.protect('orders'), jwt.unprotect('orders')")
    assert seen(protector.session(role="bob")) == [2]


def test_dropping_the_schema_closes_tables(protector: ClaimsServer, owner: Session) -> None:
    orders(owner)
    owner.run("CREATE TABLE t.others AS TABLE t.orders")
    owner.run("SELECT jwt.protect('orders'), jwt.protect('others', 'tenant_id', variable => 'app.tenant')")
    alice = tenant(protector)
    alice.run("SET app.tenant = 'acme'")
    assert (seen(alice), seen(alice, "t.others")) == ([0, 1], [0, 1])
    keys = protector.execute("TABLE jwt.keys")

    protector.execute("DROP SCHEMA jwt CASCADE")
    try:
        assert (seen(alice), seen(alice, "t.others")) == ([], [])
    finally:
        protector.execute(script(pgvpd=True))
        for key in keys:
            protector.execute("INSERT INTO jwt.keys VALUES (%s, %s, %s, %s, %s)", *key)


def test_the_index_is_used(protector: ClaimsServer, owner: Session) -> None:
    owner.run(
        "CREATE TABLE t.orders AS SELECT n, (n % 1000)::text AS tenant_id FROM generate_series(1, 20000) n"
    )
    owner.run("CREATE INDEX ON t.orders (tenant_id); ANALYZE t.orders; SELECT jwt.protect('orders')")
    alice = tenant(protector, "7")
    plan = "\n".join(row[0] for row in alice.run("EXPLAIN SELECT * FROM t.orders"))
    assert "Index Cond" in plan
    assert "InitPlan" in plan
    assert "installed" not in plan
    assert len(seen(alice)) == 20


def test_views_and_functions_of_the_owner_do_not_open_the_table(
    protector: ClaimsServer, owner: Session
) -> None:
    orders(owner)
    owner.run("SELECT jwt.protect('orders')")
    owner.run("CREATE VIEW t.all_orders AS SELECT * FROM t.orders; GRANT SELECT ON t.all_orders TO PUBLIC")
    owner.run(
        "CREATE FUNCTION t.every_order() RETURNS SETOF int LANGUAGE sql SECURITY DEFINER "
        "AS 'SELECT n FROM t.orders'"
    )
    alice, bob = tenant(protector), protector.session(role="bob")

    assert (seen(alice, "t.all_orders"), seen(bob, "t.all_orders")) == ([0, 1], [])
    assert alice.run("SELECT t.every_order()") == [(0,), (1,)]
    assert bob.run("SELECT t.every_order()") == []


def test_a_leaky_function_does_not_see_other_rows(protector: ClaimsServer, owner: Session) -> None:
    orders(owner)
    owner.run("SELECT jwt.protect('orders')")
    alice = tenant(protector)
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


def test_row_security_off_is_an_error(protector: ClaimsServer, owner: Session) -> None:
    orders(owner)
    owner.run("SELECT jwt.protect('orders')")
    alice = tenant(protector)
    alice.run("SET row_security = off")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        seen(alice)
