"""How long connections to PostgreSQL live: what a database says of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness import eventually, primary_alone
from harness.target import Target

MakeGateway = Callable[..., Target]

pytestmark = pytest.mark.gateway("PgDog reads these keys itself")

PASSWORD = "admin-secret"
ADMIN = {"name": "admin", "user": "admin", "password": PASSWORD}


@pytest.fixture
def start(make_gateway: MakeGateway, cluster: Any) -> Callable[..., Target]:
    """Two databases, the second with keys of its own, and general ones."""

    def make(own: dict[str, int], **general: int) -> Target:
        usual = primary_alone(cluster)
        brief = usual | {"name": "brief", "database_name": "demo"} | own
        general = {"default_pool_size": 1, "min_pool_size": 0, **general}
        return make_gateway(admin=ADMIN, general=general, databases=[usual, brief])

    return make


def servers(target: Target, database: str) -> int:
    with target.connect("admin", PASSWORD, dbname="admin") as admin:
        return len(admin.execute(f"SHOW SERVERS {database}").fetchall())


def processes(target: Target, database: str) -> int:
    """How many servers it takes to run three statements."""
    with target.wire("alice", database=database) as wire:
        return len({wire.value("SELECT pg_backend_pid()") for _ in range(3)})


def test_connections_of_a_database_have_its_server_lifetime(start: Callable[..., Target]) -> None:
    target = start({"server_lifetime": 0})

    assert (processes(target, "demo"), processes(target, "brief")) == (1, 3)


def test_what_a_database_says_goes_before_what_holds_for_all(start: Callable[..., Target]) -> None:
    target = start({"server_lifetime": 3_600_000, "server_lifetime_jitter": 1_000}, server_lifetime=0)

    assert (processes(target, "demo"), processes(target, "brief")) == (3, 1)


def test_connections_of_a_database_have_its_idle_timeout(start: Callable[..., Target]) -> None:
    target = start({"idle_timeout": 50}, idle_timeout=3_600_000)
    for database in ("demo", "brief"):
        assert processes(target, database) >= 1

    eventually(lambda: servers(target, "brief") == 0, "the connection to be closed")
    assert servers(target, "demo") == 1
