"""A new process takes over from the old one: on the same port, or on sockets of the service manager."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from harness import eventually
from harness import wire as w
from harness.ports import free_port
from harness.target import Target
from harness.wire import Wire

MakeGateway = Callable[..., Target]
SHARED = {"reuse_port": True, "shutdown_timeout": 30_000}


class Stream:
    """Clients that come, ask one thing and go, one after the other in several threads."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]], threads: int = 4) -> None:
        self.connect = connect
        self.served = 0
        self.failures: list[str] = []
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.run) for _ in range(threads)]

    def run(self) -> None:
        while not self.stopping.is_set():
            try:
                with self.connect() as connection:
                    assert connection.execute("SELECT current_user").fetchone() == ("alice",)
                self.served += 1
            except Exception as error:
                self.failures.append(repr(error))

    def grows(self, count: int = 20) -> None:
        """Waits until some more clients were served, or one was not."""
        before = self.served
        eventually(lambda: self.failures or self.served >= before + count, "clients", 30)


@contextmanager
def stream(connect: Callable[[], psycopg.Connection[Any]]) -> Iterator[Stream]:
    clients = Stream(connect)
    for thread in clients.threads:
        thread.start()
    try:
        yield clients
    finally:
        clients.stopping.set()
        for thread in clients.threads:
            thread.join(30)


def logins(target: Target) -> int:
    return sum(event.get("decision") == "accepted" for event in target.gateway.audit())


@pytest.mark.parametrize("over", ["tcp", "unix"])
def test_no_client_is_lost_when_another_process_takes_over(
    make_gateway: MakeGateway, tmp_path: Path, over: str
) -> None:
    settings = SHARED | {"unix_socket_dir": str(tmp_path)}
    old = make_gateway(general=settings)
    host = str(tmp_path) if over == "unix" else old.host
    token = old.issuer.token("alice")

    with stream(lambda: old.connect("alice", token, host=host)) as clients, old.wire("alice") as wire:
        wire.rows("BEGIN")
        clients.grows()
        new = make_gateway(general=settings | {"port": old.port})
        clients.grows()
        old.gateway.send(signal.SIGTERM)
        clients.grows(50)
        assert not old.gateway.exited
        assert wire.query("COMMIT")[0].tag == "COMMIT"
        wire.close()
        assert old.gateway.wait(timeout=20) == 0
        before = logins(new)
        clients.grows(50)

    assert clients.failures == []
    assert logins(old) > 0
    assert logins(new) >= before + 50


@pytest.mark.parametrize("over", ["tcp", "unix"])
def test_who_waits_in_the_queue_of_the_old_process_is_served(
    make_gateway: MakeGateway, tmp_path: Path, over: str
) -> None:
    settings = SHARED | {"unix_socket_dir": str(tmp_path)}
    old = make_gateway(general=settings)
    path = f"{tmp_path}/.s.PGSQL.{old.port}"
    token = old.issuer.token("alice")
    old.gateway.send(signal.SIGSTOP)
    queued = [open_wire(old, path if over == "unix" else None) for _ in range(20)]

    make_gateway(general=settings | {"port": old.port})
    old.gateway.send(signal.SIGTERM)
    old.gateway.send(signal.SIGCONT)

    for wire in queued:
        with wire:
            wire.login("alice", old.database, token)
            assert wire.value("SELECT current_user") == "alice"
    assert old.gateway.wait(timeout=15) == 0
    assert logins(old) == 20


def open_wire(target: Target, path: str | None) -> Wire:
    if path is None:
        return target.open()
    wire = target.open()
    wire.close()
    wire.socket = socket.socket(socket.AF_UNIX)
    wire.socket.settimeout(20)
    wire.socket.connect(path)
    return wire


def test_a_login_that_has_begun_is_finished(make_gateway: MakeGateway) -> None:
    old = make_gateway(general=SHARED)
    with old.open() as wire:
        wire.startup(user="alice", database=old.database)
        assert wire.receive().type == "R"
        make_gateway(general=SHARED | {"port": old.port})

        old.gateway.send(signal.SIGTERM)
        eventually(lambda: "shutdown: waiting" in old.gateway.log_text(), "the shutdown")
        wire.send(w.password_message(old.issuer.token("alice")))
        wire.until_ready()

        assert wire.value("SELECT current_user") == "alice"
        assert not old.gateway.exited
    assert old.gateway.wait(timeout=15) == 0


def test_idle_clients_may_stay_for_half_of_the_time(make_gateway: MakeGateway) -> None:
    old = make_gateway(general=SHARED | {"shutdown_timeout": 4_000})
    with old.wire("alice") as idle, old.wire("alice") as busy:
        make_gateway(general=SHARED | {"port": old.port})
        busy.rows("BEGIN")
        started = time.monotonic()
        old.gateway.send(signal.SIGTERM)
        eventually(lambda: "shutdown: waiting" in old.gateway.log_text(), "the shutdown")

        assert idle.value("SELECT 1") == "1"
        assert idle.receive().fields["C"] == "57P01"
        assert time.monotonic() - started >= 2
        assert busy.value("SELECT 1") == "1"
        assert busy.query("COMMIT")[0].tag == "COMMIT"
        assert old.gateway.wait(timeout=15) == 0


