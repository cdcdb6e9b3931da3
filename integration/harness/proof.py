"""Proofs of claims, made by hand as docs/verified-claims.md has it, and a database that believes them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import psycopg

from .installation import Installation, server_account
from .server import Server
from .workspace import Workspace

SCRIPTS = Path(__file__).parents[2] / "sql"
CLAIMS = {"sub": "alice", "tenant_id": "acme", "realm": {"roles": ["a", "b"]}, "name": "Zoë 名前 \U0001f600"}
# What is no proof.
MAC = "A" * 43
GARBAGE = [
    "", " ", ".", "...", "v1", "v1...", "null", "{}", "\n", "%", "\\", "'", "v1.k1..", "v1.k1.e30.",
    "a" * 100_000, "." * 100_000, f"v1.k1.{'A' * 2_000_000}.{MAC}", f"v1.{'k' * 10_000}.e30.{MAC}",
    f"v1.k1.ä.{MAC}", f"v1.k1.e30.{'ä' * 43}", f"v1.k1.e30.{MAC}\n", f"\nv1.k1.e30.{MAC}",
    f"v1.k1.e30.{MAC}.", f"v1.k1.e3+.{MAC}", f"v1.k1.e3 .{MAC}",
]  # fmt: skip
KEY_ID = "k1"
SECRET = "a secret that the gateway and the owner share"
PASSWORD = "gateway-secret"
ROLES = """
CREATE ROLE gateway LOGIN NOINHERIT PASSWORD 'gateway-secret';
CREATE ROLE alice LOGIN PASSWORD 'gateway-secret';
CREATE ROLE bob LOGIN PASSWORD 'gateway-secret';
CREATE ROLE team NOLOGIN;
GRANT alice, bob TO gateway;
GRANT team TO alice;
"""


def script(*, pgvpd: bool = False) -> str:
    """What the owner of a database installs, as one transaction."""
    files = sorted(SCRIPTS.glob("[0-9]_*.sql")) + ([SCRIPTS / "pgvpd.sql"] if pgvpd else [])
    return "\n".join(["BEGIN;", *(file.read_text() for file in files), "COMMIT;"])


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign(payload: bytes, key_id: str = KEY_ID, secret: str = SECRET, version: str = "v1") -> str:
    """Any bytes with a right MAC."""
    text = f"{version}.{key_id}.{base64url(payload)}"
    return f"{text}.{base64url(hmac.digest(secret.encode(), text.encode(), hashlib.sha256))}"


class Session:
    """A connection as the gateway holds it: logged in with one account, perhaps in the role of a subject."""

    def __init__(
        self, server: Server, dbname: str, user: str = "gateway", role: str | None = None, **options: Any
    ):
        self.connection = psycopg.connect(
            host=server.host,
            port=server.port,
            user=user,
            password=PASSWORD,
            dbname=dbname,
            autocommit=True,
            **options,
        )
        self.messages: list[str] = []
        self.connection.add_notice_handler(
            lambda notice: self.messages.append(f"{notice.message_primary}\n{notice.message_detail}")
        )
        if role:
            self.run(f"SET ROLE {role}")

    def run(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        cursor = self.connection.execute(sql, parameters or None)
        return cursor.fetchall() if cursor.description else []

    def value(self, sql: str, *parameters: Any) -> Any:
        return self.run(sql, *parameters)[0][0]

    def payload(self, claims: Any, **changes: Any) -> dict[str, Any]:
        """What is to be proven here; `changes` replace fields, `None` takes one away."""
        role, database, pid, start = self.run(
            "SELECT current_user, current_database(), pg_backend_pid(), jwt.backend_start()"
        )[0]
        exp = int(time.time()) + 3600
        fields = {"role": role, "db": database, "pid": pid, "start": start, "exp": exp, "claims": claims}
        return {name: value for name, value in (fields | changes).items() if value is not None}

    def proof(self, claims: Any, **changes: Any) -> str:
        return sign(json.dumps(self.payload(claims, **changes)).encode())

    def show(self, proof: str) -> None:
        """Puts a proof where the gateway puts it."""
        self.run("SELECT set_config('jwt.proof', %s, false)", proof)

    def prove(self, claims: Any, **changes: Any) -> None:
        self.show(self.proof(claims, **changes))

    def claims(self) -> Any:
        return self.value("SELECT jwt.claims()")

    def close(self) -> None:
        self.connection.close()


class ClaimsServer:
    """One PostgreSQL with the scripts in database `app`, roles, and the key of this module."""

    def __init__(self, workspace: Workspace, installation: Installation, *, pgvpd: bool = False):
        account = server_account()
        self.server = Server.create(
            workspace, installation.usable_by(account, workspace.folder), account, "claims"
        )
        self.server.start()
        with self.server.admin() as admin:
            admin.execute("CREATE DATABASE app")
        with self.admin() as admin:
            admin.execute(ROLES)
            admin.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
            admin.execute(script(pgvpd=pgvpd))
            admin.execute("SELECT jwt.add_key(%s, %s)", (KEY_ID, SECRET))
        self.sessions: list[Session] = []

    @property
    def major(self) -> int:
        return self.server.installation.major

    def admin(self, dbname: str = "app") -> psycopg.Connection[tuple[Any, ...]]:
        """A superuser's connection. Every statement commits."""
        return self.server.admin(dbname)

    def execute(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """As a superuser, on a connection of its own."""
        with self.admin() as admin:
            cursor = admin.execute(sql, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def session(
        self, user: str = "gateway", role: str | None = None, dbname: str = "app", **options: Any
    ) -> Session:
        session = Session(self.server, dbname, user, role, **options)
        self.sessions.append(session)
        return session

    def subject(self, role: str = "alice", claims: Any = None) -> Session:
        """A session in the role of a subject whose claims are proven."""
        session = self.session(role=role)
        session.prove({"sub": role} if claims is None else claims)
        return session

    def close_sessions(self) -> None:
        while self.sessions:
            self.sessions.pop().close()


def nothing_or_data_error(session: Session) -> bool:
    """Fail closed: no claims. Bytes that are no text at all end in PostgreSQL's own error about them."""
    try:
        return session.claims() is None
    except psycopg.DataError as error:
        return SECRET not in str(error)
