"""Thousands of clients that are logged in and do nothing: what each of them costs.

`IDLE_CLIENTS` says how many, 5 000 if it is not set, or as many as this process may have files open for.
"""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.conversation import Peer
from harness.target import Target

CLIENTS = int(os.environ.get("IDLE_CLIENTS", "5000"))
AT_ONCE = 50
# Memory of a client that has logged in, asked something and waits: about 2 KiB, and the allocator's share.
BYTES_PER_CLIENT = 4 * 1024
OTHER_FILES = 1_000


def test_memory_comes_in_small_pages(make_gateway: Callable[..., Target]) -> None:
    pid = make_gateway().gateway.pid
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    if "THP_enabled" not in status:
        pytest.skip("this kernel does not say whether a process gets huge pages")

    assert status["THP_enabled"].strip() == "0"


def test_idle_clients_cost_little_and_all_are_still_served(
    make_gateway: Callable[..., Target], say: Callable[[str], None]
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = CLIENTS + OTHER_FILES if hard == resource.RLIM_INFINITY else hard
    clients = min(CLIENTS, limit - OTHER_FILES)
    if clients < 500:
        pytest.skip(f"this process may have only {hard} files open")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, clients + OTHER_FILES), hard))
    target = make_gateway()
    token = target.issuer.token("alice")
    gate = asyncio.Semaphore(AT_ONCE)

    async def enter() -> Peer:
        async with gate:
            peer = await Peer.connect(target.host, target.port, token, user="alice", database=target.database)
            await peer.query("SELECT 1")
            return peer

    async def ask(peer: Peer) -> bool:
        async with gate:
            return (await peer.query("SELECT current_user"))[1].row == ("alice",)

    async def work() -> float:
        warm = [await enter() for _ in range(20)]
        before = target.gateway.memory()
        peers = await asyncio.gather(*(enter() for _ in range(clients)))
        cost = (target.gateway.memory() - before) / clients
        assert all(await asyncio.gather(*map(ask, peers)))
        for peer in warm + peers:
            peer.close()
        return cost

    cost = asyncio.run(asyncio.wait_for(work(), 110))

    say(f"{clients} idle clients: {cost / 1024:.1f} KiB each")
    assert cost < BYTES_PER_CLIENT
