"""A line to PostgreSQL on which a test sees what passes, and may change, divide or cut it."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable

# What becomes of bytes: pieces that are sent one after the other, pauses in seconds, or `CUT`.
Part = bytes | float | None
CUT = None
Change = Callable[[bytes], Iterable[Part]]


def unchanged(data: bytes) -> Iterable[Part]:
    return [data]


def frames(data: bytes) -> list[bytes]:
    """Whole messages, one by one."""
    found = []
    while len(data) >= 5:
        (length,) = struct.unpack_from("!i", data, 1)
        found.append(data[: length + 1])
        data = data[length + 1 :]
    return found


class Line:
    """Listens on `port` until `close`."""

    def __init__(self, port: int) -> None:
        self.target = ("127.0.0.1", port)
        self.to_server: Change = unchanged
        self.to_client: Change = unchanged
        # How each write of the other side's began: `Q`, `P`, ...; and all that it held.
        self.requests: list[str] = []
        self.sent = b""
        # Of the last request.
        self._client: socket.socket | None = None
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.listener.close()

    def say(self, data: bytes) -> None:
        """Ends the connection of the last request with these bytes, as if the server had sent them."""
        # Who has read it makes another connection at once, which is then the last.
        client = self._client
        assert client
        client.sendall(data)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_WR)

    def forget(self) -> None:
        self.requests, self.sent = [], b""

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(self.target)
                for stream in (client, server):
                    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._pass, args=(client, server, True), daemon=True).start()
                threading.Thread(target=self._pass, args=(server, client, False), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, is_request: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 20):
                if is_request:
                    self._client = source
                    self.requests.append(data[:1].decode("latin-1"))
                    self.sent += data
                for part in (self.to_server if is_request else self.to_client)(data):
                    if part is CUT:
                        # Both directions, at once.
                        source.shutdown(socket.SHUT_RDWR)
                        sink.shutdown(socket.SHUT_RDWR)
                        return
                    if isinstance(part, float):
                        time.sleep(part)
                    else:
                        sink.sendall(part)
            sink.shutdown(socket.SHUT_WR)
