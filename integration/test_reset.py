"""RESET leads back to what the client asked for when it logged in, as in a session of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness import wire as w
from harness.target import Target
from harness.wire import Wire

OPTIONS = {"options": "-c search_path=mine -c datestyle=German -c app.colour=blue"}


@pytest.fixture
def session(pooled: Target) -> Iterator[Wire]:
    with pooled.wire("alice", **OPTIONS) as wire:
        yield wire


@pytest.mark.parametrize(
    "reset", ["RESET search_path", "SET search_path TO DEFAULT", "RESET ALL", "DISCARD ALL"]
)
def test_it_leads_back_to_the_value_of_the_start(session: Wire, reset: str) -> None:
    for before in ("SELECT 1", "SET search_path = x"):
        session.query(before)
        session.query(reset)

        assert session.value("SHOW search_path") == "mine"
        assert session.value("SHOW datestyle").startswith("German")


def test_also_for_a_variable_of_the_application(session: Wire) -> None:
    session.query("SET app.colour = 'red'")
    session.query("RESET app.colour")

    assert session.value("SHOW app.colour") == "blue"


def test_also_inside_a_transaction(session: Wire) -> None:
    session.query("SET search_path = x")
    session.query("BEGIN")
    session.query("RESET search_path")
    assert session.value("SHOW search_path") == "mine"

    session.query("ROLLBACK")
    assert session.value("SHOW search_path") == "x"


def test_also_for_a_query_in_the_same_write(session: Wire) -> None:
    session.query("SET search_path = x")
    session.send(w.query("RESET search_path"), w.query("SHOW search_path"))

    session.until_ready()
    assert [message.row for message in session.until_ready() if message.type == "D"] == [("mine",)]


def test_also_in_the_extended_protocol(session: Wire) -> None:
    session.query("SET search_path = x")
    session.send(w.extended("RESET search_path"), w.extended("SHOW search_path"))

    session.until_ready()
    assert [message.row for message in session.until_ready() if message.type == "D"] == [("mine",)]


def test_the_unnamed_statement_is_none_of_its_business(session: Wire) -> None:
    session.send(w.parse("SELECT 'unnamed'"), w.SYNC)
    session.until_ready()
    session.send(w.parse("RESET search_path", "reset"), w.bind((), "reset"), w.execute(), w.SYNC)
    session.until_ready()
    session.send(w.bind(), w.execute(), w.SYNC)

    assert [message.row for message in session.until_ready() if message.type == "D"] == [("unnamed",)]


def test_a_reset_that_is_skipped_holds_nothing_up(session: Wire) -> None:
    session.send(w.execute("no portal"), w.query("RESET work_mem"), w.parse("SELECT 1", "skipped"), w.SYNC)

    assert w.types_of(session.until_ready()) == "EZ"
    assert session.value("SELECT 1") == "1"


def test_the_client_is_told(session: Wire) -> None:
    session.query("SET datestyle = ISO")
    replies = session.query("RESET datestyle") + session.query("SELECT 1")

    told = [
        message.body for message in replies if message.type == "S" and message.body.startswith(b"DateStyle")
    ]
    assert told[-1].startswith(b"DateStyle\0German")


def test_another_client_has_its_own(pooled: Target, session: Wire) -> None:
    with pooled.wire("alice") as other:
        session.query("RESET ALL")
        assert other.value("SHOW search_path") == '"$user", public'
