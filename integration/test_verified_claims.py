"""Claims that the database verifies for itself: what counts, and every way to cheat that we could think of.

The proofs are made by the harness, as docs/verified-claims.md describes them, not with the gateway's code.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from harness import Workspace, eventually, find_gateway
from harness.external import is_external
from harness.proof import KEY_ID, SECRET, ClaimsServer, Session, base64url, oldest_and_newest, script, sign

INSTALLATIONS = [] if is_external() else oldest_and_newest()
pytestmark = pytest.mark.skipif(not INSTALLATIONS, reason="starts servers of its own")
CLAIMS = {"sub": "alice", "tenant_id": "acme", "realm": {"roles": ["a", "b"]}, "name": "Zoë 名前 \U0001f600"}


@pytest.fixture(scope="module", params=INSTALLATIONS, ids=lambda one: f"PostgreSQL {one.version}")
def server(request: pytest.FixtureRequest, workspace: Workspace) -> Iterator[ClaimsServer]:
    server = ClaimsServer(workspace, request.param)
    yield server
    server.server.stop()


@pytest.fixture
def database(server: ClaimsServer) -> Iterator[ClaimsServer]:
    yield server
    server.close_sessions()


@pytest.fixture
def alice(database: ClaimsServer) -> Session:
    return database.subject("alice", CLAIMS)


@pytest.fixture
def thief(database: ClaimsServer) -> Session:
    """May run any SQL, is nobody's subject, and has no proof."""
    return database.session(role="bob")


def nothing_or_data_error(session: Session) -> bool:
    """Fail closed: no claims. Bytes that are no text at all end in PostgreSQL's own error about them."""
    try:
        return session.claims() is None
    except psycopg.DataError as error:
        return SECRET not in str(error)


# --- what counts


def test_proven_claims_can_be_read(alice: Session) -> None:
    assert alice.claims() == CLAIMS
    assert alice.run("SELECT jwt.subject(), jwt.tenant(), jwt.claim('name')") == [
        ("alice", "acme", CLAIMS["name"])
    ]


def test_a_claim_is_found_by_name_or_path(database: ClaimsServer) -> None:
    claims = {
        "a.b": "exact",
        "a": {"b": "nested", "c.d": {"e": 1}},
        "https://x.example/t": "url",
        "n": None,
        "f": False,
    }
    session = database.subject("alice", claims)

    found = {
        path: session.value("SELECT jwt.claim(%s)", path)
        for path in ("a.b", "a.c.d.e", "https://x.example/t")
    }

    assert found == {"a.b": "exact", "a.c.d.e": "1", "https://x.example/t": "url"}
    assert session.value("SELECT jwt.claim('f')") == "false"
    assert json.loads(session.value("SELECT jwt.claim('a')")) == claims["a"]
    for missing in ("z", "n", "", ".", "..", "a.", ".b", "a.z", "a.b.c", "n.x"):
        assert session.value("SELECT jwt.claim(%s)", missing) is None


def test_a_claim_can_be_read_as_a_list(database: ClaimsServer) -> None:
    session = database.subject(
        "alice", {"roles": ["a", 1, None, ["x"]], "role": "b", "none": [], "o": {"x": 1}, "n": None}
    )

    lists = [
        session.value("SELECT jwt.claim_array(%s)", name) for name in ("roles", "role", "none", "o", "n", "z")
    ]

    assert lists == [["a", "1"], ["b"], [], None, None, None]


def test_the_owner_chooses_the_tenant_claim(database: ClaimsServer) -> None:
    odd = 'o\'d\\ $$ %s."d"'
    session = database.subject(
        "alice", {"tenant_id": "wrong", "org": {"id": "acme"}, "empty": "", odd: "odd"}
    )
    try:
        database.execute("SELECT jwt.set_tenant_claim(%s)", odd)
        assert session.value("SELECT jwt.tenant()") == "odd"
        database.execute("SELECT jwt.set_tenant_claim('org.id')")
        assert session.value("SELECT jwt.tenant()") == "acme"
        database.execute("SELECT jwt.set_tenant_claim('empty')")
        assert session.value("SELECT jwt.tenant()") is None
    finally:
        database.execute("SELECT jwt.set_tenant_claim('tenant_id')")


