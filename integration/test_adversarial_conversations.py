"""Conversations that a hostile client could hold: PostgreSQL's own replies, and nobody is touched.

Short sequences of an alphabet (adversarial_letters.py), and long random ones. What may be different is in
adversarial_rules.py. A fixed part runs by default, each mode of the gateway with one PostgreSQL version.
`ADVERSARIAL=all` takes a day: each with all of them, every sequence of up to `ADVERSARIAL_LONGEST` letters,
and `ADVERSARIAL_RANDOM` random ones from `RANDOM_SEED` on.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from adversarial_letters import Place
from adversarial_modes import MODES, WHOLE
from adversarial_places import create_places, drop_places
from adversarial_run import Run
from harness import Cluster, Installation, Workspace, find_installations
from harness.external import is_external
from harness.target import Target

# The versions whose replies the rules know.
COMPARED = (15, 18, 16)
FOUND = [] if is_external() else find_installations()
INSTALLATIONS = [one for major in COMPARED for one in FOUND if one.major == major] or FOUND[:1]
World = tuple[Cluster, list[Place]]


@pytest.fixture(scope="module")
def world(cluster: Any) -> Iterator[Callable[[Installation], World]]:
    """A PostgreSQL of this installation, with a place for each lane; started once."""
    with Workspace() as workspace:

        @functools.cache
        def world(installation: Installation) -> World:
            own = installation.version == cluster.installation.version
            found = cluster if own else Cluster(workspace, installation, replica=False)
            return found, create_places(found)

        yield world
        if INSTALLATIONS:
            drop_places(*world(INSTALLATIONS[0]))


def cases() -> Iterator[Any]:
    """Each mode with one of the PostgreSQL versions, in turns, or with all."""
    for number, name in enumerate(MODES):
        one = [INSTALLATIONS[number % len(INSTALLATIONS)]] if INSTALLATIONS else []
        for installation in INSTALLATIONS if WHOLE else one:
            yield pytest.param(name, installation, id=f"{name} on PostgreSQL {installation.version}")


@pytest.mark.timeout(36_000 if WHOLE else 600)
@pytest.mark.parametrize(("name", "installation"), [*cases()])
def test_nothing_bends_the_gateway(
    name: str,
    installation: Installation,
    world: Callable[[Installation], World],
    make_module_gateway: Callable[..., Target],
    say: Callable[[str], None],
) -> None:
    mode = MODES[name]
    cluster, places = world(installation)
    target = make_module_gateway(**mode.tables(cluster))
    run = Run(mode.lanes(places, target, cluster), mode.sequences())

    asyncio.run(run.all())

    target.gateway.stop()
    seconds = time.monotonic() - run.started
    reached = sum(lane.reached for lane in run.lanes)
    say(
        f"{name}, PostgreSQL {installation.version}: {run.done} conversations in {seconds:.0f} s,"
        f" their servers looked at {reached} times"
    )
    if run.findings:
        pytest.fail(run.report(), pytrace=False)
    assert reached
