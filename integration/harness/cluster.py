"""A primary and its streaming replica, with the demo database in them."""

from __future__ import annotations

from pathlib import Path

import psycopg

from .installation import Installation, find_postgres, server_account
from .poll import eventually
from .server import Server
from .workspace import Workspace

DATABASE = "demo"
SERVER_USER = "gateway"
SERVER_PASSWORD = "gateway-secret"
SCHEMA = Path(__file__).with_name("schema.sql")


class Cluster:
    """Starts on construction; ends with its workspace."""

    def __init__(
        self, workspace: Workspace, installation: Installation | None = None, *, replica: bool = True
    ):
        account = server_account()
        wanted = installation or find_postgres()
        self.installation = wanted.usable_by(account, workspace.folder)
        self.primary = Server.create(workspace, self.installation, account, "primary")
        self.primary.start()
        with self.primary.admin() as admin:
            admin.execute("CREATE ROLE replicator LOGIN REPLICATION")
            admin.execute(f"CREATE DATABASE {DATABASE}")
        with self.primary.admin(DATABASE) as admin:
            admin.execute(SCHEMA.read_text())
        self.replica: Server | None = None
        if replica:
            self.replica = Server.follow(self.primary, "replica")
            self.replica.start()
            self.wait_for_streaming()
            self.wait_for_replay()

    def wait_for_streaming(self) -> None:
        """Until the replica receives what the primary writes."""
        query = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"

        def streaming() -> bool:
            with self.primary.admin() as admin:
                return admin.execute(query).fetchone() == (1,)

        eventually(streaming, "streaming replication", 30)

    def wait_for_replay(self) -> None:
        """Until the replica shows everything that the primary has committed so far."""
        assert self.replica
        with self.primary.admin() as primary, self.replica.admin() as replica:
            position = primary.execute("SELECT pg_current_wal_flush_lsn()").fetchone()
            query = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
            eventually(lambda: replica.execute(query, position).fetchone() == (True,), "replay", 30)

    def admin(self) -> psycopg.Connection:
        """A superuser's connection to the demo database on the primary."""
        return self.primary.admin(DATABASE)
