"""The simple and the extended protocol, message by message, in both pooling modes."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from harness import wire as w
from harness.target import Target
from harness.wire import Wire


@pytest.fixture
def target(pooled: Target) -> Target:
    return pooled


@pytest.fixture
def wire(target: Target) -> Iterator[Wire]:
    with target.wire("alice") as wire:
        yield wire


def test_a_simple_query(wire: Wire) -> None:
    assert w.types_of(wire.query("SELECT 1")) == "TDCZ"


def test_an_empty_query(wire: Wire) -> None:
    assert w.types_of(wire.query("")) == "IZ"
    assert w.types_of(wire.query(" ; -- nothing")) == "IZ"


def test_several_statements_in_one_query(wire: Wire) -> None:
    answer = wire.query("SELECT 1; SELECT 2 WHERE false; SELECT 3")

    assert w.types_of(answer) == "TDCTCTDCZ"


def test_an_error_ends_a_query_of_several_statements(wire: Wire) -> None:
    assert w.types_of(wire.query("SELECT 1; SELECT missing; SELECT 3")) == "TDCEZ"
    assert wire.value("SELECT 4") == "4"


def test_errors_arrive_as_postgresql_made_them(wire: Wire) -> None:
    fields = w.error_of(wire.query("SELECT missing_column FROM notes"))

    assert (fields["S"], fields["C"], fields["P"]) == ("ERROR", "42703", "8")
    assert 'column "missing_column" does not exist' in fields["M"]


def test_notices_arrive(wire: Wire) -> None:
    answer = wire.query("DROP TABLE IF EXISTS scratch.was_never_there")

    assert w.types_of(answer) == "CZ"
    assert any(message.type == "N" and "was_never_there" in message.fields["M"] for message in answer)


def test_the_unnamed_statement(wire: Wire) -> None:
    wire.send(w.extended("SELECT $1::int + 1", ["41"]))
    answer = wire.until_ready()

    assert w.types_of(answer) == "12TDCZ"
    assert answer[3].row == ("42",)


def test_a_named_statement_is_used_again_before_the_same_sync(wire: Wire) -> None:
    twice = w.bind(["1"], "s") + w.execute() + w.bind(["2"], "s") + w.execute()
    wire.send(w.parse("SELECT $1::int * 10", "s"), twice, w.close("S", "s"), w.SYNC)
    answer = wire.until_ready()

    assert w.types_of(answer) == "12DC2DC3Z"
    assert [message.row for message in answer if message.type == "D"] == [("10",), ("20",)]


def test_a_statement_is_described(wire: Wire) -> None:
    wire.send(w.parse("SELECT $1::text", "d"), w.describe("S", "d"), w.close("S", "d"), w.SYNC)

    assert w.types_of(wire.until_ready()) == "1tT3Z"


def test_many_statements_in_one_pipeline(wire: Wire) -> None:
    count = 500
    one = w.parse("SELECT $1::int")
    wire.send(*(one + w.bind([str(number)]) + w.execute() for number in range(count)), w.SYNC)
    answer = wire.until_ready()

    assert [message.row[0] for message in answer if message.type == "D"] == [str(n) for n in range(count)]
    assert answer[-1].body == b"I"


def test_many_syncs_in_flight(wire: Wire) -> None:
    count = 200
    wire.send(*(w.extended("SELECT $1::int", [str(number)]) for number in range(count)))

    for number in range(count):
        answer = wire.until_ready()
        assert w.types_of(answer) == "12TDCZ"
        assert answer[3].row == (str(number),)


def test_simple_queries_in_flight(wire: Wire) -> None:
    wire.send(*(w.query(f"SELECT {number}") for number in range(100)))

    assert [wire.until_ready()[1].row for _ in range(100)] == [(str(number),) for number in range(100)]


def test_an_error_in_a_pipeline_skips_to_the_sync(wire: Wire) -> None:
    good, bad = (w.step(sql) for sql in ("SELECT 1", "SELECT 1/0"))
    wire.send(good, bad, good, good, w.SYNC, w.extended("SELECT 2"))

    assert w.types_of(wire.until_ready()) == "12DC1EZ"
    assert wire.until_ready()[3].row == ("2",)


def test_an_implicit_transaction_spans_a_pipeline(wire: Wire) -> None:
    insert = w.step("INSERT INTO notes (body) VALUES ('pipeline')")
    bad = w.step("SELECT 1/0")
    wire.send(insert, insert, bad, w.SYNC)
    wire.until_ready()

    wire.query("BEGIN")
    assert wire.value("SELECT count(*) FROM notes WHERE body = 'pipeline'") == "0"
    wire.query("ROLLBACK")


def test_flush_brings_replies_before_the_sync(wire: Wire) -> None:
    wire.send(w.parse("SELECT 7"), w.bind(), w.describe(), w.FLUSH)
    assert w.types_of([wire.receive() for _ in range(3)]) == "12T"

    wire.send(w.execute(), w.FLUSH)
    assert w.types_of([wire.receive() for _ in range(2)]) == "DC"

    wire.send(w.SYNC)
    assert wire.until_ready()[-1].body == b"I"


def test_a_portal_is_read_in_parts(wire: Wire) -> None:
    rows = w.parse("SELECT generate_series(1, 5)") + w.bind()
    wire.send(rows, w.execute(limit=2), w.execute(limit=2), w.execute(limit=2), w.SYNC)

    assert w.types_of(wire.until_ready()) == "12DDsDDsDCZ"


def test_a_named_portal_lives_until_the_transaction_ends(wire: Wire) -> None:
    wire.rows("BEGIN")
    wire.send(w.parse("SELECT generate_series(1, 4)"), w.bind(portal="p"), w.execute("p", 3), w.SYNC)
    assert w.types_of(wire.until_ready()) == "12DDDsZ"

    wire.send(w.execute("p", 3), w.close("P", "p"), w.SYNC)
    assert w.types_of(wire.until_ready()) == "DC3Z"
    wire.rows("COMMIT")


def test_transaction_state_is_told(wire: Wire) -> None:
    states = [wire.query(sql)[-1].body for sql in ("BEGIN", "SELECT 1", "SELECT 1/0", "ROLLBACK", "SELECT 1")]

    assert states == [b"T", b"T", b"E", b"I", b"I"]


def test_null_and_empty_are_different(wire: Wire) -> None:
    wire.send(w.extended("SELECT $1::text, $2::text", [None, ""]))

    assert wire.until_ready()[3].row == (None, "")


def test_a_row_of_many_megabytes(wire: Wire) -> None:
    row = wire.rows("SELECT repeat('x', 40000000), 'end'")[0]

    assert (len(row[0] or ""), row[1]) == (40_000_000, "end")


def test_a_parameter_of_many_megabytes(wire: Wire) -> None:
    wire.send(w.extended("SELECT length($1::text)", ["y" * 20_000_000]))

    assert wire.until_ready()[3].row == ("20000000",)


def test_a_statement_of_a_megabyte(wire: Wire) -> None:
    assert wire.value(f"SELECT length('{'z' * 1_000_000}')") == "1000000"


def test_as_many_columns_as_there_can_be(wire: Wire) -> None:
    row = wire.rows("SELECT " + ", ".join(str(number) for number in range(1600)))[0]

    assert row == tuple(str(number) for number in range(1600))


def test_many_rows(wire: Wire) -> None:
    assert len(wire.rows("SELECT generate_series(1, 200000)")) == 200_000


def test_messages_in_pieces(wire: Wire) -> None:
    for byte in w.extended("SELECT 'in pieces'"):
        wire.send(bytes([byte]))

    assert wire.until_ready()[3].row == ("in pieces",)


def test_a_login_in_pieces(target: Target) -> None:
    with target.open() as wire:
        for byte in w.startup(user="alice", database=target.database):
            wire.send(bytes([byte]))
        assert wire.receive().type == "R"
        message = w.password_message(target.issuer.token("alice"))
        wire.send(message[:3])
        wire.send(message[3:100])
        wire.send(message[100:])
        wire.until_ready()

        assert wire.value("SELECT current_user") == "alice"


def test_password_and_first_query_in_one_packet(target: Target) -> None:
    with target.open() as wire:
        wire.startup(user="alice", database=target.database)
        wire.receive()
        wire.send(w.password_message(target.issuer.token("alice")), w.query("SELECT 'early'"))
        wire.until_ready()

        assert wire.until_ready()[1].row == ("early",)


def test_a_function_call(wire: Wire) -> None:
    body = struct.pack("!ihhi", 1397, 0, 1, 2) + b"-7" + struct.pack("!h", 0)  # pg_catalog.abs(int)
    wire.send(w.message("F", body))
    answer = wire.until_ready()

    # An answer or a refusal; in either case the session goes on.
    assert w.types_of(answer) in ("VZ", "EZ")
    assert wire.value("SELECT 1") == "1"


def test_an_unknown_statement_name_is_an_error(wire: Wire) -> None:
    wire.send(w.bind(statement="nobody"), w.execute(), w.SYNC)
    answer = wire.until_ready()

    assert w.error_of(answer)["C"] == "26000"
    assert wire.value("SELECT 1") == "1"


def test_a_sync_alone_is_answered(wire: Wire) -> None:
    wire.send(w.SYNC)

    assert w.types_of(wire.until_ready()) == "Z"


def test_protocol_3_2_is_negotiated(target: Target) -> None:
    with target.open() as wire:
        wire.startup(w.PROTOCOL_3_2, user="alice", database=target.database)
        first = wire.receive()
        if first.type == "v":
            assert struct.unpack_from("!i", first.body)[0] == w.PROTOCOL_3_0
            first = wire.receive()
        wire.send(w.password_message(target.issuer.token("alice")))
        wire.until_ready()

        assert first.type == "R"
        assert wire.value("SELECT 1") == "1"


def test_unknown_protocol_options_are_named(target: Target) -> None:
    with target.open() as wire:
        wire.startup(user="alice", database=target.database, **{"_pq_.unheard_of": "1"})
        answer = wire.receive()

        assert answer.type == "v"
        assert b"_pq_.unheard_of" in answer.body


def test_an_old_protocol_is_refused(target: Target) -> None:
    with target.open() as wire:
        wire.startup(2 << 16, user="alice", database=target.database)

        assert wire.closed_by_peer()


@pytest.mark.parametrize("request_code", [w.SSL_REQUEST, w.GSSENC_REQUEST])
def test_encryption_that_is_not_there_is_declined(target: Target, request_code: int) -> None:
    with Wire(target.host, target.port) as wire:
        wire.send(struct.pack("!ii", 8, request_code))
        assert wire.read(1) == b"N"

        wire.login("alice", target.database, target.issuer.token("alice"))
        assert wire.value("SELECT 1") == "1"


def test_terminate_ends_the_connection(wire: Wire) -> None:
    wire.send(w.TERMINATE)

    assert wire.closed_by_peer()
