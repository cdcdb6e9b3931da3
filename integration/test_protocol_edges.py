"""Corners of the protocol: what servers say unasked, what is large, what is rare."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from conftest import SERVICE
from harness import Cluster, eventually, primary_alone
from harness import wire as w
from harness.activity import await_sleep, sleep_statement, sleeping
from harness.target import Target
from harness.wire import Wire

MakeGateway = Callable[..., Target]
MEGABYTE = 1 << 20


def terminate(cluster: Any, pid: str | None) -> None:
    with cluster.admin() as admin:
        admin.execute("SELECT pg_terminate_backend(%s)", [int(pid or 0)])


# The server leaves


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_a_listener_tells_its_own_notifications(make_gateway: MakeGateway, mode: str) -> None:
    """By the number that the client was told at its login, as drivers do."""
    target = make_gateway(general={"pooler_mode": mode})
    with target.wire("alice") as mine, target.wire("alice") as other:
        own = mine.cancel_key[:4]
        mine.query("LISTEN news")
        for sender, is_own in ((mine, True), (other, False), (mine, True)):
            sender.query("NOTIFY news, 'text'")
            # Those of others may come with the next answer.
            heard = [each.body for each in mine.query("SELECT 1") if each.type == "A"] if not is_own else []
            heard += [each.body for each in mine.query("NOTIFY news, 'text'") if each.type == "A"]
            assert heard[-1] == own + b"news\0text\0"
            assert [body[:4] == own for body in heard] == ([True] if is_own else [False, True])


@pytest.mark.parametrize("size", [64, 8_191, 8_192, 9_990])
@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_names_may_be_as_long_as_with_postgresql(make_gateway: MakeGateway, mode: str, size: int) -> None:
    target = make_gateway(general={"pooler_mode": mode})
    name = "n" * size
    with target.wire("alice") as wire:
        wire.send(w.parse("SELECT 7", name), w.describe("S", name), w.SYNC)
        assert w.types_of(wire.until_ready()) == "1tTZ"
        wire.send(w.bind(statement=name, portal=name), w.describe("P", name), w.execute(name), w.SYNC)
        assert w.types_of(wire.until_ready()) == "2TDCZ"
        wire.send(w.close("S", name), w.close("P", name), w.SYNC)
        assert w.types_of(wire.until_ready()) == "33Z"
        wire.send(w.bind(statement=name), w.SYNC)
        assert w.error_of(wire.until_ready())["C"] == "26000"


def test_a_message_that_postgresql_would_not_read_ends_the_connection(gateway: Target) -> None:
    for message in (w.describe("S", "n" * 9_996), w.close("P", "n" * 9_996), w.execute("n" * 9_996)):
        with gateway.wire("alice") as wire:
            wire.send(message, w.SYNC)
            assert w.error_of(wire.receive_until("E"))["C"] == "08P01"
            assert wire.closed_by_peer()


@pytest.mark.parametrize(
    ("mode", "bind"),
    [
        ("transaction", "LISTEN news"),
        ("transaction", "CREATE TEMP TABLE mine (n int)"),
        ("session", "SELECT 1"),
    ],
)
def test_a_session_that_is_bound_to_its_server_ends_with_it(
    make_gateway: MakeGateway, cluster: Any, mode: str, bind: str
) -> None:
    """It hears at once, and in the server's own words, as a client of PostgreSQL does."""
    target = make_gateway(general={"pooler_mode": mode}, databases=[primary_alone(cluster)])
    with target.wire("alice") as wire:
        wire.rows(bind)
        pid = wire.value("SELECT pg_backend_pid()")
        terminate(cluster, pid)

        last = wire.receive()
        assert (last.type, last.fields["S"], last.fields["C"]) == ("E", "FATAL", "57P01")
        assert "administrator command" in last.fields["M"]
        assert wire.closed_by_peer()
    with target.wire("alice") as wire:
        assert wire.value("SELECT pg_backend_pid()") != pid


def test_a_shutdown_of_postgresql_reaches_who_is_bound(make_gateway: MakeGateway, servers: Cluster) -> None:
    target = make_gateway(databases=[primary_alone(servers)])
    with target.wire("alice") as bound, target.wire("alice") as free:
        bound.rows("LISTEN news")
        free.value("SELECT 1")
        servers.primary.stop()

        assert bound.receive().fields["C"] == "57P01"
        assert bound.closed_by_peer()
        servers.primary.start()
        assert eventually(lambda: free.value("SELECT 1"), "the same session, served again") == "1"


