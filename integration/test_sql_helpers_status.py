"""`jwt.status()`: the doors that are left open."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from harness.proof import ClaimsServer, Session, script
from harness.protected import orders, seen


def findings(session: Session, name: str) -> list[tuple[Any, ...]]:
    return session.run("SELECT severity, kind, finding FROM jwt.status() WHERE object = %s", name)


def test_the_status_shows_doors(protector: ClaimsServer, owner: Session) -> None:
    orders(owner)
    session = protector.session(user="owner")
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
        "is open to everyone: policy jwt_allow lets every row through, and none restricts it",
    )
    owner.run("DROP POLICY jwt_allow ON orders")
    assert ("note", "table", "is closed: it has no permissive policy") in findings(session, "t.orders")


def test_the_status_shows_who_is_above_policies(protector: ClaimsServer, owner: Session) -> None:
    protector.execute("DROP ROLE IF EXISTS snoop; CREATE ROLE snoop BYPASSRLS")
    orders(owner)
    owner.run("SELECT jwt.protect('orders')")
    assert findings(owner, "snoop") == [("warning", "role", "has BYPASSRLS")]
    assert findings(owner, "postgres") == [("warning", "role", "is a superuser")]
    protector.execute("ALTER TABLE t.orders OWNER TO postgres")
    assert findings(owner, "t.orders") == [
        ("warning", "table", "is open to its owner postgres, who is above row-level security")
    ]
    protector.execute("DROP ROLE snoop")


def test_the_status_shows_views_that_run_as_their_owner(protector: ClaimsServer, owner: Session) -> None:
    orders(owner)
    owner.run("CREATE TABLE t.open (n int)")
    owner.run("SELECT jwt.protect('orders')")
    owner.run(
        "CREATE VIEW t.harmless AS SELECT * FROM t.open; CREATE VIEW t.direct AS SELECT * FROM t.orders"
    )
    owner.run("CREATE VIEW t.indirect AS SELECT * FROM t.direct")
    owner.run("CREATE MATERIALIZED VIEW t.copy AS SELECT * FROM t.indirect")
    protector.execute("CREATE VIEW t.by_admin AS SELECT * FROM t.orders")

    assert findings(owner, "t.harmless") == []
    for view in ("t.direct", "t.indirect"):
        assert findings(owner, view) == [("note", "view", "reads protected tables as its owner owner")]
    assert [severity for severity, _, _ in findings(owner, "t.copy")] == ["danger"]
    assert findings(owner, "t.by_admin") == [
        ("danger", "view", "reads protected tables as its owner postgres, who is above row-level security")
    ]
    if protector.major >= 15:
        protector.execute("ALTER VIEW t.by_admin SET (security_invoker = on)")
        assert findings(owner, "t.by_admin") == []


def test_the_status_shows_functions_that_run_as_their_owner(protector: ClaimsServer, owner: Session) -> None:
    owner.run("CREATE FUNCTION t.f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'")
    protector.execute("CREATE FUNCTION t.g() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'")
    assert findings(owner, "t.f()") == [("note", "function", "runs as its owner owner")]
    assert findings(owner, "t.g()") == [
        ("danger", "function", "runs as its owner postgres, who is above row-level security")
    ]


def test_the_status_shows_keys_that_others_can_read(protector: ClaimsServer, owner: Session) -> None:
    assert findings(owner, "jwt.keys") == []
    protector.execute("GRANT SELECT ON jwt.keys TO bob")
    assert findings(owner, "jwt.keys") == [("danger", "key", "is readable by bob")]
    protector.execute(script())
    assert findings(owner, "jwt.keys") == []


@pytest.fixture
def helper(protector: ClaimsServer) -> Iterator[str]:
    """A role that a test may give anything."""
    protector.execute("DROP ROLE IF EXISTS helper; CREATE ROLE helper LOGIN PASSWORD 'gateway-secret'")
    yield "helper"
    protector.execute(script())
    protector.execute("DROP OWNED BY helper; DROP ROLE helper")


@pytest.mark.parametrize(
    ("grant", "finding"),
    [
        ("GRANT SELECT (inner_pad) ON jwt.keys TO helper", "is readable in column inner_pad by helper"),
        (
            "GRANT INSERT ON jwt.keys TO helper; GRANT UPDATE (retired_at) ON jwt.keys TO helper",
            "can be changed by helper, who may INSERT, UPDATE (retired_at)",
        ),
        ("GRANT TRIGGER ON jwt.keys TO helper", "can be changed by helper, who may TRIGGER"),
        ("GRANT postgres TO helper", "is readable by helper, through the role of its owner postgres"),
        (
            "GRANT pg_read_server_files TO helper",
            "is readable by helper in the server's files, through pg_read_server_files",
        ),
        (
            "GRANT pg_execute_server_program TO helper",
            "is readable by helper with programs, through pg_execute_server_program",
        ),
        ("GRANT pg_read_all_data TO helper", "is readable by helper, through pg_read_all_data"),
        ("GRANT pg_write_all_data TO helper", "can be changed by helper, through pg_write_all_data"),
        ("ALTER ROLE helper REPLICATION", "can be copied by helper, with REPLICATION"),
    ],
)
def test_the_status_shows_every_way_to_the_keys(
    protector: ClaimsServer, owner: Session, helper: str, grant: str, finding: str
) -> None:
    if "_all_data" in grant and protector.major < 14:
        pytest.skip("there is no such role")
    protector.execute(grant)
    severity = "warning" if "REPLICATION" in grant else "danger"
    assert findings(owner, "jwt.keys") == [(severity, "key", finding)]


def test_a_role_between_hides_nothing(protector: ClaimsServer, owner: Session, helper: str) -> None:
    """NOINHERIT roles may still SET ROLE."""
    protector.execute("CREATE ROLE deputy NOINHERIT; GRANT pg_read_server_files TO deputy")
    protector.execute("ALTER ROLE helper NOINHERIT; GRANT deputy TO helper")
    try:
        assert findings(owner, "jwt.keys") == [
            (
                "danger",
                "key",
                "is readable by deputy, helper in the server's files, through pg_read_server_files",
            )
        ]
    finally:
        protector.execute("DROP ROLE deputy")


def test_the_status_shows_publications_and_views_of_the_keys(protector: ClaimsServer, owner: Session) -> None:
    protector.execute("CREATE PUBLICATION everything FOR ALL TABLES")
    protector.execute("CREATE VIEW t.all_keys AS SELECT id, inner_pad FROM jwt.keys")
    try:
        assert findings(owner, "jwt.keys") == [
            ("danger", "key", "is read by t.all_keys"),
            ("danger", "key", "is sent to subscribers of publication everything"),
        ]
    finally:
        protector.execute("DROP PUBLICATION everything; DROP VIEW t.all_keys")


def test_the_status_shows_objects_of_others(protector: ClaimsServer, owner: Session) -> None:
    shadow = protector.session(user="bob")
    protector.execute("GRANT CREATE ON SCHEMA jwt TO bob")
    shadow.run("CREATE FUNCTION jwt.protect(text, text) RETURNS void LANGUAGE sql AS 'SELECT'")
    shadow.run("CREATE FUNCTION public.pgvpd_protect(text, text) RETURNS void LANGUAGE sql AS 'SELECT'")
    shadow.run("CREATE DOMAIN public.pgvpd_context AS text")
    try:
        rows = owner.run(
            "SELECT severity, object, finding FROM jwt.status() WHERE kind = 'installation' ORDER BY 1, 2"
        )
        assert rows == [
            (
                "danger",
                "function jwt.protect(text,text)",
                "belongs to bob and not to the owner of schema jwt",
            ),
            (
                "danger",
                "function public.pgvpd_protect(text,text)",
                "is no alias of pgvpd's names, and belongs to bob",
            ),
            (
                "danger",
                "jwt",
                "is a schema in which bob may create: REVOKE CREATE ON SCHEMA jwt FROM bob",
            ),
            ("danger", "type public.pgvpd_context", "is no alias of pgvpd's names, and belongs to bob"),
            (
                "warning",
                "public",
                "is a schema in which PUBLIC may create what calls of pgvpd's names find first: "
                "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
            ),
        ]
    finally:
        shadow.run("DROP FUNCTION jwt.protect(text, text), public.pgvpd_protect(text, text)")
        shadow.run("DROP DOMAIN public.pgvpd_context")
        protector.execute("REVOKE CREATE ON SCHEMA jwt FROM bob")


def test_a_schema_public_of_somebody_is_said(protector: ClaimsServer, owner: Session) -> None:
    before = protector.execute("SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'public'")
    protector.execute("ALTER SCHEMA public OWNER TO bob")
    try:
        assert any("ALTER SCHEMA public OWNER TO postgres" in row[2] for row in findings(owner, "public"))
    finally:
        protector.execute(f"ALTER SCHEMA public OWNER TO {before[0][0]}")


ALWAYS = ("true", "1 = 1", "(1 = 1) AND true", "NULL IS NULL", "jwt.installed()")


@pytest.mark.parametrize("expression", ALWAYS)
def test_the_status_shows_tables_that_lost_what_protected_them(
    protector: ClaimsServer, owner: Session, expression: str
) -> None:
    """The permissive policy was there first, under any name, so there is no `jwt_allow`."""
    orders(owner)
    owner.run(f"CREATE POLICY everything ON orders USING ({expression}); SELECT jwt.protect('orders')")
    assert findings(owner, "t.orders") == []
    owner.run("DROP POLICY jwt_protect ON orders")
    assert seen(protector.session(role="bob")) == [0, 1, 2, 3]
    assert findings(owner, "t.orders") == [
        (
            "danger",
            "table",
            "is open to everyone: policy everything lets every row through, and none restricts it",
        )
    ]


@pytest.mark.parametrize(
    "change",
    [
        "ALTER POLICY jwt_protect ON orders TO alice",
        "ALTER POLICY jwt_protect ON orders USING (true) WITH CHECK (true)",
        "ALTER POLICY jwt_protect ON orders USING (1 = 1)",
        "ALTER POLICY jwt_protect ON orders WITH CHECK (true)",
        "DROP POLICY jwt_protect ON orders; CREATE POLICY jwt_protect ON orders AS RESTRICTIVE FOR INSERT "
        "WITH CHECK (n = 1)",
        "DROP POLICY jwt_protect ON orders; CREATE POLICY jwt_protect ON orders USING (n = 1)",
    ],
)
def test_a_policy_that_no_longer_protects_is_said(owner: Session, change: str) -> None:
    orders(owner)
    owner.run("SELECT jwt.protect('orders')")
    owner.run(change)
    found = findings(owner, "t.orders")
    assert ("danger", "table", "policy jwt_protect does not hold everybody, or asks nothing") in found
    assert any("jwt_allow lets every row through" in finding for _, _, finding in found)


def test_policies_without_row_level_security_are_said(protector: ClaimsServer, owner: Session) -> None:
    orders(owner)
    owner.run("SELECT jwt.protect('orders'); ALTER TABLE orders DISABLE ROW LEVEL SECURITY")
    assert seen(protector.session(role="bob")) == [0, 1, 2, 3]
    assert findings(owner, "t.orders") == [
        ("danger", "table", "has policies, and row-level security is switched off")
    ]


def test_tables_that_are_open_on_purpose_or_held_otherwise(owner: Session) -> None:
    orders(owner)
    owner.run("ALTER TABLE orders ENABLE ROW LEVEL SECURITY; ALTER TABLE orders FORCE ROW LEVEL SECURITY")
    owner.run("CREATE POLICY look ON orders FOR SELECT TO app_user USING (true)")
    assert findings(owner, "t.orders") == [
        (
            "warning",
            "table",
            "is open to app_user for SELECT: policy look lets every row through, and none restricts it",
        )
    ]
    owner.run("CREATE POLICY mine ON orders AS RESTRICTIVE FOR SELECT TO app_user USING (n = 1)")
    assert findings(owner, "t.orders") == []
    owner.run("CREATE POLICY closed ON orders USING (false)")
    owner.run("CREATE POLICY asks ON orders USING (current_setting('app.x', true) = 'on')")
    assert findings(owner, "t.orders") == []


def test_partitions_that_were_left_out_are_said(protector: ClaimsServer, owner: Session) -> None:
    protector.execute(
        "CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere;"
        "GRANT USAGE ON FOREIGN SERVER nowhere TO owner"
    )
    try:
        owner.run("CREATE TABLE t.orders (n int, tenant_id text) PARTITION BY RANGE (n)")
        owner.run(
            "CREATE FOREIGN TABLE t.far PARTITION OF t.orders FOR VALUES FROM (0) TO (10) SERVER nowhere"
        )
        owner.run("REVOKE ALL ON t.far FROM PUBLIC")
        owner.messages.clear()
        owner.run("SELECT jwt.protect('orders')")
        assert any("foreign table t.far has no row-level security" in said for said in owner.messages)
        far = "is a partition or child of the protected table t.orders and is not protected: "
        assert findings(owner, "t.far") == [("warning", "table", far + "foreign tables cannot be")]
        owner.run("GRANT SELECT (n) ON t.far TO bob")
        assert findings(owner, "t.far") == [("danger", "table", far + "foreign tables cannot be")]

        owner.run("CREATE TABLE t.later PARTITION OF t.orders FOR VALUES FROM (10) TO (20)")
        assert findings(owner, "t.later") == [("danger", "table", far + "protect that table again")]
        owner.run("SELECT jwt.protect('orders')")
        assert findings(owner, "t.later") == []
        protector.execute("ALTER TABLE t.later OWNER TO bob")
        assert findings(owner, "t.later") == [
            (
                "warning",
                "table",
                "belongs to bob, who can switch off the protection that it has from t.orders",
            )
        ]
    finally:
        protector.execute("DROP FOREIGN DATA WRAPPER nowhere CASCADE; DROP TABLE t.orders")


def test_the_status_shows_who_can_become_somebody_above_policies(
    protector: ClaimsServer, owner: Session, helper: str
) -> None:
    protector.execute("DROP ROLE IF EXISTS snoop; CREATE ROLE snoop BYPASSRLS; GRANT snoop TO helper")
    try:
        assert findings(owner, "helper") == [
            ("warning", "role", "can become snoop, above row-level security")
        ]
        protector.execute("REVOKE snoop FROM helper; ALTER ROLE helper CREATEROLE")
        expected = "has CREATEROLE: before PostgreSQL 16 it can become any role but superusers"
        assert findings(owner, "helper") == ([("warning", "role", expected)] if protector.major < 16 else [])
    finally:
        protector.execute("DROP ROLE snoop")


def test_everybody_may_ask_for_the_status(protector: ClaimsServer) -> None:
    assert protector.session(role="bob").value("SELECT count(*) FROM jwt.status()") > 0
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        protector.session(role="bob").run("TABLE jwt.keys")
