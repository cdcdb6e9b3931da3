"""The same talk with PostgreSQL and with the gateway: the first reply that is not the same.

A talk is what one or more clients say, in order. PostgreSQL is asked on a connection for each of them. The
gateway is asked in the order of the talk, except that a client who is in the middle of something (a batch, a
transaction) goes on first: the others may need the server connection that it has.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from . import wire as w
from .conversation import (
    IN_FAILED_TRANSACTION,
    Conversation,
    Owed,
    Peer,
    Step,
    alike,
    all_alike,
    normal,
    replies_like,
    replies_of,
    shown,
)
from .wire import Message

# PostgreSQL 17 and newer say so at the next statement when a simple query ended a batch without Sync.
DEFECT = "unexpected state STARTED"

# What each client says, in the order in which the clients take turns.
Talk = list[tuple[int, Step]]

LEAVE = w.TERMINATE
STEP_SECONDS = 20.0


@dataclass
class Difference:
    """Where the gateway's replies were not PostgreSQL's."""

    client: int
    step: int
    wanted: Sequence[Message]
    seen: Sequence[Message]
    what: str

    def __str__(self) -> str:
        wanted, seen = shown(self.wanted), shown(self.seen)
        place = f"client {self.client}, its step {self.step}"
        return f"{place}: {self.what}\n  PostgreSQL: {wanted}\n  gateway:    {seen}"


class InconclusiveError(Exception):
    """The talk came to a point behind which a documented limit makes the replies differ."""


@dataclass
class Side:
    """Where to log in, and how. The host may be the folder of a socket."""

    host: str
    port: int
    parameters: dict[str, str]
    password: str | None = None

    async def connect(self) -> Peer:
        return await Peer.connect(self.host, self.port, self.password, **self.parameters)


@dataclass
class Pair:
    """PostgreSQL alone and the gateway, with a connection to each for preparations."""

    direct: Side
    gateway: Side
    preparing: list[Peer] = field(default_factory=list)

    async def prepare(self, sql: str) -> None:
        for peer in self.preparing:
            await peer.query(sql)

    async def contents(self) -> list[list[Message]]:
        """What the tables hold on either side."""
        query = "SELECT * FROM items ORDER BY n; SELECT to_regclass('made') IS NULL"
        return [[normal(each) for each in await peer.query(query)] for peer in self.preparing]

    async def same_contents(self, seconds: float = STEP_SECONDS) -> Difference | None:
        """What a client asked for before it left is done in the end, perhaps a little later."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while True:
            direct, gateway = await self.contents()
            if direct == gateway:
                return None
            if loop.time() > end:
                return Difference(0, -1, direct, gateway, "other contents of the tables")
            await asyncio.sleep(0.02)

    async def replies(self, conversation: Conversation) -> list[list[Message]]:
        """PostgreSQL's replies to each step, and those to a goodbye; fewer when it hangs up itself."""
        peer = await self.direct.connect()
        owed = Owed()
        replies = []
        try:
            for number, step in enumerate(conversation):
                if leaves(step):
                    await peer.write([message.raw for message in step])
                    replies += [] if hangs_up(rest := await peer.rest()) else [rest]
                    break
                try:
                    replies.append(await asyncio.wait_for(replies_of(peer, step, owed), STEP_SECONDS))
                except TimeoutError:
                    text = "\n".join(map(str, step))
                    raise AssertionError(
                        f"miscounted PostgreSQL's replies to step {number}:\n{text}"
                    ) from None
                except (asyncio.IncompleteReadError, ConnectionError):
                    # PostgreSQL itself hangs up on some nonsense; what comes then is for each to say.
                    break
                if any(each.type == "E" and DEFECT in each.fields["M"] for each in replies[-1]):
                    raise InconclusiveError
            else:
                with contextlib.suppress(ConnectionError):
                    await peer.write([LEAVE])
                    replies += [] if hangs_up(rest := await peer.rest()) else [rest]
        finally:
            peer.close()
        return replies


def needs_statement(seen: Sequence[Message], wanted: Sequence[Message], had_failed: bool) -> bool:
    """Whether the gateway could not use a statement in a failed transaction, because its server lacks it and
    nothing can be prepared there, where PostgreSQL alone still describes or binds what it has.
    """
    refused, given = parting(seen, wanted)
    return bool(
        given
        and refused.type == "E"
        and refused.fields["C"] == IN_FAILED_TRANSACTION
        and given.type in "tTn2"
    )


def knows_result(seen: Sequence[Message], wanted: Sequence[Message]) -> bool:
    """Whether PostgreSQL alone refused a statement because its result has changed, where the gateway had to
    prepare it anew: for a client that was never told what it was. Or where that was refused already.
    """
    mine, given = parting(seen, wanted)
    if not given or given.type != "E":
        return False
    if given.fields["C"] == "0A000":
        return given.fields["M"] == "cached plan must not change result type"
    return given.fields["C"] == "08P01" and mine.type == "E" and mine.fields["C"].startswith("42")


