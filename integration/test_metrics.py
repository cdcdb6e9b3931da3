"""OpenMetrics and health checks over HTTP."""

from __future__ import annotations

import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from harness import Cluster, eventually
from harness.ports import free_port
from harness.target import Target
from harness.web import SAMPLE, Web

MakeGateway = Callable[..., Target]


@pytest.fixture
def web(make_gateway: MakeGateway) -> Web:
    return Web(make_gateway)


def test_metrics_are_openmetrics(web: Web) -> None:
    web.target.connect("alice").close()
    status, kind, text = web.get("/metrics", web.metrics_port)

    assert status == 200
    assert kind == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert text.endswith("# EOF\n")
    types: dict[str, str] = {}
    current = ""
    for line in text.splitlines()[:-1]:
        if line.startswith("# TYPE "):
            _, _, current, kind = line.split(" ")
            assert current not in types, "a family is written once, in one piece"
            types[current] = kind
        elif line.startswith("# HELP "):
            assert line.split(" ")[2] == current
        else:
            match = SAMPLE.match(line)
            assert match, line
            suffixes = {
                "counter": ["_total"],
                "histogram": ["_bucket", "_count", "_sum"],
                "info": ["_info"],
                "gauge": [""],
            }
            assert match[1] in [current + suffix for suffix in suffixes[types[current]]], line
    assert {"counter", "gauge", "histogram", "info"} == set(types.values())


def test_what_clients_do_is_counted(web: Web) -> None:
    with web.target.connect("alice") as alice:
        alice.execute("SELECT 1")
        alice.execute("BEGIN")
        alice.execute("SELECT 2")
        samples = web.samples()
        assert samples['pgdog_jwt_clients{database="demo",state="idle in transaction"}'] == 1
        active = [
            value for name, value in samples.items() if "jwt_servers{" in name and 'state="active"' in name
        ]
        assert sum(active) == 1
        alice.execute("COMMIT")
        with pytest.raises(psycopg.Error):
            alice.execute("SELECT nonsense")

    def counted() -> bool:
        samples = web.samples()
        return (
            samples['pgdog_jwt_queries_total{database="demo"}'] == 5
            and samples['pgdog_jwt_transactions_total{database="demo"}'] == 3
            and samples['pgdog_jwt_clients{database="demo",state="idle"}'] == 0
        )

    eventually(counted, "the counts")
    samples = web.samples()
    assert samples['pgdog_jwt_errors_total{class="42",origin="server"}'] == 1
    assert samples['pgdog_jwt_received_bytes_total{database="demo"}'] > 0
    assert samples['pgdog_jwt_sent_bytes_total{database="demo"}'] > 0
    assert samples["process_resident_memory_bytes"] > 1_000_000
    assert samples["process_open_fds"] > 5


def test_waits_for_a_server_are_counted_by_their_length(make_gateway: MakeGateway) -> None:
    web = Web(make_gateway, general={"default_pool_size": 1, "checkout_timeout": 150})
    bucket = 'pgdog_jwt_checkout_wait_seconds_bucket{database="demo",le="%s"}'
    with web.target.connect("alice") as holder, web.target.connect("alice") as waiter:
        holder.execute("BEGIN")
        holder.execute("SELECT 1")
        before = web.samples()
        with pytest.raises(psycopg.Error):
            waiter.execute("BEGIN")
        after = web.samples()

    grown = {bound: after[bucket % bound] - before[bucket % bound] for bound in ("0.1", "+Inf")}
    assert grown == {"0.1": 0, "+Inf": 1}
    assert after['pgdog_jwt_errors_total{class="53",origin="gateway"}'] == 1


