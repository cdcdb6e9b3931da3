"""A server that an issuer's keys should be behind. A script says what it does with each connection."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

CHUNK = b"x" * 65_536
ACCEPT_SECONDS = 0.1
# Nothing that a test leaves behind waits longer.
HELD_SECONDS = 60.0

Script = Callable[["Connection"], None]


class Connection:
    """One request. Scripts answer it, or do not."""

    def __init__(self, stream: socket.socket, released: threading.Event) -> None:
        self.stream = stream
        self._released = released
        self.request = self._read_request()

    @property
    def path(self) -> str:
        return self.request.split(" ")[1] if " " in self.request else ""

    def header(self, name: str) -> str | None:
        """The value of a header of the request."""
        for line in self.request.splitlines()[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name.lower():
                return value.strip()
        return None

    def send(self, data: bytes) -> None:
        self.stream.sendall(data)

    def answer(self, status: int, body: bytes | str = b"", **headers: str) -> None:
        """A whole answer. `_` in names of headers is `-`."""
        raw = body.encode() if isinstance(body, str) else body
        self.begin(status, Content_Length=str(len(raw)), **headers)
        self.send(raw)

    def begin(self, status: int, **headers: str) -> None:
        """The head of an answer."""
        lines = [f"HTTP/1.1 {status} X", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode())

    @property
    def released(self) -> bool:
        """Whether the server has let go."""
        return self._released.is_set()

    def hold(self) -> None:
        """Says nothing more until the server lets go."""
        self._released.wait(HELD_SECONDS)

    def _read_request(self) -> str:
        data = b""
        while b"\r\n\r\n" not in data and (received := self.stream.recv(4096)):
            data += received
        return data.decode(errors="replace")


class HostileServer:
    """Listens on loopback. `script` may be changed at any time."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self.script = script
        self.asked = 0
        self._tls = tls
        self._released = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(ACCEPT_SECONDS)
        self._closed = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def origin(self) -> str:
        """Scheme, address and port."""
        scheme = "https" if self._tls else "http"
        return f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def url(self) -> str:
        return f"{self.origin}/keys"

    def release(self) -> None:
        """Lets go of every connection that is held."""
        self._released.set()

    def close(self) -> None:
        self.release()
        self._closed.set()
        self._listener.close()

    def __enter__(self) -> HostileServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._closed.is_set():
            with contextlib.suppress(TimeoutError, OSError):
                stream, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(stream,), daemon=True).start()

    def _serve(self, stream: socket.socket) -> None:
        self.asked += 1
        stream.settimeout(HELD_SECONDS)
        with contextlib.suppress(OSError), contextlib.closing(stream):
            if self._tls:
                stream = self._tls.wrap_socket(stream, server_side=True)
            self.script(Connection(stream, self._released))


def serving(keys: Iterable[dict[str, Any]], **headers: str) -> Script:
    """A key set, as it should be."""
    body = json.dumps({"keys": list(keys)})
    return lambda connection: connection.answer(200, body, **({"Content_Type": "application/json"} | headers))


def endless(connection: Connection) -> None:
    """A body in chunks that never ends."""
    connection.begin(200, Content_Type="application/json", Transfer_Encoding="chunked")
    while True:
        connection.send(b"%x\r\n%s\r\n" % (len(CHUNK), CHUNK))


def large(connection: Connection) -> None:
    """100 MB, and its length beforehand."""
    connection.begin(200, Content_Type="application/json", Content_Length=str(100_000_000))
    for _ in range(100_000_000 // len(CHUNK)):
        connection.send(CHUNK)


def large_without_length(connection: Connection) -> None:
    """100 MB that end with the connection."""
    connection.begin(200, Content_Type="application/json")
    for _ in range(100_000_000 // len(CHUNK)):
        connection.send(CHUNK)


def silent(connection: Connection) -> None:
    """Nothing at all."""
    connection.hold()


def head_then_silence(connection: Connection) -> None:
    connection.begin(200, Content_Type="application/json", Content_Length="1000")
    connection.hold()


def half_a_head_then_silence(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\nContent-")
    connection.hold()


def half_a_body_then_silence(connection: Connection) -> None:
    connection.begin(200, Content_Type="application/json", Content_Length="1000")
    connection.send(b'{"keys": [')
    connection.hold()


def drip(connection: Connection) -> None:
    """A body that comes one byte at a time."""
    connection.begin(200, Content_Type="application/json", Content_Length="1000000")
    while not connection.released:
        connection.send(b" ")
        time.sleep(0.01)


def drop(connection: Connection) -> None:
    """Closes without a word."""
