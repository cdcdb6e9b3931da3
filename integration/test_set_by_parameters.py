"""`set_config($1, …)`: what a parameter names is judged at Bind, in every pool mode and way to prepare."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from harness import eventually, primary_alone
from harness import wire as w
from harness.hosts import is_pgdog
from harness.target import Target
from harness.wire import Message, Wire

pytestmark = pytest.mark.skipif(is_pgdog(), reason="PgDog's hosts do not read the parameters of a Bind")

SET = "SELECT set_config($1, $2, false)"
WHO = "SELECT current_user, session_user, current_setting('app.tenant_id')"
# `text`, `varchar`, none, and `unknown`.
TEXT = [25, 1043, 0, 705]
# `name`, `bytea`, `regclass`, `char`, `"char"`, `int4`.
OTHERS = [19, 17, 2205, 1042, 18, 23]
MODES = [
    ("transaction", "extended", "strict"),
    ("transaction", "full", "strict"),
    ("transaction", "disabled", "strict"),
    ("statement", "extended", "strict"),
    ("session", "extended", "strict"),
    ("session", "extended", "standard"),
    ("transaction", "extended", "standard"),
]


@pytest.fixture(scope="module", params=MODES, ids="-".join)
def target(
    request: pytest.FixtureRequest, make_module_gateway: Callable[..., Target], cluster: Any
) -> Target:
    mode, statements, guard = request.param
    return make_module_gateway(
        general={
            "pooler_mode": mode,
            "prepared_statements": statements,
            "default_pool_size": 1 if mode != "session" else 5,
            "checkout_timeout": 10_000,
        },
        jwt={"guard": guard, "session": {"variables": {"app.tenant_id": "{tenant_id}"}}},
        databases=[primary_alone(cluster)],
    )


def general(target: Target) -> dict[str, Any]:
    return target.gateway.config["general"]


def names_are_servers(target: Target) -> bool:
    """Whether a statement's name is the server's own, and other sessions find it."""
    return general(target)["prepared_statements"] == "disabled"


def in_sessions(target: Target) -> bool:
    return general(target)["pooler_mode"] == "session"


def client(target: Target) -> Wire:
    return target.wire("alice", target.issuer.token("alice", tenant_id="acme"))


@pytest.fixture
def wire(target: Target) -> Iterator[Wire]:
    with client(target) as wire:
        yield wire
        assert is_herself(wire)


def is_herself(wire: Wire) -> bool:
    user, session, tenant = wire.rows(WHO)[0]
    return (user, tenant) == ("alice", "acme") and session is not None


def ask(wire: Wire, *messages: bytes) -> list[Message]:
    wire.send(*messages, w.SYNC)
    return wire.until_ready()


def run(values: list[str | bytes | None], name: str = "", **options: Any) -> bytes:
    return w.bind(values, name, **options) + w.execute()


def code(answer: list[Message]) -> str:
    return w.error_of(answer)["C"]


def rows(answer: list[Message]) -> list[tuple[str | None, ...]]:
    assert "E" not in w.types_of(answer), w.error_of(answer)
    return [message.row for message in answer if message.type == "D"]


PROTECTED = [
    "role",
    "ROLE",
    "RoLe",
    "session_authorization",
    "Session_Authorization",
    "app.tenant_id",
    "APP.Tenant_ID",
    "pgdog_jwt.token",
    "PgDog_JWT.anything",
    "client_encoding",
    "standard_conforming_strings",
]
NO_NAMES: list[bytes] = [
    b"",
    b"role ",
    b" role",
    b"ro\tle",
    b'"role"',
    b"rol\xc3\xa9",
    b"app.\xc4\xb0d",
    b"role\xff",
]


@pytest.mark.parametrize("formats", [[], [0], [1], [0, 0], [1, 1], [1, 0]], ids=str)
@pytest.mark.parametrize("name", PROTECTED)
def test_a_protected_name_is_refused(wire: Wire, name: str, formats: list[int]) -> None:
    answer = ask(wire, w.parse(SET), run([name, "bob"], formats=formats))

    assert w.types_of(answer) == "1EZ"
    assert code(answer) == "42501"


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_is_no_name_is_refused(wire: Wire, name: bytes) -> None:
    assert code(ask(wire, w.parse(SET), run([name, "bob"]))) in ("42501", "42602")


@pytest.mark.parametrize("name", [b"role\0", b"role\0x", b"\0role", b"app.tenant_id\0.x"])
@pytest.mark.parametrize("formats", [[], [1]], ids=str)
def test_a_nul_does_not_end_a_name(wire: Wire, name: bytes, formats: list[int]) -> None:
    assert code(ask(wire, w.parse(SET), run([name, "bob"], formats=formats))) in ("42501", "42602")


def test_a_long_name_is_refused(wire: Wire) -> None:
    assert code(ask(wire, w.parse(SET), run(["app." + "x" * 300, "bob"]))) == "42501"
    assert code(ask(wire, w.parse(SET), run([b"role" + b" " * 1_000_000, "bob"]))) == "42501"


def test_null_is_no_name(wire: Wire) -> None:
    assert code(ask(wire, w.parse(SET), run([None, "bob"]))) == "22004"


@pytest.mark.parametrize("types", [[oid] for oid in OTHERS] + [[25, 25], [1043]], ids=str)
def test_only_text_is_a_name(wire: Wire, types: list[int]) -> None:
    answer = ask(wire, w.parse(SET, types=types), run(["role", "bob"]))

    assert code(answer) == "42501"
    assert (w.types_of(answer) == "1EZ") == (types[0] in TEXT)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT set_config($1, 'x', false) FROM (SELECT $1::name) t",
        "SELECT set_config($1, 'x', false), $1::regclass",
        "SELECT set_config($1::name, $2, false)",
        "SELECT set_config($1::varchar(4), $2, false)",
        "SELECT set_config($1 || '', $2, false)",
        "SELECT set_config(VARIADIC $1)",
        "PREPARE p(text, text) AS SELECT set_config($1, $2, false)",
        "EXPLAIN ANALYZE SELECT set_config($1, $2, false)",
        "DECLARE c CURSOR FOR SELECT set_config($1, $2, false)",
    ],
)
def test_a_name_that_bind_does_not_show_is_refused_when_it_is_prepared(wire: Wire, sql: str) -> None:
    assert w.types_of(answer := ask(wire, w.parse(sql))) == "EZ"
    assert code(answer) == "42501"
    assert code(wire.query(sql)) == "42501"


def test_a_type_of_the_client_s_own_that_is_called_text(wire: Wire, target: Target) -> None:
    """Through it `rolex` becomes `role`."""
    if not in_sessions(target):
        pytest.skip("temporary types stay with a session's server")
    wire.rows("CREATE DOMAIN pg_temp.text AS char(4)")
    wire.rows("SET search_path = pg_temp, pg_catalog, public")

    answer = ask(wire, w.parse("SELECT set_config($1::text, 'bob', false)", types=[25]), run(["rolex"]))

    assert w.error_of(answer)["C"] == "42704", "no such setting: the cast was left out"
    oid = int(wire.value("SELECT 'pg_temp.text'::regtype::oid") or 0)
    assert code(ask(wire, w.parse(SET, types=[oid]), run(["role", "bob"]))) == "42501"


def test_each_of_several_names_is_judged(wire: Wire) -> None:
    several = "SELECT set_config('work_mem', $1, true), set_config($2, $3, true), set_config($4, $5, true)"
    for names in [("role", "app.x"), ("app.x", "role"), ("role", "role")]:
        answer = ask(wire, w.parse(several), run(["5MB", names[0], "a", names[1], "b"]))
        assert code(answer) == "42501"
    assert rows(ask(wire, w.parse(several), run(["5MB", "app.x", "a", "app.y", "b"]))) == [("5MB", "a", "b")]


def test_one_parameter_in_two_places(wire: Wire) -> None:
    both = "SELECT set_config($1, $2, true), current_setting($1)"
    assert w.types_of(ask(wire, w.parse(both))) == "EZ", "its type might be another"
    assert rows(ask(wire, w.parse(both, types=[25]), run(["app.x", "a"]))) == [("a", "a")]
    assert code(ask(wire, w.parse(both, types=[25]), run(["role", "bob"]))) == "42501"
    twice = "SELECT set_config($1, $1, true), set_config($1, 'b', true)"
    assert rows(ask(wire, w.parse(twice), run(["app.x"]))) == [("app.x", "b")]
    assert code(ask(wire, w.parse(twice), run(["role"]))) == "42501"


def test_wrong_counts_are_postgresql_s_to_refuse(wire: Wire) -> None:
    two, three = w.bind(["app.x", "1"]), w.bind(["app.x", "1", "2"])
    for bind in [w.bind([]), w.bind(["app.x"]), three, w.bind(["app.x", "1"], formats=[0, 0, 0])]:
        assert code(ask(wire, w.parse(SET), bind, w.execute())) == "08P01"
    assert rows(ask(wire, w.parse(SET), two, w.execute())) == [("1",)]
    cut = w.message("B", w.text("") + w.text("") + b"\0\0\0\2\xff\xff\xff\xfe")
    assert code(ask(wire, w.parse(SET), cut, w.execute())) == "08P01"


@pytest.mark.parametrize("name", ["role", "app.x"])
def test_a_bind_that_comes_in_two_packets(wire: Wire, name: str) -> None:
    batch = w.parse(SET) + w.bind([name, "1"])
    first = len(w.parse(SET)) + 1
    for cut in range(first, len(batch)):
        wire.send(batch[:cut])
        wire.send(batch[cut:], w.execute(), w.SYNC)
        answer = wire.until_ready()
        assert w.types_of(answer) == ("1EZ" if name == "role" else "12DCZ"), cut


@pytest.mark.parametrize("name", ["role", "app.x"])
def test_a_bind_byte_by_byte(wire: Wire, name: str) -> None:
    for at in range(len(batch := w.parse(SET) + run([name, "1"]) + w.SYNC)):
        wire.send(batch[at : at + 1])
    assert w.types_of(wire.until_ready()) == ("1EZ" if name == "role" else "12DCZ")


def test_a_huge_value_is_passed_on(wire: Wire) -> None:
    value = "x" * 20_000_000
    answer = ask(wire, w.parse("SELECT length(set_config($1, $2, true))"), run(["app.x", value]))
    assert rows(answer) == [("20000000",)]
    assert code(ask(wire, w.parse(SET), run(["role", value]))) == "42501"


def test_a_name_behind_a_large_value(wire: Wire) -> None:
    later = "SELECT length(set_config('app.x', $1, true)), set_config($2, $3, true)"
    value = "x" * 1_000_000
    assert rows(ask(wire, w.parse(later), run([value, "app.y", "1"]))) == [("1000000", "1")]
    assert code(ask(wire, w.parse(later), run([value, "role", "bob"]))) == "42501"
    assert code(ask(wire, w.parse(later), run([value * 17, "app.y", "1"]))) == "54000"


def test_a_refused_bind_fails_its_batch_and_its_transaction(wire: Wire, target: Target) -> None:
    wire.send(w.step("SELECT 1"), w.parse(SET), run(["role", "bob"]), w.step("SELECT 2"), w.SYNC)
    assert w.types_of(wire.until_ready()) == "12DC1EZ"
    if general(target)["pooler_mode"] == "statement":
        return
    wire.query("BEGIN")
    assert ask(wire, w.parse(SET), run(["role", "bob"]))[-1].body == b"E"
    assert code(wire.query("SELECT 1")) == "25P02"
    wire.query("ROLLBACK")


def test_a_refusal_is_for_the_bind_alone(wire: Wire) -> None:
    """In one pipeline, without a look at the answers."""
    good, bad = run(["app.x", "1"]), run(["role", "bob"])
    wire.send(w.parse(SET), good, bad, good, w.SYNC, w.parse(SET), good, w.SYNC)

    assert w.types_of(wire.until_ready()) == "12DCEZ"
    assert w.types_of(wire.until_ready()) == "12DCZ"


def named(wire: Wire, target: Target, name: str, sql: str = SET) -> bool:
    """Prepares a statement; whether that may have a name."""
    answer = ask(wire, w.parse(sql, name))
    if names_are_servers(target):
        assert code(answer) == "42501"
        return False
    assert w.types_of(answer) == "1Z"
    return True


def test_a_named_statement_is_judged_at_every_bind(wire: Wire, target: Target) -> None:
    if not named(wire, target, "s"):
        return
    for _ in range(3):
        assert rows(ask(wire, run(["app.x", "1"], "s"))) == [("1",)]
        assert code(ask(wire, run(["role", "bob"], "s"))) == "42501"
        assert code(ask(wire, run(["Role", "bob"], "s", formats=[1]))) == "42501"
    ask(wire, w.close("S", "s"))


def test_sessions_that_share_a_statement_are_judged_each(wire: Wire, target: Target) -> None:
    if not named(wire, target, "s"):
        return
    if in_sessions(target):
        return
    with client(target) as other:
        assert named(other, target, "t")
        assert code(ask(other, run(["role", "bob"], "t"))) == "42501"
        assert rows(ask(other, run(["app.x", "1"], "t"))) == [("1",)]


def test_the_statement_that_stays_when_a_parse_fails_is_judged(wire: Wire, target: Target) -> None:
    if not named(wire, target, "s"):
        return
    harmless = w.parse("SELECT $1::text, $2::text", "s")
    attack = run(["role", "bob"], "s")
    # The name is taken.
    wire.send(harmless, attack, w.SYNC, attack, w.SYNC)
    assert code(wire.until_ready()) == "42P05"
    assert code(wire.until_ready()) == "42501"
    # What closes it and takes its name is skipped.
    wire.send(w.step("SELECT 1/0"), w.close("S", "s"), harmless, attack, w.SYNC, attack, w.SYNC)
    assert code(wire.until_ready()) == "22012"
    assert code(wire.until_ready()) == "42501"
    # It really gets another meaning, and back.
    wire.send(w.close("S", "s"), harmless, attack, w.SYNC, attack, w.SYNC)
    assert rows(wire.until_ready()) == [("role", "bob")]
    assert rows(wire.until_ready()) == [("role", "bob")]
    wire.send(w.close("S", "s"), w.parse(SET, "s"), attack, w.SYNC, attack, w.SYNC)
    assert code(wire.until_ready()) == "42501"
    assert code(wire.until_ready()) == "42501"
    ask(wire, w.close("S", "s"))


def test_a_name_that_differs_behind_the_63rd_byte(wire: Wire, target: Target) -> None:
    name = "n" * 63
    if not named(wire, target, name + "a"):
        return
    assert code(ask(wire, run(["role", "bob"], name + "b"))) == "42501"
    ask(wire, w.close("S", name))


def test_the_unnamed_statement_that_stays_when_a_parse_is_skipped_is_judged(wire: Wire) -> None:
    attack = run(["role", "bob"])
    harmless = w.parse("SELECT $1::text, $2::text")
    wire.send(w.parse(SET), w.SYNC, w.bind(statement="none"), harmless, attack, w.SYNC, attack, w.SYNC)
    assert w.types_of(wire.until_ready()) == "1Z"
    assert code(wire.until_ready()) == "26000"
    assert code(wire.until_ready()) in ("42501", "26000")
    wire.send(w.parse(SET), harmless, attack, w.SYNC)
    assert rows(wire.until_ready()) == [("role", "bob")]
    wire.send(harmless, w.parse(SET), attack, w.SYNC)
    assert code(wire.until_ready()) == "42501"


def test_the_unnamed_statement_of_another_session_is_not_found(wire: Wire, target: Target) -> None:
    if in_sessions(target):
        pytest.skip("each has a server of its own")
    assert w.types_of(ask(wire, w.parse(SET))) == "1Z"
    with client(target) as other:
        for _ in range(3):
            assert code(ask(other, run(["role", "bob"]))) in ("26000", "42501")
            assert is_herself(other)


def test_names_of_the_gateway_are_not_a_client_s(wire: Wire) -> None:
    for number in range(1, 50):
        answer = ask(wire, run(["role", "bob"], f"__pgdog_jwt_{number}"))
        assert code(answer) in ("26000", "42501")


def test_a_portal_keeps_what_was_judged(wire: Wire, target: Target) -> None:
    if general(target)["pooler_mode"] == "statement":
        return
    wire.query("BEGIN")
    assert w.types_of(ask(wire, w.parse(SET), w.bind(["app.x", "1"], portal="p"))) == "12Z"
    # Another statement, and a Bind that is refused, change nothing about it.
    wire.query("SAVEPOINT s")
    assert code(ask(wire, w.parse(SET), w.bind(["role", "bob"], portal="q"))) == "42501"
    wire.query("ROLLBACK TO s")
    assert rows(ask(wire, w.execute("p"))) == [("1",)]
    assert wire.query("COMMIT")[0].tag == "COMMIT"
    assert wire.value("SELECT current_setting('app.x')") == "1"


@pytest.mark.parametrize(
    "execute",
    [
        "EXECUTE s('role', 'bob')",
        "EXPLAIN ANALYZE EXECUTE s('role', 'bob')",
        'EXECUTE "s"($$role$$, $$bob$$)',
    ],
)
def test_sql_does_not_execute_it(wire: Wire, target: Target, execute: str) -> None:
    if not named(wire, target, "s"):
        return
    for answer in (
        wire.query(execute),
        ask(wire, w.parse(execute), run([])),
        wire.query(f"SELECT 1; {execute}"),
    ):
        assert code(answer) in ("26000", "42501")
        assert is_herself(wire)
    ask(wire, w.close("S", "s"))


def test_sql_that_was_prepared_before_does_not_execute_it(wire: Wire, target: Target) -> None:
    assert w.types_of(ask(wire, w.parse("EXECUTE s('role', 'bob')", "e"))) == "1Z"
    ask(wire, w.parse(SET, "s"))
    assert code(ask(wire, run([], "e"))) in ("26000", "42501")
    assert is_herself(wire)
    ask(wire, w.close("S", "e"), w.close("S", "s"))


def test_after_discard_all_both_may_be_used_again(wire: Wire, target: Target) -> None:
    if general(target)["pooler_mode"] == "statement" or not named(wire, target, "s"):
        return
    wire.rows("DISCARD ALL")
    wire.rows("PREPARE p AS SELECT 7")
    assert wire.value("EXECUTE p") == "7"
    wire.rows("DISCARD ALL")
    assert named(wire, target, "s")
    assert code(ask(wire, run(["role", "bob"], "s"))) == "42501"


def test_the_function_call_protocol_stays_refused(wire: Wire) -> None:
    number = int(wire.value("SELECT oid FROM pg_proc WHERE proname LIKE 'set\\_config'") or 0)
    wire.send(w.function_call(number, b"work_mem", b"5MB", b"\0"))
    assert code(wire.until_ready()) == "42501"


# What it is good for.


@pytest.mark.parametrize("types", [[oid, oid] for oid in TEXT] + [[]], ids=str)
@pytest.mark.parametrize("formats", [[], [1], [0, 1]], ids=str)
@pytest.mark.parametrize("sql", [SET, "SELECT set_config($1::text, $2::text, false)"])
def test_a_harmless_setting_is_set(wire: Wire, sql: str, types: list[int], formats: list[int]) -> None:
    answer = ask(wire, w.parse(sql, types=types), run(["Work_Mem", "5MB"], formats=formats))

    assert rows(answer) == [("5MB",)]
    assert wire.value("SHOW work_mem") == "5MB"


def test_postgrest_s_statement(wire: Wire, target: Target) -> None:
    """A query, its transaction's settings before it: PostgREST sends them as parameters of type unknown."""
    if general(target)["pooler_mode"] == "statement":
        return
    sql = "select " + ", ".join(
        ["set_config('search_path', $1, true)"]
        + [f"set_config(${n}, ${n + 1}, true)" for n in range(2, 10, 2)]
    )
    claims = '{"sub": "alice"}'
    values = ["public, scratch", "request.jwt.claims", claims, "request.method", "GET"]
    values += ["request.path", "/notes", "request.headers", "{}"]
    for _ in range(3):
        wire.query("BEGIN")
        assert len(rows(ask(wire, w.parse(sql, types=[705] * 9), run(values)))) == 1
        assert wire.value("SELECT current_setting('request.jwt.claims')") == claims
        assert wire.value("SHOW search_path") == "public, scratch"
        wire.query("COMMIT")
        assert not wire.value("SELECT current_setting('request.jwt.claims', true)")
    assert code(ask(wire, w.parse(sql, types=[705] * 9), run([*values[:7], "role", "bob"]))) == "42501"


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("work_mem", "9MB", "9MB"),
        ("app.other", "theirs", "theirs"),
        ("App.Other", "it's \\ odd", "it's \\ odd"),
        ("search_path", "scratch, public", "scratch, public"),
        ("DateStyle", "German", "German, DMY"),
        ("application_name", "by parameter", "by parameter"),
        ("TimeZone", "Asia/Tokyo", "Asia/Tokyo"),
    ],
)
def test_a_setting_follows_its_client_and_no_other(target: Target, name: str, value: str, shown: str) -> None:
    current = f"SELECT coalesce(current_setting('{name}', true), '')"
    with client(target) as one, client(target) as other:
        usual = other.value(current)
        for _ in range(3):
            assert len(rows(ask(one, w.parse(SET), run([name, value])))) == 1
            assert other.value(current) == usual
            assert one.value(current) == shown


