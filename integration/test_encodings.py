"""Sessions that do not speak UTF-8, with names and values beyond ASCII.

The gateway's own requests are UTF-8, whatever a session has chosen.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.target import Target
from harness.wire import SYNC, Wire, bind, error_of, execute, parse, types_of

ZOE = "Zoë".encode().hex()
NOTE = "encode(convert_to(current_setting('app.note', true), 'UTF8'), 'hex')"
KEEP_NOTE = f"SELECT set_config('app.note', convert_from('\\x{ZOE}', 'UTF8'), false) IS NULL"
# What the guard does not change for a variable from a claim.
VARIABLE = {"session": {"variables": {"app.person": {"value": "{person}", "default": ""}}}}
PERSON = "encode(convert_to(current_setting('app.person', true), 'UTF8'), 'hex')"


def latin(target: Target, **claims: str) -> Wire:
    token = target.issuer.token("alice", **claims)
    return target.wire("alice", password=token, client_encoding="LATIN1")


def test_a_setting_follows_its_session(make_gateway: Callable[..., Target]) -> None:
    target = make_gateway(general={"default_pool_size": 2})
    with latin(target) as wire, target.wire("alice") as other:
        wire.query(KEEP_NOTE)
        other.query("BEGIN")
        first = other.value("SELECT pg_backend_pid()")

        # One of the two has the first session's server.
        found = [wire.rows(f"SELECT pg_backend_pid(), {NOTE}") for _ in range(2)]
        other.query("COMMIT")
        with target.wire("alice") as third:
            third.query("BEGIN")
            taken = third.value("SELECT pg_backend_pid()")
            found.append(wire.rows(f"SELECT pg_backend_pid(), {NOTE}"))

    assert first
    assert taken
    assert {row[0][1] for row in found} == {ZOE}
    assert wire.parameters["client_encoding"] == "LATIN1"


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_answers_keep_the_encoding_of_the_session(make_gateway: Callable[..., Target], mode: str) -> None:
    target = make_gateway(general={"pooler_mode": mode, "default_pool_size": 2}, jwt={"guard": "standard"})
    with latin(target) as wire:
        wire.query(KEEP_NOTE)
        for sql in ("SELECT chr(235)", "DISCARD ALL", "SELECT chr(235)", "RESET ALL", "SELECT chr(235)"):
            rows = [message.body for message in wire.query(sql) if message.type == "D"]

            assert rows in ([], [b"\0\1\0\0\0\1\xeb"]), sql


@pytest.mark.parametrize("mode", ["transaction", "session"])
@pytest.mark.parametrize("guard", ["strict", "standard"])
def test_a_claim_beyond_ascii(make_gateway: Callable[..., Target], mode: str, guard: str) -> None:
    jwt = VARIABLE | {"guard": guard}
    target = make_gateway(general={"pooler_mode": mode, "default_pool_size": 1}, jwt=jwt)
    with latin(target, person="Zoë") as wire:
        for sql in (
            "BEGIN",
            "SELECT 1",
            "RESET ALL",
            "SELECT 2",
            "COMMIT",
            "RESET ALL",
            "DISCARD ALL",
            "SELECT 3",
        ):
            assert "E" not in types_of(wire.query(sql)), sql
            assert wire.value(f"SELECT {PERSON}") == ZOE, sql

        statement = f"SELECT {PERSON}"
        batch = [part for _ in range(3) for part in (parse(statement), bind(), execute())]
        wire.send(*batch, SYNC)
        answer = wire.until_ready()

        assert [message.row for message in answer if message.type == "D"] == [(ZOE,)] * 3
        assert wire.query("SELECT chr(235)")[1].body.endswith(b"\xeb")


@pytest.mark.parametrize("person", ["Bob", "Zoë"])
@pytest.mark.parametrize("guard", ["strict", "standard"])
@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_reset_leads_back_to_the_encoding_of_the_start_up_packet(
    make_gateway: Callable[..., Target], mode: str, guard: str, person: str
) -> None:
    target = make_gateway(general={"pooler_mode": mode}, jwt=VARIABLE | {"guard": guard})
    with latin(target, person=person) as wire:
        for sql in ("RESET client_encoding", "RESET ALL", "DISCARD ALL", "SET client_encoding TO DEFAULT"):
            for begin, end in (("SELECT 1", "SELECT 1"), ("BEGIN", "COMMIT")):
                if sql == "DISCARD ALL" and begin == "BEGIN":
                    continue
                wire.query(begin)
                wire.query("SET client_encoding TO 'UTF8'")
                # What the client has been told last in front of ReadyForQuery is what the server reads.
                told = [each.body for each in wire.query(sql) if each.type == "S"]
                assert [body for body in told if body.startswith(b"client_encoding")][-1:] == [
                    b"client_encoding\0LATIN1\0"
                ], sql
                assert wire.value("SHOW client_encoding") == "LATIN1"
                assert wire.query("SELECT chr(235)")[1].body.endswith(b"\0\1\xeb")
                assert wire.value("SELECT octet_length('é')") == "4"
                wire.query(end)
                wire.send(parse(sql), bind(), execute(), SYNC)
                wire.until_ready()
                assert wire.value("SHOW client_encoding") == "LATIN1"


def test_a_variable_is_not_hidden_by_an_encoding(make_gateway: Callable[..., Target]) -> None:
    """In another encoding, what the gateway asks for would be what the code has set."""
    target = make_gateway(jwt=VARIABLE | {"guard": "standard"})
    token = target.issuer.token("alice", person="Zoë")
    hidden = "Zoë".encode().decode("latin-1").encode().hex()
    with target.wire("alice", token) as wire:
        code = (
            "DO $$ BEGIN PERFORM set_config('client_encoding', 'LATIN1', false);"
            f" PERFORM set_config('app.person', convert_from('\\x{hidden}', 'UTF8'), false); END $$"
        )
        wire.send(*(parse(sql) + bind() + execute() for sql in (code, f"SELECT {PERSON}", "SELECT 1")), SYNC)
        answer = wire.until_ready()

        assert error_of(answer)["C"] == "42501"
        assert not [each for each in answer if each.type == "D"]
        assert wire.value(f"SELECT {PERSON}") == ZOE


def test_an_encoding_may_change_within_a_batch(make_gateway: Callable[..., Target]) -> None:
    target = make_gateway(jwt=VARIABLE | {"guard": "standard"})
    with latin(target, person="Zoë") as wire:
        for encoding, letter in (("UTF8", b"\xc3\xab"), ("LATIN1", b"\xeb"), ("EUC_JP", b"\x8f\xab\xb3")):
            change = f"SET client_encoding TO '{encoding}'"
            texts = (change, "SELECT chr(235)", "SELECT chr(235)")
            wire.send(*(parse(sql) + bind() + execute() for sql in texts), SYNC)
            rows = [each.body for each in wire.until_ready() if each.type == "D"]

            assert [body[6:] for body in rows] == [letter] * 2, encoding


@pytest.mark.parametrize("guard", ["strict", "standard"])
def test_the_next_client_has_its_own_encoding(make_gateway: Callable[..., Target], guard: str) -> None:
    target = make_gateway(
        general={"default_pool_size": 1}, jwt=VARIABLE | {"guard": guard, "shared_pool": True}
    )
    with latin(target, person="Zoë") as wire, target.wire("bob") as other:
        for _ in range(2):
            assert wire.value(f"SELECT {PERSON}") == ZOE
            assert wire.query("SELECT chr(235)")[1].body.endswith(b"\0\1\xeb")
            assert other.value(f"SELECT {PERSON}") in ("", None)
            assert other.value("SELECT chr(235)") == "ë"


@pytest.mark.parametrize("guard", ["strict", "standard"])
@pytest.mark.parametrize("statements", ["extended", "disabled"])
@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_an_unnamed_statement_outlives_its_batch(
    make_gateway: Callable[..., Target], guard: str, statements: str, mode: str
) -> None:
    if (mode, statements) == ("transaction", "disabled"):
        pytest.skip("servers are shared, and statements do not follow")
    general = {"pooler_mode": mode, "prepared_statements": statements, "default_pool_size": 1}
    target = make_gateway(general=general, jwt={"guard": guard})
    with target.wire("alice") as wire:
        wire.send(parse("SELECT current_user || $1"), SYNC)
        assert types_of(wire.until_ready()) == "1Z"
        for value in ("-1", "-2", "-3"):
            wire.send(bind([value]), execute(), SYNC)
            assert [message.row for message in wire.until_ready() if message.type == "D"] == [
                (f"alice{value}",)
            ]
