"""No secret that a statement holds is in the statement audit, nor in any log, wherever it stands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import MakeGateway
from harness import Cluster, eventually, primary_alone
from harness.gateway import whole_lines
from harness.target import Target
from harness.wire import SYNC, Wire, bind, execute, parse, query

SECRET = "swordfish"

# Where a string stands for `{}`. What fails is on record as well as what does not.
PLACES = [
    "SELECT {}",
    "SELECT 1 /* {} */ -- {}",
    "SELECT 'eyJhbGciOi.eyJzdW' || {}",
    "SELECT set_config('app.api_key', {}, false)",
    "SELECT md5({}), crypt({}, 'salt'), f(x => {})",
    "SELECT * FROM dblink('host=h password=' || {}, 'SELECT 1') AS t(a int)",
    "SELECT dblink_connect({})",
    "SELECT 1 WHERE 'a' = {} OR 'b' IN ({}, 'c') LIMIT 1",
    "CREATE TEMPORARY TABLE a (b text DEFAULT {}); DROP TABLE a",
    "PREPARE p AS SELECT {}, $1::text",
    "EXECUTE p ({})",
    "DEALLOCATE p",
    "EXPLAIN SELECT {}",
    "ALTER ROLE alice PASSWORD {}",
    "ALTER ROLE alice PASWORD {}",
    "ALTER ROLE alice PASSWORD = {}",
    "ALTER ROLE alice VALID UNTIL {}",
    "CREATE USER someone WITH PASSWORD {}",
    "CREATE USER someone IDENTIFIED BY {}",
    "CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (host {}, options {})",
    "CREATE USER MAPPING FOR alice SERVER s OPTIONS (user {}, pin {})",
    "ALTER USER MAPPING FOR alice SERVER s OPTIONS (SET pin {})",
    "CREATE FOREIGN TABLE a (b int) SERVER s OPTIONS (query {})",
    "CREATE SUBSCRIPTION s CONNECTION {} PUBLICATION p",
    "ALTER SUBSCRIPTION s CONNECTION {}",
    "ALTER SUBSCRIPTION s CONECTION {}",
    "COPY pg_class TO PROGRAM {}",
    "COPY pg_class FROM {}",
    "DO {}",
    "CREATE FUNCTION pg_temp.f() RETURNS text LANGUAGE sql AS {}",
    "CREATE FUNCTION pg_temp.f() RETURNS text RETURN {}",
    "SET app.api_key = {}",
    "SET LOCAL app.api_key TO {}",
    "ALTER ROLE alice SET app.api_key = {}",
    "ALTER SYSTEM SET primary_conninfo = {}",
    "COMMENT ON TABLE a IS {}",
    "NOTIFY a, {}",
    "LOAD {}",
    "PREPARE TRANSACTION {}",
    "SECURITY LABEL ON TABLE a IS {}",
    "SELECT 1; SELECT {}; SELECT 2",
    "SELCT {}",
]
FORMS = [
    "'swordfish'",
    "E'it\\'s a swordfish'",
    "$$swordfish$$",
    "$a$a swordfish $$ '$a$",
    "U&'swordfish'",
    "'a'\n'swordfish'",
]
# A string in the wrong quotes, or in none: a column, to PostgreSQL.
MEANT = [
    "SELECT dblink_connect({})",
    "SELECT set_config('app.api_key', {}, false)",
    "SELECT 1 WHERE 'a' = {}",
    "ALTER ROLE alice PASSWORD {}",
    "SET app.api_key = {}",
    "EXECUTE p ({})",
]
WRONG = ['"swordfish"', "swordfish", '"host=h password=swordfish"']


Make = Callable[..., tuple[Target, Path]]


@pytest.fixture
def make(make_gateway: MakeGateway, cluster: Cluster, tmp_path: Path) -> Make:
    def make(general: dict[str, Any] | None = None, **audit: Any) -> tuple[Target, Path]:
        path = tmp_path / "audit.json"
        target = make_gateway(
            databases=[primary_alone(cluster)],
            general={"log_level": "debug", **(general or {})},
            audit={"destination": "file", "file": str(path), "statements": "text", **audit},
        )
        return target, path

    return make


def run(wire: Wire, sql: str) -> None:
    wire.send(query(sql))
    wire.until_ready()
    wire.send(parse(sql), bind(), execute(), SYNC)
    wire.until_ready()


def run_all(target: Target, user: str, password: str | None = None) -> int:
    count = 0
    with target.wire(user, password) if password else target.wire(user) as wire:
        for places, forms in ((PLACES, FORMS), (MEANT, WRONG)):
            for place in places:
                for form in forms:
                    run(wire, place.replace("{}", form))
                    # A statement that fails keeps no transaction open for the next one.
                    run(wire, "ROLLBACK")
                    count += 1
        run(wire, "SELECT 1 AS the_end")
    return count


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in whole_lines(path.read_text())] if path.exists() else []


def finished(path: Path) -> list[dict[str, Any]]:
    def ended() -> bool:
        return sum("the_end" in event.get("statement", "") for event in records(path)) >= 2

    eventually(ended, "the last statement")
    return records(path)


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_no_secret_of_a_statement_is_on_record(make: Make, mode: str) -> None:
    target, path = make({"pooler_mode": mode})
    count = run_all(target, "alice")

    events = finished(path)

    assert [line for line in path.read_text().splitlines() if SECRET in line.lower()] == []
    assert SECRET not in target.gateway.log_text().lower()
    assert len(events) > count, "and every statement is there"
    told = [event["statement"] for event in events if event.get("statement")]
    assert "SELECT ?" in told
    assert any(event["event"] == "guard" and event.get("statement") for event in events)


def test_no_secret_of_a_user_without_a_guard_is_on_record(make: Make) -> None:
    target, path = make(statement_parameters=True)
    run_all(target, "service", "service-secret")

    finished(path)

    assert [line for line in path.read_text().splitlines() if SECRET in line.lower()] == []
    assert SECRET not in target.gateway.log_text().lower()


def test_no_secret_is_in_the_log_where_that_is_the_destination(make_gateway: MakeGateway) -> None:
    target = make_gateway(general={"log_level": "debug"}, audit={"statements": "text"})
    run_all(target, "alice")

    eventually(lambda: "the_end" in target.gateway.log_text(), "the last statement")

    assert SECRET not in target.gateway.log_text().lower()


def test_a_fingerprint_does_not_depend_on_a_secret(make: Make) -> None:
    target, path = make(statements="fingerprint")
    one, other = "$$swordfish$$", "$$marlin$$"
    places = ["ALTER ROLE alice PASSWORD {}", "DO {}", "COPY pg_class TO PROGRAM {}", "SET app.a = {}"]
    with target.wire("service", "service-secret") as wire:
        for place in places:
            for secret in (one, other):
                wire.query(place.replace("{}", secret))
    eventually(lambda: len(statements(path)) == 2 * len(places), "the statements")

    numbers = [event["fingerprint"] for event in statements(path)]

    assert numbers[::2] == numbers[1::2]
    assert len(set(numbers)) == len(places)


def test_only_parameters_that_are_data_are_on_record(make: Make) -> None:
    target, path = make(statement_parameters=True)
    with target.connect("alice") as connection:
        connection.execute("CREATE TEMPORARY TABLE kept (name text, api_token text, n int)")
        insert = "INSERT INTO kept (name, api_token, n) VALUES (%s, %s, %s)"
        connection.execute(insert, ("höflich\n", SECRET, None))
        connection.execute("SELECT name FROM kept WHERE name = %s LIMIT %s", ("x", 3))
        connection.execute("SELECT %s || %s", ("sword", "fish"))
        connection.execute("SELECT set_config('app.a', %s, false)", (SECRET,))
        connection.execute("SELECT name FROM kept WHERE name = %s", (f"postgres://a:{SECRET}@h",))
    eventually(lambda: len(statements(path)) >= 6, "the statements")

    shown = [event["parameters"] for event in statements(path) if "parameters" in event]

    assert shown[0] == ["höflich\n", "[masked]", None]
    assert shown[1][0] == "x"
    assert shown[2:] == [["[masked]", "[masked]"], ["[masked]"], ["[masked]"]]
    assert SECRET not in path.read_text()


def statements(path: Path) -> list[dict[str, Any]]:
    return [event for event in records(path) if event["event"] == "statement"]
