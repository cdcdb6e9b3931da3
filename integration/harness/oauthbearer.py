"""OAUTHBEARER as a client by hand (RFC 7628), for what libpq would never send."""

from __future__ import annotations

import json
import struct
from typing import Any

from .target import Target
from .wire import Message, ServerError, Wire, message, text

MECHANISM = "OAUTHBEARER"
OFFER = Message("R", struct.pack("!i", 10) + b"OAUTHBEARER\0\0")
OK = Message("R", struct.pack("!i", 0))
# The client's answer to a refusal.
HEARD = message("p", b"\x01")
# How a client asks for OAUTHBEARER where passwords are taken as well.
WISH = {"pgdog_jwt.client_flow": "oauthbearer"}


def first(data: bytes | None, mechanism: str = MECHANISM) -> bytes:
    """SASLInitialResponse; `None` for one that holds no response yet."""
    if data is None:
        return message("p", text(mechanism) + struct.pack("!i", -1))
    return message("p", text(mechanism) + struct.pack("!i", len(data)) + data)


def bearer(token: str, header: str = "n,,") -> bytes:
    """The message that a client shows its token in."""
    return f"{header}\x01auth=Bearer {token}\x01\x01".encode()


def asked(target: Target, user: str, **parameters: str) -> Wire:
    """A client that was asked for its token and says nothing yet. An error instead raises `ServerError`."""
    wire = target.open()
    wire.startup(user=user, **{"database": target.database, **parameters})
    request = wire.receive()
    if request != OFFER:
        wire.close()
        raise ServerError(request) if request.type == "E" else AssertionError(request)
    return wire


def log_in(target: Target, user: str, token: str, **parameters: str) -> Wire:
    """A client that is in. A refusal raises `ServerError`, after what the RFC has before it."""
    wire = asked(target, user, **parameters)
    wire.send(first(bearer(token)))
    answer = wire.receive()
    if answer != OK:
        error = answer if answer.type == "E" else refused(wire, answer)[1]
        wire.close()
        raise ServerError(error)
    wire.until_ready()
    return wire


def refused(wire: Wire, answer: Message) -> tuple[dict[str, Any], Message]:
    """Hears a refusal to its end: the server's challenge, and the error after it."""
    (code,) = struct.unpack_from("!i", answer.body)
    assert (answer.type, code) == ("R", 11), answer
    wire.send(HEARD)
    error = wire.receive()
    assert error.type == "E", error
    assert wire.closed_by_peer()
    return json.loads(answer.body[4:]), error
