"""Conversations made from a seed: what a client could say to PostgreSQL in raw messages.

The same seed makes the same conversation. Everything that it reads or makes is in the client's own place, so
that PostgreSQL's replies depend on nothing else. Rows are always ordered.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from typing import Any

from harness.comparison import Talk
from harness.conversation import Conversation, Sent, Step, sent
from random_statements import (
    CHANGES,
    CONTROL,
    CURSORS,
    DISCARD_ALL,
    DISCARDS,
    EMPTY,
    ERRORS,
    HELD,
    NOTICES,
    PARAMETRIC,
    PATHS,
    PREPARES,
    READS,
    SETTINGS,
    WRITES,
    Place,
)

MAX_STEPS = 9
MAX_BATCH = 10
STATEMENT_NAMES = ("", "", "a", "b", "c")
PORTAL_NAMES = ("", "", "", "p", "q")
# PostgreSQL 15 crashes when the unnamed portal of a failed simple query is executed, so only a batch that has
# bound the unnamed portal says its name.
NAMED_PORTALS = ("p", "q")
# How often each kind of statement comes.
STATEMENTS = {
    READS: 8,
    WRITES: 7,
    ERRORS: 4,
    CONTROL: 7,
    NOTICES: 2,
    CURSORS: 2,
    SETTINGS: 2,
    CHANGES: 3,
    PATHS: 1,
    DISCARDS: 0.5,
    PREPARES: 2,
    HELD: 2,
}
# Some talks are about one of these alone, so that what belongs together comes together.
TOPICS = (CHANGES, SETTINGS, PATHS, PREPARES)
COPIES = (
    "COPY items (n, word) FROM STDIN",
    "COPY items FROM STDIN",
    "COPY items (n, word) FROM STDIN (FORMAT csv, DELIMITER E'\\t')",
    "COPY items (n, word) FROM STDIN (FORMAT binary)",
    "COPY missing FROM STDIN",
    "COPY items (n, word) FROM STDIN WHERE 10 / (n - 401) > 0",
)
COPIES_OUT = (
    "COPY (SELECT n, word FROM items ORDER BY n) TO STDOUT",
    "COPY (SELECT n, word FROM items ORDER BY n) TO STDOUT (FORMAT binary)",
    "COPY (SELECT 10 / (5 - g) FROM generate_series(1, 9) AS g) TO STDOUT",
    "COPY (SELECT repeat('wide', 5000) FROM items) TO STDOUT",
    "COPY missing TO STDOUT",
)


class Generator:
    """One conversation, for a place."""

    def __init__(self, seed: int, place: Place) -> None:
        self.rng = random.Random(seed)
        self.place = place
        weights = dict(STATEMENTS)
        if self.rng.random() < 0.4:
            topic = self.rng.choice(TOPICS)
            weights = {topic: 6, CONTROL: 3, ERRORS: 1}
        if not place.holds:
            weights.pop(HELD, None)
            weights.pop(PREPARES, None)
        self.statements = weights
        # Some say the same few texts over and over, under different names.
        self.few = [self.part() for _ in range(3)] if self.rng.random() < 0.3 else []

    def conversation(self) -> Conversation:
        steps: Conversation = []
        for _ in range(self.rng.randint(1, MAX_STEPS)):
            steps += self._pick(
                (self.queries, 5), (self.batches, 9), (self.copy, 2), (self.large_object, 1)
            )()
        steps = [step for step in steps if step] or [[sent("SYNC")]]
        if self.rng.random() < 0.05:
            steps[-1] = [*steps[-1], sent("TERMINATE")]
        return steps

    # Simple

    def sql(self) -> str:
        """One statement."""
        group = self._pick(*self.statements.items())
        text = self.rng.choice(group)
        return text.replace("channel", self.place.schema).replace("schema_other", self.place.schemas[1])

    def queries(self) -> list[Step]:
        """Some simple queries, sent at once."""
        return [[self.query() for _ in range(self.rng.choice((1, 1, 1, 2, 4)))]]

    def query(self) -> Sent:
        kind = self.rng.random()
        if kind < 0.08:
            return sent("query", self.rng.choice(EMPTY))
        if kind < 0.09:
            return sent("query", DISCARD_ALL)
        if kind < 0.2 and self.place.prepares:
            return sent("query", self.rng.choice(PREPARES))
        if kind < 0.15:
            return sent("query", "BEGIN; INSERT INTO items VALUES (300, 'whole'); COMMIT")
        if kind < 0.35:
            return sent("query", "; ".join(self.part() for _ in range(self.rng.randint(2, 4))))
        if kind < 0.4:
            return sent(
                "query", self.rng.choice(("", "SELECT 1; ")) + self.rng.choice(COPIES_OUT) + "; SELECT 1"
            )
        return sent("query", self.sql())

    def part(self) -> str:
        """One statement of several. What RESET leads back to is there only behind all of them."""
        text = self.sql()
        return "SHOW work_mem" if text.startswith("RESET") else text

    # Extended

    def batches(self) -> list[Step]:
        """Several batches, sent at once or with their replies awaited."""
        steps: list[Step] = [[]]
        for _ in range(self.rng.choice((1, 1, 2, 3, 5))):
            for _ in range(self.rng.randint(0, MAX_BATCH)):
                steps[-1] += self._pick(
                    (self.statement, 5),
                    (self.parse, 3),
                    (self.bind, 4),
                    (self.describe, 2),
                    (self.execute, 4),
                    (self.close, 2),
                    (self.flush, 1),
                    (self.stray_query, 0.3),
                )()
                if steps[-1][-1].kind == "H" and self.rng.random() < 0.5:
                    steps.append([])
            steps[-1].append(sent("SYNC"))
            if self.rng.random() < 0.4:
                steps.append([])
        return steps

    def statement(self) -> list[Sent]:
        """Parse, Bind, Describe, Execute: what drivers do."""
        name, portal = self.rng.choice(STATEMENT_NAMES), self.rng.choice(PORTAL_NAMES)
        text, types, values = self.rng.choice(PARAMETRIC)
        if self.rng.random() < 0.6:
            text, types, values = self.text(), (), ()
        messages = [sent("parse", text, name, types), self._bind(values, name, portal)]
        if self.rng.random() < 0.7:
            messages.append(sent("describe", "P", portal))
        if self.rng.random() < 0.2:
            messages += [sent("execute", portal, 2), sent("execute", portal, 3)]
        return [*messages, sent("execute", portal, self.rng.choice((0, 0, 0, 2)))]

    def parse(self) -> list[Sent]:
        name = self.rng.choice(STATEMENT_NAMES)
        text, types, _ = self.rng.choice(PARAMETRIC)
        if self.rng.random() < 0.5:
            text, types = self.rng.choice((self.text(), self.text(), self.text(), "")), ()
        return [sent("parse", text, name, types)]

    def text(self) -> str:
        return self.rng.choice(self.few) if self.few else self.part()

    def bind(self) -> list[Sent]:
        values = self.rng.choice(((), (), ("41", "x"), ("4",), ("zero", "x"), (None, None)))
        return [self._bind(values, self.rng.choice(STATEMENT_NAMES), self.rng.choice(PORTAL_NAMES))]

    def _bind(self, values: tuple[str | None, ...], name: str, portal: str) -> Sent:
        formats: tuple[int, ...] = ()
        raw: tuple[str | bytes | None, ...] = values
        if values and self.rng.random() < 0.3:
            formats = tuple(int(value is not None and value.isdecimal()) for value in values)
            raw = tuple(
                struct.pack("!i", int(value)) if value is not None and binary else value
                for value, binary in zip(values, formats, strict=True)
            )
        results = self.rng.choice(((), (), (0,), (1,), (1, 0)))
        return sent("bind", raw, name, portal, formats=formats, results=results)

    def describe(self) -> list[Sent]:
        if self.rng.random() < 0.5:
            return [sent("describe", "S", self.rng.choice(STATEMENT_NAMES))]
        return [sent("describe", "P", self.rng.choice(NAMED_PORTALS))]

    def execute(self) -> list[Sent]:
        return [sent("execute", self.rng.choice(NAMED_PORTALS), self.rng.choice((0, 1, 2, 5)))]

    def close(self) -> list[Sent]:
        if self.rng.random() < 0.6:
            return [sent("close", "S", self.rng.choice(STATEMENT_NAMES))]
        return [sent("close", "P", self.rng.choice(PORTAL_NAMES))]

    def flush(self) -> list[Sent]:
        return [sent("FLUSH")]

    def stray_query(self) -> list[Sent]:
        """A simple query in the middle of a batch."""
        return [sent("query", self.sql())]

    # COPY and large objects

    def copy(self) -> list[Step]:
        """COPY FROM STDIN, in either protocol, to its end or not."""
        text = self.rng.choice(COPIES)
        if self.rng.random() < 0.1:
            return [
                [
                    sent("parse", self.rng.choice(COPIES_OUT)),
                    sent("bind"),
                    sent("execute", "", 2),
                    sent("SYNC"),
                ]
            ]
        extended = self.rng.random() < 0.5
        if not extended and self.rng.random() < 0.2:
            text = f"SELECT 1; {text}; SELECT 2"
        start = [sent("parse", text), sent("bind"), sent("execute")] if extended else [sent("query", text)]
        count = self.rng.choice((0, 1, 3, 200))
        lines = [f"{400 + number}\tline {number}\n".encode() for number in range(count)]
        if self.rng.random() < 0.25:
            lines.insert(self.rng.randint(0, len(lines)), b"no number\tat all\n")
        if self.rng.random() < 0.1:
            lines.append(b"1\ttwice\n")
        data = b"".join(lines)
        if "binary" in text and self.rng.random() < 0.8:
            data = binary_copy(count)
        cut = self.rng.randint(0, len(data))
        body = [sent("copy_data", part) for part in (data[:cut], data[cut:]) if part]
        if self.rng.random() < 0.1:
            body.insert(self.rng.randint(0, len(body)), sent("FLUSH"))
        body.append(sent("copy_fail", "changed my mind") if self.rng.random() < 0.2 else sent("COPY_DONE"))
        if extended:
            body.append(sent("SYNC"))
        if self.rng.random() < 0.4:
            return [start + body]
        if extended:
            start.append(sent("FLUSH"))
        return [start, body]

    def large_object(self) -> list[Step]:
        """Calls by number, as libpq's functions for large objects make them."""

        def number(value: int) -> bytes:
            return struct.pack("!i", value)

        oid = number(self.place.large_object)
        calls = [
            *(("BEGIN",) if self.rng.random() < 0.8 else ()),
            sent("function_call", 715, oid),
            sent("function_call", 952, oid, number(0x60000)),
            sent("function_call", 955, number(0), b"some bytes"),
            sent("function_call", 956, number(0), number(2), number(0)),
            sent("function_call", 954, number(0), number(5)),
            sent("function_call", 953, number(0)),
            sent("function_call", 964, oid),
            *(("COMMIT",) if self.rng.random() < 0.8 else ()),
        ]
        calls = [call for call in calls if self.rng.random() < 0.95]
        step = [sent("query", call) if isinstance(call, str) else call for call in calls]
        return [step] if self.rng.random() < 0.5 else [[each] for each in step]

    def _pick(self, *choices: tuple[Any, float]) -> Any:
        values, weights = zip(*choices, strict=True)
        return self.rng.choices(values, weights)[0]


def binary_copy(count: int) -> bytes:
    """Rows as COPY takes them in binary."""
    data = b"PGCOPY\n\xff\r\n\0" + bytes(8)
    for number in range(count):
        word = f"line {number}".encode()
        data += struct.pack(f"!hiii{len(word)}s", 2, 4, 400 + number, len(word), word)
    return data + struct.pack("!h", -1)


def talk_of(seed: int, places: Sequence[Place]) -> Talk:
    """What clients say by turns, each at its place."""
    rng = random.Random(seed)
    talks = [Generator(rng.getrandbits(60), place).conversation() for place in places]
    turns = [number for number, steps in enumerate(talks) for _ in steps]
    rng.shuffle(turns)
    return [(number, talks[number].pop(0)) for number in turns]
