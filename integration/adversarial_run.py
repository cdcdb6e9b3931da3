"""Holds conversations on several lanes at a time, and makes what is found short."""

from __future__ import annotations

import asyncio
import collections
import os
import time
from collections.abc import Iterator

from adversarial_lanes import Lane
from adversarial_letters import PREPARED_TEXTS
from adversarial_rules import Finding
from adversarial_sequences import Letters, without
from harness.conversation import Peer
from harness.wire import SYNC, parse

# How many kinds of findings end a run.
MOST = int(os.environ.get("ADVERSARIAL_FINDINGS", "3"))
RETRY_SECONDS, SHORTEN_SECONDS = 3.0, 40.0


async def reserved_names(peer: Peer) -> dict[str, str]:
    """What servers call the texts that are prepared under names, as every client can see. They are called so
    as long as this client has them.
    """
    await peer.write([*(parse(text, f"x{number}") for number, text in enumerate(PREPARED_TEXTS)), SYNC])
    while (await peer.receive()).type != "Z":
        pass
    replies = await peer.query("SELECT statement, name FROM pg_prepared_statements")
    return {text or "": name or "" for text, name in (each.row for each in replies if each.type == "D")}


class Run:
    """Conversations until there are none left, or some are wrong."""

    def __init__(
        self, lanes: list[Lane], sequences: Iterator[Letters], most: int = MOST, *, short: bool = True
    ) -> None:
        self.lanes = lanes
        self.most = most
        # Whether findings are made short.
        self.short = short
        self.sequences = enumerate(sequences)
        self.done = 0
        self.findings: dict[str, Finding] = {}
        self.kinds: collections.Counter[str] = collections.Counter()
        self.firsts: dict[str, str] = {}
        self.started = time.monotonic()

    async def all(self) -> None:
        first = self.lanes[0]
        preparing = await first.gateway.connect() if first.is_renaming else None
        try:
            names = await reserved_names(preparing) if preparing else {}
            async with asyncio.TaskGroup() as tasks:
                for lane in self.lanes:
                    lane.reserved = names
                    tasks.create_task(self.work(lane))
            if self.short:
                await self.shorten()
        finally:
            for each in (*self.lanes, preparing):
                if each:
                    each.close()

    async def work(self, lane: Lane) -> None:
        await lane.start()
        for number, letters in self.sequences:
            finding = await lane.hold(letters, paced=number % 2 == 1)
            self.done += 1
            if finding:
                if not self.kinds[finding.kind]:
                    self.firsts[finding.kind] = (
                        f"conversation {self.done}, {time.monotonic() - self.started:.0f} s"
                    )
                self.kinds[finding.kind] += 1
                self.findings.setdefault(finding.kind, finding)
                await lane.renew()
            if len(self.findings) >= self.most:
                break

    async def shorten(self) -> None:
        """Drops letters as long as something is wrong; what is found then stands for the first finding."""
        lane = self.lanes[0]
        lane.seconds = RETRY_SECONDS
        end = time.monotonic() + SHORTEN_SECONDS
        for kind, finding in list(self.findings.items())[: self.most]:
            letters, at = finding.talk.letters, 0
            size = max(1, len(letters) // 2)
            await lane.renew()
            while size and time.monotonic() < end:
                fewer = without(letters, at, size)
                again = await lane.hold(fewer, finding.talk.paced) if fewer else None
                if again:
                    await lane.renew()
                if again and again.kind == kind:
                    letters, self.findings[kind] = fewer, again
                else:
                    at += size
                if at >= len(letters):
                    at, size = 0, size // 2

    def report(self) -> str:
        lines = [f"{count} × {kind}, first: {self.firsts[kind]}" for kind, count in self.kinds.most_common()]
        return "\n\n".join(["\n".join(lines), *map(str, self.findings.values())])
