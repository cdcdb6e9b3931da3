"""One issuer misbehaves; the logins of another go on, and the first one's work again once it is well.

Nothing is timed. Where an issuer keeps a login waiting, the other one's logins are made while that login is
known to wait.
"""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from psycopg.rows import dict_row

from harness import Issuer, eventually
from harness import hostile_server as scripts
from harness.hostile_server import Connection, HostileServer, Script, serving
from harness.neighbour import ADMIN, beside, refused, who
from harness.target import Target

MakeGateway = Callable[..., Target]

BAD = "https://bad.example"
MEGABYTE = 1024 * 1024
# Longer than a test takes, shorter than a login may.
PATIENT = {"jwks_timeout": 50_000}


@pytest.fixture
def bad() -> Issuer:
    """Tokens of the issuer that misbehaves. Where its keys are, a test decides."""
    return Issuer("ES256", name=BAD, serve=False)


@pytest.fixture(name="beside")
def make_beside(make_gateway: MakeGateway, issuer: Issuer) -> Callable[..., Target]:
    """A gateway for the usual issuer and the one that misbehaves."""
    return beside(make_gateway, issuer, BAD)


def logins(target: Target, count: int) -> list[str | None]:
    """Logins of the good issuer, several at a time, each with a token of its own."""
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        return list(pool.map(lambda _: who(target, target.issuer.token("alice")), range(count)))


def show(target: Target) -> list[dict[str, Any]]:
    with target.connect("admin", ADMIN["password"], dbname="admin", row_factory=dict_row) as console:
        return console.execute("SHOW KEYS").fetchall()


def row_of_bad(target: Target) -> dict[str, Any]:
    return next(row for row in show(target) if row["issuer"] == BAD)


@pytest.mark.parametrize(
    "script",
    [
        scripts.silent,
        scripts.half_a_head_then_silence,
        scripts.head_then_silence,
        scripts.half_a_body_then_silence,
        scripts.drip,
    ],
    ids=lambda script: script.__name__,
)
def test_logins_go_on_while_one_waits_for_another_issuer(
    beside: Callable[..., Target], bad: Issuer, script: Script
) -> None:
    with HostileServer(script) as server, concurrent.futures.ThreadPoolExecutor(5) as pool:
        target = beside(jwks_url=server.url, **PATIENT)
        waiting = [pool.submit(refused, target, bad.token("alice")) for _ in range(5)]
        try:
            eventually(lambda: server.asked > 0, "a fetch")

            assert logins(target, 50) == ["alice"] * 50

            assert not any(login.done() for login in waiting), "they wait for their own issuer alone"
            assert server.asked == 1, "all of them share one fetch"
        finally:
            server.release()
        assert all(login.result(60) for login in waiting)


def test_an_issuer_that_drips_is_given_up(beside: Callable[..., Target], bad: Issuer) -> None:
    with HostileServer(scripts.drip) as server:
        target = beside(jwks_url=server.url, jwks_timeout=500)
        assert refused(target, bad.token("alice"))
        assert "did not answer in time" in row_of_bad(target)["problem"]
        assert logins(target, 10) == ["alice"] * 10


def page(connection: Connection) -> None:
    connection.answer(200, "<html><body>Sign in", Content_Type="text/html; charset=utf-8")


def wrong_type(connection: Connection) -> None:
    connection.answer(200, '{"keys": []}', Content_Type="image/png")


def many_headers(connection: Connection) -> None:
    connection.answer(200, '{"keys": []}', **{f"X_{number}": "x" * 1000 for number in range(90)})


def one_endless_header(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        connection.send(scripts.CHUNK)


def redirect(connection: Connection) -> None:
    connection.answer(302, Location="http://127.0.0.1:1/keys")


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        (scripts.drop, "cannot be reached"),
        (lambda connection: connection.answer(500, "busy"), "status 500"),
        (lambda connection: connection.answer(404), "status 404"),
        (lambda connection: connection.answer(304), "status 304"),
        (lambda connection: connection.answer(200, "half a ke"), "not a JSON Web Key Set"),
        (lambda connection: connection.answer(200), "not a JSON Web Key Set"),
        (page, "text/html"),
        (wrong_type, "image/png"),
        (redirect, "redirects"),
        (scripts.large, "larger than"),
        (scripts.large_without_length, "larger than"),
        (scripts.endless, "larger than"),
        (many_headers, "larger than"),
        (one_endless_header, "cannot be reached"),
    ],
    ids=[
        *("drop", "500", "404", "304", "garbage", "nothing", "page", "wrong_type", "redirect", "large"),
        *("large_without_length", "endless", "many_headers", "one_endless_header"),
    ],
)
def test_whatever_an_issuer_answers_only_its_own_logins_fail(
    beside: Callable[..., Target], bad: Issuer, script: Script, problem: str
) -> None:
    with HostileServer(script) as server:
        target = beside(jwks_url=server.url)
        assert who(target, target.issuer.token("alice")) == "alice"
        before = target.gateway.memory()

        for _ in range(5):
            assert refused(target, bad.token("alice"))
            assert logins(target, 5) == ["alice"] * 5

        assert problem in row_of_bad(target)["problem"]
        assert row_of_bad(target)["state"] == "missing"
        assert target.gateway.memory() - before < 50 * MEGABYTE
        server.script = serving([bad.key.jwk])
        eventually(
            lambda: who(target, bad.token("alice")) == "alice", "a login after the issuer was mended", 60
        )