def test_logins_and_key_fetches_are_counted(web: Web) -> None:
    web.target.connect("alice").close()
    with pytest.raises(psycopg.OperationalError):
        web.target.connect("alice", "no token")
    with pytest.raises(psycopg.OperationalError):
        web.target.connect("alice", web.target.issuer.token("alice", aud="elsewhere"))

    samples = web.samples()
    assert samples['pgdog_jwt_logins_total{decision="accepted",reason=""}'] == 1
    assert samples['pgdog_jwt_logins_total{decision="refused",reason="malformed_token"}'] == 1
    assert samples['pgdog_jwt_logins_total{decision="refused",reason="wrong_audience"}'] == 1
    issuer = web.target.issuer.name
    assert samples[f'pgdog_jwt_key_fetches_total{{issuer="{issuer}",outcome="fetched"}}'] == 1
    assert samples[f'pgdog_jwt_keys{{issuer="{issuer}"}}'] >= 1


def test_remembered_tokens_are_counted(web: Web) -> None:
    token = web.target.issuer.token("alice")
    for _ in range(3):
        web.target.connect("alice", token).close()

    samples = web.samples()
    assert samples["pgdog_jwt_token_cache_misses_total"] == 1
    assert samples["pgdog_jwt_token_cache_hits_total"] == 2
    assert samples["pgdog_jwt_token_cache_entries"] == 1


@pytest.mark.parametrize(("size", "hits", "entries"), [(0, 0, 0), (1, 0, 1), (2, 2, 2)])
def test_the_cache_of_tokens_has_the_size_that_is_configured(
    make_gateway: MakeGateway, size: int, hits: int, entries: int
) -> None:
    web = Web(make_gateway, jwt={"token_cache_size": size})
    tokens = [web.target.issuer.token(user) for user in ("alice", "bob")]
    for _ in range(2):
        for user, token in zip(("alice", "bob"), tokens, strict=True):
            web.target.connect(user, token).close()

    samples = web.samples()
    assert samples["pgdog_jwt_token_cache_hits_total"] == hits
    assert samples["pgdog_jwt_token_cache_entries"] == entries


def test_bans_are_counted_by_their_reason(make_gateway: MakeGateway, servers: Cluster) -> None:
    admin = {"name": "admin", "user": "admin", "password": "admin-secret"}
    web = Web(make_gateway, admin=admin, general={"idle_healthcheck_delay": 0, "connect_timeout": 500})
    assert servers.replica
    server = f'database="demo",server="{servers.replica.host}:{servers.replica.port}"'

    def bans(reason: str) -> float:
        return web.samples()[f'pgdog_jwt_server_bans_total{{{server},reason="{reason}"}}']

    def by_hand() -> float:
        return web.samples()[f'pgdog_jwt_server_banned{{{server},role="replica"}}']

    assert {bans(reason) for reason in ("unreachable", "unhealthy", "lagging", "manual")} == {0}
    with web.target.connect("admin", "admin-secret", dbname="admin") as console:
        console.execute("BAN")
        assert (bans("manual"), by_hand()) == (1, 1)
        console.execute("UNBAN")
        assert (bans("manual"), by_hand()) == (1, 0)
    servers.replica.stop()
    eventually(lambda: bans("unhealthy") + bans("unreachable") >= 1, "the ban")


def test_the_number_of_series_does_not_grow_with_subjects_or_their_errors(web: Web) -> None:
    web.target.connect("alice").close()
    with pytest.raises(psycopg.OperationalError):
        web.target.connect("alice", "no token")
    before = set(web.samples())
    for user in ("bob", "carol", "alice"):
        with web.target.connect(user):
            pass
        with pytest.raises(psycopg.OperationalError):
            web.target.connect(f"{user}-x", f"no token {user}")
    with pytest.raises(psycopg.OperationalError):
        web.target.connect("alice", dbname="unknown")

    grown = {name for name in set(web.samples()) - before if 'reason="unknown_database"' not in name}
    assert grown == set()


def test_counters_only_grow(web: Web) -> None:
    seen: dict[str, float] = {}
    clients = []
    for round_ in range(6):
        if round_ % 2 == 0:
            clients = [web.target.connect("alice") for _ in range(3)]
            for client in clients:
                client.execute("SELECT 1")
        else:
            for client in clients:
                client.close()
        now = {name: value for name, value in web.samples().items() if "_total" in name}
        for name, value in seen.items():
            assert now[name] >= value, name
        seen = now


