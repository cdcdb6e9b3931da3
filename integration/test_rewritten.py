"""Statements that go to PostgreSQL otherwise than they were written: what they set is what was judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from harness import wire as w
from harness.hosts import is_pgdog
from harness.target import Target
from harness.wire import Message, Wire

pytestmark = pytest.mark.skipif(is_pgdog(), reason="PgDog sends texts as they are")

# As pg_dump writes it.
DUMP = "SELECT set_config(name, '{}', false) FROM pg_settings WHERE name = '{}'"
SET = DUMP.format("7MB", "work_mem")


@pytest.fixture(scope="module", params=["transaction", "session"])
def target(request: pytest.FixtureRequest, make_module_gateway: Callable[..., Target]) -> Target:
    return make_module_gateway(general={"pooler_mode": request.param})


@pytest.fixture
def wire(target: Target) -> Iterator[Wire]:
    with target.wire("alice") as wire:
        yield wire


def simple(wire: Wire, sql: str) -> list[Message]:
    return wire.query(sql)


def unnamed(wire: Wire, sql: str) -> list[Message]:
    wire.send(w.extended(sql))
    return wire.until_ready()


def named(wire: Wire, sql: str) -> list[Message]:
    # It may be left from one that has failed.
    wire.send(w.close("S", "s"), w.parse(sql, "s"), w.SYNC)
    parsed = wire.until_ready()
    wire.send(w.bind(statement="s"), w.execute(), w.close("S", "s"), w.SYNC)
    return parsed + wire.until_ready()


def in_a_pipeline(wire: Wire, sql: str) -> list[Message]:
    wire.send(w.step("SELECT 1"), w.step(sql), w.step("SELECT 2"), w.SYNC)
    return wire.until_ready()


FORMS = pytest.mark.parametrize(
    "send", [simple, unnamed, named, in_a_pipeline], ids=lambda form: form.__name__
)


@FORMS
@pytest.mark.parametrize(
    "sql",
    [
        SET,
        SET.replace("name = ", '"name" OPERATOR(pg_catalog.=) '),
        "SELECT set_config('work_mem'::text, '7MB', false)",
        "SELECT set_config(CAST ('work_mem' AS varchar), '7MB', false)",
        "SELECT set_config(name, setting, false) "
        "FROM (VALUES ('lock_timeout', '7s'), ('work_mem', '7MB')) AS t (name, setting)",
    ],
)
def test_the_setting_is_set_and_follows_the_session(
    wire: Wire, sql: str, send: Callable[..., list[Message]]
) -> None:
    answer = send(wire, sql)

    assert ("7MB",) in [message.row for message in answer if message.type == "D"]
    assert "E" not in w.types_of(answer)
    assert wire.value("SHOW work_mem") == "7MB"
    wire.rows("RESET work_mem")


@FORMS
@pytest.mark.parametrize("name", ["role", "ROLE", "Session_Authorization", "pgdog_jwt.token"])
def test_the_role_cannot_be_named_so(wire: Wire, name: str, send: Callable[..., list[Message]]) -> None:
    for sql in (DUMP.format("bob", name), f"SELECT set_config('{name}'::text, 'bob', false)"):
        assert w.error_of(send(wire, sql))["C"] in ("42501", "0A000")
    assert wire.value("SELECT current_user") == "alice"


def test_a_protected_variable_cannot_be_named_so(make_gateway: Callable[..., Target]) -> None:
    target = make_gateway(jwt={"session": {"variables": {"app.subject": "{sub}"}}})
    with target.wire("alice") as wire:
        for sql in (
            DUMP.format("bob", "app.subject"),
            DUMP.format("bob", "App.Subject"),
            "SELECT set_config('app.subject'::text, 'bob', false)",
            "SELECT set_config(n, 'bob', false) FROM (VALUES ('app.other'), ('app.subject')) t (n)",
        ):
            assert w.error_of(wire.query(sql))["C"] == "42501"
        assert wire.value("SHOW app.subject") == "alice"


# A table whose column `name` says `role`.
PLANTED = {
    "a temporary table": "CREATE TEMP TABLE pg_settings AS SELECT 'role' AS name UNION ALL SELECT 'work_mem'",
    "a table of the search_path": "CREATE TABLE scratch.pg_settings AS SELECT 'role' AS name; "
    "SET search_path = scratch, pg_catalog",
    "a view": "CREATE TEMP VIEW pg_settings AS SELECT 'role' AS name, 'bob' AS setting",
}


@FORMS
@pytest.mark.parametrize("plant", PLANTED)
@pytest.mark.parametrize("condition", ["name = 'work_mem'", "'work_mem' = name AND name <> ''"])
def test_another_table_of_that_name_sets_nothing_else(
    target: Target, plant: str, condition: str, send: Callable[..., list[Message]]
) -> None:
    with target.wire("alice") as wire:
        wire.rows("BEGIN")
        wire.query(PLANTED[plant])
        send(wire, f"SELECT set_config(name, 'bob', false) FROM pg_settings WHERE {condition}")
        wire.query("ROLLBACK")
        assert wire.value("SELECT current_user") == "alice"
        wire.query(PLANTED[plant])
        answer = send(wire, f"SELECT set_config(name, '7MB', false) FROM pg_settings WHERE {condition}")
        assert "E" not in w.types_of(answer)
        assert wire.value("SELECT current_user") == "alice"
        wire.query("RESET search_path")
        wire.query("DROP VIEW IF EXISTS pg_temp.pg_settings")
        wire.query("DROP TABLE IF EXISTS scratch.pg_settings")


def test_an_operator_of_the_search_path_sets_nothing_else(target: Target, servers: object) -> None:
    """`=` that is true of everything, for texts and names, in front of PostgreSQL's own."""
    with servers.admin() as admin:  # type: ignore[attr-defined]
        admin.execute(
            "CREATE SCHEMA planted; GRANT USAGE ON SCHEMA planted TO subjects;"
            "CREATE FUNCTION planted.yes(text, text) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT true';"
            "CREATE OPERATOR planted.= (FUNCTION = planted.yes, LEFTARG = text, RIGHTARG = text)"
        )
    try:
        with target.wire("alice") as wire:
            wire.rows("SET search_path = planted, pg_catalog")
            # Of all settings, some of which may not be set: with the column, that would be an error.
            rows = wire.rows(SET)
            assert len(rows) > 100
            assert set(rows) == {("7MB",)}
            assert w.error_of(wire.query(SET.replace("'work_mem'", "'role'")))["C"] == "42501"
            assert wire.value("SELECT current_user") == "alice"
    finally:
        with servers.admin() as admin:  # type: ignore[attr-defined]
            admin.execute("DROP SCHEMA planted CASCADE")


