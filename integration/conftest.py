"""Fixtures: one primary with a replica for the whole run, and gateways in front of them.

`make test-integration` runs several processes, each with these fixtures of its own and with whole files of
tests. What tests share beyond their process is locked (harness/npm.py) or divided up (harness/ports.py).

Set `PGDOG_JWT_TEST_GATEWAY` and its companions (harness/external.py) to test a gateway that runs elsewhere;
tests that must start, signal or reconfigure processes then skip and say so.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness import (
    Cluster,
    Gateway,
    Installation,
    Issuer,
    Workspace,
    default_config,
    merged,
    oldest_and_newest,
    primary_alone,
)
from harness.accounts import READERS, WRITERS, account_tables, create_accounts, drop_accounts
from harness.cluster import DATABASE, SERVER_PASSWORD, SERVER_USER
from harness.external import ExternalCluster, external_issuer, external_target, is_external
from harness.hosts import is_pgdog, mark
from harness.proof import CLAIMS, ClaimsServer, Session
from harness.provisioning import Place, place_of
from harness.target import Target
from harness.wire import Wire

MakeGateway = Callable[..., Target]

GATEWAY_ACCOUNT = {"server_user": SERVER_USER, "server_password": SERVER_PASSWORD}
READER = {"name": "reader", "database": DATABASE, "read_only": True, **GATEWAY_ACCOUNT}
SERVICE = {"name": "service", "database": DATABASE, "password": "service-secret"}
USERS = {"users": [READER, SERVICE]}

# A property of reports, which come to the first process from all others.
SAID = "said"

# The files that take longest begin, and the short ones fill up what the processes have left.
LONGEST = (
    "test_rust_drivers.py",
    "test_versions.py",
    "test_expiry.py",
    "test_tenant_isolation.py",
    "test_adversarial_conversations.py",
    "test_random_conversations.py",
    "test_cut_connections.py",
    "test_harness.py",
    "test_failover.py",
    "test_renewal.py",
    "test_server_failures.py",
)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """The folders of `tmp_path` go with the run, however it ends. Further processes have theirs inside."""
    if config.option.basetemp is None:
        workspace = Workspace()
        config.add_cleanup(workspace.close)
        config.option.basetemp = workspace.folder / "tests"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if is_pgdog():
        mark(items)
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


def pytest_handlecrashitem(crashitem: str, sched: Any) -> None:
    """A test that ends its process, as one does that hangs, has failed. It is not tried again."""
    for file, tests in list(sched.workqueue.items()):
        if crashitem in tests:
            tests[crashitem] = True
            if all(tests.values()):
                del sched.workqueue[file]


@pytest.fixture
def say(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Takes a line that is shown at the end of the run, also when the test passes."""
    return functools.partial(record_property, SAID)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    lines = [line for report in reports for name, line in report.user_properties if name == SAID]
    if lines:
        terminalreporter.section("what tests say")
        terminalreporter.write("".join(f"{line}\n" for line in lines))


@pytest.fixture(scope="session")
def workspace() -> Iterator[Workspace]:
    with Workspace() as workspace:
        yield workspace


@pytest.fixture(scope="session")
def cluster(workspace: Workspace) -> Any:
    """PostgreSQL: `cluster.admin()` is a superuser's connection past the gateway."""
    return ExternalCluster() if is_external() else Cluster(workspace)


@pytest.fixture
def servers(cluster: Any) -> Iterator[Cluster]:
    """The same, for tests that stop servers. They run again afterwards."""
    if is_external():
        pytest.skip("stops and starts PostgreSQL servers, and these run elsewhere")
    yield cluster
    for server in (cluster.primary, cluster.replica):
        if server.pid is None:
            server.start()
    cluster.wait_for_streaming()


@pytest.fixture(scope="session")
def issuer() -> Iterator[Issuer]:
    """Not to be changed by a test: see `own_issuer`."""
    issuer = external_issuer() if is_external() else Issuer()
    yield issuer
    issuer.close()


@pytest.fixture
def own_issuer() -> Iterator[Issuer]:
    """An issuer whose keys and server a test may do anything with."""
    issuer = Issuer()
    yield issuer
    issuer.close()


