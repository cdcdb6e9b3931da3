"""Metrics and health checks answer on loopback only for names that no web page can have (DNS rebinding)."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from harness import eventually
from harness.ports import free_port
from harness.target import Target

MakeGateway = Callable[..., Target]


class Web:
    def __init__(self, make_gateway: MakeGateway, **general: Any) -> None:
        self.port, self.health = free_port(), free_port()
        ports = {"openmetrics_port": self.port, "healthcheck_port": self.health}
        self.target = make_gateway(general={"openmetrics_host": "127.0.0.1", **ports, **general})

    def status(self, *headers: str, target: str = "/metrics", port: int | None = None) -> int:
        with socket.create_connection(("127.0.0.1", port or self.port), timeout=10) as connection:
            lines = [f"GET {target} HTTP/1.1", *headers, "Connection: close", "", ""]
            connection.sendall("\r\n".join(lines).encode())
            answer = b""
            while part := connection.recv(65536):
                answer += part
        status = int(answer.split(b" ", 2)[1])
        assert (b"pgdog_jwt_clients" in answer or b'"ready"' in answer or b'"live"' in answer) == (
            status == 200
        )
        return status


def test_a_strangers_name_is_not_served_on_loopback(make_gateway: MakeGateway) -> None:
    web = Web(make_gateway)
    for host in ("evil.example", f"evil.example:{web.port}", "localhost.evil.example", ""):
        assert web.status(f"Host: {host}") == 421
        assert web.status(f"Host: {host}", target="/ready", port=web.health) == 421
        assert web.status(f"Host: {host}", target="/live", port=web.health) == 421
    assert web.status("Host: localhost", "Host: evil.example") in (400, 421)
    assert web.status("Host: localhost", target="http://evil.example/metrics") == 421
    eventually(lambda: "http_host" in web.target.gateway.log_text(), "a line of the log")


def test_this_host_is_served_on_loopback(make_gateway: MakeGateway) -> None:
    web = Web(make_gateway)
    for host in (f"localhost:{web.port}", "LocalHost", f"127.0.0.1:{web.port}", "[::1]", "10.1.2.3:9090"):
        assert web.status(f"Host: {host}") == 200, host
        assert web.status(f"Host: {host}", target="/live", port=web.health) == 200, host


def test_names_that_are_listed_are_served(make_gateway: MakeGateway) -> None:
    web = Web(make_gateway, http_hosts=["metrics.internal", "*.svc.cluster.local"])
    for host in ("metrics.internal:9090", "pgdog.db.svc.cluster.local", "127.0.0.1"):
        assert web.status(f"Host: {host}") == 200, host
    for host in ("evil.example", "svc.cluster.local", "x.metrics.internal"):
        assert web.status(f"Host: {host}") == 421, host


@pytest.mark.parametrize("host", ["http://metrics.internal", "metrics.internal:9090", "a*", ""])
def test_a_list_of_something_else_keeps_the_gateway_from_starting(
    make_gateway: MakeGateway, host: str
) -> None:
    with pytest.raises(RuntimeError, match="http_hosts"):
        make_gateway(general={"http_hosts": [host]})
