"""Claims that the database verifies: proofs that prove nothing, in every way that we could think of."""

from __future__ import annotations

import json
import time
from typing import Any

import psycopg
import pytest

from harness import eventually
from harness.proof import (
    CLAIMS,
    GARBAGE,
    KEY_ID,
    ClaimsServer,
    Session,
    base64url,
    nothing_or_data_error,
    sign,
)


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
        pytest.param({"exp": int(time.time()) - 1}, id="just expired"),
        {"exp": 0},
        {"exp": None},
    ],
    ids=str,
)
def test_a_proof_for_something_else_is_nothing(verifier: ClaimsServer, changes: dict[str, Any]) -> None:
    session = verifier.session(role="alice")
    session.prove(CLAIMS, **changes)
    assert session.run(
        "SELECT jwt.claims(), jwt.subject(), jwt.tenant(), jwt.claim('sub'), jwt.claim_array('sub')"
    ) == [(None,) * 5]


def test_a_microsecond_makes_it_another_session(verifier: ClaimsServer) -> None:
    session = verifier.session(role="alice")
    start = session.value("SELECT jwt.backend_start()")
    session.prove(CLAIMS, start=start)
    assert session.claims() == CLAIMS
    for other in (start - 1, start + 1):
        session.prove(CLAIMS, start=other)
        assert session.claims() is None


@pytest.mark.parametrize("claims", [None, "text", ["list"], 1, True])
def test_claims_that_are_no_object_are_nothing(verifier: ClaimsServer, claims: Any) -> None:
    session = verifier.session(role="alice")
    session.prove(claims)
    assert session.claims() is None


def test_no_changed_character_goes_unnoticed(proven: Session) -> None:
    proof = proven.proof(CLAIMS)
    changed = [
        proof[:place] + other + proof[place + 1 :]
        for place in [*range(0, len(proof), 7), *range(len(proof) - 44, len(proof))]
        for other in "AB"
        if proof[place] != other
    ]
    for value in changed:
        proven.show(value)
        assert proven.claims() is None, value
    proven.show(proof)
    assert proven.claims() == CLAIMS


def test_a_mac_has_one_form(proven: Session) -> None:
    """The last character of base64url holds two bits that decoding ignores."""
    proof = proven.proof(CLAIMS)
    for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_":
        proven.show(proof[:-1] + last)
        assert (proven.claims() is not None) == (last == proof[-1])


def test_a_mac_under_anything_but_the_key_is_nothing(verifier: ClaimsServer) -> None:
    session = verifier.session(role="alice")
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


@pytest.mark.parametrize("value", GARBAGE, ids=lambda value: repr(value[:20]))
def test_garbage_is_nothing_and_no_error(proven: Session, value: str) -> None:
    proven.show(value)
    assert proven.claims() is None


@pytest.mark.parametrize(
    "value", [b"\xff", b"\xc1\x81", b"v1.k1.\xe3.x", b"v1.k1.\xc1\x81." + b"A" * 43, b"\xf0\x9f"]
)
def test_broken_text_from_a_start_up_packet_is_nothing(verifier: ClaimsServer, value: bytes) -> None:
    """PostgreSQL does not check the encoding of settings in a start-up packet."""
    try:
        session = verifier.session(
            role="alice", options="-c jwt.proof=" + value.decode("utf-8", "surrogateescape")
        )
    except (psycopg.OperationalError, UnicodeEncodeError):
        return
    assert nothing_or_data_error(session)


@pytest.mark.parametrize(
    "payload",
    [b"", b"{}", b"[]", b"null", b"x", b"{", b"\xff", b'{"a":', b'"\\u0000"', b'{"claims":{"a":"\\u0000"}}'],
)
def test_a_key_holder_that_signs_nonsense_proves_nothing(proven: Session, payload: bytes) -> None:
    proven.show(sign(payload) if payload else sign(b"x").replace(base64url(b"x"), ""))
    assert nothing_or_data_error(proven)


def test_nul_in_a_claim_is_nothing_and_no_error(proven: Session) -> None:
    proven.prove(CLAIMS | {"note": "a\0b"})
    assert proven.claims() is None


def test_a_proof_without_a_session_of_its_own_is_nothing(
    verifier: ClaimsServer, proven: Session, thief: Session
) -> None:
    stolen = proven.value("SELECT current_setting('jwt.proof')")
    again = verifier.session(role="alice")

    for other in (
        thief,
        again,
        verifier.session(user="alice"),
        verifier.session(user="bob"),
        verifier.session(),
    ):
        other.show(stolen)
        assert other.claims() is None
    assert proven.claims() == CLAIMS


def test_a_parallel_session_without_any_proof_is_nothing(thief: Session) -> None:
    assert thief.claims() is None
    thief.run("SET jwt.proof = ''")
    assert thief.claims() is None
    thief.run("RESET jwt.proof")
    assert thief.claims() is None


def test_who_leaves_the_role_leaves_the_claims(proven: Session) -> None:
    for statement in ("SET ROLE bob", "SET ROLE none", "RESET ROLE", "SET SESSION AUTHORIZATION DEFAULT"):
        proven.run(statement)
        assert proven.claims() is None, statement
        proven.run("SET ROLE alice")
        assert proven.claims() == CLAIMS


def test_a_role_of_a_group_is_another_role(verifier: ClaimsServer) -> None:
    session = verifier.session(user="alice")
    session.prove(CLAIMS)
    session.run("SET ROLE team")
    assert session.claims() is None


def test_claims_expire_in_the_middle_of_a_transaction(verifier: ClaimsServer) -> None:
    session = verifier.session(role="alice")
    session.prove(CLAIMS, exp=int(time.time()) + 2)
    session.run("BEGIN ISOLATION LEVEL REPEATABLE READ")
    assert session.claims() == CLAIMS
    eventually(lambda: session.claims() is None, "expiry")


def test_claims_expire_for_prepared_statements_and_cursors(verifier: ClaimsServer) -> None:
    session = verifier.session(role="alice")
    session.prove(CLAIMS)
    session.run("PREPARE who AS SELECT jwt.subject()")
    for _ in range(10):
        assert session.run("EXECUTE who") == [("alice",)]
    session.prove(CLAIMS, exp=1)
    assert session.run("EXECUTE who") == [(None,)]
