"""Statements that change nothing are answered as PostgreSQL answers them, and never lead to another role."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from harness import wire as w
from harness.hosts import is_pgdog
from harness.target import Target
from harness.wire import Message, Wire

pytestmark = pytest.mark.skipif(is_pgdog(), reason="PgDog sends texts as they are")

# What the client says, and the tag of its completion.
OWN_ROLE = {
    "SET ROLE alice": "SET",
    "set role 'alice'": "SET",
    'SET ROLE "alice"': "SET",
    "SET SESSION ROLE alice": "SET",
    "SET LOCAL ROLE alice": "SET",
    "SET role = alice": "SET",
    "SET role TO DEFAULT": "SET",
    "SET ROLE NONE": "SET",
    'SET ROLE "none"': "SET",
    "SET LOCAL role = none": "SET",
    "RESET ROLE": "RESET",
    "/* a */ reset -- b\n role ;": "RESET",
    "SET SESSION AUTHORIZATION DEFAULT": "SET",
    "SET SESSION AUTHORIZATION alice": "SET",
    "SET LOCAL SESSION AUTHORIZATION DEFAULT": "SET",
    "SET session_authorization = 'alice'": "SET",
    "RESET SESSION AUTHORIZATION": "RESET",
    "RESET session_authorization": "RESET",
    "SELECT set_config('role', 'alice', false)": "SELECT 1",
    "SELECT pg_catalog.set_config('ROLE', 'alice', true)": "SELECT 1",
}
OTHERS = [
    "SET ROLE bob",
    "SET ROLE gateway",
    'SET ROLE "Alice"',
    "SET ROLE ''",
    "SET SESSION AUTHORIZATION none",
    "SET SESSION AUTHORIZATION gateway",
    "RESET ROLE; SELECT current_user",
    "SELECT 1; SET ROLE alice",
    "SET ROLE alice; SET ROLE bob",
    "SELECT set_config('role', 'none', false)",
    "SELECT set_config('role', 'bob', false)",
    "SELECT set_config('role', 'alice' || '', false)",
    "SELECT set_config('role', 'alice', false), set_config('role', 'bob', false)",
    "SELECT set_config('role', 'alice', set_config('role', 'bob', false) = '')",
    "SELECT set_config('role', 'alice', false) FROM notes",
    "SELECT set_config('session_authorization', 'alice', false)",
    "ALTER ROLE alice SET role = alice",
    "ALTER ROLE alice RESET role",
    "EXPLAIN ANALYZE SELECT set_config('role', 'alice', false)",
    "PREPARE p AS SELECT set_config('role', 'alice', false)",
]


@pytest.fixture(
    scope="module",
    params=[("transaction", False), ("session", False), ("transaction", True), ("session", True)],
    ids=["transaction", "session", "transaction, shared pool", "session, shared pool"],
)
def target(request: pytest.FixtureRequest, make_module_gateway: Callable[..., Target]) -> Target:
    mode, shared = request.param
    return make_module_gateway(general={"pooler_mode": mode}, jwt={"shared_pool": True} if shared else {})


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
    wire.send(w.close("S", "s"), w.parse(sql, "s"), w.describe("S", "s"), w.SYNC)
    parsed = wire.until_ready()
    wire.send(w.bind(statement="s", portal="p"), w.execute("p"), w.SYNC)
    first = wire.until_ready()
    wire.send(w.bind(statement="s"), w.execute(), w.SYNC)
    wire.until_ready()
    return parsed + first


FORMS = pytest.mark.parametrize("send", [simple, unnamed, named], ids=lambda form: form.__name__)


def tags(answer: list[Message]) -> list[str]:
    return [message.tag for message in answer if message.type == "C"]


def who(wire: Wire) -> list[tuple[str | None, ...]]:
    return wire.rows("SELECT current_user, current_setting('role')")


@FORMS
@pytest.mark.parametrize("sql", OWN_ROLE)
def test_the_role_that_one_is(wire: Wire, sql: str, send: Callable[..., list[Message]]) -> None:
    answer = send(wire, sql)

    assert "E" not in w.types_of(answer)
    assert tags(answer) == [OWN_ROLE[sql]]
    assert who(wire) == [("alice", "alice")]


@FORMS
@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
@pytest.mark.parametrize("sql", OWN_ROLE)
def test_in_a_transaction(wire: Wire, sql: str, end: str, send: Callable[..., list[Message]]) -> None:
    wire.query("BEGIN")
    answer = send(wire, sql)

    assert answer[-1].body == b"T"
    assert tags(answer) == [OWN_ROLE[sql]]
    assert who(wire) == [("alice", "alice")]
    wire.query(end)
    assert who(wire) == [("alice", "alice")]


@FORMS
@pytest.mark.parametrize("sql", OWN_ROLE)
def test_in_a_transaction_that_has_failed(wire: Wire, sql: str, send: Callable[..., list[Message]]) -> None:
    wire.query("BEGIN")
    wire.query("SELECT 1/0")
    answer = send(wire, sql)

    assert w.error_of(answer)["C"] == "25P02"
    assert "P" not in w.error_of(answer)
    assert wire.query("COMMIT")[0].tag == "ROLLBACK"
    assert who(wire) == [("alice", "alice")]


@FORMS
@pytest.mark.parametrize("sql", OTHERS)
def test_every_other_role_is_refused(wire: Wire, sql: str, send: Callable[..., list[Message]]) -> None:
    assert w.error_of(send(wire, sql))["C"] == "42501"
    assert who(wire) == [("alice", "alice")]


def test_a_pipeline_keeps_its_order(wire: Wire) -> None:
    steps = ["SELECT 1", "RESET ROLE", "SELECT current_user", "SET ROLE alice", "RESET SESSION AUTHORIZATION"]
    wire.send(*(w.step(sql) for sql in steps), w.SYNC)
    answer = wire.until_ready()

    assert tags(answer) == ["SELECT 1", "RESET", "SELECT 1", "SET", "RESET"]
    wire.send(w.query("RESET ROLE"), w.query("SELECT current_user"), w.query("SET ROLE NONE"))
    answers = [wire.until_ready() for _ in range(3)]
    assert [tags(answer) for answer in answers] == [["RESET"], ["SELECT 1"], ["SET"]]
    wire.send(w.step("RESET ROLE"), w.step("SELECT 1/0"), w.step("RESET ROLE"), w.SYNC)
    assert tags(wire.until_ready()) == ["RESET"]


def test_two_statements_of_one_text_are_told_apart(wire: Wire) -> None:
    """They are the same to PostgreSQL, and complete otherwise."""
    for name, sql in (("a", "SET ROLE alice"), ("b", "RESET ROLE"), ("c", "SET SESSION ROLE alice")):
        wire.send(w.parse(sql, name), w.SYNC)
        wire.until_ready()
    for name, tag in (("b", "RESET"), ("a", "SET"), ("c", "SET"), ("b", "RESET")):
        wire.send(w.bind(statement=name), w.execute(), w.SYNC)
        assert tags(wire.until_ready()) == [tag]


def test_in_a_shared_pool_the_next_client_is_itself(target: Target) -> None:
    for sql in OWN_ROLE:
        with target.wire("alice") as alice, target.wire("bob") as bob:
            alice.query(sql)
            assert who(bob) == [("bob", "bob")]
            assert w.error_of(bob.query("SET ROLE alice"))["C"] == "42501"
            assert tags(bob.query("RESET ROLE")) == ["RESET"]
            assert who(alice) == [("alice", "alice")]


@pytest.mark.parametrize("user", ["Zoë 'Ünïcode' 名前", 'o"brien; DROP TABLE notes --', "alice@example.com"])
@pytest.mark.parametrize("encoding", ["UTF8", "LATIN1"])
def test_names_of_any_kind(target: Target, user: str, encoding: str) -> None:
    with target.wire(user) as wire:
        wire.query(f"SET client_encoding = '{encoding}'")
        for sql, tag in (("RESET ROLE", "RESET"), ("SET ROLE NONE", "SET")):
            for send in (simple, unnamed, named):
                assert tags(send(wire, sql)) == [tag]
        wire.query("RESET client_encoding")
        assert wire.value("SELECT current_user") == user


def test_set_local_outside_of_a_transaction_warns(wire: Wire) -> None:
    answer = wire.query("SET LOCAL ROLE alice")

    assert [message.fields["C"] for message in answer if message.type == "N"] == ["25P01"]


def test_the_standard_guard_does_the_same(make_gateway: Callable[..., Target]) -> None:
    target = make_gateway(jwt={"guard": "standard"})
    with target.wire("alice") as wire:
        for sql, tag in OWN_ROLE.items():
            assert tags(wire.query(sql)) == [tag]
        for sql in OTHERS:
            assert w.error_of(wire.query(sql))["C"] == "42501"
        assert who(wire) == [("alice", "alice")]


@pytest.mark.parametrize("sql", ["SELECT 1; DISCARD ALL", "DISCARD ALL; SELECT 1"])
def test_discard_all_in_company_is_postgresqls_error(wire: Wire, sql: str) -> None:
    error = w.error_of(wire.query(sql))

    assert (error["C"], error["M"]) == ("25001", "DISCARD ALL cannot run inside a transaction block")
    wire.query("BEGIN")
    assert wire.query(sql)[-1].body == b"E"
    wire.query("ROLLBACK")
    assert who(wire) == [("alice", "alice")]


INSTALLED = "CREATE EXTENSION IF NOT EXISTS plpgsql"


@FORMS
@pytest.mark.parametrize(
    "sql", [INSTALLED, f"{INSTALLED} WITH SCHEMA public CASCADE;\n\n", f'/* a */ {INSTALLED[:-7]}"plpgsql"']
)
def test_an_extension_that_is_installed(wire: Wire, sql: str, send: Callable[..., list[Message]]) -> None:
    answer = send(wire, sql)

    notices = [message.fields for message in answer if message.type == "N"]
    assert [(notice["S"], notice["C"], notice["M"]) for notice in notices] == [
        ("NOTICE", "42710", 'extension "plpgsql" already exists, skipping')
    ]
    assert tags(answer) == ["CREATE EXTENSION"]


@FORMS
@pytest.mark.parametrize(
    "sql",
    [
        "CREATE EXTENSION IF NOT EXISTS pg_trgm",
        "CREATE EXTENSION plpgsql",
        'CREATE EXTENSION IF NOT EXISTS "plpgsql\'"',
        'CREATE EXTENSION IF NOT EXISTS "$pgdog_jwt$; SET ROLE bob"',
        f"{INSTALLED}; SELECT 1",
        "ALTER EXTENSION plpgsql UPDATE",
    ],
)
def test_every_other_extension_is_refused(wire: Wire, sql: str, send: Callable[..., list[Message]]) -> None:
    wire.query("BEGIN")
    answer = send(wire, sql)

    assert w.error_of(answer)["C"] == "42501"
    assert w.error_of(answer)["H"]
    assert "W" not in w.error_of(answer)
    assert answer[-1].body == b"E"
    assert w.error_of(send(wire, INSTALLED))["C"] == "25P02"
    wire.query("ROLLBACK")
    assert wire.value("SELECT count(*) FROM pg_extension WHERE extname = 'pg_trgm'") == "0"


def test_nothing_planted_makes_an_extension_look_installed(wire: Wire) -> None:
    wire.query("CREATE TEMP TABLE pg_extension AS SELECT 'pg_trgm'::name AS extname")
    wire.query("SET search_path = pg_temp, pg_catalog")

    assert w.error_of(wire.query("CREATE EXTENSION IF NOT EXISTS pg_trgm"))["C"] == "42501"
    assert tags(wire.query(INSTALLED)) == ["CREATE EXTENSION"]
