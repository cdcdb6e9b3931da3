"""Claims that the database verifies for itself: what counts, and when it is looked at.

The proofs are made by the harness, as docs/verified-claims.md describes them, not with the gateway's code.
"""

from __future__ import annotations

import json
import re

import psycopg
import pytest

from harness.proof import CLAIMS, ClaimsServer, Session, sign


def test_proven_claims_can_be_read(proven: Session) -> None:
    assert proven.claims() == CLAIMS
    assert proven.run("SELECT jwt.subject(), jwt.tenant(), jwt.claim('name')") == [
        ("alice", "acme", CLAIMS["name"])
    ]


def test_a_claim_is_found_by_name_or_path(verifier: ClaimsServer) -> None:
    claims = {
        "a.b": "exact",
        "a": {"b": "nested", "c.d": {"e": 1}},
        "https://x.example/t": "url",
        "n": None,
        "f": False,
    }
    session = verifier.subject("alice", claims)

    found = {
        path: session.value("SELECT jwt.claim(%s)", path)
        for path in ("a.b", "a.c.d.e", "https://x.example/t")
    }

    assert found == {"a.b": "exact", "a.c.d.e": "1", "https://x.example/t": "url"}
    assert session.value("SELECT jwt.claim('f')") == "false"
    assert json.loads(session.value("SELECT jwt.claim('a')")) == claims["a"]
    for missing in ("z", "n", "", ".", "..", "a.", ".b", "a.z", "a.b.c", "n.x"):
        assert session.value("SELECT jwt.claim(%s)", missing) is None


def test_a_claim_can_be_read_as_a_list(verifier: ClaimsServer) -> None:
    session = verifier.subject(
        "alice", {"roles": ["a", 1, None, ["x"]], "role": "b", "none": [], "o": {"x": 1}, "n": None}
    )

    lists = [
        session.value("SELECT jwt.claim_array(%s)", name) for name in ("roles", "role", "none", "o", "n", "z")
    ]

    assert lists == [["a", "1"], ["b"], [], None, None, None]


def test_the_owner_chooses_the_tenant_claim(verifier: ClaimsServer) -> None:
    odd = 'o\'d\\ $$ %s."d"'
    session = verifier.subject(
        "alice", {"tenant_id": "wrong", "org": {"id": "acme"}, "empty": "", odd: "odd"}
    )
    try:
        verifier.execute("SELECT jwt.set_tenant_claim(%s)", odd)
        assert session.value("SELECT jwt.tenant()") == "odd"
        verifier.execute("SELECT jwt.set_tenant_claim('org.id')")
        assert session.value("SELECT jwt.tenant()") == "acme"
        verifier.execute("SELECT jwt.set_tenant_claim('empty')")
        assert session.value("SELECT jwt.tenant()") is None
    finally:
        verifier.execute("SELECT jwt.set_tenant_claim('tenant_id')")


def test_a_subject_that_logged_in_itself_is_verified(verifier: ClaimsServer) -> None:
    session = verifier.session(user="alice")
    session.prove(CLAIMS)
    assert session.claims() == CLAIMS


def test_a_role_from_the_start_up_packet_is_verified(verifier: ClaimsServer) -> None:
    session = verifier.session(options="-c role=alice")
    assert session.value("SELECT current_user") == "alice"
    session.prove(CLAIMS)
    assert session.claims() == CLAIMS


def test_claims_are_the_sessions_inside_functions_of_others(verifier: ClaimsServer, proven: Session) -> None:
    verifier.execute(
        """CREATE OR REPLACE FUNCTION public.report() RETURNS text LANGUAGE sql STABLE SECURITY DEFINER
           AS 'SELECT jwt.subject() || current_user'"""
    )
    assert proven.value("SELECT public.report()") == "alicepostgres"


