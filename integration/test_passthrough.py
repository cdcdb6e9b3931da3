"""`mode = "passthrough"`: PostgreSQL 18 is shown the client's own token, and checks it once more."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import (
    Cluster,
    Gateway,
    Issuer,
    Workspace,
    default_config,
    eventually,
    find_installations,
    merged,
    tenants,
)
from harness import wire as w
from harness.external import is_external
from harness.introspection import OpaqueIssuer
from harness.issuer import encode_segment
from harness.oauthbearer import log_in
from harness.rules import ADMIN, BASE_HBA, reload, run_setup, sections
from harness.target import Target
from harness.wire import Wire

pytestmark = pytest.mark.skipif(is_external(), reason="starts a PostgreSQL server of its own")

WHO = "SELECT session_user, current_user, system_user"
PID = "SELECT pg_backend_pid()"
SOURCE = Path(__file__).parent / "oauth" / "validator.c"
SUBJECTS = ["alice", "bob", "carol", "reader", "boss"]
INSTALLATION = next((one for one in find_installations() if one.major >= 18), None)


def compiled(folder: Path) -> Path:
    """The validator, built against the server's own headers."""
    if INSTALLATION is None:
        pytest.skip("no PostgreSQL 18 on this machine")
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler on this machine, and the token validator is in C")
    asked = [INSTALLATION.program("pg_config"), "--includedir-server"]
    headers = Path(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip())
    if not (headers / "libpq" / "oauth.h").is_file():
        pytest.skip(
            f"PostgreSQL {INSTALLATION.version} comes without the headers for token validators ({headers})"
        )
    module = folder / "validator.so"
    command = [compiler, "-shared", "-fPIC", "-O1", f"-I{headers}", "-o", module, SOURCE]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    module.chmod(0o755)
    return module


@pytest.fixture(scope="module")
def cluster(issuer: Issuer) -> Iterator[Cluster]:
    with Workspace() as workspace:
        module = compiled(workspace.subfolder("validator"))
        cluster = Cluster(workspace, INSTALLATION)
        with cluster.admin() as admin:
            for name in SUBJECTS:
                admin.execute(f"ALTER ROLE {name} LOGIN")
        config = workspace_config(cluster, issuer)
        target = Target.of(Gateway(workspace, config), issuer)
        printed = run_setup(target, "--address", "127.0.0.1/32")
        assert printed.returncode == 0, printed.stderr
        parts = sections(printed.stdout)
        for server in (cluster.primary, cluster.replica):
            assert server
            settings = parts["postgresql.conf"].replace("your_validator", str(module))
            with (server.data / "postgresql.conf").open("a") as file:
                file.write(settings)
            # A rule is good only when the server knows the validator already.
            reload(server)
            (server.data / "pg_hba.conf").write_text(BASE_HBA + parts["pg_hba.conf"])
            reload(server)
        yield cluster


@pytest.fixture
def rules(cluster: Cluster) -> Iterator[Callable[[str], None]]:
    """Puts a line in front of the server's rules; they are as they were at the end."""
    file = cluster.primary.data / "pg_hba.conf"
    before = file.read_text()

    def put_first(rule: str) -> None:
        file.write_text(f"{rule}\n{before}")
        reload(cluster.primary)

    yield put_first
    file.write_text(before)
    reload(cluster.primary)


def workspace_config(cluster: Cluster, issuer: Issuer, **tables: Any) -> dict[str, Any]:
    config = merged(default_config(cluster, issuer), {"admin": ADMIN})
    for key in ("jwt_server_user", "jwt_server_password"):
        del config["general"][key]
    return merged(merged(config, {"jwt": {"identity": {"mode": "passthrough"}}}), tables)


@pytest.fixture
def start(cluster: Cluster, issuer: Issuer) -> Iterator[Callable[..., Target]]:
    started: list[Gateway] = []

    def make(users: list[dict[str, Any]] | None = None, **tables: Any) -> Target:
        config = workspace_config(cluster, issuer, **tables)
        process = Gateway(cluster.primary.workspace, config, {"users": users or []}).start()
        started.append(process)
        return Target.of(process, issuer)

    yield make
    for process in reversed(started):
        process.stop(timeout=5)


def alone(cluster: Cluster) -> list[dict[str, Any]]:
    primary = cluster.primary
    return [{"name": "demo", "host": primary.host, "port": primary.port}]


