"""What PostgreSQL is doing right now."""

from __future__ import annotations

from typing import Any

from psycopg import Connection

from .cluster import Cluster
from .poll import eventually


def sleep_statement(mark: str, seconds: int = 60) -> str:
    """A statement that runs for a while and can be told from others."""
    return f"SELECT pg_sleep({seconds}) /* {mark} */"


def sleeping(cluster: Cluster, mark: str) -> int:
    """How many such statements run, on primary and replica."""
    total = 0
    for server in filter(None, (cluster.primary, cluster.replica)):
        with server.admin() as admin:
            query = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE %s"
            row = admin.execute(query, [f"SELECT pg_sleep%/* {mark} */"]).fetchone()
            total += row[0] if row else 0
    return total


def await_sleep(cluster: Cluster, mark: str) -> None:
    """Waits until the statement runs: nothing comes back from it that would tell."""
    eventually(lambda: sleeping(cluster, mark) == 1, "the start of the statement")


def end_backends(admin: Connection[Any], condition: str) -> None:
    """Ends the server processes that `pg_stat_activity` shows under this condition, and waits for their end.

    Before PostgreSQL 14, `pg_terminate_backend` does not wait.
    """
    admin.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {condition}".encode())
    left = f"SELECT count(*) FROM pg_stat_activity WHERE {condition}".encode()
    eventually(lambda: admin.execute(left).fetchone() == (0,), "the end of server processes")
