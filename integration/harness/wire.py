"""A client that speaks protocol 3 by hand, for what no driver would send.

Nothing here interprets: what the test says is what goes over the line, and replies come back as
`Message(type, body)`. https://www.postgresql.org/docs/current/protocol-message-formats.html
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import socket
import ssl
import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from .hosts import is_pgdog

PROTOCOL_3_0 = 3 << 16
PROTOCOL_3_2 = 3 << 16 | 2
SSL_REQUEST = 80877103
GSSENC_REQUEST = 80877104
CANCEL_REQUEST = 80877102
TIMEOUT_SECONDS = 6.0 if is_pgdog() else 30.0


class Message(NamedTuple):
    """One message from the server."""

    type: str
    body: bytes

    @property
    def fields(self) -> dict[str, str]:
        """Of an ErrorResponse or NoticeResponse: `S` severity, `C` SQLSTATE, `M` message, `H` hint."""
        parts = self.body.rstrip(b"\0").split(b"\0")
        return {part[:1].decode(): part[1:].decode(errors="replace") for part in parts if part}

    @property
    def row(self) -> tuple[str | None, ...]:
        """Of a DataRow in text format."""
        (count,) = struct.unpack_from("!h", self.body)
        values: list[str | None] = []
        offset = 2
        for _ in range(count):
            (length,) = struct.unpack_from("!i", self.body, offset)
            offset += 4
            if length < 0:
                values.append(None)
                continue
            values.append(self.body[offset : offset + length].decode())
            offset += length
        return tuple(values)

    @property
    def tag(self) -> str:
        """Of a CommandComplete."""
        return self.body.rstrip(b"\0").decode()


class ServerError(Exception):
    """An ErrorResponse where none was expected."""

    def __init__(self, message: Message) -> None:
        self.fields = message.fields
        self.sqlstate = self.fields["C"]
        super().__init__(f"{self.fields.get('S')} {self.sqlstate}: {self.fields.get('M')}")


class Wire:
    """A connection. `login` brings it to the point where statements can be sent."""

    def __init__(
        self, host: str, port: int, timeout: float = TIMEOUT_SECONDS, source: str | None = None
    ) -> None:
        """From an address of this machine, such as any of 127.0.0.0/8; by default the system chooses."""
        self.address = (host, port)
        own = None if source is None else (source, 0)
        self.socket: socket.socket = socket.create_connection(self.address, timeout, own)
        self.parameters: dict[str, str] = {}
        self.cancel_key = b""
        self._unread = b""

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Bytes

    def send(self, *messages: bytes) -> None:
        self.socket.sendall(b"".join(messages))

    def receive(self) -> Message:
        """The next message; `EOFError` when the other side has closed."""
        kind, length = struct.unpack("!ci", self.read(5))
        return Message(kind.decode(), self.read(length - 4))

    def read(self, count: int) -> bytes:
        while len(self._unread) < count:
            received = self.socket.recv(max(65_536, count - len(self._unread)))
            if not received:
                raise EOFError(f"closed, after {self._unread!r}")
            self._unread += received
        result, self._unread = self._unread[:count], self._unread[count:]
        return result

    def receive_until(self, *types: str) -> list[Message]:
        """All messages up to and with the first of these types."""
        messages = [self.receive()]
        while messages[-1].type not in types:
            messages.append(self.receive())
        return messages

    def until_ready(self) -> list[Message]:
        """All messages up to and with ReadyForQuery."""
        return self.receive_until("Z")

    def closed_by_peer(self) -> bool:
        """Reads what is left; true when the other side ends the connection within the time limit."""
        try:
            while self.socket.recv(65_536):
                pass
        except (ConnectionResetError, ssl.SSLError):
            return True
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        self.socket.close()

    # Logging in

    def start_tls(self, context: ssl.SSLContext | None = None) -> None:
        """SSLRequest and handshake. Without a context, any certificate will do."""
        self.send(struct.pack("!ii", 8, SSL_REQUEST))
        answer = self.read(1)
        assert answer == b"S", f"TLS refused: {answer!r}"
        if context is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.socket = context.wrap_socket(self.socket, server_hostname=self.address[0])

    def startup(self, protocol: int = PROTOCOL_3_0, **parameters: str) -> None:
        self.send(startup(protocol, **parameters))

    def login(self, user: str, database: str, password: str, **parameters: str) -> list[Message]:
        """Start-up with a password, in clear text or over SCRAM-SHA-256. Gives what follows AuthenticationOk.

        A refused login raises `ServerError`.
        """
        self.startup(user=user, database=database, **parameters)
        request = self.receive()
        if request.type == "E":
            raise ServerError(request)
        if request == Message("R", struct.pack("!i", 3)):
            self.send(password_message(password))
            request = self.receive()
        if request.type == "R" and request.body.startswith(struct.pack("!i", 10)):
            request = self._prove(password)
        if request.type == "E":
            raise ServerError(request)
        assert request == Message("R", struct.pack("!i", 0)), request
        greeting = self.receive_until("Z", "E")
        for message in greeting:
            if message.type == "S":
                name, value = message.body[:-1].split(b"\0", 1)
                self.parameters[name.decode()] = value.decode()
            elif message.type == "K":
                self.cancel_key = message.body
            elif message.type == "E":
                raise ServerError(message)
        return greeting

    def _prove(self, password: str) -> Message:
        """The client's side of RFC 7677."""
        bare = f"n=,r={secrets.token_urlsafe(18)}"
        first = b"n,," + bare.encode()
        self.send(message("p", text("SCRAM-SHA-256") + struct.pack("!i", len(first)) + first))
        challenge = self.receive()
        if challenge.type == "E":
            raise ServerError(challenge)
        server = challenge.body[4:].decode()
        nonce, salt, count = (part[2:] for part in server.split(","))
        unproved = f"c=biws,r={nonce}"
        signed = f"{bare},{server},{unproved}".encode()
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), int(count))
        key = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(key).digest(), signed, "sha256")
        proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
        self.send(message("p", f"{unproved},p={base64.b64encode(proof).decode()}".encode()))
        last = self.receive()
        return self.receive() if last.type == "R" else last

    # Statements

    def query(self, sql: str) -> list[Message]:
        """A simple query and everything that it answers."""
        self.send(query(sql))
        return self.until_ready()

    def rows(self, sql: str) -> list[tuple[str | None, ...]]:
        """A simple query's rows; raises `ServerError`."""
        messages = self.query(sql)
        for message in messages:
            if message.type == "E":
                raise ServerError(message)
        return [message.row for message in messages if message.type == "D"]

    def value(self, sql: str) -> str | None:
        """The first column of a simple query's first row."""
        return self.rows(sql)[0][0]


