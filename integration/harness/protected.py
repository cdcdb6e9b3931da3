"""Tables with row-level security, and who looks at them."""

from __future__ import annotations

from typing import Any

from .proof import ClaimsServer, Session

A, B = "0f8fad5b-d9cb-469f-a165-70867728950e", "7c9e6679-7425-40de-944b-e07fc1f90ae7"
DOCUMENTS = f"""
CREATE TABLE t.documents (n int, owner text, team_id uuid, org_id int, readers text[]);
INSERT INTO t.documents VALUES (0, 'alice', NULL, NULL, NULL), (1, 'bob', '{A}', 1, NULL),
    (2, 'carol', '{B}', 2, NULL), (3, 'carol', NULL, 1, '{{dave,alice}}'), (4, 'carol', NULL, 2, '{{staff}}'),
    (5, NULL, NULL, NULL, NULL);
"""


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
