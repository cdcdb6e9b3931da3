"""Conversations in raw messages: sent step by step, replies gathered, two of them compared byte for byte.

A step ends where the server owes nothing more. Where that is cannot be told from the replies alone, so `Owed`
counts along; a second server is then asked for as many replies as the first one gave.
"""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from . import wire as w
from .wire import Message

# Fields of an error that tell where in PostgreSQL's source it was raised.
SOURCE_FIELDS = b"FLR"
IN_FAILED_TRANSACTION = "25P02"
SILENT = frozenset("dcfH")


class Sent(NamedTuple):
    """One message of a client, with the call that makes it, for people."""

    call: str
    raw: bytes

    @property
    def kind(self) -> str:
        return self.raw[:1].decode()

    def __str__(self) -> str:
        return self.call if len(self.call) < 300 else self.call[:280] + f"…  # {len(self.raw)} bytes"


Step = list[Sent]
Conversation = list[Step]


def sent(name: str, *values: Any, **options: Any) -> Sent:
    """`sent("parse", "SELECT 1")` is `wire.parse("SELECT 1")`, with its text."""
    words = [repr(value) for value in values] + [f"{key}={value!r}" for key, value in options.items()]
    maker = getattr(w, name)
    if isinstance(maker, bytes):
        return Sent(name, maker)
    return Sent(f"{name}({', '.join(words)})", maker(*values, **options))


class Owed:
    """Which of the messages that were sent PostgreSQL has still to answer, as its documentation has it."""

    def __init__(self) -> None:
        self._waiting: list[str] = []
        self._copying = False
        self._skipping = False

    @property
    def nothing(self) -> bool:
        return not self._waiting or (self._copying and self._waiting[0] != "S")

    def send(self, kind: str) -> None:
        if self._copying:
            if kind in "cf":
                self._copying = False
            return
        if self._skipping:
            self._skipping = kind != "S"
        if not self._skipping and kind not in SILENT - {"c", "f"}:
            self._waiting.append(kind)
        self._drop_silent()

    def reply(self, kind: str) -> None:
        front = self._waiting[0] if self._waiting else ""
        pops = {"1": "P", "2": "B", "3": "C", "T": "D", "n": "D", "C": "E", "I": "E", "s": "E"}
        if kind == "Z" or (kind in pops and pops[kind] == front):
            del self._waiting[:1]
        elif kind == "G":
            self._copy()
        elif kind == "E":
            self._fail(front)
        self._drop_silent()

    def _copy(self) -> None:
        """Sync messages before the end of the data are not answered."""
        rest = self._waiting[1:]
        end = next((at for at, kind in enumerate(rest) if kind in "cf"), None)
        self._copying = end is None
        self._waiting[1:] = [] if end is None else rest[end + 1 :]

    def _fail(self, front: str) -> None:
        self._copying = False
        if front in ("Q", "F", "S"):
            return
        while self._waiting and self._waiting[0] != "S":
            del self._waiting[0]
        self._skipping = not self._waiting

    def _drop_silent(self) -> None:
        while self._waiting and self._waiting[0] in SILENT:
            del self._waiting[0]


