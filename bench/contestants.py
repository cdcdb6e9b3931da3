"""Who is measured. Each is started afresh for a scenario, and says where it listens."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pgbouncer
from database import Database
from scenarios import Scenario

from harness import Gateway, Issuer, Workspace, default_config, eventually, find_gateway, merged
from harness.ports import free_port
from harness.wire import Wire

START_SECONDS = 20.0
TOKEN_SECONDS = 24 * 3600
DIRECT = "direct"
PGBOUNCER = "PgBouncer"


@dataclass(frozen=True)
class Setting:
    """What all contestants have in common."""

    workspace: Workspace
    database: Database
    issuer: Issuer
    pool_size: int

    def token(self) -> str:
        return self.issuer.token(self.database.role, expires_in=TOKEN_SECONDS)


@dataclass(frozen=True)
class Endpoint:
    """Where pgbench connects. `pid`: of the pooler; `note`: what a reader of the table must know."""

    port: int
    password: str
    pid: int | None = None
    note: str = ""


class Contestant:
    """`start` gives the endpoint or raises; `stop` may be called whatever happened before."""

    name: str
    version = ""

    def enters(self, scenario: Scenario) -> bool:
        """Whether the scenario means anything here."""
        return True

    def start(self, scenario: Scenario) -> Endpoint:
        raise NotImplementedError

    def stop(self) -> None:
        """Ends what `start` began."""


class Direct(Contestant):
    """PostgreSQL itself: what there is to lose."""

    name = DIRECT

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.version = f"PostgreSQL {setting.database.version}"

    def start(self, scenario: Scenario) -> Endpoint:
        return Endpoint(self.setting.database.port, self.setting.database.password)


class PgBouncer(Contestant):
    """In transaction mode. Versions that cannot prepare statements there get session mode for them."""

    def __init__(self, setting: Setting, program: Path, auth_type: str = "trust") -> None:
        self.setting, self.program, self.auth_type = setting, program, auth_type
        self.name = PGBOUNCER if auth_type == "trust" else f"{PGBOUNCER}, {auth_type}"
        self.version = f"PgBouncer {'.'.join(map(str, pgbouncer.version(program)))}"
        self.process: subprocess.Popen[bytes] | None = None

    def enters(self, scenario: Scenario) -> bool:
        # How a client proves itself matters only where it logs in all the time.
        return self.auth_type == "trust" or scenario.reconnect

    def start(self, scenario: Scenario) -> Endpoint:
        database = self.setting.database
        session = scenario.needs_prepared_statements and not pgbouncer.can_prepare(self.program)
        mode = "session" if session else "transaction"
        size = max(self.setting.pool_size, scenario.clients) if session else self.setting.pool_size
        port = free_port()
        self.process = pgbouncer.spawn(
            self.setting.workspace,
            self.program,
            users={database.role: database.scram_secret()},
            database=f"{database.name} = host={database.host} port={database.port} dbname={database.name}",
            settings={
                "listen_port": port,
                "auth_type": self.auth_type,
                "pool_mode": mode,
                "default_pool_size": size,
            },
        )
        return Endpoint(
            port, database.password, self.process.pid, f"session mode, pool {size}" if session else ""
        )

    def stop(self) -> None:
        if self.process:
            self.setting.workspace.stop(self.process)
            self.process = None


class OurGateway(Contestant):
    """The client's password is a token; the gateway becomes the role that it names."""

    def __init__(self, setting: Setting, name: str, workers: int, program: Path | None = None) -> None:
        self.setting, self.name, self.workers = setting, name, workers
        self.program = (program or find_gateway()).resolve()
        self.version = _first_line([self.program, "--version"])
        self.gateway: Gateway | None = None

    def start(self, scenario: Scenario) -> Endpoint:
        setting = self.setting
        config = merged(
            default_config(setting.database.cluster, setting.issuer),
            {
                "general": {
                    "workers": self.workers,
                    "default_pool_size": setting.pool_size,
                    # As for PgBouncer and pgbench: loopback without TLS.
                    "tls_verify": "disabled",
                    "log_format": "json",
                }
            },
        )
        self.gateway = Gateway(setting.workspace, config)
        self.gateway.program = self.program
        self.gateway.start()
        return Endpoint(self.gateway.port, setting.token(), self.gateway.pid)

    def stop(self) -> None:
        if self.gateway:
            self.gateway.stop()
            self.gateway = None


class Other(Contestant):
    """Any other pooler: one that runs already, by its process id, or a command line that runs one.

    A command finds in its environment what it must know, see README.md.
    """

    def __init__(self, setting: Setting, name: str, port: int, run: str, *, token: bool) -> None:
        self.setting, self.name, self.port, self.run, self.token = setting, name, port, run, token
        self.version = name
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, scenario: Scenario) -> Endpoint:
        password = self.setting.token() if self.token else self.setting.database.password
        if self.run.isdigit():
            return Endpoint(self.port, password, int(self.run))
        folder = self.setting.workspace.subfolder("other")
        with (folder / "log").open("wb") as output:
            self.process = self.setting.workspace.spawn(
                ["/bin/sh", "-c", self.run],
                output=output,
                env=os.environ | self.environment(scenario, folder),
            )
        process = self.process

        def listening() -> bool:
            if process.poll() is not None:
                return True
            Wire("127.0.0.1", self.port).close()
            return True

        eventually(listening, f"start of {self.name}", START_SECONDS)
        if process.poll() is not None:
            log = (folder / "log").read_text(errors="replace").strip()
            raise RuntimeError(f"ended at once: {log[-500:] or 'without a word'}")
        return Endpoint(self.port, password, process.pid)

    def environment(self, scenario: Scenario, folder: Path) -> dict[str, str]:
        setting, database = self.setting, self.setting.database
        values = {
            "PORT": self.port,
            "POSTGRES_HOST": database.host,
            "POSTGRES_PORT": database.port,
            "DATABASE": database.name,
            "USER": database.role,
            "PASSWORD": database.password,
            "POOL_SIZE": setting.pool_size,
            "CLIENTS": scenario.clients,
            "PROTOCOL": scenario.protocol,
            "JWKS_URL": setting.issuer.jwks_url,
            "AUDIENCE": setting.issuer.audience,
            "FOLDER": folder,
        }
        return {f"BENCH_{name}": str(value) for name, value in values.items()}

    def stop(self) -> None:
        if self.process:
            # The shell may have started the pooler instead of becoming it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGTERM)
            self.setting.workspace.stop(self.process)
            self.process = None


def _first_line(command: list[str | Path]) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=10)
    return (done.stdout or done.stderr).strip().splitlines()[0] if done.returncode == 0 else "unknown version"