def connections_of(cluster: Cluster, name: str) -> int:
    query = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s"
    with cluster.admin() as admin:
        return int((admin.execute(query, [name]).fetchone() or (0,))[0])


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_the_server_knows_the_subject_by_its_own_token(start: Callable[..., Target], mode: str) -> None:
    target = start(general={"pooler_mode": mode})

    for name in ("alice", "bob"):
        with target.wire(name) as wire:
            assert wire.rows(WHO) == [(name, name, f"oauth:{name}")]
    assert target.gateway.last_login(user="alice")["role"] == "alice"


def test_an_opaque_token_is_passed_on_as_it_is(start: Callable[..., Target]) -> None:
    opaque = OpaqueIssuer()
    try:
        target = start(jwt={"issuers": [opaque.table()]})
        # Of two parts and no JWT, and readable for the validator.
        token = f"opaque.{encode_segment({'sub': 'alice'})}"
        opaque.learn(token, "alice")

        with target.wire("alice", token) as wire:
            assert wire.rows(WHO) == [("alice", "alice", "oauth:alice")]
        assert opaque.asked == [token]
        assert target.refusal("alice", f"opaque.{encode_segment({'sub': 'bob'})}")["C"] == "28000"
    finally:
        opaque.close()


def test_a_token_that_came_over_oauthbearer_goes_on_so(
    start: Callable[..., Target], cluster: Cluster
) -> None:
    target = start(jwt={"client_flow": "oauthbearer"})
    issuer = target.issuer

    for name in ("alice", "bob"):
        with log_in(target, name, issuer.token(name)) as wire:
            assert wire.rows(WHO) == [(name, name, f"oauth:{name}")]
    for token in (issuer.token("bob"), issuer.token("alice", refused_by_server=True)):
        with pytest.raises(w.ServerError) as refusal:
            log_in(target, "alice", token)
        assert refusal.value.fields["M"] == 'authentication failed for user "alice"'


def test_a_token_over_a_unix_socket(
    start: Callable[..., Target], cluster: Cluster, rules: Callable[[str], None]
) -> None:
    primary = cluster.primary
    rules('local all alice oauth issuer="https://issuer.example" scope="openid"')
    target = start(databases=[{"name": "demo", "host": str(primary.sockets), "port": primary.port}])

    with target.wire("alice") as wire:
        assert wire.rows(WHO) == [("alice", "alice", "oauth:alice")]


def test_a_token_that_only_the_server_refuses_is_refused_like_any_other(start: Callable[..., Target]) -> None:
    target = start()
    token = target.issuer.token("alice", refused_by_server=True)

    refusal = target.refusal("alice", token)

    event = target.gateway.last_login(user="alice")
    other = target.refusal("alice", target.issuer.token("alice", aud="somebody else"))
    assert (refusal["C"], refusal["M"]) == ("28000", other["M"])
    assert event["reason"] == "token_refused"
    assert "invalid_token" in event["detail"]
    assert token.split(".")[1] not in target.gateway.log_text()


def test_a_token_that_the_gateway_refuses_never_reaches_the_server(
    start: Callable[..., Target], cluster: Cluster
) -> None:
    target = start()
    seen = cluster.primary.log_text().count("OAuth")

    assert target.refusal("alice", target.issuer.token("bob"))["C"] == "28000"
    assert target.refusal("alice", target.issuer.token("alice", expires_in=-5))["C"] == "28000"

    assert cluster.primary.log_text().count("OAuth") == seen


def test_roles_that_no_token_may_become_are_refused(start: Callable[..., Target]) -> None:
    target = start()

    for role, reason in [
        ("postgres", "role_denied"),
        ("boss", "role_privileged"),
        ("stranger", "role_refused"),
    ]:
        assert target.refusal(role)["C"] == "28000"
        assert target.gateway.last_login(user=role)["reason"] == reason


def test_a_connection_serves_one_token_alone(start: Callable[..., Target], cluster: Cluster) -> None:
    target = start(general={"default_pool_size": 1}, databases=alone(cluster))
    first, second = target.issuer.token("alice"), target.issuer.token("alice")

    with (
        target.wire("alice", first) as one,
        target.wire("alice", first) as same,
        target.wire("alice", second) as other,
    ):
        pids = {wire.value(PID) for wire in (one, same, one)}
        assert len(pids) == 1
        assert other.value(PID) not in pids
    with target.wire("alice", first) as again:
        assert {again.value(PID)} == pids
    with target.wire("alice") as third:
        assert third.value(PID) not in pids