def test_a_subject_that_logged_in_itself_is_verified(database: ClaimsServer) -> None:
    session = database.session(user="alice")
    session.prove(CLAIMS)
    assert session.claims() == CLAIMS


def test_a_role_from_the_start_up_packet_is_verified(database: ClaimsServer) -> None:
    session = database.session(options="-c role=alice")
    assert session.value("SELECT current_user") == "alice"
    session.prove(CLAIMS)
    assert session.claims() == CLAIMS


def test_claims_are_the_sessions_inside_functions_of_others(database: ClaimsServer, alice: Session) -> None:
    database.execute(
        """CREATE OR REPLACE FUNCTION public.report() RETURNS text LANGUAGE sql STABLE SECURITY DEFINER
           AS 'SELECT jwt.subject() || current_user'"""
    )
    assert alice.value("SELECT public.report()") == "alicepostgres"


def test_two_keys_work_side_by_side_until_one_is_retired(database: ClaimsServer) -> None:
    new = database.execute("SELECT jwt.create_key('k2')")[0][0]
    session = database.session(role="alice")
    payload = json.dumps(session.payload(CLAIMS)).encode()
    by_old, by_new = sign(payload), sign(payload, "k2", new)

    session.show(by_new)
    assert session.claims() == CLAIMS
    session.show(by_old)
    assert session.claims() == CLAIMS
    database.execute("SELECT jwt.retire_key('k2')")

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
            database.execute(statement)
    left = database.execute("SELECT inner_pad, outer_pad FROM jwt.keys WHERE id = 'k2'")
    assert left == [(None, None)]
    database.execute("DELETE FROM jwt.keys WHERE id = 'k2'")


@pytest.mark.parametrize("length", [32, 63, 64, 65, 200])
def test_keys_of_any_length_are_those_of_hmac(database: ClaimsServer, length: int) -> None:
    secret = ("ключ" + "k" * 200)[: length - 4]  # 8 bytes for 4 characters
    assert len(secret.encode()) == length
    database.execute("SELECT jwt.add_key('long', %s)", secret)
    try:
        session = database.session(role="alice")
        session.show(sign(json.dumps(session.payload(CLAIMS)).encode(), "long", secret))
        assert session.claims() == CLAIMS
    finally:
        database.execute("DELETE FROM jwt.keys WHERE id = 'long'")


# --- what does not


@pytest.mark.parametrize(
    "changes",
    [
        {"role": "bob"},
        {"role": "gateway"},
        {"role": "none"},
        {"role": "ALICE"},
        {"role": None},
        {"db": "postgres"},
        {"db": None},
        {"pid": 1},
        {"pid": None},
        {"start": 1},
        {"start": None},
        {"exp": int(time.time()) - 1},
        {"exp": 0},
        {"exp": None},
    ],
    ids=str,
)
def test_a_proof_for_something_else_is_nothing(database: ClaimsServer, changes: dict[str, Any]) -> None:
    session = database.session(role="alice")
    session.prove(CLAIMS, **changes)
    assert session.run(
        "SELECT jwt.claims(), jwt.subject(), jwt.tenant(), jwt.claim('sub'), jwt.claim_array('sub')"
    ) == [(None,) * 5]


def test_a_microsecond_makes_it_another_session(database: ClaimsServer) -> None:
    session = database.session(role="alice")
    start = session.value("SELECT jwt.backend_start()")
    session.prove(CLAIMS, start=start)
    assert session.claims() == CLAIMS
    for other in (start - 1, start + 1):
        session.prove(CLAIMS, start=other)
        assert session.claims() is None


@pytest.mark.parametrize("claims", [None, "text", ["list"], 1, True])
def test_claims_that_are_no_object_are_nothing(database: ClaimsServer, claims: Any) -> None:
    session = database.session(role="alice")
    session.prove(claims)
    assert session.claims() is None


