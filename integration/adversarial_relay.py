"""A relay to PostgreSQL with a fault, as a gateway might have it, for the check of conversations to find."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import struct
from collections.abc import Callable
from typing import Any

from adversarial_lanes import CANARY

# What becomes of a reply: the replies that come instead.
Change = Callable[[bytes], list[bytes]]
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
# One of so many messages of a kind is not as it should be, behind the first: lanes start without a fault.
SELDOM, FIRST = 5, 30


def turns() -> Callable[[], bool]:
    numbers = itertools.count(1)
    return lambda: (number := next(numbers)) % SELDOM == 0 and number > FIRST


def seldom(kind: bytes, change: Change) -> Change:
    """Changes one of some messages of this kind."""
    is_turn = turns()
    return lambda frame: change(frame) if frame[:1] == kind and is_turn() else [frame]


def swapped() -> Change:
    """A reply that comes behind the one that follows it."""
    held: list[bytes] = []
    is_turn = turns()

    def change(frame: bytes) -> list[bytes]:
        if frame[:1] == b"2" and is_turn():
            held.append(frame)
            return []
        found = [frame, *held]
        held.clear()
        return found

    return change


def mixed_up() -> Change:
    """A row of an earlier conversation instead of one that is as long."""
    last: list[bytes] = []

    def change(frame: bytes) -> list[bytes]:
        earlier = next((row for row in last if len(row) == len(frame)), frame)
        last[:] = [frame]
        return [earlier]

    return seldom(b"D", lambda frame: change(frame) if CANARY.search(frame) else [frame])


def unchanged(frame: bytes) -> list[bytes]:
    return [frame]


# What is wrong, and how it shows.
REPLY_FAULTS: dict[str, tuple[Callable[[], Change], str]] = {
    "a reply is lost": (lambda: seldom(b"1", lambda _: []), " instead of "),
    "a reply comes twice": (lambda: seldom(b"1", lambda frame: [frame, frame]), " instead of "),
    "two replies are swapped": (swapped, " instead of "),
    "another's row": (mixed_up, "somebody else's"),
    "another state": (lambda: seldom(b"Z", lambda _: [b"Z\0\0\0\5T"]), "Z instead of Z"),
    "a request is not answered": (
        lambda: seldom(b"Z", lambda _: []),
        "no further reply|gets nothing|instead",
    ),
}


class Relay:
    """Listens while it is a context. `hands_on`: a client gets the server connection of one that has left, as
    it is."""

    def __init__(
        self,
        socket: str,
        replies: Change = unchanged,
        requests: Change = unchanged,
        *,
        hands_on: bool = False,
    ) -> None:
        self.socket = socket
        self.replies = replies
        self.requests = requests
        self.hands_on = hands_on
        # Servers without a client, with their greeting, by start-up packet.
        self.idle: dict[bytes, list[tuple[Stream, bytes]]] = {}
        self.tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> int:
        """Gives its port."""
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self.server.sockets[0].getsockname()[1]

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            startup = await start_up_packet(reader)
            idle = self.idle.get(startup)
            if idle:
                server, greeting = idle.pop()
                writer.write(greeting)
            else:
                server, greeting = await asyncio.open_unix_connection(self.socket), b""
                server[1].write(startup)
            await self._pass((reader, writer), server, startup, greeting)
        writer.close()

    async def _pass(self, client: Stream, server: Stream, startup: bytes, greeting: bytes) -> None:
        status = b"I"

        async def replies() -> None:
            nonlocal greeting, status
            is_greeting = not greeting
            while frame := await next_frame(server[0]):
                if is_greeting:
                    greeting += frame
                    is_greeting = frame[:1] != b"Z"
                    client[1].write(frame)
                    continue
                status = frame[5:] if frame[:1] == b"Z" else status
                client[1].write(b"".join(self.replies(frame)))

        answering = asyncio.create_task(replies())
        asking = asyncio.create_task(self._ask(client[0], server[1]))
        try:
            await asyncio.wait([answering, asking], return_when=asyncio.FIRST_COMPLETED)
            is_kept = self.hands_on and not answering.done() and status == b"I"
        finally:
            for task in (answering, asking):
                task.cancel()
            await asyncio.gather(answering, asking, return_exceptions=True)
        if is_kept:
            self.idle.setdefault(startup, []).append((server, greeting))
        else:
            server[1].close()

    async def _ask(self, reader: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        while (frame := await next_frame(reader))[:1] != b"X":
            server.write(b"".join(self.requests(frame)))


async def start_up_packet(reader: asyncio.StreamReader) -> bytes:
    length = await reader.readexactly(4)
    return length + await reader.readexactly(struct.unpack("!i", length)[0] - 4)


async def next_frame(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(5)
    return head + await reader.readexactly(struct.unpack_from("!i", head, 1)[0] - 4)