@pytest.fixture(scope="session")
def gateway(workspace: Workspace, cluster: Any, issuer: Issuer) -> Iterator[Target]:
    """The gateway with its usual configuration, transaction mode, shared by many tests."""
    if is_external():
        yield external_target(issuer)
        return
    process = Gateway(workspace, default_config(cluster, issuer), USERS).start()
    yield Target.of(process, issuer)
    process.stop()


@pytest.fixture(scope="module")
def make_module_gateway(
    workspace: Workspace, request: pytest.FixtureRequest, issuer: Issuer
) -> Iterator[MakeGateway]:
    """As `make_gateway`, for a whole module."""
    with gateway_maker(workspace, request, issuer) as make:
        yield make


@pytest.fixture
def make_gateway(
    workspace: Workspace, request: pytest.FixtureRequest, issuer: Issuer
) -> Iterator[MakeGateway]:
    """Starts gateways of a test's own: `make_gateway(general={…}, jwt={…}, users=[…], issuer=…)`.

    What is given is laid over the usual configuration; `None` takes a key away. With `start=False`, only the
    files are written.
    """
    with gateway_maker(workspace, request, issuer) as make:
        yield make


@contextlib.contextmanager
def gateway_maker(
    workspace: Workspace, request: pytest.FixtureRequest, issuer: Issuer
) -> Iterator[MakeGateway]:
    if is_external():
        pytest.skip("starts a gateway of its own, and this run tests one elsewhere")
    shared_issuer = issuer
    cluster = request.getfixturevalue("cluster")
    started: list[Gateway] = []

    def make(
        *,
        issuer: Issuer | None = None,
        users: list[dict[str, Any]] | None = None,
        env: dict[str, str] | None = None,
        start: bool = True,
        **tables: Any,
    ) -> Target:
        issuer = issuer or shared_issuer
        config = merged(default_config(cluster, issuer), tables)
        process = Gateway(workspace, config, USERS if users is None else {"users": users}, env)
        started.append(process)
        if start:
            process.start()
        return Target.of(process, issuer)

    yield make
    for process in reversed(started):
        process.stop(timeout=5)


@pytest.fixture(scope="module", params=["transaction", "session"])
def pooled(request: pytest.FixtureRequest, cluster: Any) -> Target:
    """A gateway in each of the two pooling modes. There is no replica: what a test writes, it reads."""
    if is_external():
        if request.param == "session":
            pytest.skip("starts a gateway of its own, and this run tests one elsewhere")
        return request.getfixturevalue("gateway")
    return request.getfixturevalue("make_module_gateway")(
        # Who waits for a server (5 s) must outlast the statements of clients that are gone.
        general={"pooler_mode": request.param, "rollback_timeout": 1_000},
        databases=[primary_alone(cluster)],
    )


@pytest.fixture(scope="module")
def one_server(make_module_gateway: MakeGateway, cluster: Any) -> Target:
    """All clients of a subject share one server connection, and it holds two prepared statements: what one of
    them leaves there, the next would find."""
    return make_module_gateway(
        general={"default_pool_size": 1, "prepared_statements_limit": 2, "checkout_timeout": 5_000},
        databases=[primary_alone(cluster)],
    )


@pytest.fixture
def wire(one_server: Target) -> Iterator[Wire]:
    """A client; a file may have another."""
    with one_server.wire("alice") as wire:
        yield wire


@pytest.fixture
def other(one_server: Target) -> Iterator[Wire]:
    """A second client of the same server connection."""
    with one_server.wire("alice") as other:
        yield other


VERSIONS = [] if is_external() else oldest_and_newest()


@pytest.fixture(scope="module", params=VERSIONS, ids=lambda one: f"PostgreSQL {one.major}")
def place(request: pytest.FixtureRequest, issuer: Issuer) -> Iterator[Place]:
    """A PostgreSQL and a gateway that makes roles in it."""
    with place_of(request.param, issuer) as place:
        yield place


@pytest.fixture
def logged(gateway: Target) -> Target:
    """The usual gateway, for tests that read its log."""
    if gateway.process is None:
        pytest.skip("reads the gateway's log, and the gateway runs elsewhere")
    gateway.process.mark()
    return gateway


