"""One PostgreSQL server on loopback: a data folder, a port and a process."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import psycopg
from psycopg.rows import TupleRow

from . import certificates
from .installation import Account, Installation
from .poll import eventually
from .ports import free_port
from .workspace import Workspace

SUPERUSER = "postgres"
START_SECONDS = 60.0

# Everything here can be thrown away, so nothing waits for the disk. Hosts that run tests have few cores.
SETTINGS = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{sockets}'
unix_socket_permissions = 0700
max_connections = 200
shared_buffers = '64MB'
fsync = off
synchronous_commit = local
full_page_writes = off
password_encryption = 'scram-sha-256'
wal_level = logical
max_wal_senders = 20
wal_keep_size = '256MB'
hot_standby = on
max_standby_streaming_delay = '10s'
wal_receiver_status_interval = '100ms'
wal_retrieve_retry_interval = '100ms'
log_line_prefix = '%m [%p] %u@%d '
log_min_messages = warning
autovacuum = off
"""

# One rule for each way in which a gateway may have to prove itself. The socket folder belongs to the server's
# user alone, so `trust` there lets in this user and root.
HBA = """
local   all          all                              trust
local   replication  all                              trust
host    replication  replicator       127.0.0.1/32    trust
host    replication  all              127.0.0.1/32    scram-sha-256
host    all          gateway_md5      127.0.0.1/32    md5
host    all          gateway_plain    127.0.0.1/32    password
host    all          gateway_trust    127.0.0.1/32    trust
hostnossl all        gateway_tls      127.0.0.1/32    reject
host    all          all              127.0.0.1/32    scram-sha-256
"""


class Server:
    """Made with `Server.create` or `Server.follow`; then `start`, `stop` and `start` again at will."""

    def __init__(self, workspace: Workspace, installation: Installation, account: Account | None, name: str):
        self.workspace = workspace
        self.installation = installation
        self.account = account
        self.name = name
        self.host = "127.0.0.1"
        self.port = free_port()
        self.folder = workspace.subfolder(name)
        self.data = self.folder / "data"
        self.sockets = self.folder / "run"
        self.log = self.folder / "server.log"
        self.tls = False
        self.authority: Path | None = None
        self._origin: str | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.sockets.mkdir(mode=0o700)
        if account:
            for path in (self.folder, self.sockets):
                account.own(path)
            self.folder.chmod(0o711)

    @classmethod
    def create(
        cls, workspace: Workspace, installation: Installation, account: Account | None, name: str
    ) -> Server:
        """A new, empty server."""
        server = cls(workspace, installation, account, name)
        server._run(
            *("initdb", "--pgdata", server.data, "--username", SUPERUSER, "--auth", "trust"),
            *("--encoding", "UTF8", "--locale", "C", "--no-sync"),
        )
        server._write_certificate()
        (server.data / "pg_hba.conf").write_text(HBA)
        server.write_settings()
        return server

    @classmethod
    def follow(cls, primary: Server, name: str) -> Server:
        """A streaming replica of a running server."""
        server = cls(primary.workspace, primary.installation, primary.account, name)
        server._run(
            *("pg_basebackup", "--pgdata", server.data, "--checkpoint", "fast"),
            *("--wal-method", "stream", "--no-sync", "--username", "replicator"),
            *("--host", primary.host, "--port", str(primary.port)),
        )
        server.tls, server.authority = primary.tls, primary.authority
        # A program that is newer than the server would write settings that the server does not know.
        server._origin = f"host={primary.host} port={primary.port} user=replicator"
        (server.data / "standby.signal").touch()
        if server.account:
            server.account.own(server.data / "standby.signal")
        server.write_settings()
        return server

    @property
    def pid(self) -> int | None:
        """Of the postmaster; `None` when it is stopped."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        assert self.pid is None, f"{self.name} is running"
        with self.log.open("ab") as output:
            self._process = self.workspace.spawn(
                [self.installation.program("postgres"), "-D", self.data],
                output=output,
                stop_signal=signal.SIGQUIT,
                cwd=self.folder,
                env=self._environment(),
                **self._account_options(),
            )
        try:
            eventually(self._answers, f"start of {self.name}", START_SECONDS)
        except TimeoutError as error:
            raise RuntimeError(f"{self.name} does not start:\n{self.log.read_text()[-2000:]}") from error

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Ends the server. SIGINT: fast shutdown; SIGQUIT: immediate; SIGKILL: crash."""
        if self._process:
            self.workspace.stop(self._process, how)
            self._process = None

    def admin(self, dbname: str = "postgres") -> psycopg.Connection[TupleRow]:
        """A superuser's connection, past the gateway, through the socket. Every statement commits."""
        return psycopg.connect(
            host=str(self.sockets), port=self.port, user=SUPERUSER, dbname=dbname, autocommit=True
        )

    def log_text(self) -> str:
        """What the server has logged."""
        return self.log.read_text(errors="replace")

    def _answers(self) -> bool:
        if self._process and self._process.poll() is not None:
            raise RuntimeError(f"exit status {self._process.returncode}")
        with self.admin() as connection:
            return connection.execute("SELECT true").fetchone() == (True,)

    def write_settings(self) -> None:
        """As the attributes say; they count when the server starts."""
        text = SETTINGS.format(port=self.port, sockets=self.sockets)
        if self._origin:
            text += f"primary_conninfo = '{self._origin}'\n"
        if self.tls:
            text += "ssl = on\nssl_cert_file = 'server.crt'\nssl_key_file = 'server.key'\n"
        (self.data / "postgresql.conf").write_text(text)

    def _write_certificate(self) -> None:
        """Servers from the Python package are built without TLS."""
        self.tls = bool(self._run("postgres", "-C", "ssl_library", "-D", self.data).strip())
        if self.tls:
            pair = certificates.self_signed("127.0.0.1", "localhost")
            self.authority = self.folder / "server-ca.crt"
            self.authority.write_bytes(pair.certificate)
            for path, content in (("server.crt", pair.certificate), ("server.key", pair.key)):
                (self.data / path).write_bytes(content)
                (self.data / path).chmod(0o600)
                if self.account:
                    self.account.own(self.data / path)

    def _run(self, program: str, *arguments: str | Path) -> str:
        command = [self.installation.program(program), *arguments]
        done = subprocess.run(
            [str(word) for word in command],
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=120,
            **self._account_options(),
        )
        if done.returncode != 0:
            raise RuntimeError(f"{program} failed:\n{done.stderr or done.stdout}")
        return done.stdout

    def _account_options(self) -> dict[str, object]:
        return self.account.options if self.account else {}

    def _environment(self) -> dict[str, str]:
        # Settings of the person who runs this (PGHOST, PGOPTIONS, …) are not for these servers.
        return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "TZ": "UTC"}
