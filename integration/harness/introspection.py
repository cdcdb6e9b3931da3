"""An issuer whose tokens only it can read, asked by RFC 7662, that can misbehave as real ones do."""

from __future__ import annotations

import base64
import json
import secrets
import time
from enum import Enum
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote_plus

import jwt

from .http_server import HttpServer, reply
from .keys import KeyPair

NAME = "https://opaque.example"
CLIENT_ID = "gate:way"
CLIENT_SECRET = "s3cret: with % and ü"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Manner(Enum):
    """How a question is answered."""

    TRUTH = "what is known of the token"
    FAIL = "status 500"
    GARBAGE = "no JSON"
    HUGE = "more bytes than any limit allows"
    HANG = "nothing, until released"
    REDIRECT = "status 302"


class OpaqueIssuer(HttpServer):
    """Takes questions of the client that it knows, by `method`: a name of RFC 7591 section 2."""

    location = "/introspect"

    def __init__(self, method: str = "client_secret_basic", *, name: str = NAME) -> None:
        self.name = name
        self.method = method
        self.client_key = KeyPair.generate("client-key", "ES256")
        self.behaviour = Manner.TRUTH
        self.known: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.refused: list[str] = []
        self.redirect_to = ""
        self._assertions: set[str] = set()
        super().__init__()

    def table(self, **changes: Any) -> dict[str, Any]:
        """One of `[[jwt.issuers]]`."""
        table: dict[str, Any] = {
            "issuer": self.name,
            "audiences": ["postgres"],
            "introspection_url": self.url,
            "introspection_client_id": CLIENT_ID,
            "introspection_client_auth": self.method,
            "introspection_client_secret": CLIENT_SECRET,
        }
        return {name: value for name, value in (table | changes).items() if value is not None}

    def token(self, subject: str, *, expires_in: float = 300, **changes: Any) -> str:
        """A token that is active; a claim that is changed to `None` is left out."""
        token = f"opaque_{secrets.token_urlsafe(24)}~+/="
        self.learn(token, subject, expires_in=expires_in, **changes)
        return token

    def learn(self, token: str, subject: str, *, expires_in: float = 300, **changes: Any) -> None:
        now = int(time.time())
        claims: dict[str, Any] = {
            "active": True,
            "iss": self.name,
            "aud": "postgres",
            "sub": subject,
            "token_type": "Bearer",
            "iat": now,
            "exp": now + int(expires_in),
        }
        claims |= changes
        self.known[token] = {name: value for name, value in claims.items() if value is not None}

    def revoke(self, token: str) -> None:
        del self.known[token]

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        form = parse_qs(request.rfile.read(int(request.headers["Content-Length"])).decode())
        fields = {name: values[0] for name, values in form.items()}
        token = fields.get("token", "")
        with self.lock:
            self.asked.append(token)
            problem = self._stranger(request.headers.get("Authorization"), fields)
            if problem:
                self.refused.append(problem)
        status, headers, body = 200, {"Content-Type": "application/json"}, b""
        match self.behaviour:
            case _ if problem:
                status, body = 401, b'{"error": "invalid_client"}'
            case Manner.TRUTH:
                body = json.dumps(self.known.get(token, {"active": False})).encode()
            case Manner.FAIL:
                status, body = 500, b"internal error"
            case Manner.GARBAGE:
                body = b"<html>"
            case Manner.HUGE:
                body = b'{"active": true, "padding": "' + b"x" * (8 * 1024 * 1024) + b'"}'
            case Manner.REDIRECT:
                status, headers["Location"] = 302, self.redirect_to
            case Manner.HANG:
                self.hang()
                status = 503
        reply(request, status, headers, body)

    def _stranger(self, authorization: str | None, fields: dict[str, str]) -> str:
        """Why whoever asks is not the client; nothing when it is."""
        if self.method == "client_secret_basic":
            scheme, _, pair = (authorization or "").partition(" ")
            name, _, secret = base64.b64decode(pair).decode().partition(":")
            is_known = (unquote_plus(name), unquote_plus(secret)) == (CLIENT_ID, CLIENT_SECRET)
            return "" if scheme == "Basic" and is_known else "basic"
        if authorization:
            return "two ways at once"
        if self.method == "client_secret_post":
            is_known = (fields.get("client_id"), fields.get("client_secret")) == (CLIENT_ID, CLIENT_SECRET)
            return "" if is_known else "post"
        if fields.get("client_assertion_type") != ASSERTION_TYPE:
            return "no assertion"
        public = self.client_key.private.public_key()
        needed = {"require": ["iss", "sub", "aud", "exp", "iat", "jti"]}
        try:
            claims = jwt.decode(
                fields["client_assertion"], public, algorithms=["ES256"], audience=self.name, options=needed
            )
        except jwt.PyJWTError as error:
            return str(error)
        if (claims["iss"], claims["sub"]) != (CLIENT_ID, CLIENT_ID) or claims["exp"] > time.time() + 120:
            return "somebody else's assertion"
        if claims["jti"] in self._assertions:
            return "an assertion for the second time"
        self._assertions.add(claims["jti"])
        return ""
