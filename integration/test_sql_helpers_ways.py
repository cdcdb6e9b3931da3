"""`jwt.protect_acl`: several ways to be allowed, none of them SQL of the caller."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from harness.proof import ClaimsServer, Session
from harness.protected import DOCUMENTS, A, B, seen, tenant

WAYS = [
    {"column": "owner", "claim": "sub"},
    {"column": "team_id", "claim": "teams", "any": True},
    {"column": "org_id", "claim": "org", "when": {"claim": "roles", "contains": "org-admin"}},
    {"column": "readers", "claim": "sub"},
    {"column": "readers", "claim": "groups", "any": True},
    {"when": {"claim": "support", "equals": "true"}},
]


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({}, []),
        ({"sub": "alice"}, [0, 3]),
        ({"sub": "bob"}, [1]),
        ({"teams": [A, B]}, [1, 2]),
        ({"teams": A}, [1]),
        ({"teams": []}, []),
        ({"org": 1}, []),
        ({"org": 1, "roles": "org-admin"}, [1, 3]),
        ({"org": 1, "roles": ["x", "org-admin"]}, [1, 3]),
        ({"org": 1, "roles": ["x", "org-admins"]}, []),
        ({"groups": ["staff", "x"]}, [4]),
        ({"sub": "bob", "groups": ["staff"], "teams": [B]}, [1, 2, 4]),
        ({"support": True}, [0, 1, 2, 3, 4, 5]),
        ({"support": "yes"}, []),
    ],
)  # fmt: skip
def test_each_way_opens_its_rows(
    protector: ClaimsServer, owner: Session, claims: dict[str, Any], expected: list[int]
) -> None:
    owner.run(DOCUMENTS)
    owner.run("SELECT jwt.protect_acl('documents', %s)", json.dumps(WAYS))
    assert seen(protector.subject("alice", claims), "t.documents") == expected
    assert seen(protector.session(role="bob"), "t.documents") == []


def test_ways_by_variables(protector: ClaimsServer, owner: Session) -> None:
    owner.run(DOCUMENTS)
    ways = [
        {"column": "team_id", "variable": "app.teams", "any": True},
        {"column": "org_id", "variable": "app.org", "when": {"variable": "app.roles", "contains": "admin"}},
        {"when": {"variable": "app.support", "equals": "o'n"}},
    ]
    owner.run("SELECT jwt.protect_acl('documents', %s)", json.dumps(ways))
    session = protector.session(role="bob")
    for setting, expected in (
        ("", []),
        (f"SET app.teams = '{A},{B}'", [1, 2]),
        ("SET app.teams = ''; SET app.org = 1", []),
        ("SET app.roles = 'x,admin'", [1, 3]),
        ("SET app.org = ''", []),
        ("SET app.support = 'o''n'", [0, 1, 2, 3, 4, 5]),
    ):
        session.run(setting or "SELECT 1")
        assert seen(session, "t.documents") == expected, setting


def test_tenant_and_ways_must_both_hold(protector: ClaimsServer, owner: Session) -> None:
    owner.run(DOCUMENTS)
    owner.run('SELECT jwt.protect_acl(\'documents\', \'[{"column": "owner", "claim": "sub"}]\')')
    owner.run("SELECT jwt.protect('documents', 'org_id')")
    for subject, org, expected in (("carol", 1, [3]), ("carol", 2, [2, 4]), ("alice", 1, [])):
        assert seen(protector.subject("alice", {"sub": subject, "tenant_id": org}), "t.documents") == expected


@pytest.mark.parametrize(
    "ways",
    [
        "[]", "{}", "null", '"x"', "[1]", "[{}]", '[{"claim": "sub"}]', '[{"column": "missing"}]',
        '[{"column": "owner", "sql": "true"}]', '[{"column": "owner", "claim": "a", "variable": "b"}]',
        '[{"column": "owner", "any": "x"}]', '[{"when": "true"}]', '[{"when": {}}]',
        '[{"when": {"equals": "a", "contains": "b"}}]',
        '[{"when": {"claim": "a", "equals": "b", "or": "c"}}]',
        '[{"column": "owner", "when": {"claim": "a"}}]',
        '[{"any": true, "when": {"claim": "a", "equals": "b"}}]',
    ],
)  # fmt: skip
def test_ways_that_make_no_sense_are_refused(protector: ClaimsServer, owner: Session, ways: str) -> None:
    owner.run(DOCUMENTS)
    with pytest.raises(psycopg.Error):
        owner.run("SELECT jwt.protect_acl('documents', %s)", ways)
    assert owner.run("SELECT relrowsecurity FROM pg_class WHERE oid = 'documents'::regclass") == [(False,)]


def test_no_word_of_a_way_is_sql(protector: ClaimsServer, owner: Session) -> None:
    owner.run(DOCUMENTS)
    for evil in ("x') OR true --", "x'); DROP TABLE t.documents; --", "\\' OR true --", '" OR true --'):
        for ways in (
            [{"column": "owner", "claim": evil}],
            [{"column": "owner", "variable": "a." + evil}],
            [{"when": {"claim": evil, "equals": evil}}],
            [{"when": {"claim": evil, "contains": evil}}],
        ):
            for quoting in ("on", "off"):
                owner.run(f"SET standard_conforming_strings = {quoting}")
                owner.run("SELECT jwt.protect_acl('documents', %s)", json.dumps(ways))
                assert seen(tenant(protector), "t.documents") == []
        with pytest.raises(psycopg.errors.UndefinedColumn):
            owner.run("SELECT jwt.protect_acl('documents', %s)", json.dumps([{"column": evil}]))