def ends(wire: Wire) -> dict[str, str]:
    """The last word that a client hears, without having said anything."""
    try:
        message = wire.receive()
    except (EOFError, OSError):
        return {}
    return message.fields if message.type == "E" else {"unexpected": message.type}


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_a_session_ends_with_its_token(start: Callable[..., Target], cluster: Cluster, mode: str) -> None:
    target = start(general={"pooler_mode": mode}, databases=alone(cluster))
    with target.wire("carol", target.issuer.token("carol", expires_in=3)) as wire:
        assert wire.rows(WHO) == [("carol", "carol", "oauth:carol")]

        assert ends(wire)["C"] == "57P01"
        assert wire.closed_by_peer()

    eventually(lambda: connections_of(cluster, "carol") == 0, "the end of the server connection")


def test_a_transaction_that_rests_ends_with_the_token(start: Callable[..., Target], cluster: Cluster) -> None:
    target = start(databases=alone(cluster))
    with target.wire("carol", target.issuer.token("carol", expires_in=3)) as wire:
        wire.rows("BEGIN")
        wire.rows("INSERT INTO notes (body) VALUES ('never to be seen')")

        assert ends(wire)["C"] == "57P01"

    eventually(lambda: connections_of(cluster, "carol") == 0, "the end of the server connection")
    with target.wire("carol") as wire:
        assert wire.value("SELECT count(*) FROM notes") == "0"


def test_what_runs_when_the_token_ends_may_finish_and_nothing_begins(
    start: Callable[..., Target], cluster: Cluster
) -> None:
    target = start(databases=alone(cluster))
    until = int(time.time()) + 3
    with target.wire("carol", target.issuer.token("carol", exp=until)) as wire:
        wire.send(w.query(f"SELECT 'in time' FROM pg_sleep_until(to_timestamp({until + 1}))"))
        answers = [message for message in wire.until_ready() if message.type == "D"]

        assert [message.row for message in answers] == [("in time",)]
        assert ends(wire)["C"] == "57P01"
    eventually(lambda: connections_of(cluster, "carol") == 0, "the end of the server connection")


def test_a_batch_that_never_ends_ends_with_the_token(start: Callable[..., Target], cluster: Cluster) -> None:
    target = start(databases=alone(cluster))
    until = int(time.time()) + 3
    with target.wire("carol", target.issuer.token("carol", exp=until)) as wire:
        answer = w.Message("C", b"")
        while answer.type == "C":
            # A Flush gives the answers; a Sync never comes.
            wire.send(w.parse("SELECT pg_sleep(0.01)"), w.bind(), w.execute(), w.FLUSH)
            answer = next(message for message in iter(wire.receive, None) if message.type in "CE")
        assert answer.fields["C"] == "57P01"
    eventually(lambda: connections_of(cluster, "carol") == 0, "the end of the server connection")


def test_a_session_without_a_server_connection_takes_a_new_token(
    start: Callable[..., Target], cluster: Cluster
) -> None:
    target = start(databases=alone(cluster))
    with target.wire("carol", target.issuer.token("carol", expires_in=4)) as wire:
        before = wire.value(PID)
        token = target.issuer.token("carol", expires_in=300)
        assert w.types_of(wire.query(f"SET pgdog_jwt.token = '{token}'")) == "CZ"
        assert wire.value(PID) != before
        eventually(
            lambda: connections_of(cluster, "carol") == 1, "the end of the first token's connection", 15
        )
        assert wire.rows(WHO) == [("carol", "carol", "oauth:carol")]

        wire.rows("CREATE TEMPORARY TABLE mine (id int)")
        token = target.issuer.token("carol", expires_in=300)
        assert w.error_of(wire.query(f"SET pgdog_jwt.token = '{token}'"))["C"] == "0A000"
        assert wire.value("SELECT count(*) FROM mine") == "0"


def test_a_session_that_keeps_its_server_connection_keeps_its_token(
    start: Callable[..., Target], cluster: Cluster
) -> None:
    target = start(general={"pooler_mode": "session"}, databases=alone(cluster))
    with target.wire("carol", target.issuer.token("carol", expires_in=4)) as wire:
        token = target.issuer.token("carol")
        assert w.types_of(wire.query(f"SET pgdog_jwt.token = '{token}'")) == "CZ"
        wire.value(PID)
        messages = wire.query(f"SET pgdog_jwt.token = '{target.issuer.token('carol')}'")
        assert w.error_of(messages)["C"] == "0A000"
        assert wire.rows(WHO) == [("carol", "carol", "oauth:carol")]


def test_postgresql_itself_keeps_a_subject_what_it_is(start: Callable[..., Target], cluster: Cluster) -> None:
    with start(databases=alone(cluster)).wire("alice") as wire:
        assert w.error_of(wire.query("SET ROLE bob"))["C"] == "42501"
        for statement in ("SET ROLE subjects", "RESET ROLE", "DISCARD ALL", "DO 'BEGIN PERFORM 1; END'"):
            wire.rows(statement)
        assert wire.rows(WHO) == [("alice", "alice", "oauth:alice")]