def test_ports_for_watching_are_shared_too(make_gateway: MakeGateway) -> None:
    watching = {
        "healthcheck_port": free_port(),
        "openmetrics_port": free_port(),
        "openmetrics_host": "127.0.0.1",
    }
    old = make_gateway(general=SHARED | watching)
    with old.wire("alice") as wire:
        wire.rows("BEGIN")
        make_gateway(general=SHARED | watching | {"port": old.port})
        old.gateway.send(signal.SIGTERM)
        eventually(lambda: "shutdown: waiting" in old.gateway.log_text(), "the shutdown")

        answers = {ready(watching["healthcheck_port"]) for _ in range(20)}

        assert answers == {b"HTTP/1.1 200 OK"}
        assert not old.gateway.exited


def ready(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 5) as http:
        http.sendall(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return http.makefile("rb").readline().strip()


def test_a_port_that_is_not_shared_is_not_taken(make_gateway: MakeGateway) -> None:
    old = make_gateway(general={"reuse_port": False})

    with pytest.raises(RuntimeError, match=f"cannot listen on 127.0.0.1:{old.port}"):
        make_gateway(general=SHARED | {"port": old.port})

    with old.wire("alice") as wire:
        assert wire.value("SELECT 1") == "1"


# Sockets of the service manager


LAUNCHER = """
import os, sys
for at, number in enumerate(sys.argv[1].split(",")):
    os.dup2(int(number), 3 + at)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(at + 1))
os.execv(sys.argv[2], sys.argv[2:])
"""


@contextmanager
def service_manager(target: Target, *listeners: socket.socket) -> Iterator[Callable[[], None]]:
    """Gives a function that starts the gateway as systemd does: with these sockets from number 3 on."""
    # Out of the way of the numbers that they become.
    passed = tuple(fcntl.fcntl(listener, fcntl.F_DUPFD, 20) for listener in listeners)
    launcher = (sys.executable, "-I", "-S", "-c", LAUNCHER, ",".join(map(str, passed)))
    yield lambda: target.gateway.start(*launcher, pass_fds=passed)
    for number in passed:
        os.close(number)
    for listener in listeners:
        listener.close()


def test_clients_wait_while_the_service_is_restarted(make_gateway: MakeGateway, tmp_path: Path) -> None:
    target = make_gateway(start=False, general={"port": 1, "unix_socket_dir": "/nowhere"})
    tcp = socket.create_server(("127.0.0.1", 0))
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(str(tmp_path / ".s.PGSQL.5432"))
    unix.listen()
    target.port = tcp.getsockname()[1]
    with service_manager(target, tcp, unix) as start:
        start()
        with target.wire("alice") as wire:
            assert wire.value("SELECT 1") == "1"
        with target.connect("alice", host=str(tmp_path), port=5432) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)

        assert target.gateway.stop() == 0
        assert (tmp_path / ".s.PGSQL.5432").exists(), "it is the service manager's"
        with target.open() as waiting:
            waiting.startup(user="alice", database=target.database)
            start()
            assert waiting.receive().type == "R"
            waiting.send(w.password_message(target.issuer.token("alice")))
            waiting.until_ready()
            assert waiting.value("SELECT current_user") == "alice"


def test_a_socket_of_another_kind_is_refused(make_gateway: MakeGateway) -> None:
    target = make_gateway(start=False)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with service_manager(target, udp) as start, pytest.raises(RuntimeError, match="file descriptor 3"):
        start()


def test_sockets_that_are_meant_for_another_process_are_not_touched(make_gateway: MakeGateway) -> None:
    target = make_gateway(env={"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())})

    with target.wire("alice") as wire:
        assert wire.value("SELECT 1") == "1"


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_is_told(make_gateway: MakeGateway, tmp_path: Path, abstract: bool) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(10)
        name = f"@pgdog-jwt-{os.getpid()}" if abstract else str(tmp_path / "notify")
        manager.bind(name.replace("@", "\0"))

        def news() -> str:
            return manager.recv(1000).decode().split("\n")[0]

        target = make_gateway(env={"NOTIFY_SOCKET": name})
        assert news() == "READY=1"
        target.gateway.send(signal.SIGHUP)
        assert (news(), news()) == ("RELOADING=1", "READY=1")
        target.gateway.config_file.write_text("nonsense")
        target.gateway.send(signal.SIGHUP)
        assert (news(), news()) == ("RELOADING=1", "READY=1")
        target.gateway.send(signal.SIGTERM)
        assert news() == "STOPPING=1"
        assert target.gateway.wait(timeout=10) == 0