def test_the_namespace_goes_before_every_name(make_gateway: MakeGateway) -> None:
    web = Web(make_gateway, general={"openmetrics_namespace": "edge_"})
    own = [name for name in web.samples() if not name.startswith("process_")]
    assert own
    assert all(name.startswith("edge_") for name in own)


def test_live_is_about_the_process_alone(web: Web) -> None:
    assert web.get("/live") == (200, "application/json", '{"live":true}\n')


def test_a_gateway_is_ready_before_its_first_client(web: Web) -> None:
    status, body = web.ready()
    assert status == 200
    assert body == {"ready": True, "databases": [{"name": "demo", "reachable": True}]}


def test_a_database_without_a_server_is_named(make_gateway: MakeGateway) -> None:
    gone = {"name": "gone", "host": "127.0.0.1", "port": free_port()}
    usual = make_gateway(start=False).gateway.config["databases"]
    web = Web(make_gateway, databases=[*usual, gone])

    status, body = web.ready()

    assert status == 503
    assert body["reason"] == "no server can be reached of: gone"
    assert {database["name"]: database["reachable"] for database in body["databases"]} == {
        "demo": True,
        "gone": False,
    }
    assert web.get("/live")[0] == 200


def test_one_server_of_a_database_is_enough(make_gateway: MakeGateway, cluster: Any) -> None:
    databases = [
        {"name": "demo", "host": "127.0.0.1", "port": free_port(), "role": "primary"},
        {"name": "demo", "host": "127.0.0.1", "port": cluster.replica.port, "role": "replica"},
    ]
    assert Web(make_gateway, databases=databases).ready()[0] == 200


def test_a_gateway_that_drains_is_alive_and_not_ready(web: Web) -> None:
    with web.target.connect("alice") as alice:
        alice.execute("BEGIN")
        alice.execute("SELECT 1")
        web.target.gateway.send(signal.SIGTERM)
        eventually(lambda: web.ready()[0] == 503, "not ready any more")
        assert web.ready()[1]["reason"] == "the gateway shuts down"
        assert web.get("/live")[0] == 200
        alice.execute("COMMIT")
    assert web.target.gateway.wait(10) == 0


def test_one_port_may_serve_both(make_gateway: MakeGateway) -> None:
    port = free_port()
    web = Web(make_gateway, general={"openmetrics_port": port, "healthcheck_port": port})
    assert web.get("/metrics", port)[0] == web.get("/ready", port)[0] == 200


def test_ports_serve_what_they_are_for_and_nothing_else(web: Web) -> None:
    assert web.get("/metrics")[0] == 404
    assert web.get("/ready", web.metrics_port)[0] == 404
    request = urllib.request.Request(f"http://127.0.0.1:{web.health_port}/live", data=b"x")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=10)
    assert caught.value.code == 405
    caught.value.close()


def test_a_port_that_is_taken_keeps_the_gateway_from_starting(make_gateway: MakeGateway) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        general = {"openmetrics_host": "127.0.0.1", "openmetrics_port": port}
        with pytest.raises(RuntimeError, match=f"cannot listen on 127.0.0.1:{port} for metrics"):
            make_gateway(general=general)


def test_slow_and_hostile_requests_hold_nobody_up(web: Web) -> None:
    idle = [socket.create_connection(("127.0.0.1", web.metrics_port)) for _ in range(20)]
    garbage = socket.create_connection(("127.0.0.1", web.metrics_port))
    garbage.sendall(b"\x00\x01 nonsense\r\n\r\n")
    large = socket.create_connection(("127.0.0.1", web.metrics_port))
    large.settimeout(5)
    large.sendall(b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n")
    assert large.recv(100).startswith(b"HTTP/1.1 4")
    assert web.samples()
    for connection in [*idle, garbage, large]:
        connection.close()
