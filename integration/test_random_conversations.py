"""Random conversations of many clients at once: every reply is the one that PostgreSQL itself gives.

`RANDOM_CONVERSATIONS` says how many in each mode and `RANDOM_SEED` where to start. A seed says everything
about a talk; one that fails is shortened.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from conftest import GATEWAY_ACCOUNT
from harness import DATABASE, primary_alone
from harness.comparison import Difference, InconclusiveError, Pair, Side, Talk, compare, leaves
from harness.shrinking import shortest
from harness.target import Target
from harness.wire import ServerError
from random_conversations import talk_of
from random_statements import SHOUT, Place

COUNT = int(os.environ.get("RANDOM_CONVERSATIONS", "150"))
FIRST_SEED = int(os.environ.get("RANDOM_SEED", "1"))
DIRECT_DATABASE = "direct"

# Subjects whose clients share a pool; one whose clients may be held to their servers.
TALKERS = tuple(f"talker_{number}" for number in range(8))
HOLDER = "holder"
ROLES = (*TALKERS, HOLDER)
CROWD = 16
PLACES = itertools.count()


@dataclass
class Mode:
    """How clients share servers. Each worker has some groups; the seed says which of them talks."""

    general: dict[str, Any]
    # Subjects of a group's clients, for each worker.
    workers: list[list[list[str]]]
    # Whether SQL PREPARE leaves the others free.
    prepares: bool = False
    jwt: dict[str, Any] = field(default_factory=dict)


MODES = {
    # Many clients on few servers, whoever comes first.
    "transaction": Mode({"default_pool_size": 2}, [[[TALKERS[0]], [HOLDER]]] * CROWD),
    "session": Mode({"pooler_mode": "session"}, [[[HOLDER]]] * CROWD),
    # Three who take turns on one server, always in the same order.
    "one_server": Mode({"default_pool_size": 1}, [[[talker] * 3] for talker in TALKERS]),
    "full": Mode(
        {"default_pool_size": 1, "prepared_statements": "full"},
        [[[talker] * 3] for talker in TALKERS],
        prepares=True,
    ),
    # Each is somebody else than the one before.
    "shared_pool": Mode(
        {"default_pool_size": 3},
        [[[TALKERS[number % len(TALKERS)]]] for number in range(CROWD)],
        jwt={"shared_pool": True},
    ),
}


@dataclass
class Group:
    """Clients who talk together."""

    places: list[Place] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)

    @property
    def resets(self) -> list[str]:
        return [place.reset for place in self.places]

    async def reset(self) -> None:
        await asyncio.gather(
            *(pair.prepare(reset) for pair, reset in zip(self.pairs, self.resets, strict=True))
        )

    def close(self) -> None:
        for pair in self.pairs:
            for peer in pair.preparing:
                peer.close()


@pytest.fixture(scope="module")
def databases(cluster: Any) -> Iterator[Any]:
    """The demo database, and one beside it to talk to without the gateway."""
    names = ", ".join(ROLES)
    with cluster.admin() as admin:
        admin.execute(f"CREATE DATABASE {DIRECT_DATABASE}")
        admin.execute(SHOUT)
        for role in ROLES:
            admin.execute(f"CREATE ROLE {role} LOGIN")
        admin.execute(f"GRANT {names} TO gateway")
    with cluster.primary.admin(DIRECT_DATABASE) as admin:
        admin.execute(SHOUT)
    yield cluster
    with cluster.admin() as admin:
        admin.execute(f"DROP DATABASE {DIRECT_DATABASE} WITH (FORCE)")
        admin.execute("DROP FUNCTION public.shout")
        # One by one: all of them at once would need more locks than there are.
        schemas = admin.execute(
            "SELECT nspname FROM pg_namespace WHERE nspowner::regrole::text = ANY (%s)", [list(ROLES)]
        )
        for (schema,) in schemas.fetchall():
            admin.execute(f"DROP SCHEMA {schema} CASCADE")
        admin.execute(f"DROP OWNED BY {names} CASCADE")
        admin.execute(f"DROP ROLE {names}")


class Run:
    """Talks until there are enough, the time is over, or one came out different."""

    def __init__(self, cluster: Any, target: Target, mode: Mode) -> None:
        self.cluster = cluster
        self.target = target
        self.mode = mode
        self.tokens = {role: target.issuer.token(role, expires_in=36_000) for role in ROLES}
        self.next_seed = FIRST_SEED
        self.done = 0
        self.inconclusive = 0
        self.end = time.monotonic() + 36_000
        self.failure: tuple[int, Talk, Difference] | None = None

    async def all(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for worker in self.mode.workers:
                tasks.create_task(self.work(worker))

    def over(self) -> bool:
        enough = self.next_seed >= FIRST_SEED + COUNT
        return bool(enough or self.failure or time.monotonic() > self.end)

    async def work(self, subjects: list[list[str]]) -> None:
        groups = [await self.group(each) for each in subjects]
        while not self.over():
            seed, self.next_seed = self.next_seed, self.next_seed + 1
            which = seed % len(groups)
            group = groups[which]
            talk = talk_of(seed, group.places)
            await group.reset()
            difference = None
            left = [speaker for speaker, step in talk if leaves(step)]
            try:
                difference = await compare(group.pairs, talk, random.Random(seed))
                self.done += len(group.places)
                if left:
                    difference = difference or await group.pairs[left[0]].same_contents()
            except InconclusiveError:
                self.inconclusive += 1
                left = list(range(len(group.places)))
            except AssertionError as error:
                raise AssertionError(f"seed {seed}") from error
            if difference:
                self.failure = self.failure or (seed, talk, difference)
            if left:
                # Something of it may still run.
                group.close()
                groups[which] = await self.group(subjects[which])
        for group in groups:
            group.close()

    async def group(self, subjects: list[str]) -> Group:
        group = Group()
        for subject in subjects:
            place = self.place(subject)
            group.places.append(place)
            group.pairs.append(await self.pair(place))
        return group

    def place(self, subject: str) -> Place:
        """Somewhere to be alone, on either side."""
        holds = subject == HOLDER
        place = Place(next(PLACES), subject, holds, self.mode.prepares)
        for database in (self.target.database, DIRECT_DATABASE):
            with self.cluster.primary.admin(database) as admin:
                for schema in place.schemas:
                    admin.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
                    admin.execute(f"CREATE SCHEMA {schema} AUTHORIZATION {place.subject}")
        return place

    async def pair(self, place: Place) -> Pair:
        parameters = {
            "user": place.subject,
            "options": f"-c search_path={place.schema}",
            "application_name": "random",
        }
        primary = self.cluster.primary
        sides = [
            Side(str(primary.sockets), primary.port, {**parameters, "database": name})
            for name in (DIRECT_DATABASE, self.target.database)
        ]
        gateway = Side(
            self.target.host,
            self.target.port,
            {**parameters, "database": self.target.database},
            self.tokens[place.subject],
        )
        pair = Pair(sides[0], gateway, [await side.connect() for side in sides])
        await pair.prepare("SET client_min_messages = error")
        await pair.prepare(place.preparation)
        return pair

    async def explain(self) -> str:
        """The failure for people: the shortest talk with it, alone on the gateway."""
        assert self.failure
        seed, talk, difference = self.failure
        subjects = self.mode.workers[0]
        group = await self.group(subjects[seed % len(subjects)])
        text = f"seed {seed}, only beside other clients:\n{difference}"
        try:
            alone, again = await shortest(group.pairs, group.resets, talk_of(seed, group.places), seed)
            if again:
                text, talk = f"seed {seed}: {difference}\nshortened:\n{again}", alone
        except (ServerError, EOFError, ConnectionError) as error:
            text = f"seed {seed}, after which no talk is possible ({error}):\n{difference}"
        group.close()
        lines = [text]
        for speaker, step in talk:
            lines += [f"client {speaker}:", *(f"    {each}" for each in step)]
        return "\n".join(lines)


@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("name", MODES)
def test_every_reply_is_the_one_of_postgresql(
    name: str, databases: Any, make_module_gateway: Callable[..., Target], say: Callable[[str], None]
) -> None:
    mode = MODES[name]
    target = make_module_gateway(
        general={"checkout_timeout": 15_000, "prepared_statements_limit": 6, **mode.general},
        jwt=mode.jwt,
        users=[{"name": HOLDER, "database": DATABASE, "pool_size": 2 * CROWD, **GATEWAY_ACCOUNT}],
        databases=[primary_alone(databases)],
    )
    run = Run(databases, target, mode)
    started = time.monotonic()

    asyncio.run(run.all())

    seconds = time.monotonic() - started
    seeds = f"seeds {FIRST_SEED} to {run.next_seed - 1}"
    what = f"{run.done} random conversations, {run.inconclusive} talks inconclusive"
    say(f"{name}: {what}, in {seconds:.0f} s, {seeds}")
    if run.failure:
        pytest.fail(asyncio.run(run.explain()), pytrace=False)
