"""A server on loopback that may go away and come back, for whatever issuers publish or answer."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .ports import free_port

HANG_SECONDS = 60.0


class _Handler(BaseHTTPRequestHandler):
    server: _Http
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        # Whoever has waited too long, or read enough, is gone.
        with contextlib.suppress(ConnectionError):
            self.server.owner.answer(self)

    do_POST = do_GET

    def log_message(self, *_: Any) -> None:
        """Quiet."""


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    owner: HttpServer


class HttpServer:
    """Listens as soon as it is made. `behaviour` is the subclass's, to be looked at in `answer`."""

    location = "/"
    behaviour: Any

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._released = threading.Event()
        self._port = free_port()
        self._http: _Http | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}{self.location}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Called in a thread of its own for every request."""
        raise NotImplementedError

    def hang(self) -> None:
        """Until the misbehaving ends."""
        self._released.wait(HANG_SECONDS)

    def start(self) -> None:
        """Listens, always on the same port."""
        self._http = _Http(("127.0.0.1", self._port), _Handler)
        self._http.owner = self
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Stops listening: connections are refused from now on."""
        self._released.set()
        if self._http:
            self._http.shutdown()
            self._http.server_close()
            self._http = None

    @contextlib.contextmanager
    def misbehaving(self, how: Any) -> Iterator[None]:
        """Answers like this while the block runs; hanging requests end with it."""
        before, self.behaviour = self.behaviour, how
        self._released.clear()
        try:
            yield
        finally:
            self.behaviour = before
            self._released.set()

    @contextlib.contextmanager
    def unreachable(self) -> Iterator[None]:
        """Nobody listens while the block runs."""
        self.close()
        try:
            yield
        finally:
            self.start()


def reply(request: BaseHTTPRequestHandler, status: int, headers: Mapping[str, str], body: bytes) -> None:
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name, value)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)
