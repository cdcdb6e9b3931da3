"""A server that hangs: its processes are there, its sockets are open, and nothing answers."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from .server import Server


def processes(server: Server) -> list[int]:
    """The postmaster, which this program has started, and its children."""
    assert server.pid
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text()
    return [server.pid, *map(int, children.split())]


@contextlib.contextmanager
def frozen(server: Server) -> Iterator[None]:
    """Stops all processes of the server for a while."""
    stopped = processes(server)
    try:
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in reversed(stopped):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
