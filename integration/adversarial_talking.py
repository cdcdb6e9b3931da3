"""Says a conversation to one side, at once or paced, and hears what comes back up to its end."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

from adversarial_letters import CANCEL, GONE, Place, Words, is_end
from harness import wire as w
from harness.comparison import Side
from harness.conversation import Peer, Sent
from harness.wire import Message

# Who is quiet for this long has said everything, or says the rest later: one is as good as the other.
QUIET_SECONDS = 0.0015
# Longest wait for replies between two letters.
PAUSE_SECONDS = 0.03
# What is asked again when a session may go on behind an error.
AGAIN_SECONDS = 0.05
MOST_LOOKS = 500


@dataclass
class Heard:
    """What came back on one connection."""

    messages: list[Message] = field(default_factory=list)
    is_over: bool = False
    is_closed: bool = False
    is_late: bool = False


@dataclass
class Pace:
    """How PostgreSQL answered: the number of replies behind each letter, and whether each cancel met a
    statement that waited.
    """

    counts: list[int] = field(default_factory=list)
    cancels: list[bool] = field(default_factory=list)


@dataclass
class Conversing:
    """One side of a conversation. `keeper` holds the lock that statements wait for."""

    side: Side
    peer: Peer
    keeper: Peer
    place: Place
    canary: str
    words: Sequence[Words]
    seconds: float
    heard: Heard = field(default_factory=Heard)

    async def learn(self) -> Pace:
        """Letter by letter, to PostgreSQL."""
        pace = Pace()
        await self._say(pace, learning=True, paced=True, hangs_up=False)
        return pace

    async def follow(self, pace: Pace, *, paced: bool, hangs_up: bool) -> None:
        """The same to the gateway."""
        await self._say(pace, learning=False, paced=paced, hangs_up=hangs_up)

    async def _say(self, pace: Pace, *, learning: bool, paced: bool, hangs_up: bool) -> None:
        hearing = asyncio.create_task(hear(self.peer, self.canary, self.heard))
        locked = any("advisory_xact" in str(message) for each in self.words for message in each)
        if locked:
            await self.keeper.query(f"SELECT pg_advisory_lock({self.place.lock})")
        try:
            await self._say_words(pace, hearing, learning=learning, paced=paced)
            if locked:
                # What stands behind the statement is there by now.
                await asyncio.sleep(2 * QUIET_SECONDS)
                await self.keeper.query("SELECT pg_advisory_unlock_all()")
                locked = False
            if hangs_up:
                # Requests that were under way are errors. Only another one shows whether the session goes on.
                await asyncio.wait([hearing], timeout=AGAIN_SECONDS)
                if not hearing.done():
                    self._write(self.words[-1][-1].raw)
            await asyncio.wait([hearing], timeout=self.seconds)
            self.heard.is_late = not hearing.done()
        finally:
            hearing.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await hearing
            if locked:
                await self.keeper.query("SELECT pg_advisory_unlock_all()")

    async def _say_words(
        self, pace: Pace, hearing: asyncio.Task[None], *, learning: bool, paced: bool
    ) -> None:
        """In one piece, or each letter in one: a connection that ends meanwhile loses what it has said."""
        raw = b""
        cancels = 0
        for number, words in enumerate(self.words):
            raw += b"".join(message.raw for message in words)
            if words[-1] in (CANCEL, GONE):
                self._write(raw)
                raw = b""
                if words[-1] is GONE:
                    await asyncio.sleep(2 * QUIET_SECONDS)
                    self.peer.close()
                elif learning:
                    pace.cancels.append(await self._waits(5))
                    await self._cancel(pace.cancels[-1])
                elif len(pace.cancels) > cancels:
                    await self._cancel_as(pace.cancels[cancels], pace.counts[number - 1] if number else 0)
                    cancels += 1
            if paced:
                self._write(raw)
                raw = b""
                if learning:
                    await self._quiet()
                    pace.counts.append(len(self.heard.messages))
                elif number < len(pace.counts):
                    await self._at_least(pace.counts[number])
                if hearing.done():
                    return
        self._write(raw)

    def _write(self, raw: bytes) -> None:
        if raw:
            self.peer.writer.write(raw)

    async def _quiet(self) -> None:
        before = -1
        while before != len(self.heard.messages):
            before = len(self.heard.messages)
            await asyncio.sleep(QUIET_SECONDS)

    async def _at_least(self, count: int, seconds: float = PAUSE_SECONDS) -> bool:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while len(self.heard.messages) < count and not self.heard.is_closed and loop.time() < end:
            await asyncio.sleep(QUIET_SECONDS / 3)
        return len(self.heard.messages) >= count

    # Cancel requests

    async def _waits(self, tries: int, wanted: bool = True) -> bool:
        """Looks a few times whether a statement of the conversation waits for the lock, or does no more."""
        query = (
            f"SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = {self.place.lock} AND NOT granted"
        )
        for _ in range(tries):
            if any(message.type == "D" for message in await self.keeper.query(query)) == wanted:
                return True
            await asyncio.sleep(QUIET_SECONDS)
        return False

    async def _cancel_as(self, met: bool, count: int) -> None:
        """Where PostgreSQL's statement waited, this one has to; where it did not, none must be running."""
        if met:
            await self._waits(MOST_LOOKS)
            await self._cancel(met)
        elif await self._at_least(count):
            await self._cancel(met)

    async def _cancel(self, met: bool) -> None:
        """Asks for a cancel, and waits until the request was taken."""
        side = self.side
        if side.host.startswith("/"):
            reader, writer = await asyncio.open_unix_connection(f"{side.host}/.s.PGSQL.{side.port}")
        else:
            reader, writer = await asyncio.open_connection(side.host, side.port)
        writer.write(w.cancel_request(self.peer.key))
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        await (self._waits(MOST_LOOKS, False) if met else asyncio.sleep(2 * QUIET_SECONDS))


async def hear(peer: Peer, canary: str, heard: Heard) -> None:
    """Reads up to the end of the conversation, or of the connection."""
    try:
        while True:
            message = await peer.receive()
            if message.type == "S":
                continue
            heard.messages.append(message)
            if is_end(message, canary):
                heard.is_over = True
            elif heard.is_over and message.type == "Z":
                return
    except (asyncio.IncompleteReadError, ConnectionError, struct.error):
        heard.is_closed = True


def leave_politely(peer: Peer) -> None:
    with contextlib.suppress(ConnectionError, RuntimeError):
        peer.writer.write(Sent("TERMINATE", w.TERMINATE).raw)
        peer.writer.close()