def test_an_idle_transaction_hears_of_its_server_at_the_next_statement(
    make_gateway: MakeGateway, cluster: Any
) -> None:
    target = make_gateway(databases=[primary_alone(cluster)])
    with target.wire("alice") as wire:
        wire.rows("BEGIN")
        terminate(cluster, wire.value("SELECT pg_backend_pid()"))
        with cluster.admin() as admin:
            left = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'gateway' AND state LIKE 'idle in%'"
            eventually(lambda: admin.execute(left).fetchone() == (0,), "the end of the server")

        assert w.error_of(wire.query("SELECT 1"))["C"] == "57P01"
        assert wire.value("SELECT 1") == "1"


# Parameters that change under an idle connection


@pytest.fixture
def time_zone(cluster: Any) -> Iterator[Callable[[str], None]]:
    """Sets PostgreSQL's default and waits until it counts."""

    def set_to(zone: str | None) -> None:
        with cluster.admin() as admin:
            value = f"SET TimeZone = '{zone}'" if zone else "RESET TimeZone"
            admin.execute(f"ALTER SYSTEM {value}")
            before = admin.execute("SELECT pg_conf_load_time()").fetchone()
            admin.execute("SELECT pg_reload_conf()")
            query = "SELECT pg_conf_load_time() > %s"
            eventually(lambda: admin.execute(query, before).fetchone() == (True,), "the new settings")

    yield set_to
    set_to(None)


def zones(messages: list[w.Message]) -> list[bytes]:
    """The time zones that a client is told of."""
    return [each.body[9:-1] for each in messages if each.type == "S" and each.body.startswith(b"TimeZone\0")]


def test_a_default_that_changes_reaches_clients_that_are_there_and_new_ones(
    make_gateway: MakeGateway, cluster: Any, time_zone: Callable[[str], None]
) -> None:
    target = make_gateway(general={"default_pool_size": 1}, databases=[primary_alone(cluster)])
    with target.wire("alice") as one, target.wire("alice") as other:
        assert one.parameters["TimeZone"] == other.parameters["TimeZone"] != "Asia/Tokyo"
        assert zones(one.query("SELECT 1")) == zones(other.query("SELECT 1")) == []

        time_zone("Asia/Tokyo")

        assert zones(one.query("SELECT 1")) == [b"Asia/Tokyo"]
        assert zones(other.query("SELECT 1")) == [b"Asia/Tokyo"]
        assert zones(one.query("SELECT 1")) == zones(other.query("SELECT 1")) == []
    with target.wire("alice") as new:
        told = [new.parameters["TimeZone"].encode(), *zones(new.query("SELECT 1"))]
        assert told[-1] == b"Asia/Tokyo"
        assert new.value("SHOW TimeZone") == "Asia/Tokyo"


def test_a_client_with_a_setting_of_its_own_hears_nothing_of_it(
    make_gateway: MakeGateway, cluster: Any, time_zone: Callable[[str], None]
) -> None:
    target = make_gateway(general={"default_pool_size": 1}, databases=[primary_alone(cluster)])
    with target.wire("alice", TimeZone="Europe/Zurich") as own, target.wire("alice") as other:
        assert own.parameters["TimeZone"] == "Europe/Zurich"
        other.rows("SET TimeZone = 'Europe/Paris'")

        time_zone("Asia/Tokyo")

        for _ in range(3):
            assert zones(own.query("SELECT 1")) == zones(other.query("SELECT 1")) == []
        assert own.value("SHOW TimeZone") == "Europe/Zurich"
        assert zones(other.query("RESET TimeZone")) == [b"Asia/Tokyo"]


def test_what_discard_all_brings_back_is_told(make_gateway: MakeGateway, cluster: Any) -> None:
    target = make_gateway(general={"default_pool_size": 1}, databases=[primary_alone(cluster)])
    with target.wire("alice", TimeZone="Europe/Zurich") as wire:
        wire.rows("SET TimeZone = 'Europe/Paris'")
        told = zones(wire.query("DISCARD ALL")) + zones(wire.query("SELECT 1"))

        assert told[-1] == b"Europe/Zurich"
        assert wire.value("SHOW TimeZone") == "Europe/Zurich"


# Large, and slow


