"""Many tenants on few servers, in one shared pool: every row that a client reads is its own, whatever
the others do, die of or leave behind. `TENANT_SECONDS` says for how long.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness import primary_alone
from harness import wire as w
from harness.conversation import Peer
from harness.target import Target
from harness.wire import Message

TENANTS = 100
CLIENTS_OF_EACH = 50
SECONDS = float(os.environ.get("TENANT_SECONDS", "60"))
SERVERS = 6
# Clients that have something to say at the same time.
AT_ONCE = 60
OTHER_FILES = 1_000
ROLES = ("alice", "bob", "carol")

READ = "SELECT tenant, current_setting('app.tenant_id'), current_user FROM public.isolated"
SCHEMA = """
    CREATE TABLE isolated (tenant text NOT NULL, body text NOT NULL);
    ALTER TABLE isolated ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own ON isolated USING (tenant = current_setting('app.tenant_id', true));
    GRANT SELECT, INSERT ON isolated TO subjects;
    INSERT INTO isolated
        SELECT 'tenant ' || t, 'row ' || r FROM generate_series(0, 99) AS t, generate_series(1, 3) AS r;
"""


class WrongTenantError(AssertionError):
    """A client saw what is not its own."""


class Client:
    """A client of one tenant, which logs in again when it has died."""

    def __init__(self, target: Target, number: int, token: str, seed: int) -> None:
        self.target = target
        self.tenant = f"tenant {number}"
        self.role = ROLES[number % len(ROLES)]
        self.token = token
        self.rng = random.Random(seed)
        self.peer: Peer | None = None
        self.prepared = False

    async def act(self, done: Counter[str]) -> None:
        """One thing, at random, and a look at what came back."""
        if self.peer is None:
            self.peer = await Peer.connect(
                self.target.host,
                self.target.port,
                self.token,
                user=self.role,
                database=self.target.database,
            )
            self.prepared = False
        deed = self.rng.choice(
            (self.read, self.read_prepared, self.pipeline, self.transaction, self.copy, self.err, self.change)
            if self.rng.random() < 0.93
            else (self.die, self.cancel, self.leave_open)
        )
        await deed(self.peer)
        done[deed.__name__] += 1

    def check(self, replies: list[Message], rows: int) -> None:
        seen = [message.row for message in replies if message.type == "D"]
        if seen != [(self.tenant, self.tenant, self.role)] * rows:
            raise WrongTenantError(f"{self.tenant} as {self.role} saw {seen}")

    async def ask(self, peer: Peer, *messages: bytes, ends: int = 1) -> list[Message]:
        peer.writer.write(b"".join(messages))
        replies: list[Message] = []
        while ends:
            replies.append(await peer.receive())
            ends -= replies[-1].type == "Z"
        return replies

    async def read(self, peer: Peer) -> None:
        self.check(await self.ask(peer, w.query(READ)), 3)

    async def read_prepared(self, peer: Peer) -> None:
        parse = b"" if self.prepared else w.parse(READ, "read")
        self.check(await self.ask(peer, parse, w.bind((), "read"), w.execute(), w.SYNC), 3)
        self.prepared = True

    async def pipeline(self, peer: Peer) -> None:
        replies = await self.ask(peer, w.extended(READ), w.extended("SELECT 1/0"), w.extended(READ), ends=3)
        self.check(replies, 6)

    async def transaction(self, peer: Peer) -> None:
        insert = "INSERT INTO public.isolated VALUES (current_setting('app.tenant_id'), 'new')"
        replies = await self.ask(
            peer, w.query("BEGIN"), w.query(insert), w.query(READ), w.query("ROLLBACK"), ends=4
        )
        self.check(replies, 4)

    async def copy(self, peer: Peer) -> None:
        replies = await self.ask(peer, w.query("COPY (SELECT tenant FROM public.isolated) TO STDOUT"))
        lines = [message.body for message in replies if message.type == "d"]
        if lines != [self.tenant.encode() + b"\n"] * 3:
            raise WrongTenantError(f"{self.tenant} copied {lines}")

    async def err(self, peer: Peer) -> None:
        error = w.error_of(await self.ask(peer, w.query("SELECT 1/0")))
        assert error["C"] == "22012", error

    async def change(self, peer: Peer) -> None:
        """Settings of its own, and tries to be somebody else."""
        await self.ask(peer, w.query(f"SET app.mark = '{self.tenant}'"))
        for attack in ("SET app.tenant_id = 'tenant 0'", "RESET ROLE", "RESET ALL", "DISCARD ALL"):
            if self.rng.random() < 0.3:
                await self.ask(peer, w.query(attack))
                self.prepared &= attack != "DISCARD ALL"
        self.check(await self.ask(peer, w.query(READ)), 3)

    async def leave_open(self, peer: Peer) -> None:
        """Ends in the middle of a transaction."""
        await self.ask(peer, w.query("BEGIN"), w.query(READ), ends=2)
        self.leave(peer)

    async def die(self, peer: Peer) -> None:
        """Ends in the middle of an answer."""
        peer.writer.write(w.query(READ) + w.query("SELECT pg_sleep(0.05)") + w.extended(READ))
        await peer.receive()
        self.leave(peer)

    async def cancel(self, peer: Peer) -> None:
        peer.writer.write(w.query("SELECT pg_sleep(3)"))
        await asyncio.sleep(self.rng.random() * 0.05)
        reader, writer = await asyncio.open_connection(self.target.host, self.target.port)
        writer.write(w.cancel_request(peer.key))
        await reader.read()
        writer.close()
        # It may have come before the server had anything to cancel.
        replies = await self.ask(peer)
        assert {m.fields["C"] for m in replies if m.type == "E"} <= {"57014"}
        self.check(await self.ask(peer, w.query(READ)), 3)

    def leave(self, peer: Peer) -> None:
        peer.close()
        self.peer = None


@pytest.fixture
def isolated(cluster: Any) -> Iterator[Any]:
    with cluster.admin() as admin:
        admin.execute(SCHEMA)
    yield cluster
    with cluster.admin() as admin:
        admin.execute("DROP TABLE isolated")


def clients_that_fit() -> int:
    """Of each tenant, as many as there may be files open for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = TENANTS * CLIENTS_OF_EACH + OTHER_FILES
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, limit), hard))
    return max(1, (limit - OTHER_FILES) // TENANTS)


@pytest.mark.timeout(SECONDS + 180)
def test_every_row_is_the_readers_own(
    isolated: Any, make_gateway: Callable[..., Target], say: Callable[[str], None]
) -> None:
    target = make_gateway(
        general={"default_pool_size": SERVERS, "checkout_timeout": 60_000},
        jwt={"shared_pool": True, "session": {"variables": {"app.tenant_id": "{tenant}"}}},
        databases=[primary_alone(isolated)],
    )
    tokens = [
        target.issuer.token(ROLES[number % len(ROLES)], tenant=f"tenant {number}", expires_in=3_600)
        for number in range(TENANTS)
    ]
    each = clients_that_fit()
    clients = [Client(target, seed % TENANTS, tokens[seed % TENANTS], seed) for seed in range(TENANTS * each)]
    done: Counter[str] = Counter()

    async def work() -> None:
        end = time.monotonic() + SECONDS
        waiting = asyncio.Queue[Client]()
        for client in clients:
            waiting.put_nowait(client)

        async def serve() -> None:
            while time.monotonic() < end:
                client = await waiting.get()
                await client.act(done)
                waiting.put_nowait(client)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(serve())

    try:
        asyncio.run(asyncio.wait_for(work(), SECONDS + 120))
    finally:
        for client in clients:
            if client.peer:
                with contextlib.suppress(RuntimeError):
                    client.peer.close()

    logins = sum(client.peer is not None for client in clients)
    say(f"{sum(done.values())} deeds of {len(clients)} clients ({logins} still there): {dict(done)}")
    assert set(done) >= {
        "read",
        "read_prepared",
        "pipeline",
        "transaction",
        "copy",
        "err",
        "change",
        "die",
        "cancel",
    }
