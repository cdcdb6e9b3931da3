"""Much data over one connection: a large result, COPY out and COPY in. The client looks only at the end."""

from __future__ import annotations

import time

from contestants import HOST, Endpoint
from figures import MIB
from load import Client, LoadError
from procfs import Meter
from scenarios import Scenario

from harness import wire as w
from harness.wire import Wire

READY = b"Z\0\0\0\5I"
BUFFER_BYTES = 256 * 1024
RESULT = "SELECT n, repeat('x', 40) FROM generate_series(1, 1000000) AS n"
ROW = b"x" * 1023 + b"\n"
# As psql does: what fits into 8 KiB is a message.
ROWS_IN_MESSAGE = 8
MESSAGES_AT_ONCE = 16
GRACE_SECONDS = 120.0


def run(client: Client, scenario: Scenario, endpoint: Endpoint, seconds: int) -> dict[str, float]:
    """As many transfers as it takes to fill the time; at least one."""
    meter, moved = Meter(endpoint.pid), 0
    with Wire(HOST, endpoint.port, GRACE_SECONDS) as wire:
        wire.login(endpoint.user, client.database.name, endpoint.password)
        meter.begin()
        began = time.monotonic()
        while (took := time.monotonic() - began) < seconds:
            if scenario.driver == "copy_in":
                moved += send_copy(wire, client.megabytes)
            else:
                rows = client.megabytes * MIB // len(ROW)
                copy = f"COPY (SELECT repeat('x', {len(ROW) - 1}) FROM generate_series(1, {rows})) TO STDOUT"
                moved += read(wire, copy if scenario.driver == "copy_out" else RESULT)
        meter.end()
        wire.send(w.TERMINATE)
    figures = {"mib": moved / MIB, "mib_per_second": moved / MIB / took}
    if meter.cpu_seconds is not None and meter.peak_bytes is not None:
        figures["cpu_per_gib"] = meter.cpu_seconds / (moved / MIB) * 1024
        figures["peak_mib"] = meter.peak_bytes / MIB
    return figures


def read(wire: Wire, sql: str) -> int:
    """Asks, and reads to the end; the number of bytes."""
    buffer = memoryview(bytearray(BUFFER_BYTES))
    wire.send(w.query(sql))
    moved, start, end = 0, b"", b""
    while end != READY:
        count = wire.socket.recv_into(buffer)
        if not count:
            raise LoadError("closed in the middle of a result")
        start = start or bytes(buffer[:count])
        end = (end + bytes(buffer[max(0, count - len(READY)) : count]))[-len(READY) :]
        moved += count
    if start[:1] == b"E":
        raise LoadError(start.decode(errors="replace"))
    return moved


def send_copy(wire: Wire, megabytes: int) -> int:
    """PostgreSQL reads every row and throws it away, so that no disk is measured."""
    message = w.copy_data(ROW * ROWS_IN_MESSAGE)
    batch = message * MESSAGES_AT_ONCE
    wire.send(w.query("COPY copied FROM STDIN WHERE false"))
    answer = wire.receive()
    if answer.type != "G":
        raise LoadError(str(answer.fields))
    count = max(1, megabytes * MIB // len(batch))
    for _ in range(count):
        wire.send(batch)
    wire.send(w.COPY_DONE)
    answers = wire.until_ready()
    if w.types_of(answers) != "CZ":
        raise LoadError(str(dict(w.error_of(answers))))
    return count * len(batch)
