"""Applications that know nothing of tenants: each tenant has its token, all share one server connection."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from harness import planner, primary_alone
from harness.npm import SCRIPTS, installed
from harness.orm_application import work
from harness.planner import Tenant
from harness.target import Target

MakeGateway = Callable[..., Target]
# To generate a client, Prisma asks for a program that it does not run then: no need to download it.
NOT_RUN = {"PRISMA_SCHEMA_ENGINE_BINARY": shutil.which("true") or "/bin/true", "CHECKPOINT_DISABLE": "1"}
PRISMA_GENERATE = ("node", "node_modules/prisma/build/index.js", "generate", "--schema=schema.prisma")
CHECKS = 8
ROUNDS = 5


@pytest.fixture(scope="module")
def tables(cluster: Any) -> Iterator[Any]:
    with cluster.admin() as admin:
        admin.execute(planner.SCHEMA)
    yield cluster
    with cluster.admin() as admin:
        admin.execute(planner.DROP)


@pytest.fixture(scope="module", params=["one subject's own pool", "a pool of all subjects"])
def gateway_of_tenants(
    request: pytest.FixtureRequest, make_module_gateway: MakeGateway, tables: Any
) -> tuple[Target, bool]:
    shared = request.param == "a pool of all subjects"
    variables = {"app.tenant_id": {"value": "{tenant_id}", "required": True}}
    target = make_module_gateway(
        general={"default_pool_size": 1, "checkout_timeout": 20_000, "pooler_mode": "transaction"},
        jwt={"session": {"variables": variables}, "shared_pool": shared},
        databases=[primary_alone(tables)],
    )
    return target, shared


@dataclass(frozen=True)
class Place:
    """The gateway and its two tenants: of one subject, or of two in a pool that all share."""

    target: Target
    tenants: tuple[Tenant, Tenant]

    def servers(self) -> set[str]:
        """Which server connections the tenants get."""
        return {self.value(tenant, "SELECT pg_backend_pid()") for tenant in self.tenants}

    def value(self, tenant: Tenant, sql: str) -> str:
        with self.target.connect(tenant.user, tenant.password) as connection:
            return str(connection.execute(sql).fetchone()[0])


@pytest.fixture
def place(gateway_of_tenants: tuple[Target, bool], tables: Any) -> Iterator[Place]:
    """Looks afterwards, past the gateway, whether each tenant has what it should, and nothing else."""
    target, shared = gateway_of_tenants
    with tables.admin() as admin:
        first = planner.seed(admin)
    users = ("alice", "bob") if shared else ("alice", "alice")
    tokens = [target.issuer.token(user, tenant_id=name) for user, name in zip(users, first, strict=True)]
    place = Place(
        target,
        tuple(
            Tenant(name, user, token, strange)
            for name, user, token, strange in zip(first, users, tokens, reversed(first.values()), strict=True)
        ),
    )
    servers = place.servers()
    assert len(servers) == 1
    yield place
    assert place.servers() == servers
    with tables.admin() as admin:
        assert planner.contents(admin) == (planner.SEEDS, planner.BEGUN)


def test_sqlalchemy(place: Place) -> None:
    ready = threading.Barrier(len(place.tenants))

    def run(tenant: Tenant) -> None:
        ready.wait(20)
        for _ in range(ROUNDS):
            work(place.target, tenant)

    with ThreadPoolExecutor(len(place.tenants)) as threads:
        for done in [threads.submit(run, tenant) for tenant in place.tenants]:
            done.result(60)


@pytest.mark.timeout(300)
def test_drizzle(place: Place) -> None:
    check(place, installed(), "drizzle.js")


@pytest.mark.timeout(300)
def test_prisma(place: Place) -> None:
    check(place, installed(SCRIPTS / "prisma", *PRISMA_GENERATE, env=NOT_RUN), "prisma.js")


def check(place: Place, folder: Path, script: str) -> None:
    target = place.target
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    settings = {
        "HOST": target.host,
        "PORT": str(target.port),
        "DATABASE": target.database,
        "TENANTS": json.dumps([asdict(tenant) for tenant in place.tenants]),
    }
    done = subprocess.run(
        ["node", script], cwd=folder, env=kept | settings, capture_output=True, text=True, timeout=110
    )

    checks = [json.loads(line) for line in done.stdout.splitlines()]
    failed = [f"{check['name']}: {check['error']}" for check in checks if check["error"]]
    assert not failed, "\n".join(failed)
    assert len(checks) == CHECKS * ROUNDS * len(place.tenants), done.stderr


def test_no_token_without_a_tenant_gets_in(place: Place) -> None:
    for user in {tenant.user for tenant in place.tenants}:
        with pytest.raises(psycopg.OperationalError):
            place.target.connect(user).close()
