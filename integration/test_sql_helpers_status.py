"""`jwt.status()`: the doors that are left open."""

from __future__ import annotations

from typing import Any

from harness.proof import ClaimsServer, Session, script
from harness.protected import orders


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
        "is open to everyone: policy jwt_allow is alone",
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
