"""The rules by which a server lets the gateway in: what `pgdog-jwt setup hba` prints, and where it goes."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from psycopg import sql

from .certificates import Authority, CertificatePair
from .cluster import Cluster
from .gateway import Gateway, default_config, find_gateway, merged
from .issuer import Issuer
from .poll import eventually
from .server import Server
from .target import Target
from .workspace import Workspace

ADMIN = {"name": "admin", "user": "admin", "password": "admin-secret"}
PEOPLE = ["alice", "bob", "carol", "reader", 'o"brien; DROP TABLE notes --', "Zoë 'Ünïcode' 名前"]

# Rules that no printed line is needed for: the administrator's, and the replica's.
BASE_HBA = """
local   all          postgres                         trust
host    replication  replicator       127.0.0.1/32    trust
"""


@dataclass
class Setting:
    """A cluster whose rules a test writes, and the files of the gateway's certificate."""

    workspace: Workspace
    cluster: Cluster
    issuer: Issuer
    folder: Path
    started: list[Gateway] = field(default_factory=list)

    def prepare(self) -> None:
        with self.cluster.admin() as admin:
            for name in [*PEOPLE, "stranger", "boss", "snoop"]:
                admin.execute(sql.SQL("ALTER ROLE {} LOGIN").format(sql.Identifier(name)))
            admin.execute("CREATE ROLE team NOLOGIN; GRANT subjects, team TO alice")
            admin.execute("ALTER ROLE bob SET work_mem = '123kB'")
            admin.execute("CREATE ROLE mon LOGIN")

    def write_rules(self, printed: str = "", *, hba: str = "", ident: str = "") -> None:
        """Gives the servers what `setup hba` printed, and makes sure that they take it."""
        parts = sections(printed)
        for server in filter(None, (self.cluster.primary, self.cluster.replica)):
            (server.data / "pg_hba.conf").write_text(BASE_HBA + hba + parts.get("pg_hba.conf", ""))
            (server.data / "pg_ident.conf").write_text(ident + parts.get("pg_ident.conf", ""))
            reload(server)

    def install_authority(self, authority: Authority) -> None:
        for server in filter(None, (self.cluster.primary, self.cluster.replica)):
            path = server.data / "gateway-ca.crt"
            path.write_bytes(authority.certificate)
            if server.account:
                server.account.own(path)
            with (server.data / "postgresql.conf").open("a") as settings:
                settings.write("ssl_ca_file = 'gateway-ca.crt'\n")

    def files(self, pair: CertificatePair) -> dict[str, str]:
        certificate, key = self.folder / "gateway.crt", self.folder / "gateway.key"
        certificate.write_bytes(pair.certificate)
        key.write_bytes(pair.key)
        key.chmod(0o600)
        return {"tls_server_certificate": str(certificate), "tls_server_private_key": str(key)}

    def config(self, **tables: Any) -> dict[str, Any]:
        config = merged(default_config(self.cluster, self.issuer), {"admin": ADMIN})
        for key in ("jwt_server_user", "jwt_server_password"):
            del config["general"][key]
        return merged(config, tables)

    def gateway(
        self,
        users: list[dict[str, Any]] | None = None,
        env: dict[str, str] | None = None,
        start: bool = True,
        **tables: Any,
    ) -> Target:
        process = Gateway(self.workspace, self.config(**tables), {"users": users or []}, env)
        if start:
            process.start()
            self.started.append(process)
        return Target.of(process, self.issuer)


def reload(server: Server) -> None:
    """Makes the server read its files, and waits until new connections are judged by them."""

    def loaded() -> Any:
        with server.admin() as admin:
            return admin.execute("SELECT pg_conf_load_time()").fetchone()

    before = loaded()
    with server.admin() as admin:
        wrong = admin.execute("SELECT line_number, error FROM pg_hba_file_rules WHERE error IS NOT NULL")
        assert wrong.fetchall() == []
        admin.execute("SELECT pg_reload_conf()")
    eventually(lambda: loaded() != before, "the new rules")


def sections(printed: str) -> dict[str, str]:
    """What `setup hba` printed, by the file that it belongs in."""
    parts: dict[str, str] = {}
    name = ""
    for line in printed.splitlines(keepends=True):
        if line.startswith("# === "):
            name = line.split()[2]
            parts[name] = ""
        else:
            parts[name] += line
    return parts


def setup_hba(target: Target, *options: str) -> str:
    done = run_setup(target, *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_setup(target: Target, *options: str) -> subprocess.CompletedProcess[str]:
    gateway = target.gateway
    command = [find_gateway(), "--config", gateway.config_file, "--users", gateway.users_file]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PGDOG_")}
    arguments = [*command, "setup", "hba", *options]
    return subprocess.run(arguments, env=clean, capture_output=True, text=True, timeout=20)
