"""The check of adversarial conversations can fail.

It finds nothing between PostgreSQL and itself, and each of the faults of a relay between them.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from adversarial_lanes import Lane
from adversarial_letters import Place
from adversarial_modes import MODES
from adversarial_places import create_places, drop_places
from adversarial_relay import REPLY_FAULTS, Relay, seldom, unchanged
from adversarial_run import Run
from adversarial_sequences import Letters
from harness import Issuer
from harness.cluster import DATABASE
from harness.comparison import Side
from harness.external import is_external
from harness.target import Target

pytestmark = pytest.mark.timeout(60)
MODE = MODES["password, session"]
PLACES = 4
SECONDS = 4.0


@pytest.fixture(scope="module")
def places(cluster: Any) -> Iterator[list[Place]]:
    if is_external():
        pytest.skip("makes roles and a database in PostgreSQL, which runs elsewhere")
    places = create_places(cluster, PLACES)
    yield places
    drop_places(cluster, places)


@pytest.fixture
def lanes(places: list[Place], cluster: Any, issuer: Issuer) -> list[Lane]:
    """What is said to the gateway goes to PostgreSQL as well."""
    return past_the_gateway(
        MODE.lanes(places, Target("", 0, issuer), cluster), str(cluster.primary.sockets), cluster.primary.port
    )


def past_the_gateway(lanes: Sequence[Lane], host: str, port: int) -> list[Lane]:
    found = []
    for lane in lanes:
        client = lane.clients[0]
        side = Side(host, port, client.side.parameters | {"database": DATABASE})
        found.append(replace(lane, clients=[client._replace(side=side)]))
    return found


def test_postgresql_is_as_itself(lanes: list[Lane]) -> None:
    run = Run(lanes, MODE.sequences())

    asyncio.run(run.all())

    assert not run.findings, run.report()
    assert run.done > 200


def found_with(relay: Relay, lanes: Sequence[Lane], sequences: Iterator[Letters] | None = None) -> str:
    """The kinds of the first findings."""

    async def hold() -> Run:
        async with relay as port:
            faulty = past_the_gateway(lanes, "127.0.0.1", port)
            run = Run(
                [replace(lane, seconds=SECONDS) for lane in faulty],
                sequences or MODE.sequences(),
                most=1,
                short=False,
            )
            await run.all()
            return run

    return "\n".join(asyncio.run(hold()).kinds)


def relay_to(cluster: Any, *changes: Any, **options: bool) -> Relay:
    return Relay(f"{cluster.primary.sockets}/.s.PGSQL.{cluster.primary.port}", *changes, **options)


@pytest.mark.parametrize("fault", REPLY_FAULTS)
def test_a_fault_in_the_replies_is_found(fault: str, lanes: list[Lane], cluster: Any) -> None:
    change, expected = REPLY_FAULTS[fault]

    assert re.search(expected, found_with(relay_to(cluster, change()), lanes))


def test_data_that_is_changed_is_found(lanes: list[Lane], cluster: Any) -> None:
    changes = seldom(b"d", lambda frame: [frame.replace(b"1\t", b"3\t")])

    copies = itertools.repeat(("Q copy in", "d good", "c"), 100)

    assert "the table holds" in found_with(relay_to(cluster, unchanged, changes), lanes, copies)


def test_a_server_that_is_not_cleaned_is_found(lanes: list[Lane], cluster: Any) -> None:
    assert "the next client" in found_with(relay_to(cluster, hands_on=True), lanes)