@pytest.fixture(scope="session")
def claims_server(workspace: Workspace) -> Callable[..., ClaimsServer]:
    """Starts each server once: files need them in turns."""

    @functools.cache
    def started(installation: Installation, *, pgvpd: bool = False) -> ClaimsServer:
        server = ClaimsServer(workspace, installation, pgvpd=pgvpd)
        if pgvpd:
            server.execute(
                "CREATE ROLE owner LOGIN PASSWORD 'gateway-secret';"
                "CREATE ROLE app_user; GRANT app_user TO gateway"
            )
        return server

    return started


@pytest.fixture(scope="session", params=VERSIONS, ids=lambda one: f"PostgreSQL {one.version}")
def verifying(request: pytest.FixtureRequest, claims_server: Callable[..., ClaimsServer]) -> ClaimsServer:
    return claims_server(request.param)


@pytest.fixture
def verifier(verifying: ClaimsServer) -> Iterator[ClaimsServer]:
    """A PostgreSQL whose database verifies claims."""
    yield verifying
    verifying.close_sessions()


@pytest.fixture
def proven(verifier: ClaimsServer) -> Session:
    """Alice, with claims that are proven."""
    return verifier.subject("alice", CLAIMS)


@pytest.fixture
def thief(verifier: ClaimsServer) -> Session:
    """May run any SQL, is nobody's subject, and has no proof."""
    return verifier.session(role="bob")


@pytest.fixture(scope="session", params=VERSIONS, ids=lambda one: f"PostgreSQL {one.version}")
def protecting(request: pytest.FixtureRequest, claims_server: Callable[..., ClaimsServer]) -> ClaimsServer:
    return claims_server(request.param, pgvpd=True)


@pytest.fixture
def protector(protecting: ClaimsServer) -> Iterator[ClaimsServer]:
    """A PostgreSQL with the helpers for row-level security. Schema `t` is empty and belongs to `owner`."""
    protecting.execute("DROP SCHEMA IF EXISTS t CASCADE; CREATE SCHEMA t AUTHORIZATION owner")
    protecting.execute("GRANT USAGE ON SCHEMA t TO PUBLIC")
    yield protecting
    protecting.close_sessions()


@pytest.fixture
def owner(protector: ClaimsServer) -> Session:
    """Makes tables that everyone may use."""
    owner = protector.session(user="owner")
    owner.run("SET search_path = t, public")
    owner.run("ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO PUBLIC")
    return owner


@pytest.fixture(scope="module")
def accounts(cluster: Any) -> Iterator[Any]:
    """The cluster with the accounts of harness/accounts.py."""
    create_accounts(cluster)
    yield cluster
    drop_accounts(cluster)


@pytest.fixture
def make_accounts(make_gateway: MakeGateway, accounts: Any) -> MakeGateway:
    """Starts gateways whose tokens lead to accounts: by these role mappings, or by the usual two.

    Keys of `[jwt]` may be given, and `general`, `databases`, `users`, `env` and `start` as to `make_gateway`.
    """

    def make(*mappings: dict[str, Any], general: dict[str, Any] | None = None, **rest: Any) -> Target:
        own = {name: rest.pop(name) for name in ("env", "start") if name in rest}
        users, databases = rest.pop("users", []), rest.pop("databases", None)
        tables = account_tables(accounts, *(mappings or (READERS, WRITERS)), **rest)
        tables["general"] |= general or {}
        tables["databases"] = databases or tables["databases"]
        return make_gateway(users=users, **own, **tables)

    return make


@pytest.fixture(scope="module", params=["transaction", "session"])
def account_gateway(
    make_module_gateway: MakeGateway, accounts: Any, request: pytest.FixtureRequest
) -> Target:
    """A writer's and a reader's account, in both pooling modes, with one server connection each."""
    tables = account_tables(accounts, WRITERS | {"pool_size": 1}, READERS | {"pool_size": 1})
    tables["general"] |= {"pooler_mode": request.param}
    return make_module_gateway(users=[SERVICE], **tables)
