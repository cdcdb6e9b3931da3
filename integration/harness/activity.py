"""What PostgreSQL is doing right now."""

from __future__ import annotations

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
