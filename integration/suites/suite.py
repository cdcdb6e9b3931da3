"""The suites: what of them is run, where, and how they are told of a server."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Account:
    """Who runs a suite. `password`: in place of a token, for suites that know one user only."""

    role: str
    password: str
    has_token: bool = True


@dataclass(frozen=True)
class Place:
    """A server as a suite sees it."""

    host: str
    port: int
    user: str
    credential: str

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return kept | {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": self.user,
            "PGPASSWORD": self.credential,
            "PGDATABASE": "postgres",
        }


@dataclass(frozen=True)
class Suite:
    """`parts` of the source distribution are copied: without its package, the installed one is tested."""

    name: str
    account: Account
    parts: tuple[str, ...]
    arguments: tuple[str, ...]
    # Databases beside `postgres` that its tests make: the gateway knows only those that are configured.
    databases: tuple[str, ...] = ()
    url: str | None = None

    def copy(self, source: Path, folder: Path) -> Path:
        """The tests in a folder of their own: some write beside themselves."""
        for part in self.parts:
            origin, copy = source / self.name / part, folder / self.name / part
            copy.parent.mkdir(parents=True, exist_ok=True)
            if origin.is_dir():
                shutil.copytree(origin, copy)
            else:
                shutil.copy(origin, copy)
        return folder / self.name

    def command(self, place: Place) -> list[str]:
        words = list(self.arguments)
        if self.url:
            words.append(
                self.url.format(
                    user=place.user, credential=place.credential, host=place.host, port=place.port
                )
            )
        return words


DRIVER = Account("driver", "driver-secret")
SUPERUSER = Account("postgres", "postgres-secret", has_token=False)

SUITES = (
    Suite(
        "asyncpg",
        DRIVER,
        parts=("tests",),
        # test_connect.py starts servers of its own, which are behind no gateway.
        arguments=("--ignore=tests/test_connect.py", "--ignore=tests/test__sourcecode.py", "tests"),
        databases=("asyncpg_intro_test", "testdb"),
    ),
    Suite(
        "pg8000",
        SUPERUSER,
        parts=("test",),
        # The logins of `auth` want lines of pg_hba.conf of their own; a benchmark shows nothing here, and
        # `legacy` little that the others do not.
        arguments=(
            "--ignore-glob=*/auth/*",
            "--ignore-glob=*benchmark*",
            "--ignore=test/legacy",
            "--ignore=test/test_readme.py",
            "test",
        ),
    ),
    Suite(
        "sqlalchemy",
        DRIVER,
        parts=("test", "lib", "setup.cfg"),
        arguments=(
            "--rootdir=.",
            "--maxfail=5000",
            "--backend-only",
            # What is read of the catalogue takes most of the time, and is the same SELECT over and over.
            *("-k", "not Reflect and not HasTable and not HasIndex and not HasSequence"),
            "test/dialect/test_suite.py",
            *(
                f"test/dialect/postgresql/test_{name}.py"
                for name in ("dialect", "on_conflict", "query", "types")
            ),
        ),
        url="--dburi=postgresql+psycopg://{user}:{credential}@{host}:{port}/postgres",
    ),
)