def test_no_changed_character_goes_unnoticed(alice: Session) -> None:
    proof = alice.proof(CLAIMS)
    changed = [
        proof[:place] + other + proof[place + 1 :]
        for place in [*range(0, len(proof), 7), *range(len(proof) - 44, len(proof))]
        for other in "AB"
        if proof[place] != other
    ]
    for value in changed:
        alice.show(value)
        assert alice.claims() is None, value
    alice.show(proof)
    assert alice.claims() == CLAIMS


def test_a_mac_has_one_form(alice: Session) -> None:
    """The last character of base64url holds two bits that decoding ignores."""
    proof = alice.proof(CLAIMS)
    for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_":
        alice.show(proof[:-1] + last)
        assert (alice.claims() is not None) == (last == proof[-1])


def test_a_mac_under_anything_but_the_key_is_nothing(database: ClaimsServer) -> None:
    session = database.session(role="alice")
    payload = json.dumps(session.payload(CLAIMS)).encode()
    forged = [
        sign(payload, secret="another secret that nobody shares with us"),
        sign(payload, secret=""),
        sign(payload, key_id="unknown"),
        sign(payload, version="v2"),
        sign(payload, version=""),
        f"v1.{KEY_ID}.{base64url(payload)}.{'A' * 43}",
        f"v1.{KEY_ID}.{base64url(payload)}.",
        f"v1.{KEY_ID}.{base64url(payload)}",
    ]
    for proof in forged:
        session.show(proof)
        assert session.claims() is None, proof


MAC = "A" * 43
GARBAGE = [
    "", " ", ".", "...", "v1", "v1...", "null", "{}", "\n", "%", "\\", "'", "v1.k1..", "v1.k1.e30.",
    "a" * 100_000, "." * 100_000, f"v1.k1.{'A' * 2_000_000}.{MAC}", f"v1.{'k' * 10_000}.e30.{MAC}",
    f"v1.k1.ä.{MAC}", f"v1.k1.e30.{'ä' * 43}", f"v1.k1.e30.{MAC}\n", f"\nv1.k1.e30.{MAC}",
    f"v1.k1.e30.{MAC}.", f"v1.k1.e3+.{MAC}", f"v1.k1.e3 .{MAC}",
]  # fmt: skip


@pytest.mark.parametrize("value", GARBAGE, ids=lambda value: repr(value[:20]))
def test_garbage_is_nothing_and_no_error(alice: Session, value: str) -> None:
    alice.show(value)
    assert alice.claims() is None


@pytest.mark.parametrize(
    "value", [b"\xff", b"\xc1\x81", b"v1.k1.\xe3.x", b"v1.k1.\xc1\x81." + b"A" * 43, b"\xf0\x9f"]
)
def test_broken_text_from_a_start_up_packet_is_nothing(database: ClaimsServer, value: bytes) -> None:
    """PostgreSQL does not check the encoding of settings in a start-up packet."""
    try:
        session = database.session(
            role="alice", options="-c jwt.proof=" + value.decode("utf-8", "surrogateescape")
        )
    except (psycopg.OperationalError, UnicodeEncodeError):
        return
    assert nothing_or_data_error(session)


@pytest.mark.parametrize(
    "payload",
    [b"", b"{}", b"[]", b"null", b"x", b"{", b"\xff", b'{"a":', b'"\\u0000"', b'{"claims":{"a":"\\u0000"}}'],
)
def test_a_key_holder_that_signs_nonsense_proves_nothing(alice: Session, payload: bytes) -> None:
    alice.show(sign(payload) if payload else sign(b"x").replace(base64url(b"x"), ""))
    assert nothing_or_data_error(alice)


def test_nul_in_a_claim_is_nothing_and_no_error(alice: Session) -> None:
    alice.prove(CLAIMS | {"note": "a\0b"})
    assert alice.claims() is None


def test_a_proof_without_a_session_of_its_own_is_nothing(
    database: ClaimsServer, alice: Session, thief: Session
) -> None:
    stolen = alice.value("SELECT current_setting('jwt.proof')")
    again = database.session(role="alice")

    for other in (
        thief,
        again,
        database.session(user="alice"),
        database.session(user="bob"),
        database.session(),
    ):
        other.show(stolen)
        assert other.claims() is None
    assert alice.claims() == CLAIMS


