"""PgBouncer as a process: finding or installing it, its files, its account."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.installation import server_account

# Prepared statements in transaction mode came with 1.21 (PgBouncer's changelog).
FIRST_THAT_PREPARES = (1, 21)
POLICY = Path("/usr/sbin/policy-rc.d")

SETTINGS = {
    "listen_addr": "127.0.0.1",
    "unix_socket_dir": "",
    "max_client_conn": 12_000,
    "client_tls_sslmode": "disable",
    "server_tls_sslmode": "disable",
}


def find() -> Path | None:
    """`PGBOUNCER`, or what is installed; as root on Debian it is installed when it is not."""
    if named := os.environ.get("PGBOUNCER"):
        if found := shutil.which(named):
            return Path(found)
        raise RuntimeError(f"PGBOUNCER={named}: no such program")
    if (found := _installed()) or os.geteuid() != 0 or not shutil.which("apt-get"):
        return found
    _install()
    return _installed()


def version(program: Path) -> tuple[int, ...]:
    """Such as `(1, 18, 0)`."""
    output = subprocess.run([program, "--version"], capture_output=True, text=True).stdout
    found = re.search(r"PgBouncer (\d+(?:\.\d+)*)", output)
    return tuple(int(part) for part in found.group(1).split(".")) if found else ()


def can_prepare(program: Path) -> bool:
    return version(program) >= FIRST_THAT_PREPARES


def prepare(
    folder: Path,
    program: Path,
    *,
    users: Mapping[str, str],
    database: str,
    settings: Mapping[str, object],
) -> tuple[list[str | Path], dict[str, Any]]:
    """Writes its files. What to run, and how: as root it runs as another user, for it refuses to be root."""
    account = server_account()
    user_list, configuration = folder / "userlist.txt", folder / "pgbouncer.ini"
    user_list.write_text("".join(f'"{name}" "{secret}"\n' for name, secret in users.items()))
    merged = {**SETTINGS, "auth_file": user_list, **settings}
    if can_prepare(program):
        merged["max_prepared_statements"] = 200
    lines = [f"{name} = {value}" for name, value in merged.items()]
    configuration.write_text("\n".join(["[databases]", database, "[pgbouncer]", *lines, ""]))
    for path in (*folder.iterdir(), folder) if account else ():
        account.own(path)
    return [program, configuration], account.options if account else {}


def _installed() -> Path | None:
    # Debian puts it where an ordinary user's PATH does not lead.
    found = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    return Path(found) if found else None


def _install() -> None:
    print("installing pgbouncer", flush=True)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "pgbouncer"]
    with _no_services():
        if subprocess.run(command, env=environment, capture_output=True).returncode != 0:
            # A new machine has no package lists, and an old one has outdated ones.
            subprocess.run(["apt-get", "update", "-qq"], env=environment, capture_output=True)
            subprocess.run(command, env=environment, capture_output=True)


@contextlib.contextmanager
def _no_services() -> Iterator[None]:
    """The program is wanted; a PgBouncer that listens on 6432 from now on is not."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()
