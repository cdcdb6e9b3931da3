"""Clients that ask for a large result and hardly read it, while others are measured."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from contestants import HOST, Endpoint

from harness import DATABASE
from harness import wire as w
from harness.wire import Wire

RESULT = "SELECT generate_series(1, 100000000), repeat('x', 100)"
READ_BYTES = 64 * 1024
PAUSE_SECONDS = 0.1


@contextmanager
def slow_clients(endpoint: Endpoint, count: int) -> Iterator[None]:
    """So many of them, until the end of the block."""
    done = threading.Event()

    def read(wire: Wire) -> None:
        while not done.wait(PAUSE_SECONDS):
            if not wire.socket.recv(READ_BYTES):
                return

    with ExitStack() as stack:
        threads = []
        for _ in range(count):
            wire = stack.enter_context(Wire(HOST, endpoint.port))
            wire.login(endpoint.user, DATABASE, endpoint.password)
            wire.send(w.query(RESULT))
            threads.append(threading.Thread(target=read, args=(wire,), daemon=True))
            threads[-1].start()
        try:
            yield
        finally:
            done.set()
            for thread in threads:
                thread.join()
