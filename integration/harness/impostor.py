"""A server that speaks PostgreSQL's protocol and means harm. A script says what each connection hears."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable

from .wire import GSSENC_REQUEST, SSL_REQUEST, Wire, message

SECONDS = 30.0
SASL, SASL_CONTINUE, SASL_FINAL = 10, 11, 12


class Victim(Wire):
    """Whoever takes the impostor for PostgreSQL."""

    def __init__(self, stream: socket.socket) -> None:
        self.socket = stream
        self.parameters = {}
        self.cancel_key = b""
        self._unread = b""

    def startup_packet(self) -> bytes:
        """Reads up to the start-up packet, and declines encryption."""
        while True:
            (length,) = struct.unpack("!i", self.read(4))
            packet = self.read(length - 4)
            if packet not in (struct.pack("!i", SSL_REQUEST), struct.pack("!i", GSSENC_REQUEST)):
                return packet
            self.send(b"N")

    def ask(self, code: int, data: bytes) -> None:
        """Sends one message of an authentication."""
        self.send(message("R", struct.pack("!i", code) + data))

    def scram_nonce(self) -> str:
        """Asks for SCRAM-SHA-256, and gives the nonce of the first answer."""
        self.ask(SASL, b"SCRAM-SHA-256\0\0")
        return self.receive().body.decode().rpartition("r=")[2]


Script = Callable[[Victim], None]


class Impostor:
    """Listens on loopback until `close`. `script` may be changed at any time."""

    def __init__(self, script: Script | None = None) -> None:
        self.script = script
        self.asked = 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                stream, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(stream,), daemon=True).start()

    def _serve(self, stream: socket.socket) -> None:
        stream.settimeout(SECONDS)
        with contextlib.suppress(OSError, EOFError), contextlib.closing(stream):
            victim = Victim(stream)
            victim.startup_packet()
            self.asked += 1
            if self.script:
                self.script(victim)