def test_a_named_statement_sets_for_its_client_alone(target: Target) -> None:
    with client(target) as one, client(target) as other:
        if not (named(one, target, "s") and named(other, target, "s")):
            return
        for number in range(3):
            for wire, who in ((one, "one"), (other, "other")):
                assert rows(ask(wire, run(["app.who", f"{who} {number}"], "s"))) == [(f"{who} {number}",)]
            assert one.value("SELECT current_setting('app.who')") == f"one {number}"
            assert other.value("SELECT current_setting('app.who')") == f"other {number}"


def test_a_session_is_not_held_to_its_server(wire: Wire, target: Target) -> None:
    if in_sessions(target):
        pytest.skip("each has a server of its own")
    assert rows(ask(wire, w.parse(SET), run(["app.other", "1"]))) == [("1",)]
    with client(target) as other:
        assert other.value("SELECT 1") == "1"
    assert wire.value("SELECT current_setting('app.other')") == "1"


def test_a_rollback_takes_it_back(wire: Wire, target: Target) -> None:
    if general(target)["pooler_mode"] == "statement":
        return
    before = wire.value("SHOW work_mem")
    wire.query("BEGIN")
    assert rows(ask(wire, w.parse(SET), run(["work_mem", "11MB"]))) == [("11MB",)]
    wire.query("ROLLBACK")
    assert wire.value("SHOW work_mem") == before


