"""A text that is not SQL does not reach PostgreSQL, and gets PostgreSQL's own error."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from harness import wire as w
from harness.target import Target

TEXTS = [
    "selec 1",
    "SELECT 1 FROM FROM notes",
    "SELECT 'ü', \"ü\"\nFROM FROM notes",
    "SELECT 1; SELEC 2",
    "SELECT (1",
    "SELECT (1))",
    "SELECT 'not ended",
    'SELECT "not ended',
    "SELECT $tag$ not ended",
    "SELECT /* not ended",
    "INSERT INTO notes VALUES (1,,2)",
    "CREATE TABLE t (a int,)",
    "SELECT 1 LIMIT 1, 2",
    "SELECT a.b.c.d.e.f FROM a",
    "SELECT U&'\\00zz'",
    "UPDATE notes SET",
    "CREATE ROLE public",
    "CREATE ASSERTION a CHECK (true)",
]


@pytest.fixture(scope="module")
def said_by_postgresql(cluster: Any) -> dict[str, tuple[str | None, ...]]:
    said = {}
    with cluster.admin() as admin:
        for text in TEXTS:
            with pytest.raises(psycopg.Error) as raised:
                admin.execute(text)
            found = raised.value.diag
            said[text] = (found.sqlstate, found.message_primary, found.statement_position)
    return said


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("batch", [False, True], ids=["simple", "extended"])
def test_it_is_postgresqls(
    text: str, batch: bool, one_server: Target, said_by_postgresql: dict[str, tuple[str | None, ...]]
) -> None:
    code, message, position = said_by_postgresql[text]
    with one_server.wire("alice") as wire:
        wire.send(w.parse(text) + w.SYNC if batch else w.query(text))
        error = w.error_of(wire.until_ready())

        assert (error["C"], error["M"]) == (code, message)
        # Where a word is not what the text has in its place, the position may be missing.
        assert error.get("P", position) == position
        assert wire.value("SELECT 1") == "1"


def test_nothing_of_the_text_is_in_the_log(one_server: Target) -> None:
    with one_server.wire("alice") as wire:
        error = w.error_of(wire.query("SELECT 'a-secret"))

        assert "a-secret" in error["M"]
    assert "a-secret" not in one_server.gateway.log_text()


def test_a_syntax_error_is_a_mistake_and_no_refusal(make_gateway: Any) -> None:
    target = make_gateway()
    with target.wire("alice") as wire:
        texts = ("selec 1", "SELECT 1 FROM FROM notes", "SET ROLE bob")
        errors = [
            message.fields["C"] for text in texts for message in wire.query(text) if message.type == "E"
        ]
    assert errors == ["42601", "42601", "42501"]
    refused = [one for one in target.gateway.log() if one.get("reason") == "statement_refused"]
    assert [one["sqlstate"] for one in refused] == ["42501"]
