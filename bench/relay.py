"""A plain TCP relay: what a second hop costs when nobody looks at what passes.

relay.py PORT HOST PORT    listens on the first port of loopback, and connects each client to the second
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading

BUFFER_BYTES = 128 * 1024


def main() -> None:
    port, target = int(sys.argv[1]), (sys.argv[2], int(sys.argv[3]))
    with socket.create_server(("127.0.0.1", port), backlog=1024) as listener:
        while True:
            client, _ = listener.accept()
            try:
                server = socket.create_connection(target)
            except OSError:
                client.close()
                continue
            for one, other in ((client, server), (server, client)):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=copy, args=(one, other), daemon=True).start()


def copy(source: socket.socket, target: socket.socket) -> None:
    """Until either side ends; the other direction then ends too."""
    buffer = memoryview(bytearray(BUFFER_BYTES))
    with contextlib.suppress(OSError):
        while count := source.recv_into(buffer):
            target.sendall(buffer[:count])
    for each in (source, target):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


if __name__ == "__main__":
    main()