def test_a_search_path_by_parameter_is_part_of_what_a_statement_is(wire: Wire, target: Target) -> None:
    """A statement that was prepared before finds other tables behind it."""
    if names_are_servers(target) or in_sessions(target):
        pytest.skip("statements have names of the server's own")
    look = "SELECT current_setting('search_path')"
    for path in ("scratch, public", "public", "scratch"):
        assert rows(ask(wire, w.parse(SET), run(["search_path", path]))) == [(path,)]
        assert w.types_of(ask(wire, w.parse(look, "look"))) == "1Z"
        assert rows(ask(wire, run([], "look"))) == [(path,)]
        ask(wire, w.close("S", "look"))


@pytest.mark.parametrize("threshold", [None, 0, 2])
def test_psycopg(target: Target, threshold: int | None) -> None:
    token = target.issuer.token("alice", tenant_id="acme")
    with target.connect(
        "alice", token, prepare_threshold=None if names_are_servers(target) else threshold
    ) as connection:
        for number in range(8):
            row = connection.execute(
                "SELECT set_config(%s, %s, false)", ["app.other", str(number)]
            ).fetchone()
            assert row == (str(number),)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("SELECT set_config(%s, %s, false)", ["role", "bob"])
        row = connection.execute("SELECT current_user, current_setting('app.other')").fetchone()
        assert row == ("alice", "7")


