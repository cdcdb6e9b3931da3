"""The guard in its standard form: functions may be made, and what they did to the identity is undone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness import wire as w
from harness.target import Target
from harness.wire import Wire

BECOME = """
CREATE OR REPLACE FUNCTION scratch.become(name text) RETURNS text LANGUAGE plpgsql AS
$$ BEGIN PERFORM set_config('role', name, false); RETURN current_user; END $$
"""


@pytest.fixture(params=["transaction", "session"])
def target(request: pytest.FixtureRequest, make_gateway: Callable[..., Target]) -> Target:
    return make_gateway(
        general={"pooler_mode": request.param, "default_pool_size": 1}, jwt={"guard": "standard"}
    )


@pytest.fixture
def wire(target: Target) -> Iterator[Wire]:
    with target.wire("alice") as wire:
        wire.query(BECOME)
        yield wire


def test_a_role_that_a_function_took_is_gone_at_the_next_statement(wire: Wire) -> None:
    wire.query("SELECT scratch.become('bob')")

    assert wire.value("SELECT current_user") == "alice"


def test_a_role_that_a_block_took_is_gone_at_the_next_statement(wire: Wire) -> None:
    wire.query("DO $$ BEGIN PERFORM set_config('role', 'bob', false); END $$")

    assert wire.value("SELECT current_user") == "alice"


def test_a_role_that_a_transaction_took_is_gone_after_it(wire: Wire) -> None:
    for statement in ("BEGIN", "SELECT scratch.become('bob')", "COMMIT"):
        wire.query(statement)

    assert wire.value("SELECT current_user") == "alice"


def test_the_next_client_of_the_server_is_its_own_subject(target: Target, wire: Wire) -> None:
    wire.query("SELECT scratch.become('bob')")
    wire.close()

    with target.wire("alice") as next_client:
        assert next_client.value("SELECT current_user") == "alice"


def test_set_role_is_refused_as_in_the_strict_form(wire: Wire) -> None:
    answer = wire.query("SET ROLE bob")

    assert [message.fields["C"] for message in answer if message.type == "E"] == ["42501"]


CHECKED = """
CREATE FUNCTION scratch.becomes_bob(a int) RETURNS int LANGUAGE plpgsql
    AS $$ BEGIN PERFORM set_config('role', 'bob', false); RETURN 1; END $$;
CREATE DOMAIN scratch.checked AS int CHECK (scratch.becomes_bob(VALUE) > 0);
CREATE TYPE scratch.checked_row AS (a scratch.checked)
"""
# Its constant is checked when it is prepared.
AT_PARSE = "SELECT '(1)'::scratch.checked_row"


@pytest.mark.parametrize("behind", ["bound before", "bound behind", "described"])
def test_a_batch_does_not_go_on_as_whom_a_prepared_statement_has_taken(wire: Wire, behind: str) -> None:
    wire.query(CHECKED)
    wire.send(w.parse("SELECT current_user", "who"), w.SYNC)
    wire.until_ready()
    if behind == "described":
        wire.send(w.parse(AT_PARSE, "bad"), w.SYNC)
        wire.until_ready()
        # It is looked at anew.
        wire.query("CREATE TABLE scratch.another (a int)")
        taking = w.describe("S", "bad")
    else:
        taking = w.parse(AT_PARSE)
    bound = w.bind((), "who", "p")
    batch = (taking, bound) if behind == "bound behind" else (bound, taking)
    wire.send(*batch, w.execute("p"), w.SYNC)

    assert not [each.row for each in wire.until_ready() if each.type == "D" and each.row == ("bob",)]
    assert wire.value("SELECT current_user") == "alice"


@pytest.mark.parametrize("name", ["", "again"])
def test_another_statement_of_the_same_name_does_not_run_as_whom_the_first_has_taken(
    wire: Wire, name: str
) -> None:
    wire.query(CHECKED)
    first = w.parse(AT_PARSE, name) + w.close("S", name)
    wire.send(first, w.parse("SELECT current_user", name), w.bind((), name), w.execute(), w.SYNC)

    assert ("bob",) not in [each.row for each in wire.until_ready() if each.type == "D"]
    assert wire.value("SELECT current_user") == "alice"


def test_statements_that_take_nobodys_role_run_in_one_batch(wire: Wire) -> None:
    texts = [f"SELECT current_user, {number}" for number in range(3)]
    wire.send(*(w.parse(text, f"s{number}") for number, text in enumerate(texts)))
    wire.send(*(w.bind((), f"s{number}", f"p{number}") for number in range(3)))
    wire.send(*(w.describe("S", f"s{number}") for number in range(3)))
    wire.send(*(w.execute(f"p{number}") for number in range(3)), w.SYNC)

    rows = [each.row for each in wire.until_ready() if each.type == "D"]
    assert rows == [("alice", str(number)) for number in range(3)]


def test_the_modes_of_a_transaction_may_follow_its_begin(wire: Wire, servers: Any) -> None:
    """No query of the gateway's own comes in between: PostgreSQL would refuse them behind it."""
    with servers.admin() as admin:
        admin.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        snapshot = admin.execute("SELECT pg_export_snapshot()").fetchone()[0]
        for sql in (
            "BEGIN",
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
            f"SET TRANSACTION SNAPSHOT '{snapshot}'",
        ):
            wire.rows(sql)
        assert wire.value("SHOW transaction_isolation") == "repeatable read"


@pytest.mark.parametrize("sql", ["BEGIN", "SET TRANSACTION READ WRITE"])
@pytest.mark.parametrize("form", ["alone", "in one string", "with a batch behind it"])
def test_what_runs_behind_the_begin_is_still_verified(wire: Wire, sql: str, form: str) -> None:
    become = "SELECT scratch.become('bob')"
    wire.send(w.query("BEGIN"))
    if form == "in one string":
        wire.send(w.query(f"{sql}; {become}"))
    elif form == "alone":
        wire.send(w.query(sql), w.query(become))
    else:
        wire.send(w.query(sql), w.extended(become))
    wire.send(w.query("SELECT current_user"))
    answers = []
    with contextlib.suppress(ConnectionError, w.ServerError, EOFError):
        for _ in range(3 if form == "in one string" else 4):
            answers.append(wire.until_ready())

    last = [message.row for message in answers[-1] if message.type == "D"] if len(answers) > 2 else []
    assert ("bob",) not in last


def test_nobody_is_said_to_have_changed_the_identity_in_a_transaction_that_has_failed(wire: Wire) -> None:
    wire.query("BEGIN")
    wire.send(w.parse("INSERT INTO notes (body) VALUES ('failed')", "insert"), w.SYNC)
    wire.until_ready()
    wire.query("SELECT 1/0")

    wire.send(w.describe("S", "insert"), w.execute("none"), w.SYNC)

    answer = wire.until_ready()
    assert w.error_of(answer)["C"] in {"25P02", "34000"}
    assert answer[-1].body == b"E"
    assert wire.query("ROLLBACK")[0].tag == "ROLLBACK"
    assert wire.value("SELECT current_user") == "alice"