def test_many_wide_rows_do_not_grow_the_gateway(gateway: Target) -> None:
    if gateway.process is None:
        pytest.skip("looks at the gateway's memory, and the gateway runs elsewhere")
    columns = ", ".join(f"n + {number}" for number in range(1600))
    with gateway.wire("alice") as wire:
        # Reading a statement of that length takes memory too, once.
        assert wire.rows(f"SELECT {columns} FROM generate_series(1, 0) AS n") == []
        before = gateway.gateway.memory()
        wire.send(w.query(f"SELECT {columns} FROM generate_series(1000000, 1004999) AS n"))
        assert wire.receive().type == "T"
        rows, most = 0, 0
        while (message := wire.receive()).type == "D":
            rows += 1
            if rows % 500 == 0:
                most = max(most, gateway.gateway.memory() - before)
        assert (message.type, rows) == ("C", 5000)
        assert len(wire.until_ready()) == 1

    assert most < 16 * MEGABYTE


def test_a_flood_of_notices_waits_for_a_slow_reader(make_gateway: MakeGateway, cluster: Any) -> None:
    target = make_gateway(users=[SERVICE])
    count = 100_000
    flood = f"DO $$ BEGIN FOR n IN 1..{count} LOOP RAISE NOTICE '%', repeat('x', 1000); END LOOP; END $$"
    with target.wire("service", "service-secret") as wire:
        before = target.gateway.memory()
        wire.send(w.query(flood))
        blocked = (
            "SELECT count(*) FROM pg_stat_activity WHERE usename = 'service' AND wait_event = 'ClientWrite'"
        )
        with cluster.admin() as admin:
            eventually(lambda: admin.execute(blocked).fetchone() == (1,), "the jam")
            with target.wire("service", "service-secret") as other:
                assert other.value("SELECT 1") == "1"
            assert target.gateway.memory() - before < 16 * MEGABYTE

        notices = 0
        while (message := wire.receive()).type == "N":
            notices += 1
        assert (message.type, notices) == ("C", count)
        assert len(wire.until_ready()) == 1
        assert wire.value("SELECT 1") == "1"
    assert target.gateway.memory() - before < 16 * MEGABYTE


# Rare


@pytest.fixture
def service(make_gateway: MakeGateway, pooled: Target) -> Iterator[Wire]:
    """A session that no guard watches over."""
    with pooled.wire("service", "service-secret") as wire:
        yield wire


@pytest.mark.parametrize("text", ["", " ", ";", "-- nothing", "/* nothing */ ;"])
def test_an_empty_query_by_the_extended_protocol(service: Wire, text: str) -> None:
    service.send(w.extended(text))

    assert w.types_of(service.until_ready()) == "12nIZ"
    assert service.value("SELECT 1") == "1"


def test_a_function_call_gives_its_result(service: Wire) -> None:
    service.send(w.function_call(1397, struct.pack("!i", -7)))  # abs(integer)
    answer = service.until_ready()

    assert w.types_of(answer) == "VZ"
    assert answer[0].body == struct.pack("!ii", 4, 7)


def test_a_function_call_that_fails_fails_its_transaction(service: Wire) -> None:
    service.rows("BEGIN")
    service.send(w.function_call(1397, b"too long for an integer"))
    answer = service.until_ready()

    assert w.types_of(answer) == "EZ"
    assert answer[-1].body == b"E"
    service.rows("ROLLBACK")


def test_function_calls_among_other_requests(service: Wire) -> None:
    calls = [w.function_call(1397, struct.pack("!i", -number)) for number in (1, 2)]
    service.send(calls[0], w.query("SELECT 'between'"), calls[1], w.extended("SELECT 'after'"))

    assert service.until_ready()[0].body == struct.pack("!ii", 4, 1)
    assert service.until_ready()[1].row == ("between",)
    assert service.until_ready()[0].body == struct.pack("!ii", 4, 2)
    assert service.until_ready()[3].row == ("after",)


def test_large_objects_by_function_calls(service: Wire) -> None:
    """How libpq's lo_ functions work."""

    def call(oid: int, *values: bytes) -> bytes:
        service.send(w.function_call(oid, *values))
        answer = service.until_ready()
        assert w.types_of(answer) == "VZ", w.error_of(answer)
        return answer[0].body[4:]

    service.rows("BEGIN")
    made = call(957, struct.pack("!i", 0x60000))  # lo_creat
    opened = call(952, made, struct.pack("!i", 0x60000))  # lo_open
    assert call(955, opened, b"large") == struct.pack("!i", 5)  # lowrite
    assert call(956, opened, struct.pack("!i", 0), struct.pack("!i", 0)) == struct.pack("!i", 0)  # lo_lseek
    assert call(954, opened, struct.pack("!i", 100)) == b"large"  # loread
    service.rows("ROLLBACK")


