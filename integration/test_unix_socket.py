"""The Unix socket: its file, its permissions, and who may take it over."""

from __future__ import annotations

import signal
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.target import Target

MakeGateway = Callable[..., Target]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "sockets"
    path.mkdir()
    return path


def user(target: Target, folder: Path) -> str:
    with target.connect("alice", host=str(folder)) as connection:
        row = connection.execute("SELECT current_user").fetchone()
        assert row
        return row[0]


def mode(path: Path) -> int:
    found = path.stat()
    assert stat.S_ISSOCK(found.st_mode)
    return stat.S_IMODE(found.st_mode)


def refused_start(target: Target) -> str:
    """What a gateway says that cannot start."""
    with pytest.raises(RuntimeError) as refused:
        target.gateway.start()
    return str(refused.value)


def test_a_token_travels_over_the_socket(make_gateway: MakeGateway, folder: Path) -> None:
    target = make_gateway(general={"unix_socket_dir": str(folder)})

    assert user(target, folder) == "alice"
    assert target.gateway.last_login(user="alice")["client"] == "unix"


@pytest.mark.parametrize(("wanted", "expected"), [(None, 0o777), ("0770", 0o770), ("0600", 0o600)])
def test_the_socket_has_the_permissions_that_are_configured(
    make_gateway: MakeGateway, folder: Path, wanted: str | None, expected: int
) -> None:
    settings: dict[str, Any] = {"unix_socket_dir": str(folder), "unix_socket_permissions": wanted}
    target = make_gateway(general=settings)

    assert mode(folder / f".s.PGSQL.{target.port}") == expected


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_an_orderly_end_leaves_no_file(make_gateway: MakeGateway, folder: Path, how: signal.Signals) -> None:
    target = make_gateway(general={"unix_socket_dir": str(folder)})
    assert len(list(folder.iterdir())) == 2

    assert target.gateway.stop(how) == 0

    assert list(folder.iterdir()) == []


def test_what_a_crash_leaves_is_taken_over(make_gateway: MakeGateway, folder: Path) -> None:
    target = make_gateway(general={"unix_socket_dir": str(folder)})
    target.gateway.stop(signal.SIGKILL)
    assert (folder / f".s.PGSQL.{target.port}").exists()

    target.gateway.start()

    assert user(target, folder) == "alice"


def test_the_socket_of_a_live_process_is_left_alone(make_gateway: MakeGateway, folder: Path) -> None:
    target = make_gateway(general={"unix_socket_dir": str(folder)})
    same = {"unix_socket_dir": str(folder), "host": "127.0.0.2", "port": target.port}

    for shares in (False, True):
        other = make_gateway(general=same | {"reuse_port": shares}, start=False)
        text = refused_start(other)
        assert f".s.PGSQL.{target.port}" in text
        assert "another process listens there" in text
    assert user(target, folder) == "alice"


def test_the_socket_of_a_postgresql_is_left_alone(
    make_gateway: MakeGateway, cluster: Any, folder: Path
) -> None:
    primary = cluster.primary
    lock = primary.sockets / f".s.PGSQL.{primary.port}.lock"
    before = lock.read_text()
    same = {"unix_socket_dir": str(primary.sockets), "host": "127.0.0.2", "port": primary.port}

    assert "another process listens there" in refused_start(make_gateway(general=same, start=False))

    assert lock.read_text() == before
    with primary.admin() as admin:
        assert admin.execute("SELECT true").fetchone() == (True,)


def test_a_file_that_is_no_socket_is_left_alone(make_gateway: MakeGateway, folder: Path) -> None:
    target = make_gateway(general={"unix_socket_dir": str(folder)}, start=False)
    path = folder / f".s.PGSQL.{target.port}"
    path.write_text("precious")

    assert "no socket" in refused_start(target)

    assert path.read_text() == "precious"
    assert list(folder.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_named(make_gateway: MakeGateway, folder: Path) -> None:
    target = make_gateway(general={"unix_socket_dir": str(folder / "missing")}, start=False)

    assert str(folder / "missing") in refused_start(target)