def test_a_read_only_subject_stays_on_the_replica(start: Callable[..., Target], cluster: Cluster) -> None:
    target = start([{"name": "reader", "database": "demo", "read_only": True}])

    with target.wire("reader") as wire:
        assert wire.rows("SELECT session_user, served_by()") == [("reader", "replica")]
        assert w.error_of(wire.query("DELETE FROM notes"))["C"] == "25006"


def test_prepared_statements_and_settings_follow(start: Callable[..., Target], cluster: Cluster) -> None:
    target = start(general={"default_pool_size": 1}, databases=alone(cluster))
    token = target.issuer.token("alice")

    with target.wire("alice", token) as one, target.wire("alice", token) as other:
        one.rows("SET work_mem = '321kB'")
        one.send(w.parse("SELECT session_user, current_setting('work_mem')", "mine"), w.SYNC)
        one.until_ready()
        assert other.value("SHOW work_mem") != "321kB"
        one.send(w.bind(statement="mine"), w.execute(), w.SYNC)
        assert [message.row for message in one.until_ready() if message.type == "D"] == [("alice", "321kB")]


def test_a_named_subject_keeps_connections_open_while_its_token_lasts(
    start: Callable[..., Target], cluster: Cluster
) -> None:
    target = start([{"name": "carol", "database": "demo", "min_pool_size": 2}], databases=alone(cluster))
    assert connections_of(cluster, "carol") == 0

    target.wire("carol", target.issuer.token("carol", expires_in=5)).close()

    eventually(lambda: connections_of(cluster, "carol") == 2, "two connections")
    eventually(lambda: connections_of(cluster, "carol") == 0, "their end")


def test_many_tokens_of_one_subject_take_no_more_pools_than_there_may_be(
    start: Callable[..., Target], cluster: Cluster
) -> None:
    general = {"max_server_connections": 3}
    target = start(general=general, jwt={"max_pools": 2}, databases=alone(cluster))

    for _ in range(6):
        with target.wire("alice") as wire:
            assert wire.value("SELECT session_user") == "alice"
    with target.wire("alice") as one, target.wire("alice") as two:
        assert one.value(PID) != two.value(PID)
        assert target.refusal("alice")["C"] == "53300"


def test_no_token_is_shown_to_anybody(start: Callable[..., Target], cluster: Cluster) -> None:
    target = start(general={"log_level": "debug"}, databases=alone(cluster))
    token = target.issuer.token("alice")
    shown = ""
    with target.wire("alice", token) as wire:
        wire.rows("SELECT 1")
        with target.connect("admin", "admin-secret", dbname="admin") as admin:
            for what in ("CLIENTS", "SERVERS", "POOLS", "SUBJECTS", "CONFIG", "LISTS", "DATABASES", "STATS"):
                shown += str(admin.execute(f"SHOW {what}").fetchall())
    shown += target.gateway.log_text() + cluster.primary.log_text()

    assert "alice" in shown
    assert not any(part in shown for part in token.split("."))


@pytest.mark.parametrize("method", ["trust", "password", "scram-sha-256"])
def test_a_server_that_asks_for_something_else_gets_no_token(
    start: Callable[..., Target], cluster: Cluster, rules: Callable[[str], None], method: str
) -> None:
    target = start(databases=alone(cluster))
    rules(f"host all alice,bob,carol 127.0.0.1/32 {method}")

    assert target.refusal("alice")["C"] == "08004"
    assert "must say oauth" in target.gateway.last_login(user="alice")["detail"]


def test_replication_is_not_for_tokens_that_end(start: Callable[..., Target], cluster: Cluster) -> None:
    target = start(general={"pooler_mode": "session"}, databases=alone(cluster))

    assert target.refusal("alice", replication="database")["C"] == "0A000"


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_a_tenant_in_the_user_name(start: Callable[..., Target], cluster: Cluster, mode: str) -> None:
    target = start(general={"pooler_mode": mode}, databases=alone(cluster), tenants=tenants.TENANTS)

    tenants.has_its_tenant(target, "alice")
    tenants.keeps_its_tenant(target, "alice")


def test_tenants_of_one_token_take_turns_on_its_connection(
    start: Callable[..., Target], cluster: Cluster
) -> None:
    general = {"default_pool_size": 1}
    target = start(general=general, databases=alone(cluster), tenants=tenants.TENANTS)

    tenants.share_one_server(target, "alice", cluster)
