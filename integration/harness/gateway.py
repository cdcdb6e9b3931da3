"""The gateway as a process: its two files, its log, its signals."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import tomli_w

from .cluster import DATABASE, SERVER_PASSWORD, SERVER_USER, Cluster
from .hosts import for_pgdog, is_pgdog, pgdog, skip_unknown_keys
from .issuer import Issuer
from .poll import eventually
from .ports import free_port, is_listening
from .workspace import Workspace, resident_bytes

REPOSITORY = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0

Config = dict[str, Any]


def find_gateway() -> Path:
    """The program: a patched PgDog (`PGDOG`), `PGDOG_JWT_BIN`, or what cargo has built, the release first."""
    if is_pgdog():
        return pgdog()
    if named := os.environ.get("PGDOG_JWT_BIN"):
        if found := shutil.which(named):
            return Path(found)
        raise RuntimeError(f"PGDOG_JWT_BIN={named}: no such program")
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    for profile in ("release", "debug"):
        path = target / profile / "pgdog-jwt"
        if path.is_file():
            return path
    raise RuntimeError(f"no gateway in {target}: build it with `cargo build --release -p pgdog-jwt-gateway`")


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> Config:
    """A copy of `base` with the changes laid over it, table by table; `None` takes a key away."""
    result = deepcopy(dict(base))
    for name, value in changes.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, Mapping) and isinstance(result.get(name), dict):
            result[name] = merged(result[name], value)
        else:
            result[name] = deepcopy(value)
    return result


def default_config(cluster: Cluster, issuer: Issuer) -> Config:
    """A `pgdog.toml` under which subjects of the issuer get pools of their own, on primary and replica."""
    databases = [
        {"name": DATABASE, "host": server.host, "port": server.port, "role": role}
        for role, server in (("primary", cluster.primary), ("replica", cluster.replica))
        if server
    ]
    return {
        "general": {
            "host": "127.0.0.1",
            "port": free_port(),
            "workers": 2,
            "default_pool_size": 5,
            "min_pool_size": 0,
            "pooler_mode": "transaction",
            "log_format": "json",
            "log_level": "info",
            "auth_type": "jwt",
            "jwt_jwks_url": issuer.jwks_url,
            "jwt_audience": issuer.audience,
            "jwt_server_user": SERVER_USER,
            "jwt_server_password": SERVER_PASSWORD,
            "jwt_user_auto_provision": True,
        },
        "jwt": {"issuer": issuer.name, "algorithms": ["RS256", "ES256", "ES384", "EdDSA"]},
        "databases": databases,
    }


def primary_alone(cluster: Cluster) -> dict[str, Any]:
    """The database without its replica, which shows a write only a little later."""
    primary = cluster.primary
    return {"name": DATABASE, "host": primary.host, "port": primary.port, "role": "primary"}


class Gateway:
    """Made from configuration values; `start` it. It ends with its workspace."""

    def __init__(
        self,
        workspace: Workspace,
        config: Config,
        users: Config | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.workspace = workspace
        self.program = find_gateway()
        self.folder = workspace.subfolder("gateway")
        self.config_file = self.folder / "pgdog.toml"
        self.users_file = self.folder / "users.toml"
        self.log_file = self.folder / "gateway.log"
        self.host = "127.0.0.1"
        self.env = dict(env or {})
        self.process: subprocess.Popen[bytes] | None = None
        self._seen = 0
        self.write(config, users or {})

    @property
    def port(self) -> int:
        return int(self.config["general"]["port"])

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    def write(self, config: Config | None = None, users: Config | None = None) -> None:
        """Writes the files; what is not given stays as it is."""
        if config is not None:
            config = for_pgdog(config) if is_pgdog() else config
            self.config = deepcopy(config)
            self.config_file.write_text(tomli_w.dumps(config))
        if users is not None:
            self.users_file.write_text(tomli_w.dumps(users))

    def start(self, *launcher: str | Path, **options: Any) -> Gateway:
        """Starts the program, by way of another one if given, and waits until it listens."""
        seen = len(self.log())
        with self.log_file.open("ab") as output:
            self.process = self.workspace.spawn(
                [*launcher, self.program, "--config", self.config_file, "--users", self.users_file],
                output=output,
                cwd=self.folder,
                env={**_quiet_environment(), **self.env},
                **options,
            )

        def listening() -> bool:
            if is_pgdog():
                return self.exited or is_listening(self.port)
            return self.exited or any(event.get("message") == "listening" for event in self.log()[seen:])

        eventually(listening, "start of the gateway", START_SECONDS)
        if self.exited:
            if is_pgdog():
                skip_unknown_keys(self.log_text())
            log = self.log_text()[-3000:]
            if is_pgdog():
                # It prints an error as a string in quotes.
                log = log.replace('\\"', '"')
            raise RuntimeError(f"the gateway does not start:\n{log}")
        return self

    @property
    def exited(self) -> bool:
        return self.process is not None and self.process.poll() is not None

    def send(self, number: signal.Signals) -> None:
        """Such as SIGHUP, to read the files again."""
        assert self.process
        self.process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = 10.0) -> int:
        """Ends the program, by force after the timeout, and gives its exit status."""
        return self.workspace.stop(self.process, number, timeout) if self.process else 0

    def wait(self, timeout: float) -> int:
        """Waits until the program ends by itself."""
        assert self.process
        return self.process.wait(timeout)

    def log_text(self) -> str:
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def log(self) -> list[dict[str, Any]]:
        """Every event so far. Fields of an event and of its JSON envelope are one flat table."""
        return [_flat(line) for line in whole_lines(self.log_text()) if line.startswith("{")]

    def mark(self) -> None:
        """From here on, `audit` gives only what comes later."""
        self._seen = len(self.log())

    def audit(self) -> list[dict[str, Any]]:
        """The logins since the last mark, accepted and refused."""
        return [event for event in self.log()[self._seen :] if event.get("message") == "login"]

    def last_login(self, **fields: Any) -> dict[str, Any]:
        """Waits for a login with these fields since the last mark."""

        def found() -> dict[str, Any] | None:
            matching = [event for event in self.audit() if fields.items() <= event.items()]
            return matching[-1] if matching else None

        result = eventually(found, f"a login with {fields} in the log; there: {self.audit()[-3:]}")
        assert result
        return result

    def memory(self) -> int:
        """Bytes of memory that the process holds now."""
        return resident_bytes(self.pid)


def whole_lines(text: str) -> list[str]:
    """Of a file that is being written: behind the last end of a line may be a part of the next."""
    return text.split("\n")[:-1]


def _flat(line: str) -> dict[str, Any]:
    event = json.loads(line)
    return event | event.pop("fields", {})


def _quiet_environment() -> dict[str, str]:
    """This program's environment without settings for the gateway that a developer may have."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PGDOG_", "PG"))}
