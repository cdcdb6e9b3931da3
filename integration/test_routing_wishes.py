"""The side that a client asks for: by a comment, or by the setting `pgdog.role`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from harness import primary_alone
from harness import wire as w
from harness.target import Target
from harness.wire import Wire

MakeGateway = Callable[..., Target]

# `on` at a replica; a read for everybody, because it calls no function.
WHERE = "SELECT setting FROM in_hot_standby"
PRIMARY, REPLICA = "off", "on"
INSERT = "INSERT INTO notes (body) VALUES ('by wish')"
TO_PRIMARY, TO_REPLICA = "/* pgdog_role: primary */ ", "/* pgdog_role: replica */ "


@pytest.fixture(scope="module")
def target(make_module_gateway: MakeGateway) -> Target:
    return make_module_gateway(general={"read_write_split": "exclude_primary"})


@pytest.fixture
def wire(target: Target) -> Iterator[Wire]:
    with target.wire("alice") as wire:
        yield wire


# Comments


def test_a_comment_chooses_the_side_of_its_statement_alone(wire: Wire) -> None:
    for _ in range(3):
        assert wire.value(WHERE) == REPLICA
        assert wire.value(TO_PRIMARY + WHERE) == PRIMARY
        assert wire.value(TO_REPLICA + WHERE) == REPLICA
        assert wire.value(f"{WHERE} -- pgdog_role: primary") == PRIMARY


def test_a_write_that_is_sent_to_a_replica_is_refused_there(wire: Wire, cluster: Any) -> None:
    assert w.error_of(wire.query(TO_REPLICA + INSERT))["C"] == "25006"
    wire.rows(INSERT)


def test_a_comment_in_a_string_is_none(wire: Wire) -> None:
    assert wire.value(f"{WHERE} WHERE setting <> '{TO_PRIMARY}'") == REPLICA


def test_a_comment_counts_in_the_extended_protocol(wire: Wire) -> None:
    for sql, where in ((TO_PRIMARY + WHERE, PRIMARY), (WHERE, REPLICA)):
        wire.send(w.extended(sql))
        assert [message.row for message in wire.until_ready() if message.type == "D"] == [(where,)]


def test_a_prepared_statement_keeps_its_comment(target: Target) -> None:
    with target.connect("alice", prepare_threshold=0) as connection:
        for _ in range(5):
            assert connection.execute(TO_PRIMARY + WHERE).fetchone() == (PRIMARY,)
            assert connection.execute(WHERE).fetchone() == (REPLICA,)


def test_the_statement_that_needs_most_decides_for_a_batch(wire: Wire) -> None:
    first, second = w.extended(WHERE).removesuffix(w.SYNC), w.extended(TO_PRIMARY + WHERE)
    wire.send(first + second)
    assert [message.row for message in wire.until_ready() if message.type == "D"] == [(PRIMARY,), (PRIMARY,)]


@pytest.mark.parametrize("split", ["include_primary", "prefer_primary"])
def test_who_asks_for_a_replica_gets_one_whatever_the_split(make_gateway: MakeGateway, split: str) -> None:
    target = make_gateway(general={"read_write_split": split})
    with target.wire("alice") as wire:
        assert [wire.value(TO_REPLICA + WHERE) for _ in range(10)] == [REPLICA] * 10


def test_the_primary_stands_in_where_there_is_no_replica(make_gateway: MakeGateway, cluster: Any) -> None:
    server = primary_alone(cluster)
    with make_gateway(databases=[server]).wire("alice") as wire:
        assert wire.value(TO_REPLICA + WHERE) == PRIMARY
        wire.rows(TO_REPLICA + INSERT)


# The setting


@pytest.mark.parametrize(
    "parameters",
    [{"pgdog.role": "primary"}, {"options": "-c pgdog.role=primary"}, {"options": "-cpgdog.role=primary"}],
)
def test_the_start_up_packet_chooses_the_side(target: Target, parameters: dict[str, str]) -> None:
    with target.wire("alice", **parameters) as wire, target.wire("alice") as other:
        for _ in range(3):
            assert wire.value(WHERE) == PRIMARY
            assert other.value(WHERE) == REPLICA
        assert wire.value("SHOW pgdog.role") == "primary"


def test_drivers_choose_the_side(target: Target) -> None:
    with target.connect("alice", options="-c pgdog.role=replica") as connection:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute(INSERT)
        assert connection.execute(TO_PRIMARY + WHERE).fetchone() == (PRIMARY,), "a comment goes before it"


def test_set_and_reset(wire: Wire) -> None:
    wire.query("SET pgdog.role TO 'primary'")
    assert [wire.value(WHERE) for _ in range(3)] == [PRIMARY] * 3
    assert wire.value(TO_REPLICA + WHERE) == REPLICA
    wire.query("SET pgdog.role TO 'replica'")
    assert w.error_of(wire.query(INSERT))["C"] == "25006"
    wire.query("RESET pgdog.role")
    assert wire.value(WHERE) == REPLICA
    wire.rows(INSERT)


def test_set_config_counts_as_well(wire: Wire) -> None:
    wire.rows("SELECT set_config('pgdog.role', 'primary', false)")
    assert wire.value(WHERE) == PRIMARY
    wire.query("DISCARD ALL")
    assert wire.value(WHERE) == REPLICA


def test_reset_leads_back_to_the_start_up_packet(target: Target) -> None:
    with target.wire("alice", **{"pgdog.role": "primary"}) as wire:
        wire.query("SET pgdog.role TO 'replica'")
        assert wire.value(WHERE) == REPLICA
        wire.query("RESET pgdog.role")
        assert wire.value(WHERE) == PRIMARY
        wire.query("SET pgdog.role TO 'replica'")
        wire.query("RESET ALL")
        assert wire.value(WHERE) == PRIMARY


def test_a_rollback_takes_the_setting_back(wire: Wire) -> None:
    wire.query("BEGIN")
    wire.query("SET pgdog.role TO 'primary'")
    wire.query("ROLLBACK")
    assert wire.value(WHERE) == REPLICA

    wire.query("SET pgdog.role TO 'primary'")
    wire.query("BEGIN")
    wire.query("SET pgdog.role TO 'replica'")
    wire.query("ROLLBACK")
    assert wire.value(WHERE) == PRIMARY


def test_a_local_setting_ends_with_its_transaction(wire: Wire) -> None:
    wire.query("BEGIN")
    wire.query("SET LOCAL pgdog.role TO 'primary'")
    assert wire.value(WHERE) == PRIMARY
    wire.query("COMMIT")
    assert wire.value(WHERE) == REPLICA


def test_a_session_for_replicas_runs_its_transactions_there(wire: Wire) -> None:
    wire.query("SET pgdog.role TO 'replica'")
    wire.query("BEGIN")
    assert wire.value(WHERE) == REPLICA
    assert w.error_of(wire.query(INSERT))["C"] == "25006"
    wire.query("ROLLBACK")


def test_any_other_value_leaves_the_choice_to_the_gateway(wire: Wire) -> None:
    wire.query("SET pgdog.role TO 'elsewhere'")
    assert wire.value(WHERE) == REPLICA
    wire.rows(INSERT)


def test_one_client_s_setting_is_not_the_next_one_s(make_gateway: MakeGateway) -> None:
    target = make_gateway(general={"default_pool_size": 1, "read_write_split": "exclude_primary"})
    with target.wire("alice") as wire, target.wire("alice") as other:
        wire.query("SET pgdog.role TO 'primary'")
        for _ in range(3):
            assert wire.value(WHERE) == PRIMARY
            assert other.value(WHERE) == REPLICA
            other.rows(INSERT)


# Who is deaf to both


@pytest.mark.parametrize("strategy", ["conservative", "aggressive"])
def test_a_read_only_user_reaches_no_primary_by_wishing(make_gateway: MakeGateway, strategy: str) -> None:
    target = make_gateway(general={"read_write_strategy": strategy})
    with target.wire("reader", **{"pgdog.role": "primary"}) as wire:
        assert wire.value(TO_PRIMARY + WHERE) == REPLICA
        wire.query("SET pgdog.role TO 'primary'")
        assert wire.value(WHERE) == REPLICA
        for begin in ("BEGIN", TO_PRIMARY + "BEGIN", "BEGIN READ ONLY"):
            wire.query(begin)
            wire.query("SET LOCAL pgdog.role TO 'primary'")
            assert wire.value(TO_PRIMARY + WHERE) == REPLICA
            wire.query("COMMIT")
        wire.send(w.extended(TO_PRIMARY + WHERE))
        assert [message.row for message in wire.until_ready() if message.type == "D"] == [(REPLICA,)]


def test_session_mode_is_deaf_to_both(make_gateway: MakeGateway) -> None:
    target = make_gateway(general={"pooler_mode": "session", "read_write_split": "exclude_primary"})
    with target.wire("alice", **{"pgdog.role": "replica"}) as wire:
        assert wire.value(TO_REPLICA + WHERE) == PRIMARY
        wire.rows(TO_REPLICA + INSERT)
