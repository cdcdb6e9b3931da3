"""The alphabet of adversarial conversations: what a client can send, in small letters.

| letters | what they are |
| --- | --- |
| `Q …` | a simple query: good, failing, empty, several statements, COPY, transactions, refused, resets |
| `X …` | Parse, Bind and Execute of the same with the unnamed statement, without Sync |
| `P …`, `B …`, `D …`, `E …`, `C …` | one message of the extended protocol |
| `R …` | Bind, Execute and Sync of a statement that is there already |
| `H`, `S`, `F …` | Flush, Sync, FunctionCall |
| `d …`, `c`, `f` | CopyData, CopyDone, CopyFail, in a COPY or outside of one |
| `cancel`, `bye`, `gone` | a cancel request, Terminate, a connection that is cut |

Names are none, `a`, and `long`: two of 64 bytes whose first 63 are the same, one for Parse and one for the
rest. `waits` is a statement that waits for a lock, which the test holds until everything is sent. What the
gateway refuses is sent to PostgreSQL as a text that is no SQL: it fails in the same place. Sessions that are
not guarded say the same to both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from harness import wire as w
from harness.conversation import Sent, sent

# PostgreSQL compares the first 63 bytes of a name.
LONG_1, LONG_2 = "n" * 63 + "1", "n" * 63 + "2"
CANCEL, GONE = Sent("cancel", b""), Sent("gone", b"")

# Texts that are prepared under names are the same for all clients.
SELECT = "SELECT $1::text, current_user FROM generate_series(1, 2)"
COPY_IN = "COPY copied FROM STDIN"
DISCARD_ALL = "DISCARD ALL"
RESET_ALL = "RESET ALL"
REFUSED = "SET ROLE postgres"
NO_SQL = "refused"
PREPARED_TEXTS = (SELECT, COPY_IN, DISCARD_ALL, RESET_ALL)
LO_OPEN, RANDOM, PI, NO_FUNCTION = 952, 1598, 1610, 1
INV_READ = b"\0\4\0\0"


class Place(NamedTuple):
    """Where a client talks: its role, whose schema has the tables, another role, the value of its variable, a
    lock, and a large object.
    """

    role: str
    other: str
    tenant: str | None
    lock: int
    large_object: int


@dataclass
class Speaker:
    """Who says the letters, to PostgreSQL or to the gateway. A value of its own is in its rows and errors."""

    place: Place
    canary: str
    direct: bool = False
    # Whether the gateway reads and refuses statements.
    guarded: bool = True
    # What servers call the texts that are prepared under names.
    reserved: Mapping[str, str] = field(default_factory=dict)
    parameters: dict[str, int] = field(default_factory=dict)
    last_named: str = ""

    @property
    def is_refused(self) -> bool:
        """Whether this is PostgreSQL, which must fail where the gateway refuses."""
        return self.direct and self.guarded

    def code(self) -> str:
        """Takes another role, or what only the next client would see."""
        body = f"PERFORM set_config('role', '{self.place.other}', false)"
        if not self.guarded:
            body = f"PERFORM pg_advisory_lock_shared({self.place.lock + 1})"
        return f"DO $$ BEGIN {'NULL' if self.is_refused else body}; END $$"

    def refused(self, sql: str) -> str:
        return f"{NO_SQL} {self.canary}" if self.is_refused else sql

    def function(self) -> int:
        """The number of one that guarded sessions may not call."""
        return (NO_FUNCTION if self.direct else RANDOM) if self.guarded else PI

    def parse(self, text: str, name: str = "") -> Sent:
        self.parameters[name[:63]] = text.count("$1")
        if name:
            self.last_named = text
        return sent("parse", text, name)

    def bind(self, name: str = "", portal: str = "") -> Sent:
        return sent("bind", [self.canary] * self.parameters.get(name[:63], 0), name, portal)

    def step(self, text: str) -> list[Sent]:
        return [self.parse(text), self.bind(), sent("execute")]

    def run(self, name: str = "") -> list[Sent]:
        return [self.bind(name), sent("execute"), sent("SYNC")]

    @property
    def reserved_name(self) -> str:
        """The server's name of what was last prepared."""
        return self.reserved.get(self.last_named, "__pgdog_jwt_1")


Words = list[Sent]
Letter = Callable[[Speaker], Words]
LETTERS: dict[str, Letter] = {}