def test_a_parallel_session_without_any_proof_is_nothing(thief: Session) -> None:
    assert thief.claims() is None
    thief.run("SET jwt.proof = ''")
    assert thief.claims() is None
    thief.run("RESET jwt.proof")
    assert thief.claims() is None


def test_who_leaves_the_role_leaves_the_claims(alice: Session) -> None:
    for statement in ("SET ROLE bob", "SET ROLE none", "RESET ROLE", "SET SESSION AUTHORIZATION DEFAULT"):
        alice.run(statement)
        assert alice.claims() is None, statement
        alice.run("SET ROLE alice")
        assert alice.claims() == CLAIMS


def test_a_role_of_a_group_is_another_role(database: ClaimsServer) -> None:
    session = database.session(user="alice")
    session.prove(CLAIMS)
    session.run("SET ROLE team")
    assert session.claims() is None


def test_claims_expire_in_the_middle_of_a_transaction(database: ClaimsServer) -> None:
    session = database.session(role="alice")
    session.prove(CLAIMS, exp=int(time.time()) + 2)
    session.run("BEGIN ISOLATION LEVEL REPEATABLE READ")
    assert session.claims() == CLAIMS
    eventually(lambda: session.claims() is None, "expiry")


def test_claims_expire_for_prepared_statements_and_cursors(database: ClaimsServer) -> None:
    session = database.session(role="alice")
    session.prove(CLAIMS)
    session.run("PREPARE who AS SELECT jwt.subject()")
    for _ in range(10):
        assert session.run("EXECUTE who") == [("alice",)]
    session.prove(CLAIMS, exp=1)
    assert session.run("EXECUTE who") == [(None,)]


# --- secrets