def test_two_keys_work_side_by_side_until_one_is_retired(verifier: ClaimsServer) -> None:
    new = verifier.execute("SELECT jwt.create_key('k2')")[0][0]
    session = verifier.session(role="alice")
    payload = json.dumps(session.payload(CLAIMS)).encode()
    by_old, by_new = sign(payload), sign(payload, "k2", new)

    session.show(by_new)
    assert session.claims() == CLAIMS
    session.show(by_old)
    assert session.claims() == CLAIMS
    verifier.execute("SELECT jwt.retire_key('k2')")

    session.show(by_new)
    assert session.claims() is None
    session.show(by_old)
    assert session.claims() == CLAIMS
    for statement in (
        "SELECT jwt.retire_key('k2')",
        "SELECT jwt.create_key('k2')",
        "SELECT jwt.add_key('k3', 'short')",
    ):
        with pytest.raises(psycopg.Error):
            verifier.execute(statement)
    left = verifier.execute("SELECT inner_pad, outer_pad FROM jwt.keys WHERE id = 'k2'")
    assert left == [(None, None)]
    verifier.execute("DELETE FROM jwt.keys WHERE id = 'k2'")


@pytest.mark.parametrize("length", [32, 63, 64, 65, 200])
def test_keys_of_any_length_are_those_of_hmac(verifier: ClaimsServer, length: int) -> None:
    secret = ("ключ" + "k" * 200)[: length - 4]  # 8 bytes for 4 characters
    assert len(secret.encode()) == length
    verifier.execute("SELECT jwt.add_key('long', %s)", secret)
    try:
        session = verifier.session(role="alice")
        session.show(sign(json.dumps(session.payload(CLAIMS)).encode(), "long", secret))
        assert session.claims() == CLAIMS
    finally:
        verifier.execute("DELETE FROM jwt.keys WHERE id = 'long'")


def test_it_is_verified_once_for_each_statement(verifier: ClaimsServer, proven: Session) -> None:
    plan = "\n".join(
        row[0]
        for row in proven.run(
            "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) "
            "SELECT n FROM generate_series(1, 1000) AS n WHERE 'acme' = (SELECT jwt.tenant())"
        )
    )
    assert re.search(r"InitPlan 1.*loops=1\)", plan, re.DOTALL), plan


def test_parallel_workers_get_the_result_of_the_leader(verifier: ClaimsServer) -> None:
    verifier.execute(
        """DROP TABLE IF EXISTS public.big;
           CREATE TABLE public.big AS SELECT n, CASE n % 2 WHEN 0 THEN 'acme' ELSE 'other' END AS tenant_id
               FROM generate_series(1, 20000) AS n;
           GRANT SELECT ON public.big TO PUBLIC; SELECT jwt.protect('public.big'); ANALYZE public.big"""
    )
    session = verifier.subject("alice", CLAIMS)
    for setting in ("parallel_setup_cost = 0", "parallel_tuple_cost = 0", "min_parallel_table_scan_size = 0"):
        session.run(f"SET {setting}")
    session.run("SET max_parallel_workers_per_gather = 2")
    query = "SELECT count(*), min(tenant_id), max(tenant_id) FROM public.big"

    plan = "\n".join(row[0] for row in session.run(f"EXPLAIN (ANALYZE, COSTS OFF) {query}"))
    assert "Workers Launched" in plan
    assert session.run(query) == [(10_000, "acme", "acme")]
    assert session.run("SELECT count(*) FROM public.big WHERE jwt.tenant() = 'acme' AND n <= 200") == [(100,)]
    force = "force_parallel_mode" if verifier.major < 16 else "debug_parallel_query"
    session.run(f"SET {force} = on")
    assert session.run(query) == [(10_000, "acme", "acme")]
    assert session.run("SELECT jwt.subject(), jwt.claims() ->> 'sub'") == [("alice", "alice")]


def test_claims_are_read_on_a_server_that_does_not_write(proven: Session) -> None:
    proven.run("SET default_transaction_read_only = on")
    assert proven.claims() == CLAIMS