def parting(seen: Sequence[Message], wanted: Sequence[Message]) -> tuple[Message, Message | None]:
    """The first reply that is another, and what it should have been."""
    for mine, given in zip(seen, wanted, strict=False):
        if not alike(mine, given):
            return mine, given
    return Message("", b""), None


def leaves(step: Step) -> bool:
    """Whether the client says goodbye with it."""
    return step[-1].kind == "X"


def hangs_up(replies: Sequence[Message]) -> bool:
    """Whether PostgreSQL ended the session itself."""
    return any(message.type == "E" and message.fields["S"] == "FATAL" for message in replies)


class Client:
    """One client of the gateway, who knows what PostgreSQL has said to the same."""

    def __init__(
        self, number: int, peer: Peer, steps: Conversation, wanted: list[list[Message]], seconds: float
    ):
        self.number = number
        self.peer = peer
        self.steps = steps
        self.wanted = wanted
        self.seconds = seconds
        self.done = 0
        self.is_busy = False
        # Whether its transaction had failed when its last step was done.
        self.has_failed = False

    @property
    def is_over(self) -> bool:
        """Whether it has said all that there are replies for, but for its goodbye."""
        return self.done >= len(self.steps) or self.done >= len(self.wanted)

    def hangs_up_from(self, step: int) -> bool:
        """Whether PostgreSQL itself has ended the session, and said nothing from this step on."""
        return len(self.wanted) <= len(self.steps) and not any(self.wanted[step:])

    async def say(self, rng: random.Random) -> Difference | None:
        """The next step."""
        number, self.done = self.done, self.done + 1
        step, wanted = self.steps[number], self.wanted[number]
        if leaves(step):
            return await self._leave(number, [message.raw for message in step])
        seen: list[Message] = []
        try:
            await asyncio.wait_for(replies_like(self.peer, step, wanted, rng, seen), self.seconds)
        except TimeoutError:
            return Difference(self.number, number, wanted, seen, "no further reply")
        except (asyncio.IncompleteReadError, ConnectionError):
            if len(seen) == len(wanted) and self.hangs_up_from(self.done):
                return None
            return Difference(self.number, number, wanted, seen, "the connection ended")
        if not all_alike(seen, wanted):
            if needs_statement(seen, wanted, self.has_failed) or knows_result(seen, wanted):
                raise InconclusiveError
            return Difference(self.number, number, wanted, seen, "another reply")
        if wanted:
            self.has_failed = wanted[-1] == Message("Z", b"E")
            self.is_busy = wanted[-1] != Message("Z", b"I")
        return None

    async def say_goodbye(self) -> Difference | None:
        """Nothing may come that was not asked for."""
        if len(self.wanted) <= len(self.steps):
            return None
        return await self._leave(len(self.steps), [LEAVE])

    async def _leave(self, number: int, raw: list[bytes]) -> Difference | None:
        """What a client that has left would have heard may be cut short; what it asked for is done."""
        wanted = self.wanted[number]
        self.is_busy = False
        try:
            await self.peer.write(raw)
            seen = await asyncio.wait_for(self.peer.rest(), self.seconds)
        except TimeoutError:
            return Difference(self.number, number, wanted, [], "not closed after Terminate")
        except ConnectionError:
            seen = []
        if not all_alike(seen, wanted[: len(seen)]):
            return Difference(self.number, number, wanted, seen, "another reply before the end")
        return None


async def compare(
    pairs: Sequence[Pair], talk: Talk, rng: random.Random, seconds: float = STEP_SECONDS
) -> Difference | None:
    """`None` when every reply to every client is the same. Each has a place of its own, so PostgreSQL
    may be asked by one after the other. Raises `InconclusiveError`.
    """
    clients: list[Client] = []
    try:
        for number, pair in enumerate(pairs):
            steps = [step for speaker, step in talk if speaker == number]
            wanted = await pair.replies(steps)
            try:
                peer = await asyncio.wait_for(pair.gateway.connect(), seconds)
            except (OSError, EOFError, w.ServerError) as error:
                return Difference(number, -1, [], [], f"no login: {error!r}")
            clients.append(Client(number, peer, steps, wanted, seconds))
        turns = [clients[speaker] for speaker, _ in talk]
        while turns:
            busy = next((client for client in clients if client.is_busy), turns[0])
            if busy.is_over:
                # One that leaves in the middle of something must go before the others can go on.
                busy.is_busy = False
                turns = [client for client in turns if client is not busy]
                difference = await busy.say_goodbye()
                busy.peer.close()
            else:
                turns.remove(busy)
                difference = await busy.say(rng)
                if busy.is_over and busy not in turns:
                    turns.append(busy)
            if difference:
                return difference
    finally:
        for client in clients:
            client.peer.close()
    return None