def test_nobody_reads_the_keys(thief: Session, alice: Session) -> None:
    for statement in (
        "SELECT * FROM jwt.keys",
        "SELECT id FROM jwt.keys",
        "TABLE jwt.keys",
        "COPY jwt.keys TO STDOUT",
        "INSERT INTO jwt.keys (id) VALUES ('x')",
        "UPDATE jwt.keys SET retired_at = NULL",
        "DELETE FROM jwt.keys",
        "LOCK TABLE jwt.keys",
        "CREATE VIEW public.v AS SELECT * FROM jwt.keys; SELECT * FROM public.v",
        "CREATE TABLE public.f (k text REFERENCES jwt.keys)",
        "CREATE TRIGGER t BEFORE INSERT ON jwt.keys EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "ALTER TABLE jwt.keys OWNER TO bob",
        "SELECT jwt.add_key('mine', repeat('x', 40))",
        "SELECT jwt.create_key('mine')",
        "SELECT jwt.retire_key('k1')",
        "SELECT jwt.set_tenant_claim('sub')",
        "CREATE OR REPLACE FUNCTION jwt.tenant_claim() RETURNS text LANGUAGE sql AS $$ SELECT 'sub' $$",
        "CREATE TABLE jwt.mine ()",
        "CREATE FUNCTION jwt.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE OR REPLACE FUNCTION jwt.claims() RETURNS jsonb LANGUAGE sql AS 'SELECT NULL::jsonb'",
        "ALTER FUNCTION jwt.claims() SECURITY INVOKER",
        "ALTER FUNCTION jwt.claims() RESET search_path",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            thief.run(f"BEGIN; {statement}")
        thief.run("ROLLBACK")
    assert alice.claims() == CLAIMS


def test_default_privileges_do_not_open_the_keys(database: ClaimsServer) -> None:
    """`ALTER DEFAULT PRIVILEGES … GRANT SELECT` is common, and holds for tables that scripts make."""
    with database.admin("postgres") as admin:
        admin.execute("CREATE DATABASE open_by_default")
    try:
        with database.admin("open_by_default") as admin:
            for grant in (
                "ALL ON TABLES TO PUBLIC",
                "ALL ON TABLES TO bob",
                "ALL ON SCHEMAS TO bob",
                "ALL ON FUNCTIONS TO bob",
            ):
                admin.execute(f"ALTER DEFAULT PRIVILEGES GRANT {grant}")
            admin.execute(script())
        thief = database.session(user="bob", dbname="open_by_default")
        for statement in (
            "TABLE jwt.keys",
            "DELETE FROM jwt.keys",
            "CREATE TABLE jwt.t ()",
            "SELECT jwt.create_key('x')",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                thief.run(statement)
        assert thief.claims() is None
    finally:
        database.close_sessions()
        with database.admin("postgres") as admin:
            admin.execute("DROP DATABASE open_by_default")


def test_no_message_shows_a_key_or_a_mac(database: ClaimsServer, alice: Session) -> None:
    """A session may ask to be shown parse trees and plans, also of what functions of others run. Constants
    are in them: were the expected MAC one, everybody could sign."""
    pads = database.execute("SELECT inner_pad, outer_pad FROM jwt.keys WHERE id = %s", KEY_ID)[0]
    payload = json.dumps(alice.payload(CLAIMS | {"sub": "bob"})).encode()
    mac = sign(payload).rsplit(".", 1)[1]
    raw_mac = base64.urlsafe_b64decode(mac + "=")
    digests = [hashlib.sha256(text).digest() for text in (mac.encode(), raw_mac)]
    forged = sign(payload, secret="another secret that nobody shares with us")
    for setting in ("debug_print_parse", "debug_print_rewritten", "debug_print_plan"):
        alice.run(f"SET {setting} = on")
    alice.run("SET client_min_messages = debug5")
    alice.messages.clear()

    for proof in (forged, alice.value("SELECT current_setting('jwt.proof')")):
        alice.show(proof)
        for _ in range(7):  # plans with parameters become generic ones
            alice.run("SELECT jwt.claims(), jwt.tenant()")

    shown = "".join("".join(alice.messages).split())  # long lines are broken anywhere
    assert "outer_pad" in shown, "the plans of the functions are not shown"
    for secret in (SECRET.encode(), *pads, mac.encode(), raw_mac, *digests):
        signed = "".join(str(byte - 256 if byte > 127 else byte) for byte in secret[:16])
        for text in ("".join(secret.decode("latin-1").split()), secret.hex()[:32], signed):
            assert text not in shown


def test_another_meaning_of_strings_changes_nothing(database: ClaimsServer) -> None:
    session = database.session(role="alice")
    session.run(
        "SET standard_conforming_strings = off; SET escape_string_warning = off; SET backslash_quote = on"
    )
    session.run("SET array_nulls = off; SET bytea_output = escape; SET DateStyle = 'SQL, DMY'")
    session.run("SET TimeZone = 'Asia/Tokyo'; SET row_security = off; SET xmloption = document")
    session.run(
        "SET extra_float_digits = -15; SET quote_all_identifiers = on; SET transform_null_equals = on"
    )
    for proof in (*GARBAGE[:5], "v1xk1xe30x" + "A" * 43):
        session.show(proof)
        assert session.claims() is None
    session.prove(CLAIMS)
    assert session.claims() == CLAIMS
    session.prove(CLAIMS | {"x": "\0"})
    assert session.claims() is None


SHADOWS = """
CREATE SCHEMA {schema};
CREATE FUNCTION {schema}.current_setting(text) RETURNS text LANGUAGE sql AS $$ SELECT 'bob' $$;
CREATE FUNCTION {schema}.current_setting(text, boolean) RETURNS text LANGUAGE sql AS $$ SELECT 'bob' $$;
CREATE FUNCTION {schema}.sha256(bytea) RETURNS bytea LANGUAGE sql AS $$ SELECT ''::bytea $$;
CREATE FUNCTION {schema}.convert_to(text, name) RETURNS bytea LANGUAGE sql AS $$ SELECT ''::bytea $$;
CREATE FUNCTION {schema}.pg_backend_pid() RETURNS integer LANGUAGE sql AS $$ SELECT 1 $$;
CREATE FUNCTION {schema}.clock_timestamp() RETURNS timestamptz LANGUAGE sql
    AS $$ SELECT '-infinity'::timestamptz $$;
CREATE FUNCTION {schema}.find(jsonb, text) RETURNS jsonb LANGUAGE sql AS $$ SELECT '"evil"'::jsonb $$;
CREATE FUNCTION {schema}.always(text, text) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$;
CREATE FUNCTION {schema}.always(bytea, bytea) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$;
CREATE FUNCTION {schema}.always(bigint, bigint) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$;
CREATE FUNCTION {schema}.always(integer, integer) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$;
CREATE FUNCTION {schema}.evil(jsonb, text) RETURNS text LANGUAGE sql AS $$ SELECT 'evil'::text $$;
CREATE OPERATOR {schema}.= (LEFTARG = text, RIGHTARG = text, FUNCTION = {schema}.always);
CREATE OPERATOR {schema}.= (LEFTARG = bytea, RIGHTARG = bytea, FUNCTION = {schema}.always);
CREATE OPERATOR {schema}.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = {schema}.always);
CREATE OPERATOR {schema}.= (LEFTARG = integer, RIGHTARG = integer, FUNCTION = {schema}.always);
CREATE OPERATOR {schema}.->> (LEFTARG = jsonb, RIGHTARG = text, FUNCTION = {schema}.evil);
CREATE TABLE {schema}.keys (id text, inner_pad bytea, outer_pad bytea, retired_at timestamptz);
INSERT INTO {schema}.keys VALUES ('k1', '', '', NULL);
CREATE FUNCTION {schema}.tenant_claim() RETURNS text LANGUAGE sql AS $$ SELECT 'sub'::text $$;
GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO PUBLIC;
GRANT USAGE ON SCHEMA {schema} TO PUBLIC;
SET search_path = {schema}, pg_catalog, public;
"""


def test_shadows_in_the_search_path_change_nothing(database: ClaimsServer, thief: Session) -> None:
    database.execute("DROP SCHEMA IF EXISTS evil CASCADE; GRANT CREATE ON DATABASE app TO PUBLIC")
    good = thief.proof(CLAIMS)
    thief.prove(CLAIMS, role="alice", exp=1)
    thief.run(SHADOWS.format(schema="evil"))
    assert thief.value("SELECT 'a'::text = 'b'::text") is True, "the shadows are not in place"

    assert thief.run(
        "SELECT jwt.claims(), jwt.subject(), jwt.tenant(), jwt.claim('sub'), jwt.claim_array('sub')"
    ) == [(None,) * 5]
    thief.show(good)
    assert thief.run("SELECT jwt.subject(), jwt.tenant(), jwt.claim('sub')") == [("alice", "acme", "alice")]


def test_temporary_objects_change_nothing(thief: Session) -> None:
    thief.run("CREATE TEMP TABLE keys (id text, inner_pad bytea, outer_pad bytea, retired_at timestamptz)")
    thief.run("INSERT INTO keys VALUES ('mine', repeat('6', 64)::bytea, repeat(E'\\\\134', 64)::bytea, NULL)")
    thief.run("CREATE TEMP TABLE pg_stat_get_activity (backend_start timestamptz)")
    thief.run("CREATE DOMAIN pg_temp.jsonb AS text; CREATE DOMAIN pg_temp.bigint AS text")
    thief.run("SET search_path = pg_temp, pg_catalog")

    thief.show(sign(json.dumps(thief.payload(CLAIMS)).encode(), "mine", "\0" * 64))
    assert thief.claims() is None
    thief.prove(CLAIMS)
    assert thief.run("SELECT jwt.claims(), jwt.tenant()") == [(CLAIMS, "acme")]


def test_the_session_cannot_pass_for_another_in_an_inner_function(
    database: ClaimsServer, thief: Session
) -> None:
    stolen = database.subject("alice", CLAIMS).value("SELECT current_setting('jwt.proof')")
    database.execute("DROP FUNCTION IF EXISTS public.trick()")
    thief.show(stolen)
    create = "CREATE FUNCTION public.trick() RETURNS jsonb LANGUAGE sql SECURITY DEFINER {} AS $$ {} $$"
    for setting in ("SET session_authorization = alice", "SET role = alice"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            thief.run(create.format(setting, "SELECT jwt.claims()") + "; SELECT public.trick()")
    thief.run(create.format("", "SELECT jwt.claims()"))
    assert thief.value("SELECT public.trick()") is None
    database.execute("DROP FUNCTION public.trick()")


# --- statements


def test_it_is_verified_once_for_each_statement(database: ClaimsServer, alice: Session) -> None:
    plan = "\n".join(
        row[0]
        for row in alice.run(
            "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) "
            "SELECT n FROM generate_series(1, 1000) AS n WHERE 'acme' = (SELECT jwt.tenant())"
        )
    )
    assert re.search(r"InitPlan 1.*loops=1\)", plan, re.DOTALL), plan


def test_parallel_workers_get_the_result_of_the_leader(database: ClaimsServer) -> None:
    database.execute(
        """DROP TABLE IF EXISTS public.big;
           CREATE TABLE public.big AS SELECT n, CASE n % 2 WHEN 0 THEN 'acme' ELSE 'other' END AS tenant_id
               FROM generate_series(1, 20000) AS n;
           GRANT SELECT ON public.big TO PUBLIC; SELECT jwt.protect('public.big'); ANALYZE public.big"""
    )
    session = database.subject("alice", CLAIMS)
    for setting in ("parallel_setup_cost = 0", "parallel_tuple_cost = 0", "min_parallel_table_scan_size = 0"):
        session.run(f"SET {setting}")
    session.run("SET max_parallel_workers_per_gather = 2")
    query = "SELECT count(*), min(tenant_id), max(tenant_id) FROM public.big"

    plan = "\n".join(row[0] for row in session.run(f"EXPLAIN (ANALYZE, COSTS OFF) {query}"))
    assert "Workers Launched" in plan
    assert session.run(query) == [(10_000, "acme", "acme")]
    assert session.run("SELECT count(*) FROM public.big WHERE jwt.tenant() = 'acme' AND n <= 200") == [(100,)]
    force = "force_parallel_mode" if database.major < 16 else "debug_parallel_query"
    session.run(f"SET {force} = on")
    assert session.run(query) == [(10_000, "acme", "acme")]
    assert session.run("SELECT jwt.subject(), jwt.claims() ->> 'sub'") == [("alice", "alice")]


def test_claims_are_read_on_a_server_that_does_not_write(alice: Session) -> None:
    alice.run("SET default_transaction_read_only = on")
    assert alice.claims() == CLAIMS


# --- the gateway's own


def run(*arguments: str | Path, **env: str) -> str:
    command = [str(word) for word in (find_gateway(), *arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=True, env={**os.environ, **env}
    )
    return done.stdout


@pytest.mark.parametrize(
    "claims",
    [
        CLAIMS,
        {},
        {"sub": 'o\'brien \\ "x" $$', "deep": {"a": [{"b": [1, 2.5, None, True]}]}, "long": "x" * 50_000},
    ],
    ids=["usual", "none", "odd"],
)
def test_what_the_gateway_signs_is_verified(database: ClaimsServer, tmp_path: Path, claims: Any) -> None:
    (tmp_path / "proof.key").write_text(SECRET + "\n")
    session = database.session(role="alice")
    where = session.payload(None)

    statement = run(
        *("token", "prove", "--key-file", tmp_path / "proof.key", "--key-id", KEY_ID, "--role", "alice"),
        *("--database", where["db"], "--pid", str(where["pid"]), "--start", str(where["start"])),
        *("--claims", json.dumps(claims)),
    )

    session.run(statement)
    assert session.claims() == claims
    session.run("SET ROLE bob")
    assert session.claims() is None


@pytest.mark.parametrize("pgvpd", [False, True])
def test_the_gateway_prints_what_is_installed(database: ClaimsServer, alice: Session, pgvpd: bool) -> None:
    printed = run("setup", "sql", *(["--pgvpd"] if pgvpd else []))

    database.execute(printed)
    assert alice.claims() == CLAIMS
    assert bool(database.execute("SELECT to_regproc('public.pgvpd_protect')")[0][0]) == pgvpd
    database.execute("DROP FUNCTION IF EXISTS public.pgvpd_protect(regclass, name)")
    assert database.execute("SELECT jwt.version()") == [(run("setup", "sql", "--version").strip(),)]


def test_the_gateway_installs_it(database: ClaimsServer, tmp_path: Path) -> None:
    with database.admin("postgres") as admin:
        admin.execute("CREATE ROLE installer LOGIN SUPERUSER PASSWORD 'installer-secret'")
        admin.execute("CREATE DATABASE empty")
    (tmp_path / "pgdog.toml").write_text(
        f"""
        [[databases]]
        name = "app"
        database_name = "empty"
        host = "{database.server.host}"
        port = {database.server.port}
        """
    )
    install = ("setup", "sql", "--install", "--config", tmp_path / "pgdog.toml", "--database")
    try:
        assert "version 1" in run(*install, "app", "--user", "installer", PGPASSWORD="installer-secret")
        assert "version 1" in run(*install, "app", "--user", "installer", PGPASSWORD="installer-secret")
        with database.admin("empty") as admin:
            assert admin.execute("SELECT jwt.version(), jwt.tenant()").fetchone() == ("1", None)
        for name, user, password, reason in (
            ("app", "installer", "wrong-secret", "password authentication failed"),
            ("other", "installer", "installer-secret", 'no [[databases]] with a primary of "other"'),
            ("app", "alice", "gateway-secret", "belongs to another role. Install as the role that owns it."),
        ):
            with pytest.raises(subprocess.CalledProcessError) as failed:
                run(*install, name, "--user", user, PGPASSWORD=password)
            assert reason in failed.value.stderr
            assert "secret" not in failed.value.stderr
    finally:
        with database.admin("postgres") as admin:
            admin.execute("DROP DATABASE empty")
            admin.execute("DROP ROLE installer")


# --- installing


def test_installing_again_keeps_keys_and_claims(database: ClaimsServer, alice: Session) -> None:
    database.execute("SELECT jwt.set_tenant_claim('sub')")
    try:
        database.execute(script())
        database.execute(script())
        assert alice.run("SELECT jwt.tenant(), jwt.claim('tenant_id')") == [("alice", "acme")]
    finally:
        database.execute("SELECT jwt.set_tenant_claim('tenant_id')")


def test_a_schema_of_somebody_else_is_not_taken_over(database: ClaimsServer) -> None:
    with database.admin("postgres") as admin:
        admin.execute("CREATE DATABASE squatted")
    try:
        with database.admin("squatted") as admin:
            admin.execute("CREATE SCHEMA jwt AUTHORIZATION bob")
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="belongs to another role"):
                admin.execute(script())
    finally:
        with database.admin("postgres") as admin:
            admin.execute("DROP DATABASE squatted")


def test_a_newer_version_is_not_replaced(database: ClaimsServer) -> None:
    newer = script().replace("SELECT '1' $$", "SELECT '2' $$").replace("::integer > 1", "::integer > 2")
    assert newer != script()
    database.execute(newer)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="newer"):
        database.execute(script())
    database.execute("DROP FUNCTION jwt.version()")
    database.execute(script())


def test_an_owner_without_all_rights_is_enough(database: ClaimsServer) -> None:
    with database.admin("postgres") as admin:
        admin.execute("CREATE ROLE plain_owner LOGIN PASSWORD 'gateway-secret'")
        admin.execute("CREATE DATABASE owned OWNER plain_owner")
    try:
        owner = database.session(user="plain_owner", dbname="owned")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="when a session began"):
            owner.run(script())
        owner.run("ROLLBACK")
        with database.admin("postgres") as admin:
            admin.execute("GRANT pg_read_all_stats TO plain_owner")
        owner.run(script())
        owner.run("SELECT jwt.add_key(%s, %s)", KEY_ID, SECRET)
        session = database.session(role="alice", dbname="owned")
        session.prove(CLAIMS)
        assert session.claims() == CLAIMS
    finally:
        database.close_sessions()
        with database.admin("postgres") as admin:
            admin.execute("DROP DATABASE owned")
            admin.execute("DROP ROLE plain_owner")