class Peer:
    """A connection that is logged in."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        # Process id and secret, as BackendKeyData has them.
        self.key = b""

    @classmethod
    async def connect(cls, host: str, port: int, password: str | None = None, **parameters: str) -> Peer:
        """The host may be the folder of a socket."""
        if host.startswith("/"):
            path = f"{host}/.s.PGSQL.{port}"
            reader, writer = await asyncio.open_unix_connection(path, limit=1 << 26)
        else:
            reader, writer = await asyncio.open_connection(host, port, limit=1 << 26)
        peer = cls(reader, writer)
        writer.write(w.startup(**parameters))
        while (message := await peer.receive()).type != "Z":
            if message.type == "E":
                raise w.ServerError(message)
            if message.type == "K":
                peer.key = message.body
            if message.type == "R" and message.body[:4] == struct.pack("!i", 3):
                writer.write(w.password_message(password or ""))
        return peer

    async def receive(self) -> Message:
        kind, length = struct.unpack("!ci", await self.reader.readexactly(5))
        return Message(kind.decode(), await self.reader.readexactly(length - 4))

    async def write(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0)

    async def query(self, sql: str) -> list[Message]:
        """For preparations: a simple query that must not fail."""
        self.writer.write(w.query(sql))
        replies = []
        while not replies or replies[-1].type != "Z":
            replies.append(await self.receive())
            if replies[-1].type == "E":
                raise w.ServerError(replies[-1])
        return replies

    async def rest(self) -> list[Message]:
        """Everything up to the end of the connection."""
        replies = []
        while True:
            try:
                message = await self.receive()
            except (asyncio.IncompleteReadError, ConnectionError):
                return replies
            if message.type != "S":
                replies.append(message)

    def close(self) -> None:
        self.writer.transport.abort()


async def replies_of(peer: Peer, step: Sequence[Sent], owed: Owed) -> list[Message]:
    """Sends a step and reads until the server owes nothing."""
    for message in step:
        owed.send(message.kind)
    sending = asyncio.create_task(peer.write([b"".join(message.raw for message in step)]))
    replies: list[Message] = []
    while not owed.nothing:
        message = await peer.receive()
        owed.reply(message.type)
        if message.type != "S":
            replies.append(message)
    await sending
    return replies


async def replies_like(
    peer: Peer, step: Sequence[Sent], wanted: Sequence[Message], rng: random.Random, seen: list[Message]
) -> None:
    """Sends a step in pieces and reads as many replies as wanted, or up to the first that is another."""
    sending = asyncio.create_task(peer.write(pieces(b"".join(message.raw for message in step), rng)))
    try:
        while len(seen) < len(wanted):
            message = await peer.receive()
            if message.type == "S":
                continue
            seen.append(message)
            if not alike(message, wanted[len(seen) - 1]):
                return
        await sending
    finally:
        sending.cancel()


def pieces(raw: bytes, rng: random.Random) -> list[bytes]:
    """Mostly the whole, sometimes cut at random places."""
    if rng.random() < 0.7 or len(raw) < 2:
        return [raw]
    cuts = sorted({0, len(raw), *(rng.randrange(1, len(raw)) for _ in range(rng.randint(1, 6)))})
    return [raw[start:end] for start, end in pairwise(cuts)]


def alike(seen: Message, wanted: Message) -> bool:
    """Whether the gateway's reply will do where PostgreSQL gave the other.

    In a failed transaction nothing can be prepared, so a statement that its server does not hold is refused
    for the transaction, and not for another fault that it may have.
    """
    if seen.type == wanted.type == "E" and seen.fields["C"] == IN_FAILED_TRANSACTION:
        return True
    return normal(seen) == normal(wanted)


def all_alike(seen: Sequence[Message], wanted: Sequence[Message]) -> bool:
    return len(seen) == len(wanted) and all(map(alike, seen, wanted))


def normal(message: Message) -> Message:
    """The message without what differs between two servers that do the same."""
    body = message.body
    if message.type in "EN":
        fields = [field for field in body.split(b"\0") if field and field[0] not in SOURCE_FIELDS]
        return Message(message.type, b"\0".join(fields))
    if message.type == "A":
        return Message("A", body[4:])
    if message.type == "T":
        return Message("T", _without_table_oids(body))
    return message


def _without_table_oids(body: bytes) -> bytes:
    (count,) = struct.unpack_from("!h", body)
    result = [body[:2]]
    at = 2
    for _ in range(count):
        end = body.index(b"\0", at) + 1
        result += [body[at:end], bytes(4), body[end + 4 : end + 18]]
        at = end + 18
    return b"".join(result)


def shown(messages: Iterable[Message]) -> str:
    """Replies for people: `T D D C Z`, errors with their text."""
    said = "ENCZA"
    return " ".join(
        f"{each.type}({normal(each).body[:160]!r})" if each.type in said else each.type for each in messages
    )