def test_an_issuer_that_is_down_at_the_start_delays_nobody_and_is_found_again(
    beside: Callable[..., Target], bad: Issuer
) -> None:
    publisher = Issuer("ES256", name=BAD)
    assert publisher.server
    with publisher.server.unreachable():
        target = beside(jwks_url=publisher.jwks_url)
        assert logins(target, 10) == ["alice"] * 10
        assert refused(target, publisher.token("alice"))
        assert row_of_bad(target)["state"] == "missing"

    eventually(lambda: row_of_bad(target)["state"] == "fresh", "keys, without a login that asks for them", 60)
    assert who(target, publisher.token("alice")) == "alice"
    publisher.close()


@pytest.fixture
def publisher() -> Iterator[Issuer]:
    """The second issuer, with a server that works."""
    issuer = Issuer("ES256", name=BAD)
    yield issuer
    issuer.close()


def changes(target: Target) -> list[dict[str, Any]]:
    """The events of changed key sets of the second issuer."""
    events = [event for event in target.gateway.log() if event.get("message") == "key set changed"]
    return [event for event in events if target.issuer.jwks_url != event["source"]]


def test_each_change_of_a_key_set_is_one_event(beside: Callable[..., Target], publisher: Issuer) -> None:
    target = beside(jwks_url=publisher.jwks_url)
    first = publisher.key.kid
    assert who(target, publisher.token("alice")) == "alice"

    second = publisher.rotate().kid
    assert who(target, publisher.token("alice")) == "alice"
    # Asked again for a key that is not there: nothing has changed.
    assert refused(target, publisher.token("alice", headers={"kid": "unknown"}))

    named = [(event["level"], event["added"], event["removed"], event["keys"]) for event in changes(target)]
    assert named == [("INFO", [first], [], 1), ("INFO", [second], [first], 1)]


def test_a_key_that_was_removed_stops_although_nobody_asks(
    beside: Callable[..., Target], publisher: Issuer
) -> None:
    target = beside(jwks_url=publisher.jwks_url, jwks_cache_ttl=1)
    old = publisher.token("alice")
    assert who(target, old) == "alice"

    removed = publisher.key.kid
    publisher.rotate()

    eventually(lambda: any(removed in event["removed"] for event in changes(target)), "the change", 30)
    assert refused(target, old), "also where the token was remembered"
    assert who(target, publisher.token("alice")) == "alice"


def test_an_issuer_that_rotates_all_the_time_troubles_nobody_else(
    beside: Callable[..., Target], publisher: Issuer
) -> None:
    target = beside(jwks_url=publisher.jwks_url)
    stop = threading.Event()

    def rotate() -> None:
        while not stop.wait(1.0):
            publisher.rotate()

    thread = threading.Thread(target=rotate, daemon=True)
    thread.start()
    try:
        for _ in range(5):
            assert logins(target, 10) == ["alice"] * 10
    finally:
        stop.set()
        thread.join()
    eventually(lambda: who(target, publisher.token("alice")) == "alice", "its newest key")


def test_two_keys_of_one_name_both_count(beside: Callable[..., Target], publisher: Issuer) -> None:
    assert publisher.server
    first, second = publisher.key, publisher.add_key("ES256")
    publisher.server.keys = [key.jwk | {"kid": "same"} for key in (first, second, first)]
    target = beside(jwks_url=publisher.jwks_url)

    for key in (first, second):
        assert who(target, publisher.token("alice", key=key, headers={"kid": "same"})) == "alice"

    rows = [row for row in show(target) if row["issuer"] == BAD]
    assert [row["kid"] for row in rows] == ["same", "same", None]
    assert "already" in rows[2]["problem"]
    warnings = [event for event in target.gateway.log() if event["level"] == "WARN" and event.get("skipped")]
    assert len(warnings) == 1


def test_more_keys_than_may_be_are_not_looked_at(beside: Callable[..., Target], publisher: Issuer) -> None:
    first = publisher.key
    last = [publisher.add_key("ES256") for _ in range(4)][-1]
    target = beside(jwks_url=publisher.jwks_url, jwks_max_keys=4)

    assert who(target, publisher.token("alice", key=first)) == "alice"
    assert refused(target, publisher.token("alice", key=last))
