"""The admin database: who gets in, what it shows, what its commands do."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from harness import eventually, merged
from harness import wire as w
from harness.ports import free_port
from harness.target import Target
from harness.wire import ServerError

MakeGateway = Callable[..., Target]
PASSWORD = "admin-secret"
ADMIN = {"name": "admin", "user": "admin", "password": PASSWORD}
TABLES = [
    *("CLIENTS", "SERVERS", "POOLS", "STATS", "STATS_TOTALS", "STATS_AVERAGES", "TOTALS", "STATE"),
    *("DATABASES", "USERS", "CONFIG"),
    *("VERSION", "LISTS", "PREPARED", "BANS", "SUBJECTS", "KEYS", "INTROSPECTION", "HELP"),
]


@pytest.fixture
def target(make_gateway: MakeGateway) -> Target:
    return make_gateway(admin=ADMIN)


@pytest.fixture(scope="module")
def shared(make_module_gateway: MakeGateway) -> Target:
    """For tests that only look."""
    return make_module_gateway(admin=ADMIN)


def admin(target: Target, **options: Any) -> psycopg.Connection[dict[str, Any]]:
    options = {"dbname": "admin", "row_factory": dict_row, **options}
    return target.connect("admin", PASSWORD, **options)  # type: ignore[return-value]


def show(target: Target, command: str) -> list[dict[str, Any]]:
    with admin(target) as connection:
        return connection.execute(f"SHOW {command}").fetchall()


def clients(target: Target, **fields: Any) -> list[dict[str, Any]]:
    return [row for row in show(target, "CLIENTS") if fields.items() <= row.items()]


def client(target: Target, user: str) -> dict[str, Any]:
    found = clients(target, user=user)
    assert len(found) == 1, found
    return found[0]


# Who gets in


def test_a_token_does_not_open_the_admin_database(shared: Target) -> None:
    token = shared.issuer.token("admin")
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        shared.connect("admin", token, dbname="admin")


def test_every_wrong_login_looks_the_same(shared: Target) -> None:
    texts = set()
    for user, password in (("admin", "wrong"), ("alice", PASSWORD), ("nobody", "wrong"), ("admin", "")):
        with pytest.raises(psycopg.OperationalError) as caught:
            shared.connect(user, password or "x", dbname="admin")
        texts.add(str(caught.value).rsplit("FATAL:", 1)[-1].replace(user, "…"))
    assert len(texts) == 1, texts


def test_without_a_password_nobody_gets_in(make_gateway: MakeGateway) -> None:
    target = make_gateway()
    for user, password in (("admin", ""), ("admin", "admin"), ("alice", target.issuer.token("alice"))):
        with pytest.raises(psycopg.OperationalError):
            target.connect(user, password or "x", dbname="admin")


def test_a_database_called_admin_works_while_there_is_no_password(
    make_gateway: MakeGateway, cluster: Any
) -> None:
    second = {"name": "admin", "host": "127.0.0.1", "port": cluster.primary.port, "database_name": "demo"}
    target = make_gateway()
    databases = [*target.gateway.config["databases"], second]
    target = make_gateway(databases=databases)

    with target.connect("alice", dbname="admin") as connection:
        assert connection.execute("SELECT current_database()").fetchone() == ("demo",)


def test_a_changed_password_counts_after_a_reload(target: Target) -> None:
    with admin(target) as connection:
        target.gateway.write(merged(target.gateway.config, {"admin": {"password": "another"}}))
        connection.execute("RELOAD")

    with pytest.raises(psycopg.OperationalError):
        admin(target)
    target.connect("admin", "another", dbname="admin").close()


# How it is spoken to


@pytest.mark.parametrize("table", TABLES)
def test_every_table_is_shown_in_text_and_in_binary(shared: Target, table: str) -> None:
    with shared.connect("alice") as alice, admin(shared) as connection:
        alice.execute("SELECT 1", prepare=True)
        text = connection.execute(f"SHOW {table}")
        names = [column.name for column in text.description or []]
        rows = text.fetchall()
        binary = connection.execute(f"show {table.lower()};", binary=True).fetchall()

    assert names
    assert len(rows) == len(binary)
    assert rows or table in ("BANS", "INTROSPECTION")


def test_psql_prints_tidy_tables(shared: Target) -> None:
    address = f"host={shared.host} port={shared.port} dbname=admin user=admin"
    commands = [f"--command={command}" for command in ("SHOW VERSION", "show pools;", "SHOW HELP", "RELOAD")]
    done = subprocess.run(
        [shared.psql_program, "--no-psqlrc", address, *commands],
        env=shared.psql_environment("admin", PASSWORD),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    assert "pgdog-jwt " in done.stdout
    assert "cl_waiting" in done.stdout
    assert "\nRELOAD\n" in done.stdout
    assert done.stderr == ""


def test_asyncpg_speaks_with_it(shared: Target) -> None:
    async def look() -> Any:
        connection = await shared.connect_asyncpg("admin", PASSWORD, database="admin")
        rows = await connection.fetch("SHOW CLIENTS")
        version = await connection.fetchval("SHOW VERSION")
        await connection.reset()
        with pytest.raises(Exception, match="unknown command"):
            await connection.execute("DROP TABLE notes")
        one = await connection.fetchval("SELECT 1")
        await connection.close()
        return rows, version, one

    rows, version, one = asyncio.run(look())
    assert [row["user"] for row in rows] == ["admin"]
    assert rows[0]["connect_time"].year >= 2025
    assert version.startswith("pgdog-jwt ")
    assert one == 1


def test_a_driver_may_begin_transactions(shared: Target) -> None:
    with admin(shared, autocommit=False) as connection:
        connection.execute("SHOW POOLS")
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
        connection.commit()
        with pytest.raises(psycopg.Error):
            connection.execute("NONSENSE")
        connection.rollback()
        connection.execute("SHOW POOLS")


def test_several_commands_may_come_at_once(shared: Target) -> None:
    with shared.wire("admin", PASSWORD, database="admin") as wire:
        replies = wire.query("SHOW VERSION; SHOW BANS; NONSENSE; RELOAD")
    assert [reply.type for reply in replies if reply.type in "CEZ"] == ["C", "C", "E", "Z"]


def test_what_is_unknown_is_refused_with_advice(shared: Target) -> None:
    for statement in ("SELECT * FROM pg_class", "SET default_pool_size = 3", "KILL", "SHOW NONSENSE"):
        with shared.wire("admin", PASSWORD, database="admin") as wire:
            error = next(reply for reply in wire.query(statement) if reply.type == "E")
        assert error.fields["C"] == "42601"
        assert "SHOW HELP" in error.fields["H"]


def test_hostile_messages_end_or_are_refused(shared: Target) -> None:
    for message in (
        w.message("P", b"no terminator"),
        w.message("B", b"\0"),
        w.message("D", b""),
        w.message("E", b"x\0"),
        w.message("Q", b"\0"),
        w.message("?", b""),
        w.message("Q", b"x" * 100_000 + b"\0"),
    ):
        with shared.wire("admin", PASSWORD, database="admin") as wire:
            wire.send(message, w.message("S", b""))
            wire.closed_by_peer() if message[:1] in b"?P" else wire.receive()
    assert show(shared, "VERSION")


# What it shows


def test_a_client_is_shown_with_what_it_does(target: Target) -> None:
    with target.connect("alice", application_name="report") as alice:
        alice.execute("SELECT 1")
        row = client(target, "alice")
        assert row["database"] == "demo"
        assert row["addr"] == "127.0.0.1"
        assert row["state"] == "idle"
        assert row["pool_mode"] == "transaction"
        assert row["application_name"] == "report"
        assert row["subject"] == "alice"
        assert row["tls"] is False
        assert row["server"] is None
        assert row["queries"] == row["transactions"] == 1
        assert row["bytes_received"] > 0
        assert row["bytes_sent"] > 0
        assert row["query_time"] > 0

        alice.execute("BEGIN")
        alice.execute("SELECT 2")
        row = client(target, "alice")
        assert (row["state"], row["queries"], row["transactions"]) == ("idle in transaction", 3, 1)
        server = next(server for server in show(target, "SERVERS") if server["id"] == row["server"])
        assert server["state"] == "idle in transaction"
        assert server["client_id"] == row["id"]
        pid = alice.execute("SELECT pg_backend_pid()").fetchone()
        assert pid == (server["remote_pid"],)
        alice.execute("ROLLBACK")

        alice.execute("SELECT pg_advisory_lock(1)")
        # PostgreSQL is asked for the lock when the client has its answer.
        eventually(lambda: client(target, "alice")["state"] == "pinned", "the pin")
        assert [server["state"] for server in show(target, "SERVERS") if server["client_id"]] == ["pinned"]


def test_a_client_that_waits_is_seen_waiting(make_gateway: MakeGateway) -> None:
    target = make_gateway(admin=ADMIN, general={"default_pool_size": 1}, databases=primary_only(make_gateway))
    with target.connect("alice") as holder, target.connect("alice") as waiter:
        holder.execute("BEGIN")
        holder.execute("SELECT 1")
        thread = threading.Thread(target=waiter.execute, args=["SELECT 2"])
        thread.start()

        def waiting() -> bool:
            waiters = clients(target, state="waiting")
            pools = [row for row in show(target, "POOLS") if row["cl_waiting"] == 1]
            return bool(waiters and pools and pools[0]["maxwait_us"] > 0 and waiters[0]["wait"] > 0)

        eventually(waiting, "a client that waits")
        holder.execute("COMMIT")
        thread.join(10)
        (stats,) = [row for row in show(target, "STATS") if row["database"] == "demo"]
        assert stats["total_wait_time"] > 0


def primary_only(make_gateway: MakeGateway) -> list[dict[str, Any]]:
    databases = make_gateway(start=False).gateway.config["databases"]
    return [database for database in databases if database["role"] == "primary"]


def test_numbers_outlive_their_clients(target: Target) -> None:
    for _ in range(3):
        with target.connect("alice") as alice:
            alice.execute("SELECT 1")
            with pytest.raises(psycopg.Error):
                alice.execute("SELECT nonsense")

    def done() -> bool:
        (stats,) = show(target, "STATS demo")
        return (stats["total_query_count"], stats["total_xact_count"], stats["total_errors"]) == (6, 6, 3)

    eventually(done, "the totals")


def test_subjects_are_shown_with_their_sessions(target: Target) -> None:
    with target.connect("alice") as one, target.connect("alice") as two, target.connect("bob"):
        one.execute("SELECT 1")
        two.execute("SELECT 1")
        rows = {row["subject"]: row for row in show(target, "SUBJECTS")}

    assert set(rows) == {"alice", "bob"}
    assert (rows["alice"]["clients"], rows["alice"]["queries"]) == (2, 2)
    assert rows["alice"]["role"] == "alice"
    assert rows["alice"]["issuer"] == target.issuer.name
    assert rows["alice"]["token_expires"] is not None


def test_keys_are_shown_once_they_were_fetched(target: Target) -> None:
    # Without a login that needs them.
    eventually(lambda: show(target, "KEYS")[0]["kid"], "the issuer's keys")
    target.connect("alice").close()
    after = show(target, "KEYS")
    assert all(row["kid"] and row["algorithms"] and row["fetches"] == 1 for row in after)


def test_prepared_statements_are_shown(target: Target) -> None:
    with target.connect("alice") as alice:
        alice.execute("SELECT 41 + 1", prepare=True)
        (row,) = [row for row in show(target, "PREPARED") if row["statement"] == "SELECT 41 + 1"]
        assert row["used_by"] == 1
        # On the server that prepared it and, reads being spread, perhaps on the one that ran it.
        assert sum(server["prepared_statements"] for server in show(target, "SERVERS")) in (1, 2)


def test_no_secret_is_shown(shared: Target) -> None:
    token = shared.issuer.token("alice")
    with shared.connect("alice", token), admin(shared) as connection:
        shown = "".join(str(connection.execute(f"SHOW {table}").fetchall()) for table in TABLES)
        config = {row["key"]: row["value"] for row in connection.execute("SHOW CONFIG").fetchall()}

    assert config["admin.password"] == config["jwt_server_password"] == "****"
    for secret in (
        PASSWORD,
        "service-secret",
        shared.gateway.config["general"]["jwt_server_password"],
        token,
    ):
        assert secret not in shown


# What it does


def test_reload_reads_the_files_or_says_why_not(target: Target) -> None:
    with admin(target) as connection:
        target.gateway.write(
            {**target.gateway.config, "general": {**target.gateway.config["general"], "query_timeout": 7}}
        )
        connection.execute("RELOAD")
        rows = connection.execute("SHOW CONFIG").fetchall()
        assert next(row["value"] for row in rows if row["key"] == "query_timeout") == "7"

        target.gateway.config_file.write_text("[general]\nporrt = 1\n")
        with pytest.raises(psycopg.Error) as caught:
            connection.execute("RELOAD")
        assert "porrt" in (caught.value.diag.message_detail or "")


def test_a_reload_says_what_waits_for_the_next_start(target: Target) -> None:
    before = target.gateway.config["general"]
    other = free_port()
    with admin(target) as connection:
        notices: list[str] = []
        connection.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
        change = {"port": other, "workers": 3, "openmetrics_port": free_port(), "log_level": "warn"}
        change["log_format"] = "text"
        target.gateway.write({**target.gateway.config, "general": {**before, **change}})
        seen = len(target.gateway.log())
        connection.execute("RELOAD")
        rows = {row["key"]: row for row in connection.execute("SHOW CONFIG").fetchall()}

        (about_port,) = [notice for notice in notices if '"port"' in notice]
        assert f"{other} holds from the next start on, {before['port']} until then" in about_port
        assert "pgdog.toml:" in about_port
        assert len(notices) == 4
        logged = [one for one in target.gateway.log()[seen:] if one.get("event") == "configuration"]
        assert {one["message"] for one in logged} == set(notices)
        for key, value, later in (
            ("port", str(before["port"]), str(other)),
            ("workers", "2", "3"),
            ("openmetrics_port", None, str(change["openmetrics_port"])),
            ("log_format", before["log_format"], "text"),
            ("host", before["host"], None),
        ):
            assert (rows[key]["value"], rows[key]["changeable"], rows[key]["after_restart"]) == (
                value,
                "no",
                later,
            )
        log_level = rows["log_level"]
        assert (log_level["value"], log_level["changeable"], log_level["after_restart"]) == (
            "warn",
            "yes",
            None,
        )

        notices.clear()
        target.gateway.write({**target.gateway.config, "general": before})
        connection.execute("RELOAD")
        assert notices == []
        # While warnings alone were logged, that of the first reload was not.

        def told() -> list[str]:
            return [one["event"] for one in target.gateway.log()[seen:] if one["level"] == "INFO"]

        eventually(lambda: "reload" in told(), "the line about the second reload")
        assert told() == ["admin", "reload"]


def test_a_log_level_of_the_environment_stays(make_gateway: Callable[..., Target]) -> None:
    target = make_gateway(admin=ADMIN, env={"RUST_LOG": "warn,pgdog_jwt_gateway=info,pgdog_jwt=info"})
    with admin(target) as connection:
        general = {**target.gateway.config["general"], "log_level": "debug"}
        target.gateway.write({**target.gateway.config, "general": general})
        connection.execute("RELOAD")
        rows = {row["key"]: row["value"] for row in connection.execute("SHOW CONFIG").fetchall()}

    assert rows["log_level"] == "warn,pgdog_jwt_gateway=info,pgdog_jwt=info"
    assert not any(one.get("level") == "DEBUG" for one in target.gateway.log())


def test_warnings_at_the_start_are_there_once(make_gateway: Callable[..., Target]) -> None:
    target = make_gateway(query_stats={"enabled": True})

    said = [one for one in target.gateway.log() if "[query_stats]" in str(one)]

    assert len(said) == 1, said
    assert said[0]["event"] == "configuration"


def test_kill_ends_one_client_or_all_of_a_subject(target: Target) -> None:
    alice = [target.connect("alice") for _ in range(3)]
    bob = target.connect("bob")
    with admin(target) as connection:
        ids = [row["id"] for row in connection.execute("SHOW CLIENTS").fetchall() if row["user"] == "alice"]
        connection.execute(f"KILL {ids[0]}")
        eventually(
            lambda: len([row for row in show(target, "CLIENTS") if row["user"] == "alice"]) == 2, "one less"
        )
        assert connection.execute("KILL 'alice'").statusmessage == "KILL 2"
        eventually(
            lambda: not [row for row in show(target, "CLIENTS") if row["user"] == "alice"], "none left"
        )
        with pytest.raises(psycopg.errors.UndefinedObject):
            connection.execute("KILL alice")
        assert bob.execute("SELECT 1").fetchone() == (1,)
    for connection in alice:
        with pytest.raises(psycopg.OperationalError) as caught:
            connection.execute("SELECT 1")
        assert caught.value.sqlstate in ("57P01", None)
    bob.close()


def test_a_killed_client_in_a_transaction_leaves_nothing_behind(target: Target, cluster: Any) -> None:
    alice = target.connect("alice", autocommit=False)
    alice.execute("INSERT INTO notes (body) VALUES ('killed')")
    with admin(target) as connection:
        connection.execute("KILL alice")
    eventually(lambda: not [row for row in show(target, "SERVERS") if row["client_id"]], "the server back")
    with cluster.admin() as superuser:
        assert superuser.execute("SELECT count(*) FROM notes WHERE body = 'killed'").fetchone() == (0,)


def test_reconnect_replaces_connections_when_they_are_free(target: Target) -> None:
    with target.connect("alice") as alice, target.connect("alice") as busy:
        busy.execute("BEGIN")
        used = busy.execute("SELECT pg_backend_pid()").fetchone()
        alice.execute("BEGIN")
        free = alice.execute("SELECT pg_backend_pid()").fetchone()
        alice.execute("COMMIT")
        assert used
        assert free
        with admin(target) as connection:
            connection.execute("RECONNECT demo")
        pids = {row["remote_pid"]: row for row in show(target, "SERVERS")}
        assert free[0] not in pids
        assert pids[used[0]]["close_needed"] is True
        assert busy.execute("SELECT pg_backend_pid()").fetchone() == used
        busy.execute("COMMIT")
        eventually(lambda: used[0] not in {row["remote_pid"] for row in show(target, "SERVERS")}, "its end")
        assert alice.execute("SELECT 1").fetchone() == (1,)


def test_pause_waits_for_clients_and_holds_back_others(target: Target) -> None:
    with target.connect("alice") as holder, target.connect("alice") as other, admin(target) as connection:
        holder.execute("BEGIN")
        holder.execute("SELECT 1")
        pausing = threading.Thread(target=connection.execute, args=["PAUSE demo"])
        pausing.start()
        eventually(lambda: all(row["paused"] for row in show(target, "POOLS")), "the pause")
        waiting = threading.Thread(target=other.execute, args=["SELECT 2"])
        waiting.start()
        eventually(
            lambda: [row for row in show(target, "CLIENTS") if row["state"] == "waiting"], "the other waits"
        )
        assert holder.execute("SELECT 3").fetchone() == (3,)
        assert pausing.is_alive()
        holder.execute("COMMIT")
        pausing.join(10)
        assert not pausing.is_alive()
        assert show(target, "SERVERS") == []
        assert waiting.is_alive()

        assert connection.execute("RESUME").statusmessage == "RESUME"
        waiting.join(10)
        assert not waiting.is_alive()


def test_a_pause_outlives_a_reload_and_ends_clients_at_its_limit(make_gateway: MakeGateway) -> None:
    target = make_gateway(admin={**ADMIN, "pause_timeout": 300})
    with target.connect("alice") as alice, admin(target) as connection:
        connection.execute("PAUSE")
        connection.execute("RELOAD")
        with pytest.raises(psycopg.errors.CannotConnectNow, match="paused"):
            alice.execute("SELECT 1")
        connection.execute("RESUME")
        assert alice.execute("SELECT 1").fetchone() == (1,)


def test_pause_says_when_clients_do_not_let_go(make_gateway: MakeGateway) -> None:
    target = make_gateway(admin={**ADMIN, "pause_timeout": 200})
    with target.connect("alice") as alice, admin(target) as connection:
        alice.execute("BEGIN")
        alice.execute("SELECT 1")
        with pytest.raises(psycopg.errors.ObjectInUse, match="1 server connections are still in use"):
            connection.execute("PAUSE")
        with pytest.raises(psycopg.errors.InvalidCatalogName):
            connection.execute("PAUSE nonsense")


def test_shutdown_ends_the_process(target: Target) -> None:
    with target.connect("alice") as alice:
        alice.execute("SELECT 1")
        connection = admin(target)
        assert connection.execute("SHUTDOWN").statusmessage == "SHUTDOWN"
        assert target.gateway.wait(10) == 0


def test_commands_that_change_something_are_in_the_log(target: Target) -> None:
    with admin(target) as connection:
        connection.execute("RECONNECT")

    def events() -> list[dict[str, Any]]:
        return [event for event in target.gateway.log() if event.get("event") == "admin"]

    eventually(events, "the line in the log")
    assert [(event["command"], event["user"]) for event in events()] == [("RECONNECT", "admin")]


def test_refused_logins_are_in_the_log(target: Target) -> None:
    with pytest.raises(ServerError):
        target.wire("admin", "wrong", database="admin")
    assert target.gateway.last_login(reason="wrong_password")["database"] == "admin"
