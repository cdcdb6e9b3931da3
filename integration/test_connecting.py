"""New server connections: how many at once, how often, for how long, and what a refusal leads to."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness import Cluster, eventually
from harness.target import Target
from harness.wire import ServerError

MakeGateway = Callable[..., Target]

WHERE = "SELECT setting FROM in_hot_standby"


def test_refused_credentials_of_a_monitor_ban_nobody(make_gateway: MakeGateway, cluster: Any) -> None:
    target = make_gateway(general={"jwt_server_password": "wrong", "idle_healthcheck_delay": 0})
    with target.connect("service", "service-secret") as service:
        time.sleep(1.5)
        found = {service.execute(WHERE).fetchone() for _ in range(40)}
    assert found == {("on",), ("off",)}
    assert [event for event in target.gateway.log() if event.get("event") == "ban"] == []


@pytest.fixture
def latecomer(cluster: Any) -> Iterator[str]:
    """The name of a role that does not exist yet."""
    yield "latecomer"
    with cluster.admin() as admin:
        admin.execute("DROP ROLE IF EXISTS latecomer")


def test_a_refused_role_is_not_tried_again_for_a_while(
    make_gateway: MakeGateway, servers: Cluster, latecomer: str
) -> None:
    target = make_gateway()

    def attempts() -> int:
        return servers.primary.log_text().count(f'role "{latecomer}" does not exist')

    before = attempts()
    for _ in range(5):
        assert target.refusal(latecomer)["C"] == "28000"
    assert attempts() == before + 1

    with servers.admin() as admin:
        admin.execute(f"CREATE ROLE {latecomer}")
        admin.execute(f"GRANT subjects TO {latecomer}")
        admin.execute(f"GRANT {latecomer} TO gateway")
    user = eventually(lambda: target.wire(latecomer).value("SELECT current_user"), "a login", 5, 0.2)
    assert user == latecomer


class SilentServer:
    """Accepts connections, counts those that are open at once, and never says a word."""

    def __init__(self, *, patient: bool = True) -> None:
        self.patient = patient
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.open = 0
        self.most = 0
        self.total = 0
        self.lock = threading.Lock()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.open += 1
                self.total += 1
                self.most = max(self.most, self.open)
            threading.Thread(target=self.swallow, args=[client], daemon=True).start()

    def swallow(self, client: socket.socket) -> None:
        with client:
            try:
                while client.recv(4096) and self.patient:
                    pass
            except OSError:
                pass
        with self.lock:
            self.open -= 1


def test_a_storm_of_logins_does_not_become_a_storm_of_connections(make_gateway: MakeGateway) -> None:
    server = SilentServer()
    database = {"name": "demo", "host": "127.0.0.1", "port": server.port, "pool_size": 50}
    target = make_gateway(databases=[database], general={"connect_timeout": 1000, "checkout_timeout": 2000})
    codes: list[str] = []

    def log_in() -> None:
        try:
            target.wire("alice").close()
        except ServerError as error:
            codes.append(error.sqlstate)

    clients = [threading.Thread(target=log_in) for _ in range(40)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(20)
    server.listener.close()

    assert codes == ["08006"] * 40
    assert 1 <= server.most <= 9, "8, and the monitor's"


def test_a_connection_is_tried_connect_attempts_times(make_gateway: MakeGateway) -> None:
    server = SilentServer(patient=False)
    database = {"name": "demo", "host": "127.0.0.1", "port": server.port}
    tries = {"connect_attempts": 3, "connect_attempt_delay": 100, "idle_healthcheck_delay": 60_000}
    target = make_gateway(databases=[database], general={**tries, "tls_verify": "disabled"})

    started = time.monotonic()
    assert target.refusal("alice")["C"] == "08006"

    assert time.monotonic() - started >= 0.2
    assert server.total == 3
    server.listener.close()


def test_server_connections_do_not_outlive_their_lifetime(make_gateway: MakeGateway, cluster: Any) -> None:
    target = make_gateway(general={"server_lifetime": 300, "server_lifetime_jitter": 100})
    with target.wire("alice") as wire:
        primary = "SELECT pg_backend_pid() FROM notes FOR UPDATE LIMIT 1"
        first = wire.value(primary)
        time.sleep(0.5)
        wire.value(primary)
        assert wire.value(primary) != first
