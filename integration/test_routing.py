"""Where statements of ordinary users go: reads to a replica, everything else to the primary."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from harness import Cluster
from harness import wire as w
from harness.target import Target
from harness.wire import Wire

# `on` at a replica, and no function is called, so that the statement is a read for everybody.
WHERE = "SELECT setting FROM in_hot_standby"


@pytest.fixture(scope="module")
def target(make_module_gateway: Callable[..., Target]) -> Target:
    return make_module_gateway(general={"read_write_split": "exclude_primary"})


@pytest.fixture
def wire(target: Target) -> Iterator[Wire]:
    with target.wire("alice") as wire:
        yield wire


def test_a_read_goes_to_the_replica(wire: Wire) -> None:
    assert [wire.value(WHERE) for _ in range(5)] == ["on"] * 5


def test_a_read_by_the_extended_protocol_goes_to_the_replica(wire: Wire) -> None:
    wire.send(w.extended(WHERE))

    assert wire.until_ready()[3].row == ("on",)


@pytest.mark.parametrize("name", ["", "named"])
def test_what_a_batch_ran_before_says_nothing_about_the_next(wire: Wire, name: str) -> None:
    wire.send(w.extended("INSERT INTO notes (body) VALUES ('before')"))
    wire.until_ready()
    wire.send(w.extended(WHERE, name=name))
    assert [message.row for message in wire.until_ready() if message.type == "D"] == [("on",)]
    wire.send(w.bind(statement=name) + w.execute() + w.SYNC)
    assert [message.row for message in wire.until_ready() if message.type == "D"] == [("on",)]


def test_a_transaction_stays_on_the_primary(wire: Wire) -> None:
    wire.query("BEGIN")
    assert wire.value(WHERE) == "off"
    wire.query("COMMIT")


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO notes (body) VALUES ('routed')",
        "UPDATE notes SET body = body",
        "WITH new AS (INSERT INTO notes (body) VALUES ('x') RETURNING id) SELECT * FROM new",
        "SELECT * FROM notes FOR UPDATE",
        "SELECT add_note('from a function')",
        "CREATE TABLE scratch.routed (); DROP TABLE scratch.routed",
        "SELECT 1; UPDATE notes SET body = body",
        "SELECT nextval('notes_id_seq')",
        "EXPLAIN ANALYZE UPDATE notes SET body = body",
        "LOCK TABLE notes",
    ],
)
def test_what_writes_goes_to_the_primary(wire: Wire, sql: str) -> None:
    error = [message.fields for message in wire.query(sql) if message.type == "E"]

    # 25006 would be a replica's answer. Some of these are errors at the primary as well.
    assert all(fields["C"] != "25006" for fields in error), error


def test_a_database_with_one_server_sends_everything_there(
    make_gateway: Callable[..., Target], cluster: object
) -> None:
    port = cluster.primary.port  # type: ignore[attr-defined]
    target = make_gateway(databases=[{"name": "demo", "host": "127.0.0.1", "port": port}])
    with target.wire("alice") as wire:
        assert wire.value(WHERE) == "off"
        wire.rows("INSERT INTO notes (body) VALUES ('one server')")


@pytest.fixture(scope="module")
def hidden(cluster: Cluster) -> Iterator[None]:
    """A function that writes, and what hides it."""
    with cluster.admin() as admin:
        admin.execute(
            "CREATE FUNCTION hidden_write(n int) RETURNS boolean LANGUAGE sql SECURITY DEFINER"
            " AS 'INSERT INTO notes (body) VALUES (''hidden''); SELECT true'"
        )
        admin.execute("CREATE VIEW hidden_view AS SELECT hidden_write(1)")
        admin.execute("CREATE OPERATOR @@@> (FUNCTION = hidden_write, RIGHTARG = int)")
        admin.execute("CREATE DOMAIN hidden_domain AS int CHECK (hidden_write(VALUE))")
        admin.execute("GRANT SELECT ON hidden_view TO PUBLIC")
    cluster.wait_for_replay()
    yield
    with cluster.admin() as admin:
        admin.execute(
            "DROP FUNCTION hidden_write CASCADE; DROP DOMAIN hidden_domain;"
            " DELETE FROM notes WHERE body = 'hidden'"
        )


@pytest.mark.parametrize("sql", ["TABLE hidden_view", "SELECT @@@> 1", "SELECT 1::hidden_domain"])
def test_a_write_that_no_text_shows_is_refused_by_the_replica(hidden: None, wire: Wire, sql: str) -> None:
    assert w.error_of(wire.query(sql))["C"] == "25006"
    wire.send(w.extended(sql))
    assert w.error_of(wire.until_ready())["C"] == "25006"

    assert "E" not in w.types_of(wire.query(f"/* pgdog_role: primary */ {sql}"))
