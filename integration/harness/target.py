"""The gateway under test as its clients see it: an address, and ways to log in there."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import psycopg
from psycopg.rows import TupleRow

from .cluster import DATABASE
from .gateway import Gateway
from .issuer import Issuer
from .wire import ServerError, Wire

CONNECT_SECONDS = 30


@dataclass
class Target:
    """`process` is there when this program started the gateway itself."""

    host: str
    port: int
    issuer: Issuer
    process: Gateway | None = None
    tls: bool = False
    database: str = DATABASE
    psql_program: str = field(default_factory=lambda: shutil.which("psql") or "psql")

    @classmethod
    def of(cls, gateway: Gateway, issuer: Issuer) -> Target:
        return cls(gateway.host, gateway.port, issuer, gateway)

    @property
    def gateway(self) -> Gateway:
        """The process, for its log, memory and signals."""
        assert self.process
        return self.process

    def credential(self, user: str, password: str | None) -> str:
        """What was given, or else a fresh token for the user."""
        return self.issuer.token(user) if password is None else password

    def connect(self, user: str, password: str | None = None, **options: Any) -> psycopg.Connection[TupleRow]:
        """By psycopg. Every statement commits unless `autocommit=False`."""
        settings: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "dbname": self.database,
            "user": user,
            "password": self.credential(user, password),
            "connect_timeout": CONNECT_SECONDS,
            "autocommit": True,
        }
        return psycopg.connect(**settings | options)

    async def connect_asyncpg(self, user: str, password: str | None = None, **options: Any) -> Any:
        """By asyncpg. In transaction mode its statement cache must be off."""
        settings: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "database": self.database,
            "user": user,
            "password": self.credential(user, password),
            "timeout": CONNECT_SECONDS,
            "ssl": "require" if self.tls else False,
        }
        return await asyncio.wait_for(asyncpg.connect(**settings | options), CONNECT_SECONDS)

    def psql(self, user: str, *arguments: str, password: str | None = None, **options: Any) -> Any:
        """Runs psql to its end."""
        return subprocess.run(
            [*self.psql_command(user), *arguments],
            env=self.psql_environment(user, password),
            capture_output=True,
            text=True,
            timeout=60,
            **options,
        )

    def psql_command(self, user: str) -> list[str]:
        target = f"host={self.host} port={self.port} dbname={self.database}"
        return [self.psql_program, "--no-psqlrc", "-At", f"{target} user='{user}'"]

    def psql_environment(self, user: str, password: str | None = None) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return kept | {
            "PGPASSWORD": self.credential(user, password),
            "PGCONNECT_TIMEOUT": str(CONNECT_SECONDS),
        }

    def open(self) -> Wire:
        """A connection by hand, before its start-up packet."""
        wire = Wire(self.host, self.port)
        if self.tls:
            wire.start_tls()
        return wire

    def wire(self, user: str, password: str | None = None, **parameters: str) -> Wire:
        """A connection by hand, logged in. Start-up parameters may be given, `database` among them."""
        wire = self.open()
        try:
            wire.login(
                user, **{"database": self.database, **parameters}, password=self.credential(user, password)
            )
        except BaseException:
            wire.close()
            raise
        return wire

    def refusal(self, user: str, password: str | None = None, **parameters: str) -> dict[str, str]:
        """The error fields of a login that must be refused."""
        try:
            self.wire(user, password, **parameters).close()
        except ServerError as error:
            return error.fields
        raise AssertionError(f"{user} was let in")
