"""A read-only identity never reaches a primary, whatever it says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness import Cluster, eventually
from harness import wire as w
from harness.target import Target
from harness.wire import ServerError

MakeGateway = Callable[..., Target]

WRITES = [
    "INSERT INTO notes (body) VALUES ('from a reader')",
    "UPDATE notes SET body = 'changed'",
    "DELETE FROM notes",
    "CREATE TABLE scratch.reader_was_here ()",
    "WITH new AS (INSERT INTO notes (body) VALUES ('x') RETURNING id) SELECT * FROM new",
    "SELECT add_note('from a function')",
    "SELECT * FROM notes FOR UPDATE",
    "SELECT nextval('notes_id_seq')",
    "SELECT 1 INTO scratch.reader_was_here",
    "/* pgdog_role: primary */ INSERT INTO notes (body) VALUES ('x')",
    "BEGIN READ WRITE; INSERT INTO notes (body) VALUES ('x'); COMMIT",
    "BEGIN; SET TRANSACTION READ WRITE; DELETE FROM notes; COMMIT",
    "START TRANSACTION READ WRITE; DELETE FROM notes; COMMIT",
    "SET default_transaction_read_only = off; DELETE FROM notes",
    "SET transaction_read_only = off; DELETE FROM notes",
    "SELECT set_config('transaction_read_only', 'off', false); DELETE FROM notes",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE; DELETE FROM notes",
]


@pytest.fixture
def contents(cluster: Any) -> Callable[[], list[Any]]:
    def read() -> list[Any]:
        with cluster.admin() as admin:
            return admin.execute("SELECT * FROM notes WHERE owner = 'reader' ORDER BY id").fetchall()

    return read


def test_a_read_only_subject_reads_from_the_replica(gateway: Target) -> None:
    for _ in range(5):
        with gateway.wire("reader") as wire:
            assert wire.rows("SELECT current_user, served_by()") == [("reader", "replica")]
            assert wire.value("SELECT DISTINCT owner FROM notes") == "reader"


def test_everything_of_a_read_only_subject_goes_to_the_replica(gateway: Target) -> None:
    with gateway.wire("reader") as wire:
        wire.query("BEGIN")
        assert wire.value("SELECT served_by()") == "replica"
        wire.query("COMMIT")
        assert wire.value("/* pgdog_role: primary */ SELECT served_by()") == "replica"
        assert wire.value("SHOW transaction_read_only") == "on"
        wire.query("SET pgdog.role = 'primary'")
        assert wire.value("SELECT served_by()") == "replica"
        wire.send(w.extended("SELECT served_by()"))
        assert "replica" in [message.row[0] for message in wire.until_ready() if message.type == "D"]


@pytest.mark.parametrize("parameters", [{"pgdog.role": "primary"}, {"options": "-c pgdog.role=primary"}])
def test_a_start_up_parameter_leads_to_no_primary(gateway: Target, parameters: dict[str, str]) -> None:
    try:
        wire = gateway.wire("reader", **parameters)
    except ServerError:
        return  # a refusal is an answer, too
    with wire:
        assert wire.value("SELECT served_by()") == "replica"


@pytest.mark.parametrize("sql", WRITES)
def test_a_write_is_refused_and_changes_nothing(
    gateway: Target, contents: Callable[[], list[Any]], sql: str
) -> None:
    before = contents()
    with gateway.wire("reader") as wire:
        error = w.error_of(wire.query(sql))
        wire.query("ROLLBACK")

        assert error["C"] in ("25006", "42501", "25001", "0A000"), error
        assert wire.rows("SELECT current_user, served_by()") == [("reader", "replica")]
    assert contents() == before


def test_a_write_by_the_extended_protocol_is_refused(
    gateway: Target, contents: Callable[[], list[Any]]
) -> None:
    before = contents()
    with gateway.wire("reader") as wire:
        wire.send(w.extended("INSERT INTO notes (body) VALUES ($1)", ["x"]))

        assert w.error_of(wire.until_ready())["C"] == "25006"
    assert contents() == before


def test_copy_into_a_table_is_refused(gateway: Target) -> None:
    with gateway.wire("reader") as wire:
        assert w.error_of(wire.query("COPY notes (body) FROM STDIN"))["C"] == "25006"
        assert wire.value("SELECT served_by()") == "replica"


def test_provisioned_subjects_are_read_only_when_the_configuration_says_so(make_gateway: MakeGateway) -> None:
    target = make_gateway(general={"jwt_user_auto_provision_read_only": True})

    with target.wire("alice") as wire:
        assert wire.rows("SELECT current_user, served_by()") == [("alice", "replica")]
        assert w.error_of(wire.query("INSERT INTO notes (body) VALUES ('x')"))["C"] == "25006"


def read_only_error(target: Target) -> dict[str, str]:
    """What a read-only subject hears, at the login or at its first statement."""
    try:
        with target.wire("reader") as wire:
            return dict(w.error_of(wire.query("SELECT served_by()")))
    except ServerError as error:
        return error.fields


def test_without_any_replica_a_read_only_subject_gets_an_error_that_says_so(
    make_gateway: MakeGateway, cluster: Any
) -> None:
    primary = {"name": "demo", "host": "127.0.0.1", "port": cluster.primary.port, "role": "primary"}
    target = make_gateway(databases=[primary])

    error = read_only_error(target)

    assert error["C"] == "25006"
    assert "replica" in error["M"] + error.get("D", "") + error.get("H", "")


def test_with_the_replica_stopped_a_read_only_subject_never_reaches_the_primary(
    make_gateway: MakeGateway, servers: Cluster
) -> None:
    target = make_gateway(general={"ban_timeout": 500, "connect_timeout": 1000})
    with target.wire("reader") as wire:
        assert wire.value("SELECT served_by()") == "replica"
    assert servers.replica

    servers.replica.stop()
    for _ in range(5):
        assert read_only_error(target)["C"] == "25006"
    with target.wire("alice") as wire:
        assert wire.value("SELECT count(*) FROM notes WHERE owner = 'alice'") != "0"

    servers.replica.start()
    servers.wait_for_streaming()
    eventually(lambda: target.wire("reader").value("SELECT served_by()") == "replica", "reading again", 30)


def test_a_session_survives_the_loss_of_the_replica_with_an_error(
    make_gateway: MakeGateway, servers: Cluster
) -> None:
    target = make_gateway(general={"ban_timeout": 500, "connect_timeout": 1000})
    assert servers.replica
    with target.wire("reader") as wire:
        assert wire.value("SELECT served_by()") == "replica"

        servers.replica.stop()
        assert w.error_of(wire.query("SELECT served_by()"))["C"] in ("25006", "57P01", "08006", "08003")
        servers.replica.start()
        servers.wait_for_streaming()

        eventually(lambda: wire.value("SELECT served_by()") == "replica", "the same session reads again", 30)
