"""The lists of PostgreSQL's own functions in the gateway, against every PostgreSQL on this machine.

`pgdog-jwt-guard/src/leaving.txt`: what leaves something on its server or runs other code. `harmless.txt`: the
others that are not declared immutable. A function that a new version brings is in neither, and fails a test
here until somebody has read what it does (`prosrc` names its source) and put it into one of them. Until then
it counts as one that leaves something.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from harness import Installation, Workspace, find_installations
from harness.external import is_external
from harness.installation import server_account
from harness.server import Server

ROUTER = Path(__file__).parent.parent / "pgdog-jwt-guard/src"
INSTALLATIONS = [] if is_external() else find_installations()

# Those that take `internal` can be called by PostgreSQL alone.
CALLABLE = "oid < 16384 AND NOT 'internal'::regtype = ANY (proargtypes)"


def listed(name: str) -> set[str]:
    return set((ROUTER / name).read_text().split())


LEAVING, HARMLESS, BUILT_IN = listed("leaving.txt"), listed("harmless.txt"), listed("built_ins.txt")


@pytest.fixture(scope="module", params=INSTALLATIONS, ids=lambda one: f"PostgreSQL {one.version}")
def catalogue(request: pytest.FixtureRequest) -> Iterator[psycopg.Connection[Any]]:
    """An empty server."""
    installation: Installation = request.param
    with Workspace() as workspace:
        account = server_account()
        server = Server.create(workspace, installation.usable_by(account, workspace.folder), account, "alone")
        server.start()
        with server.admin() as admin:
            yield admin


def names(catalogue: psycopg.Connection[Any], sql: str) -> set[str]:
    return {row[0] for row in catalogue.execute(sql).fetchall()}


def numbers(listed: set[str]) -> str:
    """A query for the numbers of these functions."""
    return f"SELECT oid FROM pg_proc WHERE {CALLABLE} AND proname = ANY ('{{{','.join(listed)}}}')"


def calls_leaving(tree: str) -> str:
    """Whether a stored expression calls one that leaves something."""
    calls = f"regexp_matches({tree}, ':funcid (\\d+) ', 'g') called"
    return f"EXISTS (SELECT FROM {calls} WHERE called[1]::oid IN ({numbers(LEAVING)}))"


def test_every_function_that_is_not_immutable_was_judged(catalogue: psycopg.Connection[Any]) -> None:
    there = names(catalogue, f"SELECT proname FROM pg_proc WHERE {CALLABLE} AND provolatile <> 'i'")
    assert there - LEAVING - HARMLESS == set()


def test_every_function_has_been_seen(catalogue: psycopg.Connection[Any]) -> None:
    own = "pronamespace = 'pg_catalog'::regnamespace"
    there = names(catalogue, f"SELECT proname FROM pg_proc WHERE {CALLABLE} AND {own}")
    # Trigger functions of foreign keys, which cannot be called.
    assert {name for name in there - BUILT_IN if not name.startswith("RI_FKey_")} == set()


def test_no_function_has_two_judgements() -> None:
    assert set() == LEAVING & HARMLESS


def test_nothing_else_of_postgresqls_own_runs_what_leaves_something(
    catalogue: psycopg.Connection[Any],
) -> None:
    leaving = numbers(LEAVING)
    for sql in (
        f"SELECT oprname FROM pg_operator WHERE oprcode IN ({leaving})",
        f"SELECT oid::text FROM pg_cast WHERE castfunc IN ({leaving})",
        f"SELECT oid::text FROM pg_amproc WHERE amproc IN ({leaving})",
        f"SELECT proname FROM pg_proc WHERE oid IN ({leaving}) AND prokind <> 'f'",
        f"SELECT aggfnoid::text FROM pg_aggregate WHERE aggtransfn IN ({leaving})",
        f"SELECT aggfnoid::text FROM pg_aggregate WHERE aggfinalfn IN ({leaving})",
        f"SELECT proname FROM pg_proc p WHERE oid IN ({numbers(HARMLESS)})"
        " AND " + calls_leaving("to_jsonb(p) ->> 'prosqlbody'"),
    ):
        assert names(catalogue, sql) == set()


def test_of_postgresqls_own_views_only_one_does(catalogue: psycopg.Connection[Any]) -> None:
    """And that one only by its rule for updates."""
    rules = catalogue.execute(
        "SELECT ev_class::regclass::text, ev_type FROM pg_rewrite"
        f" WHERE {calls_leaving('ev_action::text')} OR {calls_leaving('ev_qual::text')}"
    ).fetchall()
    assert rules == [("pg_settings", "2")]