# As a query, and as Parse, Bind and Execute.
STATEMENTS: dict[str, Callable[[Speaker], str]] = {
    "select": lambda s: f"SELECT '{s.canary}', current_user",
    "fails": lambda s: f"SELECT '{s.canary}'::int",
    "empty": lambda _: "",
    "copy in": lambda _: COPY_IN,
    "copy out": lambda s: f"COPY (SELECT '{s.canary}' FROM generate_series(1, 2)) TO STDOUT",
    "begin": lambda _: "BEGIN",
    "commit": lambda _: "COMMIT",
    "rollback": lambda _: "ROLLBACK",
    # Fails at the end of its transaction.
    "deferred": lambda _: "INSERT INTO deferred VALUES (1, 999)",
    "refused": lambda s: s.refused(REFUSED),
    "discard all": lambda _: DISCARD_ALL,
    "reset all": lambda _: RESET_ALL,
    "deallocate all": lambda _: "DEALLOCATE ALL",
    "deallocate a": lambda _: "DEALLOCATE a",
    "prepare a": lambda s: f"PREPARE a AS SELECT '{s.canary}', current_user",
    "execute a": lambda _: "EXECUTE a",
    "execute reserved": lambda s: s.refused(f'EXECUTE "{s.reserved_name}"'),
    "set": lambda s: f"SET app.note = '{s.canary}'",
    # What only the next client would see.
    "leaves": lambda s: f"SELECT leaves('{s.canary}')",
    "waits": lambda s: f"SELECT '{s.canary}' FROM pg_advisory_xact_lock_shared({s.place.lock})",
}
QUERIES: dict[str, Callable[[Speaker], str]] = {
    "no sql": lambda s: f"SELEC '{s.canary}'",
    "fails late": lambda s: f"SELECT '{s.canary}', 1 / (2 - n) FROM generate_series(1, 3) AS n",
    "savepoint": lambda _: "SAVEPOINT s",
    "rollback to": lambda _: "ROLLBACK TO s",
    "set path": lambda _: "SET search_path = elsewhere",
    "set local": lambda _: "SET LOCAL work_mem = '5MB'",
    "two": lambda s: f"SELECT '{s.canary}'; SELECT 2",
    "two, one fails": lambda s: f"SELECT '{s.canary}'; SELECT '{s.canary}'::int; SELECT 3",
    "two, one refused": lambda s: s.refused(f"SELECT '{s.canary}'; {REFUSED}"),
    "two copies in": lambda _: f"{COPY_IN}; {COPY_IN}",
    "select, copy in, select": lambda s: f"SELECT 1; {COPY_IN}; SELECT '{s.canary}'",
    "transaction": lambda s: f"BEGIN; SELECT '{s.canary}'; COMMIT",
    "begin, fails": lambda s: f"BEGIN; SELECT '{s.canary}'::int",
}
# What keeps a client on its server in transaction mode.
HOLDING: dict[str, Callable[[Speaker], str]] = {
    "temporary": lambda s: f"CREATE TEMPORARY TABLE passing AS SELECT '{s.canary}' AS word",
    "lock": lambda s: f"SELECT pg_advisory_lock_shared({s.place.lock + 1})",
    "listen": lambda _: "LISTEN channel",
    "hold": lambda s: f"DECLARE held CURSOR WITH HOLD FOR SELECT '{s.canary}'",
}
# Not through the strict guard. Where code takes another role, PostgreSQL gets code that does nothing.
CODE: dict[str, Callable[[Speaker], str]] = {"do": Speaker.code}
# Without a guard alone: another role, which PostgreSQL lets this one take.
TAKING: dict[str, Callable[[Speaker], str]] = {
    "set role": lambda s: f"SET ROLE {s.place.other}",
    "set local role": lambda s: f"SET LOCAL ROLE {s.place.other}",
    "reset role": lambda _: "RESET ROLE",
}
NAMES = {"": "", " a": "a", " long": LONG_1}