@pytest.mark.parametrize(
    ("texts", "states"),
    [
        (["BEGIN; SELECT 1", "COMMIT"], [b"T", b"I"]),
        (["BEGIN; SELECT 1; COMMIT; SELECT 2"], [b"I"]),
        (["BEGIN", "SELECT 1; COMMIT; BEGIN; SELECT 2", "COMMIT"], [b"T", b"T", b"I"]),
        (["BEGIN; SELECT 1/0; COMMIT", "COMMIT"], [b"E", b"I"]),
        (["SELECT 1; BEGIN; SELECT 1/0", "ROLLBACK; SELECT 1"], [b"E", b"I"]),
        (["BEGIN; COMMIT AND CHAIN", "ROLLBACK"], [b"T", b"I"]),
        (["SAVEPOINT s", "SELECT 1"], [b"I", b"I"]),
    ],
)
def test_transactions_that_begin_and_end_among_statements(
    service: Wire, texts: list[str], states: list[bytes]
) -> None:
    assert [service.query(text)[-1].body for text in texts] == states
    assert service.value("SELECT 1") == "1"


def test_what_such_a_string_wrote_is_there_before_its_end_is_told(service: Wire, cluster: Any) -> None:
    body = f"edge {time.monotonic_ns()}"
    service.send(w.query(f"BEGIN; INSERT INTO notes (body) VALUES ('{body}'); COMMIT; SELECT pg_sleep(0)"))
    assert w.types_of(service.until_ready()) == "CCCTDCZ"

    with cluster.admin() as admin:
        assert admin.execute("SELECT count(*) FROM notes WHERE body = %s", [body]).fetchone() == (1,)


# Protocol 3.2


def login(target: Target, protocol: int) -> Wire:
    wire = target.open()
    wire.startup(protocol, user="alice", database=target.database)
    assert wire.receive().type == "R"
    wire.send(w.password_message(target.issuer.token("alice")))
    for message in wire.until_ready():
        if message.type == "K":
            wire.cancel_key = message.body
    return wire


@pytest.mark.parametrize(("protocol", "length"), [(w.PROTOCOL_3_0, 4), (w.PROTOCOL_3_2, 32)])
def test_the_length_of_a_cancel_key_is_that_of_the_protocol(
    gateway: Target, cluster: Any, protocol: int, length: int
) -> None:
    mark = f"key {length}"
    with login(gateway, protocol) as wire:
        assert len(wire.cancel_key) == 4 + length
        wire.send(w.query(sleep_statement(mark)))
        await_sleep(cluster, mark)
        for key in (wire.cancel_key[:-1], wire.cancel_key[:4] + bytes(length), wire.cancel_key + b"\0"):
            with gateway.open() as other:
                other.send(w.cancel_request(key))
                assert other.closed_by_peer()
        assert sleeping(cluster, mark) == 1
        with gateway.open() as other:
            other.send(w.cancel_request(wire.cancel_key))

        assert w.error_of(wire.until_ready())["C"] == "57014"


def test_a_driver_speaks_3_2_and_cancels(gateway: Target, cluster: Any) -> None:
    if psycopg.pq.version() < 180000:
        pytest.skip("libpq speaks protocol 3.2 from version 18 on")
    with gateway.connect("alice", max_protocol_version="3.2", min_protocol_version="3.2") as connection:
        failures: list[str | None] = []

        def sleep() -> None:
            try:
                connection.execute(sleep_statement("driver 3.2"))
            except psycopg.Error as error:
                failures.append(error.sqlstate)

        thread = threading.Thread(target=sleep)
        thread.start()
        await_sleep(cluster, "driver 3.2")
        connection.cancel_safe(timeout=10)
        thread.join(20)

        assert failures == ["57014"]
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_version_of_the_future_is_negotiated_down(gateway: Target) -> None:
    with gateway.open() as wire:
        wire.startup(3 << 16 | 9999, user="alice", database=gateway.database)
        answer = wire.receive()

        assert (answer.type, struct.unpack_from("!ii", answer.body)) == ("v", (w.PROTOCOL_3_2, 0))
        assert wire.receive().type == "R"
        wire.send(w.password_message(gateway.issuer.token("alice")))
        keys = [message.body for message in wire.until_ready() if message.type == "K"]
        assert [len(key) for key in keys] == [36]