@FORMS
@pytest.mark.parametrize("mistake", ["nothing", "pg_settings.nothing", "nothing()"])
def test_an_error_has_no_position_that_is_not_the_clients(
    wire: Wire, mistake: str, send: Callable[..., list[Message]]
) -> None:
    error = w.error_of(
        send(
            wire, f"SELECT set_config(name, '7MB', false), {mistake} FROM pg_settings WHERE name = 'work_mem'"
        )
    )

    assert error["C"] in ("42703", "42883")
    assert "P" not in error
    # Other statements have theirs.
    assert w.error_of(send(wire, "SELECT 1, nothing"))["P"] == "11"


def test_a_transaction_that_has_failed_stays_so(wire: Wire) -> None:
    wire.query("BEGIN")
    wire.query("SELECT 1/0")
    for send in (simple, unnamed):
        assert w.error_of(send(wire, SET))["C"] == "25P02"
    wire.query("ROLLBACK")
    wire.query("BEGIN")
    wire.rows(SET)
    wire.query("ROLLBACK")
    assert wire.value("SHOW work_mem") != "7MB"


def test_who_sends_the_other_text_shares_nothing_but_the_statement(target: Target) -> None:
    """One client's statement becomes what another has written so: each hears errors of its own text."""
    plain = SET.replace("set_config(name", "set_config('work_mem'")
    with target.wire("alice") as one, target.wire("alice") as other:
        for wire, sql in ((one, SET), (other, plain), (one, SET)):
            answer = named(wire, sql)
            assert ("7MB",) in [message.row for message in answer if message.type == "D"]


def test_the_standard_guard_does_the_same(make_gateway: Callable[..., Target]) -> None:
    target = make_gateway(jwt={"guard": "standard"})
    with target.wire("alice") as wire:
        for send in (simple, unnamed, named):
            assert "E" not in w.types_of(send(wire, SET))
            assert wire.value("SHOW work_mem") == "7MB"
            assert w.error_of(send(wire, DUMP.format("bob", "role")))["C"] == "42501"
        assert wire.value("SELECT current_user") == "alice"


def test_a_prepared_statement_of_sql_stays_refused(wire: Wire) -> None:
    assert w.error_of(wire.query(f"PREPARE p AS {SET}"))["C"] == "42501"
    assert w.error_of(wire.query(f"EXPLAIN ANALYZE {SET}"))["C"] == "42501"
