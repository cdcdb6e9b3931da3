"""Packages for Node that tests run with, installed once for each list of them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
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
    if not (folder / "installed").exists():
        folder.mkdir(parents=True, exist_ok=True)
        for path in lists:
            shutil.copy(path, folder)
        for command in filter(None, (INSTALL, build)):
            run(command, folder, env or {})
        (folder / "installed").touch()
    for path in (*SCRIPTS.glob("*.js"), *source.glob("*.js")):
        shutil.copy(path, folder)
    return folder


def run(command: tuple[str, ...], folder: Path, env: dict[str, str]) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, env=os.environ | env, capture_output=True, text=True, timeout=INSTALL_SECONDS
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"{command[0]} does not come to an end: it may have no network")
    if done.returncode != 0:
        pytest.skip(f"{' '.join(command)}: {done.stderr.strip()[-300:]}")
