"""The gateway, and PgBouncer: with equal pools, and configured for what a scenario needs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pgbouncer
from contestants import Endpoint, Pooler, Setting
from figures import PGBOUNCER
from scenarios import NEW_TOKENS, SCRAM, Scenario

from harness import Gateway, default_config, find_gateway, merged
from harness.ports import free_port

# With fewer places than there are tokens, each of them is new whenever it comes.
FEW_TOKENS = 100
# Of users.toml, for those who log in by SCRAM.
PASSWORD_USER = "keeper"
PASSWORD = "bench-secret-of-the-keeper"


class PgBouncer(Pooler):
    """In transaction mode. Versions that cannot prepare statements there get session mode for them."""

    def __init__(self, setting: Setting, program: Path, auth_type: str = "trust") -> None:
        super().__init__(setting)
        self.program, self.auth_type = program, auth_type
        self.name = PGBOUNCER if auth_type == "trust" else f"{PGBOUNCER}, {auth_type}"
        self.version = f"PgBouncer {'.'.join(map(str, pgbouncer.version(program)))}"

    def enters(self, scenario: Scenario) -> bool:
        if scenario.shared_servers:
            return False
        # How a client proves itself matters only where it logs in all the time.
        if scenario.credential == SCRAM:
            return self.auth_type != "trust"
        return self.auth_type == "trust" or (scenario.reconnect and scenario.driver == "pgbench")

    def launch(self, scenario: Scenario) -> Endpoint:
        database = self.setting.database
        session = scenario.needs_prepared_statements and not pgbouncer.can_prepare(self.program)
        size = max(self.setting.pool_size, scenario.clients) if session else self.setting.pool_size
        port = free_port()
        settings: dict[str, object] = {
            "listen_port": port,
            "auth_type": self.auth_type,
            "pool_mode": "session" if session else "transaction",
            "default_pool_size": size,
        }
        folder = self.setting.workspace.subfolder("pgbouncer")
        if scenario.tls:
            settings |= self.tls(folder)
        command, options = pgbouncer.prepare(
            folder,
            self.program,
            users={database.role: database.scram_secret()},
            database=f"{database.name} = host={database.host} port={database.port} dbname={database.name}",
            settings=settings,
        )
        started = self.spawn(command, folder, cwd=folder, **options)
        notes = [f"session mode, pool {size}"] if session else []
        notes += ["primary alone"] if scenario.replica else []
        note = ", ".join(notes)
        return Endpoint(port, database.role, database.password, (), self.pid, started, note)

    def tls(self, folder: Path) -> dict[str, object]:
        certificate, key, authority = (folder / name for name in ("client.crt", "client.key", "server.crt"))
        for own, source in zip((certificate, key), self.setting.tls_files, strict=True):
            own.write_bytes(source.read_bytes())
        authority.write_bytes(self.setting.database.authority.read_bytes())
        return {
            "client_tls_sslmode": "require",
            "client_tls_cert_file": certificate,
            "client_tls_key_file": key,
            "server_tls_sslmode": "verify-full",
            "server_tls_ca_file": authority,
        }


class OurGateway(Pooler):
    """The client's password is a token; the gateway becomes the role that it names."""

    def __init__(self, setting: Setting, name: str, workers: int, program: Path | None = None) -> None:
        super().__init__(setting)
        self.name, self.workers = name, workers
        self.program = (program or find_gateway()).resolve()
        self.version = _first_line([self.program, "--version"])

    def launch(self, scenario: Scenario) -> Endpoint:
        setting, user = self.setting, self.setting.database.role
        password, passwords = setting.token(), tuple[str, ...]()
        if scenario.credential == SCRAM:
            user, password = PASSWORD_USER, PASSWORD
        elif scenario.credential == NEW_TOKENS:
            passwords = tuple(setting.new_tokens)
        elif scenario.shared_servers:
            passwords = tuple(setting.tokens_of_subjects(scenario.clients))
        # It writes the files; the process is ours, so that its start can be measured.
        files = Gateway(setting.workspace, self.configuration(scenario), self.users(scenario))
        command = [self.program, "--config", files.config_file, "--users", files.users_file]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PGDOG_", "PG"))}
        started = self.spawn(command, files.folder, cwd=files.folder, env=kept)
        return Endpoint(files.port, user, password, passwords, self.pid, started)

    def configuration(self, scenario: Scenario) -> dict[str, Any]:
        setting, database = self.setting, self.setting.database
        general: dict[str, Any] = {
            "workers": self.workers,
            "default_pool_size": setting.pool_size,
            # As for PgBouncer and pgbench: loopback without TLS.
            "tls_verify": "disabled",
            "log_format": "json",
        }
        if scenario.tls:
            certificate, key = setting.tls_files
            general |= {
                "tls_certificate": str(certificate),
                "tls_private_key": str(key),
                "tls_verify": "verify_full",
                "tls_server_ca_certificate": str(database.authority),
            }
        config = merged(default_config(database.cluster, setting.issuer), {"general": general})
        if scenario.credential == NEW_TOKENS:
            config["jwt"]["token_cache_size"] = FEW_TOKENS
        if scenario.shared_servers:
            config["jwt"]["shared_pool"] = True
            config["general"]["default_pool_size"] = scenario.shared_servers
            config["general"]["checkout_timeout"] = 60_000
            config["databases"][0]["max_server_connections"] = scenario.shared_servers
        if scenario.replica:
            replica = database.replica()
            place = {"name": database.name, "host": replica.host, "port": replica.port, "role": "replica"}
            config["databases"].append(place)
        return config

    def users(self, scenario: Scenario) -> dict[str, Any]:
        if scenario.credential != SCRAM:
            return {}
        database = self.setting.database
        user = {
            "name": PASSWORD_USER,
            "database": database.name,
            "password": PASSWORD,
            "server_user": database.role,
            "server_password": database.password,
        }
        return {"users": [user]}


def _first_line(command: list[str | Path]) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=10)
    return (done.stdout or done.stderr).strip().splitlines()[0] if done.returncode == 0 else "unknown version"
