"""An HTTP server that publishes keys, and that can misbehave in the ways real issuers do."""

from __future__ import annotations

import json
from enum import Enum
from http.server import BaseHTTPRequestHandler
from typing import Any

from .http_server import HttpServer, reply


class Behaviour(Enum):
    """How a request is answered."""

    SERVE = "the keys"
    FAIL = "status 500"
    GARBAGE = "status 200 and no JSON"
    EMPTY = "a key set without keys"
    HUGE = "more bytes than any limit allows"
    HANG = "nothing, until released"
    LATE = "the keys, when released"
    REDIRECT = "status 302 to `redirect_to`"


class JwksServer(HttpServer):
    """Publishes `keys` on loopback. All attributes may be changed while it runs."""

    location = "/jwks.json"

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = []
        self.behaviour = Behaviour.SERVE
        self.redirect_to = ""
        self.fetches = 0
        super().__init__()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        with self.lock:
            self.fetches += 1
        status, headers, body = 200, {"Content-Type": "application/jwk-set+json"}, b""
        match self.behaviour:
            case Behaviour.SERVE:
                body = json.dumps({"keys": self.keys}).encode()
            case Behaviour.LATE:
                self.hang()
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
                self.hang()
                status = 503
        reply(request, status, headers, body)
