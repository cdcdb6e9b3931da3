"""One conversation with PostgreSQL and with the gateway, and whoever has the server next.

A lane has a database entry of its own on the gateway, with as few servers as the mode allows. So the
neighbour and the next client have the server connection that the conversation has.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from adversarial_letters import LAST, SELECT, Place, Speaker, words_of
from adversarial_rules import Finding, Talk, judge
from adversarial_talking import Conversing, Heard, Pace, leave_politely
from harness import wire as w
from harness.comparison import Side
from harness.conversation import Peer
from harness.wire import Message

Row = tuple[str | None, ...]
CANARY = re.compile(rb"canary[0-9a-f]{12}")
LOST = (OSError, EOFError, TimeoutError, w.ServerError)
CHECK = """
SELECT pg_backend_pid(), current_user, session_user, current_setting('role'),
    nullif(current_setting('app.tenant_id', true), ''), nullif(current_setting('app.note', true), ''),
    current_setting('search_path'), current_setting('work_mem'), current_setting('application_name'),
    current_setting('statement_timeout'), current_setting('default_transaction_read_only'),
    (SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()),
    ARRAY(SELECT name FROM pg_prepared_statements WHERE name NOT LIKE '\\_\\_pgdog%' ORDER BY name),
    (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
    ARRAY(SELECT pg_listening_channels()), (SELECT count(*) FROM pg_cursors),
    nullif(current_setting('app.left', true), '')
"""
# Where the check names the statements that were not prepared for the gateway.
NAMES_AT = 12
CONTENTS = "DELETE FROM copied RETURNING n, word"


class Client(NamedTuple):
    """Who logs in to the gateway, and who that is for PostgreSQL."""

    side: Side
    role: str
    session_user: str
    tenant: str | None

    @property
    def identity(self) -> Row:
        setting = "none" if self.role == self.session_user else self.role
        return (self.role, self.session_user, setting, self.tenant)


@dataclass
class Lane:
    """Where one conversation is held at a time."""

    place: Place
    direct: Side
    # The first is who holds the conversation; another comes behind it where servers are shared.
    clients: Sequence[Client]
    # Past the gateway: in the reference's database, and in the gateway's.
    keepers: Sequence[Side]
    seconds: float
    servers: int
    # Whether statements have the server's own names, and servers go from client to client.
    is_renaming: bool
    # Whether statements with the client's own names go with it. Where they do not, its role may find them.
    forgets_names: bool
    # Whether the gateway confirms the identity behind each request.
    is_verified: bool
    in_sessions: bool
    guarded: bool
    # Whether this is the PostgreSQL with the defect of adversarial_rules.py.
    has_defect: bool = False
    reserved: Mapping[str, str] = field(default_factory=dict)
    reference: Peer | None = None
    neighbour: Peer | None = None
    keeping: list[Peer] = field(default_factory=list)
    usual: list[Row] = field(default_factory=list)
    # Server processes that next clients have had, and the last one's.
    pids: set[str] = field(default_factory=set)
    last_pid: str | None = None
    # How often the next client had the conversation's server.
    reached: int = 0

    async def start(self) -> None:
        self.keeping = [await keeper.connect() for keeper in self.keepers]
        self.reference = await self.direct.connect()
        for client in self.clients:
            usual = (await self._look(client.side, None))[0][1:]
            assert usual[:4] == client.identity, usual
            self.usual.append(usual)
        await self._settle()

    @property
    def gateway(self) -> Side:
        return self.clients[0].side

    async def renew(self) -> None:
        """Behind something that was wrong: other server connections, another neighbour."""
        pids = ", ".join({*self.pids, "0"})
        await self.keeping[1].query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE usename = '{self.clients[0].session_user}' AND datname = current_database()"
            f" AND (pid IN ({pids}) OR application_name = '{self.place.role}')"
        )
        self.pids.clear()
        await self._settle()

    async def _settle(self) -> None:
        """Until the servers are new ones: whoever finds one that was ended gets an error."""
        if self.neighbour:
            self.neighbour.close()
            self.neighbour = None
        for _ in range(4):
            with contextlib.suppress(*LOST, AssertionError):
                await asyncio.wait_for(self._look(self.gateway, None), self.seconds)
                break
            await asyncio.sleep(0.1)
        if self.is_renaming:
            self.neighbour = await self.clients[-1].side.connect()

    def close(self) -> None:
        for peer in (*self.keeping, self.reference, self.neighbour):
            if peer:
                peer.close()

    async def hold(self, letters: tuple[str, ...], paced: bool) -> Finding | None:
        """The conversation on both sides. What is wrong with it, if anything."""
        canary = f"canary{secrets.token_hex(6)}"
        wanted, pace, contents = await self._ask_postgresql(letters, canary)
        speaker = self._speaker(canary)
        talk = Talk(
            letters,
            paced,
            speaker,
            is_renaming=self.is_renaming,
            is_forgetting=not self.is_renaming and not self.forgets_names,
            is_verified=self.is_verified,
            in_sessions=self.in_sessions,
            has_defect=self.has_defect,
            words=list(words_of(letters, speaker)),
            wanted=wanted.messages,
            hangs_up=wanted.is_closed,
        )
        try:
            peer = await asyncio.wait_for(self.gateway.connect(), self.seconds)
        except LOST as error:
            return Finding(talk, f"no login: {error!r}")
        saying = Conversing(self.gateway, peer, self.keeping[1], self.place, canary, talk.words, self.seconds)
        _, complaint = await asyncio.gather(
            saying.follow(pace, paced=paced, hangs_up=wanted.is_closed), self._ask_neighbour(canary)
        )
        heard = saying.heard
        talk.seen, talk.is_cut, talk.is_late = heard.messages, heard.is_closed, heard.is_late
        # Half of them leave politely.
        leave_politely(peer) if canary[-1] in "02468ace" else peer.close()
        if others := strangers(heard.messages, canary):
            return Finding(talk, f"it hears what is somebody else's: {others}")
        if complaint and not talk.is_late:
            return Finding(talk, complaint)
        return judge(talk) or await self._next(talk, contents)

    def _speaker(self, canary: str, *, direct: bool = False) -> Speaker:
        return Speaker(self.place, canary, direct, self.guarded, self.reserved)

    # PostgreSQL

    async def _ask_postgresql(self, letters: tuple[str, ...], canary: str) -> tuple[Heard, Pace, list[Row]]:
        """Its replies, how it gave them, and what the table holds afterwards."""
        words = list(words_of(letters, self._speaker(canary, direct=True)))
        peer = self.reference or await self.direct.connect()
        saying = Conversing(self.direct, peer, self.keeping[0], self.place, canary, words, self.seconds)
        pace = await saying.learn()
        heard = saying.heard
        assert not heard.is_late, f"PostgreSQL does not end: {letters}, {heard.messages}"
        if heard.is_over:
            await peer.query("DISCARD ALL")
        else:
            peer.close()
            self.reference = await self.direct.connect()
        found = await self.reference.query(CONTENTS) if self.reference else []
        return heard, pace, [message.row for message in found if message.type == "D"]

    # Beside the conversation

    async def _ask_neighbour(self, canary: str) -> str | None:
        """A request of another client, which waits for the server while the conversation has it."""
        if not self.neighbour:
            return None
        client, own = self.clients[-1], f"canary{secrets.token_hex(6)}"
        await asyncio.sleep(int(canary[-2:], 16) / 64_000)
        sql = "SELECT $1::text, current_user, current_setting('app.tenant_id', true)"
        self.neighbour.writer.write(w.extended(sql, [own]))
        try:
            replies = await asyncio.wait_for(up_to_ready(self.neighbour), self.seconds)
        except LOST as error:
            return f"a neighbour gets nothing: {error!r}"
        rows = [message.row for message in replies if message.type == "D"]
        if w.types_of(replies) != "12TDCZ" or rows != [(own, client.role, client.tenant)]:
            return f"a neighbour gets {w.types_of(replies)}, {rows}"
        return None

    # Whoever comes next

    async def _next(self, talk: Talk, contents: list[Row]) -> Finding | None:
        rows: list[Row] = []
        for number, (client, usual) in enumerate(zip(self.clients, self.usual, strict=True)):
            who = f"the next client, {client.side.parameters['user']},"
            try:
                state, *found = await asyncio.wait_for(self._look(client.side, usual), self.seconds)
            except (*LOST, AssertionError) as error:
                return Finding(talk, f"{who} gets nothing: {error!r}")
            if number == 0 and not self.forgets_names:
                state = (*state[:NAMES_AT], usual[NAMES_AT - 1], *state[NAMES_AT + 1 :])
            if state[1:] != usual:
                return Finding(talk, f"{who} finds {state[1:]}, and not {usual}")
            if number == 0:
                rows = found
                self.reached += state[0] == self.last_pid
            self.last_pid = state[0]
        words = " ".join(word for row in rows for word in row if word).encode()
        if set(CANARY.findall(words)) - {talk.speaker.canary.encode()}:
            return Finding(talk, f"the table holds what is somebody else's: {rows}")
        if not talk.ended and not LAST.intersection(talk.letters) and rows != contents:
            return Finding(talk, f"the table holds {rows}, and not {contents}")
        return None

    async def _look(self, side: Side, usual: Row | None) -> list[Row]:
        """The state that a new client finds, and behind it what it finds in the table."""
        peers = [await side.connect() for _ in range(self.servers)]
        states: list[Row] = []
        rows: list[Row] = []
        try:
            for peer in peers:
                if self.servers > 1:
                    # All of them at once, so that each has another server.
                    await peer.query("BEGIN")
                replies = await peer.query(f"{CHECK}; {CONTENTS}" if peer is peers[0] else CHECK)
                kinds = w.types_of(message for message in replies if message.type != "S")
                assert re.fullmatch("TDC(TD*C)?Z", kinds), f"replies {kinds}"
                state, *more = [message.row for message in replies if message.type == "D"]
                rows += more
                states.append(state)
                self.pids.add(state[0] or "")
                if self.is_renaming:
                    # A statement that others have prepared before, which the server may hold or not.
                    peer.writer.write(w.parse(SELECT, "look") + w.bind([""], "look") + w.execute() + w.SYNC)
                    kinds = w.types_of(await up_to_ready(peer))
                    assert kinds == "12DDCZ", f"replies {kinds} to a prepared statement"
            if self.servers > 1:
                for peer in peers:
                    await peer.query("COMMIT")
            if not self.forgets_names:
                await peers[0].query("DEALLOCATE ALL")
        finally:
            for peer in peers:
                peer.close()
        unusual = (state for state in states if usual and state[1:] != usual)
        return [next(unusual, states[0]), *rows]


async def up_to_ready(peer: Peer) -> list[Message]:
    replies: list[Message] = []
    while not replies or replies[-1].type != "Z":
        message = await peer.receive()
        replies += [message] if message.type != "S" else []
    return replies


def strangers(messages: Sequence[Message], canary: str) -> set[bytes]:
    """Values of other conversations among these replies."""
    return {each for message in messages for each in CANARY.findall(message.body)} - {canary.encode()}