def test_asyncpg(target: Target) -> None:
    if names_are_servers(target):
        pytest.skip("asyncpg prepares under names")
    import asyncpg

    async def work() -> None:
        token = target.issuer.token("alice", tenant_id="acme")
        connection = await target.connect_asyncpg("alice", token)
        try:
            for number in range(3):
                assert await connection.fetchval(SET, "app.other", str(number)) == str(number)
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.fetchval(SET, "role", "bob")
            assert await connection.fetchval("SELECT current_user::text") == "alice"
        finally:
            await connection.close()

    asyncio.run(work())


def test_a_refusal_is_on_record_without_the_values(wire: Wire, target: Target) -> None:
    seen = len(target.gateway.log())
    assert code(ask(wire, w.parse(SET), run(["pgdog_jwt.token", "swordfish-7"]))) == "42501"
    assert code(ask(wire, w.parse(SET), run(["swordfish-7" * 50, "x"]))) == "42501"

    def refused() -> list[dict[str, Any]]:
        return [one for one in target.gateway.log()[seen:] if one.get("reason") == "statement_refused"]

    eventually(lambda: len(refused()) == 2, "two refusals in the log")
    assert "swordfish" not in target.gateway.log_text()


@pytest.mark.parametrize("name", ["transaction_read_only", "Default_Transaction_Read_Only"])
def test_a_read_only_subject_stays_so(gateway: Target, name: str) -> None:
    with gateway.wire("reader") as wire:
        assert code(ask(wire, w.parse(SET), run([name, "off"]))) == "42501"
        assert rows(ask(wire, w.parse(SET), run(["work_mem", "5MB"]))) == [("5MB",)]
        assert wire.value("SHOW transaction_read_only") == "on"
