"""What a pooler costs that has nothing to do, and how long it takes to answer for the first time."""

from __future__ import annotations

import resource
import time
from concurrent.futures import ThreadPoolExecutor

from contestants import HOST, Endpoint
from figures import MIB
from load import Client, LoadError
from procfs import Processes
from scenarios import Scenario

from harness.wire import Wire

LOGINS_AT_ONCE = 8
WARM_UP_CLIENTS = 20
OTHER_FILES = 500
# Until what the last logins set off has come to rest.
REST_SECONDS = 1.0
# So many times as long as a turn: what is done now and then should be seen too.
IDLE_TURNS = 3
START_SECONDS = 20.0
RETRY_SECONDS = 0.0005


def allow_open_files(wanted: int) -> None:
    """Raises this program's limit, which its children inherit, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted += OTHER_FILES
    if soft >= wanted:
        return
    for limits in ((wanted, max(wanted, hard)), (hard, hard)):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            return
        except (ValueError, OSError):
            continue


def idle(client: Client, scenario: Scenario, endpoint: Endpoint, seconds: int) -> dict[str, float]:
    """Clients that have asked once and now wait."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit < scenario.clients + OTHER_FILES:
        raise LoadError(f"this account may open only {limit} files")
    assert endpoint.pid
    pooler, wires = Processes(endpoint.pid), []
    threads = ThreadPoolExecutor(LOGINS_AT_ONCE)

    def enter(_: int) -> None:
        wire = log_in(client, scenario, endpoint)
        wires.append(wire)
        wire.value("SELECT 1")

    def enter_all(count: int) -> None:
        for _ in threads.map(enter, range(count)):
            pass

    try:
        enter_all(WARM_UP_CLIENTS)
        before = pooler.resident_bytes()
        enter_all(scenario.clients)
        time.sleep(REST_SECONDS)
        after = pooler.resident_bytes()
        began, used = time.monotonic(), pooler.run_seconds()
        time.sleep(seconds * IDLE_TURNS)
        used, took = pooler.run_seconds() - used, time.monotonic() - began
    finally:
        threads.shutdown(cancel_futures=True)
        for wire in wires:
            wire.close()
    return {
        "kib_per_client": (after - before) / scenario.clients / 1024,
        "idle_cpu_percent": used / took * 100,
        "resident_mib": after / MIB,
    }


def log_in(client: Client, scenario: Scenario, endpoint: Endpoint) -> Wire:
    wire = Wire(HOST, endpoint.port)
    try:
        if scenario.tls:
            wire.start_tls()
        wire.login(endpoint.user, client.database.name, endpoint.password)
    except BaseException:
        wire.close()
        raise
    return wire


def start_up(client: Client, scenario: Scenario, endpoint: Endpoint, seconds: int) -> dict[str, float]:
    """From the start of the process to the first answer, over a server connection made for it."""
    while True:
        try:
            with log_in(client, scenario, endpoint) as wire:
                wire.value("SELECT abalance FROM pgbench_accounts WHERE aid = 1")
                return {"start_ms": (time.monotonic() - endpoint.started) * 1000}
        except ConnectionRefusedError:
            if time.monotonic() - endpoint.started > START_SECONDS:
                raise
            time.sleep(RETRY_SECONDS)
