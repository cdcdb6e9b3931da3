"""Roles that logins make: PostgreSQL with an account that may, a gateway, and what both say of roles."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .cluster import Cluster
from .gateway import Gateway, default_config, find_gateway, merged, primary_alone
from .installation import Installation
from .issuer import Issuer
from .target import Target
from .workspace import Workspace

ADMIN, ADMIN_PASSWORD = "provisioner", 'provisioner\'s "secret"'
MARK = "pgdog-jwt: made for a token"
SETTINGS = {
    "enabled": True,
    "admin_user": ADMIN,
    "admin_password": ADMIN_PASSWORD,
    "roles": ["subjects"],
    "groups": {"db-readers": "readers", "db-writers": ["writers", 'Wri"ters'], "team-*": "team_*"},
}


SQL = """
CREATE ROLE readers; CREATE ROLE writers; CREATE ROLE "Wri""ters";
CREATE ROLE team_red; CREATE ROLE team_blue; CREATE ROLE accounting;
CREATE ROLE team_mighty CREATEROLE; CREATE ROLE team_seer BYPASSRLS;
CREATE TABLE papers (body text); INSERT INTO papers VALUES ('read me'); GRANT SELECT ON papers TO readers;
"""
# Where memberships belong to who granted them, the administrator needs these itself.
GIVEN = 'subjects, readers, writers, "Wri""ters", team_red, team_blue, accounting'


@dataclass
class Place:
    """One PostgreSQL, a gateway in front of it, and what both say of roles."""

    cluster: Cluster
    make: Callable[..., Target]
    target: Target

    def sql(self, text: str, *values: Any) -> list[Any]:
        with self.cluster.admin() as admin:
            cursor = admin.execute(text, values or None)
            return cursor.fetchall() if cursor.description else []

    def groups(self, role: str) -> list[str]:
        rows = self.sql(
            "SELECT g.rolname FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid "
            "JOIN pg_roles r ON r.oid = m.member WHERE r.rolname = %s ORDER BY 1",
            role,
        )
        return [name for (name,) in rows]

    def exists(self, role: str) -> bool:
        return bool(self.sql("SELECT 1 FROM pg_roles WHERE rolname = %s", role))

    def comment(self, role: str) -> str | None:
        query = "SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = %s"
        return self.sql(query, role)[0][0]

    def catalogue(self) -> Any:
        """All that there is about roles, with the transactions that wrote it."""
        return [
            self.sql(f"SELECT xmin::text, t::text FROM {table} t ORDER BY 2")
            for table in ("pg_authid", "pg_auth_members", "pg_shdescription")
        ]

    def login(self, role: str, *groups: str, target: Target | None = None, **claims: Any) -> str | None:
        target = target or self.target
        token = target.issuer.token(role, **{"groups": list(groups), **claims})
        with target.wire(role, token) as wire:
            return wire.value("SELECT current_user")

    def refusal(self, role: str, target: Target | None = None, **claims: Any) -> str:
        """The reason in the audit log."""
        target = target or self.target
        target.gateway.mark()
        fields = target.refusal(role, target.issuer.token(role, **claims))
        assert fields["C"] == "28000", fields
        assert fields["M"].startswith("authentication failed for user"), fields
        return target.gateway.last_login(decision="refused")["reason"]

    def events(self, role: str, target: Target | None = None) -> list[tuple[str, str | None]]:
        log = (target or self.target).gateway.log()
        found = [event for event in log if event.get("event") == "provisioning" and event.get("role") == role]
        return [(event["action"], event.get("other")) for event in found]

    def cli(self, *arguments: str, target: Target | None = None, stdin: str = "") -> Any:
        gateway = (target or self.target).gateway
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PGDOG_")}
        files = ("--config", gateway.config_file, "--users", gateway.users_file)
        return subprocess.run(
            [find_gateway(), *files, "setup", "sync", *arguments],
            env=clean,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )


@contextlib.contextmanager
def place_of(installation: Installation, issuer: Issuer, *, replica: bool = False) -> Iterator[Place]:
    with Workspace() as workspace:
        cluster = Cluster(workspace, installation, replica=replica)
        with cluster.admin() as admin:
            admin.execute(SQL)
            secret = ADMIN_PASSWORD.replace("'", "''")
            admin.execute(f"CREATE ROLE {ADMIN} LOGIN CREATEROLE PASSWORD '{secret}'")
            if installation.major >= 16:
                admin.execute(f"GRANT {GIVEN} TO {ADMIN} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE")
        databases = default_config(cluster, issuer)["databases"] if replica else [primary_alone(cluster)]

        def make(*, users: list[dict[str, Any]] | None = None, start: bool = True, **tables: Any) -> Target:
            base = default_config(cluster, issuer) | {"databases": databases}
            provisioning = merged(SETTINGS, tables.pop("provisioning", {}))
            config = merged(merged(base, {"jwt": {"provisioning": provisioning}}), tables)
            process = Gateway(workspace, config, {"users": users or []})
            return Target.of(process.start() if start else process, issuer)

        yield Place(cluster, make, make())


class Userinfo:
    """An issuer's userinfo endpoint."""

    def __init__(self) -> None:
        endpoint = self
        self.answer: Callable[[str], tuple[int, bytes]] = lambda _: (500, b"")
        self.asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                bearer = self.headers.get("Authorization", "")
                endpoint.asked.append(bearer)
                status, body = endpoint.answer(bearer)
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "http://127.0.0.1:1/")
                self.send_header("Content-Length", str(len(body)))
                # Whoever has waited too long, or read enough, is gone.
                with contextlib.suppress(ConnectionError):
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/userinfo"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def says(self, **claims: Any) -> None:
        self.answer = lambda _: (200, json.dumps(claims).encode())
