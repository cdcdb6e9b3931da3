"""Attacks on the bookkeeping between sessions that share servers: what one leaves never serves another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness import wire as w
from harness.cluster import Cluster
from harness.gateway import default_config
from harness.issuer import Issuer
from harness.target import Target
from harness.wire import ServerError, Wire
from harness.workspace import Workspace

MakeGateway = Callable[..., Target]


@pytest.fixture(scope="module")
def single(make_module_gateway: MakeGateway, cluster: Any, issuer: Issuer) -> Target:
    """One server connection for all clients of a subject: one server, and a pool of one."""
    primary = default_config(cluster, issuer)["databases"][:1]
    return make_module_gateway(
        databases=primary, general={"default_pool_size": 1, "prepared_statements_limit": 2}
    )


@pytest.fixture
def pair(single: Target) -> Iterator[tuple[Wire, Wire]]:
    with single.wire("alice") as one, single.wire("alice") as other:
        yield one, other


def exchange(wire: Wire, *messages: bytes) -> str:
    """Sends messages; gives the types of the answer, with the code of an error in place of its E."""
    wire.send(*messages)
    answer = wire.until_ready()
    return " ".join(each.fields["C"] if each.type == "E" else each.type for each in answer)


def test_a_client_cannot_bind_the_unnamed_statement_of_another(pair: tuple[Wire, Wire]) -> None:
    one, other = pair
    assert exchange(one, w.extended("SELECT 'of one'")) == "1 2 T D C Z"

    assert exchange(other, w.bind(), w.execute(), w.SYNC) == "26000 Z"
    assert exchange(other, w.describe("S"), w.SYNC) == "26000 Z"


def test_an_unnamed_statement_comes_back_after_another_client_replaced_it(pair: tuple[Wire, Wire]) -> None:
    one, other = pair
    exchange(one, w.parse("SELECT 'of one'"), w.SYNC)
    exchange(other, w.extended("SELECT 'of other'"))

    one.send(w.bind(), w.execute(), w.SYNC)

    assert [each.body[6:] for each in one.until_ready() if each.type == "D"] == [b"of one"]


def test_an_unnamed_statement_that_was_closed_or_refused_is_gone(pair: tuple[Wire, Wire]) -> None:
    one, _ = pair
    exchange(one, w.parse("SELECT 1"), w.SYNC)
    exchange(one, w.close("S", ""), w.SYNC)
    assert exchange(one, w.bind(), w.execute(), w.SYNC) == "26000 Z"

    exchange(one, w.parse("SELECT 1"), w.SYNC)
    assert exchange(one, w.parse("SELECT FROM nowhere_at_all"), w.SYNC) == "42P01 Z"
    assert exchange(one, w.bind(), w.execute(), w.SYNC) == "26000 Z"


def test_a_statement_too_large_to_keep_works_in_its_own_batch_only(pair: tuple[Wire, Wire]) -> None:
    one, other = pair
    large = f"SELECT length('{'x' * 100_000}')"
    assert exchange(one, w.extended(large)) == "1 2 T D C Z"
    exchange(other, w.extended("SELECT 1"))

    assert exchange(one, w.bind(), w.execute(), w.SYNC) == "26000 Z"


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_discard_all_by_name_keeps_the_subject_whatever_happens_to_the_name(
    make_gateway: MakeGateway, mode: str
) -> None:
    target = make_gateway(general={"pooler_mode": mode})
    with target.wire("alice") as wire:
        exchange(wire, w.parse("DISCARD ALL", "d"), w.SYNC)
        exchange(wire, w.parse("SELECT 1", "d"), w.SYNC)  # refused: the name is taken
        exchange(wire, w.parse("SELECT FROM nowhere_at_all"), w.close("S", "d"), w.SYNC)  # skipped

        answer = exchange(
            wire, w.bind(statement="d"), w.execute(), w.parse("SELECT 1"), w.bind(), w.execute(), w.SYNC
        )

        assert answer == "2 C 1 2 D C Z"
        assert wire.value("SELECT current_user") == "alice"


def test_a_statement_whose_eviction_was_skipped_by_an_error_still_works(pair: tuple[Wire, Wire]) -> None:
    one, _ = pair
    for name in ("a", "b"):
        exchange(one, w.parse(f"SELECT '{name}'", name), w.SYNC)
    # The error makes PostgreSQL skip the Close that was to make room for `c`.
    exchange(one, w.parse("SELECT FROM nowhere_at_all"), w.parse("SELECT 'c'", "c"), w.SYNC)

    for _ in range(2):
        for name in ("a", "b"):
            assert exchange(one, w.bind(statement=name), w.execute(), w.SYNC) == "2 D C Z"


def test_deallocate_forgets_a_statement_of_the_protocol(pair: tuple[Wire, Wire]) -> None:
    one, _ = pair
    exchange(one, w.parse("SELECT 1", "s"), w.SYNC)

    assert w.types_of(one.query("DEALLOCATE s")) == "CZ"

    assert exchange(one, w.bind(statement="s"), w.execute(), w.SYNC) == "26000 Z"
    assert w.error_of(one.query("DEALLOCATE s"))["C"] == "26000"
    one.query("BEGIN")
    exchange(one, w.parse("SELECT 1", "s"), w.SYNC)
    assert one.query("DEALLOCATE s")[-1].body == b"T"
    one.query("ROLLBACK")


def test_deallocate_all_forgets_all_of_them(pair: tuple[Wire, Wire]) -> None:
    one, other = pair
    for wire in pair:
        exchange(wire, w.parse("SELECT 1", "s"), w.SYNC)

    assert w.types_of(one.query("DEALLOCATE ALL")) == "CZ"

    assert exchange(one, w.bind(statement="s"), w.execute(), w.SYNC) == "26000 Z"
    assert exchange(other, w.bind(statement="s"), w.execute(), w.SYNC) == "2 D C Z"


def test_a_flood_of_requests_behind_a_slow_statement_does_not_grow_the_gateway(single: Target) -> None:
    before = single.gateway.memory()
    flood = w.close("S", "x") * 8_000_000
    with single.wire("alice") as wire:
        wire.send(w.parse("SELECT pg_sleep(2)"), w.bind(), w.execute())
        wire.socket.settimeout(1)
        with pytest.raises(TimeoutError):
            wire.send(flood)
        grown = single.gateway.memory() - before
    assert grown < 16 << 20, f"{grown >> 20} MiB"


@pytest.mark.parametrize(
    "statement",
    [
        'CREATE RULE "_RETURN" AS ON SELECT TO scratch.v DO INSTEAD SELECT * FROM pg_settings',
        "CREATE RULE r AS ON INSERT TO scratch.v DO ALSO UPDATE pg_settings SET setting = 'bob'",
    ],
)
def test_a_rule_cannot_lead_to_the_settings_view(pair: tuple[Wire, Wire], statement: str) -> None:
    one, _ = pair
    one.query("CREATE TABLE IF NOT EXISTS scratch.v AS SELECT * FROM pg_settings WITH NO DATA")

    assert w.error_of(one.query(statement))["C"] == "42501"


@pytest.mark.parametrize(
    "statement",
    [
        "BEGIN READ WRITE",
        "START TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ WRITE",
        "SET TRANSACTION READ WRITE",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
        "SET default_transaction_read_only = off",
        "SET LOCAL transaction_read_only = off",
        "SELECT set_config('default_transaction_read_only', 'off', false)",
        "RESET default_transaction_read_only",
    ],
)
def test_a_read_only_user_cannot_leave_read_only_mode(gateway: Target, statement: str) -> None:
    """On a replica none of this would help; on one that was promoted a moment ago it would."""
    with gateway.wire("reader") as wire:
        assert w.error_of(wire.query(statement))["C"] == "42501"
        assert wire.value("SHOW transaction_read_only") == "on"


def test_a_read_only_user_may_say_that_it_reads(gateway: Target) -> None:
    with gateway.wire("reader") as wire:
        characteristics = "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"
        for statement in ("BEGIN READ ONLY", "COMMIT", characteristics, "RESET ALL"):
            assert "E" not in w.types_of(wire.query(statement)), statement
        assert wire.value("SELECT current_user") == "reader"


def test_a_read_only_user_cannot_log_in_ready_to_write(gateway: Target) -> None:
    assert gateway.refusal("reader", options="-c default_transaction_read_only=off")["C"] == "28000"


def test_a_promoted_replica_serves_no_read_only_user(
    workspace: Workspace, issuer: Issuer, make_gateway: MakeGateway
) -> None:
    cluster = Cluster(workspace)
    servers = default_config(cluster, issuer)["databases"]
    target = make_gateway(databases=servers, general={"default_pool_size": 1})
    with target.wire("reader") as wire, target.wire("reader", application_name="other") as other:
        assert wire.value("SELECT served_by()") == "replica"
        with cluster.replica.admin() as admin:
            admin.execute("SELECT pg_promote()")

        for client in (wire, other, wire, other):
            answer = client.query("INSERT INTO notes (body) VALUES ('by a reader')")
            assert w.error_of(answer)["C"] == "25006"
        with pytest.raises(ServerError) as refused:
            wire.value("SELECT 1")
    assert refused.value.fields["C"] == "25006"
    assert target.refusal("reader")["C"] == "25006"
