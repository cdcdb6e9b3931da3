"""Source distributions from PyPI, by version and checksum, and what their tests need. Kept in `.build`."""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from harness.gateway import REPOSITORY

LISTS = Path(__file__).parent
SOURCES = LISTS / "sources.txt"
PACKAGES = LISTS / "packages.txt"
FETCH_SECONDS = 240


def fetch() -> Path:
    """A folder with each distribution under its name without the version, and `packages`."""
    digest = hashlib.sha256(SOURCES.read_bytes() + PACKAGES.read_bytes()).hexdigest()[:16]
    folder = REPOSITORY / ".build" / "suites" / digest
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as place:
            new = Path(place, digest)
            new.mkdir()
            # What pip needs to look into them comes as wheels.
            pip("download", "--no-deps", "--no-binary", names(), "--dest", new, "--requirement", SOURCES)
            pip("install", "--no-deps", "--target", new / "packages", "--requirement", PACKAGES)
            for archive in new.glob("*.tar.gz"):
                unpack(archive, new)
            # Another run may have been faster.
            with contextlib.suppress(OSError):
                new.rename(folder)
    return folder


def names() -> str:
    """What is wanted as a source distribution."""
    return ",".join(re.findall(r"^([\w-]+)==", SOURCES.read_text(), flags=re.MULTILINE))


def pip(command: str, *arguments: str | Path) -> None:
    quiet = ("--quiet", "--disable-pip-version-check", "--require-hashes")
    subprocess.run(
        [sys.executable, "-m", "pip", command, *quiet, *map(str, arguments)],
        check=True,
        timeout=FETCH_SECONDS,
    )


def unpack(archive: Path, folder: Path) -> None:
    """`name-1.2.tar.gz` becomes `name`."""
    shutil.unpack_archive(archive, folder)
    whole = archive.name.removesuffix(".tar.gz")
    (folder / whole).rename(folder / whole.rpartition("-")[0])
    archive.unlink()
