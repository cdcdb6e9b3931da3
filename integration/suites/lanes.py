"""PostgreSQL and gateways for the suites."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from harness import Cluster, Gateway, Issuer, Workspace, default_config, merged, primary_alone

from .suite import DRIVER, SUPERUSER, Account, Place, Suite

DATABASE = "postgres"
TOKEN_SECONDS = 3600
POOL_SIZE = 30

# The owner of the database, who may make further ones: no superuser, as a token's role should be.
# SQLAlchemy's suite uses the two schemas.
PREPARE = f"""
    ALTER ROLE {SUPERUSER.role} PASSWORD '{SUPERUSER.password}';
    CREATE ROLE {DRIVER.role} LOGIN CREATEROLE CREATEDB PASSWORD '{DRIVER.password}';
    GRANT {DRIVER.role} TO gateway;
    ALTER DATABASE {DATABASE} OWNER TO {DRIVER.role};
    ALTER SCHEMA public OWNER TO {DRIVER.role};
    CREATE SCHEMA test_schema AUTHORIZATION {DRIVER.role};
    CREATE SCHEMA test_schema_2 AUTHORIZATION {DRIVER.role};
"""


class Lanes:
    """A new PostgreSQL for each run, because suites leave things behind, and a gateway in front of it."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.issuer = Issuer()

    @contextlib.contextmanager
    def direct(self, suite: Suite) -> Iterator[Place]:
        with self.server() as cluster:
            server = cluster.primary
            yield Place(server.host, server.port, suite.account.role, suite.account.password)

    @contextlib.contextmanager
    def behind(self, suite: Suite, mode: str) -> Iterator[Place]:
        """A gateway in this pooling mode. The suites make functions, which `guard = "strict"` refuses."""
        with self.server() as cluster:
            entry = primary_alone(cluster)
            tables = {
                "general": {"pooler_mode": mode, "default_pool_size": POOL_SIZE},
                "jwt": {"guard": "standard"},
                "databases": [entry | {"name": name} for name in (DATABASE, *suite.databases)],
            }
            users = {"users": [] if suite.account.has_token else [user(suite.account)]}
            config = merged(default_config(cluster, self.issuer), tables)
            gateway = Gateway(self.workspace, config, users).start()
            try:
                yield Place(gateway.host, gateway.port, suite.account.role, self.credential(suite.account))
            finally:
                gateway.stop()

    @contextlib.contextmanager
    def server(self) -> Iterator[Cluster]:
        cluster = Cluster(self.workspace, replica=False)
        try:
            with cluster.primary.admin() as admin:
                admin.execute(PREPARE)
            yield cluster
        finally:
            cluster.primary.stop()

    def credential(self, account: Account) -> str:
        if not account.has_token:
            return account.password
        return self.issuer.token(account.role, expires_in=TOKEN_SECONDS)


def user(account: Account) -> dict[str, str | bool]:
    """An entry of `users.toml`."""
    return {
        "name": account.role,
        "all_databases": True,
        "password": account.password,
        "server_user": account.role,
        "server_password": account.password,
    }
