"""The SQL functions of pgvpd, by their names there."""

from __future__ import annotations

import json

import psycopg
import pytest

from harness.proof import ClaimsServer, Session
from harness.protected import DOCUMENTS, A, B, orders, seen


def test_pgvpd_a_tenant_sees_its_rows(protector: ClaimsServer, owner: Session) -> None:
    orders(owner)
    owner.run("SELECT pgvpd_protect('orders')")
    session = protector.session(role="app_user")

    assert seen(session) == []
    assert session.value("SELECT current_tenant_id()") is None
    session.run("SET app.current_tenant_id = 'acme'")
    assert session.value("SELECT current_tenant_id()") == "acme"
    assert seen(session) == [0, 1]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        session.run("INSERT INTO t.orders VALUES (9, 'umbrella')")
    session.run("SET app.current_tenant_id = ''")
    assert (seen(session), session.value("SELECT current_tenant_id()")) == ([], None)


def test_pgvpd_context_functions(protector: ClaimsServer) -> None:
    session = protector.session(role="app_user")
    session.run(f"SET app.ids = '{A},{B}'; SET app.braces = '{{{A},{B}}}'; SET app.no = ''")
    session.run("SET app.org = 'o1'; SET app.list = 'a,b'")
    for call, expected in (
        ("pgvpd_context('app.org')", "o1"),
        ("pgvpd_context('app.missing')", None),
        ("pgvpd_context('app.no')", None),
        ("pgvpd_context_array('app.list')", ["a", "b"]),
        ("pgvpd_context_array('app.missing')", None),
        ("pgvpd_context_array('app.no')", None),
        ("pgvpd_context_uuid_array('app.ids')::text[]", [A, B]),
        ("pgvpd_context_uuid_array('app.braces')::text[]", [A, B]),
    ):
        assert session.value(f"SELECT {call}") == expected, call
    assert session.run(
        """SELECT pgvpd_context_contains('app.ids', %s), pgvpd_context_contains('app.missing', %s),
                  pgvpd_context_text_contains('app.list', 'b'), pgvpd_context_text_contains('app.list', 'c'),
                  pgvpd_context_text_contains('app.missing', 'c')""",
        B, B,
    ) == [(True, False, True, False, False)]  # fmt: skip


def test_pgvpd_access_by_several_paths(protector: ClaimsServer, owner: Session) -> None:
    owner.run(DOCUMENTS)
    paths = [
        {"column": "owner", "var": "app.uid", "type": "text"},
        {"column": "team_id", "var": "app.granted", "type": "uuid_array"},
        {
            "column": "org_id",
            "var": "app.org",
            "type": "text",
            "when": {"var": "app.role", "equals": "admin"},
        },
    ]
    owner.run("SELECT pgvpd_protect_acl('documents', %s)", json.dumps(paths))
    for settings, expected in (
        ("SET app.uid = 'carol'", [2, 3, 4]),
        (f"SET app.granted = '{A},{B}'", [1, 2]),
        ("SET app.org = '1'", []),
        ("SET app.org = '1'; SET app.role = 'admin'", [1, 3]),
    ):
        session = protector.session(role="bob")
        session.run(settings)
        assert seen(session, "t.documents") == expected, settings
    for bad in (
        "[]",
        "{}",
        '[{"column": "owner", "var": "a.b", "type": "json"}]',
        '[{"column": "owner", "var": "a.b", "when": "true"}]',
    ):
        with pytest.raises(psycopg.Error):
            owner.run("SELECT pgvpd_protect_acl('documents', %s)", bad)


def test_pgvpd_status(protector: ClaimsServer) -> None:
    protector.execute("CREATE TABLE public.p (tenant_id text); CREATE TABLE public.q ()")
    protector.execute("SELECT pgvpd_protect('public.p')")
    rows = protector.execute("SELECT * FROM pgvpd_status() WHERE table_name IN ('p', 'q')")
    assert rows == [("p", True, True, 2), ("q", False, False, 0)]
    protector.execute("DROP TABLE public.p, public.q")
