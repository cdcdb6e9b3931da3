"""Cancel requests for nobody: limited, counted and on record, without hindering anybody's own."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from harness import eventually
from harness import wire as w
from harness.activity import await_sleep, sleep_statement
from harness.ports import free_port
from harness.target import Target
from harness.wire import Wire

MakeGateway = Callable[..., Target]
CANCELLED = "57014"


@pytest.fixture
def target(make_gateway: MakeGateway) -> Target:
    """Five guesses of an address, and no more for a long while."""
    limits = {"cancel_failures_per_address": 1, "cancel_failures_per_address_burst": 5}
    watched = {"openmetrics_host": "127.0.0.1", "openmetrics_port": free_port()}
    return make_gateway(general={**limits, **watched})


def cancel(target: Target, key: bytes) -> None:
    with Wire(target.host, target.port) as wire:
        wire.send(w.cancel_request(key))
        assert wire.closed_by_peer()


def outcomes(target: Target) -> dict[str, int]:
    port = target.gateway.config["general"]["openmetrics_port"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    found = [line for line in lines if line.startswith("pgdog_jwt_cancel_requests_total{")]
    return {line.split('"')[1]: int(line.rsplit(" ", 1)[1]) for line in found}


def events(target: Target) -> list[dict[str, Any]]:
    return [event for event in target.gateway.log() if event.get("message") == "cancel"]


def wrong(key: bytes) -> bytes:
    return key[:-1] + bytes([key[-1] ^ 1])


def test_guesses_are_counted_limited_and_on_record(target: Target) -> None:
    with target.wire("alice") as wire:
        cancel(target, wrong(wire.cancel_key))
        for _ in range(6):
            cancel(target, os.urandom(8))

    eventually(lambda: sum(outcomes(target).values()) == 7, "seven cancel requests")
    assert outcomes(target) == {"passed": 0, "wrong_key": 1, "no_session": 4, "too_many_failures": 2}
    eventually(lambda: len(events(target)) == 7, "seven events")
    reasons = [event["reason"] for event in events(target)]
    assert sorted(reasons) == ["no_session"] * 4 + ["too_many_failures"] * 2 + ["wrong_key"]
    (guess,) = [event for event in events(target) if event["reason"] == "wrong_key"]
    assert guess["session"] == int.from_bytes(wire.cancel_key[:4], "big")
    assert guess["client"].startswith("127.0.0.1:")
    assert guess["decision"] == "refused"


def test_strangers_at_an_address_do_not_keep_a_client_from_its_own_session(
    target: Target, cluster: Any
) -> None:
    with target.wire("alice") as wire:
        for _ in range(20):
            cancel(target, os.urandom(8))
        eventually(lambda: outcomes(target)["too_many_failures"] == 15, "guesses that are not looked at")
        wire.send(w.query(sleep_statement("hindered")))
        await_sleep(cluster, "hindered")

        cancel(target, wire.cancel_key)

        assert w.error_of(wire.until_ready())["C"] == CANCELLED


def test_many_good_cancel_requests_are_not_limited(target: Target, cluster: Any) -> None:
    with target.wire("alice") as wire:
        for number in range(12):
            wire.send(w.query(sleep_statement(f"good {number}")))
            await_sleep(cluster, f"good {number}")
            cancel(target, wire.cancel_key)
            assert w.error_of(wire.until_ready())["C"] == CANCELLED
    assert outcomes(target)["passed"] == 12


def test_a_limit_of_all_holds_for_every_address(make_gateway: MakeGateway) -> None:
    watched = {"openmetrics_host": "127.0.0.1", "openmetrics_port": free_port()}
    target = make_gateway(general={"cancel_failures": 1, "cancel_failures_burst": 3, **watched})

    for _ in range(5):
        cancel(target, os.urandom(8))

    eventually(lambda: outcomes(target)["too_many_failures"] == 2, "guesses that are not looked at")


def test_a_flood_is_summed_up_in_the_log(make_gateway: MakeGateway) -> None:
    watched = {"openmetrics_host": "127.0.0.1", "openmetrics_port": free_port()}
    target = make_gateway(general=watched)

    for _ in range(400):
        cancel(target, os.urandom(8))

    def all_of_them() -> bool:
        return sum(event.get("count", 1) for event in events(target)) == 400

    eventually(all_of_them, "four hundred guesses, one by one or summed up")
    assert outcomes(target)["no_session"] == 400
