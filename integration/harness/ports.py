"""Free TCP ports on loopback."""

from __future__ import annotations

import random
import socket

# Below the range that Linux takes for outgoing connections, so that none of those can take the port before
# the program that it is meant for.
FIRST, LAST = 20_000, 32_000


def free_port() -> int:
    """A port that nothing listens on now."""
    for _ in range(200):
        port = random.randint(FIRST, LAST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port found on 127.0.0.1")
