"""Tokens that were taken back: at the login, in live sessions, in a file that several gateways share."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from harness import eventually, merged, primary_alone
from harness import wire as w
from harness.target import Target

MakeGateway = Callable[..., Target]
PASSWORD = "admin-secret"
ADMIN = {"name": "admin", "user": "admin", "password": PASSWORD}


def admin(target: Target) -> psycopg.Connection[dict[str, Any]]:
    return target.connect("admin", PASSWORD, dbname="admin", row_factory=dict_row)  # type: ignore[return-value]


def command(target: Target, text: str) -> str:
    with admin(target) as connection:
        return connection.execute(text).statusmessage or ""


def revocations(target: Target) -> list[dict[str, Any]]:
    with admin(target) as connection:
        return connection.execute("SHOW REVOCATIONS").fetchall()


def is_in(target: Target, user: str, token: str) -> bool:
    try:
        target.connect(user, token).close()
    except psycopg.OperationalError:
        return False
    return True


def ended(connection: psycopg.Connection[Any]) -> str:
    """What a session hears that was ended."""
    with pytest.raises(psycopg.OperationalError) as caught:
        connection.execute("SELECT 1")
    assert caught.value.sqlstate == "57P01", caught.value
    return str(caught.value)


@pytest.fixture
def target(make_gateway: MakeGateway, cluster: Any) -> Target:
    return make_gateway(admin=ADMIN, databases=[primary_alone(cluster)])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "revoked.jsonl"
    path.write_text("# by hand\n")
    return path


@pytest.fixture
def with_file(make_gateway: MakeGateway, cluster: Any, file: Path) -> Target:
    return make_gateway(admin=ADMIN, databases=[primary_alone(cluster)], jwt={"revocation_file": str(file)})


def append(file: Path, *lines: dict[str, Any]) -> None:
    with file.open("a") as open_file:
        for line in lines:
            open_file.write(json.dumps(line) + "\n")


# At the login


def test_a_revoked_token_is_refused_like_any_bad_one(target: Target) -> None:
    bad, good = target.issuer.token("alice", jti="bad"), target.issuer.token("alice", jti="good")
    # It is remembered as a good one.
    assert is_in(target, "alice", bad)
    usual = target.refusal("alice", "not a token")

    assert command(target, "REVOKE TOKEN 'bad'") == "REVOKE 0"

    assert target.refusal("alice", bad) == usual
    assert target.gateway.last_login(reason="revoked")["detail"] == "the token is revoked by its id"
    assert is_in(target, "alice", good)
    command(target, "UNREVOKE TOKEN 'bad'")
    assert is_in(target, "alice", bad)


def test_each_way_to_revoke_hits_whom_it_names(target: Target) -> None:
    issuer, now = target.issuer, int(time.time())
    tokens = {
        "alice": issuer.token("alice", jti="a", iat=now - 20),
        "bob": issuer.token("bob", jti="b", iat=now - 10),
        "carol": issuer.token("carol", jti="c", iat=None),
    }
    moment = time.strftime("%Y-%m-%d %H:%M:%S+00", time.gmtime(now - 15))
    for what, hit in (
        ("TOKEN 'a'", {"alice"}),
        (f"TOKEN 'a' ISSUER '{issuer.name}'", {"alice"}),
        ("TOKEN 'a' ISSUER 'https://other.example'", set()),
        ("SUBJECT 'bob'", {"bob"}),
        (f"ISSUER '{issuer.name}'", {"alice", "bob", "carol"}),
        ("ISSUER 'https://other.example'", set()),
        (f"ISSUED BEFORE '{moment}'", {"alice", "carol"}),
        (f"SUBJECT 'bob' ISSUED BEFORE '{moment}'", set()),
        (f"ISSUER '{issuer.name}' ISSUED BEFORE NOW", {"alice", "bob", "carol"}),
    ):
        command(target, f"REVOKE {what}")
        assert {user for user, token in tokens.items() if not is_in(target, user, token)} == hit, what
        command(target, f"UNREVOKE {revocations(target)[0]['id']}")
    assert revocations(target) == []


# Live sessions


def test_sessions_of_a_revoked_token_end_at_once_and_others_go_on(target: Target) -> None:
    stolen = target.issuer.token("alice", jti="stolen")
    idle, busy = (target.connect("alice", stolen) for _ in range(2))
    other = target.connect("alice")
    assert {row["token_id"] for row in show_clients(target)} >= {"stolen"}
    with target.wire("alice", stolen) as running:
        running.send(w.query("SELECT pg_sleep(600)"))
        busy.execute("BEGIN")
        busy.execute("INSERT INTO notes (body) VALUES ('revoked')")

        assert command(target, "REVOKE TOKEN 'stolen'") == "REVOKE 3"

        assert "because its token was revoked" in ended(idle)
        ended(busy)
        assert running.receive_until("E")[-1].fields["C"] == "57P01"
    other.execute("SELECT 1")
    count = other.execute("SELECT count(*) FROM notes WHERE body = 'revoked'").fetchone()
    assert count == (0,)
    other.close()
    assert eventually(
        lambda: [
            event
            for event in target.gateway.log()
            if event.get("event") == "revocation" and "session" in event
        ],
        "the end of the sessions in the log",
    )


def test_a_session_that_waits_for_a_server_ends_too(make_gateway: MakeGateway, cluster: Any) -> None:
    general = {"default_pool_size": 1, "checkout_timeout": 60_000}
    target = make_gateway(admin=ADMIN, general=general, databases=[primary_alone(cluster)])
    with (
        target.connect("alice") as holder,
        target.wire("alice", target.issuer.token("alice", jti="w")) as waiter,
    ):
        holder.execute("BEGIN")
        holder.execute("SELECT 1")
        waiter.send(w.query("SELECT 1"))
        eventually(
            lambda: [row for row in show_clients(target) if row["state"] == "waiting"], "a client that waits"
        )

        assert command(target, "REVOKE TOKEN 'w'") == "REVOKE 1"

        assert waiter.receive_until("E")[-1].fields["C"] == "57P01"
        holder.execute("COMMIT")


def show_clients(target: Target) -> list[dict[str, Any]]:
    with admin(target) as connection:
        return connection.execute("SHOW CLIENTS").fetchall()


def test_users_with_passwords_and_the_administrator_stay(target: Target) -> None:
    with target.connect("service", "service-secret") as service, admin(target) as connection:
        connection.execute("REVOKE ISSUED BEFORE NOW")
        service.execute("SELECT 1")
        connection.execute("SHOW REVOCATIONS")


def test_what_runs_is_cancelled_and_stores_nothing(make_gateway: MakeGateway, cluster: Any) -> None:
    general = {"rollback_timeout": 600_000}
    target = make_gateway(admin=ADMIN, general=general, databases=[primary_alone(cluster)])
    slow = "INSERT INTO notes (body) SELECT 'late' FROM pg_sleep(600)"
    with target.wire("alice") as running, cluster.admin() as superuser:
        running.send(w.query(slow))
        active = f"SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query = $${slow}$$"
        eventually(lambda: superuser.execute(active).fetchone(), "the statement")

        command(target, "REVOKE SUBJECT 'alice'")

        eventually(lambda: not superuser.execute(active).fetchone(), "the end of the statement")
        assert superuser.execute("SELECT count(*) FROM notes WHERE body = 'late'").fetchone() == (0,)


# The commands


def test_what_is_revoked_is_shown_with_where_it_is_kept(target: Target) -> None:
    notices: list[str] = []
    with admin(target) as connection:
        connection.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
        connection.execute("REVOKE SUBJECT 'al''ice' ISSUER 'https://x' UNTIL '2100-01-01'")
        (row,) = connection.execute("SHOW REVOCATIONS").fetchall()
        assert len(connection.execute("show revocations;", binary=True).fetchall()) == 1

    assert (row["subject"], row["issuer"], row["token_id"], row["kept"]) == (
        "al'ice",
        "https://x",
        None,
        "memory",
    )
    assert row["expires_at"].year == 2100
    assert row["revoked_at"] is not None
    assert all("in memory only" in notice for notice in notices)
    assert len(notices) == 3
    event = next(event for event in target.gateway.log() if event.get("event") == "revocation")
    assert (event["by"], event["subject"], event["reason"]) == ("admin", "al'ice", "revoked")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("REVOKE", "42601"),
        ("REVOKE alice", "42601"),
        ("REVOKE ISSUED BEFORE 'tomorrow'", "42601"),
        ("REVOKE ISSUED BEFORE '2100-01-01'", "22023"),
        ("REVOKE SUBJECT 'a' UNTIL '2000-01-01'", "22023"),
        ("REVOKE TOKEN 'a' SUBJECT 'b'", "22023"),
        ("UNREVOKE 99", "42704"),
        ("UNREVOKE SUBJECT 'nobody'", "42704"),
    ],
)
def test_what_makes_no_sense_revokes_nothing(target: Target, text: str, code: str) -> None:
    with admin(target) as connection, pytest.raises(psycopg.Error) as caught:
        connection.execute(text)
    assert caught.value.sqlstate == code
    assert revocations(target) == []


def test_there_are_no_more_revocations_than_may_be(make_gateway: MakeGateway) -> None:
    target = make_gateway(admin=ADMIN, jwt={"max_revocations": 2})
    for name in ("a", "b"):
        command(target, f"REVOKE SUBJECT '{name}'")
    with admin(target) as connection, pytest.raises(psycopg.Error) as caught:
        connection.execute("REVOKE SUBJECT 'alice'")
    assert caught.value.sqlstate == "53400"
    assert len(revocations(target)) == 2
    assert is_in(target, "alice", target.issuer.token("alice"))


def test_a_reload_forgets_nothing(target: Target) -> None:
    token = target.issuer.token("alice")
    command(target, "REVOKE SUBJECT 'alice'")
    target.gateway.write(merged(target.gateway.config, {"general": {"default_pool_size": 6}}))
    command(target, "RELOAD")
    assert not is_in(target, "alice", token)


# The file


def test_a_revocation_survives_a_restart(with_file: Target, file: Path) -> None:
    token = with_file.issuer.token("alice", jti="kept")
    command(with_file, "REVOKE TOKEN 'kept'")
    assert [row["kept"] for row in revocations(with_file)] == ["file"]

    with_file.gateway.stop(signal.SIGKILL)
    with_file.gateway.start()

    assert not is_in(with_file, "alice", token)
    command(with_file, "UNREVOKE TOKEN 'kept'")
    with_file.gateway.stop()
    with_file.gateway.start()
    assert is_in(with_file, "alice", token)
    assert file.read_text().startswith("# by hand\n")


def test_a_line_in_the_file_ends_sessions_of_every_gateway_that_reads_it(
    with_file: Target, make_gateway: MakeGateway, cluster: Any, file: Path
) -> None:
    other = make_gateway(admin=ADMIN, databases=[primary_alone(cluster)], jwt={"revocation_file": str(file)})
    token = with_file.issuer.token("alice", jti="x")
    here, there = with_file.connect("alice", token), other.connect("alice", token)

    append(file, {"token_id": "x", "note": "lost laptop"})

    for connection in (here, there):
        eventually(lambda c=connection: c.pgconn.socket and _is_closed(c), "the end of the session")
    # A command at one of them reaches the other.
    fresh = with_file.connect("bob")
    command(other, "REVOKE SUBJECT 'bob'")
    eventually(lambda: _is_closed(fresh), "the end of the session at the other gateway")


def _is_closed(connection: psycopg.Connection[Any]) -> bool:
    try:
        connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return True
    return False


def test_a_broken_line_is_said_aloud_and_takes_nothing_away(with_file: Target, file: Path) -> None:
    append(file, {"subject": "alice"})
    eventually(lambda: not is_in(with_file, "alice", with_file.issuer.token("alice")), "the revocation")

    with file.open("a") as open_file:
        open_file.write("alice is bad\n")

    def complained() -> list[dict[str, Any]]:
        events = [event for event in with_file.gateway.log() if event.get("event") == "revocation_file"]
        return [event for event in events if "line 3" in event.get("problem", "")]

    eventually(complained, "a complaint in the log")
    assert len(complained()) == 1
    assert "alice is bad" not in json.dumps(complained())
    assert not is_in(with_file, "alice", with_file.issuer.token("alice"))
    notices: list[str] = []
    with admin(with_file) as connection:
        connection.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
        connection.execute("SHOW REVOCATIONS")
        with pytest.raises(psycopg.Error, match="refused"):
            connection.execute("RELOAD")
    assert any("line 3" in notice for notice in notices)


def test_without_a_readable_file_the_gateway_does_not_start(
    make_gateway: MakeGateway, tmp_path: Path, file: Path
) -> None:
    for path, text in ((tmp_path / "missing", "No such file"), (tmp_path, "is not a file"), (file, "line 2")):
        file.write_text("# one\nnonsense\n")
        target = make_gateway(jwt={"revocation_file": str(path)}, start=False)
        with pytest.raises(RuntimeError, match="does not start") as caught:
            target.gateway.start()
        assert "revocation file" in str(caught.value)
        assert text in str(caught.value)
        gateway = target.gateway
        check = [gateway.program, "check", "--config", gateway.config_file, "--users", gateway.users_file]
        done = subprocess.run(check, capture_output=True, text=True, timeout=30, cwd=gateway.folder)
        assert done.returncode != 0
        assert text in done.stderr


def test_when_the_file_cannot_be_written_the_revocation_holds_and_says_so(
    with_file: Target, file: Path
) -> None:
    token = with_file.issuer.token("alice")
    session = with_file.connect("alice", token)
    file.rename(file.with_suffix(".away"))
    with admin(with_file) as connection, pytest.raises(psycopg.Error) as caught:
        connection.execute("REVOKE SUBJECT 'alice'")
    assert caught.value.sqlstate == "58030"
    ended(session)
    assert not is_in(with_file, "alice", token)
    assert [row["kept"] for row in revocations(with_file)] == ["memory"]


def test_revoking_while_clients_log_in_lets_none_through(target: Target) -> None:
    """Whoever is in the middle of a login when its token is revoked is refused, or cut off."""
    token = target.issuer.token("alice", jti="raced")
    sessions: list[psycopg.Connection[Any]] = []
    stop = threading.Event()

    def keep_coming() -> None:
        while not stop.is_set():
            try:
                sessions.append(target.connect("alice", token))
            except psycopg.OperationalError:
                return

    threads = [threading.Thread(target=keep_coming) for _ in range(4)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(sessions) >= 8, "some sessions")
    command(target, "REVOKE TOKEN 'raced'")
    for thread in threads:
        thread.join(30)
    stop.set()

    eventually(lambda: not [row for row in show_clients(target) if row["user"] == "alice"], "no session left")
    for session in sessions:
        assert _is_closed(session)
