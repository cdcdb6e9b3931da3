"""The PostgreSQL that everyone talks to: one server, pgbench's tables, and one role that may use them."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from harness import DATABASE, Cluster, Installation, Workspace, find_postgres
from harness.cluster import SERVER_USER
from harness.server import SUPERUSER, Server

ROLE = "bench"
ACCOUNTS_PER_SCALE = 100_000
PASSWORD = "bench-secret"

SETTINGS = {
    "shared_buffers": "256MB",
    # Direct clients, and the pools of all contestants at once.
    "max_connections": "1000",
    "max_wal_size": "2GB",
}

# The role may use pgbench's tables and nothing else, so nobody on this machine gains by its open door.
# Without it, a login at PostgreSQL would cost SCRAM, and one at a pooler would not.
OPEN_DOOR = f"host {DATABASE} {ROLE} 127.0.0.1/32 trust\n"


@dataclass(frozen=True)
class Database:
    """Where it is, for poolers and for pgbench."""

    cluster: Cluster
    pgbench: Path
    host: str
    port: int
    scale: int
    name: str = DATABASE
    role: str = ROLE
    password: str = PASSWORD
    _replicas: list[Server] = field(default_factory=list)

    @property
    def accounts(self) -> int:
        """Rows of pgbench_accounts."""
        return self.scale * ACCOUNTS_PER_SCALE

    @property
    def authority(self) -> Path:
        """Of the server's certificate."""
        if not self.cluster.primary.authority:
            raise RuntimeError(f"PostgreSQL {self.version} is built without TLS")
        return self.cluster.primary.authority

    def replica(self) -> Server:
        """A streaming replica; it runs until `drop_replicas`."""
        if not self._replicas:
            # A port that was set for the primary is copied too.
            server = Server.follow(self.cluster.primary, "replica")
            copied = server.data / "postgresql.auto.conf"
            lines = copied.read_text().splitlines(keepends=True)
            copied.write_text("".join(line for line in lines if not line.startswith("port =")))
            server.start()
            self._replicas.append(server)
        return self._replicas[0]

    def drop_replicas(self) -> None:
        while self._replicas:
            self._replicas.pop().stop()

    def tidy(self) -> None:
        """What pgbench does before a run of writes."""
        with self.cluster.admin() as admin:
            admin.execute("VACUUM pgbench_branches, pgbench_tellers")
            admin.execute("TRUNCATE pgbench_history")

    @property
    def version(self) -> str:
        return self.cluster.installation.version

    def scram_secret(self) -> str:
        """The role's password as PostgreSQL keeps it."""
        with self.cluster.admin() as admin:
            row = admin.execute(
                "SELECT rolpassword FROM pg_authid WHERE rolname = %s", [self.role]
            ).fetchone()
        assert row
        return str(row[0])


def start(workspace: Workspace, scale: int, port: int | None) -> Database:
    """A running server with pgbench's tables. `port`: for poolers that were configured before."""
    installation = find_postgres()
    pgbench = find_pgbench(installation)
    cluster = Cluster(workspace, installation, replica=False)
    server = cluster.primary
    with server.admin() as admin:
        for name, value in SETTINGS.items():
            admin.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        if port:
            admin.execute(f"ALTER SYSTEM SET port = {port}")
    server.stop()
    server.port = port or server.port
    hba = server.data / "pg_hba.conf"
    hba.write_text(OPEN_DOOR + hba.read_text())
    server.start()
    _fill(cluster, pgbench, scale)
    return Database(cluster, pgbench, server.host, server.port, scale)


def _fill(cluster: Cluster, pgbench: Path, scale: int) -> None:
    server = cluster.primary
    command = [pgbench, "--initialize", "--quiet", "--scale", str(scale), "--username", SUPERUSER]
    command += ["--host", server.sockets, "--port", str(server.port), DATABASE]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"pgbench --initialize failed:\n{done.stderr}")
    with cluster.admin() as admin:
        admin.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'")
        admin.execute(
            f"GRANT SELECT, UPDATE ON pgbench_accounts, pgbench_branches, pgbench_tellers TO {ROLE}"
        )
        admin.execute("CREATE TABLE copied (body text)")
        admin.execute(f"GRANT INSERT ON pgbench_history, copied TO {ROLE}")
        admin.execute(f"GRANT {ROLE} TO {SERVER_USER}")
        # Into the cache.
        admin.execute("SELECT sum(abalance) FROM pgbench_accounts")
        admin.execute("CHECKPOINT")


def find_pgbench(installation: Installation) -> Path:
    """The installation's own, or the one in PATH."""
    own = installation.program("pgbench")
    if own.is_file():
        return own
    if on_path := shutil.which("pgbench"):
        return Path(on_path)
    raise RuntimeError("no pgbench found: it is in Debian's postgresql-contrib package, or beside PG_BIN")
