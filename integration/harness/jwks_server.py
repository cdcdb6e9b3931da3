"""An HTTP server that publishes keys, and that can misbehave in the ways real issuers do."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATH = "/jwks.json"
HANG_SECONDS = 60.0


class Behaviour(Enum):
    """How a request is answered."""

    SERVE = "the keys"
    FAIL = "status 500"
    GARBAGE = "status 200 and no JSON"
    EMPTY = "a key set without keys"
    HUGE = "more bytes than any limit allows"
    HANG = "nothing, until released"
    REDIRECT = "status 302 to `redirect_to`"


class _Handler(BaseHTTPRequestHandler):
    server: _HttpServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        publisher = self.server.publisher
        with publisher.lock:
            publisher.fetches += 1
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            publisher.answer(self)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    publisher: JwksServer


class JwksServer:
    """Publishes `keys` on loopback. All attributes may be changed while it runs."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = []
        self.behaviour = Behaviour.SERVE
        self.redirect_to = ""
        self.fetches = 0
        self.lock = threading.Lock()
        self._released = threading.Event()
        self._port = 0
        self._http: _HttpServer | None = None
        self.start()

    @property
    def url(self) -> str:
        """Where the key set is."""
        return f"http://127.0.0.1:{self._port}{PATH}"

    def start(self) -> None:
        """Listens; the second time on the port of the first."""
        self._http = _HttpServer(("127.0.0.1", self._port), _Handler)
        self._http.publisher = self
        self._port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Stops listening: connections are refused from now on."""
        self._released.set()
        if self._http:
            self._http.shutdown()
            self._http.server_close()
            self._http = None

    @contextlib.contextmanager
    def misbehaving(self, how: Behaviour) -> Iterator[None]:
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

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Called in a thread of its own for every request."""
        status, headers, body = 200, {"Content-Type": "application/jwk-set+json"}, b""
        match self.behaviour:
            case Behaviour.SERVE:
                body = json.dumps({"keys": self.keys}).encode()
            case Behaviour.FAIL:
                status, body = 500, b"internal error"
            case Behaviour.GARBAGE:
                body = b'{"keys": [{"kty": "RSA", "n": '
            case Behaviour.EMPTY:
                body = b'{"keys": []}'
            case Behaviour.HUGE:
                body = b'{"keys": [], "padding": "' + b"x" * (32 * 1024 * 1024) + b'"}'
            case Behaviour.REDIRECT:
                status, headers["Location"] = 302, self.redirect_to
            case Behaviour.HANG:
                self._released.wait(HANG_SECONDS)
                status = 503
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)