def message(kind: str, body: bytes = b"") -> bytes:
    return struct.pack("!ci", kind.encode(), len(body) + 4) + body


def text(value: str) -> bytes:
    return value.encode() + b"\0"


def startup(protocol: int = PROTOCOL_3_0, **parameters: str) -> bytes:
    pairs = b"".join(text(name) + text(value) for name, value in parameters.items())
    return struct.pack("!ii", len(pairs) + 9, protocol) + pairs + b"\0"


def cancel_request(key: bytes) -> bytes:
    return struct.pack("!ii", len(key) + 8, CANCEL_REQUEST) + key


def password_message(password: str | bytes) -> bytes:
    raw = password if isinstance(password, bytes) else password.encode()
    return message("p", raw + b"\0")


def query(sql: str) -> bytes:
    return message("Q", text(sql))


def parse(sql: str, name: str = "", types: Iterable[int] = ()) -> bytes:
    oids = list(types)
    return message("P", text(name) + text(sql) + struct.pack(f"!h{len(oids)}I", len(oids), *oids))


def bind(
    values: Iterable[str | bytes | None] = (),
    statement: str = "",
    portal: str = "",
    *,
    formats: Iterable[int] = (),
    results: Iterable[int] = (),
) -> bytes:
    """Formats of the values and of the result columns: 0 text, 1 binary; none for text, one for all."""
    encoded = [value.encode() if isinstance(value, str) else value for value in values]
    body = text(portal) + text(statement) + _shorts(formats) + struct.pack("!h", len(encoded))
    for value in encoded:
        body += struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value
    return message("B", body + _shorts(results))


def _shorts(values: Iterable[int]) -> bytes:
    numbers = list(values)
    return struct.pack(f"!h{len(numbers)}h", len(numbers), *numbers)


def function_call(oid: int, *values: bytes) -> bytes:
    """Calls a function by number, everything in binary."""
    body = struct.pack("!I", oid) + _shorts([1]) + struct.pack("!h", len(values))
    for value in values:
        body += struct.pack("!i", len(value)) + value
    return message("F", body + struct.pack("!h", 1))


def describe(kind: str = "P", name: str = "") -> bytes:
    """`S` for a statement, `P` for a portal."""
    return message("D", kind.encode() + text(name))


def execute(portal: str = "", limit: int = 0) -> bytes:
    return message("E", text(portal) + struct.pack("!i", limit))


def close(kind: str, name: str) -> bytes:
    return message("C", kind.encode() + text(name))


def step(sql: str) -> bytes:
    """Parse, Bind and Execute: a statement in a batch, whose Sync is still to come."""
    return parse(sql) + bind() + execute()


def extended(sql: str, values: Iterable[str | None] = (), name: str = "") -> bytes:
    """Parse, Bind, Describe, Execute and Sync at once."""
    return parse(sql, name) + bind(values, name) + describe() + execute() + SYNC


SYNC = message("S")
FLUSH = message("H")
TERMINATE = message("X")
COPY_DONE = message("c")


def copy_data(data: bytes) -> bytes:
    return message("d", data)


def copy_fail(reason: str) -> bytes:
    return message("f", text(reason))


def types_of(messages: Iterable[Message]) -> str:
    """The message types in order, such as `TDCZ`; notices left out."""
    return "".join(each.type for each in messages if each.type != "N")


def error_of(messages: Iterable[Message]) -> Mapping[str, str]:
    """The fields of the first error; `AssertionError` when there is none."""
    for each in messages:
        if each.type == "E":
            return each.fields
    raise AssertionError("no error came back")
