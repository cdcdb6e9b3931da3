"""Replication connections: in session mode only, one server connection each, and not for every token."""

from __future__ import annotations

import re
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from conftest import SERVICE
from harness import eventually
from harness import wire as w
from harness.activity import await_sleep, sleep_statement
from harness.target import Target
from harness.wire import ServerError, Wire

MakeGateway = Callable[..., Target]
ACCOUNT = {"jwt_server_user": "gateway_streams", "jwt_server_password": "gateway-secret"}
SESSION = {"pooler_mode": "session", **ACCOUNT}
ARCHIVER = {"name": "archiver", "database": "demo", "password": "archiver-secret"}
COPY_BOTH = "W"
NEVER = struct.pack("!qB", 0, 0)


@pytest.fixture(scope="module", autouse=True)
def roles(cluster: Any) -> Iterator[None]:
    """`streamer` may replicate, `alice` may not, and the account may become both."""
    with cluster.admin() as admin:
        admin.execute("CREATE ROLE gateway_streams LOGIN NOINHERIT REPLICATION PASSWORD 'gateway-secret'")
        admin.execute("CREATE ROLE streamer NOLOGIN REPLICATION")
        admin.execute("CREATE ROLE archiver LOGIN REPLICATION PASSWORD 'archiver-secret'")
        admin.execute("GRANT subjects TO streamer")
        admin.execute("GRANT streamer, alice, reader, boss TO gateway_streams")
        admin.execute("GRANT streamer TO gateway")
    yield
    with cluster.admin() as admin:
        admin.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active")
        for role in ("gateway_streams", "archiver", "streamer"):
            admin.execute(f"DROP OWNED BY {role}")
            admin.execute(f"DROP ROLE {role}")


@pytest.fixture(scope="module")
def target(make_module_gateway: MakeGateway) -> Target:
    return make_module_gateway(general=SESSION, users=[SERVICE, ARCHIVER])


@pytest.fixture
def wire(target: Target, slot: str) -> Iterator[Wire]:
    """A client that may decode. It leaves before its slot is dropped."""
    with target.wire("streamer", replication="database") as wire:
        yield wire


