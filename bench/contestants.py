"""Who is measured. Each is started afresh for a scenario, and says where it listens."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from database import Database
from figures import DIRECT, RELAY
from scenarios import NEW_TOKENS, SCRAM, Scenario
from subjects import make_subjects, name_of

from harness import Issuer, Workspace, eventually
from harness.certificates import self_signed
from harness.ports import free_port
from harness.wire import Wire

HOST = "127.0.0.1"
START_SECONDS = 20.0
TOKEN_SECONDS = 24 * 3600
# Many times as many as a gateway of the scenarios remembers.
TOKENS = 2_000


@dataclass(frozen=True)
class Setting:
    """What all contestants have in common."""

    workspace: Workspace
    database: Database
    issuer: Issuer
    pool_size: int

    def token(self) -> str:
        return self.issuer.token(self.database.role, expires_in=TOKEN_SECONDS)

    @cached_property
    def new_tokens(self) -> Sequence[str]:
        return [self.token() for _ in range(TOKENS)]

    @cached_property
    def subject_tokens(self) -> list[str]:
        """By the subjects' numbers; as many as were asked for so far."""
        return []

    def tokens_of_subjects(self, count: int) -> Sequence[str]:
        """Tokens of so many subjects, whose roles are made when they are asked for first."""
        known = self.subject_tokens
        if len(known) < count:
            make_subjects(self.database, len(known), count)
            names = [name_of(number) for number in range(len(known), count)]
            known += [self.issuer.token(name, expires_in=TOKEN_SECONDS) for name in names]
        return known[:count]

    @cached_property
    def tls_files(self) -> tuple[Path, Path]:
        """Certificate and key that poolers show to clients."""
        folder = self.workspace.subfolder("certificates")
        pair = self_signed(HOST, "localhost")
        paths = folder / "pooler.crt", folder / "pooler.key"
        for path, content in zip(paths, (pair.certificate, pair.key), strict=True):
            path.write_bytes(content)
        return paths


@dataclass(frozen=True)
class Endpoint:
    """Where clients connect, and as whom.

    `passwords`: for clients that log in with another one each time; `pid`: of the pooler; `started`: when it
    was, by the monotonic clock; `note`: what a reader of the table must know.
    """

    port: int
    user: str
    password: str
    passwords: Sequence[str] = ()
    pid: int | None = None
    started: float = 0.0
    note: str = ""


class Contestant:
    """`start` gives the endpoint or raises; `stop` may be called whatever happened before."""

    name: str
    version = ""

    def enters(self, scenario: Scenario) -> bool:
        """Whether the scenario means anything here."""
        return True

    def launch(self, scenario: Scenario) -> Endpoint:
        """Starts without waiting."""
        raise NotImplementedError

    def start(self, scenario: Scenario) -> Endpoint:
        """Starts and waits until somebody listens."""
        return self.launch(scenario)

    def stop(self) -> None:
        """Ends what `start` began."""


class Direct(Contestant):
    """PostgreSQL itself: what there is to lose."""

    name = DIRECT

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.version = f"PostgreSQL {setting.database.version}"

    def enters(self, scenario: Scenario) -> bool:
        return scenario.direct

    def launch(self, scenario: Scenario) -> Endpoint:
        database = self.setting.database
        note = "primary alone" if scenario.replica else ""
        return Endpoint(database.port, database.role, database.password, note=note)


class Pooler(Contestant):
    """A process between client and PostgreSQL."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.process: subprocess.Popen[bytes] | None = None
        self.log: Path | None = None

    def spawn(self, command: Sequence[str | Path], folder: Path, **options: object) -> float:
        """Runs it with a log in the folder; the time at which that began."""
        self.log = folder / "log"
        with self.log.open("wb") as output:
            began = time.monotonic()
            self.process = self.setting.workspace.spawn(list(command), output=output, **options)
        return began

    def start(self, scenario: Scenario) -> Endpoint:
        endpoint = self.launch(scenario)
        self.wait(endpoint)
        return endpoint

    def wait(self, endpoint: Endpoint) -> None:
        process, log = self.process, self.log
        assert process
        assert log

        def listening() -> bool:
            if process.poll() is None:
                Wire(HOST, endpoint.port).close()
            return True

        eventually(listening, f"start of {self.name}", START_SECONDS)
        if process.poll() is not None:
            text = log.read_text(errors="replace").strip()
            raise RuntimeError(f"ended at once: {text[-500:] or 'without a word'}")

    def stop(self) -> None:
        if self.process:
            # A shell may have started the pooler instead of becoming it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGTERM)
            self.setting.workspace.stop(self.process)
            self.process = None

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid


class Relay(Pooler):
    """Copies bytes: the cost of a second hop alone."""

    name = RELAY

    def enters(self, scenario: Scenario) -> bool:
        return scenario.relay

    def launch(self, scenario: Scenario) -> Endpoint:
        database, port = self.setting.database, free_port()
        folder = self.setting.workspace.subfolder("relay")
        program = folder / "relay"
        build = ["rustc", "-O", "--edition=2024", "-o", program, Path(__file__).with_name("relay.rs")]
        built = subprocess.run(build, capture_output=True, text=True)
        if built.returncode != 0:
            raise RuntimeError(f"rustc: {built.stderr.strip()[-500:]}")
        command = [program, str(port), f"{database.host}:{database.port}"]
        started = self.spawn(command, folder)
        return Endpoint(port, database.role, database.password, pid=self.pid, started=started)


class Other(Pooler):
    """Any other pooler: one that runs already, by its process id, or a command line that runs one.

    A command finds in its environment what it must know, see README.md.
    """

    def __init__(self, setting: Setting, name: str, port: int, run: str, *, token: bool) -> None:
        super().__init__(setting)
        self.name, self.port, self.run, self.token = name, port, run, token
        self.version = name

    def enters(self, scenario: Scenario) -> bool:
        # It cannot be told about certificates, replicas and many subjects, and what runs stays as it is.
        if scenario.tls or scenario.replica or scenario.shared_servers:
            return False
        if self.run.isdigit() and scenario.starts_afresh:
            return False
        return not (self.token and scenario.credential == SCRAM)

    def start(self, scenario: Scenario) -> Endpoint:
        endpoint = self.launch(scenario)
        if self.process:
            self.wait(endpoint)
        return endpoint

    def launch(self, scenario: Scenario) -> Endpoint:
        setting, user = self.setting, self.setting.database.role
        password = setting.token() if self.token else setting.database.password
        passwords = setting.new_tokens if self.token and scenario.credential == NEW_TOKENS else ()
        if self.run.isdigit():
            return Endpoint(self.port, user, password, passwords, int(self.run))
        folder = setting.workspace.subfolder("other")
        files = folder / "files"
        files.mkdir()
        environment = os.environ | self.environment(scenario, files)
        started = self.spawn(["/bin/sh", "-c", self.run], folder, env=environment)
        return Endpoint(self.port, user, password, passwords, self.pid, started)

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