def _fill() -> None:
    for name, text in {**STATEMENTS, **QUERIES, **HOLDING, **CODE, **TAKING}.items():
        LETTERS[f"Q {name}"] = lambda s, text=text: [sent("query", text(s))]
    for name, text in {**STATEMENTS, **CODE, **TAKING}.items():
        LETTERS[f"X {name}"] = lambda s, text=text: s.step(text(s))
    prepared = {"select": SELECT, "copy": COPY_IN, "discard all": DISCARD_ALL, "reset all": RESET_ALL}
    for what, text in prepared.items():
        for words, name in NAMES.items():
            LETTERS[f"P {what}{words}"] = lambda s, text=text, name=name: [s.parse(text, name)]
    LETTERS["P refused a"] = lambda s: [s.parse(s.refused(REFUSED), "a")]
    LETTERS["C, P select a"] = lambda s: [sent("close", "S", "a"), s.parse(SELECT, "a")]
    for words, name in {**NAMES, " long": LONG_2}.items():
        LETTERS[f"B{words}"] = lambda s, name=name: [s.bind(name)]
        LETTERS[f"B{words} as p"] = lambda s, name=name: [s.bind(name, "p")]
        LETTERS[f"D S{words}"] = lambda _, name=name: [sent("describe", "S", name)]
        LETTERS[f"C S{words}"] = lambda _, name=name: [sent("close", "S", name)]
        LETTERS[f"R{words}"] = lambda s, name=name: s.run(name)
    LETTERS["B as long portal"] = lambda s: [s.bind("", LONG_1)]
    for words, name in {"": "", " p": "p", " long": LONG_2}.items():
        LETTERS[f"E{words}"] = lambda _, name=name: [sent("execute", name)]
    LETTERS["E p, one row"] = lambda _: [sent("execute", "p", 1)]
    LETTERS["D P"] = lambda _: [sent("describe", "P", "")]
    LETTERS["D P p"] = lambda _: [sent("describe", "P", "p")]
    LETTERS["C P p"] = lambda _: [sent("close", "P", "p")]
    LETTERS["H"] = lambda _: [sent("FLUSH")]
    LETTERS["S"] = lambda _: [sent("SYNC")]
    LETTERS["F good"] = lambda s: [
        sent("function_call", LO_OPEN, s.place.large_object.to_bytes(4, "big"), INV_READ)
    ]
    LETTERS["F refused"] = lambda s: [sent("function_call", s.function())]
    LETTERS["d good"] = lambda s: [sent("copy_data", f"1\t{s.canary}\n".encode())]
    LETTERS["d bad"] = lambda s: [sent("copy_data", f"{s.canary}\n".encode())]
    LETTERS["d part"] = lambda _: [sent("copy_data", b"2")]
    LETTERS["c"] = lambda _: [sent("COPY_DONE")]
    LETTERS["f"] = lambda s: [sent("copy_fail", s.canary)]
    LETTERS["cancel"] = lambda _: [CANCEL]
    LETTERS["bye"] = lambda _: [sent("TERMINATE")]
    LETTERS["gone"] = lambda _: [GONE]


_fill()
LAST = frozenset({"bye", "gone"})
BEGINS = frozenset({"Q begin", "X begin", "Q begin, fails"})
CODES = frozenset({"Q do", "X do"})
TAKES = frozenset(f"{kind} {name}" for name in TAKING for kind in "QX")
HOLDS = frozenset(f"Q {name}" for name in HOLDING)
PREPARES = frozenset({"Q prepare a", "X prepare a"})


def end_of(speaker: Speaker) -> Words:
    """Behind every conversation: out of COPY and batch, and who is it, in its transaction and behind it?"""
    who = (
        "current_user, current_setting('app.tenant_id', true), current_setting('search_path'),"
        " current_setting('work_mem'), nullif(current_setting('app.note', true), '')"
    )
    return [
        sent("copy_fail", speaker.canary),
        sent("SYNC"),
        sent("query", f"SELECT '{speaker.canary} here', {who}"),
        sent("query", "COMMIT"),
        sent("query", f"SELECT '{speaker.canary} end', {who}"),
    ]


def words_of(letters: tuple[str, ...], speaker: Speaker) -> Iterator[Words]:
    for letter in letters:
        yield LETTERS[letter](speaker)
    if not letters or letters[-1] not in LAST:
        for message in end_of(speaker):
            yield [message]


def is_end(message: w.Message, canary: str) -> bool:
    """Whether it is the row that only the last query of a conversation gives."""
    return message.type == "D" and f"{canary} end".encode() in message.body
