"""The shortest talk that still shows a difference."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from .comparison import Difference, InconclusiveError, Pair, Talk, compare

RETRY_SECONDS = 2.0
MOST_SECONDS = 60.0


async def shortest(
    pairs: Sequence[Pair], resets: Sequence[str], talk: Talk, seed: int
) -> tuple[Talk, Difference | None]:
    """Drops messages as long as there is a difference; `None` when there is none in the first place."""

    async def fails(candidate: Talk) -> Difference | None:
        for pair, reset in zip(pairs, resets, strict=True):
            await pair.prepare(reset)
        try:
            return await compare(pairs, candidate, random.Random(seed), RETRY_SECONDS)
        except (AssertionError, InconclusiveError):
            return None

    found = await fails(talk)
    if found is None:
        return talk, None
    end = time.monotonic() + MOST_SECONDS
    size = max(1, length(talk) // 2)
    while size and time.monotonic() < end:
        at = 0
        before = length(talk)
        while at < length(talk) and time.monotonic() < end:
            candidate = without(talk, at, size)
            if candidate and (difference := await fails(candidate)):
                talk, found = candidate, difference
            else:
                at += size
        # At the end, as often as it helps.
        if size > 1 or length(talk) == before:
            size //= 2
    return talk, found


def length(talk: Talk) -> int:
    return sum(len(step) for _, step in talk)


def without(talk: Talk, start: int, size: int) -> Talk:
    """Without some messages. A step stays one that ends with a message that is answered at once."""
    result: Talk = []
    number = 0
    for speaker, step in talk:
        kept = [message for offset, message in enumerate(step) if not start <= number + offset < start + size]
        number += len(step)
        if not kept or (kept[-1].kind in "PBDEC" and len(kept) < len(step)):
            continue
        result.append((speaker, kept))
    return result
