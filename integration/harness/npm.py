"""Packages for Node that tests run with, installed once for each list of them."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "node"
INSTALL = ("npm", "install", "--no-audit", "--no-fund", "--silent", "--ignore-scripts")
INSTALL_SECONDS = 100


def installed(source: Path = SCRIPTS, *build: str, env: dict[str, str] | None = None) -> Path:
    """A folder of the user's cache with the packages that `source` lists, and the scripts of today.

    `build` runs there after a new installation. Skips the test where any of it cannot be had.
    """
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not installed: what runs on them is not tested")
    lists = [path for path in sorted(source.iterdir()) if path.suffix in (".json", ".prisma")]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in lists)).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = cache / "pgdog-jwt" / f"node-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder):
        if not (folder / "installed").exists():
            for path in lists:
                shutil.copy(path, folder)
            for command in filter(None, (INSTALL, build)):
                run(command, folder, env or {})
            (folder / "installed").touch()
        for path in (*SCRIPTS.glob("*.js"), *source.glob("*.js")):
            put(path, folder / path.name)
    return folder


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Other processes wait meanwhile."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def put(source: Path, path: Path) -> None:
    """A copy for those who may be reading the one that is there: it goes on or is replaced as a whole."""
    if not path.exists() or path.read_bytes() != source.read_bytes():
        copy = path.with_name(f".{path.name}")
        shutil.copy(source, copy)
        copy.replace(path)


def run(command: tuple[str, ...], folder: Path, env: dict[str, str]) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, env=os.environ | env, capture_output=True, text=True, timeout=INSTALL_SECONDS
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"{command[0]} does not come to an end: it may have no network")
    if done.returncode != 0:
        pytest.skip(f"{' '.join(command)}: {done.stderr.strip()[-300:]}")