@pytest.fixture
def slot(cluster: Any, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a slot that does not exist yet; it is gone afterwards."""
    name = re.sub(r"\W", "_", request.node.name)[:60].lower()
    yield name
    with cluster.admin() as admin:
        ended = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = %s AND active"
        eventually(lambda: admin.execute(ended, [name]).fetchone() == (0,), "the end of the stream")
        drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s"
        admin.execute(drop, [name])


def test_a_command_may_come_before_the_login_is_answered(target: Target) -> None:
    with target.open() as wire:
        startup = w.startup(user="streamer", database=target.database, replication="database")
        wire.send(startup, w.password_message(target.issuer.token("streamer")), w.query("IDENTIFY_SYSTEM"))
        wire.until_ready()
        assert [m.row[3] for m in wire.until_ready() if m.type == "D"] == [target.database]


def start(wire: Wire, slot: str) -> None:
    """Makes a slot and begins to read it."""
    created = wire.query(f'CREATE_REPLICATION_SLOT "{slot}" LOGICAL test_decoding')
    assert w.types_of(created) == "TDCZ"
    wire.send(w.query(f'START_REPLICATION SLOT "{slot}" LOGICAL 0/0'))
    assert wire.receive().type == COPY_BOTH


def changes(wire: Wire) -> Iterator[str]:
    """What the server decodes, keepalives left out."""
    while True:
        message = wire.receive()
        assert message.type == "d", message
        if message.body[:1] == b"w":
            yield message.body[25:].decode()


def senders(cluster: Any) -> int:
    query = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender' AND datname = 'demo'"
    with cluster.admin() as admin:
        row = admin.execute(query).fetchone()
    return row[0]


# Who may, and in which mode


@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_replication_needs_session_mode(make_gateway: MakeGateway, mode: str) -> None:
    target = make_gateway(general=SESSION | {"pooler_mode": mode}, users=[ARCHIVER])

    for value in ("true", "on", "1", "YES", "database"):
        for user, password in (("streamer", None), ("archiver", "archiver-secret")):
            refused = target.refusal(user, password, replication=value)
            assert (refused["C"], "session" in refused["M"], bool(refused["H"])) == ("0A000", True, True)
    event = target.gateway.last_login(user="archiver")
    assert event["reason"] == "replication"
    assert event["detail"] == 'replication connections need pooler_mode = "session"'


@pytest.mark.parametrize("value", ["false", "off", "0", "no", "F"])
def test_no_replication_is_an_ordinary_connection(gateway: Target, value: str) -> None:
    with gateway.wire("alice", replication=value) as wire:
        assert wire.value("SELECT current_user") == "alice"


def test_another_value_is_refused_as_postgresql_does(gateway: Target) -> None:
    refused = gateway.refusal("alice", replication="maybe")

    assert (refused["C"], refused["H"]) == ("22023", 'Valid values are: "false", 0, "true", 1, "database".')


@pytest.mark.parametrize("name", ["Replication", "REPLICATION"])
def test_replication_cannot_be_asked_for_in_disguise(target: Target, name: str) -> None:
    assert target.refusal("streamer", **{name: "database"})["C"] in ("42704", "28000")
    assert target.refusal("archiver", "archiver-secret", options="-c replication=true")["C"] == "42704"


def test_credentials_are_asked_for_first(target: Target) -> None:
    assert target.refusal("streamer", "no token", replication="database")["C"] == "28000"
    assert target.refusal("archiver", "wrong", replication="true")["C"] == "28P01"


def test_the_admin_database_is_not_replicated(make_gateway: MakeGateway) -> None:
    target = make_gateway(admin={"password": "secret"})

    assert target.refusal("admin", "secret", database="admin", replication="true")["C"] == "0A000"


# Subjects of tokens


def test_a_subject_that_may_replicate_is_itself(wire: Wire) -> None:
    assert wire.rows("SELECT current_user, session_user") == [("streamer", "gateway_streams")]
    assert wire.rows("SHOW is_superuser") == [("off",)]
    assert w.types_of(wire.query("IDENTIFY_SYSTEM")) == "TDCZ"


def test_changes_reach_the_subject(wire: Wire, cluster: Any, slot: str) -> None:
    start(wire, slot)
    with cluster.admin() as admin:
        admin.execute("INSERT INTO notes (owner, body) VALUES ('bob', 'decoded')")

    decoded = changes(wire)
    assert next(decoded).startswith("BEGIN")
    assert "body[text]:'decoded'" in next(decoded)
    assert next(decoded).startswith("COMMIT")
    wire.send(w.COPY_DONE)
    assert w.types_of(wire.until_ready()).replace("d", "") == "cCCZ"
    assert wire.value("SELECT 1") == "1"


def test_what_the_client_confirms_reaches_the_server(wire: Wire, cluster: Any, slot: str) -> None:
    start(wire, slot)
    with cluster.admin() as admin:
        position = admin.execute("SELECT pg_logical_emit_message(true, 'here', '') - '0/0'").fetchone()
        assert position
        flushed = int(position[0]) + 1
        wire.send(w.copy_data(b"r" + struct.pack("!qqq", flushed, flushed, flushed) + NEVER))

        query = "SELECT confirmed_flush_lsn - '0/0' >= %s FROM pg_replication_slots WHERE slot_name = %s"
        confirmed = eventually(lambda: admin.execute(query, [flushed, slot]).fetchone(), "the slot")
        eventually(lambda: admin.execute(query, [flushed, slot]).fetchone() == (True,), "the confirmation")
    assert confirmed


def test_a_subject_without_the_attribute_may_not(target: Target) -> None:
    refused = target.refusal("alice", replication="database")

    assert (refused["C"], refused["M"]) == ("42501", "permission denied to replicate")
    assert "alice" in target.gateway.last_login(user="alice")["detail"]


def test_an_account_without_the_attribute_may_not(make_gateway: MakeGateway) -> None:
    target = make_gateway(general={"pooler_mode": "session"})

    assert target.refusal("streamer", replication="database")["C"] == "42501"
    with target.wire("streamer") as wire:
        assert wire.value("SELECT current_user") == "streamer"


def test_a_subject_that_bypasses_row_level_security_may_not(target: Target) -> None:
    refused = target.refusal("boss", replication="database")

    assert (refused["C"], refused["M"]) == ("28000", 'authentication failed for user "boss"')


def test_a_subject_never_replicates_physically(target: Target) -> None:
    assert target.refusal("streamer", replication="true")["C"] == "42501"


def test_read_only_users_may_not(make_gateway: MakeGateway) -> None:
    users = [ARCHIVER | {"read_only": True}, {"name": "streamer", "database": "demo", "read_only": True}]
    target = make_gateway(general=SESSION, users=users)

    assert target.refusal("streamer", replication="database")["C"] == "25006"
    assert target.refusal("archiver", "archiver-secret", replication="true")["C"] == "25006"


def test_a_guard_that_lets_code_in_is_not_enough(make_gateway: MakeGateway) -> None:
    target = make_gateway(general=SESSION, jwt={"guard": "standard"}, users=[ARCHIVER])

    assert target.refusal("streamer", replication="database")["C"] == "0A000"
    with target.wire("archiver", "archiver-secret", replication="database") as wire:
        assert wire.value("SELECT 1") == "1"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (w.query("SET ROLE alice"), "42501"),
        (w.query("SELECT set_config('role', 'alice', false)"), "42501"),
        (w.query("SELECT 1; RESET ROLE"), "42501"),
        (w.query("DO $$ BEGIN SET ROLE alice; END $$"), "42501"),
        (w.query("DISCARD ALL"), "0A000"),
        (w.query("BASE_BACKUP"), "42501"),
        (w.query("START_REPLICATION PHYSICAL 0/0"), "42501"),
        (w.query("CREATE_REPLICATION_SLOT p PHYSICAL"), "42501"),
        (w.query("/* hidden */ BASE_BACKUP"), "42501"),
        (w.extended("SELECT 1"), "0A000"),
        (w.function_call(1397, b"\0\0\0\1"), "0A000"),
    ],
)
def test_what_the_guard_refuses_ends_the_connection(
    wire: Wire, cluster: Any, message: bytes, code: str
) -> None:
    wire.send(message)

    refused = wire.receive()
    assert (refused.type, refused.fields["S"], refused.fields["C"]) == ("E", "FATAL", code)
    assert wire.closed_by_peer()
    with cluster.admin() as admin:
        assert admin.execute(
            "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'p'"
        ).fetchone() == (0,)


def test_a_refusal_comes_behind_what_was_answered_before(wire: Wire) -> None:
    assert wire.value("SELECT 'before'") == "before"
    wire.send(w.query("SET ROLE alice"))

    assert wire.receive().fields["C"] == "42501"


def test_a_statement_in_pieces_is_judged_whole(wire: Wire) -> None:
    for byte in w.query("SELECT current_user"):
        wire.send(bytes([byte]))
    assert wire.until_ready()[1].row == ("streamer",)
    for byte in w.query("SET ROLE alice"):
        wire.send(bytes([byte]))

    assert wire.receive().fields["C"] == "42501"


# One server connection each


def test_the_server_connection_is_its_own_and_ends_with_it(target: Target, cluster: Any) -> None:
    before = senders(cluster)
    with target.wire("streamer", replication="database") as one:
        first = one.value("SELECT pg_backend_pid()")
        with target.wire("streamer", replication="database") as two, target.wire("streamer") as plain:
            pids = {first, two.value("SELECT pg_backend_pid()"), plain.value("SELECT pg_backend_pid()")}
            assert len(pids) == 3
            assert senders(cluster) == before + 2
        one.rows("SET work_mem = '99MB'")

    eventually(lambda: senders(cluster) == before, "the end of the server connections")
    with target.wire("streamer") as plain:
        assert plain.value("SHOW work_mem") != "99MB"


def test_a_client_that_dies_takes_its_stream_with_it(wire: Wire, cluster: Any, slot: str) -> None:
    start(wire, slot)
    wire.close()

    with cluster.admin() as admin:
        query = "SELECT active FROM pg_replication_slots WHERE slot_name = %s"
        eventually(lambda: admin.execute(query, [slot]).fetchone() == (False,), "the end of the stream")


def test_settings_of_the_start_up_packet_hold(target: Target) -> None:
    settings = {"application_name": "decoder", "options": "-c work_mem=7MB", "datestyle": "German"}
    with target.wire("streamer", replication="database", **settings) as wire:
        shown = [wire.value(f"SHOW {name}") for name in ("application_name", "work_mem", "datestyle")]

    assert shown == ["decoder", "7MB", "German, DMY"]
    assert target.refusal("streamer", replication="database", options="-c role=alice")["C"] == "28000"


def test_a_cancel_request_reaches_it(target: Target, wire: Wire, cluster: Any) -> None:
    wire.send(w.query(sleep_statement("replication")))
    await_sleep(cluster, "replication")
    with target.open() as other:
        other.send(w.cancel_request(wire.cancel_key))

    assert w.error_of(wire.until_ready())["C"] == "57014"
    assert wire.value("SELECT 1") == "1"


def test_a_slow_reader_holds_the_server_back(target: Target, wire: Wire, cluster: Any, slot: str) -> None:
    start(wire, slot)
    before = target.gateway.memory()
    count, size = 200, 1_000_000
    with cluster.admin() as admin:
        emit = "SELECT pg_logical_emit_message(false, 'big', repeat('x', %s)) FROM generate_series(1, %s)"
        admin.execute(emit, [size, count])
        blocked = (
            "SELECT wait_event FROM pg_stat_activity JOIN pg_replication_slots ON pid = active_pid "
            "WHERE slot_name = %s"
        )
        eventually(
            lambda: admin.execute(blocked, [slot]).fetchone() == ("WalSenderWriteData",), "the jam", 20
        )
    assert target.gateway.memory() - before < 16 << 20

    decoded = changes(wire)
    for _ in range(count):
        assert len(next(decoded)) > size
    assert target.gateway.memory() - before < 16 << 20


# Reload and shutdown


@pytest.mark.parametrize(
    "change", [{"general": {"pooler_mode": "transaction"}}, {"jwt": {"guard": "standard"}}]
)
def test_a_reload_that_takes_the_right_ends_the_stream(
    make_gateway: MakeGateway, slot: str, change: dict[str, Any]
) -> None:
    target = make_gateway(general=SESSION)
    with target.wire("streamer", replication="database") as wire:
        start(wire, slot)
        config = target.gateway.config
        for table, keys in change.items():
            config[table] |= keys
        target.gateway.write(config)
        target.gateway.send(signal.SIGHUP)

        end = next(message for message in iter(wire.receive, None) if message.type != "d")
        assert (end.type, end.fields["C"]) == ("E", "57P01")


def test_a_reload_that_changes_nothing_of_it_leaves_the_stream(
    make_gateway: MakeGateway, cluster: Any, slot: str
) -> None:
    target = make_gateway(general=SESSION)
    with target.wire("streamer", replication="database") as wire:
        start(wire, slot)
        config = target.gateway.config
        config["general"]["checkout_timeout"] = 4_000
        target.gateway.write(config)
        target.gateway.send(signal.SIGHUP)
        eventually(lambda: '"reload"' in target.gateway.log_text(), "the reload")
        decoded = changes(wire)
        with cluster.admin() as admin:
            # Longer than the gateway takes to look at its configuration.
            for number in range(25):
                admin.execute("SELECT pg_logical_emit_message(false, 'still', %s)", [f"there {number}"])
                assert f"content:there {number}" in next(decoded)
                time.sleep(0.1)


def test_a_stream_does_not_hold_up_the_shutdown(make_gateway: MakeGateway, slot: str) -> None:
    target = make_gateway(general=SESSION | {"shutdown_timeout": 60_000})
    with target.wire("streamer", replication="database") as wire:
        start(wire, slot)
        target.gateway.send(signal.SIGTERM)

        end = next(message for message in iter(wire.receive, None) if message.type != "d")
        assert end.fields["C"] == "57P01"
        assert target.gateway.wait(timeout=10) == 0


# PostgreSQL's own programs


@pytest.fixture
def run(target: Target, cluster: Any, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a program of PostgreSQL against the gateway."""

    def run(name: str, user: str, password: str | None, *arguments: str) -> subprocess.CompletedProcess[str]:
        program = cluster.installation.program(name)
        if not program.exists():
            pytest.skip(f"this PostgreSQL comes without {name}")
        address = ("--host", target.host, "--port", str(target.port), "--username", user)
        return subprocess.run(
            [program, *address, *arguments],
            env=target.psql_environment(user, password),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=90,
        )

    return run


def test_pg_recvlogical_with_a_token(run: Any, cluster: Any, tmp_path: Path, slot: str) -> None:
    common = ("--dbname", "demo", "--slot", slot)
    made = run("pg_recvlogical", "streamer", None, *common, "--create-slot", "--plugin", "test_decoding")
    assert made.returncode == 0, made.stderr
    with cluster.admin() as admin:
        admin.execute("INSERT INTO notes (owner, body) VALUES ('bob', 'by pg_recvlogical')")
        end = admin.execute("SELECT pg_current_wal_flush_lsn()::text").fetchone()
        assert end

    read = run(
        "pg_recvlogical",
        "streamer",
        None,
        *common,
        "--start",
        "--file",
        "out",
        "--endpos",
        end[0],
        "--no-loop",
    )

    assert read.returncode == 0, read.stderr
    assert "by pg_recvlogical" in (tmp_path / "out").read_text()
    dropped = run("pg_recvlogical", "streamer", None, *common, "--drop-slot")
    assert dropped.returncode == 0, dropped.stderr


def test_pg_receivewal_with_a_password(run: Any, cluster: Any, tmp_path: Path) -> None:
    with cluster.admin() as admin:
        admin.execute("SELECT pg_logical_emit_message(false, 'some', 'wal')")
        admin.execute("SELECT pg_switch_wal()")
        end = admin.execute("SELECT pg_current_wal_lsn()::text").fetchone()
        assert end
        admin.execute("INSERT INTO notes (owner, body) VALUES ('bob', 'more')")

    done = run(
        "pg_receivewal",
        "archiver",
        "archiver-secret",
        "--directory",
        str(tmp_path),
        "--endpos",
        end[0],
        "--no-loop",
    )

    assert done.returncode == 0, done.stderr
    assert [path for path in tmp_path.iterdir() if re.fullmatch(r"[0-9A-F]{24}(\.partial)?", path.name)]


def test_pg_basebackup_with_a_password(run: Any, cluster: Any, tmp_path: Path) -> None:
    done = run(
        "pg_basebackup",
        "archiver",
        "archiver-secret",
        *("--pgdata", str(tmp_path / "copy"), "--wal-method", "stream", "--checkpoint", "fast", "--no-sync"),
    )
    assert done.returncode == 0, done.stderr

    verify = cluster.installation.program("pg_verifybackup")
    # One that comes in a package does not start.
    if verify.exists() and subprocess.run([verify, "--version"], capture_output=True).returncode == 0:
        checked = subprocess.run([verify, tmp_path / "copy"], capture_output=True, text=True, timeout=60)
        assert checked.returncode == 0, checked.stderr


def test_a_physical_connection_needs_no_database_of_that_name(target: Target) -> None:
    with target.wire("archiver", "archiver-secret", database="replication", replication="true") as wire:
        assert w.types_of(wire.query("IDENTIFY_SYSTEM")) == "TDCZ"
        assert w.error_of(wire.query("SELECT 1"))["C"] in ("0A000", "42601")
    for database in ("postgres", "nowhere"):
        refused = target.refusal("archiver", "archiver-secret", database=database, replication="true")
        assert refused["S"] == "FATAL"


def test_without_the_attribute_postgresql_refuses_a_user_with_a_password(target: Target) -> None:
    for value in ("true", "database"):
        assert target.refusal("service", "service-secret", replication=value)["C"] == "42501"


def test_psycopg_identifies_the_system(target: Target) -> None:
    with target.connect("streamer", replication="database") as connection:
        result = connection.pgconn.exec_(b"IDENTIFY_SYSTEM")

        assert result.status == psycopg.pq.ExecStatus.TUPLES_OK
        assert result.get_value(0, 3) == b"demo"


def test_a_refused_login_is_told_apart_in_the_log(target: Target) -> None:
    with pytest.raises(ServerError):
        target.wire("streamer", replication="true")

    event = target.gateway.last_login(user="streamer", decision="refused")
    assert event["reason"] == "replication"
    assert event["detail"] == "physical replication is not for users that come with a token"


def test_a_stream_ends_with_its_token(target: Target, cluster: Any, slot: str) -> None:
    with target.wire(
        "streamer", target.issuer.token("streamer", expires_in=6), replication="database"
    ) as wire:
        start(wire, slot)
        message = wire.receive()
        while message.type == "d":
            message = wire.receive()
        assert (message.type, message.fields["C"]) == ("E", "57P01")
        assert wire.closed_by_peer()
