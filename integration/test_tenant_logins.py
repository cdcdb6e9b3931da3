"""Tenants in the user name where the subject itself logs in to PostgreSQL (`mode = "login"`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness import Cluster, tenants
from harness.external import is_external
from harness.target import Target

MakeGateway = Callable[..., Target]

pytestmark = pytest.mark.skipif(is_external(), reason="reaches PostgreSQL by its Unix socket")


@pytest.fixture(scope="module", autouse=True)
def people(cluster: Cluster) -> Iterator[None]:
    with cluster.admin() as admin:
        admin.execute("ALTER ROLE alice LOGIN; ALTER ROLE bob LOGIN")
    yield
    with cluster.admin() as admin:
        admin.execute("ALTER ROLE alice NOLOGIN; ALTER ROLE bob NOLOGIN")


@pytest.fixture
def start(make_gateway: MakeGateway, cluster: Cluster) -> MakeGateway:
    """The Unix socket trusts whoever may reach it."""

    def make(mode: str, **general: Any) -> Target:
        server = cluster.primary
        return make_gateway(
            general={
                "pooler_mode": mode,
                "jwt_server_user": None,
                "jwt_server_password": None,
                "default_pool_size": 1 if mode == "transaction" else 4,
                **general,
            },
            jwt={"identity": {"mode": "login", "login_auth": "trust"}},
            databases=[{"name": "demo", "host": str(server.sockets), "port": server.port}],
            tenants=tenants.TENANTS,
            users=[],
        )

    return make


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_the_tenant_that_was_typed_is_that_of_the_session(start: MakeGateway, mode: str) -> None:
    target = start(mode)
    for user in ("alice", "bob"):
        tenants.has_its_tenant(target, user)


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_a_subject_that_logged_in_itself_cannot_leave_its_tenant(start: MakeGateway, mode: str) -> None:
    tenants.keeps_its_tenant(start(mode), "alice")


def test_the_next_user_of_the_server_connection_has_its_own(start: MakeGateway, cluster: Cluster) -> None:
    tenants.share_one_server(start("transaction"), "alice", cluster)
