"""Every PostgreSQL version that there is on this machine: the main job, what changed between versions, and
some of the suite. `make test-versions` runs all of it on each."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from harness import (
    Cluster,
    Gateway,
    Installation,
    Issuer,
    Workspace,
    default_config,
    find_installations,
    merged,
    primary_alone,
)
from harness import wire as w
from harness.activity import await_sleep, sleep_statement
from harness.external import is_external
from harness.installation import SUPPORTED
from harness.target import Target

GATEWAY_ACCOUNT = {"server_user": "gateway", "server_password": "gateway-secret"}
READER = {"name": "reader", "database": "demo", "read_only": True, **GATEWAY_ACCOUNT}
SERVICE = {"name": "service", "database": "demo", "password": "service-secret"}
EVERY = [] if is_external() else find_installations()
OTHERS = EVERY[1:]

# Files of this suite that say much in a few seconds, and what they say of sizes alone.
FAST = (
    "test_cancel.py",
    "test_guard.py",
    "test_identity.py",
    "test_login.py",
    "test_prepared_statements.py",
    "test_protocol.py",
    "test_read_only.py",
    "test_reset.py",
    "test_session_variables.py",
    "test_shared_pool.py",
    "test_transactions.py",
)
SLOW = "megabytes or many_rows"


class Version:
    """One PostgreSQL with a replica, and a gateway."""

    def __init__(self, workspace: Workspace, installation: Installation, issuer: Issuer) -> None:
        self.workspace = workspace
        self.major = installation.major
        self.issuer = issuer
        self.cluster = Cluster(workspace, installation)
        self.target = self.gateway()

    def gateway(self, service: dict[str, Any] = SERVICE, **tables: Any) -> Target:
        """Another gateway: keys laid over the usual configuration."""
        config = merged(default_config(self.cluster, self.issuer), tables)
        users = {"users": [READER, service]}
        return Target.of(Gateway(self.workspace, config, users).start(), self.issuer)

    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        """As a superuser, past the gateway; the rows of the last."""
        with self.cluster.admin() as admin:
            for statement in statements:
                cursor = admin.execute(statement)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="module", params=EVERY, ids=lambda one: f"PostgreSQL {one.version}")
def version(request: pytest.FixtureRequest, issuer: Issuer) -> Iterator[Version]:
    with Workspace() as workspace:
        yield Version(workspace, request.param, issuer)


@pytest.fixture
def target(version: Version) -> Target:
    return version.target


def test_every_supported_version_is_here(say: Any) -> None:
    """Where they cannot be installed, the run says so; it does not fail."""
    if {"PG_MAJOR", "PG_BIN"} & os.environ.keys():
        pytest.skip("this run is for one PostgreSQL version")
    found = {one.major for one in EVERY}
    if missing := sorted(set(SUPPORTED) - found):
        names = ", ".join(map(str, missing))
        say(f"not tested, as it is not on this machine: PostgreSQL {names}; scripts/setup versions says why")


@pytest.mark.timeout(900)
@pytest.mark.skipif(not OTHERS, reason="no further PostgreSQL version on this machine")
@pytest.mark.parametrize("installation", OTHERS, ids=lambda one: f"PostgreSQL {one.version}")
def test_a_part_of_the_suite(installation: Installation) -> None:
    folder = Path(__file__).parent
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-k", f"not ({SLOW})", *(folder / name for name in FAST)],
        cwd=folder.parent,
        env=kept | {"PG_MAJOR": str(installation.major)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]


# The main job


def test_a_subject_is_itself(version: Version, target: Target) -> None:
    with target.wire("alice") as wire:
        assert wire.parameters["server_version"].startswith(version.cluster.installation.version)
        assert wire.value("SELECT current_user") == "alice"
        assert wire.value("SELECT DISTINCT owner FROM notes") == "alice"
        assert w.error_of(wire.query("SET ROLE bob"))["C"] == "42501"
        wire.send(w.extended("INSERT INTO notes (body) VALUES ($1) RETURNING owner", ["x"]))
        assert "alice" in [message.row[0] for message in wire.until_ready() if message.type == "D"]


def test_a_reader_reads(target: Target) -> None:
    with target.wire("reader") as wire:
        assert wire.rows("SELECT current_user, served_by()") == [("reader", "replica")]
        assert w.error_of(wire.query("DELETE FROM notes"))["C"] == "25006"


def test_a_stranger_is_refused(target: Target) -> None:
    for role in ("stranger", "mallory", "boss"):
        assert target.refusal(role)["C"] == "28000"


@pytest.mark.parametrize(("protocol", "length"), [(w.PROTOCOL_3_0, 4), (w.PROTOCOL_3_2, 32)])
def test_a_statement_is_cancelled(version: Version, target: Target, protocol: int, length: int) -> None:
    """The gateway speaks protocol 3.2, which came with 18, in front of every version."""
    mark = f"version {protocol}"
    with target.open() as wire, target.open() as canceller:
        wire.startup(protocol, user="alice", database=target.database)
        assert wire.receive().type == "R"
        wire.send(w.password_message(target.issuer.token("alice")))
        (key,) = [message.body for message in wire.until_ready() if message.type == "K"]
        assert len(key) == 4 + length
        wire.send(w.query(sleep_statement(mark)))
        await_sleep(version.cluster, mark)
        canceller.send(w.cancel_request(key))
        assert w.error_of(wire.until_ready())["C"] == "57014"


def test_tenants_and_resolvers(version: Version) -> None:
    target = version.gateway(
        SERVICE | {"tenants": ["*"]},
        databases=[primary_alone(version.cluster)],
        tenants={"bypass_users": []},
        resolver_account={"user": "reports", "password": "reports-secret"},
        resolvers=[
            {
                "name": "length",
                "query": "SELECT length($1) AS size",
                "params": ["var:app.current_tenant_id"],
                "inject": {"app.size": "size"},
            }
        ],
    )
    both = "SELECT current_setting('app.current_tenant_id'), current_setting('app.size')"
    for tenant in ("acme", "it's \\ 名前"):
        with target.wire(f"service.{tenant}", "service-secret") as wire:
            assert wire.rows(both) == [(tenant, str(len(tenant)))]
            assert w.error_of(wire.query("SET app.size = '1'"))["C"] == "42501"
            wire.query("DISCARD ALL")
            assert wire.rows(both) == [(tenant, str(len(tenant)))]


# What changed between versions


def test_who_may_create_in_public(version: Version, target: Target) -> None:
    """Everybody before 15. The gateway neither gives nor takes it."""
    with target.wire("alice") as wire:
        answer = wire.query("CREATE TABLE public.made_by_alice (n integer)")
        if version.major < 15:
            assert w.types_of(answer) == "CZ"
            assert w.types_of(wire.query("DROP TABLE public.made_by_alice")) == "CZ"
        else:
            assert w.error_of(answer)["C"] == "42501"


def test_a_membership_without_set_makes_nobody_a_subject(version: Version, target: Target) -> None:
    if version.major < 16:
        pytest.skip("memberships have no options before PostgreSQL 16")
    version.sql(
        "CREATE ROLE unset; CREATE ROLE uninherited; GRANT subjects TO unset, uninherited",
        "GRANT unset TO gateway WITH INHERIT TRUE, SET FALSE",
        "GRANT uninherited TO gateway WITH INHERIT FALSE, SET TRUE",
    )

    assert target.refusal("unset")["C"] == "28000"
    with target.wire("uninherited") as wire:
        assert wire.value("SELECT current_user") == "uninherited"


def test_a_subject_that_does_not_inherit_has_its_own_rights_alone(version: Version, target: Target) -> None:
    """By an attribute of the role before 16, and by an option of the membership since."""
    version.sql("CREATE ROLE frugal NOINHERIT", "GRANT subjects TO frugal", "GRANT frugal TO gateway")
    with target.wire("frugal") as wire:
        assert wire.value("SELECT current_user") == "frugal"
        assert w.error_of(wire.query("SELECT * FROM notes"))["C"] == "42501"
        assert w.error_of(wire.query("SET ROLE subjects"))["C"] == "42501"


def test_a_table_that_a_rule_made_a_view_is_one(version: Version) -> None:
    """Before 16 a table could become a view: what its functions leave is taken away all the same."""
    version.sql(
        "CREATE FUNCTION scratch.leaves() RETURNS text LANGUAGE sql"
        " AS $$ SELECT set_config('app.left', 'behind', false) $$",
        "CREATE TABLE scratch.looks_like_a_table (body text)",
    )
    rule = (
        'CREATE RULE "_RETURN" AS ON SELECT TO scratch.looks_like_a_table'
        " DO INSTEAD SELECT scratch.leaves() AS body"
    )
    if version.major >= 16:
        with pytest.raises(psycopg.errors.WrongObjectType):
            version.sql(rule)
        return
    version.sql(rule, "GRANT SELECT ON scratch.looks_like_a_table TO PUBLIC")
    target = version.gateway(
        general={"default_pool_size": 1},
        databases=[primary_alone(version.cluster)],
        jwt={"shared_pool": True},
    )
    for first, second in (("alice", "bob"), ("bob", "alice")):
        with target.wire(first) as wire:
            assert wire.value("SELECT body FROM scratch.looks_like_a_table") == "behind"
        with target.wire(second) as wire:
            assert wire.value("SELECT current_setting('app.left', true)") in ("", None)


def test_a_dump_travels_both_ways(version: Version, target: Target, tmp_path: Path) -> None:
    """The dumps of newer programs begin with `\\restrict`, which psql must read."""
    programs = version.cluster.installation
    version.sql(
        "CREATE TABLE scratch.dumped (body text)",
        "ALTER TABLE scratch.dumped OWNER TO service",
        "INSERT INTO scratch.dumped VALUES ('it''s \\ 名前')",
    )

    address = f"host={target.host} port={target.port} user=service dbname=demo"

    def run(name: str, *arguments: str) -> str:
        command = [programs.program(name), *arguments, "--dbname", address]
        environment = target.psql_environment("service", "service-secret")
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    dump = tmp_path / "dump.sql"
    dump.write_text(run("pg_dump", "--table", "scratch.dumped"))
    version.sql("DROP TABLE scratch.dumped")
    # Settings that a newer program writes down may be unknown to the server.
    run("psql", "--no-psqlrc", "--file", str(dump))

    assert "\\restrict" in dump.read_text()
    assert version.sql("SELECT body FROM scratch.dumped") == [("it's \\ 名前",)]


LOGIN_TRIGGER = """
CREATE TABLE scratch.logins (who name, session name);
GRANT INSERT ON scratch.logins TO PUBLIC;
CREATE FUNCTION scratch.greet() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
    IF current_user = 'carol' THEN RAISE EXCEPTION 'carol is on holiday'; END IF;
    IF current_user = 'bob' THEN PERFORM set_config('role', 'alice', false); END IF;
    IF NOT pg_is_in_recovery() THEN INSERT INTO scratch.logins VALUES (current_user, session_user); END IF;
END $$;
CREATE EVENT TRIGGER greet ON login EXECUTE FUNCTION scratch.greet();
"""


def test_a_trigger_at_logins_runs_for_server_connections(version: Version) -> None:
    """It may refuse a subject, and may not make it another."""
    if version.major < 17:
        pytest.skip("there are no event triggers for logins before PostgreSQL 17")
    version.sql(LOGIN_TRIGGER)
    target = version.gateway(
        general={"default_pool_size": 1, "idle_healthcheck_delay": 600_000},
        databases=[primary_alone(version.cluster)],
    )
    try:
        for _ in range(3):
            with target.wire("alice") as wire:
                assert wire.value("SELECT current_user") == "alice"
        assert version.sql("SELECT * FROM scratch.logins WHERE who = 'alice'") == [("alice", "gateway")]
        assert target.refusal("carol")["S"] == "FATAL"
        with contextlib.suppress(w.ServerError), target.wire("bob") as wire:
            assert wire.value("SELECT current_user") == "bob"
    finally:
        version.sql("DROP EVENT TRIGGER greet")
