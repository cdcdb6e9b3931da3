"""PostgreSQL names the person: in pg_stat_activity, and in its own log."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest

from conftest import MakeGateway
from harness import DATABASE, Cluster, eventually, primary_alone
from harness.cluster import SERVER_USER
from harness.target import Target
from harness.wire import SYNC, bind, error_of, execute, parse, types_of

NAME = "SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()"

Make = Callable[..., Target]


@pytest.fixture
def make(make_gateway: MakeGateway, cluster: Cluster) -> Make:
    def make(
        template: str = "%u: %a", pooler_mode: str = "transaction", shared: bool = False, **rest: Any
    ) -> Target:
        general = {"default_pool_size": 1, "checkout_timeout": 5_000, "pooler_mode": pooler_mode}
        jwt = {"application_name": template, "shared_pool": shared}
        return make_gateway(general=general, jwt=jwt, databases=[primary_alone(cluster)], **rest)

    return make


@pytest.fixture(params=["transaction", "session", "shared"])
def named(make: Make, request: pytest.FixtureRequest) -> Target:
    """In pools of both modes, and in one that subjects share."""
    if request.param == "shared":
        return make(shared=True)
    return make(pooler_mode=request.param)


def test_two_subjects_on_one_server_connection_are_told_apart(make: Make) -> None:
    target = make(shared=True)
    pid = "SELECT pg_backend_pid()"
    with target.wire("alice", application_name="report") as alice, target.wire("bob") as bob:
        assert alice.value(pid) == bob.value(pid)
        for _ in range(3):
            assert alice.value(NAME) == "alice: report"
            assert bob.value(NAME) == "bob: "


def test_a_shared_connection_takes_identity_and_name_in_one_statement(make: Make, cluster: Cluster) -> None:
    log = cluster.primary.log
    with cluster.admin() as admin:
        admin.execute(f"ALTER ROLE {SERVER_USER} SET log_statement = 'all'")
    try:
        target = make(shared=True)
        with target.wire("alice", application_name="one") as alice, target.wire("bob") as bob:
            alice.value("SELECT 'begin of the test'")
            for _ in range(3):
                bob.value("SELECT 1")
                alice.value("SELECT 1")
            alice.value("SELECT 1")
            alice.value("SELECT 'end of the test'")
        eventually(
            lambda: "end of the test" in log.read_text(errors="replace"), "the end in PostgreSQL's log"
        )
    finally:
        with cluster.admin() as admin:
            admin.execute(f"ALTER ROLE {SERVER_USER} RESET log_statement")
    text = log.read_text(errors="replace").rpartition("begin of the test")[2].partition("end of the test")[0]
    # A take-over is messages of the extended protocol in front of the query.
    # Parameters are a line of their own.
    steps = text.split("execute <unnamed>: ")[1:]
    named = [step for step in steps if "application_name" in step]
    assert len(named) == 6
    assert all("pgdog_jwt.take_over" in step for step in named)
    assert len(text.split("statement: ")[1:]) == 7 + 1, text


def test_the_name_is_there_from_the_first_statement(named: Target, cluster: Cluster) -> None:
    with named.wire("alice", application_name="psql") as wire:
        assert wire.parameters["application_name"] == "alice: psql"
        assert wire.value("SHOW application_name") == "alice: psql"
        wire.query("BEGIN")
        with cluster.admin() as admin:
            seen = admin.execute(
                "SELECT usename FROM pg_stat_activity WHERE application_name = 'alice: psql'"
            )
            assert len(seen.fetchall()) == 1
        wire.query("COMMIT")


def test_every_part_of_the_template_is_filled_in(make: Make) -> None:
    target = make(template="%u|%i|%a|%d|%r|%%")
    with target.wire("alice", application_name="x") as wire:
        assert wire.value(NAME) == f"alice|alice|x|{target.database}|127.0.0.1|%"


def test_a_long_name_does_not_push_out_the_person(make: Make) -> None:
    target = make(template="%a [%u]")
    with target.wire("alice", application_name="ü\n" * 100) as wire:
        name = wire.value(NAME)
        assert name is not None
        assert len(name) == 63
        assert name.endswith("?? [alice]")
        wire.query("SET application_name = '" + "z" * 100 + "'")
        assert (wire.value(NAME) or "").endswith("zz [alice]")


@pytest.mark.parametrize(
    "statement",
    [
        "SET application_name = 'nobody'",
        "SET application_name TO nobody",
        "set session \"application_name\" = 'nobody' -- 'somebody'",
    ],
)
def test_set_goes_through_the_template(named: Target, statement: str) -> None:
    with named.wire("alice", application_name="first") as wire, named.wire("alice") as other:
        wire.query(statement)
        assert wire.value(NAME) == "alice: nobody"
        if named.gateway.config["general"]["pooler_mode"] == "transaction":
            assert other.value(NAME) == "alice: "
        assert wire.value(NAME) == "alice: nobody"
        wire.query("RESET application_name")
        assert wire.value(NAME) == "alice: first"


def test_no_moment_shows_another_name(named: Target) -> None:
    with named.wire("alice") as wire:
        # pg_stat_activity does not change within a transaction, for who looks from there.
        wire.query("BEGIN")
        for scope in ("LOCAL", "SESSION"):
            wire.query(f"SET {scope} application_name = 'bob: psql'")
            assert wire.value("SHOW application_name") == "alice: bob: psql"
        wire.query("ROLLBACK")
        assert wire.value(NAME) == "alice: "


def test_set_goes_through_the_template_when_it_is_prepared(named: Target) -> None:
    with named.wire("alice") as wire:
        for name in ("", "s"):
            wire.send(parse("SET application_name = 'report'", name), bind((), name), execute(), SYNC)
            assert "E" not in types_of(wire.until_ready())
            assert wire.value(NAME) == "alice: report"
            wire.query("SET application_name = 'other'")
            assert wire.value(NAME) == "alice: other"
            wire.send(bind((), name), execute(), SYNC)
            if "E" not in types_of(wire.until_ready()):
                assert wire.value(NAME) == "alice: report"


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT set_config('application_name', 'bob: psql', false)",
        "SELECT 1; SET application_name = 'bob: psql'",
        "ALTER ROLE alice SET application_name = 'bob: psql'",
        "UPDATE pg_settings SET setting = 'bob: psql' WHERE name = 'application_name'",
    ],
)
def test_other_ways_to_a_name_are_refused(named: Target, statement: str) -> None:
    with named.wire("alice") as wire:
        assert error_of(wire.query(statement))["C"] == "42501"
        assert wire.value(NAME) == "alice: "


@pytest.mark.parametrize("statement", ["RESET ALL", "DISCARD ALL"])
def test_resets_leave_the_person(named: Target, statement: str) -> None:
    with named.wire("alice", application_name="first") as wire:
        wire.query("SET application_name = 'second'")
        assert "E" not in types_of(wire.query(statement))
        assert wire.value(NAME) == "alice: first"


def test_a_template_without_the_clients_name_keeps_it_away(make: Make) -> None:
    target = make(template="%u")
    with target.wire("alice", application_name="first") as wire:
        wire.query("SET application_name = 'nobody'")
        assert wire.value(NAME) == "alice"


def test_start_up_options_go_through_the_template(named: Target) -> None:
    with named.wire("alice", options="-c application_name=report") as wire:
        assert wire.value(NAME) == "alice: report"


def test_without_the_guard_a_name_is_put_right_before_the_next_transaction(make: Make) -> None:
    target = make()
    with target.connect("service", "service-secret") as connection:
        connection.execute("SELECT set_config('application_name', 'bob: psql', false)")
        assert connection.execute(NAME).fetchone() == ("service: bob: psql",)
        assert connection.execute(NAME).fetchone() == ("service: bob: psql",)


def test_the_gateway_keeps_the_clients_own_name(make: Make) -> None:
    admin = {"name": "admin", "user": "root", "password": "admin-secret"}
    target = make(admin=admin)
    with (
        target.wire("alice", application_name="report"),
        target.connect("root", "admin-secret", dbname="admin") as console,
    ):
        names = [row for row in console.execute("SHOW CLIENTS") if "report" in row]
        assert len(names) == 1


def test_replication_connections_keep_their_own_names(make: Make, cluster: Cluster) -> None:
    target = make(pooler_mode="session")
    with cluster.admin() as admin:
        admin.execute("CREATE ROLE named_archiver LOGIN REPLICATION PASSWORD 'secret'")
    try:
        archiver = {"name": "named_archiver", "database": DATABASE, "password": "secret"}
        target.gateway.write(users={"users": [archiver]})
        target.gateway.send(signal.SIGHUP)

        def name() -> str | None:
            with target.wire(
                "named_archiver", "secret", replication="database", application_name="standby_1"
            ) as wire:
                return wire.value("SHOW application_name")

        assert eventually(name, "a replication connection") == "standby_1"
    finally:
        with cluster.admin() as admin:
            admin.execute("DROP ROLE named_archiver")


def test_nothing_is_refused_without_a_template(make_gateway: MakeGateway, cluster: Cluster) -> None:
    target = make_gateway(databases=[primary_alone(cluster)])
    with target.wire("alice", application_name="psql") as wire:
        wire.query("SELECT set_config('application_name', 'mine', false)")
        assert wire.value(NAME) == "mine"


def test_a_template_with_another_percent_sign_is_a_mistake(make_gateway: MakeGateway) -> None:
    target = make_gateway(jwt={"application_name": "%x"}, start=False)
    with pytest.raises(RuntimeError, match="may hold %u, %i, %a"):
        target.gateway.start()
