"""Temporary objects of every kind hold a session to its server, and go with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from harness import eventually, primary_alone
from harness.target import Target
from harness.wire import Wire

SERVICE = ("service", "service-secret")
PID = "SELECT pg_backend_pid()"
OBJECTS = {
    "table": "TABLE pg_temp.x (a int)",
    "view": "VIEW pg_temp.x AS SELECT 1",
    "sequence": "SEQUENCE pg_temp.x",
    "enum": "TYPE pg_temp.x AS ENUM ('a')",
    "composite": "TYPE pg_temp.x AS (a int)",
    "range": "TYPE pg_temp.x AS RANGE (subtype = int)",
    "domain": "DOMAIN pg_temp.x AS int",
    "function": "FUNCTION pg_temp.x() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "aggregate": "AGGREGATE pg_temp.x (int) (sfunc = int4pl, stype = int)",
    "operator": "OPERATOR pg_temp.### (leftarg = int, rightarg = int, function = int4pl)",
    "collation": 'COLLATION pg_temp.x FROM "C"',
    "conversion": "CONVERSION pg_temp.x FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8",
    "dictionary": "TEXT SEARCH DICTIONARY pg_temp.x (template = simple)",
    "configuration": "TEXT SEARCH CONFIGURATION pg_temp.x (copy = simple)",
}
OWN = "SELECT count(*) FROM pg_depend WHERE refobjid = pg_my_temp_schema() AND pg_my_temp_schema() <> 0"


@pytest.fixture(scope="module")
def two_servers(make_module_gateway: Any, cluster: Any) -> Target:
    return make_module_gateway(
        # What is left unnoticed shall be found.
        general={"workers": 1, "default_pool_size": 2, "server_cleaning": "never"},
        databases=[primary_alone(cluster)],
    )


@pytest.fixture
def one(two_servers: Target) -> Iterator[Wire]:
    with two_servers.wire(*SERVICE) as wire:
        yield wire


@pytest.mark.parametrize("kind", OBJECTS)
def test_they_hold_the_session_to_its_server(two_servers: Target, one: Wire, kind: str) -> None:
    one.query(f"CREATE {OBJECTS[kind]}")

    pid = one.value(PID)
    with two_servers.wire(*SERVICE) as other:
        for _ in range(3):
            assert one.value(PID) == pid
            assert one.value(OWN) != "0"
            assert other.value(PID) != pid
            assert other.value(OWN) == "0"


@pytest.mark.parametrize("kind", OBJECTS)
def test_they_do_not_meet_the_next_client(two_servers: Target, one: Wire, kind: str) -> None:
    one.query(f"CREATE {OBJECTS[kind]}")
    pid = one.value(PID)
    one.close()

    with two_servers.wire(*SERVICE) as first, two_servers.wire(*SERVICE) as second:

        def served_by_it() -> bool:
            for wire in (first, second):
                wire.query("BEGIN")
            found = {wire.value(PID): wire.value(OWN) for wire in (first, second)}
            for wire in (first, second):
                wire.query("COMMIT")
            assert set(found.values()) == {"0"}
            return pid in found

        eventually(served_by_it, "the server serves others again")


def test_a_type_with_the_name_of_postgresqls_changes_nothing(two_servers: Target, cluster: Any) -> None:
    with cluster.admin() as admin:
        admin.execute("CREATE TYPE scratch.text AS ENUM ('x')")
    try:
        with two_servers.wire(*SERVICE) as wire:
            wire.query("SET search_path = scratch, pg_catalog")
            wire.query("LISTEN something")
            assert wire.value("SELECT count(*) FROM pg_listening_channels()") == "1"
            wire.query("UNLISTEN *")
            assert wire.value("SELECT count(*) FROM pg_listening_channels()") == "0"
    finally:
        with cluster.admin() as admin:
            admin.execute("DROP TYPE scratch.text")
