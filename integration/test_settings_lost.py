"""A server that ends before it has said what settings a session has: the session goes on with the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from harness import wire as w
from harness.line import CUT, Line, Part
from harness.target import Target
from harness.wire import Wire

MakeGateway = Callable[..., Target]

LOST = "08006"
SET = "SELECT set_config('work_mem', '9MB', false)"
REQUESTS = {"simple": w.query(SET), "extended": w.extended(SET), "SET": w.query("SET work_mem = '9MB'")}
ASKS = b"pg_settings"


@pytest.fixture
def line(cluster: Any) -> Line:
    return Line(cluster.primary.port)


def behind(make_gateway: MakeGateway, line: Line, **general: Any) -> Target:
    databases = [{"name": "demo", "host": "127.0.0.1", "port": line.port, "role": "primary"}]
    return make_gateway(general={"tls_verify": "disabled", **general}, databases=databases)


def cuts_when_asked(data: bytes) -> Iterable[Part]:
    """As a server that ends when the gateway asks for the settings."""
    return [CUT] if ASKS in data else [data]


def show(wire: Wire) -> str | None:
    return wire.value("SHOW work_mem")


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_one_error_says_so_and_the_session_goes_on(
    make_gateway: MakeGateway, line: Line, request_: bytes
) -> None:
    target = behind(make_gateway, line)
    with target.wire("alice", work_mem="6MB") as wire:
        wire.query("SET maintenance_work_mem = '40MB'")
        # The gateway has asked for the settings by the time of the next answer.
        wire.value("SELECT 1")
        line.to_server = cuts_when_asked
        wire.send(request_)
        assert "E" not in w.types_of(wire.until_ready())

        error = w.error_of(wire.query("SELECT 1"))

        line.to_server = lambda data: [data]
        assert (error["C"], error["S"]) == (LOST, "ERROR")
        assert "settings" in error["M"]
        assert show(wire) == "6MB"
        assert wire.value("SHOW maintenance_work_mem") == "40MB"


def test_a_batch_hears_it_once(make_gateway: MakeGateway, line: Line) -> None:
    target = behind(make_gateway, line)
    with target.wire("alice") as wire:
        line.to_server = cuts_when_asked
        wire.query(SET)
        answer = (wire.send(w.extended("SELECT 1")), wire.until_ready())[1]
        line.to_server = lambda data: [data]

        assert w.types_of(answer) == "EZ"
        assert w.error_of(answer)["C"] == LOST
        assert wire.value("SELECT 1") == "1"


def test_a_session_that_is_held_to_its_server_ends(make_gateway: MakeGateway, line: Line) -> None:
    target = behind(make_gateway, line)
    with target.wire("alice") as wire:
        wire.query("CREATE TEMP TABLE kept ()")
        line.to_server = cuts_when_asked
        wire.send(w.query(SET))
        last = wire.receive_until("E")[-1]
        assert (last.fields["C"], last.fields["S"]) == (LOST, "FATAL")
        assert wire.closed_by_peer()
