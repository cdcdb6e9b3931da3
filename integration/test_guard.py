"""No statement in any form of the protocol changes who the session is; what looks like one may pass."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness import wire as w
from harness.hosts import is_pgdog
from harness.target import Target
from harness.wire import Message, Wire

Send = Callable[[Wire, str], list[Message]]

CONFIG = "set_config('role', 'bob', false)"
STATEMENTS = [
    "SET ROLE bob",
    "SET SESSION ROLE bob",
    "SET LOCAL ROLE bob",
    "SET ROLE 'bob'",
    'SET ROLE "bob"',
    "SET role = 'bob'",
    "SET role TO bob",
    'SET "role" TO bob',
    "SET SESSION AUTHORIZATION bob",
    "SET LOCAL SESSION AUTHORIZATION 'bob'",
    "SET session_authorization = 'bob'",
    "sEt rOlE bob",
    "/* a */ SET /* b /* c */ */ ROLE -- d\n bob",
    f"SELECT {CONFIG}",
    f"SELECT pg_catalog.{CONFIG}",
    "SELECT \"set_config\"('role', 'bob', false)",
    "SELECT U&\"set\\005fconfig\"('role', 'bob', false)",
    "SELECT set_config('ROLE', 'bob', true)",
    "SELECT set_config('session_authorization', 'bob', false)",
    "SELECT set_config('ro' || 'le', 'bob', false)",
    "SELECT set_config(name, 'bob', false) FROM (VALUES ('role')) AS names(name)",
    "SELECT set_config(setting_name => 'role', new_value => 'bob', is_local => false)",
    "SELECT set_config(E'r\\x6fle', 'bob', false)",
    f"SELECT 1 FROM notes WHERE {CONFIG} IS NOT NULL",
    f"SELECT 1 ORDER BY {CONFIG}",
    f"SELECT CASE WHEN true THEN {CONFIG} END",
    f"VALUES ({CONFIG})",
    f"WITH x AS (SELECT {CONFIG}) SELECT * FROM x",
    f"SELECT * FROM {CONFIG} AS f",
    f"SELECT (SELECT {CONFIG})",
    f"INSERT INTO notes (body) VALUES ({CONFIG})",
    f"INSERT INTO notes (body) VALUES ('x') RETURNING {CONFIG}",
    f"UPDATE notes SET body = {CONFIG}",
    f"DELETE FROM notes WHERE body = {CONFIG}",
    f"CREATE TABLE scratch.escape AS SELECT {CONFIG}",
    f"CREATE VIEW scratch.escape AS SELECT {CONFIG}",
    f"CREATE TABLE scratch.escape (a text DEFAULT {CONFIG})",
    f"SELECT {CONFIG} INTO scratch.escape",
    f"COPY (SELECT {CONFIG}) TO STDOUT",
    f"EXPLAIN ANALYZE SELECT {CONFIG}",
    f"EXPLAIN SELECT {CONFIG}",
    f"DECLARE escape CURSOR WITH HOLD FOR SELECT {CONFIG}",
    f"PREPARE escape AS SELECT {CONFIG}",
    "UPDATE pg_settings SET setting = 'bob' WHERE name = 'role'",
    "UPDATE pg_catalog.pg_settings SET setting = 'bob' WHERE name = 'role'",
    "DO $$ BEGIN SET ROLE bob; END $$",
    "DO $$ BEGIN EXECUTE 'SET RO' || 'LE bob'; END $$",
    "ALTER ROLE alice SET role = 'bob'",
    "ALTER DATABASE demo SET session_authorization = 'bob'",
    "CREATE FUNCTION scratch.escape() RETURNS void LANGUAGE sql SET role = 'bob' AS 'SELECT'",
    "CREATE FUNCTION scratch.escape() RETURNS void LANGUAGE plpgsql AS $$ BEGIN SET ROLE bob; END $$",
    "SELECT query_to_xml('SET ROLE bob', true, true, '')",
    "SELECT * FROM ts_stat('SELECT set_config(''role'', ''bob'', false)::tsvector')",
    "SET standard_conforming_strings = off",
]
# A host that can send nothing else in their place refuses these as well: see `test_changes_nothing.py`.
CHANGE_NOTHING = [
    "SET ROLE NONE",
    "RESET ROLE",
    "SET ROLE TO DEFAULT",
    "SET LOCAL role = none",
    "SET SESSION AUTHORIZATION DEFAULT",
    "RESET SESSION AUTHORIZATION",
    "RESET session_authorization",
]
STATEMENTS += CHANGE_NOTHING if is_pgdog() else []


def simple(wire: Wire, sql: str) -> list[Message]:
    return wire.query(sql)


def in_a_transaction(wire: Wire, sql: str) -> list[Message]:
    wire.query("BEGIN")
    answer = wire.query(sql)
    wire.query("ROLLBACK")
    return answer


def behind_another_statement(wire: Wire, sql: str) -> list[Message]:
    return wire.query(f"SELECT 1; {sql}")


def before_another_statement(wire: Wire, sql: str) -> list[Message]:
    return wire.query(f"{sql}; SELECT current_user")


def unnamed(wire: Wire, sql: str) -> list[Message]:
    wire.send(w.extended(sql))
    return wire.until_ready()


def named(wire: Wire, sql: str) -> list[Message]:
    wire.send(w.extended(sql, name="statement"))
    return wire.until_ready()


def parsed_only(wire: Wire, sql: str) -> list[Message]:
    wire.send(w.parse(sql, "statement"), w.SYNC)
    return wire.until_ready()


def behind_good_statements_of_a_pipeline(wire: Wire, sql: str) -> list[Message]:
    good = w.step("SELECT 1")
    wire.send(good, good, w.parse(sql), w.bind(), w.execute(), w.SYNC)
    return wire.until_ready()


FORMS: list[Send] = [
    simple,
    in_a_transaction,
    behind_another_statement,
    before_another_statement,
    unnamed,
    named,
    parsed_only,
    behind_good_statements_of_a_pipeline,
]


@pytest.mark.parametrize("send", FORMS, ids=lambda form: form.__name__)
@pytest.mark.parametrize("sql", STATEMENTS)
def test_a_statement_that_would_change_the_identity_is_refused(gateway: Target, sql: str, send: Send) -> None:
    with gateway.wire("alice") as wire:
        answer = send(wire, sql)

        error = w.error_of(answer)
        assert error["C"] == "42501", error
        assert error.get("H"), "the refusal has a hint"
        assert answer[-1].type == "Z"
        assert wire.value("SELECT current_user") == "alice"


@pytest.mark.parametrize("sql", ["SET ROLE bob", f"SELECT {CONFIG}"])
def test_a_refusal_in_a_transaction_is_an_error_of_that_transaction(gateway: Target, sql: str) -> None:
    with gateway.wire("alice") as wire:
        wire.query("BEGIN")

        answer = wire.query(sql)

        assert answer[-1].body == b"E"
        assert w.error_of(wire.query("SELECT 1"))["C"] == "25P02"
        assert wire.query("COMMIT")[0].tag == "ROLLBACK"


def test_a_prepared_escape_cannot_be_executed(gateway: Target) -> None:
    with gateway.wire("alice") as wire:
        wire.query(f"BEGIN; PREPARE escape AS SELECT {CONFIG}")
        wire.query("EXECUTE escape")
        wire.query("ROLLBACK")

        assert wire.value("SELECT current_user") == "alice"


def test_a_parameter_cannot_name_the_setting(gateway: Target) -> None:
    with gateway.wire("alice") as wire:
        wire.send(w.extended("SELECT set_config($1, $2, false)", ["role", "bob"]))

        assert w.error_of(wire.until_ready())["C"] == "42501"
        assert wire.value("SELECT current_user") == "alice"


def test_the_fast_path_cannot_call_set_config(gateway: Target) -> None:
    """The FunctionCall message names a function by number and never passes a parser."""
    with gateway.wire("alice") as wire:
        number = int(wire.value("SELECT oid FROM pg_proc WHERE proname = 'set_config'") or 0)
        values = b"".join(len(value).to_bytes(4, "big") + value for value in (b"role", b"bob", b"f"))
        body = number.to_bytes(4, "big") + b"\0\0\0\3" + values + b"\0\0"
        wire.send(w.message("F", body))

        assert w.error_of(wire.until_ready())["C"] == "42501"
        assert wire.value("SELECT current_user") == "alice"


def test_a_refused_statement_in_a_string_of_several_runs_none_of_them(gateway: Target) -> None:
    with gateway.wire("alice") as wire:
        wire.query("INSERT INTO notes (body) VALUES ('before the refusal'); SET ROLE bob")

        assert wire.value("SELECT count(*) FROM notes WHERE body = 'before the refusal'") == "0"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 'SET ROLE bob'",
        "SELECT 1 AS role -- SET ROLE bob",
        "SELECT current_user, session_user",
        "SHOW role",
        "SET LOCAL work_mem = '8MB'",
        "SELECT set_config('work_mem', '8MB', true)",
        "SELECT current_setting('role')",
        "SELECT * FROM pg_settings WHERE name = 'role'",
        "EXPLAIN SELECT body FROM notes",
        "SELECT $$ SET ROLE bob; RESET ROLE $$",
    ],
)
def test_harmless_statements_pass(gateway: Target, sql: str) -> None:
    with gateway.wire("alice") as wire:
        wire.rows("BEGIN")
        wire.rows(sql)
        wire.rows("COMMIT")


def test_a_statement_that_cannot_be_parsed_gets_a_syntax_error_or_a_refusal(gateway: Target) -> None:
    with gateway.wire("alice") as wire:
        assert w.error_of(wire.query("SELEKT 1"))["C"] in ("42601", "42501")
        assert wire.value("SELECT current_user") == "alice"


def test_nothing_of_a_role_stays_for_the_next_client(gateway: Target) -> None:
    for _ in range(3):
        with gateway.wire("alice") as wire:
            wire.query("SET ROLE bob")
            wire.query("BEGIN; SELECT set_config('role', 'bob', false)")
        with gateway.wire("bob") as wire:
            assert wire.value("SELECT current_user") == "bob"
        with gateway.wire("alice") as wire:
            assert wire.value("SELECT current_user") == "alice"
