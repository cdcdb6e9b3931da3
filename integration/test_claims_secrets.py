"""Claims that the database verifies: no session reads the keys or is taken for another."""

from __future__ import annotations

import base64
import hashlib
import json

import psycopg
import pytest

from harness.proof import CLAIMS, GARBAGE, KEY_ID, SECRET, ClaimsServer, Session, script, sign


def test_nobody_reads_the_keys(thief: Session, proven: Session) -> None:
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
    assert proven.claims() == CLAIMS


def test_default_privileges_do_not_open_the_keys(verifier: ClaimsServer) -> None:
    """`ALTER DEFAULT PRIVILEGES … GRANT SELECT` is common, and holds for tables that scripts make."""
    with verifier.admin("postgres") as admin:
        admin.execute("CREATE DATABASE open_by_default")
    try:
        with verifier.admin("open_by_default") as admin:
            for grant in (
                "ALL ON TABLES TO PUBLIC",
                "ALL ON TABLES TO bob",
                "ALL ON SCHEMAS TO bob",
                "ALL ON FUNCTIONS TO bob",
            ):
                admin.execute(f"ALTER DEFAULT PRIVILEGES GRANT {grant}")
            admin.execute(script())
        thief = verifier.session(user="bob", dbname="open_by_default")
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
        verifier.close_sessions()
        with verifier.admin("postgres") as admin:
            admin.execute("DROP DATABASE open_by_default")


def test_no_message_shows_a_key_or_a_mac(verifier: ClaimsServer, proven: Session) -> None:
    """A session may ask to be shown parse trees and plans, also of what functions of others run. Constants
    are in them: were the expected MAC one, everybody could sign."""
    pads = verifier.execute("SELECT inner_pad, outer_pad FROM jwt.keys WHERE id = %s", KEY_ID)[0]
    payload = json.dumps(proven.payload(CLAIMS | {"sub": "bob"})).encode()
    mac = sign(payload).rsplit(".", 1)[1]
    raw_mac = base64.urlsafe_b64decode(mac + "=")
    digests = [hashlib.sha256(text).digest() for text in (mac.encode(), raw_mac)]
    forged = sign(payload, secret="another secret that nobody shares with us")
    for setting in ("debug_print_parse", "debug_print_rewritten", "debug_print_plan"):
        proven.run(f"SET {setting} = on")
    proven.run("SET client_min_messages = debug5")
    proven.messages.clear()

    for proof in (forged, proven.value("SELECT current_setting('jwt.proof')")):
        proven.show(proof)
        for _ in range(7):  # plans with parameters become generic ones
            proven.run("SELECT jwt.claims(), jwt.tenant()")

    shown = "".join("".join(proven.messages).split())  # long lines are broken anywhere
    assert "outer_pad" in shown, "the plans of the functions are not shown"
    for secret in (SECRET.encode(), *pads, mac.encode(), raw_mac, *digests):
        signed = "".join(str(byte - 256 if byte > 127 else byte) for byte in secret[:16])
        for text in ("".join(secret.decode("latin-1").split()), secret.hex()[:32], signed):
            assert text not in shown


def test_another_meaning_of_strings_changes_nothing(verifier: ClaimsServer) -> None:
    session = verifier.session(role="alice")
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


def test_shadows_in_the_search_path_change_nothing(verifier: ClaimsServer, thief: Session) -> None:
    verifier.execute("DROP SCHEMA IF EXISTS evil CASCADE; GRANT CREATE ON DATABASE app TO PUBLIC")
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
    verifier: ClaimsServer, thief: Session
) -> None:
    stolen = verifier.subject("alice", CLAIMS).value("SELECT current_setting('jwt.proof')")
    verifier.execute("DROP FUNCTION IF EXISTS public.trick()")
    thief.show(stolen)
    create = "CREATE FUNCTION public.trick() RETURNS jsonb LANGUAGE sql SECURITY DEFINER {} AS $$ {} $$"
    for setting in ("SET session_authorization = alice", "SET role = alice"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            thief.run(create.format(setting, "SELECT jwt.claims()") + "; SELECT public.trick()")
    thief.run(create.format("", "SELECT jwt.claims()"))
    assert thief.value("SELECT public.trick()") is None
    verifier.execute("DROP FUNCTION public.trick()")
