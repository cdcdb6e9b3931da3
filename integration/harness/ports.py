"""Free TCP ports on loopback, each given once: it stays its owner's while no server listens on it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

# Below the range that Linux takes for outgoing connections, so that none of those can take the port before
# the program that it is meant for.
FIRST, LAST = 20_000, 32_000
BLOCK = 500

_lock = threading.Lock()
_claims: list[socket.socket] = []


def free_port() -> int:
    """A port that nothing listens on, and that no other program with this harness is given meanwhile."""
    with _lock:
        for port in _ports:
            with socket.socket() as probe, contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise RuntimeError("no free port found on 127.0.0.1")


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _own_ports() -> Iterator[int]:
    """All of a block, and then of the next that no other program has claimed.

    A claim is a name that Linux knows while this program runs, and no file that could be left behind.
    """
    for first in range(FIRST, LAST, BLOCK):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0pgdog-jwt ports from {first}")
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        yield from range(first, first + BLOCK)


_ports = _own_ports()
